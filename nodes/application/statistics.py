"""Round trip times in little memory: exact extremes and moments, percentiles from a histogram.

The histogram is log-linear, as HdrHistogram's: values below 2^7 count each for itself; above, every power of two is
divided into 128 equal buckets, so a percentile is at most 0.8 % too high. 2^63 ns need fewer than 8,000 buckets, of
which only those that were hit exist.

    value (bits)   1 x x x x x x x . . . . . .
                   └─────┬───────┘ └────┬────┘
                     bucket: 8 bits   dropped
"""

from __future__ import annotations

from math import ceil, isqrt

_KEPT_BITS = 8


class Durations:
    """Samples in nanoseconds, summed up."""

    __slots__ = ("_buckets", "_squares", "_sum", "count", "maximum", "minimum")

    def __init__(self) -> None:
        self.count = 0
        self.minimum: int | None = None
        self.maximum: int | None = None
        self._sum = 0
        self._squares = 0
        self._buckets: dict[int, int] = {}

    def add(self, value: int) -> None:
        self.count += 1
        self.minimum = value if self.minimum is None else min(self.minimum, value)
        self.maximum = value if self.maximum is None else max(self.maximum, value)
        self._sum += value
        self._squares += value * value
        top = _bucket_top(value)
        self._buckets[top] = self._buckets.get(top, 0) + 1

    @property
    def average(self) -> int | None:
        return self._sum // self.count if self.count else None

    @property
    def deviation(self) -> int | None:
        """The standard deviation of all samples, which ping calls mdev."""
        if not self.count:
            return None
        return isqrt(self._squares * self.count - self._sum * self._sum) // self.count

    def percentile(self, share: float) -> int | None:
        """The smallest value that `share` (0 to 100) percent of the samples do not exceed."""
        if self.maximum is None:
            return None
        wanted = max(1, ceil(self.count * share / 100))
        for top in sorted(self._buckets):
            wanted -= self._buckets[top]
            if wanted <= 0:
                return min(top, self.maximum)
        return self.maximum

    def summary(self) -> dict[str, object]:
        """`rtt_min`, `rtt_avg`, `rtt_max`, `rtt_mdev`; None each without samples."""
        return {
            "rtt_min": self.minimum,
            "rtt_avg": self.average,
            "rtt_max": self.maximum,
            "rtt_mdev": self.deviation,
        }


def _bucket_top(value: int) -> int:
    """The largest value that shares a bucket with `value`."""
    shift = max(0, value.bit_length() - _KEPT_BITS)
    return (value >> shift << shift) + (1 << shift) - 1
