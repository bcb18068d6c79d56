"""What names a topology of another program on the command line.

my_topo.py                  the file's only topology
my_topo.py:MyTopo           a class, a function, or a name in the file's `topos`
my_topo.py:MyTopo,4,k=2     with arguments, written as `mn --topo` takes them: numbers, words, NAME=VALUE
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.errors import UserInputError

_REFERENCE = re.compile(r"(?P<file>.+?\.py)(:(?P<name>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """`name` is empty where the file decides. `text` is the whole as it was given."""

    text: str
    file: str
    name: str = ""
    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = field(default_factory=dict)


def parse_reference(text: str) -> Reference | None:
    """None for what names no Python file. Raises UserInputError."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    if match["name"] is None:
        return Reference(text, match["file"])
    name, *words = match["name"].split(",")
    if not name.strip():
        raise UserInputError(f"{text}: no name after the colon", hint=f"{match['file']}:MyTopo, or {match['file']}")
    arguments: list[object] = []
    keywords: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            arguments.append(_value(word))
        elif key.strip().isidentifier():
            keywords[key.strip()] = _value(value)
        else:
            raise UserInputError(f"{text}: {key!r} is not the name of an argument", hint="NAME=VALUE")
    return Reference(text, match["file"], name.strip(), tuple(arguments), keywords)


def _value(word: str) -> object:
    """A number, a quoted text, None, True or False; anything else is a text as it stands."""
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word
