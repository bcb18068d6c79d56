"""The inner loop of a relay: frames from one packet socket through a line to another, each at its time.

        left ──▶ line "ab" ──▶ right         a link is two directions, and both ends of it are veths
        left ◀── line "ba" ◀── right         whose other ends are in the nodes

Theory of operation. A direction is served when its socket has frames, and when something in its line is due. Both are
the same three steps:

    1. read the clock: now
    2. hand the line every frame that its socket holds, with the time at which the kernel got it
    3. tell the line that it is now, and send what has left

Step 2 before step 3 is what keeps a late relay honest. A line that was told a time cannot take frames from before it;
it would count their delay from then, and the emulator's lateness would pass for the link's delay. So a line is never
told a time before its socket is empty up to that time: where a whole batch was read and more may wait, the line is only
told the arrival of the last.

Deadlines. Each line knows its next one; a heap holds them for all lines, and the reactor's timerfd (absolute, in ns)
fires for the first. An entry may be too early, when its line has changed: then nothing is found due, and the line is
entered again.

Wake-ups are what a relay's processor time goes into: each costs more than a frame. A frame that will stay in its line
for 20 ms need not wake anybody when it arrives, because its time of arrival is kept with it. So sockets are handled as
a network driver handles its card (NAPI): one that is idle is watched; one whose frames come in quick succession is
looked at instead, whenever its line is served and at the latest after the line's `patience`; when a look finds nothing,
it is watched again. At 5,000 frames/s, that saves a third of the processor time, at 20,000 half.

Lateness is what remains: from the time a frame was due until its `send` is called; some 50 µs, which is what it takes
to wake a process on an idle machine. To set the timer earlier and wait for the rest with open eyes would halve that and
cost 40 % more processor time, which the nodes of the lab need more.
"""

from __future__ import annotations

import heapq
from functools import partial
from typing import Protocol

from nodes.io.reactor import Reactor
from nodes.io.stamped_socket import BATCH, StampedSocket
from nodes.physical.statistics import Statistics
from nodes.units import earliest

SERVICES_PER_TURN = 64
"""Lines served for their deadlines before sockets and the control connection get their turn."""
LEAST_TO_SWEEP = 4096
"""Entries of the heap below which stale ones among them do no harm."""


class LineLike(Protocol):
    """What is asked of a line; nodes.physical.line.Line has it."""

    statistics: Statistics

    def receive(self, frame: bytes, now: int) -> None: ...

    def timeout(self, now: int) -> None: ...

    def deadline(self) -> int | None: ...

    def transmit(self) -> list[tuple[int, int, bytes]]: ...


class Direction:
    """From one socket to another through a line. `patience`: for so long (ns) a frame may wait in the socket before it
    is read."""

    __slots__ = ("arrived", "entered", "line", "look", "now", "patience", "sink", "source")

    def __init__(self, source: StampedSocket, line: LineLike, sink: StampedSocket, patience: int = 0) -> None:
        self.source = source
        self.line = line
        self.sink = sink
        self.patience = patience
        self.now = 0
        """The time that the line was told last."""
        self.arrived = 0
        """When the last frame came."""
        self.look: int | None = None
        """When to look at the socket next; None while it is watched."""
        self.entered: int | None = None
        """Its time in the heap. Other entries of it are stale."""

    def snapshot(self) -> dict[str, object]:
        """What went wrong around the line: frames that never came to it, and that left it for nothing."""
        return {
            "not_received": self.source.statistics()[1] + self.source.truncated,
            "not_sent": dict(self.sink.not_sent),
        }


class RelayLoop:
    """Serves directions from the callbacks of a reactor, whose `on_deadline` becomes ours."""

    def __init__(self, reactor: Reactor) -> None:
        self.services = 0
        """How often a direction was served."""
        self._reactor = reactor
        self._clock = reactor.clock
        self._heap: list[tuple[int, int, Direction]] = []
        self._order = 0
        self._sweep_at = LEAST_TO_SWEEP
        reactor.on_deadline = self._time_out

    def add(self, direction: Direction) -> None:
        """Begin to serve a direction."""
        self._watch(direction)
        self.serve(direction)

    def remove(self, direction: Direction) -> None:
        """Serve it no more. Its sockets stay open."""
        self._reactor.remove(direction.source.fileno())
        self._heap = [entry for entry in self._heap if entry[2] is not direction]
        heapq.heapify(self._heap)
        self._set_timer()

    def serve(self, direction: Direction) -> int:
        """The three steps, for a direction whose socket or line has something, and around what is done to its line from
        outside. Returns the time that the line was told."""
        self._serve(direction)
        self._set_timer()
        return direction.now

    def set_patience(self, direction: Direction, patience: int) -> None:
        """Its line is another now."""
        direction.patience = patience
        if direction.look is not None:
            self._watch(direction)

    def _watch(self, direction: Direction) -> None:
        direction.look = None
        self._reactor.add(direction.source.fileno(), partial(self._read, direction))

    def _read(self, direction: Direction) -> None:
        self._serve(direction)
        self._set_timer()

    def _serve(self, direction: Direction) -> None:
        self.services += 1
        line, now = direction.line, self._clock()
        frames = direction.source.receive_stamped()
        if frames:
            receive = line.receive
            for arrived, frame in frames:
                receive(frame, arrived)
            now = arrived if len(frames) == BATCH else max(now, arrived)  # some came after the clock was read
            if direction.look is not None or frames[0][0] - direction.arrived < direction.patience:
                self._look_again(direction, now)
            direction.arrived = arrived
        elif direction.look is not None and direction.look <= now:
            self._watch(direction)
        direction.now = max(now, direction.now)
        line.timeout(direction.now)
        left = line.transmit()
        if left:
            clock, send, late = self._clock, direction.sink.send, line.statistics.lateness.add
            for due, _, frame in left:
                late(clock() - due)
                send(frame)
        self._enter(direction)

    def _look_again(self, direction: Direction, now: int) -> None:
        if direction.look is None:
            self._reactor.pause(direction.source.fileno())
        direction.look = now + direction.patience

    def _enter(self, direction: Direction) -> None:
        """Put a direction where it belongs in the heap, unless it is there already."""
        deadline = earliest(direction.line.deadline(), direction.look)
        if deadline is not None and (direction.entered is None or deadline < direction.entered):
            direction.entered = deadline
            self._order += 1
            heapq.heappush(self._heap, (deadline, self._order, direction))
            if len(self._heap) > self._sweep_at:
                self._sweep()

    def _sweep(self) -> None:
        """Take stale entries out of the heap. Each time that a line has something earlier to do, its old entry stays
        behind until its time comes, which for a frame that a fault holds may be in an hour."""
        fresh = {id(entry[2]): entry for entry in self._heap if entry[0] == entry[2].entered}
        self._heap[:] = fresh.values()
        heapq.heapify(self._heap)
        self._sweep_at = max(2 * len(self._heap), LEAST_TO_SWEEP)

    def _time_out(self) -> None:
        """Serve what is due."""
        heap, clock = self._heap, self._clock
        served = 0
        while served < SERVICES_PER_TURN and heap and heap[0][0] <= clock():
            deadline, _, direction = heapq.heappop(heap)
            if deadline == direction.entered:
                direction.entered = None
                self._serve(direction)
                served += 1
        self._set_timer()

    def _set_timer(self) -> None:
        heap = self._heap
        self._reactor.set_deadline(heap[0][0] if heap else None)
