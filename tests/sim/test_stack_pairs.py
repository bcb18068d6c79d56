"""Whole stacks wired together in virtual time: what one sends, the other gets a moment later."""

import json
from random import Random

import pytest

from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.errors import MisuseError, UnreachableError
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import ListTracer, PathMtuUpdated, RouteUpdated
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import ANY, Ip4, Prefix, parse_ip4

DELAY = 100 * MICROSECOND
A, B, C = (parse_ip4(text) for text in ("10.0.0.1", "10.0.2.1", "10.0.0.3"))

Wire = tuple[str, int]


class World:
    """Stacks, and segments that bring each frame to all their other ends after DELAY. Nodes that share a segment share
    a hub, in effect."""

    def __init__(self, configs: list[NodeConfig], segments: list[list[Wire]]) -> None:
        self.now = 0
        self.tracers = {config.name: ListTracer() for config in configs}
        self.stacks = {
            config.name: Stack.from_config(config, Random(index), self.tracers[config.name], 0)
            for index, config in enumerate(configs)
        }
        self.ends = {end: [other for other in segment if other != end] for segment in segments for end in segment}
        self.flying: list[tuple[int, Wire, bytes]] = []
        self.frames: list[tuple[int, Wire, bytes]] = []

    def __getitem__(self, name: str) -> Stack:
        return self.stacks[name]

    def run(self, until: int) -> None:
        """Lets everything happen that happens up to `until`."""
        while True:
            for name, stack in self.stacks.items():
                for port, frame in stack.transmit():
                    self.frames.append((self.now, (name, port), frame))
                    self.flying += [(self.now + DELAY, end, frame) for end in self.ends.get((name, port), [])]
            times = [time for time, _, _ in self.flying]
            times += [due for stack in self.stacks.values() if (due := stack.deadline()) is not None]
            following = min(times, default=until + 1)
            if following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            self._step()

    def _step(self) -> None:
        arriving = [item for item in self.flying if item[0] <= self.now]
        self.flying = [item for item in self.flying if item[0] > self.now]
        for _, (name, port), frame in arriving:
            self.stacks[name].receive(port, frame, self.now)
        for stack in self.stacks.values():
            due = stack.deadline()
            if due is not None and due <= self.now:
                stack.timeout(self.now)
                following = stack.deadline()
                assert following is None or following > self.now


def interface(number: int, *addresses: str, mtu: int = 1500, **fields: object) -> InterfaceConfig:
    mac = f"02:00:00:00:00:{number:02x}"
    return InterfaceConfig(f"eth{number % 16}", mac, addresses, mtu=mtu, **fields)  # type: ignore[arg-type]


def node(name: str, kind: str, interfaces: list[InterfaceConfig], *routes: RouteConfig, **fields: object) -> NodeConfig:
    return NodeConfig("lab", name, kind, interfaces=tuple(interfaces), routes=routes, **fields)  # type: ignore[arg-type]


def line(middle_mtu: int = 1500) -> World:
    """a - r - s - b; the link between the routers has an MTU of its own."""
    configs = [
        node("a", "host", [interface(0x10, "10.0.0.1/24")], RouteConfig("0.0.0.0/0", "10.0.0.254", "eth0")),
        node(
            "r",
            "router",
            [interface(0x20, "10.0.0.254/24"), interface(0x21, "10.0.1.1/24", mtu=middle_mtu)],
            RouteConfig("10.0.2.0/24", "10.0.1.2", "eth1"),
        ),
        node(
            "s",
            "router",
            [interface(0x30, "10.0.1.2/24", mtu=middle_mtu), interface(0x31, "10.0.2.254/24")],
            RouteConfig("10.0.0.0/24", "10.0.1.1", "eth0"),
        ),
        node("b", "host", [interface(0x40, "10.0.2.1/24")], RouteConfig("0.0.0.0/0", "10.0.2.254", "eth0")),
    ]
    return World(configs, [[("a", 0), ("r", 0)], [("r", 1), ("s", 0)], [("s", 1), ("b", 0)]])


@pytest.mark.parametrize("length", [0, 56, 1472, 1473, 20_000, 65507])
@pytest.mark.parametrize("middle_mtu", [1500, 576, 68])
def test_ping_across_two_routers(length: int, middle_mtu: int) -> None:
    """792-echo, 791-frag-2: any size over any MTU."""
    world = line(middle_mtu)
    data = Random(length).randbytes(length)
    socket = world["a"].echo.open()
    socket.send_to(b"", B, 0, 0)  # neighbours get to know each other: what waits for ARP is bounded
    world.run(SECOND)
    assert socket.receive() is not None
    world["a"].drain_ready()
    socket.send_to(data, B, 1, world.now)
    world.run(2 * SECOND)
    reply = socket.receive()
    assert reply is not None
    assert (reply.data, reply.source, reply.ttl) == (data, B, 62)
    assert len(world["a"].drain_ready()) == 1


def test_traceroute() -> None:
    """1812-5.3.1: every router names itself, by the address on the way back."""
    world = line()
    socket = world["a"].udp.open()
    socket.record_errors = True
    hops = []
    for ttl in range(1, 5):
        socket.send_to(b"probe", B, 33434, world.now, ttl=ttl)
        world.run(world.now + SECOND)
        error = socket.receive_error()
        assert error is not None
        hops.append((error.source, error.type, error.code))
    exceeded, nobody = (icmp.TIME_EXCEEDED, 0), (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE)
    routers = [(parse_ip4("10.0.0.254"), *exceeded), (parse_ip4("10.0.1.2"), *exceeded)]
    assert hops == [*routers, (B, *nobody), (B, *nobody)]


def test_the_path_mtu_is_found_and_followed() -> None:
    """1191-3: two narrower links one after the other, then the path widens and the estimate ages."""
    world = line(middle_mtu=1400)
    socket = world["a"].echo.open()
    ip = world["a"].ip
    for length in (1472, 1372):
        socket.send_to(bytes(length), B, 1, world.now, dont_fragment=True)
        world.run(world.now + SECOND)
    assert socket.receive() is not None
    assert ip.path_mtu(B, world.now) == 1400
    for name, port in (("r", 1), ("s", 0)):
        world[name].set_mtu(port, 1000, world.now)
    socket.send_to(bytes(1372), B, 2, world.now, dont_fragment=True)
    world.run(world.now + SECOND)
    assert ip.path_mtu(B, world.now) == 1000
    with pytest.raises(MisuseError):
        socket.send_to(bytes(1372), B, 3, world.now, dont_fragment=True)
    for name, port in (("r", 1), ("s", 0)):
        world[name].set_mtu(port, 1500, world.now)
    world.run(world.now + 601 * SECOND)
    assert ip.path_mtu(B, world.now) == 1500
    triggers = [event.trigger for event in world.tracers["a"].of(PathMtuUpdated)]  # type: ignore[union-attr]
    assert triggers == ["fragmentation_needed", "fragmentation_needed", "aged"]


def test_a_dead_neighbour_behind_a_router_is_reported() -> None:
    """1812-4.3.3.1: host unreachable from the last router; and nobody floods."""
    world = line()
    socket = world["a"].echo.open()
    socket.send_to(b"", parse_ip4("10.0.2.77"), 1, 0)
    world.run(20 * SECOND)
    error = socket.receive_error()
    assert error is not None
    assert (error.source, error.type, error.code) == (parse_ip4("10.0.1.2"), 3, 1)


def test_a_dead_neighbour_on_the_own_link_is_reported() -> None:
    world = line()
    socket = world["a"].echo.open()
    socket.send_to(b"", parse_ip4("10.0.0.77"), 1, 0)
    world.run(20 * SECOND)
    error = socket.receive_error()
    assert error is not None
    assert (error.source, error.type, error.code) == (A, 3, 1)


def test_a_redirect_shortens_the_way() -> None:
    """1122-3.2.2.2, 1812-5.2.7.2: a third node on the link leads on, and the host goes to it directly from then on."""
    configs = [
        node("a", "host", [interface(0x10, "10.0.0.1/24")], RouteConfig("0.0.0.0/0", "10.0.0.254", "eth0")),
        node("r", "router", [interface(0x20, "10.0.0.254/24")], RouteConfig("10.0.2.0/24", "10.0.0.3", "eth0")),
        node("s", "router", [interface(0x30, "10.0.0.3/24"), interface(0x31, "10.0.2.254/24")]),
        node("b", "host", [interface(0x40, "10.0.2.1/24")], RouteConfig("0.0.0.0/0", "10.0.2.254", "eth0")),
    ]
    world = World(configs, [[("a", 0), ("r", 0), ("s", 0)], [("s", 1), ("b", 0)]])
    socket = world["a"].echo.open()
    for sequence in range(2):
        socket.send_to(b"", B, sequence, world.now)
        world.run(world.now + SECOND)
        assert socket.receive() is not None
    route = world["a"].ip.routing.table.lookup(B)
    assert route is not None
    assert route.via == C
    assert world["r"].ip.counters.forw_datagrams == 1
    world["s"].set_port(0, up=False, now=world.now)  # the better router dies: the redirect is given up
    for _ in range(60):
        socket.send_to(b"", B, 9, world.now)
        world.run(world.now + 5 * SECOND)
        if world["a"].ip.routing.table.lookup(B) != route:
            break
    triggers = [event.trigger for event in world.tracers["a"].of(RouteUpdated)]  # type: ignore[union-attr]
    assert triggers[-1] == "gateway_failed"


def test_an_address_by_rarp_brings_its_route() -> None:
    """903: the server is a node of the same segment."""
    configs = [
        node("client", "host", [interface(0x10, "0.0.0.0/24", address_source="rarp")]),
        node("server", "host", [interface(0x20, "10.0.0.9/24")], rarp_table={"02:00:00:00:00:10": "10.0.0.1"}),
    ]
    world = World(configs, [[("client", 0), ("server", 0)]])
    client = world["client"]
    with pytest.raises(UnreachableError):
        client.ip.source_for(parse_ip4("10.0.0.9"))
    world.run(4 * DELAY)  # usable at once, not at the next timeout
    assert client.ip.source_for(parse_ip4("10.0.0.9")) == A
    socket = client.echo.open()
    socket.send_to(b"", parse_ip4("10.0.0.9"), 1, world.now)
    world.run(world.now + SECOND)
    assert socket.receive() is not None


def test_a_probed_address_is_used_only_when_it_is_ours() -> None:
    """5227-2.1: and not at all where another station has it."""
    configs = [
        node("first", "host", [interface(0x10, "10.0.0.1/24")]),
        node("free", "host", [interface(0x20, "10.0.0.2/24", address_check="probe")]),
        node("taken", "host", [interface(0x30, "10.0.0.1/24", address_check="probe")]),
    ]
    world = World(configs, [[("first", 0), ("free", 0), ("taken", 0)]])
    assert not world["free"].ip.is_local(parse_ip4("10.0.0.2"))
    world.run(20 * SECOND)
    assert world["free"].ip.is_local(parse_ip4("10.0.0.2"))
    assert not world["taken"].ip.is_local(A)
    assert world["taken"].ip.routing.table.lookup(parse_ip4("10.0.0.2")) is None


def test_multicast_reaches_the_members_and_the_sender() -> None:
    group = parse_ip4("239.1.2.3")
    configs = [node(name, "host", [interface(number, f"10.0.0.{number}/24")]) for number, name in enumerate("pqr", 16)]
    world = World(configs, [[("p", 0), ("q", 0), ("r", 0)]])
    sockets = {}
    for name in "pqr":
        sockets[name] = world[name].udp.open()
        sockets[name].bind(ANY, 5000, 0)
    for name in "pq":
        sockets[name].join_group(group, 0, 0)
    world.run(SECOND)
    sockets["p"].send_to(b"news", group, 5000, world.now)
    world.run(2 * SECOND)
    heard = {name: socket.receive() for name, socket in sockets.items()}
    assert [received.data for received in (heard["p"], heard["q"]) if received] == [b"news", b"news"]
    assert heard["r"] is None


def test_point_to_point_links_carry_bare_packets() -> None:
    configs = [
        node("a", "host", [InterfaceConfig("p0", "", ("10.0.0.1/30",), kind="ip")]),
        node("b", "host", [InterfaceConfig("p0", "", ("10.0.0.2/30",), kind="ip")]),
    ]
    world = World(configs, [[("a", 0), ("b", 0)]])
    socket = world["a"].echo.open()
    socket.send_to(b"bare", parse_ip4("10.0.0.2"), 1, 0)
    world.run(SECOND)
    assert socket.receive() is not None
    assert ipv4.parse(world.frames[0][2])[0].source == A


def test_the_same_seed_gives_the_same_frames() -> None:
    def frames() -> list[tuple[int, Wire, bytes]]:
        world = line(middle_mtu=576)
        socket = world["a"].echo.open()
        for sequence in range(5):
            socket.send_to(bytes(3000), B, sequence, world.now)
            world.run(world.now + 10 * MILLISECOND)
        return world.frames

    assert frames() == frames()


def test_an_idle_world_rests() -> None:
    """Nothing spins: after the announcements and the ageing of caches, nobody wants to be woken."""
    world = line()
    socket = world["a"].echo.open()
    socket.send_to(b"", B, 1, 0)
    world.run(3600 * SECOND)
    sent = len(world.frames)
    world.run(7200 * SECOND)
    assert len(world.frames) == sent
    assert {stack.deadline() for stack in world.stacks.values()} == {None}


def test_the_snapshot_is_json_and_tells_the_state() -> None:
    world = line()
    socket = world["a"].echo.open()
    socket.send_to(b"", B, 1, 0)
    world.run(SECOND)
    state = json.loads(json.dumps(world["r"].snapshot(world.now)))
    assert state["counters"]["forw_datagrams"] == 2
    assert {route["prefix"]: route["origin"] for route in state["routes"]} == {
        "10.0.0.0/24": "connected",
        "10.0.1.0/24": "connected",
        "10.0.2.0/24": "static",
    }
    assert {"interfaces", "path_mtus", "reassembly", "groups", "icmp", "udp", "echo"} <= set(state)


@pytest.mark.parametrize(
    "config",
    [
        node("x", "switch", []),
        node("x", "host", [interface(1, "10.0.0.1")]),
        node("x", "host", [interface(1, "10.0.0.1/24", mtu=67)]),
        node("x", "host", [interface(1, address_source="rarp")]),
        node("x", "host", [interface(1)], RouteConfig("0.0.0.0/0", "10.0.0.2", "eth9")),
        node("x", "host", [interface(1)], RouteConfig("0.0.0.0", "10.0.0.2", "eth1")),
    ],
)
def test_configurations_that_contradict_themselves(config: NodeConfig) -> None:
    with pytest.raises(MisuseError):
        Stack.from_config(config, Random(1), ListTracer(), 0)


def test_a_next_hop_that_is_the_node_itself() -> None:
    world = line()
    with pytest.raises(MisuseError, match="itself"):
        world["a"].add_route(Route(Prefix(Ip4(0), 0), A, 0), 0)
    with pytest.raises(MisuseError, match="no interface"):
        world["a"].add_route(Route(Prefix(Ip4(0), 0), C, 1), 0)
