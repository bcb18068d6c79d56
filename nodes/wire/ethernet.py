"""Ethernet II frames (IEEE 802.3 section 3.1.1, RFC 894).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |                     destination (6 octets)                    |
    +               +-----------------------------------------------+
    |               |              source (6 octets)                |
    +---------------+---------------+-------------------------------+
    |  EtherType, or length < 1536  |  payload ...                  |
    +-------------------------------+-------------------------------+

The preamble and the frame check sequence belong to the medium and never reach a packet socket. A value below 1536 is
the length of an IEEE 802.2 LLC payload, which bridges use for their spanning tree.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Mac
from nodes.wire.checksum import Buffer

HEADER = Struct("!6s6sH")
HEADER_LENGTH = 14
MINIMUM_FRAME = 60  # octets without the frame check sequence; shorter ones are padded on a real wire

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_RARP = 0x8035
LOWEST_ETHERTYPE = 0x0600


class EthernetHeader(NamedTuple):
    destination: Mac
    source: Mac
    ethertype: int


def parse(frame: Buffer) -> tuple[EthernetHeader, memoryview]:
    """The header and a view of the payload, padding included: only the layer above knows its own length."""
    if len(frame) < HEADER_LENGTH:
        raise WireError("ethernet", "header", len(frame), f"{len(frame)} octets, at least 14 expected")
    return EthernetHeader._make(HEADER.unpack_from(frame)), memoryview(frame)[HEADER_LENGTH:]


def build(destination: Mac, source: Mac, ethertype: int, payload: Buffer) -> bytes:
    return HEADER.pack(destination, source, ethertype) + payload
