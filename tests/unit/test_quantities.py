"""Quantities as people write them, to numbers and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.quantities import (
    format_duration,
    format_rate,
    format_share,
    format_size,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("0s", 0),
        ("80ns", 80),
        ("250us", 250_000),
        ("250 \u00b5s", 250_000),
        ("20ms", 20_000_000),
        ("20 MS", 20_000_000),
        ("1.5s", 1_500_000_000),
        ("3secs", 3_000_000_000),
        ("7msec", 7_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
    ],
)
def test_durations(text: str, value: int) -> None:
    assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20", "20 has no unit: 20ms?"),
        ("1.5", "1.5 has no unit: 1.5ms?"),
        ("-5ms", "'-5ms' is negative"),
        ("1.5ns", "'1.5ns' is not a whole number of nanoseconds"),
        ("20m", "'20m' is not a time such as 20ms, 1.5s or 250us"),
        ("\u0663ms", "'\u0663ms' is not a time such as 20ms, 1.5s or 250us"),
        ("", "'' is not a time such as 20ms, 1.5s or 250us"),
    ],
)
def test_durations_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_duration(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1%", 0.01), ("0.05 %", 0.0005), ("1e-4%", 1e-6), ("100%", 1)])
def test_shares(text: str, value: float) -> None:
    assert parse_share(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1", "1 has no unit: 1%?"),
        ("0.01", "0.01 has no unit: 0.01% or 1%?"),
        ("100.1%", "'100.1%' is more than 100%"),
        ("-1%", "'-1%' is negative"),
        ("1%%", "'1%%' is not a share such as 1% or 0.05%"),
    ],
)
def test_shares_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_share(text)
    assert str(caught.value) == message


def test_a_rate_of_tc_in_octets_is_refused() -> None:
    """tc(8): `mbps` is megabytes per second."""
    with pytest.raises(ValueError, match="'10mbps' is octets per second to tc, bits to others: write 10mbit"):
        parse_rate("10mbps")
    assert parse_rate("10Mbit/s") == parse_rate("10mbit") == 10_000_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (format_duration(0), "0s"),
        (format_duration(1), "1ns"),
        (format_duration(20_000_000), "20ms"),
        (format_duration(1_500_000_000), "1.5s"),
        (format_duration(1_234_567), "1234.567us"),
        (format_duration(100_000_000_000), "100s"),
        (format_share(0.01), "1%"),
        (format_share(0.1 + 0.2), "30%"),
        (format_share(1), "100%"),
        (format_share(1e-6), "0.0001%"),
        (format_rate(10_000_000), "10mbit"),
        (format_rate(9601), "9.601kbit"),
        (format_rate(1_500_000_000), "1.5gbit"),
        (format_rate(999), "999bit"),
        (format_size(1514), "1514B"),
        (format_size(100_000), "100kB"),
        (format_size(65_536), "64KiB"),
        (format_size(32 << 20), "32MiB"),
    ],
)
def test_texts(text: str, shown: str) -> None:
    assert text == shown


@given(st.integers(0, 10**18))
def test_texts_are_read_back(number: int) -> None:
    assert parse_duration(format_duration(number)) == number
    assert parse_size(format_size(number)) == number
    assert parse_rate(format_rate(number)) == number
