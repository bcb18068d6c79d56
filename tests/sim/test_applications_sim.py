"""Applications over real stacks in virtual time: hosts, a router, delays, losses made by the test."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.units import MILLISECOND, SECOND

DELAY = 5 * MILLISECOND
HOSTS = {"a": "10.0.1.1", "r": "10.0.1.254", "b": "10.0.2.1"}

Deliver = Callable[[bytes], list[tuple[bytes, int]]]
"""What a link makes of a frame: the frames that arrive, each with its delay (ns)."""


class Network:
    """a - r - b. `links[node, port]` may be replaced to lose, repeat or delay what that port sends."""

    def __init__(self, mtu: int = 1500) -> None:
        self.now = 0
        self._queue: list[tuple[int, int, str, int, bytes]] = []
        self._order = count()
        self.stacks = {name: self._stack(name, mtu) for name in HOSTS}
        self.runners = {name: ApplicationRunner(stack, NullTracer()) for name, stack in self.stacks.items()}
        self._wires = {("a", 0): ("r", 0), ("r", 0): ("a", 0), ("r", 1): ("b", 0), ("b", 0): ("r", 1)}
        self.links: dict[tuple[str, int], Deliver] = {}
        self.run(5 * SECOND)  # the announcements of new addresses are over

    def _stack(self, name: str, mtu: int) -> Stack:
        def interface(number: int, address: str, mac: int) -> InterfaceConfig:
            return InterfaceConfig(f"eth{number}", f"02:00:00:00:00:0{mac}", (address,), mtu)

        interfaces = {
            "a": (interface(0, "10.0.1.1/24", 1),),
            "r": (interface(0, "10.0.1.254/24", 2), interface(1, "10.0.2.254/24", 3)),
            "b": (interface(0, "10.0.2.1/24", 4),),
        }[name]
        via = {"a": "10.0.1.254", "b": "10.0.2.254"}.get(name)
        routes = (RouteConfig("0.0.0.0/0", via, "eth0"),) if via else ()
        kind = "router" if name == "r" else "host"
        config = NodeConfig("lab", name, kind, interfaces=interfaces, routes=routes, hosts=HOSTS)
        return Stack.from_config(config, Random(name), NullTracer(), 0)

    def start(self, node: str, kind: str, **options: object) -> int:
        return self.runners[node].start(kind, options, self.now)

    def run(self, until: int) -> None:
        """Advance the virtual clock to `until` (ns)."""
        self._pump()
        while (then := self._next()) is not None and then <= until:
            self.now = max(self.now, then)
            while self._queue and self._queue[0][0] <= self.now:
                _, _, node, port, frame = heapq.heappop(self._queue)
                self.stacks[node].receive(port, frame, self.now)
            for machine in (*self.stacks.values(), *self.runners.values()):
                deadline = machine.deadline()
                if deadline is not None and deadline <= self.now:
                    machine.timeout(self.now)
                    deadline = machine.deadline()
                    assert deadline is None or deadline > self.now, "it spins"
            self._pump()
        self.now = until

    def finish(self, node: str, number: int, limit: int = 100 * SECOND) -> dict[str, object]:
        """Run until the application is done and return its result."""
        end = self.now + limit
        while self.runners[node].state(number) == "running" and self.now < end:
            self.run(self.now + 10 * MILLISECOND)
        assert self.runners[node].state(number) == "done", self.runners[node].result(number)
        return self.runners[node].result(number)

    def _next(self) -> int | None:
        times = [machine.deadline() for machine in (*self.stacks.values(), *self.runners.values())]
        if self._queue:
            times.append(self._queue[0][0])
        return min((time for time in times if time is not None), default=None)

    def _pump(self) -> None:
        busy = True
        while busy:
            busy = False
            for name, stack in self.stacks.items():
                busy |= self.runners[name].poll(self.now)
                for port, frame in stack.transmit():
                    busy = True
                    link = self.links.get((name, port), lambda frame: [(frame, DELAY)])
                    for arriving, delay in link(frame):
                        target = self._wires[name, port]
                        heapq.heappush(self._queue, (self.now + delay, next(self._order), *target, arriving))


def is_udp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == 17


def choosing(choose: Callable[[int], list[int]]) -> Deliver:
    """A link that handles its n-th UDP frame (from 0) by the delays of `choose(n)`; the others pass."""
    numbers = count()
    return lambda frame: [(frame, delay) for delay in (choose(next(numbers)) if is_udp(frame) else [DELAY])]


def test_ping_through_a_router() -> None:
    """792-echo: four hops of 5 ms make 20 ms; the first also waits for ARP at both ends."""
    net = Network()
    number = net.start("a", "ping", to="b", count=5, interval=0.5)
    result = net.finish("a", number)
    assert (result["transmitted"], result["received"], result["loss"], result["duplicates"]) == (5, 5, 0.0, 0)
    assert result["rtt_min"] == 4 * DELAY
    assert result["rtt_max"] == 8 * DELAY
    replies = net.runners["a"].outputs(number)
    assert [reply["sequence"] for reply in replies] == [1, 2, 3, 4, 5]
    assert {(reply["source"], reply["ttl"], reply["octets"]) for reply in replies} == {("10.0.2.1", 63, 64)}


@pytest.mark.parametrize("size", [0, 1472, 1473, 20_000, 60_000, 65_507])
def test_ping_sizes_through_fragmentation(size: int) -> None:
    """792-echo, 791-frag-2: whole again at the other end, octet for octet."""
    net = Network()
    result = net.finish("a", net.start("a", "ping", to="b", count=2, size=size, interval=0.2))
    assert (result["received"], result["corrupted"]) == (2, 0)


def test_ping_with_dont_fragment_follows_the_path_mtu() -> None:
    """1191: the router reports the next hop's MTU, then the node itself refuses."""
    net = Network()
    net.stacks["r"].set_mtu(1, 1000, 0)
    number = net.start("a", "ping", to="b", count=3, size=1400, dont_fragment=True)
    result = net.finish("a", number)
    errors = net.runners["a"].outputs(number)
    assert (result["received"], result["errors"]) == (0, 3)
    assert (errors[0]["source"], errors[0]["error"], errors[0]["mtu"]) == ("10.0.1.254", "fragmentation_needed", 1000)
    assert {error["source"] for error in errors[1:]} == {"local"}


def test_ping_of_a_dead_host() -> None:
    net = Network()
    number = net.start("a", "ping", to="10.0.2.77", count=1, timeout=10.0)
    result = net.finish("a", number)
    assert (result["received"], result["loss"]) == (0, 1.0)
    (error,) = net.runners["a"].outputs(number)
    assert (error["source"], error["error"]) == ("10.0.1.254", "host_unreachable")


def test_ping_counts_losses_and_duplicates() -> None:
    net = Network()
    seen = count()

    def link(frame: bytes) -> list[tuple[bytes, int]]:
        if frame[12:14] != b"\x08\x00":
            return [(frame, DELAY)]
        number = next(seen)
        return [] if number == 1 else [(frame, DELAY), (frame, 2 * DELAY)] if number == 2 else [(frame, DELAY)]

    net.links["b", 0] = link
    result = net.finish("a", net.start("a", "ping", to="b", count=4))
    assert (result["received"], result["loss"], result["duplicates"]) == (3, 0.25, 1)


@pytest.mark.parametrize("method", ["udp", "icmp"])
def test_traceroute_through_a_router(method: str) -> None:
    net = Network()
    number = net.start("a", "traceroute", to="b", method=method)
    result = net.finish("a", number)
    assert result["reached"] is True
    assert [[probe["address"] for probe in hop["probes"]] for hop in result["hops"]] == [
        ["10.0.1.254"] * 3,
        ["10.0.2.1"] * 3,
    ]
    assert all("mark" not in probe for hop in result["hops"] for probe in hop["probes"])
    assert [output["hop"] for output in net.runners["a"].outputs(number)] == [1, 2]


def test_traceroute_ends_where_the_way_ends() -> None:
    net = Network()
    result = net.finish("a", net.start("a", "traceroute", to="10.0.3.1", timeout=1.0))
    assert result["reached"] is False
    assert len(result["hops"]) == 1 or result["hops"][-1]["probes"][0]["mark"] == "net_unreachable"


@pytest.mark.parametrize("size", [24, 1472, 9000, 60_000])
def test_echo_through_fragmentation(size: int) -> None:
    """1122-3.3.2a: datagrams up to 60,000 octets there and back."""
    net = Network()
    net.start("b", "udp_echo", port=7)
    options = {"to": "b", "port": 7, "mode": "request", "size": size, "count": 5, "rate": 0.0}
    result = net.finish("a", net.start("a", "udp_source", **options))
    assert (result["sent"], result["answered"], result["lost"], result["errors"]) == (5, 5, 0, 0)
    assert result["rtt_min"] == 4 * DELAY <= result["rtt_p50"] <= 4 * DELAY * 1.008


def test_requests_time_out_one_by_one() -> None:
    net = Network()
    net.start("b", "udp_echo", port=7)
    net.links["b", 0] = choosing(lambda number: [] if number == 1 else [DELAY])
    options = {"to": "b", "port": 7, "mode": "request", "count": 4, "rate": 0.0, "timeout": 0.5}
    result = net.finish("a", net.start("a", "udp_source", **options))
    assert (result["sent"], result["answered"], result["lost"]) == (4, 3, 1)
    assert result["duration"] == 8 * DELAY + 2 * 4 * DELAY + SECOND // 2


def test_request_to_nobody_is_refused_at_once() -> None:
    """1122-4.1.3.3: port unreachable reaches the connected socket; no wait for the timeout."""
    net = Network()
    options = {"to": "b", "port": 7, "mode": "request", "count": 2, "rate": 0.0, "timeout": 50.0}
    number = net.start("a", "udp_source", **options)
    result = net.finish("a", number)
    assert (result["answered"], result["lost"], result["errors"]) == (0, 2, 2)
    (error,) = net.runners["a"].outputs(number)
    assert (error["event"], error["errno"]) == ("error", "ECONNREFUSED")
    assert result["duration"] < SECOND


def test_sink_counts_what_the_link_did() -> None:
    """Lost: 10, 11; twice: 20; 30 comes after 31."""
    net = Network()
    cases = {10: [], 11: [], 20: [DELAY, DELAY], 30: [DELAY + 15 * MILLISECOND]}
    net.links["a", 0] = choosing(lambda number: cases.get(number, [DELAY]))
    sink = net.start("b", "udp_sink", port=9)
    result = net.finish("a", net.start("a", "udp_source", to="b", count=100, rate=100.0, size=500))
    assert (result["sent"], result["rate"]) == (100, pytest.approx(100, rel=0.02))
    net.run(net.now + SECOND)
    net.runners["b"].stop(sink, net.now)
    heard = net.runners["b"].result(sink)
    numbers = ("datagrams", "octets", "lost", "reordered", "duplicated")
    assert tuple(heard[name] for name in numbers) == (99, 49_500, 2, 1, 1)
    assert 0 < heard["jitter"] < 5 * MILLISECOND
    assert any(output["event"] == "interval" for output in net.runners["b"].outputs(sink))


def test_as_fast_as_possible_is_bounded() -> None:
    net = Network()
    sink = net.start("b", "udp_sink", port=9)
    result = net.finish("a", net.start("a", "udp_source", to="b", duration=0.05, rate=0.0, size=100))
    assert 1000 < result["sent"] <= 51 * 64
    net.run(net.now + SECOND)
    heard = net.runners["b"].result(sink)
    assert heard["lost"] + heard["datagrams"] == result["sent"]
    assert heard["reordered"] == heard["duplicated"] == 0


def test_same_seed_same_run() -> None:
    def run() -> list[object]:
        net = Network()
        net.start("b", "udp_echo")
        first = net.finish("a", net.start("a", "udp_source", to="b", port=7, mode="request", count=20, size=3000))
        return [first, net.finish("a", net.start("a", "ping", to="b")), net.stacks["b"].snapshot(net.now)]

    assert run() == run()


def test_a_node_with_itself() -> None:
    net = Network()
    net.start("a", "udp_echo", port=7)
    result = net.finish("a", net.start("a", "udp_source", to="a", port=7, mode="request", count=50, rate=0.0))
    assert result["answered"] == 50
    assert net.finish("a", net.start("a", "ping", to="127.0.0.1", interval=0.01))["received"] == 4
