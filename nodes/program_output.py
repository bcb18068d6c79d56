"""What programs print, each to whoever started it.

All programs of a node share one process and so one `sys.stdout`. It is replaced by a stream that asks the context in
which it is written to: tasks, callbacks and threads of `asyncio.to_thread` inherit it from the program that made
them. What is printed outside of any program goes where it went before.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, BinaryIO, TextIO, cast

OUTPUT_LIMIT = 1 << 20
"""Octets that wait for a client who does not read; what comes then is lost, and counted."""

PIECE = 64 * 1024
"""Octets of one report; a line of the control protocol holds 1 MiB, and JSON may need six octets for one."""

Report = Callable[[str, str], None]


class ProgramOutput:
    """Of one program. `wake` is called when the first octets wait, from whatever thread wrote them."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, bytes]] = []
        self._octets = 0
        self._lost = 0
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("backslashreplace") for name in ("stdout", "stderr")
        }

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def write(self, stream: str, data: bytes) -> None:
        """Keep octets until `flush`; safe in any thread."""
        with self._lock:
            first = not self._waiting
            if self._octets + len(data) > OUTPUT_LIMIT:
                self._lost += len(data)
            else:
                self._octets += len(data)
                self._waiting.append((stream, data))
        if first:
            self._wake()

    def flush(self, report: Report, *, final: bool = False) -> None:
        """Hand over what waits as (stream, text), in order, neighbors of one stream joined. `final`: also half a
        character."""
        with self._lock:
            waiting, self._waiting, self._octets = self._waiting, [], 0
            lost, self._lost = self._lost, 0
        for stream, data in _joined(waiting):
            for start in range(0, len(data), PIECE):
                text = self._decoders[stream].decode(data[start : start + PIECE])
                if text:
                    report(stream, text)
        if lost:
            report("stderr", f"[{lost} octets of output were lost: nobody read them]\n")
        if final:
            for stream, decoder in self._decoders.items():
                if text := decoder.decode(b"", final=True):
                    report(stream, text)


OUTPUT: ContextVar[ProgramOutput | None] = ContextVar("layerlab_output", default=None)


def _joined(waiting: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    parts: list[bytes] = []
    for number, (stream, data) in enumerate(waiting, 1):
        parts.append(data)
        if number == len(waiting) or waiting[number][0] != stream:
            yield stream, b"".join(parts)
            parts = []


class _Routed(io.RawIOBase):
    """The octets below the text stream: to the program of the context, or to where they went before."""

    def __init__(self, name: str, before: TextIO) -> None:
        super().__init__()
        self._name = name
        self._before = before

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the process, not of a program: what is written there goes to the log of the lab."""
        return self._before.fileno()

    def write(self, data: Any, /) -> int:
        octets = bytes(data)
        output = OUTPUT.get()
        if output is not None:
            output.write(self._name, octets)
        else:
            self._before.write(octets.decode("utf-8", "backslashreplace"))
            self._before.flush()
        return len(octets)


@contextlib.contextmanager
def routed() -> Iterator[None]:
    """While it lasts, `sys.stdout` and `sys.stderr` are those of programs."""
    before = sys.stdout, sys.stderr
    sys.stdout = _stream("stdout", before[0])
    sys.stderr = _stream("stderr", before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _stream(name: str, before: TextIO) -> TextIO:
    # RawIOBase in the place of a BufferedIOBase: nothing is buffered here, so that two streams keep their order.
    binary = cast("BinaryIO", _Routed(name, before))
    return io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
