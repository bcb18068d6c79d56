"""What empties a queue: when the transmission of a frame ends.

A server sends one frame at a time. Whoever drives it takes a frame from the queue as soon as the server is free, asks
`finish` when its last bit is gone, and does not ask again before then:

    RateServer      a serial line: octets × 8 / rate for each frame, as on a wire of that speed
    BucketServer    a shaped line: tokens for `burst` octets lie in a bucket, `rate` fills it; a frame waits until there
                    are enough for it, takes them, and is then on the wire for octets × 8 / peak (no time at any speed)
    TraceServer     a radio line, as recorded: each opportunity of the trace carries 1500 octets, used or not (Mahimahi)

The frame that is being sent, or that waits for tokens or an opportunity, is the server's: it is not in the queue any
more, as a frame in the transmit ring of an interface is not.

All arithmetic is in integers. Tokens are counted in bits × 10⁹, so that one nanosecond at one bit per second is one
of them and nothing is ever rounded away; what a serial line's frame lasts beyond a whole nanosecond counts for the next
one, as long as they follow each other. Rates over any time are exact.

Line overheads (as netem's and tbf's: `overhead`, `cell`, `cell_overhead`) make frames longer on the line than they are:
ADSL's ATM cells of 48 octets with 5 more each are `cell=48, cell_overhead=5`. A trace counts packets without their
Ethernet header and knows no overheads.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Protocol

from nodes.errors import MisuseError
from nodes.impairment import FRAME_OVERHEAD, Impairment, RateTrace, TokenBucket
from nodes.units import MILLISECOND, SECOND

OPPORTUNITY = 1500
"""Octets of packet that one opportunity of a Mahimahi trace carries."""

_BITS = 8
_OCTET = _BITS * SECOND
"""One octet, in tokens."""


class Server(Protocol):
    """`rate` is the speed on average, in bit/s, for those who size queues after it."""

    @property
    def rate(self) -> int: ...

    def finish(self, octets: int, now: int) -> int:
        """When the transmission ends of a frame of `octets` that is taken at `now`, which is not before the end of the
        one before it. Never before `now`."""

    def change(self, impairment: Impairment, now: int) -> bool:
        """Go on with other values, for the frames that are taken from now on; tokens and what was used of a trace stay.
        False where the impairment asks for another kind of server: nothing has changed then."""

    def snapshot(self, now: int) -> dict[str, object]:
        """Its state as values of JSON."""


class LineLength:
    """How many octets a frame takes on the line (see above). At least none, whatever a negative overhead says."""

    __slots__ = ("_cell", "_cell_overhead", "_overhead")

    def __init__(self, overhead: int = 0, cell: int = 0, cell_overhead: int = 0) -> None:
        self._overhead = overhead
        self._cell = cell
        self._cell_overhead = cell_overhead

    def __call__(self, octets: int) -> int:
        octets = max(octets + self._overhead, 0)
        if self._cell:
            return -(-octets // self._cell) * (self._cell + self._cell_overhead)
        return octets


class RateServer:
    """A line of `rate` bit/s."""

    __slots__ = ("_end", "_length", "_remainder", "rate")

    def __init__(self, rate: int, overhead: int = 0, cell: int = 0, cell_overhead: int = 0) -> None:
        self.rate = _positive(rate)
        self._length = LineLength(overhead, cell, cell_overhead)
        self._end = 0
        self._remainder = 0  # of the last frame, beyond `_end`, in 1/rate ns

    def finish(self, octets: int, now: int) -> int:
        bits = self._length(octets) * _OCTET
        if now == self._end:
            bits += self._remainder
        duration, self._remainder = divmod(bits, self.rate)
        self._end = now + duration
        return self._end

    def change(self, impairment: Impairment, now: int) -> bool:  # noqa: ARG002  (the surface of all servers)
        if impairment.trace is not None or impairment.bucket is not None or not impairment.rate:
            return False
        if impairment.rate != self.rate:
            self.rate, self._remainder = impairment.rate, 0
        self._length = line_length(impairment)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002
        return {"server": "rate", "rate": self.rate}


class BucketServer:
    """A token bucket, full at first. A frame that is larger than the bucket waits until it is full and leaves a debt,
    which keeps the average exact (sch_tbf drops such frames instead)."""

    __slots__ = ("_at", "_burst", "_length", "_peak", "_tokens", "rate")

    def __init__(self, bucket: TokenBucket, now: int, length: LineLength | None = None) -> None:
        self._length = length or LineLength()
        self._configure(bucket)
        self._tokens = self._burst
        self._at = now

    def finish(self, octets: int, now: int) -> int:
        octets = self._length(octets)
        needed = octets * _OCTET
        self._fill(now)
        missing = min(needed, self._burst) - self._tokens
        if missing > 0:
            self._fill(self._at - (-missing // self.rate))
        self._tokens -= needed
        return self._at - (-needed // self._peak) if self._peak else self._at

    def change(self, impairment: Impairment, now: int) -> bool:
        if impairment.trace is not None or impairment.bucket is None:
            return False
        self._fill(now)
        self._configure(impairment.bucket)
        self._tokens = min(self._tokens, self._burst)
        self._length = line_length(impairment)
        return True

    def snapshot(self, now: int) -> dict[str, object]:
        waited = max(now - self._at, 0) * self.rate
        tokens = min(self._tokens + waited, self._burst) // _OCTET
        return {"server": "bucket", "rate": self.rate, "burst": self._burst // _OCTET, "tokens": tokens}

    def _configure(self, bucket: TokenBucket) -> None:
        self.rate = _positive(bucket.rate)
        self._burst = _positive(bucket.burst) * _OCTET
        self._peak = bucket.peak

    def _fill(self, now: int) -> None:
        """Nothing where the last frame still waits for its tokens: the bucket's time is then after `now`."""
        if now > self._at:
            self._tokens = min(self._tokens + (now - self._at) * self.rate, self._burst)
            self._at = now


class TraceServer:
    """The opportunities of a trace, numbered on through its repetitions from 0; `start` is its zero. Several frames
    share the octets of one opportunity if they follow each other at once; a frame that one does not carry whole goes on
    with the next; what nobody waits for is lost."""

    __slots__ = ("_left", "_next", "_period", "_start", "_times", "_trace")

    _next: int
    """The first opportunity that is not used yet."""
    _left: int
    """What the one before it has still to give, in octets, at its own time and no later."""

    def __init__(self, trace: RateTrace, start: int) -> None:
        self._begin(trace, start)

    @property
    def rate(self) -> int:
        return len(self._times) * OPPORTUNITY * _OCTET // self._period

    def finish(self, octets: int, now: int) -> int:
        """The time of the opportunity that carries the frame's last octet."""
        first = self._first_at(now)
        if first > self._next or now > self._time(self._next - 1):
            self._left = 0
        self._next = max(self._next, first)
        missing = max(octets - FRAME_OVERHEAD, 1) - self._left
        more = max(-(-missing // OPPORTUNITY), 0)
        self._next += more
        self._left = more * OPPORTUNITY - missing
        return self._time(self._next - 1)

    def change(self, impairment: Impairment, now: int) -> bool:
        """Another trace begins at `now`."""
        if impairment.trace is None:
            return False
        if impairment.trace != self._trace:
            self._begin(impairment.trace, now)
        return True

    def snapshot(self, now: int) -> dict[str, object]:
        following = self._time(max(self._next, self._first_at(now)))
        return {"server": "trace", "rate": self.rate, "period": self._period, "next": following}

    def _begin(self, trace: RateTrace, start: int) -> None:
        if not trace.opportunities or trace.opportunities[-1] <= 0:
            raise MisuseError("a rate trace of no length", hint="its last opportunity ends it: after 0 ms")
        self._trace = trace
        self._times = tuple(time * MILLISECOND for time in trace.opportunities)
        self._period = self._times[-1]
        self._start = start
        self._next = self._left = 0

    def _time(self, number: int) -> int:
        period, index = divmod(number, len(self._times))
        return self._start + period * self._period + self._times[index]

    def _first_at(self, now: int) -> int:
        """The number of the first opportunity that is not before `now`."""
        passed = now - self._start
        if passed <= 0:
            return 0
        periods = (passed - 1) // self._period  # so that what is left is from 1 ns to a whole period
        return periods * len(self._times) + bisect_left(self._times, passed - periods * self._period)


def make_server(impairment: Impairment, now: int, before: Server | None = None) -> Server:
    """A trace goes before a bucket, and that before a rate. A server of the same kind as `before` is `before`, changed:
    the frame that it is sending ends when it was said to end. Raises MisuseError where the impairment has none."""
    if before is not None and before.change(impairment, now):
        return before
    if impairment.trace is not None:
        return TraceServer(impairment.trace, now)
    if impairment.bucket is not None:
        return BucketServer(impairment.bucket, now, line_length(impairment))
    if impairment.rate:
        return RateServer(impairment.rate, impairment.overhead, impairment.cell, impairment.cell_overhead)
    raise MisuseError("a queue without anything that empties it", hint="give a rate, a bucket or a trace")


def line_length(impairment: Impairment) -> LineLength:
    """That of its line overheads."""
    return LineLength(impairment.overhead, impairment.cell, impairment.cell_overhead)


def _positive(value: int) -> int:
    if value <= 0:
        raise MisuseError(f"a rate or a burst of {value}, more than 0 expected")
    return value
