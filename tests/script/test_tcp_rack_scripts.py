"""RACK-TLP (RFC 8985): losses that time reveals, and the probe for what nothing behind it reveals.

The round trip is 100 ms in all of these. Segments are named by their index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from tests.script.tcp_capture import ACK, FIN
from tests.script.tcp_flight import RTT, SIZE, Flight
from tests.script.tcp_script import DEFAULTS, Script

Maker = Callable[..., Script]

RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
BY_COUNT = dataclasses.replace(RENO, rack=False)
QUARTER = RTT // 4
"""The reordering window: a quarter of the smallest round trip."""
DELAYED = 200 * MILLISECOND
"""What a lone segment's probe waits more: longer than common receivers delay an acknowledgment."""
TICK = 5 * MILLISECOND
"""How late a timer may be, and what may be added for a busy machine."""


def flight_of(make_script: Maker, segments: int, settings: TcpSettings = RENO, **options: object) -> Flight:
    """So many segments, and no more, left a round trip ago; the peer takes SACK."""
    flight = Flight(make_script(settings), sack=True, **options)
    flight.write(segments)
    assert flight.left() == list(range(segments))
    flight.wait()
    return flight


def reordered(make_script: Maker, segments: int = 10, **options: object) -> Flight:
    """A connection whose path has reordered: segment 0 came after 1, and was not sent again. Then `segments` left a
    round trip ago, from 2 on."""
    flight = flight_of(make_script, 2, **options)
    flight.ack(0, 1)
    flight.wait(5 * MILLISECOND)
    flight.ack(2)
    assert flight.left() == []
    flight.write(segments)
    assert flight.left() == list(range(2, 2 + segments))
    flight.wait()
    return flight


# ---------------------------------------------------------------------------------------------------------------- RACK


def test_one_sack_and_a_quarter_of_a_round_trip(make_script: Maker) -> None:
    """8985-6.2b, 8985-6.2d: segment 1 is reported, 0 was sent with it: it is lost a quarter of a round trip later. No
    three duplicates are needed."""
    flight = flight_of(make_script, 2)
    flight.ack(0, 1)
    assert flight.left() == []
    assert flight.until_output() in range(QUARTER, QUARTER + TICK)
    assert flight.left() == [0]


def test_late_segment_within_the_reordering_window(make_script: Maker) -> None:
    """8985-6.2b: it comes in time: nothing is sent again, nothing reduced."""
    flight = flight_of(make_script, 10)
    flight.ack(0, 1)
    flight.wait(QUARTER - TICK)
    flight.ack(2)
    for upto in range(3, 11):
        flight.ack(upto)
    flight.peer.expect_nothing(10 * SECOND)
    assert flight.cwnd >= 10


def test_three_sacked_segments_need_no_time(make_script: Maker) -> None:
    """8985-6.2d: no reordering was ever seen: as fast as three duplicates."""
    flight = flight_of(make_script, 10)
    flight.ack(0, 1)
    flight.ack(0, (1, 3))
    assert flight.left() == []
    flight.ack(0, (1, 4))
    assert flight.left() == [0]


def test_all_holes_at_once(make_script: Maker) -> None:
    """8985-6.2b: what was sent together with the hole, or before, is judged by the same report."""
    flight = flight_of(make_script, 10)
    flight.ack(0, (7, 10), 4, 2)
    assert flight.left()[:5] == [0, 1, 3, 5, 6][: len(flight.left()) or 5]


def test_segments_sent_later_are_not_judged(make_script: Maker) -> None:
    """8985-6.2a, 8985-6.2b: what left after the newest one that arrived has its time still before it."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(4)
    flight.wait(60 * MILLISECOND)
    flight.write(4)
    assert flight.left() == list(range(8))
    flight.wait(40 * MILLISECOND)
    flight.ack(0, (1, 4))
    assert flight.left() == [0]
    flight.wait(50 * MILLISECOND)
    assert flight.left() == []
    flight.ack(4)
    flight.wait(5 * MILLISECOND)
    for upto in range(5, 9):
        flight.ack(upto)
    flight.peer.expect_nothing(10 * SECOND)


def test_reordering_was_seen(make_script: Maker) -> None:
    """8985-6.2d: three reports are no proof any more on such a path: the window must pass."""
    flight = reordered(make_script)
    flight.ack(2, (3, 8))
    assert flight.left() == []
    assert flight.until_output() in range(QUARTER, QUARTER + TICK)
    assert flight.left() == [2]


def test_reordering_of_many(make_script: Maker) -> None:
    """8985-6.2d: the hole closes within the window: nothing happens."""
    flight = reordered(make_script)
    for last in range(4, 12):
        flight.ack(2, (3, last))
        flight.wait(2 * MILLISECOND)
    flight.ack(12)
    flight.peer.expect_nothing(10 * SECOND)


def test_dsack_widens_the_window(make_script: Maker) -> None:
    """8985-6.2d: a needless retransmission was reported: the next conclusion waits for a quarter more."""
    flight = reordered(make_script)
    flight.ack(2, (3, 12))
    flight.until_output()
    assert flight.left() == [2]
    flight.wait(5 * MILLISECOND)
    flight.ack(12)
    flight.wait()
    flight.ack(12, 2)
    flight.write(10)
    assert flight.left() == list(range(12, 22))
    flight.wait()
    flight.ack(12, (13, 22))
    assert flight.until_output() in range(2 * QUARTER, 2 * QUARTER + TICK)
    assert flight.left() == [12]


def test_lost_retransmission(make_script: Maker) -> None:
    """8985-6.2c: the retransmission was lost; what was sent after it arrived: it goes again, long before the timer."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(30)
    assert flight.left() == list(range(10))
    flight.wait()
    flight.ack(0, (1, 10))
    sent = flight.left()
    assert sent[0] == 0
    assert len(sent) >= 4
    new = sent[1:]
    flight.wait()
    flight.ack(0, (new[0], new[-1] + 1), (1, 10))
    waited = 0 if flight.script.out else flight.until_output()
    assert waited <= QUARTER + TICK
    assert flight.left()[0] == 0


def test_lost_retransmission_without_rack(make_script: Maker) -> None:
    """6675-4: by counting alone it is not found: the timer does, after a whole timeout."""
    flight = Flight(make_script(BY_COUNT), sack=True)
    flight.write(30)
    assert flight.left() == list(range(10))
    flight.wait()
    flight.ack(0, (1, 10))
    new = flight.left()[1:]
    flight.wait()
    flight.ack(0, (new[0], new[-1] + 1), (1, 10))
    assert 0 not in flight.left()


def test_acknowledgment_that_comes_too_soon(make_script: Maker) -> None:
    """8985-6.2a: a retransmission that is acknowledged after a hundredth of a round trip was not that copy: its time
    does not count, and nothing sent since is held lost for it."""
    flight = flight_of(make_script, 10)
    flight.ack(0, (1, 4))
    assert flight.left() == [0]
    flight.wait(MILLISECOND)
    flight.ack(4)
    flight.wait(30 * MILLISECOND)
    assert flight.left() == []
    flight.ack(10)
    flight.peer.expect_nothing(10 * SECOND)


def test_timer_of_reordering_ends_with_the_acknowledgment(make_script: Maker) -> None:
    """8985-6.2b: all arrived: the timer has nothing more to say."""
    flight = flight_of(make_script, 3)
    flight.ack(0, 1)
    flight.wait(QUARTER // 2)
    flight.ack(3)
    flight.peer.expect_nothing(10 * SECOND)
    assert flight.script.stack.deadline() is None


def test_rack_needs_sack(make_script: Maker) -> None:
    """8985-6.2b: a peer without SACK: three duplicates, no time."""
    flight = Flight(make_script(RENO))
    flight.write(5)
    flight.left()
    flight.wait()
    flight.duplicates(1)
    flight.peer.expect_nothing(5 * QUARTER)
    flight.duplicates(1)
    flight.peer.expect_nothing(5 * QUARTER)
    flight.duplicates(1)
    assert flight.left() == [0]


def test_timeout_spares_what_was_sent_just_now(make_script: Maker) -> None:
    """8985-6.2a (section 6.3): the timer expires for segment 0; what left a moment ago is not lost for it."""
    flight = flight_of(make_script, 1)
    flight.ack(1)
    flight.write(1)
    flight.wait(150 * MILLISECOND)
    flight.write(5)
    flight.wait(100 * MILLISECOND)
    flight.left()
    flight.until_output()
    seen = flight.left()
    assert len(seen) == 1
    flight.ack(7)


# ----------------------------------------------------------------------------------------------------------------- TLP


@pytest.mark.parametrize("segments", [2, 3, 10])
def test_probe_after_two_round_trips(make_script: Maker, segments: int) -> None:
    """8985-7.2, 8985-7.3: all acknowledgments are missing: the last segment goes again, two SRTT after it left."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(segments)
    assert flight.left() == list(range(segments))
    assert flight.until_output() in range(2 * RTT, 2 * RTT + TICK)
    assert flight.left() == [segments - 1]


def test_probe_for_a_lone_segment(make_script: Maker) -> None:
    """8985-7.2: its acknowledgment may be delayed: that is waited for too."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(1)
    assert flight.left() == [0]
    assert flight.until_output() in range(2 * RTT + DELAYED, 2 * RTT + DELAYED + TICK)
    assert flight.left() == [0]


def test_probe_is_never_later_than_the_timeout(make_script: Maker) -> None:
    """8985-7.2: two round trips of 700 ms are longer than the timeout has left; then the timeout itself comes one RTO
    after the probe."""
    flight = Flight(
        make_script(dataclasses.replace(RENO, minimum_rto=200 * MILLISECOND)), sack=True, rtt=10 * MILLISECOND
    )
    flight.write(1)
    assert flight.left() == [0]
    assert flight.until_output() == 200 * MILLISECOND  # not 220
    assert flight.left() == [0]
    assert flight.until_output() == 200 * MILLISECOND
    assert flight.left() == [0]


def test_probe_without_a_round_trip_time(make_script: Maker) -> None:
    """8985-7.2: the SYN was sent twice, nothing is known: one second."""
    flight = Flight(make_script(RENO), sack=True, lost_syns=1)
    flight.write(1)
    assert flight.left() == [0]
    assert flight.until_output() in range(SECOND, SECOND + DELAYED + TICK)
    assert flight.left() == [0]


def test_probe_with_new_data(make_script: Maker) -> None:
    """8985-7.3: where there is data that was not sent yet, and the peer's window takes it, that is the probe."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(30)
    assert flight.left() == list(range(10))
    assert flight.until_output() in range(2 * RTT, 2 * RTT + TICK)
    assert flight.left() == [10]


def test_probe_where_the_window_is_full(make_script: Maker) -> None:
    """8985-7.3: the peer's window does not take more: the last segment again."""
    flight = Flight(make_script(RENO), sack=True, window=4 * SIZE)
    flight.write(30)
    assert flight.left() == [0, 1, 2, 3]
    flight.until_output()
    assert flight.left() == [3]


def test_one_probe_at_a_time(make_script: Maker) -> None:
    """8985-7.3: what comes next is the retransmission timer, a whole RTO after the probe."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(5)
    flight.left()
    assert flight.until_output() in range(2 * RTT, 2 * RTT + TICK)
    assert flight.left() == [4]
    assert flight.until_output() == SECOND
    assert flight.left() == [0]
    assert flight.until_output() == 2 * SECOND
    assert flight.left() == [0]


def test_no_second_probe_for_new_data(make_script: Maker) -> None:
    """8985-7.3: a probe is outstanding: data that leaves meanwhile does not bring another one (TLP.end_seq)."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(5)
    flight.left()
    flight.until_output()
    assert flight.left() == [4]
    flight.wait(50 * MILLISECOND)
    flight.write(2)
    assert flight.left() == [5, 6]
    assert flight.until_output() == SECOND - 50 * MILLISECOND
    assert flight.left() == [0]


def test_probe_reveals_the_holes(make_script: Maker) -> None:
    """8985-7.3: the last three of a flight were lost: the probe, which is the last of them, is reported; RACK finds the
    other two without any timeout."""
    flight = flight_of(make_script, 10)
    flight.ack(7)
    assert flight.until_output() in range(2 * RTT, 2 * RTT + TICK)
    assert flight.left() == [9]
    flight.wait()
    flight.ack(7, 9)
    sent = flight.left()
    assert sent[0] == 7
    flight.wait()
    flight.ack(8, 9)
    sent += flight.left()
    assert sent == [7, 8]
    flight.wait()
    flight.ack(10)
    flight.peer.expect_nothing(10 * SECOND)


def test_loss_that_the_probe_repaired(make_script: Maker) -> None:
    """8985-7.4: the last segment alone was lost, the probe replaced it: no SACK ever shows that, but it was a loss: the
    window is reduced, once."""
    flight = flight_of(make_script, 10)
    flight.ack(9)
    before = flight.info("cwnd")
    flight.until_output()
    assert flight.left() == [9]
    flight.wait()
    flight.ack(10)
    flight.write(2)
    sent = flight.left()
    assert sent == [10, 11]
    flight.wait()
    flight.ack(11)
    after = flight.info("cwnd")
    assert after <= before // 2 + SIZE
    flight.ack(12)
    assert flight.info("cwnd") <= after + SIZE


def test_probe_that_was_not_needed(make_script: Maker) -> None:
    """8985-7.4: both copies arrived, as the DSACK says: no reduction."""
    flight = flight_of(make_script, 10)
    flight.ack(9)
    before = flight.info("cwnd")
    flight.until_output()
    assert flight.left() == [9]
    flight.ack(10)
    flight.wait()
    flight.ack(10, 9)
    flight.write(2)
    assert flight.left() == [10, 11]
    flight.wait()
    flight.ack(12)
    assert flight.info("cwnd") >= before


def test_probe_of_new_data_is_no_loss(make_script: Maker) -> None:
    """8985-7.4: only a retransmission can have repaired something."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(11)
    assert flight.left() == list(range(10))
    before = flight.info("cwnd")
    flight.until_output()
    assert flight.left() == [10]
    for upto in range(1, 12):
        flight.ack(upto)
    flight.write(1)
    flight.left()
    flight.wait()
    flight.ack(12)
    assert flight.info("cwnd") >= before


@pytest.mark.parametrize("what", ["sacked", "recovery", "loss"])
def test_no_probe_when_it_is_known(make_script: Maker, what: str) -> None:
    """8985-7.2: while SACK or a recovery tells what is missing, there is nothing to probe for."""
    flight = flight_of(make_script, 10)
    if what == "loss":
        flight.until_output()
        assert flight.left() == [9]  # the probe
        flight.until_output()
        assert flight.left() == [0]
    elif what == "recovery":
        flight.ack(0, (1, 9))
        assert flight.left() == [0]
    else:
        flight.ack(0, 9)
        flight.until_output()
        flight.left()
    assert flight.until_output() >= 2 * RTT + DELAYED
    flight.left()


def test_no_probe_without_sack(make_script: Maker) -> None:
    """8985-7.2: what it provokes could not be told from a duplicate."""
    flight = Flight(make_script(RENO))
    flight.write(5)
    flight.left()
    assert flight.until_output() == SECOND
    assert flight.left() == [0]


def test_probe_waits_for_the_last_transmission(make_script: Maker) -> None:
    """8985-7.2: each transmission, and each acknowledgment, starts its time anew."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(2)
    flight.wait(150 * MILLISECOND)
    flight.write(2)
    assert flight.left() == [0, 1, 2, 3]
    flight.wait(150 * MILLISECOND)
    assert flight.left() == []
    flight.ack(1)
    srtt = flight.info("srtt")
    assert flight.until_output() in range(2 * srtt, 2 * srtt + TICK)
    assert flight.left() == [3]


def test_probe_of_a_fin(make_script: Maker) -> None:
    """8985-7.3: the FIN is the last segment, alone or with data."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(2)
    flight.program.shutdown()
    assert flight.segments()[-1].flags & FIN
    assert flight.until_output() in range(2 * RTT, 2 * RTT + TICK)
    (probe,) = flight.segments()
    assert probe.flags & FIN
    flight.peer.send(ACK, seq=1, ack=2 + 2 * SIZE)
    flight.peer.expect_nothing(10 * SECOND)


def test_probe_at_a_shut_window(make_script: Maker) -> None:
    """8985-7.3, MUST-36: what was under way when the window shut is probed by TLP; the next octet is not, but after its
    own time."""
    flight = Flight(make_script(RENO), sack=True)
    flight.write(4)
    flight.left()
    flight.wait()
    flight.ack(2, win=2 * SIZE)
    flight.write(4)
    assert flight.left() == []
    flight.until_output()
    assert flight.left() == [3]
    flight.ack(4, win=0)
    assert flight.until_output() >= SECOND
    (probe,) = flight.segments()
    assert len(probe.payload) == 1


def test_rack_is_switched_off(make_script: Maker) -> None:
    """8985-7.2: a node without it: no probe, no reordering timer; counting and the retransmission timer remain."""
    flight = flight_of(make_script, 5, BY_COUNT)
    flight.ack(0, 1)
    assert flight.until_output() in range(SECOND - RTT, SECOND + 1)
    assert flight.left() == [0]
