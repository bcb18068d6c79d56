"""The relay as an executor: processes that this one forks, and the links divided among them.

At most as many processes as there are processors: more would only wait for each other. A link stays in one process with
both its directions, so that nothing is shared. A process that ends by itself is replaced, and gets its links back as
they were asked for; the frames that it held, and what it had measured, are lost, which the run's verdict says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from lab.errors import DriverError
from lab.links.base import OpenedLink, Samples
from lab.links.child_process import Child
from lab.links.relay import run_relay
from lab.links.relay_client import RelayClient
from nodes import impairment as values
from nodes.impairment import DIRECTIONS, Impairment

ATTEMPTS = 3
"""To replace a process; one may die while it is being given its links."""


@dataclass(slots=True)
class _Process:
    child: Child
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
        with process.child.errors():
            _add(process.client, link)
        process.links[link.name] = link
        self._home[link.name] = process

    def change(self, link: str, impairments: tuple[Impairment, Impairment], mtu: int) -> None:
        process = self._home[link]
        with process.child.errors():
            process.client.change(link, ab=impairments[0], ba=impairments[1], mtu=mtu)
        process.links[link] = replace(process.links[link], impairments=impairments, mtu=mtu)

    def set_up(self, link: str, up: bool) -> None:
        process = self._home[link]
        with process.child.errors():
            process.client.set_up(link, up)
        process.links[link] = replace(process.links[link], up=up)

    def state(self, link: str) -> dict[str, object]:
        process = self._home[link]
        with process.child.errors():
            told = process.client.state(link)
        measured: dict[str, Any] = told.links[link]
        sides: dict[str, object] = {
            way: {"applied": values.encode(applied), "measured": measured[way]}
            for way, applied in zip(DIRECTIONS, process.links[link].impairments, strict=True)
        }
        missed = sum(measured[way].get("not_received", 0) for way in sides)
        return {**sides, "emulator": {"process": process.child.name, "missed": missed, **told.relay}}

    def samples(self) -> dict[str, Samples]:
        found: dict[str, Samples] = {}
        for process in self._processes:
            with process.child.errors():
                found |= process.client.samples()
        return found

    def watch(self) -> dict[int, str]:
        return {process.child.watch: process.child.name for process in self._processes}

    def restart(self, name: str) -> str:
        """Replace a process that ended. Returns how it ended. Raises DriverError where new ones fail, too."""
        old = next(process for process in self._processes if process.child.name == name)
        how = old.child.reap()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                fresh = self._successor(old)
                break
            except DriverError:
                if attempt == ATTEMPTS:
                    raise
        self._processes[self._processes.index(old)] = fresh
        self._home |= dict.fromkeys(fresh.links, fresh)
        return how

    def _successor(self, old: _Process) -> _Process:
        """Another process with the same links. Raises DriverError; then there is none."""
        fresh = self._start(old.child.name)
        try:
            for link in old.links.values():
                with fresh.child.errors():
                    _add(fresh.client, link)
        except DriverError:
            fresh.child.kill()
            fresh.child.reap()
            raise
        fresh.links.update(old.links)
        return fresh

    def close(self) -> None:
        for process in self._processes:
            process.child.stop()
        self._processes.clear()

    def _start(self, name: str) -> _Process:
        child = Child(run_relay, name, self._lab)
        return _Process(child, RelayClient(child.control), {})


def _add(client: RelayClient, link: OpenedLink) -> None:
    ab, ba = link.impairments
    client.add(link.name, link.left.name, link.right.name, ab, ba, seeds=link.seeds, mtu=link.mtu)
    if not link.up:
        client.set_up(link.name, False)
