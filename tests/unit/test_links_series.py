"""The table of what links did, second by second."""

from __future__ import annotations

from pathlib import Path

from lab.engine.links_series import LinksSeries
from lab.links.base import UNKNOWN
from nodes.physical.statistics import Sample
from nodes.units import MILLISECOND, SECOND

NOTHING = Sample(0, 0, 0, 0, 0, 0, 0)


def rows(folder: Path, *samples: Sample) -> list[str]:
    """The rows of these samples of ab, taken each second, without the seconds."""
    (folder / "links").mkdir()
    series = LinksSeries(folder, 0, lambda _link, way: ("a", "b") if way == "ab" else ("b", "a"))
    for second, sample in enumerate(samples, 1):
        series.add(second * SECOND, {"a--b": {"ab": sample, "ba": NOTHING}})
    series.close()
    return [line.partition(",")[2] for line in (folder / "links" / "series.csv").read_text().splitlines()[1:]]


def test_differences(tmp_path: Path) -> None:
    first = Sample(10, 8, 800, 1, 8 * 20 * MILLISECOND, 8, MILLISECOND)
    second = Sample(20, 18, 1800, 2, first.delay + 10 * 30 * MILLISECOND, 18, 0)
    assert rows(tmp_path, first, second, second) == [
        "a--b,a,b,10,8,1,6400,20.000,1.000",
        "a--b,a,b,10,10,1,8000,30.000,0.000",
    ]


def test_what_is_not_known(tmp_path: Path) -> None:
    """Delays of a part of the frames, of none, and from before a meter that ended knew them."""
    known = Sample(10, 8, 800, 0, 4 * 20 * MILLISECOND, 4, UNKNOWN)
    later = Sample(20, 18, 1800, 0, known.delay, 4, UNKNOWN)
    fewer = Sample(30, 28, 2800, 0, 0, 0, UNKNOWN)
    assert rows(tmp_path, known, later, fewer) == [
        "a--b,a,b,10,8,0,6400,20.000,",
        "a--b,a,b,10,10,0,8000,,",
        "a--b,a,b,10,10,0,8000,,",
    ]
