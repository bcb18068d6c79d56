"""Addresses, prefixes and routes, held against the segments they are on."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from lab.lint.findings import Check, Finding, duplicates
from lab.model.addresses import DEFAULT_ROUTE, RARP
from lab.model.errors import did_you_mean
from lab.model.layout import Given, Layout, Port, Segment, is_switching, written_routes
from lab.model.topology import Host, Router
from lab.model.yaml_source import KeyPath


def _rarp(layout: Layout) -> Iterator[Finding]:
    nodes, defaults = layout.topology.nodes, layout.topology.defaults
    for port, given in ((port, given) for port, all_given in layout.addresses.items() for given in all_given):
        node = nodes[port.node]
        if given.text != RARP:
            continue
        segment = layout.segments[layout.segment_of[port]]
        if isinstance(node, Router):
            yield Finding(given.path, "a router cannot ask for its address", "write the address")
        elif isinstance(node, Host) and (node.stack or defaults.stack) == "kernel":
            yield Finding(given.path, f"{port.node!r} has the kernel's stack, which speaks no RARP", "stack: layerlab")
        elif not any(_serves_rarp(layout, other) for other in segment.ports if other.node != port.node):
            hint = "rarp_server: true on a host or router of the segment"
            yield Finding(given.path, f"no RARP server can hear {port.node!r}", hint)


def _serves_rarp(layout: Layout, port: Port) -> bool:
    node = layout.topology.nodes[port.node]
    return isinstance(node, Host | Router) and node.rarp_server


def _networks(layout: Layout) -> Iterator[Finding]:
    nodes = layout.topology.nodes
    for index, entry in enumerate(layout.topology.networks):
        path: KeyPath = ("networks", index)
        places = [((*path, "of", position), name) for position, name in enumerate(entry.of)]
        places += [((*path, "on"), entry.on)] if entry.on else []
        missing = [(path, name) for path, name in places if name not in nodes]
        for path, name in missing:
            yield Finding(path, f"there is no node {name!r}", did_you_mean(name, list(nodes)))
        if not missing:
            yield from _network_place(layout, index)
    for indexes in layout.networks.values():
        for index in indexes[1:]:
            line = layout.topology.document.mark(("networks", indexes[0])).line
            yield Finding(("networks", index), f"this is the network of line {line} again", "a segment has one prefix")


def _network_place(layout: Layout, index: int) -> Iterator[Finding]:
    entry = layout.topology.networks[index]
    if entry.on is not None:
        if not is_switching(layout.topology, entry.on):
            hint = "name a switch or a hub; for nodes, write of: [NODE, NODE]"
            yield Finding(("networks", index, "on"), f"{entry.on!r} is not a switch", hint)
        return
    path, names, count = ("networks", index, "of"), ", ".join(entry.of), len(layout.segments_meant(index))
    switches = [(side, name) for side, name in enumerate(entry.of) if is_switching(layout.topology, name)]
    for side, name in switches:
        yield Finding((*path, side), f"{name!r} forwards frames and has no address", f"on: {name}")
    if not switches and count == 0:
        yield Finding(path, f"no segment joins {names}", "name nodes of one link or switch")
    elif not switches and count > 1:
        yield Finding(path, f"{count} segments join {names}", "name more nodes, or a switch with 'on'")


def _one_address(layout: Layout) -> Iterator[Finding]:
    for port, given in layout.addresses.items():
        for extra in given[1:]:
            line = layout.topology.document.mark(given[0].path).line
            yield Finding(extra.path, f"{port} has two addresses", f"the other is {given[0].text}, in line {line}")


def _address_duplicates(layout: Layout) -> Iterator[Finding]:
    static = [found for segment in layout.segments for found in layout.static_addresses(segment)]
    ips = [(str(interface.ip), given.path) for _, interface, given in static]
    yield from duplicates(layout, ips, "the address {} is given twice")
    macs = [
        (settings.mac, ("nodes", name, "interfaces", interface, "mac"))
        for name, node in layout.topology.nodes.items()
        if isinstance(node, Host | Router)
        for interface, settings in node.interfaces.items()
        if settings.mac
    ]
    yield from duplicates(layout, macs, "the MAC address {} is given twice")


def _address_places(layout: Layout) -> Iterator[Finding]:
    for index, segment in enumerate(layout.segments):
        if index in layout.prefixes:
            prefix = layout.prefixes[index]
            yield from _room(segment, prefix)
            for port, interface, given in layout.static_addresses(segment):
                yield from _address_place(layout, port, interface, given, prefix)


def _address_place(
    layout: Layout, port: Port, interface: IPv4Interface, given: Given, prefix: Given
) -> Iterator[Finding]:
    network = IPv4Network(prefix.text)
    if interface.network != network:
        line = layout.topology.document.mark(prefix.path).line
        what = "has another prefix length than" if interface.ip in network else "is outside"
        message = f"{given.text} of {port} {what} {network}, the prefix of its segment"
        yield Finding(given.path, message, f"line {line} decides the prefix; a segment has one")
    elif network.prefixlen < 31 and interface.ip in (network.network_address, network.broadcast_address):
        which = "network" if interface.ip == network.network_address else "broadcast"
        hint = f"{network.network_address + 1} to {network.broadcast_address - 1} are for nodes"
        yield Finding(given.path, f"{interface.ip} is the {which} address of {network}", hint)


def _room(segment: Segment, prefix: Given) -> Iterator[Finding]:
    network = IPv4Network(prefix.text)
    room = network.num_addresses - (2 if network.prefixlen < 31 else 0)
    if len(segment.ports) > room:
        message = f"{network} has room for {room} interfaces, its segment has {len(segment.ports)}"
        yield Finding(prefix.path, message, "choose a shorter prefix")


def _overlaps(layout: Layout) -> Iterator[Finding]:
    """Two segments with overlapping prefixes: no router could tell them apart."""
    ranges = sorted((IPv4Network(given.text), given) for given in layout.prefixes.values())
    widest: tuple[IPv4Network, Given] | None = None
    for network, given in ranges:
        if widest and network.network_address <= widest[0].broadcast_address:
            first, second = sorted((widest[1], given), key=lambda item: layout.topology.document.mark(item.path))
            line = layout.topology.document.mark(first.path).line
            hint = f"line {line} gives {first.text} to another segment"
            yield Finding(second.path, f"the prefix {second.text} is in use", hint)
        if widest is None or network.broadcast_address > widest[0].broadcast_address:
            widest = (network, given)


def _routes(layout: Layout) -> Iterator[Finding]:
    for name, node in layout.topology.nodes.items():
        if not isinstance(node, Host | Router):
            continue
        seen: set[str] = set()
        for path, to, via in written_routes(name, node):
            if to in seen:
                what = "default routes" if to == DEFAULT_ROUTE else f"routes to {to}"
                yield Finding(path, f"{name!r} has two {what}", "leave one out")
            seen.add(to)
            if layout.ports[name]:
                yield from _next_hop(layout, name, path, IPv4Address(via))


def _next_hop(layout: Layout, name: str, path: KeyPath, via: IPv4Address) -> Iterator[Finding]:
    segments = [layout.segment_of[port] for port in layout.ports[name]]
    prefixes = [IPv4Network(layout.prefixes[index].text) for index in segments if index in layout.prefixes]
    on_link = any(via in prefix for prefix in prefixes)
    shown = ", ".join(map(str, prefixes))
    if not on_link and len(prefixes) < len(segments):
        hint = f"give {name!r} an address in its subnet, or its segment a prefix in 'networks'"
        yield Finding(path, f"the gateway {via} is not on a link of {name!r}", hint)
    elif not on_link:
        yield Finding(path, f"the gateway {via} is not on a link of {name!r}", f"its links have {shown}")
    elif any(
        port.node == name and interface.ip == via
        for index in segments
        for port, interface, _ in layout.static_addresses(layout.segments[index])
    ):
        yield Finding(path, f"the gateway {via} is {name!r} itself", "name the next node")


CHECKS: tuple[Check, ...] = (
    _rarp,
    _networks,
    _one_address,
    _address_duplicates,
    _address_places,
    _overlaps,
    _routes,
)
