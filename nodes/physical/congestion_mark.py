"""Explicit Congestion Notification from the side of the link: "Congestion Experienced" set in a frame (RFC 3168).

A link that would drop a packet to signal congestion may mark it instead, where its sender said that the transport
understands (ECT). The two bits are the lowest of the octet that was once the type of service:

    00  not-ECT   the transport does not understand: drop
    01  ECT(1)    \\
    10  ECT(0)    /  mark: becomes CE
    11  CE        marked already, by a link before this one: stays so (RFC 3168 section 5)

    IPv4    second octet of the header; the header checksum follows (RFC 1624)
    IPv6    the last two bits of the traffic class, which lies across the first two octets; no checksum

VLAN tags (IEEE 802.1Q) in front of the packet are passed over.
"""

from __future__ import annotations

from nodes.wire.checksum import updated
from nodes.wire.ethernet import ETHERTYPE_IPV4, HEADER_LENGTH

ETHERTYPE_IPV6 = 0x86DD
IPV4_HEADER = 20
IPV6_HEADER = 40

_TAGS = (0x8100, 0x88A8)  # customer and service tag
_TAG_LENGTH = 4
_MAXIMUM_TAGS = 2  # QinQ; more are not IP to us, as they are not to a switch
_ECN = 3
_CHECKSUM = 10  # its offset in the IPv4 header


def network_header(frame: bytes) -> tuple[int, int]:
    """The EtherType behind the VLAN tags, and the offset of what follows it. (0, 0) for IP that is too short for its
    fixed header or of another version than its EtherType says, and for frames without a whole Ethernet header."""
    ethertype, offset = int.from_bytes(frame[12:14], "big"), HEADER_LENGTH
    for _ in range(_MAXIMUM_TAGS):
        if ethertype not in _TAGS:
            break
        ethertype = int.from_bytes(frame[offset + 2 : offset + 4], "big")
        offset += _TAG_LENGTH
    left = len(frame) - offset
    if ethertype == ETHERTYPE_IPV4:
        return (ethertype, offset) if left >= IPV4_HEADER and frame[offset] >> 4 == 4 else (0, 0)
    if ethertype == ETHERTYPE_IPV6:
        return (ethertype, offset) if left >= IPV6_HEADER and frame[offset] >> 4 == 6 else (0, 0)
    return (ethertype, offset) if left >= 0 else (0, 0)


def mark(frame: bytes) -> bytes | None:
    """The frame with Congestion Experienced set, itself where it is set already; None where its packet cannot be marked
    (not ECN-capable, not IP, cut off) and has to be dropped. Any octets are allowed."""
    ethertype, offset = network_header(frame)
    if ethertype == ETHERTYPE_IPV4:
        return _mark_ipv4(frame, offset)
    if ethertype == ETHERTYPE_IPV6:
        return _mark_ipv6(frame, offset)
    return None


def _mark_ipv4(frame: bytes, offset: int) -> bytes | None:
    codepoint = frame[offset + 1] & _ECN
    if codepoint in (0, _ECN):
        return frame if codepoint else None
    old = frame[offset] << 8 | frame[offset + 1]
    place = offset + _CHECKSUM
    checksum = updated(frame[place] << 8 | frame[place + 1], old, old | _ECN)
    marked = bytearray(frame)
    marked[offset + 1] |= _ECN
    marked[place : place + 2] = checksum.to_bytes(2, "big")
    return bytes(marked)


def _mark_ipv6(frame: bytes, offset: int) -> bytes | None:
    codepoint = frame[offset + 1] >> 4 & _ECN
    if codepoint in (0, _ECN):
        return frame if codepoint else None
    marked = bytearray(frame)
    marked[offset + 1] |= _ECN << 4
    return bytes(marked)
