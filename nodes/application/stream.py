"""What `udp_source` writes into its datagrams, and what `udp_sink` reads out of them.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------------------------------------------------------+
    |                        magic, "LLu1"                          |
    +---------------------------------------------------------------+
    |                           stream                              |
    +---------------------------------------------------------------+
    |                    sequence number, from 0                    |
    |                                                               |
    +---------------------------------------------------------------+
    |            time of sending, ns of the sender's clock          |
    |                                                               |
    +---------------------------------------------------------------+

`stream` tells runs of a source apart that use the same port. What follows the header is filled with its sequence
number, so that no two datagrams are alike.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.wire.checksum import Buffer

HEADER = Struct("!4sIQQ")
MAGIC = b"LLu1"
LENGTH = HEADER.size


class StreamHeader(NamedTuple):
    stream: int
    sequence: int
    time: int


def build(stream: int, sequence: int, time: int, size: int) -> bytes:
    """A datagram of `size` octets, at least LENGTH."""
    header = HEADER.pack(MAGIC, stream, sequence, time)
    word = (sequence & 0xFFFF_FFFF).to_bytes(4, "big")
    return (header + word * ((size - LENGTH) // 4 + 1))[:size]


def parse(data: Buffer) -> StreamHeader | None:
    """None for a datagram of somebody else."""
    if len(data) < LENGTH:
        return None
    magic, stream, sequence, time = HEADER.unpack_from(data)
    return StreamHeader(stream, sequence, time) if magic == MAGIC else None
