"""The progress bar of work that takes longer than a moment. Apart from other output, which needs no rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PROGRESS_AFTER = 1.0
"""Seconds that work may take before a progress bar appears."""


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
