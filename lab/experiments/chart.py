"""Series as a chart of characters, for the terminal.

60,000 │          *  *  *  *       one column for each span of time, the largest value of a series in it;
       │       *                   what lies above the top is drawn at the top
     0 │ *
       └────────────────────────
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Series = Sequence[tuple[float, float]]

WIDTH = 80
"""Columns in all."""
_LEFT = 12


def draw(series: Mapping[str, Series], *, top: float, unit: str, height: int = 9) -> str:
    """Series of (ms, value) by the character that draws them; of those that fall on one place the last is seen. A
    series holds its value until it changes. Raises ValueError where there is nothing to draw."""
    rows = [row for each in series.values() for row in each]
    if not rows or top <= 0:
        raise ValueError("nothing to draw")
    first, last = min(time for time, _ in rows), max(time for time, _ in rows)
    columns = WIDTH - _LEFT
    grid = [[" "] * columns for _ in range(height)]
    for mark, each in series.items():
        for column, value in enumerate(_columns(each, first, last, columns)):
            if value is not None:
                line = min(round(value / top * (height - 1)), height - 1)
                grid[height - 1 - line][column] = mark
    labels = {0: f"{top:,.0f}", height - 1: "0"}
    lines = [f"{labels.get(number, ''):>{_LEFT - 2}} │{''.join(line).rstrip()}" for number, line in enumerate(grid)]
    axis = f"{'':>{_LEFT - 2}} └{'─' * (columns - 1)}"
    span = f"{(last - first) / 1000:.3g} s"
    return "\n".join([f"{unit:>{_LEFT - 2}}", *lines, axis, f"{'0 s':>{_LEFT + 2}}{span:>{columns - 4}}"])


def _columns(series: Series, first: float, last: float, columns: int) -> list[float | None]:
    """The largest value in each span of time; where nothing changed, the value that held."""
    found: list[float | None] = [None] * columns
    span = (last - first) / columns or 1.0
    for time, value in series:
        column = min(int((time - first) / span), columns - 1)
        before = found[column]
        found[column] = value if before is None else max(before, value)
    held: float | None = None
    latest = {min(int((time - first) / span), columns - 1): value for time, value in series}
    for column in range(columns):
        if column in latest:
            held = latest[column]
        else:
            found[column] = held
    return found
