"""Where a lab's nodes live on Mininet: its hosts.

A host's network namespace is made by `mnexec` and kept by the host's shell; the fabric holds a descriptor of it, too. A
node that is switched off loses its shell, and keeps its place in the network: `net["h1"]` is the same object after it
was switched on again, with another shell in other namespaces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from mininet.net import Mininet

from lab.drivers.kernel.requests import prepare_namespace
from lab.drivers.mininet.nodes import LabHost
from lab.errors import DriverError
from lab.host.namespaces import in_namespace, raise_file_limit, refused
from nodes.contract import NodeConfig

AT_ONCE = 32
"""Shells that start at the same time."""

FILES_PER_NODE = 3
"""Open files of the supervisor: both ends of the shell's terminal, and the network namespace."""

RESERVED_FILES = 64


class MininetHomes:
    """Homes (lab/drivers/kernel/homes.py) that are hosts of `net`."""

    stage = "Mininet hosts"

    def __init__(self, net: Mininet) -> None:
        self._net = net

    def create(self, nodes: Sequence[NodeConfig], progress: Callable[[int], None]) -> list[int]:
        _check_file_limit(len(nodes))
        made: list[int] = []
        try:
            for start in range(0, len(nodes), AT_ONCE):
                chunk = nodes[start : start + AT_ONCE]
                hosts = [self._begin(node.name) for node in chunk]
                for node, host in zip(chunk, hosts, strict=True):
                    host.finish_start()
                    made.append(_open_namespace(host))
                    with in_namespace(made[-1]):
                        prepare_namespace(node)
                progress(len(made))
        except BaseException:
            for fd in made:
                os.close(fd)
            raise
        return made

    def leave(self, node: NodeConfig) -> None:
        self._net[node.name].terminate()

    def _begin(self, name: str) -> LabHost:
        """A host that is new, or was switched off."""
        is_new = name not in self._net
        host: LabHost = self._net.addHost(name, ip=None) if is_new else self._net[name]
        if not is_new:
            host.startShell()
        return host


def _open_namespace(host: LabHost) -> int:
    try:
        return os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise refused(f"open the network namespace of {host.name}", error) from error


def _check_file_limit(nodes: int) -> None:
    needed, limit = nodes * FILES_PER_NODE + RESERVED_FILES, raise_file_limit()
    if needed > limit:
        hint = f"raise the hard limit: ulimit -Hn {needed}"
        raise DriverError(f"{nodes} Mininet hosts need {needed} open files, {limit} are allowed", hint=hint)
