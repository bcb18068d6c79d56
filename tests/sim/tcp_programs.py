"""Programs over the sockets of TCP, for simulations: a transfer one way, an echo, and what is to be seen of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from nodes.errors import StackError
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import SECOND
from nodes.wire.addresses import ANY
from tests.sim.tcp_network import Network

CHUNK = 65_536
PERIOD = 999_983
"""Octets after which the pattern repeats: a prime, so that no lost or doubled segment can go unnoticed."""
PATTERN = Random(2).randbytes(PERIOD)
TWICE = PATTERN + PATTERN[:CHUNK]


def pattern(offset: int, length: int) -> bytes:
    """What every stream here consists of, `length` octets from `offset` on, at most CHUNK."""
    offset %= PERIOD
    return TWICE[offset : offset + length]


def connection_of(socket: TcpSocket) -> Connection:
    """The connection behind a socket, for looking at."""
    connection = socket._connection
    assert connection is not None
    return connection


class Reader:
    """Reads a stream, checks that it is the pattern, and notes when it ended. With `every` it reads `chunk` octets at
    that interval instead of all that there is."""

    def __init__(self, network: Network, stack: int, *, chunk: int = CHUNK, every: int | None = None) -> None:
        self.network = network
        self.stack = stack
        self.chunk = chunk
        self.every = every
        self.socket: TcpSocket | None = None
        self.received = 0
        self.finished_at: int | None = None
        self.progress: list[tuple[int, int]] = []  # when how much had been received, once per reading

    def take(self, socket: TcpSocket, now: int) -> None:
        self.socket = socket
        socket.owner = self
        if self.every is None:
            self.ready(now)
        else:
            self.network.at(now + self.every, self.stack, self._tick)

    def ready(self, now: int) -> None:
        if self.every is None:
            while self._read(now):
                pass

    def _tick(self, now: int) -> None:
        self._read(now)
        if self.finished_at is None:
            assert self.every is not None
            self.network.at(now + self.every, self.stack, self._tick)

    def _read(self, now: int) -> bool:
        """Whether there was something to read."""
        assert self.socket is not None
        if self.finished_at is not None:
            return False
        data = self.socket.receive(self.chunk)
        if data is None:
            return False
        if not data:
            self.finished_at = now
            self.socket.close(now)
            return False
        for at in range(0, len(data), CHUNK):
            part = data[at : at + CHUNK]
            assert part == pattern(self.received + at, len(part)), f"wrong octets near {self.received}"
        self.received += len(data)
        self.progress.append((now, self.received))
        return True


class Writer:
    """Writes `size` octets of the pattern as fast as the socket takes them, then says that there are no more, unless it
    is to keep the connection open. `error` is what ended the connection."""

    def __init__(self, size: int, keep_open: bool = False) -> None:
        self.size = size
        self.keep_open = keep_open
        self.error: StackError | None = None
        self.written = 0
        self.socket: TcpSocket | None = None

    def ready(self, now: int) -> None:
        socket = self.socket
        assert socket is not None
        if not socket.connected:
            self.error = socket.take_error() or self.error
            return
        while self.written < self.size:
            taken = socket.send(pattern(self.written, min(CHUNK, self.size - self.written)), now)
            self.written += taken
            if not taken:
                return
        if not self.keep_open:
            socket.shutdown(now)


class Transfer:
    """`size` octets from one stack to another, over a connection of its own that begins at `start`. `options` are the
    sender's socket options, `receive_limit` the receiver's. The `reader` may be slow: see Reader."""

    def __init__(
        self,
        network: Network,
        size: int,
        *,
        source: int = 0,
        destination: int = 1,
        start: int = 0,
        port: int = 5000,
        receive_limit: int | None = None,
        chunk: int = CHUNK,
        every: int | None = None,
        keep_open: bool = False,
        **options: object,
    ) -> None:
        self.network = network
        self.size = size
        self.started_at = start
        self.writer = Writer(size, keep_open)
        self.reader = Reader(network, destination, chunk=chunk, every=every)
        self.watched: list[tuple[int, int, int]] = []
        stack = network.stacks[source]
        self._listener = network.stacks[destination].tcp.open()
        self._listener.owner = self
        if receive_limit is not None:
            self._listener.set_option("receive_limit", receive_limit, 0)
        self._listener.bind(ANY, port, network.now)
        self._listener.listen(8, network.now)
        self.socket = self.writer.socket = stack.tcp.open()
        self.socket.owner = self.writer
        for name, value in options.items():
            self.socket.set_option(name, value, 0)
        self._remote = network.addresses[destination], port
        self._source = source
        network.at(max(start, network.now), source, self._connect)

    def _connect(self, now: int) -> None:
        self.socket.connect(*self._remote, now)

    def ready(self, now: int) -> None:
        """The listener's bell."""
        if self.reader.socket is None and (accepted := self._listener.accept()) is not None:
            self.reader.take(accepted, now)

    def is_done(self) -> bool:
        """Everything arrived: the end of the stream, or where the connection stays open the last octet."""
        if self.writer.keep_open:
            return self.reader.received >= self.writer.size
        return self.reader.finished_at is not None

    @property
    def connection(self) -> Connection:
        return connection_of(self.socket)

    @property
    def goodput(self) -> int:
        """Bits per second of the program's octets, from the call of connect to the end of the stream."""
        assert self.reader.finished_at is not None
        return self.size * 8 * SECOND // (self.reader.finished_at - self.started_at)

    def watch(self, every: int) -> None:
        """Note (time, congestion window, octets in flight) now and then, until the end."""

        def look(now: int) -> None:
            connection = self.socket._connection
            if connection is not None and connection.congestion is not None and connection.recovery is not None:
                self.watched.append((now, connection.congestion.cwnd, connection.recovery.in_flight))
            if self.reader.finished_at is None:
                self.network.at(now + every, self._source, look)

        self.network.at(max(self.started_at, self.network.now), self._source, look)


class Echo:
    """A client that writes `size` octets and reads them back, and a server that returns what it reads, with limits for
    the four buffers."""

    def __init__(self, network: Network, size: int, limits: tuple[int, int, int, int]) -> None:
        client_send, client_receive, server_send, server_receive = limits
        self.writer = Writer(size)
        self.reader = Reader(network, 0)
        self._listener = network.stacks[1].tcp.open()
        self._listener.owner = self
        self._listener.set_option("send_limit", server_send, 0)
        self._listener.set_option("receive_limit", server_receive, 0)
        self._listener.bind(ANY, 7, 0)
        self._listener.listen(1, 0)
        self.client = network.stacks[0].tcp.open()
        self.client.set_option("send_limit", client_send, 0)
        self.client.set_option("receive_limit", client_receive, 0)
        self.client.owner = _Both(self._client_ready)
        self.writer.socket = self.reader.socket = self.client
        self.client.connect(network.addresses[1], 7, 0)

    def _client_ready(self, now: int) -> None:
        if self.client.connected and self.reader.finished_at is None:
            if self.writer.written < self.writer.size:
                self.writer.ready(now)
            self.reader.ready(now)

    def ready(self, now: int) -> None:
        accepted = self._listener.accept()
        if accepted is not None:
            server = _EchoServer(accepted)
            accepted.owner = server
            server.ready(now)

    def is_done(self) -> bool:
        return self.reader.finished_at is not None


class _Both:
    def __init__(self, ready: Callable[[int], None]) -> None:
        self.ready = ready


class _EchoServer:
    """Keeps what it could not send, and reads nothing more meanwhile: back-pressure from one side to the other."""

    def __init__(self, socket: TcpSocket) -> None:
        self.socket = socket
        self.waiting = b""
        self.ended = False

    def ready(self, now: int) -> None:
        while True:
            if self.waiting:
                taken = self.socket.send(self.waiting, now)
                self.waiting = self.waiting[taken:]
                if self.waiting:
                    return
            if self.ended:
                return
            data = self.socket.receive(CHUNK)
            if data is None:
                return
            if not data:
                self.ended = True
                self.socket.shutdown(now)
                return
            self.waiting = data
