"""Sizes, rates, times and shares as people write them: `100MB`, `10Mbit/s`, `20ms`, `0.1%`; to numbers and back.

    size    1500   64kB   100MB   1GiB        octets; k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024
    rate    9600   64kbit   10Mbit/s   1Gbit  bit/s; powers of 1000, as in all of networking
    time    20ms   1.5s   250us   80ns   2min integers of nanoseconds
    share   1%   0.1%   1e-4%                 0 to 1

A bare `M` is refused: it means 1,000,000 to one half of all programs and 1,048,576 to the other. For the same reason a
time and a share have a unit, except 0: tc(8) takes `delay 20` for microseconds, and `loss 0.01` is a hundredth of a
percent to it and one percent to others. Case does not matter, except that nothing else is told apart by it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from nodes.units import MICROSECOND, MILLISECOND, SECOND

_PREFIXES = {
    **{letter: 1000 ** (power + 1) for power, letter in enumerate("kmgt")},
    **{f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate("kmgt")},
    "": 1,
}
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s?([kmgt]i?)?b", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s?([kmgt]i?)?bit(?:/s|ps)?", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r"\d{1,20}", re.ASCII)
_TIME = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s?(ns|nsecs?|[uµμ]s|usecs?|ms|msecs?|s|secs?|min|h)", re.IGNORECASE)
_SHARE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?(?:e-?\d{1,2})?)\s?%", re.IGNORECASE | re.ASCII)
_OCTETS_PER_SECOND = re.compile(r"(\d+(?:\.\d+)?)\s?([kmgt]i?)?(?:bps|b/s)", re.IGNORECASE | re.ASCII)
_UNITS = {"n": 1, "u": MICROSECOND, "µ": MICROSECOND, "μ": MICROSECOND, "s": SECOND, "h": 3600 * SECOND}


def parse_size(text: str) -> int:
    """Octets. Raises ValueError for what is no size, or no whole number of octets."""
    return _parse(text, _SIZE, "a size such as 1500, 64kB, 100MB or 1GiB")


def parse_rate(text: str) -> int:
    """Bits per second. Raises ValueError for what is no rate, or no whole number of bits."""
    if octets := _OCTETS_PER_SECOND.fullmatch(text):
        raise ValueError(f"{text!r} is octets per second to tc, bits to others: write {octets[1]}{octets[2] or ''}bit")
    return _parse(text, _RATE, "a rate such as 9600, 64kbit or 10Mbit/s")


def parse_duration(text: str) -> int:
    """Nanoseconds. Raises ValueError for what is no time, or no whole number of nanoseconds."""
    if text == "0":
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(_refusal(text, "a time such as 20ms, 1.5s or 250us", f"{text}ms"))
    value = Fraction(match[1]) * _unit_of_time(match[2].lower())
    if value.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number of nanoseconds")
    return int(value)


def parse_share(text: str) -> float:
    """0 to 1. Raises ValueError for what is no share, and for more than the whole."""
    if text == "0":
        return 0.0
    match = _SHARE.fullmatch(text)
    if match is None:
        percent = f"{text}% or {format_share(float(text))}" if re.fullmatch(r"0\.\d{1,20}", text) else f"{text}%"
        raise ValueError(_refusal(text, "a share such as 1% or 0.05%", percent))
    share = Fraction(match[1]) / 100
    if share > 1:
        raise ValueError(f"{text!r} is more than 100%")
    return float(share)


def format_duration(nanoseconds: int) -> str:
    """In the largest unit that needs no more than three decimals: `20ms`, `1.5s`, `1234.567us`."""
    units = (("s", SECOND), ("ms", MILLISECOND), ("us", MICROSECOND), ("ns", 1))
    for name, unit in units:
        if abs(nanoseconds) >= unit and nanoseconds * 1000 % unit == 0:
            return f"{_plain(Decimal(nanoseconds) / unit)}{name}"
    return f"{nanoseconds}ns" if nanoseconds else "0s"


def format_share(share: float) -> str:
    """`1%`, with up to six significant digits."""
    return f"{_plain(Decimal(f'{share * 100:.6g}'))}%"


def format_rate(rate: int) -> str:
    """`10mbit`, with up to three decimals."""
    return f"{_scaled(rate)}bit"


def format_size(octets: int) -> str:
    """`100kB`; `64KiB` where that is a whole number and kB are none; else in octets: `1514B`."""
    if octets >= 1024 and octets % 1024 == 0 and octets % 1000:
        power = 2 if octets % (1 << 20) == 0 else 1
        return f"{octets >> 10 * power}{'KM'[power - 1]}iB"
    text = _scaled(octets) if octets % 100 == 0 else str(octets)
    return f"{text[:-1]}{text[-1].replace('m', 'M').replace('g', 'G')}B"


def _refusal(text: str, expected: str, suggestion: str) -> str:
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f"{text} has no unit: {suggestion}?"
    return f"{text!r} is negative" if re.match(r"-\d", text) else f"{text!r} is not {expected}"


def _unit_of_time(name: str) -> int:
    if name.startswith("m"):
        return 60 * SECOND if name == "min" else MILLISECOND
    return _UNITS[name[0]]


def _scaled(value: int) -> str:
    for prefix, unit in (("g", 10**9), ("m", 10**6), ("k", 1000)):
        if value >= unit and value * 1000 % unit == 0:
            return f"{_plain(Decimal(value) / unit)}{prefix}"
    return str(value)


def _plain(value: Decimal) -> str:
    """Without exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _parse(text: str, pattern: re.Pattern[str], expected: str) -> int:
    if _PLAIN.fullmatch(text):
        return int(text)
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not {expected}")
    value = Fraction(match[1]) * _PREFIXES[(match[2] or "").lower()]
    if value.denominator != 1:
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)
