"""What an experiment says of one claim: whether it held, and the numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """`numbers` says what was seen beside what theory expects; `where` the place in the trace, where it failed.
    `picture` are lines that show it, of 80 columns."""

    claim: str
    passed: bool
    numbers: str
    where: str = ""
    picture: str = ""
