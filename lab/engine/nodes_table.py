"""The supervisor's table of nodes: which run, which stopped on request, which died by themselves."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from lab.drivers.base import Driver, NodeExit
from lab.errors import NodeError, StateError, UserInputError
from lab.plan.values import Plan
from nodes.io.control import ControlClient, ControlError

_ALIVE = ("running", "paused")

SHUT_DOWN_TIMEOUT = 2.0
"""Seconds that all agents together have to write their state before they are killed."""


@dataclass(slots=True)
class NodeEntry:
    """`state` is one of: new, running, paused, stopped (on request), dead (by itself). `control` is the supervisor's
    own connection to the agent; None for a kernel bridge, which has none."""

    name: str
    state: str = "new"
    control: ControlClient | None = None
    exit_status: int | None = None


class NodeTable:
    def __init__(self, plan: Plan, driver: Driver) -> None:
        self._plan = plan
        self._driver = driver
        self.entries = {node.name: NodeEntry(node.name) for node in plan.nodes}

    def entry(self, name: str) -> NodeEntry:
        if name not in self.entries:
            raise UserInputError(f"no node {name!r} in this lab", hint=f"its nodes: {', '.join(sorted(self.entries))}")
        return self.entries[name]

    def has_agent(self, name: str) -> bool:
        """False for a kernel bridge, in which nothing runs."""
        return not self._plan.by_name[name].is_bridge

    def start(self, name: str) -> None:
        """Start a node that is new, stopped or dead."""
        entry = self.entry(name)
        if entry.state in _ALIVE:
            hint = f"`lab resume {name}` lets it go on" if entry.state == "paused" else ""
            raise StateError(f"node {name!r} is already {entry.state}", hint=hint)
        self._driver.start_node(name)
        entry.state, entry.exit_status = "running", None

    def wait_for_answer(self, name: str, timeout: float) -> None:
        """Raises NodeError where the agent does not answer `hello` in time or dies meanwhile."""
        if not self.has_agent(name):
            return
        entry = self.entry(name)
        try:
            entry.control = ControlClient(self._driver.connect(name), timeout=timeout)
        except ControlError as error:
            raise NodeError(
                f"the agent of node {name!r} does not answer: {error}",
                hint=f"nodes/{name}/error.txt in the run says why, if it could",
            ) from error

    def stop(self, name: str, *, kill: bool) -> None:
        """End a node's agent: by asking it, which lets it write its state, or by SIGKILL."""
        entry = self.entry(name)
        if entry.state not in _ALIVE:
            raise StateError(f"node {name!r} is not running, it is {entry.state}")
        if not kill:
            self._go_on(entry)
        entry.state = "stopped"
        if not kill:
            self._ask_to_end([entry])
        others = self._driver.stop_node(name)
        self._forget(entry)
        for ended in others:
            self.note_exit(ended)

    def pause(self, name: str, *, paused: bool) -> None:
        """Let a node's agent stand still, or go on; harmless where it does so already."""
        entry = self.entry(name)
        if self._plan.by_name[name].stack != "layerlab":
            raise NodeError(f"{name!r} has not our stack: only ours can be paused", hint=f"try `lab stop {name}`")
        if entry.state not in _ALIVE:
            raise StateError(f"node {name!r} is not running, it is {entry.state}")
        if paused and entry.state == "running":
            self._driver.pause_node(name, paused=True)
            entry.state = "paused"
        elif not paused:
            self._go_on(entry)

    def _go_on(self, entry: NodeEntry) -> None:
        if entry.state == "paused":
            self._driver.pause_node(entry.name, paused=False)
            entry.state = "running"

    def note_exit(self, ended: NodeExit) -> None:
        entry = self.entries[ended.node]
        entry.exit_status = ended.status
        if entry.state in _ALIVE:
            entry.state = "dead"
            self._forget(entry)

    def shut_down_all(self) -> None:
        """Ask all running agents to end, together; what does not in time is ended with the lab."""
        for entry in self.entries.values():
            self._go_on(entry)
        self._ask_to_end([entry for entry in self.entries.values() if entry.state == "running"])

    def _ask_to_end(self, entries: list[NodeEntry]) -> None:
        """An agent answers `shutdown` when its files are written."""
        asked = []
        for entry in entries:
            if entry.control is not None:
                with contextlib.suppress(ControlError):  # one that has just died needs no asking
                    asked.append(entry.control.stream("shutdown", timeout=SHUT_DOWN_TIMEOUT))
        for stream in asked:  # the deadline of each counts from when it was asked: they end together
            with contextlib.suppress(ControlError):
                for _ in stream:
                    pass

    def _forget(self, entry: NodeEntry) -> None:
        if entry.control is not None:
            entry.control.close()
            entry.control = None
