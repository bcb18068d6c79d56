"""What is done about an acknowledgment: in short if nothing is unusual about it (`advance`), else step by step:

    1. the scoreboard      what arrived, cumulatively and by SACK
    2. measurements        round trip (Karn), RACK.segment, delivery rate
    3. spurious?           DSACK, Eifel, F-RTO: undo the last reduction
    4. over?               all that was outstanding at the reduction is acknowledged
    5. losses              by RACK, SACK count or duplicates: fast recovery
    6. tail loss probe     what did it repair?
    7. ECN                 a mark
    8. the window          PRR, timers, the congestion control's growth

Undoing comes before looking for losses, so that these are judged without the marks that were wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.transport.tcp import reaction
from nodes.transport.tcp.ack_report import AckReport
from nodes.transport.tcp.congestion.base import Ack, FastRecovery
from nodes.transport.tcp.recovery_state import CongestionState
from nodes.transport.tcp.retransmission_queue import SentSegment
from nodes.transport.tcp.spurious import Step
from nodes.units import MILLISECOND

if TYPE_CHECKING:
    from nodes.transport.tcp.recovery import LossRecovery

_REDUCING = (CongestionState.RECOVERY, CongestionState.CWR)
_REPAIRING = (CongestionState.RECOVERY, CongestionState.LOSS)
_CALM = (CongestionState.OPEN, CongestionState.DISORDER)


def advance(r: LossRecovery, ack: int, now: int, *, limited: bool) -> int:
    """The common case: new data is acknowledged, nothing is missing, and nothing was sent twice."""
    queue, rtt, rack = r.queue, r.rtt, r.rack
    una = r.una
    prior_in_flight = queue.pipe
    delivered = queue.acknowledge(ack)
    r.una = ack
    octets = ack - una
    sample = now - delivered[0].sent_at
    if sample > 0:
        rtt.sample(sample, now, _expected(prior_in_flight, octets, r.mss))
    newest = delivered[-1]
    if rack is not None:
        rack.fack = newest.end
        if newest.sent_at >= rack.sent_at:
            rack.sent_at, rack.end, rack.rtt = newest.sent_at, newest.end, now - newest.sent_at
    rate = None
    if r.rate is not None:
        r.rate.arrived(newest)
        rate = r.rate.sample(octets, now, rtt.min_rtt)
    r.progress(now)
    congestion = r.congestion
    congestion.acknowledged(
        Ack(
            now,
            octets,
            octets,
            r.lost_untold,
            queue.pipe,
            prior_in_flight,
            ack,
            r.nxt,
            sample if sample > 0 else None,
            rtt.min_rtt,
            rtt.srtt,
            False,
            una < r.full_until or (not limited and congestion.pacing_rate is not None),
            rate,
        )
    )
    r.lost_untold = 0
    if limited and r.rate is not None and queue.pipe < congestion.cwnd:
        r.rate.app_limited(queue.pipe)
    if ack >= r.round_end or r.trace.packets:
        r.round_end = r.nxt
        r.trace.metrics("acknowledgment", now)
    return octets


def examine(r: LossRecovery, a: AckReport) -> int:
    """Returns the newly acknowledged octets."""
    _update_scoreboard(r, a)
    _measure(r, a)
    reducing = r.state in _REDUCING
    trigger = _spurious(r, a)
    if trigger:
        reaction.undo(r, trigger, a.now)
    _end_recovery(r, a)
    if r.nxt > r.una:
        _find_losses(r, a)
    _judge_probe(r, a)
    _take_mark(r, a)
    if r.prr.active:
        r.prr.acknowledged(a.octets, r.in_flight, safe=a.acknowledged > 0 and not a.lost)
    if a.acknowledged:
        r.progress(a.now)
    _settle(r, a.now)
    _tell_congestion(r, a, reducing=reducing or r.state in _REDUCING)
    if r.episode_over:  # the acknowledgment that ends it still belongs to it
        r.episode_over = False
        r.congestion.recovered(a.now)
    return a.acknowledged


def _update_scoreboard(r: LossRecovery, a: AckReport) -> None:
    queue = r.queue
    a.prior_una = r.una
    a.outstanding = r.nxt - r.una
    a.unsacked = a.outstanding - queue.sacked - r.duplicates.left
    a.prior_in_flight = r.in_flight
    if a.ack > r.una:
        a.acknowledged = a.ack - r.una
        a.delivered = queue.acknowledge(a.ack)
        r.una = a.ack
    a.cumulative = len(a.delivered)
    for start, end in sorted(a.blocks):  # or the newest block first would look like reordering
        if end > a.ack:
            fresh = queue.sack(max(a.ack, start), end)
            if fresh:
                a.delivered += fresh
    a.octets = sum(segment.end - segment.start for segment in a.delivered)
    if a.acknowledged:
        r.threshold.duplicates = 0
    elif a.delivered:
        r.threshold.duplicates += 1
    if not r.sack:
        _count_duplicates(r, a)


def _count_duplicates(r: LossRecovery, a: AckReport) -> None:
    """Without SACK; after a timeout duplicates are answers to what was sent needlessly, and say nothing."""
    repairing = r.state is CongestionState.RECOVERY
    if a.acknowledged:
        a.octets = r.duplicates.advanced(a.acknowledged, r.mss, repairing=repairing)
    elif a.duplicate and r.state is not CongestionState.LOSS:
        begins = r.una > r.recover
        a.octets = r.duplicates.duplicate(r.mss, r.nxt - r.una, repairing=repairing, begins=begins)


# -------------------------------------------------------------------------------------------------- measurements


def _expected(flight: int, octets: int, mss: int) -> int:
    """The samples in a round trip (RFC 7323 appendix G): acknowledgments of two segments, or of as much as this one."""
    return max(flight // max(2 * mss, octets), 1)


def _measure(r: LossRecovery, a: AckReport) -> None:
    rtt, now = r.rtt, a.now
    sample = _round_trip(a)
    if sample is not None:
        a.rtt = sample
        rtt.sample(sample, now, _expected(a.prior_in_flight, a.octets, r.mss))
    if r.rack is not None:
        for index, segment in enumerate(a.delivered):  # out of order, an older one is echoed (RFC 7323 section 4.3)
            r.rack.arrived(segment, now, rtt.min_rtt, a.echo_sent_at if index < a.cumulative else None)
    if r.rate is not None:
        for segment in a.delivered:
            r.rate.arrived(segment)


def _round_trip(a: AckReport) -> int | None:
    """From a segment that was sent once (Karn, RFC 6298 section 3): the first of those acknowledged, whose delay
    includes the peer's, or the last of those SACKed. Otherwise from the timestamp, if new data is acknowledged (RFC
    7323 section 4.1)."""
    sample = None
    if a.cumulative:
        if not any(segment.retransmissions for segment in a.delivered[: a.cumulative]):
            sample = a.now - a.delivered[0].sent_at
    elif a.delivered and not a.delivered[-1].retransmissions:
        sample = a.now - a.delivered[-1].sent_at
    if sample is None and a.acknowledged:
        sample = a.echo_delay
    return sample or None


# -------------------------------------------------------------------------------------------------- spurious, over


def _spurious(r: LossRecovery, a: AckReport) -> str:
    """By which rule the last reduction was a mistake, or nothing. A mark forbids to undo (RFC 4015 section 3.2)."""
    by_dsack = False
    if a.dsack is not None:
        r.counters.dsacks += 1
        if r.rack is not None:
            r.rack.dsack(r.una, r.nxt)
        by_dsack = r.undo.by_dsack(a.dsack[0], a.dsack[1], a.prior_una)
    late = False
    if r.frto.step is not Step.OFF:
        advanced = a.acknowledged > 0
        if advanced or a.duplicate or a.delivered:
            second = r.frto.step is Step.SECOND
            late = r.frto.acknowledged(a.ack, advanced=advanced, fresh=a.fresh, highest=a.highest, mss=r.mss)
            r.force = second and not late  # one more than the two new ones (RFC 5682 section 2.1 step 3a)
    if a.ece:
        return ""
    if by_dsack and not r.queue.lost:
        return "spurious_dsack"
    if a.acknowledged and r.undo.by_echo(a.ack, a.echo_sent_at, MILLISECOND):
        return "spurious_eifel"
    if late:
        return "spurious_frto"
    nothing_resent = r.state is CongestionState.RECOVERY and r.undo.active and not r.undo.resent
    return "spurious_reordering" if nothing_resent and r.una >= r.recover else ""


def _end_recovery(r: LossRecovery, a: AckReport) -> None:
    if r.state in _CALM:
        return
    if r.una >= r.recover:
        reaction.recovered(r, "acknowledged", a.now)
    elif (
        a.acknowledged
        and r.state is CongestionState.RECOVERY
        and not r.sack
        and r.congestion.fast_recovery is FastRecovery.RENO
    ):
        reaction.recovered(r, "partial_acknowledgment", a.now)
        r.recover = r.una - 1  # Reno answers the next three duplicates with the next reduction


# --------------------------------------------------------------------------------------------------------- losses


def _find_losses(r: LossRecovery, a: AckReport) -> None:
    if r.rack is not None:
        trigger = "rack"
        lost = r.rack.detect(r.queue, a.now, reaction.reordering_window(r))
    elif r.sack:
        trigger = "sack"
        lost = r.threshold.detect(r.queue, r.una)
    else:
        trigger = "duplicate_acks"
        lost = _by_duplicates(r, a)
    if lost:
        a.lost = sum(segment.end - segment.start for segment in lost)
        reaction.losses_found(r, lost, trigger, a.now, a.prior_una, a.unsacked)


def _by_duplicates(r: LossRecovery, a: AckReport) -> list[SentSegment]:
    """The first segment, at the third duplicate and at each partial acknowledgment (RFC 6582 section 3.2)."""
    if a.acknowledged:
        wanted = r.state is CongestionState.RECOVERY
        r.force = r.force or wanted
    else:
        wanted = a.duplicate and r.duplicates.third and r.state not in _REPAIRING and r.una > r.recover
    first = r.queue.first()
    if not wanted or first is None or first.lost:
        return []
    if first.end - first.start > r.mss:
        first = r.queue.split(first, first.start + r.mss)
    return [first]


def _judge_probe(r: LossRecovery, a: AckReport) -> None:
    """A loss that the probe itself has repaired is answered, and over at once (RFC 8985 section 7.4)."""
    if r.probe is None or r.probe.end is None:
        return
    if not r.probe.repaired(a.ack, a.dsack, bare_duplicate=a.duplicate and not a.delivered) or r.state not in _CALM:
        return
    r.congestion.congestion(a.outstanding, a.now)
    r.congestion.recovered(a.now)
    r.recover = r.nxt
    r.reduced_at = a.now
    r.must_send_cwr = True
    r.undo.stop()
    r.trace.metrics("tail_loss_probe", a.now)


def _take_mark(r: LossRecovery, a: AckReport) -> None:
    """Once per window of data: `recover` covers what was sent before the last reduction was told by CWR."""
    if a.ece and r.state in _CALM and a.ack > r.recover:
        reaction.marked(r, a.now, a.prior_una, a.unsacked)
        if r.una == r.nxt:
            reaction.recovered(r, "acknowledged", a.now)


def _settle(r: LossRecovery, now: int) -> None:
    """OPEN or DISORDER, if nothing is being repaired or reduced."""
    if r.state not in _CALM:
        return
    if r.queue.sacked or r.duplicates.count:
        if r.state is CongestionState.OPEN:
            r.disorder_flight = r.nxt - r.una
            reaction.move(r, CongestionState.DISORDER, "out_of_order", now)
    else:
        reaction.move(r, CongestionState.OPEN, "in_order", now)


def _tell_congestion(r: LossRecovery, a: AckReport, *, reducing: bool) -> None:
    rtt, congestion = r.rtt, r.congestion
    rate = r.rate.sample(a.octets, a.now, rtt.min_rtt) if r.rate is not None else None
    in_flight = r.in_flight
    congestion.acknowledged(
        Ack(
            a.now,
            a.acknowledged,
            a.octets,
            r.lost_untold,
            in_flight,
            a.prior_in_flight,
            r.una,
            r.nxt,
            a.rtt,
            rtt.min_rtt,
            rtt.srtt,
            reducing,
            a.prior_una < r.full_until or (not a.limited and congestion.pacing_rate is not None),
            rate,
        )
    )
    r.lost_untold = 0
    if a.limited and r.rate is not None and in_flight < congestion.cwnd and not r.queue.lost:
        r.rate.app_limited(in_flight)
    if a.ack >= r.round_end or r.trace.packets:
        r.round_end = r.nxt
        r.trace.metrics("acknowledgment", a.now)
