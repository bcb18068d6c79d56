"""Mininet topologies as ours: the defaults that Mininet has, and what becomes of each parameter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.exchange.reading import read
from lab.exchange.reference import Reference, parse_reference
from lab.model.load import loads
from lab.model.topology import Router, Switch
from lab.plan.planner import make_plan
from nodes.units import MICROSECOND, MILLISECOND
from tests.unit.mininet_files import Files, addresses, use_our_modules, warnings


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    use_our_modules(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


# Names of topologies


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("demo.yml", None),
        ("demo.py.yml", None),
        ("net.py", Reference("net.py", "net.py")),
        ("a/net.py:Net", Reference("a/net.py:Net", "a/net.py", "Net")),
        ("net.py:Net,4,0.5,word", Reference("net.py:Net,4,0.5,word", "net.py", "Net", (4, 0.5, "word"))),
        ("net.py:Net,k=2,x='3'", Reference("net.py:Net,k=2,x='3'", "net.py", "Net", (), {"k": 2, "x": "3"})),
        ("net.py:Net,None,True", Reference("net.py:Net,None,True", "net.py", "Net", (None, True))),
    ],
)
def test_references(text: str, expected: Reference | None) -> None:
    assert parse_reference(text) == expected


def test_arguments_reach_the_topology(files: Files) -> None:
    files.write(
        """
        class Net(Topo):
            def build(self, count, tail="x", *, width=1):
                assert tail == "end" and width == 2.5
                for number in range(count):
                    self.addLink(self.addHost(f"h{number}"), self.addSwitch(f"s{number}"), bw=width)
        """
    )
    assert set(read("net.py:Net,3,end,width=2.5").topology.nodes) == {"h0", "h1", "h2", "s0", "s1", "s2"}


def test_topos_have_names_of_their_own(files: Files) -> None:
    """As `mn --custom` has them; such a name is the lab's."""
    files.write(
        """
        class One(Topo):
            def build(self, n=1):
                for each in range(n):
                    self.addLink(self.addHost(f"a{each}"), self.addHost(f"b{each}"))
        class Two(One):
            pass
        topos = {"my one": lambda n=1: One(n), "two": Two}
        """
    )
    assert read("net.py:my one").topology.name == "my-one"
    assert read("net.py:my one,2").topology.nodes.keys() == {"a0", "b0", "a1", "b1"}
    assert read("net.py:Two").topology.name == "Two"


def test_the_only_topology_of_a_file_needs_no_name(files: Files) -> None:
    found = files.build("self.addLink(self.addHost('a'), self.addHost('b'))")
    assert found.topology.name == "Net"


def test_a_file_may_import_its_neighbors(files: Files, tmp_path: Path) -> None:
    """And two folders may have different ones of the same name."""
    for folder, name in (("one", "left"), ("two", "right")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neighbor.py").write_text(f"NAME = {name!r}\n")
        files.write(
            """
            from neighbor import NAME
            class Net(Topo):
                def build(self):
                    self.addLink(self.addHost(NAME), self.addHost("b"))
            """,
            f"{folder}/net.py",
        )
    assert list(read("one/net.py").topology.nodes) == ["left", "b"]
    assert list(read("two/net.py").topology.nodes) == ["right", "b"]
    assert "neighbor" not in sys.modules
    assert not [name for name in sys.modules if name.startswith("topology_")]


def test_nothing_stays_of_the_modules_that_stand_for_mininet(files: Files) -> None:
    before = {name for name in sys.modules if name.partition(".")[0] == "mininet"}
    path = list(sys.path)
    files.build("self.addLink(self.addHost('a'), self.addHost('b'))")
    assert {name for name in sys.modules if name.partition(".")[0] == "mininet"} == before
    assert sys.path == path


def test_what_a_file_prints_is_no_data(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.build("print('building')\nself.addLink(self.addHost('a'), self.addHost('b'))")
    assert capsys.readouterr() == ("", "building\n")


def test_the_source_is_a_topology_file_that_says_the_same(files: Files) -> None:
    """Also where a name looks like a number, or an interface's has characters that YAML has words for."""
    found = files.build(
        """
        self.addSwitch("s1", stp=True, prio=4096), self.addSwitch("no", dpid="7")
        self.addHost("1e3", ip="10.1.0.1/16", mac="02:00:00:00:00:07", defaultRoute="via 10.1.0.2")
        self.addHost("r", cls=Router, ip="10.1.0.2/16")
        self.addLink("1e3", "s1", bw=0.5, delay="5ms", params1={"loss": 1}), self.addLink("r", "s1")
        self.addLink("r", "no", intfName1="{x,#'$", params1={"ip": "10.2.0.1/24"})
        self.addLink("no", self.addHost("true", ip="10.2.0.2/24"))
        """
    )
    again = make_plan(loads(found.source))
    assert again.nodes == make_plan(found.topology).nodes
    assert again.links == make_plan(found.topology).links
    assert {"1e3", "true", "no"} <= again.by_name.keys()


# Mininet's defaults


def test_addresses_are_in_the_natural_order_of_names(files: Files) -> None:
    """As Mininet gives them, whatever the order of addHost; a host with an address is counted, too."""
    plan = files.plan(
        """
        s = self.addSwitch("s1")
        for name in ("h10", "h2", "h1"):
            self.addLink(self.addHost(name), s)
        self.addLink(self.addHost("h3", ip="10.0.0.77"), s)
        """
    )
    assert addresses(plan) == {
        "h1:h1-eth0": "10.0.0.1/8",
        "h2:h2-eth0": "10.0.0.2/8",
        "h3:h3-eth0": "10.0.0.77/8",
        "h10:h10-eth0": "10.0.0.4/8",
    }


def test_interfaces(files: Files) -> None:
    """Names are Mininet's where the kernel can have them; ports of switches are ours; ports may be chosen."""
    plan = files.plan(
        """
        self.addSwitch("s1"), self.addHost("h1"), self.addHost("quite-a-long-name"), self.addHost("h3")
        self.addLink("h1", "s1", port1=5, port2=9)
        self.addLink("quite-a-long-name", "s1")
        self.addLink("h3", "s1", intfName1="wlan0", addr1="02:00:00:00:00:33", port2=4)
        """
    )
    assert [str(end) for link in plan.links for end in (link.a, link.b)] == [
        *("h1:h1-eth5", "s1:p9"),
        *("quite-a-long-name:eth0", "s1:p2"),
        *("h3:wlan0", "s1:p4"),
    ]
    assert plan.by_name["h3"].interfaces[0].mac == "02:00:00:00:00:33"


def test_host_parameters_are_those_of_the_lowest_port(files: Files) -> None:
    found = files.build(
        """
        self.addHost("a", ip="10.1.0.1/16", mac="02:00:00:00:00:0a", defaultRoute="dev a-eth0")
        self.addHost("b", ip=None), self.addHost("c", ip="10.1.0.3/16"), self.addHost("d", ip="10.3.0.4/16")
        self.addLink("a", "b", port1=3, params1={"ip": "10.2.0.1/16"}, params2={"ip": "10.2.0.2/16"})
        self.addLink("a", "c", port1=1, addr1="02:00:00:00:00:99")
        self.addLink("a", "d", port1=8)
        """
    )
    plan = make_plan(found.topology)
    found_addresses = addresses(plan)
    assert found_addresses["a:a-eth1"] == "10.1.0.1/16"
    assert found_addresses["a:a-eth3"] == "10.2.0.1/16"
    assert found_addresses["b:b-eth0"] == "10.2.0.2/16"
    macs = {each.name: each.mac for each in plan.by_name["a"].interfaces}
    assert macs["a-eth1"] == "02:00:00:00:00:0a"
    assert [text.partition(": ")[2] for text in warnings(found)] == [
        "a: defaultRoute 'dev a-eth0' has no effect here",
        "a-eth8: Mininet gives it no address; here it gets one",
    ]


def test_an_automatic_address_replaces_that_of_the_link(files: Files) -> None:
    """It does so in Mininet, to the surprise of people."""
    found = files.build(
        """
        self.addHost("a"), self.addHost("b", ip="10.0.0.9/8")
        self.addLink("a", "b", params1={"ip": "192.168.0.1/24"})
        """
    )
    assert addresses(make_plan(found.topology))["a:a-eth0"] == "10.0.0.1/8"
    assert warnings(found) == [
        "net.py:12:9: a: the automatic address 10.0.0.1/8 replaces 192.168.0.1/24 of its link, as in Mininet"
    ]


def test_default_options_of_the_topology(files: Files) -> None:
    """`hopts`, `sopts` and `lopts` hold where a call has no options of its own."""
    files.write(
        """
        class Net(Topo):
            def __init__(self):
                Topo.__init__(self, hopts={"stack": "kernel"}, sopts={"impl": "stack"}, lopts={"delay": "3ms"})
                self.addHost("a"), self.addHost("b", ip="10.0.0.9/8"), self.addSwitch("s1")
                self.addLink("a", "s1"), self.addLink("b", "s1", bw=1)
        """
    )
    plan = make_plan(read("net.py").topology)
    assert [node.stack for node in plan.nodes] == ["kernel", "layerlab", "layerlab"]
    asked = [link.impairment.ab for link in plan.links if link.impairment]
    assert [(each.delay, each.rate) for each in asked] == [(3 * MILLISECOND, 0), (0, 1_000_000)]


# Links


def test_link_parameters(files: Files) -> None:
    plan = files.plan(
        """
        self.addHost("a"), self.addHost("b")
        self.addLink("a", "b", cls=TCLink, bw=10, delay="5ms", jitter="250us", loss=1.5, max_queue_size=77, gro=True)
        """
    )
    asked = plan.links[0].impairment
    assert asked is not None and asked.ab == asked.ba
    assert (asked.ab.rate, asked.ab.delay, asked.ab.jitter) == (10_000_000, 5 * MILLISECOND, 250 * MICROSECOND)
    assert getattr(asked.ab.loss, "chance", None) == 0.015
    assert asked.ab.limit == 77


def test_parameters_of_one_end_hold_for_what_it_sends(files: Files) -> None:
    """And those of the link go over those of an end."""
    plan = files.plan(
        """
        self.addHost("a"), self.addHost("b")
        self.addLink("a", "b", delay="1ms", params1={"bw": 2, "delay": "9ms"}, params2={"loss": 3})
        """
    )
    asked = plan.links[0].impairment
    assert asked is not None
    assert (asked.ab.rate, asked.ab.delay, asked.ab.loss) == (2_000_000, MILLISECOND, None)
    assert (asked.ba.rate, asked.ba.delay, getattr(asked.ba.loss, "chance", 0)) == (0, MILLISECOND, 0.03)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("delay=5", "delay 5 is 5 microseconds"),
        ("delay='5'", "delay 5 is 5 microseconds"),
        ("jitter='5ms'", "jitter without delay has no effect"),
        ("bw=10, use_hfsc=True", "use_hfsc has no effect here"),
        ("bw=10, use_tbf=True, latency_ms=3", "use_tbf has no effect here"),
        ("bw=10, enable_red=True", "enable_red has no effect here"),
        ("bw=10, enable_ecn=True", "enable_ecn has no effect here"),
        ("bw=10, speedup=40", "speedup has no effect here"),
        ("bw=2000", "bw=2000 is kept here; Mininet sets no rate above 1000 Mbit/s"),
        ("colour='red'", "colour has no effect here"),
        ("cls=Router", "the class Router is not used"),
    ],
)
def test_doubtful_link_parameters(files: Files, arguments: str, words: str) -> None:
    found = files.build(f"self.addLink(self.addHost('a'), self.addHost('b'), {arguments})")
    assert warnings(found)[0] == f"net.py:12:9: a -- b: {words}"


@pytest.mark.parametrize(
    "arguments", ["delay=0", "delay='0ms'", "loss=0", "bw=None, delay=None", "use_hfsc=False", "use_htb=True"]
)
def test_parameters_that_say_nothing(files: Files, arguments: str) -> None:
    found = files.build(f"self.addLink(self.addHost('a'), self.addHost('b'), {arguments})")
    assert make_plan(found.topology).links[0].impairment is None
    assert warnings(found) == []


# Switches


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {"impl": None, "stp": None}),
        ("cls=OVSSwitch, failMode='standalone', dpid='9'", {"impl": None, "stp": None}),
        ("impl='stack'", {"impl": "stack", "stp": None}),
        ("stp=True", {"impl": None, "stp": 32768}),
        ("stp=1, prio=8192", {"impl": None, "stp": 8192}),
        ("stp=False, prio=8192", {"impl": None, "stp": None}),
    ],
)
def test_switches(files: Files, arguments: str, expected: dict[str, object]) -> None:
    found = files.build(
        f"""
        s = self.addSwitch("s1", {arguments})
        self.addLink(self.addHost("a"), s), self.addLink(self.addHost("b"), s)
        """
    )
    switch = found.topology.nodes["s1"]
    assert isinstance(switch, Switch)
    assert {"impl": switch.impl, "stp": switch.stp and switch.stp.priority} == expected
    assert warnings(found) == []


def test_priorities_between_the_steps(files: Files) -> None:
    """Mininet's Linux bridges begin at 100."""
    found = files.build("self.addLink(self.addSwitch('s1', stp=True, prio=4197), self.addHost('a'))")
    switch = found.topology.nodes["s1"]
    assert isinstance(switch, Switch) and switch.stp is not None and switch.stp.priority == 4096
    assert warnings(found) == ["net.py:12:22: s1: prio 4197 is 4096 here"]


_RING = """
for name in ("s1", "s2", "s3"):
    self.addLink(self.addSwitch(name{}), self.addHost(f"h{{name}}"))
self.addLink("s1", "s2"), self.addLink("s2", "s3"), self.addLink("s3", "s1")
self.addLink(self.addSwitch("s4"), self.addHost("h4", cls=Router, ip="11.0.0.1/8"))
self.addLink("h4", "s1", params1={{"ip": "10.0.0.99/8"}})
"""


def test_a_loop_of_switches_gets_a_spanning_tree(files: Files) -> None:
    found = files.build(_RING.format(""))
    assert [getattr(found.topology.nodes[name], "impl", "") for name in ("s1", "s2", "s3", "s4")] == [
        *("stack", "stack", "stack", None)
    ]
    make_plan(found.topology)  # no error
    assert warnings(found)[0].startswith("net.py:13:26: s1: switches form a loop: they get a spanning tree")


def test_a_spanning_tree_that_somebody_refuses_is_an_error(files: Files) -> None:
    """That of lint, with the line of the link."""
    found = files.build(_RING.format(", stp=False"))
    with pytest.raises(Exception, match=r"net.py:14:61: a loop of switches: s3 - s2 - s1 - s3\n    hint: stp: true"):
        make_plan(found.topology)


def test_two_links_between_two_switches_are_a_loop(files: Files) -> None:
    found = files.build(
        """
        self.addLink(self.addSwitch("s1"), self.addSwitch("s2")), self.addLink("s1", "s2")
        self.addLink(self.addHost("a"), "s1"), self.addLink(self.addHost("b"), "s2")
        """
    )
    make_plan(found.topology)
    assert len(warnings(found)) == 1


# Routers


@pytest.mark.parametrize(
    "command",
    [
        "sysctl net.ipv4.ip_forward=1",
        "sysctl -w net.ipv4.ip_forward=1",
        "sysctl -w net.ipv4.conf.all.forwarding=1",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "echo '1' >> /proc/sys/net/ipv4/ip_forward; true",
        "ifconfig lo up && sysctl -q net.ipv4.ip_forward=1",
    ],
)
def test_a_class_that_forwards_is_a_router(files: Files, command: str) -> None:
    files.write(
        f"""
        class Forwarding(Node):
            def config(self, **params):
                r = super(Forwarding, self).config(**params)
                self.cmd({command!r})
                return r
            def terminate(self):
                self.cmd("sysctl net.ipv4.ip_forward=0")
                super(Forwarding, self).terminate()
        class Net(Topo):
            def build(self):
                self.addNode("r", cls=Forwarding, ip="10.0.0.1/24", defaultRoute="via 10.1.0.2")
                self.addLink("r", self.addHost("a", ip="10.0.0.2/24"))
                self.addLink("r", self.addHost("b", ip="10.1.0.2/24"), params1={{"ip": "10.1.0.1/24"}})
        """
    )
    found = read("net.py")
    router = found.topology.nodes["r"]
    assert isinstance(router, Router)
    assert [(route.to, route.via) for route in router.routes] == [("0.0.0.0/0", "10.1.0.2")]
    assert warnings(found) == []


@pytest.mark.parametrize(
    ("command", "route"),
    [
        ("ip route add 10.9.0.0/16 via 10.0.0.2", ("10.9.0.0/16", "10.0.0.2")),
        ("ip route add 10.9.0.0/16 via 10.0.0.2 dev r-eth0", ("10.9.0.0/16", "10.0.0.2")),
        ("ip r add default via 10.0.0.2", ("0.0.0.0/0", "10.0.0.2")),
        ("route add -net 10.9.0.0 netmask 255.255.0.0 gw 10.0.0.2", ("10.9.0.0/16", "10.0.0.2")),
        ("route add -net 10.9.0.0/16 gw 10.0.0.2 r-eth0", ("10.9.0.0/16", "10.0.0.2")),
        ("route add default gw 10.0.0.2", ("0.0.0.0/0", "10.0.0.2")),
        ("route add -host 10.9.0.1 gw 10.0.0.2", ("10.9.0.1/32", "10.0.0.2")),
    ],
)
def test_static_routes_of_a_class(files: Files, command: str, route: tuple[str, str]) -> None:
    files.write(
        f"""
        class Routed(Router):
            def __init__(self, name, via=None, **params):
                super().__init__(name, **params)
                self.via = via
            def config(self, **params):
                super().config(**params)
                assert self.via == "word" and self.name == "r"
                self.cmd({command.split()!r}) if params.get("as_list") else self.cmd(*{command.split(" ", 1)!r})
        class Net(Topo):
            def build(self, as_list):
                self.addHost("r", cls=Routed, via="word", ip="10.0.0.1/24", as_list=as_list)
                self.addLink("r", self.addHost("a", ip="10.0.0.2/24"))
        """
    )
    for as_list in (True, False):
        found = read(f"net.py:Net,{as_list}")
        router = found.topology.nodes["r"]
        assert isinstance(router, Router)
        assert [(each.to, each.via) for each in router.routes] == [route]
        assert warnings(found) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("self.cmd('zebra -d')", "r: 'zebra -d' is not run"),
        ("raise ValueError('no')", "r: the class Odd could not be tried: ValueError: no"),
        ("open('/nowhere/at/all')", "r: the class Odd could not be tried: FileNotFoundError"),
    ],
)
def test_what_a_class_does_otherwise_is_said(files: Files, body: str, words: str) -> None:
    files.write(
        f"""
        class Odd(Router):
            def config(self, **params):
                super().config(**params)
                {body}
        class Net(Topo):
            def build(self):
                self.addLink(self.addHost("r", cls=Odd, ip="10.0.0.1/24"), self.addHost("a", ip="10.0.0.2/24"))
        """
    )
    found = read("net.py")
    assert isinstance(found.topology.nodes["r"], Router)  # the commands before it count
    assert words in warnings(found)[0]


def test_a_router_that_does_not_forward_is_pointed_out(files: Files) -> None:
    found = files.build(
        """
        self.addHost("m", ip="10.1.0.1/24")
        self.addHost("a", ip="10.1.0.2/24", defaultRoute="via 10.1.0.1"), self.addHost("b", ip="10.2.0.2/24")
        self.addLink("m", "a"), self.addLink("m", "b", params1={"ip": "10.2.0.1/24"})
        """
    )
    assert warnings(found) == ["net.py:12:9: m: the default router of 'a' does not forward"]


def test_nat_is_a_router_without_translation(files: Files) -> None:
    found = files.build(
        """
        from mininet.nodelib import NAT
        self.addNode("nat", cls=NAT, ip="10.1.0.1/24", inNamespace=False, subnet="10.1.0.0/24", inetIntf="eth0")
        self.addLink("nat", self.addHost("a", ip="10.1.0.2/24", defaultRoute="via 10.1.0.1"))
        """
    )
    assert isinstance(found.topology.nodes["nat"], Router)
    assert warnings(found) == ["net.py:13:9: nat: it forwards, and translates no addresses"]


# What has no meaning here


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("cpu=.5", "cpu has no effect here"),
        ("cls=CPULimitedHost, sched='rt', cores=1", "sched has no effect here"),
        ("inNamespace=False", "inNamespace=False has no effect here"),
        ("privateDirs=['/var/run']", "privateDirs has no effect here"),
        ("server='remote'", "server has no effect here"),
        ("cls=lambda name, **params: None", "is made by a function, which is not called"),
    ],
)
def test_host_parameters_without_effect(files: Files, arguments: str, words: str) -> None:
    """Once for all hosts that have them."""
    found = files.build(
        f"""
        s = self.addSwitch("s1")
        for name in "abc":
            self.addLink(self.addHost(name, {arguments}), s)
        """
    )
    assert warnings(found)[0] == f"net.py:14:26: a and 2 more: {words}"


@pytest.mark.parametrize("key", ["protocols", "listenPort", "inband", "controller", "colour"])
def test_switch_parameters_without_effect(files: Files, key: str) -> None:
    found = files.build(f"self.addLink(self.addHost('a'), self.addSwitch('s1', {key}='x'))")
    assert warnings(found)[0] == f"net.py:12:41: s1: {key} has no effect here"
