"""A sweep from its file: read, and checked against its experiment before anything runs.

All that is wrong is said at once, with places. A value of a grid is tried where it will stand: a parameter has the type
that the experiment gives it, and a topology with the value in it has to be one that can be planned.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lab.api.opening import Driver, plan_of
from lab.errors import UserInputError
from lab.experiments.catalogue import find
from lab.experiments.experiment import Experiment, Parameter, as_yaml, parsed
from lab.experiments.sweep.grid import Point, Run, check_count, points_of, runs_of, values_of
from lab.experiments.sweep.model import Measure, SweepFile, keys_at
from lab.experiments.sweep.paths import PathError, with_settings
from lab.experiments.where import drivers_of
from lab.experiments.written import load_experiment
from lab.model.errors import Problem, TopologyError, did_you_mean, shown
from lab.model.explain import problems_of
from lab.model.yaml_source import Document, KeyPath, parse, read_text
from nodes.errors import StackError

YAML = (".yml", ".yaml")


@dataclass(frozen=True)
class Sweep:
    """What is to be done. `paths` has, for names that are no parameters of the experiment, what they set."""

    name: str
    reference: str
    experiment: Experiment
    content: str
    fixed: Mapping[str, Parameter]
    points: list[Point]
    paths: Mapping[str, list[str]]
    repeat: int
    seed: int
    driver: Driver
    measure: Mapping[str, Measure]
    timeout: int
    names: tuple[str, ...] = field(default=())
    """Those that vary, in the order of the file."""

    @property
    def runs(self) -> list[Run]:
        return runs_of(self.points, self.repeat, self.seed)

    def parameters(self, point: Point) -> dict[str, Parameter]:
        """All of the experiment, at a point."""
        changed = {**self.fixed, **point}
        return {name: changed.get(name, value) for name, value in self.experiment.parameters.items()}

    def settings(self, point: Point) -> dict[str, Parameter]:
        """What changes in the topology, by paths."""
        changed = {**self.fixed, **point}
        return {path: value for name, value in changed.items() for path in self.paths.get(name, ())}


def open_experiment(reference: str) -> Experiment:
    """Of the catalogue, or of a YAML file."""
    return load_experiment(Path(reference)) if reference.endswith(YAML) else find(reference)


def content_of(reference: str, experiment: Experiment) -> str:
    """A digest of what the experiment is made of: its file, and its topology's."""
    file = Path(reference) if reference.endswith(YAML) else Path(inspect.getfile(experiment.script))
    return hashlib.sha256(file.read_bytes() + b"\0" + experiment.topology.encode()).hexdigest()[:16]


def load_sweep(
    path: Path, *, driver: Driver | None = None, seed: int | None = None, repeat: int | None = None
) -> Sweep:
    """Raises TopologyError with all that is wrong, and UserInputError where a file cannot be read. What is given here
    replaces the file's."""
    document = _read(path)
    try:
        file = SweepFile.model_validate(document.data, context=document)
    except ValidationError as error:
        raise TopologyError([*document.problems, *problems_of(error, document, keys_at)]) from None
    if document.problems:
        raise TopologyError(document.problems)
    given = {"driver": driver, "seed": seed, "repeat": repeat}
    file = file.model_copy(update={key: value for key, value in given.items() if value is not None})
    return _Loader(document, file, path).sweep()


def _read(path: Path) -> Document:
    if not path.exists():
        raise UserInputError(f"{path}: no such file", hint="docs/experiments.md says how to write a sweep")
    text = read_text(path)
    if not re.sub(r"^\s*#.*", "", text, flags=re.MULTILINE).strip():
        hint = "a sweep has at least: experiment, grid"
        raise TopologyError([Problem(str(path), 1, 1, "the file is empty", hint)])
    return parse(text, str(path))


class _Loader:
    """Collects problems on the way."""

    def __init__(self, document: Document, file: SweepFile, path: Path) -> None:
        self.document = document
        self.file = file
        self.path = path
        self.problems: list[Problem] = []
        self.paths: dict[str, list[str]] = {}
        self.reference, self.experiment = self._experiment()

    def sweep(self) -> Sweep:
        file = self.file
        if not file.grid and not file.cases:
            hint = "grid: {NAME: [VALUE, VALUE]}, or cases: [{NAME: VALUE}]"
            raise TopologyError([self.document.problem(("grid",), "the grid is empty: nothing to sweep", hint)])
        if file.driver not in drivers_of(self.experiment):
            hint = self.experiment.only_virtual or f"it runs on {', '.join(drivers_of(self.experiment))}"
            message = f"{self.experiment.name} does not run on {file.driver}"
            raise TopologyError([self.document.problem(("driver",), message, hint)])
        fixed = {
            name: self._value(name, value, ("set", name))
            for name, value in file.set.items()
            if self._known(name, ("set", name))
        }
        axes = self._axes()
        cases = self._cases()
        self._twice(fixed, axes, cases)
        measure = self._measures()
        self._complain()
        try:
            check_count(cases, axes, file.repeat)
        except UserInputError as error:
            raise TopologyError([self.document.problem(("grid",), error.message, error.hint)]) from None
        points = points_of(cases, axes)
        sweep = Sweep(
            self.path.stem,
            self.reference,
            self.experiment,
            content_of(self.reference, self.experiment),
            fixed,
            points,
            self.paths,
            file.repeat,
            file.seed,
            file.driver,
            measure,
            file.timeout,
            tuple(points[0]),
        )
        self._try(sweep, axes, cases)
        self._complain()
        return sweep

    def _complain(self) -> None:
        if self.problems:
            raise TopologyError(self.problems)

    def _problem(self, path: KeyPath, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self.document.problem(path, message, hint, key=key))

    def _experiment(self) -> tuple[str, Experiment]:
        name = self.file.experiment
        reference = str(self.path.parent / name) if name.endswith(YAML) else name
        if name.endswith(YAML) and not Path(reference).exists():
            hint = "its place is that beside the sweep's own file; `lab experiment list` lists those without a file"
            raise TopologyError([self.document.problem(("experiment",), f"{reference}: no such file", hint)])
        try:
            return reference, open_experiment(reference)
        except TopologyError:
            raise  # it says where, in a file of its own
        except UserInputError as error:
            raise TopologyError([self.document.problem(("experiment",), error.message, error.hint)]) from None

    # Names

    def _known(self, name: str, place: KeyPath) -> bool:
        """Whether it is a parameter, or a path; then it is noted what it sets."""
        axis = self.file.grid.get(name)
        if place[0] == "grid" and axis is not None and axis.path is not None:
            if name in self.experiment.parameters:
                self._problem((*place, "path"), f"{name!r} is a parameter of {self.experiment.name}", "another name")
                return False
            self.paths[name] = axis.paths
            return True
        if name in self.experiment.parameters:
            return True
        if "." in name:
            self.paths[name] = [name]
            return True
        hint = did_you_mean(name, list(self.experiment.parameters)) or "it has none"
        if not hint.endswith("?"):
            hint += "; or a path into its topology, as links.NAME.impair.loss"
        self._problem(place, f"{self.experiment.name} has no parameter {name!r}", hint, key=True)
        return False

    def _twice(self, *sources: object) -> None:
        """The same name in two places would be a value that is not there."""
        fixed, axes, cases = sources
        names = [("set", name) for name in fixed] + [("grid", name) for name in axes]  # type: ignore[attr-defined]
        names += [("cases", name) for name in (cases[0] if cases else ())]  # type: ignore[index]
        seen: dict[str, str] = {}
        for part, name in names:
            for target in self.paths.get(name, [name]):
                if target in seen:
                    place = ("cases", 0, name) if part == "cases" else (part, name)
                    self._problem(place, f"{target!r} is set twice", f"in {seen[target]!r} already", key=True)
                seen[target] = part

    # Values

    def _axes(self) -> dict[str, list[Parameter]]:
        found: dict[str, list[Parameter]] = {}
        for name, axis in self.file.grid.items():
            place: KeyPath = ("grid", name)
            if not self._known(name, place):
                continue
            try:
                values = values_of(axis)
            except UserInputError as error:
                self._problem(place, error.message, error.hint)
                continue
            found[name] = list(self._different(name, values, axis.values is not None))
        return found

    def _different(self, name: str, values: list[Any], listed: bool) -> Iterator[Parameter]:
        seen: set[str] = set()
        for index, value in enumerate(values):
            place = self._place(name, index) if listed else ("grid", name)
            before = len(self.problems)
            typed = self._value(name, value, place, rounded=not listed)
            if len(self.problems) > before:
                continue
            if as_yaml(typed) in seen:
                if listed:
                    self._problem(
                        place, f"{shown(value)} stands twice in {name!r}", "repeat: N runs each point N times"
                    )
                continue
            seen.add(as_yaml(typed))
            yield typed

    def _place(self, name: str, index: int) -> KeyPath:
        short: KeyPath = ("grid", name, index)
        return short if short in self.document.values else ("grid", name, "values", index)

    def _cases(self) -> list[Point]:
        known = [
            name for name in (self.file.cases[0] if self.file.cases else ()) if self._known(name, ("cases", 0, name))
        ]
        cases = [
            {name: self._value(name, case[name], ("cases", number, name)) for name in known}
            for number, case in enumerate(self.file.cases)
        ]
        for number, case in enumerate(cases):
            if case in cases[:number]:
                self._problem(("cases", number), f"case {number + 1} is case {cases.index(case) + 1} again")
        return list(cases)

    def _value(self, name: str, value: Any, place: KeyPath, *, rounded: bool = False) -> Parameter:
        """As the experiment's parameter has it; as it is where it goes into a topology."""
        before = self.experiment.parameters.get(name)
        if before is None or name in self.paths:
            return value  # type: ignore[no-any-return]
        if rounded and isinstance(before, int) and isinstance(value, float):
            value = round(value)
        try:
            return parsed(name, as_yaml(value), before)
        except UserInputError as error:
            self._problem(place, error.message, error.hint)
            return before

    def _measures(self) -> dict[str, Measure]:
        """Names of columns, and what is in them."""
        given = self.file.measure
        found = given if isinstance(given, dict) else {claim: Measure(claim=claim) for claim in given}
        claims = list(self.experiment.claims)
        for index, (name, measure) in enumerate(found.items()):
            place: KeyPath = ("measure", name if isinstance(given, dict) else index)
            if claims and measure.claim not in claims:
                hint = did_you_mean(measure.claim, claims)
                self._problem(place, f"{self.experiment.name} makes no claim {measure.claim!r}", hint)
        return found

    # Trying

    def _try(self, sweep: Sweep, axes: Mapping[str, list[Parameter]], cases: list[Point]) -> None:
        """Each value of the grid once, the others as they are first; each case; and what is set."""
        first = sweep.points[0]
        if not self._tried(sweep, first, lambda _: None):
            for name, place in self._first_places(first):
                alone = {name: first.get(name, sweep.fixed.get(name, 0))}
                self._tried(replace(sweep, fixed={}), alone, lambda error, at=place: self._refused(at, error))  # type: ignore[misc]
            if not self.problems:
                self._tried(sweep, first, lambda error: self._refused(("grid",), error))
            return
        for name, values in axes.items():
            listed = self.file.grid[name].values is not None
            for index, value in enumerate(values[1:], 1):
                place = self._place(name, index) if listed else ("grid", name)
                self._tried(sweep, {**first, name: value}, lambda error, at=place: self._refused(at, error))  # type: ignore[misc]
        for number, case in enumerate(cases[1:], 1):
            self._tried(sweep, {**first, **case}, lambda error, at=number: self._refused(("cases", at), error))  # type: ignore[misc]

    def _first_places(self, first: Point) -> Iterator[tuple[str, KeyPath]]:
        for name in self.file.set:
            yield name, ("set", name)
        for name in first:
            if name in self.file.grid:
                listed = self.file.grid[name].values is not None
                yield name, self._place(name, 0) if listed else ("grid", name)
            else:
                yield name, ("cases", 0, name)

    def _refused(self, place: KeyPath, error: Exception) -> None:
        problems = error.problems if isinstance(error, TopologyError) else ()
        message, hint = (
            (problems[0].message, problems[0].hint) if problems else (str(error), getattr(error, "hint", ""))
        )
        wrong_path = isinstance(error, PathError)
        self._problem(place[:2] if wrong_path and place[0] == "grid" else place, message, hint, key=wrong_path)

    def _tried(self, sweep: Sweep, point: Point, refused: Callable[[Exception], None]) -> bool:
        """Whether an experiment can begin at a point."""
        try:
            parameters = sweep.parameters(point)
            self.experiment.check(parameters)
            text = with_settings(self.experiment.topology_with(parameters), sweep.settings(point))
            plan_of(text if "\n" in text else text + "\n", "sim")
        except (UserInputError, StackError) as error:
            refused(error)
            return False
        return True
