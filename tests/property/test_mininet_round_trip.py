"""A topology that Mininet can express, written for Mininet and read back, is the same plan: names, MACs, addresses,
routes, switches with their spanning trees, links with their impairments. And what Mininet is told first stays, too."""

from __future__ import annotations

import dataclasses
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.exchange import library
from lab.exchange.mininet_script import mininet_script
from lab.exchange.reading import read
from lab.exchange.text import topology_text
from lab.model.load import loads
from lab.model.yaml_source import parse
from lab.plan.planner import make_plan
from lab.plan.values import Plan

_names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,7}", fullmatch=True).filter(
    lambda name: not name.replace(".", "").isdigit() and name[0] != "0"
)
_microseconds = st.integers(1, 2_000_000).map(lambda number: f"{number}us")
_impairs = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.one_of(_microseconds, st.tuples(_microseconds, _microseconds).map(" ".join)),
        "loss": st.integers(1, 10_000_000).map(lambda number: f"{number // 100_000}.{number % 100_000:05}%"),
        "rate": st.integers(8, 10**9).map(lambda number: f"{number}bit"),
        "limit": st.integers(1, 100_000),
    },
)


@st.composite
def topologies(draw: st.DrawFn) -> dict[str, Any]:
    """Switches in a row, hosts and routers on them; two segments with a router between. Values of a topology file."""
    names = draw(st.lists(_names, min_size=6, max_size=10, unique=True))
    left, right, router, *others = names
    nodes: dict[str, Any] = {router: {"kind": "router", "stack": draw(st.sampled_from(["layerlab", "kernel"]))}}
    links: list[dict[str, Any]] = []
    taken: dict[str, int] = {}

    def port(switch: str) -> str:
        taken[switch] = taken.get(switch, 0) + draw(st.integers(1, 3))
        return f"{switch}:p{taken[switch]}"

    for switch in (left, right):
        nodes[switch] = draw(
            st.sampled_from(
                [
                    {"kind": "switch"},
                    {"kind": "hub"},
                    {"kind": "switch", "impl": "stack"},
                    {"kind": "switch", "stp": {"priority": 4096}},
                    {"kind": "switch", "impl": "stack", "stp": True},
                ]
            )
        )
        links.append({"ends": [router, port(switch)]})
    for name in others:
        nodes[name] = {"kind": "host", "stack": draw(st.sampled_from(["layerlab", "kernel"]))}
        ends = [
            f"{name}:{draw(st.sampled_from(['eth0', 'wlan0', f'{name}-eth0']))}",
            port(draw(st.sampled_from(names[:2]))),
        ]
        links.append({"ends": ends[:: draw(st.sampled_from([1, -1]))]})
    for a, b in pairwise(others[: draw(st.integers(0, len(others)))]):
        links.append({"ends": [f"{a}:x{len(links)}", f"{b}:x{len(links)}"]})
    for link in links:
        impair = draw(_impairs)
        one = {link["ends"][draw(st.integers(0, 1))]: draw(_impairs)}
        whole = draw(st.sampled_from([{}, impair, {"from": one}]))
        if whole not in ({}, {"from": {key: {} for key in one}}):
            link["impair"] = whole
    return {"name": draw(_names), "nodes": nodes, "links": links}


def through_mininet(plan: Plan, folder: str) -> Plan:
    path = Path(folder) / "exported.py"
    path.write_text(mininet_script(plan).text, encoding="utf-8")
    return make_plan(read(path).topology)


def comparable(plan: Plan) -> Plan:
    """Without what is no decision: the file it came from, and the order in which routes are listed. A switch has no
    addresses on the way, so that none of its interfaces is checked for one."""
    nodes = tuple(
        dataclasses.replace(node, routes=tuple(sorted(node.routes, key=lambda route: (route.destination, route.via))))
        for node in plan.nodes
    )
    return dataclasses.replace(plan, nodes=nodes, source="", warnings=())


@pytest.mark.slow
@settings(max_examples=80)  # each is a whole network, planned twice
@given(topologies())
def test_the_same_plan(data: dict[str, Any]) -> None:
    plan = make_plan(loads(topology_text(data)))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(library, "can_import_mininet", lambda: False)
        assert mininet_script(plan).left_out == []
        assert comparable(through_mininet(plan, folder)) == comparable(plan)


_texts = st.text(max_size=12)
_values = st.one_of(_texts, st.booleans(), st.integers(-(2**64), 2**64), st.none(), st.lists(_texts))


@given(st.dictionaries(_texts, _values, max_size=5))
def test_text_of_values(values: dict[str, Any]) -> None:
    """Whatever stands in a value reads as itself."""
    data = {"x": values}
    assert parse(topology_text(data), "test.yml").data == data
