"""What is wrong with a topology: all of it, each with its place and a way out.

A checker does not stop at the first problem. It collects `Problem` values, and raises them together in one
`TopologyError`, which prints as compilers do, so that editors can jump to the place:

    demo.yml:7:5: unknown kind 'rooter'
        hint: did you mean 'router'?
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.errors import UserInputError

MAX_CHOICES = 12
"""A hint lists at most so many names; more is noise."""
MAX_SHOWN = 40
"""Longer values are cut in a message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{place}\n    hint: {self.hint}" if self.hint else place


class TopologyError(UserInputError):
    """A topology that cannot be built. `problems` are in the order of the file; the message is all of them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.line, problem.column))
        super().__init__("\n".join(map(str, self.problems)))


def did_you_mean(word: str, choices: Sequence[str], otherwise: str = "") -> str:
    """A hint with the choice nearest to `word`; without a near one, `otherwise` or the list of all choices."""
    near = difflib.get_close_matches(word, choices, n=1) or [name for name in choices if name.lower() == word.lower()]
    if near:
        return f"did you mean {near[0]!r}?"
    if otherwise or not choices:
        return otherwise
    more = f" and {len(choices) - MAX_CHOICES} more" if len(choices) > MAX_CHOICES else ""
    return f"one of: {', '.join(choices[:MAX_CHOICES])}{more}"


def shown(value: object) -> str:
    """What a message calls a value of the file."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."
