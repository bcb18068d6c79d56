"""What a lab leaves when one of its processes is killed: nothing, within two seconds.

Or, where an agent is killed, a lab that says so and goes on. Every test here also ends with the check of its fixture.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lab.engine.client import LabClient
from tests.system.labs import GONE_WITHIN, MIXED, Labs, alive, star, wait_for

STAR = star(60)


def _state(labs: Labs, name: str, node: str, section: str) -> list[dict[str, object]]:
    return list(labs.state(name, node)[section])


def _carrier(labs: Labs, name: str, node: str) -> object:
    """Whether the first interface of a node sees a carrier."""
    return _state(labs, name, node, "ports" if node.startswith("s") else "interfaces")[0]["up"]


# The processes that own a lab


def test_supervisor_killed(any_labs: Labs) -> None:
    """Everything goes with it. The name is free again, and the next `up` marks the run as crashed."""
    name = any_labs.up()
    os.kill(any_labs.supervisor(name), signal.SIGKILL)
    any_labs.assert_nothing_left()
    assert any_labs.run("down", name).code == 3
    assert any_labs.outcome(name) == "running"  # nobody was left to write more
    any_labs.run("up", any_labs.write(MIXED), "--name", name, code=0)
    assert any_labs.outcome(name, 0) == "crashed"
    assert any_labs.reaches(name, "a", "b")
    any_labs.run("down", name, code=0)
    assert any_labs.outcome(name) == "down"


def test_gc_after_crash(labs: Labs) -> None:
    """`lab gc` marks the run and forgets the lab; a second time there is nothing to do."""
    name = labs.up()
    other = labs.up(suffix="-other")
    os.kill(labs.supervisor(name), signal.SIGKILL)
    wait_for(lambda: not labs.listens(name), GONE_WITHIN)
    (run,) = labs.runs.glob(f"{name}-2*")
    record = labs.folder / "run" / "layerlab" / f"{name}.json"
    done = labs.run("gc", code=0)
    assert done.err == f"lab {name} had crashed; its run is {run}\n"
    assert not record.exists()
    assert labs.outcome(name) == "crashed"
    assert labs.run("gc", code=0).err == "nothing to clear away\n"
    assert labs.reaches(other, "a", "b")


def test_warm_parent_killed(any_labs: Labs) -> None:
    """The supervisor cannot watch over its nodes any more: the lab goes down, and says why."""
    name = any_labs.up()
    os.kill(any_labs.process("lab:warm-parent"), signal.SIGKILL)
    any_labs.assert_nothing_left()
    assert any_labs.outcome(name) == "failed"
    (log,) = any_labs.runs.glob(f"{name}-*/supervisor.log")
    assert "the warm parent died" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_supervisor_ends_in_order(labs: Labs, number: signal.Signals) -> None:
    """SIGTERM and SIGHUP are `lab down`: the nodes write their state."""
    name = labs.up()
    os.kill(labs.supervisor(name), number)
    labs.assert_nothing_left()
    assert labs.outcome(name) == "down"
    states = {path.parent.name for path in labs.runs.glob(f"{name}-*/nodes/*/state.json")}
    assert states == {"a", "b", "k", "s2"}


# The command that starts a lab


def _measured_up(labs: Labs) -> float:
    begun = time.monotonic()
    name = labs.up(STAR, "-measured")
    seconds = time.monotonic() - begun
    labs.run("down", name, code=0)
    return seconds


def test_up_killed_at_any_moment(any_labs: Labs) -> None:
    """SIGKILL between the first instant and the last: while Python starts, links are made, agents start."""
    whole = min(_measured_up(any_labs) for _ in range(2))
    moments = random.Random(2)
    count = 8 if any_labs.account.name == "root" else 4
    survived = 0
    for number in range(count):
        name = any_labs.new_name(f"-{number}")
        process = any_labs.start("up", any_labs.write(STAR), "--name", name)
        _wait_for_end(process, whole * (number + moments.random()) / count)
        process.kill()
        process.communicate()
        if any_labs.stays_up(name):
            survived += 1  # the command had heard that the lab is up, and was about to say so
            any_labs.run("down", name, code=0)
        any_labs.note_namespaces()
        any_labs.assert_nothing_left()
        assert "running" not in _outcomes(any_labs, name)
    assert survived <= count / 2  # most came in the middle


@pytest.mark.parametrize("stage", ["lab:warm-parent", "lab:h1", "lab:h30"])
def test_up_killed_when_process_appears(labs: Labs, stage: str) -> None:
    """At three moments for sure: before the links, with the first agent, with half of them."""
    name = labs.new_name()
    process = labs.start("up", labs.write(STAR), "--name", name)
    wait_for(lambda: bool(labs.processes(stage)), 20)
    process.kill()
    process.communicate()
    labs.note_namespaces()
    labs.assert_nothing_left()
    assert _outcomes(labs, name) == ["failed"]


@pytest.mark.parametrize("stage", [None, "lab:warm-parent", "lab:h30"])
def test_up_interrupted(labs: Labs, stage: str | None) -> None:
    """Ctrl-C: one line, exit code 130, everything undone before the next prompt or very soon after."""
    name = labs.new_name()
    process = labs.start("up", labs.write(STAR), "--name", name)
    wait_for(lambda: bool(labs.processes(stage) if stage else list(labs.runs.iterdir())), 20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "error: interrupted\n")
    labs.assert_nothing_left()
    assert _outcomes(labs, name) == ["failed" for _ in labs.runs.iterdir()]  # or no run at all


@pytest.mark.parametrize("victim", ["lab:warm-parent", "lab:h5"])
def test_part_killed_during_up(labs: Labs, victim: str) -> None:
    """`up` fails with what died, and undoes the rest."""
    name = labs.new_name()
    process = labs.start("up", labs.write(STAR), "--name", name)
    wait_for(lambda: bool(labs.processes(victim)), 20)
    os.kill(labs.process(victim), signal.SIGKILL)
    _, err = process.communicate(timeout=20)
    if process.returncode == 0:  # an agent may have answered before it died
        assert victim != "lab:warm-parent"
        assert labs.node(name, "h5")["state"] == "dead"
        labs.run("down", name, code=0)
    else:
        assert process.returncode in (5, 6), err
        assert err.startswith("error: ")
        assert "Traceback" not in err
        assert _outcomes(labs, name) == ["failed"]
    labs.assert_nothing_left()


def _wait_for_end(process: subprocess.Popen[str], seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _outcomes(labs: Labs, name: str) -> list[str]:
    return [json.loads(path.read_text())["outcome"] for path in labs.runs.glob(f"{name}-2*/run.json")]


# Nodes


def test_agent_killed(any_labs: Labs) -> None:
    """The lab says so and goes on; `lab start` revives the node."""
    name = any_labs.up()
    os.kill(any_labs.process("lab:b"), signal.SIGKILL)
    wait_for(lambda: any_labs.node(name, "b")["state"] == "dead", GONE_WITHIN)
    table = any_labs.run("ps", name, code=0).out
    assert "dead (signal 9)" in table
    assert table.count("running") == 4
    assert any_labs.reaches(name, "a", "k")
    assert not any_labs.pings(name, "a", "b")
    done = any_labs.run("ping", "--lab", name, "b", "a")
    assert (done.code, done.err) == (
        6,
        "error: node 'b' does not answer: Connection refused\n  hint: `lab start b` starts it again\n",
    )
    any_labs.run("start", "--lab", name, "b", code=0)
    assert any_labs.node(name, "b")["state"] == "running"
    assert any_labs.reaches(name, "a", "b")
    assert any_labs.reaches(name, "b", "k")
    any_labs.run("down", name, code=0)


@pytest.mark.parametrize("node", ["s2", "k"])
def test_other_agents_killed(labs: Labs, node: str) -> None:
    """A switch of ours stops switching; a kernel host goes on without its agent. Both come back."""
    name = labs.up()
    os.kill(labs.process(f"lab:{node}"), signal.SIGKILL)
    wait_for(lambda: labs.node(name, node)["state"] == "dead", GONE_WITHIN)
    assert labs.reaches(name, "a", "k") is (node == "k")
    labs.run("start", "--lab", name, node, code=0)
    assert labs.reaches(name, "a", "k")
    labs.run("capture", "--lab", name, node, code=0)
    labs.run("down", name, code=0)


def test_every_agent_killed(labs: Labs) -> None:
    """`lab down` works with nobody left to ask."""
    name = labs.up()
    for node in ("a", "b", "k", "s2"):
        os.kill(labs.process(f"lab:{node}"), signal.SIGKILL)
    wait_for(lambda: [row["state"] for row in labs.status(name)["nodes"]].count("dead") == 4, GONE_WITHIN)
    labs.run("down", name, code=0)
    assert labs.outcome(name) == "down"


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_node_stopped_and_started(labs: Labs, kill: bool) -> None:
    """Its neighbor sees no carrier meanwhile; asked to stop, the agent writes its state, killed it does not."""
    name = labs.up()
    assert labs.reaches(name, "b", "a")
    labs.run("stop", "--lab", name, "a", *(["--kill"] if kill else []), code=0)
    assert labs.node(name, "a")["state"] == "stopped"
    assert not labs.processes("lab:a")
    assert _carrier(labs, name, "s2") is False
    written = list(labs.runs.glob(f"{name}-*/nodes/a/state.json"))
    assert len(written) == (0 if kill else 1)
    assert not labs.pings(name, "b", "a")
    labs.run("start", "--lab", name, "a", code=0)
    wait_for(lambda: _carrier(labs, name, "s2") is True, 1)
    assert labs.reaches(name, "b", "a")
    assert labs.reaches(name, "a", "k")


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_a_node_stopped_and_started_at_once(labs: Labs, kill: bool) -> None:
    """The old agent's end is never taken for the new one's, and its address is free."""
    name = labs.up()
    client = LabClient(name)
    for _ in range(8):
        client.stop("a", kill=kill)
        client.start("a")
        assert client.nodes()["a"].state == "running"
    client.close()
    assert labs.reaches(name, "b", "a")


@pytest.mark.parametrize("node", ["s1", "s2", "k"])
def test_other_nodes_stopped_and_started(labs: Labs, node: str) -> None:
    """A kernel switch, a switch of ours and a kernel host, each between a and k or one of them."""
    name = labs.up()
    labs.run("stop", "--lab", name, node, code=0)
    assert not labs.pings(name, "a", "k")
    labs.run("start", "--lab", name, node, code=0)
    assert labs.reaches(name, "a", "k")
    assert labs.run("exec", "--lab", name, "k", "--", "ping", "-c1", "-W2", "a").code == 0


def test_link_down_and_up(labs: Labs) -> None:
    """Both ends see no carrier; afterwards everything is as it was, and `ps` tells which links are down."""
    name = labs.up()
    link = next(row["name"] for row in labs.status(name)["links"] if "s2" in row["name"] and "a" in row["name"])
    labs.run("link", "--lab", name, link, "down", code=0)
    assert labs.run("ps", name, code=0).out.endswith(f"links down: {link}\n")
    wait_for(lambda: _carrier(labs, name, "a") is False, 1)
    assert not labs.pings(name, "b", "a")
    labs.run("link", "--lab", name, link, "up", code=0)
    wait_for(lambda: _carrier(labs, name, "a") is True, 1)
    assert labs.reaches(name, "b", "a")


# Commands on a lab that is up


def test_exec_killed(any_labs: Labs) -> None:
    """The command dies with `lab exec`."""
    name = any_labs.up()
    process = any_labs.start("exec", "--lab", name, "k", "--", "sleep", "1000")
    wait_for(lambda: bool(any_labs.processes("sleep")), 10)
    (command,) = any_labs.processes("sleep")
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(command.pid), GONE_WITHIN)
    assert any_labs.reaches(name, "a", "k")


def test_exec_killed_after_command_changed_its_user(labs: Labs) -> None:
    """As tcpdump does. The kernel then forgets that the process is to die with its parent."""
    name = labs.up()
    before = {process.pid for process in labs.processes()}
    code = "import os, signal; os.setresuid(65534, 65534, 65534); print('ready', flush=True); signal.pause()"
    process = labs.start("exec", "--lab", name, "k", "--", sys.executable, "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    started = {process.pid for process in labs.processes()} - before
    assert len(started) >= 2
    process.kill()
    wait_for(lambda: not any(map(alive, started)), GONE_WITHIN)
    process.communicate()


def test_ping_killed(labs: Labs) -> None:
    """The application in the node ends when the command that asked for it is gone; the lab goes on."""
    name = labs.up()
    process = labs.start("ping", "--lab", name, "a", "b", "-c", "10000", "-i", "0.05")
    wait_for(lambda: _running_pings(labs, name) == 1, 10)
    process.kill()
    process.communicate()
    wait_for(lambda: _running_pings(labs, name) == 0, GONE_WITHIN)
    assert labs.reaches(name, "a", "b")


def test_ping_interrupted(labs: Labs) -> None:
    """Ctrl-C ends the command and the application in the node."""
    name = labs.up()
    process = labs.start("ping", "--lab", name, "a", "b", "-c", "10000", "-i", "0.05")
    wait_for(lambda: _running_pings(labs, name) == 1, 10)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == 130
    wait_for(lambda: _running_pings(labs, name) == 0, GONE_WITHIN)


def _running_pings(labs: Labs, name: str) -> int:
    rows = _state(labs, name, "a", "applications")
    return sum(row["state"] == "running" for row in rows)
