"""The topology of `make demo`: the same reachability, routes and verdicts on the four drivers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.drivers.abilities import CANNOT
from tests.drivers.conftest import parameters, rig_of
from tests.drivers.table import Row
from tests.system.docker_rig import CHECKOUT

SCRIPT = """
from lab.experiments.demo import run_steps


async def main(lab):
    stacks = [node for node in lab.nodes.values() if node.kind in ("host", "router") and node.name != "k"]
    await lab.sleep(1)
    everyone = [node for node in lab.nodes.values() if node.kind in ("host", "router")]
    reached = {}
    for one in stacks:
        for other in everyone:
            if one is not other:
                ping = await one.ping(other, count=1, timeout=3.0)
                reached[f"{one.name} {other.name}"] = ping["received"]
    routes = {}
    for node in stacks:
        rows = (await node.state())["routes"]
        routes[node.name] = sorted([row["prefix"], row["via"] or "", row["interface"]] for row in rows)
    rows = (await lab.node("k").state())["routes"]
    routes["k"] = sorted([row.get("prefix") or row["destination"], row["via"] or "", row["interface"]] for row in rows)
    verdicts = [[verdict.claim, verdict.passed] async for verdict in run_steps(lab)]
    return {"reached": reached, "routes": routes, "verdicts": verdicts}
"""


def seen_on(request: pytest.FixtureRequest, row: Row) -> dict[str, Any]:
    with rig_of(request, row) as rig:
        script = rig.desk.write(SCRIPT, "demonstration.py")
        topology = str(CHECKOUT / "topologies" / "demo.yml")
        options = (
            "--driver",
            row.name,
            "--json",
            "--name",
            rig.desk.new_name(),
            *(["--stand-in"] if row.name == "sim" else []),
        )
        done = rig.desk.run("run", script, topology, *options, code=0, timeout=200)
        result: dict[str, Any] = json.loads(done.out)["result"]
        return result


@pytest.fixture(scope="module")
def virtual(request: pytest.FixtureRequest) -> dict[str, Any]:
    return seen_on(request, Row("sim", cannot=CANNOT["sim"]))


def test_in_virtual_time(virtual: dict[str, Any]) -> None:
    """What the others are compared with is right."""
    assert set(virtual["reached"].values()) == {1}
    assert len(virtual["reached"]) == 4 * 4
    assert virtual["routes"]["a"] == [["0.0.0.0/0", "10.0.0.1", "eth0"], ["10.0.0.0/24", "", "eth0"]]
    assert len(virtual["verdicts"]) == 10  # the eleventh of `lab demo` is tshark's, on captures
    assert [claim for claim, passed in virtual["verdicts"] if not passed] == []


@pytest.fixture(params=[each for each in parameters() if each.id != "fake"])
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


def test_the_same_in_processes(request: pytest.FixtureRequest, row: Row, virtual: dict[str, Any]) -> None:
    assert seen_on(request, row) == virtual
