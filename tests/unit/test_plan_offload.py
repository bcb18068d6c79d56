"""Which links carry long segments without checksums, and which ends take them."""

from __future__ import annotations

import pytest

from lab.model.errors import TopologyError
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.render import plan_from_dict, plan_rows, plan_to_dict
from lab.plan.values import Plan

EVERYTHING = """
nodes:
  a: host
  k: {kind: host, stack: kernel}
  r: router
  kr: {kind: router, stack: kernel}
  s: switch
  ss: {kind: switch, impl: stack}
  h: hub
links: [a -- s, k -- s, r -- s, kr -- s, ss -- s, h -- s]
"""


def ends(plan: Plan) -> dict[str, bool]:
    return {f"{node.name}:{i.name}": i.offload for node in plan.nodes for i in node.interfaces}


def links(plan: Plan) -> dict[str, bool]:
    return {link.name: link.offload for link in plan.links}


def test_hosts_and_kernels_take_long_segments() -> None:
    plan = make_plan(loads(EVERYTHING))
    assert all(links(plan).values())
    taking = {name for name, takes in ends(plan).items() if takes}
    assert taking == {"a:eth0", "k:eth0", "kr:eth0", "s:p1", "s:p2", "s:p3", "s:p4", "s:p5", "s:p6"}


def test_open_vswitch_takes_frames_as_a_wire_has_them() -> None:
    """Its datapath in user space neither cuts segments nor computes checksums."""
    plan = make_plan(
        loads("nodes: {a: host, k: {stack: kernel}, o: {kind: switch, impl: ovs}}\nlinks: [a -- o, k -- o]")
    )
    assert plan.by_name["o"].stack == "ovs"
    assert plan.by_name["o"].is_bridge
    assert ends(plan) == {"a:eth0": True, "k:eth0": True, "o:p1": False, "o:p2": False}


def test_what_the_file_says() -> None:
    plan = make_plan(loads("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], offload: off}, a -- b]"))
    assert list(links(plan).values()) == [False, True]
    assert ends(plan) == {"a:eth0": False, "a:eth1": True, "b:eth0": False, "b:eth1": True}
    text = "defaults: {offload: off}\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], offload: on}, a -- b]"
    assert list(links(make_plan(loads(text))).values()) == [True, False]


def test_only_on_and_off() -> None:
    with pytest.raises(TopologyError, match="offload"):
        loads("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], offload: maybe}]")


def test_different_mtus_speak_against_it() -> None:
    """A long segment would pass where its pieces would be lost."""
    text = """
nodes: {a: host, b: host, s: switch, c: host}
links: [a -- s, {ends: [s, b], mtu: 1400}, b -- c, {ends: [a:x, c:x], mtu: 9000}]
"""
    assert links(make_plan(loads(text))) == {"a--s": False, "s--b": False, "b--c": True, "a--c": True}
    narrow = "nodes: {a: {interfaces: {eth0: {mtu: 1000}}}, b: host}\nlinks: [a:eth0 -- b]"
    assert links(make_plan(loads(narrow))) == {"a--b": False}


def test_the_plan_shows_it() -> None:
    plan = make_plan(loads("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], offload: off}, a -- b]"))
    table = next(table for table in plan_rows(plan) if table.title == "Links")
    column = table.columns.index("offload")
    assert [row[column] for row in table.rows] == ["off", "on"]
    assert plan_from_dict(plan_to_dict(plan)) == plan
