"""A node, its programs and its peer, driven step by step: what `test_tcp_connection_fuzz` plays with.

Streams are patterns in which an octet depends on its sequence number alone (`octets`), so what an octet must be is
known without a model of the connection. After each step:

- nothing but a StackError came out of a call of a program, and nothing at all out of the stack;
- what the program read is the pattern from IRS + 1 on, each octet once, in order; what the node sent is its pattern;
- what the stack holds is bounded, and it is not due again at once (`Attacker.pump`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.errors import StackError
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp, ipv4, tcp, tcp_options
from nodes.wire.addresses import ANY
from nodes.wire.tcp import ACK, FIN, RST, SYN, Segment
from tests.sim.tcp_attacker import MASK, NODE, PEER, Attacker, memory_of, octets

LIMIT = 20_000
"""Octets of each buffer."""

AMPLE, SCARCE = 512 << 20, 30_000
"""Budgets of memory for all connections: one that does not matter, one that a connection or two use up."""

MOST_WAITING = 4
"""The largest backlog of `call_listen`."""

SILENCE = 3 * 3600 * SECOND
"""After which everything must have ended: R2 twice, keep-alives, 2 MSL and more."""

CONNECTION_MEMORY = 500_000
"""Octets that one connection may hold in all its buffers and records, with buffers of LIMIT: the send buffer, the
ranges out of order (2 LIMIT + 64 KiB), and a record for each segment of the smallest size."""

ISS = (1000, MASK - 5)
IRS = 0xFFFF_FF00


class Numbers:
    """In the place of the node's own: initial numbers that a test knows."""

    def __init__(self, iss: int) -> None:
        self.iss = iss

    def initial(self, *_: object) -> int:
        return self.iss

    def timestamp_offset(self, *_: object) -> int:
        return 0


class Arrives(NamedTuple):
    """A segment: `seq` from `base`, `ack` from `ack_base`, both names of numbers of the connection. An index chooses
    the options."""

    flags: int
    base: str
    seq: int
    ack_base: str
    ack: int
    window: int
    length: int
    options: int
    urgent: int
    marked: bool


class Calls(NamedTuple):
    """A call of a program, by name; `which` socket, `amount` where the call has one."""

    name: str
    which: int
    amount: int


class Waits(NamedTuple):
    """Time passes; None: until the node's next deadline."""

    duration: int | None


class Reports(NamedTuple):
    """An ICMP error about a segment `seq` behind SND.UNA."""

    kind: int
    code: int
    rest: int
    seq: int


Step = Arrives | Calls | Waits | Reports


class World:
    """A node with a server and clients, the attacker that is the peer of all of them, and the programs' books."""

    def __init__(self, iss: int, timestamps: bool, memory: int) -> None:
        self.attacker = Attacker(
            TcpSettings(timestamps=timestamps, minimum_rto=200 * MILLISECOND, msl=30 * SECOND, memory=memory)
        )
        self.attacker.tcp.sequences = Numbers(iss)  # type: ignore[assignment]
        self.sockets: list[TcpSocket] = []
        self.books: dict[TcpSocket, int] = {}
        self.last: Connection | None = None
        self.listener = self.prepared()
        self.listener.bind(ANY, 80, self.now)
        self.listener.listen(3, self.now)
        self.empty = memory_of(self.attacker.stack)

    @property
    def now(self) -> int:
        return self.attacker.now

    def prepared(self) -> TcpSocket:
        socket = self.attacker.tcp.open()
        self.sockets.append(socket)
        for name in ("send_limit", "receive_limit"):
            socket.set_option(name, LIMIT, self.now)
        return socket

    # ---------------------------------------------------------------------------------------------------- the peer

    def number(self, name: str) -> int:
        """A number of the newest connection, or of the one that a SYN would make."""
        c = self.connection()
        if c is None:
            return IRS if name in ("irs", "rcv_nxt", "edge") else self.attacker.tcp.sequences.initial()  # type: ignore[call-arg]
        match name:
            case "rcv_nxt":
                return c.rcv_nxt if c.irs else IRS
            case "edge":
                return c.window.edge if c.irs else IRS
            case "irs":
                return c.irs or IRS
            case "una":
                return c.snd_una
            case "nxt":
                return c.snd_nxt
            case _:
                return c.iss

    def connection(self) -> Connection | None:
        known = [item for item in self.attacker.tcp._connections.values() if isinstance(item, Connection)]
        if known:
            self.last = known[-1]
        return self.last

    def arrives(self, step: Arrives) -> None:
        c = self.connection()
        port, local_port = (5000, 80) if c is None else (c.key.remote_port, c.key.local_port)
        seq = (self.number(step.base) + step.seq) & MASK
        ack = self.number(step.ack_base) + step.ack
        answers = self.attacker.feed(
            step.flags,
            seq,
            ack,
            win=step.window,
            data=octets(seq + bool(step.flags & SYN), step.length),
            options=self.options(step.options, seq),
            urgent=step.urgent,
            port=port,
            local_port=local_port,
            traffic_class=3 if step.marked else 0,
        )
        self.sees(answers)

    def options(self, index: int, seq: int) -> bytes:
        c = self.connection()
        recent = 5000 if c is None else c.ts_recent
        clock = self.now // MILLISECOND & MASK
        una = self.number("una")

        def sack(*blocks: tuple[int, int]) -> bytes:
            return tcp_options.build(None, [((una + a) & MASK, (una + b) & MASK) for a, b in blocks])

        choices: list[Callable[[], bytes]] = [
            lambda: b"",
            lambda: tcp_options.build((recent, clock)),
            lambda: tcp_options.build((recent + 10 & MASK, clock - 5 & MASK)),
            lambda: tcp_options.build((recent - 10 & MASK, 0)),
            lambda: tcp_options.build((recent + (1 << 31) & MASK, MASK)),
            lambda: tcp_options.build_syn(1460, 7, True, (recent, 0)),
            lambda: tcp_options.build_syn(0, 14, True, None),
            lambda: tcp_options.build_syn(536, None, False, None),
            lambda: bytes((2, 4, 0, 1, 3, 3, 255, 1)),
            lambda: sack((1000, 2000)),
            lambda: sack((0, 1), (536, 1072), (1, 3000)),
            lambda: sack((-5000, 100), (100, 100), (3000, 2000), (1 << 31, 5)),
            lambda: sack((seq % 5000, seq % 5000 + seq % 700), (1, 2)),
            lambda: bytes((5, 10, 0, 0)),
            lambda: bytes((8, 9)) + bytes(10),
            lambda: bytes([255]) * 40,
            lambda: bytes((1, 0, 200, 3)),
        ]
        return choices[index % len(choices)]()

    def reports(self, step: Reports) -> None:
        c = self.connection()
        if c is None:
            return
        key = c.key
        seq = (c.snd_una + step.seq) & MASK
        quoted = tcp.build(key.local, key.remote, key.local_port, key.remote_port, seq, 0, ACK, 0, payload=bytes(100))
        packet = ipv4.build(key.local, key.remote, tcp.PROTOCOL, quoted, dont_fragment=True)
        message = icmp.build(step.kind, step.code, step.rest, packet)
        self.sees(self.attacker.packet(ipv4.build(PEER, NODE, ipv4.PROTOCOL_ICMP, message)))

    def sees(self, segments: list[Segment]) -> None:
        """What the node sends is its pattern, inside what was offered at some time."""
        for segment in segments:
            payload = bytes(segment.payload)
            assert payload == octets(segment.sequence, len(payload)), "an octet that was never written"
            assert len(payload) <= 1500 - 40
            assert segment.flags & (RST | SYN | FIN | ACK)

    # ------------------------------------------------------------------------------------------------ the programs

    def calls(self, step: Calls) -> None:
        socket = self.sockets[step.which % len(self.sockets)]
        try:
            getattr(self, f"call_{step.name}")(socket, step.amount)
        except StackError as error:
            assert error.errno and error.message
        self.sees(self.attacker.pump())

    def call_accept(self, socket: TcpSocket, _: int) -> None:
        accepted = self.listener.accept()
        if accepted is not None:
            self.sockets.append(accepted)

    def call_connect(self, socket: TcpSocket, amount: int) -> None:
        if len(self.sockets) < 6:
            socket = self.prepared()
        socket.connect(PEER, 7000 + amount % 2, self.now)

    def call_send(self, socket: TcpSocket, amount: int) -> None:
        c = socket._connection
        start = 0 if c is None else c.send_buffer.end
        socket.send(octets(start, amount), self.now)

    def call_send_urgent(self, socket: TcpSocket, amount: int) -> None:
        c = socket._connection
        socket.send_urgent(octets(0 if c is None else c.send_buffer.end, amount % 100), self.now)

    def call_receive(self, socket: TcpSocket, amount: int) -> None:
        c = socket._connection
        data = socket.receive(amount + 1)
        if not data:
            return
        assert c is not None
        read = self.books.get(socket, 0)
        assert len(data) <= amount + 1
        assert data == octets(c.irs + 1 + read, len(data)), "a wrong octet, or one twice"
        self.books[socket] = read + len(data)

    def call_shutdown(self, socket: TcpSocket, _: int) -> None:
        socket.shutdown(self.now)

    def call_close(self, socket: TcpSocket, _: int) -> None:
        if socket is not self.listener:
            socket.close(self.now)

    def call_abort(self, socket: TcpSocket, _: int) -> None:
        if socket is not self.listener:
            socket.abort(self.now)

    def call_listen(self, socket: TcpSocket, amount: int) -> None:
        socket.listen(amount % 5, self.now)

    def call_bind(self, socket: TcpSocket, amount: int) -> None:
        socket.bind(NODE, amount % 3, self.now)

    def call_option(self, socket: TcpSocket, amount: int) -> None:
        names: list[tuple[str, object]] = [
            ("nodelay", bool(amount & 1)),
            ("keepalive", bool(amount & 1)),
            ("keepalive_idle", (amount + 1) * SECOND),
            ("linger", amount % 3 * SECOND),
            ("linger", None),
            ("user_timeout", (amount + 1) * MILLISECOND),
            ("congestion", ("reno", "cubic", "bbr", "tahoe", "none", "aimd", "newreno")[amount % 7]),
            ("receive_limit", amount % LIMIT + 1),
            ("send_limit", amount % LIMIT + 1),
            ("mss", 48 + amount),
            ("ttl", 1 + amount % 255),
            ("congestion", "unheard of"),
        ]
        name, value = names[amount % len(names)]
        socket.set_option(name, value, self.now)

    def call_look(self, socket: TcpSocket, _: int) -> None:
        self.attacker.stack.snapshot(self.now)
        assert socket.readable in (True, False) and socket.writable in (True, False)
        assert socket.unsent >= 0 and socket.urgent >= 0 and socket.local and socket.remote and socket.state
        socket.info(self.now)

    def call_link(self, socket: TcpSocket, amount: int) -> None:
        """The carrier goes, or comes back."""
        self.attacker.stack.set_port(0, bool(amount % 3), self.now)

    def call_mtu(self, socket: TcpSocket, amount: int) -> None:
        self.attacker.stack.set_mtu(0, 68 + amount % 1433, self.now)

    def call_error(self, socket: TcpSocket, _: int) -> None:
        socket.take_error()

    # -------------------------------------------------------------------------------------------------------- rules

    def waits(self, step: Waits) -> None:
        duration = step.duration
        if duration is None:
            due = self.attacker.stack.deadline()
            duration = 0 if due is None else max(due - self.now, 0)
        self.sees(self.attacker.advance(duration))

    def check(self) -> None:
        layer = self.attacker.tcp
        assert not layer._pending
        for item in layer._connections.values():
            if isinstance(item, Connection):
                check_connection(item)
        assert len(layer._timers._heap) <= 2 * len(layer._timers) + 65
        held = sum(item.held for item in layer._connections.values() if isinstance(item, Connection))
        assert layer.memory.used == held
        for several in layer._listeners.values():
            for listener in several:
                assert all(layer._connections[key] is c for key, c in listener._half_open.items())
                assert listener.ready <= MOST_WAITING
        assert layer._sockets == sum(not socket.closed for socket in self.sockets)

    def ends(self) -> None:
        """The programs go, the peer is silent."""
        held = memory_of(self.attacker.stack) - self.empty
        assert held <= CONNECTION_MEMORY * max(len(self.attacker.tcp._connections), 1)
        self.attacker.stack.set_port(0, True, self.now)
        for socket in self.sockets:
            socket.close(self.now)
        before = self.attacker.wakeups
        self.sees(self.attacker.advance(SILENCE))
        assert self.attacker.wakeups - before < 150 * len(self.sockets)
        self.attacker.assert_empty()
        assert len(self.attacker.tcp.ports) == 0
        assert self.attacker.tcp.memory.used == 0


def check_connection(c: Connection) -> None:
    """Relations that hold between any two inputs."""
    assert c.snd_una <= c.snd_nxt <= c.data_end + 1
    assert c.send_buffer.end - c.send_buffer.start <= LIMIT
    assert c.send_buffer.memory <= 2 * LIMIT + (1 << 16)
    if c.recovery is not None:
        buffer, recovery = c.receive_buffer, c.recovery
        assert buffer.rcv_nxt <= c.window.edge + 1
        assert buffer.available <= 2 * LIMIT and buffer.out_of_order <= 2 * LIMIT
        assert recovery.una == c.snd_una and recovery.nxt == c.snd_nxt
        assert recovery.in_flight >= 0 and recovery.queue.lost >= 0 and recovery.queue.sacked >= 0
        assert len(recovery.queue) <= c.snd_nxt - c.snd_una
        if c.snd_nxt > c.snd_una:
            assert recovery.deadline() is not None, "something is under way, and no timer runs"


def run(iss: int, timestamps: bool, script: list[Step], memory: int = AMPLE) -> World:
    world = World(iss, timestamps, memory)
    for step in script:
        match step:
            case Arrives():
                world.arrives(step)
            case Calls():
                world.calls(step)
            case Waits():
                world.waits(step)
            case Reports():
                world.reports(step)
        world.check()
    return world
