"""Attacks and accidents: forged resets, SYNs, acknowledgments and data (RFC 5961), forged ICMP (RFC 5927), segments
from and to addresses that no connection has, floods; what is hard to guess (RFC 6528)."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from nodes.trace.tcp_events import ConnectionStateUpdated
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import LIMITED_BROADCAST, parse_ip4
from tests.script import tcp_capture as capture
from tests.script.tcp_capture import ACK, FIN, PSH, RST, SYN, distance, mss
from tests.script.tcp_peer import NODE, OTHER, PEER, PORT, QUIET, Peer
from tests.script.tcp_script import DEFAULTS, OURS, POSITIONS, THEIRS, Script

Maker = Callable[..., Script]
SYNCHRONIZED = [state for state in POSITIONS if POSITIONS[state].rcv_nxt > 1]
LARGEST_WINDOW = 65535  # what `Peer.send` offers: MAX.SND.WND of the node


def still_works(peer: Peer, seq: int = 101, ack: int = 201, delivered: bytes = b"") -> None:
    """The connection is alive, and nothing got into its stream but `delivered`."""
    peer.send(ACK | PSH, seq=seq, ack=ack, data=b"real")
    peer.expect_ack(seq=ack, ack=seq + 4)
    assert peer.program.sees() == delivered + b"real"


# ---------------------------------------------------------------------------------------------------- RFC 5961: resets


@pytest.mark.parametrize("offset", [1, 2, 1000, 30_000, 60_000])
def test_reset_inside_the_window(script: Script, offset: int) -> None:
    """5961-3.2b: a challenge, and no reset."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(RST, seq=101 + offset)
    peer.expect(ACK, seq=201, ack=101)
    still_works(peer)


@pytest.mark.parametrize("offset", [-1, -100, -70_000, 70_000, 1 << 30, -(1 << 30), (1 << 31) - 1])
def test_reset_outside_the_window(script: Script, offset: int) -> None:
    """5961-3.2c: not a word."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(RST, seq=101 + offset)
    peer.expect_nothing(QUIET)
    still_works(peer)


@pytest.mark.parametrize("offset", [0, 1, 60_000])
def test_resets_of_rfc_793(make_script: Maker, offset: int) -> None:
    """By a setting: any number in the window resets, and none outside of it."""
    script = make_script(dataclasses.replace(DEFAULTS, exact_resets=False))
    peer = script.established()
    peer.send(RST, seq=1 + (1 << 31))
    peer.expect_nothing(QUIET)
    assert peer.program.socket.state is State.ESTABLISHED
    peer.send(RST, seq=1 + offset)
    peer.expect_nothing(QUIET)
    assert peer.program.socket.state is State.CLOSED


@pytest.mark.parametrize("state", SYNCHRONIZED[:-1], ids=str)
def test_challenged_peer_resets(script: Script, state: State) -> None:
    """5961-3.2b: a peer that is really gone answers the challenge with a RST that is exact."""
    peer = script.in_state(state)
    rcv_nxt = POSITIONS[state].rcv_nxt
    peer.send(RST, seq=rcv_nxt + 7)
    challenge = peer.expect(ACK, seq=POSITIONS[state].nxt, ack=rcv_nxt)
    peer.send(RST, seq=peer.relative_ack(challenge))
    peer.expect_nothing()
    assert peer.state is State.CLOSED


def test_reset_behind_a_gap(script: Script) -> None:
    """5961-3.2a: exact means RCV.NXT, not the end of what is queued."""
    peer = script.established()
    peer.send(ACK, seq=101, ack=1, data=THEIRS)
    peer.expect(ACK, seq=1, ack=1)
    peer.send(RST, seq=201)
    peer.expect(ACK, seq=1, ack=1)
    assert peer.state is State.ESTABLISHED
    peer.send(RST, seq=1)
    assert peer.program.sees() == errno.ECONNRESET


def storm(script: Script, **segment: int) -> int:
    """How many answers a thousand of these bring."""
    peer = script.in_state(State.ESTABLISHED)
    for _ in range(1000):
        peer.send(**segment)
    answers = len(script.out)
    assert {capture.flag_names(answer.flags) for answer in script.out} <= {"ACK"}
    script.out.clear()
    still_works(peer)
    return answers


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param({"flags": RST, "seq": 200}, id="RST"),
        pytest.param({"flags": SYN, "seq": 200}, id="SYN"),
        pytest.param({"flags": SYN | ACK, "seq": 101, "ack": 201}, id="SYN-ACK"),
        pytest.param({"flags": ACK, "seq": 101, "ack": 300}, id="future ACK"),
        pytest.param({"flags": ACK, "seq": 101, "ack": -LARGEST_WINDOW}, id="old ACK"),
        pytest.param({"flags": ACK, "seq": 90, "ack": 101}, id="old number"),
    ],
)
def test_challenges_are_limited(script: Script, segment: dict[str, int]) -> None:
    """5961-7: a thousand forged segments within a second bring no more than the node's limit of answers."""
    assert 1 <= storm(script, **segment) <= DEFAULTS.challenge_ack_limit


def test_limit_of_challenges_is_per_second(make_script: Maker) -> None:
    """5961-7: the limit of the settings, and a second later there are more."""
    script = make_script(dataclasses.replace(DEFAULTS, challenge_ack_limit=5))
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=201)
    for _ in range(3):
        for _ in range(50):
            peer.send(RST, seq=150)
        assert len(script.out) <= 5
        script.out.clear()
        script.advance(SECOND)
        assert not script.out
    peer.send(RST, seq=150)
    peer.expect(ACK, seq=201, ack=101)


def test_limit_does_not_touch_what_must_be_answered(make_script: Maker) -> None:
    """5961-7: data is acknowledged as before."""
    script = make_script(dataclasses.replace(DEFAULTS, challenge_ack_limit=1))
    peer = script.in_state(State.ESTABLISHED)
    for _ in range(10):
        peer.send(RST, seq=150)
    script.out.clear()
    still_works(peer)
    peer.send(FIN | ACK, seq=105, ack=201)
    peer.expect_ack(seq=201, ack=106)


# ------------------------------------------------------------------------------------------------------ RFC 5961: SYNs


@pytest.mark.parametrize("seq", [-100_000, 0, 1, 100, 101, 102, 5000, 100_000, 1 << 30])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, SYN | FIN, SYN | PSH])
def test_syn_on_an_open_connection(script: Script, seq: int, flags: int) -> None:
    """5961-4.2: a challenge, whatever its number."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(flags, seq=seq, ack=201)
    peer.expect(ACK, seq=201, ack=101)
    still_works(peer)


@pytest.mark.parametrize("seq", [0, 50, 100, 101, 150])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_syn_with_data_on_an_open_connection(script: Script, seq: int, flags: int) -> None:
    """5961-4.2: its text does not count, wherever it lies."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(flags, seq=seq, ack=201, data=b"forged" * 20)
    peer.expect(ACK, seq=201, ack=101)
    assert peer.state is State.ESTABLISHED
    still_works(peer)


def test_rebooted_peer(script: Script) -> None:
    """5961-4.2: a peer that forgot the connection calls again: the challenge brings its RST, its next SYN opens."""
    old = script.established(passive=True)
    old.send(SYN, seq=500_000, options=mss(1460))
    challenge = old.expect(ACK, seq=1, ack=1)
    old.send(RST, seq=old.relative_ack(challenge))
    assert old.program.sees() == errno.ECONNRESET
    peer = script.peer(irs=script.numbers.irs + 500_000)
    peer.send(SYN, seq=0, options=mss(1460))
    peer.expect(SYN | ACK, seq=0, ack=1)


# ---------------------------------------------------------------------------------------- RFC 5961: ACKs and data


def test_oldest_acknowledgment_that_is_taken(script: Script) -> None:
    """5961-5.2: SND.UNA - MAX.SND.WND: its data counts."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=101 - LARGEST_WINDOW, data=b"old but fine")
    peer.expect_ack(seq=201, ack=113)
    assert peer.program.sees() == b"old but fine"


@pytest.mark.parametrize("ack", [101 - LARGEST_WINDOW - 1, 101 - (1 << 30), 202, 1 << 30, (1 << 31) - 1])
def test_blind_data_injection(script: Script, ack: int) -> None:
    """5961-5.2: data whose acknowledgment number was guessed is dropped, and challenged."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK | PSH, seq=101, ack=ack, data=b"forged")
    peer.expect(ACK, seq=201, ack=101)
    assert peer.program.socket.unsent == 100
    still_works(peer)


# --------------------------------------------------------------------------------------------------- addresses, LAND


IMPOSSIBLE = ["0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "10.0.0.255", "10.0.0.1"]
EVERYBODY = [LIMITED_BROADCAST, parse_ip4("10.0.0.255"), parse_ip4("224.0.0.1")]


def expect_no_trace(script: Script) -> None:
    """Nothing is sent, and no connection was begun: a refusal of the layer below is not enough."""
    assert not script.tracer.of(ConnectionStateUpdated)
    assert script.stack.deadline() is None
    script.expect_nothing(5 * SECOND)


@pytest.mark.parametrize("source", IMPOSSIBLE)
@pytest.mark.parametrize("listening", [True, False])
def test_impossible_sources(script: Script, source: str, listening: bool) -> None:
    """MUST-63: nobody has this address, or we have: neither SYN-ACK nor RST."""
    if listening:
        script.listen()
    peer = script.peer()
    for flags in (SYN, ACK, FIN | ACK, SYN | ACK):
        peer.send(flags, seq=0, source=parse_ip4(source))
    expect_no_trace(script)


def test_land(script: Script) -> None:
    """MUST-63: a SYN from our own address and port does not make the node talk to itself."""
    listener = script.listen()
    segment = capture.build(NODE, NODE, PORT, PORT, 1, 0, SYN, 1000)
    script.feed(ipv4.build(NODE, NODE, 6, segment))
    expect_no_trace(script)
    assert listener.accepted() is None


@pytest.mark.parametrize("destination", EVERYBODY)
@pytest.mark.parametrize("listening", [True, False])
def test_syn_to_everybody(script: Script, destination: int, listening: bool) -> None:
    """MUST-57: TCP is between two."""
    if listening:
        script.listen()
    peer = script.peer()
    for flags in (SYN, ACK, FIN | ACK):
        peer.send(flags, seq=0, destination=destination)
    expect_no_trace(script)


def test_segment_for_another_host(script: Script) -> None:
    script.listen()
    script.peer().send(SYN, seq=0, destination=OTHER)
    script.expect_nothing(SECOND)


@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN, RST | FIN, RST | ACK | PSH])
@pytest.mark.parametrize("state", [State.CLOSED, State.LISTEN, State.SYN_SENT], ids=str)
def test_resets_are_never_answered(script: Script, state: State, flags: int) -> None:
    """B-CLOSED-3: two stacks that answer resets with resets never end (PyTCP #5, smoltcp #338)."""
    peer = script.in_state(state)
    peer.send(flags, seq=0, ack=5000)
    peer.expect_nothing(QUIET)
    assert peer.state is state


# --------------------------------------------------------------------------------------------------- RFC 5927: ICMP


SOFT = [(3, 0), (3, 1), (3, 5), (3, 6), (3, 7), (3, 11), (3, 12), (3, 13), (11, 0), (11, 1), (12, 0)]
HARD = [(3, 2), (3, 3)]


@pytest.mark.parametrize(("kind", "code"), SOFT + HARD)
def test_icmp_errors_do_not_end_an_open_connection(script: Script, kind: int, code: int) -> None:
    """MUST-56, 5927-4.1: anybody can send them; also the hard ones (RFC 5927 section 6.1)."""
    peer = script.in_state(State.ESTABLISHED)
    peer.icmp(kind, code, seq=101, length=140)
    peer.expect_nothing(QUIET)
    assert peer.state is State.ESTABLISHED
    still_works(peer)


def test_soft_errors_can_be_read(script: Script) -> None:
    """MUST-47, SHLD-20, SHLD-25: the program may ask what the network said; it does not end anything."""
    peer = script.in_state(State.ESTABLISHED)
    peer.icmp(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, seq=101, length=140)
    error = peer.program.socket.take_error()
    assert error is not None
    assert error.errno == errno.EHOSTUNREACH
    assert peer.program.socket.take_error() is None
    still_works(peer)


def test_source_quench(script: Script) -> None:
    """MUST-55: discarded: what may be sent does not change."""
    peer = script.established()
    peer.program.send(bytes(14_600))
    script.out.clear()
    peer.icmp(icmp.SOURCE_QUENCH, 0, seq=1)
    assert peer.program.socket.take_error() is None
    peer.send(ACK, seq=1, ack=14_601)
    peer.program.send(bytes(14_600 * 2))
    assert sum(len(segment.payload) for segment in script.out) >= 14_600
    script.out.clear()


@pytest.mark.parametrize("seq", [-1, 1, 2, 5000, 1 << 30])
def test_icmp_about_a_segment_that_was_not_sent(script: Script, seq: int) -> None:
    """5927-4.1, MUST-54: the quoted number must be in flight: our SYN is 0."""
    peer = script.in_state(State.SYN_SENT)
    peer.icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, seq=seq, length=60)
    assert peer.state is State.SYN_SENT
    assert peer.program.sees() is None


@pytest.mark.parametrize("change", ["port", "local_port", "address"])
def test_icmp_about_another_connection(script: Script, change: str) -> None:
    """MUST-54: all four values must be those of the connection."""
    peer = script.in_state(State.SYN_SENT)
    other = {"port": {"port": 5001}, "local_port": {"local_port": 81}, "address": {"address": OTHER}}[change]
    script.peer(**other).icmp(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, seq=0, length=60)
    assert peer.program.sees() is None
    assert peer.program.state is State.SYN_SENT


def test_icmp_quoting_another_protocol(script: Script) -> None:
    """MUST-54: the same ports, but UDP."""
    peer = script.in_state(State.SYN_SENT)
    quoted = ipv4.build(NODE, PEER, 17, capture.build(NODE, PEER, 80, 5000, peer.iss, 0, SYN, 0))
    script.feed(ipv4.build(OTHER, NODE, 1, icmp.build(3, 3, 0, quoted[:28])))
    assert peer.program.state is State.SYN_SENT


def test_packet_too_big(script: Script) -> None:
    """1191-3: the path takes 1000 octets: what was lost goes again, in pieces that fit."""
    peer = script.established()
    peer.program.send(bytes(range(256)) * 10)
    script.out.clear()
    peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=1, rest=1000)
    again = script.out.popleft()
    assert (peer.relative(again), len(again.payload)) == (1, 960)
    assert all(len(segment.payload) <= 960 for segment in script.out)
    script.out.clear()
    peer.send(ACK, seq=1, ack=peer.flow.nxt)
    script.out.clear()
    peer.send(ACK, seq=1, ack=peer.flow.nxt)
    peer.program.send(bytes(3000))
    assert len(script.out[0].payload) == 960
    script.out.clear()


@pytest.mark.parametrize("seq", [-1000, 3000, 1 << 30])
def test_packet_too_big_forged(script: Script, seq: int) -> None:
    """5927-4.1: a number that is not in flight: segments of this connection stay as long as they were."""
    peer = script.established()
    peer.program.send(bytes(2000))
    script.out.clear()
    peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=seq, rest=1000)
    peer.expect_nothing()
    peer.send(ACK, seq=1, ack=peer.flow.nxt)
    script.out.clear()
    nxt = peer.flow.nxt
    peer.send(ACK, seq=1, ack=nxt)
    peer.program.send(bytes(1460))
    assert len(script.out[0].payload) == 1460
    script.out.clear()


def test_packet_too_big_for_next_to_nothing(script: Script) -> None:
    """1191-3: an MTU of 68, true or forged, does not make segments of 28 octets (552 is what we believe at least)."""
    peer = script.established()
    peer.program.send(bytes(2000))
    script.out.clear()
    peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=1, rest=68)
    assert 500 <= len(script.out[0].payload) <= 512
    script.out.clear()


# ------------------------------------------------------------------------------------------------------------- floods


def test_syn_flood(make_script: Maker) -> None:
    """B-API-2, RFC 4987: beyond the limit of half-open connections there are cookies: no memory, no refusal, and who is
    real gets through."""
    script = make_script(dataclasses.replace(DEFAULTS, maximum_half_open=8))
    listener = script.listen(backlog=8)
    random = Random(1)
    for port in range(10_000, 10_300):
        script.peer(OTHER, port, irs=random.getrandbits(32)).send(SYN, seq=0, options=mss(1460))
    assert {answer.flags for answer in script.out} == {SYN | ACK}
    script.out.clear()
    peer = script.peer()
    peer.send(SYN, seq=0, options=mss(1000))
    answer = script.out.popleft()
    assert answer.flags == SYN | ACK
    peer.iss = answer.sequence
    peer.send(ACK, seq=1, ack=1)
    program = listener.accept()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"I am real")
    peer.expect_ack(seq=1, ack=10)
    assert program.sees() == b"I am real"
    program.send(bytes(1400))
    assert len(script.out[0].payload) <= 1000
    script.out.clear()


def test_syn_flood_without_cookies(make_script: Maker) -> None:
    """B-API-2: SYNs beyond the limit are dropped, not reset."""
    script = make_script(dataclasses.replace(DEFAULTS, maximum_half_open=8, syn_cookies=False))
    script.listen(backlog=8)
    for port in range(10_000, 10_100):
        script.peer(OTHER, port).send(SYN, seq=0)
    assert {answer.flags for answer in script.out} == {SYN | ACK}
    assert len(script.out) <= 16
    script.out.clear()


@pytest.mark.parametrize("error", [1 << 8, -(1 << 16), 1 << 20, 1 << 30])
def test_forged_cookie(make_script: Maker, error: int) -> None:
    """RFC 4987 section 3.6: an acknowledgment that is not of our making opens nothing."""
    script = make_script(dataclasses.replace(DEFAULTS, maximum_half_open=1))
    listener = script.listen()
    script.peer(OTHER, 9999).send(SYN, seq=0)
    peer = script.peer()
    peer.send(SYN, seq=0, options=mss(1460))
    peer.iss = script.out.pop().sequence
    script.out.clear()
    peer.send(ACK, seq=1, ack=1 + error)
    peer.expect_reset(seq=1 + error)
    assert listener.accepted() is None


def test_stale_cookie(make_script: Maker) -> None:
    """RFC 4987 section 3.6: a cookie is good for minutes, not for ever."""
    script = make_script(dataclasses.replace(DEFAULTS, maximum_half_open=1))
    listener = script.listen()
    script.peer(OTHER, 9999).send(SYN, seq=0)
    peer = script.peer()
    peer.send(SYN, seq=0, options=mss(1460))
    peer.iss = script.out.pop().sequence
    script.advance(3600 * SECOND)
    script.out.clear()
    peer.send(ACK, seq=1, ack=1)
    peer.expect_reset(seq=1)
    assert listener.accepted() is None


def test_gaps_without_end(script: Script) -> None:
    """RFC 9293 section 3.10.7.4: a peer that leaves a hole before every octet gets no unbounded memory; what it then
    sends properly arrives."""
    peer = script.established()
    for position in range(2000):
        peer.send(ACK, seq=3 + 2 * position, ack=1, data=b"x")
    script.out.clear()
    data = b"x" * 1000
    for start in range(0, 5000, 1000):
        peer.send(ACK, seq=1 + start, ack=1, data=data)
    script.advance(QUIET)
    assert peer.relative_ack(script.out[-1]) == 5001
    script.out.clear()
    assert peer.program.sees() == b"x" * 5000


# ----------------------------------------------------------------------------------------------------------- RFC 6528


def first_number(script: Script, port: int, local_port: int = 0) -> int:
    """The ISS of a new connection to `port`, by the node's own generator."""
    script.stack.tcp.sequences = script.own_sequences
    program = script.open()
    if local_port:
        program.socket.bind(NODE, local_port, script.now)
    program.connect(PEER, port)
    syn = script.out.popleft()
    program.abort()
    return syn.sequence


def test_numbers_follow_the_clock() -> None:
    """MUST-8: for the same four values the ISS grows by one every 4 us."""
    script = Script()
    before = first_number(script, 5000, 1234)
    script.advance(SECOND)
    assert distance(first_number(script, 5000, 1234), before) == 250_000
    script.advance(100 * MILLISECOND)
    assert distance(first_number(script, 5000, 1234), before) == 275_000


def test_numbers_of_different_connections_are_unrelated() -> None:
    """SHLD-1, MUST-9, 6528-3: at the same instant, differences between neighbours are spread over the whole space."""
    script = Script()
    numbers = [first_number(script, port, 1234) for port in range(5000, 5100)]
    differences = {distance(after, before) for before, after in pairwise(numbers)}
    assert len(differences) == 99
    assert sum(abs(difference) < 1 << 24 for difference in differences) < 10


def test_numbers_have_a_secret() -> None:
    """MUST-9, 6528-3: another node, or the same one restarted, has other offsets."""
    one, two = (first_number(Script(seed=seed), 5000, 1234) for seed in (1, 2))
    assert abs(distance(one, two)) > 1 << 16


def test_unread_state_is_not_needed_for_a_reset(script: Script) -> None:
    """B-CLOSED-2: 1000 segments for nobody: each is answered for itself, and no state is kept."""
    for port in range(1000):
        peer = script.peer(port=20_000 + port)
        peer.send(ACK, seq=1, ack=7, data=OURS)
        peer.expect_reset(seq=7)
    assert script.stack.deadline() is None
