"""The tail loss probe (RFC 8985 section 7)."""

from __future__ import annotations

from nodes.transport.tcp.tail_loss_probe import TailLossProbe
from nodes.units import MILLISECOND, SECOND

MS = MILLISECOND


def armed(now: int = 0) -> TailLossProbe:
    probe = TailLossProbe()
    probe.armed_at = now
    return probe


def test_two_round_trips() -> None:
    """8985-7.2."""
    assert armed(5 * MS).deadline(10 * SECOND, 30 * MS, lone=False) == 65 * MS


def test_a_lone_segment_waits_for_the_delayed_acknowledgment() -> None:
    """8985-7.2."""
    assert armed().deadline(10 * SECOND, 30 * MS, lone=True) == 260 * MS


def test_never_later_than_the_retransmission_timer() -> None:
    """8985-7.2: bounded by RTO."""
    assert armed().deadline(150 * MS, 100 * MS, lone=True) == 150 * MS


def test_one_second_without_a_round_trip_time() -> None:
    assert armed().deadline(3 * SECOND, None, lone=False) == SECOND


def test_one_probe_at_a_time() -> None:
    """8985-7.3."""
    probe = armed()
    probe.sent(2000, retransmission=False)
    probe.armed_at = 100 * MS  # new data went on
    assert probe.deadline(10 * SECOND, 30 * MS, lone=False) is None
    assert not probe.repaired(2000, None, bare_duplicate=False)
    assert probe.deadline(10 * SECOND, 30 * MS, lone=False) == 160 * MS


def test_a_repaired_loss_is_told_once() -> None:
    """8985-7.4: acknowledgments beyond the probe, and no sign of a second copy."""
    probe = armed()
    probe.sent(2000, retransmission=True)
    assert not probe.repaired(1900, None, bare_duplicate=False)
    assert not probe.repaired(2000, None, bare_duplicate=False)
    assert probe.repaired(2100, None, bare_duplicate=False)
    assert not probe.repaired(2200, None, bare_duplicate=False)


def test_a_dsack_shows_that_nothing_was_lost() -> None:
    probe = armed()
    probe.sent(2000, retransmission=True)
    assert not probe.repaired(2000, (1900, 2000), bare_duplicate=False)
    assert not probe.repaired(2100, None, bare_duplicate=False)


def test_a_duplicate_without_sack_shows_it_too() -> None:
    probe = armed()
    probe.sent(2000, retransmission=True)
    assert not probe.repaired(2000, None, bare_duplicate=True)
    assert not probe.repaired(2100, None, bare_duplicate=False)


def test_new_data_as_probe_repairs_nothing() -> None:
    probe = armed()
    probe.sent(2000, retransmission=False)
    assert not probe.repaired(2100, None, bare_duplicate=False)


def test_a_recovery_ends_the_probe() -> None:
    probe = armed()
    probe.sent(2000, retransmission=True)
    probe.stop()
    assert not probe.repaired(2100, None, bare_duplicate=False)
