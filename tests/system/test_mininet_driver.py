"""The mininet driver for real: the same lab as on any other driver, in a network that is Mininet's own, and nothing
of it left, whatever dies.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import re
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from lab.drivers.base import Epoch
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from tests.system.conftest import Isolated, Needs
from tests.system.labs import MIXED, Done, Labs, alive, star, wait_for

IMPAIRED = """\
name: impaired
nodes: {a: host, b: host, k: {kind: host, stack: kernel}, s: switch}
links: [{ends: [a, s], name: slow, impair: {delay: 20ms}}, b -- s, k -- s]
"""
EVERYTHING = """\
name: everything
nodes:
  a: host
  k: {kind: host, stack: kernel}
  n: {kind: host, stack: kernel}
  m: {kind: router, stack: kernel}
  hub: hub
  st: {kind: switch, impl: stack}
  a-very-long-name-of-a-switch: switch
links:
  - a -- hub
  - hub -- st
  - st -- a-very-long-name-of-a-switch
  - a-very-long-name-of-a-switch -- k
  - a-very-long-name-of-a-switch -- n
  - {ends: [a-very-long-name-of-a-switch, m], impair: {delay: 1ms}}
"""


@pytest.fixture(autouse=True)
def mininet(needs: Needs) -> None:
    needs("Mininet", "mnexec")


def up(labs: Labs, text: str = MIXED, suffix: str = "", **environment: str) -> str:
    name = labs.new_name(suffix)
    labs.run("up", labs.write(text), "--name", name, "--driver", "mininet", code=0, **environment)
    labs.note_namespaces()
    return name


def in_k(labs: Labs, name: str, *command: str, code: int | None = 0, node: str = "k") -> Done:
    return labs.run("exec", "--lab", name, node, "--", *command, code=code)


def shell_of(labs: Labs, node: str) -> int:
    """The shell that Mininet has for a node: `mininet:NODE` is the name by which Mininet's own tools find it."""
    title = f"mininet:{node}".encode()
    (pid,) = [
        process.pid
        for process in labs.processes("bash")
        if title in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    ]
    return pid


# What the lab does


def test_the_demonstration(labs: Labs, needs: Needs) -> None:
    """Hosts, both kinds of switches, a hub, routers, a kernel host: the verdicts are those of the netns driver."""
    needs("tshark", "ping")
    done = labs.run("demo", "--driver", "mininet", code=0)
    verdicts = [line for line in done.out.splitlines() if line.startswith(("  pass", "  FAIL"))]
    assert len(verdicts) == 11
    assert not [line for line in verdicts if "FAIL" in line]
    (folder,) = labs.runs.iterdir()
    assert json.loads((folder / "run.json").read_text())["driver"] == "mininet"
    assert (folder / "supervisor.log").read_text() == ""


def test_everyone_reaches_everyone(any_labs: Labs) -> None:
    """Also for an ordinary user, to whom Mininet itself says that it must run as root."""
    name = up(any_labs)
    assert any_labs.reaches(name, "a", "b")
    assert any_labs.reaches(name, "b", "k")
    in_k(any_labs, name, "ping", "-c", "1", "-W", "2", "a")
    assert any_labs.state(name, "s1")["fdb"]


def test_an_impaired_link(labs: Labs) -> None:
    name = up(labs, IMPAIRED)
    told = in_k(labs, name, "ping", "-n", "-c", "5", "-i", "0.2", "a").out
    times = [float(time) for time in re.findall(r"time=([0-9.]+) ms", told)]
    assert len(times) == 5
    assert min(times) >= 40.0
    labs.run("impair", "--lab", name, "slow", "--clear", code=0)
    told = in_k(labs, name, "ping", "-n", "-c", "5", "-i", "0.2", "a").out
    assert min(float(time) for time in re.findall(r"time=([0-9.]+) ms", told)) < 20.0


def test_exec_is_in_the_host(labs: Labs) -> None:
    """A command runs where Mininet's shell does, with its own exit code."""
    name = up(labs)
    assert in_k(labs, name, "sh", "-c", "exit 5", code=5)
    assert in_k(labs, name, "ls", "/sys/class/net").out.split() == ["eth0", "lo"]
    shell = Path(f"/proc/{shell_of(labs, 'k')}/ns/net").readlink()
    assert in_k(labs, name, "readlink", "/proc/self/ns/net").out.strip() == str(shell)
    assert in_k(labs, name, "ip", "-o", "addr", node="a").out.count("inet") == 0  # its stack is not the kernel's


def test_a_node_that_dies_and_comes_back(labs: Labs) -> None:
    name = up(labs)
    os.kill(labs.process("lab:a"), signal.SIGKILL)
    wait_for(lambda: labs.node(name, "a")["state"] == "dead", 5, lambda: labs.node(name, "a"))
    labs.run("start", "--lab", name, "a", code=0)
    labs.note_namespaces()
    assert labs.reaches(name, "a", "k")


def test_a_node_switched_off_and_on(labs: Labs) -> None:
    """Its shell ends with all that runs in it, and there is another one; its neighbors saw the carrier go."""
    name = up(labs)
    before = shell_of(labs, "k")
    labs.run("stop", "--lab", name, "k", code=0)
    assert not alive(before)
    assert "k" not in [port["name"] for port in labs.state(name, "s1")["ports"] if port["up"] and port["carrier"]]
    assert not labs.pings(name, "a", "k")
    labs.run("start", "--lab", name, "k", code=0)
    labs.note_namespaces()
    assert shell_of(labs, "k") != before
    assert labs.reaches(name, "a", "k")
    labs.run("stop", "--lab", name, "s1", code=0)
    assert not labs.pings(name, "a", "k")
    labs.run("start", "--lab", name, "s1", code=0)
    assert labs.reaches(name, "a", "k")


def test_a_shell_that_is_killed(labs: Labs) -> None:
    """The node goes on, for its agent is no child of the shell; what needs the shell says what to do."""
    name = up(labs)
    os.kill(shell_of(labs, "k"), signal.SIGKILL)
    assert labs.reaches(name, "a", "k")
    done = in_k(labs, name, "true", code=6)
    assert "Mininet's shell of 'k' is gone" in done.err
    assert "`lab stop k` and `lab start k`" in done.err
    labs.run("stop", "--lab", name, "k", code=0)
    labs.run("start", "--lab", name, "k", code=0)
    labs.note_namespaces()
    in_k(labs, name, "ping", "-c", "1", "-W", "2", "a")


# What is left of it


def test_supervisor_killed(any_labs: Labs) -> None:
    name = up(any_labs)
    assert len(any_labs.processes("bash")) == len(any_labs.status(name)["nodes"])
    os.kill(any_labs.supervisor(name), signal.SIGKILL)
    any_labs.assert_nothing_left()


def test_up_killed_at_any_moment(labs: Labs) -> None:
    """While Python starts, shells begin, links are made, agents start."""
    text = star(30)
    begun = time.monotonic()
    name = up(labs, text, "-measured")
    whole = time.monotonic() - begun
    labs.run("down", name, code=0)
    moments = random.Random(6)
    for number in range(5):
        name = labs.new_name(f"-{number}")
        process = labs.start("up", labs.write(text), "--name", name, "--driver", "mininet")
        time.sleep(whole * (number + moments.random()) / 5)
        labs.note_namespaces()
        process.kill()
        process.communicate()
        if labs.stays_up(name):
            labs.run("down", name, code=0)
        labs.assert_nothing_left()


def test_two_labs_at_once(labs: Labs) -> None:
    """Beside one of the netns driver, of the same nodes and names: each is alone in its namespaces."""
    first, second, third = up(labs, suffix="-1"), up(labs, suffix="-2"), labs.up(suffix="-3")
    labs.run("down", first, code=0)
    assert labs.reaches(second, "a", "k")
    assert labs.reaches(third, "a", "k")


# What is missing, and what goes wrong


def test_without_mnexec(labs: Labs) -> None:
    done = labs.run("up", labs.write(MIXED), "--name", labs.new_name(), "--driver", "mininet", code=4, PATH="/nowhere")
    assert "no program 'mnexec'" in done.err
    assert "apt-get install mininet" in done.err
    assert labs.outcome(labs.name) == "failed"


def test_without_the_python_module(labs: Labs) -> None:
    """A package of that name which is not Mininet, as far as this Python can see."""
    (labs.folder / "hidden" / "mininet").mkdir(parents=True)
    (labs.folder / "hidden" / "mininet" / "__init__.py").touch()
    path = os.pathsep.join([str(labs.folder / "hidden"), labs.environment.get("PYTHONPATH", "")])
    done = labs.run("up", labs.write(MIXED), "--name", labs.new_name(), "--driver", "mininet", code=4, PYTHONPATH=path)
    assert "No module named 'mininet." in done.err
    assert "pip install 'layerlab[mininet]'" in done.err


@pytest.mark.parametrize(("script", "told"), [
    ("exit 3", "Mininet's shell of b ended"),
    ("echo unshare: No space left on device; exit 1", "Mininet's shell of b ended: unshare: No space left on device"),
])  # fmt: skip
def test_a_host_that_cannot_start(labs: Labs, script: str, told: str) -> None:
    """The first error ends it all, in the words of who failed. (Mininet itself would wait for ever.)"""
    fake = labs.folder / "bin" / "mnexec"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\ncase "$*" in *mininet:b) {script};; esac\nexec /usr/bin/mnexec "$@"\n')
    fake.chmod(0o755)
    path = f"{fake.parent}:{labs.environment['PATH']}"
    name = labs.new_name()
    done = labs.run("up", labs.write(MIXED), "--name", name, "--driver", "mininet", code=5, PATH=path)
    assert told in done.err
    assert labs.outcome(name) == "failed"
    labs.assert_nothing_left()


def test_doctor_names_the_parts(labs: Labs) -> None:
    found = {row["name"]: row for row in json.loads(labs.run("doctor", "--json", code=0).out)}
    assert found["Mininet"]["ok"]
    assert found["mnexec"]["ok"]
    lacking = {row["name"]: row for row in json.loads(labs.run("doctor", "--json", PATH="/nowhere").out)}
    assert lacking["Mininet"]["ok"]
    assert not lacking["mnexec"]["ok"]
    assert "apt-get install mininet" in lacking["mnexec"]["hint"]


# The network as Mininet sees it


@pytest.fixture
def driver_class() -> type[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Mininet's, of distutils
        return importlib.import_module("lab.drivers.mininet.driver").MininetDriver  # type: ignore[no-any-return]


def test_mininets_objects_tell_the_truth(isolated: Isolated, driver_class: type[Any], tmp_path: Path) -> None:
    """What a program with Mininet's API sees is what the kernel has: nodes, interfaces, MACs, links, addresses."""
    plan = make_plan(loads(EVERYTHING))

    def look() -> None:
        driver = driver_class(plan, tmp_path, Epoch(0, 0))
        driver.create(lambda *_: None)
        net = driver.net
        assert sorted(net) == sorted(node.name for node in plan.nodes)
        assert [host.name for host in net.hosts] == ["a", "k", "n", "m", "hub", "st"]
        for node in net.hosts:
            rows = json.loads(node.cmd("ip -json link show"))
            shown = {row["ifname"]: row["address"] for row in rows if row["ifname"] != "lo"}
            assert shown == {interface.name: interface.MAC() for interface in node.intfList()}
            assert node.pexec("true")[2] == 0
            assert node.pexec("sh -c 'exit 3'", shell=False)[2] != 0
        assert json.loads(net["k"].cmd("ip -json -4 addr show eth0"))[0]["addr_info"][0]["local"] == net["k"].IP()
        assert "2 packets transmitted, 2 received" in net["k"].cmd("ping -c 2 -i 0.2", net["n"].IP())
        _check_links(net, plan)
        switch = net["a-very-long-name-of-a-switch"]
        ports = {row["ifname"] for row in json.loads(switch.cmd("ip -json link show master", switch.bridge))}
        assert ports == {interface.name for interface in switch.intfList() if interface.name != "lo"}
        assert switch.connected()
        shells = [node.pid for node in net.values()]
        driver.destroy()
        assert not any(map(alive, shells))
        driver.destroy()

    isolated(look)


def test_shells_that_have_just_begun_can_be_ended(isolated: Isolated, driver_class: type[Any], tmp_path: Path) -> None:
    """As where a lab fails in the middle: `mnexec` has no process group of its own yet."""
    plan = make_plan(loads("nodes: {a: host, b: host}\nlinks: [a -- b]"))

    def look() -> None:
        driver = driver_class(plan, tmp_path, Epoch(0, 0))
        shells = [driver.net.addHost(f"h{number}", ip=None).pid for number in range(20)]
        driver.destroy()
        assert not any(map(alive, shells))

    isolated(look)


def _check_links(net: object, plan: Plan) -> None:
    """Each link of the plan is one of Mininet's, and each plain one a veth pair between the very two interfaces."""
    links = net.links  # type: ignore[attr-defined]
    ends = [{(end.node.name, end.MAC()) for end in (link.intf1, link.intf2)} for link in links]
    macs = {(node.name, each.name): each.mac for node in plan.nodes for each in node.interfaces}
    assert ends == [{(end.node, macs[end.node, end.interface]) for end in (link.a, link.b)} for link in plan.links]
    for link, planned in zip(links, plan.links, strict=True):
        assert "MISSING" not in link.status()
        if planned.impairment is None:
            (near,) = json.loads(link.intf1.cmd("ip -json link show", link.intf1))
            (far,) = json.loads(link.intf2.cmd("ip -json link show", link.intf2))
            assert (near["link_index"], far["link_index"]) == (far["ifindex"], near["ifindex"])
            assert near["operstate"] == far["operstate"] == "UP"


def test_mininet_changes_nothing_of_the_machine(labs: Labs) -> None:
    """Mininet raises a dozen kernel parameters when it is used as it is."""
    names = ("kernel/pty/max", "fs/file-max", "net/core/wmem_max", "net/core/netdev_max_backlog")
    before = {name: Path("/proc/sys", name).read_text() for name in names}
    name = up(labs)
    labs.run("down", name, code=0)
    assert {name: Path("/proc/sys", name).read_text() for name in names} == before
