"""Columns of tables, as any program reads them: plain names, one type each, units in their names.

A name has letters, digits and `_` only. A column is of whole numbers, numbers, truth values or texts; an empty cell is
no value. Quantities become numbers in one unit: times seconds, shares 0 to 1, rates bit/s, sizes octets.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nodes.quantities import parse_duration, parse_rate, parse_share, parse_size
from nodes.units import SECOND

Cell = int | float | str | bool | None
LONGEST = 60
"""Of a name that is made of a sentence."""

INTEGER, NUMBER, TRUTH, TEXT = "int64", "double", "bool", "string"


@dataclass(frozen=True, slots=True)
class Column:
    """`source` says what it is in words: a parameter, a path, a claim. Its type is what holds all cells, unless it is
    given because other tables of its kind have to have the same."""

    name: str
    cells: Sequence[Cell]
    unit: str = ""
    source: str = ""
    given: str = ""

    @property
    def type(self) -> str:
        if self.given:
            return self.given
        kinds = {type(cell) for cell in self.cells if cell is not None}
        if kinds <= {int} and kinds:
            return INTEGER
        if kinds <= {int, float}:
            return NUMBER
        return TRUTH if kinds == {bool} else TEXT

    def described(self) -> dict[str, str | None]:
        return {"name": self.name, "type": self.type, "unit": self.unit or None, "source": self.source}


def plain_name(text: str, unit: str = "") -> str:
    """`the rate` in octets/s: `the_rate_octets_per_s`."""
    name = _slug(text) or "column"
    if len(name) > LONGEST:
        name = name[: LONGEST + 1].rpartition("_")[0] or name[:LONGEST]
    end = _slug(unit.replace("%", " percent").replace("/", " per "))
    return f"{name}_{end}" if end and name != end and not name.endswith(f"_{end}") else name


def unique(name: str, taken: Mapping[str, object]) -> str:
    """The same, or with a number behind it."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def quantities(cells: Sequence[Cell]) -> tuple[Sequence[Cell], str]:
    """Cells that are all quantities of one kind as numbers, and their unit; others as they are."""
    if any(isinstance(cell, str) for cell in cells):
        for parse, unit in _KINDS:
            try:
                return [None if cell is None else parse(_text(cell)) for cell in cells], unit
            except ValueError:
                continue
    return cells, ""


def table(columns: Sequence[Column]) -> str:
    """As CSV (RFC 4180, but lines end as everywhere else here)."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows(zip(*([_written(cell, column.type) for cell in column.cells] for column in columns), strict=True))
    return file.getvalue()


def _written(cell: Cell, kind: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    return repr(float(cell)) if kind == NUMBER else str(cell)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _text(cell: Cell) -> str:
    """Of a number, only 0 is a quantity without a unit."""
    if isinstance(cell, str) and not cell.isdecimal():
        return cell
    if cell == 0 and not isinstance(cell, bool):
        return "0"
    raise ValueError(cell)


def _seconds(text: str) -> float:
    return parse_duration(text) / SECOND


_KINDS: tuple[tuple[Callable[[str], int | float], str], ...] = (
    (_seconds, "s"),
    (parse_share, ""),
    (parse_rate, "bit/s"),
    (parse_size, "octets"),
)
