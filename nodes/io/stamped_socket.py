"""A packet socket that says of each frame when the kernel got it, and reads many with one system call.

An emulated link counts its delay from a frame's arrival. By the time a process has woken up and read the frame, 50 µs
have passed on an idle machine and milliseconds on a busy one; so the time is the kernel's (SO_TIMESTAMPNS, socket(7)),
taken as the frame comes out of the veth.

    recvmmsg(2) ──▶ mmsghdr 0 │ mmsghdr 1 │ ...      a header per frame: where to put it, how long it was
                       │   └──▶ control 0: cmsghdr, then struct timespec
                       │            then cmsghdr, struct tpacket_auxdata
                       └──────▶ slot 0: the frame

Python's `recvmsg` builds a list of tuples for each time stamp: 4 µs for each frame. recvmmsg through ctypes fills
memory that was laid out once: 4 µs for a single frame, 1 µs for each of many.

A VLAN tag (IEEE 802.1Q) is taken out of a frame by the kernel before a packet socket sees it, and told beside it
(PACKET_AUXDATA, packet(7)). Here it is put back, behind the addresses, so that what is sent on is the frame that came.

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

from nodes.io.packet_socket import DOWN, MAXIMUM_FRAME, SO_TIMESTAMPNS, SOL_PACKET, PacketSocket
from nodes.units import MICROSECOND, MILLISECOND, SECOND

BATCH = 64
"""Frames of one call, at most."""

SLOT = -(-MAXIMUM_FRAME // mmap.PAGESIZE) * mmap.PAGESIZE
"""Octets of memory for a frame. Only pages that a frame was long enough to reach are ever given to us."""

OFFSET_LIFE = 10 * MILLISECOND
"""For so long the two clocks are trusted to keep their distance: a wall clock that is being slewed, by at most 500 ppm
(adjtimex(2)), moves by 5 µs."""

_CLOSE = 5 * MICROSECOND
_ATTEMPTS = 3

_MMSGHDR = Struct("@PI4xPQPQi4xI4x")
"""struct mmsghdr: name, its length, iovec, their number, control, its length, flags; then the length of the frame."""
_LENGTH_WORD = 14
_IOVEC = Struct("@PQ")
_ADDRESS = 24
"""Octets for a struct sockaddr_ll, which has 20."""
_KIND = 10
"""Where in it the kind of the frame is."""
_CONTROL = 72
"""Octets of CMSG_SPACE(sizeof(struct timespec)), which are 32: length, level and type (16 octets), seconds,
nanoseconds; and of CMSG_SPACE(sizeof(struct tpacket_auxdata)), 40: the same 16, status, length, captured length,
offsets of the headers, tag control information and protocol of the tag."""
_STATUS_WORD, _TAG_CONTROL, _TAG_PROTOCOL = 12, 32, 33
"""Where the three lie: in words of 4 octets, and of 2."""
PACKET_AUXDATA = 8
_VLAN_VALID, _VLAN_PROTOCOL_VALID = 0x10, 0x40
_ETHERTYPE_VLAN = 0x8100
_ADDRESSES = 12
_TAG = Struct("!HH")


class FrameMemory:
    """What recvmmsg writes to: one for all sockets of a process, which has one thread. `kinds`: with each frame's
    sockaddr_ll, which says how it came here (packet(7))."""

    def __init__(self, *, kinds: bool = False) -> None:
        self.data = mmap.mmap(-1, BATCH * SLOT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.frames = memoryview(self.data)
        self._vectors = bytearray(BATCH * _IOVEC.size)
        self._control = bytearray(BATCH * _CONTROL)
        self._addresses = bytearray(BATCH * _ADDRESS)
        self._headers = bytearray(BATCH * _MMSGHDR.size)
        start, vectors, control = _address(self.data), _address(self._vectors), _address(self._control)
        address, room = (_address(self._addresses), _ADDRESS) if kinds else (0, 0)
        for number in range(BATCH):
            _IOVEC.pack_into(self._vectors, number * _IOVEC.size, start + number * SLOT, SLOT)
            _MMSGHDR.pack_into(
                self._headers,
                number * _MMSGHDR.size,
                *(address + number * room, room, vectors + number * _IOVEC.size, 1),
                *(control + number * _CONTROL, _CONTROL, 0, 0),
            )
        self.fresh = bytes(self._headers)
        """The headers as they must be before a call, which writes over some of their fields."""
        self.headers = memoryview(self._headers)
        self.header_address = _address(self._headers)
        self.lengths = self.headers.cast("I")[_LENGTH_WORD :: _MMSGHDR.size // 4]
        words = memoryview(self._control).cast("q")
        self.seconds, self.nanoseconds = words[2 :: _CONTROL // 8], words[3 :: _CONTROL // 8]
        self._status = memoryview(self._control).cast("I")[_STATUS_WORD :: _CONTROL // 4]
        halves = memoryview(self._control).cast("H")
        self._tag_control = halves[_TAG_CONTROL :: _CONTROL // 2]
        self._tag_protocol = halves[_TAG_PROTOCOL :: _CONTROL // 2]
        self.kinds = memoryview(self._addresses)[_KIND::_ADDRESS]
        self._call = _recvmmsg()

    def receive(self, descriptor: int) -> int:
        """Take the frames that wait, at most BATCH. Returns how many, below zero for an error (ctypes.get_errno)."""
        self.headers[:] = self.fresh
        return self._call(descriptor, self.header_address, BATCH, socket.MSG_TRUNC, None)

    def taken(self, count: int) -> list[bytes | None]:
        """So many frames of the last `receive`, tags back in their places; None for one that was too long."""
        found: list[bytes | None] = []
        view, lengths, status = self.frames, self.lengths, self._status
        for number in range(count):
            start, length = number * SLOT, lengths[number]
            if length > SLOT:
                found.append(None)
                continue
            frame = view[start : start + length].tobytes()
            if status[number] & _VLAN_VALID:
                frame = frame[:_ADDRESSES] + self._tag(number) + frame[_ADDRESSES:]
            found.append(frame)
        return found

    def _tag(self, number: int) -> bytes:
        """What the kernel took out of this frame."""
        told = self._status[number] & _VLAN_PROTOCOL_VALID
        protocol = self._tag_protocol[number] if told else _ETHERTYPE_VLAN
        return _TAG.pack(protocol, self._tag_control[number])


def _address(buffer: bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _recvmmsg() -> Callable[[int, int, int, int, None], int]:
    function = ctypes.CDLL(None, use_errno=True).recvmmsg
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    return lambda *arguments: int(function(*arguments))


class StampedSocket(PacketSocket):
    """As PacketSocket, without offload."""

    __slots__ = ("_last", "_offset", "_offset_until")

    _memory: FrameMemory | None = None

    def __init__(self, interface: str, *, outgoing: bool = False) -> None:
        super().__init__(interface, outgoing=outgoing)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
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
            memory = StampedSocket._memory = FrameMemory()
        count = memory.receive(self._socket.fileno())
        if count < 0:
            self._take_note(ctypes.get_errno())
            return []
        self.received += count
        self.up = True
        return self._stamped(memory, count)

    def _stamped(self, memory: FrameMemory, count: int) -> list[tuple[int, bytes]]:
        now = time.monotonic_ns()
        if now >= self._offset_until:
            self._offset, self._offset_until = clock_offset(), now + OFFSET_LIFE
        offset, last, stamped = self._offset, self._last, []
        for number, frame in enumerate(memory.taken(count)):
            stamp = memory.seconds[number] * SECOND + memory.nanoseconds[number] + offset
            last = min(max(stamp, last), now)
            if frame is None:
                self.truncated += 1
            else:
                stamped.append((last, frame))
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
