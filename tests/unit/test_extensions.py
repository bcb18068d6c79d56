"""Congestion controls of other packages: found by their entry points, and told about where they cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.io import extensions
from nodes.io.extensions import Extension, known_congestion_controls, load_congestion_controls, updated
from nodes.transport.tcp.congestion import registry
from nodes.transport.tcp.congestion.reno import Reno

MODULE = """
from nodes.transport.tcp.congestion.reno import Reno
class Mine(Reno):
    name = "mine"
class Box:
    inner = Mine
number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path` with a module of controls; what is registered is forgotten afterwards."""
    (tmp_path / "my_controls.py").write_text(MODULE)
    (tmp_path / "my_broken.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "ALGORITHMS", dict(registry.ALGORITHMS))
    load_congestion_controls.cache_clear()
    yield tmp_path
    load_congestion_controls.cache_clear()
    sys.modules.pop("my_controls", None)


def offer(folder: Path, text: str, name: str = "my-1.0.dist-info") -> None:
    (folder / name).mkdir()
    (folder / name / "entry_points.txt").write_text(text)


def test_what_is_installed_is_registered(folder: Path) -> None:
    offer(
        folder,
        "[console_scripts]\nnone = my_controls:number\n\n[layerlab.congestion]\n# a comment\n"
        "mine = my_controls:Mine\nnested=my_controls:Box.inner\n\n[other]\nx = my_broken:y\n",
    )
    assert load_congestion_controls() == (
        Extension("mine", "my_controls:Mine", ""),
        Extension("nested", "my_controls:Box.inner", ""),
    )
    assert registry.ALGORITHMS["mine"] is sys.modules["my_controls"].Mine
    assert known_congestion_controls() == ("none", "aimd", "tahoe", "reno", "newreno", "cubic", "bbr", "mine", "nested")
    assert updated(load_congestion_controls()[0]).new == "loaded"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bad = my_broken:Control", "RuntimeError: no such luck"),
        ("bad = my_nothing:Control", "ModuleNotFoundError: No module named 'my_nothing'"),
        ("bad = my_controls:Yours", "AttributeError: module 'my_controls' has no attribute 'Yours'"),
        ("bad = my_controls:number", "MisuseError: congestion control 'bad' is a int, not a class or a function"),
        ("Bad = my_controls:Mine", "MisuseError: 'Bad' is no name for a congestion control"),
        ("cubic = my_controls:Mine", "MisuseError: there is a congestion control 'cubic' already"),
        ("bad = my_controls", "'my_controls' is not MODULE:ATTRIBUTE"),
        ("bad", "'' is not MODULE:ATTRIBUTE"),
    ],
)
def test_what_cannot_be_loaded_is_told(folder: Path, line: str, problem: str) -> None:
    """The others are loaded all the same."""
    offer(folder, f"[layerlab.congestion]\n{line}\nmine = my_controls:Mine\n", "my.egg-info")
    first, second = load_congestion_controls()
    assert first.problem == problem
    assert (updated(first).new, updated(first).trigger) == ("failed", problem)
    assert second.problem == ""
    assert "mine" in registry.ALGORITHMS
    assert registry.ALGORITHMS["reno"] is Reno


def test_the_first_of_a_name_wins(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    later = tmp_path_factory.mktemp("later")
    offer(folder, "[layerlab.congestion]\nmine = my_controls:Mine\n")
    offer(later, "[layerlab.congestion]\nmine = my_broken:Control\n")
    found = list(extensions._entries((str(folder), str(later), str(folder))))
    assert found == [("mine", "my_controls:Mine")]


def test_nothing_installed_is_nothing_loaded() -> None:
    load_congestion_controls.cache_clear()
    assert load_congestion_controls() == ()
