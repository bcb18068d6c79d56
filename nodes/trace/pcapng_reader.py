"""Reading pcapng captures (draft-ietf-opsawg-pcapng), ours and those of other tools.

A file is a chain of blocks, each of which tells its length twice, so that a reader can skip what it does not know
and walk backwards:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------------------------------------------------------+
    |                          block type                           |
    +---------------------------------------------------------------+
    |                      block total length                       |
    +---------------------------------------------------------------+
    |  body, options, padded to a multiple of four octets ...       |
    +---------------------------------------------------------------+
    |                      block total length                       |
    +---------------------------------------------------------------+

A section header (SHB) fixes the byte order by a magic number and starts the numbering of interfaces (IDB) anew; packets
(EPB, SPB) and counters (ISB) refer to these numbers. Options are (code, length, value) triples, padded
likewise, ended by code 0 or by the end of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from struct import error as StructError  # noqa: N812  (a class, whatever its name)
from typing import BinaryIO, NamedTuple

from nodes.trace.files import TraceFileError
from nodes.units import SECOND

SECTION_HEADER = 0x0A0D0D0A  # the same in both byte orders
INTERFACE_DESCRIPTION = 1
SIMPLE_PACKET = 3
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6
BYTE_ORDER_MAGIC = 0x1A2B3C4D

OPTION_END = 0
OPTION_COMMENT = 1
OPTION_SHB_HARDWARE = 2
OPTION_SHB_OS = 3
OPTION_SHB_APPLICATION = 4
OPTION_IF_NAME = 2
OPTION_IF_DESCRIPTION = 3
OPTION_IF_TSRESOL = 9
OPTION_IF_TSOFFSET = 14
OPTION_EPB_FLAGS = 2
OPTION_EPB_DROPCOUNT = 4
OPTION_ISB_START = 2
OPTION_ISB_END = 3
OPTION_ISB_RECEIVED = 4
OPTION_ISB_DROPPED = 5
OPTION_ISB_DELIVERED = 8

FLAG_INBOUND = 1
FLAG_OUTBOUND = 2
DIRECTION_MASK = 3

LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101  # the packet starts with its IP header

MAX_BLOCK_OCTETS = 16 << 20
"""The limit that other readers use, too: a length above it is damage, not data."""

MICROSECONDS = 6
"""Resolution of time stamps where an interface names none: 10^-6 s."""


class CapturedFrame(NamedTuple):
    """One frame of a capture. `wall_ns` is the time since 1970; `inbound` is None where the file does not say;
    `original_length` is that on the link, `frame` may be shorter; `dropped` frames are missing before this one."""

    interface: str
    wall_ns: int
    frame: bytes
    inbound: bool | None
    comment: str | None
    original_length: int
    linktype: int
    description: str
    dropped: int
    interface_id: int
    """Counts from 0 over the whole file, sections included: tells interfaces of one name apart."""


class InterfaceStatistics(NamedTuple):
    """The counters of an interface at the end of a capture; None where the file does not say."""

    interface_id: int
    interface: str
    received: int | None
    dropped: int | None


@dataclass(slots=True)
class _Interface:
    number: int
    name: str
    description: str
    linktype: int
    snaplen: int
    resolution: int
    """Ticks per second."""
    offset: int
    """Seconds to add (if_tsoffset)."""

    def wall_ns(self, ticks: int) -> int:
        return ticks * SECOND // self.resolution + self.offset * SECOND


@dataclass(slots=True)
class _Section:
    order: str = "<"
    interfaces: list[_Interface] = field(default_factory=list)
    structs: dict[str, Struct] = field(default_factory=dict)

    def unpack(self, layout: str, data: bytes, offset: int = 0) -> tuple[int, ...]:
        struct = self.structs.get(layout)
        if struct is None:
            struct = self.structs[layout] = Struct(self.order + layout)
        return struct.unpack_from(data, offset)


def read(path: str | Path) -> Iterator[CapturedFrame]:
    """The frames of a capture in the order of the file, of any byte order, time resolution and number of sections.

    A last block that lost its end is left out: a capture that stopped with its node is still a capture. Raises
    TraceFileError, with the octet where the block starts, for anything else that the draft does not allow."""
    return (item for item in read_items(path) if isinstance(item, CapturedFrame))


def read_items(path: str | Path) -> Iterator[CapturedFrame | InterfaceStatistics]:
    """Like `read`, with the counters of the interfaces where the file has them."""
    with Path(path).open("rb") as stream:
        section: _Section | None = None
        numbered = 0
        for offset, kind, order, body in _blocks(stream, str(path)):
            if kind == SECTION_HEADER or section is None:
                section = _Section(order)
            try:
                if kind == INTERFACE_DESCRIPTION:
                    section.interfaces.append(_interface(section, body, numbered))
                    numbered += 1
                elif kind in _ITEMS:
                    yield _ITEMS[kind](section, body)
            except (StructError, ValueError, IndexError) as error:
                raise TraceFileError(str(path), offset, f"block of type {kind}: {error}") from None


def _blocks(stream: BinaryIO, path: str) -> Iterator[tuple[int, int, str, bytes]]:
    """(offset, type, byte order, body) of each block."""
    order, offset = "", 0
    while True:
        head = stream.read(12)
        if len(head) < 12 and (order or not head):
            return
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            order = _byte_order(head, path, offset)
        elif not order:
            raise TraceFileError(path, offset, "no section header: this is not a pcapng file")
        kind, length = Struct(order + "II").unpack_from(head)
        if length < 12 or length % 4 or length > MAX_BLOCK_OCTETS:
            raise TraceFileError(path, offset, f"block length {length}")
        block = head + stream.read(length - 12)
        if len(block) < length:
            return
        if block[-4:] != head[4:8]:
            raise TraceFileError(path, offset, "the block's two lengths differ")
        yield offset, kind, order, block[8:-4]
        offset += length


def _byte_order(head: bytes, path: str, offset: int) -> str:
    for order, name in (("<", "little"), (">", "big")):
        if head[8:12] == BYTE_ORDER_MAGIC.to_bytes(4, name):  # type: ignore[arg-type]
            return order
    raise TraceFileError(path, offset, f"byte-order magic {head[8:12].hex()}")


def _options(section: _Section, body: bytes, position: int) -> dict[int, bytes]:
    """Options by code. Comments may repeat: they are joined by line feeds."""
    options: dict[int, bytes] = {}
    while position + 4 <= len(body):
        code, length = section.unpack("HH", body, position)
        position += 4
        if code == OPTION_END:
            break
        if position + length > len(body):
            raise ValueError(f"option {code} of {length} octets runs past its block")
        value = body[position : position + length]
        if code == OPTION_COMMENT and code in options:
            value = options[code] + b"\n" + value
        options[code] = value
        position += length + -length % 4
    return options


def _text(value: bytes) -> str:
    return value.decode(errors="replace")  # other tools' names need not be UTF-8; a name is no reason to give up


def _interface(section: _Section, body: bytes, number: int) -> _Interface:
    linktype, _, snaplen = section.unpack("HHI", body)
    options = _options(section, body, 8)
    resolution = options.get(OPTION_IF_TSRESOL, bytes((MICROSECONDS,)))[0]
    offset = options.get(OPTION_IF_TSOFFSET)
    return _Interface(
        number,
        _text(options.get(OPTION_IF_NAME, b"")),
        _text(options.get(OPTION_IF_DESCRIPTION, b"")),
        linktype,
        snaplen,
        1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution,
        section.unpack("q", offset)[0] if offset else 0,
    )


def _enhanced_packet(section: _Section, body: bytes) -> CapturedFrame:
    number, high, low, captured, original = section.unpack("IIIII", body)
    interface = section.interfaces[number]
    if 20 + captured > len(body):
        raise ValueError(f"{captured} octets captured, block has {len(body)}")
    options = _options(section, body, 20 + captured + -captured % 4)
    flags = section.unpack("I", options[OPTION_EPB_FLAGS])[0] if OPTION_EPB_FLAGS in options else 0
    dropped = section.unpack("Q", options[OPTION_EPB_DROPCOUNT])[0] if OPTION_EPB_DROPCOUNT in options else 0
    comment = options.get(OPTION_COMMENT)
    return CapturedFrame(
        interface.name,
        interface.wall_ns(high << 32 | low),
        body[20 : 20 + captured],
        {FLAG_INBOUND: True, FLAG_OUTBOUND: False}.get(flags & DIRECTION_MASK),
        None if comment is None else _text(comment),
        original,
        interface.linktype,
        interface.description,
        dropped,
        interface.number,
    )


def _simple_packet(section: _Section, body: bytes) -> CapturedFrame:
    """A packet of the first interface without a time (draft section 4.4)."""
    interface = section.interfaces[0]
    original = section.unpack("I", body)[0]
    captured = min(original, interface.snaplen or original)
    return CapturedFrame(
        interface.name,
        0,
        body[4 : 4 + captured],
        None,
        None,
        original,
        interface.linktype,
        interface.description,
        0,
        interface.number,
    )


def _statistics(section: _Section, body: bytes) -> InterfaceStatistics:
    interface = section.interfaces[section.unpack("III", body)[0]]
    options = _options(section, body, 12)
    received, dropped = (
        section.unpack("Q", options[code])[0] if code in options else None
        for code in (OPTION_ISB_RECEIVED, OPTION_ISB_DROPPED)
    )
    return InterfaceStatistics(interface.number, interface.name, received, dropped)


_ITEMS: dict[int, Callable[[_Section, bytes], CapturedFrame | InterfaceStatistics]] = {
    ENHANCED_PACKET: _enhanced_packet,
    SIMPLE_PACKET: _simple_packet,
    INTERFACE_STATISTICS: _statistics,
}
