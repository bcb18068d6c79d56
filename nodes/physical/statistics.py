"""What was measured on one direction of a link: counters, and distributions of delay and lateness.

    delay       from a frame's arrival at the line until it was due to leave: what the impairment did to it
    lateness    from then until the executor really sent it: what the emulator did to it

A distribution is kept in buckets whose width is 1/32 of their value (as HdrHistogram does it): 1.6 % of error at
most, whatever the value, in a dictionary that holds only what occurred."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from nodes.units import SECOND

_SUB_BITS = 5


class Sample(NamedTuple):
    """Sums since the beginning; the difference of two is what happened between them. `delay` is that of `timed` frames,
    `late` the greatest lateness since the sample before (ns)."""

    in_frames: int
    out_frames: int
    out_octets: int
    dropped: int
    delay: int
    timed: int
    late: int


class Distribution:
    """Of non-negative integers, such as nanoseconds. Percentiles are exact to 1.6 %; extremes, mean and count to the
    integer. `peak` is the greatest since somebody set it to zero."""

    __slots__ = ("_buckets", "count", "maximum", "minimum", "peak", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.minimum = 0
        self.maximum = 0
        self.peak = 0

    def add(self, value: int, weight: int = 1) -> None:
        """One more, or so many that it stands for; below zero counts as zero."""
        if value < 0:
            value = 0
        shift = value.bit_length() - _SUB_BITS - 1
        bucket = value if shift <= 0 else (shift << _SUB_BITS) + (value >> shift)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + weight
        if not self.count or value < self.minimum:
            self.minimum = value
        if value > self.peak:
            self.peak = value
            if value > self.maximum:
                self.maximum = value
        self.count += weight
        self.total += value * weight

    def percentile(self, share: float) -> int | None:
        """The value that `share` (0 to 1) of all do not exceed; None where there are none."""
        return self.percentiles(share)[0]

    def percentiles(self, *shares: float) -> list[int | None]:
        """Of several shares, the smallest first."""
        found: list[int | None] = []
        wanted = deque(share * self.count for share in shares)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            while wanted and seen >= wanted[0]:
                wanted.popleft()
                found.append(min(max(_middle(bucket), self.minimum), self.maximum))
        return found + [None] * len(wanted)

    def snapshot(self) -> dict[str, int | None]:
        """Count, extremes, mean and percentiles, in the unit of the values."""
        return {
            "count": self.count,
            "minimum": self.minimum if self.count else None,
            "mean": self.total // self.count if self.count else None,
            **dict(zip(_SHARES, self.percentiles(*_SHARES.values()), strict=True)),
            "maximum": self.maximum if self.count else None,
        }


_SHARES = {"p1": 0.01, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}


def _middle(bucket: int) -> int:
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    if shift == 0:
        return bucket
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + (1 << shift >> 1)


class Statistics:
    """One direction. Frames and octets in and out count what entered and what left the line; `dropped` counts by cause;
    a duplicate is one more that left. What is still inside is `inside`."""

    __slots__ = (
        "_rate_begin",
        "_rate_octets",
        "corrupted",
        "delay",
        "dropped",
        "duplicated",
        "in_frames",
        "in_octets",
        "lateness",
        "marked",
        "out_frames",
        "out_octets",
        "peak_rate",
        "rate",
        "reordered",
    )

    def __init__(self) -> None:
        self.in_frames = self.in_octets = 0
        self.out_frames = self.out_octets = 0
        self.dropped: Counter[str] = Counter()
        self.duplicated = self.reordered = self.corrupted = self.marked = 0
        self.delay = Distribution()
        self.lateness = Distribution()
        self.rate = 0
        """Bits per second that left in the last full second."""
        self.peak_rate = 0
        self._rate_begin: int | None = None
        self._rate_octets = 0

    @property
    def inside(self) -> int:
        """Frames that are on the way."""
        return self.in_frames + self.duplicated - self.out_frames - self.dropped.total()

    def left(self, octets: int, arrived: int, due: int) -> None:
        """A frame left the line at `due`."""
        self.out_frames += 1
        self.out_octets += octets
        self.delay.add(due - arrived)
        begin = self._rate_begin
        if begin is None:
            self._rate_begin = begin = due
        elif due - begin >= SECOND:
            self._count_rate(due)
        self._rate_octets += octets

    def _count_rate(self, now: int) -> None:
        begin = self._rate_begin or 0
        passed = (now - begin) // SECOND
        self.rate = self._rate_octets * 8 if passed == 1 else 0
        self.peak_rate = max(self.peak_rate, self._rate_octets * 8)
        self._rate_begin, self._rate_octets = begin + passed * SECOND, 0

    def sample(self) -> Sample:
        """Cheap enough for every second of every link."""
        late, self.lateness.peak = self.lateness.peak, 0
        dropped = self.dropped.total()
        timed = self.delay.count
        return Sample(self.in_frames, self.out_frames, self.out_octets, dropped, self.delay.total, timed, late)

    def snapshot(self, now: int) -> dict[str, object]:
        """As values of JSON. `rate` and `peak_rate` in bit/s over whole seconds, delays and lateness in ns."""
        if self._rate_begin is not None and now - self._rate_begin >= SECOND:
            self._count_rate(now)
        return {
            "in_frames": self.in_frames,
            "in_octets": self.in_octets,
            "out_frames": self.out_frames,
            "out_octets": self.out_octets,
            "inside": self.inside,
            "dropped": dict(self.dropped),
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "corrupted": self.corrupted,
            "marked": self.marked,
            "rate": self.rate,
            "peak_rate": self.peak_rate,
            "delay": self.delay.snapshot(),
            "lateness": self.lateness.snapshot(),
        }
