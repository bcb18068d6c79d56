"""How the meter divides what it may spend."""

from __future__ import annotations

import pytest

from lab.links.meter import LARGEST, fair_share, sample_for


@pytest.mark.parametrize(
    ("offered", "share"),
    [
        ([], 100),
        ([30, 40], 100),
        ([100], 100),
        ([300], 100),
        ([300, 300], 50),
        ([10, 300], 90),
        ([10, 20, 300, 500], 35),
        ([0, 0, 0], 100),
    ],
)
def test_fair_shares(offered: list[float], share: float) -> None:
    assert fair_share(offered, 100) == share


@pytest.mark.parametrize(
    ("rate", "one_in"), [(0, 1), (100, 1), (101, 2), (200, 2), (201, 4), (1600, 16), (1e12, LARGEST)]
)
def test_samples(rate: float, one_in: int) -> None:
    assert sample_for(rate, 100) == one_in
