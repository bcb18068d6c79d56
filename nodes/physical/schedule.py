"""What changes on a link while a lab runs, and when: steps, ramps, periods, flaps, traces.

    delay                      at: 10s, ramp: 5s          rate                            at: 2s, every: 4s: 1 Mbit/s
                    ________                                                              at: 4s, every: 4s: 10 Mbit/s
     50 ms        _/                                      10 Mbit/s ──┐   ┌───┐   ┌───
     20 ms ─────_/                                         1 Mbit/s   └───┘   └───┘
               10 s 15 s                                              2   4   6   8 s

A schedule reads no clock and applies nothing: `deadline` says when it wants to be asked, `due` what has to change by
now. Who asks late gets everything that was missed, each change once and in order.

A ramp goes in steps of 100 ms, at most 200 of them, from what holds when it begins, in each direction of the link. The
last step is exact. A later change of the same field ends the ramp of that field, as does a `replace` of all.

At the same instant, first the steps of ramps happen, then changes in the order in which they are written.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nodes.impairment import NOTHING, Change, Direction, Impairment, decode_patch, merged
from nodes.physical.ramp import Ramp, steps_of
from nodes.units import MILLISECOND, SECOND

MINIMUM_PERIOD = MILLISECOND
"""Of `every`: a shorter one would keep the executor busy with nothing else."""

_ALL = 1 << 62
_STEP, _BEGIN = range(2)  # the order of what happens at one instant


class Due(NamedTuple):
    """Something to change: at `at` (ns) it was due, in these directions. `patch` (values) is merged into the
    impairment, or replaces it where `replace`; None leaves it. `up` sets the carrier. `trigger` is for the trace."""

    at: int
    directions: tuple[Direction, ...]
    patch: dict[str, Any] | None
    replace: bool
    up: bool | None
    trigger: str


class _Entry:
    """A change of the schedule and how often it began. `ramps` are those of its last beginning."""

    __slots__ = ("began", "change", "patch", "ramps", "start")

    def __init__(self, change: Change, start: int) -> None:
        check(change)
        self.change = change
        self.patch = decode_patch(change.patch)
        self.start = start + change.at
        self.began = 0
        self.ramps: dict[Direction, Ramp] = {}


class Schedule:
    """`start` (ns) is the time from which the changes count theirs. Raises ValueError for those that make no sense."""

    def __init__(self, changes: Sequence[Change], start: int) -> None:
        self._entries = [_Entry(change, start) for change in changes]
        # (when, step or beginning, number of the entry, step of the ramp, its beginning)
        self._agenda = [(entry.start, _BEGIN, index, 0, 0) for index, entry in enumerate(self._entries)]
        heapq.heapify(self._agenda)
        self._ramping: set[int] = set()  # entries whose ramp is under way

    def deadline(self) -> int | None:
        """When the next change is due (ns); None after the last."""
        return self._agenda[0][0] if self._agenda else None

    def due(self, now: int, current: Callable[[Direction], Impairment], most: int = _ALL) -> list[Due]:
        """What is due by `now`, in order; when it is `most` or more, the rest is left for the next call. `current`
        tells what holds in a direction, before any of it."""
        found: list[Due] = []
        holds = _Holding(current)
        while self._agenda and self._agenda[0][0] <= now and len(found) < most:
            at, kind, index, step, beginning = heapq.heappop(self._agenda)
            entry = self._entries[index]
            if kind == _BEGIN:
                found += self._begin(entry, index, at, holds)
            elif beginning == entry.began:  # else the same change began anew before this ramp was over
                found += _stepped(entry, at, step, holds)
                if step == steps_of(entry.change.ramp):
                    self._ramping.discard(index)
        return found

    def supersede(self, directions: Sequence[Direction], fields: Mapping[str, object] | None) -> None:
        """Somebody else changed these fields (None: all): ramps that are under way leave them alone."""
        for index in self._ramping:
            ramps = self._entries[index].ramps
            for direction in directions:
                if direction in ramps:
                    ramps[direction].give_up(fields)

    def _begin(self, entry: _Entry, index: int, at: int, holds: _Holding) -> list[Due]:
        change = entry.change
        entry.began += 1
        if change.every and (change.times == 0 or entry.began < change.times):
            heapq.heappush(self._agenda, (at + change.every, _BEGIN, index, 0, 0))
        self.supersede(change.directions, None if change.replace else entry.patch)
        if not change.ramp:
            patch = dict(entry.patch) if entry.patch or change.replace else None
            return [holds.after(Due(at, change.directions, patch, change.replace, change.up, _trigger(entry)))]
        steps = steps_of(change.ramp)
        for step in range(1, steps + 1):
            when = at + change.ramp * step // steps
            heapq.heappush(self._agenda, (when, _STEP, index, step, entry.began))
        self._ramping.add(index)
        return _ramp_begins(entry, at, holds)


class _Holding:
    """What holds in each direction in the course of one `due`."""

    def __init__(self, current: Callable[[Direction], Impairment]) -> None:
        self._current = current
        self._known: dict[Direction, Impairment] = {}

    def now(self, direction: Direction) -> Impairment:
        if direction not in self._known:
            self._known[direction] = self._current(direction)
        return self._known[direction]

    def after(self, due: Due) -> Due:
        """The same, noted."""
        if due.patch is not None:
            for direction in due.directions:
                self._known[direction] = merged(NOTHING if due.replace else self.now(direction), due.patch)
        return due


def _ramp_begins(entry: _Entry, at: int, holds: _Holding) -> list[Due]:
    change = entry.change
    entry.ramps = {
        direction: Ramp(holds.now(direction), entry.patch, replace=change.replace) for direction in change.directions
    }
    patches = {direction: ramp.first for direction, ramp in entry.ramps.items()}
    found = [
        holds.after(Due(at, directions, patch, change.replace, None, f"{_trigger(entry)} begins"))
        for directions, patch in _together(patches)
        if patch or change.replace
    ]
    if change.up is not None:
        found.append(Due(at, change.directions, None, False, change.up, _trigger(entry)))
    return found


def _stepped(entry: _Entry, at: int, step: int, holds: _Holding) -> list[Due]:
    steps = steps_of(entry.change.ramp)
    patches = {direction: ramp.step(step, steps) for direction, ramp in entry.ramps.items()}
    trigger = f"{_trigger(entry)}, step {step} of {steps}"
    return [
        holds.after(Due(at, directions, patch, False, None, trigger))
        for directions, patch in _together(patches)
        if patch
    ]


def _together(patches: Mapping[Direction, dict[str, Any]]) -> list[tuple[tuple[Direction, ...], dict[str, Any]]]:
    """One patch for both directions where theirs are equal."""
    found: list[tuple[tuple[Direction, ...], dict[str, Any]]] = []
    for direction, patch in patches.items():
        if found and found[-1][1] == patch:
            found[-1] = (*found[-1][0], direction), patch
        else:
            found.append(((direction,), patch))
    return found


def _trigger(entry: _Entry) -> str:
    """`schedule: ramp at 20 s`, `flap: down at 5 s, 2 of 3`, `trace leo.csv: step at 15 s`."""
    change = entry.change
    kind = "ramp" if change.ramp else "step"
    if change.up is not None and not change.patch:
        kind = "up" if change.up else "down"
    origin = change.origin or "schedule"
    at = change.at + (entry.began - 1) * change.every
    text = f"{origin}: {kind} at {at / SECOND:.9g} s"
    if change.every:
        text += f", {entry.began} of {change.times}" if change.times else f", time {entry.began}"
    return text


def check(change: Change) -> None:
    """Raises ValueError for a change that changes nothing, and for times that make no sense."""
    if not change.patch and not change.replace and change.up is None:
        raise ValueError("a change of a schedule changes nothing")
    if not change.directions or len(set(change.directions)) != len(change.directions):
        raise ValueError("a change is of one direction or of both")
    if change.at < 0 or change.ramp < 0:
        raise ValueError("a change's time and ramp are not negative")
    if change.times < 0 or (change.times != 1 and not change.every):
        raise ValueError("a change that is repeated has a period")
    if change.every and change.every < MINIMUM_PERIOD:
        raise ValueError(f"a period of {change.every} ns, at least {MINIMUM_PERIOD} expected")
    if change.ramp and not change.patch and not change.replace:
        raise ValueError("a ramp has values to go to")
