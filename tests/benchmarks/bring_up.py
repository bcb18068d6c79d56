"""Bring-up: N hosts on one kernel switch, until all of them answer, beside Mininet.

Both sides are measured as a person meets them: from starting the command to its end (`lab up`, when every agent has
answered) or to its word that it is ready (a Mininet script, when `net.start()` has returned, and so every shell has
shown its prompt). Both include the start of Python and all imports. They take turns within one run.

    wall      seconds from start to ready
    CPU       seconds of CPU of all processes that took part until ready: the command, supervisor, warm parent and
              agents; or Mininet's Python, its shells and the hundreds of programs it calls. What the kernel's own
              threads do is in neither.
    after     seconds of CPU that the ready network uses in its first SETTLE seconds (addresses are announced)
    memory    PSS of agents or shells / N, and of the processes that lead them, SETTLE seconds after ready
    down      wall seconds of `lab down`, or of `net.stop()`
    left      processes, and interfaces in the namespace from which the network was started, after that

Mininet runs in network and PID namespaces of its own, so that a run that is cut short leaves nothing on this machine.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.engine import registry
from lab.engine.client import LabClient
from lab.model.generate import star
from tests.benchmarks import processes
from tests.benchmarks.processes import Process
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, ratio, span

SIZES = (10, 50, 200, 500)
QUICK_SIZES = (10,)
ROUNDS = 3
LARGE = 200
"""Above this size, one round: Mininet takes minutes."""

SETTLE = 3.0
"""Seconds from ready to the reading of memory: both announcements of each address (RFC 5227, 2 s apart) are over."""

GRACE = 1.0
"""Seconds from the end of `lab down` to the search for what it left."""

MININET_LIMIT = 120.0
MIB = 1 << 20
SYSTEM_PYTHON = "/usr/bin/python3"
_NAMESPACES = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Sample:
    """One bring-up and what followed. Seconds, octets, counts."""

    side: str
    nodes: int
    wall: float
    cpu: float
    cpu_after: float
    node_memory: float
    leader_memory: Mapping[str, int]
    down: float
    left_processes: int
    left_interfaces: int


class FailedError(Exception):
    """A network did not come up, or not in time."""


def run(settings: Settings) -> Report:
    lack = mininet_lack()
    samples: list[Sample] = []
    failures: list[str] = []
    for count in QUICK_SIZES if settings.quick else SIZES:
        for number in range(1 if settings.quick or count > LARGE else ROUNDS):
            settings.say(f"bring-up of {count}, round {number + 1}")
            take(samples, failures, partial(layerlab, count, settings.scratch))
            if lack is None:
                take(samples, failures, partial(mininet, count))
    notes = [f"Mininet was not measured: {lack}."] if lack else []
    tables = [_times(samples, [*notes, *failures]), _memory(samples), _down(samples)]
    return Report("bring_up", tables, [asdict(sample) for sample in samples], failures)


def take(samples: list[Sample], failures: list[str], measure: Callable[[], Sample]) -> None:
    """One sample more, or one failure: the others still count."""
    try:
        samples.append(measure())
    except FailedError as error:
        failures.append(str(error))


def mininet_lack() -> str | None:
    """Why Mininet cannot be measured here, None if it can."""
    if os.geteuid() != 0:
        return "it needs root"
    for program in (SYSTEM_PYTHON, "mnexec", "brctl", "ifconfig", "unshare"):
        if shutil.which(program) is None:
            return f"no program {program}"
    imported = subprocess.run([SYSTEM_PYTHON, "-c", "import mininet.net"], capture_output=True, check=False)
    return None if imported.returncode == 0 else f"{SYSTEM_PYTHON} has no package mininet"


# --- our side


def layerlab(count: int, scratch: Path, driver: str = "netns") -> Sample:
    """A lab of the driver, up and down."""
    name = f"bench-{os.getpid()}-{count}"
    topology = scratch / f"star-{count}.yml"
    topology.write_text(star(count))
    interfaces = socket.if_nameindex()
    lab = [sys.executable, "-m", "lab"]
    begun = time.monotonic()
    up = _command([*lab, "up", str(topology), "--name", name, "--driver", driver, "--runs", str(scratch / "runs")])
    wall = time.monotonic() - begun
    try:
        client = LabClient(name)
        members = processes.descendants(client.supervisor_pid)
        client.close()
        cpu = processes.cpu_seconds(members)
        time.sleep(SETTLE)
        cpu_after = processes.cpu_seconds(members) - cpu
        leaders, agents = _sort(members)
        memory = processes.pss(agents) / count
        leader_memory = {leader: processes.pss([process]) for leader, process in leaders.items()}
    finally:
        begun = time.monotonic()
        _command([*lab, "down", name])
        down = time.monotonic() - begun
    time.sleep(GRACE)
    left = len(processes.survivors(members)) + registry.is_up(name)
    new = len(set(socket.if_nameindex()) - set(interfaces))
    side = "Layerlab" if driver == "netns" else driver
    return Sample(side, count, wall, up + cpu, cpu_after, memory, leader_memory, down, left, new)


def _sort(members: list[Process]) -> tuple[dict[str, Process], list[Process]]:
    """The supervisor and the warm parent by name; the agents."""
    supervisor = members[0]
    warm = next(process for process in members if process.name == "lab:warm-parent")
    agents = [process for process in members if process.parent == warm.pid]
    return {"supervisor": supervisor, "warm parent": warm}, agents


def _command(arguments: list[str]) -> float:
    """Run a command to its end; returns its CPU seconds, with those of its children."""
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        words = " ".join(complaint.decode(errors="replace").split())
        raise FailedError(f"`lab {arguments[3]}` of {Path(arguments[4]).stem} failed: {words}")
    return usage.ru_utime + usage.ru_stime


# --- Mininet's side


def mininet(count: int) -> Sample:
    """Mininet's network, up and down."""
    script = Path(__file__).with_name("mininet_star.py")
    arguments = [*_NAMESPACES, SYSTEM_PYTHON, str(script), str(count)]
    begun = time.monotonic()
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _hear(process, "ready", MININET_LIMIT, f"Mininet with {count} hosts was cut at {MININET_LIMIT:g} s.")
            wall = time.monotonic() - begun
            return _measure_mininet(process, count, wall)
        finally:
            process.kill()  # of what has not ended by itself; --kill-child ends all that it started


def _measure_mininet(process: subprocess.Popen[bytes], count: int, wall: float) -> Sample:
    members = processes.descendants(process.pid)
    cpu = processes.cpu_seconds(members)
    time.sleep(SETTLE)
    cpu_after = processes.cpu_seconds(processes.descendants(process.pid)) - cpu
    leader = members[1]
    shells = [one for one in members if one.parent == leader.pid and one.name == "bash"]
    memory = processes.pss(shells) / len(shells)
    leader_memory = {"Python": processes.pss([leader])}
    _ask(process)
    ports = _hear(process, "ports", MININET_LIMIT)["ports"]
    if ports != count or len(shells) != count + 1:  # the switch has a shell, too
        raise FailedError(f"Mininet built {ports} ports and {len(shells)} shells for {count} hosts")
    begun = time.monotonic()
    _ask(process)
    _hear(process, "stopped", MININET_LIMIT)
    down = time.monotonic() - begun
    left = _hear(process, "interfaces", MININET_LIMIT)
    process.wait(MININET_LIMIT)
    return Sample(
        "Mininet", count, wall, cpu, cpu_after, memory, leader_memory, down, left["processes"], len(left["interfaces"])
    )


def _ask(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[bytes], key: str, limit: float, late: str = "Mininet hangs.") -> dict[str, Any]:
    """The next message, which has `key`. Raises FailedError with the words `late` when it does not come in time."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], limit)[0]:
        raise FailedError(late)
    message: dict[str, Any] = json.loads(process.stdout.readline() or b"{}")
    if key not in message:
        raise FailedError(f"mininet_star.py said {message}, not {key!r}")
    return message


# --- tables


def _times(samples: list[Sample], notes: list[str]) -> Table:
    table = Table(
        "Bring-up of N hosts on one Linux bridge: median (smallest to largest)",
        ("N", "rounds", "Layerlab wall s", "Mininet wall s", "wall", "Layerlab CPU s", "Mininet CPU s", "CPU", "after"),
        notes=[
            "`wall`, `CPU`: how many times as much Mininet takes. `after`: CPU s of Layerlab "
            f"in the {SETTLE:g} s that follow.",
            *notes,
        ],
    )
    for count in _sizes(samples):
        ours, theirs = _of(samples, "Layerlab", count), _of(samples, "Mininet", count)
        wall, their_wall = [one.wall for one in ours], [one.wall for one in theirs]
        cpu, their_cpu = [one.cpu for one in ours], [one.cpu for one in theirs]
        table.rows.append((
            count, max(len(ours), len(theirs)), span(wall), span(their_wall), ratio(median(their_wall), median(wall)),
            span(cpu), span(their_cpu), ratio(median(their_cpu), median(cpu)), median(one.cpu_after for one in ours),
        ))  # fmt: skip
    return table


def _memory(samples: list[Sample]) -> Table:
    table = Table(
        "Memory (PSS, MiB)",
        ("N", "per agent", "supervisor", "warm parent", "Layerlab in all / N", "per shell", "Mininet's Python",
         "Mininet in all / N"),
    )  # fmt: skip
    for count in _sizes(samples):
        ours, theirs = _of(samples, "Layerlab", count), _of(samples, "Mininet", count)
        table.rows.append((
            count, _mib(ours, lambda one: one.node_memory), _mib(ours, lambda one: one.leader_memory["supervisor"]),
            _mib(ours, lambda one: one.leader_memory["warm parent"]), _mib(ours, _whole),
            _mib(theirs, lambda one: one.node_memory), _mib(theirs, lambda one: one.leader_memory["Python"]),
            _mib(theirs, _whole),
        ))  # fmt: skip
    return table


def _down(samples: list[Sample]) -> Table:
    table = Table(
        "Taking it down, and what is left (processes, interfaces)",
        ("N", "Layerlab down s", "Mininet down s", "down", "Layerlab left", "Mininet left"),
    )
    for count in _sizes(samples):
        ours, theirs = _of(samples, "Layerlab", count), _of(samples, "Mininet", count)
        down, their_down = [one.down for one in ours], [one.down for one in theirs]
        table.rows.append(
            (count, span(down), span(their_down), ratio(median(their_down), median(down)), _left(ours), _left(theirs))
        )
    return table


def _sizes(samples: list[Sample]) -> list[int]:
    return sorted({sample.nodes for sample in samples})


def _of(samples: list[Sample], side: str, count: int) -> list[Sample]:
    return [sample for sample in samples if sample.side == side and sample.nodes == count]


def _mib(samples: list[Sample], value: Callable[[Sample], float]) -> float | None:
    middle = median(value(sample) for sample in samples)
    return None if middle is None else middle / MIB


def _whole(sample: Sample) -> float:
    return sample.node_memory + sum(sample.leader_memory.values()) / sample.nodes


def _left(samples: list[Sample]) -> str | None:
    """The worst round."""
    if not samples:
        return None
    return f"{max(one.left_processes for one in samples)}, {max(one.left_interfaces for one in samples)}"
