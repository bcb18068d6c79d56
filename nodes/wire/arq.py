"""The frames of link-level ARQ: Ethernet frames with a number, an acknowledgment and a check sequence of their own.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------------------------------------------------------+
    |          Ethernet header (14 octets), EtherType 0x88B5        |
    +---------------+---------------+-------------------------------+
    |     kind      |     flags     |             N(S)              |
    +---------------+---------------+-------------------------------+
    |             N(R)              |         inner EtherType       |
    +-------------------------------+-------------------------------+
    |            length             |  payload (length octets) ...  |
    +-------------------------------+-------------------------------+
    |                     check sequence (CRC-32)                   |
    +---------------------------------------------------------------+

The EtherType is the first of the two that IEEE 802 leaves to local experiments (IEEE Std 802-2014). Kinds and
their names are those of HDLC (ISO/IEC 13239), whose fields are packed into one or two octets; here they have room,
so that a person can read them in a capture.

The check sequence covers all before it, the Ethernet header too: a turned bit in an address, a number or the payload is
found alike (HDLC may have the same CRC-32). The length says where it stands where a medium has padded.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from nodes.errors import WireError
from nodes.wire.addresses import Mac
from nodes.wire.checksum import Buffer
from nodes.wire.ethernet import HEADER_LENGTH as ETHERNET_LENGTH

ETHERTYPE_ARQ = 0x88B5
HEADER = Struct("!6s6sHBBHHHH")
FIELDS = Struct("!BBHHHH")
"""What follows the Ethernet header, as far as the payload."""
TRAILER = Struct("!I")
OVERHEAD = HEADER.size - ETHERNET_LENGTH + TRAILER.size
"""Octets by which a frame grows: 14."""

DATA = 0  # HDLC's I: information, numbered N(S); with ACKNOWLEDGES, all before N(R) have come
READY = 1  # RR: all before N(R) have come; with SELECTIVE, so has N(S) itself
NOT_READY = 2  # RNR: the same, and send no more for now
REJECT = 3  # REJ: send again from N(R) on
SELECTIVE_REJECT = 4  # SREJ: send N(S) again, and no other
SET_MODE = 5  # SABM: my numbers begin at 0
ACCEPTED = 6  # UA: so be it
DISCONNECTED = 7  # DM: we have not agreed on any numbers

KINDS = ("I", "RR", "RNR", "REJ", "SREJ", "SABM", "UA", "DM")

POLL = 1  # answer at once (the P bit of HDLC)
FINAL = 2  # this is the answer (the F bit)
SELECTIVE = 4  # N(S) of an acknowledgment counts
ACKNOWLEDGES = 8  # N(R) of a data frame counts: the numbers of the other direction are agreed on

HIGHEST_NUMBER = 0xFFFF
LONGEST_PAYLOAD = 0xFFFF


class ArqFrame(NamedTuple):
    """`ethertype` and `payload` are of the frame that a DATA frame carries; elsewhere 0 and empty."""

    destination: Mac
    source: Mac
    kind: int
    flags: int = 0
    send: int = 0
    receive: int = 0
    ethertype: int = 0
    payload: Buffer = b""


def parse(frame: Buffer) -> ArqFrame:
    """Raises WireError for another EtherType, for a length that does not fit, a wrong check sequence and an unknown
    kind."""
    if len(frame) < HEADER.size + TRAILER.size:
        raise WireError("arq", "frame", len(frame), f"{len(frame)} octets, at least {HEADER.size + TRAILER.size}")
    destination, source, outer, kind, flags, send, receive, ethertype, length = HEADER.unpack_from(frame)
    if outer != ETHERTYPE_ARQ:
        raise WireError("arq", "ethertype", 12, f"0x{outer:04x}, 0x{ETHERTYPE_ARQ:04x} expected")
    end = HEADER.size + length
    if end + TRAILER.size > len(frame):
        raise WireError("arq", "length", 22, f"{length} octets of payload in a frame of {len(frame)}")
    view = memoryview(frame)
    (found,) = TRAILER.unpack_from(frame, end)
    if crc32(view[:end]) != found:
        raise WireError("arq", "check sequence", end, f"0x{found:08x}, 0x{crc32(view[:end]):08x} expected")
    if kind >= len(KINDS):
        raise WireError("arq", "kind", 14, f"{kind}, 0 to {len(KINDS) - 1} expected")
    return ArqFrame(Mac(destination), Mac(source), kind, flags, send, receive, ethertype, view[HEADER.size : end])


def build(frame: ArqFrame) -> bytes:
    """The whole Ethernet frame."""
    destination, source, kind, flags, send, receive, ethertype, payload = frame
    header = HEADER.pack(
        destination, source, ETHERTYPE_ARQ, kind, flags, send, receive, ethertype, len(payload)
    )  # fmt: skip
    covered = header + payload
    return covered + TRAILER.pack(crc32(covered))
