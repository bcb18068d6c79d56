"""Programs of users in the agents of a lab, connections from outside, partitions, and nodes that stand still.

    a ── s1 ── b        ours
          └─── k        Linux

One lab serves all tests.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.engine.client import AgentClient
from lab.engine.program_calls import outcome, program_params
from lab.errors import NodeError
from tests.system.conftest import Needs
from tests.system.labs import Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench
from tests.unit import agent_user

TOPOLOGY = """\
name: programs
defaults: {tcp: {msl: 1}}
nodes:
  a: host
  b: {kind: host, start: [echo: {}]}
  k: {kind: host, stack: kernel}
  s1: switch
links: [a -- s1, b -- s1, k -- s1]
"""


@pytest.fixture(scope="module")
def bench(needs: Needs) -> Iterator[Bench]:
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk, Bench(desk, desk.up(TOPOLOGY)) as bench:
        yield bench


def pings(bench: Bench) -> bool:
    return bench.desk.pings(bench.name, "a", "b")


def reaches(bench: Bench) -> bool:
    return bench.desk.reaches(bench.name, "a", "b")


def run(agent: AgentClient, function: Callable[..., Any], *args: Any) -> Any:
    return outcome(*agent.program(program_params(function, args), lambda _: None))


# ------------------------------------------------------------------------------------------------------- from outside


def test_a_connection_from_outside(bench: Bench) -> None:
    with bench.client.agent("a") as agent:
        opened, number = agent.connect("b", 7)
        with opened:
            opened.settimeout(PATIENCE)
            opened.sendall(b"hello")
            assert opened.recv(100) == b"hello"
            assert agent.call("connection", connection=number)["state"] == "open"
            opened.shutdown(socket.SHUT_WR)
            assert opened.recv(100) == b""
        wait_for(lambda: agent.call("connection", connection=number)["state"] == "closed", PATIENCE)


def test_connection_refused(bench: Bench) -> None:
    with bench.client.agent("a") as agent, pytest.raises(NodeError, match="refused"):
        agent.connect("k", 9)


# ------------------------------------------------------------------------------------------------------------ programs


def test_a_program_in_each_of_two_nodes(bench: Bench) -> None:
    with bench.client.agent("a") as a, bench.client.agent("b") as b:
        serving = b.stream("program", program_params(agent_user.serve, [7000]))
        assert "program" in next(serving)
        wait_for(lambda: "a future" in json.dumps(b.call("programs")), PATIENCE)
        assert run(a, agent_user.ask, "b", 7000, 10_000_000) == 10_000_000
        with pytest.raises(StopIteration) as end:
            next(serving)
        assert outcome(end.value.value) == 10_000_000


def test_a_program_talks_to_the_kernel(bench: Bench) -> None:
    with bench.client.agent("a") as agent, pytest.raises(ConnectionRefusedError):
        run(agent, agent_user.ask, "k", 9, 0)


# ---------------------------------------------------------------------------------------- partitions and standing still


def test_a_partition_and_its_end(bench: Bench) -> None:
    address = bench.address("b")
    with bench.client.agent("a") as agent:
        assert agent.call("barrier", addresses=[address])["blocked"] == [address]
        assert not pings(bench)
        assert bench.desk.state(bench.name, "a")["barrier"]["dropped_out"] > 0
        agent.call("barrier", addresses=[])
        assert reaches(bench)
    done = bench.desk.run("events", "--lab", bench.name, "--json", code=0)
    events = [json.loads(line) for line in done.out.splitlines()]
    changes = [event for event in events if event.get("name") == "node:partition_updated"]
    assert len(changes) >= 2, events[:3]


def test_a_node_that_stands_still(bench: Bench) -> None:
    assert reaches(bench)
    bench.desk.run("pause", "--lab", bench.name, "b", code=0)
    assert bench.desk.node(bench.name, "b")["state"] == "paused"
    assert not pings(bench)
    bench.desk.run("pause", "--lab", bench.name, "b", code=0)
    assert "already paused" in bench.desk.run("start", "--lab", bench.name, "b", code=3).err
    bench.desk.run("resume", "--lab", bench.name, "b", code=0)
    assert reaches(bench)
    assert "only ours can be paused" in bench.desk.run("pause", "--lab", bench.name, "k", code=6).err


def test_a_paused_node_can_be_stopped_and_started(bench: Bench) -> None:
    for arguments in ((), ("--kill",)):
        bench.desk.run("pause", "--lab", bench.name, "b", code=0)
        bench.desk.run("stop", "--lab", bench.name, "b", *arguments, code=0)
        assert bench.desk.node(bench.name, "b")["state"] == "stopped"
        assert "not running" in bench.desk.run("resume", "--lab", bench.name, "b", code=3).err
        bench.desk.run("start", "--lab", bench.name, "b", code=0)
        assert reaches(bench)


def test_a_lab_with_a_paused_node_goes_down_in_good_order(needs: Needs) -> None:
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk:
        name = desk.up(TOPOLOGY)
        desk.run("pause", "--lab", name, "b", code=0)
        desk.run("down", name, code=0)
        (state,) = desk.runs.glob("*/nodes/b/state.json")
        assert json.loads(state.read_text())["node"] == "b"
