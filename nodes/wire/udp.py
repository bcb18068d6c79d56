"""The UDP header (RFC 768).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |        destination port       |
    +-------------------------------+-------------------------------+
    |             length            |            checksum           |
    +-------------------------------+-------------------------------+

A checksum of zero means that the sender made none; one that computes to zero is sent as 0xFFFF.
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, checksum, is_valid, pseudo_header_sum

HEADER = Struct("!HHHH")
HEADER_LENGTH = 8
PROTOCOL = 17
MAXIMUM_PAYLOAD = 65535 - 20 - HEADER_LENGTH


class UdpHeader(NamedTuple):
    source_port: int
    destination_port: int
    length: int
    checksum: int


def parse(datagram: Buffer, source: Ip4, destination: Ip4, *, verified: bool = False) -> tuple[UdpHeader, memoryview]:
    """The header and the payload; octets after the datagram's own length are cut off. Raises WireError for a length
    outside what arrived, and unless it was `verified` elsewhere for a wrong checksum over the pseudo header."""
    if len(datagram) < HEADER_LENGTH:
        raise WireError("udp", "header", len(datagram), f"{len(datagram)} octets, at least 8 expected")
    header = UdpHeader._make(HEADER.unpack_from(datagram))
    length = header.length
    if not HEADER_LENGTH <= length <= len(datagram):
        raise WireError("udp", "length", 4, f"{length} octets, {len(datagram)} arrived")
    view = memoryview(datagram)[:length]
    if verified or not header.checksum:
        return header, view[HEADER_LENGTH:]
    if not is_valid(view, pseudo_header_sum(source, destination, PROTOCOL, length)):
        raise WireError("udp", "checksum", 6, "wrong")
    return header, view[HEADER_LENGTH:]


def build(
    source: Ip4,
    destination: Ip4,
    source_port: int,
    destination_port: int,
    payload: Buffer,
    *,
    no_checksum: bool = False,
) -> bytes:
    """A datagram with its checksum, or with none (RFC 1122 section 4.1.3.4 lets an application choose). Raises
    ValueError for a port or a length that the header cannot carry."""
    length = HEADER_LENGTH + len(payload)
    try:
        plain = HEADER.pack(source_port, destination_port, length, 0) + payload
    except struct.error as error:
        raise ValueError(f"a UDP field is out of range: {error}") from None
    if no_checksum:
        return plain
    value = checksum(plain, pseudo_header_sum(source, destination, PROTOCOL, length)) or 0xFFFF
    return HEADER.pack(source_port, destination_port, length, value) + payload
