"""Times as scripts write them."""

from __future__ import annotations

import pytest

from lab.api.times import nanoseconds
from lab.errors import UserInputError


@pytest.mark.parametrize(
    ("time", "ns"),
    [
        (0, 0),
        (5, 5_000_000_000),
        (0.2, 200_000_000),
        (1e-9, 1),
        ("5s", 5_000_000_000),
        ("200ms", 200_000_000),
        ("10us", 10_000),
        ("1h", 3_600_000_000_000),
    ],
)
def test_times(time: str | float, ns: int) -> None:
    assert nanoseconds(time) == ns


@pytest.mark.parametrize(("time", "ns"), [("-3s", -3_000_000_000), (-0.5, -500_000_000), ("3s", 3_000_000_000)])
def test_signed_times(time: str | float, ns: int) -> None:
    assert nanoseconds(time, signed=True) == ns


@pytest.mark.parametrize("time", [-1, "-1s", "soon", "", "5 parsecs", "--5s", float("nan"), float("inf"), "nan"])
def test_what_is_no_time(time: str | float) -> None:
    with pytest.raises(UserInputError, match="is no time"):
        nanoseconds(time)
