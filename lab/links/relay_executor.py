"""The relay as an executor: processes that this one forks, and the links divided among them.

At most as many processes as there are processors: more would only wait for each other. A link stays in one process with
both its directions, so that nothing is shared. A process that ends by itself is replaced, and gets its links back as
they were asked for; the frames that it held, and what it had measured, are lost, which the run's verdict says.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from lab.errors import DriverError
from lab.host import syscalls
from lab.links.base import OpenedLink, Samples
from lab.links.relay import run_relay
from lab.links.relay_client import RelayClient
from nodes import impairment as values
from nodes.impairment import Impairment
from nodes.io.control import ControlClient, ControlError

GREETING_TIMEOUT = 10.0
"""Seconds for a new relay to answer."""
BACKLOG = 1
ENDING_TIMEOUT = 2000
"""Milliseconds for a relay to end that was told to."""


@dataclass(slots=True)
class _Process:
    name: str
    pid: int
    watch: int
    client: RelayClient
    links: dict[str, OpenedLink]


class RelayExecutor:
    """Forks; so use it from a process with one thread, in the network namespace of the inner ends."""

    name = "relay"

    def __init__(self, lab: str, processors: int | None = None) -> None:
        self._lab = lab
        self._limit = processors or len(os.sched_getaffinity(0))
        self._processes: list[_Process] = []
        self._home: dict[str, _Process] = {}

    def add(self, link: OpenedLink) -> None:
        if len(self._processes) < self._limit:
            self._processes.append(self._start(f"relay-{len(self._processes)}"))
        process = min(self._processes, key=lambda each: len(each.links))
        with _errors(process.name):
            _add(process.client, link)
        process.links[link.name] = link
        self._home[link.name] = process

    def change(self, link: str, impairments: tuple[Impairment, Impairment], mtu: int) -> None:
        process = self._home[link]
        with _errors(process.name):
            process.client.change(link, ab=impairments[0], ba=impairments[1], mtu=mtu)
        process.links[link] = replace(process.links[link], impairments=impairments, mtu=mtu)

    def set_up(self, link: str, up: bool) -> None:
        process = self._home[link]
        with _errors(process.name):
            process.client.set_up(link, up)
        process.links[link] = replace(process.links[link], up=up)

    def state(self, link: str) -> dict[str, object]:
        process = self._home[link]
        with _errors(process.name):
            told = process.client.state(link)
        measured: dict[str, Any] = told.links[link]
        sides = {
            way: {"applied": values.encode(applied), "measured": measured[way]}
            for way, applied in zip(("ab", "ba"), process.links[link].impairments, strict=True)
        }
        missed = sum(measured[way].get("not_received", 0) for way in sides)
        return {**sides, "emulator": {"process": process.name, "missed": missed, **told.relay}}

    def samples(self) -> dict[str, Samples]:
        found: dict[str, Samples] = {}
        for process in self._processes:
            with _errors(process.name):
                found |= process.client.samples()
        return found

    def watch(self) -> dict[int, str]:
        return {process.watch: process.name for process in self._processes}

    def restart(self, name: str) -> str:
        """Replace a process that ended. Returns how it ended. Raises DriverError where the new one fails."""
        old = next(process for process in self._processes if process.name == name)
        how = _ended(old)
        fresh = self._start(name)
        self._processes[self._processes.index(old)] = fresh
        for link in old.links.values():
            with _errors(name):
                _add(fresh.client, link)
            fresh.links[link.name] = link
            self._home[link.name] = fresh
        return how

    def close(self) -> None:
        for process in self._processes:
            with suppress(ControlError):  # one that has died is as good
                process.client.shutdown()
            if not select.select([process.watch], [], [], ENDING_TIMEOUT / 1000)[0]:
                os.kill(process.pid, signal.SIGKILL)
            _ended(process)
        self._processes.clear()

    def _start(self, name: str) -> _Process:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(f"\0{name}")  # abstract, in the lab's network namespace: seen only from inside the lab
            listener.listen(BACKLOG)
            pid = os.fork()
            if not pid:
                _become_relay(listener, self._lab, name)
            watch = os.pidfd_open(pid)
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            link.connect(f"\0{name}")
        with _errors(name):
            return _Process(name, pid, watch, RelayClient(ControlClient(link, timeout=GREETING_TIMEOUT)), {})


def _add(client: RelayClient, link: OpenedLink) -> None:
    ab, ba = link.impairments
    client.add(link.name, link.left.name, link.right.name, ab, ba, seeds=link.seeds, mtu=link.mtu)
    if not link.up:
        client.set_up(link.name, False)


def _ended(process: _Process) -> str:
    """Reap a process, and say how it ended."""
    process.client.close()
    os.close(process.watch)
    code = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except ControlError as error:
        raise DriverError(f"{name}: {error.message}", hint=error.hint) from error


def _become_relay(listener: socket.socket, lab: str, name: str) -> NoReturn:
    status = 1
    try:
        syscalls.close_all_but(listener.fileno())
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
            signal.signal(number, signal.SIG_DFL)
        syscalls.set_name(f"lab:{name}")
        syscalls.set_title(f"layerlab {lab}: {name}")
        run_relay(listener, f"{lab}/{name}")
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of a process: nothing may unwind into the parent's stack
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
