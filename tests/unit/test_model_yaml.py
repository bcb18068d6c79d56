"""YAML to values and places."""

from __future__ import annotations

import pytest

from lab.model.errors import TopologyError, did_you_mean
from lab.model.yaml_source import Mark, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("010", 10),
        ("0x10", 16),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("yes", "yes"),
        ("off", "off"),
        ("12:34:56:01:02:03", "12:34:56:01:02:03"),
        ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("9" * 400, "9" * 400),
        ("'5'", "5"),
        ('"true"', "true"),
        ("a b", "a b"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse(f"- {text}", "f").data
    assert isinstance(found, list)
    assert found[0] == value
    assert type(found[0]) is type(value)


def test_keys_are_text() -> None:
    assert parse("1: a\non: b\nnull: c\n1.0: d", "f").data == {"1": "a", "on": "b", "null": "c", "1.0": "d"}


def test_places() -> None:
    document = parse("nodes:\n  r1: {kind: router,\n       trace: off}\nlinks:\n  - a -- b\n  - [a, b]\n", "f")
    assert document.mark(("nodes", "r1", "kind")) == Mark(2, 14)
    assert document.mark(("nodes", "r1", "trace"), key=True) == Mark(3, 8)
    assert document.mark(("links", 1, 1)) == Mark(6, 9)
    assert document.mark(("links", 0, "ends", 1)) == Mark(5, 5), "the nearest thing around it"
    assert document.mark(("elsewhere",)) == Mark(1, 1)


def test_anchors_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo: {<<: [*m, *b], x: 0}\nsame: *b\n"
    data = parse(text, "f").data
    assert isinstance(data, dict)
    assert data["one"] == {"x": 1, "y": 9}
    assert data["two"] == {"x": 0, "y": 3, "z": 4}, "the first source wins"
    assert data["same"] == {"x": 1, "y": 2}


def test_form_problems_are_collected() -> None:
    document = parse("a: 1\na: 2\nb: !x 3\n[k]: 4\n<<: 5\n", "f")
    assert [str(problem).splitlines()[0] for problem in document.problems] == [
        "f:2:1: duplicate key 'a'",
        "f:3:4: the tag '!x' is not supported",
        "f:4:1: a key must be plain text",
        "f:5:5: a merge key needs a mapping",
    ]


def test_nesting_is_bounded() -> None:
    parse("[" * 32 + "]" * 32, "f")
    for text in ("[" * 33 + "]" * 33, "[" * 100_000, "{a: " * 5000, "- " * 5000):
        with pytest.raises(TopologyError, match="nested more than 32 levels deep"):
            parse(text, "f")


def test_did_you_mean() -> None:
    assert did_you_mean("hots", ["host", "hub"]) == "did you mean 'host'?"
    assert did_you_mean("HUB", ["host", "hub"]) == "did you mean 'hub'?"
    assert did_you_mean("xyz", ["host", "hub"]) == "one of: host, hub"
    assert did_you_mean("xyz", []) == ""
    assert did_you_mean("xyz", [f"n{n}" for n in range(20)]).endswith("n11 and 8 more")
