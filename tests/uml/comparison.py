"""Whether two things behave alike, as far as chance lets one say it.

    share          of frames that something happened to      difference of two shares, normal approximation, with
                                                             the variance inflated where neighbors depend
    counts         in classes                                chi-square test of homogeneity, or against given shares
    distributions  of delays                                 k-sample Anderson-Darling test (Scholz and Stephens 1987),
                                                             the method of RFC 6576 for comparing implementations

All tests are made at `LEVEL`: two things that are alike are called different once in a thousand times. The callers
repeat what failed with new frames, and believe it only when it fails again: once in a million.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

LEVEL = 0.001
_ANDERSON_DARLING_AT_LEVEL = 6.546
"""Of the standardized statistic for two samples at 0.1 %: b0 + b1 + b2 of Scholz and Stephens, table 2, extended."""
_LEAST_EXPECTED = 8.0
"""Frames in a class, for the chi-square approximation to hold in its tail."""
_LAGS = 40
"""After so many frames, chains that are compared here have forgotten their state."""


def wilson(count: int, total: int, inflation: float = 1.0, level: float = LEVEL) -> tuple[float, float]:
    """The interval in which a share lies of which `count` of `total` were seen (E. B. Wilson 1927); `inflation` as
    `variance_inflation` gives it."""
    trials = total / inflation
    share = count / total
    z = statistics.NormalDist().inv_cdf(1 - level / 2)
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    below = 1 + z * z / trials
    return (middle - half) / below, (middle + half) / below


def share_chance(count: int, total: int, other_count: int, other_total: int, inflation: float = 1.0) -> float:
    """How likely two samples of one share differ by so much, or more."""
    pooled = (count + other_count) / (total + other_total)
    variance = pooled * (1 - pooled) * (1 / total + 1 / other_total) * inflation
    if variance == 0:
        return 1.0
    z = abs(count / total - other_count / other_total) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def variance_inflation(happened: Sequence[bool]) -> float:
    """How much more the mean of such a sequence varies than that of independent ones: 1 + 2 sum of autocorrelations.
    For a chain of two states with the eigenvalue l it is (1 + l) / (1 - l)."""
    mean = sum(happened) / len(happened)
    centered = [value - mean for value in happened]
    variance = sum(value * value for value in centered)
    if not variance:
        return 1.0
    total = 0.0
    for lag in range(1, _LAGS):
        total += sum(map(float.__mul__, centered[lag:], centered[:-lag])) / variance
    return max(1 + 2 * total, 1.0)


def autocorrelation(values: Sequence[float]) -> float:
    """Of each value with the next."""
    mean = statistics.fmean(values)
    centered = [value - mean for value in values]
    return sum(a * b for a, b in itertools.pairwise(centered)) / sum(value * value for value in centered)


def run_lengths(happened: Iterable[bool], kind: bool) -> Counter[int]:
    """How many runs there are of each length; the first and the last, which are cut, are not counted."""
    runs = [(value, sum(1 for _ in group)) for value, group in itertools.groupby(happened)]
    return Counter(length for value, length in runs[1:-1] if value is kind)


def counts_chance(first: Counter[int], second: Counter[int]) -> float:
    """Chi-square test of homogeneity: how likely two samples of one distribution differ by so much. Neighboring classes
    are joined until enough is expected in each."""
    totals = (first.total(), second.total())
    if not any(totals):
        return 1.0
    share = min(totals) / sum(totals)
    classes: list[list[int]] = []
    filling = [0, 0]
    for value in sorted(first | second):
        filling = [filling[0] + first[value], filling[1] + second[value]]
        if sum(filling) * share >= _LEAST_EXPECTED:
            classes.append(filling)
            filling = [0, 0]
    if classes and any(filling):
        classes[-1] = [classes[-1][0] + filling[0], classes[-1][1] + filling[1]]
    if len(classes) < 2:
        return 1.0
    sums = (sum(a for a, _ in classes), sum(b for _, b in classes))
    statistic = 0.0
    for pair in classes:
        for count, total in zip(pair, sums, strict=True):
            expected = sum(pair) * total / sum(sums)
            statistic += (count - expected) ** 2 / expected
    return chi_square_tail(statistic, len(classes) - 1)


def evenness_chance(counts: Sequence[int]) -> float:
    """Chi-square test: how likely counts that are expected to be equal differ by so much."""
    expected = sum(counts) / len(counts)
    return chi_square_tail(sum((count - expected) ** 2 / expected for count in counts), len(counts) - 1)


def chi_square_tail(value: float, freedom: int) -> float:
    """The chance of more than `value`: the upper incomplete gamma function, by series or continued fraction."""
    a, x = freedom / 2, value / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while term > total * 1e-14:
            n += 1
            term *= x / n
            total += term
        return 1 - scale * total
    b = x + 1 - a
    c, d = 1e300, 1 / b
    fraction = d
    for n in range(1, 1000):
        factor = -n * (n - a)
        b += 2
        d = 1 / (factor * d + b)
        c = b + factor / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return scale * fraction


def distributions_differ(first: Sequence[float], second: Sequence[float]) -> bool:
    """Anderson and Darling's test of two samples, at LEVEL."""
    return anderson_darling([first, second]) > _ANDERSON_DARLING_AT_LEVEL


def anderson_darling(samples: Sequence[Sequence[float]]) -> float:
    """The statistic of the k-sample test, less its mean, in standard deviations: Scholz and Stephens, "K-Sample
    Anderson-Darling Tests", JASA 82 (1987), equations 4 to 7; with ties."""
    pooled = sorted(itertools.chain.from_iterable(samples))
    ordered = [sorted(sample) for sample in samples]
    total = len(pooled)
    statistic = 0.0
    for value, below in _steps(pooled):
        width = below - bisect.bisect_left(pooled, value)
        weight = width / (total * below * (total - below))
        for sample in ordered:
            inside = bisect.bisect_right(sample, value)
            statistic += weight * (total * inside - below * len(sample)) ** 2 / len(sample)
    freedom = len(samples) - 1
    return (statistic - freedom) / math.sqrt(_variance([len(sample) for sample in samples]))


def _steps(pooled: Sequence[float]) -> Iterable[tuple[float, int]]:
    """Each value but the largest, with how many are no larger."""
    for place in range(len(pooled) - 1):
        if pooled[place] != pooled[place + 1] and pooled[place] != pooled[-1]:
            yield pooled[place], place + 1


def _variance(sizes: Sequence[int]) -> float:
    k, total = len(sizes), sum(sizes)
    big_h = sum(1 / size for size in sizes)
    h = sum(1 / n for n in range(1, total))
    tail = list(itertools.accumulate(1 / n for n in range(total - 1, 0, -1)))  # tail[m]: of the last m + 1
    g = sum(tail[total - n - 2] / (total - n) for n in range(1, total - 1))
    a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * big_h
    b = (2 * g - 4) * k**2 + 8 * h * k + (2 * g - 14 * h - 4) * big_h - 8 * h + 4 * g - 6
    c = (6 * h + 2 * g - 2) * k**2 + (4 * h - 4 * g + 6) * k + (2 * h - 6) * big_h + 4 * h
    d = (2 * h + 6) * k**2 - 4 * h * k
    return (a * total**3 + b * total**2 + c * total + d) / ((total - 1) * (total - 2) * (total - 3))
