"""The beginning of the command: whether a supervisor's process is worth starting, and that none stays behind."""

from __future__ import annotations

import importlib
import sys

import pytest

from lab.cli import entry
from lab.cli.entry import wanted_driver
from lab.engine import spare_process

linux = pytest.mark.skipif(sys.platform != "linux", reason="labs of processes need Linux")


@pytest.mark.parametrize(
    ("line", "driver"),
    [
        ("up lab.yml", "netns"),
        ("up", "netns"),
        ("up lab.yml --driver docker", "docker"),
        ("up --driver=mininet lab.yml", "mininet"),
        ("up --driver netns --json lab.yml", "netns"),
        ("up lab.yml --driver sim", None),
        ("up lab.yml --driver nets", None),
        ("up lab.yml --driver", None),
        ("up --help", None),
        ("up lab.yml -h", None),
        ("down up", None),
        ("--version", None),
        ("", None),
    ],
)
def test_what_is_likely_to_come_up(line: str, driver: str | None) -> None:
    assert wanted_driver(line.split()) == driver


@linux
def test_ctrl_c_while_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    def end(spare: spare_process.Spare) -> None:
        really_end(spare)
        codes.append(spare.process.returncode)

    codes: list[int] = []
    really_end = spare_process.end
    monkeypatch.setattr(spare_process, "end", end)
    monkeypatch.setattr(importlib, "import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["lab", "up", "lab.yml"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert codes == [-9]


@linux
def test_what_was_begun_is_taken_once() -> None:
    spare_process.begin("netns")
    taken = spare_process.take("netns")
    other = spare_process.take("netns")
    try:
        assert taken.process.pid != other.process.pid
    finally:
        spare_process.end(taken)
        spare_process.end(other)
    assert (taken.process.returncode, other.process.returncode) == (-9, -9)


@linux
def test_one_for_another_driver_is_not_taken() -> None:
    spare_process.begin("docker")
    taken = spare_process.take("netns")
    spare_process.end(taken)
    assert taken.driver == "netns"
    spare_process.dismiss()
    spare_process.dismiss()  # of nothing
