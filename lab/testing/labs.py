"""The labs of tests: opened, given to the test, and told of where it fails. See plugin.py."""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import os
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from lab.api.lab import Lab
from lab.engine.ladder import crossings, draw
from lab.engine.recorded import recorded_events
from lab.engine.runs import Run
from lab.errors import EnvironmentLackError, LabError, UserInputError
from lab.testing.plugin import SEED

FIXTURES = ("lab", "sim")
OPTIONS = ("driver", "seed", "seeds", "stand_in", "speed", "patience", "idle", "turns", "impair")
LAST_EVENTS = 8
LAST_FRAMES = 30
WIDTH = 100

_numbers = itertools.count(1)


@dataclass
class _Asked:
    """What a test's marker asks for, and in the end its lab."""

    topology: str | Path
    driver: str
    seed: int | None
    options: dict[str, Any] = field(default_factory=dict)
    lab: Lab | None = None


_ASKED = pytest.StashKey[_Asked]()


def call(pyfuncitem: pytest.Function) -> bool:
    """Run a test that has asked for a lab, in it; False for another."""
    asked = pyfuncitem.stash.get(_ASKED, None)
    if asked is None:
        return False
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        _refuse(f"{pyfuncitem.name} gets a lab and is no coroutine function", "`async def` it")
    wanted = {name: pyfuncitem.funcargs[name] for name in inspect.signature(function).parameters}

    async def main(opened: Lab) -> None:
        labs = {name: opened for name in FIXTURES if name in wanted}
        await functools.partial(function, **(wanted | labs))()

    def up(opened: Lab) -> None:
        asked.lab = opened

    try:
        Lab.run(main, asked.topology, driver=asked.driver, seed=asked.seed, told=up, **asked.options)  # type: ignore[arg-type]
    except EnvironmentLackError as error:
        if asked.lab is not None or os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise
        pytest.skip(f"{error.message}; {error.hint}")
    except UserInputError as error:
        if asked.lab is not None:
            raise
        _refuse(error.message, error.hint)
    return True


def complete(report: pytest.TestReport, item: pytest.Item) -> None:
    """Add to the report of a test what its lab has to say."""
    asked = item.stash.get(_ASKED, None)
    if asked is None or asked.lab is None:
        return
    report.user_properties.append(("lab_seed", asked.lab.seed))
    report.user_properties.append(("lab_run", str(asked.lab.run_folder)))
    if report.failed:
        report.sections.append(("the lab", _told(item, asked, asked.lab)))


def ask(request: pytest.FixtureRequest, driver: str | None) -> _Asked:
    """Note what the test wants; it gets the lab itself when it is called."""
    item: pytest.Item = request.node
    marker = item.get_closest_marker("lab")
    if marker is None or len(marker.args) != 1:
        _refuse(f"{item.name} has no topology", '@pytest.mark.lab("pair.yml")')
    if _ASKED in item.stash:
        _refuse(f"{item.name} gets two labs", "`lab` or `sim`")
    unknown = set(marker.kwargs) - set(OPTIONS)
    if unknown:
        _refuse(f"the marker `lab` has no option {min(unknown)!r}", f"it has {', '.join(OPTIONS)}")
    chosen = driver or marker.kwargs.get("driver") or request.config.getoption("--lab-driver")
    options = {name: value for name, value in marker.kwargs.items() if name not in ("driver", "seed", "seeds")}
    if chosen != "sim":
        options["name"] = f"test-{os.getpid()}-{next(_numbers)}"  # labs of several workers are up at the same time
    options["runs"] = request.config.getoption("--lab-runs") or request.getfixturevalue("tmp_path") / "runs"
    asked = item.stash[_ASKED] = _Asked(
        _topology(marker.args[0], item.path), chosen, _seed(request, marker.kwargs), options
    )
    return asked


def _refuse(message: str, hint: str) -> NoReturn:
    """A mistake in the test or the command line: no traceback of ours."""
    pytest.fail(f"{message}\n  hint: {hint}" if hint else message, pytrace=False)


def _topology(told: str | Path, test: Path) -> str | Path:
    """Paths are those from the test's file."""
    if isinstance(told, str) and "\n" in told:
        return told
    return test.parent / told


def _seed(request: pytest.FixtureRequest, options: Mapping[str, Any]) -> int | None:
    told = request.config.getoption("--lab-seed")
    if told == "random":
        return random.SystemRandom().randrange(1 << 32)
    if told is not None:
        if not str(told).isdecimal():
            _refuse(f"--lab-seed {told}", "a whole number, or `random`")
        return int(told)
    parameters = getattr(request.node, "callspec", None)
    if parameters is not None and SEED in parameters.params:
        return int(parameters.params[SEED])
    seed = options.get("seed")
    return None if seed is None else int(seed)


def _told(item: pytest.Item, asked: _Asked, opened: Lab) -> str:
    """What helps to find the cause."""
    lines = [
        f"driver {asked.driver}, seed {opened.seed}; again: pytest '{item.nodeid}' --lab-seed {opened.seed}",
        f"run {opened.run_folder}",
    ]
    try:
        run = Run(opened.run_folder)
        lines += _last_events(run)
        if list(run.folder.glob("nodes/*/capture*.pcapng")):
            lines += _last_frames(run)
    except (LabError, OSError) as error:
        lines.append(f"the run cannot be read: {error}")
    return "\n".join(lines)


def _last_events(run: Run) -> list[str]:
    by_node: dict[str, list[str]] = defaultdict(list)
    for time, node, record in recorded_events(run, None):
        if record["name"] != "trace:closed":
            data = json.dumps(record["data"])
            by_node[node].append(f"  {time:12.3f} ms  {record['name']} {data}")
    lines = []
    for node, rows in by_node.items():
        lines += [f"the last of {len(rows)} events of {node}:", *rows[-LAST_EVENTS:]]
    return lines


def _last_frames(run: Run) -> list[str]:
    found = crossings(run)
    seen = {name for crossing in found for name in (crossing.source, *crossing.targets)}
    nodes = [node.name for node in run.plan().nodes if node.name in seen]
    return ["the last frames:", *draw(found[-LAST_FRAMES:], nodes, WIDTH)] if nodes else []
