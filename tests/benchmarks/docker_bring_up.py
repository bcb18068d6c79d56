"""Bring-up of N hosts on one switch as containers: `lab up --driver docker` beside `docker-compose up`.

Both start the same image on the same engine, one of the tests' own (tests/system/docker_rig.py), and run the same agent
in every host. Compose is given what `lab compose` writes: there the switch is a network of Docker's, and the nodes
configure themselves. They take turns.

    up         seconds from the start of the command to its end. `lab up` ends when every agent has answered,
               `docker-compose up --detach` when every container has been started
    answering  seconds from the start of the command until every agent has answered
    down       seconds of `lab down`, or of `docker-compose down`
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from lab.host.namespaces import in_namespace
from lab.model.generate import star
from nodes.container_configured import CONTROL_ADDRESS
from nodes.io.control import ControlClient
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span
from tests.system.docker_rig import DockerEngine, RigError, lacking

HOSTS = 20
QUICK_HOSTS = 3
ROUNDS = 3
ANSWER_SECONDS = 120.0
PAUSE = 0.02


@dataclass(frozen=True)
class Sample:
    """One bring-up. Seconds."""

    side: str
    hosts: int
    up: float
    answering: float
    down: float


class FailedError(Exception):
    """A command failed, or an agent did not answer."""


def run(settings: Settings) -> Report:
    lack = lacking()
    if lack:
        return Report("docker_bring_up", [], [], [f"not measured: {lack}"])
    hosts = QUICK_HOSTS if settings.quick else HOSTS
    samples: list[Sample] = []
    failures: list[str] = []
    topology = settings.scratch / "docker-star.yml"
    topology.write_text(star(hosts))
    with DockerEngine.started() as engine:
        for number in range(1 if settings.quick else ROUNDS):
            settings.say(f"bring-up of {hosts} containers, round {number + 1}")
            for measure in (_layerlab, _compose):
                _take(samples, failures, partial(measure, engine, topology, hosts))
    return Report("docker_bring_up", [_table(samples, hosts)], [asdict(sample) for sample in samples], failures)


def _take(samples: list[Sample], failures: list[str], measure: Callable[[], Sample]) -> None:
    try:
        samples.append(measure())
    except (FailedError, RigError) as error:
        failures.append(str(error))


def _layerlab(engine: DockerEngine, topology: Path, hosts: int) -> Sample:
    lab = [sys.executable, "-m", "lab"]
    name = f"bench-docker-{os.getpid()}"
    runs = str(topology.parent / "runs")
    up = _timed([*lab, "up", str(topology), "--driver", "docker", "--name", name, "--runs", runs], engine)
    return Sample("Layerlab", hosts, up, up, _timed([*lab, "down", name], engine))


def _compose(engine: DockerEngine, topology: Path, hosts: int) -> Sample:
    file = topology.with_suffix(".compose.yml")
    _timed([sys.executable, "-m", "lab", "compose", str(topology), "-o", str(file)], engine)
    compose = ["docker-compose", "--project-name", f"bench{os.getpid()}", "--file", str(file)]
    begun = time.monotonic()
    try:
        up = _timed([*compose, "up", "--detach"], engine)
        for pid in _pids(engine):
            _await_agent(pid)
        answering = time.monotonic() - begun
    finally:
        down = _timed([*compose, "down", "--volumes"], engine)
    return Sample("Compose", hosts, up, answering, down)


def _pids(engine: DockerEngine) -> list[int]:
    found = json.loads(engine.docker("inspect", *engine.docker("ps", "--quiet").split()))
    return [row["State"]["Pid"] for row in found]


def _await_agent(pid: int) -> None:
    end = time.monotonic() + ANSWER_SECONDS
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            with in_namespace(namespace):
                link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(CONTROL_ADDRESS)
                ControlClient(link, timeout=ANSWER_SECONDS).close()
                return
            except ConnectionRefusedError:
                link.close()
                if time.monotonic() > end:
                    raise FailedError(f"the agent of process {pid} does not answer") from None
                time.sleep(PAUSE)
    finally:
        os.close(namespace)


def _timed(command: list[str], engine: DockerEngine) -> float:
    begun = time.monotonic()
    done = subprocess.run(command, env=engine.environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError(f"{' '.join(command[:6])}: {' '.join((done.stdout + done.stderr).split())}")
    return time.monotonic() - begun


def _table(samples: list[Sample], hosts: int) -> Table:
    ours = [sample for sample in samples if sample.side == "Layerlab"]
    theirs = [sample for sample in samples if sample.side == "Compose"]
    table = Table(
        f"{hosts} hosts on one switch, as containers of the same image: median (smallest to largest)",
        ("", "Layerlab s", "docker-compose s", "docker-compose"),
        notes=["`lab up` ends when all agents have answered: its `up` and `answering` are the same."],
    )
    for figure in ("up", "answering", "down"):
        mine, other = ([getattr(sample, figure) for sample in side] for side in (ours, theirs))
        table.rows.append((figure, span(mine), span(other), ratio(median(other), median(mine))))
    return table
