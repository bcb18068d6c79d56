"""Points: what a grid, cases and ranges expand to, and the seed of each run.

Cases are taken one by one, and each with all combinations of the grid; the last name of the grid changes first.

The seed of a run is a hash of the sweep's seed, of the point itself and of the number of the repetition. What else is
in the grid does not matter: a value that is added to it changes no other run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lab.errors import UserInputError
from lab.experiments.experiment import Parameter
from lab.experiments.sweep.model import Axis

MAX_RUNS = 100_000
"""A run takes at least a tenth of a second: of more than these, nobody sees the end."""
MAX_STEPS = 10_000
SEED_BITS = 53
"""All programs that read tables keep whole numbers of so many bits: 2**53 in a double (IEEE 754)."""

_NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,2})?)\s*([^\s\d]*)")

Point = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sweep. `repeat` counts from 1."""

    point: Point
    repeat: int
    seed: int

    @property
    def key(self) -> str:
        return key_of(self.point, self.repeat)


def key_of(point: Point, repeat: int) -> str:
    """One text for one run, whatever the order in which the file names things."""
    return json.dumps([dict(sorted(point.items())), repeat], ensure_ascii=False)


def seed_of(seed: int, point: Point, repeat: int) -> int:
    digest = hashlib.sha256(f"{seed}/{key_of(point, repeat)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)


def points_of(cases: Sequence[Point], axes: Mapping[str, Sequence[Parameter]]) -> list[Point]:
    combined = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return [{**case, **values} for case in (cases or [{}]) for values in combined]


def check_count(cases: Sequence[Point], axes: Mapping[str, Sequence[Parameter]], repeat: int) -> None:
    """Raises UserInputError for more runs than anybody can mean, before they are all made."""
    points = math.prod(len(values) for values in axes.values()) * max(len(cases), 1)
    if points * repeat > MAX_RUNS:
        raise UserInputError(
            f"{points:,} points, {repeat:,} times each, are {points * repeat:,} runs", hint=f"at most {MAX_RUNS:,}"
        )


def runs_of(points: Sequence[Point], repeat: int, seed: int) -> list[Run]:
    """Repetition by repetition, so that a sweep that is stopped early has something of every point."""
    return [Run(point, number, seed_of(seed, point, number)) for number in range(1, repeat + 1) for point in points]


def values_of(axis: Axis) -> list[Any]:
    """Raises UserInputError for a range that is none."""
    return list(axis.values) if axis.values is not None else list(dict.fromkeys(_range(axis)))


def _range(axis: Axis) -> Iterator[Parameter]:
    """From one end to the other, both included where a step leads there."""
    (begin, unit), (end, other) = _quantity(axis.begin), _quantity(axis.end)
    if unit != other:
        raise UserInputError(f"from {axis.begin} to {axis.end}: two units", hint="one for both, as from: 1ms, to: 90ms")
    if begin == end:
        raise UserInputError(f"from {axis.begin} to {axis.end} is no range", hint="a list of one value: [1ms]")
    numbers = _logarithmic(axis, begin, end) if axis.scale == "log" else _linear(axis, begin, end)
    whole = not unit and isinstance(axis.begin, int) and isinstance(axis.end, int) and _is_whole(axis)
    for number in numbers:
        if unit:
            yield f"{_text(number)}{unit}"
        else:
            yield round(number) if whole else float(_text(number))


def _is_whole(axis: Axis) -> bool:
    return axis.step is None or axis.scale == "log" or isinstance(axis.step, int)


def _linear(axis: Axis, begin: Fraction, end: Fraction) -> list[Fraction]:
    if axis.steps is not None:
        _bounded(axis.steps)
        return [begin + (end - begin) * number / (axis.steps - 1) for number in range(axis.steps)]
    step, unit = _quantity(axis.step)
    if unit != _quantity(axis.begin)[1]:
        raise UserInputError(f"step {axis.step} has another unit than from {axis.begin}", hint="one for all three")
    if step == 0 or (step > 0) != (end > begin):
        raise UserInputError(f"step {axis.step} does not lead from {axis.begin} to {axis.end}")
    _bounded((end - begin) / step)
    return [begin + step * number for number in range(int((end - begin) / step) + 1)]


def _logarithmic(axis: Axis, begin: Fraction, end: Fraction) -> list[Fraction]:
    """With `step` as a factor."""
    if begin <= 0 or end <= 0:
        raise UserInputError(f"from {axis.begin} to {axis.end}: no logarithms there", hint="both ends above 0")
    if axis.steps is not None:
        _bounded(axis.steps)
        ratio = float(end / begin)
        inner = [float(begin) * ratio ** (number / (axis.steps - 1)) for number in range(1, axis.steps - 1)]
        return [begin, *(Fraction(f"{value:.6g}") for value in inner), end]
    factor, unit = _quantity(axis.step)
    if unit or factor <= 0 or factor == 1 or (factor > 1) != (end > begin):
        hint = "with scale: log a step is a factor, as 2 or 0.5"
        raise UserInputError(f"step {axis.step} does not lead from {axis.begin} to {axis.end}", hint=hint)
    found = [begin]
    while (found[-1] * factor <= end) if factor > 1 else (found[-1] * factor >= end):
        found.append(found[-1] * factor)
        _bounded(len(found))
    return found


def _bounded(count: Fraction | int) -> None:
    if count > MAX_STEPS:
        raise UserInputError(f"a range of more than {MAX_STEPS:,} values", hint="larger steps")


def _quantity(value: object) -> tuple[Fraction, str]:
    match = _NUMBER.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        raise UserInputError(f"{value!r} is no number with or without a unit", hint="as 10, 0.5%, 20ms")
    return Fraction(match[1]), match[2]


def _text(number: Fraction) -> str:
    """Up to twelve digits that count."""
    text = f"{float(number):.12g}"
    return f"{float(number):.12f}".rstrip("0").rstrip(".") if "e" in text and abs(number) < 1 else text
