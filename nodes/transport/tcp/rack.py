"""RACK: what is lost, by time instead of by counting (RFC 8985 section 6).

A segment is lost when another one, sent later, has been delivered, and enough time has passed for mere reordering:

    sent at   0    1    2    3                  RACK.segment: the delivered one that was sent last (here 3)
              A    B    C    D
              ✗    ✓    ?    ✓                  A and C were sent before it, so they are late. They are lost when
                                                sent_at + RACK.rtt + reo_wnd has passed: the round trip that RACK.segm.
                                                took, and the reordering window on top

It works for the last segments of a transfer and for retransmissions, where there are not three later ones to count.

**Reordering window** (section 6.2 step 4). A quarter of the smallest round trip, once reordering was seen. Before, none
as soon as three segments are SACKed (then RACK acts as fast as three duplicates always did) or losses are being
repaired. Each round trip in which a DSACK proves a needless retransmission widens it by another quarter; after 16
recoveries without it is a quarter again. Never more than the smoothed round trip.

**Cost.** The RFC walks over all records on every acknowledgment. Here:

- a record that was sent once is as late as its sequence number tells: those are judged in sequence order, each once,
  beginning behind `_judged`, and SACKed stretches are jumped over;
- retransmissions wait in a queue by the time they were sent (`_resent`) and are judged from its head.

Both walks end at the first record that is not due, since all behind it were sent later. The timer is set to when
everything that was sent before RACK.segment will be due. That is at most as much later than the RFC's time for the last
of those records as RACK.segment was sent after it.
"""

from __future__ import annotations

from collections import deque

from nodes.transport.tcp.retransmission_queue import RetransmissionQueue, SentSegment
from nodes.units import MILLISECOND

PERSISTENCE = 16
"""Recoveries without DSACK after which the reordering window is narrow again (RFC 8985 section 6.2 step 4)."""

WIDEST = 64
"""Quarters of a round trip; far more than the smoothed round trip that bounds it, so that the count has a bound too."""


class Rack:
    """`sent_at`, `end` and `rtt` describe RACK.segment. `deadline` is when the reordering timer expires, or None."""

    __slots__ = (
        "_dsack_round",
        "_judged",
        "_multiplier",
        "_persist",
        "_resent",
        "deadline",
        "end",
        "fack",
        "reordering_seen",
        "rtt",
        "sent_at",
    )

    def __init__(self) -> None:
        self.sent_at = -1
        self.end = 0
        self.rtt = 0
        self.fack = 0
        self.reordering_seen = False
        self.deadline: int | None = None
        self._judged = 0
        self._resent: deque[tuple[int, int, int]] = deque()  # (sent at, start, end), in the order of sending
        self._dsack_round: int | None = None
        self._multiplier = 1
        self._persist = 0

    # ---------------------------------------------------------------------------------------------- what is known

    def resent(self, segment: SentSegment) -> None:
        """`segment` left again, just now."""
        self._resent.append((segment.sent_at, segment.start, segment.end))

    def arrived(self, segment: SentSegment, now: int, min_rtt: int | None, echo_sent_at: int | None) -> None:
        """Steps 2 and 3: `segment` was delivered. Of one that was sent more than once, it may be the first copy: when
        the acknowledgment echoes an older timestamp (`echo_sent_at`: when, to the millisecond), or comes sooner than
        the path allows."""
        sent_at, end = segment.sent_at, segment.end
        if segment.retransmissions:
            if echo_sent_at is not None and echo_sent_at < sent_at // MILLISECOND * MILLISECOND:
                return
            if min_rtt is not None and now - sent_at < min_rtt:
                return
        elif end < self.fack:
            self.reordering_seen = True
        if end > self.fack:
            self.fack = end
        if sent_at > self.sent_at or (sent_at == self.sent_at and end > self.end):
            self.sent_at = sent_at
            self.end = end
            self.rtt = now - sent_at

    def dsack(self, una: int, nxt: int) -> None:
        """The peer received something twice: once per round trip, wait longer before the next conclusion."""
        if self._dsack_round is not None and una >= self._dsack_round:
            self._dsack_round = None
        if self._dsack_round is None:
            self._dsack_round = nxt
            self._multiplier = min(self._multiplier + 1, WIDEST)
            self._persist = PERSISTENCE

    def recovered(self) -> None:
        """A recovery, fast or by timeout, has ended."""
        self._persist -= 1
        if self._persist <= 0:
            self._multiplier = 1

    def forget(self) -> None:
        """The last conclusions were wrong: a late original was taken for a retransmission, or for lost. Judge all
        records anew, from what arrives from now on."""
        self.sent_at = -1
        self.end = 0
        self.rtt = 0
        self._judged = 0
        self.deadline = None

    # ------------------------------------------------------------------------------------------------ conclusions

    def reordering_window(self, *, eager: bool, min_rtt: int | None, srtt: int | None) -> int:
        """Step 4. `eager`: losses are being repaired, or DupThresh segments are SACKed."""
        if (eager and not self.reordering_seen) or min_rtt is None or srtt is None:
            return 0
        return min(min_rtt // 4 * self._multiplier, srtt)

    def detect(self, queue: RetransmissionQueue, now: int, window: int) -> list[SentSegment]:
        """Step 5: the records that are to be held lost now; sets `deadline` for those that are only late."""
        lost: list[SentSegment] = []
        latest = now - self.rtt - window
        late = self._judge_originals(queue, latest, lost)
        late = self._judge_resent(queue, latest, lost) or late
        self.deadline = self.sent_at + self.rtt + window if late else None
        return lost

    def _judge_originals(self, queue: RetransmissionQueue, latest: int, lost: list[SentSegment]) -> bool:
        """Those sent once. True if one is late but not yet lost."""
        segments = queue.segments
        index = queue.index(self._judged)
        late = False
        while index < len(segments):
            segment = segments[index]
            if segment.sacked:
                index = queue.index(queue.sacked_until(segment.start))
                continue
            if not segment.lost and not segment.retransmissions:
                if not self._sent_before(segment.sent_at, segment.end):
                    break
                if segment.sent_at > latest:
                    late = True
                    break
                lost.append(segment)
            index += 1
        if index > queue.head:
            self._judged = segments[index - 1].end
        return late

    def _judge_resent(self, queue: RetransmissionQueue, latest: int, lost: list[SentSegment]) -> bool:
        """Those sent again. True if one is late but not yet lost. An entry is void once its records were delivered,
        held lost or sent once more."""
        resent = self._resent
        while resent:
            sent_at, start, end = resent[0]
            waiting = [s for s in queue.between(start, end) if s.sent_at == sent_at and not s.sacked and not s.lost]
            if waiting:
                if not self._sent_before(sent_at, end):
                    return False
                if sent_at > latest:
                    return True
                lost += waiting
            resent.popleft()
        return False

    def _sent_before(self, sent_at: int, end: int) -> bool:
        """RACK_sent_after(RACK.segment, it): by time, and by sequence number where they left together."""
        return sent_at < self.sent_at or (sent_at == self.sent_at and end < self.end)

    def timed_out(self, queue: RetransmissionQueue, now: int, window: int) -> list[SentSegment]:
        """Section 6.3: the retransmission timer expired. Lost is the first record, and what is overdue; what was sent
        just now may still arrive."""
        latest = now - self.rtt - window
        records = queue.segments[queue.head :]
        first = records[:1]
        self.deadline = None
        return [s for s in records if not s.sacked and not s.lost and (s.sent_at <= latest or s in first)]
