"""The docker driver: every node a container, every cable a veth pair between containers' network namespaces.

    host, router, hub, stack switch    a container with our agent (specs.py), without any network of Docker's
    kernel node with image, command    the same, and the program in a second container that shares its network
    kernel switch                      a bridge in the supervisor's own network namespace

The supervisor lives in a network and a mount namespace of its own, as on other drivers, but in the machine's PID
namespace: it finds containers by the pids that the engine tells, and moves cables into their network namespaces. For
that it must be root. No frame passes a network of Docker's.

Containers are children of the engine. They do not end with the supervisor as processes of other drivers do, so each
carries labels (names.py), by which `destroy`, and `lab gc` after a crash, find what is the lab's and nothing else.
Agents end by themselves when their supervisor is gone (nodes/container_supervised.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from lab.drivers.abilities import CANNOT
from lab.drivers.base import Entrance, Epoch, NodeExit, Progress
from lab.drivers.docker.containers import Containers, Running, in_parallel, remove_all
from lab.drivers.docker.engine import connect, errors
from lab.drivers.docker.homes import DockerHomes, Home
from lab.drivers.docker.names import RUN, SUPERVISOR, labels
from lab.drivers.docker.readiness import check_images, wait_until_healthy
from lab.drivers.docker.specs import has_program, missing_sources, program_spec, shared_folder
from lab.drivers.docker.telling import CONTROL_ADDRESS, tell
from lab.drivers.kernel.driver import open_namespace
from lab.drivers.kernel.fabric import Fabric
from lab.errors import EnvironmentLackError, LabError, NodeError, UserInputError
from lab.host import namespaces, syscalls
from lab.host.links import Interface
from lab.host.namespaces import in_namespace
from lab.plan.values import Plan
from nodes.container_supervised import Task

ORDERLY_SECONDS = 0.3
"""In which an agent that was asked to end has ended: then its program is asked, too, and not killed."""


class DockerDriver:
    name = "docker"
    cannot = CANNOT["docker"]

    def __init__(self, plan: Plan, run: Path, epoch: Epoch) -> None:
        self._plan = plan
        self._run = run.absolute()
        self._epoch = epoch
        self._stopped: set[str] = set()
        self._starts: dict[str, int] = {}
        self._supervised: dict[str, socket.socket] = {}
        """The first connection to each agent, which ends when this one is closed."""
        self._labels: dict[str, str] = {}

    def enter(self) -> None:
        if os.geteuid() != 0:
            raise EnvironmentLackError(
                "the docker driver moves cables into the network namespaces of containers, which only root may",
                hint="run it as root (sudo lab up --driver docker ...), or use `lab compose`, which needs only Docker",
            )
        missing = missing_sources(self._plan.nodes)
        if missing:
            raise UserInputError(f"there is nothing to mount: {', '.join(missing)}")
        client = connect()
        check_images(client, self._plan)
        namespaces.enter_network_isolation()
        if os.fork():
            os._exit(0)  # the command that started the lab waits for this one; the child is the supervisor
        syscalls.set_name("lab:supervisor")
        syscalls.set_title(f"layerlab {self._plan.lab}: supervisor")
        self._labels = labels(self._plan.lab, self._run)
        self._containers = Containers(client)
        self._homes = DockerHomes(self._containers, self._run, self._labels, shared_folder(Path.cwd()))
        self._fabric = Fabric(self._homes)

    def create(self, progress: Progress) -> None:
        self._fabric.create(self._plan, progress)
        programs = [node for node in self._plan.nodes if has_program(node)]
        for node in programs:  # first, so that captures have what programs do from their beginning
            self._tell(node.name)
        names = [node.name for node in programs]
        started = in_parallel(self._start_program, names, lambda done: progress("programs", done, len(names)))
        for name, program in zip(names, started, strict=True):
            self._settle(name, program)

    def start_node(self, node: str) -> None:
        home = self._homes.homes.get(node)
        if home is not None and any(container.has_ended() for container in home.containers):
            self._switch_off(node)  # a network namespace ends with its container
        if node in self._stopped:
            self._fabric.rebuild_node(node)
            self._stopped.discard(node)
        if self._is_bridge(node):
            return
        home = self._homes.homes[node]
        if not home.told:
            self._tell(node)
        if home.program is None and has_program(self._plan.by_name[node]):
            self._settle(node, self._start_program(node))

    def stop_node(self, node: str) -> list[NodeExit]:
        home = self._homes.homes.get(node)
        if home is not None:
            for container in home.containers:
                self._containers.unwatch(container)
            if home.program is not None and home.agent.has_ended(ORDERLY_SECONDS):
                self._containers.stop(home.program)
            for container in home.containers:
                container.kill()
        self._switch_off(node)
        return []

    def pause_node(self, node: str, *, paused: bool) -> None:
        self._containers.pause(self._home(node).agent, paused=paused)

    def connect(self, node: str) -> socket.socket:
        home = self._home(node)
        if home.program is not None and not home.checked:
            wait_until_healthy(self._containers, self._plan.by_name[node], home.program)
            home.checked = True
        with in_namespace(self._fabric.namespaces[node]):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(CONTROL_ADDRESS)
        except OSError as error:
            link.close()
            raise NodeError(
                f"node {node!r} does not answer: {error.strerror}{self._words(home)}",
                hint=f"`lab start {node}` starts it again",
            ) from error
        return link

    def entrance(self, node: str) -> Entrance:
        home = self._home(node)
        inside = home.program or home.agent
        try:
            mount, pid, uts = (open_namespace(f"/proc/{inside.pid}/ns/{kind}") for kind in ("mnt", "pid", "uts"))
        except FileNotFoundError:
            raise NodeError(
                f"nothing runs in node {node!r} any more", hint=f"`lab start {node}` starts it again"
            ) from None
        return Entrance(None, mount, pid, os.dup(self._fabric.namespaces[node]), uts)

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
        return self._containers.exits.fileno(), self._containers.read_exits

    def destroy(self) -> None:
        if not self._labels:  # `enter` did not get far
            return
        for link in self._supervised.values():
            link.close()
        self._supervised.clear()
        client = self._containers.client
        mark = [f"{key}={self._labels[key]}" for key in (RUN, SUPERVISOR)]
        try:
            with errors("list the containers of the lab"):
                found = client.containers(all=True, filters={"label": mark})
            troubles = remove_all(client, found)
            self._fabric.close()
        except (LabError, OSError) as error:
            troubles = [str(error)]
        for trouble in troubles:
            print(f"while closing the lab: {trouble}; `lab gc` tries again", file=sys.stderr)  # noqa: T201 - the log

    # Nodes

    def _tell(self, name: str) -> None:
        """Say to a waiting container which node it is."""
        home = self._homes.homes[name]
        node = self._plan.by_name[name].at_start(self._starts.get(name, 0))
        self._starts[name] = self._starts.get(name, 0) + 1
        task = Task(node, str(self._run / "nodes" / name), *self._epoch)
        self._supervised[name] = tell(self._fabric.namespaces[name], task, home.agent, self._containers)
        home.told = True

    def _start_program(self, name: str) -> Running:
        agent = self._homes.homes[name].agent
        spec = program_spec(self._containers.client, self._plan.by_name[name], agent.id, self._labels)
        return self._containers.start(spec)

    def _settle(self, name: str, program: Running) -> None:
        self._homes.homes[name].program = program
        self._containers.watch(name, program)

    def _switch_off(self, node: str) -> None:
        self._fabric.destroy_node(node)
        self._stopped.add(node)
        link = self._supervised.pop(node, None)
        if link is not None:
            link.close()

    def _home(self, node: str) -> Home:
        """Raises NodeError for a node in which nothing runs."""
        if self._is_bridge(node):
            hint = f"`lab state {node}` shows its table"
            raise NodeError(f"{node!r} is a kernel bridge: nothing runs in it", hint=hint)
        home = self._homes.homes.get(node)
        if home is None:
            raise NodeError(f"node {node!r} is stopped", hint=f"`lab start {node}` starts it again")
        return home

    def _words(self, home: Home) -> str:
        with contextlib.suppress(LabError):
            return self._containers.last_words(home.agent.id)
        return ""

    def _is_bridge(self, node: str) -> bool:
        return self._plan.by_name[node].is_bridge
