"""Series as a chart of characters."""

import pytest

from lab.experiments.chart import WIDTH, draw


def grid(text: str) -> list[str]:
    """The part right of the axis."""
    return [line.partition("│")[2] for line in text.splitlines() if "│" in line]


def test_a_picture() -> None:
    series = [(0.0, 0.0), (1000.0, 50.0), (2000.0, 100.0), (3000.0, 100.0)]
    text = draw({"*": series}, top=100, unit="octets", height=3)
    lines = text.splitlines()
    assert lines[0].strip() == "octets"
    assert lines[1].startswith("       100 │")
    assert lines[3].startswith("         0 │*")
    assert "3 s" in lines[-1]
    assert all(len(line) <= WIDTH for line in lines)
    top, middle, bottom = grid(text)
    assert len(bottom) == 22, "a value holds until it changes"
    assert middle == " " * 22 + "*" * 23
    assert top == " " * 45 + "*" * 23


def test_what_is_above_the_top_is_at_the_top() -> None:
    top, _, bottom = grid(draw({"r": [(0, 1000), (1, 1000)], "c": [(0, 0), (1, 0)]}, top=10, unit="x", height=3))
    assert set(top) == {"r"}
    assert set(bottom) == {"c"}


def test_the_last_series_is_seen_and_the_largest_value() -> None:
    (line, _) = grid(draw({"a": [(0, 1), (9, 1)], "b": [(0, 1), (0.001, 0), (9, 1)]}, top=1, unit="x", height=2))
    assert line[0] == "b"
    assert line[1] == "a"
    assert line[-1] == "b"


@pytest.mark.parametrize(("series", "top"), [({"a": []}, 1), ({}, 1), ({"a": [(0, 1)]}, 0)])
def test_nothing_to_draw(series: dict[str, list[tuple[float, float]]], top: float) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(series, top=top, unit="x")


def test_one_moment() -> None:
    assert grid(draw({"a": [(5, 1)]}, top=1, unit="x", height=2))[0].startswith("a")
