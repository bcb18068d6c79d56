"""Sizes and rates as people write them: `100MB`, `4MiB`, `10Mbit/s`.

    size    1500   64kB   100MB   1GiB        octets; k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024
    rate    9600   64kbit   10Mbit/s   1Gbit  bit/s; powers of 1000, as in all of networking

A bare `M` is refused: it means 1,000,000 to one half of all programs and 1,048,576 to the other. Case does not matter,
except that nothing else is told apart by it.
"""

from __future__ import annotations

import re
from fractions import Fraction

_PREFIXES = {
    **{letter: 1000 ** (power + 1) for power, letter in enumerate("kmgt")},
    **{f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate("kmgt")},
    "": 1,
}
_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s?([kmgt]i?)?b", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s?([kmgt]i?)?bit(?:/s|ps)?", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r"\d{1,20}", re.ASCII)


def parse_size(text: str) -> int:
    """Octets. Raises ValueError for what is no size, or no whole number of octets."""
    return _parse(text, _SIZE, "a size such as 1500, 64kB, 100MB or 1GiB")


def parse_rate(text: str) -> int:
    """Bits per second. Raises ValueError for what is no rate, or no whole number of bits."""
    return _parse(text, _RATE, "a rate such as 9600, 64kbit or 10Mbit/s")


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
