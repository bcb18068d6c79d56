"""Topologies by formula: they load, lint clean, and have the shape that their name promises."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import EnvironmentLackError, UserInputError
from lab.model import generate
from lab.model.load import loads
from lab.plan.planner import make_plan

GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="label" for="node" attr.name="label" attr.type="string"/>
  <key id="kind" for="node" attr.name="kind" attr.type="string"/>
  <graph edgedefault="undirected">
    <node id="0"><data key="label">New York</data></node>
    <node id="1"><data key="label">New York</data></node>
    <node id="2"><data key="label">%s</data></node>
    <node id="3"><data key="label">alone</data></node>
    <node id="4"><data key="label">true</data><data key="kind">%s</data></node>
    <edge source="0" target="1"/><edge source="1" target="2"/><edge source="2" target="2"/><edge source="4" target="0"/>
  </graph>
</graphml>
"""


@pytest.mark.parametrize(
    ("text", "kinds", "links"),
    [
        (generate.star(4), {"host": 4, "switch": 1}, 4),
        (generate.line(3), {"host": 2, "router": 3}, 4),
        (generate.line(1), {"host": 2, "router": 1}, 2),
        (generate.ring(5), {"host": 5, "router": 5}, 10),
        (generate.mesh(5), {"host": 5, "router": 5}, 15),
        (generate.tree(1, 3), {"host": 3, "switch": 1}, 3),
        (generate.tree(3, 2), {"host": 8, "switch": 7}, 14),
        (generate.fattree(4), {"host": 16, "router": 20}, 48),
        (generate.fattree(6), {"host": 54, "router": 45}, 162),
    ],
    ids=lambda value: value.split("\n")[0] if isinstance(value, str) else "",
)
def test_shapes(text: str, kinds: dict[str, int], links: int) -> None:
    plan = make_plan(loads(text))
    assert Counter(node.kind for node in plan.nodes) == kinds
    assert len(plan.links) == links
    assert plan.warnings == ()
    assert text.startswith("# ")
    assert "\n# Expect: " in text


def test_switch_options() -> None:
    for text in (generate.star(2, impl="stack", stp=True), generate.tree(2, 2, impl="stack", stp=True)):
        switches = [node for node in make_plan(loads(text)).nodes if node.kind == "switch"]
        assert all(node.stack == "layerlab" and node.spanning_tree for node in switches)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generate.star(0), "star: 0 is not between 1 and 10000"),
        (lambda: generate.star(10_000), "star: 10000 makes 10001 nodes, 10000 are the most"),
        (lambda: generate.ring(2), "ring: 2 is not between 3 and 10000"),
        (lambda: generate.mesh(201), "mesh: 201 is not between 2 and 200"),
        (lambda: generate.tree(0, 2), "tree depth: 0 is not between 1 and 13"),
        (lambda: generate.tree(13, 9), "tree fanout: 9 makes 2859599056870 nodes, 10000 are the most"),
        (lambda: generate.fattree(3), "fattree: k is 3, it must be even"),
        (lambda: generate.fattree(0), "fattree: 0 is not between 2 and 32"),
        (lambda: generate.graphml("/nowhere.graphml"), "/nowhere.graphml: no such file or directory"),
    ],
)
def test_wrong_numbers(make: Callable[[], str], message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        make()
    assert caught.value.message == message


def test_graphml(tmp_path: Path) -> None:
    pytest.importorskip("networkx")
    path = tmp_path / "10.graphml"
    path.write_text(GRAPHML % ("Z\u00fcrich / #1", "host"))
    text = generate.graphml(path)
    assert "Left out: 1 nodes without a link." in text
    plan = make_plan(loads(text))
    assert plan.lab == "10"
    assert {node.name: node.kind for node in plan.nodes} == {
        "New-York": "router",
        "New-York-2": "router",
        "Z-rich-1": "router",
        "true": "host",
    }
    assert len(plan.links) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GRAPHML % ("x", "hots"), "node 'true' has the kind 'hots'"),
        ("<graphml", "not a GraphML graph: "),
        ("hello", "not a GraphML graph: "),
        ("<a/>", "not a GraphML graph: "),
        ("", "not a GraphML graph: "),
    ],
    ids=["kind", "cut", "text", "other XML", "empty"],
)
def test_broken_graphml(tmp_path: Path, content: str, message: str) -> None:
    pytest.importorskip("networkx")
    path = tmp_path / "g.graphml"
    path.write_text(content)
    with pytest.raises(UserInputError) as caught:
        generate.graphml(path)
    assert caught.value.message.startswith(f"{path}: {message}")


def test_graphml_without_networkx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(EnvironmentLackError) as caught:
        generate.graphml("g.graphml")
    assert caught.value.message == "reading GraphML needs the package networkx"
    assert caught.value.hint
