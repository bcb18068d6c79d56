"""The netns fabric: what a plan says is what the kernel has, frames pass, and it can be changed and taken apart."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from lab.drivers.kernel.fabric import Fabric
from lab.drivers.kernel.layout import Layout
from lab.errors import DriverError, StateError
from lab.host import ethtool, link_state
from lab.host.namespaces import in_namespace, read_sysctl
from lab.host.netlink import Netlink
from lab.plan.values import End, LinkPlan, Plan
from nodes.contract import InterfaceConfig, NodeConfig, NodeKind, RouteConfig, SpanningTreeConfig, StackKind
from nodes.wire import udp
from nodes.wire.addresses import parse_ip4, parse_mac

Isolated = Callable[[Callable[[], None]], None]
ETHERTYPE = 0x88B5  # IEEE 802 local experimental
SECONDS = 20.0
"""What to wait at most for what happens at once, also on a busy machine."""


# Plans


def node(
    name: str,
    *interfaces: InterfaceConfig,
    kind: NodeKind = "host",
    stack: StackKind = "layerlab",
    routes: tuple[RouteConfig, ...] = (),
    spanning_tree: SpanningTreeConfig | None = None,
) -> NodeConfig:
    return NodeConfig(
        "test", name, kind, stack, interfaces=interfaces, routes=routes, spanning_tree=spanning_tree, ageing_time=300.0
    )


def port(name: str, number: int, *addresses: str) -> InterfaceConfig:
    return InterfaceConfig(name, f"02:00:00:00:00:{number:02x}", addresses)


def link(text: str, mtu: int = 1500, up: bool = True) -> LinkPlan:
    """`h1:eth0 s1:p1`"""
    a, b = (End(*end.split(":")) for end in text.split())
    return LinkPlan(f"{a.node}-{b.node}", a, b, mtu, up)


def plan(nodes: list[NodeConfig], links: list[LinkPlan]) -> Plan:
    return Plan("test", 1, tuple(nodes), tuple(links), ())


def switch(name: str, first: int, count: int, tree: SpanningTreeConfig | None = None) -> NodeConfig:
    ports = (port(f"p{i}", first + i) for i in range(1, count + 1))
    return node(name, *ports, kind="switch", stack="kernel", spanning_tree=tree)


def star() -> Plan:
    """h1 and h2 on a kernel switch."""
    nodes = [switch("s1", 0x10, 2), node("h1", port("eth0", 1)), node("h2", port("eth0", 2))]
    return plan(nodes, [link("h1:eth0 s1:p1"), link("s1:p2 h2:eth0", mtu=1400)])


def kernel_line() -> Plan:
    """k1 -- r1 -- k2, all kernel stacks, cable to cable."""
    routes = {n: (RouteConfig("0.0.0.0/0", f"10.0.{n}.254", "eth0"),) for n in (1, 2)}
    nodes = [
        node("k1", port("eth0", 1, "10.0.1.1/24"), stack="kernel", routes=routes[1]),
        node(
            "r1", port("eth1", 3, "10.0.1.254/24"), port("eth2", 4, "10.0.2.254/24"), kind="router", stack="kernel",
            routes=(RouteConfig("172.16.0.0/12", "10.0.2.1", "eth2", 5),),
        ),
        node("k2", port("eth0", 2, "10.0.2.1/24"), stack="kernel", routes=routes[2]),
    ]  # fmt: skip
    return plan(nodes, [link("k1:eth0 r1:eth1"), link("r1:eth2 k2:eth0")])


@contextmanager
def built(value: Plan) -> Iterator[Fabric]:
    fabric = Fabric()
    fabric.create(value, lambda _stage, _done, _total: None)
    try:
        yield fabric
    finally:
        fabric.close()


# Looking and sending


def interface(fabric: Fabric, end: str) -> Mapping[str, Any]:
    name, _, wanted = end.partition(":")
    rows = cast("list[dict[str, Any]]", fabric.kernel_state(name)["interfaces"])
    return next(row for row in rows if row["name"] == wanted)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {SECONDS} s: {what}"
        time.sleep(0.005)


@contextmanager
def packet_socket(fabric: Fabric, end: str, ethertype: int = ETHERTYPE) -> Iterator[socket.socket]:
    name, _, wanted = end.partition(":")
    with in_namespace(fabric.namespaces[name]):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
        opened.bind((wanted, ethertype))
    opened.settimeout(SECONDS)
    with opened:
        yield opened


def frame(destination: str, source: str, body: bytes) -> bytes:
    return parse_mac(destination) + parse_mac(source) + struct.pack("!H", ETHERTYPE) + body


def passes(fabric: Fabric, a: str, b: str) -> bool:
    """Whether a broadcast from one end is heard at the other, unchanged."""
    sent = frame("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:77", os.urandom(100))
    with packet_socket(fabric, a) as first, packet_socket(fabric, b) as second:
        second.settimeout(0.2)
        try:
            first.send(sent)
            return second.recv(2000) == sent
        except (TimeoutError, OSError):
            return False


@contextmanager
def udp_socket(fabric: Fabric, name: str) -> Iterator[socket.socket]:
    with in_namespace(fabric.namespaces[name]):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(SECONDS)
    with opened:
        yield opened


def answers(fabric: Fabric, client: str, server: str, address: str) -> None:
    with udp_socket(fabric, client) as first, udp_socket(fabric, server) as second:
        second.bind((address, 4000))
        first.sendto(b"question", (address, 4000))
        data, sender = second.recvfrom(100)
        second.sendto(data + b" answered", sender)
        assert first.recv(100) == b"question answered"


# Building


def test_star_is_as_planned(isolated: Isolated) -> None:
    def body() -> None:
        with built(star()) as fabric:
            assert set(fabric.namespaces) == {"h1", "h2"}
            eth0 = interface(fabric, "h1:eth0")
            assert (eth0["mac"], eth0["mtu"], eth0["up"], eth0["carrier"]) == ("02:00:00:00:00:01", 1500, True, True)
            assert interface(fabric, "h2:eth0")["mtu"] == 1400
            state = fabric.kernel_state("h1")
            assert state["addresses"] == state["routes"] == state["neighbors"] == []
            with in_namespace(fabric.namespaces["h1"]):
                assert read_sysctl("net.ipv6.conf.eth0.disable_ipv6") in ("1", None)
                assert read_sysctl("net.ipv4.ip_forward") == "0"
            bridge = fabric.bridge_state("s1")
            assert (bridge["kernel_name"], bridge["mac"], bridge["ageing_time"]) == ("s1", "02:00:00:00:00:11", 300.0)
            ports = cast("list[dict[str, Any]]", bridge["ports"])
            assert [(p["name"], p["state"], p["mac"]) for p in ports] == [
                ("p1", "forwarding", "02:00:00:00:00:11"),
                ("p2", "forwarding", "02:00:00:00:00:12"),
            ]

    isolated(body)


def test_kernel_of_a_layerlab_node_is_silent(isolated: Isolated) -> None:
    """A new node sends nothing by itself, and its kernel answers neither ARP nor an IP packet to its MAC."""

    def body() -> None:
        with built(star()) as fabric:
            with in_namespace(fabric.namespaces["h2"]):
                everything = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            with everything, packet_socket(fabric, "h2:eth0") as sender:
                everything.settimeout(0.3)
                request = struct.pack("!HHBBH6sI6sI", 1, 0x800, 6, 4, 1, bytes(6), 0x0A000002, bytes(6), 0x0A000001)
                header = parse_mac("02:00:00:00:00:01") + parse_mac("02:00:00:00:00:02")
                sender.send(header + struct.pack("!H", 0x0806) + request)
                packet = bytes.fromhex("4500001c000000004011") + b"\x66\xcf" + bytes.fromhex("0a0000020a000001")
                sender.send(header + struct.pack("!H", 0x0800) + packet + struct.pack("!HHHH", 9, 9, 8, 0))
                heard = []
                with pytest.raises(TimeoutError):
                    while True:
                        heard.append(everything.recvfrom(2000))
            assert [sender[2] for _data, sender in heard] == [socket.PACKET_OUTGOING] * 2

    isolated(body)


def test_frames_pass_and_the_bridge_learns(isolated: Isolated) -> None:
    def body() -> None:
        with built(star()) as fabric:
            assert passes(fabric, "h1:eth0", "h2:eth0")
            fdb = cast("list[dict[str, Any]]", fabric.bridge_state("s1")["fdb"])
            learned = [(row["mac"], row["port"]) for row in fdb if row["kind"] == "learned"]
            assert learned == [("02:00:00:00:00:77", "p1")]

    isolated(body)


def test_kernel_hosts_and_router(isolated: Isolated) -> None:
    def body() -> None:
        stages: list[tuple[str, int, int]] = []
        fabric = Fabric()
        fabric.create(kernel_line(), lambda *stage: stages.append(stage))
        assert stages == [("namespaces", 3, 3), ("links", 2, 2), ("hosts", 1, 3), ("hosts", 2, 3), ("hosts", 3, 3)]
        answers(fabric, "k1", "k2", "10.0.2.1")
        state = fabric.kernel_state("r1")
        routes = {row["destination"]: row for row in cast("list[dict[str, Any]]", state["routes"])}
        assert set(routes) == {"10.0.1.0/24", "10.0.2.0/24", "172.16.0.0/12"}
        assert routes["172.16.0.0/12"]["metric"] == 5
        fabric.close()

    isolated(body)


def test_checksums_are_real(isolated: Isolated) -> None:
    """Behind two switches, Linux computes checksums before it sends, and verifies what it gets."""
    nodes = [
        node("h1", port("eth0", 1)),
        switch("s1", 0x10, 2),
        switch("s2", 0x20, 2),
        node("k1", port("eth0", 2, "10.0.0.2/24"), stack="kernel"),
    ]
    value = plan(nodes, [link("h1:eth0 s1:p1"), link("s1:p2 s2:p1"), link("s2:p2 k1:eth0")])
    ours, theirs, everyone = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), parse_ip4("10.0.0.255")

    def body() -> None:
        with (
            built(value) as fabric,
            udp_socket(fabric, "k1") as server,
            packet_socket(fabric, "h1:eth0", 0x0800) as wire,
        ):
            server.bind(("10.0.0.2", 4000))
            for text, wrong in ((b"wrong", 1), (b"right", 0)):
                segment = bytearray(udp.build(ours, theirs, 4000, 4000, text))
                segment[6] ^= wrong
                ip = bytearray(struct.pack("!BBHHHBBHII", 0x45, 0, 33, 0, 0, 64, 17, 0, ours, theirs))
                total = sum(struct.unpack("!10H", ip))
                struct.pack_into("!H", ip, 10, 0xFFFF - (total & 0xFFFF) - (total >> 16))
                header = parse_mac("02:00:00:00:00:02") + parse_mac("02:00:00:00:00:01") + b"\x08\x00"
                wire.send(header + ip + segment)
            assert server.recv(100) == b"right"
            server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            server.sendto(b"to all", ("10.0.0.255", 4000))
            _header, payload = udp.parse(wire.recv(2000)[14 + 20 :], theirs, everyone)
            assert bytes(payload) == b"to all"

    isolated(body)


def test_offloads(isolated: Isolated) -> None:
    nodes = [
        node("h1", port("eth0", 1)), switch("s1", 0x10, 2), node("k1", port("eth0", 2, "10.0.0.2/24"), stack="kernel"),
    ]  # fmt: skip
    value = plan(nodes, [link("h1:eth0 s1:p1"), link("s1:p2 k1:eth0")])

    def on(name: str) -> list[str]:
        tool = ethtool.Ethtool()
        return [text for text, active in tool.features(name).items() if active and ethtool.OFFLOADS.match(text)]

    def body() -> None:
        layout = Layout.of(value)
        with built(value) as fabric:
            assert on(layout.ends[End("s1", "p1")].name) == on(layout.ends[End("s1", "p2")].name) == []
            with in_namespace(fabric.namespaces["k1"]):
                assert on("eth0") == []
            with in_namespace(fabric.namespaces["h1"]):
                assert on("eth0") != [], "an agent may use those of its own end"
            fabric.destroy_node("k1")
            fabric.rebuild_node("k1")
            with in_namespace(fabric.namespaces["k1"]):
                assert on("eth0") == []

    isolated(body)


def test_spanning_tree_settings(isolated: Isolated) -> None:
    tree = SpanningTreeConfig(priority=4096, hello_time=1.0, max_age=6.0, forward_delay=4.0)
    nodes = [switch("s1", 0x10, 2, tree), switch("s2", 0x20, 2, SpanningTreeConfig())]
    value = plan(nodes, [link("s1:p1 s2:p1"), replace(link("s1:p2 s2:p2"), name="second")])

    def body() -> None:
        with built(value) as fabric:
            state = cast("dict[str, Any]", fabric.bridge_state("s1")["spanning_tree"])
            assert state["enabled"]
            assert state["bridge_id"] == state["root_id"] == "1000.02:00:00:00:00:11"
            assert {p["state"] for p in cast("list[dict[str, Any]]", fabric.bridge_state("s1")["ports"])} <= {
                "listening", "learning",
            }  # fmt: skip

    isolated(body)


def test_names_in_the_labs_namespace() -> None:
    names = ["s1", "a-very-long-switch-name", "p3", "br1", "lo", "all", "a%d"]
    layout = Layout.of(plan([switch(name, 0x10 * i, 0) for i, name in enumerate(names)], []))
    assert [bridge.name for bridge in layout.bridges.values()] == ["s1", "br3", "br4", "br5", "br6", "br7", "br8"]


def test_loose_interface(isolated: Isolated) -> None:
    def body() -> None:
        with built(plan([node("h1", port("eth0", 1))], [])) as fabric:
            eth0 = interface(fabric, "h1:eth0")
            assert (eth0["mac"], eth0["up"], eth0["carrier"]) == ("02:00:00:00:00:01", True, False)

    isolated(body)


# Changing


def test_pulling_a_cable_at_a_bridge(isolated: Isolated) -> None:
    def body() -> None:
        with built(star()) as fabric:
            fabric.set_link("h1-s1", False)
            wait_for(lambda: not interface(fabric, "h1:eth0")["carrier"], "no carrier")
            assert interface(fabric, "h1:eth0")["up"], "only the cable is out"
            assert not passes(fabric, "h1:eth0", "h2:eth0")
            fabric.set_link("h1-s1", True)
            wait_for(lambda: passes(fabric, "h1:eth0", "h2:eth0"), "frames pass")
            with pytest.raises(DriverError, match="no link 'nothing'") as caught:
                fabric.set_link("nothing", True)
            assert "h1-s1, s1-h2" in caught.value.hint

    isolated(body)


def test_pulling_a_cable_between_kernel_hosts_keeps_routes(isolated: Isolated) -> None:
    def body() -> None:
        with built(kernel_line()) as fabric:
            before = [fabric.kernel_state(name)["routes"] for name in ("k1", "r1", "k2")]
            fabric.set_link("k1-r1", False)
            fabric.set_link("r1-k2", False)
            assert fabric.kernel_state("r1")["routes"] == []
            fabric.set_link("k1-r1", True)
            fabric.set_link("r1-k2", True)
            assert [fabric.kernel_state(name)["routes"] for name in ("k1", "r1", "k2")] == before
            answers(fabric, "k1", "k2", "10.0.2.1")

    isolated(body)


def test_links_that_start_down(isolated: Isolated) -> None:
    value = star()
    value = replace(value, links=tuple(replace(link, up=False) for link in value.links))

    def body() -> None:
        with built(value) as fabric:
            assert not interface(fabric, "h1:eth0")["carrier"]
            fabric.set_link("h1-s1", True)
            fabric.set_link("s1-h2", True)
            wait_for(lambda: passes(fabric, "h1:eth0", "h2:eth0"), "frames pass")
        with built(replace(kernel_line(), links=tuple(replace(link, up=False) for link in kernel_line().links))) as two:
            two.set_link("r1-k2", True)
            two.set_link("k1-r1", True)
            answers(two, "k1", "k2", "10.0.2.1")

    isolated(body)


def test_mtu(isolated: Isolated) -> None:
    def body() -> None:
        with built(star()) as fabric:
            fabric.set_mtu("h1-s1", 600)
            assert interface(fabric, "h1:eth0")["mtu"] == 600
            ports = cast("list[dict[str, Any]]", fabric.bridge_state("s1")["ports"])
            assert [p["mtu"] for p in ports] == [600, 1400]
            with pytest.raises(DriverError, match=r"set the MTU of h1:eth0 to 1: .*mtu less than device minimum"):
                fabric.set_mtu("h1-s1", 1)
            with pytest.raises(DriverError, match="no link 'h9-s1'"):
                fabric.set_mtu("h9-s1", 1500)

    isolated(body)


def test_a_link_that_is_opened_keeps_its_mtu(isolated: Isolated) -> None:
    """And one that is plain again keeps it, too, and carries frames."""

    def body() -> None:
        with built(star()) as fabric:
            fabric.set_mtu("h1-s1", 600)
            for opened in (True, False):
                fabric.open_link("h1-s1", opened)
                assert interface(fabric, "h1:eth0")["mtu"] == 600
                ports = cast("list[dict[str, Any]]", fabric.bridge_state("s1")["ports"])
                assert [p["mtu"] for p in ports] == [600, 1400]
                inner = {row.name: row.mtu for row in link_state.read_links(fabric._open()) if row.name[0] == "m"}
                assert set(inner.values()) == ({600} if opened else set())
                assert passes(fabric, "h1:eth0", "h2:eth0") is not opened

    isolated(body)


@pytest.mark.parametrize("name", ["h1", "s1"])
@pytest.mark.parametrize("stopped", [False, True])
def test_a_link_is_opened_and_plain_again(isolated: Isolated, name: str, stopped: bool) -> None:
    """Also while one of its nodes is stopped."""

    def body() -> None:
        with built(star()) as fabric:
            for opened in (True, False):
                if stopped:
                    fabric.destroy_node(name)
                fabric.open_link("h1-s1", opened)
                if stopped:
                    fabric.rebuild_node(name)
            wait_for(lambda: passes(fabric, "h1:eth0", "h2:eth0"), "the link carries frames")

    isolated(body)


def test_opening_that_fails_half_way_leaves_the_link_as_it_was(
    isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_fabric: Fabric, _pair: object) -> NoReturn:
        raise DriverError("the kernel says no")

    def body() -> None:
        with built(kernel_line()) as fabric:
            monkeypatch.setattr(Fabric, "_inner_requests", fail)
            with pytest.raises(DriverError, match="the kernel says no"):
                fabric.open_link("k1-r1")
            assert fabric.inner_ends("k1-r1") is None
            answers(fabric, "k1", "k2", "10.0.2.1")

    isolated(body)


@pytest.mark.parametrize("name", ["h1", "s1"])
def test_destroy_and_rebuild(isolated: Isolated, name: str) -> None:
    def body() -> None:
        with built(star()) as fabric:
            before = interface(fabric, "h1:eth0")["mac"], interface(fabric, "h1:eth0")["mtu"]
            files = open_files()
            fabric.destroy_node(name)
            assert open_files() == files - len(fabric.namespaces) % 2, "the namespace of a host is let go"
            wait_for(lambda: not interface(fabric, "h2:eth0")["carrier"] or name != "s1", "no carrier")
            with pytest.raises(StateError, match=f"{name} is stopped"):
                fabric.bridge_state(name) if name == "s1" else fabric.kernel_state(name)
            with pytest.raises(StateError, match="stopped already"):
                fabric.destroy_node(name)
            for cable in ("h1-s1", "s1-h2"):
                fabric.set_link(cable, False)
                fabric.set_link(cable, True)
            assert not interface(fabric, "h2:eth0")["carrier"] or name != "s1", "a stopped switch gives no carrier"
            fabric.rebuild_node(name)
            assert open_files() == files
            assert before == (interface(fabric, "h1:eth0")["mac"], interface(fabric, "h1:eth0")["mtu"])
            wait_for(lambda: passes(fabric, "h1:eth0", "h2:eth0"), "frames pass")
            with pytest.raises(StateError, match="is not stopped"):
                fabric.rebuild_node(name)

    isolated(body)


def test_rebuild_of_a_router(isolated: Isolated) -> None:
    """Its neighbors keep their interfaces and routes."""

    def body() -> None:
        with built(kernel_line()) as fabric:
            before = fabric.kernel_state("k1")["routes"], fabric.kernel_state("r1")["routes"]
            fabric.destroy_node("r1")
            wait_for(lambda: not interface(fabric, "k1:eth0")["carrier"], "no carrier")
            assert fabric.kernel_state("k1")["routes"] == before[0]
            fabric.rebuild_node("r1")
            assert fabric.kernel_state("r1")["routes"] == before[1]
            answers(fabric, "k1", "k2", "10.0.2.1")

    isolated(body)


# Ending and failing


def test_close_removes_namespaces_and_cables(isolated: Isolated) -> None:
    def body() -> None:
        with Netlink() as netlink:
            with built(star()) as fabric:
                assert {row.name for row in link_state.read_links(netlink)} == {"lo", "s1", "p4", "p7"}
            fabric.close()
            wait_for(lambda: {row.name for row in link_state.read_links(netlink)} == {"lo", "s1"}, "cables gone")

    isolated(body)


def test_failure_closes_what_was_made(isolated: Isolated) -> None:
    def body() -> None:
        value = star()
        two = replace(value.by_name["h1"], name="h3", interfaces=(port("lo", 9),))
        broken = plan([*value.nodes, two], [*value.links, link("h3:lo s1:p3")])
        broken = replace(broken, nodes=(switch("s1", 0x10, 3), *broken.nodes[1:]))
        files = open_files()
        fabric = Fabric()
        with pytest.raises(DriverError, match="create veth h3:lo -- s1:p3: File exists"):
            fabric.create(broken, lambda _stage, _done, _total: None)
        assert fabric.namespaces == {}
        assert open_files() == files

    isolated(body)


def test_twice(isolated: Isolated) -> None:
    def body() -> None:
        with built(star()) as fabric, pytest.raises(StateError, match="exists already"):
            fabric.create(star(), lambda _stage, _done, _total: None)
        with pytest.raises(StateError, match="not built"):
            Fabric()._open()

    isolated(body)


def test_more_nodes_than_files(isolated: Isolated) -> None:
    def body() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
        nodes = [node(f"h{number}", port("eth0", number)) for number in range(30)]
        with pytest.raises(DriverError, match="30 nodes need 94 open files, 80 are allowed") as caught:
            Fabric().create(plan(nodes, []), lambda _stage, _done, _total: None)
        assert "ulimit -Hn 94" in caught.value.hint

    isolated(body)


@pytest.mark.parametrize(
    ("nodes", "links", "message"),
    [
        ([node("x", kind="hub", stack="kernel")], [], "x: Linux has no hub"),
        (
            [node("x", InterfaceConfig("e", "02:00:00:00:00:01", kind="ip"), stack="kernel")],
            [],
            "x:e: a kernel node has no `kind: ip` interface",
        ),
        ([node("x", port("e", 1))], [link("x:e y:e")], "y:e is the end of a link, but 'y' has no interface 'e'"),
        ([node("x", port("e", 1), port("f", 2))], [link("x:e x:f"), link("x:e x:f")], "x:e is the end of two links"),
    ],
)
def test_plans_that_cannot_be_built(nodes: list[NodeConfig], links: list[LinkPlan], message: str) -> None:
    with pytest.raises(DriverError, match=message):
        Layout.of(plan(nodes, links))
