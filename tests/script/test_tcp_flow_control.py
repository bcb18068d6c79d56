"""Flow control (RFC 9293 section 3.8.6): windows that shut, shrink and open, probes, silly windows on both sides,
Nagle, window updates, scaled windows (RFC 7323), what buffers hold."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from random import Random

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from tests.script.tcp_capture import ACK, FIN, PSH, SYN, Segment, mss, timestamps, window_scale
from tests.script.tcp_flight import RTT, SIZE, Flight
from tests.script.tcp_peer import Peer
from tests.script.tcp_script import DEFAULTS, Script

Maker = Callable[..., Script]
RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
HOUR = 3600 * SECOND


def numbers_of(flight: Flight, segments: list[Segment]) -> list[tuple[int, int]]:
    """(offset in the stream, octets) of segments with data."""
    return [(flight.peer.relative(segment) - 1, len(segment.payload)) for segment in segments if segment.payload]


def shut(make_script: Maker, *, waiting: int = 8, settings: TcpSettings = RENO, **options: object) -> Flight:
    """Four segments were taken, the window is shut since this instant, `waiting` segments are queued."""
    flight = Flight(make_script(settings), **options)
    flight.write(4)
    flight.wait()
    assert flight.left() == [0, 1, 2, 3]
    flight.ack(4, win=0)
    if waiting:
        flight.write(waiting)
    assert flight.left() == []
    return flight


def expect_probe(flight: Flight, offset: int) -> None:
    """One octet of new data, at `offset` of the stream."""
    assert numbers_of(flight, flight.segments()) == [(offset, 1)]


# --------------------------------------------------------------------------------------------------------- zero window


def test_first_probe(make_script: Maker) -> None:
    """SHLD-29, MUST-35, MUST-36: when the window was shut for one retransmission timeout, with the next octet."""
    flight = shut(make_script)
    assert flight.until_output() == SECOND
    expect_probe(flight, 4 * SIZE)


def test_first_probe_after_a_long_round_trip(make_script: Maker) -> None:
    """SHLD-29: the timeout is that of RFC 6298."""
    flight = Flight(make_script(RENO), rtt=500 * MILLISECOND)
    flight.write(1)
    flight.wait(500 * MILLISECOND)
    flight.ack(1, win=0)
    flight.write(1)
    flight.left()
    assert flight.until_output() == 1_250 * MILLISECOND  # SRTT 0.5, RTTVAR 0.1875
    expect_probe(flight, SIZE)


def test_spacing_of_probes(make_script: Maker) -> None:
    """SHLD-30: doubled each time, up to the maximum of the timer; answered ones too."""
    flight = shut(make_script)
    waits = []
    for _ in range(10):
        waits.append(flight.until_output())
        expect_probe(flight, 4 * SIZE)
        flight.ack(4, win=0)
    assert waits[:6] == [SECOND << power for power in range(6)]
    assert waits[6:] == [60 * SECOND] * 4


def test_probes_that_are_answered(make_script: Maker) -> None:
    """MUST-37, MAY-8: a window that stays shut for a day ends nothing, while the peer answers."""
    flight = shut(make_script)
    end = flight.script.now + 24 * HOUR
    while flight.script.now < end:
        flight.until_output()
        expect_probe(flight, 4 * SIZE)
        flight.wait()
        flight.ack(4, win=0)
    assert flight.peer.state is State.ESTABLISHED
    flight.ack(4)
    assert flight.left() == list(range(4, 12))


def test_probes_that_nobody_answers(make_script: Maker) -> None:
    """MUST-20, MUST-36: a peer that is gone is given up like any other."""
    flight = shut(make_script)
    start = flight.script.now
    while flight.peer.state is State.ESTABLISHED and flight.script.now < start + HOUR:
        flight.until_output()
        if flight.script.out:
            expect_probe(flight, 4 * SIZE)
    assert 100 * SECOND <= flight.script.now - start < HOUR
    assert flight.program.sees() == errno.ETIMEDOUT
    flight.peer.expect_nothing(HOUR)


def test_user_timeout_of_probes(make_script: Maker) -> None:
    """MUST-21: the program's timeout counts for a silent peer behind a shut window too."""
    flight = shut(make_script)
    flight.set("user_timeout", 20 * SECOND)
    start = flight.script.now
    while flight.peer.state is State.ESTABLISHED and flight.script.now < start + HOUR:
        flight.until_output()
        flight.segments()
    assert 20 * SECOND <= flight.ended - start <= 31 * SECOND
    assert flight.program.sees() == errno.ETIMEDOUT


def test_probes_answered_again_after_silence(make_script: Maker) -> None:
    """MUST-37: R2 counts from the last answer."""
    flight = shut(make_script)
    flight.set("user_timeout", 200 * SECOND)
    for index in range(40):
        flight.until_output()
        expect_probe(flight, 4 * SIZE)
        if index % 2:
            flight.ack(4, win=0)
    assert flight.peer.state is State.ESTABLISHED


def test_window_update_ends_the_probes(make_script: Maker) -> None:
    """MUST-36: data follows at once, from the octet that was asked with."""
    flight = shut(make_script)
    for _ in range(3):
        flight.until_output()
        expect_probe(flight, 4 * SIZE)
        flight.ack(4, win=0)
    flight.ack(4)
    assert flight.left() == list(range(4, 12))
    flight.wait()
    flight.ack(12)
    flight.peer.expect_nothing(HOUR)


def test_probe_that_is_taken(make_script: Maker) -> None:
    """MUST-36: a peer with a little room keeps the octet; what follows begins behind it."""
    flight = shut(make_script)
    flight.until_output()
    expect_probe(flight, 4 * SIZE)
    flight.ack(4, octets=1)
    sent = numbers_of(flight, flight.segments())
    assert sent[0] == (4 * SIZE + 1, SIZE)
    assert sum(length for _, length in sent) == 8 * SIZE - 1 or sent[-1][1] == SIZE


def test_probe_that_is_taken_by_a_window_that_stays_shut(make_script: Maker) -> None:
    """MUST-36: then the next octet is the next probe, after one timeout or more."""
    flight = shut(make_script)
    offset = 4 * SIZE
    for _ in range(5):
        assert flight.until_output() >= SECOND
        expect_probe(flight, offset)
        offset += 1
        flight.ack(0, octets=offset, win=0)
    flight.ack(0, octets=offset)
    assert numbers_of(flight, flight.segments())[0] == (offset, SIZE)


def test_probe_that_is_taken_late(make_script: Maker) -> None:
    """The octet of the first probe was kept and its acknowledgment lost: the second one tells."""
    flight = shut(make_script)
    flight.until_output()
    expect_probe(flight, 4 * SIZE)
    flight.until_output()
    expect_probe(flight, 4 * SIZE)
    flight.ack(4, octets=1)
    flight.ack(4, octets=1)
    assert numbers_of(flight, flight.segments())[0] == (4 * SIZE + 1, SIZE)


def test_second_closure_begins_anew(make_script: Maker) -> None:
    """SHLD-29, SHLD-30: the spacing does not go on where the last closure ended."""
    flight = shut(make_script)
    for _ in range(4):
        flight.until_output()
        expect_probe(flight, 4 * SIZE)
        flight.ack(4, win=0)
    flight.ack(4, win=2 * SIZE)
    assert flight.left() == [4, 5]
    flight.wait()
    flight.ack(6, win=0)
    for wait in (1, 2, 4):
        assert flight.until_output() == wait * SECOND
        expect_probe(flight, 6 * SIZE)
        flight.ack(6, win=0)


def test_no_probe_without_data(make_script: Maker) -> None:
    """MUST-36: who has nothing to send has nothing to ask for; later data is asked for within one timeout."""
    flight = shut(make_script, waiting=0)
    flight.peer.expect_nothing(HOUR)
    flight.write(1)
    assert flight.until_output() <= SECOND
    assert numbers_of(flight, flight.segments())[0][0] == 4 * SIZE


def test_window_shut_from_the_start(make_script: Maker) -> None:
    """MUST-35: a SYN-ACK with a window of zero."""
    script = make_script(RENO)
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1, win=0, options=mss(SIZE))
    peer.expect(ACK, seq=1, ack=1)
    program.send(bytes(3 * SIZE))
    peer.expect_nothing(SECOND - 1)
    script.advance(1)
    peer.expect(ACK, seq=1, ack=1, data=1)
    peer.send(ACK, seq=1, ack=1, win=10 * SIZE)
    for seq in (1, 1 + SIZE, 1 + 2 * SIZE):
        peer.expect(ACK, seq=seq, ack=1, data=SIZE)


def test_fin_at_a_shut_window(make_script: Maker) -> None:
    """MUST-36: where only the FIN is left, it is what asks; it has a number of its own."""
    flight = shut(make_script, waiting=0)
    flight.program.shutdown()
    if not flight.script.out:
        assert flight.until_output() <= SECOND
    nxt = 1 + 4 * SIZE
    flight.peer.expect(FIN | ACK, seq=nxt, ack=1)
    flight.ack(4, win=0)
    assert flight.until_output() <= 4 * SECOND
    flight.peer.expect(FIN | ACK, seq=nxt, ack=1)
    flight.peer.send(ACK, seq=1, ack=nxt + 1, win=0)
    assert flight.peer.state is State.FIN_WAIT_2
    flight.peer.expect_nothing(10 * SECOND)


def test_data_and_fin_at_a_shut_window(make_script: Maker) -> None:
    """MUST-36: the FIN comes after the data, when there is a window for that."""
    flight = shut(make_script, waiting=1)
    flight.program.shutdown()
    assert flight.until_output() <= SECOND
    expect_probe(flight, 4 * SIZE)
    flight.ack(4)
    flight.peer.expect(ACK | PSH, seq=1 + 4 * SIZE, ack=1, data=SIZE)
    flight.peer.expect(FIN | ACK, seq=1 + 5 * SIZE, ack=1)
    flight.peer.send(ACK, seq=1, ack=2 + 5 * SIZE)


def test_probes_of_a_half_closed_connection(make_script: Maker) -> None:
    """MUST-36 in CLOSE_WAIT."""
    flight = shut(make_script)
    flight.peer.send(FIN | ACK, seq=1, ack=1 + 4 * SIZE, win=0)
    flight.peer.expect_ack(seq=1 + 4 * SIZE, ack=2)
    flight.until_output()
    expect_probe(flight, 4 * SIZE)
    flight.peer.send(ACK, seq=2, ack=1 + 4 * SIZE)
    assert flight.left() == list(range(4, 12))


def test_the_peers_data_at_our_shut_send_window(make_script: Maker) -> None:
    """RFC 9293 section 3.8.6: each direction for itself: what the peer sends is taken and acknowledged meanwhile."""
    flight = shut(make_script)
    for index in range(20):
        flight.peer.send(ACK | PSH, seq=1 + index, ack=1 + 4 * SIZE, win=0, data=b"x")
        flight.peer.expect_ack(seq=1 + 4 * SIZE, ack=2 + index)
    assert flight.program.sees() == b"x" * 20


# -------------------------------------------------------------------------------------------------- shrinking windows


def shrunk(make_script: Maker, edge: int, **options: object) -> Flight:
    """Segments 0 to 9 left; 0 and 1 are acknowledged, and the window from there is only `edge` octets now."""
    flight = Flight(make_script(RENO), **options)
    flight.write(30)
    assert flight.left() == list(range(10))
    flight.wait()
    flight.ack(2, win=edge)
    return flight


@pytest.mark.parametrize("window", [0, 1, SIZE, 3 * SIZE, 8 * SIZE - 1])
def test_no_new_data_behind_a_shrunken_window(make_script: Maker, window: int) -> None:
    """MUST-34, SHLD-15: the right edge moved to the left of what was sent: nothing new leaves before it is back."""
    flight = shrunk(make_script, window)
    assert flight.left() == []
    flight.ack(4, win=max(window - 2 * SIZE, 0))
    assert flight.left() == []
    flight.ack(10, win=5 * SIZE)
    assert flight.left() == [10, 11, 12, 13, 14]


def test_usable_window_is_negative(make_script: Maker) -> None:
    """MUST-34, B-ACK-5: SND.UNA + SND.WND - SND.NXT below zero is not a large number."""
    flight = shrunk(make_script, SIZE, scale=7, window=1 << 20)
    assert flight.left() == []
    for upto in range(3, 11):
        flight.ack(upto, win=0)
        assert flight.left() == []
    flight.ack(10, win=2 * SIZE)
    assert len(flight.left()) in (1, 2)  # 2^7 octets are the unit


@pytest.mark.parametrize("window", [SIZE, 3 * SIZE])
def test_old_data_inside_a_shrunken_window_is_resent(make_script: Maker, window: int) -> None:
    """SHLD-16: the retransmission timer works as ever."""
    flight = shrunk(make_script, window)
    assert flight.until_output() <= 1100 * MILLISECOND
    assert flight.left() == [2]
    flight.ack(3, win=window)
    sent = []
    for _ in range(40):
        sent += flight.left()
        flight.ack(max([3, *(index + 1 for index in sent)]), win=window)
        if not flight.script.out:
            flight.until_output(10 * SECOND)
    assert sorted(set(sent)) == list(range(3, 30))


def test_fast_retransmit_inside_a_shrunken_window(make_script: Maker) -> None:
    """SHLD-16: duplicates after the shrinking count as duplicates do."""
    flight = shrunk(make_script, 4 * SIZE)
    for _ in range(3):
        flight.ack(2, win=4 * SIZE)
    assert flight.left() == [2]


def test_data_beyond_a_shrunken_window_does_not_end_the_connection(make_script: Maker) -> None:
    """SHLD-17, MUST-35, MAY-7: the window shrank to nothing with data under way. The node asks, by a probe or by
    sending again what is beyond the edge; each question is answered, and nothing gives up."""
    flight = shrunk(make_script, 0)
    end = flight.script.now + 2 * HOUR
    questions = 0
    while flight.script.now < end:
        flight.until_output()
        for offset, length in numbers_of(flight, flight.segments()):
            assert offset >= 2 * SIZE
            assert length <= SIZE
            questions += 1
        flight.ack(2, win=0)
    assert questions > 20
    assert flight.peer.state is State.ESTABLISHED
    flight.ack(2)
    flight.until_output(60 * SECOND)
    sent = [2, *flight.left()]
    while flight.until_output(RTT) < RTT or sent[-1] < 29:
        flight.ack(max(sent) + 1)
        sent += flight.left()
        assert flight.script.now < end + HOUR
    assert set(sent) == set(range(2, 30))


def test_everything_arrives_through_a_breathing_window(make_script: Maker) -> None:
    """MUST-34, SHLD-15, SHLD-16, J-6: a peer whose window moves to and fro, and which drops what is outside."""
    flight = Flight(make_script(RENO))
    random = Random(4)
    flight.write(60)
    taken = 0
    window = 60_000
    for _ in range(3000):
        for offset, length in numbers_of(flight, flight.segments()):
            if offset <= taken < offset + length and offset < taken + window:
                taken = min(offset + length, taken + window)
        if taken == 60 * SIZE:
            break
        window = random.choice([0, 1, 700, 2 * SIZE, 5 * SIZE, 20_000])
        flight.ack(0, octets=taken, win=window)
        if not flight.script.out:
            flight.until_output(70 * SECOND)
    assert taken == 60 * SIZE


# ----------------------------------------------------------------------------------------- silly windows: the sender


@pytest.mark.parametrize("opened", [1, 10, 100, SIZE - 1])
def test_sender_does_not_dribble(make_script: Maker, opened: int) -> None:
    """MUST-38: a window that opens by less than a segment is not used at once; after the override timeout (0.1 to 1 s)
    it is."""
    flight = shut(make_script)
    flight.ack(4, win=opened)
    assert flight.left() == []
    waited = flight.until_output()
    assert 100 * MILLISECOND <= waited <= SECOND
    assert numbers_of(flight, flight.segments()) == [(4 * SIZE, opened)]


def test_sender_waits_for_a_full_segment(make_script: Maker) -> None:
    """MUST-38: the window grows by a few octets at a time: nothing leaves until it takes a whole segment."""
    flight = shut(make_script)
    for opened in range(10, SIZE, 70):
        flight.ack(4, win=opened)
        flight.peer.expect_nothing(10 * MILLISECOND)
    flight.ack(4, win=SIZE)
    assert flight.left() == [4]


def test_sender_uses_half_of_a_small_window(make_script: Maker) -> None:
    """MUST-38: a peer whose whole buffer is smaller than a segment: half of it is worth a segment; less waits."""
    flight = Flight(make_script(RENO), window=300)
    flight.write(4)
    assert numbers_of(flight, flight.segments()) == [(0, 300)]
    flight.wait()
    flight.ack(0, octets=300, win=149)
    assert flight.left() == []
    flight.ack(0, octets=300, win=150)
    assert numbers_of(flight, flight.segments()) == [(300, 150)]


def test_sender_sends_all_it_has(make_script: Maker) -> None:
    """MUST-38: less than a segment, but all there is, and it fits: that may leave."""
    flight = shut(make_script, waiting=0)
    flight.write(0, 50)
    flight.ack(4, win=49)
    assert flight.left() == []
    flight.ack(4, win=50)
    assert numbers_of(flight, flight.segments()) == [(4 * SIZE, 50)]


def test_sender_against_a_silly_receiver(make_script: Maker) -> None:
    """MUST-38: a peer whose program reads ten octets every ten milliseconds, and which tells of each: no more than one
    small segment per override timeout leaves."""
    flight = shut(make_script, waiting=20)
    base, taken, window = 4 * SIZE, 0, 0
    start = flight.script.now
    sizes = []
    for _ in range(500):
        flight.wait(10 * MILLISECOND)
        for offset, length in numbers_of(flight, flight.segments()):
            assert offset == base + taken
            assert length <= window
            sizes.append(length)
            taken += length
            window -= length
        window += 10
        flight.ack(4, octets=taken, win=window)
    flight.script.out.clear()
    elapsed = flight.script.now - start
    assert len(sizes) <= elapsed // (100 * MILLISECOND)
    assert min(sizes) >= 100
    assert taken >= 4000


# --------------------------------------------------------------------------------------- silly windows: the receiver

BUFFER = 4000


def full(make_script: Maker, buffer: int = BUFFER, **changes: object) -> Peer:
    """A peer that has filled the node's buffer; numbers: 1 and 1 + `buffer`."""
    peer = make_script(dataclasses.replace(RENO, receive_buffer=buffer, **changes)).established()
    seq = 1
    while seq <= buffer:
        size = min(1000, buffer + 1 - seq)
        peer.send(ACK, seq=seq, ack=1, data=bytes(size))
        seq += size
    peer.script.advance(SECOND)
    assert peer.flow_ack == peer.edge == seq
    peer.script.out.clear()
    return peer


@pytest.mark.parametrize(("buffer", "enough"), [(4000, 1460), (2000, 1000), (1000, 500), (20_000, 1460)])
def test_receiver_keeps_small_windows_to_itself(make_script: Maker, buffer: int, enough: int) -> None:
    """MUST-39: the program reads octet by octet; the window opens by a segment or half of the buffer, whichever is
    less."""
    peer = full(make_script, buffer)
    for _ in range(enough - 1):
        assert peer.program.receive(1) is not None
    peer.expect_nothing(SECOND)
    peer.program.receive(1)
    peer.expect(ACK, seq=1, ack=1 + buffer, win=enough)


def test_receiver_answers_probes_with_a_shut_window(make_script: Maker) -> None:
    """MUST-39: the answer to a probe does not open it by a little either."""
    peer = full(make_script)
    for _ in range(14):
        peer.program.receive(100)
        peer.send(ACK, seq=1 + BUFFER, ack=1, data=b"p")
        peer.expect(ACK, seq=1, ack=1 + BUFFER, win=0)
    peer.program.receive(100)
    peer.expect(ACK, seq=1, ack=1 + BUFFER, win=1500)


def test_slow_reader(make_script: Maker) -> None:
    """MUST-39, SHLD-14, J-6: a reader of 100 octets at a time, and a peer that uses each window at once: each new edge
    is at least a segment or half of the buffer away, and nothing is lost."""
    peer = full(make_script)
    seq = 1 + BUFFER
    read = 0
    edge = peer.edge
    while read < 40_000:
        read += len(peer.program.receive(100) or b"")
        peer.script.advance(5 * MILLISECOND)
        peer.script.out.clear()
        if peer.edge > edge:
            assert peer.edge - edge >= 1460
            while seq < peer.edge:
                size = min(1460, peer.edge - seq)
                peer.send(ACK, seq=seq, ack=1, data=bytes(size))
                seq += size
            edge = peer.edge
    peer.script.out.clear()


def test_window_stays_shut_for_ever(make_script: Maker) -> None:
    """MAY-8, MUST-37: the program never reads; the peer's probes are answered for a day."""
    peer = full(make_script)
    for _ in range(24):
        peer.send(ACK, seq=1 + BUFFER, ack=1, data=b"p")
        peer.expect(ACK, seq=1, ack=1 + BUFFER, win=0)
        peer.expect_nothing(HOUR)
    assert peer.program.socket.readable


# ----------------------------------------------------------------------------------------------------- window updates


def test_update_when_a_shut_window_opens(make_script: Maker) -> None:
    """RFC 9293 section 3.8.6.2.2: at once, one segment, and no others for further reads that change little."""
    peer = full(make_script)
    peer.program.receive(BUFFER)
    peer.expect(ACK, seq=1, ack=1 + BUFFER, win=BUFFER)
    peer.expect_nothing(HOUR)


def test_few_updates_for_many_reads(make_script: Maker) -> None:
    """RFC 9293 section 3.8.6.2.2: a window that is open needs no news of each read: at most one for each half of the
    buffer, or when it doubles."""
    peer = make_script(dataclasses.replace(RENO, receive_buffer=40_000)).established()
    for index in range(20):
        peer.send(ACK, seq=1 + 1000 * index, ack=1, data=bytes(1000))
    peer.script.advance(SECOND)
    peer.script.out.clear()
    for _ in range(200):
        peer.program.receive(100)
    peer.script.advance(SECOND)
    assert len(peer.script.out) <= 2
    peer.script.out.clear()


def test_update_that_is_lost(make_script: Maker) -> None:
    """MUST-36 from the other side: the peer's probe finds the window open; the octet is taken."""
    peer = full(make_script)
    peer.program.receive(BUFFER)
    peer.script.out.clear()  # lost
    peer.send(ACK, seq=1 + BUFFER, ack=1, data=b"p")
    peer.expect_ack(seq=1, ack=2 + BUFFER)
    assert peer.program.sees() == b"p"


def test_larger_buffer_opens_the_window(make_script: Maker) -> None:
    """RFC 9293 section 3.8.6: the program raises its limit: the peer hears of it by the next acknowledgment."""
    peer = full(make_script)
    peer.program.socket.set_option("receive_limit", 10_000, peer.script.now)
    peer.script.pump()
    peer.script.out.clear()
    peer.send(ACK, seq=1 + BUFFER, ack=1, data=b"p")
    peer.expect_ack(seq=1, ack=peer.flow_ack)
    assert peer.edge >= 10_000


def test_smaller_buffer_takes_nothing_back(make_script: Maker) -> None:
    """SHLD-14: what was offered is taken, though the program lowered its limit."""
    peer = make_script(dataclasses.replace(RENO, receive_buffer=20_000)).established()
    peer.program.socket.set_option("receive_limit", 1000, peer.script.now)
    for index in range(20):
        peer.send(ACK, seq=1 + 1000 * index, ack=1, data=bytes(1000))
    peer.script.advance(SECOND)
    peer.script.out.clear()
    assert peer.flow_ack == 20_001
    assert len(peer.program.sees() or b"") == 20_000
    peer.script.out.clear()


# --------------------------------------------------------------------------------------------------------------- Nagle


def test_nagle_holds_a_small_segment(make_script: Maker) -> None:
    """SHLD-7: while anything is unacknowledged; then all that came together leaves in one."""
    flight = Flight(make_script(RENO))
    for _ in range(5):
        flight.write(0, 20)
    assert numbers_of(flight, flight.segments()) == [(0, 20)]
    flight.peer.expect_nothing(RTT)
    flight.ack(0, octets=20)
    assert numbers_of(flight, flight.segments()) == [(20, 80)]


def test_nagle_and_full_segments(make_script: Maker) -> None:
    """SHLD-7, RFC 9293 appendix A.3: full segments do not wait. The rest of a write waits for the last small segment,
    but not for full ones (Minshall): of two such writes only one rest is out."""
    flight = Flight(make_script(RENO))
    flight.write(3, 20)
    assert numbers_of(flight, flight.segments()) == [(0, SIZE), (SIZE, SIZE), (2 * SIZE, SIZE), (3 * SIZE, 20)]
    flight.write(1, 10)
    assert numbers_of(flight, flight.segments()) == [(3 * SIZE + 20, SIZE)]
    flight.ack(3)
    flight.peer.expect_nothing(RTT)
    flight.ack(3, octets=20)
    assert numbers_of(flight, flight.segments()) == [(4 * SIZE + 20, 10)]


def test_nagle_fills_the_segment(make_script: Maker) -> None:
    """SHLD-7: small writes that make a full segment together leave as that, without waiting."""
    flight = Flight(make_script(RENO))
    flight.write(0, 20)
    assert numbers_of(flight, flight.segments()) == [(0, 20)]
    for _ in range(9):
        flight.write(0, 50)
    flight.peer.expect_nothing()
    flight.write(0, 50)
    assert numbers_of(flight, flight.segments()) == [(20, SIZE)]


def test_nagle_knows_what_is_full_with_timestamps(make_script: Maker) -> None:
    """SHLD-7: the twelve octets of timestamps make a full segment shorter; it is no small one (a defect of PyTCP:
    stop-and-wait on the peer's delayed acknowledgment)."""
    script = make_script(RENO)
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1000) + timestamps(1))
    peer.expect(ACK, seq=1, ack=1)
    program.send(bytes(5 * 988))
    for index in range(5):
        peer.expect(ACK, seq=1 + 988 * index, ack=1, data=988)


def test_nagle_is_switched_off_with_data_waiting(make_script: Maker) -> None:
    """MUST-17: what waited leaves at once."""
    flight = Flight(make_script(RENO))
    flight.write(0, 20)
    flight.write(0, 30)
    assert numbers_of(flight, flight.segments()) == [(0, 20)]
    flight.set("nodelay", True)
    assert numbers_of(flight, flight.segments()) == [(20, 30)]
    flight.write(0, 40)
    assert numbers_of(flight, flight.segments()) == [(50, 40)]


def test_fin_takes_what_nagle_holds(make_script: Maker) -> None:
    """SHLD-7: nothing can be added any more."""
    flight = Flight(make_script(RENO))
    flight.write(0, 20)
    flight.write(0, 30)
    flight.segments()
    flight.program.shutdown()
    flight.peer.expect(FIN | ACK | PSH, seq=21, ack=1, data=30)


def test_one_write_in_pieces(make_script: Maker) -> None:
    """SHLD-27, SHLD-28: many small writes while the window is shut leave as full segments with one push."""
    flight = shut(make_script, waiting=0)
    for _ in range(100):
        flight.write(0, 25)
    flight.ack(4)
    segments = flight.segments()
    assert [len(segment.payload) for segment in segments] == [SIZE] * 5
    assert [bool(segment.flags & PSH) for segment in segments] == [False] * 4 + [True]


# ------------------------------------------------------------------------------------------------------ scaled windows


@pytest.mark.parametrize("shift", [0, 1, 7, 14])
def test_scaled_window_is_kept_to(make_script: Maker, shift: int) -> None:
    """REC-1, J-4: field times 2^shift, to the octet, while the congestion window grows far beyond."""
    fields = [0xFFFF, 1, 3, 0, 2]
    flight = Flight(make_script(RENO), scale=shift, window=0xFFFF << shift)
    flight.set("send_limit", 1 << 23)
    flight.program.send(bytes(2_000_000))
    una, sent = 0, 0
    for turn in range(60):
        window = fields[turn % 5] << shift if turn > 10 else 0xFFFF << shift
        before = sent
        for offset, length in numbers_of(flight, flight.segments()):
            assert offset == sent
            sent += length
        if turn > 10:
            edge = una + (fields[(turn - 1) % 5] << shift)
            assert sent <= max(edge, before)
        if sent == before and turn > 11:
            break
        una = sent
        flight.wait()
        flight.ack(0, octets=una, win=window)
    flight.script.out.clear()
    flight.program.abort()
    flight.script.out.clear()


def test_largest_window(make_script: Maker) -> None:
    """REC-1, 7323-2.3: a field of 65,535 and a shift of 14 are 2^30 octets; so much is never out, and nothing
    stalls."""
    flight = Flight(make_script(RENO), scale=14, window=0xFFFF << 14)
    flight.write(300)
    seen = 0
    while seen < 300:
        sent = flight.left()
        assert sent == list(range(seen, seen + len(sent)))
        assert sent
        seen += len(sent)
        flight.wait()
        flight.ack(seen)
    assert flight.info("snd_wnd") == 0xFFFF << 14


def test_smallest_unit_of_a_scaled_window(make_script: Maker) -> None:
    """REC-1: a shift of 14 cannot say less than 16,384 octets but 0; both work."""
    flight = Flight(make_script(RENO), scale=14, window=1 << 14)
    flight.write(60)
    assert flight.left() == list(range(10))
    flight.wait()
    flight.ack(10, win=(1 << 14) - 1)  # a field of 0
    assert flight.left() == []
    assert flight.until_output() == SECOND
    expect_probe(flight, 10 * SIZE)
    flight.ack(10)
    assert flight.left()[:2] == [10, 11]


@pytest.mark.parametrize("buffer", [65_535, 65_536, 1 << 20, 1 << 30])
def test_own_scaled_window(make_script: Maker, buffer: int) -> None:
    """7323-2.3: the least shift that can say our buffer; what is offered is never more than it."""
    script = make_script(dataclasses.replace(RENO, receive_buffer=buffer))
    peer = script.peer()
    script.connect(peer)
    syn = peer.expect(SYN, seq=0)
    shift = syn.options.window_scale
    assert shift is not None
    assert 0xFFFF << shift >= min(buffer, 0xFFFF << 14)
    assert shift == 0 or 0xFFFF << (shift - 1) < buffer
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460) + window_scale(2))
    peer.expect(ACK, seq=1, ack=1)
    assert peer.edge <= 1 + buffer


# -------------------------------------------------------------------------------------------------------------- buffers


def test_send_buffer_is_a_limit(make_script: Maker) -> None:
    """A program that writes faster than the network takes is held back: `send` tells how much was taken, and the socket
    rings when there is room again."""
    script = make_script(dataclasses.replace(RENO, send_buffer=10_000))
    flight = Flight(script)
    assert flight.program.send(bytes(25_000)) == 10_000
    assert flight.program.send(bytes(25_000)) == 0
    assert flight.left() == list(range(10))
    script.stack.drain_ready()
    flight.ack(10)
    assert flight.left() == list(range(10, 20))
    assert flight.program.socket in script.stack.drain_ready()
    assert flight.program.send(bytes(25_000)) == 5000
    assert flight.left()[0] == 20


def test_send_buffer_at_a_shut_window(make_script: Maker) -> None:
    """The same where the peer is what is slow: memory is bounded, and nothing is taken that cannot be kept."""
    flight = shut(make_script, settings=dataclasses.replace(RENO, send_buffer=6000), waiting=0)
    assert flight.program.send(bytes(9000)) == 6000
    for _ in range(5):
        flight.until_output()
        expect_probe(flight, 4 * SIZE)
        flight.ack(4, win=0)
        assert flight.program.send(bytes(9000)) == 0
    assert not flight.program.socket.writable


def test_receive_buffer_is_a_limit(make_script: Maker) -> None:
    """A peer that sends beyond the window is not given memory for it."""
    peer = full(make_script)
    for index in range(100):
        peer.send(ACK, seq=1 + BUFFER + 1000 * index, ack=1, data=bytes(1000))
    peer.script.advance(SECOND)
    assert peer.flow_ack == 1 + BUFFER
    peer.script.out.clear()
    assert len(peer.program.sees() or b"") == BUFFER
    peer.script.out.clear()
