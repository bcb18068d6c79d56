"""echo: sends back what comes over TCP (RFC 862), as fast as the peer takes it.

    receive ──▶ at most one piece held ──▶ send
                 └ no room: wait for the bell of the send buffer, read nothing more

A peer that sends and never reads fills the send buffer, then the receive buffer, then its own: back-pressure all the
way, with a bounded memory on this side. When the peer closes, what is held is sent, and then closed as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.application.base import Node, option
from nodes.application.sessions import SHARE, Session, Sessions, endpoint, rate_of, reason_of
from nodes.errors import StackError
from nodes.transport.tcp.socket import DEFAULT_BACKLOG, TcpSocket

PIECE = 65_536
"""Octets that are read at once, and so the most that is held."""


@dataclass(frozen=True, slots=True)
class EchoOptions:
    port: int = option("port to listen on", 7, minimum=1, maximum=65535)
    address: str = option("address to listen on; empty for all", "")
    backlog: int = option("connections that may wait to be accepted", DEFAULT_BACKLOG, minimum=1, maximum=65535)
    connections: int = option("connections after which it ends; 0 goes on", 0, minimum=0)
    nodelay: bool = option("send small segments at once, without Nagle's algorithm", True)


class EchoSession(Session):
    """`held` was read and is not sent yet."""

    __slots__ = ("echo", "held", "octets", "reason", "started", "updated")

    def __init__(self, echo: Echo, socket: TcpSocket, now: int) -> None:
        super().__init__(echo, socket)
        self.echo = echo
        self.held = memoryview(b"")
        self.octets = 0
        self.reason = "open"
        self.started = self.updated = now

    def work(self, now: int) -> int:
        """Send back a share, as far as there is room."""
        moved = 0
        while moved < SHARE:
            if not self.held:
                data = self.socket.receive(PIECE)
                if data is None:
                    return moved
                if not data:
                    self.reason = "completed"
                    self.echo.finish(self, now)
                    return moved
                self.held = memoryview(data)
            accepted = self.socket.send(self.held, now)
            self.held = self.held[accepted:]
            self.octets += accepted
            self.echo.octets += accepted
            self.updated = now
            moved += accepted
            if self.held:
                return moved
        self.again()
        return moved

    def failed(self, error: StackError, now: int) -> None:
        self.reason = reason_of(error)
        self.updated = now
        self.echo.failures += 1
        self.echo.finish(self, now)

    def describe(self) -> dict[str, object]:
        duration = self.updated - self.started
        return {
            "remote": endpoint(self.socket.remote),
            "octets": self.octets,
            "duration": duration,
            "goodput": rate_of(self.octets, duration),
            "reason": self.reason,
        }


class Echo(Sessions):
    """See the module."""

    kind = "echo"

    def __init__(self, node: Node, options: EchoOptions) -> None:
        super().__init__(node, limit=options.connections)
        self.options = options
        self.octets = 0
        self.failures = 0
        self._socket = node.tcp.open()

    def start(self, now: int) -> None:
        self._socket.set_option("nodelay", self.options.nodelay, now)
        self.listen(self._socket, self.options.address, self.options.port, self.options.backlog, now)

    def opened(self, socket: TcpSocket, now: int) -> Session:
        return EchoSession(self, socket, now)

    def result(self) -> dict[str, object]:
        return {
            "octets": self.octets,
            "accepted": self.accepted,
            "open": len(self.sessions),
            "failed": self.failures,
            "reports_dropped": self.report.dropped,
            "connections": self.describe_sessions(),
        }
