"""Switches with `impl: ovs`, for real: Open vSwitch's datapath in user space, with daemons that are the lab's own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.system.conftest import Needs
from tests.system.labs import Labs, wait_for

NETWORK = """\
name: network
nodes:
  a: host
  b: host
  k: {kind: host, stack: kernel}
  n: {kind: host, stack: kernel}
  s: {kind: switch, impl: ovs}
  a-switch-with-a-long-name: {kind: switch, impl: ovs}
  t: switch
links:
  - a -- s
  - {ends: [b, s], name: cable}
  - k -- s
  - s -- a-switch-with-a-long-name
  - a-switch-with-a-long-name -- t
  - t -- n
"""
OCTETS = 3_000_000


@pytest.fixture(autouse=True)
def open_vswitch(needs: Needs) -> None:
    needs("root", "Open vSwitch", "Mininet", "mnexec")


@pytest.fixture(params=["netns", "mininet"])
def name(request: pytest.FixtureRequest, labs: Labs) -> str:
    name = labs.new_name()
    labs.run("up", labs.write(NETWORK), "--name", name, "--driver", request.param, code=0)
    labs.note_namespaces()
    return name


def test_frames_pass_and_stations_are_learned(labs: Labs, name: str) -> None:
    for source, target in (("a", "b"), ("a", "k"), ("b", "n")):
        assert labs.reaches(name, source, target)
    labs.run("exec", "--lab", name, "k", "--", "ping", "-c", "1", "-W", "2", "-s", "4000", "n", code=0)
    state = labs.state(name, "s")
    mac_of = {node: labs.state(name, node)["interfaces"] for node in ("a", "b")}
    learned = {row["mac"]: row["port"] for row in state["fdb"]}
    assert learned[mac_of["a"][0]["mac"]] == "p1"
    assert learned[mac_of["b"][0]["mac"]] == "p2"
    assert [(port["name"], port["up"]) for port in state["ports"]] == [(f"p{number}", True) for number in range(1, 5)]
    assert labs.node(name, "s")["stack"] == "ovs"


def test_long_segments_are_cut_before_it(labs: Labs, name: str) -> None:
    """User space gets frames as a wire carries them, with checksums: from our stack, and from Linux."""
    labs.run("start", "--lab", name, "b", "sink", "--port", "5001", code=0)
    labs.run("start", "--lab", name, "a", "source", "--to", "b:5001", "--bytes", str(OCTETS), code=0)
    script = f"head -c {OCTETS} /dev/zero > /dev/tcp/10.0.0.2/5001"
    labs.run("exec", "--lab", name, "k", "--", "bash", "-c", script, code=0)
    labs.run("exec", "--lab", name, "n", "--", "bash", "-c", script, code=0)


def test_a_cable_that_is_pulled_laid_anew_and_a_switch_off_and_on(labs: Labs, name: str) -> None:
    labs.run("link", "--lab", name, "cable", "down", code=0)
    assert not labs.pings(name, "a", "b")
    labs.run("link", "--lab", name, "cable", "up", code=0)
    wait_for(lambda: labs.pings(name, "a", "b"), 10)
    labs.run("impair", "--lab", name, "cable", "delay=5ms", code=0)
    assert labs.reaches(name, "a", "b")
    labs.run("impair", "--lab", name, "cable", "--clear", code=0)
    assert labs.reaches(name, "a", "b")
    labs.run("stop", "--lab", name, "s", code=0)
    assert not labs.pings(name, "a", "k")
    assert "s is stopped" in labs.run("state", "--lab", name, "s").err
    labs.run("start", "--lab", name, "s", code=0)
    assert labs.reaches(name, "a", "k")
    assert labs.reaches(name, "a", "b")


def test_nothing_is_left(labs: Labs, name: str) -> None:
    """Its daemons end with the lab, and its files were never anywhere else."""
    assert len(labs.processes("ovs-vswitchd")) == len(labs.processes("ovsdb-server")) == 1
    os.kill(labs.supervisor(name), signal.SIGKILL)
    labs.assert_nothing_left()
    (folder,) = labs.runs.glob("*/openvswitch")
    assert list(folder.iterdir()) == []


def test_open_vswitchs_own_programs_reach_it(labs: Labs, name: str) -> None:
    (folder,) = labs.runs.glob("*/openvswitch")
    command = ["env", f"OVS_RUNDIR={folder}", "ovs-ofctl", "dump-ports-desc", "s"]
    shown = labs.run("exec", "--lab", name, "k", "--", *command, code=0).out
    assert shown.count("addr:") == 5  # four ports and its own


@pytest.mark.parametrize("driver", ["netns", "mininet"])
def test_without_open_vswitch(labs: Labs, tmp_path: Path, driver: str) -> None:
    """The programs are looked for where daemons are, too: here all of /usr/sbin is another folder."""
    for program in ("mnexec", "ovs-vsctl", "ovsdb-tool", "ovs-appctl", "bash", "grep"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [*labs.account.command, "up", labs.write(NETWORK), "--name", labs.new_name(), "--driver", driver]
    shell = 'mount --make-rprivate / && mount --bind "$0" /usr/sbin && export PATH="$1" && shift && exec "$@"'
    process = labs.popen(["unshare", "--mount", "sh", "-c", shell, str(empty), str(tmp_path), *command])
    _, told = process.communicate(timeout=60)
    assert process.returncode == 4, told
    assert "Open vSwitch cannot run here: no program ovsdb-server, ovs-vswitchd" in told
    assert "apt-get install openvswitch-switch" in told
    labs.assert_nothing_left()


def test_an_ordinary_user(rootless_labs: Labs) -> None:
    """Where the user may open /dev/net/tun it works; where not, the error says so."""
    name = rootless_labs.new_name()
    done = rootless_labs.run("up", rootless_labs.write(NETWORK), "--name", name)
    if Path("/dev/net/tun").stat().st_mode & 0o006 == 0o006:
        assert done.code == 0, done.err
        assert rootless_labs.reaches(name, "a", "b")
    else:
        assert done.code == 4
        assert "/dev/net/tun: Permission denied" in done.err
        assert "chmod 0666 /dev/net/tun" in done.err
