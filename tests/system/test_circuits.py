"""Virtual circuits between processes: `lab circuits`, and what it says where there are none. What programs do with them
is in the experiments (test_experiments_netns.py)."""

from __future__ import annotations

import json

import pytest

from tests.system.labs import Labs, wait_for

pytestmark = pytest.mark.system

CHAIN = """\
circuits: true
nodes: {a: host, r: router, b: host}
links: [a -- r, r -- b]
"""


def test_neighbors_find_each_other_and_one_that_dies_is_missed(any_labs: Labs) -> None:
    name = any_labs.up(CHAIN)

    def neighbors(node: str) -> list[str]:
        found = json.loads(any_labs.run("circuits", "--lab", name, node, "--json", code=0).out)
        return [each["interface"] for each in found[node]["neighbors"]]

    wait_for(lambda: neighbors("r") == ["eth0", "eth1"], 10)
    assert any_labs.run("circuits", "--lab", name, code=0).out.split() == ["NODE", "LINK", "VCI", "STATE", "ONWARD"]
    any_labs.run("stop", "--lab", name, "b", code=0)
    wait_for(lambda: neighbors("r") == ["eth0"], 10)
    assert sorted(json.loads(any_labs.run("circuits", "--lab", name, "--json", code=0).out)) == ["a", "r"]
    any_labs.run("start", "--lab", name, "b", code=0)
    wait_for(lambda: neighbors("r") == ["eth0", "eth1"], 10)


def test_nodes_without_circuits(labs: Labs) -> None:
    name = labs.up()
    hint = "  hint: `circuits: true` at the top of a topology gives them to its hosts and routers\n"
    for node in ("a", "k", "s1"):
        done = labs.run("circuits", "--lab", name, node)
        assert (done.code, done.err) == (2, f"error: '{node}' has no virtual circuits\n{hint}")
    done = labs.run("circuits", "--lab", name, "z")
    assert (done.code, done.err) == (2, "error: no node 'z' in lab " + f"{name}\n  hint: its nodes: a, b, k, s1, s2\n")
