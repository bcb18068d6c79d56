"""The virtio-net header: what a frame still lacks (virtio 1.2 section 5.1.6, PACKET_VNET_HDR in packet(7)).

A network card with offloads takes over two jobs of TCP: it computes checksums, and it cuts one long segment into many
that fit the link. The frame that goes to such a card carries a note on what is left to do; the one that comes from
another node by a link without a wire may carry the same note, for nobody has done it yet.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |     flags     |   gso type    |        header length          |
    +---------------+---------------+-------------------------------+
    |       segment size            |        checksum start         |
    +-------------------------------+-------------------------------+
    |       checksum offset         |  the Ethernet frame ...
    +-------------------------------+

`checksum start` counts from the beginning of the Ethernet frame, `checksum offset` from there. With NEEDS_CSUM, the
checksum field holds the sum of the pseudo header, not complemented; the checksum of everything from `checksum start` to
the end, that field included, belongs there. With DATA_VALID somebody has checked it. A frame with a gso type other than
none (generic segmentation offload) stands for several, each with `segment size` octets of payload; `header length` is
a hint how long the headers are that each of them repeats.

Numbers are in the machine's own byte order, as packet sockets have them: this header never leaves the machine.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.checksum import Buffer, checksum

HEADER = Struct("=BBHHHH")
LENGTH = 10

NEEDS_CSUM = 1
DATA_VALID = 2
TRUSTED = NEEDS_CSUM | DATA_VALID
"""Flags of a frame whose checksum need not be verified: it is yet to be made, or somebody did."""

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_UDP = 3
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
GSO_ECN = 0x80
"""Added to the gso type where the segment has the flag CWR, which only the first piece may carry (RFC 3168 section
6.1.2)."""

PLAIN = bytes(LENGTH)
"""The header of a frame that lacks nothing."""

_WORD = Struct("!H")


class VirtioHeader(NamedTuple):
    flags: int = 0
    gso_type: int = GSO_NONE
    header_length: int = 0
    segment_size: int = 0
    checksum_start: int = 0
    checksum_offset: int = 0


def parse(frame: Buffer) -> tuple[VirtioHeader, memoryview]:
    """The header and the Ethernet frame behind it. Raises WireError where there is none, or where the checksum field it
    speaks of lies outside the frame."""
    if len(frame) < LENGTH:
        raise WireError("virtio", "header", len(frame), f"{len(frame)} octets, at least {LENGTH} expected")
    header = VirtioHeader._make(HEADER.unpack_from(frame))
    if header.flags & NEEDS_CSUM and header.checksum_start + header.checksum_offset + 2 > len(frame) - LENGTH:
        place = header.checksum_start + header.checksum_offset
        raise WireError("virtio", "checksum start", 6, f"checksum at {place} of {len(frame) - LENGTH} octets")
    return header, memoryview(frame)[LENGTH:]


def build(header: VirtioHeader) -> bytes:
    return HEADER.pack(*header)


def finish(frame: Buffer) -> Buffer:
    """The Ethernet frame alone, with its checksum where that was left to be made; its length stays. Raises WireError as
    `parse`."""
    header, ethernet = parse(frame)
    if not header.flags & NEEDS_CSUM:
        return ethernet
    whole = bytearray(ethernet)
    start = header.checksum_start
    value = checksum(ethernet[start:])  # the pseudo header's sum is in it: it stands where the checksum will
    _WORD.pack_into(whole, start + header.checksum_offset, value or 0xFFFF)  # 0 means none in UDP, and is the same sum
    return whole
