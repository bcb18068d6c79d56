"""What events are named, and what they tell: so that who looks for one that does not exist hears so, and does not wait
for it."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection
from functools import cache
from typing import get_args

from lab.errors import UserInputError
from lab.model.errors import did_you_mean
from nodes.trace.events import Event
from nodes.trace.sqlog import event_name


@cache
def known_events() -> dict[str, frozenset[str]]:
    """The fields of each, by its name."""
    return {event_name(kind): frozenset(field.name for field in dataclasses.fields(kind)) for kind in get_args(Event)}


def check_pattern(pattern: str, fields: Collection[str] = ()) -> None:
    """Raises UserInputError where no event is named like the pattern, or none of those has one of the fields."""
    events = known_events()
    named = [name for name in events if fnmatch.fnmatchcase(name, pattern)]
    if not named:
        raise UserInputError(f"no event is named {pattern!r}", hint=_similar(pattern))
    known = frozenset().union(*(events[name] for name in named))
    for field in fields:
        if field not in known:
            raise UserInputError(f"{pattern}: events have no field {field!r}", hint=did_you_mean(field, sorted(known)))


def _similar(pattern: str) -> str:
    """Mostly the category is wrong."""
    names = list(known_events())
    same = [name for name in names if fnmatch.fnmatchcase(name.partition(":")[2], pattern.rpartition(":")[2] or "*")]
    if ":" in pattern and 0 < len(same) <= 3:
        return f"did you mean {' or '.join(map(repr, same))}?"
    categories = ", ".join(sorted({f"{name.partition(':')[0]}:*" for name in names}))
    return did_you_mean(pattern, names, otherwise=f"patterns that fit: {categories}")
