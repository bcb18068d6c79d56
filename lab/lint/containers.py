"""What is said of containers: to nodes that cannot have it, and on drivers that have none."""

from __future__ import annotations

from collections.abc import Iterator

from lab.lint.findings import Check, Finding
from lab.model.container import KEYS, ContainerDefaults
from lab.model.errors import Problem
from lab.model.layout import Layout
from lab.model.topology import Host, Router, Topology
from lab.model.yaml_source import KeyPath

DRIVER = "docker"
_OF_PROGRAMS = ("command", "healthcheck")


def _programs(layout: Layout) -> Iterator[Finding]:
    """In a node with our stack runs our agent."""
    for name, node in layout.topology.nodes.items():
        if not isinstance(node, Host | Router) or (node.stack or layout.topology.defaults.stack) == "kernel":
            continue
        for key in _OF_PROGRAMS:
            if getattr(node, key):
                message = f"{name!r} has our stack: what runs in its container is the node itself"
                yield Finding(("nodes", name, key), message, "say `stack: kernel`, or leave it out", key=True)


def _mounted_once(layout: Layout) -> Iterator[Finding]:
    for name, node in layout.topology.nodes.items():
        seen: set[str] = set()
        for index, mount in enumerate(node.mounts if isinstance(node, Host | Router) else ()):
            if mount.target in seen:
                yield Finding(("nodes", name, "mounts", index), f"{mount.target} is mounted twice in {name!r}")
            seen.add(mount.target)


CHECKS: tuple[Check, ...] = (_programs, _mounted_once)


def ignored(topology: Topology, driver: str) -> list[Problem]:
    """Warnings: what the file says of containers while the lab is to run on a driver that has none."""
    if driver == DRIVER:
        return []
    return [
        topology.document.problem(path, f"only the {DRIVER} driver knows {what}: {driver} ignores it", key=True)
        for path, what in _said(topology)
    ]


def _said(topology: Topology) -> Iterator[tuple[KeyPath, str]]:
    for key in ContainerDefaults.model_fields:
        if getattr(topology.defaults, key) is not None:
            yield ("defaults", key), f"{key!r}"
    for name, node in topology.nodes.items():
        for key in KEYS if isinstance(node, Host | Router) else ():
            if getattr(node, key):
                yield ("nodes", name, key), f"{key!r} of {name!r}"
