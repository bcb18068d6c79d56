"""Needless retransmissions: Eifel, DSACK, F-RTO, and the count of duplicates without SACK."""

from __future__ import annotations

from nodes.transport.tcp.new_reno import DuplicateCounter
from nodes.transport.tcp.spurious import ForwardRto, ReductionUndo, Step
from nodes.units import MILLISECOND

MS = MILLISECOND
MSS = 100


def begun() -> ReductionUndo:
    undo = ReductionUndo()
    undo.begin(1000)
    undo.sent_again(1000, 1000 + MSS, 50 * MS + 700_000)
    undo.sent_again(1000 + MSS, 1000 + 2 * MSS, 60 * MS)
    return undo


def test_eifel_wants_an_earlier_tick() -> None:
    """RFC 3522: the echoed timestamp is older than the first retransmission's."""
    undo = begun()
    assert undo.by_echo(2000, 49 * MS, MS)
    assert not undo.by_echo(2000, 50 * MS, MS)
    assert not undo.by_echo(2000, 55 * MS, MS)
    assert not undo.by_echo(2000, None, MS)


def test_eifel_needs_a_retransmission_and_a_running_recovery() -> None:
    undo = ReductionUndo()
    assert not undo.by_echo(2000, 1, MS)
    undo.begin(1000)
    assert not undo.by_echo(2000, 1, MS)
    undo.sent_again(1000, 1000 + MSS, 50 * MS)
    undo.ended(5000)
    assert not undo.by_echo(2000, 1, MS)


def test_dsack_for_all_that_was_resent() -> None:
    """RFC 3708: one reported duplicate proves nothing about the other retransmission."""
    undo = begun()
    assert not undo.by_dsack(1000, 1100, 1500)
    assert undo.by_dsack(1100, 1200, 1500)
    assert not undo.by_dsack(1100, 1200, 1500)


def test_dsack_from_before_the_recovery_does_not_count() -> None:
    undo = begun()
    assert not undo.by_dsack(800, 1000, 1500)
    assert not undo.by_dsack(1000, 1100, 1500)


def test_dsack_after_the_recovery_counts_for_a_round_trip() -> None:
    undo = begun()
    undo.ended(3000)
    undo.by_dsack(1000, 1100, 2000)
    assert undo.by_dsack(1100, 1200, 3000)
    undo = begun()
    undo.ended(3000)
    undo.by_dsack(1000, 1100, 2000)
    assert not undo.by_dsack(1100, 1200, 3001)


class Frto:
    """After a timeout; acknowledgments up to 2000 were outstanding."""

    def __init__(self, sack: bool) -> None:
        self.frto = ForwardRto(sack)
        self.frto.timeout(2000)

    def ack(self, ack: int, *, advanced: bool, fresh: bool = False, highest: int = 0) -> bool:
        return self.frto.acknowledged(ack, advanced=advanced, fresh=fresh, highest=max(ack, highest), mss=MSS)


def test_frto_basic_spurious() -> None:
    """RFC 5682 section 2.1: two acknowledgments in a row advance."""
    late = Frto(sack=False)
    assert not late.ack(1100, advanced=True)
    assert (late.frto.step, late.frto.allowance) == (Step.SECOND, 2 * MSS)
    assert late.ack(1200, advanced=True, fresh=True)
    assert late.frto.step is Step.OFF


def test_frto_basic_real_loss() -> None:
    for first in (True, False):
        real = Frto(sack=False)
        if first:
            real.ack(1100, advanced=True)
        assert not real.ack(1100, advanced=False)
        assert real.frto.step is Step.OFF


def test_frto_says_nothing_when_all_is_acknowledged_at_once() -> None:
    frto = Frto(sack=True)
    assert not frto.ack(2000, advanced=True, fresh=True)
    assert frto.frto.step is Step.OFF


def test_frto_sack_duplicates_before_the_first_advance_are_only_noted() -> None:
    """RFC 5682 section 3.1 step 2."""
    frto = Frto(sack=True)
    assert not frto.ack(1000, advanced=False, fresh=True, highest=1300)
    assert frto.frto.step is Step.FIRST


def test_frto_sack_spurious_by_sack_below_the_recovery_point() -> None:
    """RFC 5682 section 3.1 step 3b."""
    frto = Frto(sack=True)
    frto.ack(1100, advanced=True)
    assert frto.ack(1100, advanced=False, fresh=True, highest=1500)


def test_frto_sack_of_the_new_data_means_loss() -> None:
    """RFC 5682 section 3.1 step 3a."""
    frto = Frto(sack=True)
    frto.ack(1100, advanced=True)
    assert not frto.ack(1100, advanced=False, fresh=True, highest=2100)
    assert frto.frto.step is Step.OFF


def test_duplicates_stand_for_segments_that_left() -> None:
    """3042-2: two of them, before the third is proof of a loss, and counts in the recovery (5681-3.2b)."""
    counter = DuplicateCounter()
    assert [counter.duplicate(MSS, 1000, repairing=False) for _ in range(3)] == [MSS, MSS, MSS]
    assert counter.third
    assert counter.duplicate(MSS, 1000, repairing=True) == MSS
    assert not counter.third


def test_duplicates_never_exceed_what_is_outstanding() -> None:
    """All but the first segment can have left, whatever a peer sends."""
    counter = DuplicateCounter()
    for _ in range(50):
        counter.duplicate(MSS, 500, repairing=True)
    assert counter.left == 400


def test_an_advance_uses_the_count_up() -> None:
    counter = DuplicateCounter()
    for _ in range(4):
        counter.duplicate(MSS, 1000, repairing=True)
    assert counter.advanced(300, MSS, repairing=True) == 100  # the hole; two were counted
    assert (counter.count, counter.left) == (0, 200)
    assert counter.advanced(700, MSS, repairing=False) == 500
    assert counter.left == 0
