"""A packet socket whose link is in it: frames wait, are lost or damaged in the node itself.

    agent ── send ──▶ line "out" ──▶ kernel          as the relay does it, for a node that has no relay beside it:
    agent ◀─ wake ◀── line "in" ◀─── kernel          a container of a Compose file

Each end of a link is the line for what it sends. Where the other end has no line (a Linux host, a Docker network that
stands for a switch) this end is the line for what it receives, too. What a line holds leaves at its time, by the
reactor's clock.

A schedule changes the lines as time goes on. Both ends of a link follow it, each from its own start. A change of the
carrier takes the interface down, so that the node sees it as a cable that is out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.impairment import NOTHING, Direction, Impairment, merged
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Handle, Reactor
from nodes.physical.line import Line
from nodes.physical.schedule import Due, Schedule
from nodes.units import earliest

CHANGES_PER_TURN = 64
"""Of a schedule: one that is faster than we are must not keep the node from its frames."""

SetUp = Callable[[str, bool], None]


class Asked(NamedTuple):
    """What the interface's lines are to do. `lines` are the directions that have one here; `out` is that in which the
    node sends. `schedule` None: nothing changes."""

    out: Direction
    lines: dict[Direction, Line]
    impairments: dict[Direction, Impairment]
    mtu: int
    schedule: Schedule | None = None


class ImpairedSocket(PacketSocket):
    """`wake` is called when frames can be received that did not just come from the kernel; `set_up` takes the interface
    down and up."""

    __slots__ = ("_asked", "_handle", "_incoming", "_outgoing", "_reactor", "_set_up", "_wake")

    def __init__(self, interface: str, asked: Asked, reactor: Reactor, wake: Callable[[], None], set_up: SetUp) -> None:
        super().__init__(interface)
        self._asked = asked
        self._outgoing = asked.lines.get(asked.out)
        self._incoming = next((line for direction, line in asked.lines.items() if direction != asked.out), None)
        self._reactor = reactor
        self._wake = wake
        self._set_up = set_up
        self._handle: Handle | None = None
        self._arm()

    def send(self, frame: bytes | bytearray | memoryview) -> bool:
        """Put a frame into the line. What becomes of it there is in the line's statistics."""
        if self._outgoing is None:
            return super().send(frame)
        self._outgoing.receive(bytes(frame), self._reactor.clock())
        self._let_out()
        self._arm()
        return True

    def receive_batch(self, limit: int = 64) -> list[bytes]:
        """Frames that are due by now. With a line they may be more than `limit`, which is for those of the kernel."""
        frames = super().receive_batch(limit)
        line = self._incoming
        if line is None:
            return frames
        now = self._reactor.clock()
        for frame in frames:
            line.receive(frame, now)
        line.timeout(now)
        late, left = line.statistics.lateness.add, line.transmit()
        for due, _, _ in left:
            late(now - due)
        self._arm()
        return [frame for _, _, frame in left]

    def snapshot(self) -> dict[str, object]:
        now = self._reactor.clock()
        lines = {direction: line.snapshot(now) for direction, line in self._asked.lines.items()}
        return {**super().snapshot(), "out": self._asked.out, "lines": lines}

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        super().close()

    def _let_out(self) -> None:
        line, clock = self._outgoing, self._reactor.clock
        if line is None:
            return
        line.timeout(clock())
        for due, _, frame in line.transmit():
            line.statistics.lateness.add(clock() - due)
            super().send(frame)

    def _arm(self) -> None:
        """Be called at the next time at which a line or the schedule has something to do."""
        schedule = self._asked.schedule
        deadline = earliest(
            *(line.deadline() for line in self._asked.lines.values()), schedule.deadline() if schedule else None
        )
        if self._handle is not None:
            if self._handle.callback is not None and self._handle.deadline == deadline:
                return
            self._handle.cancel()
        self._handle = None if deadline is None else self._reactor.call_at(deadline, self._time_out)

    def _time_out(self) -> None:
        self._handle = None
        self._follow_schedule()
        self._let_out()
        incoming = self._incoming.deadline() if self._incoming is not None else None
        if incoming is not None and incoming <= self._reactor.clock():
            self._wake()  # receives, and arms
        self._arm()

    def _follow_schedule(self) -> None:
        schedule, now = self._asked.schedule, self._reactor.clock()
        if schedule is None:
            return
        for due in schedule.due(now, self._asked.impairments.__getitem__, CHANGES_PER_TURN):
            self._change(due, now)

    def _change(self, due: Due, now: int) -> None:
        asked = self._asked
        if due.patch is not None:
            for direction in due.directions:
                before = NOTHING if due.replace else asked.impairments[direction]
                asked.impairments[direction] = merged(before, due.patch)
                if direction in asked.lines:
                    asked.lines[direction].change(asked.impairments[direction], asked.mtu, now)
        if due.up is not None:
            for line in asked.lines.values():
                line.set_up(due.up, now)
            self._set_up(self.interface, due.up)
