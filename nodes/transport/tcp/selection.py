"""What may be sent now: how much new data, and which record again (NextSeg of RFC 6675 section 4, the window of
`recovery`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.transport.tcp.recovery_state import CongestionState
from nodes.transport.tcp.retransmission_queue import SentSegment
from nodes.transport.tcp.spurious import Step

if TYPE_CHECKING:
    from nodes.transport.tcp.recovery import LossRecovery


def room(r: LossRecovery) -> int:
    """See `LossRecovery.room`."""
    if r.frto.step is not Step.OFF:
        return max(r.frto.allowance, 0)
    return 0 if r.queue.lost else window_left(r)


def window_left(r: LossRecovery) -> int:
    in_flight = r.queue.pipe - r.duplicates.left
    left = r.prr.quota if r.prr.active else r.congestion.cwnd - in_flight
    return left if in_flight > 0 or left > r.mss else r.mss  # an empty path waits for nothing


def next_retransmission(r: LossRecovery, limit: int, *, new_data: bool) -> SentSegment | None:
    """See `LossRecovery.next_retransmission`. Nothing short of a full segment is sent for lack of room."""
    if _waits_for_frto(r, new_data=new_data):
        return None
    segment = r.queue.next_lost() if r.queue.lost else _without_proof(r, limit, new_data=new_data)
    if segment is None:
        return None
    length = segment.end - segment.start
    left = window_left(r)
    if left < min(length, r.mss):
        if not r.force:
            return None
        left = r.mss
    allowed = min(limit, left if left >= length else left // r.mss * r.mss)
    return r.queue.split(segment, segment.start + allowed) if length > allowed else segment


def _waits_for_frto(r: LossRecovery, *, new_data: bool) -> bool:
    """F-RTO resends nothing but the first segment, as long as new data can go instead (RFC 5682 section 2.1 2b)."""
    if r.frto.step is Step.FIRST:
        return not r.force
    if r.frto.step is Step.SECOND:
        if new_data or r.frto.new_data_sent:
            return True
        r.frto.stop()
    return False


def _without_proof(r: LossRecovery, limit: int, *, new_data: bool) -> SentSegment | None:
    """NextSeg rules 3 and 4: what may be lost. RACK needs neither."""
    if new_data or r.state is not CongestionState.RECOVERY or not r.sack or r.rack is not None:
        return None
    if window_left(r) < r.mss:
        return None
    return r.threshold.third_choice(r.queue) or r.threshold.rescue(r.queue, limit)
