"""The table of requirements: complete, well formed, and what it says of the tests is true."""

from __future__ import annotations

import re

import pytest

from tests.requirements import COVERED, NOT_COVERED, TESTS, ids_in, table

KNOWN = {"MUST-5", "MUST-58", "MUST-59", "MUST-24", "MUST-25", "MUST-26", "5961-3.2a", "B-SEQ-1", "6298-5.1", "826-1"}


def test_the_table_has_all_requirements_of_rfc_9293() -> None:
    numbers = [row.id for row in table()]
    assert len(numbers) == len(set(numbers))
    assert {f"MUST-{number}" for number in range(1, 70)} <= set(numbers)
    assert {f"SHLD-{number}" for number in range(1, 32)} <= set(numbers)
    assert {f"MAY-{number}" for number in range(1, 19)} <= set(numbers)


def test_every_requirement_is_covered_or_says_why_not() -> None:
    open_ones = [row.id for row in table() if row.status == NOT_COVERED]
    assert open_ones == []


def test_what_must_be_is_tested_or_deliberately_different() -> None:
    assert [row.id for row in table() if row.level == "must" and row.status not in (COVERED, "different")] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MUST-5: x", ["MUST-5"]),
        ("MUST-58, 59: x", ["MUST-58", "MUST-59"]),
        ("MUST-24 to 26, x", ["MUST-24", "MUST-25", "MUST-26"]),
        ("MUST-24..26", ["MUST-24", "MUST-25", "MUST-26"]),
        ("MUST-58 and 59", ["MUST-58", "MUST-59"]),
        ("5961-3.2a, B-SEQ-1: x", ["5961-3.2a", "B-SEQ-1"]),
        ("B-SEQ-12, 5961-3.2ab, 1826-1, 6298-5.12", []),
        ("MUST-500", []),
    ],
)
def test_ids_are_found_in_docstrings(text: str, expected: list[str]) -> None:
    assert sorted(ids_in(text, KNOWN)) == sorted(expected)


def test_no_docstring_names_a_requirement_that_does_not_exist() -> None:
    known = {row.id for row in table()}
    for path in TESTS.rglob("test_*.py"):
        if path.name == "test_requirements.py":
            continue
        for kind, number in re.findall(r'^\s*"""(MUST|SHLD|MAY|REC)-(\d+)', path.read_text(), re.MULTILINE):
            assert f"{kind}-{number}" in known, f"{path.name} names {kind}-{number}"
