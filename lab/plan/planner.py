"""Topology to plan: lint, then every name, address, route and seed decided. Pure: the same file gives the same plan.

topology -> layout (ports, segments) -> lint -> addresses -> routes
                                           \\-> MACs, seeds -> NodeConfig of each node
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from lab.lint import check
from lab.lint.containers import ignored
from lab.model.addresses import RARP
from lab.model.container import ContainerNode, container_of
from lab.model.errors import TopologyError
from lab.model.layout import Layout, Port, Segment, layout_of
from lab.model.topology import MIN_MTU, AddressCheck, Host, Hub, Node, Router, Switch, Topology
from lab.plan.addressing import Addressing, assign_addresses
from lab.plan.macs import assign_macs
from lab.plan.routing import Routing, make_routing, unowned_next_hops
from lab.plan.seeds import node_seed
from lab.plan.values import End, LinkPlan, Plan, SegmentPlan
from nodes.contract import ApplicationConfig, ArqConfig, InterfaceConfig, NodeConfig, SpanningTreeConfig
from nodes.impairment import DIRECTIONS, Executor
from nodes.wire.arq import OVERHEAD

ANNOUNCE_UP_TO = 32
"""Interfaces on a segment where all announce their addresses unasked. N announcements are heard by N nodes: 500 hosts
would begin with half a million frames about addresses that the plan has made unique already."""


def make_plan(
    topology: Topology, seed: int | None = None, impair_by: Executor | None = None, driver: str | None = None
) -> Plan:
    """The plan of a topology; `seed` and `impair_by` replace the file's. With a driver, what it ignores is warned of.
    Raises TopologyError with all that lint finds."""
    layout = layout_of(topology)
    report = check(topology, layout)
    if report.errors:
        raise TopologyError(report.errors)
    planner = _Planner(layout, topology.seed if seed is None else seed, impair_by)
    warnings = [*map(str, report.warnings), *unowned_next_hops(layout, planner.addressing)]
    if driver is not None:
        warnings += map(str, ignored(topology, driver))
    return Plan(
        lab=topology.name,
        seed=planner.seed,
        nodes=tuple(planner.node(name, node) for name, node in topology.nodes.items()),
        links=tuple(planner.link(index) for index in layout.links),
        segments=tuple(planner.segment(index, segment) for index, segment in enumerate(layout.segments)),
        description=topology.description,
        source=topology.document.file,
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class _Planner:
    layout: Layout
    seed: int
    impair_by: Executor | None

    @property
    def topology(self) -> Topology:
        return self.layout.topology

    @cached_property
    def addressing(self) -> Addressing:
        return assign_addresses(self.layout)

    @cached_property
    def routing(self) -> Routing:
        return make_routing(self.layout, self.addressing)

    @cached_property
    def macs(self) -> dict[Port, str]:
        ports = [port for ports in self.layout.ports.values() for port in ports]
        given = {port: mac for port in ports if (mac := self.layout.settings(port).mac)}
        return assign_macs(self.topology.name, ports, given)

    @cached_property
    def hosts(self) -> dict[str, str]:
        """The first address of each node that has one."""
        first = ((name, ports[0]) for name, ports in self.layout.ports.items() if ports)
        addresses = self.addressing.addresses
        return {name: str(addresses[port].ip) for name, port in first if port in addresses}

    @cached_property
    def link_names(self) -> dict[int, str]:
        """The file's names; else `a--b`, or `a:eth0--b:eth1` where that would stand for two links."""
        links = self.layout.links
        written = {index: self.topology.links[index].name for index in links}
        short = {index: f"{a.node}--{b.node}" for index, (a, b) in links.items()}
        uses = Counter(written[index] or short[index] for index in links)
        uses.update(f"{b.node}--{a.node}" for index, (a, b) in links.items() if not written[index])
        full = {index: f"{a}--{b}" for index, (a, b) in links.items()}
        return {index: written[index] or (short[index] if uses[short[index]] == 1 else full[index]) for index in links}

    def link(self, index: int) -> LinkPlan:
        a, b = self.layout.links[index]
        mtu = max(self.layout.mtu(a), self.layout.mtu(b))
        up = self.topology.links[index].up
        ends = End(a.node, a.interface), End(b.node, b.interface)
        by = self.impair_by or self.topology.links[index].impair_by or self.topology.defaults.impair_by
        asked = self.layout.impaired.link(index)
        if asked is not None:
            asked = replace(asked, by=by)
        least = MIN_MTU + (OVERHEAD if self.topology.links[index].arq is not None else 0)
        return LinkPlan(self.link_names[index], *ends, mtu, up, self.layout.offload(index), asked, by, least)

    def segment(self, index: int, segment: Segment) -> SegmentPlan:
        """Named by `networks`, else by its first switch, else by its only link."""
        names = [self.topology.networks[entry].name for entry in self.layout.networks.get(index, ())]
        name = next(filter(None, names), None) or next(iter(segment.switches), self.link_names[segment.links[0]])
        prefix = str(self.addressing.prefixes[index]) if segment.ports else ""
        ends = tuple(End(port.node, port.interface) for port in segment.ports)
        return SegmentPlan(name, prefix, ends, segment.switches)

    def node(self, name: str, node: Node) -> NodeConfig:
        defaults = self.topology.defaults
        common = NodeConfig(
            lab=self.topology.name,
            name=name,
            kind=node.kind,
            seed=node_seed(self.seed, name),
            interfaces=tuple(self.interface(port) for port in self.layout.ports[name]),
            hosts=self.hosts,
            trace=node.trace or defaults.trace,
            capture=defaults.capture if node.capture is None else node.capture,
            container=container_of(node if isinstance(node, ContainerNode) else None, defaults),
        )
        match node:
            case Host() | Router():
                return self.internet_node(common, node)
            case Switch():
                return self.switch(common, node)
            case Hub():
                return common

    def internet_node(self, common: NodeConfig, node: Host | Router) -> NodeConfig:
        stack = node.stack or self.topology.defaults.stack
        settings = {**self.topology.defaults.tcp.written(), **node.tcp.written()}
        return replace(
            common,
            stack=stack,
            tcp=settings if stack == "layerlab" else {},
            routes=tuple(self.routing.routes_of(common.name)),
            rarp_table=self.rarp_table(common.name) if node.rarp_server else {},
            circuits=self.topology.circuits,
            applications=tuple(ApplicationConfig(start.kind, start.options) for start in node.start),
        )

    def switch(self, common: NodeConfig, node: Switch) -> NodeConfig:
        impl = node.impl or self.topology.defaults.impl
        return replace(
            common,
            stack="layerlab" if impl == "stack" else impl,
            spanning_tree=SpanningTreeConfig(**dict(node.stp)) if node.stp else None,
            ageing_time=float(node.ageing_time),
        )

    def interface(self, port: Port) -> InterfaceConfig:
        a, b = self.layout.links[port.link]
        peer = b if port == a else a
        address = self.addressing.addresses.get(port)
        rarp = any(given.text == RARP for given in self.layout.addresses.get(port, ()))
        addresses = [f"0.0.0.0/{address.network.prefixlen}" if rarp else str(address)] if address else []
        return InterfaceConfig(
            name=port.interface,
            mac=self.macs[port],
            addresses=tuple(addresses),
            mtu=self.layout.mtu(port),
            address_source="rarp" if rarp else "static",
            address_check=self.address_check(port),
            offload=self.layout.offload(port.link) and self.takes_offload(port.node),
            arq=self.arq(port),
            link=self.link_names[port.link],
            peer=str(peer),
            peer_kind=self.topology.nodes[peer.node].kind,
        )

    def arq(self, port: Port) -> ArqConfig | None:
        """The line's rate is what its impairment begins with in this end's direction."""
        arq, asked = self.topology.links[port.link].arq, self.layout.impaired.link(port.link)
        if arq is None:
            return None
        return arq.config(0 if asked is None else asked.of(DIRECTIONS[port.side]).rate)

    def takes_offload(self, name: str) -> bool:
        """Our switches, hubs and routers pass on frames as a wire carries them; our hosts and the kernel's nodes take
        long segments."""
        node, defaults = self.topology.nodes[name], self.topology.defaults
        match node:
            case Host():
                return True
            case Router():
                return (node.stack or defaults.stack) == "kernel"
            case Switch():
                return (node.impl or defaults.impl) == "kernel"
            case Hub():
                return False

    def address_check(self, port: Port) -> AddressCheck:
        """The kernel does not probe; lint has refused it where it was asked for."""
        node, defaults = self.topology.nodes[port.node], self.topology.defaults
        if not isinstance(node, Host | Router) or (node.stack or defaults.stack) == "kernel":
            return "announce"
        asked = self.layout.settings(port).address_check or node.address_check or defaults.address_check
        if asked is not None:
            return asked
        neighbors = len(self.layout.segments[self.layout.segment_of[port]].ports)
        return "announce" if neighbors <= ANNOUNCE_UP_TO else "none"

    def rarp_table(self, server: str) -> dict[str, str]:
        """MAC to address of every interface of the server's segments that asks for its address."""
        segments = dict.fromkeys(self.layout.segment_of[port] for port in self.layout.ports[server])
        clients = [port for index in segments for port in self.layout.segments[index].ports if port.node != server]
        return {
            self.macs[port]: str(self.addressing.addresses[port].ip)
            for port in clients
            if any(given.text == RARP for given in self.layout.addresses.get(port, ()))
        }
