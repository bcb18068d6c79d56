"""One connection of `source`: what it writes, what comes back, and what TCP says of it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.application import octet_pattern
from nodes.application.sessions import SHARE, Pace, Session, endpoint, rate_of, reason_of
from nodes.application.statistics import Durations
from nodes.errors import StackError
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from nodes.application.tcp_source import Source, SourceOptions

PATIENCE = SECOND
"""How long the peer may be silent, everything acknowledged, before a source closes although the peer has not."""

DRAIN_CHECK = 10 * MILLISECOND
"""How often a draining connection is looked at where no bell rings."""

PIECE = 1 << 20

CONNECTING, SENDING, DRAINING, OVER = range(4)
_SHUT = frozenset({State.FIN_WAIT_2, State.TIME_WAIT, State.CLOSED})
"""States in which our FIN is acknowledged."""


class SourceSession(Session):
    """`left` is how much may still be written, None without limit."""

    __slots__ = (
        "answered",
        "asked_at",
        "confirmed",
        "congestion",
        "connect_time",
        "cwnd",
        "cwnd_max",
        "damaged",
        "drained",
        "error",
        "final",
        "heard_at",
        "left",
        "local",
        "measured_until",
        "min_rtt",
        "mss",
        "pace",
        "phase",
        "reason",
        "received",
        "requests",
        "retransmissions",
        "rtt",
        "size",
        "source",
        "srtt",
        "started",
        "to_write",
        "write",
        "written",
    )

    def __init__(self, source: Source, socket: TcpSocket, limit: int | None, now: int) -> None:
        super().__init__(source, socket)
        options = source.options
        self.source = source
        self.left = limit
        self.requests = options.mode == "request"
        self.size = options.size
        self.write = options.size if self.requests else options.write
        self.pace = Pace(options.rate, now) if options.rate else None
        self.phase = CONNECTING
        self.reason = "open"
        self.error: str | None = None
        self.congestion = socket.options.congestion
        self.started = self.measured_until = self.heard_at = now
        self.written = self.received = 0
        self.to_write = self.answered = self.asked_at = 0
        self.drained = False
        self.final: int | None = None
        self.damaged = False
        self.connect_time: int | None = None
        self.local = ""
        self.rtt = Durations()
        self.srtt: int | None = None
        self.min_rtt: int | None = None
        self.confirmed = self.mss = self.cwnd = self.cwnd_max = self.retransmissions = 0

    def configure(self, options: SourceOptions, now: int) -> None:
        """Before the connection is begun."""
        socket = self.socket
        if options.congestion:
            socket.set_option("congestion", options.congestion, now)
        if options.send_buffer:
            socket.set_option("send_limit", options.send_buffer, now)
        if options.mss:
            socket.set_option("mss", options.mss, now)
        socket.set_option("nodelay", options.nodelay, now)
        self.congestion = socket.options.congestion

    # ------------------------------------------------------------------------------------------------------- its turns

    def work(self, now: int) -> int:
        """Read what came, write what there is room for, look whether it is over."""
        data = self.socket.receive(PIECE)
        if self.phase == CONNECTING:
            if not self.socket.connected:
                return 0
            self.phase = SENDING
            self.connect_time = now - self.started
            self.local = endpoint(self.socket.local)
            self.sample(now)
        if data:
            self._heard(data, now)
            self.again()
        elif data is not None and self.phase == SENDING and self.requests:
            self._fail("closed_by_peer", "the peer closed before it had answered", now)
            return 0
        moved = self._send(now) if self.phase == SENDING else 0
        if self.phase == DRAINING:
            self._drain(now, at_end=data == b"")
        return moved + len(data or b"")

    def failed(self, error: StackError, now: int) -> None:
        self._fail(reason_of(error), error.message, now)

    def _fail(self, reason: str, message: str, now: int) -> None:
        self.source.report("error", remote=endpoint(self.socket.remote), error=message)
        self.reason = self.error = reason
        self._over(now)

    def _send(self, now: int) -> int:
        moved = 0
        while moved < SHARE:
            length = self._allowed(now)
            if length <= 0:
                return moved
            accepted = self.socket.send(octet_pattern.block(self.written, length), now)
            self.written += accepted
            moved += accepted
            if self.left is not None:
                self.left -= accepted
            if self.pace is not None:
                self.pace.take(accepted)
            if self.requests:
                self.to_write -= accepted
            if accepted < length:
                return moved
        self.again()
        return moved

    def _allowed(self, now: int) -> int:
        """How many octets may be written now, as far as it is for us to say. Writes end at multiples of their length,
        so that most are whole blocks of the pattern."""
        length = self.write - self.written % self.write
        if self.requests:
            length = self._of_request(now)
        elif self.left is not None:
            length = min(length, self.left)
            if not length:
                self.end_sending(now)
        if length > 0 and self.pace is not None:
            room = self.pace.room(now)
            if not room:
                self.again_at(self.pace.next())
            length = min(length, room)
        return length

    def _of_request(self, now: int) -> int:
        """What is left of the request; a new one begins when the last is answered. `to_write` is what is missing
        of it."""
        if self.to_write:
            return self.to_write
        if self.written > self.received:
            return 0
        if self.source.options.count and self.answered >= self.source.options.count:
            self.end_sending(now)
            return 0
        self.asked_at = now
        self.to_write = self.size
        return self.size

    def _heard(self, data: bytes, now: int) -> None:
        self.heard_at = now
        if self.requests and not self.damaged and octet_pattern.first_difference(self.received, data) is not None:
            self.damaged = True
            self.source.report("damaged", remote=endpoint(self.socket.remote), at=self.received)
        self.received += len(data)
        if self.requests and self.phase == SENDING and not self.to_write and self.received >= self.written:
            self.answered += 1
            self.source.latency.add(now - self.asked_at)

    # ------------------------------------------------------------------------------------------------------ its ending

    def end_sending(self, now: int) -> None:
        """No more data: FIN, after what is queued."""
        if self.phase == CONNECTING:
            self._fail("not_connected", "not connected when the time was over", now)
        elif self.phase == SENDING:
            self.phase = DRAINING
            self.heard_at = now
            self.socket.shutdown(now)
            self.again_at(now + DRAIN_CHECK)

    def _drain(self, now: int, *, at_end: bool) -> None:
        socket = self.socket
        if not self.drained and not socket.unsent and socket.state in _SHUT:
            self.drained = True
            self.measured_until = self.heard_at = now
        if self.drained and (at_end or now - self.heard_at >= PATIENCE):
            self.reason = "completed"
            self._over(now)
        else:
            self.again_at(now + DRAIN_CHECK)

    def stopped(self, now: int) -> None:
        """Somebody ended the source: what is queued is still sent, and counts no more."""
        self.reason = "stopped"
        self.sample(now)
        self.final = self.acknowledged
        self.phase = OVER

    def _over(self, now: int) -> None:
        self.sample(now)
        self.final = self.acknowledged if self.error is None else self.confirmed
        self.phase = OVER
        self.source.ended(self, now)

    # ----------------------------------------------------------------------------------------------------- observation

    @property
    def acknowledged(self) -> int:
        return self.written - self.socket.unsent if self.final is None else self.final

    def sample(self, now: int) -> None:
        """What TCP says now."""
        if not self.drained:
            self.measured_until = now
        if self.connect_time is None:
            return
        info = self.socket.info(now)
        self.srtt = _integer(info.get("srtt"))
        self.min_rtt = _integer(info.get("min_rtt"))
        self.mss = _integer(info.get("mss")) or 0
        self.confirmed = min(_integer(info.get("acknowledged")) or 0, self.written)
        self.cwnd = _integer(info.get("cwnd")) or 0
        self.cwnd_max = max(self.cwnd_max, self.cwnd)
        recovery = info.get("recovery")
        if isinstance(recovery, dict):
            self.retransmissions = recovery["retransmitted_segments"]
        if self.srtt is not None:
            self.rtt.add(self.srtt)
            self.source.rtt.add(self.srtt)

    def describe(self) -> dict[str, object]:
        duration = self.measured_until - self.started
        return {
            "local": self.local,
            "remote": endpoint(self.socket.remote),
            "octets": self.acknowledged,
            "received": self.received,
            "duration": duration,
            "goodput": rate_of(self.acknowledged, duration),
            "connect_time": self.connect_time,
            "retransmissions": self.retransmissions,
            "rtt_min": self.min_rtt,
            **{f"rtt_p{share}": self.rtt.percentile(share) for share in (50, 90, 99)},
            "srtt": self.srtt,
            "cwnd_max": self.cwnd_max,
            "mss": self.mss,
            "reason": self.reason,
        }


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
