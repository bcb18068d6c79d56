"""BBR (draft-ietf-ccwg-bbr): its filters by hand, its states at a bottleneck. Many cases are those of the draft's
appendix "BBR Example Test Cases"."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from statistics import mean

import pytest

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings, RateSample
from nodes.transport.tcp.congestion.bbr import Bbr
from nodes.transport.tcp.congestion.bbr_filters import LONGEST_LOG, Flight, FlightLog, MaxFilter
from nodes.transport.tcp.congestion.bbr_machine import PACING_GAIN, State
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.units import MILLISECOND, SECOND
from tests.unit.ack_clock import MSS, Clock, Flow, Path, fairness

MBIT = 125_000
STEP = 5 * MILLISECOND


def bottleneck(**changes: float) -> Path:
    """10 Mbit/s, 100 ms, a buffer of twice what the path holds."""
    values = {"rate": 10 * MBIT, "delay": 100 * MILLISECOND, "buffer": 250_000} | changes
    return Path(**values)  # type: ignore[arg-type]


def control_of(flow: Flow) -> Bbr:
    assert isinstance(flow.control, Bbr)
    return flow.control


def phases(clock: Clock, flow: Flow, until: int) -> list[tuple[int, str]]:
    """The states a flow goes through, with the time (to 5 ms) at which each was first seen."""
    seen: list[tuple[int, str]] = []
    for now in range(clock.now, until, STEP):
        clock.run(now)
        phase = str(flow.control.snapshot()["phase"])
        if not seen or seen[-1][1] != phase:
            seen.append((now, phase))
    return seen


def number(flow: Flow, name: str) -> int:
    value = flow.control.snapshot()[name]
    assert isinstance(value, int)
    return value


# --- filters -------------------------------------------------------------------------------------------------------


def test_max_filter_forgets() -> None:
    values = MaxFilter()
    assert [values.update(*each, 2) for each in [(9, 1), (5, 1), (7, 2), (3, 3), (1, 4), (8, 4)]] == [9, 9, 9, 7, 3, 8]


def test_max_filter_keeps_one_value_per_tick() -> None:
    values = MaxFilter()
    for value in range(1000, 0, -1):
        values.update(value, 1, 10)
    assert values.update(0, 2, 10) == 1000
    assert values.update(0, 11, 10) == 0


def test_flight_log_finds_what_data_was_sent_with() -> None:
    log = FlightLog()
    assert log.find(0) is None
    log.sent(0, 0, 1000)
    log.sent(0, 0, 2000)
    log.sent(1000, 0, 2500)
    log.sent(3000, 500, 900)
    assert log.find(0) == Flight(0, 0, 2000)
    assert log.find(1500) == Flight(1000, 0, 2500)
    assert log.find(3000) == Flight(3000, 500, 900)
    assert log.find(99_000) == Flight(3000, 500, 900)


def test_flight_log_is_bounded() -> None:
    log = FlightLog()
    for delivered in range(LONGEST_LOG + 10):
        log.sent(delivered, 0, delivered)
    assert log.find(0) == Flight(10, 0, 10)


# --- Startup and Drain -----------------------------------------------------------------------------------------------


def test_first_pacing_rate() -> None:
    """InitPacingRate: the initial window in a millisecond; with the first round-trip time, in that."""
    control = Bbr(CongestionSettings(MSS, 10 * MSS, Random(1)), 0)
    assert control.pacing_rate == int(2.77 * 10 * MSS * 1000)
    control.sent(10 * MSS, 10 * MSS, 0)
    rtt = 50 * MILLISECOND
    sample = RateSample(MSS, rtt, 0, MSS, is_app_limited=False)
    control.acknowledged(
        Ack(rtt, MSS, MSS, 0, 9 * MSS, 10 * MSS, MSS, 10 * MSS, rtt, rtt, rtt, False, cwnd_limited=True, rate=sample)
    )
    assert control.pacing_rate == int(2.77 * 10 * MSS * 20)
    assert control.cwnd == 11 * MSS


def test_finds_the_bandwidth_and_drains() -> None:
    """Exiting STARTUP on bandwidth plateau, exiting DRAIN based on inflight."""
    clock = Clock(bottleneck())
    flow = clock.add(Bbr)
    seen = phases(clock, flow, 3 * SECOND)
    assert [phase for _, phase in seen][:3] == ["startup", "drain", "probe_bw_cruise"]  # DOWN ends at once: no queue
    times = {phase: now for now, phase in reversed(seen)}
    assert times["drain"] < 1500 * MILLISECOND
    assert number(flow, "max_bw") == pytest.approx(clock.path.rate, rel=0.02)
    assert number(flow, "min_rtt") == pytest.approx(clock.path.delay, rel=0.02)
    assert clock.path.dropped == 0
    drained = next(point for point in flow.history if point.time > times["probe_bw_cruise"])
    assert drained.in_flight <= 1.05 * clock.path.bdp


def test_does_not_leave_startup_while_the_application_is_the_limit() -> None:
    """Never exiting STARTUP when application-limited with no loss."""
    clock = Clock(bottleneck())
    flow = clock.add(Bbr, application=2 * MBIT)
    assert [phase for _, phase in phases(clock, flow, 8 * SECOND)] == ["startup"]
    assert number(flow, "max_bw") < 1.5 * 2 * MBIT


def test_leaves_startup_on_loss() -> None:
    """A buffer for 20 packets: more than 2 % is lost for a whole round, long before three rounds without growth."""
    clock = Clock(bottleneck(buffer=30_000, rate=40 * MBIT))
    flow = clock.add(Bbr)
    while flow.control.snapshot()["phase"] == "startup":
        clock.run(clock.now + MILLISECOND)
    assert flow.control.snapshot()["phase"] == "drain"
    assert flow.control.snapshot()["inflight_longterm"] is not None


def test_drains_for_three_rounds_at_most() -> None:
    """Exiting DRAIN based on time: what is in flight does not fall to the bdp, as if the path had become slower."""
    clock = Clock(bottleneck())
    flow = clock.add(Bbr)
    while flow.control.snapshot()["phase"] != "drain":
        clock.run(clock.now + MILLISECOND)
    delivered = flow.delivered
    seen = []
    for index in range(6):
        rtt = clock.path.delay
        sample = RateSample(100 * MSS, rtt, delivered, delivered + MSS, is_app_limited=False)
        delivered += MSS
        now = clock.now + index * rtt
        flow.control.acknowledged(
            Ack(now, MSS, MSS, 0, 200 * MSS, 201 * MSS, 0, 0, rtt, rtt, rtt, False, cwnd_limited=True, rate=sample)
        )
        seen.append(flow.control.snapshot()["phase"])
    assert seen == ["drain"] * 3 + ["probe_bw_down"] * 3


# --- ProbeBW ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cycle() -> None:
    """DOWN, CRUISE, REFILL, UP, and pacing by their gains."""
    clock = Clock(bottleneck())
    flow = clock.add(Bbr)
    clock.run(2 * SECOND)
    order = [phase for _, phase in phases(clock, flow, 9 * SECOND)]
    start = order.index("probe_bw_refill")
    cycle = ["probe_bw_refill", "probe_bw_up", "probe_bw_down", "probe_bw_cruise"]
    assert order[start : start + 8] == cycle * 2
    for state in (State.UP, State.DOWN, State.CRUISE):
        while flow.control.snapshot()["phase"] != state.value:
            clock.run(clock.now + STEP)
        expected = PACING_GAIN[state] * 0.99 * number(flow, "bw")
        assert flow.control.pacing_rate == pytest.approx(expected, rel=0.001)


@pytest.mark.slow
def test_probes_every_two_to_three_seconds() -> None:
    """T_bbr: random, so that flows do not probe together."""
    clock = Clock(bottleneck())
    flow = clock.add(Bbr)
    refills = [now for now, phase in phases(clock, flow, 20 * SECOND) if phase == "probe_bw_refill"]
    waits = [(b - a) / SECOND for a, b in pairwise(refills)]
    assert len(waits) >= 4
    assert all(2.0 < wait < 4.2 for wait in waits)
    assert len({round(wait, 1) for wait in waits}) > 1


def test_probes_as_often_as_reno_where_round_trips_are_short() -> None:
    """T_reno: at most 63 rounds, and no more than the bdp has segments."""
    clock = Clock(bottleneck(rate=10 * MBIT, delay=10 * MILLISECOND))
    flow = clock.add(Bbr)
    refills = [now for now, phase in phases(clock, flow, 5 * SECOND) if phase == "probe_bw_refill"]
    assert len(refills) > 15


@pytest.mark.slow
def test_finds_more_bandwidth() -> None:
    """UP: a path that becomes three times as fast is used within two cycles."""
    path = bottleneck()
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(5 * SECOND)
    path.rate *= 3
    clock.run(14 * SECOND)
    assert flow.goodput(12 * SECOND, 14 * SECOND) > 0.9 * path.rate


@pytest.mark.slow
def test_finds_less_bandwidth() -> None:
    """The old maximum is forgotten after two cycles, and the queue goes."""
    path = bottleneck(buffer=1_000_000)
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(5 * SECOND)
    path.rate //= 2
    clock.run(25 * SECOND)
    assert number(flow, "max_bw") == pytest.approx(path.rate, rel=0.05)
    tail = flow.between(23 * SECOND, 25 * SECOND)
    assert mean(point.rtt for point in tail) < 1.5 * path.delay
    assert flow.goodput(23 * SECOND, 25 * SECOND) > 0.9 * path.rate


def test_a_shallow_buffer_sets_a_long_term_bound() -> None:
    """UP ends at more than 2 % loss and remembers what was in flight; CRUISE stays 15 % below."""
    path = bottleneck(buffer=15_000)
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(2 * SECOND)
    before = flow.lost, flow.sent
    clock.run(12 * SECOND)
    bound = number(flow, "inflight_longterm")
    assert 0.8 * path.bdp < bound < 1.3 * path.bdp
    assert (flow.lost - before[0]) / (flow.sent - before[1]) < 0.01
    while flow.control.snapshot()["phase"] != "probe_bw_cruise":
        clock.run(clock.now + STEP)
    clock.run(clock.now + STEP)
    assert flow.control.cwnd <= 0.86 * number(flow, "inflight_longterm") or flow.control.cwnd == 4 * MSS


@pytest.mark.slow
def test_answers_ecn() -> None:
    """A mark, and no loss, ends a probe and bounds what is in flight."""
    path = bottleneck(mark=20_000)
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(10 * SECOND)
    assert path.dropped == 0
    assert flow.reductions > 0
    assert flow.control.snapshot()["inflight_longterm"] is not None
    path.peak = 0
    clock.run(20 * SECOND)
    assert path.peak < 0.6 * path.bdp
    assert flow.goodput(10 * SECOND, 20 * SECOND) > 0.85 * path.rate


# --- ProbeRTT --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_probe_rtt() -> None:
    """After ten seconds without a lower round-trip time: half a bdp in flight for 200 ms, then on as before."""
    path = bottleneck()
    clock = Clock(path)
    flow = clock.add(Bbr)
    seen = phases(clock, flow, 13 * SECOND)
    index = next(i for i, (_, phase) in enumerate(seen) if phase == "probe_rtt")
    begin, end = seen[index][0], seen[index + 1][0]
    assert 10 * SECOND < begin < 11 * SECOND
    assert 200 * MILLISECOND <= end - begin < 600 * MILLISECOND
    inside = flow.between(begin + STEP, end - STEP)
    assert max(point.cwnd for point in inside) <= 0.52 * path.bdp
    assert min(point.in_flight for point in inside) < 0.55 * path.bdp
    assert seen[index + 1][1] == "probe_bw_cruise"
    after = flow.between(end + 2 * STEP, end + SECOND)
    assert min(point.cwnd for point in after) > path.bdp


@pytest.mark.slow
def test_min_rtt_follows_a_longer_path() -> None:
    path = bottleneck()
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(3 * SECOND)
    path.delay = 180 * MILLISECOND
    clock.run(18 * SECOND)
    assert number(flow, "min_rtt") == pytest.approx(path.delay, rel=0.05)
    assert flow.goodput(15 * SECOND, 18 * SECOND) > 0.9 * path.rate


# --- loss, timeouts, undoing -----------------------------------------------------------------------------------------


def established() -> tuple[Clock, Flow, Bbr]:
    clock = Clock(bottleneck())
    flow = clock.add(Bbr)
    clock.run(4 * SECOND)
    while flow.control.snapshot()["phase"] != "probe_bw_cruise":
        clock.run(clock.now + STEP)
    return clock, flow, control_of(flow)


def test_a_timeout_begins_with_one_segment_and_comes_back() -> None:
    """OnEnterRTO; recovery restores the window."""
    clock, _, control = established()
    before = control.cwnd
    control.timeout(before, clock.now, repeated=False)
    assert control.cwnd == MSS
    control.timeout(MSS, clock.now, repeated=True)
    control.recovered(clock.now)
    assert control.cwnd == before


def test_loss_in_cruise_lowers_the_short_term_bounds_by_what_was_lost() -> None:
    clock, flow, _ = established()
    assert flow.control.snapshot()["bw_shortterm"] is None
    clock.path.loss = 0.05
    clock.run(clock.now + 600 * MILLISECOND)
    assert 0.7 * clock.path.rate < number(flow, "bw_shortterm") < 0.99 * clock.path.rate


def test_a_spurious_loss_is_undone() -> None:
    """HandleSpuriousLossDetection: bounds are at least what they were."""
    clock, _, control = established()
    before = control.cwnd
    control.congestion(before, clock.now)
    clock.path.loss = 0.05
    clock.run(clock.now + 600 * MILLISECOND)
    control._undo = (INFINITE, INFINITE, INFINITE)
    control.spurious(clock.now)
    assert control.snapshot()["bw_shortterm"] is None
    assert control.snapshot()["inflight_shortterm"] is None
    control.spurious(clock.now)  # nothing is left to undo


def test_a_spurious_end_of_startup_returns_there() -> None:
    clock = Clock(bottleneck(buffer=30_000, rate=40 * MBIT))
    flow = clock.add(Bbr)
    while flow.control.snapshot()["phase"] == "startup":
        clock.run(clock.now + MILLISECOND)
    flow.control.spurious(clock.now)
    assert flow.control.snapshot()["phase"] == "startup"
    assert flow.control.snapshot()["inflight_longterm"] is None


# --- pauses, segments ------------------------------------------------------------------------------------------------


def test_restarts_at_the_bandwidth() -> None:
    """HandleRestartFromIdle: pace at exactly bw, keep the window; no ProbeRTT for a min_rtt that grew old."""
    clock, flow, control = established()
    window = control.cwnd
    now = clock.now
    last = Ack(
        now, MSS, MSS, 0, 0, MSS, 0, 0, clock.path.delay, None, None, in_recovery=False, cwnd_limited=False, rate=None
    )
    control.acknowledged(last)
    control.idle(now + 20 * SECOND)
    control.sent(MSS, MSS, now + 20 * SECOND)
    assert control.cwnd == pytest.approx(window, rel=0.05)
    assert control.pacing_rate == pytest.approx(0.99 * number(flow, "bw"), rel=0.001)
    control.acknowledged(last._replace(now=now + 20 * SECOND + clock.path.delay))
    assert control.snapshot()["phase"] != "probe_rtt"


def test_send_quantum() -> None:
    """SetSendQuantum: a millisecond's worth, two segments to 64 KiB."""
    for rate, quantum in [(1 * MBIT, 2 * MSS), (100 * MBIT, 100 * MBIT // 1000)]:
        clock = Clock(bottleneck(rate=rate, delay=20 * MILLISECOND))
        flow = clock.add(Bbr)
        clock.run(SECOND)
        assert control_of(flow).send_quantum == pytest.approx(quantum, rel=0.3)


def test_a_new_segment_size() -> None:
    control = Bbr(CongestionSettings(MSS, 10 * MSS, Random(1)), 0)
    control.set_mss(9000)
    assert control.send_quantum >= 18_000
    control.set_mss(500)
    assert control.cwnd >= 500


def test_without_rate_samples_it_only_keeps_its_feet() -> None:
    """A caller that measures nothing gets a small window, not an exception."""
    control = Bbr(CongestionSettings(MSS, 10 * MSS, Random(1)), 0)
    for index in range(100):
        now = index * MILLISECOND
        control.sent(MSS, 10 * MSS, now)
        control.acknowledged(
            Ack(now, MSS, MSS, 0, 9 * MSS, 10 * MSS, 0, 0, MILLISECOND, None, None, False, cwnd_limited=True, rate=None)
        )
    assert control.cwnd >= 4 * MSS


# --- what it is for --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_random_loss_hardly_matters() -> None:
    """1 % of random loss at 10 Mbit/s and 200 ms: more than 90 % of the bottleneck, a queue below 1.5 bdp; Reno gets
    less than a tenth."""
    goodput = []
    for seed in (1, 2, 3):
        path = bottleneck(delay=200 * MILLISECOND, buffer=3 * 250_000, loss=0.01, seed=seed)
        clock = Clock(path, seed)
        flow = clock.add(Bbr)
        clock.run(3 * SECOND)
        path.peak = 0
        clock.run(13 * SECOND)
        goodput.append(flow.goodput(3 * SECOND, 13 * SECOND) / path.rate)
        assert path.peak < 1.5 * path.bdp
        assert flow.timeouts == 0
    assert min(goodput) > 0.88
    assert mean(goodput) > 0.9
    path = bottleneck(delay=200 * MILLISECOND, buffer=3 * 250_000, loss=0.01)
    clock = Clock(path)
    reno = clock.add(NewReno)
    clock.run(13 * SECOND)
    assert reno.goodput(3 * SECOND, 13 * SECOND) < 0.1 * path.rate


@pytest.mark.slow
def test_a_deep_buffer_stays_almost_empty() -> None:
    path = bottleneck(buffer=20 * 125_000)
    clock = Clock(path)
    flow = clock.add(Bbr)
    clock.run(3 * SECOND)
    path.peak = 0
    clock.run(20 * SECOND)
    assert path.dropped == 0
    assert path.peak < 1.3 * path.bdp
    assert mean(point.rtt for point in flow.between(3 * SECOND, 20 * SECOND)) < 1.2 * path.delay
    assert flow.goodput(3 * SECOND, 20 * SECOND) > 0.95 * path.rate


@pytest.mark.slow
def test_two_flows_share() -> None:
    path = bottleneck(delay=40 * MILLISECOND, buffer=100_000)
    clock = Clock(path)
    flows = [clock.add(Bbr), clock.add(Bbr, start=5 * SECOND)]
    clock.run(24 * SECOND)
    rates = [flow.goodput(12 * SECOND, 24 * SECOND) for flow in flows]
    assert fairness(rates) > 0.9
    assert sum(rates) > 0.93 * path.rate
