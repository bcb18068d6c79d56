"""The congestion window on the wire (RFC 5681, 6928, 9438): how it begins, grows, is bounded, and begins again after
idling; explicit congestion notification (RFC 3168), both sides; the size of segments on paths that lose large ones
(RFC 1191, 4821)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp
from tests.script.tcp_capture import ACK, CWR, ECE, SYN, mss
from tests.script.tcp_flight import ECN_BITS, ECN_CAPABLE, RTT, SIZE, Flight
from tests.script.tcp_peer import OTHER, QUIET
from tests.script.tcp_script import DEFAULTS, Script

Maker = Callable[..., Script]

RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
CUBIC = dataclasses.replace(DEFAULTS, congestion="cubic")
MARKED = dataclasses.replace(RENO, ecn=True)
BOTH = pytest.mark.parametrize("settings", [RENO, CUBIC], ids=["newreno", "cubic"])


# ------------------------------------------------------------------------------------------------- the initial window


@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
@BOTH
def test_initial_window(make_script: Maker, settings: TcpSettings, passive: bool) -> None:
    """5681-3.1a, 5681-3.1b: ten segments (RFC 6928), and the handshake has added none."""
    flight = Flight(make_script(settings), passive=passive)
    flight.write(40)
    assert flight.left() == list(range(10))
    flight.peer.expect_nothing(QUIET)


@pytest.mark.parametrize(("size", "segments"), [(536, 10), (1460, 10), (2920, 5), (4000, 3), (8000, 2)])
def test_initial_window_in_octets(make_script: Maker, size: int, segments: int) -> None:
    """5681-3.1a: min(10 MSS, max(2 MSS, 14600)) (RFC 6928 section 2)."""
    flight = Flight(make_script(RENO, mtu=9000), size=size, scale=4, window=1 << 20)
    flight.set("nodelay", True)
    flight.write(20)
    octets = sum(len(segment.payload) for segment in flight.segments())
    assert octets <= min(10 * size, max(2 * size, 14_600))
    assert octets // size == segments


@pytest.mark.parametrize("segments", [1, 2, 4, 20])
def test_initial_window_of_the_settings(make_script: Maker, segments: int) -> None:
    """5681-3.1a: smaller for the careful, larger for experiments."""
    flight = Flight(make_script(dataclasses.replace(RENO, initial_window=segments)))
    flight.write(60)
    assert flight.left() == list(range(segments))


@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
@BOTH
def test_initial_window_after_a_lost_syn(make_script: Maker, settings: TcpSettings, passive: bool) -> None:
    """5681-3.1c: our SYN, or our SYN-ACK, had to be sent again: one segment."""
    flight = Flight(make_script(settings), lost_syns=1, passive=passive)
    flight.write(40)
    assert flight.left() == [0]
    flight.wait()
    flight.ack(1)
    assert flight.left() == [1, 2]


# --------------------------------------------------------------------------------------------------------- its growth


@BOTH
def test_slow_start_doubles(make_script: Maker, settings: TcpSettings) -> None:
    """5681-3.1d, MUST-19: a segment more for each that is acknowledged: 10, 20, 40."""
    flight = Flight(make_script(settings), scale=3, window=1 << 19)
    flight.write(200)
    assert len(flight.left()) == 10
    assert len(flight.round()) == 20
    assert len(flight.round()) == 40


def test_divided_acknowledgments(make_script: Maker) -> None:
    """5681-3.1d: ten acknowledgments of one segment are worth one: min(N, SMSS)."""
    flight = Flight(make_script(RENO))
    flight.write(40)
    assert len(flight.left()) == 10
    flight.wait()
    for part in range(1, 11):
        flight.ack(0, octets=part * SIZE // 10)
    assert flight.left() == [10, 11]
    assert flight.cwnd == 11


def test_stretched_acknowledgments(make_script: Maker) -> None:
    """5681-3.1d: one acknowledgment for ten segments stands for the ten that were saved, and for no more than what it
    acknowledges. (Deliberately more than L of RFC 3465: see `congestion.window`.)"""
    flight = Flight(make_script(RENO))
    flight.write(60)
    assert len(flight.left()) == 10
    flight.wait()
    flight.ack(10)
    assert len(flight.left()) <= 20


def test_acknowledgment_of_nothing_grows_nothing(make_script: Maker) -> None:
    """5681-3.1d: window updates and repeated acknowledgments."""
    flight = Flight(make_script(RENO))
    flight.write(40)
    flight.left()
    for index in range(20):
        flight.ack(0, win=50_000 - index)
    assert flight.left() == []
    assert flight.cwnd == 10


def test_congestion_avoidance(make_script: Maker) -> None:
    """5681-3.1e: after a loss among twenty: one segment per round trip above ssthresh."""
    flight = Flight(make_script(RENO))
    flight.write(110)
    assert len(flight.left()) == 10
    assert flight.round() == list(range(10, 30))
    flight.wait()
    flight.duplicates(19, upto=10)
    left = flight.left()
    assert left[:3] == [30, 31, 10]
    out = max(left) + 1
    flight.wait()
    flight.ack(out)
    flights = [len(flight.left()), *(len(flight.round()) for _ in range(4))]
    assert flights[0] == 10
    growth = [later - earlier for earlier, later in pairwise(flights)]
    assert all(0 <= step <= 1 for step in growth)
    assert sum(growth) >= 3


def test_window_does_not_grow_unused(make_script: Maker) -> None:
    """5681-3.1d, RFC 7661 section 4: a program that writes little does not earn a burst."""
    flight = Flight(make_script(RENO))
    for index in range(60):
        flight.write(1)
        assert flight.left() == [index]
        flight.wait()
        flight.ack(index + 1)
    flight.write(60)
    assert len(flight.left()) <= 12


@pytest.mark.parametrize("window", [1, 2, 5, 9, 10, 11, 30])
def test_the_smaller_of_both_windows(make_script: Maker, window: int) -> None:
    """5681-3.1h, J-4: never more out than cwnd, nor than the peer's window, through five round trips."""
    flight = Flight(make_script(RENO), window=window * SIZE)
    flight.write(150)
    una = nxt = 0
    cwnd = 10
    for _ in range(5):
        left = flight.left()
        assert left == list(range(nxt, nxt + len(left)))
        nxt += len(left)
        assert nxt - una <= min(cwnd, window)
        flight.wait()
        for upto in range(una + 1, nxt + 1):
            flight.ack(upto)
        cwnd += nxt - una
        una = nxt
    flight.left()


def test_window_of_the_peer_halves_in_flight(make_script: Maker) -> None:
    """5681-3.1h: the peer's window becomes the smaller one."""
    flight = Flight(make_script(RENO))
    flight.write(60)
    assert len(flight.left()) == 10
    flight.wait()
    flight.window = 9 * SIZE
    flight.ack(1)
    assert flight.left() == []
    flight.ack(2)
    assert flight.left() == [10]


# --------------------------------------------------------------------------------------------------------------- idle


@BOTH
def test_restart_after_idling(make_script: Maker, settings: TcpSettings) -> None:
    """5681-4.1: a window of forty segments, then silence of more than a timeout: ten again."""
    flight = Flight(make_script(settings), scale=3, window=1 << 19)
    flight.write(70)
    flight.left()
    flight.round()
    flight.round()
    flight.wait()
    flight.ack(70)
    assert flight.cwnd > 30
    flight.wait(SECOND + RTT)
    flight.write(100)
    assert len(flight.left()) == 10


@BOTH
def test_no_restart_after_a_pause(make_script: Maker, settings: TcpSettings) -> None:
    """5681-4.1: less than a timeout is no idling."""
    flight = Flight(make_script(settings), scale=3, window=1 << 19)
    flight.write(70)
    flight.left()
    flight.round()
    flight.round()
    flight.wait()
    flight.ack(70)
    cwnd = flight.cwnd
    flight.wait(500 * MILLISECOND)
    flight.write(100)
    assert len(flight.left()) == cwnd


def test_restart_does_not_raise(make_script: Maker) -> None:
    """5681-4.1: min(IW, cwnd): a window that a loss has made small stays small."""
    flight = Flight(make_script(RENO))
    flight.write(10)
    flight.left()
    flight.wait()
    flight.duplicates(9)
    assert flight.left() == [0]
    flight.wait()
    flight.ack(10)
    flight.wait(5 * SECOND)
    flight.write(40)
    assert len(flight.left()) == 5


def test_restart_after_a_shut_window(make_script: Maker) -> None:
    """5681-4.1: data waited, but none was sent for longer than a timeout: the clock of acknowledgments has stopped all
    the same."""
    flight = Flight(make_script(RENO), scale=3, window=1 << 19)
    flight.write(170)
    flight.left()
    flight.round()
    flight.round()
    flight.wait()
    flight.ack(70, win=0)
    assert flight.cwnd > 30
    for _ in range(4):
        flight.until_output()
        assert [len(segment.payload) for segment in flight.segments()] == [1]
        flight.ack(70, win=0)
    flight.ack(70)
    assert len(flight.left()) <= 10


# -------------------------------------------------------------------------------------------------------- reductions


def test_cubic_reduces_to_seven_tenths(make_script: Maker) -> None:
    """9438-4.6: beta 0.7 of what was out."""
    flight = Flight(make_script(CUBIC), sack=True)
    flight.write(10)
    flight.left()
    flight.wait()
    flight.ack(0, (1, 10))
    assert flight.left() == [0]
    assert flight.info("ssthresh") == 7 * SIZE
    flight.wait()
    flight.ack(10)
    flight.write(40)
    assert len(flight.left()) == 7


def test_cubic_after_a_timeout(make_script: Maker) -> None:
    """9438-4.8: one segment, ssthresh 0.7 of what was out."""
    flight = Flight(make_script(CUBIC))
    flight.write(10)
    flight.left()
    flight.until_output()
    assert flight.left() == [0]
    assert flight.cwnd == 1
    assert flight.info("ssthresh") == 7 * SIZE


def test_another_control_takes_over(make_script: Maker) -> None:
    """9438-4.6: a socket may be given another congestion control while it is open; the window stays, the rule
    changes."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(10)
    flight.left()
    flight.set("congestion", "cubic")
    flight.wait()
    flight.ack(0, (1, 10))
    assert flight.left() == [0]
    assert flight.info("ssthresh") == 7 * SIZE


def test_fixed_window(make_script: Maker) -> None:
    """The `none` of demonstrations: neither losses nor time change it."""
    flight = Flight(make_script(dataclasses.replace(DEFAULTS, congestion="none")), sack=True)
    cwnd = flight.info("cwnd")
    flight.write(10)
    flight.left()
    flight.wait()
    flight.ack(0, (1, 10))
    assert flight.left() == [0]
    assert flight.info("cwnd") == cwnd


# ---------------------------------------------------------------------------------------------------- ECN: the sender


def ecn_flight(make_script: Maker, segments: int = 40, **options: object) -> Flight:
    flight = Flight(make_script(MARKED), ecn=True, **options)
    flight.write(segments)
    return flight


def bits(flight: Flight) -> list[tuple[int, bool, bool]]:
    """(codepoint, CWR, ECE) of each segment that left."""
    return [
        (segment.ip.traffic_class & ECN_BITS, bool(segment.flags & CWR), bool(segment.flags & ECE))
        for segment in flight.segments()
    ]


def test_data_is_capable(make_script: Maker) -> None:
    """SHLD-8: new data is sent with ECT(0) once both agreed (RFC 3168 section 6.1.2)."""
    flight = ecn_flight(make_script, 5)
    assert bits(flight) == [(ECN_CAPABLE, False, False)] * 5


def test_nothing_is_capable_without_agreement(make_script: Maker) -> None:
    """SHLD-8: the peer's SYN-ACK had no ECE."""
    script = make_script(MARKED)
    peer = script.peer()
    program = script.connect(peer)
    assert peer.expect(SYN | ECE | CWR, seq=0).ip.traffic_class & ECN_BITS == 0
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(SIZE))
    peer.expect(ACK, seq=1, ack=1)
    program.send(bytes(SIZE))
    assert peer.expect(ACK, seq=1, ack=1, data=SIZE).ip.traffic_class & ECN_BITS == 0
    peer.send(ACK | ECE, seq=1, ack=1 + SIZE)  # means nothing
    program.send(bytes(20 * SIZE))
    assert len(script.out) >= 10
    assert not any(segment.flags & CWR for segment in script.out)
    script.out.clear()


def test_control_segments_are_not_capable(make_script: Maker) -> None:
    """SHLD-8: SYN, pure acknowledgments, retransmissions and probes are not ECN-capable (RFC 3168 section 6.1.1, 6.1.4,
    6.1.5, 6.1.6)."""
    flight = ecn_flight(make_script, 3)
    assert len(bits(flight)) == 3
    flight.peer.send(ACK, seq=1, ack=1, data=b"x", win=60_000)
    flight.until_output()
    assert bits(flight) == [(0, False, False)]
    flight.seq = 2
    flight.until_output()
    assert bits(flight) == [(0, False, False)]  # the timeout
    flight.ack(3, win=0)
    flight.write(1)
    flight.until_output()
    assert bits(flight) == [(0, False, False)]  # the probe of the window


def test_reaction_to_a_mark(make_script: Maker) -> None:
    """SHLD-8, MUST-19: as to a loss, without one: half of what was out; CWR on the next new data, once, and not on a
    retransmission (RFC 3168 section 6.1.2)."""
    flight = ecn_flight(make_script)
    assert len(bits(flight)) == 10
    flight.wait()
    for upto in range(1, 11):
        flight.ack(upto, flags=ECE)
    after = bits(flight)
    assert [cwr for _, cwr, _ in after].count(True) == 1
    assert after[0] == (ECN_CAPABLE, True, False)
    assert flight.info("ssthresh") == 5 * SIZE
    assert flight.info("in_flight") == 5 * SIZE


def test_one_reaction_per_round_trip(make_script: Maker) -> None:
    """SHLD-8: ECE is repeated until CWR arrives: that is one mark; the next window may bring the next reduction."""
    flight = ecn_flight(make_script, 60)
    flight.left()
    flight.wait()
    for upto in range(1, 11):
        flight.ack(upto, flags=ECE)
    out = flight.left()
    assert flight.info("ssthresh") == 5 * SIZE
    flight.wait()
    for upto in range(11, 11 + len(out)):
        flight.ack(upto)
    out = flight.left()
    assert flight.info("ssthresh") == 5 * SIZE
    flight.wait()
    flight.ack(out[0] + 1, flags=ECE)
    assert flight.info("ssthresh") in range(2 * SIZE, 4 * SIZE)
    assert [cwr for _, cwr, _ in bits(flight)].count(True) <= 1


def test_mark_and_loss_of_one_window(make_script: Maker) -> None:
    """SHLD-8, 6675-5a: RFC 3168 section 6.1.2: both in the same window are one indication."""
    flight = ecn_flight(make_script, 10, sack=True)
    flight.left()
    flight.wait()
    flight.ack(1, flags=ECE)
    assert flight.info("ssthresh") == 5 * SIZE
    flight.ack(1, (2, 6), flags=ECE)
    assert 1 in flight.left()
    assert flight.info("ssthresh") == 5 * SIZE


def test_marks_in_fast_recovery(make_script: Maker) -> None:
    """SHLD-8: nor is a loss answered twice because a mark comes with it."""
    flight = ecn_flight(make_script, 10, sack=True)
    flight.left()
    flight.wait()
    flight.ack(0, (1, 5))
    assert flight.left() == [0]
    for last in range(6, 11):
        flight.ack(0, (1, last), flags=ECE)
    assert flight.info("ssthresh") == 5 * SIZE


def test_mark_with_a_small_window(make_script: Maker) -> None:
    """RFC 3168 section 6.1.2: the window never falls below a segment, data keeps flowing."""
    flight = ecn_flight(make_script, 40)
    flight.left()
    acknowledged = 10
    for _ in range(8):
        flight.wait()
        flight.ack(acknowledged, flags=ECE)
        if not flight.script.out:
            flight.until_output(2 * SECOND)
        sent = flight.left()
        assert sent
        acknowledged = sent[-1] + 1
    assert flight.info("cwnd") >= SIZE


def test_syn_without_an_answer_is_repeated_without_ecn(make_script: Maker) -> None:
    """SHLD-8: some routers drop such SYNs (RFC 3168 section 6.1.1.1)."""
    script = make_script(MARKED)
    peer = script.peer()
    script.connect(peer)
    peer.expect(SYN | ECE | CWR, seq=0)
    script.advance(SECOND)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)


# -------------------------------------------------------------------------------------------------- ECN: the receiver


def test_mark_is_echoed_until_it_is_heard(make_script: Maker) -> None:
    """SHLD-8: ECE on every acknowledgment from the first mark on, until CWR (RFC 3168 section 6.1.3)."""
    flight = Flight(make_script(MARKED), ecn=True)
    flight.marked(1, b"a", traffic_class=ECN_CAPABLE)
    flight.until_output()
    assert bits(flight) == [(0, False, False)]
    flight.marked(2, b"b")
    flight.until_output()
    assert bits(flight) == [(0, False, True)]
    for index in range(3, 8):
        flight.marked(index, b"c", traffic_class=ECN_CAPABLE)
        flight.until_output()
        assert bits(flight) == [(0, False, True)]
    flight.marked(8, b"d", traffic_class=ECN_CAPABLE, flags=CWR)
    flight.until_output()
    assert bits(flight) == [(0, False, False)]
    assert flight.program.sees() == b"abcccccd"


def test_mark_on_the_segment_with_cwr(make_script: Maker) -> None:
    """SHLD-8: is a new one: the echo goes on."""
    flight = Flight(make_script(MARKED), ecn=True)
    flight.marked(1, b"a")
    flight.until_output()
    assert bits(flight) == [(0, False, True)]
    flight.marked(2, b"b", flags=CWR)
    flight.until_output()
    assert bits(flight) == [(0, False, True)]


def test_mark_is_echoed_on_data(make_script: Maker) -> None:
    """SHLD-8: our own data carries it as well."""
    flight = Flight(make_script(MARKED), ecn=True)
    flight.marked(1, b"a")
    flight.until_output()
    bits(flight)
    flight.write(1)
    assert bits(flight) == [(ECN_CAPABLE, False, True)]


def test_mark_without_agreement_is_not_echoed(make_script: Maker) -> None:
    """SHLD-8: a peer that did not agree would not understand."""
    flight = Flight(make_script(RENO))
    flight.marked(1, b"a")
    flight.until_output()
    assert bits(flight) == [(0, False, False)]


def test_mark_on_a_segment_outside_the_window(make_script: Maker) -> None:
    """SHLD-8: what is not taken is not believed either (RFC 3168 section 6.1.5)."""
    flight = Flight(make_script(MARKED), ecn=True)
    flight.marked(-5000, b"forged")
    assert bits(flight) in ([(0, False, False)], [])
    flight.marked(1, b"a", traffic_class=ECN_CAPABLE)
    flight.until_output()
    assert bits(flight) == [(0, False, False)]


# --------------------------------------------------------------------------------------------------------- path MTU


def lengths(flight: Flight) -> list[int]:
    return [len(segment.payload) for segment in flight.segments()]


@pytest.mark.parametrize("told", [1280, 1006, 600])
def test_path_mtu_is_told(make_script: Maker, told: int) -> None:
    """1191-3: fragmentation needed: what did not pass goes again at once, in pieces that fit, and so does all that
    follows; it is no sign of congestion."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(30)
    assert lengths(flight) == [1400] * 10
    cwnd = flight.info("cwnd")
    flight.peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=1, rest=told, length=1440)
    again = lengths(flight)
    assert again
    assert max(again) <= told - 40
    assert flight.info("mss") == told - 40
    assert flight.info("cwnd") >= cwnd // 2
    flight.wait()
    upto = 0
    for _ in range(60):
        upto = min(upto + told - 40, flight.written)
        flight.ack(0, octets=upto)
        assert all(length <= told - 40 for length in lengths(flight))


def test_every_segment_may_not_be_fragmented(make_script: Maker) -> None:
    """1191-3: DF is set on all of ours: data, acknowledgments, SYN."""
    flight = Flight(make_script(RENO))
    flight.write(2)
    flight.peer.send(ACK, seq=1, ack=1, data=b"x")
    flight.until_output(QUIET)
    segments = flight.segments()
    assert len(segments) >= 2
    assert all(segment.ip.dont_fragment for segment in segments)


def test_path_mtu_without_a_number(make_script: Maker) -> None:
    """1191-3: an old router tells no MTU: the next plateau below the length of what was dropped (RFC 1191 section
    5)."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(5)
    assert lengths(flight) == [1400] * 5
    flight.peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=1, rest=0, length=1440)
    again = lengths(flight)
    assert again
    assert 512 <= max(again) <= 1006


def test_path_mtu_for_what_is_not_in_flight(make_script: Maker) -> None:
    """5927-4.1, 1191-3: nothing changes."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(2)
    flight.left()
    flight.peer.icmp(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, seq=50_000, rest=600, source=OTHER)
    assert flight.info("mss") == 1400
    flight.write(1)
    assert lengths(flight) == [1400]


def through(flight: Flight, passes: int) -> list[int]:
    """All that was written goes over a path that swallows segments longer than `passes`. Returns the lengths of what
    was sent."""
    una = flight.info("acknowledged")
    sent = []
    start = flight.script.now
    while una < flight.written:
        if not flight.script.out:
            flight.until_output()
        arrived = False
        for segment in flight.segments():
            offset = flight.peer.relative(segment) - 1
            length = len(segment.payload)
            sent.append(length)
            if length <= passes and offset <= una < offset + length:
                una = offset + length
                arrived = True
        flight.wait()
        if arrived:
            flight.ack(0, octets=una)
        assert flight.script.now - start < 120 * SECOND
    return sent


def test_black_hole(make_script: Maker) -> None:
    """RFC 4821 section 7.7, 1191-3: large segments vanish without a word, small ones pass: after some timeouts the node
    tries smaller ones, and everything arrives; at the latest after a second suspicion they stay small."""
    flight = Flight(make_script(RENO), size=1400)
    for _ in range(2):
        flight.write(8)
        through(flight, 1000)
    flight.write(8)
    assert max(through(flight, 1000)) <= 1000


def test_narrow_black_hole(make_script: Maker) -> None:
    """RFC 4821 section 7.7: what is tried first may be too large as well."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(4)
    assert min(through(flight, 600)) <= 600


def test_outage_is_no_black_hole(make_script: Maker) -> None:
    """RFC 4821 section 7.7: nothing passed for half a minute, small segments neither: afterwards they are full
    again."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(8)
    flight.wait(30 * SECOND)
    flight.script.out.clear()
    through(flight, 1400)
    flight.write(8)
    assert max(through(flight, 1400)) == 1400


def test_no_black_hole_for_small_segments(make_script: Maker) -> None:
    """RFC 4821: segments that are small already are not cut further: their loss has other reasons."""
    flight = Flight(make_script(RENO), size=536)
    flight.write(1)
    assert lengths(flight) == [536]
    for _ in range(5):
        flight.until_output()
        assert lengths(flight) == [536]


def test_one_lost_segment_is_no_black_hole(make_script: Maker) -> None:
    """RFC 4821: a single timeout of a large segment changes nothing."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(1)
    flight.left()
    flight.until_output()
    assert lengths(flight) == [1400]
    flight.ack(1)
    flight.write(2)
    assert lengths(flight) == [1400, 1400]
    assert flight.peer.state is State.ESTABLISHED


def test_sack_and_ecn_and_timestamps_together(make_script: Maker) -> None:
    """MUST-16, SHLD-8: all that was agreed, at once: a transfer with a loss and a mark ends well."""
    flight = Flight(make_script(MARKED), ecn=True, sack=True, stamped=True)
    flight.write(20)
    assert flight.left() == list(range(10))
    flight.wait()
    flight.ack(0, (1, 10), flags=ECE)
    sent = flight.left()
    assert sent[0] == 0
    flight.wait()
    upto = 10
    while upto < 20:
        flight.ack(upto)
        sent = flight.left()
        upto = max([upto, *(index + 1 for index in sent)])
        flight.wait()
    flight.ack(20)
    flight.peer.expect_nothing(10 * SECOND)
