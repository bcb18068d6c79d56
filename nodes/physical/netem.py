"""netem in user space: the decisions of Linux' sch_netem, number for number, over a clock that the caller gives.

What happens to a frame that enters, in this order; each question draws from the generator only if it is asked at all,
so the stream of numbers depends on what is set:

    duplicate?    twice, unless it is a copy itself                                                          1 number
    lost?         gone; of two, one stays. With `ecn` it is marked and stays                        1, gemodel 2 numbers
    corrupt?      one bit of the whole frame flips                                                           1 number
    too many?     `limit` frames are inside already: gone, the copy too
    its copy      enters from the top: it may be lost, damaged and delayed by itself, all before the frame goes on
    reorder?      of each `gap` frames one is asked, and leaves at once, before all others                   1 number
    delay         arrival + delay, and behind what is in flight if there is a rate                           1 number

Consequences that surprise: with duplication d and loss l, (1 - d) l of the frames are lost and d (1 - l)^2 doubled;
what `reorder` sends early passes the rate too; a frame "lost" and duplicated is one frame.

With a rate, a frame leaves at max(arrival + delay, end of the one before) + its own transmission time. So delay and
queueing overlap, as in a pipe; no frame overtakes another, whatever the jitter; and `limit` counts those in the queue
and those in flight. A transmission takes (octets + overhead) * 8 / rate; with cells (ATM), whole ones are sent.

In flight, frames are ordered by the time they leave, and by arrival where those are equal. Most come in order, and wait
in a deque; those that overtake its last one, in a heap. So nothing in the heap leaves after the last of the deque.

Where the kernel takes numbers from its own pool (which bit flips, intervals of plain slots, memory of correlations),
siblings of the generator stand in (tausworthe.py), so a run repeats itself in these as well.
"""

from __future__ import annotations

import enum
import heapq
from collections import deque

from nodes.impairment import Impairment, Loss, TimedGilbertElliott, effective_limit
from nodes.physical.carried import Carried
from nodes.physical.congestion_mark import mark
from nodes.physical.jitter import Delay
from nodes.physical.loss import LossProcess, make_loss
from nodes.physical.server import line_length
from nodes.physical.slots import Slots, make_slots
from nodes.physical.statistics import Statistics
from nodes.physical.tausworthe import Correlated, Tausworthe
from nodes.units import SECOND


class Fate(enum.IntFlag):
    """What was decided for a frame as it entered; nothing of it is KEPT. What happens to its copy is not in it."""

    KEPT = 0
    LOST = 1
    LIMIT = 2
    DUPLICATED = 4
    CORRUPTED = 8
    REORDERED = 16
    MARKED = 32


_FATES = tuple(Fate(flags) for flags in range(64))  # combining flags at each frame costs more than all the rest
_KEPT, _LOST, _LIMIT = Fate.KEPT, Fate.LOST, Fate.LIMIT
_DUPLICATED, _CORRUPTED, _REORDERED, _MARKED = 4, 8, 16, 32


class Netem:
    """One direction. `seed` has 64 bits; one in the impairment goes before it. `mtu` in octets of IP packet sizes the
    limit where none is given. Of `statistics` it counts drops ("loss", "limit"), duplicates, and what was reordered,
    corrupted and marked. `held` is the number of frames inside.

    Two frames may enter at the same time; before one enters later, what is due until then has to be released.
    """

    def __init__(self, impairment: Impairment, mtu: int, seed: int, statistics: Statistics) -> None:
        self._statistics = statistics
        self.held = 0
        self._urgent: deque[Carried] = deque()  # sent early by `reorder`
        self._in_order: deque[Carried] = deque()
        self._overtaking: list[tuple[int, int, Carried]] = []  # (due, order of arrival, frame)
        self._arrivals = 0
        self._look: int | None = None  # with slots: when the link looks next for a frame that may leave
        self._seed = seed if impairment.seed is None else impairment.seed
        self._random = Tausworthe(self._seed)
        self._loss_value: Loss | None = None
        self._lost: LossProcess | None = None
        self._configure(impairment, mtu, 0)

    def change(self, impairment: Impairment, mtu: int, now: int, seed: int | None = None) -> None:
        """As tc's `change` with every option given. Frames in flight keep their times. Chains of loss begin anew, as do
        the count for `gap` and memories of correlations; the generator goes on, unless the seed is another one. Timed
        loss, which netem does not have, goes on if it is the same."""
        wanted = impairment.seed if impairment.seed is not None else self._seed if seed is None else seed
        if wanted != self._seed:
            self._seed = wanted
            self._random = Tausworthe(wanted)
            self._loss_value = None
        if self._slots is not None:
            self._leave_slots(now)
        self._configure(impairment, mtu, now)

    def _configure(self, impairment: Impairment, mtu: int, now: int) -> None:
        random = self._random
        self._limit = effective_limit(impairment, mtu)
        self._duplicate = _chance(impairment.duplicate, impairment.duplicate_correlation, random)
        self._corrupt = _chance(impairment.corrupt, impairment.corrupt_correlation, random)
        # Without a gap, each frame is asked; without a chance, every gap-th frame is sent early.
        self._gap = impairment.gap or (1 if impairment.reorder else 0)
        self._reorder = Correlated(impairment.reorder or 1.0, impairment.reorder_correlation, random)
        self._since_reorder = 0
        self._ecn = impairment.ecn
        if self._loss_value != impairment.loss or not isinstance(impairment.loss, TimedGilbertElliott):
            self._lost = make_loss(impairment.loss, random)
        self._loss_value = impairment.loss
        self._delay = Delay(impairment, random).draw
        # The kernel counts octets per second. Behind a server of its own, netem has no rate.
        self._rate = max(impairment.rate // 8, 1) if impairment.rate and not impairment.has_server else 0
        self._length = line_length(impairment)
        self._bits = random.sibling("corrupt")
        self._slots: Slots | None = make_slots(impairment.slot, random, now)
        self._look = now if self._slots is not None and self.held else None

    def receive(self, carried: Carried, now: int) -> Fate:
        """A frame enters at `now` (ns): what has been decided about it."""
        copied = self._duplicate is not None and not carried.is_copy and self._duplicate.happens()
        fate = 0
        if self._slots is not None:
            self._look = now
        if self._lost is not None and self._lost.lost(now):
            marked = mark(carried.frame) if self._ecn else None
            if marked is not None:
                carried.frame = marked
                self._statistics.marked += 1
                fate = _MARKED
            elif copied:
                copied = False  # the copy lives on in its place
            else:
                self._statistics.dropped["loss"] += 1
                return _LOST
        return self._admit(carried, now, fate, copied=copied)

    def _admit(self, carried: Carried, now: int, fate: int, *, copied: bool) -> Fate:
        unharmed = carried.frame
        if self._corrupt is not None and self._corrupt.happens():
            self._flip_bit(carried)
            fate |= _CORRUPTED
        if self.held >= self._limit:
            self._statistics.dropped["limit"] += 1
            return _FATES[fate | _LIMIT]
        if copied:
            self._statistics.duplicated += 1
            self.receive(Carried(unharmed, carried.arrived, is_copy=True), now)
            fate |= _DUPLICATED
        self.held += 1
        if self._gap and self._since_reorder >= self._gap - 1 and self._reorder.happens():
            self._hurry(carried, now)
            return _FATES[fate | _REORDERED]
        self._since_reorder += 1
        self._insert(carried, now)
        return _FATES[fate]

    def deadline(self) -> int | None:
        """When the next frame leaves; with slots, when the link looks next for one that may."""
        if self._urgent:
            return self._urgent[0].due
        if self._slots is not None:
            return self._look
        if not self._in_order:
            return None
        first = self._in_order[0].due
        return self._overtaking[0][0] if self._overtaking and self._overtaking[0][0] < first else first

    def release(self, now: int) -> Carried | None:
        """The next frame that has left by `now`, its time in `due`; to be called until there is none."""
        if self._urgent:
            if self._urgent[0].due > now:
                return None
            self.held -= 1
            return self._urgent.popleft()
        if self._slots is not None:
            return self._release_in_slot(self._slots, now)
        if not self._in_order:
            return None
        first = self._in_order[0]
        if self._overtaking and self._overtaking[0][0] < first.due:
            first = self._overtaking[0][2]
            if first.due > now:
                return None
            heapq.heappop(self._overtaking)
        elif first.due > now:
            return None
        else:
            self._in_order.popleft()
        self.held -= 1
        return first

    def clear(self) -> int:
        """Lose all that is inside: how many that were."""
        held, self.held = self.held, 0
        self._urgent.clear()
        self._in_order.clear()
        self._overtaking.clear()
        self._look = None
        return held

    def _insert(self, carried: Carried, now: int) -> None:
        due = now + self._delay()
        in_order = self._in_order
        if self._rate:
            if in_order and due < in_order[-1].due:
                due = in_order[-1].due
            due += self._length(len(carried.frame)) * SECOND // self._rate
        if due < now and self._slots is None:
            due = now  # frames that wait for a slot keep their order, even of times that have passed
        carried.due = due
        if not in_order or due >= in_order[-1].due:
            in_order.append(carried)
            return
        self._arrivals += 1
        heapq.heappush(self._overtaking, (due, self._arrivals, carried))

    def _hurry(self, carried: Carried, now: int) -> None:
        self._statistics.reordered += 1
        self._since_reorder = 0
        carried.due = now
        self._urgent.appendleft(carried)

    def _flip_bit(self, carried: Carried) -> None:
        if not carried.frame:
            return
        bit = self._bits.randrange(8 * len(carried.frame))
        damaged = bytearray(carried.frame)
        damaged[bit // 8] ^= 1 << bit % 8
        carried.frame = bytes(damaged)
        self._statistics.corrupted += 1

    def _first(self) -> Carried | None:
        """Of those in flight, the one that leaves first."""
        if not self._in_order:
            return None
        first = self._in_order[0]
        return self._overtaking[0][2] if self._overtaking and self._overtaking[0][0] < first.due else first

    def _take(self, first: Carried) -> None:
        self.held -= 1
        if self._in_order[0] is first:
            self._in_order.popleft()
        else:
            heapq.heappop(self._overtaking)

    def _release_in_slot(self, slots: Slots, now: int) -> Carried | None:
        while self._look is not None and self._look <= now:
            first = self._first()
            if first is None:
                self._look = None
                break
            if slots.opens < first.due:
                slots.next(self._look)
            if first.due <= self._look and slots.opens <= self._look:
                self._take(first)
                slots.spend(len(first.frame), self._look)
                first.due = self._look
                return first
            self._look = max(first.due, slots.opens)
        return None

    def _leave_slots(self, now: int) -> None:
        """Frames that waited for a slot are late by now, and leave in their order."""
        waiting: list[Carried] = []
        while (first := self._first()) is not None:
            self._take(first)
            first.due = max(first.due, now)
            waiting.append(first)
        self.held += len(waiting)
        self._in_order.extend(waiting)


def _chance(chance: float, correlation: float, random: Tausworthe) -> Correlated | None:
    """None where it cannot happen, which netem does not even ask."""
    number = Correlated(chance, correlation, random)
    return number if number.chance else None
