"""Bridge protocol data units of the spanning tree (IEEE 802.1D-2004 clause 9).

A BPDU travels in an IEEE 802.3 frame whose type field is a length, behind an IEEE 802.2 LLC header (DSAP 42, SSAP 42,
control 03), to the group address 01:80:c2:00:00:00, which no bridge ever forwards:

    +-------------------------------+-------------------------------+
    |  01:80:c2:00:00:00 (6)   |  source (6)   | length (2): 7, 38, 39
    +---------------+---------------+---------------+---------------+
    |   DSAP 0x42   |   SSAP 0x42   | control 0x03  |
    +---------------+---------------+---------------+---------------+
    |     protocol identifier = 0   |    version    |     type      |  a notification (TCN) ends here
    +---------------+---------------+---------------+---------------+
    |     flags     |  root identifier (8)                          |
    +---------------+-----------------------------------------------+
    |  root path cost (4)           |  bridge identifier (8)        |
    +---------------+---------------+-------------------------------+
    |  port identifier (2)          |  message age (2)              |  times in 1/256 s
    +-------------------------------+-------------------------------+
    |  max age (2)                  |  hello time (2)               |
    +-------------------------------+-------------------------------+
    |  forward delay (2)            | v1 length = 0 |                  only in a rapid (RST) BPDU
    +-------------------------------+---------------+

    version  type  name
    0        0x00  configuration BPDU                 spanning tree of 802.1D-1998 (STP)
    0        0x80  topology change notification       STP
    2        0x02  rapid spanning tree BPDU (RST)     802.1D-2004 (RSTP)

Of the flags, STP knows only the first and the last:

    bit  0   1         2-3   4         5           6          7
         TC  proposal  role  learning  forwarding  agreement  TC acknowledgment

A bridge identifier is a priority (4 bits), a system identifier extension (12 bits) and a MAC address (48 bits); read as
one number, the lower one is the better bridge. A port identifier is a priority (4 bits) and a number (12 bits).
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire import ethernet
from nodes.wire.addresses import Mac
from nodes.wire.checksum import Buffer

BRIDGE_GROUP = Mac(b"\x01\x80\xc2\x00\x00\x00")
LLC = b"\x42\x42\x03"
HEADER = Struct("!HBB")
BODY = Struct("!HBBBQIQHHHHH")  # a configuration BPDU is exactly this
RAPID_LENGTH = BODY.size + 1
TIME_UNIT = 3_906_250  # nanoseconds in 1/256 s (section 9.2.8)
LONGEST_LENGTH = 1500  # octets: the largest value of a length field (IEEE 802.3 section 3.2.6)

CONFIGURATION = 0x00
RAPID = 0x02
NOTIFICATION = 0x80

FLAG_TOPOLOGY_CHANGE = 0x01
FLAG_PROPOSAL = 0x02
FLAG_LEARNING = 0x10
FLAG_FORWARDING = 0x20
FLAG_AGREEMENT = 0x40
FLAG_ACKNOWLEDGMENT = 0x80

ROLE_SHIFT = 2
ROLE_MASK = 0x0C
ROLE_UNKNOWN = 0
ROLE_ALTERNATE_OR_BACKUP = 1
ROLE_ROOT = 2
ROLE_DESIGNATED = 3


class Bpdu(NamedTuple):
    """`type` is CONFIGURATION, RAPID or NOTIFICATION (which has no other field). Identifiers are the numbers of the
    diagram; times are in 1/256 s."""

    type: int
    flags: int = 0
    root: int = 0
    path_cost: int = 0
    bridge: int = 0
    port: int = 0
    message_age: int = 0
    max_age: int = 0
    hello_time: int = 0
    forward_delay: int = 0

    @property
    def role(self) -> int:
        """The role of the sending port. Only designated ports send configuration BPDUs."""
        return ROLE_DESIGNATED if self.type == CONFIGURATION else (self.flags & ROLE_MASK) >> ROLE_SHIFT


def parse(frame: Buffer) -> Bpdu:
    """The BPDU in a whole Ethernet frame, checked as section 9.3.4 asks.

    Later versions (multiple spanning trees is 3) are read as the newest known one, and octets after it are ignored.
    Raises WireError."""
    header, payload = ethernet.parse(frame)
    length = header.ethertype
    if length > LONGEST_LENGTH:
        raise WireError("bpdu", "length", 12, f"0x{length:04x} is an EtherType, a length expected")
    if len(payload) < length:
        raise WireError("bpdu", "length", 12, f"{length}, only {len(payload)} octets are there")
    if payload[:3] != LLC:
        raise WireError("bpdu", "LLC header", 14, f"{bytes(payload[:3]).hex(' ')}, 42 42 03 expected")
    return _parse_unit(payload[3:length])


def _parse_unit(unit: memoryview) -> Bpdu:
    if len(unit) < HEADER.size:
        raise WireError("bpdu", "header", len(unit), f"{len(unit)} octets, at least 4 expected")
    protocol, version, kind = HEADER.unpack_from(unit)
    if protocol != 0:
        raise WireError("bpdu", "protocol identifier", 0, f"0x{protocol:04x}, 0 expected")
    if kind == NOTIFICATION:
        return Bpdu(NOTIFICATION)
    if kind not in (CONFIGURATION, RAPID):
        raise WireError("bpdu", "type", 3, f"0x{kind:02x}, 0x00, 0x02 or 0x80 expected")
    if kind == RAPID and version < 2:
        raise WireError("bpdu", "version", 2, f"{version}, at least 2 expected for a rapid BPDU")
    expected = RAPID_LENGTH if kind == RAPID else BODY.size
    if len(unit) < expected:
        raise WireError("bpdu", "body", len(unit), f"{len(unit)} octets, at least {expected} expected")
    return Bpdu._make(BODY.unpack_from(unit)[2:])


def build(bpdu: Bpdu, source: Mac) -> bytes:
    """A whole frame from `source`, padded to the 60 octets of the shortest frame."""
    if bpdu.type == NOTIFICATION:
        unit = HEADER.pack(0, 0, NOTIFICATION)
    elif bpdu.type == CONFIGURATION:
        unit = BODY.pack(0, 0, *bpdu)
    else:
        unit = BODY.pack(0, 2, *bpdu) + b"\x00"
    frame = ethernet.build(BRIDGE_GROUP, source, len(LLC) + len(unit), LLC + unit)
    return frame.ljust(ethernet.MINIMUM_FRAME, b"\x00")


def to_time(nanoseconds: int) -> int:
    """Nanoseconds as 1/256 s, to the nearest and at most what the 16 bits hold."""
    return min((nanoseconds + TIME_UNIT // 2) // TIME_UNIT, 0xFFFF)


def from_time(value: int) -> int:
    """1/256 s as nanoseconds, exactly."""
    return value * TIME_UNIT
