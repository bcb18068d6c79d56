"""Arithmetic and tables of the benchmarks: medians, ratios, text for people, JSON for programs.

A benchmark measures each figure several times and keeps every sample; what is shown is the median and, where it says
something, the smallest and the largest. Ratios are taken of medians of samples from the same run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

NOTHING = "-"
"""What a table shows where nothing could be measured."""

Value = float | int | str | None


@dataclass(frozen=True)
class Table:
    """`rows` have a value per column; numbers are rounded only when they are shown."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What a benchmark found. `samples` are all single measurements, as values of JSON; `failures` say what could not
    be measured."""

    benchmark: str
    tables: list[Table]
    samples: object
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def median(values: Iterable[float]) -> float | None:
    """The middle value, or the mean of the two in the middle; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def ratio(numerator: float | None, denominator: float | None) -> str:
    """`4.2x`; NOTHING where one of them is missing or there is nothing to divide by."""
    if numerator is None or not denominator:
        return NOTHING
    return f"{shown(numerator / denominator)}x"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` (0 to 100) percent of the values do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -int(-len(ordered) * share // 100)  # rounded up
    return ordered[max(0, rank - 1)]


def shown(value: Value) -> str:
    """A value as text: three significant digits, thousands apart."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 or value == 0 else f"{value:.3f}"


def span(values: Sequence[float]) -> str:
    """`0.41 (0.39 to 0.52)`: the median, the smallest and the largest; of one value, only that."""
    if len(values) < 2:
        return shown(median(values))
    return f"{shown(median(values))} ({shown(min(values))} to {shown(max(values))})"


def markdown(table: Table) -> str:
    """A table that reads well as it is and as Markdown."""
    cells = [list(table.columns), *([shown(value) for value in row] for row in table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    right = [_is_numeric([row[column] for row in cells[1:]]) for column in range(len(table.columns))]
    lines = [_line(row, widths, right) for row in cells]
    rule = "|".join("-" * (width + 1) + (":" if number else "-") for width, number in zip(widths, right, strict=True))
    lines.insert(1, f"|{rule}|")
    notes = [f"\n{note}" for note in table.notes]
    return "\n".join([f"**{table.title}**\n", *lines, *notes])


def _line(cells: list[str], widths: list[int], right: list[bool]) -> str:
    padded = [
        cell.rjust(width) if number else cell.ljust(width)
        for cell, width, number in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _is_numeric(cells: list[str]) -> bool:
    return bool(cells) and all(cell == NOTHING or cell[0].isdigit() or cell[0] == "-" for cell in cells)
