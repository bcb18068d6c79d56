"""The plan as JSON and as tables; names of links and segments."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lab.errors import UserInputError
from lab.model import generate
from lab.model.load import load, loads
from lab.model.tcp import Tcp
from lab.plan.planner import make_plan
from lab.plan.render import plan_from_dict, plan_rows, plan_to_dict
from nodes.transport.tcp.settings import BOUNDS, DEFAULTS, TIMES, TcpSettings, settings_from
from nodes.units import SECOND

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yml"))


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.name)
def test_json_round_trip(path: Path) -> None:
    plan = make_plan(load(path))
    data = plan_to_dict(plan)
    read = json.loads(json.dumps(data))
    assert read == data
    assert plan_from_dict(read) == plan


def test_size_of_json_grows_with_the_lab_and_not_with_its_square() -> None:
    small, large = (len(json.dumps(plan_to_dict(make_plan(loads(generate.star(n)))))) for n in (50, 200))
    assert large < 4.5 * small


def test_not_a_plan() -> None:
    good = plan_to_dict(make_plan(loads("nodes: {a: , b: }\nlinks: [a -- b]")))
    for data, message in (
        ({}, "plan format None, 1 expected"),
        ({**good, "format": 2}, "plan format 2, 1 expected"),
        ({"format": 1}, "not a plan: KeyError 'hosts'"),
        ({**good, "links": [{"name": "x"}]}, "not a plan: KeyError 'a'"),
        ({**good, "nodes": [{"version": 99}]}, "not a plan: ValueError contract version 99"),
        ({**good, "nodes": 5}, "not a plan: TypeError"),
    ):
        with pytest.raises(UserInputError) as caught:
            plan_from_dict(data)
        assert caught.value.message.startswith(message)
        assert caught.value.hint


def test_names_of_links_and_segments() -> None:
    plan = make_plan(
        loads("""
nodes: {a: router, b: router, s: switch, c: host}
links:
  - a -- b
  - b -- a
  - {ends: [a, s], name: up}
  - c -- s
networks: [{on: s, prefix: 10.5.0.0/24, name: lan}]
""")
    )
    assert [link.name for link in plan.links] == ["a:eth0--b:eth0", "b:eth1--a:eth1", "up", "c--s"]
    assert [segment.name for segment in plan.segments] == ["a:eth0--b:eth0", "b:eth1--a:eth1", "lan"]
    interface = plan.by_name["c"].interfaces[0]
    assert (interface.link, interface.peer) == ("c--s", "s:p2")


def test_mtu_of_links_and_interfaces() -> None:
    text = "defaults: {mtu: 1400}\nnodes: {a: {interfaces: {eth0: {mtu: 9000}}}, b: , c: router}\nlinks: [a -- c, "
    plan = make_plan(loads(text + "{ends: [b, c], mtu: 600, up: false}]"))
    assert [(link.mtu, link.up) for link in plan.links] == [(9000, True), (600, False)]
    assert [i.mtu for node in plan.nodes for i in node.interfaces] == [9000, 600, 1400, 600]


def test_what_nodes_say_wins_over_defaults() -> None:
    plan = make_plan(
        loads("""
defaults: {trace: packets, capture: true, stack: kernel, impl: stack, address_check: probe}
nodes:
  a: host
  b: {stack: layerlab, trace: off, capture: false}
  c: {stack: layerlab, address_check: announce, interfaces: {eth0: {address_check: probe}}}
  d: {stack: layerlab, address_check: announce, start: [udp_echo, {udp_sink: {port: 9}}]}
  s: {kind: switch, ageing_time: 20, stp: {priority: 4096}}
  k: {kind: switch, impl: kernel}
  h: hub
links: [a -- s, b -- s, c -- s, d -- s, s -- k, k -- h]
""")
    )
    nodes = plan.by_name
    assert [nodes[name].stack for name in "abcdskh"] == [
        "kernel", "layerlab", "layerlab", "layerlab", "layerlab", "kernel", "layerlab",
    ]  # fmt: skip
    assert [nodes[name].interfaces[0].address_check for name in "abcd"] == ["announce", "probe", "probe", "announce"]
    assert (nodes["a"].trace, nodes["a"].capture) == ("packets", True)
    assert (nodes["b"].trace, nodes["b"].capture) == ("off", False)
    assert [(app.kind, dict(app.options)) for app in nodes["d"].applications] == [
        ("udp_echo", {}),
        ("udp_sink", {"port": 9}),
    ]
    assert nodes["s"].ageing_time == 20.0
    tree = nodes["s"].spanning_tree
    assert tree is not None
    assert (tree.priority, tree.hello_time, tree.max_age, tree.forward_delay) == (4096, 2.0, 20.0, 15.0)
    assert nodes["k"].spanning_tree is None


def test_tcp_settings_of_defaults_and_nodes() -> None:
    """What a node says wins, setting by setting; the kernel has its own; a size may have a unit."""
    text = """
defaults: {tcp: {congestion: reno, msl: 1, sack: false}}
nodes:
  a: host
  r: {kind: router, tcp: {sack: true, send_buffer: 256KiB, delayed_ack: 0}}
  k: {stack: kernel}
  s: switch
links: [a -- s, r -- s, k -- s]
"""
    plan = make_plan(loads(text))
    nodes = plan.by_name
    assert nodes["a"].tcp == {"congestion": "reno", "msl": 1.0, "sack": False}
    assert nodes["r"].tcp == nodes["a"].tcp | {"sack": True, "send_buffer": 262_144, "delayed_ack": 0.0}
    assert nodes["k"].tcp == nodes["s"].tcp == {}
    assert plan_from_dict(plan_to_dict(plan)) == plan
    settings = settings_from(nodes["r"].tcp)
    assert (settings.congestion, settings.msl, settings.sack, settings.send_buffer) == ("reno", SECOND, True, 1 << 18)
    (table,) = [table for table in plan_rows(plan) if table.title == "TCP"]
    assert table.rows == (
        ("a", "congestion=reno sack=off msl=1"),
        ("r", "congestion=reno sack=on msl=1 send_buffer=262144 delayed_ack=0"),
    )


def test_the_model_has_every_setting_of_tcp() -> None:
    """The model must not import the stack; so this holds them together: names, types and bounds."""
    settings = {item.name: type(item.default) for item in dataclasses.fields(TcpSettings)}
    assert set(Tcp.model_fields) == set(settings)
    assert set(BOUNDS) == {name for name, kind in settings.items() if kind is int}
    for name, kind in settings.items():
        if kind is not int:
            value = False if kind is bool else "reno"
            assert settings_from(Tcp.model_validate({name: value}).written()) != DEFAULTS
            continue
        scale = SECOND if name in TIMES else 1
        for bound, outside in zip(BOUNDS[name], (-1, 1), strict=True):
            inside = bound / scale if name in TIMES else bound
            assert Tcp.model_validate({name: inside}).written() == {name: inside}
            with pytest.raises(ValueError, match=name):
                Tcp.model_validate({name: inside + outside})


def test_tables() -> None:
    plan = make_plan(load(TOPOLOGIES[0].with_name("rarp.yml")))
    tables = {table.title: table for table in plan_rows(plan)}
    assert list(tables) == ["Nodes", "Links", "Segments", "Routes"]
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows)
    row = ("diskless", "host", "layerlab", "eth0", "10.0.0.2 by RARP", "02:00:00:00:09:03", "1500")
    assert row in tables["Nodes"].rows
    assert tables["Segments"].rows == (("s1", "10.0.0.0/24", "server:eth0 diskless:eth0 other:eth0", "s1"),)
