"""What follows from a loss, a mark, a timeout, or from learning that there was no loss: the moves between the states of
`recovery_state`, each with its word to the congestion control.

    lost segments found      fast recovery: reduce, unless the window is being reduced already; tahoe: begin again
    retransmission timeout   begin again: one segment, slow start (RFC 6298 section 5.4 ff., RFC 5681 section 3.1)
    ECN mark                 reduce, without anything to repair (RFC 3168 section 6.1.2)
    all is acknowledged      the reduction is over
    it was a mistake         undo it: window and marks as before (RFC 4015, RFC 5682 section 3)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nodes.transport.tcp.congestion.base import FastRecovery
from nodes.transport.tcp.recovery_state import CongestionState, Expired
from nodes.transport.tcp.retransmission_queue import SentSegment

if TYPE_CHECKING:
    from nodes.transport.tcp.recovery import LossRecovery


def move(r: LossRecovery, new: CongestionState, trigger: str, now: int) -> None:
    old = r.state
    if old is not new:
        r.state = new
        r.trace.state(old.value, new.value, trigger, now)


def flight_size(r: LossRecovery, una: int) -> int:
    """FlightSize, without what limited transmit has added since the first sign of a loss (RFC 5681 section 3.2)."""
    flight = r.nxt - una
    if r.state is CongestionState.DISORDER:
        flight = min(flight, max(r.disorder_flight, r.mss))
    return flight


# ---------------------------------------------------------------------------------------------------------- losses


def lose(r: LossRecovery, segments: Iterable[SentSegment], trigger: str, now: int) -> int:
    """Mark; the octets."""
    octets = 0
    for segment in segments:
        length = segment.end - segment.start
        r.queue.lose(segment)
        r.counters.lost_segments += 1
        octets += length
        r.trace.lost(segment.start, length, trigger, now)
    r.counters.lost_octets += octets
    r.lost_untold += octets
    return octets


def losses_found(r: LossRecovery, segments: list[SentSegment], trigger: str, now: int, una: int, unsacked: int) -> None:
    """`una` and `unsacked`: SND.UNA, and what was outstanding and not SACKed, before the news."""
    again = any(s.start >= r.recover or (s.retransmissions and s.sent_at >= r.reduced_at) for s in segments)
    flight = flight_size(r, una)
    lose(r, segments, trigger, now)
    if r.state is CongestionState.LOSS:
        return
    if r.congestion.fast_recovery is FastRecovery.NONE:
        _begin_again(r, trigger, now, flight)
    elif r.state is CongestionState.RECOVERY:
        if again:  # RFC 5681 section 4.3: a retransmission lost is another indication
            r.recover = r.nxt
            r.undo.stop()
            reduce(r, now, min(flight, r.congestion.cwnd), unsacked)
    else:
        _recover(r, trigger, now, flight, unsacked, una)


def _recover(r: LossRecovery, trigger: str, now: int, flight: int, unsacked: int, una: int) -> None:
    """Fast recovery begins. A window that is being reduced for a mark is not reduced again for a loss."""
    if r.state is not CongestionState.CWR:
        r.undo.begin(una)
        reduce(r, now, flight, unsacked)
    r.recover = r.nxt
    r.force = True
    r.threshold.begin()
    r.counters.fast_recoveries += 1
    if r.probe is not None:
        r.probe.stop()
    move(r, CongestionState.RECOVERY, trigger, now)
    r.trace.metrics(trigger, now)


def reduce(r: LossRecovery, now: int, flight: int, unsacked: int) -> None:
    """Ask the congestion control for less, and let PRR lead there."""
    r.congestion.congestion(flight, now)
    r.must_send_cwr = True
    r.reduced_at = now
    if r.congestion.uses_recovery_window:
        r.prr.start(unsacked, r.congestion.ssthresh)


def _begin_again(r: LossRecovery, trigger: str, now: int, flight: int) -> None:
    """Tahoe: any loss is answered as a timeout, but the timer does not back off."""
    lose(r, _unheard_of(r), trigger, now)
    r.congestion.timeout(flight, now, repeated=False)
    r.undo.begin(r.una)
    r.retransmission_at = now + r.rtt.timeout
    _slow_start(r, trigger, now)


def _slow_start(r: LossRecovery, trigger: str, now: int) -> None:
    r.recover = r.nxt
    r.reduced_at = now
    r.must_send_cwr = True
    r.force = True
    r.prr.stop()
    r.duplicates.reset()
    if r.probe is not None:
        r.probe.stop()
    if r.rack is not None:
        r.rack.deadline = None
    move(r, CongestionState.LOSS, trigger, now)
    r.trace.metrics(trigger, now)


def _unheard_of(r: LossRecovery) -> list[SentSegment]:
    """All that is neither SACKed nor held lost already."""
    return [s for s in r.queue.segments[r.queue.head :] if not s.sacked and not s.lost]


def too_big(r: LossRecovery, sequence: int, now: int) -> None:
    """See `LossRecovery.too_big`."""
    segments = r.queue.segments
    index = r.queue.index(sequence)  # of a record that the link cut, any piece may be the one that is quoted
    start = segments[index].start if index < len(segments) else sequence
    records = r.queue.between(min(start, sequence), r.shrunk_until)
    lose(r, [s for s in records if s.end - s.start > r.mss and not s.sacked and not s.lost], "too_big", now)


# ---------------------------------------------------------------------------------------------------------- timers


def expire(r: LossRecovery, now: int) -> Expired:
    """The retransmission timer: the first segment goes again, and all the rest counts as lost, but what RACK holds to
    be sent too recently (RFC 8985 section 6.3)."""
    first = r.queue.first()
    if first is None:
        r.retransmission_at = None
        return Expired.NONE
    flight = flight_size(r, r.una)
    r.timeouts += 1
    r.counters.timeouts += 1
    repeated = r.timeouts > 1
    may_be_spurious = not repeated and not (r.state is CongestionState.LOSS and r.una < r.recover)
    if first.sacked:
        r.counters.reneged += 1
        r.queue.renege()
    r.duplicates.reset()
    r.threshold.forget()
    lost = _unheard_of(r) if r.rack is None else r.rack.timed_out(r.queue, now, reordering_window(r))
    lose(r, lost, "timeout", now)
    r.congestion.timeout(flight, now, repeated=repeated)
    if not repeated:
        r.undo.begin(r.una)
    _slow_start(r, "timeout", now)
    if may_be_spurious:
        r.frto.timeout(r.recover)
    else:
        r.frto.stop()
    r.rtt.back_off()
    r.retransmission_at = now + r.rtt.timeout
    return Expired.RETRANSMIT


def reordering_window(r: LossRecovery) -> int:
    """RACK's, as things are now."""
    if r.rack is None:
        return 0
    eager = r.state in (CongestionState.RECOVERY, CongestionState.LOSS) or r.threshold.reached(r.queue)
    return r.rack.reordering_window(eager=eager, min_rtt=r.rtt.min_rtt, srtt=r.rtt.srtt)


def find_late(r: LossRecovery, now: int) -> bool:
    """The reordering timer: what was late is lost now. True if there is any."""
    if r.rack is None:
        return False
    lost = r.rack.detect(r.queue, now, reordering_window(r))
    if not lost:
        return False
    unsacked = r.nxt - r.una - r.queue.sacked
    losses_found(r, lost, "rack", now, r.una, unsacked)
    if r.prr.active:
        r.prr.acknowledged(0, r.in_flight, safe=False)
    r.force = True  # nothing else may be under way whose acknowledgment could allow it
    return True


# -------------------------------------------------------------------------------------------------------- the ends


def marked(r: LossRecovery, now: int, una: int, unsacked: int) -> None:
    """A router marked a packet: reduce, once per window of data."""
    flight = flight_size(r, una)
    r.counters.ecn_reductions += 1
    reduce(r, now, flight, unsacked)
    r.undo.stop()
    r.recover = r.nxt
    move(r, CongestionState.CWR, "ecn", now)
    r.trace.metrics("ecn", now)


def recovered(r: LossRecovery, trigger: str, now: int) -> None:
    """All that was outstanding at the reduction has arrived."""
    r.prr.stop()
    r.frto.stop()
    r.force = False
    r.undo.ended(r.nxt)
    r.duplicates.reset()
    if r.rack is not None and r.state is not CongestionState.CWR:
        r.rack.recovered()
    r.episode_over = True
    move(r, CongestionState.OPEN, trigger, now)
    r.trace.metrics(trigger, now)


def undo(r: LossRecovery, trigger: str, now: int) -> None:
    """The last reduction was a mistake."""
    r.counters.undone += 1
    if trigger != "spurious_dsack":  # that tells of what was resent, not of what still waits
        r.queue.forgive()
    r.lost_untold = 0
    r.prr.stop()
    r.frto.stop()
    r.undo.stop()
    r.force = False
    r.duplicates.reset()
    r.threshold.forget()
    if r.rack is not None:
        r.rack.forget()
        r.rack.reordering_seen = True
    r.congestion.spurious(now)
    move(r, CongestionState.OPEN, trigger, now)
    r.trace.metrics(trigger, now)
