"""The progress bar of work that takes longer than a moment."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PROGRESS_AFTER = 1.0
"""Seconds that work may take before a progress bar appears."""


@contextmanager
def progress_bar(*, remaining: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with (what, done, total). On a terminal, a bar appears once the work has taken a second.
    `remaining` also says how long it will take, for work of many parts that take about as long."""
    bars: Any = None
    begun = time.monotonic()

    def update(what: str, done: int, total: int) -> None:
        nonlocal bars
        if not sys.stderr.isatty() or time.monotonic() - begun < PROGRESS_AFTER:
            return
        if bars is None:
            bars = importlib.import_module("lab.cli.bar").Bars(remaining=remaining)
        bars.update(what, done, total)

    try:
        yield update
    finally:
        if bars is not None:
            bars.stop()
