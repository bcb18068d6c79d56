"""Frames in and out of an interface, many to a system call: sendmmsg(2) and recvmmsg(2), which Python has not.

In User Mode Linux a system call costs 60 us and more, a hundred times what it costs elsewhere, while the work inside
the kernel costs the same as anywhere. So a test that counts frames by ten thousands sends and reads them in batches.

The kernel notes when a frame arrives, and when one that is sent enters the queue discipline (SOF_TIMESTAMPING_TX_SCHED,
Documentation/networking/timestamping.rst): both are exact, however long this program has to wait for the processor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any

MOST = 128
"""Frames to a system call."""
LARGEST = 2048
"""Octets of frame."""
RECEIVE_BUFFER = 128 << 20
SEND_BUFFER = 64 << 20
"""Octets; frames inside a queue discipline are charged to the socket that sent them."""
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_IGNORE_OUTGOING = 263, 6, 23
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_TIMESTAMPING = 32, 33, 35, 37
_SOFTWARE, _AT_THE_QUEUE = 1 << 4, 1 << 8
_MSG_ERRQUEUE = 0x2000
_TIMESTAMP = Struct("=qq")
_CONTROL_HEADER = 16
_CONTROL = 128
"""Octets of ancillary data: the time comes first, and for a frame that was sent, what kind of time that is."""


class _Part(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr: struct msghdr, and the octets that went."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Part)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_uint32),
        ("octets", ctypes.c_uint32),
    )


class BatchSocket:
    """A packet socket on one interface, which never blocks and does not hear what it sends."""

    def __init__(self, interface: str) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._socket.bind((interface, _ETH_P_ALL))
        self._buffer = ctypes.create_string_buffer(MOST * LARGEST)
        self._controls = ctypes.create_string_buffer(MOST * _CONTROL)
        self._messages = (_Message * MOST)()
        self._parts = (_Part * MOST)()

    def note_arrivals(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def note_departures(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _SOFTWARE | _AT_THE_QUEUE)

    def send(self, frames: Sequence[bytes]) -> None:
        """What the kernel drops for want of room counts as sent. Raises OSError."""
        self._lay_out(frames)
        first = 0
        while first < len(frames):
            place = ctypes.byref(self._messages, first * ctypes.sizeof(_Message))
            sent = self._libc.sendmmsg(self._socket.fileno(), place, len(frames) - first, 0)
            if sent == -1:
                number = ctypes.get_errno()
                if number != errno.ENOBUFS:
                    raise OSError(number, os.strerror(number))
                sent = 0
            if sent < len(frames) - first:
                sent += 1  # that one was refused, after it had been through what is to be tested
            first += sent

    def arrived(self) -> Iterator[tuple[bytes, int]]:
        """The frames that wait, each with the time at which it came (ns of the wall clock). After `note_arrivals`."""
        return self._read(0)

    def departed(self) -> Iterator[tuple[bytes, int]]:
        """The frames sent since the last question, each with the time at which it entered the queue discipline. After
        `note_departures`."""
        return self._read(_MSG_ERRQUEUE)

    def _read(self, flags: int) -> Iterator[tuple[bytes, int]]:
        while True:
            self._lay_out([b""] * MOST)
            count = self._libc.recvmmsg(self._socket.fileno(), self._messages, MOST, flags, None)
            if count == -1:
                number = ctypes.get_errno()
                if number == errno.EAGAIN:
                    return
                raise OSError(number, os.strerror(number))
            data = memoryview(self._buffer)
            for place in range(count):
                start = place * LARGEST
                frame = bytes(data[start : start + self._messages[place].octets])
                seconds, nanoseconds = _TIMESTAMP.unpack_from(self._controls, place * _CONTROL + _CONTROL_HEADER)
                yield frame, seconds * 1_000_000_000 + nanoseconds

    def missed(self) -> int:
        """Frames for which there was no room, since the last question."""
        return int(Struct("=II").unpack(self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1])

    def _lay_out(self, frames: Sequence[bytes]) -> None:
        """One message for each frame; for an empty one, room to receive."""
        buffer, controls = ctypes.addressof(self._buffer), ctypes.addressof(self._controls)
        for place, (frame, message, part) in enumerate(zip(frames, self._messages, self._parts, strict=False)):
            part.base = buffer + place * LARGEST
            part.length = len(frame) or LARGEST
            ctypes.memmove(part.base, frame, len(frame))
            message.parts, message.part_count = ctypes.pointer(part), 1
            message.control = None if frame else controls + place * _CONTROL
            message.control_length = 0 if frame else _CONTROL
