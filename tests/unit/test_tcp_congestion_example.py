"""The example of docs/congestion-control.md: it is what the page shows, it fits, and it does what it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path as File

import pytest

from nodes.transport.tcp.congestion import registry
from nodes.transport.tcp.congestion.window import WindowControl
from nodes.units import MILLISECOND, SECOND
from tests.unit.ack_clock import MSS, Clock, Path

ROOT = File(__file__).parents[2]
PAGE = (ROOT / "docs" / "congestion-control.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs" / "examples" / "vegas.py"


def vegas() -> type[WindowControl]:
    specification = importlib.util.spec_from_file_location("vegas", EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    kind = module.Vegas
    assert issubclass(kind, WindowControl)
    return kind


def test_the_page_shows_the_file() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert f"```python\n{text}```" in PAGE
    assert f"```python\n{text}```" in README
    assert len(text.splitlines()) <= 30


def test_the_page_names_every_algorithm_and_the_entry_point() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == list(registry.ALGORITHMS)
    assert f'[project.entry-points."{registry.ENTRY_POINT_GROUP}"]\nvegas = "vegas:Vegas"' in PAGE


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ALGORITHMS", dict(registry.ALGORITHMS))
    registry.register("vegas", vegas())
    path = Path(rate=1_250_000, delay=40 * MILLISECOND, buffer=100_000)
    clock = Clock(path)
    flow = clock.add(lambda settings, now: registry.create("vegas", settings, now))
    clock.run(3 * SECOND)
    path.peak = 0
    clock.run(10 * SECOND)
    assert path.dropped == 0
    assert path.peak <= 6 * MSS
    assert flow.goodput(3 * SECOND, 10 * SECOND) > 0.98 * path.rate
