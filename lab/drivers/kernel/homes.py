"""Where the nodes of a fabric live: who makes their network namespaces.

The fabric lays cables between network namespaces and does not care where those come from. The netns driver makes bare
ones, a container engine or Mininet has ones of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from lab.drivers.kernel.requests import prepare_namespace
from lab.host.namespaces import create_network_namespaces
from nodes.contract import NodeConfig


class Homes(Protocol):
    """Makers of network namespaces. No interface but `lo` may be in one before the fabric gets it, and its sysctls are
    those of `prepare_namespace`. `stage` is what they are called while they are made."""

    stage: str

    def create(self, nodes: Sequence[NodeConfig], progress: Callable[[int], None]) -> list[int]:
        """A network namespace for each node, as file descriptors that the caller owns; `progress` hears how many are
        done. Raises DriverError, with no descriptor left open."""
        ...

    def leave(self, node: NodeConfig) -> None:
        """The node is switched off: what lives there ends. The fabric has taken its interfaces out, and closes its
        descriptor next. Raises DriverError."""
        ...


class BareHomes:
    """Namespaces with nothing but a descriptor to keep them: they go with it and with the last process in them."""

    stage = "namespaces"

    def create(self, nodes: Sequence[NodeConfig], progress: Callable[[int], None]) -> list[int]:
        return create_network_namespaces(len(nodes), lambda number: prepare_namespace(nodes[number]), progress)

    def leave(self, node: NodeConfig) -> None:
        """Nothing is to be done."""
