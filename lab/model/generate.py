"""Topologies by formula, as YAML text that a person can read and change.

    star(n)              n hosts on one switch
    line(n)              n routers in a row, a host at each end
    ring(n)              n routers in a circle, a host on each: two ways to everywhere
    mesh(n)              n routers, each linked to every other, a host on each
    tree(depth, fanout)  switches in a tree of `depth` levels, hosts below the last
    fattree(k)           the k-ary fat tree of Al-Fares et al. (SIGCOMM 2008), of routers: k pods, k^3/4 hosts
    graphml(path)        a router for each node of a GraphML file (needs networkx)

Every function raises UserInputError for numbers that make no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree.ElementTree import ParseError

from lab.errors import EnvironmentLackError, UserInputError
from lab.model.names import MAX_NODE_NAME
from lab.model.topology import Impl

MAX_NODES = 10_000
"""A larger lab fits on no machine, and its text helps nobody."""
_KINDS = ("host", "router", "switch", "hub")


@dataclass
class _Draft:
    """A topology in the making."""

    name: str
    comment: tuple[str, ...]
    impl: Impl = "kernel"
    stp: bool = False
    nodes: dict[str, str] = field(default_factory=dict)
    links: list[tuple[str, str]] = field(default_factory=list)

    def add(self, kind: str, *names: str) -> None:
        self.nodes.update(dict.fromkeys(names, kind))

    def text(self) -> str:
        switch = (
            f"{{kind: switch, impl: {self.impl}, stp: true}}" if self.stp else f"{{kind: switch, impl: {self.impl}}}"
        )
        lines = [f"# {line}" for line in self.comment]
        lines += [f"name: {_text(self.name)}", "nodes:"]
        lines += [f"  {name}: {switch if kind == 'switch' else kind}" for name, kind in self.nodes.items()]
        lines += ["links:", *(f"  - {a} -- {b}" for a, b in self.links)]
        return "\n".join(lines) + "\n"


def star(n: int, *, impl: Impl = "kernel", stp: bool = False) -> str:
    _check("star", n, least=1, nodes=n + 1)
    comment = (f"Star: {n} hosts on one switch.", "Expect: every host reaches every other in one hop.")
    draft = _Draft(f"star-{n}", comment, impl, stp)
    draft.add("switch", "s1")
    for host in _numbered("h", n):
        draft.add("host", host)
        draft.links.append((host, "s1"))
    return draft.text()


def line(n: int) -> str:
    _check("line", n, least=1, nodes=n + 2)
    comment = (
        f"Line: {n} routers in a row, a host at each end.",
        f"Expect: a traceroute from h1 to h2 shows {n} routers.",
    )
    draft = _Draft(f"line-{n}", comment)
    routers = _numbered("r", n)
    draft.add("host", "h1", "h2")
    draft.add("router", *routers)
    draft.links += pairwise(["h1", *routers, "h2"])
    return draft.text()


def ring(n: int) -> str:
    _check("ring", n, least=3, nodes=2 * n)
    comment = (f"Ring: {n} routers in a circle, a host on each.", "Expect: traffic takes the shorter way round.")
    draft = _Draft(f"ring-{n}", comment)
    routers = _routers_with_hosts(draft, n)
    draft.links += zip(routers, [*routers[1:], routers[0]], strict=True)
    return draft.text()


def mesh(n: int) -> str:
    _check("mesh", n, least=2, nodes=2 * n, most=200)
    comment = (f"Mesh: {n} routers, each linked to every other, a host on each.", "Expect: two routers on every path.")
    draft = _Draft(f"mesh-{n}", comment)
    draft.links += combinations(_routers_with_hosts(draft, n), 2)
    return draft.text()


def tree(depth: int, fanout: int, *, impl: Impl = "kernel", stp: bool = False) -> str:
    _check("tree depth", depth, least=1, nodes=depth, most=13)
    _check("tree fanout", fanout, least=1, nodes=sum(fanout**level for level in range(depth + 1)))
    what = f"Tree: switches on {depth} levels, {fanout} below each; hosts below the last."
    comment = (what, "Expect: one segment, every host reaches every other without a router.")
    draft = _Draft(f"tree-{depth}-{fanout}", comment, impl, stp)
    level = ["s1"]
    draft.add("switch", *level)
    for below in range(1, depth + 1):
        kind, letter = ("host", "h") if below == depth else ("switch", "s")
        first = sum(name.startswith(letter) for name in draft.nodes) + 1
        children = [f"{letter}{first + index}" for index in range(len(level) * fanout)]
        draft.add(kind, *children)
        draft.links += [(level[index // fanout], child) for index, child in enumerate(children)]
        level = children
    return draft.text()


def fattree(k: int) -> str:
    if k % 2:
        raise UserInputError(f"fattree: k is {k}, it must be even", hint=f"try {k + 1}")
    _check("fattree", k, least=2, nodes=5 * k * k // 4 + k**3 // 4, most=32)
    half = k // 2
    comment = (
        f"Fat tree, k = {k}: {half * half} core routers, {k} pods of {half} aggregation and {half} edge routers.",
        f"Expect: {k**3 // 4} hosts; between pods, a path has 5 routers, and {half * half} such paths exist.",
    )
    draft = _Draft(f"fattree-{k}", comment)
    draft.add("router", *_numbered("core", half * half))
    for pod in range(1, k + 1):
        _add_pod(draft, pod, half)
    return draft.text()


def graphml(path: str | Path) -> str:
    """A router for each node, or what its attribute `kind` says. Raises EnvironmentLackError without networkx."""
    try:
        import networkx as nx
    except ImportError:
        hint = "pip install 'layerlab[cluster]'"
        raise EnvironmentLackError("reading GraphML needs the package networkx", hint=hint) from None
    try:
        graph = nx.Graph(nx.read_graphml(str(path)))
    except OSError as error:
        raise UserInputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (nx.NetworkXError, ParseError, ValueError, KeyError, AttributeError) as error:
        raise UserInputError(f"{path}: not a GraphML graph: {error}") from None
    edges = [(a, b) for a, b in graph.edges if a != b]
    linked = dict.fromkeys(node for edge in edges for node in edge)
    _check("graphml", len(linked), least=2, nodes=len(linked))
    name = _clean(Path(path).stem, "graph")
    alone = graph.number_of_nodes() - len(linked)
    left_out = f" Left out: {alone} nodes without a link." if alone else ""
    comment = (f"Graph {name}: {len(linked)} nodes, {len(edges)} links.{left_out}", "Expect: shortest paths.")
    draft = _Draft(name, comment)
    names = dict(zip(linked, _unique([str(graph.nodes[node].get("label", node)) for node in linked]), strict=True))
    for node in linked:
        kind = str(graph.nodes[node].get("kind", "router"))
        if kind not in _KINDS:
            raise UserInputError(
                f"{path}: node {names[node]!r} has the kind {kind!r}", hint=f"one of: {', '.join(_KINDS)}"
            )
        draft.add(kind, names[node])
    draft.links += [(names[a], names[b]) for a, b in edges]
    return draft.text()


def _add_pod(draft: _Draft, pod: int, half: int) -> None:
    aggregation, edge = _numbered(f"agg{pod}-", half), _numbered(f"edge{pod}-", half)
    draft.add("router", *aggregation, *edge)
    for index, router in enumerate(aggregation):
        draft.links += [(router, f"core{index * half + core}") for core in range(1, half + 1)]
        draft.links += [(router, below) for below in edge]
    for index, router in enumerate(edge, start=1):
        hosts = _numbered(f"h{pod}-{index}-", half)
        draft.add("host", *hosts)
        draft.links += [(router, host) for host in hosts]


def _routers_with_hosts(draft: _Draft, n: int) -> list[str]:
    routers, hosts = _numbered("r", n), _numbered("h", n)
    draft.add("router", *routers)
    draft.add("host", *hosts)
    draft.links += zip(hosts, routers, strict=True)
    return routers


def _numbered(stem: str, count: int) -> list[str]:
    return [f"{stem}{number}" for number in range(1, count + 1)]


def _check(name: str, value: int, *, least: int, nodes: int, most: int = MAX_NODES) -> None:
    if not least <= value <= most:
        raise UserInputError(f"{name}: {value} is not between {least} and {most}")
    if nodes > MAX_NODES:
        raise UserInputError(f"{name}: {value} makes {nodes} nodes, {MAX_NODES} are the most")


def _clean(text: str, otherwise: str) -> str:
    """A text as a node name."""
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", text).strip("-_.")[: MAX_NODE_NAME - 6].rstrip("-_.")
    return otherwise if not name or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name) else name


def _unique(labels: list[str]) -> Iterator[str]:
    used: set[str] = set()
    for label in labels:
        name, number = _clean(label, "n"), 1
        while (unique := name if number == 1 else f"{name}-{number}") in used:
            number += 1
        used.add(unique)
        yield unique


def _text(name: str) -> str:
    """A name as a value of YAML; as keys, and within a link, names need no quotes."""
    return name if name[0].isalpha() and name.lower() not in ("true", "false", "null") else f'"{name}"'
