"""The Internet checksum (RFC 1071) as one big-integer remainder.

The ones' complement sum of 16-bit words is the number that the bytes spell, modulo 65535: 2^16 is 1 modulo 2^16 - 1,
so every word counts with weight 1. `int.from_bytes(data) % 65535` runs in C in one pass; a loop over words costs
twenty times as much. The remainder cannot tell 0 from 65535, which are the two zeros of ones' complement; only
all-zero data sums to 0.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview


def ones_sum(data: Buffer) -> int:
    """The ones' complement sum, 0 to 0xFFFF; an odd last byte is padded with a zero (RFC 1071 section 4.1)."""
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return number % 0xFFFF or (0xFFFF if number else 0)


def checksum(data: Buffer, initial: int = 0) -> int:
    """The value for a checksum field that is zero in `data`. `initial` is the sum of a pseudo header."""
    total = ones_sum(data) + initial
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def is_valid(data: Buffer, initial: int = 0) -> bool:
    """True where `data`, its checksum field included, sums to all ones."""
    total = ones_sum(data) + initial
    return total % 0xFFFF == 0 and total != 0


def pseudo_header_sum(source: int, destination: int, protocol: int, length: int) -> int:
    """The not yet folded sum of the pseudo header of UDP and TCP (RFC 768, RFC 9293 section 3.1)."""
    return (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF) + protocol + length


def updated(old_checksum: int, old_word: int, new_word: int) -> int:
    """The checksum after one 16-bit word changed, without reading the rest (RFC 1624, equation 3). It is what
    `checksum` would give, except where the change leaves nothing but zeros, which no packet is: the result is then 0,
    the other zero of ones' complement."""
    total = (~old_checksum & 0xFFFF) + (~old_word & 0xFFFF) + new_word
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
