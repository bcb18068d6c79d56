"""What an experiment says of one claim: whether it held, and the numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """`numbers` says what was seen beside what theory expects; `where` the place in the trace, where it failed.
    `picture` are lines that show it, of 80 columns. `seen` is what was seen as a number, in `unit`, where it was one:
    tables are made of it."""

    claim: str
    passed: bool
    numbers: str
    where: str = ""
    picture: str = ""
    seen: float | None = None
    unit: str = ""
