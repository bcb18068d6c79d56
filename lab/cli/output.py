"""How commands speak: tables and JSON to standard output, messages to standard error.

Colour is only ever an addition; what matters is also said in words. Width follows the terminal, and 80 columns are
enough for every table.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PROGRESS_AFTER = 1.0
"""Seconds that work may take before a progress bar appears."""


def print_error(message: str, hint: str = "") -> None:
    """`error: ...`, and its hint on a line of its own."""
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)


def print_warning(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def print_note(message: str) -> None:
    """A message for people that is not data."""
    print(message, file=sys.stderr)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def milliseconds(nanoseconds: float) -> str:
    """Three figures that count: 0.412, 12.3, 1234."""
    value = nanoseconds / 1e6
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def table_width() -> int:
    """Columns that a table may have: those of the terminal, and many where nobody looks at one."""
    console = Console()
    return console.width if console.is_terminal else 200


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without frames, so that it can be read, cut and searched. Columns named with a leading `>` are aligned
    to the right. Without a terminal, lines are not cut."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=400, highlight=False)
    console.print(table)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with (what, done, total). A bar appears on a terminal once the work has taken a second."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    tasks: dict[str, int] = {}
    begun = time.monotonic()

    def update(what: str, done: int, total: int) -> None:
        if not console.is_terminal or time.monotonic() - begun < PROGRESS_AFTER:
            return
        bar.start()
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done)  # type: ignore[arg-type]

    try:
        yield update
    finally:
        if tasks:  # stopping a bar that never started prints an empty line
            bar.stop()
