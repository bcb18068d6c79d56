"""mininet.topo: a topology as it is told by `addHost`, `addSwitch` and `addLink`.

Ports are numbered as Mininet numbers them: those of a node that are in use, plus 1 at a switch. The mapping of ports
is kept by number, so that a port which two links name is one port there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lab.exchange.standin.util import irange, natural, naturalSeq

Options = dict[str, Any]


class MultiGraph:
    """Nodes and edges with attributes; two nodes may have several edges, each with a key."""

    def __init__(self) -> None:
        self.node: dict[str, Options] = {}
        self.edge: dict[str, dict[str, dict[Any, Options]]] = {}

    def add_node(self, node: str, attr_dict: Options | None = None, **attrs: Any) -> None:
        self.node[node] = {**(attr_dict or {}), **attrs}

    def add_edge(self, src: str, dst: str, key: Any = None, attr_dict: Options | None = None, **attrs: Any) -> Any:
        for node in (src, dst):
            self.node.setdefault(node, {})
            self.edge.setdefault(node, {})
        both = self.edge[src].setdefault(dst, {})
        self.edge[dst][src] = both
        if key is None:
            key = 1 + max((each for each in both if isinstance(each, int)), default=0)
        both[key] = {**(attr_dict or {}), **attrs}
        return key

    def nodes(self, data: bool = False) -> Iterable[Any]:
        return self.node.items() if data else self.node.keys()

    def edges_iter(self, data: bool = False, keys: bool = False) -> Iterator[tuple[Any, ...]]:
        for src, others in self.edge.items():
            for dst, both in others.items():
                for key, attrs in both.items() if src <= dst else ():
                    yield (src, dst, *((key,) if keys else ()), *((attrs,) if data else ()))

    def edges(self, data: bool = False, keys: bool = False) -> list[tuple[Any, ...]]:
        return list(self.edges_iter(data, keys))

    def convertTo(self, cls: Any, data: bool = False, keys: bool = False) -> Any:
        """The same in a class such as networkx.MultiGraph."""
        graph = cls()
        graph.add_nodes_from(self.nodes(data))
        graph.add_edges_from(self.edges(data or keys, keys))
        return graph

    def __getitem__(self, node: str) -> dict[str, dict[Any, Options]]:
        return self.edge[node]

    def __len__(self) -> int:
        return len(self.node)


class Topo:
    """Derive from it, and override `build`."""

    def __init__(self, *args: Any, **params: Any) -> None:
        self.g = MultiGraph()
        self.hopts: Options = params.pop("hopts", {})
        self.sopts: Options = params.pop("sopts", {})
        self.lopts: Options = params.pop("lopts", {})
        self.ports: dict[str, dict[int, tuple[str, int]]] = {}
        self.build(*args, **params)

    def build(self, *args: Any, **params: Any) -> None:
        """For classes that derive from this one."""

    def addNode(self, name: str, **opts: Any) -> str:
        self.g.add_node(name, **opts)
        return name

    def addHost(self, name: str, **opts: Any) -> str:
        return self.addNode(name, **(opts or self.hopts))

    def addSwitch(self, name: str, **opts: Any) -> str:
        return self.addNode(name, **{"isSwitch": True, **(opts or self.sopts)})

    def addLink(
        self, node1: str, node2: str, port1: int | None = None, port2: int | None = None, key: Any = None, **opts: Any
    ) -> Any:
        port1, port2 = self.addPort(node1, node2, port1, port2)
        ends = {"node1": node1, "node2": node2, "port1": port1, "port2": port2}
        return self.g.add_edge(node1, node2, key, {**(opts or self.lopts), **ends})

    def addPort(self, src: str, dst: str, sport: int | None = None, dport: int | None = None) -> tuple[int, int]:
        near, far = self.ports.setdefault(src, {}), self.ports.setdefault(dst, {})
        sport = len(near) + self.isSwitch(src) if sport is None else sport
        dport = len(far) + self.isSwitch(dst) if dport is None else dport
        near[sport], far[dport] = (dst, dport), (src, sport)
        return sport, dport

    def isSwitch(self, node: str) -> bool:
        return bool(self.g.node[node].get("isSwitch", False))

    def nodes(self, sort: bool = True) -> list[str]:
        return self.sorted(self.g.nodes()) if sort else list(self.g.nodes())

    def switches(self, sort: bool = True) -> list[str]:
        return [name for name in self.nodes(sort) if self.isSwitch(name)]

    def hosts(self, sort: bool = True) -> list[str]:
        return [name for name in self.nodes(sort) if not self.isSwitch(name)]

    def iterLinks(self, withKeys: bool = False, withInfo: bool = False) -> Iterator[tuple[Any, ...]]:
        for _, _, key, info in self.g.edges_iter(data=True, keys=True):
            yield (info["node1"], info["node2"], *((key,) if withKeys else ()), *((info,) if withInfo else ()))

    def links(self, sort: bool = False, withKeys: bool = False, withInfo: bool = False) -> list[tuple[Any, ...]]:
        links = list(self.iterLinks(withKeys, withInfo))
        named = 3 if withKeys else 2
        return sorted(links, key=lambda link: naturalSeq(link[:named])) if sort else links

    def port(self, src: str, dst: str) -> Any:
        """The ports of `src` and `dst` that face each other; a list where there are none, or several."""
        found = [(sport, dport) for sport, (name, dport) in self.ports[src].items() if name == dst]
        return found[0] if len(found) == 1 else found

    def linkInfo(self, src: str, dst: str, key: Any = None) -> Options:
        both = self.g[src][dst]
        return both[min(both) if key is None else key]

    def setlinkInfo(self, src: str, dst: str, info: Options, key: Any = None) -> None:
        both = self.g[src][dst]
        both[min(both) if key is None else key] = info

    def nodeInfo(self, name: str) -> Options:
        return self.g.node[name]

    def setNodeInfo(self, name: str, info: Options) -> None:
        self.g.node[name] = info

    def convertTo(self, cls: Any, data: bool = True, keys: bool = True) -> Any:
        return self.g.convertTo(cls, data, keys)

    @staticmethod
    def sorted(items: Iterable[str]) -> list[str]:
        """As people sort: `h2` before `h10`."""
        return sorted(items, key=natural)


class SingleSwitchTopo(Topo):
    """`k` hosts on a switch."""

    def build(self, k: int = 2, **_opts: Any) -> None:
        self.k = k
        switch = self.addSwitch("s1")
        for number in irange(1, k):
            self.addLink(self.addHost(f"h{number}"), switch)


class SingleSwitchReversedTopo(Topo):
    """`k` hosts on a switch, the first at the last port."""

    def build(self, k: int = 2) -> None:
        self.k = k
        switch = self.addSwitch("s1")
        for number in irange(1, k):
            self.addLink(self.addHost(f"h{number}"), switch, port1=0, port2=k - number + 1)


class MinimalTopo(SingleSwitchTopo):
    """Two hosts on a switch."""

    def build(self) -> None:  # type: ignore[override]  # Mininet's, too, takes fewer arguments
        super().build(k=2)


class LinearTopo(Topo):
    """`k` switches in a row, `n` hosts on each."""

    def build(self, k: int = 2, n: int = 1, **_opts: Any) -> None:
        self.k, self.n = k, n
        last = None
        for number in irange(1, k):
            switch = self.addSwitch(f"s{number}")
            for each in irange(1, n):
                self.addLink(self.addHost(f"h{number}" if n == 1 else f"h{each}s{number}"), switch)
            if last:
                self.addLink(switch, last)
            last = switch
