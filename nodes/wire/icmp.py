"""ICMP messages (RFC 792; code points of RFC 1122, 1191, 1812).

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+---------------+---------------+-------------------------------+
|      type     |      code     |            checksum           |
+---------------+---------------+-------------------------------+
|  by type: identifier and sequence, gateway, pointer, next MTU |
+---------------------------------------------------------------+
|  echo data, or the IP header and the first octets of the      |
|  packet that an error is about                                |
+---------------------------------------------------------------+
"""

from __future__ import annotations

import struct
from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, checksum, is_valid

HEADER = Struct("!BBHI")
HEADER_LENGTH = 8

ECHO_REPLY = 0
UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
TIMESTAMP_REQUEST = 13
TIMESTAMP_REPLY = 14

ERRORS = frozenset({UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
SOURCE_ROUTE_FAILED = 5
NET_UNKNOWN = 6
HOST_UNKNOWN = 7
SOURCE_HOST_ISOLATED = 8
NET_PROHIBITED = 9
HOST_PROHIBITED = 10
NET_UNREACHABLE_FOR_TOS = 11
HOST_UNREACHABLE_FOR_TOS = 12
ADMINISTRATIVELY_PROHIBITED = 13  # RFC 1812 section 5.2.7.1
HOST_PRECEDENCE_VIOLATION = 14
PRECEDENCE_CUTOFF = 15

REDIRECT_NET = 0
REDIRECT_HOST = 1

TTL_EXCEEDED = 0
REASSEMBLY_EXCEEDED = 1


class IcmpMessage(NamedTuple):
    """`rest` is the second 32-bit word, whose meaning depends on the type: see the properties."""

    type: int
    code: int
    rest: int
    body: memoryview

    @property
    def identifier(self) -> int:
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        return self.rest & 0xFFFF

    @property
    def next_hop_mtu(self) -> int:
        """RFC 1191 section 4; 0 from routers that do not tell."""
        return self.rest & 0xFFFF

    @property
    def pointer(self) -> int:
        return self.rest >> 24

    @property
    def gateway(self) -> Ip4:
        return Ip4(self.rest)


def parse(message: Buffer) -> IcmpMessage:
    """Raises WireError where the message is shorter than eight octets or its checksum is wrong."""
    if len(message) < HEADER_LENGTH:
        raise WireError("icmp", "header", len(message), f"{len(message)} octets, at least 8 expected")
    if not is_valid(message):
        raise WireError("icmp", "checksum", 2, "wrong")
    kind, code, _, rest = HEADER.unpack_from(message)
    return IcmpMessage(kind, code, rest, memoryview(message)[HEADER_LENGTH:])


def build(kind: int, code: int, rest: int, body: Buffer = b"") -> bytes:
    """A message with its checksum. Raises ValueError for a field that the header cannot carry."""
    try:
        without_checksum = HEADER.pack(kind, code, 0, rest) + body
    except struct.error as error:
        raise ValueError(f"an ICMP field is out of range: {error}") from None
    return HEADER.pack(kind, code, checksum(without_checksum), rest) + body


def echo(kind: int, identifier: int, sequence: int, data: Buffer) -> bytes:
    """ECHO_REQUEST or ECHO_REPLY. Raises ValueError for an identifier or a sequence number over 65535."""
    if not 0 <= sequence <= 0xFFFF:
        raise ValueError(f"echo sequence number {sequence}, at most 65535 fits")
    return build(kind, 0, identifier << 16 | sequence, data)
