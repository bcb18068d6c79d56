"""The RTT estimator against RFC 6298 by its own arithmetic."""

from __future__ import annotations

from random import Random

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.rtt import RttEstimator
from nodes.units import MILLISECOND, SECOND

MS = MILLISECOND


def estimator(initial: int = SECOND, minimum: int = SECOND, maximum: int = 60 * SECOND) -> RttEstimator:
    return RttEstimator(initial, minimum, maximum, MS)


def test_before_any_sample() -> None:
    """6298-2.1"""
    rtt = estimator()
    assert (rtt.rto, rtt.timeout, rtt.backed_off) == (SECOND, SECOND, 0)
    assert (rtt.srtt, rtt.rttvar, rtt.latest, rtt.min_rtt) == (None, None, None, None)
    assert estimator(initial=90 * SECOND).timeout == 60 * SECOND


def test_the_first_sample() -> None:
    """6298-2.2: RTO = R + 4 R/2"""
    rtt = estimator()
    rtt.sample(400 * MS, 0)
    assert (rtt.srtt, rtt.rttvar, rtt.rto, rtt.timeout) == (400 * MS, 200 * MS, 1200 * MS, 1200 * MS)


def test_later_samples() -> None:
    """6298-2.3: RTTVAR first, with the old SRTT."""
    rtt = estimator()
    rtt.sample(400 * MS, 0)
    rtt.sample(800 * MS, 0)
    assert rtt.rttvar == 250 * MS  # 3/4 * 200 + 1/4 * |400 - 800|
    assert rtt.srtt == 450 * MS  # 7/8 * 400 + 1/8 * 800
    assert rtt.rto == 1450 * MS
    rtt.sample(50 * MS, 0)
    assert (rtt.rttvar, rtt.srtt, rtt.rto) == (287_500_000, 400 * MS, 1550 * MS)
    assert (rtt.latest, rtt.min_rtt) == (50 * MS, 50 * MS)


def test_against_the_formula_with_fractions() -> None:
    """6298-2.3: nanoseconds are fine enough that whole numbers lose nothing."""
    random = Random(6298)
    rtt = estimator(minimum=0)
    srtt = rttvar = 0.0
    for number in range(500):
        sample = random.randrange(1, 300) * MS
        rtt.sample(sample, 0)
        if number == 0:
            srtt, rttvar = float(sample), sample / 2
        else:
            rttvar = 0.75 * rttvar + 0.25 * abs(srtt - sample)
            srtt = 0.875 * srtt + 0.125 * sample
        assert rtt.rto == pytest.approx(srtt + max(MS, 4 * rttvar), abs=100)


@pytest.mark.parametrize(("minimum", "rto"), [(SECOND, SECOND), (200 * MS, 200 * MS), (0, 2 * MS)])
def test_bounds(minimum: int, rto: int) -> None:
    """6298-2.4, 6298-2.5; the granularity is what remains of a path that never varies (section 2.3)."""
    low = estimator(minimum=minimum)
    for _ in range(200):
        low.sample(MS, 0)
    assert low.rto == pytest.approx(rto, abs=100)
    high = estimator(minimum=minimum, maximum=60 * SECOND)
    high.sample(50 * SECOND, 0)
    assert (high.rto, high.timeout) == (60 * SECOND, 60 * SECOND)


def test_more_samples_in_a_round_trip_weigh_less() -> None:
    """RFC 7323 appendix G: eight of a round trip move the mean about as far as one alone."""
    one, eight = estimator(minimum=0), estimator(minimum=0)
    one.sample(100 * MS, 0)
    eight.sample(100 * MS, 0)
    one.sample(180 * MS, 0)
    for _ in range(8):
        eight.sample(180 * MS, 0, expected=8)
    assert one.srtt == 110 * MS
    assert eight.srtt == pytest.approx(110 * MS, rel=0.01)
    assert eight.rttvar == pytest.approx(one.rttvar, rel=0.1)


def test_back_off() -> None:
    """6298-5.4-6: each expiry doubles, up to the maximum, and the base stays."""
    rtt = estimator()
    timeouts = []
    for _ in range(8):
        rtt.back_off()
        timeouts.append(rtt.timeout // SECOND)
    assert timeouts == [2, 4, 8, 16, 32, 60, 60, 60]
    assert (rtt.rto, rtt.backed_off) == (SECOND, 8)
    for _ in range(10_000):
        rtt.back_off()
    assert rtt.timeout == 60 * SECOND


def test_a_sample_ends_the_back_off() -> None:
    """6298-5: "may result in collapsing RTO back down"."""
    rtt = estimator()
    rtt.back_off()
    rtt.back_off()
    rtt.sample(2 * SECOND, 0)
    assert (rtt.timeout, rtt.rto, rtt.backed_off) == (6 * SECOND, 6 * SECOND, 0)
    rtt.back_off()
    assert rtt.timeout == 12 * SECOND
    rtt.reset_back_off()
    assert (rtt.timeout, rtt.backed_off) == (6 * SECOND, 0)


def test_a_lost_syn() -> None:
    """6298-5.7: three seconds for the first data, until a sample knows better."""
    rtt = estimator()
    rtt.back_off()
    rtt.syn_retransmitted()
    assert (rtt.rto, rtt.timeout, rtt.backed_off) == (3 * SECOND, 3 * SECOND, 0)
    rtt.sample(10 * MS, 0)
    assert rtt.timeout == SECOND
    rtt = estimator()
    rtt.sample(2 * SECOND, 0)
    rtt.syn_retransmitted()
    assert rtt.timeout == 6 * SECOND
    rtt = estimator(maximum=2 * SECOND)
    rtt.syn_retransmitted()
    assert rtt.timeout == 2 * SECOND


def test_min_rtt_is_that_of_the_last_five_minutes() -> None:
    """8985-6.2a"""
    rtt = estimator()
    seen = []
    arrivals = ((0, 50), (10, 20), (11, 70), (40, 30), (150, 60), (280, 90), (309, 95), (345, 99), (455, 99))
    for second, sample in arrivals:
        rtt.sample(sample * MS, second * SECOND)
        seen.append(rtt.min_rtt)
    assert seen == [value * MS for value in (50, 20, 20, 20, 20, 20, 20, 60, 90)]
    rtt.sample(500 * MS, 10_000 * SECOND)
    assert rtt.min_rtt == 500 * MS


def test_min_rtt_against_all_samples() -> None:
    """Never larger than the smallest of the last 270 s, never smaller than that of the last 330 s."""
    random = Random(8985)
    rtt = estimator()
    samples: list[tuple[int, int]] = []
    now = 0
    for _ in range(3000):
        now += random.randrange(1, 2 * SECOND)
        samples.append((now, random.randrange(MS, 1000 * MS)))
        rtt.sample(samples[-1][1], now)
        recent = min(sample for at, sample in samples if at > now - 270 * SECOND)
        all_of_it = min(sample for at, sample in samples if at > now - 330 * SECOND)
        assert rtt.min_rtt is not None
        assert all_of_it <= rtt.min_rtt <= recent


def test_a_negative_time_is_misuse() -> None:
    with pytest.raises(MisuseError, match="round-trip time of -1 ns"):
        estimator().sample(-1, 0)
