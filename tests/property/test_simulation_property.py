"""Whatever is done to a simulated network, and when: time goes on, never back, and no frame comes from nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.contract import ApplicationConfig, InterfaceConfig, NodeConfig, RouteConfig, SpanningTreeConfig
from nodes.impairment import RandomLoss
from nodes.simulation.network import Network
from nodes.simulation.node import SimulatedNode
from nodes.simulation.values import QuietRecorder, Wire
from nodes.trace.events import ListTracer
from nodes.units import MILLISECOND, SECOND

END = 15 * SECOND
HOSTS = {"a": "10.0.0.1", "b": "10.0.1.1"}
LINKS = ("a-s", "s-t", "s-t2", "t-r", "r-b")


def _interface(number: int, name: str, *addresses: str) -> InterfaceConfig:
    return InterfaceConfig(name, f"02:00:00:00:{number:02x}:{int(name[-1]):02x}", addresses)


def _nodes() -> list[NodeConfig]:
    tree = SpanningTreeConfig(hello_time=1, max_age=6, forward_delay=4)
    pings = (
        ApplicationConfig("ping", {"to": "b", "count": 0, "interval": 0.05}),
        ApplicationConfig("source", {"to": "b", "bytes": 100_000}),
    )
    a = NodeConfig("t", "a", interfaces=(_interface(1, "eth0", "10.0.0.1/24"),), hosts=HOSTS, seed=1,
                   routes=(RouteConfig("0.0.0.0/0", "10.0.0.2", "eth0"),), applications=pings)  # fmt: skip
    b = NodeConfig("t", "b", interfaces=(_interface(2, "eth0", "10.0.1.1/24"),), hosts=HOSTS, seed=2,
                   routes=(RouteConfig("0.0.0.0/0", "10.0.1.2", "eth0"),),
                   applications=(ApplicationConfig("sink", {}),))  # fmt: skip
    r = NodeConfig("t", "r", "router", seed=3,
                   interfaces=(_interface(3, "eth0", "10.0.0.2/24"), _interface(3, "eth1", "10.0.1.2/24")))  # fmt: skip
    switches = [
        NodeConfig("t", name, "switch", spanning_tree=tree, ageing_time=10,
                   interfaces=tuple(_interface(number, f"p{port}") for port in (1, 2, 3)))
        for number, name in ((4, "s"), (5, "t"))
    ]  # fmt: skip
    return [a, b, r, *switches]


WIRES = [
    Wire("a-s", ("a", "eth0"), ("s", "p1"), seeds=(1, 2)),
    Wire("s-t", ("s", "p2"), ("t", "p1"), seeds=(3, 4)),
    Wire("s-t2", ("s", "p3"), ("t", "p2"), seeds=(5, 6)),
    Wire("t-r", ("t", "p3"), ("r", "eth0"), seeds=(7, 8)),
    Wire("r-b", ("r", "eth1"), ("b", "eth0"), seeds=(9, 10)),
]
PATCHES = [
    {"delay": 5 * MILLISECOND},
    {"delay": 0, "loss": RandomLoss(chance=0.3)},
    {"jitter": 2 * MILLISECOND, "rate": 1_000_000},
    {"duplicate": 0.2, "reorder": 0.2},
]


def _toggle(node: SimulatedNode) -> None:
    (node.crash if node.on else node.start)()


def _pause(node: SimulatedNode) -> None:
    if node.on:
        (node.resume if node.paused else node.pause)()


def _act(network: Network, action: tuple[str, str, int]) -> Callable[[], object]:
    kind, name, number = action
    if kind == "toggle":
        return lambda: _toggle(network.node(name))
    if kind == "pause":
        return lambda: _pause(network.node(name))
    if kind == "block":
        return lambda: network.node(name).block(list(HOSTS.values())[: number % 3])
    link = network.link(name)
    if kind == "impair":
        return lambda: link.impair(PATCHES[number % len(PATCHES)], ["ab", "ba"][number % 2 :], replace=number > 4)  # type: ignore[list-item]
    if kind == "mtu":
        return lambda: link.set_mtu(576 + 400 * (number % 3))
    if kind == "flap":
        return lambda: link.flap((1 + number) * 100 * MILLISECOND, SECOND, 2)
    return lambda: link.set_up(not link.up)


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["toggle", "pause", "block"]), st.sampled_from(["a", "b", "r", "s", "t"]), st.just(1)),
    st.tuples(st.sampled_from(["impair", "mtu", "flap", "up"]), st.sampled_from(LINKS), st.integers(0, 7)),
)


class _Watch(ListTracer):
    """Time never goes back in the trace of a node."""

    def __call__(self, now: int, event: object) -> None:
        assert not self.events or now >= self.events[-1][0]
        super().__call__(now, event)  # type: ignore[arg-type]


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, END), ACTIONS), max_size=12), st.integers(1, 5))
def test_time_goes_on_and_frames_are_kept_account_of(plan: list[tuple[int, tuple[str, str, int]]], calls: int) -> None:
    tracers: list[_Watch] = []

    def recorder_for(_: NodeConfig) -> QuietRecorder:
        tracers.append(_Watch())
        return QuietRecorder(tracers[-1])

    links = _Watch()
    network = Network(_nodes(), WIRES, recorder_for=recorder_for, link_tracer=links)
    for at, action in plan:
        network.call_at(at, _act(network, action))  # type: ignore[arg-type]
    seen = 0
    for number in range(1, calls + 1):
        network.run(END * number // calls)
        assert network.now == END * number // calls >= seen
        seen = network.now
        upcoming = network.next_event()
        assert upcoming is None or upcoming >= network.now
    assert max(now for tracer in tracers for now, _ in tracer.events) <= END
    for link in network.links.values():
        for direction, port in zip(("ab", "ba"), link.ports, strict=True):
            if port.lane is None:
                continue
            statistics = port.lane.line.statistics
            assert statistics.inside >= 0, (link.name, direction)
            assert statistics.in_frames == port.entered
    for node in network.nodes.values():
        assert all(received >= 0 and dropped >= 0 for received, dropped in node.statistics())
        assert node.on or (node.session is None or not node.session.alive)
    network.close()
