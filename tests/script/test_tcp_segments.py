"""Segments of an open connection (RFC 9293 sections 3.4, 3.8, 3.10.7.4): what is acceptable, what is cut, what waits
for a gap; acknowledgments and windows; urgent data; PUSH; what is no segment at all."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from random import Random

import pytest

from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ipv4
from tests.script.tcp_capture import ACK, FIN, PSH, RST, SYN, URG, mss, timestamps, window_scale
from tests.script.tcp_peer import NODE, PEER, QUIET, Peer
from tests.script.tcp_script import DEFAULTS, OURS, THEIRS, Script

Maker = Callable[..., Script]
SMALL_BUFFER = dataclasses.replace(DEFAULTS, receive_buffer=4000)


def fill(peer: Peer) -> int:
    """Sends data until the node's window is shut. Returns the number where that is."""
    seq = peer.flow_ack
    for _ in range(100):
        size = min(1000, peer.edge - seq)
        if not size:
            return seq
        peer.send(ACK | PSH, seq=seq, ack=peer.flow.nxt, data=bytes(size))
        seq += size
        peer.script.advance_to_output(400 * MILLISECOND)
        peer.script.out.clear()
    raise AssertionError("the window never shuts")


# ----------------------------------------------------------------------------------------------------- B-SEQ: corners


def test_window_is_what_the_buffer_has(make_script: Maker) -> None:
    """The window of the SYN-ACK and of what follows, in octets."""
    peer = make_script(SMALL_BUFFER).established()
    assert peer.edge == 4001


@pytest.mark.parametrize(
    ("offset", "from_edge", "length", "acceptable"),
    [
        pytest.param(-1, False, 0, False, id="empty-left"),
        pytest.param(0, False, 0, True, id="empty-at-nxt"),
        pytest.param(1, False, 0, True, id="empty-inside"),
        pytest.param(-1, True, 0, True, id="empty-last"),
        pytest.param(1, True, 0, False, id="empty-right"),
        pytest.param(-10, False, 10, False, id="data-left"),
        pytest.param(0, True, 10, False, id="data-right"),
        pytest.param(100_000, True, 10, False, id="data-far-right"),
        pytest.param(-100_000, False, 10, False, id="data-far-left"),
    ],
)
def test_acceptability(make_script: Maker, offset: int, from_edge: bool, length: int, acceptable: bool) -> None:
    """B-SEQ-1, B-SEQ-2: the corners of the test of RFC 9293 section 3.4, with a window. (A segment without data exactly
    at the right edge is left out: the letter refuses it, and a peer that has filled the window has no other number.)"""
    peer = make_script(SMALL_BUFFER).established()
    base = peer.edge if from_edge else 1
    peer.send(ACK, seq=base + offset, ack=1, data=bytes(length))
    if not acceptable:
        peer.expect(ACK, seq=1, ack=1)
    peer.expect_nothing(QUIET)
    assert peer.program.sees() is None


@pytest.mark.parametrize("offset", [-1, 1])
@pytest.mark.parametrize("length", [0, 10])
def test_unacceptable_with_a_shut_window(make_script: Maker, offset: int, length: int) -> None:
    """B-SEQ-1: only RCV.NXT is right, and no data."""
    peer = make_script(SMALL_BUFFER).established()
    seq = fill(peer)
    peer.send(ACK, seq=seq + offset, ack=1, data=bytes(length))
    peer.expect(ACK, seq=1, ack=seq, win=0)
    peer.expect_nothing(QUIET)


def test_window_probe_of_the_peer(make_script: Maker) -> None:
    """B-SEQ-1, MAY-8: an octet at a shut window is refused, answered, and taken when there is room."""
    peer = make_script(SMALL_BUFFER).established()
    seq = fill(peer)
    for _ in range(3):
        peer.send(ACK, seq=seq, ack=1, data=b"p")
        peer.expect(ACK, seq=1, ack=seq, win=0)
        peer.script.advance(SECOND)
    assert len(peer.program.sees()) == 4000
    peer.script.out.clear()
    peer.send(ACK, seq=seq, ack=1, data=b"p")
    peer.expect_ack(seq=1, ack=seq + 1)
    assert peer.program.sees() == b"p"


def test_acknowledgment_with_a_shut_window(make_script: Maker) -> None:
    """B-SEQ-3: a valid ACK counts, alone and with data that does not fit."""
    peer = make_script(SMALL_BUFFER).established()
    seq = fill(peer)
    peer.program.send(OURS)
    peer.expect(ACK, seq=1, ack=seq, data=OURS)
    peer.send(ACK, seq=seq, ack=101, data=b"p")
    peer.expect(ACK, seq=101, ack=seq, win=0)
    assert peer.program.socket.unsent == 0
    peer.program.send(OURS)
    peer.expect(ACK, seq=101, ack=seq, data=OURS)
    peer.send(ACK, seq=seq, ack=201)
    peer.expect_nothing(5 * SECOND)
    assert peer.program.socket.unsent == 0


def test_reset_with_a_shut_window(make_script: Maker) -> None:
    """MUST-66, B-SEQ-3: the program hears of it after what came before."""
    peer = make_script(SMALL_BUFFER).established()
    peer.send(RST, seq=fill(peer))
    assert peer.state is State.CLOSED
    assert len(peer.program.sees()) == 4000
    assert peer.program.sees() == errno.ECONNRESET


def test_urgent_with_a_shut_window(make_script: Maker) -> None:
    """MUST-66: the pointer is known, though its data must wait."""
    peer = make_script(SMALL_BUFFER).established()
    seq = fill(peer)
    assert peer.program.socket.urgent == 0
    peer.send(ACK | URG, seq=seq, ack=1, urgent=7)
    assert peer.program.socket.urgent == 4007
    peer.script.out.clear()


def test_fin_with_a_shut_window(make_script: Maker) -> None:
    """B-SEQ-3: a FIN has a number of its own, which does not fit: answered, not taken."""
    peer = make_script(SMALL_BUFFER).established()
    seq = fill(peer)
    peer.send(FIN | ACK, seq=seq, ack=1)
    peer.expect(ACK, seq=1, ack=seq, win=0)
    assert peer.state is State.ESTABLISHED
    assert len(peer.program.sees()) == 4000
    peer.script.out.clear()
    peer.send(FIN | ACK, seq=seq, ack=1)
    peer.expect_ack(seq=1, ack=seq + 1)
    assert peer.program.sees() == b""


# ------------------------------------------------------------------------------------------------ cut to what is new


def test_overlap_on_the_left(script: Script) -> None:
    """B-SEQ-4: octets that came before are cut off."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, data=THEIRS[:60])
    peer.expect_ack(seq=1, ack=61)
    peer.send(ACK, seq=31, ack=1, data=THEIRS[30:])
    peer.expect_ack(seq=1, ack=101)
    assert peer.program.sees() == THEIRS


def test_overlap_on_the_right(make_script: Maker) -> None:
    """B-SEQ-4: octets beyond the window are cut off, and the FIN behind them."""
    peer = make_script(SMALL_BUFFER).established()
    data = Random(1).randbytes(4100)
    for start in (0, 1000, 2000, 3000):
        peer.send(ACK, seq=1 + start, ack=1, data=data[start : start + 1000] if start < 3000 else b"")
    peer.send(FIN | ACK, seq=3001, ack=1, data=data[3000:])
    peer.script.advance(QUIET)
    assert peer.relative_ack(peer.script.out[-1]) == 4001
    peer.script.out.clear()
    assert peer.program.sees() == data[:4000]
    assert peer.state is State.ESTABLISHED
    peer.script.out.clear()
    peer.send(FIN | ACK, seq=4001, ack=1, data=data[4000:])
    peer.expect_ack(seq=1, ack=4102)
    assert peer.program.sees() == data[4000:]


def test_one_new_octet(script: Script) -> None:
    """B-SEQ-4: the last octet of a repeated segment is new."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, data=THEIRS[:99])
    peer.expect_ack(seq=1, ack=100)
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=101)
    assert peer.program.sees() == THEIRS


def test_fin_behind_repeated_data(script: Script) -> None:
    """B-SEQ-4, B-FIN-1: all data came before, the FIN is new."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(FIN | ACK, seq=1, ack=101, data=THEIRS)
    peer.expect_ack(seq=201, ack=102)
    assert peer.program.sees() == b""


@pytest.mark.parametrize("seed", range(6))
def test_random_cuts(make_script: Maker, seed: int) -> None:
    """B-SEQ-4, J-6: a stream in random, overlapping pieces, in any order, comes out once and whole."""
    random = Random(seed)
    script = make_script()
    peer = script.established()
    data = random.randbytes(3000)
    pieces = []
    for _ in range(60):
        start = random.randrange(-200, 3000)
        end = min(start + random.randrange(1, 400), 3000)
        pieces.append((max(start, 0), end))
    pieces += [(start, start + 500) for start in range(0, 3000, 500)]
    random.shuffle(pieces)
    out = b""
    for start, end in pieces:
        peer.send(ACK, seq=1 + start, ack=1, data=data[start:end])
        if random.random() < 0.3:
            out += peer.program.sees() or b""
    script.advance(QUIET)
    assert peer.relative_ack(script.out[-1]) == 3001
    script.out.clear()
    assert out + (peer.program.sees() or b"") == data


def test_first_copy_of_an_octet_stays(script: Script) -> None:
    """B-SEQ-4: an attacker who repeats octets with other contents changes nothing that was acknowledged."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, data=b"aaaa")
    peer.expect_ack(seq=1, ack=5)
    peer.send(ACK, seq=1, ack=1, data=b"bbbbbb")
    peer.expect_ack(seq=1, ack=7)
    assert peer.program.sees() == b"aaaabb"


# ---------------------------------------------------------------------------------------------------------- gaps, FIN


def test_gap(script: Script) -> None:
    """SHLD-31, MAY-13, 5681-4.2: each segment beyond a gap is acknowledged at once; what was kept need not come
    again."""
    peer = script.established()
    for index in (1, 2, 3):
        peer.send(ACK, seq=1 + 100 * index, ack=1, data=THEIRS)
        peer.expect(ACK, seq=1, ack=1)
    assert peer.program.sees() is None
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect(ACK, seq=1, ack=401)
    assert peer.program.sees() == THEIRS * 4


def test_gap_filled_from_both_sides(script: Script) -> None:
    """SHLD-31: partly filled gaps move RCV.NXT only as far as the data reaches."""
    peer = script.established()
    peer.send(ACK, seq=81, ack=1, data=THEIRS[80:])
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=41, ack=1, data=THEIRS[40:60])
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=1, data=THEIRS[:50])
    peer.expect(ACK, seq=1, ack=61)
    peer.send(ACK, seq=61, ack=1, data=THEIRS[60:])
    peer.expect(ACK, seq=1, ack=101)
    assert peer.program.sees() == THEIRS


def test_hole_filled_before_queued_segments(script: Script) -> None:
    """MUST-58, MUST-59: a segment that fills a hole, and ten that wait behind it, get one acknowledgment."""
    peer = script.established()
    with script.burst():
        for index in range(11):
            peer.send(ACK, seq=1 + 100 * index, ack=1, data=THEIRS)
    peer.script.advance(QUIET)
    assert peer.relative_ack(script.out[-1]) == 1101
    assert len(script.out) <= 2
    script.out.clear()
    assert peer.program.sees() == THEIRS * 11


def test_hole_closed_one_acknowledgment(script: Script) -> None:
    """MUST-58: the ten segments were queued when the missing one came."""
    peer = script.established()
    for index in range(1, 11):
        peer.send(ACK, seq=1 + 100 * index, ack=1, data=THEIRS)
    script.out.clear()
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect(ACK, seq=1, ack=1101)
    peer.expect_nothing(QUIET)


def test_fin_waits_for_the_hole(script: Script) -> None:
    """B-FIN-2: FIN with data behind a gap; EOF only after all data."""
    peer = script.established()
    peer.send(FIN | ACK, seq=101, ack=1, data=THEIRS)
    peer.expect(ACK, seq=1, ack=1)
    assert peer.state is State.ESTABLISHED
    assert peer.program.sees() is None
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=202)
    assert peer.state is State.CLOSE_WAIT
    assert peer.program.sees() == THEIRS * 2
    assert peer.program.sees() == b""


def test_bare_fin_waits_for_the_hole(script: Script) -> None:
    """B-FIN-2: in FIN_WAIT_2, where it leads to TIME_WAIT."""
    peer = script.in_state(State.FIN_WAIT_2)
    peer.send(FIN | ACK, seq=201, ack=202)
    peer.expect(ACK, seq=202, ack=101)
    assert peer.state is State.FIN_WAIT_2
    peer.send(ACK, seq=101, ack=202, data=THEIRS)
    peer.expect_ack(seq=202, ack=202)
    assert peer.state is State.TIME_WAIT
    assert peer.program.sees() == THEIRS


def test_data_behind_the_fin(script: Script) -> None:
    """B-FIN-4: octets after a FIN do not exist, before or after the FIN is reached."""
    peer = script.established()
    peer.send(FIN | ACK, seq=101, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=102, ack=1, data=b"ghost")
    script.out.clear()
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=102)
    peer.send(ACK, seq=102, ack=1, data=b"ghost")
    script.advance(QUIET)
    assert all(peer.relative_ack(segment) == 102 for segment in script.out)
    script.out.clear()
    assert peer.program.sees() == THEIRS
    assert peer.program.sees() == b""


def test_data_at_the_place_of_the_fin(script: Script) -> None:
    """B-FIN-4: the octet of a FIN that waits behind a gap is taken."""
    peer = script.established()
    peer.send(FIN | ACK, seq=101, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK, seq=101, ack=1, data=b"ghost")
    script.out.clear()
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=102)
    assert peer.program.sees() == THEIRS
    assert peer.program.sees() == b""


def test_two_fins_at_different_places(script: Script) -> None:
    """B-FIN-2: a peer that contradicts itself does no harm: the stream ends somewhere, once."""
    peer = script.established()
    peer.send(FIN | ACK, seq=101, ack=1)
    peer.send(FIN | ACK, seq=51, ack=1)
    peer.send(ACK, seq=1, ack=1, data=THEIRS)
    script.advance(QUIET)
    script.out.clear()
    assert peer.state in (State.CLOSE_WAIT, State.ESTABLISHED)
    assert peer.program.sees() in (THEIRS, THEIRS[:50])


@pytest.mark.parametrize("length", [1, 2])
def test_garbage_octet_of_a_keep_alive(script: Script, length: int) -> None:
    """B-SEQ-2 (RFC 1122 section 4.2.3.6): RCV.NXT - 1 with an octet that came before."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101 - length, ack=101, data=b"?" * length)
    peer.expect(ACK, seq=201, ack=101)
    assert peer.program.sees() is None


# ----------------------------------------------------------------------------------------- acknowledgments of the node


def test_delayed_acknowledgment(script: Script) -> None:
    """MUST-40, SHLD-18: a small segment is acknowledged within half a second, and once."""
    peer = script.established()
    for index in range(6):
        peer.send(ACK | PSH, seq=1 + index, ack=1, data=b"x")
        peer.expect_ack(seq=1, ack=2 + index)
        peer.expect_nothing(SECOND)


def test_every_second_full_segment(script: Script) -> None:
    """SHLD-19, 5681-4.2: ten full segments, at least five acknowledgments, without waiting."""
    peer = script.established()
    for index in range(10):
        peer.send(ACK, seq=1 + 1460 * index, ack=1, data=bytes(1460))
        if index % 2:
            assert peer.relative_ack(script.out[-1]) == 1 + 1460 * (index + 1)
    assert 5 <= len(script.out) <= 10
    script.out.clear()


def test_data_carries_the_acknowledgment(script: Script) -> None:
    """RFC 9293 section 3.8.6.3: an answer within the delay needs no segment of its own."""
    peer = script.established()
    with script.burst():
        peer.send(ACK | PSH, seq=1, ack=1, data=b"request")
        peer.program.send(b"answer")
    peer.expect(ACK, seq=1, ack=8, data=b"answer")
    peer.send(ACK, seq=8, ack=7)
    peer.expect_nothing(SECOND)


def test_pure_acknowledgments_are_not_acknowledged(script: Script) -> None:
    """RFC 9293 section 3.10.7.4: no ping-pong."""
    peer = script.in_state(State.ESTABLISHED)
    for ack in (101, 101, 150, 201, 201):
        peer.send(ACK, seq=101, ack=ack)
    peer.expect_nothing(3 * SECOND)


# --------------------------------------------------------------------------------------- acknowledgments of the peer


def test_partly_acknowledged(script: Script) -> None:
    """RFC 9293 section 3.10.7.4, fifth: SND.UNA may be in the middle of a segment; only the rest is sent again."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=151)
    assert peer.program.socket.unsent == 50
    script.advance_to_output(2 * SECOND)
    peer.expect(ACK, seq=151, ack=101, data=OURS[50:])
    peer.send(ACK, seq=101, ack=201)
    peer.expect_nothing(10 * SECOND)


def test_old_acknowledgment_moves_nothing(script: Script) -> None:
    """B-ACK-4: SND.UNA does not go back."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=201)
    peer.send(ACK, seq=101, ack=101)
    peer.expect_nothing(5 * SECOND)
    assert peer.program.socket.unsent == 0


def test_future_acknowledgment_moves_nothing(script: Script) -> None:
    """B-ACK-3: the data of such a segment is not taken either."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=202, data=THEIRS)
    peer.expect(ACK, seq=201, ack=101)
    assert peer.program.sees() is None
    assert peer.program.socket.unsent == 100
    script.advance_to_output(2 * SECOND)
    peer.expect(ACK, seq=101, ack=101, data=OURS)


def test_ack_without_the_flag(script: Script) -> None:
    """B-ACK-1: neither data nor FIN nor window of a segment without ACK count."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(PSH | FIN, seq=101, data=THEIRS, win=0)
    peer.expect_nothing(QUIET)
    assert peer.program.sees() is None
    assert peer.state is State.ESTABLISHED


def flight(peer: Peer, octets: int = 50_000) -> int:
    """How many octets leave at once of what the program sends."""
    peer.program.send(bytes(octets))
    total = sum(len(segment.payload) for segment in peer.script.out)
    peer.script.out.clear()
    return total


def test_send_window(script: Script) -> None:
    """J-4, RFC 9293 section 3.8.6: not an octet more than the peer offers."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=4380)
    assert flight(peer) == 4380


@pytest.mark.parametrize("win", [1, 500, 1459, 1461])
def test_send_window_smaller_than_its_segments(make_script: Maker, win: int) -> None:
    """J-4, MUST-38: a peer whose largest window is small gets it filled to the last octet, and no further."""
    script = make_script()
    peer = script.peer()
    peer.program = script.listen()
    peer.send(SYN, seq=0, options=mss(1460), win=win)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1, win=win)
    peer.program = peer.program.accept()
    assert flight(peer) == min(win, 1460)


def test_no_silly_segments(script: Script) -> None:
    """MUST-38: beside full segments, the rest of a window is not dribbled out while data is under way."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=5000)
    assert flight(peer) == 4380
    peer.send(ACK, seq=1, ack=1461, win=3640)
    peer.expect_nothing()


def test_window_of_an_old_segment(script: Script) -> None:
    """B-ACK-5: SND.WL1: two segments changed places on the way: the window of the one that left later counts."""
    peer = script.established()
    peer.send(ACK, seq=101, ack=1, data=THEIRS, win=4380)
    peer.send(ACK, seq=1, ack=1, data=THEIRS, win=60_000)
    script.advance(QUIET)
    script.out.clear()
    assert flight(peer) == 4380


def test_window_of_an_old_acknowledgment(script: Script) -> None:
    """B-ACK-5: SND.WL2."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=201, win=4380)
    peer.send(ACK, seq=101, ack=150, win=60_000)
    assert flight(peer) == 4380


def test_window_of_a_newer_segment(script: Script) -> None:
    """B-ACK-5: the same number and the same acknowledgment: the later one counts, larger or smaller."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=60_000)
    peer.send(ACK, seq=1, ack=1, win=5840)
    assert flight(peer) == 5840


def test_window_opens(script: Script) -> None:
    """B-ACK-5: an update brings what waited."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=1460)
    assert flight(peer, 4380) == 1460
    peer.send(ACK, seq=1, ack=1461, win=2920)
    assert [len(segment.payload) for segment in script.out] == [1460, 1460]
    script.out.clear()


def test_window_is_unsigned(script: Script) -> None:
    """MUST-1: windows of 32 KiB and more are no negative numbers; the flight grows up to 65,535."""
    peer = script.established()
    peer.program.send(bytes(400_000))
    flights = []
    for _ in range(8):
        script.out.clear()
        before = peer.flow.nxt
        peer.send(ACK, seq=1, ack=before, win=65535)
        flights.append(peer.flow.nxt - before)
    script.out.clear()
    assert 32_768 < max(flights) <= 65_535


def test_largest_scaled_window(make_script: Maker) -> None:
    """REC-1: a window of 2^30: neither a stall nor an overflow."""
    script = make_script()
    peer = script.established(options=mss(1460) + window_scale(14))
    peer.send(ACK, seq=1, ack=1, win=65535)
    assert flight(peer) == 14_600
    peer.send(ACK, seq=1, ack=14_601, win=65535)
    assert len(script.out) >= 10
    script.out.clear()


# ------------------------------------------------------------------------------------------------ what the node sends


def test_full_segments(script: Script) -> None:
    """SHLD-28, MUST-60, MUST-61: all but the last are full; PSH on the last of a write at least."""
    peer = script.established()
    peer.program.send(bytes(5000))
    segments = list(script.out)
    script.out.clear()
    assert [len(segment.payload) for segment in segments] in ([1460, 1460, 1460, 620], [1460, 1460, 1460])
    if len(segments) == 3:  # Nagle: the rest waits for an acknowledgment
        peer.send(ACK, seq=1, ack=4381)
        segments.append(peer.expect(ACK, seq=4381, ack=1, data=620))
    assert segments[-1].flags & PSH


def test_push_does_not_wait_in_the_receiver(script: Script) -> None:
    """MUST-60: data is there for the program with or without PSH."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, data=b"no push")
    assert peer.program.sees() == b"no push"
    peer.expect_ack(seq=1, ack=8)


def test_nagle(script: Script) -> None:
    """SHLD-7: small writes wait for the acknowledgment of the one before, and go together then."""
    peer = script.established()
    for letter in (b"a", b"b", b"c"):
        peer.program.send(letter)
    peer.expect(ACK, seq=1, ack=1, data=b"a")
    peer.expect_nothing(QUIET)
    peer.send(ACK, seq=1, ack=2)
    peer.expect(ACK, seq=2, ack=1, data=b"bc")


def test_nagle_off(script: Script) -> None:
    """MUST-17."""
    peer = script.established()
    peer.program.socket.set_option("nodelay", True, script.now)
    for index, letter in enumerate((b"a", b"b", b"c")):
        peer.program.send(letter)
        peer.expect(ACK, seq=1 + index, ack=1, data=letter)


def test_nagle_does_not_hold_full_segments(make_script: Maker) -> None:
    """SHLD-7, 7323-App: a segment that is full with its timestamps is full (PyTCP took it for a small one)."""
    script = make_script()
    options = timestamps(1)
    peer = script.peer()
    script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460) + options)
    peer.expect(ACK, seq=1, ack=1)
    peer.program.send(bytes(1448 * 3))
    assert [len(segment.payload) for segment in script.out] == [1448] * 3
    script.out.clear()


def test_many_small_writes_are_collected(script: Script) -> None:
    """SHLD-28: what waits becomes full segments."""
    peer = script.established()
    for _ in range(3000):
        peer.program.send(b"x")
    peer.expect(ACK, seq=1, ack=1, data=b"x")
    assert [len(segment.payload) for segment in script.out] in ([1460, 1460], [])
    script.out.clear()
    peer.send(ACK, seq=1, ack=peer.flow.nxt)
    assert sum(len(segment.payload) for segment in script.out) + peer.flow.nxt > 1400
    script.out.clear()


def test_segments_must_not_be_fragmented(script: Script) -> None:
    """1191-3: DF on every segment with data."""
    peer = script.established()
    peer.program.send(OURS)
    assert peer.expect(ACK, seq=1, ack=1, data=OURS).ip.dont_fragment


def test_time_to_live(script: Script) -> None:
    """MUST-49."""
    peer = script.established()
    peer.program.socket.set_option("ttl", 42, script.now)
    peer.program.send(b"x")
    assert peer.expect(ACK, seq=1, ack=1, data=b"x").ip.ttl == 42


@pytest.mark.parametrize("value", [0x20, 0xB8])
def test_traffic_class(script: Script, value: int) -> None:
    """MUST-48, SHLD-22: the DSCP is the program's, unchanged, and may be changed while the connection lives."""
    peer = script.established()
    peer.program.socket.set_option("traffic_class", value, script.now)
    peer.program.send(b"x")
    assert peer.expect(ACK, seq=1, ack=1, data=b"x").ip.traffic_class & 0xFC == value


# -------------------------------------------------------------------------------------------------------------- urgent


def test_urgent_data_arrives(script: Script) -> None:
    """MUST-30, MUST-32, MUST-33, MUST-62: the program is told, and how far; the pointer is behind the last octet."""
    peer = script.established()
    script.stack.drain_ready()
    peer.send(ACK | URG | PSH, seq=1, ack=1, data=b"0123456789", urgent=4)
    assert peer.program.socket in script.stack.drain_ready()
    assert peer.program.socket.urgent == 4
    peer.expect_ack(seq=1, ack=11)
    assert peer.program.receive(2) == b"01"
    assert peer.program.socket.urgent == 2
    assert peer.program.receive() == b"2", "what one call gives ends before the last urgent octet"
    assert peer.program.socket.urgent == 1
    assert peer.program.receive() == b"3456789"
    assert peer.program.socket.urgent == 0
    assert peer.program.socket.urgent == 0


def test_urgent_pointer_ahead_of_its_data(script: Script) -> None:
    """MUST-31, MUST-32: urgent data of any length, announced before it is all there."""
    peer = script.established()
    peer.send(ACK | URG, seq=1, ack=1, data=THEIRS, urgent=250)
    peer.expect_ack(seq=1, ack=101)
    assert peer.program.socket.urgent == 250
    assert peer.program.receive() == THEIRS
    assert peer.program.socket.urgent == 150
    peer.send(ACK | URG, seq=101, ack=1, data=THEIRS, urgent=150)
    peer.send(ACK | URG, seq=201, ack=1, data=THEIRS, urgent=50)
    script.advance(QUIET)
    script.out.clear()
    assert peer.program.socket.urgent == 150
    assert peer.program.sees() == THEIRS * 2
    assert peer.program.socket.urgent == 0


def test_urgent_pointer_moves_on_only(script: Script) -> None:
    """MUST-32: RCV.UP is the largest pointer; more urgent data is told again."""
    peer = script.established()
    peer.send(ACK | URG, seq=1, ack=1, data=THEIRS, urgent=80)
    peer.send(ACK | URG, seq=101, ack=1, data=THEIRS, urgent=50)
    assert peer.program.socket.urgent == 150
    peer.send(ACK | URG, seq=201, ack=1, data=b"x", urgent=0)
    script.advance(QUIET)
    script.out.clear()
    assert peer.program.socket.urgent in (150, 200)
    assert peer.program.sees() == THEIRS * 2 + b"x"


def test_urgent_pointer_that_goes_back(script: Script) -> None:
    """MUST-32: RCV.UP <- max(RCV.UP, SEG.UP): a smaller pointer behind a larger one changes nothing."""
    peer = script.established()
    peer.send(ACK | URG, seq=1, ack=1, data=THEIRS, urgent=300)
    peer.send(ACK | URG, seq=101, ack=1, data=THEIRS, urgent=110)
    script.advance(QUIET)
    script.out.clear()
    assert peer.program.socket.urgent == 300


def test_urgent_pointer_without_the_flag(script: Script) -> None:
    """RFC 9293 section 3.1: the field means nothing then."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, data=THEIRS, urgent=80)
    peer.expect_ack(seq=1, ack=101)
    assert peer.program.socket.urgent == 0


def test_sending_urgent_data(script: Script) -> None:
    """MUST-30, MUST-62: URG, and a pointer to the octet behind the last urgent one."""
    peer = script.established()
    assert peer.program.socket.send_urgent(b"stop!", script.now) == 5
    script.pump()
    assert peer.expect(ACK | URG, seq=1, ack=1, data=b"stop!").urgent == 5
    peer.send(ACK, seq=1, ack=6)
    peer.program.send(b"calm")
    assert peer.expect(ACK, seq=6, ack=1, data=b"calm").urgent == 0


def test_sending_long_urgent_data(make_script: Maker) -> None:
    """MUST-31: every segment of it points to the same end."""
    script = make_script()
    peer = script.established(options=mss(100))
    peer.program.socket.send_urgent(bytes(300), script.now)
    script.pump()
    for seq, pointer in ((1, 300), (101, 200), (201, 100)):
        assert peer.expect(ACK | URG, seq=seq, ack=1, data=100).urgent == pointer


def test_urgent_data_is_sent_again_as_urgent(script: Script) -> None:
    """MUST-30: a retransmission within the urgent data says so as well."""
    peer = script.established()
    peer.program.socket.send_urgent(b"stop!", script.now)
    script.pump()
    peer.expect(ACK | URG, seq=1, ack=1, data=b"stop!")
    script.advance_to_output(2 * SECOND)
    assert peer.expect(ACK | URG, seq=1, ack=1, data=b"stop!").urgent == 5


# ------------------------------------------------------------------------------------------------------ no segments


BROKEN = {
    "wrong checksum": {"checksum_field": 0x1234},
    "checksum zero": {"checksum_field": 0},
    "data offset 4": {"data_offset": 4},
    "data offset 0": {"data_offset": 0},
    "data offset past the end": {"data_offset": 15},
}


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize("flags", [ACK | PSH, FIN | ACK, RST, SYN, ACK])
def test_damaged_segments(script: Script, damage: str, flags: int) -> None:
    """MUST-3: silence, and nothing changes."""
    peer = script.in_state(State.ESTABLISHED)
    data = b"data" if flags & PSH else b""
    peer.send(flags, seq=101, ack=201, data=data, **BROKEN[damage])
    peer.expect_nothing(QUIET)
    assert peer.state is State.ESTABLISHED
    assert peer.program.sees() is None
    assert peer.program.socket.unsent == 100


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize("state", [State.CLOSED, State.LISTEN], ids=str)
def test_damaged_syn(script: Script, damage: str, state: State) -> None:
    """MUST-3: no SYN-ACK and no RST."""
    peer = script.in_state(state)
    peer.send(SYN, seq=0, **BROKEN[damage])
    peer.expect_nothing(QUIET)


@pytest.mark.parametrize("length", [0, 1, 13, 19])
def test_too_short_for_a_header(script: Script, length: int) -> None:
    """MUST-3: a packet that ends inside the header."""
    script.listen()
    script.feed(ipv4.build(PEER, NODE, 6, bytes(length)))
    script.expect_nothing(QUIET)
    assert not script.icmp


@pytest.mark.parametrize("reserved", [1, 8, 15])
def test_reserved_bits(script: Script, reserved: int) -> None:
    """RFC 9293 section 3.1: bits that we do not know are ignored."""
    peer = script.established()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x", reserved=reserved)
    peer.expect_ack(seq=1, ack=2)
    assert peer.program.sees() == b"x"


@pytest.mark.parametrize("option", [bytes((0x9E, 4, 0, 0)), bytes((1, 1, 0x44, 4, 5, 0)), bytes((7, 7, 4, 0, 0, 0, 0))])
def test_ip_options(script: Script, option: bytes) -> None:
    """MUST-50, MAY-10: options of IP, known or not, are no obstacle, on a SYN and on data."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, options_of_ip=option)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"x", options_of_ip=option)
    peer.expect_ack(seq=1, ack=2)
    assert listener.accept().sees() == b"x"


def test_source_routes_are_refused(script: Script) -> None:
    """MUST-51..53, SHLD-24: our policy: packets with a source route are dropped (RFC 7126 section 4.3)."""
    script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, options_of_ip=bytes((0x83, 7, 4, 10, 0, 0, 9)))
    peer.expect_nothing(SECOND)


@pytest.mark.parametrize("field", ["port", "local_port"])
def test_port_zero(script: Script, field: str) -> None:
    """RFC 9293 section 3.1: nobody has port 0; whatever the answer, nobody listens there and nothing breaks."""
    script.listen()
    peer = script.peer(**{field: 0})
    peer.send(SYN, seq=0)
    assert all(segment.flags & RST for segment in script.out)
    script.out.clear()
