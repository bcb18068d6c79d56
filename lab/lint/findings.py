"""What a check finds, and how checks find the same thing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from lab.model.layout import Layout
from lab.model.yaml_source import KeyPath


class Finding(NamedTuple):
    """Something wrong at `path`: at its value, or at its key."""

    path: KeyPath
    message: str
    hint: str = ""
    key: bool = False
    warning: bool = False


Check: TypeAlias = Callable[[Layout], Iterator[Finding]]


def duplicates(layout: Layout, places: Iterable[tuple[str, KeyPath]], message: str) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for value, path in places:
        if value in first:
            line = layout.topology.document.mark(first[value]).line
            yield Finding(path, message.format(value), f"line {line} has it already")
        first.setdefault(value, path)
