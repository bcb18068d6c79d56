"""Frames that know their number, on both sides of an oracle.

     dst (6) | src (6) | type (2)  [IPv4 header (20)]  number (4) | number (4) | number (4) | 0xA5 ...

Three copies of the number, so that a flipped bit in one of them does not make it another frame. The type is one for
local experiments (IEEE 802), or IPv4 where the frame has to be marked instead of dropped.
"""

from __future__ import annotations

from struct import Struct

from nodes.wire import ethernet, ipv4
from nodes.wire.addresses import Mac, parse_ip4

EXPERIMENTAL_TYPE = 0x88B5
EXPERIMENTAL_PROTOCOL = 253
FILLER = b"\xa5"
ECT_0 = 2
"""The codepoint of a sender that understands marks (RFC 3168 section 5)."""
_DESTINATION, _SOURCE = Mac(b"\2\0\0\0\0\2"), Mac(b"\2\0\0\0\0\1")
_NUMBERS = Struct("!3I")


def build(number: int, octets: int, *, ect: bool = False) -> bytes:
    """Frame `number` of `octets` in all."""
    numbers = _NUMBERS.pack(number, number, number)
    if not ect:
        filler = FILLER * (octets - ethernet.HEADER_LENGTH - len(numbers))
        return ethernet.build(_DESTINATION, _SOURCE, EXPERIMENTAL_TYPE, numbers + filler)
    payload = numbers + FILLER * (octets - ethernet.HEADER_LENGTH - ipv4.HEADER_LENGTH - len(numbers))
    packet = ipv4.build(
        parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), EXPERIMENTAL_PROTOCOL, payload, traffic_class=ECT_0
    )
    return ethernet.build(_DESTINATION, _SOURCE, ethernet.ETHERTYPE_IPV4, packet)


def number_of(frame: bytes, *, ect: bool = False) -> int | None:
    """What at least two copies agree on; None for a frame of somebody else."""
    start = ethernet.HEADER_LENGTH + ipv4.HEADER_LENGTH * ect
    if len(frame) < start + _NUMBERS.size:
        return None
    first, second, third = _NUMBERS.unpack_from(frame, start)
    return first if first in (second, third) else second if second == third else None
