"""A straight line from one impairment to another, in steps.

What has values in between is delay, jitter, chances, correlations, rates and limits, also those inside a loss model or
a token bucket. The rest (a distribution, a queue, faults, another loss model, a seed) has nothing in between and
changes at once, when the ramp begins.

For `rate`, `limit` and a bucket's `peak`, 0 means without, which is no number to start from: from there the ramp begins
at its target, and to there it stays where it was and ends with the last step. A loss that was none begins at 0 %, and
one that becomes none ends there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from nodes.impairment import NOTHING, Impairment, RandomLoss, merged
from nodes.units import MILLISECOND

STEP = 100 * MILLISECOND
"""Between two steps: what a person sees as smooth, and TCP, whose timers are longer, as a line."""
MAXIMUM_STEPS = 200
"""Each step is a change that executors apply and the trace holds."""

Values = dict[str, Any]

_SMOOTH = frozenset(
    {
        *("delay", "jitter", "delay_correlation", "steadiness", "corrupt", "corrupt_correlation"),
        *("duplicate", "duplicate_correlation", "reorder", "reorder_correlation"),
        *("chance", "correlation", "p13", "p31", "p32", "p23", "p14", "p", "r"),  # of loss models
        *("bad_loss", "good_loss", "good", "bad", "burst"),
    }
)
_WITHOUT_AT_ZERO = frozenset({"rate", "limit", "peak"})
_PARTS = frozenset({"loss", "bucket"})


class Course(NamedTuple):
    """One field on its way. `final` is what it has after the last step; before, it lies between `start` and `end`."""

    start: Any
    end: Any
    final: Any

    def at(self, step: int, steps: int) -> Any:
        return self.final if step == steps else _between(self.start, self.end, step, steps)


class Ramp:
    """From `start`, which holds in one direction when the ramp begins, to `start` with the fields of `patch` replaced,
    or to nothing but `patch` where `replace`. `first` is what changes at the beginning."""

    def __init__(self, start: Impairment, patch: Mapping[str, object], *, replace: bool) -> None:
        end = merged(NOTHING if replace else start, patch)
        self.courses: dict[str, Course] = {}
        self.first: Values = {}
        for item in dataclasses.fields(Impairment):
            if not replace and item.name not in patch:
                continue
            old, new = getattr(start, item.name), getattr(end, item.name)
            course = _course(item.name, old, new)
            if course is not None:
                self.courses[item.name] = course
            value = new if course is None else old
            if value != (getattr(NOTHING, item.name) if replace else old):
                self.first[item.name] = value

    def step(self, step: int, steps: int) -> Values:
        """The fields that this step of so many changes; the first step is 1."""
        at = {name: course.at(step, steps) for name, course in self.courses.items()}
        return {name: value for name, value in at.items() if value != self.courses[name].at(step - 1, steps)}

    def give_up(self, fields: Mapping[str, object] | None) -> None:
        """A later change sets these fields, or all where None."""
        for name in list(self.courses if fields is None else fields):
            self.courses.pop(name, None)


def steps_of(duration: int) -> int:
    """How many steps a ramp of so many ns has."""
    return min(max(-(-duration // STEP), 1), MAXIMUM_STEPS)


def _course(name: str, old: Any, new: Any) -> Course | None:
    """None where there is nothing in between."""
    if old == new:
        return None
    if name in _PARTS:
        return _part_course(name, old, new)
    if name in _SMOOTH or (name in _WITHOUT_AT_ZERO and old and new):
        return Course(old, new, new)
    if name in _WITHOUT_AT_ZERO and not new:
        return Course(old, old, new)
    return None


def _part_course(name: str, old: Any, new: Any) -> Course | None:
    """A loss model or a bucket, whose numbers move together."""
    start, end = old, new
    if name == "loss" and old is None and isinstance(new, RandomLoss):
        start = RandomLoss(correlation=new.correlation)
    if name == "loss" and new is None and isinstance(old, RandomLoss):
        end = RandomLoss(correlation=old.correlation)
    return Course(start, end, new) if start is not None and type(start) is type(end) else None


def _between(start: Any, end: Any, step: int, steps: int) -> Any:
    if dataclasses.is_dataclass(start) and not isinstance(start, type):
        changed = {item.name: _part(item.name, start, end, step, steps) for item in dataclasses.fields(start)}
        return dataclasses.replace(start, **changed)
    if isinstance(start, int):
        return start + (end - start) * step // steps
    return start + (end - start) * step / steps


def _part(name: str, start: Any, end: Any, step: int, steps: int) -> Any:
    old, new = getattr(start, name), getattr(end, name)
    course = _course(name, old, new)
    return new if course is None else _between(course.start, course.end, step, steps)
