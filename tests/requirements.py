"""The requirements of the RFCs, and which test shows each.

`requirements.txt` lists them. A test names the ids that it shows at the beginning of its docstring, before a colon:

    def test_simultaneous_open(...):
        \"\"\"MUST-10 (RFC 9293 figure 7): both SYNs cross; ...\"\"\"

so that the table of what is covered is made from the tests themselves: nothing is kept by hand, and a test that goes
takes its cover along. `lab requirements` prints the table.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
TABLE = TESTS / "requirements.txt"

COVERED, NOT_COVERED, DIFFERENT, OPTIONAL = "covered", "not covered", "different", "not tested"


class Requirement(NamedTuple):
    """`level` is of: must, must not, should, should not, may, rule. `note` says why it is not met or not tested;
    `tests` are `path::name` from the root of the repository."""

    id: str
    level: str
    text: str
    source: str
    note: str
    tests: tuple[str, ...]

    @property
    def status(self) -> str:
        """covered, different (with the reason), not tested (a choice that RFCs leave, with the reason), not covered."""
        if self.note.startswith(("different", "as MUST-51")):
            return DIFFERENT
        if self.tests:
            return COVERED
        return OPTIONAL if self.note else NOT_COVERED


@cache
def table() -> tuple[Requirement, ...]:
    """All requirements, in the order of the file; read once. Raises ValueError for a line that makes no sense."""
    tests = found_in_tests({identifier for identifier, *_ in _lines()})
    return tuple(Requirement(*line, tuple(tests.get(line[0], ()))) for line in _lines())


def _lines() -> Iterator[tuple[str, str, str, str, str]]:
    """(id, level, text, source, note)"""
    source = ""
    pending: list[str] = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line.startswith("=") and pending:
            pending[4] = line[1:].strip()
            continue
        if pending:
            yield pending[0], pending[1], pending[2], pending[3], pending[4]
            pending = []
        if line.startswith("["):
            source = line.strip("[]")
        elif line and not line.startswith("#"):
            columns = re.fullmatch(r"(\S+)\s+(must not|should not|must|should|may|rule)\s+(\S.*)", line)
            if columns is None:
                raise ValueError(f"{TABLE.name}:{number}: {line!r} is not: id, level, requirement")
            pending = [*columns.groups(), source, ""]
    if pending:
        yield pending[0], pending[1], pending[2], pending[3], pending[4]


def found_in_tests(known: set[str]) -> dict[str, list[str]]:
    """The tests that name each id in a docstring: their own, or that of their module."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS.parent)
        tree = ast.parse(path.read_text())
        for identifier in ids_in(ast.get_docstring(tree) or "", known):
            found.setdefault(identifier, []).append(str(name))
        for test in _tests(tree):
            for identifier in ids_in(ast.get_docstring(test) or "", known):
                found.setdefault(identifier, []).append(f"{name}::{test.name}")
    return found


def _tests(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node)
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            yield node


_NUMBERED = re.compile(r"\b(MUST|SHLD|MAY|REC)-(\d+)((?:\s*(?:,|to|and|\.\.)\s*(?:and\s+)?\d+\b)*)")


def ids_in(text: str, known: set[str]) -> list[str]:
    """The ids in a docstring; `MUST-58, 59` and `MUST-24 to 29` are several."""
    ids = []
    for kind, first, rest in _NUMBERED.findall(text):
        numbers = [int(first)]
        for separator, digits in re.findall(r"(,|to|and|\.\.)\s*(?:and\s+)?(\d+)", rest):
            last = int(digits)
            numbers.extend(range(numbers[-1] + 1, last + 1) if separator in ("to", "..") else [last])
        ids.extend(f"{kind}-{number}" for number in numbers)
    others = known - set(ids)
    ids.extend(name for name in others if not _NUMBERED.fullmatch(name) and _named(name, text))
    return [identifier for identifier in dict.fromkeys(ids) if identifier in known]


def _named(name: str, text: str) -> bool:
    return name in text and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\d)", text) is not None
