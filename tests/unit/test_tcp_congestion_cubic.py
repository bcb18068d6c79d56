"""CUBIC (RFC 9438) against its formulas, and HyStart++ (RFC 9406)."""

from __future__ import annotations

from random import Random

import pytest

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings
from nodes.transport.tcp.congestion.cubic import Cubic
from nodes.transport.tcp.congestion.hystart import HyStart
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.units import MILLISECOND, SECOND
from tests.unit.ack_clock import Clock, Path

MSS = 1000


def make(segments: int) -> Cubic:
    control = Cubic(CongestionSettings(mss=MSS, initial_window=10 * MSS, random=Random(1)), 0)
    control.cwnd = segments * MSS
    return control


def ack(
    now: int, octets: int = MSS, rtt: int = 100 * MILLISECOND, *, recovery: bool = False, limited: bool = True
) -> Ack:
    return Ack(now, octets, octets, 0, 50 * MSS, 50 * MSS, 0, 0, rtt, rtt, rtt, recovery, limited, None)


def rounds(control: Cubic, start: int, rtt: int, count: int) -> list[tuple[float, float]]:
    """Acknowledge a window's segments per round trip, `count` times: (seconds since the first, segments)."""
    curve = []
    for number in range(count):
        window = control.cwnd // MSS
        for index in range(window):
            now = start + number * rtt + index * rtt // window
            control.acknowledged(ack(now, rtt=rtt))
            curve.append(((now - start) / SECOND, control.cwnd / MSS))
    return curve


def w_cubic(t: float, w_max: float, cwnd_epoch: float) -> float:
    """RFC 9438 figures 1 and 2, in segments and seconds."""
    k = ((w_max - cwnd_epoch) / 0.4) ** (1 / 3)
    return float(0.4 * (t - k) ** 3 + w_max)


# --- the curve -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_follows_the_cubic_curve() -> None:
    """9438-4.2: concave to w_max, then convex, within 1 % of the formula at t + RTT over 18 s."""
    control = make(1000)
    control.congestion(1000 * MSS, 0)
    control.recovered(0)
    assert control.cwnd == 700 * MSS
    curve = rounds(control, SECOND, 100 * MILLISECOND, 180)
    assert all(abs(segments / w_cubic(t, 1000, 700) - 1) < 0.01 for t, segments in curve if t > 0.5)
    k = (300 / 0.4) ** (1 / 3)
    assert control.snapshot()["k"] == pytest.approx(k)
    at_k = next(segments for t, segments in curve if t >= k)
    assert at_k == pytest.approx(1000, rel=0.005)


def test_no_faster_than_half_a_window_per_round() -> None:
    """Section 4.2: the target is at most 1.5 cwnd."""
    control = make(100)
    control.congestion(100 * MSS, 0)
    control.acknowledged(ack(SECOND))
    before = control.cwnd
    late = SECOND + 3600 * SECOND
    for _ in range(before // MSS):
        control.acknowledged(ack(late))
    assert 1.4 * before < control.cwnd < 1.5**1.3 * before


def test_is_never_slower_than_reno() -> None:
    """9438-4.3: with a short round trip and a small window, W_est rules: 0.53 segments per round up to the old window,
    then one."""
    control = make(40)
    control.congestion(40 * MSS, 0)
    start = control.cwnd / MSS
    curve = rounds(control, SECOND, 5 * MILLISECOND, 20)
    alpha = 3 * 0.3 / 1.7
    assert curve[-1][1] == pytest.approx(start + 20 * alpha, rel=0.02)
    rounds(control, SECOND + 100 * MILLISECOND, 5 * MILLISECOND, 10)
    while control.cwnd < 40 * MSS:
        rounds(control, SECOND + 150 * MILLISECOND, 5 * MILLISECOND, 1)
    before = control.cwnd / MSS
    rounds(control, SECOND + 160 * MILLISECOND, 5 * MILLISECOND, 10)
    assert control.cwnd / MSS == pytest.approx(before + 10, rel=0.03)


# --- reductions ----------------------------------------------------------------------------------------------------


def test_goes_down_to_seventy_percent() -> None:
    """9438-4.6."""
    control = make(100)
    control.congestion(100 * MSS, 0)
    assert (control.cwnd, control.ssthresh) == (70 * MSS, 70 * MSS)
    control.congestion(MSS, 0)
    assert control.ssthresh == 2 * MSS


def test_fast_convergence() -> None:
    """9438-4.7: a second loss below w_max sets it to 85 % of the window."""
    control = make(100)
    control.congestion(100 * MSS, 0)
    assert control.snapshot()["w_max"] == 100 * MSS
    control.cwnd = 90 * MSS
    control.congestion(90 * MSS, SECOND)
    assert control.snapshot()["w_max"] == 90 * MSS * 0.85
    control.cwnd = 95 * MSS
    control.congestion(95 * MSS, 2 * SECOND)
    assert control.snapshot()["w_max"] == 95 * MSS


def test_timeout() -> None:
    """9438-4.8: one segment, slow start to 0.7 of what was in flight, then a curve with K = 0 from there."""
    control = make(100)
    control.congestion(150 * MSS, 0)
    control.timeout(100 * MSS, 0, repeated=False)
    control.timeout(MSS, SECOND, repeated=True)
    assert (control.cwnd, control.ssthresh) == (MSS, 70 * MSS)
    now = 2 * SECOND
    while control.cwnd < control.ssthresh:
        control.acknowledged(ack(now))
    assert control.cwnd == 70 * MSS
    curve = rounds(control, now, 100 * MILLISECOND, 60)
    assert control.snapshot()["k"] == 0
    for t, segments in curve:
        if t > 3:
            assert segments == pytest.approx(max(70 + 0.4 * t**3, 70 + 10 * 0.53 * t), rel=0.03)


def test_does_not_move_in_recovery() -> None:
    control = make(100)
    control.congestion(100 * MSS, 0)
    for number in range(200):
        control.acknowledged(ack(number * MILLISECOND, recovery=True))
    assert control.cwnd == 70 * MSS


def test_the_curve_begins_after_recovery() -> None:
    """Section 4.2: t counts from the beginning of congestion avoidance, not from the loss."""
    control = make(1000)
    control.congestion(1000 * MSS, 0)
    for number in range(700):
        control.acknowledged(ack(number * 5 * MILLISECOND, recovery=True))
    control.acknowledged(ack(4 * SECOND))
    assert control.cwnd < 705 * MSS


def test_a_spurious_reduction_leaves_no_trace() -> None:
    """Section 4.9: window, w_max, K, epoch and the estimate of Reno are those from before."""
    control, twin = make(1000), make(1000)
    for each in (control, twin):
        each.congestion(1000 * MSS, 0)
        rounds(each, SECOND, 100 * MILLISECOND, 30)
    before = control.snapshot()
    control.congestion(control.cwnd, 4 * SECOND)
    assert control.snapshot() != before
    control.spurious(4 * SECOND)
    assert control.snapshot() == before
    assert rounds(control, 4 * SECOND, 100 * MILLISECOND, 10) == rounds(twin, 4 * SECOND, 100 * MILLISECOND, 10)


# --- pauses --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_time_does_not_pass_while_the_application_is_the_limit() -> None:
    """Section 5.8: twenty seconds with little to send leave the curve where it was."""
    control, twin = make(1000), make(1000)
    for each in (control, twin):
        each.congestion(1000 * MSS, 0)
        rounds(each, SECOND, 100 * MILLISECOND, 20)
    before = control.cwnd
    for number in range(201):
        control.acknowledged(ack(3 * SECOND + number * 100 * MILLISECOND, limited=False))
    assert control.cwnd == before
    shift = 20 * SECOND
    after = rounds(control, 3 * SECOND + shift, 100 * MILLISECOND, 10)
    assert after[-1][1] == pytest.approx(rounds(twin, 3 * SECOND, 100 * MILLISECOND, 10)[-1][1], rel=0.002)


def test_time_does_not_pass_while_nothing_is_sent() -> None:
    control = make(1000)
    control.congestion(1000 * MSS, 0)
    rounds(control, SECOND, 100 * MILLISECOND, 20)
    before = control.cwnd
    control.sent(MSS, MSS, 60 * SECOND)
    control.acknowledged(ack(60 * SECOND + 100 * MILLISECOND))
    assert control.cwnd < before + 2 * MSS
    control.sent(MSS, 20 * MSS, 90 * SECOND)  # not the first in flight: no pause


def test_idle_restarts_with_slow_start_and_a_new_curve() -> None:
    control = make(1000)
    control.congestion(1000 * MSS, 0)
    rounds(control, SECOND, 100 * MILLISECOND, 10)
    control.idle(60 * SECOND)
    assert control.cwnd == 10 * MSS
    assert control.ssthresh >= 700 * MSS
    now = 61 * SECOND
    while control.cwnd < control.ssthresh:
        control.acknowledged(ack(now))
    control.acknowledged(ack(now))
    assert control.cwnd < control.ssthresh + 2 * MSS


# --- HyStart++ -----------------------------------------------------------------------------------------------------


def hystart_round(hystart: HyStart, start: int, rtts: list[int]) -> list[int]:
    """One round from sequence number `start` (octets): what each acknowledgment adds."""
    size = len(rtts) * MSS
    return [
        hystart.growth(
            Ack(
                0,
                MSS,
                MSS,
                0,
                0,
                0,
                start + index * MSS,
                start + size,
                rtt * MILLISECOND,
                None,
                None,
                False,
                True,
                None,
            )
        )
        for index, rtt in enumerate(rtts)
    ]


def test_hystart_sees_a_queue_grow() -> None:
    """9438-4.10, RFC 9406 section 4.2: an eighth above the last round's minimum, with eight samples, ends doubling;
    five rounds of growth by a quarter later slow start is over."""
    hystart = HyStart()
    assert hystart_round(hystart, 0, [80] * 10) == [MSS] * 10
    second = hystart_round(hystart, 10 * MSS, [90] * 10)
    assert second == [MSS] * 7 + [MSS // 4] * 3
    for number in range(2, 6):
        assert hystart_round(hystart, number * 10 * MSS, [95] * 10) == [MSS // 4] * 10
        assert not hystart.done
    hystart_round(hystart, 60 * MSS, [95])
    assert hystart.done


@pytest.mark.parametrize(
    ("base", "above"),
    [(8, 4), (80, 10), (400, 16)],  # at least 4 ms, an eighth, at most 16 ms
)
def test_hystart_threshold(base: int, above: int) -> None:
    for rise, conservative in [(above - 1, False), (above, True)]:
        hystart = HyStart()
        hystart_round(hystart, 0, [base] * 8)
        hystart_round(hystart, 8 * MSS, [base + rise] * 8)
        assert hystart.conservative is conservative


def test_hystart_needs_eight_samples() -> None:
    hystart = HyStart()
    hystart_round(hystart, 0, [80] * 10)
    hystart_round(hystart, 10 * MSS, [120] * 7)
    assert not hystart.conservative


def test_hystart_takes_the_minimum_of_a_round() -> None:
    """One prompt packet among late ones: jitter and no queue."""
    hystart = HyStart()
    hystart_round(hystart, 0, [80] * 10)
    hystart_round(hystart, 10 * MSS, [120, 80] + [120] * 8)
    assert not hystart.conservative


def test_hystart_false_alarm() -> None:
    """Section 4.2: round trips shorter than at the start of CSS resume slow start."""
    hystart = HyStart()
    hystart_round(hystart, 0, [80] * 10)
    hystart_round(hystart, 10 * MSS, [95] * 10)
    assert hystart.conservative
    assert hystart_round(hystart, 20 * MSS, [85] * 10)[-1] == MSS
    assert not hystart.conservative


def test_hystart_counts_octets() -> None:
    """An acknowledgment that stands for many gives as much as they."""
    assert HyStart().growth(ack(0, 40 * MSS)) == 40 * MSS


def test_hystart_is_for_the_first_slow_start_only() -> None:
    """Section 4.3: after a timeout ssthresh says where to stop."""
    control = make(100)
    control.timeout(100 * MSS, 0, repeated=False)
    for number in range(40):
        control.acknowledged(ack(number, rtt=(80 + 20 * number) * MILLISECOND))
    assert control.cwnd == 41 * MSS


# --- at a bottleneck -------------------------------------------------------------------------------------------------


def test_leaves_slow_start_before_the_buffer_overflows() -> None:
    """9438-4.10: a buffer of twenty times what the path holds. NewReno fills it and loses."""
    results = {}
    for kind in (Cubic, NewReno):
        path = Path(rate=1_250_000, delay=100 * MILLISECOND, buffer=20 * 125_000)
        clock = Clock(path)
        flow = clock.add(kind)
        clock.run(6 * SECOND)
        results[kind] = (path.dropped, path.peak / path.bdp, flow.control.ssthresh)
    assert results[Cubic][0] == 0
    assert results[Cubic][1] < 10
    assert results[Cubic][2] < INFINITE
    assert results[NewReno][0] > 0
    assert results[NewReno][1] > 19


@pytest.mark.slow
def test_fills_a_long_path_sooner_than_reno() -> None:
    """What it was made for: 40 Mbit/s and 200 ms, one random loss early on."""
    goodput = {}
    for kind in (Cubic, NewReno):
        path = Path(rate=5_000_000, delay=200 * MILLISECOND, buffer=250_000, loss=0.00005, seed=3)
        clock = Clock(path)
        flow = clock.add(kind)
        clock.run(40 * SECOND)
        goodput[kind] = flow.goodput(5 * SECOND, 40 * SECOND) / path.rate
    assert goodput[Cubic] > 0.8
    assert goodput[Cubic] > goodput[NewReno] + 0.1
