"""What a number has to be, as people write it: `3`, `>= 1`, `< 200ms`, `1..3`, `100ms +- 10%`, `65535 ± 1%`.

Units are those of topologies. A duration counts in seconds, a share between 0 and 1, a rate in bit/s.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from nodes.units import SECOND

_UNITS = {
    "": 1.0,
    "ns": 1 / SECOND,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "%": 0.01,
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "bit": 1.0,
    "kbit": 1e3,
    "mbit": 1e6,
    "gbit": 1e9,
}
_VALUE = r"([+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-zA-Z%]*)"


@dataclass(frozen=True, slots=True)
class Bound:
    """From `low` to `high`; an open end is left out itself."""

    text: str
    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below


ANYTHING = Bound("anything", -math.inf, math.inf)


def parse_bound(value: object) -> Bound:
    """Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Bound(str(value), value, value)
    text = str(value).strip()
    for pattern, made in _FORMS:
        match = pattern.fullmatch(text)
        if match is not None:
            return made(text, *match.groups())
    raise ValueError(f"{text!r} is no bound")


def _between(text: str, low: str, low_unit: str, high: str, high_unit: str) -> Bound:
    last = _number(high, high_unit)
    return Bound(text, _number(low, low_unit or high_unit), last)


def _about(text: str, middle: str, unit: str, off: str, off_unit: str) -> Bound:
    center = _number(middle, unit)
    width = abs(center) * _number(off, "%") if off_unit == "%" else _number(off, off_unit or unit)
    return Bound(text, center - width, center + width)


def _compared(text: str, sign: str | None, number: str, unit: str) -> Bound:
    value = _number(number, unit)
    if sign in ("<", "<="):
        return Bound(text, -math.inf, value, high_open=sign == "<")
    if sign in (">", ">="):
        return Bound(text, value, math.inf, low_open=sign == ">")
    return Bound(text, value, value)


def _number(text: str, unit: str) -> float:
    if unit not in _UNITS:
        raise ValueError(f"{unit!r} is no unit")
    return float(text.replace("_", "")) * _UNITS[unit]


_FORMS: tuple[tuple[re.Pattern[str], Callable[..., Bound]], ...] = (
    (re.compile(rf"{_VALUE}\s*\.\.\s*{_VALUE}"), _between),
    (re.compile(rf"{_VALUE}\s*(?:±|\+-|\+/-)\s*{_VALUE}"), _about),
    (re.compile(rf"(<=|>=|<|>|==|=)?\s*{_VALUE}"), _compared),
)
