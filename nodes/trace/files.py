"""Where a trace or a capture goes: a file that never disturbs the stack it records.

A recording must not change what is recorded. Records are collected in memory and written in large pieces, so that an
event costs a list append and not a system call. Two things can go wrong, and neither raises into the stack:

    the file reaches its bound      later records are counted in `dropped`; the room kept in `reserve` takes the last
                                    record, in which the writer says how many are missing
    the disk is full or broken      `failed` says why (`No space left on device`), everything that did not reach the
                                    file is counted in `lost`, and nothing more is written

Once a record was refused, all later ones are: a file that ends early can be trusted, one with holes cannot.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from nodes.errors import StackError

BUFFER_OCTETS = 64 * 1024
"""Octets collected before a write: about 400 events, or 40 full frames."""

DEFAULT_MAX_OCTETS = 1 << 30
"""1 GiB per file: a forgotten lab must not fill a disk."""


class TraceFileError(StackError):
    """A recorded file does not follow its format. `path` and `offset` (octets) name the place."""

    errno = errno.EBADMSG

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path} at byte {offset}: {reason}", hint="the file was changed or is not of this format")
        self.path = path
        self.offset = offset
        self.reason = reason


class RecordFile:
    """Buffered, bounded output of whole records to `target`, a path (created or emptied) or a binary stream.

    `reserve` octets below `max_octets` are kept for `write_last`. Opening a path raises OSError; afterwards no method
    does."""

    __slots__ = (
        "_buffer",
        "_buffered",
        "_owned",
        "_records",
        "_stream",
        "buffer_octets",
        "dropped",
        "failed",
        "lost",
        "max_octets",
        "octets",
        "reserve",
    )

    def __init__(
        self,
        target: str | Path | BinaryIO,
        *,
        max_octets: int = DEFAULT_MAX_OCTETS,
        reserve: int = 0,
        buffer_octets: int = BUFFER_OCTETS,
    ) -> None:
        self._owned = isinstance(target, str | Path)
        self._stream: BinaryIO | None = _create(target) if isinstance(target, str | Path) else target
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._records = 0
        self.max_octets = max_octets
        self.reserve = reserve
        self.buffer_octets = buffer_octets
        self.octets = 0
        """Octets accepted so far, those still in the buffer included."""
        self.dropped = 0
        """Records refused because the file reached its bound."""
        self.lost = 0
        """Records that a failed write, or a write after it, did not bring to the file."""
        self.failed: str | None = None

    @property
    def pending(self) -> bool:
        """True while accepted records wait in the buffer."""
        return self._buffered > 0

    def write(self, record: bytes) -> bool:
        """Accept one record. False: it was counted in `dropped` or `lost` instead."""
        if self.failed is not None or self._stream is None:
            self.lost += 1
            return False
        if self.dropped or self.octets + len(record) > self.max_octets - self.reserve:
            self.dropped += 1
            return False
        self._accept(record)
        return True

    def write_last(self, record: bytes) -> None:
        """Accept a closing record, for which `reserve` kept the room."""
        if self.failed is None and self._stream is not None:
            self._accept(record)

    def _accept(self, record: bytes) -> None:
        self._buffer.append(record)
        self._records += 1
        self._buffered += len(record)
        self.octets += len(record)
        if self._buffered >= self.buffer_octets:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the operating system."""
        if not self._buffered or self._stream is None:
            return
        data, records = b"".join(self._buffer), self._records
        self._buffer.clear()
        self._buffered = self._records = 0
        try:
            _write_all(self._stream, data)
        except OSError as error:
            self._fail(error, records)

    def close(self) -> None:
        """Flush, and close a file opened here. Safe to call twice."""
        self.flush()
        stream, self._stream = self._stream, None
        if stream is None or not self._owned:
            return
        try:
            stream.close()
        except OSError as error:  # a network file system may report a full disk only now
            self._fail(error, 0)

    def _fail(self, error: OSError, records: int) -> None:
        self.failed = self.failed or error.strerror or str(error)
        self.lost += records


def _create(path: str | Path) -> BinaryIO:
    # Unbuffered: the buffer above is the only one, so that what was flushed survives the death of the process.
    return open(os.fspath(path), "wb", buffering=0)  # noqa: PTH123  (pathlib adds nothing)


def _write_all(stream: BinaryIO, data: bytes) -> None:
    """Raw streams may take a part only, for example just before the disk is full."""
    view = memoryview(data)
    while view:
        written = stream.write(view)
        if not written:  # None: a non-blocking descriptor that would block
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        view = view[written:]
