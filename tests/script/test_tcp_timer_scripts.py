"""Timers of an open connection: retransmission (RFC 6298), R1 and R2 (RFC 9293 section 3.8.3), the user timeout and its
option (RFC 5482), keep-alives (section 3.8.4), delayed acknowledgments (section 3.8.6.3), FIN_WAIT_2."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp
from tests.script.tcp_capture import ACK, FIN, PSH, RST, SYN, mss
from tests.script.tcp_flight import RTT, SIZE, Flight, Model, close_to
from tests.script.tcp_peer import QUIET
from tests.script.tcp_script import DEFAULTS, OURS, THEIRS, Script

Maker = Callable[..., Script]

PLAIN_RENO = dataclasses.replace(DEFAULTS, congestion="newreno")
FINE = dataclasses.replace(PLAIN_RENO, minimum_rto=10 * MILLISECOND)
"""With a minimum that hides nothing of the formula."""
HOUR = 3600 * SECOND


def gaps(flight: Flight, count: int, index: int = 0) -> list[int]:
    """How long the node waits before each of its next `count` retransmissions of segment `index`."""
    found = []
    for _ in range(count):
        found.append(flight.until_output())
        assert flight.left() == [index]
    return found


def seconds(*values: float) -> list[int]:
    return [round(value * SECOND) for value in values]


# ----------------------------------------------------------------------------------------------------- RFC 6298: values


@pytest.mark.parametrize("rtt", [1, 100, 333, 334, 400, 700, 900])
@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
def test_timeout_after_the_first_sample(make_script: Maker, rtt: int, passive: bool) -> None:
    """6298-2.2, 6298-2.4, MUST-18: SRTT = R, RTTVAR = R/2, RTO = R + 4 R/2, and not less than a second."""
    flight = Flight(make_script(PLAIN_RENO), rtt=rtt * MILLISECOND, passive=passive)
    flight.write(1)
    assert flight.left() == [0]
    assert flight.until_output() == max(3 * rtt * MILLISECOND, SECOND)
    assert flight.left() == [0]


ROUND_TRIPS = {
    "constant": [400] * 30,
    "alternating": [400, 500] * 12,
    "falling": [900, 800, 700, 600, 500, 400, 300, 200, 100, 50],
    "rising": [100, 110, 130, 160, 200, 250, 310, 380, 460],
    "one late": [200, 200, 490, 200, 200, 200],
}


@pytest.mark.parametrize("stamped", [False, True], ids=["plain", "timestamps"])
@pytest.mark.parametrize("name", ROUND_TRIPS)
@pytest.mark.parametrize("settings", [PLAIN_RENO, FINE], ids=["min-1s", "min-10ms"])
def test_timeout_follows_the_formula(make_script: Maker, name: str, stamped: bool, settings: TcpSettings) -> None:
    """6298-2.3, MUST-18: beta 1/4 with the old SRTT first, then alpha 1/8; a segment per round trip, then a loss."""
    model = Model(minimum=settings.minimum_rto)
    times = [value * MILLISECOND for value in ROUND_TRIPS[name]]
    flight = Flight(make_script(settings), rtt=times[0], stamped=stamped)
    model.sample(times[0])
    for index, rtt in enumerate(times[1:]):
        assert rtt < model.rto
        flight.write(1)
        assert flight.left() == [index]
        flight.wait(rtt)
        flight.ack(index + 1)
        model.sample(rtt)
    flight.write(1)
    assert flight.left() == [len(times) - 1]
    assert close_to(flight.until_output(), model.rto)
    flight.left()


def test_granularity_of_the_clock(make_script: Maker) -> None:
    """6298-2.3: RTTVAR has gone to nothing; the timeout is SRTT + G, and never SRTT itself."""
    flight = Flight(make_script(dataclasses.replace(FINE, clock_granularity=5 * MILLISECOND)), rtt=RTT)
    for index in range(120):
        flight.write(1)
        assert flight.left() == [index]
        flight.wait(RTT)
        flight.ack(index + 1)
    flight.write(1)
    flight.left()
    assert close_to(flight.until_output(), RTT + 5 * MILLISECOND, 10 * 1000)
    flight.left()


@pytest.mark.parametrize("minimum", [200, 1000, 2500])
def test_minimum(make_script: Maker, minimum: int) -> None:
    """6298-2.4: the timeout is rounded up to the minimum, of one second where nothing else is said."""
    flight = Flight(make_script(dataclasses.replace(PLAIN_RENO, minimum_rto=minimum * MILLISECOND)), rtt=MILLISECOND)
    flight.write(1)
    flight.left()
    assert flight.until_output() == minimum * MILLISECOND
    flight.left()
    assert DEFAULTS.minimum_rto == SECOND


def test_back_off_and_its_maximum(make_script: Maker) -> None:
    """6298-2.5, 6298-5.5, 6298-5.6, MUST-19: doubled by each expiry, up to the maximum, which is a minute at least."""
    assert DEFAULTS.maximum_rto >= 60 * SECOND
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    assert flight.left() == [0]
    assert gaps(flight, 10) == seconds(1, 2, 4, 8, 16, 32, 60, 60, 60, 60)


def test_back_off_begins_with_what_was_measured(make_script: Maker) -> None:
    """6298-5.5: the doubled value is that of the formula."""
    flight = Flight(make_script(PLAIN_RENO), rtt=700 * MILLISECOND)
    flight.write(1)
    assert flight.left() == [0]
    assert gaps(flight, 4) == seconds(2.1, 4.2, 8.4, 16.8)


def test_maximum_of_the_settings(make_script: Maker) -> None:
    """6298-2.5."""
    flight = Flight(make_script(dataclasses.replace(PLAIN_RENO, maximum_rto=90 * SECOND)))
    flight.write(1)
    assert flight.left() == [0]
    assert gaps(flight, 8)[-3:] == seconds(32, 64, 90)


# ----------------------------------------------------------------------------------------------------- RFC 6298: Karn


def test_ambiguous_acknowledgment_is_no_sample(make_script: Maker) -> None:
    """6298-3, 6298-5.5, MUST-18: without timestamps the acknowledgment of what was sent twice measures nothing, and the
    doubled timeout stays until a valid sample."""
    flight = Flight(make_script(PLAIN_RENO))
    model = Model()
    model.sample(RTT)
    flight.write(1)
    flight.left()
    assert gaps(flight, 2) == seconds(1, 2)
    flight.wait(700 * MILLISECOND)
    flight.ack(1)
    assert flight.info("srtt") == RTT
    flight.write(1)
    assert flight.left() == [1]
    assert gaps(flight, 1, index=1) == seconds(4)
    flight.ack(2)
    flight.write(1)
    assert flight.left() == [2]
    flight.wait(RTT)
    flight.ack(3)
    model.sample(RTT)
    flight.write(1)
    assert flight.left() == [3]
    assert close_to(flight.until_output(), model.rto)
    flight.left()


def test_ambiguous_acknowledgment_of_more(make_script: Maker) -> None:
    """6298-3: an acknowledgment that covers a segment sent twice, and one sent once behind it, which waited for the
    first one's retransmission, is no measure of the path."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(2)
    flight.left()
    assert gaps(flight, 1) == seconds(1)
    flight.wait(RTT)
    flight.ack(2)
    assert flight.info("srtt") == RTT
    flight.write(1)
    assert flight.left() == [2]
    assert flight.until_output() == 2 * SECOND
    flight.left()


def test_timestamps_make_it_unambiguous(make_script: Maker) -> None:
    """6298-3, 7323-4.1: the acknowledgment echoes the retransmission's TSval: a valid sample, which ends the
    back-off."""
    flight = Flight(make_script(PLAIN_RENO), stamped=True)
    model = Model()
    model.sample(RTT)
    flight.write(1)
    flight.left()
    assert gaps(flight, 3) == seconds(1, 2, 4)
    flight.wait(600 * MILLISECOND)
    flight.ack(1)
    model.sample(600 * MILLISECOND)
    flight.write(1)
    assert flight.left() == [1]
    assert close_to(flight.until_output(), model.rto, MILLISECOND)
    flight.left()


def test_karn_holds_for_samples_from_sack(make_script: Maker) -> None:
    """6298-3-sack: a segment that was sent twice is SACKed just after it left again: no round trip of a millisecond."""
    flight = Flight(make_script(dataclasses.replace(FINE, rack=False)), sack=True)
    flight.write(6)
    flight.left()
    flight.wait()
    for last in (3, 4, 5):
        flight.ack(0, (2, last))
    assert flight.left() == [0]
    before = (flight.info("srtt"), flight.info("rttvar"))
    flight.wait(MILLISECOND)
    flight.ack(0, 0, (2, 5))  # nonsense of a peer that SACKs what it should acknowledge
    assert (flight.info("srtt"), flight.info("rttvar")) == before
    flight.segments()


def test_a_sample_each_round_trip(make_script: Maker) -> None:
    """6298-4: the path gets slower by 5 % each round trip, up to five seconds. A sender that measures once per round
    trip keeps up: nothing is ever sent twice."""
    flight = Flight(make_script(FINE))
    rtt = RTT
    acknowledged = 0
    while rtt < 5 * SECOND:
        flight.write(2)
        sent = flight.left()
        assert sent == [acknowledged, acknowledged + 1]
        flight.wait(rtt)
        assert flight.left() == []
        flight.ack(acknowledged + 1)
        flight.ack(acknowledged + 2)
        acknowledged += 2
        rtt = rtt * 21 // 20
    flight.write(1)
    assert flight.left() == [acknowledged]
    assert 5 * SECOND < flight.until_output() < 12 * SECOND
    flight.left()


@pytest.mark.parametrize("stamped", [False, True], ids=["plain", "timestamps"])
def test_a_slow_peer_gets_nothing_twice(make_script: Maker, stamped: bool) -> None:
    """9293-3.8.1: no retransmission before the timeout: acknowledgments that come just in time."""
    flight = Flight(make_script(PLAIN_RENO), stamped=stamped)
    model = Model()
    model.sample(RTT)
    for index in range(10):
        flight.write(1)
        assert flight.left() == [index]
        rtt = int(model.rto) - 2 * MILLISECOND
        flight.wait(rtt)
        assert flight.left() == []
        flight.ack(index + 1)
        model.sample(rtt)


# ------------------------------------------------------------------------------------------- RFC 6298 section 5: steps


def test_timer_runs_from_the_first_segment(make_script: Maker) -> None:
    """6298-5.1: a segment that is sent while the timer runs does not move it."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    flight.wait(600 * MILLISECOND)
    flight.write(1)
    assert flight.left() == [0, 1]
    assert flight.until_output() == 400 * MILLISECOND
    assert flight.left() == [0]


def test_timer_stops_when_all_is_acknowledged(make_script: Maker) -> None:
    """6298-5.2: nothing happens any more, and an idle connection has nothing to wake up for."""
    script = make_script(PLAIN_RENO)
    flight = Flight(script)
    flight.write(3)
    assert flight.left() == [0, 1, 2]
    flight.wait()
    flight.ack(3)
    flight.peer.expect_nothing(SECOND)
    assert script.stack.deadline() is None
    flight.peer.expect_nothing(24 * HOUR)


@pytest.mark.parametrize("waited", [1, 300, 999])
def test_timer_is_restarted_by_new_acknowledgments(make_script: Maker, waited: int) -> None:
    """6298-5.3: one whole RTO from then on."""
    flight = Flight(make_script(PLAIN_RENO))
    model = Model()
    model.sample(RTT)
    flight.write(2)
    flight.left()
    flight.wait(waited * MILLISECOND)
    flight.ack(1)
    model.sample(waited * MILLISECOND)
    assert close_to(flight.until_output(), model.rto)
    assert flight.left() == [1]


def test_acknowledgment_of_a_part_restarts_the_timer(make_script: Maker) -> None:
    """6298-5.3: SND.UNA moved, even if within a segment."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    flight.left()
    flight.wait(900 * MILLISECOND)
    flight.ack(0, octets=200)
    assert flight.until_output() >= SECOND
    assert [len(segment.payload) for segment in flight.segments()] == [300]


@pytest.mark.parametrize("what", ["duplicate", "window", "old", "data"])
def test_timer_is_not_restarted_by_others(make_script: Maker, what: str) -> None:
    """6298-5.3: only an acknowledgment of new data does."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    flight.wait()
    flight.ack(1)
    flight.write(2)
    assert flight.left() == [0, 1, 2]
    for _ in range(2):
        flight.wait(300 * MILLISECOND)
        if what == "data":
            flight.peer.send(ACK, seq=1, ack=1 + SIZE, data=b"x")
            flight.script.out.clear()
        else:
            flight.ack(0 if what == "old" else 1, win=50_000 if what == "window" else None)
    flight.script.out.clear()
    assert flight.until_output() in range(300 * MILLISECOND, 400 * MILLISECOND + 1)
    segments = flight.segments()
    assert [flight.peer.relative(segment) for segment in segments if segment.payload] in ([1 + SIZE], [])
    if what != "data":
        assert segments[0].payload


def test_expiry_sends_the_earliest_segment(make_script: Maker) -> None:
    """6298-5.4, 6298-5.6, 5681-3.1f: the first one alone, however many are out; then the timer runs anew."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(10)
    assert flight.left() == list(range(10))
    assert gaps(flight, 3) == seconds(1, 2, 4)


def test_back_off_after_progress(make_script: Maker) -> None:
    """6298-5.3, 6298-5.5: progress without a sample restarts the timer with the doubled value."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(3)
    flight.left()
    assert gaps(flight, 2) == seconds(1, 2)
    flight.wait()
    flight.ack(1)
    assert flight.left() == [1, 2]  # slow start
    assert flight.until_output() == 4 * SECOND
    assert flight.left() == [1]


@pytest.mark.parametrize("lost", [1, 2, 4])
@pytest.mark.parametrize("passive", [False, True], ids=["active", "passive"])
def test_timeout_after_a_lost_syn(make_script: Maker, lost: int, passive: bool) -> None:
    """6298-5.7: three seconds when the data begins, however far the SYN has backed off."""
    flight = Flight(make_script(PLAIN_RENO), lost_syns=lost, passive=passive, rtt=10 * MILLISECOND)
    flight.write(1)
    assert flight.left() == [0]
    assert gaps(flight, 3) == seconds(3, 6, 12)


def test_timeout_after_a_lost_syn_is_measured_anew(make_script: Maker) -> None:
    """6298-5.7, 6298-3: the first sample is that of the data: the handshake gave none."""
    flight = Flight(make_script(PLAIN_RENO), lost_syns=1, rtt=10 * MILLISECOND)
    flight.write(1)
    flight.left()
    flight.wait(500 * MILLISECOND)
    flight.ack(1)
    flight.write(1)
    flight.left()
    assert flight.until_output() == 1500 * MILLISECOND
    flight.left()


def test_fin_is_timed_like_data(make_script: Maker) -> None:
    """6298-5.1, 6298-5.2: the FIN is the last octet; its acknowledgment stops the timer."""
    script = make_script(PLAIN_RENO)
    flight = Flight(script)
    flight.program.shutdown()
    peer = flight.peer
    peer.expect(FIN | ACK, seq=1, ack=1)
    for wait in seconds(1, 2, 4):
        assert flight.until_output() == wait
        peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2)
    peer.expect_nothing(HOUR)


# ------------------------------------------------------------------------------------------------------- R1, R2, SYN


def test_syn_and_its_r2(script: Script) -> None:
    """MUST-22, MUST-23, 6298-5.5: doubled, for three minutes at least; then the program hears of it, once."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    start = script.now
    waits = []
    while program.state is State.SYN_SENT:
        waits.append(script.advance_to_output(600 * SECOND))
        if not script.out:
            break
        peer.expect(SYN, seq=0)
        waited = script.now - start
    assert waits[:7] == seconds(1, 2, 4, 8, 16, 32, 60)
    assert waited >= 180 * SECOND
    assert program.sees() == errno.ETIMEDOUT
    assert program.state is State.CLOSED
    peer.expect_nothing(HOUR)


def unanswered(flight: Flight) -> int:
    """How long an unanswered segment is sent again, until the connection ends."""
    flight.write(1)
    flight.left()
    start = flight.script.now
    while flight.peer.state is State.ESTABLISHED:
        before = flight.script.now
        flight.until_output(200 * SECOND)
        assert flight.left() in ([flight.written // flight.size - 1], [])
        assert flight.script.now > before
        deadline = flight.script.stack.deadline()
        if deadline is None:
            break
    return flight.ended - start


def test_r2_of_data(make_script: Maker) -> None:
    """MUST-20, SHLD-11: given up after 100 seconds at least, with an error for the program; nothing is left."""
    flight = Flight(make_script(PLAIN_RENO))
    assert 100 * SECOND <= unanswered(flight) <= 1200 * SECOND
    assert DEFAULTS.r2 >= 100 * SECOND
    assert flight.program.sees() == errno.ETIMEDOUT
    flight.peer.expect_nothing(HOUR)
    flight.peer.send(ACK, seq=1, ack=1 + SIZE)
    flight.peer.expect_reset(seq=1 + SIZE)


def test_r1(make_script: Maker) -> None:
    """SHLD-9, SHLD-10, MUST-20: after three retransmissions, not before, the program can hear that there is trouble,
    and is rung for it; the connection lives."""
    script = make_script(PLAIN_RENO)
    flight = Flight(script)
    socket = flight.program.socket
    flight.write(1)
    flight.left()
    script.stack.drain_ready()
    for _ in range(2):
        gaps(flight, 1)
        assert socket.take_error() is None
    assert socket not in script.stack.drain_ready()
    gaps(flight, 1)
    assert socket in script.stack.drain_ready()
    error = socket.take_error()
    assert error is not None and error.errno == errno.ETIMEDOUT
    assert socket.take_error() is None
    assert flight.program.sees() is None
    flight.ack(1)
    flight.write(1)
    assert flight.left() == [1]


def test_r1_is_forgotten_when_the_peer_answers(make_script: Maker) -> None:
    """SHLD-9: what was never asked for is no news any more after progress; the next trouble is told again."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    flight.left()
    gaps(flight, 3)
    flight.ack(1)
    assert flight.program.socket.take_error() is None
    flight.write(1)
    flight.left()
    gaps(flight, 3, index=1)
    assert flight.program.socket.take_error() is not None


def test_r1_of_the_settings(make_script: Maker) -> None:
    """SHLD-10: a later R1."""
    flight = Flight(make_script(dataclasses.replace(PLAIN_RENO, r1=5)))
    flight.write(1)
    flight.left()
    gaps(flight, 4)
    assert flight.program.socket.take_error() is None
    gaps(flight, 1)
    assert flight.program.socket.take_error() is not None


@pytest.mark.parametrize("timeout", [5, 30, 300, 2000])
def test_user_timeout(make_script: Maker, timeout: int) -> None:
    """MUST-21, RFC 9293 section 3.10.8: the program sets R2 for its connection, shorter or longer than the default; the
    connection ends then, not a back-off later."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.set("user_timeout", timeout * SECOND)
    assert unanswered(flight) == timeout * SECOND
    assert flight.program.sees() == errno.ETIMEDOUT


def test_user_timeout_set_while_data_waits(make_script: Maker) -> None:
    """MUST-21: for data that was sent already."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.write(1)
    flight.left()
    gaps(flight, 5)
    flight.set("user_timeout", 40 * SECOND)
    flight.wait(40 * SECOND - 31 * SECOND + MILLISECOND)
    flight.segments()
    assert flight.peer.state is State.CLOSED
    assert flight.program.sees() == errno.ETIMEDOUT


def test_user_timeout_counts_from_the_last_progress(make_script: Maker) -> None:
    """MUST-21: a peer that takes a segment every few seconds is alive, however long all of it lasts."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.set("user_timeout", 10 * SECOND)
    for index in range(20):
        flight.write(1)
        flight.wait(3500 * MILLISECOND)
        flight.segments()
        flight.ack(index + 1)
    assert flight.peer.state is State.ESTABLISHED


def test_reason_of_a_timeout(make_script: Maker) -> None:
    """MUST-56, SHLD-25: what the network said before a connection is given up says why, although R1 passed later."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.set("user_timeout", 100 * SECOND)
    flight.write(1)
    flight.left()
    flight.peer.icmp(icmp.UNREACHABLE, 1, seq=1)
    unanswered_since = flight.script.now
    while flight.peer.state is State.ESTABLISHED and flight.script.now - unanswered_since < 400 * SECOND:
        flight.until_output(200 * SECOND)
        flight.segments()
    assert flight.program.sees() == errno.EHOSTUNREACH


# --------------------------------------------------------------------------------------------------------- RFC 5482


def uto(value: int, *, minutes: bool = False) -> bytes:
    return bytes((28, 4)) + (value | (0x8000 if minutes else 0)).to_bytes(2, "big")


def negotiated(make_script: Maker, own: int | None, peers: bytes, *, exchange: bool = True) -> Flight:
    """A connection whose program has this user timeout (s), and whose peer says that in a segment with data."""
    flight = Flight(make_script(PLAIN_RENO))
    if own is not None:
        flight.set("user_timeout", own * SECOND)
    flight.set("exchange_user_timeout", exchange)
    flight.peer.send(ACK | PSH, seq=1, ack=1, data=b"x", options=peers)
    flight.peer.expect_ack(seq=1, ack=2)
    return flight


@pytest.mark.parametrize(
    ("own", "peers", "expected"),
    [
        pytest.param(200, uto(300), 300, id="longer"),
        pytest.param(200, uto(150), 200, id="shorter"),
        pytest.param(200, uto(5, minutes=True), 300, id="minutes"),
        pytest.param(10, uto(20), 100, id="lower limit"),
        pytest.param(200, uto(0x7FFF, minutes=True), 3600, id="upper limit"),
    ],
)
def test_user_timeout_of_the_peer(make_script: Maker, own: int, peers: bytes, expected: int) -> None:
    """MUST-21, RFC 5482 section 3.1: min(U_LIMIT, max(ADV_UTO, REMOTE_UTO, L_LIMIT))."""
    flight = negotiated(make_script, own, peers)
    flight.write(1)
    assert len(flight.segments()) == 1
    start = flight.script.now
    while flight.script.stack.deadline() is not None and flight.script.now - start < 5000 * SECOND:
        flight.until_output()
        flight.segments()
    assert expected * SECOND <= flight.ended - start <= expected * SECOND + 60 * SECOND


def test_user_timeout_of_the_peer_is_not_heeded_unasked(make_script: Maker) -> None:
    """RFC 5482 section 3.1 (ENABLED): off by default: neither sent nor heeded."""
    flight = negotiated(make_script, 50, uto(3000), exchange=False)
    flight.write(1)
    assert flight.segments()[0].options.user_timeout is None
    start = flight.script.now
    while flight.script.stack.deadline() is not None:
        flight.until_output()
        flight.segments()
    assert flight.ended - start <= 110 * SECOND


def test_user_timeout_of_zero_is_no_user_timeout(make_script: Maker) -> None:
    """RFC 5482 section 3.3: zero is reserved, and ignored: it does not raise a short timeout to the lower limit."""
    flight = negotiated(make_script, 20, uto(0))
    flight.write(1)
    start = flight.script.now
    while flight.script.stack.deadline() is not None:
        flight.until_output()
        flight.segments()
    assert flight.ended - start < 100 * SECOND


@pytest.mark.parametrize("seconds_", [1, 90, 32_767, 100_000])
def test_user_timeout_is_told(make_script: Maker, seconds_: int) -> None:
    """RFC 5482 section 3.2: in the SYN, in seconds, or minutes where those do not fit."""
    script = make_script(PLAIN_RENO)
    peer = script.peer()
    program = script.open()
    program.socket.set_option("user_timeout", seconds_ * SECOND, script.now)
    program.socket.set_option("exchange_user_timeout", True, script.now)
    program.socket.bind(peer.key[0], peer.key[1], script.now)
    program.connect(peer.key[2], peer.key[3])
    told = peer.expect(SYN, seq=0).options.user_timeout
    assert told is not None and (told == seconds_ if seconds_ < 32_768 else abs(told - seconds_) <= 60)
    program.abort()


def test_user_timeout_is_told_in_the_answer(make_script: Maker) -> None:
    """RFC 5482 section 3.2: in the SYN-ACK as well, whether or not the peer's SYN had it."""
    script = make_script(PLAIN_RENO)
    peer = script.peer()
    listener = script.listen()
    listener.socket.set_option("user_timeout", 333 * SECOND, script.now)
    listener.socket.set_option("exchange_user_timeout", True, script.now)
    peer.send(SYN, seq=0, options=mss(1460))
    assert peer.expect(SYN | ACK, seq=0, ack=1).options.user_timeout == 333


# --------------------------------------------------------------------------------------------------------- keep-alive


def keeping_alive(make_script: Maker, *, idle: int = 10, interval: int = 3, probes: int = 4) -> Flight:
    """A connection with keep-alives: set before the switch is thrown."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.set("keepalive_idle", idle * SECOND)
    flight.set("keepalive_interval", interval * SECOND)
    flight.set("keepalive_probes", probes)
    flight.set("keepalive", True)
    return flight


def expect_probe(flight: Flight, seq: int = 0, ack: int = 1) -> None:
    """SHLD-12: the number before SND.NXT, no data."""
    flight.peer.expect(ACK, seq=seq, ack=ack)


def test_keep_alive_is_off(make_script: Maker) -> None:
    """MUST-25, MAY-5: a day of silence, not a segment."""
    flight = Flight(make_script(PLAIN_RENO))
    assert not flight.program.socket.options.keepalive
    flight.peer.expect_nothing(24 * HOUR)


def test_keep_alive_by_default(make_script: Maker) -> None:
    """MUST-24, MUST-28: switched on for one connection: not before two hours."""
    script = make_script(PLAIN_RENO)
    flight = Flight(script)
    other = script.peer(port=5001, local_port=81, irs=500)
    script.connect(other)
    other.expect(SYN, seq=0)
    other.send(SYN | ACK, seq=0, ack=1)
    other.expect(ACK, seq=1, ack=1)
    flight.set("keepalive", True)
    assert flight.until_output(24 * HOUR) >= 2 * HOUR
    expect_probe(flight)


def test_keep_alive_probe(make_script: Maker) -> None:
    """MUST-27, SHLD-12, MAY-5: after the interval that was set, SND.NXT - 1 without data; an answer, and the same time
    passes again."""
    flight = keeping_alive(make_script)
    for _ in range(5):
        assert flight.until_output() == 10 * SECOND
        expect_probe(flight)
        flight.wait()
        flight.ack(0)
    assert flight.peer.state is State.ESTABLISHED


def test_keep_alive_of_the_settings(make_script: Maker) -> None:
    """MUST-27: for all sockets of a node; MUST-24: and off again for one."""
    flight = Flight(make_script(dataclasses.replace(PLAIN_RENO, keepalive_idle=60 * SECOND)))
    flight.set("keepalive", True)
    assert flight.until_output() == 60 * SECOND
    expect_probe(flight)
    flight.ack(0)
    flight.set("keepalive", False)
    flight.peer.expect_nothing(24 * HOUR)


def test_keep_alive_interval_is_changed_later(make_script: Maker) -> None:
    """MUST-27: programs throw the switch first and set the time then."""
    flight = Flight(make_script(PLAIN_RENO))
    flight.set("keepalive", True)
    flight.set("keepalive_idle", 10 * SECOND)
    assert flight.until_output(24 * HOUR) == 10 * SECOND
    expect_probe(flight)


def test_keep_alive_of_an_accepted_connection(make_script: Maker) -> None:
    """MUST-24: set on the listener, in force on what it accepts."""
    script = make_script(PLAIN_RENO)
    listener = script.listen()
    listener.socket.set_option("keepalive", True, script.now)
    listener.socket.set_option("keepalive_idle", 10 * SECOND, script.now)
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1)
    assert script.advance_to_output(HOUR) == 10 * SECOND
    peer.expect(ACK, seq=0, ack=1)


@pytest.mark.parametrize("what", ["data", "ack", "keep-alive answer"])
def test_keep_alive_waits_for_silence(make_script: Maker, what: str) -> None:
    """MUST-26: whatever arrives puts it off by the whole time."""
    flight = keeping_alive(make_script)
    seq = 1
    for _ in range(6):
        flight.wait(9 * SECOND)
        if what == "data":
            flight.peer.send(ACK, seq=seq, ack=1, data=b"x")
            seq += 1
            flight.peer.expect_ack(seq=1, ack=seq)
        else:
            flight.ack(0)
        flight.peer.expect_nothing()
    assert flight.until_output() in range(9 * SECOND, 10 * SECOND + 1)
    expect_probe(flight, ack=seq)


def test_keep_alive_waits_for_what_is_outstanding(make_script: Maker) -> None:
    """MUST-26: unacknowledged data has the retransmission timer; no probe among its retransmissions."""
    flight = keeping_alive(make_script, idle=5, interval=1, probes=1)
    flight.write(1)
    assert flight.left() == [0]
    assert gaps(flight, 6) == seconds(1, 2, 4, 8, 16, 32)


def test_keep_alive_that_is_lost(make_script: Maker) -> None:
    """MUST-29: a lost probe, or all but one of them, do not end the connection."""
    flight = keeping_alive(make_script)
    assert flight.until_output() == 10 * SECOND
    expect_probe(flight)
    for _ in range(3):
        assert flight.until_output() == 3 * SECOND
        expect_probe(flight)
    flight.wait(2 * SECOND)
    flight.ack(0)
    assert flight.until_output() in range(9 * SECOND, 10 * SECOND + 1)
    expect_probe(flight)
    assert flight.program.sees() is None


def test_keep_alive_finds_the_dead(make_script: Maker) -> None:
    """MAY-5, MUST-29: as many probes as were set without an answer: the program hears of it, the peer by a reset."""
    flight = keeping_alive(make_script)
    assert flight.until_output() == 10 * SECOND
    expect_probe(flight)
    for _ in range(3):
        assert flight.until_output() == 3 * SECOND
        expect_probe(flight)
    assert flight.until_output() == 3 * SECOND
    flight.peer.expect(RST | ACK, seq=1, ack=1)
    assert flight.program.sees() == errno.ETIMEDOUT
    flight.peer.expect_nothing(HOUR)


def test_keep_alive_finds_a_peer_that_forgot(make_script: Maker) -> None:
    """RFC 1122 section 4.2.3.6: a peer that was restarted answers with a reset."""
    flight = keeping_alive(make_script)
    flight.until_output()
    expect_probe(flight)
    flight.peer.send(RST, seq=1)
    assert flight.program.sees() == errno.ECONNRESET


@pytest.mark.parametrize("closer", ["peer", "program"])
def test_keep_alive_of_half_a_connection(make_script: Maker, closer: str) -> None:
    """MAY-5: in CLOSE_WAIT and in FIN_WAIT_2 the program still waits for somebody who may be gone."""
    flight = keeping_alive(make_script)
    if closer == "peer":
        flight.peer.send(FIN | ACK, seq=1, ack=1)
        flight.peer.expect_ack(seq=1, ack=2)
    else:
        flight.program.shutdown()
        flight.peer.expect(FIN | ACK, seq=1, ack=1)
        flight.peer.send(ACK, seq=1, ack=2)
    elapsed = flight.until_output(HOUR)
    assert elapsed in range(9 * SECOND, 11 * SECOND)
    flight.script.out.clear()


def test_keep_alive_after_data(make_script: Maker) -> None:
    """SHLD-12: the probe's number is the last one that the peer has acknowledged: it answers, and takes nothing."""
    flight = keeping_alive(make_script)
    flight.write(2)
    assert flight.left() == [0, 1]
    flight.wait()
    flight.ack(2)
    assert flight.until_output() == 10 * SECOND
    expect_probe(flight, seq=2 * SIZE)


# ------------------------------------------------------------------------------------------- delayed acknowledgments

PATIENT = dataclasses.replace(PLAIN_RENO, quick_acks=0)


@pytest.mark.parametrize("delay", [0, 10, 40, 200, 500, 5000])
def test_delay_of_an_acknowledgment(make_script: Maker, delay: int) -> None:
    """MUST-40, SHLD-18: as long as the settings say, and less than half a second, whatever they say."""
    peer = make_script(dataclasses.replace(PATIENT, delayed_ack=delay * MILLISECOND)).established()
    peer.send(ACK | PSH, seq=1, ack=1, data=THEIRS)
    waited = peer.script.advance_to_output(10 * SECOND)
    assert waited == delay * MILLISECOND if delay < 500 else waited <= 500 * MILLISECOND
    peer.expect(ACK, seq=1, ack=101)
    peer.expect_nothing(HOUR)


def test_delay_counts_from_the_first_segment(make_script: Maker) -> None:
    """MUST-40: small segments that follow do not push the acknowledgment on."""
    peer = make_script(dataclasses.replace(PATIENT, delayed_ack=100 * MILLISECOND)).established()
    peer.send(ACK | PSH, seq=1, ack=1, data=THEIRS[:10])
    peer.script.advance(60 * MILLISECOND)
    peer.send(ACK | PSH, seq=11, ack=1, data=THEIRS[10:20])
    peer.expect_nothing()
    assert peer.script.advance_to_output(SECOND) == 40 * MILLISECOND
    peer.expect(ACK, seq=1, ack=21)


def test_every_second_full_segment_at_once(make_script: Maker) -> None:
    """SHLD-19: exactly the second, fourth ... of full segments; the odd one waits."""
    peer = make_script(PATIENT).established()
    for index in range(7):
        peer.send(ACK, seq=1 + 1460 * index, ack=1, data=bytes(1460))
        if index == 0:
            peer.script.out.clear()  # how long a full segment of this peer is, is not known yet
        elif peer.script.out:
            peer.expect(ACK, seq=1, ack=1 + 1460 * (index + 1))
    assert peer.script.advance_to_output(500 * MILLISECOND) in (0, 40 * MILLISECOND)
    peer.script.out.clear()
    acknowledged = [
        event for _, event in peer.script.tracer.events if type(event).__name__ == "SegmentSent" and event.length == 0
    ]
    assert 4 <= len(acknowledged) - 2 <= 7


@pytest.mark.parametrize("quick", [0, 4, 16])
def test_quick_phase(make_script: Maker, quick: int) -> None:
    """SHLD-18: the first segments of a connection may be acknowledged at once, so many; then there is a delay."""
    peer = make_script(dataclasses.replace(PLAIN_RENO, quick_acks=quick)).established()
    for index in range(quick):
        peer.send(ACK | PSH, seq=1 + index, ack=1, data=b"x")
        peer.expect(ACK, seq=1, ack=2 + index)
    peer.send(ACK | PSH, seq=1 + quick, ack=1, data=b"x")
    peer.expect_nothing()
    assert peer.script.advance_to_output(SECOND) == DEFAULTS.delayed_ack
    peer.expect(ACK, seq=1, ack=2 + quick)


def test_no_acknowledgment_of_its_own_for_an_answer(make_script: Maker) -> None:
    """SHLD-18: request and answer within the delay: the answer carries the acknowledgment."""
    peer = make_script(PATIENT).established()
    seq = 1
    for _ in range(5):
        peer.send(ACK | PSH, seq=seq, ack=seq, data=THEIRS)
        peer.script.advance(20 * MILLISECOND)
        peer.program.receive()
        peer.program.send(OURS)
        peer.expect(ACK, seq=seq, ack=seq + 100, data=OURS)
        seq += 100
    peer.send(ACK, seq=seq, ack=seq)
    peer.expect_nothing(QUIET)


# -------------------------------------------------------------------------------------------------------- FIN_WAIT_2


@pytest.mark.parametrize("seconds_", [1, 60, 300])
def test_fin_wait_2_of_an_orphan(make_script: Maker, seconds_: int) -> None:
    """The peer acknowledged our FIN and never sends its own; the program is gone. After the time of the settings it is
    forgotten, exactly then, and what comes after is reset."""
    script = make_script(dataclasses.replace(PLAIN_RENO, fin_wait_2=seconds_ * SECOND))
    peer = script.established()
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2)
    peer.expect_nothing(seconds_ * SECOND - 1)
    assert peer.state is State.FIN_WAIT_2
    peer.expect_nothing(1)
    assert peer.state is State.CLOSED
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_reset(seq=2)


# --------------------------------------------------------------------------------------------------------- no spinning


def test_idle_connections_do_not_wake_up(make_script: Maker) -> None:
    """J-8: what has nothing to wait for has no deadline; with keep-alives there are twelve wake-ups a day, and few
    more."""
    script = make_script(PLAIN_RENO)
    flight = Flight(script)
    flight.write(2)
    flight.left()
    flight.wait()
    flight.ack(2)
    flight.peer.send(ACK, seq=1, ack=1 + 2 * SIZE, data=b"x")
    flight.peer.expect_ack(seq=1 + 2 * SIZE, ack=2)
    flight.wait(SECOND)
    assert script.stack.deadline() is None
    flight.set("keepalive", True)
    turns = 0
    end = script.now + 24 * HOUR
    while (deadline := script.stack.deadline()) is not None and deadline < end:
        script.now = max(deadline, script.now)
        script.pump()
        turns += 1
        if script.out:
            script.out.clear()
            flight.peer.send(ACK, seq=2, ack=1 + 2 * SIZE)
    assert 11 <= turns <= 40
