"""What remains of the requirements: the Diffserv field and the TTL of what TCP sends (RFC 9293 section 3.9.2), resets
that carry data, segments that SYN_SENT does not know, SYNs on open connections (RFC 5961), pushes, and the judge of
the scripts itself."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable

import pytest

from nodes.errors import MisuseError, WireError
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from nodes.wire import ipv4
from tests.script import tcp_capture as capture
from tests.script.tcp_capture import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, mss
from tests.script.tcp_flight import ECN_CAPABLE, SIZE, Flight
from tests.script.tcp_peer import NODE, PEER, QUIET, Peer
from tests.script.tcp_script import DEFAULTS, OURS, POSITIONS, THEIRS, Script

Maker = Callable[..., Script]
RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
SYNCHRONIZED = [state for state in POSITIONS if POSITIONS[state].rcv_nxt > 1]
EXPEDITED, CRITICAL = 46 << 2, 40 << 2


# ----------------------------------------------------------------------------------------------------------- Diffserv


def marks(script: Script) -> list[int]:
    """The Diffserv fields of what left, in order."""
    found = [segment.ip.traffic_class for segment in script.out]
    script.out.clear()
    return found


def test_diffserv_of_a_whole_connection(make_script: Maker) -> None:
    """MUST-48, SHLD-22, SHLD-23: set before the connection, it is in every segment: SYN, acknowledgment, data,
    retransmission, FIN, the answers of TIME_WAIT; nothing changes it but the program."""
    script = make_script(RENO)
    peer = script.peer()
    program = script.open()
    program.socket.set_option("traffic_class", EXPEDITED, script.now)
    program.socket.bind(NODE, 80, script.now)
    peer.program = program
    program.connect(PEER, 5000)
    assert marks(script) == [EXPEDITED]
    script.advance(SECOND)
    assert marks(script) == [EXPEDITED]
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460))
    assert marks(script) == [EXPEDITED]
    program.send(OURS)
    script.advance(5 * SECOND)
    assert len(set(marks(script))) == 1
    peer.send(ACK | PSH, seq=1, ack=101, data=THEIRS)
    script.advance(QUIET)
    assert set(marks(script)) == {EXPEDITED}
    program.receive()
    program.close()
    assert marks(script) == [EXPEDITED]
    peer.send(FIN | ACK, seq=101, ack=102)
    assert marks(script) == [EXPEDITED]
    peer.send(FIN | ACK, seq=101, ack=102)
    assert marks(script) == [EXPEDITED]
    assert peer.state is State.TIME_WAIT


def test_diffserv_is_changed_by_the_program(make_script: Maker) -> None:
    """SHLD-21: while the connection lives; from the next segment on, retransmissions of earlier ones included."""
    flight = Flight(make_script(RENO))
    flight.write(1)
    assert marks(flight.script) == [0]
    flight.set("traffic_class", CRITICAL)
    flight.write(1)
    assert marks(flight.script) == [CRITICAL]
    flight.until_output()
    assert marks(flight.script) == [CRITICAL]
    flight.set("traffic_class", 0)
    flight.ack(2)
    flight.write(1)
    assert marks(flight.script)[-1] == 0


def test_diffserv_of_a_listener(make_script: Maker) -> None:
    """MUST-48, SHLD-23: what it accepts has the listener's, from the SYN-ACK on, whatever the peer uses."""
    script = make_script(RENO)
    listener = script.listen()
    listener.socket.set_option("traffic_class", EXPEDITED, script.now)
    peer = script.peer()
    peer.send(SYN, seq=0)
    assert marks(script) == [EXPEDITED]
    peer.send(ACK, seq=1, ack=1)
    accepted = listener.accept()
    accepted.send(OURS)
    assert marks(script) == [EXPEDITED]


def test_diffserv_and_ecn(make_script: Maker) -> None:
    """SHLD-22, SHLD-8: the six bits are the program's, the two of ECN are TCP's."""
    flight = Flight(make_script(dataclasses.replace(RENO, ecn=True)), ecn=True)
    flight.set("traffic_class", EXPEDITED)
    flight.write(1)
    assert marks(flight.script) == [EXPEDITED | ECN_CAPABLE]
    flight.until_output()
    assert marks(flight.script) == [EXPEDITED]
    for wrong in (1, 2, 3, EXPEDITED | 1, 256, -4):
        with pytest.raises(MisuseError):
            flight.program.socket.set_option("traffic_class", wrong, flight.script.now)


def test_two_connections_with_their_own(make_script: Maker) -> None:
    """MUST-48: the field is a connection's, not the node's."""
    script = make_script(RENO)
    first = Flight(script)
    first.set("traffic_class", EXPEDITED)
    second = script.peer(port=5001, local_port=81)
    script.connect(second)
    assert marks(script) == [0]
    second.send(SYN | ACK, seq=0, ack=1)
    assert marks(script) == [0]
    first.write(1)
    assert marks(script) == [EXPEDITED]
    first.ack(1)


@pytest.mark.parametrize("ttl", [1, 42, 255])
def test_time_to_live(make_script: Maker, ttl: int) -> None:
    """MUST-49: set by the program, in the SYN and in all that follows; changed while the connection lives."""
    script = make_script(RENO)
    peer = script.peer()
    program = script.open()
    program.socket.set_option("ttl", ttl, script.now)
    program.socket.bind(NODE, 80, script.now)
    program.connect(PEER, 5000)
    assert peer.expect(SYN, seq=0).ip.ttl == ttl
    peer.send(SYN | ACK, seq=0, ack=1)
    assert peer.expect(ACK, seq=1, ack=1).ip.ttl == ttl
    program.socket.set_option("ttl", 99, script.now)
    program.send(OURS)
    assert peer.expect(ACK, seq=1, ack=1, data=OURS).ip.ttl == 99


# ------------------------------------------------------------------------------------------------------------- resets


@pytest.mark.parametrize("state", SYNCHRONIZED[:5], ids=str)
@pytest.mark.parametrize("flags", [RST, RST | ACK], ids=["rst", "rst-ack"])
def test_reset_with_data(script: Script, state: State, flags: int) -> None:
    """SHLD-2: the text explains the reset and resets no less; the program does not get it."""
    peer = script.in_state(state)
    position = POSITIONS[state]
    peer.send(flags, seq=position.rcv_nxt, ack=position.una, data=b"you have been connected for too long")
    peer.expect_nothing(QUIET)
    assert peer.state is State.CLOSED
    seen = [peer.program.sees() for _ in range(3)]
    assert b"you have been connected for too long" not in seen


def test_reset_with_data_of_a_refused_call(script: Script) -> None:
    """SHLD-2 in SYN_SENT."""
    peer = script.in_state(State.SYN_SENT)
    peer.send(RST | ACK, seq=0, ack=1, data=b"nobody here")
    assert peer.program.sees() == errno.ECONNREFUSED
    peer.expect_nothing(10 * SECOND)


def test_reset_with_data_that_is_not_exact(script: Script) -> None:
    """SHLD-2, MAY-12, 5961-3.2b: its text does not help: a challenge."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(RST, seq=102, data=b"x" * 50)
    peer.expect(ACK, seq=201, ack=101)
    assert peer.state is State.ESTABLISHED
    peer.send(RST, seq=51, data=b"x" * 50 + b"y" * 20)  # text from before the window into it: not exact
    script.out.clear()
    assert peer.state is State.ESTABLISHED


# -------------------------------------------------------------------------------------------------- RFC 5961 (MAY-12)


@pytest.mark.parametrize("state", SYNCHRONIZED, ids=str)
@pytest.mark.parametrize("offset", [-60_000, -1, 0, 1, 1000, 60_000, 1 << 30])
def test_syn_on_an_open_connection(script: Script, state: State, offset: int) -> None:
    """B-SYN-1, MAY-12: in every synchronized state, in and out of the window: a challenge ACK with our numbers; the
    connection stays. (In TIME_WAIT a SYN beyond the window may open the next connection: MAY-2.)"""
    peer = script.in_state(state)
    position = POSITIONS[state]
    peer.send(SYN, seq=position.rcv_nxt + offset)
    if state is State.TIME_WAIT and script.out and script.out[0].flags & SYN:
        script.out.clear()
        return
    if state is State.TIME_WAIT and not script.out:
        return  # nobody listens, the peer will ask again
    if script.out[0].flags & RST:
        assert state is State.TIME_WAIT
        script.out.clear()
        return
    peer.expect(ACK, seq=position.nxt, ack=position.rcv_nxt)
    assert peer.state is state


@pytest.mark.parametrize("kind", ["rst", "syn", "ack"])
def test_three_blind_attacks(script: Script, kind: str) -> None:
    """MAY-12: the three attacks of RFC 5961 on one connection: it survives, and data flows after each."""
    peer = script.in_state(State.ESTABLISHED)
    if kind == "rst":
        peer.send(RST, seq=150)
    elif kind == "syn":
        peer.send(SYN, seq=150)
    else:
        peer.send(ACK, seq=101, ack=101 - 70_000, data=b"forged")
    peer.expect(ACK, seq=201, ack=101)
    peer.send(ACK | PSH, seq=101, ack=201, data=b"real")
    peer.expect_ack(seq=201, ack=105)
    assert peer.program.sees() == b"real"


# ----------------------------------------------------------------------------------------------------------- SYN_SENT


@pytest.mark.parametrize(
    "flags",
    [0, ACK, FIN, FIN | ACK, PSH, PSH | ACK, URG, URG | ACK, ECE | CWR, FIN | PSH | URG],
    ids=capture.flag_names,
)
@pytest.mark.parametrize("data", [b"", b"hello"], ids=["bare", "data"])
def test_what_syn_sent_does_not_know(script: Script, flags: int, data: bytes) -> None:
    """B-SYNSENT-4: neither SYN nor RST, the acknowledgment, where there is one, acceptable: dropped without a word; the
    handshake goes on, and what the segment carried does not exist."""
    peer = script.in_state(State.SYN_SENT)
    peer.send(flags, seq=1, ack=1, data=data)
    peer.expect_nothing(QUIET)
    assert peer.state is State.SYN_SENT
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460))
    peer.expect(ACK, seq=1, ack=1)
    assert peer.program.sees() is None
    peer.send(ACK | PSH, seq=1, ack=1, data=b"real")
    peer.expect_ack(seq=1, ack=5)
    assert peer.program.sees() == b"real"


# ------------------------------------------------------------------------------------------------------------- pushes


def test_pushes_are_collapsed(make_script: Maker) -> None:
    """SHLD-27, MUST-61: fifty writes that left as few segments have one push, at the end of what is buffered."""
    flight = Flight(make_script(RENO), window=SIZE)
    flight.write(1)
    flight.left()
    for _ in range(50):
        flight.write(0, SIZE // 10)
    flight.window = 60_000
    flight.ack(1)
    segments = flight.segments()
    assert [len(segment.payload) for segment in segments] == [SIZE] * 5
    assert [bool(segment.flags & PSH) for segment in segments] == [False, False, False, False, True]


# ---------------------------------------------------------------------------------------------------------- the judge


def damaged(peer: Peer, damage: Callable[[bytearray], None]) -> bytes:
    """A segment of data as the node would send it, with something wrong."""
    segment = capture.build(NODE, PEER, 80, 5000, 1, 1, ACK, 1000, payload=b"data")
    packet = bytearray(ipv4.build(NODE, PEER, capture.PROTOCOL, segment))
    damage(packet)
    return bytes(packet)


def test_checksums_and_lengths_of_every_segment(script: Script) -> None:
    """J-1, MUST-2: each packet that leaves a script's node is read strictly: the checksums of IP and TCP, and the
    length. Here the reader is shown to be strict, and to take what a connection sends."""
    peer = script.in_state(State.TIME_WAIT)
    assert peer.flow.nxt == POSITIONS[State.TIME_WAIT].nxt

    def flip(position: int) -> Callable[[bytearray], None]:
        def damage(packet: bytearray) -> None:
            packet[position] ^= 1

        return damage

    capture.read(damaged(peer, lambda _: None), 0)
    for position in (8, 12, 20, 24, 33, 36, 43):  # TTL, source, port, number, flags, checksum, data
        with pytest.raises((AssertionError, WireError)):
            capture.read(damaged(peer, flip(position)), 0)
    with pytest.raises((AssertionError, WireError)):
        capture.read(damaged(peer, lambda packet: packet.append(0)), 0)


def test_the_judge_of_flows() -> None:
    """J-1 to J-4 are held against each segment by `tcp_capture.Flow`: it says so where one is broken."""
    script = Script()
    peer = script.established()
    flow = peer.flow
    good = capture.build(NODE, PEER, 80, 5000, 1001, 70_001, ACK, 65_535, payload=b"data")

    def seen(**changes: object) -> capture.Segment:
        segment = capture.read(ipv4.build(NODE, PEER, capture.PROTOCOL, good), script.now)
        return segment._replace(**changes)

    flow.check(seen())
    flow.check(seen())  # a retransmission
    for changes in (
        {"payload": b"DATA"},  # J-3
        {"sequence": 1006},  # J-2: a gap
        {"acknowledgment": 70_000},  # J-2
        {"window": 60_000},  # SHLD-14
        {"payload": bytes(1461), "sequence": 1005},  # J-4
        {"options": capture.Options(kinds=(2,), mss=1460)},  # MUST-65
        {"options": capture.Options(kinds=(5,), sack=((1, 2),))},  # 2018-2
        {"options": capture.Options(kinds=(8,), timestamps=(1, 1))},  # 7323-3.2a
    ):
        with pytest.raises(AssertionError):
            flow.check(seen(**changes))
