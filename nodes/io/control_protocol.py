"""The control protocol's lines and errors, as both ends need them. docs/control-protocol.md describes the protocol.

    ──> {"id": 7, "method": "ping", "params": {"destination": "10.0.0.2"}} LF
    <── {"id": 7, "event": {"sequence": 1, "rtt_ms": 0.21}} LF            any number, none included
    <── {"id": 7, "result": {"sent": 3, "received": 3}} LF                or {"id": 7, "error": {...}}, once

One JSON object per line: readable in a terminal, written by any language, and resynchronized by nothing, because a line
that is not JSON means that the two ends disagree about everything that follows. Such a connection is closed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import JSONEncoder

MAX_LINE = 1 << 20
"""Octets of a line, its LF included. A state of thousands of entries fits; a flood does not."""

HELLO = "hello"
CANCEL = "cancel"

MAX_DESCRIPTORS = 16
"""File descriptors that one reply may carry; the kernel's own limit is 253 (SCM_MAX_FD)."""


class ControlError(Exception):
    """A request failed. `code` is for programs, `message` for people, `hint` says what to do. Codes of the protocol:
    version, bad-request, bad-json, too-long, too-many, cancelled, closed, timeout; methods have their own."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


_encode = JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode_line(message: Mapping[str, object]) -> bytes:
    """Raises ControlError `too-long`, and TypeError or ValueError for what JSON cannot say."""
    line = _encode(message).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ControlError("too-long", f"a message of {len(line)} octets, at most {MAX_LINE} fit")
    return line


def decode_line(line: bytes) -> dict[str, object]:
    """Raises ControlError `bad-json` for anything but one object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError("bad-json", f"not a line of JSON: {error}") from None
    if not isinstance(value, dict):
        raise ControlError("bad-json", f"{type(value).__name__}, an object expected")
    return value


class LineBuffer:
    """Octets in, whole lines out. Empty lines are skipped."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_line(self) -> bytes | None:
        """The next whole line without its LF; None: more octets are needed. Raises ControlError `too-long`."""
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if (end if end >= 0 else len(self._buffer)) >= MAX_LINE:
                raise ControlError("too-long", f"a line of more than {MAX_LINE} octets")
            if end < 0:
                self._searched = len(self._buffer)
                return None
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if line.strip():
                return line


def text_of(value: object) -> str:
    """A field of an error as text; a peer may have sent anything."""
    return value if isinstance(value, str) else _encode(value)
