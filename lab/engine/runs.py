"""A run is a folder: everything that one lab was and did, to copy, compare, report on and reopen.

runs/<lab>-<time>/
  topology.yml        the file as it was written (where there was one)
  plan.json           what was decided: names, addresses, routes, MTUs, seeds
  run.json            versions, driver, seed, start, end, outcome
  supervisor.log      what the supervisor had to say; normally empty
  nodes/<node>/       trace.sqlog, capture.pcapng, state.json of each node
  links/              trace.sqlog: what was done to links; measured.json: what impaired ones did, and the verdict
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from pathlib import Path
from typing import Any

from lab import __version__
from lab.errors import EnvironmentLackError, UserInputError
from lab.plan.render import plan_from_dict, plan_to_dict
from lab.plan.values import Plan

RUNS_VARIABLE = "LAYERLAB_RUNS"


def runs_folder() -> Path:
    """Where runs are kept: $LAYERLAB_RUNS, or `runs` in the current folder."""
    return Path(os.environ.get(RUNS_VARIABLE) or "runs").absolute()


def timestamp() -> str:
    """Now, local time with its offset, to the second (ISO 8601)."""
    return dt.datetime.now().astimezone().isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    return {
        "layerlab": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


class Run:
    """One run's folder. Methods that write raise EnvironmentLackError where the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, plan: Plan, *, driver: str, source: str = "", parent: Path | None = None) -> Run:
        """A new folder with topology, plan and the beginning of run.json. A second run in the same second gets a
        suffix."""
        base = (parent or runs_folder()) / f"{plan.lab}-{dt.datetime.now().astimezone():%Y%m%d-%H%M%S}"
        run = cls(_new_folder(base))
        try:
            run._begin(plan, driver, source)
        except BaseException:  # a disk that is full, or Ctrl-C
            _remove(run.folder)
            raise
        return run

    def _begin(self, plan: Plan, driver: str, source: str) -> None:
        for node in plan.nodes:
            self._make(self.node_folder(node.name))
        self._make(self.folder / "links")
        if source:
            self._write("topology.yml", source)
        self._write("supervisor.log", "")
        self._write("plan.json", json.dumps(plan_to_dict(plan), indent=1) + "\n")
        facts = {"lab": plan.lab, "driver": driver, "seed": plan.seed, "versions": versions(), "started": timestamp()}
        self._write("run.json", json.dumps({**facts, "ended": None, "outcome": "running"}, indent=1) + "\n")

    @property
    def name(self) -> str:
        return self.folder.name

    def node_folder(self, node: str) -> Path:
        return self.folder / "nodes" / node

    def plan(self) -> Plan:
        return plan_from_dict(self._read("plan.json"))

    def facts(self) -> dict[str, Any]:
        return self._read("run.json")

    def finish(self, outcome: object, **more: object) -> None:
        """Write how the run ended: `down`, `failed`, `crashed`."""
        facts = {**self.facts(), "ended": timestamp(), "outcome": outcome, **more}
        self._write("run.json", json.dumps(facts, indent=1) + "\n")

    def write_links(self, measured: dict[str, object]) -> None:
        """What was measured on impaired links, and whether it can be trusted."""
        self._write("links/measured.json", json.dumps(measured, indent=1) + "\n")

    def links(self) -> dict[str, Any] | None:
        """What `write_links` wrote; None for a run that impaired no link, or did not come to its end."""
        return self._read("links/measured.json") if (self.folder / "links" / "measured.json").exists() else None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            value = json.loads(path.read_text())
        except OSError as error:
            raise UserInputError(f"{path}: {error.strerror}", hint="is this the folder of a run?") from error
        except ValueError as error:
            raise UserInputError(f"{path}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserInputError(f"{path}: {type(value).__name__}, an object expected")
        return value

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        beside = path.with_name(path.name + ".new")
        try:
            beside.write_text(text)
            beside.replace(path)
        except OSError as error:
            raise _no_disk(path, error) from error

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise _no_disk(folder, error) from error


def _new_folder(base: Path) -> Path:
    for suffix in ("", *(f".{number}" for number in range(2, 100))):
        folder = base.with_name(base.name + suffix)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _no_disk(folder, error) from error
        return folder
    raise EnvironmentLackError(f"{base}: a hundred runs in one second")


def _remove(folder: Path) -> None:
    """A folder that was just made, with what is in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _no_disk(path: Path, error: OSError) -> EnvironmentLackError:
    return EnvironmentLackError(
        f"cannot write {path}: {error.strerror}",
        hint=f"runs go to ./runs; {RUNS_VARIABLE}=FOLDER or `--runs FOLDER` puts them elsewhere",
    )
