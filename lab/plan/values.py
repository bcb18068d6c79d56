"""The plan: a topology with every name, address, route and seed decided.

A plan is a pure value. It is made from a topology without touching the machine, printed by `lab plan`, stored in the
run, and carried out by a driver, which decides nothing more. Each node's part is the `NodeConfig` that its agent
receives. A switch with `impl: kernel` is a node of kind `switch` and stack `kernel`: a Linux bridge;
with `impl: ovs` its stack is `ovs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nodes.contract import NodeConfig
from nodes.impairment import Executor, LinkImpairment


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: an interface of a node."""

    node: str
    interface: str

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """A point-to-point link between two interfaces. `up: false` starts it without carrier. `offload`: it may carry TCP
    segments of 64 KiB without checksums, where its ends take them. `impairment` None: it only carries; `impair_by` is
    who is to do what is first asked of it while the lab runs. The MTU may be changed to `least_mtu`
    or more: IP's least (RFC 791), and what ARQ takes."""

    name: str
    a: End
    b: End
    mtu: int = 1500
    up: bool = True
    offload: bool = False
    impairment: LinkImpairment | None = None
    impair_by: Executor = "auto"
    least_mtu: int = 68


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A layer-2 broadcast domain: the host and router interfaces that hear each other's broadcasts, the switches and
    hubs between them, and its prefix (`10.0.0.0/24`; empty where it joins no host or router)."""

    name: str
    prefix: str
    ends: tuple[End, ...]
    switches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    lab: str
    seed: int
    nodes: tuple[NodeConfig, ...]
    links: tuple[LinkPlan, ...]
    segments: tuple[SegmentPlan, ...]
    description: str = ""
    source: str = ""
    warnings: tuple[str, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, NodeConfig]:
        return {node.name: node for node in self.nodes}

    def address_of(self, node: str) -> str | None:
        """The first address of a node without its prefix length, or None where it has none."""
        for interface in self.by_name[node].interfaces:
            if interface.address_source == "rarp":
                return self.by_name[node].hosts[node]
            if interface.addresses:
                return interface.addresses[0].partition("/")[0]
        return None

    def addresses_of(self, node: str) -> list[str]:
        """All addresses of a node with their prefix lengths, those that it asks a RARP server for included."""
        config = self.by_name[node]
        found: list[str] = []
        for interface in config.interfaces:
            if interface.address_source == "rarp":
                found += [f"{config.hosts[node]}/{text.partition('/')[2]}" for text in interface.addresses]
            else:
                found += interface.addresses
        return found
