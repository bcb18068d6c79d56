"""Virtual circuits: any octets are a packet or a WireError; any calls and clears leave tables that agree."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from nodes.errors import WireError
from nodes.network.circuit_table import Circuit, Listener
from nodes.network.circuits import CircuitLayer
from nodes.wire import circuit as wire
from nodes.wire.addresses import ANY, Ip4, Mac

MACS = [Mac(b"\2\0\0\0\0\1"), Mac(b"\2\0\0\0\0\2")]


@given(st.binary(max_size=40) | st.builds(lambda tail: b"\0\0\0\x10" + tail, st.binary(min_size=16, max_size=20)))
def test_any_octets_are_a_packet_or_a_wire_error(octets: bytes) -> None:
    layer = _pair()[0]
    with contextlib.suppress(WireError):
        assert wire.parse(wire.build(wire.parse(octets))) == wire.parse(octets)
        layer.receive(0, MACS[1], octets, 0)
        layer.timeout(10**10)


@given(st.lists(st.tuples(st.sampled_from(["call", "clear", "carry"]), st.integers(0, 1), st.integers(0, 7))))
def test_any_calls_and_clears_leave_tables_that_agree(steps: list[tuple[str, int, int]]) -> None:
    pair = _pair()
    ends: list[tuple[int, Circuit]] = []
    for step, who, which in steps:
        if step == "call":
            ends.append((who, pair[who].call(Ip4(1 - who), Ip4(who), 0, 7)))
        elif step == "clear" and ends:
            owner, circuit = ends[which % len(ends)]
            pair[owner].clear(circuit, 0)
        elif step == "carry":
            _carry(pair)
    _carry(pair)
    open_ends = sum(circuit.state == "open" for _, circuit in ends)
    tables = [sorted((str(row["vci"]), str(row["state"])) for row in node.snapshot()) for node in pair]
    assert tables[0] == tables[1]
    assert len(tables[0]) == open_ends
    assert all(circuit.state != "calling" for _, circuit in ends)


def _pair() -> list[CircuitLayer]:
    pair = [CircuitLayer([MACS[i]], frozenset([Ip4(i)]).__contains__, lambda _: 0, 1, 0) for i in range(2)]
    for node in pair:
        node.listen(Listener(ANY, 7, 256))
        node.timeout(0)
    _carry(pair)
    return pair


def _carry(pair: list[CircuitLayer]) -> None:
    while moved := [(i, packet) for i, node in enumerate(pair) for _, packet in node.transmit()]:
        for index, packet in moved:
            pair[1 - index].receive(0, MACS[index], packet, 0)
