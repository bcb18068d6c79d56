"""sink: takes what comes over TCP (RFC 863's discard, with eyes), counts it, and checks it where it can.

Any program may send: `nc`, a browser, iperf3's plain stream, our `source`. The data of `source` is known
(`octet_pattern`), so every octet of it is compared; the first wrong one is reported with its place. `verify: auto`
compares a stream whose first octets are the pattern's, `always` every stream.

`rate` makes a slow reader: the window closes, and the sender has to wait. With `close: false` the end of a stream is
not answered: the connection stays in CLOSE_WAIT, as with a program that forgot to close.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nodes.application import octet_pattern
from nodes.application.base import Node, option
from nodes.application.sessions import (
    SHARE,
    Pace,
    Session,
    Sessions,
    endpoint,
    rate_of,
    reason_of,
)
from nodes.errors import StackError
from nodes.transport.tcp.socket import DEFAULT_BACKLOG, TcpSocket
from nodes.units import SECOND


@dataclass(frozen=True, slots=True)
class SinkOptions:
    port: int = option("port to listen on", 9, minimum=1, maximum=65535)
    address: str = option("address to listen on; empty for all", "")
    backlog: int = option("connections that may wait to be accepted", DEFAULT_BACKLOG, minimum=1, maximum=65535)
    connections: int = option("connections after which it ends; 0 goes on", 0, minimum=0)
    duration: float = option("seconds to run; 0 goes on until stopped", 0.0, minimum=0, maximum=1e9, unit="s")
    interval: float = option("seconds between reports; 0 for none", 1.0, minimum=0, maximum=1e9, unit="s")
    verify: str = option("compare with what `source` sends", "auto", choices=("auto", "always", "never"))
    rate: int = option("each connection is read so fast; 0 for no limit", 0, minimum=0, maximum=1e12, unit="bit/s")
    receive_buffer: int = option("offered window; 0 for the node's", 0, minimum=0, maximum=1 << 30, unit="octets")
    close: bool = option("close when the peer has closed", True)
    totals: bool = option("answer the end of a stream with a line that counts it", False)


class SinkSession(Session):
    """One stream. `checking` is None until the first octets have shown whose it is."""

    __slots__ = (
        "checking",
        "damaged_at",
        "ended",
        "last",
        "octets",
        "pace",
        "reason",
        "sink",
        "started",
        "verified",
    )

    def __init__(self, sink: Sink, socket: TcpSocket, now: int) -> None:
        super().__init__(sink, socket)
        self.sink = sink
        self.checking = {"auto": None, "always": True, "never": False}[sink.options.verify]
        self.pace = Pace(sink.options.rate, now) if sink.options.rate else None
        self.octets = self.verified = 0
        self.damaged_at: int | None = None
        self.started = self.last = now
        self.ended = False
        self.reason = "open"

    def work(self, now: int) -> int:
        """Read a share."""
        if self.ended:
            self.socket.receive(1)  # nothing but an error may come
            return 0
        limit = SHARE if self.pace is None else min(SHARE, self.pace.room(now))
        if not limit:
            assert self.pace is not None
            self.again_at(self.pace.next())
            return 0
        data = self.socket.receive(limit)
        if data is None:
            return 0
        if data:
            self._take(data, now)
            self.again()
        else:
            self.sink.ended(self, now)
        return len(data)

    def failed(self, error: StackError, now: int) -> None:
        self.sink.lost(self, error, now)

    def _take(self, data: bytes, now: int) -> None:
        if self.pace is not None:
            self.pace.take(len(data))
        self.last = now
        if self.checking is None:
            known = octet_pattern.block(0, octet_pattern.RECOGNIZED)
            self.checking = data.startswith(known[: len(data)])
        if self.checking:
            self._check(data)
        self.octets += len(data)
        self.sink.octets += len(data)

    def _check(self, data: bytes) -> None:
        wrong = octet_pattern.first_difference(self.octets, data)
        if wrong is None:
            self.verified += len(data)
            return
        self.verified += wrong - self.octets
        self.damaged_at = wrong
        self.checking = False
        self.sink.report("damaged", remote=endpoint(self.socket.remote), at=wrong)

    def describe(self) -> dict[str, object]:
        duration = self.last - self.started
        return {
            "remote": endpoint(self.socket.remote),
            "octets": self.octets,
            "duration": duration,
            "goodput": rate_of(self.octets, duration),
            "verified": self.verified,
            "damaged_at": self.damaged_at,
            "reason": self.reason,
        }


class Sink(Sessions):
    """See the module."""

    kind = "sink"

    def __init__(self, node: Node, options: SinkOptions) -> None:
        super().__init__(node, interval=options.interval, duration=options.duration, limit=options.connections)
        self.options = options
        self.octets = 0
        self._completed = self._failed = self._damaged = 0
        self._verified = 0
        self._first: int | None = None
        self._last = 0
        self._reported = (0, 0)
        self._socket = node.tcp.open()

    def start(self, now: int) -> None:
        options = self.options
        if options.receive_buffer:
            self._socket.set_option("receive_limit", options.receive_buffer, now)
        self.listen(self._socket, options.address, options.port, options.backlog, now)
        self._reported = (now, 0)
        self.begin(now)

    def opened(self, socket: TcpSocket, now: int) -> Session:
        return SinkSession(self, socket, now)

    def ended(self, session: SinkSession, now: int) -> None:
        """The peer has closed."""
        session.ended = True
        session.last = now
        session.reason = "completed"
        self._completed += 1
        if self.options.totals:
            line = f"{session.octets} octets in {(now - session.started) / SECOND:.6f} s\n"
            session.socket.send(line.encode(), now)
        if self.options.close:
            self._sum_up(session)
            self.finish(session, now)
        else:
            self.report("closed", **session.describe())

    def lost(self, session: SinkSession, error: StackError, now: int) -> None:
        session.last = now
        if not session.ended:
            session.reason = reason_of(error)
            self._failed += 1
        session.ended = True
        self._sum_up(session)
        self.finish(session, now)

    def interim(self, now: int) -> None:
        then, before = self._reported
        if self.octets != before:
            octets, duration = self.octets - before, now - then
            goodput = rate_of(octets, duration)
            self.report("interval", duration=duration, octets=octets, goodput=goodput, connections=len(self.sessions))
        self._reported = (now, self.octets)

    def result(self) -> dict[str, object]:
        """`goodput` is in bit/s, from the first connection to the last octet."""
        first, last = self._span()
        duration = last - first
        return {
            "octets": self.octets,
            "duration": duration,
            "goodput": rate_of(self.octets, duration),
            "accepted": self.accepted,
            "open": len(self.sessions),
            "completed": self._completed,
            "failed": self._failed,
            "verified": self._verified + sum(session.verified for session in self._streams()),
            "damaged": self._damaged + sum(session.damaged_at is not None for session in self._streams()),
            "reports_dropped": self.report.dropped,
            "connections": self.describe_sessions(),
        }

    def _sum_up(self, session: SinkSession) -> None:
        """What the sums keep of a session that is over."""
        self._verified += session.verified
        self._damaged += session.damaged_at is not None
        self._first = session.started if self._first is None else min(self._first, session.started)
        self._last = max(self._last, session.last)

    def _streams(self) -> Iterator[SinkSession]:
        return (session for session in self.sessions if isinstance(session, SinkSession))

    def _span(self) -> tuple[int, int]:
        first, last = self._first, self._last
        for session in self._streams():
            first = session.started if first is None else min(first, session.started)
            last = max(last, session.last)
        return first or 0, last if first is not None else 0
