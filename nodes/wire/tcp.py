"""The TCP header (RFC 9293 section 3.1).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          source port          |        destination port       |
    +-------------------------------+-------------------------------+
    |                        sequence number                        |
    +---------------------------------------------------------------+
    |                     acknowledgment number                     |
    +-------+-------+---------------+-------------------------------+
    | data  |reser- |C|E|U|A|P|R|S|F|                               |
    | offset|  ved  |W|C|R|C|S|S|Y|I|            window             |
    |       |       |R|E|G|K|H|T|N|N|                               |
    +-------+-------+---------------+-------------------------------+
    |            checksum           |         urgent pointer        |
    +-------------------------------+-------------------------------+
    |             options (0 to 40 octets), see tcp_options         |
    +---------------------------------------------------------------+

Numbers are as on the wire: 32 bits that wrap, and a window before scaling. The data offset counts 32-bit words.

**Checksum.** The ones' complement sum of the header's words is the sum of its fields, whatever their width, because
2^16 is 1 modulo 2^16 - 1 (see `checksum`); so `build` adds up integers and reads only the payload's octets. Where the
link below computes checksums (`partial`), the field carries the sum of the pseudo header alone, not complemented: who
completes it adds the rest of the segment, this field included, and complements (VIRTIO 1.2 section 5.1.6.2,
VIRTIO_NET_HDR_F_NEEDS_CSUM).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire import tcp_options
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, is_valid, ones_sum
from nodes.wire.tcp_options import ALIGNED_TIMESTAMPS, NO_OPTIONS, Options, parse_options

HEADER = Struct("!HHIIBBHHH")
HEADER_LENGTH = 20
MAXIMUM_HEADER_LENGTH = HEADER_LENGTH + tcp_options.MAXIMUM_LENGTH
MAXIMUM_LENGTH = 65535 - 20
PROTOCOL = 6

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20
ECE = 0x40
CWR = 0x80
FLAG_NAMES = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""By bit, lowest first. RFC 3168 section 6.1 has the last two."""

_WITH_TIMESTAMPS = Struct("!III")
_LENGTH_WITH_TIMESTAMPS = HEADER_LENGTH + tcp_options.TIMESTAMPS_LENGTH


class Segment(NamedTuple):
    """`sequence`, `acknowledgment` and `window` as on the wire; `payload` is a view into what was parsed."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    urgent: int
    options: Options
    payload: memoryview


def parse(segment: Buffer, source: Ip4, destination: Ip4, *, verified: bool = False) -> Segment:
    """The segment in the payload of an IP packet. `verified`: the checksum was checked elsewhere, or the sender left
    it to the link. Raises WireError for a header that is cut off, a data offset outside the segment and a wrong
    checksum over the pseudo header (MUST-3); damaged options never raise, see `tcp_options.parse_options`."""
    length = len(segment)
    if length < HEADER_LENGTH:
        raise WireError("tcp", "header", length, f"{length} octets, at least 20 expected")
    source_port, destination_port, sequence, acknowledgment, offset, flags, window, _, urgent = HEADER.unpack_from(
        segment
    )
    header_length = (offset >> 4) * 4
    if not HEADER_LENGTH <= header_length <= length:
        raise WireError("tcp", "data offset", 12, f"{header_length} octets of header, 20 to {length} expected")
    if not verified and not is_valid(segment, source + destination + PROTOCOL + length):
        raise WireError("tcp", "checksum", 16, "wrong")
    view = memoryview(segment)
    options = NO_OPTIONS
    if header_length == _LENGTH_WITH_TIMESTAMPS:
        word, value, echo = _WITH_TIMESTAMPS.unpack_from(segment, HEADER_LENGTH)
        if word == ALIGNED_TIMESTAMPS:
            options = Options(None, None, False, (), (value, echo), None, False)
        else:
            options = parse_options(view[HEADER_LENGTH:header_length])
    elif header_length > HEADER_LENGTH:
        options = parse_options(view[HEADER_LENGTH:header_length])
    return Segment(
        source_port,
        destination_port,
        sequence,
        acknowledgment,
        flags,
        window,
        urgent,
        options,
        view[header_length:],
    )


def build(
    source: Ip4,
    destination: Ip4,
    source_port: int,
    destination_port: int,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    *,
    urgent: int = 0,
    options: bytes = b"",
    payload: Buffer = b"",
    partial: bool = False,
) -> bytes:
    """A segment with its checksum (MUST-2), or with the `partial` one that a link completes. `options` are padded to a
    multiple of four with end-of-list octets (MUST-69). Raises ValueError for what the header cannot carry."""
    if len(options) % 4:
        options += bytes(-len(options) % 4)
    header_length = HEADER_LENGTH + len(options)
    length = header_length + len(payload)
    if header_length > MAXIMUM_HEADER_LENGTH:
        raise ValueError(f"{len(options)} octets of TCP options, at most 40 fit")
    if length > MAXIMUM_LENGTH:
        raise ValueError(f"a TCP segment of {length} octets, at most {MAXIMUM_LENGTH} fit")
    offset = header_length << 2
    total = source + destination + PROTOCOL + length
    if partial:
        checksum = total % 0xFFFF or 0xFFFF
    else:
        total += source_port + destination_port + sequence + acknowledgment + (offset << 8 | flags) + window + urgent
        checksum = -(total + ones_sum(options) + ones_sum(payload)) % 0xFFFF
    try:
        header = HEADER.pack(
            source_port, destination_port, sequence, acknowledgment, offset, flags, window, checksum, urgent
        )
    except struct.error as error:
        raise ValueError(f"a TCP field is out of range: {error}") from None
    return header + options + payload


@lru_cache(maxsize=256)
def flag_text(flags: int) -> str:
    """`SYN,ACK`; `none` where no flag is set."""
    return ",".join(name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1) or "none"
