"""udp_source: sends datagrams at a rate, or asks and waits for the answer.

`mode: stream` sends datagram n at start + n / rate. A wake-up that comes late sends what is due at once, up to a burst;
what is more than a burst behind is not made up for. At rate 0 it sends a burst in every gap, and waits when the stack
says that a buffer is full.

`mode: request` sends one datagram, waits for the same octets to come back (`udp_echo` does that), then sends the next,
at once or as the rate allows; a request without an answer in time is lost. Round trip times become percentiles.

ICMP errors about what was sent (nobody listens, no route) are counted and reported, each kind once, and do not end the
source: over UDP, a receiver may well come later.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from nodes.application import stream
from nodes.application.base import Node, Reports, nanoseconds, option, resolve
from nodes.application.statistics import Durations
from nodes.errors import LimitError, MisuseError, StackError
from nodes.units import MILLISECOND, SECOND, earliest
from nodes.wire.addresses import format_ip4

BURST = 64
"""Datagrams sent in one wake-up, at most: as many frames as an agent hands to a link before it reads again."""

BURST_GAP = MILLISECOND
"""At rate 0, the time from burst to burst (ns): 64,000 datagrams/s, above what the stack can send."""

SLOWEST = 0.001
"""Datagrams per second: one in a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class UdpSourceOptions:
    to: str = option("address or name to send to")
    port: int = option("destination port", 9, minimum=1, maximum=65535)
    mode: str = option("send a stream, or requests one at a time", "stream", choices=("stream", "request"))
    size: int = option("octets in a datagram", 1000, minimum=stream.LENGTH, maximum=65507)
    count: int = option("datagrams to send; 0 for no limit", 0, minimum=0)
    duration: float = option("seconds to send; 0 for no limit", 0.0, minimum=0, maximum=1e9, unit="s")
    rate: float = option("datagrams per second; 0 for as fast as possible", 100.0, minimum=0, maximum=1e6)
    timeout: float = option("seconds to wait for an answer", 1.0, minimum=0.001, maximum=3600, unit="s")
    source: str = option("address to send from; empty for the route's", "")
    ttl: int = option("time to live", 64, minimum=1, maximum=255)
    dont_fragment: bool = option("forbid to fragment the datagrams", False)
    broadcast: bool = option("allow a broadcast address", False)


class UdpSource:
    """Sends to one destination."""

    kind = "udp_source"

    def __init__(self, node: Node, options: UdpSourceOptions) -> None:
        if 0 < options.rate < SLOWEST:
            raise MisuseError(f"option rate: {options.rate} is not allowed, 0 or at least {SLOWEST}")
        self._options = options
        self._report = Reports()
        self._destination = resolve(node, options.to)
        self._source = resolve(node, options.source) if options.source else None
        self._timeout = nanoseconds(options.timeout)
        self._requests = options.mode == "request"
        self._started = self._ended = 0
        self._slots = 0  # slots of the schedule that are used up; slot n is due at origin + n / rate
        self._origin = 0
        self._next: int | None = None  # when the next datagram is due
        self._end: int | None = None
        self._waiting: bytes | None = None  # the request without an answer
        self._asked = 0
        self._rtt = Durations()
        self._tried = self._sent = self._lost = self._unexpected = self._errors = self._full = 0
        self._known_errors: set[int] = set()
        self.done = False
        self._socket = node.udp.open()
        self._socket.owner = self
        self._socket.broadcast = options.broadcast
        self._socket.ttl = options.ttl
        self._socket.multicast_ttl = options.ttl
        self._socket.dont_fragment = options.dont_fragment

    def start(self, now: int) -> None:
        if self._source is not None:
            self._socket.bind(self._source, 0, now)
        self._socket.connect(self._destination, self._options.port, now)
        self._started = self._origin = self._next = now
        self._end = now + nanoseconds(self._options.duration) if self._options.duration else None
        self._work(now)

    def ready(self, now: int) -> None:
        while not self.done:
            try:
                received = self._socket.receive()
            except StackError as error:
                self._failed(error)
                continue
            if received is None:
                break
            self._answered(received.data, received.time)
        self._work(now)

    def timeout(self, now: int) -> None:
        if self._waiting is not None and self._asked + self._timeout <= now:
            self._waiting = None
            self._lost += 1
            self._report("timeout", sequence=self._tried - 1)
        self._work(now)

    def deadline(self) -> int | None:
        if self.done:
            return None
        awaited = self._next if self._waiting is None else self._asked + self._timeout
        return earliest(awaited, self._end)

    def stop(self, now: int) -> None:
        if not self.done:
            self.done = True
            self._ended = now
            self._socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self._report.drain()

    def result(self) -> dict[str, object]:
        """`rate` is what was reached, in datagrams per second; times are nanoseconds."""
        duration = self._ended - self._started if self.done else None
        result: dict[str, object] = {
            "destination": f"{format_ip4(self._destination)}:{self._options.port}",
            "sent": self._sent,
            "octets": self._sent * self._options.size,
            "duration": duration,
            "rate": self._sent * SECOND / duration if duration else None,
            "errors": self._errors,
            "buffer_full": self._full,
        }
        if self._requests:
            percentiles = {f"rtt_p{share}": self._rtt.percentile(share) for share in (50, 90, 99)}
            result |= {"answered": self._rtt.count, "lost": self._lost, "unexpected": self._unexpected}
            result |= self._rtt.summary() | percentiles
        return result

    def _work(self, now: int) -> None:
        """Send what is due, then end if there is nothing more to do."""
        if self.done:
            return
        if self._end is not None and self._end <= now:
            self.stop(now)
            return
        for _ in range(BURST):
            if self._waiting is not None or self._complete or self._next is None or self._next > now:
                break
            if not self._send(now):
                self._next = now + BURST_GAP
                break
        else:
            self._catch_breath(now)
        if self._complete and self._waiting is None:
            self.stop(now)

    @property
    def _complete(self) -> bool:
        return bool(self._options.count) and self._tried >= self._options.count

    def _send(self, now: int) -> bool:
        """One datagram; False where the stack has no room for it now. One that cannot leave uses up its number."""
        pending = self._socket.take_error()
        if pending is not None:
            self._failed(pending)
        data = stream.build(self._socket.local_port, self._tried, now, self._options.size)
        try:
            self._socket.send(data, now)
        except LimitError:
            self._full += 1
            return False
        except StackError as error:
            self._failed(error)
        else:
            self._sent += 1
            if self._requests:
                self._waiting, self._asked = data, now
        self._tried += 1
        self._schedule(now)
        return True

    def _schedule(self, now: int) -> None:
        """When the next is due. Requests keep at least their distance; a stream keeps its average."""
        if not self._options.rate:
            return
        if self._requests:
            self._origin, self._slots = now, 0
        self._slots += 1
        self._next = self._origin + int(self._slots * SECOND / self._options.rate)

    def _catch_breath(self, now: int) -> None:
        """After a full burst: wait, and forget the part of the schedule that was missed."""
        if self._next is None or self._next > now:
            return
        gap = max(BURST_GAP, int(SECOND / self._options.rate)) if self._options.rate else BURST_GAP
        self._origin, self._slots = now + gap, 0
        self._next = self._origin

    def _answered(self, data: bytes, arrived: int) -> None:
        if data != self._waiting:
            self._unexpected += self._requests
            return
        self._waiting = None
        self._rtt.add(arrived - self._asked)

    def _failed(self, error: StackError) -> None:
        """Count it, report the first of its kind; a refused request need not be waited for."""
        self._errors += 1
        if self._waiting is not None:
            self._waiting = None
            self._lost += 1
        if error.errno not in self._known_errors:
            self._known_errors.add(error.errno)
            self._report("error", error=error.message, errno=errno.errorcode.get(error.errno, str(error.errno)))
