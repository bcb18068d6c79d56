"""The statistical tests that compare kernel and engine: against published values, and for what they can see."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.uml import comparison


def test_anderson_darling_of_the_paper() -> None:
    """Scholz and Stephens 1987, section 7: smoothness of paper in four laboratories, 4.449 standard deviations."""
    laboratories = [
        [38.7, 41.5, 43.8, 44.5, 45.5, 46.0, 47.7, 58.0],
        [39.2, 39.3, 39.7, 41.4, 41.8, 42.9, 43.3, 45.8],
        [34.0, 35.0, 39.0, 40.0, 43.0, 43.0, 44.0, 45.0],
        [34.0, 34.8, 34.8, 35.4, 37.2, 37.8, 41.2, 42.8],
    ]
    assert comparison.anderson_darling(laboratories) == pytest.approx(4.449, abs=0.001)


@pytest.mark.parametrize(
    ("value", "freedom", "chance"), [(10.828, 1, 0.001), (3.841, 1, 0.05), (29.588, 10, 0.001), (149.449, 100, 0.001)]
)
def test_chi_square_of_the_tables(value: float, freedom: int, chance: float) -> None:
    assert comparison.chi_square_tail(value, freedom) == pytest.approx(chance, rel=0.002)


def test_wilson_of_the_textbooks() -> None:
    """10 of 100 at 95 %: 5.52 % to 17.44 %."""
    assert comparison.wilson(10, 100, level=0.05) == pytest.approx((0.0552, 0.1744), abs=0.0001)


def test_alike_is_called_different_as_rarely_as_the_level_says() -> None:
    """1000 pairs of equal origin; more than 6 wrong verdicts at 0.1 % would have a chance of 1e-5."""
    source = random.Random(7)
    wrong = sum(
        comparison.distributions_differ(
            [source.gauss(0, 1) for _ in range(60)], [source.gauss(0, 1) for _ in range(90)]
        )
        for _ in range(1000)
    )
    assert wrong <= 6


def test_a_tenth_of_a_deviation_is_seen_in_4000() -> None:
    source = random.Random(7)
    first = [source.gauss(0, 1) for _ in range(4000)]
    assert comparison.distributions_differ(first, [value + 0.12 for value in first])
    assert comparison.distributions_differ(first, [source.gauss(0, 1.12) for _ in range(4000)])


def test_shares() -> None:
    assert comparison.share_chance(1000, 10_000, 1010, 10_000) > 0.5
    assert comparison.share_chance(1000, 10_000, 1200, 10_000) < 0.0001
    assert comparison.share_chance(1000, 10_000, 1200, 10_000, inflation=5) > 0.01
    assert comparison.share_chance(0, 10, 0, 10) == 1.0


def test_inflation_of_a_chain() -> None:
    """Two states left with the chance 0.1: l = 0.8, 9 times the variance."""
    source = random.Random(3)
    state = False
    chain = []
    for _ in range(60_000):
        state ^= source.random() < 0.1
        chain.append(state)
    assert comparison.variance_inflation(chain) == pytest.approx(9, rel=0.15)
    assert comparison.variance_inflation([source.random() < 0.1 for _ in range(60_000)]) == pytest.approx(1, abs=0.15)


def test_runs() -> None:
    sequence = [True, False, False, True, True, True, False, True, False]
    assert comparison.run_lengths(sequence, kind=True) == {3: 1, 1: 1}
    assert comparison.run_lengths(sequence, kind=False) == {2: 1, 1: 1}


def test_counts() -> None:
    assert comparison.counts_chance(Counter({1: 100, 2: 50, 9: 1}), Counter({1: 205, 2: 95, 7: 2})) > 0.5
    assert comparison.counts_chance(Counter({1: 100, 2: 50}), Counter({1: 150, 2: 20})) < 0.0001
    assert comparison.counts_chance(Counter({1: 3}), Counter({1: 2})) == 1.0
    assert comparison.evenness_chance([100, 101, 98, 103]) > 0.5
    assert comparison.evenness_chance([100, 180, 98, 103]) < 0.0001
