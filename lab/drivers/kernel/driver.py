"""What drivers share whose supervisor is alone in namespaces of its own, with all of its lab.

The supervisor is the first process of a PID namespace (and, for an ordinary user, of a user namespace). Network
namespaces are held by file descriptors and by the processes in them, bridges live in the supervisor's own network
namespace: when the supervisor ends, by any means, the kernel ends every process and removes everything else.

Such a driver is the fabric and the agents put together; what differs is where nodes live (`Homes`).
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lab.drivers.base import Entrance, Epoch, NodeExit, Progress
from lab.drivers.kernel.agents import Agents
from lab.drivers.kernel.fabric import Fabric
from lab.drivers.kernel.homes import Homes
from lab.errors import NodeError
from lab.host import namespaces, syscalls
from lab.host.links import Interface
from lab.plan.values import Plan

if TYPE_CHECKING:
    from lab.host.open_vswitch import OpenVSwitch


class IsolatedDriver:
    """The driver's contract (lab/drivers/base.py), but for its name."""

    def __init__(self, plan: Plan, run: Path, epoch: Epoch, homes: Homes | None = None) -> None:
        self._plan = plan
        self._run = run
        self._epoch = epoch
        self._open_vswitch = _open_vswitch(plan, run)
        self._fabric = Fabric(homes, self._open_vswitch)
        self._agents = Agents()
        self._in_user_namespace = False
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
        self._agents.fork(self._plan, self._run, self._epoch)
        if self._open_vswitch is not None:
            self._open_vswitch.start()  # before there are nodes: their mount namespaces have its place, too
        self._fabric.create(self._plan, progress)

    def start_node(self, node: str) -> None:
        if node in self._stopped:
            self._fabric.rebuild_node(node)
            self._stopped.discard(node)
        if not self._is_bridge(node):
            self._agents.start(node, self._fabric.namespaces[node])

    def stop_node(self, node: str) -> list[NodeExit]:
        others = [] if self._is_bridge(node) else self._agents.kill(node)
        self._fabric.destroy_node(node)
        self._stopped.add(node)
        return others

    def pause_node(self, node: str, *, paused: bool) -> None:
        self._agents.pause(node, paused=paused)

    def connect(self, node: str) -> socket.socket:
        if self._is_bridge(node):
            raise NodeError(
                f"{node!r} is {self._bridge_kind(node)}: no agent runs in it",
                hint=f"`lab state {node}` shows its table",
            )
        return self._agents.connect(node)

    def entrance(self, node: str) -> Entrance:
        if self._is_bridge(node):
            raise NodeError(f"{node!r} is {self._bridge_kind(node)} and has no namespace of its own")
        if node not in self._fabric.namespaces:
            raise NodeError(
                f"node {node!r} is stopped: it has no namespace", hint=f"`lab start {node}` starts it again"
            )
        mount = self._mount_namespace(node)
        user = open_namespace("/proc/self/ns/user") if self._in_user_namespace else None
        return Entrance(user, mount, open_namespace("/proc/self/ns/pid"), os.dup(self._fabric.namespaces[node]))

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
        return self._agents.fileno(), self._agents.read_exits

    def destroy(self) -> None:
        self._agents.close()
        if self._open_vswitch is not None:
            self._open_vswitch.close()
        try:
            self._fabric.close()
        except OSError as error:
            print(f"while closing the lab: {error}", file=sys.stderr)  # noqa: T201 - the supervisor's log

    def _mount_namespace(self, _node: str) -> int:
        return open_namespace("/proc/self/ns/mnt")

    def _is_bridge(self, node: str) -> bool:
        return self._plan.by_name[node].is_bridge

    def _bridge_kind(self, node: str) -> str:
        return "a kernel bridge" if self._plan.by_name[node].stack == "kernel" else "an Open vSwitch switch"


def _open_vswitch(plan: Plan, run: Path) -> OpenVSwitch | None:
    """Imported for labs that have such a switch: the modules that start programs cost every agent of a lab some time
    after its fork (Python's threads and locks are set up anew) and a hundred pages."""
    if not any(node.stack == "ovs" for node in plan.nodes):
        return None
    made: OpenVSwitch = importlib.import_module("lab.host.open_vswitch").OpenVSwitch(open_vswitch_folder(run))
    return made


def open_vswitch_folder(run: Path) -> Path:
    """Where a lab's Open vSwitch has its sockets: seen from inside the lab."""
    return run / "openvswitch"


def open_namespace(path: str) -> int:
    """A namespace of /proc as a file descriptor."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
