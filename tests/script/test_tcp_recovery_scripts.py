"""Loss recovery, segment by segment: duplicates (RFC 5681, 6582, 3042), SACK (RFC 2018, 6675), proportional rate
reduction (RFC 6937), timeouts and what undoes them (RFC 5682, 3522, 3708), a receiver that reneges.

Segments are named by their index; ten are out at the beginning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from tests.script.tcp_capture import ACK, FIN, PSH, SYN, mss, sack_permitted
from tests.script.tcp_flight import RTT, SIZE, Flight, first_missing
from tests.script.tcp_peer import QUIET
from tests.script.tcp_script import DEFAULTS, Script

Maker = Callable[..., Script]

RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
BY_COUNT = dataclasses.replace(RENO, rack=False)
"""With SACK: RFC 6675 alone."""
WINDOW = 10


def ten_out(make_script: Maker, settings: TcpSettings = RENO, *, written: int = 60, **options: object) -> Flight:
    """Segments 0 to 9 left a round trip ago; `written` were written."""
    flight = Flight(make_script(settings), **options)
    flight.write(written)
    assert flight.left() == list(range(min(written, WINDOW)))
    flight.wait()
    return flight


# ------------------------------------------------------------------------------------------------- three duplicates


def test_third_duplicate(make_script: Maker) -> None:
    """5681-3.2a: the third duplicate brings segment 0 again, the first two do not."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(2)
    assert flight.left() == []
    flight.duplicates(1)
    assert flight.left() == [0]
    flight.duplicates(6)
    assert flight.left() == []


def test_two_duplicates_are_reordering(make_script: Maker) -> None:
    """5681-3.2a: then the late segment arrives: nothing was sent twice, nothing was reduced."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(2)
    flight.ack(3)
    for upto in range(4, 11):
        flight.ack(upto)
    flight.peer.expect_nothing(10 * SECOND)
    assert flight.cwnd >= WINDOW


def test_limited_transmit(make_script: Maker) -> None:
    """3042-2: a new segment on each of the first two duplicates, none for the third but the retransmission."""
    flight = ten_out(make_script)
    for index in range(2):
        flight.duplicates(1)
        assert flight.left() == [WINDOW + index]
    flight.duplicates(1)
    assert flight.left() == [0]


def test_limited_transmit_with_sack(make_script: Maker) -> None:
    """3042-2: the same where SACK says what arrived."""
    flight = ten_out(make_script, BY_COUNT, sack=True)
    flight.ack(0, 1)
    assert flight.left() == [WINDOW]
    flight.ack(0, (1, 3))
    assert flight.left() == [WINDOW + 1]
    flight.ack(0, (1, 4))
    assert flight.left() == [0]


def test_limited_transmit_keeps_to_the_window(make_script: Maker) -> None:
    """3042-2, 5681-3.1h: only what the peer's window takes."""
    flight = ten_out(make_script, window=WINDOW * SIZE + SIZE)
    flight.duplicates(1)
    assert flight.left() == [WINDOW]
    flight.duplicates(1)
    assert flight.left() == []
    flight.duplicates(1)
    assert flight.left() == [0]


@pytest.mark.parametrize("what", ["data", "late data", "window", "fin", "old", "nothing outstanding"])
def test_what_is_no_duplicate(make_script: Maker, what: str) -> None:
    """5681-2: with data, with another window, with a FIN, for an older number, with nothing outstanding."""
    flight = ten_out(make_script, written=WINDOW)
    flight.ack(2)
    if what == "nothing outstanding":
        flight.ack(WINDOW)
    for _ in range(5):
        if what == "data":
            flight.peer.send(ACK, seq=flight.seq, ack=1 + 2 * SIZE, win=60_000, data=b"x")
            flight.seq += 1
        elif what == "late data":
            flight.peer.send(ACK, seq=1001, ack=1 + 2 * SIZE, win=60_000, data=b"x")
        elif what == "window":
            flight.window -= 100
            flight.ack(2)
        elif what == "fin":
            flight.peer.send(FIN | ACK, seq=1, ack=1 + 2 * SIZE, win=60_000)
            flight.seq = 2
        elif what == "old":
            flight.ack(1)
        else:
            flight.ack(WINDOW)
    assert [segment for segment in flight.segments() if segment.payload] == []
    if what != "nothing outstanding":
        flight.duplicates(3, upto=2)
        assert 2 in [(flight.peer.relative(segment) - 1) // SIZE for segment in flight.segments()]


def test_window_update_between_duplicates(make_script: Maker) -> None:
    """5681-2: it neither counts nor spoils the count."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(2)
    flight.ack(0, win=50_000)
    assert flight.left() == []
    flight.ack(0, win=50_000)
    assert flight.left() == [0]


def test_duplicates_in_a_row(make_script: Maker) -> None:
    """5681-3.2a: progress begins the count anew."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(2)
    flight.ack(1)
    flight.duplicates(2, upto=1)
    assert flight.left() == []
    flight.duplicates(1, upto=1)
    assert flight.left() == [1]


def test_fast_retransmit_of_a_short_segment(make_script: Maker) -> None:
    """5681-3.2a, J-3: what was lost was not full; it goes again as it was, or filled up with what follows it."""
    flight = Flight(make_script(RENO))
    flight.set("nodelay", True)
    flight.program.send(b"short")
    flight.program.send(b"second")
    flight.program.send(b"third")
    flight.program.send(b"fourth")
    assert [segment.payload for segment in flight.segments()] == [b"short", b"second", b"third", b"fourth"]
    flight.wait()
    flight.duplicates(3)
    payload = flight.segments()[0].payload
    assert payload.startswith(b"short")
    assert b"shortsecondthirdfourth".startswith(payload)
    flight.peer.send(ACK, seq=1, ack=1 + 22)


# --------------------------------------------------------------------------------------- fast recovery (RFC 5681, 6582)


def test_window_in_fast_recovery(make_script: Maker) -> None:
    """5681-3.2b, 5681-4.3, 6937-3: one of ten is lost; eleven duplicates come, two of them for limited transmit. New
    data leaves in the proportion of RFC 6937, which fills RFC 5681's inflated window from below: at no time is more out
    than it has, nor in the end less than it has but for half a segment. When the hole is filled, ssthresh is out."""
    flight = ten_out(make_script)
    new = []
    for _ in range(11):
        flight.duplicates(1)
        new += [index for index in flight.left() if index]
    assert new in ([10, 11, 12, 13, 14], [10, 11, 12, 13, 14, 15])
    flight.wait()
    flight.ack(12)
    new += flight.left()
    assert new == [10, 11, 12, 13, 14, 15, 16]  # 12 to 16 are out: five, which is ssthresh
    assert flight.info("ssthresh") == 5 * SIZE


def test_full_acknowledgment_ends_recovery(make_script: Maker) -> None:
    """6582-3.2b: the window is ssthresh, and grows by congestion avoidance from there."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(9)
    assert flight.left() == [0]
    flight.wait()
    flight.ack(WINDOW)
    flight.write(20)
    assert flight.left() == [10, 11, 12, 13, 14]
    for upto in range(11, 15):
        flight.ack(upto)
    assert flight.left() == [15, 16, 17, 18]
    flight.ack(15)
    assert flight.left() in ([19, 20], [19])


def test_partial_acknowledgment(make_script: Maker) -> None:
    """6582-3.2b: 0, 4 and 7 of ten are lost: one of them per round trip, each at once, with one reduction."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(7)
    assert flight.left() == [0]
    for partial in (4, 7):
        flight.wait()
        flight.ack(partial)
        assert flight.left() == [partial]
        assert flight.info("ssthresh") == 5 * SIZE
    flight.wait()
    flight.ack(WINDOW)
    assert flight.left() == []
    assert flight.cwnd == 5


def test_partial_acknowledgments_and_the_timer(make_script: Maker) -> None:
    """6582-3.2b: the first partial acknowledgment restarts the timer, later ones need not: then the rest is found by
    it."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(4)
    assert flight.left() == [0]
    flight.wait(500 * MILLISECOND)
    flight.ack(3)
    assert flight.left() == [3]
    assert flight.until_output() >= SECOND
    assert flight.left() == [3]


def test_new_data_with_partial_acknowledgments(make_script: Maker) -> None:
    """6582-3.2b, 5681-4.3: the deflated window lets at most one new segment go with each hole that is filled."""
    flight = ten_out(make_script)
    flight.duplicates(9)  # 0 lost; 10, 11 by limited transmit; two more arrive
    before = flight.left()
    assert before[:3] == [10, 11, 0]
    flight.wait()
    flight.ack(5)
    left = flight.left()
    assert left[0] == 5
    assert len(left) <= 2
    flight.wait()
    flight.ack(8)
    left = flight.left()
    assert left[0] == 8
    assert len(left) <= 2


def test_reno_leaves_at_the_first_new_acknowledgment(make_script: Maker) -> None:
    """5681-3.2b: Reno of 1990: a partial acknowledgment ends the recovery; the next hole costs another three
    duplicates."""
    flight = ten_out(make_script, dataclasses.replace(RENO, congestion="reno"), written=WINDOW)
    flight.duplicates(6)
    assert flight.left() == [0]
    flight.wait()
    flight.ack(4)
    assert flight.left() == []
    flight.duplicates(2, upto=4)
    assert flight.left() == []
    flight.duplicates(1, upto=4)
    assert flight.left() == [4]


def test_tahoe_begins_again(make_script: Maker) -> None:
    """5681-3.2a for Tahoe: the third duplicate brings the first segment, and slow start from one segment."""
    flight = ten_out(make_script, dataclasses.replace(RENO, congestion="tahoe"), written=WINDOW)
    flight.duplicates(3)
    assert flight.left() == [0]
    assert flight.cwnd == 1
    flight.duplicates(6)
    assert flight.left() == []
    flight.wait()
    flight.ack(WINDOW)
    flight.write(10)
    assert len(flight.left()) <= 2


def test_no_second_fast_retransmit_for_the_same_window(make_script: Maker) -> None:
    """6582-3.2a: duplicates of what was out at the first loss may be answers to what was sent again: they begin no
    second recovery, those beyond it do."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(9)
    assert flight.left() == [0]
    flight.wait()
    flight.ack(WINDOW)
    flight.write(20)
    assert flight.left() == [10, 11, 12, 13, 14]
    flight.duplicates(4, upto=WINDOW)
    assert flight.left() == [15, 16]  # limited transmit
    assert flight.info("ssthresh") == 5 * SIZE
    flight.ack(11)
    flight.left()
    flight.duplicates(3, upto=11)
    assert 11 in flight.left()


def test_no_fast_retransmit_after_a_timeout(make_script: Maker) -> None:
    """6582-4: after a timeout the answers to needless retransmissions are duplicates: they do not count."""
    flight = ten_out(make_script, written=WINDOW)
    assert flight.until_output() == SECOND - RTT
    assert flight.left() == [0]
    flight.wait()
    flight.ack(6)
    sent = flight.left()
    assert sent == [6, 7]
    ssthresh = flight.info("ssthresh")
    flight.duplicates(5, upto=6)
    assert 6 not in flight.left()
    assert flight.info("ssthresh") == ssthresh


def test_duplicates_during_recovery_bring_one_retransmission(make_script: Maker) -> None:
    """6582-3.2a: segment 0 leaves once, however many duplicates come."""
    flight = ten_out(make_script)
    flight.duplicates(11)
    assert flight.left().count(0) == 1


# --------------------------------------------------------------------------------------------------- SACK (RFC 6675)


def test_three_sacked_ranges(make_script: Maker) -> None:
    """6675-4: three discontiguous ranges above a segment, whatever their size: it is lost; one with two above is
    not."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, 5, 3, 1)
    left = flight.left()
    assert left[0] == 0
    assert 2 not in left[:1]


def test_many_octets_above(make_script: Maker) -> None:
    """6675-4: one acknowledgment whose block is longer than two segments is as good as three duplicates."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 4))
    assert flight.left() == [0]


def test_two_segments_above(make_script: Maker) -> None:
    """6675-4: (DupThresh - 1) * SMSS octets are not enough."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 3))
    assert flight.left() == []
    flight.ack(0, (1, 3))  # says nothing new: not even a duplicate by RFC 6675
    flight.ack(0, (1, 3))
    assert flight.left() == []


def test_holes_first_then_new_data(make_script: Maker) -> None:
    """6675-5b: NextSeg: the lowest hole that is lost, the next, then new data; nothing twice, nothing that was
    SACKed."""
    flight = ten_out(make_script, BY_COUNT, sack=True)
    flight.ack(0, (5, 10), 3, 1)  # 0, 2, 4 are missing
    sent = flight.left()
    order = [0, 2, 4, 10, 11, 12, 13, 14]
    assert sent == order[: len(sent)]
    upto = 0
    for arrived in range(20):
        if len(sent) >= len(order):
            break
        index = sent[arrived]
        flight.wait(10 * MILLISECOND)
        if index < 5:
            upto = {0: 2, 2: 4, 4: 10}[index]
            flight.ack(upto, *([(5, 10)] if upto < 5 else []))
        else:
            flight.ack(index + 1)
        sent += flight.left()
    assert sent[: len(order)] == order


def test_pipe_limits_what_is_sent_again(make_script: Maker) -> None:
    """6675-5b: five of ten are lost at once: the pipe has none in it, so there is room for at most five, ssthresh; PRR
    sends as much as was delivered, and one more for an acknowledgment that advances."""
    flight = ten_out(make_script, BY_COUNT, sack=True)
    flight.ack(0, (5, 10))
    sent = flight.left()
    assert sent == list(range(len(sent)))
    assert 1 <= len(sent) <= 5
    assert flight.info("ssthresh") == 5 * SIZE


def test_third_rule(make_script: Maker) -> None:
    """6675-5b: nothing is lost by proof, nothing is new, but holes lie below what was SACKed: better than nothing."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 5))  # 0 is lost
    assert flight.left() == [0]
    flight.ack(0, 6, (1, 5))  # 5 has one segment above it
    flight.ack(0, (6, 8), (1, 5))
    assert flight.left() == [5]


def test_rescue(make_script: Maker) -> None:
    """6675-5b: the end of the window was lost too, and nothing behind it can tell: its last segment goes again, once,
    when the window allows and nothing else is left."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 8))  # 0 is lost; nobody knows of 8 and 9
    assert flight.left() == [0, 9]
    flight.wait()
    flight.ack(8)
    assert flight.left() == []
    flight.ack(8, 9)
    assert flight.left() == [8]  # now it is below what was SACKed: the third rule


def test_sacked_data_is_not_sent_again(make_script: Maker) -> None:
    """6675-5.1, 6675-5b: through a whole recovery with many holes, each hole goes once, what arrived never."""
    for settings in (BY_COUNT, RENO):
        flight = Flight(make_script(settings), sack=True)
        flight.write(WINDOW)
        assert flight.left() == list(range(WINDOW))
        flight.wait()
        flight.ack(0, 1)
        flight.ack(0, 1, 3)
        flight.ack(0, 5, 1, 3)
        flight.ack(0, (5, 7), 1, 3)
        flight.ack(0, (5, 8), 1, 3)
        flight.ack(0, 9, (5, 8), 1, 3)
        sent = flight.left()
        flight.wait(10 * MILLISECOND)
        flight.ack(2, 9, (5, 8), 3)
        sent += flight.left()
        flight.wait(10 * MILLISECOND)
        flight.ack(4, 9, (5, 8))
        sent += flight.left()
        flight.wait(10 * MILLISECOND)
        flight.ack(8, 9)
        sent += flight.left()
        flight.wait(10 * MILLISECOND)
        flight.ack(10)
        sent += flight.left()
        assert sorted(sent) in ([0, 2, 4], [0, 2, 4, 8])
        flight.peer.program.abort()
        flight.script.out.clear()


@pytest.mark.parametrize(
    "block",
    [(20, 30), (10, 12), (9, 11), (1 << 20, (1 << 20) + 5), (5, 5), (7, 5)],
    ids=["far", "next", "half", "wild", "empty", "backwards"],
)
def test_sack_of_what_was_never_sent(make_script: Maker, block: tuple[int, int]) -> None:
    """2018-8, 6675-4: such blocks are ignored: nothing is taken for delivered, nothing for lost; real duplicates
    work."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    for _ in range(4):
        flight.ack(0, block)
    sent = flight.left()
    assert sent in ([], [0])
    flight.ack(0, (1, 10))
    assert sent + flight.left() == [0]
    flight.wait()
    flight.ack(WINDOW)
    flight.peer.expect_nothing(10 * SECOND)


def test_dsack_is_no_loss(make_script: Maker) -> None:
    """6675-4, 2883-4: duplicates that only report what arrived twice bring nothing."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(3)
    for _ in range(5):
        flight.ack(3, (1, 2))
    assert flight.left() == []
    assert flight.cwnd >= WINDOW


def test_one_reduction_for_a_window_of_losses(make_script: Maker) -> None:
    """6675-5a: RecoveryPoint: holes that show up later in the same window cost nothing more."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 4))
    assert flight.info("ssthresh") == 5 * SIZE
    flight.ack(0, (5, 9), (1, 4))
    assert 4 in flight.left()
    assert flight.info("ssthresh") == 5 * SIZE
    flight.wait()
    flight.ack(WINDOW)
    assert flight.cwnd == 5


# ----------------------------------------------------------------------------------------------------- PRR (RFC 6937)


@pytest.mark.parametrize("window", [10, 40])
@pytest.mark.parametrize("sack", [False, True], ids=["duplicates", "sack"])
def test_proportional_rate_reduction(make_script: Maker, sack: bool, window: int) -> None:
    """6937-3, 6675-5a: one of ten, or of forty, is lost, the acknowledgments of the others, and of the two of limited
    transmit, trickle in. What leaves with each of them is SndCnt, in whole segments: the retransmission, then every
    second time a new one, by ceil(delivered * ssthresh / RecoverFS) while the pipe is above ssthresh."""
    settings = dataclasses.replace(BY_COUNT, initial_window=window)
    flight = Flight(make_script(settings), sack=sack, size=300)
    flight.write(3 * window)
    assert flight.left() == list(range(window))
    flight.wait()
    ssthresh = window / 2
    delivered = out = 0
    for last in range(2, window + 3):
        if sack:
            flight.ack(0, (1, last))
        else:
            flight.duplicates(1)
        left = flight.left()
        if last <= 3:
            assert left == [last + window - 2]  # limited transmit
            continue
        delivered += 1  # since the third duplicate, which counts
        pipe = window + 2 + max(out - 1, 0) - (last - 1) - (out == 0)
        proportion = delivered * ssthresh / window - out
        bound = min(ssthresh - pipe, max(delivered - out, 1))
        count = proportion if pipe > ssthresh else bound
        assert len(left) == max(int(count), out == 0), f"after {delivered} delivered"
        out += len(left)
    assert out in (int(ssthresh) - 1, int(ssthresh))


def test_slow_start_part_of_the_reduction(make_script: Maker) -> None:
    """6937-3: seven of ten are lost: the pipe is below ssthresh at once. It is filled again by as much as is delivered,
    and one segment for an acknowledgment that advances without new losses; never beyond ssthresh."""
    flight = ten_out(make_script, BY_COUNT, sack=True)
    flight.ack(0, (7, 10))
    sent = flight.left()
    assert sent == [0, 1, 2]
    flight.wait()
    flight.ack(1, (7, 10))
    assert flight.left() == [3, 4]
    flight.ack(2, (7, 10))
    assert flight.left() == [5, 6]
    flight.ack(3, (7, 10))  # pipe: 3, 4, 5, 6 of 5
    assert flight.left() == [10]


def test_no_burst_at_the_end_of_recovery(make_script: Maker) -> None:
    """6937-3, 5681-4.3: when a late acknowledgment ends the recovery, the window is ssthresh."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=WINDOW)
    flight.ack(0, (1, 10))
    assert flight.left() == [0]
    flight.write(40)
    assert len(flight.left()) <= 4
    flight.wait()
    flight.ack(WINDOW)
    flight.left()
    assert flight.info("in_flight") <= 5 * SIZE


# ------------------------------------------------------------------------------------------------------------ timeouts


def test_timeout_and_slow_start(make_script: Maker) -> None:
    """5681-3.1f, MUST-19: one segment; then two for one acknowledgment up to ssthresh, half of what was out; then
    one."""
    flight = ten_out(make_script, written=WINDOW)
    flight.until_output()
    assert flight.left() == [0]
    assert flight.cwnd == 1
    flight.wait()
    sent = [0]
    for upto, expected in ((1, [1, 2]), (2, [3, 4]), (3, [5, 6]), (4, [7, 8]), (5, [9])):
        flight.ack(upto)
        assert flight.left() == expected
        sent += expected
    assert flight.info("ssthresh") == 5 * SIZE
    assert sent == list(range(WINDOW))
    assert flight.cwnd in (5, 6)


def test_repeated_timeout_keeps_ssthresh(make_script: Maker) -> None:
    """5681-3.1g: the second expiry for the same segment tells nothing new."""
    flight = ten_out(make_script, written=WINDOW)
    for _ in range(4):
        flight.until_output()
        assert flight.left() == [0]
        assert flight.info("ssthresh") == 5 * SIZE
        assert flight.cwnd == 1


def test_timeout_of_little(make_script: Maker) -> None:
    """5681-3.1f: ssthresh is two segments at least."""
    flight = Flight(make_script(RENO))
    flight.write(1)
    flight.left()
    flight.until_output()
    assert flight.left() == [0]
    assert flight.info("ssthresh") == 2 * SIZE


def test_timeout_in_fast_recovery(make_script: Maker) -> None:
    """6298-5.4, 5681-3.1f: the retransmission was lost too; the timer finds that, and sends it alone."""
    flight = ten_out(make_script, written=WINDOW)
    flight.duplicates(9)
    assert flight.left() == [0]
    assert flight.until_output() in range(900 * MILLISECOND, SECOND + 1)
    assert flight.left() == [0]
    assert flight.cwnd == 1


@pytest.mark.parametrize("settings", [RENO, BY_COUNT], ids=["rack", "count"])
def test_sacked_data_after_a_timeout(make_script: Maker, settings: TcpSettings) -> None:
    """6675-5.1: the receiver kept what it reported: none of it goes again, the rest goes once."""
    flight = ten_out(make_script, settings, sack=True, written=WINDOW)
    flight.ack(0, (4, 6))
    arrived = {4, 5}
    sent = []
    while len(arrived) < WINDOW:
        if not flight.script.out:
            flight.until_output()
        left = flight.left()
        assert left
        sent += left
        flight.wait()
        for index in left:
            arrived.add(index)
            upto = first_missing(arrived)
            flight.ack(upto, *([(4, 6)] if upto < 4 else []))
    assert sorted(sent) == [0, 1, 2, 3, 6, 7, 8, 9]


@pytest.mark.parametrize("settings", [RENO, BY_COUNT], ids=["rack", "count"])
def test_receiver_that_reneges(make_script: Maker, settings: TcpSettings) -> None:
    """2018-8: it reported segments and dropped them: after the timeout its first missing segment is one it had
    reported. Nothing was released before it was acknowledged: all of it arrives in the end."""
    flight = ten_out(make_script, settings, sack=True, written=WINDOW)
    flight.ack(0, (1, 10))
    sent = flight.left()
    assert sent == [0]
    flight.wait()
    flight.ack(1)  # and no word of 1 to 9
    taken = 1
    for _ in range(40):
        for index in flight.left():
            if index == taken:
                taken += 1
        if taken == WINDOW:
            break
        flight.wait()
        flight.ack(taken)
        if not flight.script.out:
            flight.until_output(60 * SECOND)
    assert taken == WINDOW
    flight.ack(WINDOW)
    flight.peer.expect_nothing(10 * SECOND)


# ------------------------------------------------------------------------------------------------ what was a mistake


def test_forward_rto(make_script: Maker) -> None:
    """RFC 5682 section 2.1: the flight was only late. After the timeout the acknowledgments go on: two new segments for
    the first, and with the second it is clear: nothing else is sent twice, the window is what it was."""
    flight = ten_out(make_script, sack=False)
    before = flight.info("cwnd")
    flight.until_output()
    assert flight.left() == [0]
    flight.ack(1)
    assert flight.left() == [10, 11]
    flight.ack(2)
    left = flight.left()
    assert all(index >= 12 for index in left)
    for upto in range(3, 11):
        flight.ack(upto)
    assert all(index >= 12 for index in flight.left())
    assert flight.info("cwnd") >= before


def test_forward_rto_where_all_was_lost(make_script: Maker) -> None:
    """RFC 5682 section 2.1: only the retransmission arrives; the two new segments bring duplicates: then all is sent
    again, in slow start."""
    flight = ten_out(make_script)
    flight.until_output()
    assert flight.left() == [0]
    flight.wait()
    flight.ack(1)
    assert flight.left() == [10, 11]
    flight.wait()
    flight.duplicates(1, upto=1)
    left = flight.left()
    assert left[0] == 1
    assert len(left) <= 3
    flight.duplicates(1, upto=1)
    sent = [*left, *flight.left()]
    assert sent == list(range(1, 1 + len(sent)))
    assert flight.info("ssthresh") == 5 * SIZE


def test_forward_rto_needs_new_data(make_script: Maker) -> None:
    """RFC 5682 section 2.1 2c: with nothing new to send the timeout is an ordinary one."""
    flight = ten_out(make_script, written=WINDOW)
    flight.until_output()
    assert flight.left() == [0]
    flight.ack(1)
    assert flight.left() == [1, 2]


def test_forward_rto_with_duplicates(make_script: Maker) -> None:
    """RFC 5682 section 2.1 2a: the first acknowledgment after the timeout is a duplicate: no luck, slow start goes
    on."""
    flight = ten_out(make_script)
    flight.until_output()
    assert flight.left() == [0]
    flight.duplicates(1)
    assert flight.left() == []
    flight.wait()
    flight.ack(1)
    assert flight.left() == [1, 2]


def test_forward_rto_when_all_arrives(make_script: Maker) -> None:
    """RFC 5682 section 2.1 2a: everything up to the recovery point at once proves nothing."""
    flight = ten_out(make_script)
    flight.until_output()
    assert flight.left() == [0]
    flight.wait()
    flight.ack(WINDOW)
    assert flight.left() == [10, 11]
    assert flight.cwnd == 2


def test_eifel(make_script: Maker) -> None:
    """RFC 3522: the acknowledgment that ends the silence echoes the first copy's timestamp: the timeout was a mistake,
    and is undone: nothing else is sent twice."""
    flight = ten_out(make_script, stamped=True)
    before = flight.info("cwnd")
    original = flight.echo
    flight.until_output()
    assert flight.left() == [0]
    assert flight.echo > original
    flight.ack(1, echo=original)
    left = flight.left()
    assert all(index >= 10 for index in left)
    assert flight.info("cwnd") >= before
    for upto in range(2, 11):
        flight.ack(upto, echo=original)
    assert all(index >= 10 for index in flight.left())


def test_eifel_after_two_timeouts(make_script: Maker) -> None:
    """RFC 4015 section 3.1: what is given back is the window of before the first of them."""
    flight = ten_out(make_script, stamped=True)
    before = flight.info("cwnd")
    original = flight.echo
    for _ in range(2):
        flight.until_output()
        assert flight.left() == [0]
    flight.ack(1, echo=original)
    assert flight.info("cwnd") >= before
    assert all(index >= 10 for index in flight.left())
    for upto in range(2, 11):
        flight.ack(upto, echo=original)
    assert all(index >= 10 for index in flight.left())


def test_eifel_is_not_fooled(make_script: Maker) -> None:
    """RFC 3522: the echo of the retransmission is no proof."""
    flight = ten_out(make_script, stamped=True, written=WINDOW)
    flight.until_output()
    assert flight.left() == [0]
    flight.wait()
    flight.ack(1)
    assert flight.left() == [1, 2]
    assert flight.info("ssthresh") == 5 * SIZE


def test_eifel_after_a_fast_retransmit(make_script: Maker) -> None:
    """RFC 3522, RFC 4015: three duplicates by reordering: the late original fills the hole, its echo tells."""
    flight = ten_out(make_script, stamped=True, written=WINDOW)
    before = flight.info("cwnd")
    original = flight.echo
    for _ in range(3):
        flight.ack(0, echo=original)
    assert flight.left() == [0]
    flight.wait(5 * MILLISECOND)
    flight.ack(4, echo=original)
    assert flight.left() == []
    assert flight.info("cwnd") >= before


@pytest.mark.parametrize("settings", [RENO, BY_COUNT], ids=["rack", "count"])
def test_undo_by_dsack(make_script: Maker, settings: TcpSettings) -> None:
    """RFC 3708: both copies of all that was sent again arrived: what was reduced is given back."""
    flight = ten_out(make_script, settings, sack=True, written=WINDOW)
    before = flight.info("cwnd")
    flight.ack(0, (1, 4))
    again = flight.left()
    assert again == [0]
    assert flight.info("ssthresh") == 5 * SIZE
    flight.wait(5 * MILLISECOND)
    flight.ack(4)
    again += flight.left()
    for upto in range(5, 11):
        flight.ack(upto)
    again += flight.left()
    flight.wait()
    for index in again:
        flight.ack(10, index)
    assert flight.info("cwnd") >= before
    flight.write(10)
    assert flight.left() == list(range(10, 20))


@pytest.mark.parametrize("duplicated", [5, 9, 12])
def test_dsack_of_something_else_undoes_nothing(make_script: Maker, duplicated: int) -> None:
    """RFC 3708 section 3: the network duplicated a segment that we sent once, of the same window or of the next: that
    says nothing of the one that was lost."""
    flight = ten_out(make_script, BY_COUNT, sack=True, written=15)
    flight.ack(0, (1, 10))
    sent = flight.left()
    assert sent[0] == 0
    assert duplicated not in sent[:1]
    flight.wait()
    flight.ack(WINDOW)
    sent += flight.left()
    flight.wait()
    flight.ack(max(sent) + 1, duplicated)
    flight.left()
    flight.wait()
    flight.ack(15)
    assert flight.info("ssthresh") == 5 * SIZE
    assert flight.cwnd <= 6


# ---------------------------------------------------------------------------------------------------------- odds, ends


def test_fin_in_the_window_is_recovered(make_script: Maker) -> None:
    """B-FIN-3: the FIN was lost with the last segments; SACK of nothing can show it: the timer does, and it goes again
    with the data before it or alone."""
    flight = Flight(make_script(RENO))
    flight.write(3)
    flight.program.shutdown()
    segments = flight.segments()
    assert segments[-1].flags & FIN
    flight.wait()
    flight.ack(2)
    again = []
    for _ in range(3):
        flight.until_output()
        again += flight.segments()
        flight.wait()
        flight.ack(3)
        again += flight.segments()
    assert any(segment.flags & FIN for segment in again)
    flight.peer.send(ACK, seq=1, ack=2 + 3 * SIZE)
    flight.peer.expect_nothing(10 * SECOND)


def test_retransmission_takes_the_newest_acknowledgment(make_script: Maker) -> None:
    """RFC 9293 section 3.10.8: what is sent again acknowledges what has come since."""
    flight = ten_out(make_script, written=3)
    flight.peer.send(ACK | PSH, seq=1, ack=1, win=60_000, data=b"hello")
    flight.peer.expect_ack(seq=1 + 3 * SIZE, ack=6)
    flight.until_output()
    flight.peer.expect(ACK, seq=1, ack=6, data=SIZE)


def test_new_mss_cuts_what_is_sent_again(make_script: Maker) -> None:
    """RFC 9293 section 3.7.1: what was one segment goes again in two when the path has become narrower."""
    flight = Flight(make_script(RENO), size=1400)
    flight.write(4)
    flight.left()
    flight.peer.icmp(3, 4, seq=1, rest=800, length=1440)
    again = [(flight.peer.relative(segment) - 1, len(segment.payload)) for segment in flight.segments()]
    assert again
    assert all(length <= 760 for _, length in again)
    assert again[0][0] == 0
    flight.wait(QUIET)
    flight.script.out.clear()
    flight.peer.send(ACK, seq=1, ack=1 + 4 * 1400)


def test_small_mss_of_the_peer(make_script: Maker) -> None:
    """6675-4: octets count by the segments that are sent, not by those that could be."""
    script = make_script(BY_COUNT)
    peer = script.peer()
    program = script.connect(peer)
    script.out.clear()
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(100) + sack_permitted())
    peer.expect(ACK, seq=1, ack=1)
    program.send(bytes(1000))
    for index in range(10):
        peer.expect(ACK, seq=1 + 100 * index, ack=1, data=100)
    script.advance(RTT)
    peer.send(ACK, seq=1, ack=1, options=peer.sack((101, 401)))
    peer.expect(ACK, seq=1, ack=1, data=100)
    peer.send(ACK, seq=1, ack=1001)
