"""The tables of a sweep.

    results.csv    a row for each run: parameters, seed, verdict, what was measured
    summary.csv    a row for each point and measure: median, interval, how many runs passed
    times.csv      how long each run took, and where its folder is: the only table that differs from time to time
    columns.json   name, type and unit of each column

Rows are in the order of the grid, whatever the order in which the runs ended, so that the first two are the same octets
for the same sweep in virtual time, however many processes it had and however often it was interrupted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.experiments.sweep.columns import INTEGER, NUMBER, TEXT, Cell, Column, plain_name, quantities, table, unique
from lab.experiments.sweep.folder import LOST, Outcome
from lab.experiments.sweep.grid import Point, key_of
from lab.experiments.sweep.interval import median_interval
from lab.experiments.sweep.load import Sweep

RUN = ("repeat", "seed", "verdict", "failed_claims", "error")
SUMMARY = ("measure", "unit", "n", "median", "lower", "upper", "confidence", "passed", "failed", "errors")


@dataclass(frozen=True, slots=True)
class Measured:
    """A column of what was measured; `occurrence` for a claim that is made more than once in a run."""

    name: str
    claim: str
    unit: str
    occurrence: int = 0

    def of(self, outcome: Outcome) -> float | None:
        found = [seen for claim, seen, _ in outcome.seen if claim == self.claim]
        return found[self.occurrence] if len(found) > self.occurrence else None


@dataclass(frozen=True, slots=True)
class Row:
    """Of the summary: a measure at a point. `median` is None where no run measured it."""

    point: Point
    measure: Measured
    n: int
    median: float | None
    lower: float | None
    upper: float | None
    confidence: float | None
    passed: int
    failed: int
    errors: int

    def facts(self) -> dict[str, Any]:
        """As values of JSON."""
        rest = {name: getattr(self, name) for name in SUMMARY if name not in ("measure", "unit")}
        return {"point": dict(self.point), "measure": self.measure.name, "unit": self.measure.unit or None, **rest}


@dataclass(frozen=True, slots=True)
class Tables:
    measures: list[Measured]
    rows: list[Row]
    texts: Mapping[str, str]
    """Of files, by their names."""


def make_tables(sweep: Sweep, done: Mapping[str, Outcome]) -> Tables:
    """Of the runs that are done."""
    keys = [key_of(point, number) for point in sweep.points for number in range(1, sweep.repeat + 1)]
    outcomes = [done[key] for key in keys if key in done]
    varied = _parameters(sweep, outcomes, sweep.names)
    others = [name for name in (*sweep.experiment.parameters, *sweep.fixed) if name not in sweep.names]
    constant = _parameters(sweep, outcomes, list(dict.fromkeys(others)), {column.name for column in varied})
    taken = dict.fromkeys([*(column.name for column in (*varied, *constant)), *RUN, *SUMMARY])
    measures = _measures(sweep, outcomes, taken)
    runs = [Column(name, cells, "", *_RUN_COLUMNS[name]) for name, cells in _of_runs(outcomes).items()]
    seen = [
        Column(each.name, [each.of(outcome) for outcome in outcomes], each.unit, f"claim: {each.claim}", NUMBER)
        for each in measures
    ]
    rows = [_row(point, each, sweep, done) for point in sweep.points for each in measures]
    files = {
        "results.csv": [*varied, *constant, *runs, *seen],
        "summary.csv": [*_parameters(sweep, rows, sweep.names), *_of_rows(rows)],
        "times.csv": [*varied, runs[0], *_of_times(outcomes)],
    }
    described = {name: [column.described() for column in columns] for name, columns in files.items()}
    texts = {name: table(columns) for name, columns in files.items()}
    texts["columns.json"] = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    return Tables(measures, rows, texts)


def _parameters(
    sweep: Sweep, rows: Sequence[Outcome | Row], names: Iterable[str], taken: Iterable[str] = ()
) -> list[Column]:
    found: dict[str, Column] = {name: Column(name, ()) for name in (*RUN, *SUMMARY, *taken)}
    reserved = len(found)
    for name in names:
        values = [{**sweep.experiment.parameters, **sweep.fixed, **row.point}.get(name) for row in rows]
        cells, unit = quantities(values)
        paths = sweep.paths.get(name, ())
        source = f"topology: {', '.join(paths)}" if paths else f"parameter: {name}"
        chosen = unique(plain_name(name, unit), found)
        found[chosen] = Column(chosen, cells, unit, source)
    return list(found.values())[reserved:]


def _measures(sweep: Sweep, outcomes: Sequence[Outcome], taken: dict[str, Any]) -> list[Measured]:
    """Those that the file names, or all, in the order in which the runs of the table say them first."""
    units: dict[tuple[str, int], str] = {}
    for outcome in outcomes:
        if outcome.outcome == LOST:
            continue
        times: dict[str, int] = {}
        for claim, _, unit in outcome.seen:
            number = times[claim] = times.get(claim, -1) + 1
            units.setdefault((claim, number), unit)
    if sweep.measure:
        wanted: list[tuple[str, str, int, str | None]] = [
            (name, each.claim, 0, each.unit) for name, each in sweep.measure.items()
        ]
    else:
        wanted = [(claim, claim, number, None) for claim, number in units]
    found: list[Measured] = []
    for name, claim, number, given in wanted:
        unit = units.get((claim, number), "") if given is None else given
        chosen = unique(plain_name(name, unit), taken)
        taken[chosen] = None
        found.append(Measured(chosen, claim, unit, number))
    return found


_RUN_COLUMNS = {
    "repeat": ("number of the repetition, from 1", INTEGER),
    "seed": ("seed of the run", INTEGER),
    "verdict": ("passed, failed: a claim did not hold, error: it did not come to its end, lost: no result", TEXT),
    "failed_claims": ("claims that did not hold", TEXT),
    "error": ("why it did not come to its end, or was lost", TEXT),
}


def _of_runs(outcomes: Sequence[Outcome]) -> dict[str, list[Cell]]:
    return {
        "repeat": [outcome.repeat for outcome in outcomes],
        "seed": [outcome.seed for outcome in outcomes],
        "verdict": [outcome.outcome for outcome in outcomes],
        "failed_claims": ["; ".join(outcome.failed) or None for outcome in outcomes],
        "error": [outcome.reason or None for outcome in outcomes],
    }


def _of_times(outcomes: Sequence[Outcome]) -> list[Column]:
    seconds = [round(outcome.seconds, 3) for outcome in outcomes]
    folders = [Path(outcome.run).name if outcome.run else None for outcome in outcomes]
    parents = [Path(outcome.run).parent.name if outcome.run else None for outcome in outcomes]
    runs = [f"runs/{parent}/{name}" if name else None for parent, name in zip(parents, folders, strict=True)]
    return [
        Column("wall_s", seconds, "s", "time of the wall clock that the run took", NUMBER),
        Column("run", runs, "", "folder of the run, where it was kept", TEXT),
    ]


def _row(point: Point, measure: Measured, sweep: Sweep, done: Mapping[str, Outcome]) -> Row:
    keys = [key_of(point, number) for number in range(1, sweep.repeat + 1)]
    outcomes = [done[key] for key in keys if key in done]
    values = [value for each in outcomes if (value := measure.of(each)) is not None and math.isfinite(value)]
    found = median_interval(values) if values else None
    numbers: Sequence[float | None] = found or (None,) * 4
    count = [each.outcome for each in outcomes]
    passed, failed = count.count("passed"), count.count("failed")
    median, lower, upper, confidence = numbers
    errors = len(count) - passed - failed
    return Row(point, measure, len(values), median, lower, upper, confidence, passed, failed, errors)


def _of_rows(rows: Sequence[Row]) -> list[Column]:
    columns = {
        "measure": ("name of the column in results.csv", TEXT),
        "unit": ("of median, lower and upper", TEXT),
        "n": ("runs that measured it", INTEGER),
        "median": ("median of the runs", NUMBER),
        "lower": ("lower end of the interval of the median, by order statistics", NUMBER),
        "upper": ("upper end", NUMBER),
        "confidence": ("of the interval: at least 0.95 from six runs on", NUMBER),
        "passed": ("runs of which all claims held", INTEGER),
        "failed": ("runs of which a claim did not", INTEGER),
        "errors": ("runs that did not come to their end, or were lost", INTEGER),
    }
    cells: dict[str, list[Cell]] = {name: [getattr(row, name, None) for row in rows] for name in SUMMARY}
    cells["measure"] = [row.measure.name for row in rows]
    cells["unit"] = [row.measure.unit or None for row in rows]
    return [Column(name, cells[name], "", *columns[name]) for name in SUMMARY]
