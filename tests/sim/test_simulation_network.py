"""Networks in virtual time: how far it is, what time does, what a network does by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import MisuseError
from nodes.session.session import EndpointOwner, Session
from nodes.simulation.network import Network
from nodes.simulation.values import HOP, QuietRecorder, Wire
from nodes.simulation.wiring import Port
from nodes.trace.events import SpanningTreePortUpdated
from nodes.transport.endpoint import SOCKET_RECEIVE_LIMIT
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import parse_ip4
from tests.sim.simulated_lab import Simulated, configs

PAIR = "links: [a -- b]\nnodes: {a: host, b: host}"
HOUR = 3600 * SECOND


def _star(kind: str) -> str:
    return f"nodes: {{a: host, b: host, c: host, s: {kind}}}\nlinks: [a -- s, b -- s, c -- s]"


# ------------------------------------------------------------------------------------------------------------- how far


@pytest.mark.parametrize(
    ("text", "links"),
    [
        (PAIR, 1),
        (_star("{kind: switch, impl: stack}"), 2),
        (_star("{kind: switch, impl: kernel}"), 2),
        (_star("hub"), 2),
        ("nodes: {a: host, r: router, q: router, b: host}\nlinks: [a -- r, r -- q, q -- b]", 3),
    ],
)
def test_each_link_takes_a_hop_each_way(text: str, links: int) -> None:
    lab = Simulated(text)
    lab.run(1)
    lab.ping("a", "b", count=1)  # the caches learn
    found = lab.ping("a", "b", count=2)
    assert found["received"] == 2
    assert found["rtt_min"] == found["rtt_max"] == 2 * links * HOP


def test_delay_is_added_to_the_hop() -> None:
    lab = Simulated("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]")
    lab.run(1)
    found = lab.ping("a", "b", count=3, seconds=5)
    assert found["received"] == 3
    assert found["rtt_min"] == 2 * (20 * MILLISECOND + HOP)


def test_routers_with_loss_and_delay() -> None:
    lab = Simulated(
        "nodes: {a: host, r: router, q: router, b: host}\n"
        "links: [a -- r, {ends: [r, q], impair: {delay: 5ms, loss: 20%}}, q -- b]"
    )
    lab.run(1)
    found = lab.ping("a", "b", count=400, interval=0.01, seconds=10)
    assert 0.55 < found["received"] / 400 < 0.73  # 0.8 both ways
    measured = lab.network.link(("r", "q")).state()["ab"]["measured"]
    assert measured["dropped"] == {"loss": measured["in_frames"] - measured["out_frames"]}
    assert measured["inside"] == 0
    assert measured["lateness"]["maximum"] == 0


def test_two_nodes_on_a_hub_hear_all() -> None:
    lab = Simulated(_star("hub"))
    lab.network.node("c").start_capture()
    lab.run(1)
    lab.recorders["c"].frames.clear()
    lab.ping("a", "b", count=3)
    assert len(lab.recorders["c"].frames) >= 6


# ----------------------------------------------------------------------------------------------------------------- time


def test_run_goes_up_to_until_and_not_back() -> None:
    network = Simulated(PAIR, start=5 * SECOND).network
    assert network.now == 5 * SECOND
    network.run(7 * SECOND)
    assert network.now == 7 * SECOND
    network.run(6 * SECOND)
    assert network.now == 7 * SECOND


def test_run_without_end_comes_back_when_nothing_can_happen() -> None:
    lab = Simulated(PAIR)
    lab.start("a", "ping", to="b", count=2)
    lab.network.run(None)
    assert lab.network.next_event() is None
    assert lab.result("a", 1)["received"] == 2


def test_calls_come_in_the_order_of_their_times_then_of_asking() -> None:
    network = Simulated(PAIR).network
    found: list[tuple[int, str]] = []
    for name, at in (("b", 20), ("a", 10), ("c", 20), ("late", -5)):
        network.call_at(at, lambda name=name: found.append((network.now, name)))  # type: ignore[misc]
    cancelled = network.call_at(15, lambda: found.append((0, "never")))
    cancelled.cancel()
    network.run(100)
    assert found == [(0, "late"), (10, "a"), (20, "b"), (20, "c")]
    cancelled.cancel()


def test_a_call_may_ask_for_another_at_the_same_instant() -> None:
    network = Simulated(PAIR).network
    found: list[int] = []

    def again() -> None:
        found.append(network.now)
        if len(found) < 3:
            network.call_at(network.now, again)

    network.call_at(7, again)
    network.run(7)
    assert found == [7, 7, 7]


def test_run_returns_as_soon_as_ready() -> None:
    network = Simulated(PAIR).network
    found: list[int] = []
    for at in (10, 20, 30):
        network.call_at(at * SECOND, lambda: found.append(network.now))
    network.run(100 * SECOND, lambda: len(found) == 2)
    assert network.now == 20 * SECOND
    network.run(100 * SECOND, lambda: True)
    assert network.now == 20 * SECOND
    network.run(100 * SECOND, lambda: False)
    assert network.now == 100 * SECOND
    assert found == [10 * SECOND, 20 * SECOND, 30 * SECOND]


def test_an_error_of_a_call_leaves_run_and_the_rest_goes_on() -> None:
    lab = Simulated(PAIR)

    def wrong() -> None:
        raise ValueError("mine")

    lab.network.call_at(3 * SECOND, wrong)
    with pytest.raises(ValueError, match="mine"):
        lab.run(10)
    assert lab.now == 3
    assert lab.ping("a", "b", count=1)["received"] == 1


def test_the_next_event_is_where_run_stops_first() -> None:
    network = Simulated(PAIR).network
    times = []
    while (at := network.next_event()) is not None and len(times) < 100:
        assert at >= network.now
        network.run(at)
        times.append(at)
    assert times == sorted(times)
    assert times


def test_a_stale_alarm_is_no_event() -> None:
    network = Simulated(PAIR).network
    network.run(HOUR)
    timer = network.call_at(2 * HOUR, lambda: None)
    assert network.next_event() == 2 * HOUR
    timer.cancel()
    assert network.next_event() is None


def test_an_idle_network_does_nothing() -> None:
    lab = Simulated("nodes: {a: host, b: host, s: {kind: switch, impl: stack}}\nlinks: [a -- s, b -- s]")
    lab.ping("a", "b", count=1)
    lab.run(3600)
    before = lab.network.events
    lab.run(24 * 3600)
    assert lab.network.events == before


# ------------------------------------------------------------------------------------------------------------- programs


class _Owner(EndpointOwner):
    """A program's end of a socket."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.rang: list[int] = []

    def ready(self, now: int) -> None:
        assert now == self.network.now
        self.rang.append(now)


def _session(network: Network, name: str) -> Session:
    session = network.node(name).session
    assert session is not None
    return session


def test_a_program_is_rung_and_run_returns() -> None:
    lab = Simulated(PAIR)
    network = lab.network
    lab.run(3)
    a, b = _session(network, "a"), _session(network, "b")
    owner = _Owner(network)
    server = b.stack.udp.open()
    server.bind(parse_ip4("0.0.0.0"), 5000, network.now)
    server.owner = owner
    client = a.stack.udp.open()
    client.send_to(b"hello", b.stack.ip.source_for(b.stack.hosts["a"]), 5000, network.now)
    a.touched()
    sent = network.now
    network.run(None, lambda: bool(owner.rang))
    assert owner.rang == [sent + 3 * HOP]  # an ARP request, its reply, the datagram
    assert network.now == owner.rang[0]
    received = server.receive()
    assert received is not None
    assert bytes(received.data) == b"hello"


def test_what_a_program_says_to_its_own_node_takes_a_hop() -> None:
    lab = Simulated(PAIR)
    network = lab.network
    lab.run(3)
    session = _session(network, "a")
    owner = _Owner(network)
    address = parse_ip4("127.0.0.1")
    server = session.stack.udp.open()
    server.bind(address, 5000, network.now)
    server.owner = owner
    began = network.now
    client = session.stack.udp.open()
    for number in range(1, 4):
        client.send_to(b"me", address, 5000, network.now)
        session.touched()
        network.run(network.now + SECOND, lambda number=number: len(owner.rang) == number)  # type: ignore[misc]
        assert owner.rang[-1] == began + number * HOP
        while server.receive() is not None:
            pass


def test_a_burst_does_not_flood_a_socket_that_is_read() -> None:
    """An agent takes some frames, then its programs read; a burst of a moment is no different here."""
    lab = Simulated(PAIR)
    network = lab.network
    lab.run(3)
    lab.ping("a", "b", count=1)
    sink = lab.start("b", "udp_sink", buffer=SOCKET_RECEIVE_LIMIT)
    session = _session(network, "a")
    socket = session.stack.udp.open()
    size, count = 1000, 4 * SOCKET_RECEIVE_LIMIT // 1000
    for _ in range(count):
        socket.send_to(bytes(size), session.stack.hosts["b"], 9, network.now)
    session.touched()
    lab.run(1)
    assert lab.result("b", sink)["datagrams"] == count


class _Late:
    """A device whose deadline has always passed: what none of ours is."""

    def __init__(self) -> None:
        self.timeouts: list[int] = []

    def deadline(self) -> int:
        return 0

    def timeout(self, now: int) -> None:
        self.timeouts.append(now)

    def transmit(self) -> list[tuple[int, bytes]]:
        return []


def test_a_device_that_is_always_late_does_not_stop_time() -> None:
    network = Simulated("nodes: {a: host, b: host, s: {kind: switch, impl: stack}}\nlinks: [a -- s, b -- s]").network
    network.run(SECOND)
    device = _Late()
    network.node("s").device = device  # type: ignore[assignment]
    network.node("s").touch()
    network.run(SECOND + 100)
    assert device.timeouts == list(range(SECOND, SECOND + 101))


def test_a_program_that_only_reads_sends_at_its_own_time() -> None:
    """The window update of a reader who slept is made, and timed, when it reads."""
    lab = Simulated(PAIR, packets=True)
    network = lab.network
    lab.run(3)
    a, b = _session(network, "a"), _session(network, "b")
    listener = b.stack.tcp.open()
    listener.bind(parse_ip4("0.0.0.0"), 80, network.now)
    listener.listen(1, network.now)
    client = a.stack.tcp.open()
    client.connect(a.stack.hosts["b"], 80, network.now)
    a.touched()
    lab.run(1)
    server = listener.accept()
    assert server is not None
    while client.send(bytes(65536), network.now):
        a.touched()
        lab.run(0.5)
    lab.run(30)
    before = len(lab.traces["b"].events)
    while server.receive():
        pass
    b.touched()
    lab.run(0)
    fresh = lab.traces["b"].events[before:]
    assert fresh
    assert {at for at, _ in fresh} == {network.now}


# ---------------------------------------------------------------------------------------------------------- what is not


def _host(name: str = "a", **fields: object) -> NodeConfig:
    interface = InterfaceConfig("eth0", "02:00:00:00:00:01", ("10.0.0.1/24",))
    return replace(NodeConfig("t", name, interfaces=(interface,)), **fields)  # type: ignore[arg-type]


def _network(nodes: list[NodeConfig], wires: list[Wire]) -> Network:
    return Network(nodes, wires, recorder_for=lambda _: QuietRecorder())


@pytest.mark.parametrize(
    ("nodes", "wires", "problem"),
    [
        ([_host(stack="kernel")], [], "its stack is the kernel's"),
        ([replace(_host(), interfaces=(replace(_host().interfaces[0], offload=True),))], [], "no offload"),
        ([_host(), _host()], [], "two nodes are called a"),
        ([_host()], [Wire("l", ("a", "eth0"), ("b", "eth0"))], "leads to b"),
        ([_host(), _host("b")], [Wire("l", ("a", "eth1"), ("b", "eth0"))], "no interface 'eth1'"),
        (
            [_host(), _host("b"), _host("c")],
            [Wire("l", ("a", "eth0"), ("b", "eth0")), Wire("m", ("a", "eth0"), ("c", "eth0"))],
            "a:eth0 has two links",
        ),
    ],
)
def test_what_cannot_be(nodes: list[NodeConfig], wires: list[Wire], problem: str) -> None:
    with pytest.raises(MisuseError, match=problem):
        _network(nodes, wires)


def test_names_of_nobody() -> None:
    network = Simulated("nodes: {a: host, b: host}\nlinks: [a -- b, {ends: [a, b], name: second}]").network
    for ask in (lambda: network.node("x"), lambda: network.link("x"), lambda: network.link(("a", "x"))):
        with pytest.raises(MisuseError):
            ask()
    with pytest.raises(MisuseError, match="several links") as raised:
        network.link(("b", "a"))
    assert "second" in raised.value.hint
    assert network.link("second").ends == ("a", "b")


def test_an_interface_without_a_link_has_no_carrier() -> None:
    network = _network([_host()], [])
    network.run(SECOND)
    state = network.node("a").state(network.now)
    assert state["ports"][0]["up"] is False  # type: ignore[index]
    stack = network.node("a").stack
    assert stack is not None
    assert not stack.interfaces[0].up


# --------------------------------------------------------------------------------------------------- switches and loops


RING = """
nodes:
  s1: {kind: switch, impl: stack, stp: {priority: 4096}}
  s2: {kind: switch, impl: stack, stp: {}}
  s3: {kind: switch, impl: stack, stp: {}}
  s4: {kind: switch, impl: stack, stp: {}}
  a: host
  b: host
links: [s1 -- s2, s2 -- s3, s3 -- s4, s4 -- s1, a -- s2, b -- s4]
"""


@pytest.mark.parametrize("kind", ["link", "switch"])
def test_a_ring_of_switches_heals(kind: str) -> None:
    lab = Simulated(RING)
    lab.run(40)
    assert lab.ping("a", "b", count=1)["received"] == 1
    if kind == "link":
        lab.network.link(("s1", "s2")).set_up(False)
    else:
        lab.network.node("s1").crash()
    lab.run(40)
    assert lab.ping("a", "b", count=1)["received"] == 1
    assert lab.events("s3", SpanningTreePortUpdated)


def test_a_loop_without_a_tree_lets_time_go_on() -> None:
    nodes = [replace(node, spanning_tree=None) for node in configs(Simulated(RING).plan)]
    plan = Simulated(RING).plan
    wires = [Wire(link.name, (link.a.node, link.a.interface), (link.b.node, link.b.interface)) for link in plan.links]
    network = _network(nodes, wires)
    node = network.node("a")
    assert node.stack is not None
    network.run(20 * MILLISECOND)
    assert network.now == 20 * MILLISECOND
    assert network.hops > 1000  # the announcement of an address goes round and round


def test_a_frame_longer_than_the_mtu_is_refused() -> None:
    port = Port(0, "p1")
    port.set_carrier(True, 1500)
    assert port.limit == 1514
    assert port.refuse(bytes(1515))
    tagged = bytes(12) + b"\x81\x00" + bytes(1518 - 14)
    assert not port.refuse(tagged)
    assert port.refuse(tagged + b"\0")
    port.set_carrier(False, 1500)
    assert port.refuse(tagged)
    assert port.not_sent == {"EMSGSIZE": 2, "ENETDOWN": 1}


def test_frames_are_refused_where_a_switch_joins_links_of_different_mtu() -> None:
    lab = Simulated("nodes: {a: host, b: host, s: {kind: switch, impl: stack}}\nlinks: [a -- s, b -- s]")
    lab.run(3)
    lab.network.link(("b", "s")).set_mtu(576)
    assert lab.ping("a", "b", count=1, size=400)["received"] == 1
    assert lab.ping("a", "b", count=1, size=1000)["received"] == 0
    ports = lab.network.node("s").state(lab.network.now)["ports"]
    assert [port["not_sent"] for port in ports] == [{}, {"EMSGSIZE": 1}]  # type: ignore[attr-defined]
