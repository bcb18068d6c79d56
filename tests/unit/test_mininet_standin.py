"""The modules that stand for Mininet's: what files with topologies do with them, and the shapes people know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.exchange.reading import read
from lab.exchange.standin.absent import OnlyDescribedError
from lab.exchange.standin.cli import CLI
from lab.exchange.standin.net import Mininet
from lab.exchange.standin.node import Host, Node, RemoteController
from lab.exchange.standin.term import makeTerms
from lab.exchange.standin.topo import (
    LinearTopo,
    MinimalTopo,
    SingleSwitchReversedTopo,
    SingleSwitchTopo,
    Topo,
)
from lab.exchange.standin.topolib import TorusTopo, TreeTopo
from lab.exchange.standin.util import custom, ipAdd, ipStr, irange, macColonHex, makeNumeric, natural, naturalSeq
from lab.plan.planner import make_plan
from tests.unit.mininet_files import Files, use_our_modules


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    use_our_modules(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


def links(topo: Topo) -> list[str]:
    """`h1:0-s1:1`, in the order in which Mininet makes them."""
    return [
        f"{info['node1']}:{info['port1']}-{info['node2']}:{info['port2']}"
        for _, _, info in topo.links(True, False, True)
    ]


@pytest.mark.parametrize(
    ("topo", "hosts", "switches", "expected"),
    [
        (MinimalTopo(), "h1 h2", "s1", "h1:0-s1:1 h2:0-s1:2"),
        (SingleSwitchTopo(3), "h1 h2 h3", "s1", "h1:0-s1:1 h2:0-s1:2 h3:0-s1:3"),
        (SingleSwitchReversedTopo(k=3), "h1 h2 h3", "s1", "h1:0-s1:3 h2:0-s1:2 h3:0-s1:1"),
        (LinearTopo(3), "h1 h2 h3", "s1 s2 s3", "h1:0-s1:1 h2:0-s2:1 h3:0-s3:1 s2:2-s1:2 s3:2-s2:3"),
        (LinearTopo(k=1, n=2), "h1s1 h2s1", "s1", "h1s1:0-s1:1 h2s1:0-s1:2"),
        (
            TreeTopo(2, 2),
            "h1 h2 h3 h4",
            "s1 s2 s3",
            "s1:1-s2:3 s1:2-s3:3 s2:1-h1:0 s2:2-h2:0 s3:1-h3:0 s3:2-h4:0",
        ),
    ],
)
def test_shapes(topo: Topo, hosts: str, switches: str, expected: str) -> None:
    assert topo.hosts() == hosts.split()
    assert topo.switches() == switches.split()
    assert links(topo) == expected.split()


def test_torus() -> None:
    topo = TorusTopo(3, 4, 2)
    assert len(topo.switches()) == 12 and len(topo.hosts()) == 24
    assert len(topo.links()) == 24 + 2 * 12
    assert all(len(topo.ports[name]) == 6 for name in topo.switches())
    with pytest.raises(ValueError, match="3x3"):
        TorusTopo(2, 3)


class Net(Topo):
    """Two links between the same nodes, and options."""

    def build(self, *args: Any, **params: Any) -> None:
        self.arguments = args, params
        self.addHost("h1", ip="10.0.0.5"), self.addSwitch("s1", stp=True)
        self.first = self.addLink("h1", "s1", bw=10)
        self.second = self.addLink("s1", "h1", port1=7, key="spare", delay="1ms")


def test_what_a_topology_tells_of_itself() -> None:
    topo = Net(1, 2, k=3, hopts={"cpu": 1})
    assert topo.arguments == ((1, 2), {"k": 3})
    assert topo.hopts == {"cpu": 1}
    assert topo.isSwitch("s1") and not topo.isSwitch("h1")
    assert topo.nodeInfo("h1") == {"ip": "10.0.0.5"}
    assert topo.nodeInfo("s1") == {"isSwitch": True, "stp": True}
    assert (topo.first, topo.second) == (1, "spare")
    ends = {"node1": "h1", "node2": "s1", "port1": 0, "port2": 1}
    assert topo.linkInfo("h1", "s1", 1) == topo.linkInfo("s1", "h1", 1) == {"bw": 10, **ends}
    assert topo.linkInfo("h1", "s1", "spare")["port1"] == 7
    assert topo.port("h1", "s1") == [(0, 1), (1, 7)]
    assert sorted(topo.links(withKeys=True), key=str) == [("h1", "s1", 1), ("s1", "h1", "spare")]
    topo.setNodeInfo("h1", {"ip": None}), topo.setlinkInfo("h1", "s1", {**ends, "bw": 1}, 1)
    assert topo.nodeInfo("h1") == {"ip": None} and topo.linkInfo("h1", "s1", 1)["bw"] == 1
    assert len(topo.g) == 2 and list(topo.g["h1"]) == ["s1"]


def test_a_single_link_has_one_pair_of_ports() -> None:
    topo = MinimalTopo()
    assert topo.port("s1", "h2") == (2, 0)
    assert topo.port("h1", "h2") == []
    assert topo.linkInfo("h1", "s1")["port2"] == 1


def test_graphs_of_other_libraries() -> None:
    networkx = pytest.importorskip("networkx")
    graph = Net().convertTo(networkx.MultiGraph)
    assert set(graph.nodes) == {"h1", "s1"} and graph.number_of_edges() == 2
    assert graph.nodes["h1"]["ip"] == "10.0.0.5"


def test_helpers() -> None:
    assert list(irange(2, 4)) == [2, 3, 4]
    assert sorted(["h10", "h2", "a"], key=natural) == ["a", "h2", "h10"]
    assert naturalSeq(("h2", "x")) == [["h", 2, ""], ["x"]]
    assert [makeNumeric(text) for text in ("3", "0.5", "x")] == [3, 0.5, "x"]
    assert (ipStr(0x0A000102), ipAdd(3), ipAdd(3, 24, 0xC0A80700)) == ("10.0.1.2", "10.0.0.3", "192.168.7.3")
    assert macColonHex(0x020304) == "00:00:00:02:03:04"
    assert custom(dict, a=1)(b=2) == {"a": 1, "b": 2}


def test_nothing_runs() -> None:
    for call in (lambda: Node("a").cmd("ls"), lambda: Mininet(), lambda: CLI(None), lambda: makeTerms([])):
        with pytest.raises(OnlyDescribedError, match="belongs to a running network"):
            call()


def test_a_controller_is_only_kept() -> None:
    controller = RemoteController("c0", ip="127.0.0.1", port=6633)
    assert (controller.name, controller.params) == ("c0", {"ip": "127.0.0.1", "port": 6633})


def test_parameters_are_set_as_mininet_sets_them() -> None:
    calls: list[object] = []

    class Noting(Host):
        def setThing(self, *args: object, **params: object) -> str:  # noqa: N802
            calls.append((args, params))
            return "done"

    node, results = Noting("a", ip="10.0.0.1"), dict[str, object]()
    for value in (None, 3, [1, 2], {"x": 4}):
        node.setParam(results, "setThing", thing=value)
    assert calls == [((3,), {}), ((1, 2), {}), ((), {"x": 4})]
    assert results == {"thing": "done"}
    assert (str(node), node.params) == ("a", {"ip": "10.0.0.1"})


_WELL_KNOWN = """
from mininet.cli import CLI
from mininet.clean import cleanup
from mininet.log import info, lg, setLogLevel
from mininet.net import Mininet
from mininet.node import OVSBridge, OVSController, RemoteController
from mininet.nodelib import LinuxBridge, NAT
from mininet.topolib import TreeTopo
from mininet.topo import LinearTopo, SingleSwitchTopo
from mininet.util import custom, dumpNodeConnections, irange
import mininet.topo, mininet.util

setLogLevel("info"), info("not shown"), lg.setLogLevel("debug"), cleanup()

class Dumbbell(Topo):
    "Hosts on both sides of a slow link."
    def build(self, n=2, bw=10, delay="20ms"):
        left, right = self.addSwitch("s1"), self.addSwitch("s2")
        self.addLink(left, right, cls=TCLink, bw=bw, delay=delay, max_queue_size=50)
        for number in mininet.util.irange(1, n):
            self.addLink(self.addHost("l%d" % number), left, bw=100, delay="1ms")
            self.addLink(self.addHost("r%d" % number), right, bw=100, delay="1ms")

class FatTree(Topo):
    "k pods of k switches, (k/2)^2 core switches, with the usual names."
    def build(self, k=4):
        half = k // 2
        cores = [self.addSwitch("c%d" % n, dpid="%016x" % (n + 1)) for n in range(half * half)]
        for pod in range(k):
            above = [self.addSwitch("a%d_%d" % (pod, n)) for n in range(half)]
            below = [self.addSwitch("e%d_%d" % (pod, n)) for n in range(half)]
            for n, switch in enumerate(above):
                for core in cores[n * half:(n + 1) * half]:
                    self.addLink(switch, core, bw=100)
                for edge in below:
                    self.addLink(switch, edge, bw=100)
            for n, edge in enumerate(below):
                for host in range(half):
                    self.addLink(self.addHost("h%d_%d_%d" % (pod, n, host)), edge, bw=100)

class Lan(mininet.topo.Topo):
    "Three subnets around a Linux router."
    def build(self, **_):
        router = self.addNode("r0", cls=Router, ip="192.168.1.1/24")
        for n, (net, length) in enumerate((("192.168.1", 24), ("172.16.0", 12), ("10.0.0", 8)), 1):
            switch = self.addSwitch("s%d" % n)
            self.addLink(switch, router, intfName2="r0-eth%d" % n, params2={"ip": "%s.1/%d" % (net, length)})
            host = self.addHost("h%d" % n, ip="%s.100/%d" % (net, length), defaultRoute="via %s.1" % net)
            self.addLink(host, switch)

class Tree(TreeTopo):
    def build(self, depth=3):
        TreeTopo.build(self, depth, fanout=2)

class Line(LinearTopo):
    pass

class Star(SingleSwitchTopo):
    pass

topos = {"dumbbell": Dumbbell, "fattree": FatTree, "lan": (lambda: Lan()), "tree": Tree, "line": Line, "star": Star}

def run():
    net = Mininet(Dumbbell(), controller=lambda name: RemoteController(name, ip="127.0.0.1"), switch=OVSBridge)
    net.start(), dumpNodeConnections(net.hosts), CLI(net), net.stop()

if __name__ == "__main__":
    run()
"""


@pytest.mark.parametrize(
    ("name", "hosts", "switches", "count"),
    [
        ("star", 2, 1, 2),
        ("star,k=5", 5, 1, 5),
        ("line,4", 4, 4, 7),
        ("line,2,3", 6, 2, 7),
        ("tree", 8, 7, 14),
        ("fattree", 16, 20, 48),
        ("dumbbell,3", 6, 2, 7),
    ],
)
def test_well_known_topologies(files: Files, name: str, hosts: int, switches: int, count: int) -> None:
    files.write(_WELL_KNOWN)
    plan = make_plan(read(f"net.py:{name}").topology)
    kinds = [node.kind for node in plan.nodes]
    assert (kinds.count("host"), kinds.count("switch"), len(plan.links)) == (hosts, switches, count)
    assert len(plan.segments) == 1 and plan.segments[0].prefix == "10.0.0.0/8"
    impaired = sum(link.impairment is not None for link in plan.links)
    assert impaired == (count if name.startswith(("dumbbell", "fattree")) else 0)


def test_the_linux_router(files: Files) -> None:
    files.write(_WELL_KNOWN)
    plan = make_plan(read("net.py:lan").topology)
    router = plan.by_name["r0"]
    assert router.kind == "router"
    assert {each.name: each.addresses[0] for each in router.interfaces} == {
        "r0-eth1": "192.168.1.1/24",
        "r0-eth2": "172.16.0.1/12",
        "r0-eth3": "10.0.0.1/8",
    }
    assert [(r.destination, r.via) for r in plan.by_name["h2"].routes] == [("0.0.0.0/0", "172.16.0.1")]


def test_a_fat_tree_has_its_spanning_tree(files: Files) -> None:
    files.write(_WELL_KNOWN)
    found = read("net.py:fattree")
    plan = make_plan(found.topology)
    assert all(node.spanning_tree is not None for node in plan.nodes if node.kind == "switch")
    assert len(found.topology.document.warnings) == 1
