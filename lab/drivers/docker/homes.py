"""Where the nodes of a lab on Docker live: the network namespaces of their agents' containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.drivers.docker.containers import Containers, Running, in_parallel
from lab.drivers.docker.specs import agent_spec
from lab.drivers.kernel.requests import prepare_namespace
from lab.host.namespaces import in_namespace, refused
from nodes.contract import NodeConfig


@dataclass(slots=True)
class Home:
    """What runs for a node that is switched on."""

    agent: Running
    program: Running | None = None
    told: bool = False
    """Whether the agent knows which node it is."""
    checked: bool = False
    """Whether the program was found healthy."""

    @property
    def containers(self) -> list[Running]:
        return [self.agent] if self.program is None else [self.program, self.agent]


class DockerHomes:
    """Homes (lab/drivers/kernel/homes.py) that are containers. `run` is the run's folder, `shared` a folder that all
    nodes may read."""

    stage = "containers"

    def __init__(self, containers: Containers, run: Path, labels: Mapping[str, str], shared: Path | None) -> None:
        self.homes: dict[str, Home] = {}
        self._containers = containers
        self._run = run
        self._labels = labels
        self._shared = shared

    def create(self, nodes: Sequence[NodeConfig], progress: Callable[[int], None]) -> list[int]:
        agents = in_parallel(self._start, nodes, progress)
        made: list[int] = []
        try:
            for node, agent in zip(nodes, agents, strict=True):
                self.homes[node.name] = Home(agent)
                made.append(self._open_namespace(agent))
                with in_namespace(made[-1]):
                    prepare_namespace(node)
                self._containers.watch(node.name, agent)
        except BaseException:
            for fd in made:
                os.close(fd)
            raise
        return made

    def leave(self, node: NodeConfig) -> None:
        home = self.homes.pop(node.name)
        for container in home.containers:
            self._containers.discard(container)

    def _start(self, node: NodeConfig) -> Running:
        folder = self._run / "nodes" / node.name
        spec = agent_spec(self._containers.client, node, folder, self._labels, self._shared)
        return self._containers.start(spec)

    def _open_namespace(self, agent: Running) -> int:
        try:
            return os.open(f"/proc/{agent.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._containers.ended_early(agent) from None
        except OSError as error:
            raise refused(f"open the network namespace of container {agent.name}", error) from error
