"""PIE: proportional integral controller enhanced (RFC 8033).

Drops at random when frames arrive, as RED does, but steers by the time that frames wait. Every 15 ms (`update`) a
controller corrects the chance of a drop by how far the wait is from the target, and by where it is going:

    p ← p + alpha·(delay - target) + beta·(delay - delay of the update before)       alpha, beta in 1/s

    while p is          below 10⁻⁶  10⁻⁵  10⁻⁴  10⁻³  10⁻²  10⁻¹
    steps are divided by      2048   512   128    32     8     2      (section 4.2: small chances move in small steps)

and with no delay at all p also decays by 2 % at each update. What section 5 adds is here as well: no step above 2 %
once p is 10 % (5.5); a drop comes no sooner than 0.85/p and no later than 8.5/p frames after the one before (5.4); ECN
marks while p is below 10 %, since a queue that is fuller than that has to be emptied (5.1). Nothing is dropped in the
first 150 ms of congestion, so that bursts pass (4.4), nor when two full frames or less wait (4.1).

The delay is measured, not estimated from a rate (section 4.3): the time that the last frame to leave had waited, 0 when
the queue is empty. The controller sleeps while there is nothing to control; section 5.3 (off below a third of the
buffer) is left out, as it is in Linux."""

from __future__ import annotations

from random import Random

from nodes.impairment import Pie, Queue
from nodes.physical.carried import Carried
from nodes.physical.queues.fifo import QUEUE_FULL, Fifo, checked, is_marked, largest_frame
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND

PIE = "pie"

MAXIMUM_BURST = 150 * MILLISECOND
_MARKING_THRESHOLD = 0.1
_LEAST_SUM, _MOST_SUM = 0.85, 8.5
_DECAY = 0.98
_LARGE, _LARGEST_STEP = 0.1, 0.02
_SCALES = ((1e-6, 2048), (1e-5, 512), (1e-4, 128), (1e-3, 32), (1e-2, 8), (1e-1, 2))


class PieQueue(Fifo):
    """`chance` is the drop probability, `burst_allowance` the time in which nothing will be dropped."""

    __slots__ = (
        "_delay",
        "_least_octets",
        "_next",
        "_old_delay",
        "_random",
        "_settings",
        "_statistics",
        "_sum",
        "burst_allowance",
        "chance",
    )

    def __init__(self, settings: Pie, *, mtu: int, seed: int, statistics: Statistics) -> None:
        super().__init__()
        self._random = Random(seed)
        self._statistics = statistics
        self.chance = 0.0
        self.burst_allowance = MAXIMUM_BURST
        self._sum = 0.0
        self._delay = 0
        self._old_delay = 0
        self._next: int | None = None
        self._configure(settings, mtu)

    def enqueue(self, carried: Carried, now: int) -> None:
        """Take the frame at the end, marked or not, or drop it: for want of room, or early (section 4.1)."""
        self.timeout(now)
        if self.packets >= self._settings.packets:
            self._statistics.dropped[QUEUE_FULL] += 1
            return
        if self._is_early():
            self._sum = 0.0
            if not (self._settings.ecn and self.chance < _MARKING_THRESHOLD and is_marked(carried, self._statistics)):
                self._statistics.dropped[PIE] += 1
                return
        self.append(carried, now)
        if self._next is None:
            self._next = now + self._settings.update

    def dequeue(self, now: int) -> Carried | None:
        self.timeout(now)
        carried = self.pop()
        if carried is not None:
            self._delay = now - carried.note
        return carried

    def deadline(self) -> int | None:
        """The next update; None while there is nothing that one could change."""
        return self._next

    def timeout(self, now: int) -> None:
        """All updates that are due, each with what it would have found at its own time: between two of them the
        discipline knows of no other event."""
        while self._next is not None and self._next <= now:
            following = self._next + self._settings.update
            self._update()
            self._next = None if self._is_calm() else following

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:  # noqa: ARG002  (the surface of all disciplines)
        if not isinstance(settings, Pie):
            return False
        self._configure(settings, mtu)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002
        return {
            "discipline": "pie",
            "packets": self.packets,
            "octets": self.octets,
            "limit_packets": self._settings.packets,
            "sojourn": self._delay,
            "chance": self.chance,
            "burst_allowance": self.burst_allowance,
        }

    def _configure(self, settings: Pie, mtu: int) -> None:
        checked("a limit in packets", settings.packets)
        checked("an update period", settings.update)
        self._settings = settings
        self._least_octets = 2 * largest_frame(mtu)

    def _is_early(self) -> bool:
        """Whether the arriving frame is chosen: RFC 8033 sections 4.1, 4.4 and 5.4."""
        if self.burst_allowance > 0 or self.octets <= self._least_octets:
            return False
        if self._old_delay < self._settings.target // 2 and self.chance < 0.2:
            return False
        if not self.chance:
            self._sum = 0.0
        self._sum += self.chance
        if self._sum < _LEAST_SUM:
            return False
        return self._sum >= _MOST_SUM or self._random.random() < self.chance

    def _update(self) -> None:
        """RFC 8033 sections 4.2, 4.4 and 5.5."""
        settings = self._settings
        delay = self._delay if self.packets else 0
        step = settings.alpha * (delay - settings.target) + settings.beta * (delay - self._old_delay)
        step = self._scaled(step / SECOND)
        if self.chance >= _LARGE:
            step = min(step, _LARGEST_STEP)
        self.chance += step
        if not delay and not self._old_delay:
            self.chance *= _DECAY
        self.chance = min(max(self.chance, 0.0), 1.0)
        self.burst_allowance = max(self.burst_allowance - settings.update, 0)
        calm = settings.target // 2
        if not self.chance and delay < calm and self._old_delay < calm:
            self.burst_allowance = MAXIMUM_BURST
        self._old_delay = delay

    def _scaled(self, step: float) -> float:
        for bound, divisor in _SCALES:
            if self.chance < bound:
                return step / divisor
        return step

    def _is_calm(self) -> bool:
        """Whether the next update would find everything as it is now."""
        return not self.packets and not self.chance and not self._old_delay and self.burst_allowance == MAXIMUM_BURST
