"""YAML text to plain values, with the place of every value and key.

PyYAML composes a tree of nodes that know where they start. The tree is turned into dicts, lists and scalars here, and
an index from path to place is kept beside them: `("nodes", "r1", "kind")` -> line 7, column 15. Every later check
names a path and gets a place for its message.

Scalars follow the core schema of YAML 1.2, as editors do, not YAML 1.1: `no` and `on` are text (a node may be called
so), `12:34:56:01:02:03` is a MAC address and not a number in base 60, `010` is ten. Keys are always text.

Anchors, aliases and merge keys (`<<`) work. Nesting and size are bounded, aliases included, so that no file can make
this program run out of memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

import yaml

from lab.errors import UserInputError
from lab.model.errors import Problem, TopologyError

MAX_OCTETS = 4 << 20
"""A topology of 10,000 nodes in the long form has about 1 MiB; PyYAML needs a minute for more than this limit."""
MAX_DEPTH = 32
"""The deepest topology nests 7 levels. The bound keeps the composer's recursion far from Python's."""
MAX_VALUES = 200_000
"""Bound of what aliases of aliases can expand to."""

KeyPath: TypeAlias = tuple[str | int, ...]

_INTEGER = re.compile(r"[-+]?[0-9]{1,20}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,20}|[0-9]{1,20}(\.[0-9]*)?)([eE][-+]?[0-9]{1,2})?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_STRING_TAG = "tag:yaml.org,2002:str"
_PLAIN_TAGS = (_STRING_TAG, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


class Mark(NamedTuple):
    """A place in the text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """The values of one YAML file, the places of its values and keys, and what was wrong with its form."""

    file: str
    data: object
    values: Mapping[KeyPath, Mark] = field(repr=False)
    keys: Mapping[KeyPath, Mark] = field(repr=False)
    problems: tuple[Problem, ...] = ()

    def mark(self, path: KeyPath, *, key: bool = False) -> Mark:
        """The place of the value at `path`, or of its key; of the nearest thing around it where it has none."""
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Mark(1, 1))

    def part(self, key: str) -> Document:
        """What stands under a key, as a document of its own, with the places that it has in this one."""
        data = self.data[key] if isinstance(self.data, dict) else None
        values = {path[1:]: mark for path, mark in self.values.items() if path[:1] == (key,)}
        keys = {path[1:]: mark for path, mark in self.keys.items() if path[:1] == (key,) and len(path) > 1}
        return Document(self.file, data, values, keys)

    def problem(self, path: KeyPath, message: str, hint: str = "", *, key: bool = False) -> Problem:
        return Problem(self.file, *self.mark(path, key=key), message, hint)


def read_text(path: Path) -> str:
    """The text of a topology file. Raises UserInputError."""
    try:
        if path.is_dir():
            raise UserInputError(f"{path}: is a directory", hint="give the topology file inside it")
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        raise UserInputError(f"{path}: no such file", hint="`lab generate` prints a topology to start from") from None
    except OSError as error:
        raise UserInputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise UserInputError(f"{str(path)!r}: {error}") from None
    return _decode(octets, str(path))


def parse(text: str, file: str) -> Document:
    """Raises TopologyError where `text` is not YAML, or is empty."""
    if len(text) > MAX_OCTETS:
        raise UserInputError(f"{file}: larger than {MAX_OCTETS >> 20} MiB", hint="is this a topology?")
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise TopologyError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        raise TopologyError([_character_problem(error, text, file)]) from None
    if root is None:
        raise TopologyError([Problem(file, 1, 1, "the file is empty", "a topology has at least: nodes, links")])
    return _Builder(file).document(root)


def _decode(octets: bytes, file: str) -> str:
    if len(octets) > MAX_OCTETS:
        raise UserInputError(f"{file}: larger than {MAX_OCTETS >> 20} MiB", hint="is this a topology?")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = octets[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        message = f"byte 0x{octets[error.start]:02x} is not UTF-8"
        raise TopologyError([Problem(file, line, column, message, "save the file as UTF-8 text")]) from None


class _Loader(yaml.SafeLoader):
    """Composes only: no scalar is resolved here, and nesting is bounded."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to say it
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.depth == MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_DEPTH} levels deep", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Builder:
    """Nodes to values. Problems of form (duplicate keys, tags) are kept, and building goes on."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.values: dict[KeyPath, Mark] = {}
        self.keys: dict[KeyPath, Mark] = {}
        self.problems: list[Problem] = []
        self.active: set[int] = set()
        self.count = 0

    def document(self, root: yaml.Node) -> Document:
        data = self.value(root, ())
        return Document(self.file, data, self.values, self.keys, tuple(self.problems))

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self.count += 1
        if self.count > MAX_VALUES:
            hint = "aliases multiply what they name"
            raise TopologyError([self.problem(node, f"more than {MAX_VALUES} values", hint)])
        if id(node) in self.active:
            raise TopologyError([self.problem(node, "this value contains itself", "an alias stands inside its anchor")])
        self.values[path] = _mark(node)
        if node.tag not in _PLAIN_TAGS:
            self.problems.append(self.problem(node, f"the tag {node.tag!r} is not supported", "leave it out"))
        self.active.add(id(node))
        try:
            return self.content(node, path)
        finally:
            self.active.discard(id(node))

    def content(self, node: yaml.Node, path: KeyPath) -> object:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return scalar(node.value) if plain else node.value

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str):
                self.problems.append(self.problem(key_node, "a key must be plain text"))
            elif key == "<<" and key_node.style is None:
                merged = {**self.merge(value_node, path), **merged}
            elif key in own:
                first = self.keys[(*path, key)].line
                message, hint = f"duplicate key {key!r}", f"it stands in line {first} already"
                self.problems.append(self.problem(key_node, message, hint))
            else:
                self.keys[(*path, key)] = _mark(key_node)
                own[key] = self.value(value_node, (*path, key))
        return {**merged, **own}

    def merge(self, node: yaml.Node, path: KeyPath) -> dict[str, object]:
        """The keys that `<<` brings in; the first of several sources wins (YAML merge key draft)."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, object] = {}
        for source in sources:
            value = self.value(source, (*path, "<<"))
            if isinstance(value, dict):
                merged = {**value, **merged}
            else:
                self.problems.append(self.problem(source, "a merge key needs a mapping", "write <<: *anchor"))
        return merged

    def problem(self, node: yaml.Node, message: str, hint: str = "") -> Problem:
        return Problem(self.file, *_mark(node), message, hint)


def _mark(node: yaml.Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def scalar(text: str) -> object:
    """A plain scalar by the core schema of YAML 1.2 (section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = str(error.problem or error.context)
    if "'\\t'" in problem:
        return Problem(file, line, column, "a tab character", "YAML is indented with spaces only")
    if problem.startswith("but "):
        return Problem(file, line, column, f"not valid YAML: {error.context}, {problem}")
    hint = str(error.context or "")
    if hint and error.context_mark and error.context_mark.line + 1 != line:
        hint += f" that starts in line {error.context_mark.line + 1}"
    return Problem(file, line, column, f"not valid YAML: {problem}", hint)


def _character_problem(error: yaml.reader.ReaderError, text: str, file: str) -> Problem:
    before = text[: error.position]
    line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
    code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
    return Problem(file, line, column, f"the character U+{code:04X} is not allowed in YAML", "delete it")
