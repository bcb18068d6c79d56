"""Bringing a lab up and down, from the side of the command that asks for it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from lab.drivers.choice import Cleared, remove_leftovers
from lab.engine import registry, spare_process
from lab.engine.client import LabClient
from lab.engine.runs import Run
from lab.engine.starter import HEARD, UNDO_TIMEOUT
from lab.errors import (
    DriverError,
    EnvironmentLackError,
    LabError,
    NodeError,
    StateError,
    UserInputError,
    VerdictError,
)
from lab.plan.values import Plan

_BY_EXIT_CODE: dict[int, type[LabError]] = {
    kind.exit_code: kind
    for kind in (LabError, UserInputError, StateError, EnvironmentLackError, DriverError, NodeError, VerdictError)
}

Progress = Callable[[str, int, int], None]


def error_of(message: Mapping[str, Any]) -> LabError:
    """What a process of ours said of its end: `error`, `hint` and `exit_code`."""
    return _BY_EXIT_CODE.get(message["exit_code"], LabError)(message["error"], hint=message["hint"])


def check_system() -> None:
    """Raises EnvironmentLackError where there are no namespaces."""
    if platform.system() != "Linux":
        raise EnvironmentLackError(
            f"labs of processes need Linux, this is {platform.system()}",
            hint="`lab run SCRIPT --driver sim` runs on any system",
        )


class SpareSupervisor:
    """A supervisor's process that waits to be told which lab it owns. Leaving the context without that ends it."""

    def __init__(self, driver: str) -> None:
        check_system()
        self._spare = spare_process.take(driver)
        self._is_told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_told:
            spare_process.end(self._spare)
            return
        self._spare.link.close()
        self._spare.process.wait()  # one that was told forks the supervisor proper and ends at once

    def own(self, run: Run, lab: str, progress: Progress, *, programs: bool = False) -> None:
        """Hand over a run and return when its lab is up. Raises the LabError that made it fail; then, and when this
        process is interrupted, everything is undone."""
        self._is_told = True
        try:
            task = {"lab": lab, "run": str(run.folder), "programs": programs}
            self._spare.link.sendall(json.dumps(task).encode() + b"\n")
            _follow(self._spare.link, run, progress)
        except BaseException:  # Ctrl-C: the supervisor hears of it, and undoes what it has done
            _wait_until_undone(self._spare.link)
            raise


def bring_up(
    plan: Plan,
    source: str,
    progress: Progress,
    *,
    driver: str = "netns",
    runs: Path | None = None,
    spare: SpareSupervisor | None = None,
    programs: bool = False,
) -> Run:
    """Start a supervisor for the plan, or use the spare one, and return when every node answers. `programs`: of users
    will run in the nodes. Raises the LabError that made it fail; then everything is undone. When this process dies
    before the lab is up, everything is undone too."""
    check_system()
    if registry.is_up(plan.lab):
        raise StateError(f"lab {plan.lab!r} is already up", hint=f"`lab ps` shows it, `lab down {plan.lab}` ends it")
    clear_away_dead(plan.lab)
    run = Run.create(plan, driver=driver, source=source, parent=runs)
    if spare is not None:
        spare.own(run, plan.lab, progress, programs=programs)
        return run
    with SpareSupervisor(driver) as own:
        own.own(run, plan.lab, progress, programs=programs)
    return run


def _wait_until_undone(link: socket.socket) -> None:
    """The supervisor closes its end when it ends."""
    with contextlib.suppress(OSError):  # the other end may have gone already
        link.shutdown(socket.SHUT_WR)
        link.settimeout(UNDO_TIMEOUT)
        while link.recv(65536):
            pass


def _follow(link: socket.socket, run: Run, progress: Progress) -> None:
    """Read what the supervisor says until it says `up` or fails. One that is killed may reset the link."""
    with link.makefile("rb") as lines, contextlib.suppress(ConnectionError):
        for line in lines:
            message = json.loads(line)
            if "up" in message:
                link.sendall(HEARD)
                return
            if "error" in message:
                raise error_of(message)
            progress(message["progress"], message["done"], message["total"])
    raise DriverError("the supervisor ended without a word", hint=f"{run.folder}/supervisor.log may say why")


def bring_down(lab: str, timeout: float = 15.0) -> str:
    """End a lab and wait until its supervisor, and so everything of it, is gone. Returns the folder of its run."""
    client = LabClient(lab)
    watch = os.pidfd_open(client.supervisor_pid)
    try:
        run = client.down()
        wait_for_end(watch, lab, timeout)
    finally:
        os.close(watch)
        client.close()
    return run


def wait_for_end(pidfd: int, lab: str, timeout: float) -> None:
    """The first process of a PID namespace ends only after all others in it have."""
    if not select.select([pidfd], [], [], timeout)[0]:
        raise DriverError(
            f"the supervisor of lab {lab!r} does not end within {timeout:g} s",
            hint="killing it (`lab ps --json` tells its pid) takes the whole lab with it",
        )


def clear_away_dead(lab: str | None = None) -> list[Cleared]:
    """What died without its supervisor taking it away: mark the run as crashed and forget the record. Most drivers
    leave nothing else behind, because the kernel removes their namespaces; containers stay, and are removed. Returns
    what was cleared away. Raises LabError where containers cannot be removed; then their labs' records are kept."""
    dead = [record for record in registry.dead() if lab in (None, record.lab)]
    cleared = {
        found.run: found for found in _containers(lab, [record.lab for record in dead if record.driver == "docker"])
    }
    for record in dead:
        run = Run(Path(record.run))
        if run.folder.is_dir() and run.facts()["outcome"] == "running":
            run.finish("crashed")
        registry.remove_record(record.lab, registry.runtime_folder())
        cleared.setdefault(record.run, Cleared(record.lab, record.run, 0))
    return list(cleared.values())


def _containers(lab: str | None, died: list[str]) -> list[Cleared]:
    """Containers of dead labs. `died` are those with a record: without one, an engine that is not there is none of our
    business."""
    if lab is not None and not died:
        return []
    try:
        return remove_leftovers(lab)
    except EnvironmentLackError as error:
        if not died:
            return []
        names = ", ".join(died)
        raise EnvironmentLackError(f"containers of {names} may be left: {error.message}", hint=error.hint) from error
