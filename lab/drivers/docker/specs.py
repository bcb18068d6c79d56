"""What the engine is asked for each node, as arguments of Docker's API. Pure values.

agent      our program. Owns the node's network namespace, without any network of Docker's. It has NET_RAW and
           NET_ADMIN and no other capability, its root file system is read-only, /tmp is in memory. It sees the
           node's folder of the run, under the path that it has outside, so that every path it tells is right; and,
           to read, the folder in which the lab was started, where programs of scripts are imported from
program    what a `stack: kernel` node with an image or a command runs beside the agent, in the same network
           namespace. It is as Docker makes containers, for images count on that: Docker's capabilities, a root file
           system that is thrown away with it
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from lab.drivers.docker.names import NODE, ROLE, Role, container_name
from nodes.contract import ContainerConfig, HealthcheckConfig, NodeConfig
from nodes.units import SECOND

IMAGE = "layerlab"
"""Of Layerlab's nodes, where the topology names no other: what `docker build -t layerlab` makes."""

AGENT_PIDS = 512
"""Processes and threads of an agent's container, where the topology says nothing: it needs one, programs a few."""

TEMPORARY = "rw,nosuid,nodev,mode=1777,size=64m"
LONGEST_HOST_NAME = 63

_NO_PLACE = {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "opt", "proc", "run", "sbin", "sys", "usr", "var"}
"""Folders of the root that an image needs itself."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A container to be: arguments of `APIClient.create_container`."""

    name: str
    role: Role
    arguments: Mapping[str, Any]


def options_of(node: NodeConfig) -> ContainerConfig:
    return node.container or ContainerConfig()


def has_program(node: NodeConfig) -> bool:
    """Whether something runs beside the agent."""
    options = options_of(node)
    return node.stack == "kernel" and bool(options.image or options.command)


def agent_image(node: NodeConfig) -> str:
    options = options_of(node)
    own = options.image if node.stack == "layerlab" else ""
    return own or options.node_image or IMAGE


def program_image(node: NodeConfig) -> str:
    options = options_of(node)
    return options.image or options.node_image or IMAGE


def agent_spec(
    client: docker.APIClient, node: NodeConfig, folder: Path, labels: Mapping[str, str], shared: Path | None
) -> Spec:
    """`folder` is the node's in the run, `shared` what programs are imported from."""
    options = ContainerConfig() if has_program(node) else options_of(node)
    mounts = [Mount(str(folder), str(folder), type="bind")]
    if shared is not None and node.stack == "layerlab":
        mounts.append(Mount(str(shared), str(shared), type="bind", read_only=True))
    host = _host_config(
        client,
        network_mode="none",
        cap_drop=["ALL"],
        cap_add=["NET_RAW", "NET_ADMIN"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={"/tmp": TEMPORARY},  # noqa: S108 - in the container
        mounts=mounts + _mounts(options),
        extra_hosts=dict(node.hosts),
        pids_limit=options.pids or AGENT_PIDS,
        log_config={"Type": "json-file", "Config": {"max-size": "1m"}},
        **_memory(options),
    )
    arguments = {
        "image": agent_image(node),
        "entrypoint": ["lab-node", "--supervised"],
        "hostname": node.name[:LONGEST_HOST_NAME],
        "user": f"{os.getuid()}:{os.getgid()}",  # whoever owns the run's folder may write to it
        "environment": dict(options.environment),
        "healthcheck": {"test": ["NONE"]},  # an image's own would be of a program that does not run
        "labels": {**labels, NODE: node.name, ROLE: "agent"},
        "host_config": host,
    }
    suffix = "agent" if has_program(node) else ""
    return Spec(container_name(node.lab, node.name, suffix), "agent", arguments)


def program_spec(client: docker.APIClient, node: NodeConfig, agent: str, labels: Mapping[str, str]) -> Spec:
    """`agent` is the container whose network it shares, and with it the host name and /etc/hosts."""
    options = options_of(node)
    host = _host_config(
        client,
        network_mode=f"container:{agent}",
        mounts=_mounts(options),
        **({"pids_limit": options.pids} if options.pids else {}),
        **_memory(options),
    )
    command = list(options.command) or None
    arguments: dict[str, Any] = {
        "image": program_image(node),
        # An image of somebody's has an entry point for its command; that of ours would be another node.
        **({"command": command} if options.image else {"entrypoint": command}),
        "environment": dict(options.environment),
        "labels": {**labels, NODE: node.name, ROLE: "program"},
        "host_config": host,
    }
    if options.healthcheck is not None:
        arguments["healthcheck"] = _healthcheck(options.healthcheck)
    return Spec(container_name(node.lab, node.name), "program", arguments)


def shared_folder(folder: Path) -> Path | None:
    """The folder, where it can be seen in a container without hiding what is there."""
    return folder if len(folder.parts) > 1 and (len(folder.parts) > 2 or folder.name not in _NO_PLACE) else None


def missing_sources(nodes: tuple[NodeConfig, ...]) -> list[str]:
    """What is to be mounted, and is not there."""
    return [
        f"{mount.source} (for {node.name})"
        for node in nodes
        for mount in options_of(node).mounts
        if not Path(mount.source).exists()
    ]


def _host_config(client: docker.APIClient, **settings: Any) -> dict[str, Any]:
    return dict(client.create_host_config(**settings))


def _mounts(options: ContainerConfig) -> list[Mount]:
    return [Mount(one.target, one.source, type="bind", read_only=one.read_only) for one in options.mounts]


def _memory(options: ContainerConfig) -> dict[str, int]:
    """With as much swap as nothing: what is above the limit is not to be slow, but refused."""
    return {"mem_limit": options.memory, "memswap_limit": options.memory} if options.memory else {}


def _healthcheck(check: HealthcheckConfig) -> dict[str, Any]:
    return {
        "test": ["CMD", *check.command],
        "interval": round(check.interval * SECOND),
        "timeout": round(check.timeout * SECOND),
        "retries": check.retries,
        "start_period": round(check.start_period * SECOND),
    }
