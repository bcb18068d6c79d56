"""Exact faults: this frame is lost, that one is late. For experiments that ask what happens if the third segment, or a
SYN, or the last fragment, does not arrive.

Each fault counts the frames that it matches, from 1, and acts on some of them:

    first: 3, count: 2, every: 4      matching frames   1  2  3  4  5  6  7  8  9 ...
                                      acts on                 *           *

Every fault sees every frame as it entered the link, whatever the others do: "drop the 3rd" and "drop the 4th" together
drop those two. What they do to one frame adds up: a drop wins, else all bits are flipped, the delays are summed, and
the copies follow the original, equal to it, at its time.

Faults stand before the queue and netem, so that a copy is lost or delayed there like any other frame, and a delayed
frame meets the queue as it is then. A delayed frame lets later ones overtake it.

Bits are counted as the standards draw them: 0 is the most significant bit of the first octet, -1 the least significant
of the last. A frame that does not have the bit does not match. Where no bit is named, the seed chooses one, evenly over
the frame; each fault has its own generator, so that adding one does not change what another does.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nodes import json_values
from nodes.impairment import Fault
from nodes.physical.carried import Carried
from nodes.physical.matching import Matcher
from nodes.physical.statistics import Statistics
from nodes.physical.tausworthe import derived_seed

COPIES_LIMIT = 1000
"""Copies of one frame that one fault may make: they are made at once, so more would stall everything else."""


class _Active:
    """A fault, and how far it has come."""

    __slots__ = ("acted", "fault", "matched", "matcher", "random")

    def __init__(self, fault: Fault, seed: int) -> None:
        check(fault)
        self.fault = fault
        self.matcher = Matcher(fault.match)
        self.random = Random(seed)
        self.matched = 0
        self.acted = 0

    @property
    def over(self) -> bool:
        return 0 < self.fault.count <= self.acted

    def means(self, frame: bytes) -> bool:
        """Count the frame, and tell whether the fault acts on it."""
        fault = self.fault
        if not self.matcher.matches(frame) or (fault.action == "corrupt" and not _has_bit(frame, fault.bit)):
            return False
        self.matched += 1
        behind = self.matched - fault.first
        if behind < 0 or behind % fault.every:
            return False
        self.acted += 1
        return True

    def bit(self, frame: bytes) -> int:
        """Which one to flip, from the start of the frame."""
        bits = len(frame) * 8
        if self.fault.bit is None:
            return self.random.randrange(bits)
        return self.fault.bit % bits


class Faults:
    """The faults of one direction. Raises ValueError for one that makes no sense."""

    def __init__(self, faults: Sequence[Fault], seed: int, statistics: Statistics) -> None:
        self._seed = seed
        self._statistics = statistics
        self._all = [self._new(faults, index) for index in range(len(faults))]
        self._pending = self._all

    def apply(self, carried: Carried, now: int) -> list[tuple[int, Carried]]:
        """What becomes of a frame that enters at `now`: the frames that go on, each with the time when it does. None
        do where it is dropped, and more than one where it is duplicated."""
        acting = [active for active in self._pending if active.means(carried.frame)]
        if not acting:
            return [(now, carried)]
        self._pending = [active for active in self._pending if not active.over]
        return self._done(acting, carried, now)

    def change(self, faults: Sequence[Fault]) -> None:
        """Put others in place. Those that stay as they are go on counting. Raises ValueError; then all stays."""
        left = list(self._all)
        kept: list[_Active] = []
        for index, fault in enumerate(faults):
            same = next((active for active in left if active.fault == fault), None)
            if same is None:
                kept.append(self._new(faults, index))
            else:
                left.remove(same)
                kept.append(same)
        self._all = kept
        self._pending = [active for active in kept if not active.over]

    def snapshot(self) -> list[dict[str, object]]:
        """Per fault what it is, how many frames it matched until it was over, and on how many it acted."""
        return [
            {
                "fault": json_values.encode(active.fault),
                "matched": active.matched,
                "acted": active.acted,
                "forgotten_connections": active.matcher.forgotten,
            }
            for active in self._all
        ]

    def _new(self, faults: Sequence[Fault], index: int) -> _Active:
        fault = faults[index]
        alike = sum(other == fault for other in faults[:index])
        return _Active(fault, derived_seed(self._seed, "fault", json_values.encode(fault), alike))

    def _done(self, acting: list[_Active], carried: Carried, now: int) -> list[tuple[int, Carried]]:
        statistics = self._statistics
        if any(active.fault.action == "drop" for active in acting):
            statistics.dropped["fault"] += 1
            return []
        bits = [active.bit(carried.frame) for active in acting if active.fault.action == "corrupt"]
        if bits:
            carried.frame = flipped(carried.frame, bits)
            statistics.corrupted += 1
        at = carried.due = now + sum(active.fault.delay for active in acting if active.fault.action == "delay")
        copies = sum(active.fault.copies for active in acting if active.fault.action == "duplicate")
        statistics.duplicated += copies
        return [(at, carried), *((at, _copy(carried)) for _ in range(copies))]


def check(fault: Fault) -> None:
    """Raises ValueError for numbers that make no sense; those of its match are the matcher's to refuse."""
    if fault.first < 1 or fault.every < 1 or fault.count < 0:
        raise ValueError("a fault's `first` and `every` are 1 or more, its `count` is not negative")
    if fault.delay < 0 or (fault.action == "delay" and not fault.delay):
        raise ValueError("a fault that delays does so by more than 0")
    if fault.action == "duplicate" and not 1 <= fault.copies <= COPIES_LIMIT:
        raise ValueError(f"{fault.copies} copies, 1 to {COPIES_LIMIT} can be made")


def flipped(frame: bytes, bits: Sequence[int]) -> bytes:
    """The frame with these bits inverted, counted from the most significant one of its first octet."""
    changed = bytearray(frame)
    for bit in bits:
        changed[bit >> 3] ^= 0x80 >> (bit & 7)
    return bytes(changed)


def _has_bit(frame: bytes, bit: int | None) -> bool:
    bits = len(frame) * 8
    return bits > 0 if bit is None else -bits <= bit < bits


def _copy(carried: Carried) -> Carried:
    copy = Carried(carried.frame, carried.arrived)
    copy.due = carried.due
    return copy
