"""Experiments in YAML: the checked-in example, and bounds. Files that are wrong are in test_broken_experiments.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.experiments.bounds import parse_bound
from lab.experiments.runner import Asked, run_experiment
from lab.experiments.written import load_experiment

EXAMPLE = Path(__file__).parents[2] / "examples/lost-syn.yml"
GOOD = EXAMPLE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("variation", [None, "nothing-lost"])
def test_the_example(tmp_path: Path, variation: str | None) -> None:
    result = run_experiment(load_experiment(EXAMPLE), Asked(variation=variation, runs=tmp_path))
    assert result.passed, result.facts()
    assert len(result.verdicts) == 6


@pytest.mark.slow
def test_parameters_of_a_person(tmp_path: Path) -> None:
    """They stand wherever the file names them; a claim with a number of its own fails then, and says both."""
    result = run_experiment(load_experiment(EXAMPLE), Asked(changes={"octets": "5000"}, runs=tmp_path))
    (failed,) = [verdict for verdict in result.verdicts if not verdict.passed]
    assert failed.claim == "all arrives"
    assert failed.numbers == "expected >= 100000, seen 5,000"


@pytest.mark.slow
def test_a_timeline_that_does_not_end(tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text(GOOD.replace("bytes: $octets, ", "rate: 1000000, ").replace("timeline:", "limit: 5s\ntimeline:"))
    result = run_experiment(load_experiment(path), Asked(runs=tmp_path))
    assert not result.passed
    assert result.error == "the timeline does not end within 5 s"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (3, [3], [2.9, 4]),
        ("3", [3.0], [2.99]),
        (">= 1", [1, 100], [0.99]),
        ("> 1", [1.01], [1]),
        ("<= 20ms", [0.02, 0], [0.0201]),
        ("< 20ms", [0.0199], [0.02]),
        ("1..3", [1, 2, 3], [0.9, 3.1]),
        ("10..30ms", [0.01, 0.03], [0.031]),
        ("100ms +- 10%", [0.0901, 0.11], [0.089, 0.1101]),
        ("100 ± 5", [95, 105], [94, 106]),
        ("1%", [0.01], [1]),
        ("10 mbit", [1e7], [10]),
        ("-5..-1", [-5, -1], [0]),
    ],
)
def test_bounds(text: object, inside: list[float], outside: list[float]) -> None:
    bound = parse_bound(text)
    assert [value for value in inside if not bound.holds(value)] == []
    assert [value for value in outside if bound.holds(value)] == []


@pytest.mark.parametrize("text", ["", "x", "> ", "1..", "5 parsecs", "1 +- ", True, None, "<> 3"])
def test_no_bounds(text: object) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_bound(text)
