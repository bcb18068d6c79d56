"""Nodes that crash, restart and stand still; links that go down, change and flap; barriers."""

from __future__ import annotations

import pytest

from nodes.errors import MisuseError
from nodes.impairment import Impairment, RandomLoss
from nodes.simulation.values import FRAME_CHARGE, HOP, PAUSED_OCTETS
from nodes.trace.events import (
    FrameDropped,
    InterfaceUpdated,
    NodeStarted,
    NodeStopped,
)
from nodes.trace.link_events import CarrierUpdated, ExecutorUpdated, ImpairmentUpdated, MtuUpdated
from nodes.units import MILLISECOND, SECOND
from tests.sim.simulated_lab import Simulated

ADDRESS = {"a": "10.0.0.1", "b": "10.0.0.2"}
PAIR = "nodes: {a: host, b: host}\nlinks: [a -- b]"
SWITCHED = "nodes: {a: host, b: host, s: {kind: switch, impl: stack}}\nlinks: [a -- s, b -- s]"


def _impaired(text: str) -> str:
    return f"nodes: {{a: host, b: host}}\nlinks: [{{ends: [a, b], {text}}}]"


# ---------------------------------------------------------------------------------------------------------------- crash


def test_a_crashed_node_is_gone_and_comes_back_as_another() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    node = lab.network.node("b")
    session, stack = node.session, node.stack
    assert session is not None
    session.clock.set(lab.network.now, drift_ppb=1000)
    node.crash()
    assert not node.on
    assert not session.alive
    assert lab.ping("a", "b", count=1)["received"] == 0
    assert [event.new for _, event in lab.events("a", InterfaceUpdated)] == ["down"]  # type: ignore[union-attr]
    node.start("restarted")
    assert node.stack is not stack
    assert node.session is not session
    assert node.session is not None
    assert node.session.alive
    assert node.session.clock.drift_ppb == 1000
    assert lab.ping("a", "b", count=1)["received"] == 1
    told = [
        (at / SECOND, event) for at, event in lab.traces["b"].events if isinstance(event, NodeStarted | NodeStopped)
    ]
    assert told == [
        (0, NodeStarted("host", "started")),
        (3, NodeStopped("crashed")),
        (6, NodeStarted("host", "restarted")),
    ]


def test_a_restarted_node_draws_other_numbers() -> None:
    ports = []
    for crash in (False, True):
        lab = Simulated(PAIR)
        if crash:
            lab.network.node("a").crash()
            lab.network.node("a").start()
        socket = lab.network.node("a").stack.udp.open()  # type: ignore[union-attr]
        socket.connect(lab.network.node("a").stack.hosts["b"], 9, lab.network.now)  # type: ignore[union-attr]
        ports.append(socket.local_port)
    assert ports[0] != ports[1]


def test_programs_of_a_crashed_node_reach_nobody() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    network, node = lab.network, lab.network.node("a")
    session = node.session
    assert session is not None
    socket = session.stack.udp.open()
    node.crash()
    before = network.hops
    socket.send_to(b"ghost", session.stack.hosts["b"], 9, network.now)
    session.touched()
    lab.run(1)
    assert network.hops == before
    node.start()
    socket.send_to(b"ghost", session.stack.hosts["b"], 9, network.now)
    session.touched()
    lab.network.node("b").start_capture()
    lab.run(1)
    assert not any(b"ghost" in frame for *_, frame in lab.recorders["b"].frames)


def test_what_a_crashing_node_had_on_the_wire_is_lost() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    lab.network.node("b").start_capture()
    lab.start("a", "ping", to="b", count=1)
    lab.network.run(lab.network.now + HOP // 2)
    lab.network.node("a").crash()
    lab.network.node("a").start()
    lab.network.run(lab.network.now + HOP)
    assert [inbound for _, _, inbound, frame in lab.recorders["b"].frames if frame[12:14] == b"\x08\x00"] == []


def test_a_connection_to_a_restarted_node_is_reset() -> None:
    lab = Simulated(PAIR)
    lab.start("b", "echo")
    talk = lab.start("a", "chat", to="b", port=7, say="hello", interval=10.0)
    lab.run(5)
    lab.network.node("b").crash()
    lab.run(1)
    lab.network.node("b").start()
    lab.run(30)
    runner = lab.network.node("a").runner
    assert runner is not None
    assert runner.state(talk) != "running"


@pytest.mark.parametrize("twice", ["crash", "start"])
def test_what_is_off_or_on_already(twice: str) -> None:
    node = Simulated(PAIR).network.node("a")
    if twice == "crash":
        node.crash()
        with pytest.raises(MisuseError, match="off"):
            node.pause()
    with pytest.raises(MisuseError):
        getattr(node, twice)()


def test_the_end_closes_every_recording() -> None:
    lab = Simulated(SWITCHED)
    lab.ping("a", "b", count=3)
    lab.network.node("b").crash()
    lab.network.close()
    counts = {name: recorder.closed for name, recorder in lab.recorders.items()}
    assert all(closed is not None and closed[0][0] >= 4 for closed in counts.values()), counts
    assert [isinstance(trace.events[-1][1], NodeStopped) for trace in lab.traces.values()] == [True] * 3
    assert lab.traces["s"].events[-2][0] == lab.network.now  # that b crashed, but not that a ended
    assert sum(at == lab.network.now for at, _ in lab.events("s", InterfaceUpdated)) == 1
    assert len(lab.events("b", NodeStopped)) == 1
    assert lab.network.next_event() is None


# ---------------------------------------------------------------------------------------------------------------- pause


def test_a_paused_node_catches_up() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    node = lab.network.node("b")
    assert node.session is not None
    node.pause()
    assert node.session.held
    assert node.deadline() is None
    number = lab.start("a", "ping", to="b", count=5, timeout=60.0)
    lab.run(10)
    assert lab.result("a", number)["received"] == 0
    node.resume()
    assert not node.session.held
    lab.run(1)
    found = lab.result("a", number)
    assert found["received"] == 5
    assert found["rtt_max"] == 10 * SECOND + HOP
    assert lab.ping("a", "b", count=2)["received"] == 2
    node.resume()  # harmless


def test_timers_of_a_paused_node_come_late() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    number = lab.start("a", "ping", to="b", count=4, interval=1.0)
    lab.run(1.5)
    lab.network.node("a").pause()
    lab.run(20)
    assert lab.result("a", number)["transmitted"] == 2
    lab.network.node("a").resume()
    lab.run(5)
    assert lab.result("a", number)["transmitted"] == 4


def test_what_a_paused_node_holds_is_bounded() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    lab.network.node("b").pause()
    size = 1000
    lab.start("a", "udp_source", to="b", mode="stream", size=size, count=6000, rate=6000.0)
    lab.run(10)
    port = lab.network.node("b").ports[0]
    most = PAUSED_OCTETS // (size + 42 + FRAME_CHARGE)
    lab.network.node("b").resume()
    lab.run(1)
    stack = lab.network.node("b").stack
    assert stack is not None
    assert port.dropped > 0
    received = lab.network.node("b").statistics()[0]
    assert received[1] == port.dropped
    assert abs(lab.network.node("a").ports[0].carried - port.dropped - most) < 20


def test_a_carrier_that_went_during_a_pause_is_seen_after_it() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    node = lab.network.node("b")
    node.pause()
    lab.network.link("a--b").set_up(False)
    lab.run(5)
    assert not lab.events("b", InterfaceUpdated)
    lab.network.link("a--b").set_up(True)
    lab.run(5)
    node.resume()
    lab.run(0)
    states = [(at, event.new) for at, event in lab.events("b", InterfaceUpdated)]  # type: ignore[union-attr]
    assert states == [(13 * SECOND, "down"), (13 * SECOND, "up")]
    assert lab.ping("a", "b", count=1)["received"] == 1


def test_a_node_that_crashes_while_paused_starts_fresh() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    node = lab.network.node("b")
    node.pause()
    lab.start("a", "ping", to="b", count=3)
    lab.run(5)
    node.crash()
    node.start()
    assert not node.paused
    assert lab.ping("a", "b", count=1)["received"] == 1


# ---------------------------------------------------------------------------------------------------------------- links


def test_a_link_that_is_down_carries_nothing_and_both_ends_see_it() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    link = lab.network.link("a--b")
    link.set_up(False)
    link.set_up(False)
    assert lab.ping("a", "b", count=1)["received"] == 0
    link.set_up(True, "mine")
    assert lab.ping("a", "b", count=1)["received"] == 1
    for name in "ab":
        assert [event.new for _, event in lab.events(name, InterfaceUpdated)] == ["down", "up"]  # type: ignore[union-attr]
    assert [event for _, event in lab.links.events] == [
        CarrierUpdated("a--b", "up", "down", "command"),
        CarrierUpdated("a--b", "down", "up", "mine"),
    ]


@pytest.mark.parametrize("impaired", [False, True])
def test_what_is_inside_a_link_that_goes_down_is_lost(impaired: bool) -> None:
    lab = Simulated(_impaired("impair: {delay: 20ms}") if impaired else PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    lab.network.node("b").start_capture()
    lab.start("a", "ping", to="b", count=1)
    lab.network.run(lab.network.now + (10 * MILLISECOND if impaired else HOP // 2))
    link = lab.network.link("a--b")
    link.set_up(False)
    link.set_up(True)
    lab.network.run(lab.network.now + 50 * MILLISECOND)
    assert not [frame for _, _, inbound, frame in lab.recorders["b"].frames if inbound and frame[12:14] == b"\x08\x00"]
    if impaired:
        assert link.state()["ab"]["measured"]["dropped"] == {"link down": 1}  # type: ignore[index]


def test_a_link_starts_down_where_the_plan_says_so() -> None:
    lab = Simulated("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], up: false}]")
    assert lab.ping("a", "b", count=1)["received"] == 0
    lab.network.link("a--b").set_up(True)
    assert lab.ping("a", "b", count=1)["received"] == 1


def test_a_plain_link_becomes_an_impaired_one_and_says_so() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    link = lab.network.link(("b", "a"))
    assert link.samples() is None
    assert link.state()["ab"] == {"applied": None, "measured": None}
    link.impair({}, trigger="nothing")
    assert not link.impaired
    link.impair({"delay": 30 * MILLISECOND}, ["ab"])
    assert lab.ping("a", "b", count=1)["rtt_max"] == 30 * MILLISECOND + 2 * HOP
    link.impair({"loss": RandomLoss(chance=1.0)}, ["ba"])
    assert lab.ping("a", "b", count=2)["received"] == 0
    link.impair({}, replace=True, trigger="clear")
    assert lab.ping("a", "b", count=1)["rtt_max"] == 2 * HOP
    told = [event for _, event in lab.links.events]
    assert isinstance(told[0], ExecutorUpdated)
    assert [(event.sender, event.new, event.trigger) for event in told if isinstance(event, ImpairmentUpdated)] == [
        ("a", '{"delay": 30000000}', "command"),
        ("b", '{"loss": {"chance": 1.0, "correlation": 0.0, "model": "random"}}', "command"),
        ("a", "{}", "clear"),
        ("b", "{}", "clear"),
    ]
    samples = link.samples()
    assert samples is not None
    assert samples["ab"].in_frames == samples["ab"].out_frames == 4
    assert (samples["ba"].dropped, samples["ba"].late) == (2, 0)
    with pytest.raises(TypeError):
        link.impair({"colour": 1})


def test_the_mtu_of_a_link_is_that_of_both_ends() -> None:
    lab = Simulated(_impaired("impair: {delay: 1ms}"))
    lab.run(3)
    link = lab.network.link("a--b")
    link.set_mtu(1000)
    link.set_mtu(1000)
    for name in "ab":
        stack = lab.network.node(name).stack
        assert stack is not None
        assert stack.interfaces[0].mtu == 1000
    assert lab.ping("a", "b", count=1, size=1400)["received"] == 1  # in fragments
    assert MtuUpdated("a--b", 1500, 1000, "command") in [event for _, event in lab.links.events]
    lab.network.node("a").crash()
    lab.network.node("a").start()
    assert lab.network.node("a").stack.interfaces[0].mtu == 1000  # type: ignore[union-attr]
    with pytest.raises(MisuseError):
        link.set_mtu(67)


def test_a_schedule_changes_a_link_at_its_times() -> None:
    lab = Simulated(
        _impaired("impair: {delay: 10ms}, schedule: [{at: 10s, impair: {delay: 20ms}},"
                  "{at: 15s, flap: {down: 2s}}, {at: 20s, ramp: 1s, impair: {delay: 40ms}}]"),
        start=5 * SECOND,
    )  # fmt: skip
    told: list[tuple[int, int]] = []
    link = lab.network.link("a--b")
    for at in (14.9, 15, 25, 25.5, 26):
        lab.network.run(round(at * SECOND))
        told.append((round(at * 10), link.asked["ab"].delay // MILLISECOND))
    assert told == [(149, 10), (150, 20), (250, 20), (255, 30), (260, 40)]
    carriers = [(at // SECOND, event.new) for at, event in lab.links.events if isinstance(event, CarrierUpdated)]
    assert carriers == [(20, "down"), (22, "up")]


def test_a_command_ends_the_ramp_of_the_same_value() -> None:
    lab = Simulated(_impaired("schedule: [{at: 1s, ramp: 10s, impair: {delay: 100ms}}]"))
    lab.run(5)
    link = lab.network.link("a--b")
    link.impair({"delay": 7 * MILLISECOND})
    lab.run(20)
    assert link.asked == {"ab": Impairment(delay=7 * MILLISECOND), "ba": Impairment(delay=7 * MILLISECOND)}


def test_flaps_go_down_and_up_until_they_are_ended() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    link = lab.network.link("a--b")
    link.flap(2 * SECOND, 5 * SECOND, 3)
    lab.run(30)
    carriers = [(at // SECOND, event.new) for at, event in lab.links.events if isinstance(event, CarrierUpdated)]
    assert carriers == [(3, "down"), (5, "up"), (8, "down"), (10, "up"), (13, "down"), (15, "up")]
    assert not link.end_flaps()
    link.flap(SECOND, 2 * SECOND, 0)
    lab.run(4.5)
    assert link.end_flaps()
    link.set_up(True)
    before = len(lab.links.events)
    lab.run(10)
    assert len(lab.links.events) == before


def test_a_capture_has_both_directions_and_can_be_ended() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    node = lab.network.node("a")
    assert node.start_capture() == "frames"
    lab.ping("a", "b", count=1)
    node.stop_capture()
    lab.ping("a", "b", count=1)
    echo = [(inbound, frame[34]) for _, _, inbound, frame in lab.recorders["a"].frames if frame[12:14] == b"\x08\x00"]
    assert echo == [(False, 8), (True, 0)]
    assert node.direct


# -------------------------------------------------------------------------------------------------------------- barrier


def test_a_barrier_keeps_frames_out_and_in() -> None:
    lab = Simulated(PAIR)
    lab.run(3)
    lab.ping("a", "b", count=1)
    lab.network.node("b").block([ADDRESS["a"]])
    assert lab.ping("a", "b", count=1)["received"] == 0
    heard = lab.network.node("a").statistics()[0][0]
    assert lab.ping("b", "a", count=1)["received"] == 0
    assert lab.network.node("a").statistics()[0][0] == heard
    drops = lab.events("b", FrameDropped)
    assert [event.reason for _, event in drops] == ["partition", "partition"]  # type: ignore[union-attr]
    assert not lab.events("a", FrameDropped)
    lab.network.node("b").block([])
    assert lab.ping("a", "b", count=1)["received"] == 1
