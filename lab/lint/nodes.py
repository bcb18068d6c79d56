"""Nodes and links: ends that do not exist, interfaces used twice, and what a node with the kernel's stack cannot do."""

from __future__ import annotations

from collections.abc import Iterator

from lab.lint.findings import Check, Finding, duplicates
from lab.model.errors import did_you_mean
from lab.model.layout import Layout, Port, is_switching
from lab.model.topology import Host, Router
from lab.model.yaml_source import KeyPath


def _ends_exist(layout: Layout) -> Iterator[Finding]:
    nodes = list(layout.topology.nodes)
    for index, link in enumerate(layout.topology.links):
        names = [end.partition(":")[0] for end in link.ends]
        for side, name in enumerate(names):
            if name not in layout.topology.nodes:
                yield Finding(("links", index, "ends", side), f"there is no node {name!r}", did_you_mean(name, nodes))
        if names[0] == names[1]:
            yield Finding(("links", index), f"a link from {names[0]!r} to itself", "its ends are two different nodes")


def _interfaces_once(layout: Layout) -> Iterator[Finding]:
    first: dict[str, Port] = {}
    for port in (port for pair in layout.links.values() for port in pair):
        other = first.setdefault(str(port), port)
        if other is not port and other.link != port.link:
            line = layout.topology.document.mark(other.path).line
            hint = f"line {line} uses it; leave the interface out, and it is numbered"
            yield Finding(port.path, f"the interface {port} is on two links", hint)


def _nodes_linked(layout: Layout) -> Iterator[Finding]:
    mentioned = {end.partition(":")[0] for link in layout.topology.links for end in link.ends}
    used = {str(port) for pair in layout.links.values() for port in pair}
    for name, node in layout.topology.nodes.items():
        if name not in mentioned:
            yield Finding(("nodes", name), f"no link reaches {name!r}", f"add a link: {name} -- NODE", key=True)
        for interface in node.interfaces if isinstance(node, Host | Router) and name in mentioned else ():
            if f"{name}:{interface}" not in used:
                message, hint = (
                    f"no link uses the interface {name}:{interface}",
                    f"name it in a link: {name}:{interface}",
                )
                yield Finding(("nodes", name, "interfaces", interface), message, f"{hint} -- NODE", key=True)


def _link_names(layout: Layout) -> Iterator[Finding]:
    places = [(link.name, ("links", index, "name")) for index, link in enumerate(layout.topology.links) if link.name]
    yield from duplicates(layout, places, "the link name {} is used twice")
    names = [
        (entry.name, ("networks", index, "name")) for index, entry in enumerate(layout.topology.networks) if entry.name
    ]
    yield from duplicates(layout, names, "the network name {} is used twice")


def _link_addresses(layout: Layout) -> Iterator[Finding]:
    for index, link in enumerate(layout.topology.links):
        ends = layout.links.get(index, ())
        for key in link.addresses:
            path = ("links", index, "addresses", key)
            owner = next((port for port in ends if key in (port.node, str(port))), None)
            if owner is not None and is_switching(layout.topology, owner.node):
                yield Finding(path, f"{owner.node!r} forwards frames and has no address", "leave it out", key=True)
            elif owner is None and ends:
                hint = did_you_mean(key, [port.node for port in ends])
                yield Finding(path, f"{key!r} is not an end of this link", hint, key=True)


def _kernel_nodes(layout: Layout) -> Iterator[Finding]:
    """A node with the kernel's stack runs none of our code; what asks for it is a mistake."""
    for name, node in layout.topology.nodes.items():
        if not isinstance(node, Host | Router) or (node.stack or layout.topology.defaults.stack) != "kernel":
            continue
        what = f"{name!r} has the kernel's stack"
        if node.start:
            hint = f"start a program in it: lab exec {name} -- PROGRAM"
            yield Finding(("nodes", name, "start"), f"{what}, which runs no applications of ours", hint, key=True)
        if node.rarp_server:
            yield Finding(("nodes", name, "rarp_server"), f"{what}, which answers no RARP", "stack: layerlab", key=True)
        place: KeyPath = ("nodes", name)
        checks = [((*place, "address_check"), node.address_check)]
        checks += [((*place, "interfaces", i, "address_check"), s.address_check) for i, s in node.interfaces.items()]
        for path, value in checks:
            if value == "probe":
                yield Finding(path, f"{what}, which does not probe addresses", "stack: layerlab", key=True)


CHECKS: tuple[Check, ...] = (
    _ends_exist,
    _interfaces_once,
    _nodes_linked,
    _link_names,
    _link_addresses,
    _kernel_nodes,
)
