"""The netns driver: every node a Linux network namespace, every agent a fork of a warm parent.

The supervisor is the first process of a PID namespace of its own (and, for an ordinary user, of a user namespace).
Network namespaces are held by file descriptors and by the processes in them, bridges live in the supervisor's own
network namespace: when the supervisor ends, by any means, the kernel ends every process and removes everything else.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from lab.drivers.base import Entrance, Epoch, NodeExit, Progress
from lab.drivers.kernel.fabric import Fabric
from lab.drivers.kernel.warm_parent import MESSAGE_LIMIT, fork_warm_parent
from lab.errors import DriverError, NodeError
from lab.host import namespaces, syscalls
from lab.host.links import Interface
from lab.plan.values import Plan

EXIT_TIMEOUT = 5.0
"""Seconds in which the warm parent must tell of the end of an agent that it was asked to kill."""

CONTROL_BACKLOG = 16
"""Commands that may wait for one agent to accept them."""


class NetnsDriver:
    name = "netns"

    def __init__(self, plan: Plan, run: Path, epoch: Epoch) -> None:
        self._plan = plan
        self._run = run
        self._epoch = epoch
        self._fabric = Fabric()
        self._in_user_namespace = False
        self._warm: socket.socket | None = None
        self._stopped: set[str] = set()

    def enter(self) -> None:
        self._in_user_namespace = os.geteuid() != 0
        namespaces.enter_isolation(root=not self._in_user_namespace)
        if os.fork():
            os._exit(0)  # the child is the first process of the new PID namespace and goes on as the supervisor
        namespaces.finish_isolation()
        syscalls.set_name("lab:supervisor")
        syscalls.set_title(f"layerlab {self._plan.lab}: supervisor")

    def create(self, progress: Progress) -> None:
        self._warm, _ = fork_warm_parent(self._plan, self._run, self._epoch)
        self._fabric.create(self._plan, progress)

    def start_node(self, node: str) -> None:
        if node in self._stopped:
            self._fabric.rebuild_node(node)
            self._stopped.discard(node)
        if self._is_bridge(node):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            try:
                listener.bind(_control_address(node))
            except OSError as error:
                raise DriverError(f"an agent of node {node!r} is still there: {error.strerror}") from error
            listener.listen(CONTROL_BACKLOG)
            self._ask({"start": node}, [self._fabric.namespaces[node], listener.fileno()])

    def stop_node(self, node: str) -> list[NodeExit]:
        others: list[NodeExit] = []
        if not self._is_bridge(node):
            self._ask({"kill": node})
            while (ended := self._next_exit()).node != node:
                others.append(ended)
        self._fabric.destroy_node(node)
        self._stopped.add(node)
        return others

    def pause_node(self, node: str, *, paused: bool) -> None:
        self._ask({"pause" if paused else "resume": node})

    def connect(self, node: str) -> socket.socket:
        if self._is_bridge(node):
            raise NodeError(
                f"{node!r} is a kernel bridge: no agent runs in it", hint=f"`lab state {node}` shows its table"
            )
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(_control_address(node))
        except OSError as error:
            link.close()
            raise NodeError(
                f"node {node!r} does not answer: {error.strerror}", hint=f"`lab start {node}` starts it again"
            ) from error
        return link

    def entrance(self, node: str) -> Entrance:
        if self._is_bridge(node):
            raise NodeError(f"{node!r} is a kernel bridge and has no namespace of its own")
        if node not in self._fabric.namespaces:
            raise NodeError(
                f"node {node!r} is stopped: it has no namespace", hint=f"`lab start {node}` starts it again"
            )
        own = "/proc/self/ns/"
        user = _open(own + "user") if self._in_user_namespace else None
        return Entrance(user, _open(own + "mnt"), _open(own + "pid"), os.dup(self._fabric.namespaces[node]))

    def set_link(
        self, link: str, *, up: bool | None = None, mtu: int | None = None, opened: bool | None = None
    ) -> tuple[Interface, Interface] | None:
        if opened is not None:
            self._fabric.open_link(link, opened)
        if mtu is not None:
            self._fabric.set_mtu(link, mtu)
        if up is not None:
            self._fabric.set_link(link, up)
        return self._fabric.inner_ends(link)

    def node_state(self, node: str) -> dict[str, object]:
        if self._is_bridge(node):
            return self._fabric.bridge_state(node)
        return self._fabric.kernel_state(node)

    def exits(self) -> tuple[int, Callable[[], list[NodeExit]]]:
        if self._warm is None:
            raise DriverError("the warm parent does not run")
        return self._warm.fileno(), self._read_exits

    def destroy(self) -> None:
        if self._warm is not None:
            self._warm.close()
            self._warm = None
        try:
            self._fabric.close()
        except OSError as error:
            print(f"while closing the lab: {error}", file=sys.stderr)  # noqa: T201 - the supervisor's log

    def _is_bridge(self, node: str) -> bool:
        return self._plan.by_name[node].is_bridge

    def _read_exits(self) -> list[NodeExit]:
        return [self._next_exit()]

    def _next_exit(self) -> NodeExit:
        """Wait for the end of an agent. One that was killed ends; a warm parent that says nothing is no good."""
        if self._warm is None:
            raise DriverError("the warm parent does not run")
        self._warm.settimeout(EXIT_TIMEOUT)
        try:
            data = self._warm.recv(MESSAGE_LIMIT)
        except OSError as error:
            raise DriverError(f"the warm parent does not answer: {error}") from error
        if not data:
            raise DriverError("the warm parent died", hint="the lab cannot go on without it and goes down")
        message = json.loads(data)
        return NodeExit(message["ended"], message["status"])

    def _ask(self, request: dict[str, str], descriptors: list[int] | None = None) -> None:
        if self._warm is None:
            raise DriverError("the warm parent does not run")
        try:
            socket.send_fds(self._warm, [json.dumps(request).encode()], descriptors or [])
        except OSError as error:
            raise DriverError(f"the warm parent does not listen: {error.strerror}") from error


def _control_address(node: str) -> str:
    """Abstract, in the supervisor's network namespace: seen only from inside the lab, gone with its listener."""
    return f"\0node/{node}"


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
