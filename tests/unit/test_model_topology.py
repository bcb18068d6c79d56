"""Short forms, defaults, names of interfaces, segments, the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.model.layout import layout_of
from lab.model.load import load, loads
from lab.model.schema import json_schema
from lab.model.topology import Host, Router, Switch
from lab.plan.planner import make_plan

TOPOLOGIES = sorted((Path(__file__).parents[2] / "topologies").glob("*.yml"))


def test_short_forms_mean_the_same_as_long_forms() -> None:
    short = loads("""
nodes:
  a:
  b: host
  r: {kind: router, interfaces: {eth0: 10.0.0.1/24}, routes: [10.9.0.0/16 via 10.0.0.2, default via 10.0.0.3]}
  s: {kind: switch, stp: true}
  t: {start: [udp_echo, {udp_sink: {port: 9}}]}
links: ["a -- s", b -- s, 'r:eth0 -- s:p9', [t, s]]
""")
    long = loads("""
name: topology
nodes:
  a: {kind: host}
  b: {kind: host}
  r:
    kind: router
    interfaces: {eth0: {address: 10.0.0.1/24}}
    routes: [{to: 10.9.0.0/16, via: 10.0.0.2}, {to: 0.0.0.0/0, via: 10.0.0.3}]
  s: {kind: switch, stp: {priority: 32768, hello_time: 2, max_age: 20, forward_delay: 15}}
  t: {kind: host, start: [{kind: udp_echo}, {kind: udp_sink, options: {port: 9}}]}
links: [{ends: [a, s]}, {ends: [b, s]}, {ends: ["r:eth0", "s:p9"]}, {ends: [t, s]}]
""")
    assert short.model_dump() == long.model_dump()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("demo.yml", "demo"),
        ("/x/my lab.yaml", "my-lab"),
        ("...", "lab"),
        ("10.0.0.1.yml", "lab"),
        ("\u00e9.yml", "lab"),
    ],
)
def test_default_name(file: str, name: str) -> None:
    assert loads("nodes: {a: host}", file).name == name
    assert loads("nodes: {a: host}\nname: other", file).name == "other"


def test_interfaces_are_numbered_past_those_in_use() -> None:
    layout = layout_of(
        loads("nodes: {a: host, r: router, s: switch}\nlinks: ['r:eth1 -- a:x', r -- s, r -- s, 's:p1 -- r', a -- s]")
    )
    assert [str(port) for port in layout.ports["r"]] == ["r:eth1", "r:eth0", "r:eth2", "r:eth3"]
    assert [str(port) for port in layout.ports["s"]] == ["s:p2", "s:p3", "s:p1", "s:p4"]
    assert [str(port) for port in layout.ports["a"]] == ["a:x", "a:eth0"]


def test_segments_end_at_hosts_and_routers() -> None:
    text = "nodes: {a: , b: , c: , s: switch, h: hub, r: router}\nlinks: [a -- s, s -- h, h -- b, h -- r, r -- c]"
    layout = layout_of(loads(text))
    assert [[str(port) for port in segment.ports] for segment in layout.segments] == [
        ["a:eth0", "b:eth0", "r:eth0"],
        ["r:eth1", "c:eth0"],
    ]
    assert [segment.switches for segment in layout.segments] == [("s", "h"), ()]


def test_null_and_empty_sections() -> None:
    topology = loads("defaults:\nnodes:\n  a: {interfaces: {eth0: }}\n")
    assert topology.defaults.mtu == 1500
    assert isinstance(topology.nodes["a"], Host)


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.name)
def test_our_topologies_are_clean_and_say_their_purpose(path: Path) -> None:
    assert make_plan(load(path)).warnings == ()
    text = path.read_text()
    assert text.startswith("# ")
    assert "# Expect" in text
    assert load(path).name == path.stem


def test_demo_has_every_kind_of_node() -> None:
    plan = make_plan(load(TOPOLOGIES[0].with_name("demo.yml")))
    assert {(node.kind, node.stack) for node in plan.nodes} >= {
        ("host", "layerlab"),
        ("host", "kernel"),
        ("router", "layerlab"),
        ("switch", "layerlab"),
        ("switch", "kernel"),
        ("hub", "layerlab"),
    }
    assert [link.mtu for link in plan.links].count(1400) == 1


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def test_schema_describes_every_field_and_short_form() -> None:
    schema = json_schema()
    assert schema["required"] == ["nodes"]
    for part in _objects(schema):
        assert part["additionalProperties"] is False
        for name, field in part["properties"].items():
            assert field.get("description"), name
    assert schema["properties"]["nodes"]["additionalProperties"] is False
    (node,) = schema["properties"]["nodes"]["patternProperties"].values()
    nodes = node["anyOf"]
    assert {"enum": ["host", "router", "switch", "hub"], "type": "string"} in nodes
    assert {"type": "null"} in nodes
    links = schema["properties"]["links"]["items"]["anyOf"]
    assert {item.get("type") for item in links} >= {"string", "array"}
    assert set(schema["$defs"]) >= {"Host", "Router", "Switch", "Hub", "Link", "Interface", "Route", "SpanningTree"}
    assert set(Switch.model_fields) == set(schema["$defs"]["Switch"]["properties"])
    assert set(Router.model_fields) == set(schema["$defs"]["Router"]["properties"])
