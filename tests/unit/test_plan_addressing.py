"""Prefixes, addresses, MAC addresses, seeds."""

from __future__ import annotations

import pytest

from lab.model.load import loads
from lab.plan import macs
from lab.plan.macs import assign_macs, derive_mac
from lab.plan.planner import make_plan
from lab.plan.seeds import node_seed
from lab.plan.values import Plan


def _plan(text: str) -> Plan:
    return make_plan(loads(text, "t.yml"))


def _addresses(plan: Plan) -> dict[str, str]:
    return {f"{n.name}:{i.name}": " ".join(i.addresses) for n in plan.nodes for i in n.interfaces if i.addresses}


def test_routers_first_then_hosts_in_the_order_of_the_file() -> None:
    plan = _plan("nodes: {b: , a: , r2: router, r1: router, s: switch}\nlinks: [a -- s, b -- s, r1 -- s, r2 -- s]")
    assert _addresses(plan) == {
        "r2:eth0": "10.0.0.1/24",
        "r1:eth0": "10.0.0.2/24",
        "b:eth0": "10.0.0.3/24",
        "a:eth0": "10.0.0.4/24",
    }


def test_written_addresses_are_stepped_over() -> None:
    plan = _plan("nodes: {a: {address: 10.7.0.2/29}, b: , r: router, s: switch}\nlinks: [a -- s, b -- s, r -- s]")
    assert _addresses(plan) == {"a:eth0": "10.7.0.2/29", "r:eth0": "10.7.0.1/29", "b:eth0": "10.7.0.3/29"}


def test_an_unowned_gateway_goes_to_a_router_and_to_no_host() -> None:
    text = "nodes: {a: {address: 10.0.0.9/24, gateway: 10.0.0.1}, b: , %ss: switch}\nlinks: [a -- s, b -- s%s]"
    plan = _plan(text % ("r: router, ", ", r -- s"))
    assert _addresses(plan)["r:eth0"] == "10.0.0.1/24"
    assert plan.warnings == ()
    alone = _plan(text % ("", ""))
    assert _addresses(alone)["b:eth0"] == "10.0.0.2/24"
    assert alone.warnings == (
        "t.yml:1:44: the gateway 10.0.0.1 is the address of no node\n"
        "    hint: give a router of the segment this address",
    )


def test_blocks_step_over_written_prefixes() -> None:
    plan = _plan("""
nodes: {a: , r: router, b: , c: {address: 10.0.0.77/26}, d: }
links: [a -- r, b -- r, c -- r, d -- r]
networks: [{prefix: 10.0.2.0/23, of: [d, r], name: dee}]
""")
    assert [(segment.name, segment.prefix) for segment in plan.segments] == [
        ("a--r", "10.0.1.0/24"),
        ("b--r", "10.0.4.0/24"),
        ("c--r", "10.0.0.64/26"),
        ("dee", "10.0.2.0/23"),
    ]


@pytest.mark.parametrize(("hosts", "prefix"), [(1, 24), (254, 24), (255, 23), (510, 23), (511, 22)])
def test_a_large_segment_gets_a_larger_block(hosts: int, prefix: int) -> None:
    names = [f"h{number}" for number in range(hosts)]
    nodes = ", ".join(f"{name}: host" for name in names)
    plan = _plan(f"nodes: {{{nodes}, s: {{kind: switch}}}}\nlinks: [{', '.join(f'{name} -- s' for name in names)}]")
    assert plan.segments[0].prefix == f"10.0.0.0/{prefix}"
    assert len(set(_addresses(plan).values())) == hosts


def test_a_small_pool_is_used_whole() -> None:
    """Larger blocks first: no gap is left where a small one would have to stand before them."""
    hosts = [f"h{number}" for number in range(300)]
    text = "defaults: {addresses: 10.0.0.0/22}\nnodes: {r: router, x: host, y: host, s: {kind: switch, impl: stack}, "
    text += ", ".join(f"{host}: host" for host in hosts) + "}\nlinks: [x -- r, r -- s, y -- r, "
    plan = _plan(text + ", ".join(f"{host} -- s" for host in hosts) + "]")
    assert [segment.prefix for segment in plan.segments] == ["10.0.2.0/24", "10.0.0.0/23", "10.0.3.0/24"]


def test_point_to_point_prefix_of_31_bits() -> None:
    """RFC 3021: both addresses of a /31 are for nodes."""
    plan = _plan("nodes: {a: router, b: router}\nlinks: [a -- b]\nnetworks: [{prefix: 10.9.0.0/31, of: [a, b]}]")
    assert _addresses(plan) == {"a:eth0": "10.9.0.0/31", "b:eth0": "10.9.0.1/31"}


def test_addresses_from_every_place() -> None:
    plan = _plan("""
nodes: {a: {address: 10.1.0.5/24}, r: {kind: router, interfaces: {eth1: 10.2.0.1/24}}, b: }
links: [a -- r, {ends: [r, b], addresses: {"b:eth0": 10.2.0.9/24}}]
""")
    assert _addresses(plan) == {
        "a:eth0": "10.1.0.5/24",
        "r:eth0": "10.1.0.1/24",
        "r:eth1": "10.2.0.1/24",
        "b:eth0": "10.2.0.9/24",
    }


def test_rarp_hosts_are_planned_and_in_the_table_of_the_server() -> None:
    plan = _plan("nodes: {a: {address: rarp}, b: {rarp_server: true}, s: switch, c: }\nlinks: [a -- s, b -- s, c -- s]")
    (interface,) = plan.by_name["a"].interfaces
    assert (interface.address_source, interface.addresses) == ("rarp", ("0.0.0.0/24",))
    assert plan.by_name["b"].rarp_table == {interface.mac: "10.0.0.1"}
    assert plan.by_name["c"].rarp_table == {}
    assert plan.by_name["c"].hosts == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
    assert plan.address_of("a") == "10.0.0.1"
    assert plan.address_of("s") is None


def test_macs_are_local_unicast_stable_and_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    assert derive_mac("demo", "a", "eth0") == "02:2b:fb:a3:8a:cb"
    assert derive_mac("demo", "a", "eth0") != derive_mac("other", "a", "eth0")
    plan = _plan("nodes: {a: {interfaces: {eth0: {mac: 06-00-00-00-00-0A}}}, b: host}\nlinks: [a -- b]")
    assert plan.by_name["a"].interfaces[0].mac == "06:00:00:00:00:0a"
    ports = [port for pair in _layout_links() for port in pair]
    real = macs.derive_mac
    monkeypatch.setattr(macs, "derive_mac", lambda lab, node, name, attempt=0: real(lab, "x", "y", attempt))
    assert len(set(assign_macs("lab", ports, {}).values())) == len(ports), "hash clashes are resolved"


def _layout_links():  # type: ignore[no-untyped-def]
    from lab.model.layout import layout_of

    return layout_of(loads("nodes: {a: host, s: switch, b: host}\nlinks: [a -- s, b -- s]")).links.values()


def test_seeds() -> None:
    text = "nodes: {a: , b: }\nlinks: [a -- b]\nseed: 7"
    plan = _plan(text)
    assert plan.seed == 7
    assert plan.by_name["a"].seed == node_seed(7, "a") != plan.by_name["b"].seed
    other = make_plan(loads(text), seed=8)
    assert (other.seed, other.by_name["a"].seed) == (8, node_seed(8, "a"))
    assert 0 <= node_seed(0, "a") < 1 << 64


def test_an_added_last_node_changes_no_other_address() -> None:
    text = "nodes: {a: , b: , s: switch%s}\nlinks: [a -- s, b -- s%s]"
    before, after = _addresses(_plan(text % ("", ""))), _addresses(_plan(text % (", c: host", ", c -- s")))
    assert before.items() < after.items()
