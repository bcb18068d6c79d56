"""A packet socket that says of each frame when the kernel got it, and reads many with one system call.

An emulated link counts its delay from a frame's arrival. By the time a process has woken up and read the frame, 50 µs
have passed on an idle machine and milliseconds on a busy one; so the time is the kernel's (SO_TIMESTAMPNS, socket(7)),
taken as the frame comes out of the veth.

    recvmmsg(2) ──▶ mmsghdr 0 │ mmsghdr 1 │ ...      a header per frame: where to put it, how long it was
                       │   └──▶ control 0: cmsghdr, then struct timespec
                       └──────▶ slot 0: the frame

Python's `recvmsg` builds a list of tuples for each time stamp: 4 µs for each frame. recvmmsg through ctypes fills
memory that was laid out once: 4 µs for a single frame, 1 µs for each of many.

The first socket of a machine that asks for stamps has the kernel turn them on, which it does a little later; until then
a frame has the time at which it was read.

The stamps are of CLOCK_REALTIME, our clock is CLOCK_MONOTONIC. Their difference is measured again every 10 ms, and a
stamp never lies in the future, nor before an earlier one of the same socket: so a clock that is set while frames pass
does no harm.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import time
from collections.abc import Callable
from struct import Struct

from nodes.io.packet_socket import DOWN, MAXIMUM_FRAME, SO_TIMESTAMPNS, PacketSocket
from nodes.units import MICROSECOND, MILLISECOND, SECOND

BATCH = 64
"""Frames of one call, at most."""

_SLOT = -(-MAXIMUM_FRAME // mmap.PAGESIZE) * mmap.PAGESIZE
"""Octets of memory for a frame. Only pages that a frame was long enough to reach are ever given to us."""

_OFFSET_LIFE = 10 * MILLISECOND
"""For so long the two clocks are trusted to keep their distance: a wall clock that is being slewed, by at most 500 ppm
(adjtimex(2)), moves by 5 µs."""

_CLOSE = 5 * MICROSECOND
_ATTEMPTS = 3

_MMSGHDR = Struct("@PI4xPQPQi4xI4x")
"""struct mmsghdr: name, its length, iovec, their number, control, its length, flags; then the length of the frame."""
_LENGTH_WORD = 14
_IOVEC = Struct("@PQ")
_CONTROL = 32
"""Octets of CMSG_SPACE(sizeof(struct timespec)): length, level and type (16 octets), seconds, nanoseconds."""


class _Memory:
    """What recvmmsg writes to: one for all sockets of a process, which has one thread."""

    def __init__(self) -> None:
        self.data = mmap.mmap(-1, BATCH * _SLOT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.frames = memoryview(self.data)
        self._vectors = bytearray(BATCH * _IOVEC.size)
        self._control = bytearray(BATCH * _CONTROL)
        self._headers = bytearray(BATCH * _MMSGHDR.size)
        start, vectors, control = _address(self.data), _address(self._vectors), _address(self._control)
        for number in range(BATCH):
            _IOVEC.pack_into(self._vectors, number * _IOVEC.size, start + number * _SLOT, _SLOT)
            _MMSGHDR.pack_into(
                self._headers,
                number * _MMSGHDR.size,
                *(0, 0, vectors + number * _IOVEC.size, 1, control + number * _CONTROL, _CONTROL, 0, 0),
            )
        self.fresh = bytes(self._headers)
        """The headers as they must be before a call, which writes over some of their fields."""
        self.headers = memoryview(self._headers)
        self.header_address = _address(self._headers)
        self.lengths = self.headers.cast("I")[_LENGTH_WORD :: _MMSGHDR.size // 4]
        words = memoryview(self._control).cast("q")
        self.seconds, self.nanoseconds = words[2 :: _CONTROL // 8], words[3 :: _CONTROL // 8]
        self.call = _recvmmsg()


def _address(buffer: bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _recvmmsg() -> Callable[[int, int, int, int, None], int]:
    function = ctypes.CDLL(None, use_errno=True).recvmmsg
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    return lambda *arguments: int(function(*arguments))


class StampedSocket(PacketSocket):
    """As PacketSocket, without offload."""

    __slots__ = ("_last", "_offset", "_offset_until")

    _memory: _Memory | None = None

    def __init__(self, interface: str) -> None:
        super().__init__(interface)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._last = 0
        self._offset = 0
        self._offset_until = 0

    @property
    def room(self) -> int:
        """Octets of kernel memory for frames that wait, with what the kernel needs around them."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def receive_stamped(self) -> list[tuple[int, bytes]]:
        """The frames that wait, at most BATCH, each behind its time of arrival (ns, monotonic clock), in order. Empty:
        none, or the link is down."""
        memory = StampedSocket._memory
        if memory is None:
            memory = StampedSocket._memory = _Memory()
        memory.headers[:] = memory.fresh
        count = memory.call(self._socket.fileno(), memory.header_address, BATCH, socket.MSG_TRUNC, None)
        if count < 0:
            self._take_note(ctypes.get_errno())
            return []
        self.received += count
        self.up = True
        return self._stamped(memory, count)

    def _stamped(self, memory: _Memory, count: int) -> list[tuple[int, bytes]]:
        now = time.monotonic_ns()
        if now >= self._offset_until:
            self._offset, self._offset_until = clock_offset(), now + _OFFSET_LIFE
        offset, last, view = self._offset, self._last, memory.frames
        stamped, start = [], 0
        for number in range(count):
            stamp = memory.seconds[number] * SECOND + memory.nanoseconds[number] + offset
            last = min(max(stamp, last), now)
            length = memory.lengths[number]
            if length <= _SLOT:
                stamped.append((last, view[start : start + length].tobytes()))
            else:
                self.truncated += 1
            start += _SLOT
        self._last = last
        return stamped

    def _take_note(self, number: int) -> None:
        if number in DOWN:
            self.up = False
        elif number not in (errno.EAGAIN, errno.EINTR):
            raise OSError(number, f"recvmmsg on {self.interface}: {os.strerror(number)}")


def clock_offset() -> int:
    """What to add to a time of CLOCK_REALTIME for one of CLOCK_MONOTONIC (ns): from reading one between two readings of
    the other that were close together."""
    best, smallest = 0, None
    for _ in range(_ATTEMPTS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if smallest is None or after - before < smallest:
            best, smallest = (before + after) // 2 - wall, after - before
        if smallest < _CLOSE:
            break
    return best
