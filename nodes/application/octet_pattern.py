"""The octets that `source` sends: the same for every stream, so that `sink` can check each of them.

Octet n of a stream is octet n mod 983,040 of SHAKE128("layerlab"), the extendable-output function of FIPS 202: any
program can make the same. The period is 15 * 2^16, so that an error by a power of two, by a window or by a segment
moves the pattern and is seen; what looks random also does not shrink where something compresses it.

The pattern is made when it is first used, and shared by all applications of a node. Blocks that are cut evenly from it
are made once: the same object goes into send buffers again and again, and no octet is copied for it.
"""

from __future__ import annotations

import functools
import hashlib

PERIOD = 15 << 16

LONGEST_BLOCK = 1 << 19
"""Octets of the longest block."""

RECOGNIZED = 16
"""Octets by which a stream shows that it is one of ours."""

SEED = b"layerlab"

_STEP = 4096
"""The shortest block that is kept, and the octets that are looked at together when a difference is to be found."""


def block(offset: int, length: int) -> bytes:
    """The octets of a stream from `offset` on, at most LONGEST_BLOCK."""
    start = offset % PERIOD
    index, rest = divmod(start, length)
    if length >= _STEP and not rest and PERIOD % length == 0:
        return _blocks(length)[index]
    return _twice()[start : start + length]


def first_difference(offset: int, data: bytes) -> int | None:
    """Where in the stream `data`, which should be its octets from `offset` on, is wrong first; None where it is not."""
    twice = _twice_view()
    position = 0
    while position < len(data):
        start = (offset + position) % PERIOD
        part = data[position : position + PERIOD] if position or len(data) > PERIOD else data
        if not part.startswith(twice[start : start + len(part)]):
            return offset + position + _difference(part, twice[start : start + len(part)])
        position += len(part)
    return None


def _difference(data: bytes, right: memoryview) -> int:
    for start in range(0, len(data), _STEP):
        if not data.startswith(right[start : start + _STEP], start):
            return next(n for n in range(start, len(data)) if data[n] != right[n])
    raise AssertionError("they do not differ")


@functools.cache
def _twice() -> bytes:
    """The pattern two times, so that no block ends at its end."""
    return hashlib.shake_128(SEED).digest(PERIOD) * 2


@functools.cache
def _twice_view() -> memoryview:
    return memoryview(_twice())


@functools.lru_cache(maxsize=4)
def _blocks(length: int) -> tuple[bytes, ...]:
    pattern = _twice()
    return tuple(pattern[start : start + length] for start in range(0, PERIOD, length))
