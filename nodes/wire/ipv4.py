"""The IPv4 header (RFC 791 section 3.1).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+-----------+---+-------------------------------+
    |version|  IHL  |   DSCP    |ECN|         total length          |
    +-------+-------+-----------+---+-----+-------------------------+
    |         identification        |0 D M|     fragment offset     |
    +---------------+---------------+-----+-------------------------+
    |  time to live |    protocol   |        header checksum        |
    +---------------+---------------+-------------------------------+
    |                        source address                         |
    +---------------------------------------------------------------+
    |                     destination address                       |
    +---------------------------------------------------------------+
    |                    options (0 to 40 octets)                   |
    +---------------------------------------------------------------+

`traffic_class` is the whole second octet: DSCP (RFC 2474) above ECN (RFC 3168). `fragment_offset` is in octets, not in
the units of eight that the wire carries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, ones_sum

HEADER = Struct("!BBHHHBBHII")
HEADER_LENGTH = 20
MAXIMUM_HEADER_LENGTH = 60
MAXIMUM_LENGTH = 65535

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
OFFSET_MASK = 0x1FFF
MAXIMUM_OFFSET = OFFSET_MASK * 8

PROTOCOL_ICMP = 1
PROTOCOL_IGMP = 2
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17

OPTION_END = 0
OPTION_NOP = 1
OPTION_RECORD_ROUTE = 7
OPTION_TIMESTAMP = 68
OPTION_LOOSE_SOURCE_ROUTE = 131
OPTION_STRICT_SOURCE_ROUTE = 137
OPTION_ROUTER_ALERT = 148  # RFC 2113; IGMPv2 messages carry it
ROUTER_ALERT = bytes((OPTION_ROUTER_ALERT, 4, 0, 0))


class IPv4Header(NamedTuple):
    header_length: int
    traffic_class: int
    total_length: int
    identification: int
    dont_fragment: bool
    more_fragments: bool
    fragment_offset: int
    ttl: int
    protocol: int
    source: Ip4
    destination: Ip4
    options: bytes


def parse(packet: Buffer) -> tuple[IPv4Header, memoryview]:
    """The header and a view of the payload, link padding cut off (RFC 1122 section 3.2.1). Raises WireError for
    another version, lengths that contradict each other and a wrong header checksum."""
    if len(packet) < HEADER_LENGTH:
        raise WireError("ipv4", "header", len(packet), f"{len(packet)} octets, at least 20 expected")
    first, traffic_class, total_length, identification, flags, ttl, protocol, _, source, destination = (
        HEADER.unpack_from(packet)
    )
    if first >> 4 != 4:
        raise WireError("ipv4", "version", 0, f"{first >> 4}, 4 expected")
    header_length = (first & 15) * 4
    if header_length < HEADER_LENGTH:
        raise WireError("ipv4", "header length", 0, f"{header_length} octets, at least 20 expected")
    if total_length < header_length:
        raise WireError("ipv4", "total length", 2, f"{total_length} octets, header has {header_length}")
    if len(packet) < total_length:
        raise WireError("ipv4", "total length", 2, f"{total_length} octets, {len(packet)} arrived")
    view = memoryview(packet)
    if int.from_bytes(view[:header_length], "big") % 0xFFFF:  # never all zeros: so this is the whole check
        raise WireError("ipv4", "header checksum", 10, "wrong")
    fields = (
        header_length,
        traffic_class,
        total_length,
        identification,
        flags & DONT_FRAGMENT != 0,
        flags & MORE_FRAGMENTS != 0,
        (flags & OFFSET_MASK) * 8,
        ttl,
        protocol,
        source,
        destination,
        bytes(view[HEADER_LENGTH:header_length]) if header_length > HEADER_LENGTH else b"",
    )
    header = tuple.__new__(IPv4Header, fields)  # without the call of a Python function that IPv4Header(...) makes
    return header, view[header_length:total_length]


def build(
    source: Ip4,
    destination: Ip4,
    protocol: int,
    payload: Buffer,
    *,
    ttl: int = 64,
    identification: int = 0,
    dont_fragment: bool = False,
    more_fragments: bool = False,
    fragment_offset: int = 0,
    traffic_class: int = 0,
    options: bytes = b"",
) -> bytes:
    """A packet with its checksum. `options` are padded to a multiple of four with end-of-list octets, and
    `fragment_offset` (octets) must be a multiple of eight. Raises ValueError for what the header cannot carry."""
    if len(options) % 4:
        options += bytes(-len(options) % 4)
    header_length = HEADER_LENGTH + len(options)
    total_length = header_length + len(payload)
    if header_length > MAXIMUM_HEADER_LENGTH:
        raise ValueError(f"{len(options)} octets of IPv4 options, at most 40 fit")
    if total_length > MAXIMUM_LENGTH:
        raise ValueError(f"an IPv4 packet of {total_length} octets, at most 65535 fit")
    if fragment_offset % 8 or not 0 <= fragment_offset <= MAXIMUM_OFFSET:
        raise ValueError(f"fragment offset {fragment_offset} is not a multiple of 8 from 0 to {MAXIMUM_OFFSET}")
    flags = fragment_offset >> 3 | (DONT_FRAGMENT if dont_fragment else 0) | (MORE_FRAGMENTS if more_fragments else 0)
    first = 0x40 | header_length >> 2
    # The sum of the header's words is that of its fields, as 2^16 is 1 modulo 2^16 - 1 (nodes.wire.checksum).
    total = (first << 8 | traffic_class) + total_length + identification + flags + (ttl << 8 | protocol)
    total += source + destination + (ones_sum(options) if options else 0)
    try:
        header = HEADER.pack(
            first,
            traffic_class,
            total_length,
            identification,
            flags,
            ttl,
            protocol,
            -total % 0xFFFF,
            source,
            destination,
        )
    except struct.error as error:
        raise ValueError(f"an IPv4 field is out of range: {error}") from None
    return header + options + payload if options else header + payload


def option_fields(options: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, offset from the start of the header, data) of each option, no-operations left out. Stops at the end of
    the list; raises WireError where a length runs past the header."""
    position = 0
    while position < len(options):
        kind = options[position]
        if kind == OPTION_END:
            return
        if kind == OPTION_NOP:
            position += 1
            continue
        length = options[position + 1] if position + 1 < len(options) else 0
        if length < 2 or position + length > len(options):
            raise WireError("ipv4", "option length", HEADER_LENGTH + position + 1, f"{length} for option {kind}")
        yield kind, HEADER_LENGTH + position, options[position + 2 : position + length]
        position += length
