"""Proportional Rate Reduction (RFC 9937)."""

from __future__ import annotations

from nodes.transport.tcp.prr import ProportionalRateReduction

MSS = 100


def reduction(flight: int, ssthresh: int) -> ProportionalRateReduction:
    prr = ProportionalRateReduction(MSS)
    prr.start(flight, ssthresh)
    return prr


def test_one_segment_for_every_two_delivered() -> None:
    """6937/PRR: from 20 segments to 10, one for two."""
    prr = reduction(2000, 1000)
    pipe, sent = 1900, []
    for _ in range(18):
        pipe -= MSS
        prr.acknowledged(MSS, pipe, safe=False)
        segments = max(prr.quota, 0) // MSS
        for _ in range(segments):
            prr.sent(MSS)
            pipe += MSS
        sent.append(segments)
    assert sent[:8] == [1, 0, 0, 1, 0, 1, 0, 1]  # the first is the fast retransmit, ahead of its share
    assert pipe == 1000


def test_the_fast_retransmit_is_always_allowed() -> None:
    prr = reduction(2000, 1000)
    prr.acknowledged(0, 1900, safe=False)
    assert prr.quota == MSS
    prr.sent(MSS)
    prr.acknowledged(0, 1900, safe=False)
    assert prr.quota == 0


def test_conservative_bound_after_heavy_losses() -> None:
    """Below ssthresh, and still losing: as much as was delivered, no more."""
    prr = reduction(2000, 1000)
    prr.acknowledged(MSS, 300, safe=False)
    assert prr.quota == MSS
    prr.sent(MSS)
    prr.acknowledged(2 * MSS, 300, safe=False)
    assert prr.quota == 2 * MSS


def test_slow_start_bound_on_a_safe_acknowledgment() -> None:
    prr = reduction(2000, 1000)
    prr.acknowledged(MSS, 300, safe=False)
    prr.sent(MSS)
    prr.acknowledged(MSS, 300, safe=True)
    assert prr.quota == 2 * MSS


def test_never_above_ssthresh() -> None:
    prr = reduction(2000, 1000)
    prr.acknowledged(1000, 950, safe=True)
    assert prr.quota == MSS  # the first transmission
    prr.sent(MSS)
    prr.acknowledged(1000, 950, safe=True)
    assert prr.quota == 50


def test_nothing_outstanding_is_no_division_by_zero() -> None:
    prr = reduction(0, 1000)
    prr.acknowledged(MSS, 1500, safe=False)
    assert prr.quota >= MSS
