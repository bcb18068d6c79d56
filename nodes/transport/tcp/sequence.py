"""Sequence numbers: 32 bits on the wire, without bound inside.

The sequence space of TCP is a circle of 2^32 numbers (RFC 9293 section 3.4), on which "before" and "after" mean
something only for numbers less than half a circle apart:

         wire:    ... 4294967294  4294967295           0           1 ...
         inside:  ... 4294967294  4294967295  4294967296  4294967297 ...

Here the circle is unrolled as segments arrive. A connection's numbers begin with the 32-bit initial sequence number
and grow for as long as it lives, so all the units of TCP compare them with < and subtract them like any integers, and
what a wrap does is decided in this file alone. A number from the wire stands for the one nearest to where the
connection is (`near`: RCV.NXT for what the peer sent, SND.UNA for what it acknowledges). The windows are below 2^30
octets (RFC 7323 section 2.3), so the nearest is the right one for any segment that has not been away for 2^30 octets;
older ones are what timestamps are for (PAWS, RFC 7323 section 5).

Ranges are half open: [start, end) with `end - start` octets. SYN and FIN take one number each.
"""

from __future__ import annotations

CIRCLE = 1 << 32
_HALF = CIRCLE >> 1
_MASK = CIRCLE - 1


def wrap(number: int) -> int:
    """The 32 bits that the wire carries."""
    return number & _MASK


def unwrap(wire: int, near: int) -> int:
    """The number that `wire` (32 bits) stands for: the nearest to `near`, and of two that are equally near the earlier.
    It may be below zero where a segment is from before the connection's first number."""
    return near + ((wire - near + _HALF) & _MASK) - _HALF
