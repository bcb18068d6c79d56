"""The median of a sample, and an interval for the median of what it was drawn from, whatever its distribution.

Of n independent values in order, x(1) <= ... <= x(n), the number that lies below the true median is binomial with
p = 1/2. So x(j) .. x(n + 1 - j) covers the median with the confidence

    1 - 2 * P(B <= j - 1),    B ~ Binomial(n, 1/2)

(H. A. David and H. N. Nagaraja, Order Statistics, 3rd edition, 2003, section 7.1; tables for 95 % are in J.-Y. Le
Boudec, Performance Evaluation of Computer and Communication Systems, 2010, appendix A). Taken is the largest j with at
least 95 %. Fewer than six values have none: their interval goes from the smallest to the largest, and the confidence,
which is always told, says how little that is worth: 93.75 % for five, 75 % for three, nothing for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    median: float
    lower: float
    upper: float
    confidence: float


def median_interval(values: Sequence[float]) -> Interval:
    """Of at least one finite value."""
    ordered = sorted(map(float, values))
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    rank, confidence = ranks(n)
    return Interval(middle, ordered[rank - 1], ordered[n - rank], confidence)


def ranks(n: int) -> tuple[int, float]:
    """The j of the interval, from 1, and its confidence."""
    below, rank, confidence = 0, 1, 1 - 2 * 0.5**n
    for j in range(1, (n + 1) // 2 + 1):
        below += math.comb(n, j - 1)
        covered = float(1 - 2 * below / (1 << n))
        if j > 1 and covered < CONFIDENCE:
            break
        rank, confidence = j, covered
    return rank, max(confidence, 0.0)
