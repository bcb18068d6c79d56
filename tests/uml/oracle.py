"""The kernel's netem as oracle for the engine: the same cases through both.

The kernel of User Mode Linux is 6.1, whose netem has no seed, so its numbers differ from run to run, and what it does
by chance can only be compared by statistics (comparison.py); the engine's seeds are fixed. A check returns complaints.
A check that has some is made once more, with new frames through a new kernel and another seed of the engine, and fails
if it complains again: at a level of 0.1 % each, what is alike is called different once in a million.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.uml import boot
from tests.uml.traffic import Case, Passage

MODULES = ("veth", "sch_netem")
SEEDS = (42, 43)
"""Of the engine, for the first attempt and the second."""

Check = Callable[[Mapping[str, Passage], int], list[str]]
"""From what the kernel did with the cases, by name, and a seed for the engine: what is wrong."""


def through_kernel(cases: Mapping[str, Case], timeout: float = 90.0) -> dict[str, Passage]:
    """All cases in one guest. What the kernel told of its netem has to be what it was asked for."""
    arguments = {"cases": {name: case.to_json() for name, case in cases.items()}}
    answers = boot.run("tests.uml.jobs.netem", arguments, MODULES, timeout)
    passages = {name: Passage.from_json(answer) for name, answer in answers.items()}
    for name, passage in passages.items():
        assert passage.facts["differences"] == [], name
        assert passage.foreign == 0, name
        assert len(passage.arrived) == passage.facts["frames"], f"{name}: the kernel sent more or less than came"
    return passages


class Oracle:
    """`cases` by name; those in `always` belong to every attempt (they calibrate)."""

    def __init__(self, cases: Mapping[str, Case], always: tuple[str, ...] = ()) -> None:
        self.cases = dict(cases)
        self._always = always
        self._first: dict[str, Passage] = {}

    def passages(self) -> dict[str, Passage]:
        """Of the first attempt, which is one guest for all."""
        if not self._first:
            self._first = through_kernel(self.cases)
        return self._first

    def confirm(self, name: str, check: Check) -> None:
        """Raises AssertionError where the check of the case `name` complains twice."""
        first = check(self.passages(), SEEDS[0])
        if not first:
            return
        again = {wanted: self.cases[wanted] for wanted in (name, *self._always)}
        second = check(through_kernel(again), SEEDS[1])
        assert not second, f"{name}, twice: {first}, then {second}"
