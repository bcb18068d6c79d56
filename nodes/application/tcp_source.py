"""source: sends data over TCP as fast as it goes, and says how fast that was; or asks and waits for the answer.

    connecting ──▶ sending ──────────────▶ draining ─────────────▶ over
                   until octets, requests   FIN is sent; all         the peer has closed too,
                   or time are used up      must be acknowledged     or is silent for PATIENCE

`mode: stream` writes whatever there is room for, and waits for the bell of the send buffer: the network sets the pace,
or `rate` does. The data is known (`octet_pattern`): `sink` checks it; any other program that takes octets will do.

`mode: request` sends `size` octets, waits until as many come back (`echo` does that), then sends the next: latencies
become percentiles.

**What is measured.** `octets` are those that the peer has acknowledged. Goodput is theirs from the beginning of the
connection to the acknowledgment of the last. `rtt_*` sum up the smoothed round trip time of TCP, looked at ten times a
second; `rtt_min` is the least that TCP has measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from nodes.application.base import Node, option, resolve
from nodes.application.destination import parse_destination
from nodes.application.octet_pattern import LONGEST_BLOCK
from nodes.application.sessions import Sessions, endpoint, rate_of
from nodes.application.source_session import SourceSession
from nodes.application.statistics import Durations
from nodes.errors import MisuseError
from nodes.transport.tcp.congestion import registry
from nodes.units import MILLISECOND, earliest

SAMPLING = 100 * MILLISECOND
"""How often the state of connections is looked at."""

SAMPLED = 64
"""Connections that are looked at then, each in its turn: a look costs some 20 us."""

OPENED = 64
"""Connections that are begun in one wake-up."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    to: str = option("node or address to send to, with :PORT or not")
    port: int = option("destination port", 9, minimum=1, maximum=65535)
    mode: str = option("send a stream, or requests one at a time", "stream", choices=("stream", "request"))
    bytes: int = option("send so much on all connections together; 0 for no limit", 0, minimum=0, unit="octets")
    duration: float = option("seconds to send; 0 for no limit", 0.0, minimum=0, maximum=1e9, unit="s")
    connections: int = option("connections at a time", 1, minimum=1, maximum=10_000)
    congestion: str = option("congestion control; empty for the node's", "")
    nodelay: bool = option("send small segments at once, without Nagle's algorithm", False)
    write: int = option("length of a write", 65_536, minimum=1, maximum=LONGEST_BLOCK, unit="octets")
    rate: int = option("each connection sends so fast; 0 for no limit", 0, minimum=0, maximum=1e12, unit="bit/s")
    size: int = option("length of a request", 64, minimum=1, maximum=LONGEST_BLOCK, unit="octets")
    count: int = option("requests of each connection; 0 for no limit", 0, minimum=0)
    interval: float = option("seconds between reports; 0 for none", 1.0, minimum=0, maximum=1e9, unit="s")
    send_buffer: int = option("send buffer; 0 for the node's", 0, minimum=0, maximum=1 << 30, unit="octets")
    mss: int = option("largest segment; 0 for what the path allows", 0, minimum=0, maximum=65_495, unit="octets")
    source: str = option("address to send from; empty for the route's", "")


class Source(Sessions):
    """See the module."""

    kind = "source"

    def __init__(self, node: Node, options: SourceOptions) -> None:
        super().__init__(node, interval=options.interval, duration=options.duration)
        if options.congestion:
            _check_congestion(options.congestion)
        if options.mode == "request" and options.bytes:
            raise MisuseError("option bytes is for streams", hint="count says how many requests there are")
        self.options = options
        self.destination = parse_destination(node, options.to, options.port)
        self._source = resolve(node, options.source) if options.source else None
        self.rtt = Durations()
        self.latency = Durations()
        self._all: list[SourceSession] = []
        self._turns: deque[SourceSession] = deque()
        self._sample_at: int | None = None
        self._started = self._ended = 0
        self._reported = (0, 0, 0, 0)
        self._reason = "completed"

    def start(self, now: int) -> None:
        self._started = self._ended = now
        self._reported = (now, 0, 0, 0)
        self._sample_at = now + SAMPLING
        self.begin(now)
        self._open_some(now)

    def ready(self, now: int) -> None:
        super().ready(now)
        if not self.done:
            self._open_some(now)

    def timeout(self, now: int) -> None:
        if self._sample_at is not None and self._sample_at <= now:
            self._sample_at = now + SAMPLING
            self._look(now)
        super().timeout(now)

    def deadline(self) -> int | None:
        return None if self.done else earliest(super().deadline(), self._sample_at)

    def expired(self, now: int) -> None:
        """The time is over: no new data."""
        for session in self._live():
            session.end_sending(now)
        self.check_done(now)

    def check_done(self, now: int) -> None:
        if not self.sessions and len(self._all) == self.options.connections:
            self.stop(now)

    def stop(self, now: int) -> None:
        if self.done:
            return
        self._ended = now
        for session in self._live():
            self._reason = "stopped"
            session.stopped(now)
        if self._reported[0] > self._started:
            self.interim(now)  # what remains of the last interval
        super().stop(now)

    def ended(self, session: SourceSession, now: int) -> None:
        """A session is over."""
        if session.error is not None and self._reason == "completed":
            self._reason = session.error
        self.finish(session, now)

    def interim(self, now: int) -> None:
        then, octets, retransmissions, answered = self._reported
        self._look(now)
        live = list(self._live())
        total, resent = self._octets(), self._retransmissions()
        duration = now - then
        self.report(
            "interval",
            since=then - self._started,
            duration=duration,
            octets=total - octets,
            goodput=rate_of(total - octets, duration),
            retransmissions=resent - retransmissions,
            srtt=_average([session.srtt for session in live if session.srtt is not None]),
            cwnd=sum(session.cwnd for session in live),
            answered=self.latency.count - answered,
            connections=len(live),
        )
        self._reported = (now, total, resent, self.latency.count)

    def result(self) -> dict[str, object]:
        """Of all connections together, and of each."""
        last = max((session.measured_until for session in self._all), default=self._ended)
        duration = max(last - self._started, 0)
        octets = self._octets()
        failed = sum(session.error is not None for session in self._all)
        least = [session.min_rtt for session in self._all if session.min_rtt is not None]
        result: dict[str, object] = {
            "destination": endpoint(self.destination),
            "congestion": self._all[0].congestion if self._all else self.options.congestion,
            "octets": octets,
            "duration": duration,
            "goodput": rate_of(octets, duration),
            "retransmissions": self._retransmissions(),
            "connected": sum(session.connect_time is not None for session in self._all),
            "failed": failed,
            "reason": self._reason if self.done else "open",
            "rtt_min": min(least, default=None),
            **{f"rtt_p{share}": self.rtt.percentile(share) for share in (50, 90, 99)},
            "cwnd_max": max((session.cwnd_max for session in self._all), default=0),
            "reports_dropped": self.report.dropped,
        }
        if self.options.mode == "request":
            result |= {"answered": self.latency.count, "damaged": sum(session.damaged for session in self._all)}
            result |= {"latency_min": self.latency.minimum, "latency_max": self.latency.maximum}
            result |= {f"latency_p{share}": self.latency.percentile(share) for share in (50, 90, 99)}
        return result | {"connections": self.describe_sessions()}

    def _open_some(self, now: int) -> None:
        options = self.options
        missing = options.connections - len(self._all)
        each, more = divmod(options.bytes, options.connections)
        for _ in range(min(missing, OPENED)):
            socket = self.node.tcp.open()
            limit = each + (len(self._all) < more) if options.bytes else None
            session = SourceSession(self, socket, limit, now)
            self._all.append(session)
            self._turns.append(session)
            self.sessions[session] = None
            session.configure(options, now)
            if self._source is not None:
                socket.bind(self._source, 0, now)
            socket.connect(*self.destination, now)
        if missing > OPENED:
            self.resume = now + 1

    def _look(self, now: int) -> None:
        """See what TCP says of the next connections."""
        for _ in range(min(SAMPLED, len(self._turns))):
            session = self._turns.popleft()
            if session in self.sessions:
                session.sample(now)
                self._turns.append(session)

    def _live(self) -> Iterator[SourceSession]:
        return (session for session in tuple(self.sessions) if isinstance(session, SourceSession))

    def _octets(self) -> int:
        return sum(session.acknowledged for session in self._all)

    def _retransmissions(self) -> int:
        return sum(session.retransmissions for session in self._all)


def _check_congestion(name: str) -> None:
    """To be refused before anything is begun, as any other wrong option."""
    try:
        registry.check(name)
    except MisuseError as error:
        raise MisuseError(f"option congestion: {error.message}", hint=error.hint) from None


def _average(values: list[int]) -> int | None:
    return sum(values) // len(values) if values else None
