"""IGMP version 2 messages (RFC 2236 section 2), version 1 reports included.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |      type     | max resp time |            checksum           |
    +---------------+---------------+-------------------------------+
    |                         group address                         |
    +---------------------------------------------------------------+

The maximum response time is in tenths of a second; 0 marks a query of version 1.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, checksum, is_valid

MESSAGE = Struct("!BBHI")
LENGTH = 8

MEMBERSHIP_QUERY = 0x11
VERSION_1_REPORT = 0x12
VERSION_2_REPORT = 0x16
LEAVE_GROUP = 0x17


class IgmpMessage(NamedTuple):
    type: int
    maximum_response: int
    group: Ip4


def parse(message: Buffer) -> IgmpMessage:
    """Longer messages are read by their first eight octets, the checksum covers them all (RFC 2236 section 2.5)."""
    if len(message) < LENGTH:
        raise WireError("igmp", "message", len(message), f"{len(message)} octets, at least 8 expected")
    if not is_valid(message):
        raise WireError("igmp", "checksum", 2, "wrong")
    kind, maximum_response, _, group = MESSAGE.unpack_from(message)
    return IgmpMessage(kind, maximum_response, group)


def build(message: IgmpMessage) -> bytes:
    kind, maximum_response, group = message
    without_checksum = MESSAGE.pack(kind, maximum_response, 0, group)
    return MESSAGE.pack(kind, maximum_response, checksum(without_checksum), group)
