"""One direction of a link under an impairment: frames in, and the same frames out, later, fewer, more or damaged.

    receive ─▶ faults ─▶ queue ─▶ server ─▶ netem ─▶ transmit
                 │                            │
                 └ those delayed by a fault   └ those in flight

Everything inside happens at its own time, in the order of those times, and not when the caller looks: whoever asks late
gets the same frames with the same due times, only later. So a busy machine makes the emulator late, which is measured
(`Statistics.lateness`, by the executor), and never changes what the link does.

The same object is driven by a process between two packet sockets and by virtual time. It reads no clock and has no
randomness but its seed.

A link that goes down loses what is inside, and what enters meanwhile.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b

from nodes.impairment import NOTHING, Impairment
from nodes.physical.carried import Carried
from nodes.physical.faults import Faults
from nodes.physical.netem import Netem
from nodes.physical.queues.base import QueueDiscipline, change_queue, make_queue
from nodes.physical.server import Server, make_server
from nodes.physical.statistics import Statistics
from nodes.units import earliest

HELD_LIMIT = 10_000
"""Frames that faults may delay at the same time: 15 MB of full ones."""


class Line:
    """`mtu` in octets of IP packet, times in ns. `seed` is 64 bits, for this run, link and direction; one that the
    impairment names itself goes before."""

    def __init__(self, impairment: Impairment, mtu: int, seed: int, now: int) -> None:
        self.impairment = impairment
        self.mtu = mtu
        self.statistics = Statistics()
        self._own_seed = seed
        self._up = True
        self._now = now
        self._netem = Netem(impairment, mtu, self._seed, self.statistics)
        self._faults: Faults | None = None
        self._held: list[tuple[int, int, Carried]] = []  # by faults: (when they go on, order, frame)
        self._order = 0
        self._queue: QueueDiscipline | None = None
        self._server: Server | None = None
        self._serving: Carried | None = None  # `due` is when its transmission ends
        self._out: list[tuple[int, int, bytes]] = []
        self._set_stages(NOTHING, impairment, now)

    @property
    def _seed(self) -> int:
        return self._own_seed if self.impairment.seed is None else self.impairment.seed

    # The four verbs

    def receive(self, frame: bytes, now: int) -> None:
        """A frame enters at `now`; one that the caller tells late enters after what has happened since."""
        now = max(now, self._now)
        self.timeout(now)
        statistics = self.statistics
        statistics.in_frames += 1
        statistics.in_octets += len(frame)
        if not self._up:
            statistics.dropped["link down"] += 1
            return
        carried = Carried(frame, now)
        if self._faults is None:
            self._pass(carried, now)
            return
        for at, each in self._faults.apply(carried, now):
            if at <= now:
                self._pass(each, now)
            elif len(self._held) >= HELD_LIMIT:
                statistics.dropped["fault queue full"] += 1
            else:
                self._order += 1
                heapq.heappush(self._held, (at, self._order, each))

    def timeout(self, now: int) -> None:
        """Let happen what is due until `now`."""
        while True:
            at = self.deadline()
            if at is None or at > now:
                break
            self._step(max(at, self._now))
        self._now = max(now, self._now)

    def deadline(self) -> int | None:
        """When the next thing happens inside (ns), or None."""
        netem = self._netem.deadline()
        if self._queue is None and not self._held and self._serving is None:
            return netem
        return earliest(
            netem,
            self._held[0][0] if self._held else None,
            self._serving.due if self._serving is not None else None,
            self._queue.deadline() if self._queue is not None else None,
        )

    def transmit(self) -> list[tuple[int, int, bytes]]:
        """Drain what has left: (due, arrived, frame), in the order of the due times."""
        out = self._out
        if out:
            self._out = []
        return out

    # Changes

    def change(self, impairment: Impairment, mtu: int, now: int) -> None:
        """From now on. Frames inside keep the times that they have been given, as with netem."""
        now = max(now, self._now)
        self.timeout(now)
        before, self.impairment, self.mtu = self.impairment, impairment, mtu
        self._netem.change(impairment, mtu, now, self._seed)
        self._set_stages(before, impairment, now)

    def set_up(self, up: bool, now: int) -> None:
        """Carrier came or went."""
        now = max(now, self._now)
        self.timeout(now)
        if self._up and not up:
            self._lose_everything()
        self._up = up

    def snapshot(self, now: int) -> dict[str, object]:
        """What was measured, as values of JSON."""
        self.timeout(now)
        state = self.statistics.snapshot(now)
        if self._faults is not None:
            state["faults"] = self._faults.snapshot()
        if self._queue is not None:
            state["queue"] = self._queue.snapshot(now)
        return state

    # Inside

    def _pass(self, carried: Carried, now: int) -> None:
        """A frame that the faults let go on."""
        if self._queue is None:
            self._netem.receive(carried, now)
            at = self._netem.deadline()
            if at is not None and at <= now:
                self._release(now)
            return
        self._queue.enqueue(carried, now)
        if self._serving is None:
            self._serve(now)

    def _step(self, at: int) -> None:
        """What is due at `at`, in a fixed order where several things are: first what leaves."""
        netem = self._netem.deadline()
        if netem is not None and netem <= at:
            self._release(at)
        elif self._serving is not None and self._serving.due <= at:
            served, self._serving = self._serving, None
            self._netem.receive(served, at)
            self._serve(at)
        elif self._held and self._held[0][0] <= at:
            self._pass(heapq.heappop(self._held)[2], at)
        elif self._queue is not None:
            self._queue.timeout(at)

    def _release(self, now: int) -> None:
        release, out, left = self._netem.release, self._out, self.statistics.left
        while (carried := release(now)) is not None:
            frame, arrived, due = carried.frame, carried.arrived, carried.due
            left(len(frame), arrived, due)
            out.append((due, arrived, frame))

    def _serve(self, now: int) -> None:
        """Take the next frame from the queue, if there is one."""
        if self._queue is None or self._server is None:
            return
        carried = self._queue.dequeue(now)
        if carried is not None:
            carried.due = self._server.finish(len(carried.frame), now)
            self._serving = carried

    def _set_stages(self, before: Impairment, impairment: Impairment, now: int) -> None:
        """Put the stages in front of netem there, change them, or take them away."""
        if impairment.faults != before.faults:
            if not impairment.faults:
                self._faults = None
            elif self._faults is None:
                self._faults = Faults(impairment.faults, self._derived("faults"), self.statistics)
            else:
                self._faults.change(impairment.faults)
        if not impairment.has_server:
            self._remove_server(now)
            return
        server = self._server = make_server(impairment, now, self._server)
        rate, seed, statistics = server.rate, self._derived("queue"), self.statistics
        if self._queue is None:
            self._queue = make_queue(impairment.queue, rate=rate, mtu=self.mtu, seed=seed, statistics=statistics)
        else:
            self._queue = change_queue(
                self._queue, impairment.queue, rate=rate, mtu=self.mtu, seed=seed, statistics=statistics
            )
        if self._serving is None:
            self._serve(now)

    def _remove_server(self, now: int) -> None:
        """What waited goes on at once."""
        waiting = self._queue.drain() if self._queue is not None else []
        if self._serving is not None:
            waiting.insert(0, self._serving)
        self._queue = self._server = self._serving = None
        for carried in waiting:
            self._netem.receive(carried, now)

    def _lose_everything(self) -> None:
        lost = len(self._held) + (self._serving is not None) + self._netem.clear()
        if self._queue is not None:
            lost += len(self._queue.drain())
        self._held.clear()
        self._serving = None
        if lost:
            self.statistics.dropped["link down"] += lost

    def _derived(self, purpose: str) -> int:
        """A seed for a stage, so that none disturbs the draws of another."""
        return int.from_bytes(blake2b(f"{self._seed}/{purpose}".encode(), digest_size=8).digest(), "big")
