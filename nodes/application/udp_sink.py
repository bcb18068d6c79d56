"""udp_sink: takes datagrams and says what the network did to them.

Any datagram counts by number and size. Those of `udp_source` carry a stream, a sequence number and a time, from which
each stream's loss, reordering, duplicates and jitter follow.

    expected = highest sequence + 1       lost = expected - distinct        reordered: came after a higher one

Which of the last 1024 numbers came is a bit mask; a datagram older than that is counted as reordered and cannot be told
from a duplicate. What is lost after the last arrival is unknown here: compare with the source's `sent`.

Jitter is that of RFC 3550 appendix A.8: the smoothed difference of the transit times of successive datagrams, in
integers, J += |D| - (J + 8) / 16 with J scaled by 16. The clocks of the two ends need not agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.application import stream
from nodes.application.base import Node, Reports, nanoseconds, option, resolve
from nodes.transport.udp import Received
from nodes.units import SECOND, earliest
from nodes.wire.addresses import ANY, format_ip4

STREAM_LIMIT = 64
"""Streams followed at a time; datagrams of others are counted as untracked. More than a class sends to one node."""

WINDOW = 1024
"""Sequence numbers whose arrival is remembered, about a tenth of a second of a fast source."""


@dataclass(frozen=True, slots=True)
class UdpSinkOptions:
    port: int = option("port to listen on", 9, minimum=1, maximum=65535)
    address: str = option("address to listen on; empty for all", "")
    duration: float = option("seconds to run; 0 goes on until stopped", 0.0, minimum=0, maximum=1e9, unit="s")
    interval: float = option("seconds between reports; 0 for none", 1.0, minimum=0, maximum=1e9, unit="s")
    buffer: int = option("octets that may wait to be read", 4_194_304, minimum=1, maximum=1 << 30)


class StreamStatistics:
    """One stream of a source, by the sequence numbers and times in its datagrams."""

    __slots__ = ("_expected", "_jitter", "_seen", "_transit", "distinct", "duplicated", "reordered")

    def __init__(self) -> None:
        self._expected = 0
        self._seen = 0  # bit i: sequence number expected - 1 - i came
        self._transit: int | None = None
        self._jitter = 0  # ns, scaled by 16
        self.distinct = self.duplicated = self.reordered = 0

    def add(self, sequence: int, sent: int, arrived: int) -> None:
        """A datagram with this number, sent and arrived at these times (ns, each of its own clock)."""
        ahead = sequence + 1 - self._expected
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
            self._expected = sequence + 1
        elif -ahead < WINDOW and self._seen >> -ahead & 1:
            self.duplicated += 1
            return
        else:
            self._seen |= 1 << -ahead if -ahead < WINDOW else 0
            self.reordered += 1
        self.distinct += 1
        self._measure(arrived - sent)

    @property
    def lost(self) -> int:
        return max(0, self._expected - self.distinct)

    @property
    def jitter(self) -> int:
        """Nanoseconds."""
        return self._jitter >> 4

    def _measure(self, transit: int) -> None:
        if self._transit is not None:
            self._jitter += abs(transit - self._transit) - (self._jitter + 8 >> 4)
        self._transit = transit

    def describe(self) -> dict[str, object]:
        return {
            "received": self.distinct,
            "lost": self.lost,
            "reordered": self.reordered,
            "duplicated": self.duplicated,
            "jitter": self.jitter,
        }


class UdpSink:
    """See the module. `ready` takes all that waits, so a burst up to `buffer` octets is not lost here."""

    kind = "udp_sink"

    def __init__(self, node: Node, options: UdpSinkOptions) -> None:
        self._options = options
        self._address = resolve(node, options.address) if options.address else ANY
        self._report = Reports()
        self._interval = nanoseconds(options.interval)
        self._duration = nanoseconds(options.duration)
        self._end: int | None = None
        self._next: int | None = None
        self._datagrams = self._octets = self._untracked = 0
        self._first: int | None = None
        self._last = 0
        self._reported = (0, 0, 0)  # time, datagrams, octets at the last report
        self._streams: dict[tuple[int, int, int], StreamStatistics] = {}
        self.done = False
        self._socket = node.udp.open()
        self._socket.owner = self
        self._socket.receive_limit = options.buffer

    def start(self, now: int) -> None:
        self._socket.bind(self._address, self._options.port, now)
        self._report("listening", address=format_ip4(self._address), port=self._options.port)
        self._reported = (now, 0, 0)
        self._next = now + self._interval if self._interval else None
        self._end = now + self._duration if self._duration else None

    def ready(self, now: int) -> None:  # noqa: ARG002 (datagrams carry their time)
        while not self.done and (received := self._socket.receive()) is not None:
            self._count(received)

    def timeout(self, now: int) -> None:
        if self.done:
            return
        if self._end is not None and self._end <= now:
            self.stop(now)
        elif self._next is not None and self._next <= now:
            self._next += ((now - self._next) // self._interval + 1) * self._interval
            self._interim(now)

    def deadline(self) -> int | None:
        if self.done:
            return None
        return earliest(self._next, self._end)

    def stop(self, now: int) -> None:
        """Datagrams that wait still count."""
        if not self.done:
            self.ready(now)
            self.done = True
            self._socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self._report.drain()

    def result(self) -> dict[str, object]:
        """`rate` is in bits of payload per second, from the first arrival to the last. `streams` are named by the
        source's address, port and stream number."""
        streams = self._streams.values()
        return {
            "datagrams": self._datagrams,
            "octets": self._octets,
            "rate": _rate(self._octets, self._last - (self._first or 0)),
            "lost": sum(each.lost for each in streams),
            "reordered": sum(each.reordered for each in streams),
            "duplicated": sum(each.duplicated for each in streams),
            "jitter": max((each.jitter for each in streams), default=0),
            "untracked": self._untracked,
            "buffer_drops": self._socket.dropped,
            "reports_dropped": self._report.dropped,
            "streams": {_name(key): statistics.describe() for key, statistics in self._streams.items()},
        }

    def _count(self, received: Received) -> None:
        self._datagrams += 1
        self._octets += len(received.data)
        self._last = received.time
        if self._first is None:
            self._first = received.time
        header = stream.parse(received.data)
        if header is None:
            return
        key = (received.source, received.source_port, header.stream)
        statistics = self._streams.get(key)
        if statistics is None:
            if len(self._streams) >= STREAM_LIMIT:
                self._untracked += 1
                return
            statistics = self._streams[key] = StreamStatistics()
        statistics.add(header.sequence, header.time, received.time)

    def _interim(self, now: int) -> None:
        then, datagrams, octets = self._reported
        if self._datagrams != datagrams:
            self._report(
                "interval",
                duration=now - then,
                datagrams=self._datagrams - datagrams,
                octets=self._octets - octets,
                rate=_rate(self._octets - octets, now - then),
                lost=sum(each.lost for each in self._streams.values()),
            )
        self._reported = (now, self._datagrams, self._octets)


def _rate(octets: int, duration: int) -> int:
    return octets * 8 * SECOND // duration if duration > 0 else 0


def _name(key: tuple[int, int, int]) -> str:
    address, port, number = key
    return f"{format_ip4(address)}:{port}/{number}"
