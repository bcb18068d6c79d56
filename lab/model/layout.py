"""Who is connected to whom: the topology as ports, links and segments, before any address is decided.

A port is one interface at one end of one link. Ports that no link names are numbered in the order of the links: eth0,
eth1 ... on hosts and routers, p1, p2 ... on switches and hubs, past the names that other links use.

A segment is a layer-2 broadcast domain: links are joined into one by the switches and hubs between them (union-find),
and end at hosts and routers. Its prefix is the one that `networks` gives it, else that of the first address written
on it.

Everything here is tolerant: links to nodes that do not exist are left out, so that lint can report all problems.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Interface
from typing import NamedTuple

from lab.model.addresses import DEFAULT_ROUTE, RARP
from lab.model.impaired import Impaired
from lab.model.topology import Host, Hub, Interface, Link, Router, Switch, Topology
from lab.model.yaml_source import KeyPath


class Port(NamedTuple):
    """An interface of a node at one end of a link. `link` and `side` are indexes in the file."""

    node: str
    interface: str
    link: int
    side: int

    @property
    def path(self) -> KeyPath:
        return ("links", self.link, "ends", self.side)

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


class Given(NamedTuple):
    """Something written in the file, and where."""

    text: str
    path: KeyPath


@dataclass(frozen=True)
class Segment:
    """`ports` are those of hosts and routers, `switches` also the hubs; all in the order of the links."""

    ports: tuple[Port, ...]
    switches: tuple[str, ...]
    links: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    topology: Topology
    links: dict[int, tuple[Port, Port]]
    ports: dict[str, list[Port]]
    segments: tuple[Segment, ...] = field(default=())

    @cached_property
    def segment_of(self) -> dict[Port, int]:
        return {port: index for index, segment in enumerate(self.segments) for port in segment.ports}

    @cached_property
    def segment_of_switch(self) -> dict[str, int]:
        return {name: index for index, segment in enumerate(self.segments) for name in segment.switches}

    @cached_property
    def addresses(self) -> dict[Port, list[Given]]:
        """The addresses (or `rarp`) that the file gives to each port; more than one is a mistake."""
        given: dict[Port, list[Given]] = defaultdict(list)
        for port in (port for ports in self.ports.values() for port in ports):
            given[port] += self._addresses_of(port)
        return {port: found for port, found in given.items() if found}

    @cached_property
    def networks(self) -> dict[int, list[int]]:
        """The entries of `networks` that mean each segment; entries that mean none are left out."""
        found: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self.topology.networks)):
            segments = self.segments_meant(index)
            if len(segments) == 1:
                found[segments[0]].append(index)
        return dict(found)

    @cached_property
    def prefixes(self) -> dict[int, Given]:
        """The prefix of each segment for which the file decides it."""
        found: dict[int, Given] = {}
        for index, segment in enumerate(self.segments):
            given = self._prefix_of(index, segment)
            if given is not None:
                found[index] = given
        return found

    def segments_meant(self, network: int) -> list[int]:
        """The segments that an entry of `networks` can mean: exactly one, if all is well."""
        entry = self.topology.networks[network]
        if entry.on is not None:
            return [self.segment_of_switch[entry.on]] if entry.on in self.segment_of_switch else []
        own = self.segment_of
        sets = [{own[port] for port in self.ports.get(name, ()) if port in own} for name in entry.of]
        return sorted(set.intersection(*sets))

    def settings(self, port: Port) -> Interface:
        """What the node says about the interface."""
        node = self.topology.nodes[port.node]
        written = node.interfaces.get(port.interface) if isinstance(node, Host | Router) else None
        return written or _NO_SETTINGS

    def mtu(self, port: Port) -> int:
        written = self.settings(port).mtu or self.topology.links[port.link].mtu
        return written or self.topology.defaults.mtu

    def offload(self, link: int) -> bool:
        """Whether a link may carry TCP segments that are longer than a frame and have no checksum yet. Here is decided
        what speaks against it: the file; and different MTUs on its segment, for a long segment would pass where its
        pieces would be lost. A link that does something to frames, one by one, must be given frames; so must ARQ."""
        written = self.topology.links[link].offload or self.topology.defaults.offload
        if written == "off" or self.topology.links[link].arq is not None or self.impaired.link(link) is not None:
            return False
        return self.segment_of_link[link] in self._even_segments

    @cached_property
    def impaired(self) -> Impaired:
        return Impaired(self)

    @cached_property
    def segment_of_link(self) -> dict[int, int]:
        return {link: index for index, segment in enumerate(self.segments) for link in segment.links}

    @cached_property
    def _even_segments(self) -> frozenset[int]:
        """The segments all of whose interfaces have the same MTU."""
        return frozenset(
            index
            for index, segment in enumerate(self.segments)
            if len({self.mtu(port) for link in segment.links for port in self.links[link]}) == 1
        )

    def static_addresses(self, segment: Segment) -> Iterator[tuple[Port, IPv4Interface, Given]]:
        for port in segment.ports:
            for given in self.addresses.get(port, ()):
                if given.text != RARP:
                    yield port, IPv4Interface(given.text), given

    def _addresses_of(self, port: Port) -> Iterator[Given]:
        node, link = self.topology.nodes[port.node], self.topology.links[port.link]
        if isinstance(node, Host) and node.address and port is self.ports[port.node][0]:
            yield Given(node.address, ("nodes", port.node, "address"))
        settings = self.settings(port)
        if settings.address:
            yield Given(settings.address, _interface_path(port))
        for name in (port.node, str(port)):
            if name in link.addresses:
                yield Given(link.addresses[name], ("links", port.link, "addresses", name))

    def _prefix_of(self, index: int, segment: Segment) -> Given | None:
        for entry in self.networks.get(index, ()):
            return Given(self.topology.networks[entry].prefix, ("networks", entry, "prefix"))
        for _, interface, given in self.static_addresses(segment):
            return Given(str(interface.network), given.path)
        return None


def layout_of(topology: Topology) -> Layout:
    links = dict(_ports_of_links(topology))
    ports: dict[str, list[Port]] = {name: [] for name in topology.nodes}
    for pair in links.values():
        for port in pair:
            ports[port.node].append(port)
    return Layout(topology, links, ports, tuple(_segments(topology, links)))


def written_routes(name: str, node: Host | Router) -> list[tuple[KeyPath, str, str]]:
    """The routes that the file gives to a node, `gateway` included: (place, destination, next hop)."""
    place: KeyPath = ("nodes", name)
    routes: list[tuple[KeyPath, str, str]] = []
    if isinstance(node, Host) and node.gateway:
        routes.append(((*place, "gateway"), DEFAULT_ROUTE, node.gateway))
    routes += [((*place, "routes", index), route.to, route.via) for index, route in enumerate(node.routes)]
    return routes


_NO_SETTINGS = Interface()


def _interface_path(port: Port) -> KeyPath:
    return ("nodes", port.node, "interfaces", port.interface, "address")


def _ports_of_links(topology: Topology) -> Iterator[tuple[int, tuple[Port, Port]]]:
    names = _Names(topology)
    for index, link in enumerate(topology.links):
        if all(end.partition(":")[0] in topology.nodes for end in link.ends):
            a, b = (names.port(link, index, side) for side in (0, 1))
            yield index, (a, b)


class _Names:
    """Numbers the interfaces that links do not name, past those that they do."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.taken = {end for link in topology.links for end in link.ends if ":" in end}
        self.next: dict[str, int] = {}

    def port(self, link: Link, index: int, side: int) -> Port:
        node, _, interface = link.ends[side].partition(":")
        return Port(node, interface or self.number(node), index, side)

    def number(self, node: str) -> str:
        stem, first = ("p", 1) if is_switching(self.topology, node) else ("eth", 0)
        number = self.next.get(node, first)
        while f"{node}:{stem}{number}" in self.taken:
            number += 1
        self.next[node] = number + 1
        return f"{stem}{number}"


def is_switching(topology: Topology, node: str) -> bool:
    """Does the node join its links into one segment?"""
    return isinstance(topology.nodes[node], Switch | Hub)


def _segments(topology: Topology, links: dict[int, tuple[Port, Port]]) -> Iterator[Segment]:
    """Links that meet at a switch or a hub are one segment: union-find over links and switching nodes."""
    parent: dict[int | str, int | str] = {}

    def root(item: int | str) -> int | str:
        while parent.setdefault(item, item) != item:
            parent[item] = item = parent[parent[item]]
        return item

    for index, pair in links.items():
        for port in pair:
            if is_switching(topology, port.node):
                parent[root(port.node)] = root(index)
    members: dict[int | str, list[int]] = defaultdict(list)
    for index in links:
        members[root(index)].append(index)
    for indexes in members.values():
        ports = [port for index in indexes for port in links[index]]
        switches = dict.fromkeys(port.node for port in ports if is_switching(topology, port.node))
        ends = tuple(port for port in ports if port.node not in switches)
        yield Segment(ends, tuple(switches), tuple(indexes))
