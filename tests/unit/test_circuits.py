"""Virtual circuits along a chain of nodes: their tables, order, refusals, and their end."""

from __future__ import annotations

import pytest

from nodes.errors import LimitError, MisuseError, UnreachableError, WireError
from nodes.network import circuits
from nodes.network.circuit_table import Cause, Circuit, Listener
from nodes.network.circuits import CircuitLayer
from nodes.units import SECOND
from nodes.wire import circuit as wire
from nodes.wire.addresses import ANY, Ip4, Mac

NAMES = ["eth0", "eth1"]


class Chain:
    """a -- r -- b: node `i` has the address `i`, port 0 to the left of a router, and 1 to its right."""

    def __init__(self) -> None:
        self.now = 0
        self.macs = {(0, 0): _mac(1), (1, 0): _mac(2), (1, 1): _mac(3), (2, 0): _mac(4)}
        self.wires = {(0, 0): (1, 0), (1, 0): (0, 0), (1, 1): (2, 0), (2, 0): (1, 1)}
        self.dead: set[int] = set()
        self.nodes = [self.made(index, 1) for index in range(3)]
        self.run(0)

    def made(self, index: int, instance: int) -> CircuitLayer:
        macs = [mac for (node, _), mac in self.macs.items() if node == index]
        lookup = (lambda _: 0) if index != 1 else {Ip4(0): 0, Ip4(2): 1}.get
        layer = CircuitLayer(macs, frozenset([Ip4(index)]).__contains__, lookup, instance, self.now)
        for link, name in zip(layer.links, NAMES, strict=False):
            link.name = name
        if index != 1:
            layer.listen(Listener(ANY, 7, 256))
        return layer

    def pump(self) -> list[tuple[int, bytes]]:
        """Carries all that is there; what each node sent."""
        carried = []
        while moved := [(i, *sent) for i, node in enumerate(self.nodes) for sent in node.transmit()]:
            for index, port, packet in moved:
                carried.append((index, packet))
                to, other = self.wires[index, port]
                if not {index, to} & self.dead:
                    self.nodes[to].receive(other, self.macs[index, port], packet, self.now)
        return carried

    def run(self, seconds: int) -> None:
        end = self.now + seconds * SECOND
        while (due := min(n.deadline() or 0 for n in self.nodes)) <= end:
            self.now = max(self.now, due)
            for index, node in enumerate(self.nodes):
                if index not in self.dead or node.deadline() == due:
                    node.timeout(self.now)
            self.pump()
        self.now = end

    def opened(self) -> tuple[Circuit, Circuit]:
        calling = self.nodes[0].call(Ip4(2), Ip4(0), self.now, 7)
        self.pump()
        return calling, self.accepted(2)

    def accepted(self, index: int) -> Circuit:
        return self.nodes[index]._listeners[ANY, 7].waiting.popleft()

    def empty(self) -> bool:
        return not any(node.snapshot() for node in self.nodes)


def _mac(number: int) -> Mac:
    return Mac(bytes([2, 0, 0, 0, 0, number]))


def test_a_call_fills_the_tables_hop_by_hop() -> None:
    chain = Chain()
    calling, called = chain.opened()
    assert (calling.state, called.state, called.remote) == ("open", "open", 0)
    assert [(row["interface"], row["vci"], row["onward"]) for row in chain.nodes[1].snapshot()] == [
        ("eth0", 1, ["eth1", 1]),
        ("eth1", 1, ["eth0", 1]),
    ]


def test_messages_keep_their_order_both_ways_with_four_octets_of_header() -> None:
    chain = Chain()
    calling, called = chain.opened()
    for number in range(20):
        chain.nodes[0].send(calling, b"%d" % number, 0)
        chain.nodes[2].send(called, b"-%d" % number, 0)
    sent = chain.pump()
    assert next(len(packet) for index, packet in sent if index == 0) == 4 + 1
    assert list(called.received) == [b"%d" % number for number in range(20)]
    assert list(calling.received) == [b"-%d" % number for number in range(20)]


def test_the_lowest_free_label_is_taken_and_freed_by_a_clear() -> None:
    chain = Chain()
    first, _ = chain.opened()
    chain.opened()
    assert [row["vci"] for row in chain.nodes[0].snapshot()] == [1, 3]
    chain.nodes[0].clear(first, chain.now)
    chain.pump()
    chain.opened()
    assert sorted(str(row["vci"]) for row in chain.nodes[0].snapshot()) == ["1", "3"]


def test_both_ends_call_at_once_without_glare() -> None:
    chain = Chain()
    one = chain.nodes[0].call(Ip4(2), Ip4(0), 0, 7)
    other = chain.nodes[2].call(Ip4(0), Ip4(2), 0, 7)
    chain.pump()
    assert one.state == other.state == "open"
    assert sorted(str(row["vci"]) for row in chain.nodes[0].snapshot()) == ["1", "2"]


def test_a_clear_ends_both_ends_and_empties_all_tables() -> None:
    chain = Chain()
    calling, called = chain.opened()
    chain.nodes[2].clear(called, chain.now)
    chain.pump()
    assert (calling.state, calling.cause) == ("cleared", Cause.DONE)
    assert chain.empty()
    with pytest.raises(MisuseError):
        chain.nodes[0].send(calling, b"late", chain.now)


@pytest.mark.parametrize(("called", "cause"), [(2, Cause.REFUSED), (9, Cause.NO_ROUTE)])
def test_a_call_that_cannot_be_says_why(called: int, cause: Cause) -> None:
    chain = Chain()
    circuit = chain.nodes[0].call(Ip4(called), Ip4(0), 0, 8)
    chain.pump()
    assert (circuit.state, circuit.cause) == ("cleared", cause)
    assert chain.empty()


def test_no_label_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "CIRCUIT_LIMIT", 2)
    chain = Chain()
    chain.opened()
    chain.opened()
    with pytest.raises(LimitError):
        chain.opened()


def test_a_dead_router_ends_every_circuit_through_it() -> None:
    chain = Chain()
    pairs = [chain.opened() for _ in range(5)]
    chain.dead.add(1)
    chain.run(2)
    assert all(end.state == "open" for pair in pairs for end in pair)
    chain.run(2)
    assert {end.cause for pair in pairs for end in pair} == {Cause.LINK_DOWN}
    assert not chain.nodes[0].snapshot()
    with pytest.raises(UnreachableError):
        chain.opened()


def test_a_lost_carrier_is_told_to_the_other_end() -> None:
    chain = Chain()
    calling, _ = chain.opened()
    chain.nodes[1].set_port(1, False, chain.now)
    chain.pump()
    assert calling.cause == Cause.LINK_DOWN


def test_a_router_that_came_back_has_forgotten_its_circuits() -> None:
    chain = Chain()
    calling, called = chain.opened()
    chain.nodes[1] = chain.made(1, 2)
    chain.run(1)
    assert calling.cause == called.cause == Cause.LINK_DOWN
    chain.opened()


def test_a_call_without_an_answer_times_out_and_its_label_is_freed() -> None:
    chain = Chain()
    node = chain.nodes[0]
    circuit = node.call(Ip4(2), Ip4(0), 0, 7)
    for second in range(1, 12):  # the neighbour says hello, and never answers
        node.transmit()
        node.receive(0, _mac(2), wire.build(wire.Hello(1)), second * SECOND)
        node.timeout(second * SECOND)
    assert circuit.cause == Cause.TIMEOUT
    assert not node.snapshot()


def test_a_program_that_does_not_read_stops_the_sender_and_loses_nothing() -> None:
    chain = Chain()
    calling, called = chain.opened()
    sent = 0
    while chain.nodes[0].send(calling, b"%d" % sent, 0):
        chain.pump()
        sent += 1
    assert sent == len(called.received) == circuits.WINDOW
    read = [chain.nodes[2].read(called, 0) for _ in range(circuits.GRANT)]
    chain.pump()
    more = 0
    while chain.nodes[0].send(calling, b"%d" % (sent + more), 0):
        chain.pump()
        more += 1
    assert more == circuits.GRANT
    assert [*read, *called.received] == [b"%d" % number for number in range(sent + more)]


def test_who_sends_more_than_allowed_loses_the_circuit() -> None:
    chain = Chain()
    calling, called = chain.opened()
    calling.allowed += 1
    while calling.state == "open" and chain.nodes[0].send(calling, b"x", 0):
        chain.pump()
    assert calling.cause == called.cause == Cause.OVERFLOW
    assert chain.empty()


def test_a_message_too_long_for_a_link_on_the_way_ends_the_circuit() -> None:
    chain = Chain()
    calling, called = chain.opened()
    chain.nodes[1].links[1].mtu = 100
    chain.nodes[0].send(calling, bytes(96), 0)
    chain.pump()
    assert called.received.pop() == bytes(96)
    chain.nodes[0].send(calling, bytes(97), 0)
    chain.pump()
    assert calling.cause == called.cause == Cause.TOO_LONG
    chain.nodes[0].links[0].mtu = 100
    calling, _ = chain.opened()
    with pytest.raises(MisuseError, match="97 octets, the link carries 96"):
        chain.nodes[0].send(calling, bytes(97), 0)


@pytest.mark.parametrize(
    "packet",
    [
        wire.Hello(7),
        wire.CallRequest(3, 32, Ip4(1), Ip4(2), 7, 49152),
        wire.Credit(3, 1 << 20),
        wire.CallAccepted(4),
        wire.ClearRequest(5, 2),
        wire.ClearConfirmation(65535),
        wire.Data(9, b"data"),
        wire.Data(9, b""),
    ],
)
def test_a_packet_comes_back_from_its_octets_and_padding(packet: wire.Packet) -> None:
    assert wire.parse(wire.build(packet) + bytes(40)) == packet


@pytest.mark.parametrize(
    ("octets", "field"),
    [
        (b"\0\1\0", "header"),
        (b"\0\1\0\5abc", "length"),
        (b"\0\0\0\3abc", "length"),
        (b"\0\0\0\x10\2\0\0\0" + bytes(12), "identifier"),
        (b"\0\0\0\x10\7\0\0\1" + bytes(12), "type"),
    ],
)
def test_what_is_no_packet_is_named(octets: bytes, field: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.parse(octets)
    assert caught.value.field == field


def test_a_call_that_has_passed_too_many_nodes_is_cleared() -> None:
    chain = Chain()
    chain.nodes[1].receive(0, _mac(1), wire.build(wire.CallRequest(1, 1, Ip4(2), Ip4(0), 7)), 0)
    sent = [(port, wire.parse(packet)) for port, packet in chain.nodes[1].transmit()]
    assert sent == [(0, wire.ClearRequest(1, Cause.HOPS_EXCEEDED))]


def test_a_call_on_a_label_in_use_ends_the_circuit_that_had_it() -> None:
    chain = Chain()
    _, called = chain.opened()
    chain.nodes[1].receive(0, _mac(1), wire.build(wire.CallRequest(1, 32, Ip4(2), Ip4(0), 7)), 0)
    chain.pump()
    assert called.cause == Cause.UNKNOWN_CIRCUIT
    fresh = chain.accepted(2)
    assert fresh.state == "open"


def test_data_on_an_unknown_label_is_answered_by_a_clear() -> None:
    chain = Chain()
    chain.nodes[1].receive(0, _mac(1), wire.build(wire.Data(77, b"x")), 0)
    sent = [(port, wire.parse(packet)) for port, packet in chain.nodes[1].transmit()]
    assert sent == [(0, wire.ClearRequest(77, Cause.UNKNOWN_CIRCUIT))]
