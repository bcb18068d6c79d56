"""The textbook, seen in traces: how the window moves, and what repairs a loss."""

from __future__ import annotations

import errno
from itertools import pairwise

import pytest

from nodes.trace.tcp_events import CongestionStateUpdated, RecoveryMetricsUpdated, SegmentLost
from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp
from tests.sim.tcp_audit import audit
from tests.sim.tcp_network import LinkProfile, Network
from tests.sim.tcp_observe import Observed, data_number, observe
from tests.sim.tcp_scene import MSS, ONE_WAY, RTT, Scene

# ------------------------------------------------------------------------------------------------------ window growth


@pytest.mark.parametrize("congestion", ["tahoe", "reno", "newreno", "cubic"])
def test_slow_start_doubles_each_round_trip(congestion: str) -> None:
    """5681-3.1d, RFC 6928, RFC 3465: ten segments, then twice as many per round trip, although only every second one is
    acknowledged; and all that the window allows leaves at once (a stack that sends one segment per turn fails here)."""
    scene = Scene(600 * MSS, congestion)
    assert scene.flights(5) == [10, 20, 40, 80, 160]
    assert scene.data[0].time == scene.data[9].time


def test_congestion_avoidance_adds_a_segment_each_round_trip() -> None:
    """5681-3.1e: aimd has nothing else."""
    scene = Scene(300 * MSS, "aimd")
    assert scene.flights(5) == [10, 11, 12, 13, 14]
    windows = [scene.window_at((3 * number + 2) * RTT // 2) for number in range(1, 7)]
    assert all(MSS <= after - before <= 2 * MSS for before, after in pairwise(windows))


@pytest.mark.parametrize(("congestion", "beta"), [("aimd", 0.5), ("reno", 0.5), ("newreno", 0.5), ("cubic", 0.7)])
def test_a_loss_takes_the_window_down_by_beta(congestion: str, beta: float) -> None:
    """6675-5a, 9438-4.6: once, to half of it, or 0.7; and no timeout is needed."""
    scene = Scene(400 * MSS, congestion, rule=data_number(80))
    assert scene.counters.timeouts == 0
    begun = scene.of(CongestionStateUpdated, new="recovery")
    assert len(begun) == 1
    before = scene.window_at(begun[0][0] - 1)
    flight = next(f for now, _, f in reversed(scene.transfer.watched) if now < begun[0][0])
    metrics = scene.of(RecoveryMetricsUpdated)
    triggers = ("rack", "sack", "duplicate_acks")
    after = next(event.ssthresh for _, event in metrics if event.trigger in triggers)  # type: ignore[attr-defined]
    assert beta * 0.9 * min(before, flight) <= after <= beta * 1.1 * max(before, flight)
    ended = scene.of(CongestionStateUpdated, old="recovery", new="open")
    assert len(ended) == 1
    assert ended[0][1].trigger == "acknowledged"  # type: ignore[attr-defined]
    assert scene.window_at(ended[0][0] + ONE_WAY) == pytest.approx(after, rel=0.15)


def test_after_a_loss_reno_adds_one_segment_each_round_trip() -> None:
    """5681-3.1e: the flank of the saw tooth."""
    scene = Scene(1000 * MSS, "reno", rule=data_number(80))
    ended = scene.of(CongestionStateUpdated, old="recovery")[0][0]
    windows = [scene.window_at(ended + number * RTT) for number in range(1, 8)]
    assert [after - before for before, after in pairwise(windows)] == [MSS] * 6


def test_cubic_follows_its_curve() -> None:
    """9438-4.2: from 0.7 of the window back to it in K seconds, flat there, then ever faster."""
    scene = Scene(15_000 * MSS, "cubic", rule=data_number(150), send_limit=16 << 20)
    ended = scene.of(CongestionStateUpdated, old="recovery")[0][0]
    assert scene.transfer.connection.congestion is not None
    w_max = scene.transfer.connection.congestion.snapshot()["w_max"] / MSS  # type: ignore[operator]
    start = scene.window_at(ended + ONE_WAY) / MSS
    k = ((w_max - start) / 0.4) ** (1 / 3)

    def curve(t: float) -> float:
        return 0.4 * (t - k) ** 3 + w_max

    seen = 0
    for now, cwnd, _ in scene.transfer.watched:
        t = (now - ended) / SECOND
        if t > 0.2 and scene.network.now - now > SECOND:
            seen += 1
            assert curve(t - 0.2) - 1 <= cwnd / MSS <= curve(t + 0.2) + 1, f"{t:.2f} s after the loss"
    assert seen > 100
    assert scene.window_at(scene.network.now) / MSS > 1.1 * w_max


def test_tahoe_begins_again_with_one_segment() -> None:
    """5681-3.1f in the way of 1988: after a loss one segment, then slow start up to half of the former window."""
    scene = Scene(400 * MSS, "tahoe", rule=data_number(40))
    lost = scene.of(CongestionStateUpdated, new="loss")
    assert len(lost) == 1
    assert lost[0][1].trigger != "timeout"  # type: ignore[attr-defined]
    begin = lost[0][0]
    after = [[s for s in scene.data if begin + n * RTT <= s.time < begin + (n + 1) * RTT] for n in range(4)]
    assert len(after[0]) == 1
    assert len(after[1]) in (2, 3)  # recovery ends with the acknowledgment that makes it grow
    assert len(after[2]) in (4, 6)
    assert scene.counters.timeouts == 0


def test_an_idle_connection_begins_with_the_initial_window() -> None:
    """5681-4.1: what is known of the path is old after a pause."""
    scene = Scene(100 * MSS, keep_open=True)
    network, writer = scene.network, scene.transfer.writer

    def more(now: int) -> None:
        writer.size += 100 * MSS
        writer.ready(now)

    network.at(6 * SECOND, 0, more)
    network.run(8 * SECOND)
    assert scene.transfer.reader.received == 200 * MSS
    burst = [segment for segment in observe(network, 0) if 6 * SECOND <= segment.time < 6 * SECOND + RTT // 2]
    assert len(burst) == 10


# -------------------------------------------------------------------------------------------------------- loss repair


@pytest.mark.parametrize("sack", [True, False], ids=["sack", "duplicates"])
@pytest.mark.parametrize("congestion", ["reno", "newreno", "cubic", "bbr"])
def test_a_loss_is_repaired_within_a_round_trip(congestion: str, sack: bool) -> None:
    """5681-3.2a: one round trip for the news, and the missing segment leaves; that one alone."""
    scene = Scene(100 * MSS, congestion, rule=data_number(25), settings=TcpSettings(sack=sack))
    assert scene.done
    lost = next(segment for segment in scene.data if segment.fate == "rule")
    assert [(segment.start, segment.end) for segment in scene.resent] == [(lost.start, lost.end)]
    assert RTT <= scene.resent[0].time - lost.time < 1.5 * RTT
    assert scene.counters.timeouts == 0


def test_what_was_sacked_is_never_sent_again() -> None:
    """6675-5b, and defects 3 and 4 of other stacks: of a window with five holes just the holes are filled, and the
    receiver never takes a SACK block back."""
    holes = (31, 33, 40, 41, 50)
    scene = Scene(120 * MSS, rule=data_number(*holes))
    assert scene.counters.timeouts == 0
    assert [segment.start // MSS + 1 for segment in scene.resent] == list(holes)
    audit(scene.network)
    reported: set[int] = set()
    for segment in scene.segments:
        if segment.source == 1 and segment.sack:
            held = {octet // MSS for start, end in segment.sack for octet in range(start, end, MSS)}
            reported = {number for number in reported if number * MSS >= segment.ack - 1}
            if len(segment.sack) < 3:
                assert reported <= held, "a block that was reported is missing"
            reported |= held


def test_newreno_fills_a_hole_each_round_trip() -> None:
    """6582-3.2b: without SACK a partial acknowledgment shows the next hole."""
    scene = Scene(120 * MSS, rule=data_number(31, 33, 35), settings=TcpSettings(sack=False))
    assert [segment.start // MSS + 1 for segment in scene.resent] == [31, 33, 35]
    assert [round((b.time - a.time) / RTT) for a, b in pairwise(scene.resent)] == [1, 1]
    assert scene.counters.timeouts == 0


def test_a_tail_loss_is_repaired_by_a_probe() -> None:
    """8985-7.2: after two round trips and the longest delayed acknowledgment, not after the retransmission timeout; and
    the loss costs the window its share (7.4)."""
    scene = Scene(20 * MSS, rule=data_number(20), keep_open=True)
    lost = repaired(scene)
    longest = RTT + 50 * MILLISECOND + 2 * RTT + 200 * MILLISECOND  # until the last acknowledgment, and from there on
    assert 2 * RTT <= scene.resent[0].time - lost.time <= longest + 10 * MILLISECOND


def test_a_fin_behind_a_lost_tail_shows_its_loss() -> None:
    """8985-6.2: the FIN is in a SACK block, so a quarter of a round trip behind that the segment before it is lost."""
    scene = Scene(20 * MSS, rule=data_number(20), keep_open=False)
    lost = repaired(scene)
    assert RTT + RTT // 4 <= scene.resent[0].time - lost.time <= RTT + RTT // 2


def repaired(scene: Scene) -> Observed:
    """The segment that was lost, and nothing else, was sent again, and no timer needed for it."""
    assert scene.done
    assert scene.counters.timeouts == 0
    lost = next(segment for segment in scene.data if segment.fate == "rule")
    assert [segment.start for segment in scene.resent] == [lost.start]
    return lost


@pytest.mark.parametrize("keep_open", [True, False], ids=["data", "fin"])
def test_the_loss_of_a_whole_tail_needs_one_probe(keep_open: bool) -> None:
    """8985-7: the probe brings the SACK that shows the rest to be lost."""
    scene = Scene(20 * MSS, rule=data_number(17, 18, 19, 20), keep_open=keep_open)
    assert scene.done
    assert scene.counters.timeouts == 0
    assert sorted({segment.start for segment in scene.resent}) == [1 + number * MSS for number in range(16, 20)]


def test_without_rack_the_timer_repairs_the_tail() -> None:
    """The other side of the same: nothing tells of it but the retransmission timeout (6298-2.4: at least a second)."""
    scene = Scene(20 * MSS, rule=data_number(20), settings=TcpSettings(rack=False))
    assert scene.done
    assert scene.counters.timeouts == 1
    lost = next(segment for segment in scene.data if segment.fate == "rule")
    assert scene.resent[0].time - lost.time >= SECOND


def test_a_lost_retransmission_is_repaired_without_the_timer() -> None:
    """8985-6.2c: its fate shows by what was sent after it."""
    scene = Scene(300 * MSS, rule=data_number(60, 71))
    first = [segment for segment in scene.data if segment.fate == "rule"]
    assert len(first) == 2
    again: set[int] = set()

    def rule(frame: bytes, now: int) -> bool:
        """The segment at the 60th place, and its first retransmission."""
        header = (frame[0] & 15) * 4
        sequence = int.from_bytes(frame[header + 4 : header + 8], "big")
        if len(frame) < 1000 or len(again) > 1:
            return False
        wanted.append(sequence)
        if len(wanted) >= 60 and sequence == wanted[59]:
            again.add(now)
            return True
        return False

    wanted: list[int] = []
    scene = Scene(300 * MSS, rule=rule)
    assert scene.done
    assert len(again) == 2
    assert scene.counters.timeouts == 0
    assert len(scene.resent) == 2


def test_reordering_is_no_loss() -> None:
    """8985-6.2d: once reordering was seen, RACK waits a quarter of a round trip. Three duplicates would retransmit
    hundreds of times here."""
    profile = LinkProfile(delay=ONE_WAY, rate=50_000_000, queue=2_000_000, reordering=0.05, late=20 * MILLISECOND)
    scene = Scene(3000 * MSS, profile=profile)
    assert scene.done
    assert len(scene.resent) <= 3
    assert scene.counters.timeouts == 0
    counted = Scene(3000 * MSS, profile=profile, settings=TcpSettings(rack=False))
    assert len(counted.resent) > 30


# -------------------------------------------------------------------------------------------------------------- timer


def test_timeouts_double_up_to_a_minute() -> None:
    """6298-5.4-6, 6298-2.5: a dead link, and 100 s must pass before the connection is given up (R2)."""

    def cut(network: Network) -> None:
        network.at(SECOND, 0, lambda now: setattr(network.links[0], "up", False))

    scene = Scene(10_000 * MSS, before=cut, until=500 * SECOND, profile=LinkProfile(delay=ONE_WAY, rate=10_000_000))
    times = scene.expirations()
    gaps = [round((after - before) / SECOND) for before, after in pairwise(times)]
    assert gaps[:8] == [2, 4, 8, 16, 32, 60, 60, 60]
    assert not scene.done
    assert scene.transfer.socket.connected


def test_a_connection_survives_an_outage() -> None:
    """9293-3.8.3: shorter than R2, and goes on within a minute of its end."""

    def cut(network: Network) -> None:
        for link in network.links:
            network.at(SECOND, 0, lambda now, link=link: setattr(link, "up", False))  # type: ignore[misc]
            network.at(301 * SECOND, 0, lambda now, link=link: setattr(link, "up", True))  # type: ignore[misc]

    scene = Scene(2000 * MSS, before=cut, until=500 * SECOND, profile=LinkProfile(delay=ONE_WAY, rate=10_000_000))
    assert scene.done
    assert scene.network.now < 365 * SECOND
    audit(scene.network)


def test_a_connection_is_given_up_after_r2() -> None:
    """MUST-20: the program is told, and nothing more is sent."""
    settings = TcpSettings(r2=100 * SECOND)

    def cut(network: Network) -> None:
        network.at(SECOND, 0, lambda now: setattr(network.links[0], "up", False))

    scene = Scene(
        10_000 * MSS,
        before=cut,
        until=400 * SECOND,
        profile=LinkProfile(delay=ONE_WAY, rate=10_000_000),
        settings=settings,
    )
    error = scene.transfer.writer.error
    assert error is not None
    assert error.errno == errno.ETIMEDOUT
    assert scene.data[-1].time < 200 * SECOND


def test_karn() -> None:
    """6298-3: the acknowledgment of a segment that was sent twice says nothing about the round trip."""
    settings = TcpSettings(timestamps=False, sack=False)
    clear = Scene(MSS, settings=settings)
    lossy = Scene(MSS, settings=settings, rule=data_number(1))
    assert lossy.counters.timeouts == 1
    assert lossy.transfer.connection.rtt.srtt == clear.transfer.connection.rtt.srtt
    assert clear.transfer.connection.rtt.srtt == pytest.approx(RTT, rel=0.01)


@pytest.mark.parametrize("timestamps", [True, False], ids=["eifel", "f-rto"])
def test_a_delay_spike_is_undone(timestamps: bool) -> None:
    """RFC 3522, RFC 5682: nothing was lost, so hardly anything is sent again and the window is what it was."""
    profile = LinkProfile(delay=ONE_WAY, rate=10_000_000, queue=100_000_000)

    def freeze(network: Network) -> None:
        """All packets of two seconds wait, and then come: a radio link that lost its base station."""
        link = network.links[0]
        network.at(SECOND, 0, lambda now: setattr(link, "_free_at", 3 * SECOND))

    scene = Scene(2000 * MSS, before=freeze, profile=profile, settings=TcpSettings(timestamps=timestamps))
    assert scene.done
    assert scene.expirations()
    undone = [event.trigger for _, event in scene.of(CongestionStateUpdated) if "spurious" in event.trigger]  # type: ignore[attr-defined]
    assert undone
    assert len(scene.resent) <= 4
    before, after = scene.window_at(SECOND), scene.window_at(4 * SECOND)
    assert after >= before


# ---------------------------------------------------------------------------------------------------------------- ECN


def test_marks_reduce_the_window_and_nothing_is_lost() -> None:
    """RFC 3168 section 6.1.2: the queue stays short, no packet is dropped, and every reduction is told by CWR."""
    profile = LinkProfile(delay=20 * MILLISECOND, rate=10_000_000, queue=250_000, mark_above=30_000)
    scene = Scene(1500 * MSS, "newreno", profile=profile)
    assert scene.done
    fates = scene.network.links[0].fates
    assert fates["marked"] > 0
    assert fates["queue"] == 0
    assert not scene.resent
    assert not scene.of(SegmentLost)
    reductions = len(scene.of(CongestionStateUpdated, new="cwr"))
    assert reductions >= 2
    assert sum(bool(segment.flags & tcp.CWR) for segment in scene.data) in (reductions, reductions - 1)
    assert all(segment.ecn for segment in scene.data)
    assert not any(segment.ecn for segment in scene.segments if segment.source == 1)


def test_marks_reduce_once_per_round_trip() -> None:
    """RFC 3168 section 6.1.2: all marks of one window of data are one sign."""
    profile = LinkProfile(delay=20 * MILLISECOND, rate=10_000_000, queue=250_000, mark_above=30_000)
    scene = Scene(1500 * MSS, "reno", profile=profile)
    times = [now for now, _ in scene.of(CongestionStateUpdated, new="cwr")]
    assert all(after - before >= 40 * MILLISECOND for before, after in pairwise(times))
