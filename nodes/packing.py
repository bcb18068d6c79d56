"""Long lists of growing numbers as short text: a recorded trace of rates has a million lines, a message 1 MiB."""

from __future__ import annotations

import base64
import zlib

LIMIT = 16 << 20
"""Octets of a trace before they are compressed: one for each line that is less than 128 ms after the one before."""


def pack(times: tuple[int, ...]) -> str:
    """The differences, seven bits to an octet, the low ones first, the last octet below 128; compressed; base 64."""
    octets, before = bytearray(), 0
    for time in times:
        step, before = time - before, time
        while step > 0x7F:
            octets.append(step & 0x7F | 0x80)
            step >>= 7
        octets.append(step)
    return base64.b64encode(zlib.compress(bytes(octets), 9)).decode()


def unpack(text: object, where: str) -> tuple[int, ...]:
    """The reverse of `pack`. Raises ValueError that begins with `where`."""
    try:
        octets = zlib.decompressobj().decompress(base64.b64decode(str(text), validate=True), LIMIT)
    except (ValueError, zlib.error):
        raise ValueError(f"{where}: not a packed trace") from None
    times, time, step, shift = [], 0, 0, 0
    for octet in octets:
        step |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            time += step
            times.append(time)
            step = shift = 0
    return tuple(times)
