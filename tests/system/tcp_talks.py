"""What programs of tcp_host.py do with one connection each: echo, exchange, HTTP, relay.

A socket rings; its talk then reads and writes as far as it can (`go_on`). When the talk is over, by the end of the
stream or by an error, it says what became of it.
"""

from __future__ import annotations

import errno
import hashlib
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Protocol, TypeAlias

from nodes.application.octet_pattern import block
from nodes.errors import StackError
from nodes.io.reactor import Reactor
from nodes.stack import Stack
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import SECOND
from nodes.wire.addresses import format_ip4, parse_ip4

CHUNK = 256 * 1024

Result: TypeAlias = dict[str, object]
Over: TypeAlias = Callable[[Result], None]


class Host(Protocol):
    """Where talks live."""

    stack: Stack
    reactor: Reactor

    def pump(self, now: int) -> None: ...


class Talk:
    """One connection of a program. `over` is called with what became of it."""

    def __init__(self, host: Host, socket: TcpSocket, over: Over) -> None:
        self.host = host
        self.socket = socket
        self.received = self.sent = 0
        self.finished = False
        self._over = over
        self._hash = hashlib.sha256()
        socket.owner = self

    def ready(self, now: int) -> None:
        if self.finished:
            return
        try:
            self.go_on(now)
        except StackError as error:
            self.finish(now, errno.errorcode.get(error.errno, str(error.errno)))

    def go_on(self, now: int) -> None:
        """Something can be read or written, or the connection is over."""
        raise NotImplementedError

    def read(self) -> bytes | None:
        data = self.socket.receive(CHUNK)
        if data:
            self.received += len(data)
            self._hash.update(data)
        return data

    def finish(self, now: int, error: str | None = None) -> None:
        self.finished = True
        info = self.socket.info(now)
        self.socket.close(now)
        self._over(
            {
                "received": self.received,
                "sent": self.sent,
                "hash": self._hash.hexdigest(),
                "error": error,
                "remote": format_ip4(self.socket.remote[0]),
                "info": info,
            }
        )


class Echo(Talk):
    pending: bytes = b""

    def go_on(self, now: int) -> None:
        while True:
            if self.pending:
                accepted = self.socket.send(self.pending, now)
                self.sent += accepted
                self.pending = self.pending[accepted:]
                if self.pending:
                    return
            data = self.read()
            if data is None:
                return
            if not data:
                self.finish(now)
                return
            self.pending = data


class Exchange(Talk):
    """Sends so many octets of the pattern, and reads to the end; first of all it may pause its reading. `close`: what
    to do after the sending: `shutdown`, `abort`, `stay` open for ever, or `last`, where the peer is to close first."""

    def __init__(
        self,
        host: Host,
        socket: TcpSocket,
        over: Over,
        *,
        send: int = 0,
        pause: float = 0.0,
        close: str = "shutdown",
    ) -> None:
        super().__init__(host, socket, over)
        self.size = send
        self.close = close
        self._reads = not pause
        if pause:
            host.reactor.call_at(monotonic_ns() + round(pause * SECOND), self._resume)

    def _resume(self) -> None:
        self._reads = True
        now = monotonic_ns()
        self.host.stack.timeout(now)  # tells it the time: reading does not
        self.ready(now)
        self.host.pump(now)

    def go_on(self, now: int) -> None:
        if not self.socket.connected and not self.socket.readable:
            return
        self._write(now)
        if self.finished:
            return
        while self._reads:
            data = self.read()
            if data is None:
                return
            if not data:
                if self.sent == self.size and self.close != "stay":
                    self.finish(now)
                return

    def _write(self, now: int) -> None:
        while self.sent < self.size:
            piece = block(self.sent, min(self.size - self.sent, CHUNK))
            accepted = self.socket.send(piece, now)
            self.sent += accepted
            if accepted < len(piece):
                return
        if self.close == "shutdown":
            self.close = ""
            self.socket.shutdown(now)
        elif self.close == "abort":
            self.socket.abort(now)
            self.finish(now)


class Http(Talk):
    """RFC 9112, as much as curl needs: GET with keep-alive and pipelining."""

    def __init__(self, host: Host, socket: TcpSocket, over: Over) -> None:
        super().__init__(host, socket, over)
        self._request = b""
        self._answers: deque[tuple[bytes, int]] = deque()
        self._at = 0
        self._last = False

    def go_on(self, now: int) -> None:
        while not self._last:
            data = self.read()
            if data is None:
                break
            if not data:
                self._last = True
            self._request += data
            self._take_requests()
        while self._answers:
            if not self._answer(now):
                return
        if self._last:
            self.finish(now)

    def _take_requests(self) -> None:
        while b"\r\n\r\n" in self._request:
            head, _, self._request = self._request.partition(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            method, path, version = line.split()
            size = int(path.strip("/") or 0)
            self._last |= version != "HTTP/1.1" or "connection: close" in [field.lower() for field in fields]
            answer = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
            self._answers.append((answer, 0 if method == "HEAD" else size))

    def _answer(self, now: int) -> bool:
        """False: no room."""
        head, size = self._answers[0]
        while head:
            accepted = self.socket.send(head, now)
            head = head[accepted:]
            self._answers[0] = head, size
            if not accepted:
                return False
        while self._at < size:
            accepted = self.socket.send(block(self._at, min(size - self._at, CHUNK)), now)
            if not accepted:
                return False
            self._at += accepted
            self.sent += accepted
        self._answers.popleft()
        self._at = 0
        return True


class Relay(Talk):
    """One side of a relay; `other` is the other side. What is read here is written there."""

    other: Relay
    pending: bytes = b""
    ended = False

    def go_on(self, now: int) -> None:
        if self.socket.connected or self.socket.readable:
            self._forward(now)
        if not self.other.finished and self.other.socket.connected:
            self.other._forward(now)  # there is room here now
        if self.ended and self.other.ended and not self.pending and not self.other.pending:
            self.finish(now)
            self.other.finish(now)

    def finish(self, now: int, error: str | None = None) -> None:
        super().finish(now, error)
        if error and not self.other.finished:
            self.other.socket.abort(now)
            self.other.finish(now, error)

    def _forward(self, now: int) -> None:
        other = self.other.socket
        while not self.ended:
            if self.pending:
                if not other.connected:
                    return
                accepted = other.send(self.pending, now)
                self.sent += accepted
                self.pending = self.pending[accepted:]
                if self.pending:
                    return
            data = self.read()
            if data is None:
                return
            self.pending = data
            if not data:
                self.ended = True
                other.shutdown(now)


def relay(ours: Host, socket: TcpSocket, over: Over, *, host: str, port: int) -> Relay:
    """A connection from outside is joined with one of our own."""
    now = monotonic_ns()
    onward = ours.stack.tcp.open()
    near, far = Relay(ours, socket, over), Relay(ours, onward, over)
    near.other, far.other = far, near
    onward.connect(parse_ip4(host), port, now)
    return near
