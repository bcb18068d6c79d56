"""The desks from which labs of each driver are started (tests/system/labs.py), and a lab of each that is up.

A test that asks for `rig` runs once for each row of table.py, and for `up` with a lab that all tests of a file share;
it leaves that as it was. What any of them leaves behind on the machine fails the last one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.drivers.abilities import WORDS, Verb
from lab.drivers.docker.names import container_name
from tests.drivers.supervised import CALLS, FAULT
from tests.drivers.table import ROWS, Row
from tests.system.conftest import Needs, findings, needs
from tests.system.docker_rig import CHECKOUT, DockerEngine, docker_engine
from tests.system.labs import Done, Labs, own_account

__all__ = ["docker_engine", "findings", "needs"]

TOPOLOGY = """\
name: contract
nodes:
  a: host
  b: host
  r: router
  s: {kind: switch, impl: stack}
links:
  - a -- s
  - s -- r
  - {ends: [r, b], name: far}
"""
WITH_A_KERNEL = """\
name: contract
nodes:
  a: host
  b: host
  r: router
  s: switch
  k: {kind: host, stack: kernel}
links:
  - a -- s
  - s -- r
  - k -- s
  - {ends: [r, b], name: far}
"""


class Rig:
    """A driver, and a desk for its labs."""

    def __init__(self, row: Row, desk: Labs, engine: DockerEngine | None) -> None:
        self.row = row
        self.desk = desk
        self.engine = engine

    @property
    def topology(self) -> str:
        return TOPOLOGY if "kernel" in self.row.cannot else WITH_A_KERNEL

    def up(self, text: str | None = None, suffix: str = "", *, code: int = 0, **environment: str) -> tuple[str, Done]:
        """The lab's name, and what `lab up` said."""
        name = self.desk.new_name(suffix)
        topology = self.desk.write(text or self.topology)
        done = self.desk.run(
            "up",
            topology,
            "--name",
            name,
            "--driver",
            self.row.name,
            code=code,
            timeout=self.row.up_seconds,
            **environment,
        )
        if code == 0:
            self.desk.note_namespaces()
        return name, done

    def containers(self, name: str) -> list[str]:
        """Those of a lab; none where the driver makes none."""
        if self.engine is None:
            return []
        label = f"label=org.layerlab.lab={name}"
        return self.engine.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()

    def agent(self, name: str, node: str) -> int:
        """The pid of a node's agent."""
        if self.engine is None:
            return self.desk.process(f"lab:{node}")
        found = json.loads(self.engine.docker("inspect", container_name(name, node)))
        return int(found[0]["State"]["Pid"])

    def refusal(self, verb: Verb, subject: str) -> str:
        """How what a driver cannot do is refused."""
        return f"error: {subject}: the driver {self.row.name} cannot {WORDS[verb]}: {self.row.cannot[verb]}\n"

    def assert_nothing_left(self, name: str) -> None:
        self.desk.assert_nothing_left(within=10)
        assert self.containers(name) == []


class Up:
    """A lab that is up."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig = rig
        self.row = rig.row
        self.name = name

    def run(self, command: str, *arguments: str, code: int | None = 0) -> Done:
        return self.rig.desk.run(command, "--lab", self.name, *arguments, code=code)

    def json(self, command: str, *arguments: str) -> Any:
        return json.loads(self.run(command, *arguments, "--json").out)

    def pings(self, source: str, target: str) -> bool:
        return self.rig.desk.pings(self.name, source, target)

    def reaches(self, source: str, target: str) -> bool:
        return self.rig.desk.reaches(self.name, source, target)

    def node(self, node: str) -> dict[str, Any]:
        return self.rig.desk.node(self.name, node)

    def is_refused(self, verb: Verb, subject: str, command: str, *arguments: str) -> bool:
        """Whether the driver says that it cannot; then the command has to say so."""
        if verb not in self.row.cannot:
            return False
        done = self.run(command, *arguments, code=4)
        assert done.err.startswith(self.rig.refusal(verb, subject)), done
        return True


def parameters() -> list[Any]:
    """The rows of table.py, for a fixture."""
    return [
        pytest.param(
            row, id=name, marks=[pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(600)] if row.needs else ()
        )
        for name, row in ROWS.items()
    ]


@contextmanager
def rig_of(request: pytest.FixtureRequest, row: Row) -> Iterator[Rig]:
    needs: Needs = request.getfixturevalue("needs")
    needs(*row.needs)
    engine: DockerEngine | None = request.getfixturevalue("docker_engine") if row.engine else None
    account = own_account()
    environment = {**account.environment, "PYTHONPATH": str(CHECKOUT)}  # what is tested, whatever is installed
    if engine is not None:
        environment |= {name: value for name, value in engine.environment.items() if name.startswith("DOCKER_")}
    command = (sys.executable, "-m", "tests.drivers.command")
    with Labs(replace(account, command=command, environment=environment)) as desk:
        yield Rig(row, desk, engine)


@pytest.fixture(params=parameters())
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rig_of(request, request.param) as made:
        yield made


@pytest.fixture(scope="module", params=parameters())
def up(request: pytest.FixtureRequest) -> Iterator[Up]:
    with rig_of(request, request.param) as made:
        name, _ = made.up()
        yield Up(made, name)
        made.desk.run("down", name, code=0)
        made.assert_nothing_left(name)


def with_faults(folder: Path, fault: str = "") -> dict[str, str]:
    """The environment of a supervisor whose driver fails, or only keeps a log of its calls."""
    return {CALLS: str(folder / "calls"), FAULT: fault}
