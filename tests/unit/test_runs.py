"""Runs: a folder is created whole, reopened, finished; a disk that refuses is an error for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.engine.runs import RUNS_VARIABLE, Run, runs_folder
from lab.errors import EnvironmentLackError, UserInputError
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan


@pytest.fixture
def plan() -> Plan:
    return make_plan(loads("name: t\nseed: 7\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"))


def test_a_run_can_be_reopened(plan: Plan, tmp_path: Path) -> None:
    run = Run.create(plan, driver="netns", source="# the file\n", parent=tmp_path)
    again = Run(run.folder)
    assert again.plan() == plan
    assert (run.folder / "topology.yml").read_text() == "# the file\n"
    assert again.node_folder("a").is_dir()
    facts = again.facts()
    assert (facts["lab"], facts["driver"], facts["seed"], facts["outcome"], facts["ended"]) == (
        "t",
        "netns",
        7,
        "running",
        None,
    )
    assert set(facts["versions"]) == {"layerlab", "python", "kernel", "machine"}


def test_finish_says_how_it_ended(plan: Plan, tmp_path: Path) -> None:
    run = Run.create(plan, driver="netns", parent=tmp_path)
    run.finish("crashed", reason="killed")
    facts = json.loads((run.folder / "run.json").read_text())
    assert (facts["outcome"], facts["reason"]) == ("crashed", "killed")
    assert facts["ended"] >= facts["started"]


def test_two_runs_in_a_second_are_two_folders(plan: Plan, tmp_path: Path) -> None:
    folders = {Run.create(plan, driver="netns", parent=tmp_path).folder for _ in range(3)}
    assert len(folders) == 3


def test_a_disk_that_refuses(plan: Plan, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EnvironmentLackError, match=r"cannot write .*: Not a directory") as caught:
        Run.create(plan, driver="netns", parent=blocked)
    assert RUNS_VARIABLE in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), ("{", "not JSON"), ("[]", "list, an object expected")],
)
def test_a_folder_that_is_no_run(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserInputError, match=message):
        Run(tmp_path).facts()


def test_the_variable_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(RUNS_VARIABLE, str(tmp_path))
    assert runs_folder() == tmp_path
    monkeypatch.delenv(RUNS_VARIABLE)
    monkeypatch.chdir(tmp_path)
    assert runs_folder() == tmp_path / "runs"
