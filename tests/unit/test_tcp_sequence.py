"""Sequence numbers around the wrap."""

from __future__ import annotations

import pytest

from nodes.transport.tcp.sequence import unwrap, wrap

LAST = 0xFFFF_FFFF
ROUND = 1 << 32


@pytest.mark.parametrize(
    ("wire", "near", "number"),
    [
        (5, 5, 5),
        (0, LAST, ROUND),
        (10, LAST - 9, ROUND + 10),
        (LAST, ROUND, LAST),
        (LAST - 9, ROUND + 10, LAST - 9),
        (LAST, 0, -1),
        (0, 7 * ROUND + 3, 7 * ROUND),
        (LAST, 7 * ROUND + 3, 7 * ROUND - 1),
        (0x7FFF_FFFF, 0, 0x7FFF_FFFF),
        (0x8000_0000, 0, -0x8000_0000),
        (0, 0x8000_0000, 0),
        (0, 0x8000_0001, ROUND),
    ],
)
def test_unwrap(wire: int, near: int, number: int) -> None:
    """B-WRAP"""
    assert unwrap(wire, near) == number


def test_wrap() -> None:
    assert [wrap(number) for number in (0, LAST, ROUND, 3 * ROUND + 7, -1)] == [0, LAST, 0, 7, LAST]
