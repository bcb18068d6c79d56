"""A file with a Mininet topology on our drivers, and a topology of ours in Mininet."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.exchange import library
from lab.exchange.mininet_script import mininet_script
from lab.exchange.reading import read
from lab.lint import check
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from tests.system.labs import Labs

RUNNER = Path(__file__).with_name("mininet_run.py")
DEBIAN = Path("/usr/lib/python3/dist-packages/mininet")
"""Where Debian's package `mininet` has its modules; those of PyPI would do as well."""

TOPO = """\
from mininet.link import TCLink
from mininet.net import Mininet
from mininet.node import Node
from mininet.topo import Topo

class LinuxRouter(Node):
    def config(self, **params):
        super().config(**params)
        self.cmd("sysctl net.ipv4.ip_forward=1")

class Wan(Topo):
    "Two subnets, and a slow link between a host and its switch."
    def build(self, delay="30ms", **stacks):
        self.addNode("r0", cls=LinuxRouter, ip="192.168.1.1/24", **stacks)
        for n, net in ((1, "192.168.1"), (2, "172.16.0")):
            switch = self.addSwitch("s%d" % n)
            self.addLink(switch, "r0", intfName2="r0-eth%d" % n, params2={"ip": net + ".1/24"})
            host = self.addHost("h%d" % n, ip=net + ".100/24", defaultRoute="via %s.1" % net, **stacks)
            self.addLink(host, switch, cls=TCLink, delay=delay if n == 2 else None, cpu=.1)

topos = {"wan": Wan, "plain": lambda: Wan("1ms", stack="kernel")}

if __name__ == "__main__":
    Mininet(Wan()).start()
"""


def round_trip(output: str) -> float:
    """The shortest of a ping's, in ms."""
    found = re.search(r"= ([0-9.]+)/", output)
    assert found, output
    return float(found[1])


@pytest.mark.slow
def test_a_topo_on_processes(labs: Labs) -> None:
    """Our stack in every host; the delay is there in both directions."""
    name = labs.new_name()
    file = labs.write(TOPO, "net.py")
    done = labs.run("up", f"{file}:wan,delay=25ms", "--name", name, code=0)
    assert "cpu has no effect here" in done.err
    labs.note_namespaces()
    ping = labs.run("ping", "--lab", name, "h1", "h2", "-c", "3", "-i", "0.1", "--json", code=0)
    found = json.loads(ping.out)
    assert found["received"] == 3 and found["rtt_min"] >= 50_000_000, found
    assert labs.run("traceroute", "--lab", name, "h1", "h2", code=0).out.count("192.168.1.1") == 1
    again = labs.run("plan", str(next(labs.runs.glob(f"{name}-*")) / "topology.yml"), code=0)
    assert "delay 25ms" in again.out  # the run's own file can be brought up again
    labs.run("down", name, code=0)


@pytest.mark.slow
def test_a_topo_of_linux_hosts(labs: Labs) -> None:
    """With `stack="kernel"` Mininet's hosts are what they are there: Linux."""
    name = labs.new_name()
    labs.run("up", f"{labs.write(TOPO, 'net.py')}:plain", "--name", name, code=0)
    labs.note_namespaces()
    out = labs.run("exec", "--lab", name, "h1", "--", "ping", "-n", "-c", "2", "-i", "0.2", "172.16.0.100", code=0).out
    assert round_trip(out) >= 2
    assert "h1-eth0" in labs.run("exec", "--lab", name, "h1", "--", "ip", "-o", "address", code=0).out
    labs.run("down", name, code=0)


def test_a_topo_in_virtual_time(labs: Labs) -> None:
    labs.write(TOPO, "net.py")
    script = labs.write("async def main(lab):\n    return (await lab.node('h1').ping('h2', count=1))\n", "script.py")
    done = labs.run("run", script, "net.py:wan", "--driver", "sim", "--json", code=0)
    assert json.loads(done.out)["lab"] == "wan"
    assert 60 <= json.loads(done.out)["virtual_seconds"] * 1000 <= 1200


# Mininet itself


@pytest.fixture
def mininet(needs: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Debian's Mininet can be imported by this Python."""
    needs("mnexec", "brctl", "unshare")  # type: ignore[operator]
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "mininet").symlink_to(DEBIAN)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "mininet"}
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.chdir(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mininet"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("mininet")
def test_it_is_read_alike_with_mininet_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our modules stand for Mininet's: the same values, the same places, the same warnings."""
    (tmp_path / "net.py").write_text(TOPO + _SHAPES)
    assert library.can_import_mininet()
    assert logging.getLoggerClass() is logging.Logger
    references = [f"net.py:{name}" for name in _NAMES]
    real = [read(reference) for reference in references]
    assert str(DEBIAN) in os.path.realpath(sys.modules["mininet.topo"].__file__ or "")
    monkeypatch.setattr(library, "can_import_mininet", lambda: False)
    ours = [read(reference) for reference in references]
    for one, other in zip(real, ours, strict=True):
        assert one.source == other.source
        assert check(one.topology).warnings == check(other.topology).warnings
        assert one.topology.document.values.keys() == other.topology.document.values.keys()


_NAMES = ("wan", "plain", "Tree,3,2", "Line,3,2", "Star", "Reversed,4", "Torus,3,3")
_SHAPES = """
from mininet.topo import LinearTopo, SingleSwitchReversedTopo, SingleSwitchTopo
from mininet.topolib import TorusTopo, TreeTopo

class Tree(TreeTopo): pass
class Line(LinearTopo): pass
class Star(SingleSwitchTopo): pass
class Reversed(SingleSwitchReversedTopo): pass
class Torus(TorusTopo): pass
"""


@pytest.mark.usefixtures("mininet")
def test_a_file_that_is_read_starts_no_network(tmp_path: Path) -> None:
    """Not even one that starts it outside of `__main__`."""
    (tmp_path / "net.py").write_text(TOPO + "\nMininet(Wan())\n")
    with pytest.raises(Exception, match="Mininet belongs to a running network") as caught:
        read("net.py:wan")
    assert str(caught.value).startswith("net.py:26:1: ")
    assert "refuse" not in sys.modules["mininet.net"].Mininet.__init__.__qualname__  # as it was


@pytest.mark.usefixtures("mininet")
@pytest.mark.parametrize(
    ("line", "starts"),
    [
        ("Node('n')", True),
        ("Host('h', inNamespace=False)", True),
        ("c = RemoteController('c0', ip='127.0.0.1', port=1)", False),
        ("c = [Controller('c1', port=6633), OVSController('c2')]", False),
    ],
)
def test_nodes_and_controllers_beside_a_topology(tmp_path: Path, line: str, starts: bool) -> None:
    """Mininet would start a shell for each."""
    head = "from mininet.node import Controller, Host, OVSController, RemoteController\n"
    (tmp_path / "net.py").write_text(f"{head}{TOPO}\n{line}\n")
    if starts:
        with pytest.raises(Exception, match="belongs to a running network"):
            read("net.py:wan")
    else:
        assert "h1" in read("net.py:wan").topology.nodes
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "mininet:" in Path(f"/proc/{pid}/cmdline").read_text()]


MIXED = """
name: mixed
nodes:
  a: host
  s1: switch
  r1: router
  r2: router
  hub: hub
  b: {kind: host, routes: [10.9.0.0/16 via 10.0.2.1]}
  k: {kind: host, stack: kernel}
links:
  - a -- s1
  - s1 -- r1
  - {ends: [r1, r2], impair: {rate: 5mbit, from: {r1: {rate: 8mbit}}}}
  - r2 -- hub
  - {ends: [b, hub], addresses: {b: 10.0.2.7/24}}
  - k -- hub
"""


def run_in_mininet(plan: Plan, folder: Path, *pairs: str) -> dict[str, dict[str, dict[str, object]]]:
    path = folder / "exported.py"
    path.write_text(mininet_script(plan).text)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    command += ["/usr/bin/python3", "-W", "ignore", str(RUNNER), str(path), plan.lab, *pairs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.usefixtures("mininet")
def test_an_exported_topology_runs_in_mininet(tmp_path: Path) -> None:
    """Addresses and MACs are those of the plan, pings pass routers, bridges and hub, links have their rates."""
    plan = make_plan(loads(MIXED))
    found = run_in_mininet(plan, tmp_path, "a-b", "b-a", "k-10.0.0.2", "b-r1")
    for pair, answer in found["pings"].items():
        assert "1 received" in str(answer), (pair, answer)
    assert "ttl=62" in str(found["pings"]["a-b"])
    interfaces = [each for node in plan.nodes if node.kind in ("host", "router") for each in node.interfaces]
    assert {each["mac"]: each["address"] for each in found["interfaces"].values()} == {
        each.mac: list(each.addresses) for each in interfaces
    }
    assert found["interfaces"]["r1:eth1"]["parameters"] == {"bw": 8}
    assert found["interfaces"]["r2:eth0"]["parameters"] == {"bw": 5}


@pytest.mark.slow
@pytest.mark.usefixtures("mininet")
def test_mininet_gives_the_addresses_that_we_say(tmp_path: Path) -> None:
    """The defaults of Mininet, as it makes them, beside those of our plan: the file is not exported but its own."""
    (tmp_path / "own.py").write_text(_DEFAULTS)
    plan = make_plan(read("own.py:net").topology)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["/usr/bin/python3", "-W", "ignore", str(RUNNER), "own.py", "net", "h1-h10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    ours = {
        f"{node.name}:{each.name}": list(each.addresses)
        for node in plan.nodes
        for each in node.interfaces
        if node.kind == "host"
    }
    assert {name: each["address"] for name, each in made["interfaces"].items()} == ours
    assert "1 received" in made["pings"]["h1-h10"]


_DEFAULTS = """
from mininet.topo import Topo

class Net(Topo):
    def build(self):
        s = self.addSwitch("s1")
        for name in ("h10", "h2", "h1", "x", "H1"):
            self.addLink(self.addHost(name), s)
        self.addLink(self.addHost("h3", ip="10.0.0.77"), s, port1=4)
        self.addLink(s, self.addHost("h4", ip=None), params2={"ip": "10.0.0.78/8"}, intfName2="wlan0")

topos = {"net": Net}
"""


def test_debians_mininet_is_where_it_should_be(needs: object) -> None:
    needs("mnexec")  # type: ignore[operator]
    assert DEBIAN.is_dir() and shutil.which("mnexec")
