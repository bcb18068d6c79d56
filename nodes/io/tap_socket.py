"""A packet socket that only listens: to what comes in at an interface and to what leaves by it, each with its time.

    ═══ link ═══▶ [tap] ─▶ filters of tc, redirection, the kernel's stack
    ◀══ link ════ [tap] ◀─ root qdisc ◀─ redirection, the kernel's stack

A frame that comes in is stamped and shown before tc may redirect it, one that leaves after it has left the root qdisc:
so what a netem holds lies between the tap of one interface and that of another. The stamps are the kernel's
(nodes/io/stamped_socket.py), so a tap may be read at leisure, until its memory is full. What has no room is dropped
for the tap only, and counted.

The frames are the kernel's own, not copies, until they are read. Nothing waits for a tap. What the kernel changes in
place, a tap may see as it is afterwards: netem marks congestion so (RFC 3168), but damages a copy.
"""

from __future__ import annotations

import ctypes
import time

from nodes.io import packet_filter
from nodes.io.stamped_socket import (
    BATCH,
    OFFSET_LIFE,
    FrameMemory,
    StampedSocket,
    clock_offset,
)
from nodes.units import MICROSECOND, MILLISECOND, SECOND

OUTGOING = 4
"""PACKET_OUTGOING of packet(7)."""

DRIFT = MICROSECOND
"""In 10 ms: 100 ppm, more than clocks are off. One that is being slewed by more is followed in leaps."""
FAR = 10 * MILLISECOND
"""What is measured of the offset may be wrong by milliseconds, on a machine that takes the processor away from us."""

Heard = tuple[int, bool, bytes]
"""When (ns, monotonic clock), whether it left by the interface rather than came, and the whole frame."""


class _Taps(FrameMemory):
    """What all taps of a process share: where frames arrive, and the offset of the clocks.

    Differences of times are what taps are for. They are as exact as the stamps while the offset stays; so it follows
    what is measured by DRIFT at most, until that is far away: then the clock has been set."""

    def __init__(self) -> None:
        super().__init__(kinds=True)
        self._offset = clock_offset()
        self._offset_until = 0

    def offset(self, now: int) -> int:
        if now >= self._offset_until:
            self._offset_until = now + OFFSET_LIFE
            error = clock_offset() - self._offset
            self._offset += max(min(error, DRIFT), -DRIFT) if abs(error) < FAR else error
        return self._offset


class TapSocket(StampedSocket):
    """`sample` limits it to a part of the frames."""

    __slots__ = ("_filtered", "_floor")

    _taps: _Taps | None = None

    def __init__(self, interface: str) -> None:
        super().__init__(interface, outgoing=True)
        self._filtered = False
        self._floor = time.monotonic_ns()

    def sample(self, one_in: int) -> None:
        """Hear one frame in so many, a power of 2; every tap chooses the same ones. Raises OSError."""
        if one_in > 1:
            packet_filter.attach(self._socket, packet_filter.one_in(one_in))
        elif self._filtered:
            packet_filter.detach(self._socket)
        self._filtered = one_in > 1

    def hear(self, batches: int) -> list[Heard]:
        """The frames that wait, at most so many times BATCH."""
        memory = TapSocket._taps
        if memory is None:
            memory = TapSocket._taps = _Taps()
        heard: list[Heard] = []
        for _ in range(batches):
            begin = time.monotonic_ns()
            count = memory.receive(self._socket.fileno())
            if count < 0:
                self._take_note(ctypes.get_errno())
                count = 0
            self._add(heard, memory, count)
            if count < BATCH:
                self._floor = begin - FAR
                break
        self.received += len(heard)
        return heard

    def _add(self, heard: list[Heard], memory: _Taps, count: int) -> None:
        """A time is never much later than now, nor much earlier than when nothing was waiting here: a clock that is set
        does little harm."""
        now = time.monotonic_ns()
        offset, floor, latest = memory.offset(now), self._floor, now + FAR
        seconds, nanoseconds, kinds = memory.seconds, memory.nanoseconds, memory.kinds
        for number, frame in enumerate(memory.taken(count)):
            at = seconds[number] * SECOND + nanoseconds[number] + offset
            if not floor <= at <= latest:
                at = floor if at < floor else now
            if frame is None:
                self.truncated += 1
            else:
                heard.append((at, kinds[number] == OUTGOING, frame))
