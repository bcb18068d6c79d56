"""The spanning tree of one bridge, BPDU by BPDU (IEEE 802.1D-2004 clause 17)."""

from __future__ import annotations

import itertools

import pytest

from nodes.contract import SpanningTreeConfig
from nodes.datalink.spanning_tree import SpanningTree
from nodes.datalink.spanning_tree_vectors import MAXIMUM_PORTS, SpanningTreeSettings
from nodes.errors import MisuseError
from nodes.trace.events import (
    FrameDropped,
    ListTracer,
    SpanningTreePortUpdated,
    SpanningTreeRootUpdated,
)
from nodes.units import MILLISECOND, SECOND
from nodes.wire import bpdu
from nodes.wire.addresses import parse_mac
from nodes.wire.bpdu import (
    CONFIGURATION,
    FLAG_ACKNOWLEDGMENT,
    FLAG_AGREEMENT,
    FLAG_FORWARDING,
    FLAG_LEARNING,
    FLAG_PROPOSAL,
    FLAG_TOPOLOGY_CHANGE,
    NOTIFICATION,
    RAPID,
    ROLE_ALTERNATE_OR_BACKUP,
    ROLE_DESIGNATED,
    ROLE_ROOT,
    Bpdu,
)

MAC = parse_mac("02:5a:00:00:00:05")
US = 0x8000_025A_0000_0005
BETTER = 0x8000_025A_0000_0001
WORSE = 0x8000_025A_0000_0009
DESIGNATED = ROLE_DESIGNATED << 2
OPEN = FLAG_LEARNING | FLAG_FORWARDING


class Bridge:
    """One bridge and a clock."""

    def __init__(
        self,
        ports: int = 2,
        *,
        settings: SpanningTreeSettings | None = None,
        shared: tuple[int, ...] = (),
        edges: tuple[int, ...] = (),
    ) -> None:
        self.tracer = ListTracer()
        self.now = 0
        names = [f"p{i}" for i in range(ports)]
        chosen = settings or SpanningTreeSettings()
        self.tree = SpanningTree(names, MAC, self.tracer, chosen, shared_ports=shared, edge_ports=edges)
        for port in range(ports):
            self.tree.set_port(port, True, 0)

    def sent(self) -> list[tuple[int, Bpdu]]:
        return [(port, bpdu.parse(frame)) for port, frame in self.tree.transmit()]

    def sent_on(self, port: int) -> list[Bpdu]:
        return [message for to, message in self.sent() if to == port]

    def hear(self, port: int, message: Bpdu) -> None:
        self.tree.receive(port, bpdu.build(message, parse_mac("02:00:00:00:00:01")), self.now)

    def run(self, duration: int) -> None:
        """Timers for `duration`; after each one, the next is in the future."""
        end = self.now + duration
        while (due := self.tree.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.tree.timeout(self.now)
            later = self.tree.deadline()
            assert later is None or later > self.now
        self.now = end

    def port(self, index: int) -> dict[str, object]:
        return self.tree.snapshot(self.now)["ports"][index]  # type: ignore[index,no-any-return]

    def role_and_state(self, index: int) -> str:
        port = self.port(index)
        return f"{port['role']} {port['state']}"

    def triggers(self, name: str) -> list[str]:
        events = self.tracer.of(SpanningTreePortUpdated)
        return [event.trigger for event in events if event.port == name]


def word(
    flags: int = DESIGNATED | OPEN,
    *,
    kind: int = RAPID,
    root: int = BETTER,
    cost: int = 0,
    bridge: int = BETTER,
    port: int = 0x8001,
    age: int = 0,
    max_age: int = 20,
    hello: int = 2,
    delay: int = 15,
) -> Bpdu:
    times = [256 * seconds for seconds in (age, max_age, hello, delay)]
    return Bpdu(kind, flags, root, cost, bridge, port, *times)


def old(flags: int = 0, **fields: int) -> Bpdu:
    return word(flags, kind=CONFIGURATION, **fields)


def answer(flags: int = FLAG_AGREEMENT, *, root: int = US, cost: int = 20_000, role: int = ROLE_ROOT) -> Bpdu:
    """What the root port of a bridge below says: its own vector."""
    return word(role << 2 | flags, root=root, cost=cost, bridge=WORSE)


# --- alone -------------------------------------------------------------------------------------------------------


def test_alone_it_is_the_root_and_proposes() -> None:
    bridge = Bridge()
    expected = Bpdu(RAPID, DESIGNATED | FLAG_PROPOSAL, US, 0, US, 0x8001, 0, 20 * 256, 2 * 256, 15 * 256)
    sent = dict(bridge.sent())
    assert sent[0] == expected
    assert sent[1] == expected._replace(port=0x8002)
    assert bridge.role_and_state(0) == "designated discarding"


def test_an_edge_opens_after_three_seconds() -> None:
    """Section 17.25: nobody answered a proposal for MigrateTime."""
    bridge = Bridge()
    bridge.run(3 * SECOND - 1)
    assert bridge.role_and_state(0) == "designated discarding"
    bridge.run(1)
    assert bridge.role_and_state(0) == "designated forwarding"
    assert bridge.port(0)["edge"] is True
    assert bridge.triggers("p0") == ["port_up", "edge_port", "edge_port"]  # designated; learning, forwarding
    assert bridge.tree.snapshot(0)["topology_changes"] == 0  # an edge changes nothing for others


def test_hello_times() -> None:
    bridge = Bridge()
    bridge.run(10 * SECOND)
    assert len(bridge.sent_on(0)) == 6  # at 0, 2, 4, 6, 8 and 10 s


def test_a_bpdu_ends_the_edge() -> None:
    bridge = Bridge()
    bridge.run(4 * SECOND)
    bridge.hear(0, word())
    assert bridge.port(0)["edge"] is False
    assert bridge.role_and_state(0) == "root forwarding"


def test_down_ports_are_silent() -> None:
    bridge = Bridge()
    bridge.run(5 * SECOND)
    bridge.sent()
    bridge.tree.set_port(0, False, bridge.now)
    bridge.hear(0, word())
    bridge.run(10 * SECOND)
    assert bridge.role_and_state(0) == "disabled discarding"
    assert bridge.sent_on(0) == []
    assert FrameDropped("p0", "port is down", 60) in bridge.tracer.of(FrameDropped)


# --- roles -------------------------------------------------------------------------------------------------------


def test_a_better_root_is_followed() -> None:
    bridge = Bridge()
    bridge.sent()
    bridge.hear(1, word(cost=4))
    assert bridge.role_and_state(1) == "root forwarding"
    assert bridge.tracer.of(SpanningTreeRootUpdated) == [
        SpanningTreeRootUpdated("8000.025a00000005", "8000.025a00000001", "p1", 20_004, "superior_bpdu")
    ]
    (message,) = bridge.sent_on(0)
    assert (message.root, message.path_cost, message.bridge) == (BETTER, 20_004, US)
    assert message.message_age == 256  # a hop older


def test_the_worse_of_two_ways_up_is_blocked() -> None:
    bridge = Bridge()
    bridge.hear(0, word(port=0x8007))
    bridge.hear(1, word(port=0x8003))
    assert bridge.role_and_state(1) == "root forwarding"
    assert bridge.role_and_state(0) == "alternate discarding"


def test_the_lower_own_port_breaks_a_tie() -> None:
    """Two ports on one hub: the same word reaches both."""
    bridge = Bridge()
    bridge.hear(1, word())
    bridge.hear(0, word())
    assert bridge.role_and_state(0) == "root forwarding"
    assert bridge.role_and_state(1) == "alternate discarding"


def test_own_word_on_another_port_makes_a_backup() -> None:
    """Two ports of the bridge on one LAN."""
    bridge = Bridge()
    first = dict(bridge.sent())[0]
    bridge.hear(1, first)
    assert bridge.role_and_state(1) == "backup discarding"
    bridge.hear(0, first)
    assert bridge.tracer.of(FrameDropped) == [FrameDropped("p0", "bpdu: own BPDU came back", 60)]


def test_a_way_through_ourselves_is_no_way() -> None:
    """p2 hears p1 on a common LAN. When the way up is lost, p2 still has news of the root: its own bridge's."""
    bridge = Bridge(3)
    bridge.hear(0, word())
    bridge.hear(2, dict(bridge.sent())[1])
    assert bridge.role_and_state(2) == "backup discarding"
    bridge.tree.set_port(0, False, bridge.now)
    assert bridge.tree.snapshot(0)["root"] == "8000.025a00000005"


def test_a_backup_that_becomes_root_waits() -> None:
    """rbWhile: the designated port that it backed up may still be open on the same LAN."""
    bridge = Bridge()
    bridge.hear(1, dict(bridge.sent())[0])
    bridge.hear(1, word(hello=10))
    assert bridge.role_and_state(1) == "root discarding"
    bridge.run(4 * SECOND - 1)
    assert bridge.role_and_state(1) == "root learning"
    bridge.run(1)
    assert bridge.role_and_state(1) == "root forwarding"


def test_a_worse_bridge_is_told_better() -> None:
    bridge = Bridge()
    bridge.hear(0, word(root=WORSE, bridge=WORSE))
    assert bridge.role_and_state(0).startswith("designated")


def test_bad_news_from_the_same_port_counts_at_once() -> None:
    """Section 17.6: the newest word of the designated port replaces its older, better one."""
    bridge = Bridge()
    bridge.hear(0, word())
    bridge.hear(0, word(root=WORSE, bridge=BETTER, cost=7))
    assert bridge.tree.snapshot(0)["root"] == "8000.025a00000005"
    assert bridge.role_and_state(0).startswith("designated")


def test_the_next_best_way_opens_at_once() -> None:
    bridge = Bridge()
    bridge.hear(0, word())
    bridge.hear(1, word(cost=9, bridge=BETTER + 1))
    bridge.run(10 * MILLISECOND)
    bridge.tree.set_port(0, False, bridge.now)
    assert bridge.role_and_state(1) == "root forwarding"
    assert bridge.triggers("p1")[-1] == "rerooted"


# --- lifetime of information -------------------------------------------------------------------------------------


def test_three_hello_times_of_silence() -> None:
    """The neighbor's own hello time counts."""
    bridge = Bridge()
    bridge.hear(0, word(hello=1))
    bridge.run(2 * SECOND)
    bridge.hear(0, word(hello=1))
    bridge.run(3 * SECOND - 1)
    assert bridge.role_and_state(0) == "root forwarding"
    bridge.run(1)
    assert bridge.role_and_state(0) == "designated forwarding"
    assert bridge.triggers("p0")[-1] == "information_aged"


def test_news_that_is_too_old_is_no_news() -> None:
    """Sections 9.3.4 and 17.21.23: message age against max age, in both kinds of BPDU."""
    bridge = Bridge()
    bridge.hear(0, old(age=20))
    assert FrameDropped("p0", "bpdu: message age is not below max age", 60) in bridge.tracer.of(FrameDropped)
    bridge.hear(0, word(age=20))
    assert bridge.tree.snapshot(0)["root"] == "8000.025a00000005"
    bridge.hear(0, word(age=19))
    assert bridge.tree.snapshot(0)["root"] == "8000.025a00000001"


# --- proposal and agreement --------------------------------------------------------------------------------------


def test_agreement_opens_a_designated_port() -> None:
    bridge = Bridge()
    bridge.hear(0, answer())
    assert bridge.role_and_state(0) == "designated forwarding"
    assert bridge.triggers("p0")[-1] == "agreement"
    assert bridge.role_and_state(1) == "designated discarding"


@pytest.mark.parametrize(
    "message",
    [
        answer(0),  # does not agree
        answer(role=0),  # no role
        answer(root=BETTER),  # agrees to something better
    ],
)
def test_other_answers_do_not(message: Bpdu) -> None:
    bridge = Bridge()
    bridge.hear(0, message)
    assert bridge.role_and_state(0) == "designated discarding"


def test_a_shared_medium_is_never_opened_by_agreement() -> None:
    """Section 17.21.9: one bridge on a hub cannot agree for the others."""
    bridge = Bridge(shared=(0,))
    changes = []
    for second in range(30):
        bridge.hear(0, answer())
        changes.append((second, bridge.role_and_state(0)))
        bridge.run(SECOND)
    assert changes[19:21] == [(19, "designated discarding"), (20, "designated learning")]
    assert changes[22] == (22, "designated forwarding")


def test_a_proposal_blocks_what_is_below_and_is_answered() -> None:
    """Sync: an open designated port closes before the root port agrees, and then proposes itself."""
    bridge = Bridge()
    bridge.hear(0, word())
    bridge.hear(1, answer(root=BETTER, cost=40_000))
    assert bridge.role_and_state(1) == "designated forwarding"
    bridge.sent()
    bridge.hear(0, word(DESIGNATED | FLAG_PROPOSAL, cost=9))
    assert bridge.role_and_state(1) == "designated discarding"
    assert bridge.triggers("p1")[-1] == "sync"
    sent = dict(bridge.sent())
    assert sent[0].flags & ~FLAG_TOPOLOGY_CHANGE == ROLE_ROOT << 2 | FLAG_AGREEMENT | OPEN
    assert (sent[0].root, sent[0].path_cost) == (BETTER, 20_009)
    assert sent[1].flags & FLAG_PROPOSAL


def test_who_agreed_to_worse_news_agrees_to_better() -> None:
    """Section 17.21.1 (`betterorsameInfo`): no need to close and to ask again."""
    bridge = Bridge()
    bridge.hear(1, answer())
    bridge.hear(0, word(DESIGNATED | FLAG_PROPOSAL))
    assert bridge.role_and_state(1) == "designated forwarding"


def test_an_edge_is_not_blocked_by_sync() -> None:
    bridge = Bridge()
    bridge.run(3 * SECOND)
    bridge.hear(0, word(DESIGNATED | FLAG_PROPOSAL))
    assert bridge.role_and_state(1) == "designated forwarding"
    assert bridge.sent_on(0)[-1].flags & FLAG_AGREEMENT


def test_an_alternate_port_agrees_too() -> None:
    bridge = Bridge()
    bridge.hear(0, word())
    bridge.sent()
    bridge.hear(1, word(DESIGNATED | FLAG_PROPOSAL, bridge=BETTER + 1))
    flags = bridge.sent_on(1)[-1].flags
    assert flags == ROLE_ALTERNATE_OR_BACKUP << 2 | FLAG_AGREEMENT


def test_a_deaf_neighbor_is_disputed() -> None:
    """A worse designated port that learns does not hear us: closing is the only safe thing."""
    bridge = Bridge()
    bridge.hear(0, answer())
    bridge.hear(0, word(root=WORSE, bridge=WORSE))
    assert bridge.role_and_state(0) == "designated discarding"
    assert bridge.triggers("p0")[-1] == "dispute"


def test_an_agreement_ends_a_dispute() -> None:
    bridge = Bridge()
    bridge.hear(0, word(root=WORSE, bridge=WORSE))
    bridge.hear(0, answer())
    assert bridge.role_and_state(0) == "designated forwarding"
    assert bridge.triggers("p0") == ["port_up", "agreement", "agreement"]


def test_at_most_six_bpdus_in_a_burst() -> None:
    """TxHoldCount: then one per second."""
    bridge = Bridge()
    for cost in range(20):
        bridge.hear(0, word(cost=cost))
    assert len(bridge.sent_on(1)) == 6
    bridge.run(SECOND)
    assert [message.path_cost for message in bridge.sent_on(1)] == [20_019]
    bridge.run(SECOND)
    assert bridge.sent_on(1) == []


# --- topology change ---------------------------------------------------------------------------------------------


def converged() -> Bridge:
    """p0 root port, p1 and p2 designated and open, all at rest, nothing left to send."""
    bridge = Bridge(3)
    bridge.hear(0, word())
    for port in (1, 2):
        bridge.hear(port, answer(root=BETTER, cost=40_000))
    for _ in range(3):
        bridge.run(2 * SECOND)
        bridge.hear(0, word())
    bridge.sent()
    bridge.tree.flushes()
    return bridge


def test_a_change_is_passed_on_and_flushed() -> None:
    bridge = converged()
    bridge.hear(1, answer(FLAG_AGREEMENT | FLAG_TOPOLOGY_CHANGE, root=BETTER, cost=40_000))
    assert sorted(bridge.tree.flushes()) == [0, 2]
    sent = bridge.sent()
    assert {port for port, message in sent if message.flags & FLAG_TOPOLOGY_CHANGE} == {0, 2}


def test_a_change_is_told_for_two_bpdus() -> None:
    """tcWhile: hello time and a second."""
    bridge = converged()
    bridge.hear(0, word(DESIGNATED | OPEN | FLAG_TOPOLOGY_CHANGE))
    flags = [message.flags & FLAG_TOPOLOGY_CHANGE for message in bridge.sent_on(1)]
    for _ in range(3):
        bridge.run(2 * SECOND)
        bridge.hear(0, word())
        flags += [message.flags & FLAG_TOPOLOGY_CHANGE for message in bridge.sent_on(1)]
    assert flags == [1, 1, 0, 0]


def test_closing_a_port_forgets_its_stations() -> None:
    bridge = converged()
    bridge.tree.set_port(2, False, bridge.now)
    assert bridge.tree.flushes() == [2]


# --- neighbors that only speak STP -------------------------------------------------------------------------------


def test_migration_to_stp_and_back() -> None:
    """Section 17.24: not in the first three seconds, then what the neighbor speaks."""
    bridge = Bridge()
    bridge.hear(0, old(root=WORSE, bridge=WORSE))
    assert bridge.port(0)["protocol"] == "rstp"
    bridge.run(3 * SECOND)
    bridge.sent()
    bridge.hear(0, old(root=WORSE, bridge=WORSE))
    assert [message.type for message in bridge.sent_on(0)] == [CONFIGURATION]
    assert bridge.port(0)["protocol"] == "stp"
    bridge.run(3 * SECOND)
    bridge.hear(0, word(root=WORSE, bridge=WORSE))
    assert bridge.port(0)["protocol"] == "rstp"
    assert bridge.port(1)["protocol"] == "rstp"


def test_towards_stp_a_port_waits_for_forward_delays() -> None:
    bridge = Bridge()
    states = []
    for second in range(60):
        bridge.hear(0, old(root=WORSE, bridge=WORSE))
        states.append((second, bridge.role_and_state(0)))
        bridge.run(SECOND)
    changes = [now for before, now in itertools.pairwise(states) if before[1] != now[1]]
    assert changes == [(20, "designated learning"), (35, "designated forwarding")]


def stp_root_port() -> Bridge:
    """p0 leads up through an STP bridge, p1 is a new RSTP LAN."""
    bridge = Bridge()
    for _ in range(6):
        bridge.hear(0, old())
        bridge.run(SECOND)
    bridge.sent()
    return bridge


def test_a_change_is_notified_to_stp_until_acknowledged() -> None:
    bridge = stp_root_port()
    bridge.hear(1, answer(root=BETTER, cost=40_000))
    assert [message.type for message in bridge.sent_on(0)] == [NOTIFICATION]
    bridge.hear(0, old())
    bridge.run(2 * SECOND)
    assert [message.type for message in bridge.sent_on(0)] == [NOTIFICATION]
    bridge.hear(0, old(FLAG_ACKNOWLEDGMENT))
    bridge.run(5 * SECOND)
    assert bridge.sent_on(0) == []


def test_no_notification_without_a_change() -> None:
    """An agreement means nothing to an STP bridge."""
    bridge = stp_root_port()
    for second in range(8):
        bridge.hear(0, old(cost=second))
        bridge.run(SECOND)
    assert bridge.sent_on(0) == []


def test_a_notification_is_acknowledged() -> None:
    bridge = Bridge()
    for _ in range(40):
        bridge.hear(0, old(root=WORSE, bridge=WORSE))
        bridge.run(SECOND)
    assert bridge.role_and_state(0) == "designated forwarding"
    bridge.sent()
    bridge.hear(0, Bpdu(NOTIFICATION))
    bridge.run(6 * SECOND)
    acknowledged = [message.flags & FLAG_ACKNOWLEDGMENT for message in bridge.sent_on(0)]
    assert acknowledged == [FLAG_ACKNOWLEDGMENT, 0, 0]


def test_forced_stp() -> None:
    """`rapid=False`: configuration BPDUs only, even to a rapid neighbor."""
    bridge = Bridge(settings=SpanningTreeSettings(rapid=False))
    bridge.run(5 * SECOND)
    bridge.hear(0, word(root=WORSE, bridge=WORSE))
    bridge.run(5 * SECOND)
    assert {message.type for _, message in bridge.sent()} == {CONFIGURATION}


# --- robustness and settings -------------------------------------------------------------------------------------


def test_malformed_bpdus_are_counted_and_traced() -> None:
    bridge = Bridge()
    bridge.tree.receive(0, bpdu.BRIDGE_GROUP + MAC + b"\x00\x03\xaa\xaa\x03" + bytes(43), 0)
    (event,) = bridge.tracer.of(FrameDropped)
    assert event.reason == "bpdu LLC header at byte 14: aa aa 03, 42 42 03 expected"
    assert bridge.port(0)["bpdus_invalid"] == 1


def test_the_largest_numbers_are_harmless() -> None:
    """A path cost and a message age that do not fit after one hop."""
    bridge = Bridge()
    bridge.hear(0, Bpdu(RAPID, DESIGNATED, BETTER, 2**32 - 1, BETTER, 1, 0xFFFF - 512, 0xFFFF, 0, 0))
    message = bridge.sent_on(1)[-1]
    assert (message.root, message.path_cost) == (BETTER, 2**32 - 1)
    bridge.run(10 * SECOND)


def test_settings_from_the_configuration() -> None:
    assert SpanningTreeSettings.from_config(SpanningTreeConfig()) == SpanningTreeSettings()
    config = SpanningTreeConfig(priority=4096, hello_time=1.5, max_age=6.0, forward_delay=4.0)
    settings = SpanningTreeSettings.from_config(config)
    assert settings == SpanningTreeSettings(4096, 3 * SECOND // 2, 6 * SECOND, 4 * SECOND)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"priority": 1}, "priority 1"),
        ({"priority": 65536}, "priority 65536"),
        ({"hello_time": 0}, "hello_time 0 s"),
        ({"max_age": 5 * SECOND}, "max_age 5 s"),
        ({"forward_delay": 31 * SECOND}, "forward_delay 31 s"),
        ({"forward_delay": 4 * SECOND}, "max_age 20 s"),
        ({"max_age": 6 * SECOND, "hello_time": 3 * SECOND}, "max_age 6 s"),
        ({"path_cost": 0}, "path_cost 0"),
        ({"transmit_hold_count": 0}, "transmit_hold_count 0"),
    ],
)
def test_settings_that_let_loops_form_are_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(MisuseError, match=message) as caught:
        SpanningTreeSettings(**fields)  # type: ignore[arg-type]
    assert caught.value.hint


def test_too_many_ports() -> None:
    with pytest.raises(MisuseError, match="4096 ports"):
        SpanningTree(["p"] * (MAXIMUM_PORTS + 1), MAC, ListTracer(), SpanningTreeSettings())


def test_a_declared_edge_opens_with_its_carrier() -> None:
    bridge = Bridge(edges=(0,))
    assert bridge.role_and_state(0) == "designated forwarding"
    assert bridge.role_and_state(1) == "designated discarding"
    assert bridge.port(0)["edge"]


def test_a_declared_edge_that_hears_a_bridge_is_an_ordinary_port() -> None:
    bridge = Bridge(edges=(0,))
    bridge.hear(0, word(bridge=WORSE, root=WORSE))
    assert not bridge.port(0)["edge"]
    bridge.hear(0, word())
    assert bridge.role_and_state(0) == "root forwarding"
    bridge.tree.set_port(0, False, bridge.now)
    bridge.tree.set_port(0, True, bridge.now)
    assert bridge.port(0)["edge"]
    assert bridge.role_and_state(0) == "designated forwarding"
