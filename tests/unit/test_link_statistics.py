"""What is measured on a link: counters, rates, and distributions with known precision."""

from __future__ import annotations

from random import Random

import pytest

from nodes.physical.statistics import Distribution, Sample, Statistics
from nodes.units import MILLISECOND, SECOND


def test_percentiles_are_exact_to_a_64th() -> None:
    random = Random(1)
    values = sorted(int(random.lognormvariate(12, 3)) for _ in range(5000))
    seen = Distribution()
    for value in values:
        seen.add(value)
    for share in (0.01, 0.1, 0.5, 0.9, 0.99, 1.0):
        exact = values[max(int(share * len(values)) - 1, 0)]
        assert seen.percentile(share) == pytest.approx(exact, rel=1 / 60, abs=1)
    assert (seen.minimum, seen.maximum, seen.total, seen.count) == (values[0], values[-1], sum(values), 5000)


@pytest.mark.parametrize("value", [0, 1, 31, 32, 63, 64, 65, 127, 128, 1000, 20_000_000, 2**40 + 12345])
def test_a_single_value_is_its_own_percentile(value: int) -> None:
    seen = Distribution()
    seen.add(value)
    assert [seen.percentile(share) for share in (0.01, 0.5, 1)] == [value] * 3
    assert seen.snapshot()["mean"] == value


def test_nothing_has_no_percentile() -> None:
    assert Distribution().snapshot() == dict.fromkeys(("minimum", "mean", "maximum", *PERCENTILES)) | {"count": 0}


PERCENTILES = ("p1", "p10", "p50", "p90", "p99")


def test_a_negative_value_counts_as_zero() -> None:
    """A clock that two processes read may seem to go back by some ns."""
    seen = Distribution()
    seen.add(-5)
    assert (seen.count, seen.minimum, seen.percentile(0.5)) == (1, 0, 0)


def test_the_rate_is_that_of_whole_seconds() -> None:
    statistics = Statistics()
    for number in range(300):  # 3 s with 100 frames of 1000 octets each
        statistics.left(1000, 0, number * 10 * MILLISECOND)
    told = statistics.snapshot(3 * SECOND)
    assert (told["rate"], told["peak_rate"]) == (800_000, 800_000)
    told = statistics.snapshot(10 * SECOND)
    assert (told["rate"], told["peak_rate"]) == (0, 800_000), "nothing left in the last second"


def test_what_is_inside_is_what_came_and_has_not_left() -> None:
    statistics = Statistics()
    statistics.in_frames, statistics.duplicated = 10, 2
    statistics.dropped["loss"] += 3
    statistics.left(100, 0, 5)
    assert statistics.inside == 8


def test_samples_are_sums_and_the_latest_peak() -> None:
    statistics = Statistics()
    statistics.in_frames = 3
    statistics.dropped["loss"] += 1
    statistics.left(100, 10, 30)
    statistics.lateness.add(7)
    statistics.lateness.add(5)
    assert statistics.sample() == Sample(3, 1, 100, 1, 20, 1, 7)
    statistics.lateness.add(2)
    assert statistics.sample().late == 2, "since the last one"
    assert statistics.lateness.maximum == 7, "of all"
