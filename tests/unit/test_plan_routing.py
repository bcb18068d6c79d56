"""Routes: shortest paths, ties by name, default routes, and that every planned route leads there."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.model import generate
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan


def _plan(text: str) -> Plan:
    return make_plan(loads(text, "t.yml"))


def _routes(plan: Plan, node: str) -> list[tuple[str, str, str]]:
    return [(route.destination, route.via, route.interface) for route in plan.by_name[node].routes]


class Walker:
    """Forwards by the plan alone, as the nodes would: connected prefixes, then the longest matching route."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.owner: dict[tuple[int, IPv4Address], str] = {}
        self.connected: dict[str, list[tuple[IPv4Network, int]]] = {node.name: [] for node in plan.nodes}
        for index, segment in enumerate(plan.segments):
            for end in segment.ends:
                (interface,) = (i for i in plan.by_name[end.node].interfaces if i.name == end.interface)
                address = IPv4Interface(interface.addresses[0])
                self.owner[index, address.ip] = end.node
                self.connected[end.node].append((address.network, index))

    def path(self, source: str, target: str) -> list[str]:
        destination = IPv4Address(self.plan.by_name[source].hosts[target])
        nodes = [source]
        while nodes[-1] != target:
            assert len(nodes) <= len(self.plan.nodes), f"a routing loop: {nodes}"
            nodes.append(self.step(nodes[-1], destination))
        return nodes

    def step(self, node: str, destination: IPv4Address) -> str:
        for network, segment in self.connected[node]:
            if destination in network:
                return self.owner[segment, destination]
        routes = [(IPv4Network(route.destination), route) for route in self.plan.by_name[node].routes]
        matching = [(network.prefixlen, route) for network, route in routes if destination in network]
        assert matching, f"{node} has no route to {destination}"
        _, best = max(matching, key=lambda item: item[0])
        segment = next(index for network, index in self.connected[node] if IPv4Address(best.via) in network)
        return self.owner[segment, IPv4Address(best.via)]


def test_line() -> None:
    plan = _plan(generate.line(3))
    assert Walker(plan).path("h1", "h2") == ["h1", "r1", "r2", "r3", "h2"]
    assert _routes(plan, "h1") == [("0.0.0.0/0", "10.0.0.1", "eth0")]
    assert _routes(plan, "r1") == [("10.0.2.0/24", "10.0.1.2", "eth1"), ("10.0.3.0/24", "10.0.1.2", "eth1")]


def test_ties_go_to_the_first_name() -> None:
    text = "nodes: {a: , r: router, %s: router, %s: router, q: router, b: }\nlinks: [a -- r, r -- %s, r -- %s, "
    for first, second in permutations(["m1", "m2"]):
        plan = _plan(text % (first, second, first, second) + f"{first} -- q, {second} -- q, q -- b]")
        assert Walker(plan).path("a", "b") == ["a", "r", "m1", "q", "b"]


def test_hosts_take_the_router_with_the_lowest_address() -> None:
    plan = _plan("nodes: {a: , r2: router, r1: router, s: switch, b: }\nlinks: [a -- s, r1 -- s, r2 -- s, b -- r1]")
    assert _routes(plan, "a") == [
        ("0.0.0.0/0", "10.0.0.1", "eth0"),
        ("10.0.1.0/24", "10.0.0.2", "eth0"),
    ], "r2 is the default router; what is behind r1 alone is nearer through r1"
    assert _routes(plan, "b") == [("0.0.0.0/0", "10.0.1.1", "eth0")]


def test_no_specific_route_where_the_default_is_as_near() -> None:
    plan = _plan("nodes: {a: , b: , r1: router, r2: router, s: switch, t: switch}\n"
                 "links: [a -- s, r1 -- s, r2 -- s, r1 -- t, r2 -- t, b -- t]")  # fmt: skip
    assert _routes(plan, "a") == [("0.0.0.0/0", "10.0.0.1", "eth0")]


def test_written_routes_win() -> None:
    plan = _plan("""
nodes:
  a: {address: 10.7.0.9/24, gateway: 10.7.0.1}
  r: {kind: router, interfaces: {eth1: 10.8.0.1/24}, routes: [10.9.0.0/24 via 10.8.0.2, default via 10.8.0.2]}
  q: {kind: router, interfaces: {eth0: 10.8.0.2/24, eth1: 10.9.0.1/24}, routes: [10.7.0.9 via 10.8.0.1]}
  b: {routes: [10.7.0.0/24 via 10.9.0.1]}
links: [a -- r, r -- q, q -- b]
""")
    assert _routes(plan, "a") == [("0.0.0.0/0", "10.7.0.1", "eth0")]
    assert _routes(plan, "r") == [("10.9.0.0/24", "10.8.0.2", "eth1"), ("0.0.0.0/0", "10.8.0.2", "eth1")]
    assert _routes(plan, "q") == [("10.7.0.9/32", "10.8.0.1", "eth0"), ("10.7.0.0/24", "10.8.0.1", "eth0")]
    assert _routes(plan, "b") == [("10.7.0.0/24", "10.9.0.1", "eth0"), ("0.0.0.0/0", "10.9.0.1", "eth0")]


def test_hosts_do_not_forward() -> None:
    """A host between two routers is no path."""
    plan = _plan("nodes: {a: , r: router, h: , q: router, b: }\nlinks: [a -- r, r -- h, h -- q, q -- b]")
    assert [route[0] for route in _routes(plan, "r")] == []
    assert {route[0] for route in _routes(plan, "h")} == {"0.0.0.0/0", "10.0.3.0/24"}
    assert plan.warnings == ()


def test_switches_and_hubs_have_no_routes() -> None:
    plan = _plan("nodes: {a: , s: switch, h: hub}\nlinks: [a -- s, s -- h]")
    assert not plan.by_name["s"].routes
    assert not plan.by_name["h"].routes


@st.composite
def topologies(draw: st.DrawFn) -> str:
    """Connected networks: a random tree of routers and switches, some more links, hosts anywhere."""
    kinds = draw(st.lists(st.sampled_from(["router", "switch", "hub"]), min_size=1, max_size=9))
    kinds[0] = "router"
    links = [(draw(st.integers(0, index - 1)), index) for index in range(1, len(kinds))]
    routers = [index for index, kind in enumerate(kinds) if kind == "router"]
    pairs = st.tuples(st.sampled_from(routers), st.integers(0, len(kinds) - 1)).filter(lambda pair: pair[0] != pair[1])
    extra = draw(st.lists(pairs, max_size=4)) if len(kinds) > 1 else []
    names = [f"n{index}" for index in draw(st.permutations(range(len(kinds))))]
    hosts = draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=6))
    nodes = [f"  {name}: {kind}" for name, kind in zip(names, kinds, strict=True)]
    nodes += [f"  h{index}: host" for index in range(len(hosts))]
    lines = [f"  - {names[a]} -- {names[b]}" for a, b in dict.fromkeys(links + extra)]
    lines += [f"  - h{index} -- {names[where]}" for index, where in enumerate(hosts)]
    pool = draw(st.sampled_from(["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12"]))
    return "\n".join([f"defaults: {{addresses: {pool}}}", "nodes:", *nodes, "links:", *lines])


def _check_plan(plan: Plan) -> None:
    interfaces = [interface for node in plan.nodes for interface in node.interfaces]
    addresses = [address for interface in interfaces for address in interface.addresses]
    assert len(set(addresses)) == len(addresses)
    assert len({interface.mac for interface in interfaces}) == len(interfaces)
    networks = sorted(IPv4Network(segment.prefix) for segment in plan.segments if segment.prefix)
    assert not any(a.overlaps(b) for a, b in pairwise(networks))


@pytest.mark.slow
@given(topologies())
def test_any_network_is_connected_by_its_routes(text: str) -> None:
    plan = _plan(text)
    _check_plan(plan)
    walker = Walker(plan)
    for source, target in permutations(plan.by_name["h0"].hosts, 2):
        assert walker.path(source, target)[-1] == target


@pytest.mark.slow
@given(topologies())
def test_planning_is_a_function(text: str) -> None:
    assert _plan(text) == _plan(text)


@pytest.mark.parametrize(
    ("text", "hosts", "longest"),
    [
        (generate.star(20), 20, 2),
        (generate.line(6), 2, 8),
        (generate.ring(7), 7, 6),
        (generate.mesh(6), 6, 4),
        (generate.tree(3, 2), 8, 2),
        (generate.fattree(2), 2, 7),
        pytest.param(generate.fattree(4), 16, 7, marks=pytest.mark.slow),
    ],
    ids=["star", "line", "ring", "mesh", "tree", "fattree2", "fattree4"],
)
def test_generated_networks_are_connected(text: str, hosts: int, longest: int) -> None:
    plan = _plan(text)
    _check_plan(plan)
    walker = Walker(plan)
    names = [node.name for node in plan.nodes if node.kind == "host"]
    assert len(names) == hosts
    assert max(len(walker.path(source, target)) for source, target in permutations(names, 2)) == longest
