"""Captures as pcapng files (draft-ietf-opsawg-pcapng), for tshark, Wireshark and our own tools.

    SHB   who wrote the file: machine, operating system, program
    IDB   one for each interface: name, description, link type, time stamps in nanoseconds
    EPB   one for each frame: interface, time, octets, direction, comment, frames lost before it
    ...
    ISB   one for each interface when the capture ends: frames received, dropped, recorded

The format of blocks and options is drawn in `nodes.trace.pcapng_reader`. We write little-endian and give every time
stamp as 64 bits of nanoseconds since 1970 (if_tsresol 9). The usual frame has no comment, and its block is then two
`Struct.pack` calls and a join; a capture costs the stack little more than the copy of the frame.

The file is bounded, and a failed write does not reach the stack: see `nodes.trace.files`. A capture that ends with its
ISBs is complete; where frames are missing, a comment in the ISB says how many and why.
"""

from __future__ import annotations

import heapq
import operator
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from nodes.trace.files import DEFAULT_MAX_OCTETS, RecordFile
from nodes.trace.pcapng_reader import (
    BYTE_ORDER_MAGIC,
    ENHANCED_PACKET,
    FLAG_INBOUND,
    FLAG_OUTBOUND,
    INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS,
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    OPTION_COMMENT,
    OPTION_EPB_DROPCOUNT,
    OPTION_EPB_FLAGS,
    OPTION_IF_DESCRIPTION,
    OPTION_IF_NAME,
    OPTION_IF_TSRESOL,
    OPTION_ISB_DELIVERED,
    OPTION_ISB_DROPPED,
    OPTION_ISB_END,
    OPTION_ISB_RECEIVED,
    OPTION_ISB_START,
    OPTION_SHB_APPLICATION,
    OPTION_SHB_HARDWARE,
    OPTION_SHB_OS,
    SECTION_HEADER,
    CapturedFrame,
    InterfaceStatistics,
    read,
    read_items,
)
from nodes.wire.checksum import Buffer

__all__ = [
    "LINKTYPE_ETHERNET",
    "LINKTYPE_RAW",
    "CapturedFrame",
    "InterfaceStatistics",
    "PcapngWriter",
    "merge",
    "read",
    "read_items",
]

SNAPLEN = 262_144
"""Octets kept of a frame: no frame here is longer; the value that other tools use, too."""

NANOSECONDS = 9  # if_tsresol: 10^-9 s
SECTION_LENGTH_UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF
STATISTICS_OCTETS = 256
"""Room kept below the bound of the file for the ISB of each interface."""

MAX_TEXT = 0xFFFF
"""Octets of an option's value: its length field has 16 bits."""

_BLOCK = Struct("<II")
_LENGTH = Struct("<I")
_OPTION = Struct("<HH")
_PACKET = Struct("<IIIIIII")  # type, length, interface, time high and low, captured and original length
_PACKET_END = Struct("<HHIHHI")  # epb_flags, end of options, length
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class PcapngWriter:
    """Writes a capture to `target`, a path (created or emptied; raises OSError) or a binary stream.

    `failed`, `lost` and `dropped` count frames that are not in the file: see `nodes.trace.files`."""

    def __init__(
        self,
        target: str | Path | BinaryIO,
        *,
        application: str = "layerlab",
        comment: str | None = None,
        snaplen: int = SNAPLEN,
        max_octets: int = DEFAULT_MAX_OCTETS,
    ) -> None:
        self._file = RecordFile(target, max_octets=max_octets)
        self._snaplen = snaplen
        self._interfaces: list[_Counters] = []
        self._file.write(_section_header(application, comment))

    @property
    def failed(self) -> str | None:
        """Why writing ended; None while all is well."""
        return self._file.failed

    @property
    def lost(self) -> int:
        """Records that a failed write lost."""
        return self._file.lost

    @property
    def dropped(self) -> int:
        """Records left out because the file reached its bound."""
        return self._file.dropped

    def add_interface(self, name: str, description: str = "", linktype: int = LINKTYPE_ETHERNET) -> int:
        """Describe an interface; returns its number for `packet` and `statistics`."""
        body = Struct("<HHI").pack(linktype, 0, self._snaplen)
        options = [(OPTION_IF_NAME, name.encode()), (OPTION_IF_TSRESOL, bytes((NANOSECONDS,)))]
        if description:
            options.append((OPTION_IF_DESCRIPTION, description.encode()))
        self._file.reserve += STATISTICS_OCTETS
        self._interfaces.append(_Counters(self._file.write(_block(INTERFACE_DESCRIPTION, body, options))))
        return len(self._interfaces) - 1

    def packet(
        self,
        interface: int,
        wall_ns: int,
        frame: Buffer,
        inbound: bool | None,
        comment: str | None = None,
        original_length: int | None = None,
        dropped: int = 0,
    ) -> None:
        """Record a frame. `inbound` None: unknown; `original_length` where `frame` is only its beginning; `dropped`
        frames were lost by the capture since the one before."""
        counters = self._interfaces[interface]
        length = len(frame)
        if original_length is None:
            original_length = length
        if length > self._snaplen:
            frame, length = frame[: self._snaplen], self._snaplen
        if comment is None and not dropped and inbound is not None:
            block = _plain_packet(interface, wall_ns, frame, length, original_length, inbound)
        else:
            body = _PACKET.pack(0, 0, interface, wall_ns >> 32, wall_ns & 0xFFFF_FFFF, length, original_length)[8:]
            options = _packet_options(inbound, comment, dropped)
            block = _block(ENHANCED_PACKET, b"".join((body, frame, _PADDING[length & 3])), options)
        if self._file.write(block):
            counters.recorded += 1
        else:
            counters.missing += 1
        counters.first_ns = counters.first_ns or wall_ns
        counters.last_ns = wall_ns

    def statistics(self, interface: int, received: int, dropped: int) -> None:
        """What the source of the frames counted for an interface, so far; the last call is written by `close`."""
        counters = self._interfaces[interface]
        counters.received, counters.dropped = received, dropped

    def flush(self) -> None:
        """Hand buffered blocks to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Write the statistics of each interface, flush and close a file opened here. Safe to call twice."""
        for number, counters in enumerate(self._interfaces):
            if counters.described:
                self._file.write_last(_statistics_block(number, counters, self._file.max_octets))
        self._interfaces.clear()
        self._file.close()


class _Counters:
    """What `close` has to tell about an interface, whose description is in the file or came too late for it."""

    __slots__ = ("described", "dropped", "first_ns", "last_ns", "missing", "received", "recorded")

    def __init__(self, described: bool) -> None:
        self.described = described
        self.received: int | None = None
        self.dropped: int | None = None
        self.recorded = 0
        self.missing = 0
        self.first_ns = 0
        self.last_ns = 0


def _plain_packet(interface: int, wall_ns: int, frame: Buffer, length: int, original: int, inbound: bool) -> bytes:
    """An EPB whose only option is its direction: 28 octets, the frame, 16 octets."""
    padding = _PADDING[length & 3]
    total = 44 + length + len(padding)
    low, flags = wall_ns & 0xFFFF_FFFF, FLAG_INBOUND if inbound else FLAG_OUTBOUND
    head = _PACKET.pack(ENHANCED_PACKET, total, interface, wall_ns >> 32, low, length, original)
    return b"".join((head, frame, padding, _PACKET_END.pack(OPTION_EPB_FLAGS, 4, flags, 0, 0, total)))


def _packet_options(inbound: bool | None, comment: str | None, dropped: int) -> list[tuple[int, bytes]]:
    options = []
    if comment is not None:
        options.append((OPTION_COMMENT, comment.encode()))
    if inbound is not None:
        options.append((OPTION_EPB_FLAGS, (FLAG_INBOUND if inbound else FLAG_OUTBOUND).to_bytes(4, "little")))
    if dropped:
        options.append((OPTION_EPB_DROPCOUNT, dropped.to_bytes(8, "little")))
    return options


def _block(kind: int, body: bytes, options: Iterable[tuple[int, bytes]]) -> bytes:
    """A block around `body`, which is a multiple of four octets long."""
    parts = [body]
    for code, value in options:
        text = value if len(value) <= MAX_TEXT else value[:MAX_TEXT]
        parts += (_OPTION.pack(code, len(text)), text, _PADDING[len(text) & 3])
    if len(parts) > 1:
        parts.append(_OPTION.pack(0, 0))
    content = b"".join(parts)
    total = len(content) + 12
    return b"".join((_BLOCK.pack(kind, total), content, _LENGTH.pack(total)))


def _section_header(application: str, comment: str | None) -> bytes:
    options = [(OPTION_SHB_OS, sys.platform.encode()), (OPTION_SHB_APPLICATION, application.encode())]
    if hasattr(os, "uname"):  # not on Windows; `platform` has it everywhere and costs every node some memory
        system = os.uname()
        options[0] = OPTION_SHB_OS, f"{system.sysname} {system.release}".encode()
        options.insert(0, (OPTION_SHB_HARDWARE, system.machine.encode()))
    if comment is not None:
        options.insert(0, (OPTION_COMMENT, comment.encode()))
    body = Struct("<IHHQ").pack(BYTE_ORDER_MAGIC, 1, 0, SECTION_LENGTH_UNKNOWN)
    return _block(SECTION_HEADER, body, options)


def _statistics_block(number: int, counters: _Counters, max_octets: int) -> bytes:
    options = []
    if counters.missing:
        text = f"{counters.missing} frames not recorded: the capture reached its bound of {max_octets} octets"
        options.append((OPTION_COMMENT, text.encode()))
    for code, moment in ((OPTION_ISB_START, counters.first_ns), (OPTION_ISB_END, counters.last_ns)):
        if moment:
            options.append((code, Struct("<II").pack(moment >> 32, moment & 0xFFFF_FFFF)))
    for code, count in ((OPTION_ISB_RECEIVED, counters.received), (OPTION_ISB_DROPPED, counters.dropped)):
        if count is not None:
            options.append((code, count.to_bytes(8, "little")))
    options.append((OPTION_ISB_DELIVERED, counters.recorded.to_bytes(8, "little")))
    body = Struct("<III").pack(number, counters.last_ns >> 32, counters.last_ns & 0xFFFF_FFFF)
    return _block(INTERFACE_STATISTICS, body, options)


def merge(paths: Iterable[str | Path], out: str | Path | BinaryIO, *, application: str = "layerlab") -> int:
    """Merge captures by time into `out`; returns the number of frames. Names, descriptions, directions, comments and
    counters stay; an interface that was recorded twice stays two. Frames out of time order within one file keep
    their place there. Raises TraceFileError for a broken input, OSError where a file cannot be read or written."""
    writer = PcapngWriter(out, application=application, max_octets=1 << 62)
    numbers: dict[tuple[int, int], int] = {}
    statistics: list[tuple[int, InterfaceStatistics]] = []
    count = 0
    try:
        streams = [_frames(index, path, statistics) for index, path in enumerate(paths)]
        for _, index, frame in heapq.merge(*streams, key=operator.itemgetter(0)):
            key = (index, frame.interface_id)
            if key not in numbers:
                numbers[key] = writer.add_interface(frame.interface, frame.description, frame.linktype)
            writer.packet(numbers[key], *frame[1:6], frame.dropped)
            count += 1
        for index, counters in statistics:
            number = numbers.get((index, counters.interface_id))
            if number is not None and counters.received is not None:
                writer.statistics(number, counters.received, counters.dropped or 0)
    finally:
        writer.close()
    if writer.failed is not None:
        raise OSError(f"{out}: {writer.failed}")
    return count


def _frames(
    index: int, path: str | Path, statistics: list[tuple[int, InterfaceStatistics]]
) -> Iterable[tuple[int, int, CapturedFrame]]:
    """The frames of one input, keyed for the merge; counters go to `statistics`."""
    for item in read_items(path):
        if isinstance(item, CapturedFrame):
            yield item.wall_ns, index, item
        else:
            statistics.append((index, item))
