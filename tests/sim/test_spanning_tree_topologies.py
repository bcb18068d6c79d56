"""Networks of switches in virtual time: they become trees, stay trees, and heal.

Every switch has one edge port more than cables, with a station on it. The network moves frames between switches with a
delay of one microsecond per cable, runs timers at their deadlines, and counts what reaches each station."""

from __future__ import annotations

import heapq
import itertools
from random import Random

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch import LearningSwitch
from nodes.trace.events import ListTracer
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from nodes.wire.addresses import BROADCAST_MAC, Mac

MARK = b"\x88\xb5"  # an EtherType for local experiments (IEEE 802, table of public EtherTypes)


class Network:
    """Switches of the nodes of a graph, joined by its edges (parallel ones too). With `hub`, all stations' ports are on
    one hub instead."""

    hub = False

    def __init__(
        self, graph: nx.MultiGraph, *, legacy: frozenset[int] = frozenset(), tree: bool = True, shuffle: int = 0
    ) -> None:
        self.graph = graph
        self.now = 0
        self.queue: list[tuple[int, int, int, int, bytes]] = []
        self.order = itertools.count()
        self.cables: dict[tuple[int, int], tuple[int, int]] = {}
        self.edge_of: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.heard: dict[int, list[bytes]] = {node: [] for node in graph}
        self.tracers = {node: ListTracer(packets=False) for node in graph}
        ports = dict.fromkeys(graph, 1)  # port 0 is the station's
        for edge in graph.edges(keys=True):
            ends = [(node, ports[node]) for node in edge[:2]]
            for node in edge[:2]:
                ports[node] += 1
            self.cables[ends[0]], self.cables[ends[1]] = ends[1], ends[0]
            self.edge_of[ends[0]] = self.edge_of[ends[1]] = edge
        numbers = list(graph)
        Random(shuffle).shuffle(numbers)  # who is root has nothing to do with the order of the nodes
        self.switches = {
            node: LearningSwitch(
                [f"s{node}-{i}" for i in range(ports[node])],
                Mac(b"\x02\x00\x00\x00" + (number + 1).to_bytes(2, "big")),
                Random(0),
                self.tracers[node],
                ageing_time=300 * SECOND,
                spanning_tree=SpanningTreeSettings(rapid=node not in legacy) if tree else None,
                shared_ports=(0,) if self.hub else (),
            )
            for node, number in zip(graph, numbers, strict=True)
        }
        for node, switch in self.switches.items():
            for port in range(ports[node]):
                switch.set_port(port, True, 0)
            self.drain(node)

    def drain(self, node: int) -> None:
        for port, frame in self.switches[node].transmit():
            if (peer := self.cables.get((node, port))) is not None:
                self.put(*peer, frame)
            elif self.hub:
                for other in self.graph:
                    if other != node:
                        self.put(other, 0, frame)
            elif port == 0 and frame[12:14] == MARK:
                self.heard[node].append(frame)

    def put(self, node: int, port: int, frame: bytes) -> None:
        heapq.heappush(self.queue, (self.now + MICROSECOND, next(self.order), node, port, frame))

    def run(self, until: int, limit: int = 500_000) -> None:
        """Everything up to the time `until`."""
        for _ in range(limit):
            due = min((d, node) for node, s in self.switches.items() if (d := s.deadline()) is not None)
            arrival = self.queue[0][0] if self.queue else until + 1
            self.now = max(self.now, min(due[0], arrival))
            if self.now > until:
                self.now = until
                return
            if arrival <= due[0]:
                _, _, node, port, frame = heapq.heappop(self.queue)
                self.switches[node].receive(port, frame, self.now)
            else:
                node = due[1]
                self.switches[node].timeout(self.now)
                later = self.switches[node].deadline()
                assert later is None or later > self.now
            self.drain(node)
        raise AssertionError("the network does not come to rest")

    def set_cable(self, end: tuple[int, int], up: bool) -> None:
        """Plug or unplug a cable; both ends see it."""
        for node, port in (end, self.cables[end]):
            self.queue = [entry for entry in self.queue if up or entry[2:4] != (node, port)]
            heapq.heapify(self.queue)
            self.switches[node].set_port(port, up, self.now)
            self.drain(node)

    def ports(self, node: int) -> list[dict[str, object]]:
        tree = self.switches[node].snapshot(self.now)["spanning_tree"]
        return tree["ports"]  # type: ignore[index,no-any-return]

    def active(self) -> nx.MultiGraph:
        """The cables that forward at both ends."""
        result = nx.MultiGraph()
        result.add_nodes_from(self.switches)
        state = {node: [port["state"] for port in self.ports(node)] for node in self.switches}
        for end, peer in self.cables.items():
            if end < peer and state[end[0]][end[1]] == state[peer[0]][peer[1]] == "forwarding":
                result.add_edge(end[0], peer[0])
        if self.hub:
            result.add_edges_from((node, "hub") for node in self.graph if state[node][0] == "forwarding")
        return result

    def roots(self) -> set[object]:
        return {s.snapshot(self.now)["spanning_tree"]["root"] for s in self.switches.values()}  # type: ignore[index]

    def broadcast(self, node: int, number: int) -> None:
        frame = BROADCAST_MAC + b"\x02\xff\x00\x00" + node.to_bytes(2, "big") + MARK + number.to_bytes(46, "big")
        self.switches[node].receive(0, frame, self.now)
        self.drain(node)

    def assert_tree(self) -> None:
        """All switches connected, no cable too many, one root."""
        active = self.active()
        assert nx.is_connected(active)
        assert active.number_of_edges() == len(self.graph) - 1
        assert len(self.roots()) == 1

    def assert_broadcast_reaches_all_once(self) -> None:
        for number, sender in enumerate(list(self.graph)[:3]):
            before = {node: len(frames) for node, frames in self.heard.items()}
            self.broadcast(sender, number)
            self.run(self.now + 10 * MILLISECOND)
            after = {node: len(frames) - before[node] for node, frames in self.heard.items()}
            assert after == {node: int(node != sender) for node in self.switches}


def multigraph(graph: nx.Graph) -> nx.MultiGraph:
    return nx.MultiGraph(graph)


TOPOLOGIES = {
    "pair": nx.MultiGraph([(0, 1)]),
    "parallel": nx.MultiGraph([(0, 1), (0, 1), (0, 1)]),
    "ring": multigraph(nx.cycle_graph(6)),
    "mesh": multigraph(nx.complete_graph(6)),
    "grid": multigraph(nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4))),
    "line": multigraph(nx.path_graph(12)),
    "fat tree": multigraph(nx.complete_bipartite_graph(3, 5)),
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_becomes_a_tree(name: str) -> None:
    """Loop-free, connected, one root; in under 0.1 s between switches, and in 4 s for stations (edge detection)."""
    network = Network(TOPOLOGIES[name])
    network.run(100 * MILLISECOND)
    network.assert_tree()
    network.run(4 * SECOND)
    network.assert_tree()
    network.assert_broadcast_reaches_all_once()


@pytest.mark.parametrize("name", ["parallel", "ring", "mesh", "grid", "fat tree"])
def test_heals_after_a_cut(name: str) -> None:
    """Any one cable cut and plugged in again: a tree again within a second."""
    graph = TOPOLOGIES[name]
    network = Network(graph)
    network.run(10 * SECOND)
    for end, peer in list(network.cables.items()):
        if end > peer:
            continue
        edge = network.edge_of[end]
        network.graph = graph.copy()
        network.graph.remove_edge(*edge)
        network.set_cable(end, False)
        network.run(network.now + 1 * SECOND)
        network.assert_tree()
        network.assert_broadcast_reaches_all_once()
        network.set_cable(end, True)
        network.graph = graph
        network.run(network.now + 1 * SECOND)
        network.assert_tree()
        network.run(network.now + 10 * SECOND)


def test_a_dead_root_is_replaced() -> None:
    """Old news about a dead root dies out (message age), and the next bridge takes over."""
    graph = multigraph(nx.complete_graph(4))
    network = Network(graph)
    network.run(10 * SECOND)
    (root,) = [n for n in graph if all(p["role"] == "designated" for p in network.ports(n))]
    for end in [end for end in network.cables if end[0] == root]:
        network.set_cable(end, False)
    network.run(network.now + 10 * SECOND)
    rest = network.active()
    rest.remove_node(root)
    assert nx.is_connected(rest)
    assert rest.number_of_edges() == 2
    assert len(network.roots()) == 2  # the cut off one alone, and the others together


@pytest.mark.parametrize("legacy", [{0}, {2}, {0, 3}, {0, 1, 2, 3, 4}])
def test_mixes_with_the_old_protocol(legacy: set[int]) -> None:
    """Bridges that only speak 802.1D-1998: slower (forward delays), the same tree, and never a loop on the way."""
    network = Network(multigraph(nx.complete_graph(5)), legacy=frozenset(legacy))
    for _ in range(60):
        network.run(network.now + SECOND)
        active = network.active()
        assert nx.number_connected_components(active) == len(network.graph) - active.number_of_edges()
    network.assert_tree()
    network.assert_broadcast_reaches_all_once()


class HubNetwork(Network):
    hub = True


def test_bridges_around_a_hub() -> None:
    """A shared LAN with four bridges that are also joined by cables: no loop at any time, through cuts too."""
    network = HubNetwork(multigraph(nx.path_graph(4)), shuffle=1)
    for second in range(60):
        if second in (30, 45):
            end = min(network.cables)
            network.set_cable(end, second == 45)
        network.run(network.now + SECOND)
        assert nx.is_forest(network.active())
    assert nx.is_tree(network.active())


def test_nothing_loops_while_it_converges() -> None:
    """Broadcasts during convergence and cuts reach nobody twice: at no moment is there a loop."""
    graph = TOPOLOGIES["mesh"]
    network = Network(graph)
    number = itertools.count()
    random = Random(7)
    cables = [end for end in network.cables if end < network.cables[end]]
    for round_ in range(40):
        for _ in range(4):
            sender = random.choice(list(graph))
            network.broadcast(sender, next(number))
            network.run(network.now + 30 * MICROSECOND)
        if round_ > 8:
            end = random.choice(cables)
            network.set_cable(end, round_ % 3 == 0)
        network.run(network.now + random.choice([MICROSECOND, 5 * MICROSECOND, SECOND]))
    for frames in network.heard.values():
        assert len(frames) == len(set(frames))


def test_without_a_tree_the_loop_is_real() -> None:
    """The test network does loop frames: what the other tests show is the spanning tree's work."""
    network = Network(TOPOLOGIES["ring"], tree=False)
    network.broadcast(0, 1)
    network.switches[0].set_port(0, False, 0)
    for _ in range(1000):
        at, _, node, port, frame = heapq.heappop(network.queue)
        network.now = at
        network.switches[node].receive(port, frame, at)
        network.drain(node)
    assert len(network.heard[3]) > 100


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 10), st.integers(0, 2**32 - 1), st.floats(0.15, 0.9))
def test_any_graph_becomes_a_tree(nodes: int, seed: int, density: float) -> None:
    """Random connected graphs, random roots, then a random cut that leaves them connected. Where all bridges start at
    the same nanosecond, the transmit hold count can delay an agreement by a second or two."""
    graph = nx.gnp_random_graph(nodes, density, seed=seed)
    parts = [min(part) for part in nx.connected_components(graph)]
    graph.add_edges_from(itertools.pairwise(parts))
    network = Network(multigraph(graph), shuffle=seed)
    network.run(10 * SECOND)
    network.assert_tree()
    network.assert_broadcast_reaches_all_once()
    bridges = set(nx.bridges(graph))
    spare = [e for e, edge in network.edge_of.items() if edge[:2] not in bridges and edge[1::-1] not in bridges]
    if not spare:
        return
    end = Random(seed).choice(sorted(spare))
    network.graph = network.graph.copy()
    network.graph.remove_edge(*network.edge_of[end])
    network.set_cable(end, False)
    network.run(network.now + 4 * SECOND)
    network.assert_tree()


def test_same_seed_same_run() -> None:
    """The events of two runs are the same, to the nanosecond."""
    traces = []
    for _ in range(2):
        network = Network(TOPOLOGIES["grid"], shuffle=3)
        network.run(6 * SECOND)
        traces.append({node: tracer.events for node, tracer in network.tracers.items()})
    assert traces[0] == traces[1]
