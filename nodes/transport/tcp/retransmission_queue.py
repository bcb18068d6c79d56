"""What was sent and is not acknowledged: the retransmission queue and the SACK scoreboard.

One record per transmission, in sequence order and without gaps, from SND.UNA to SND.NXT. With segmentation offload a
record holds up to 64 KiB; it is split, at multiples of the MSS, when a part of it has its own fate.

    SND.UNA                                             SND.NXT
      │ lost │   sacked   │ lost, resent │ sacked │ sent   │
      └──────┴────────────┴──────────────┴────────┴────────┘
    copies 0       0             1            0       1

**Pipe.** `copies` is how many transmissions of a record are held to be in the network: one when it was sent, none when
it is SACKed or lost, one more for each retransmission. So `pipe`, the octets in flight, is the sum of copies times
length, which is SetPipe of RFC 6675 section 4. It is kept up to date by every change, never recomputed.

**Cost.** A bulk transfer keeps thousands of records, and each acknowledgment must not walk over them:

- records leave at the front and arrive at the end of a list; the front is an index, and the list is cut only when half
  of it is dead, so both cost O(1) amortized;
- what is SACKed is also kept as merged ranges (`_starts`, `_ends`), so that the three blocks which every acknowledgment
  repeats are recognized by one bisection each, and a walk can jump over a SACKed stretch;
- lost records wait in a heap by sequence number; stale entries are dropped when they come up;
- no record below `irregular_until` needs a look as long as nothing was SACKed, lost or resent: the common case.

**Bounds.** A record is only split at multiples of the MSS, and a SACK block counts for whole pieces only. So the number
of records and ranges is bounded by what was sent, whatever blocks a peer invents; a receiver reports whole segments,
and its blocks grow, so nothing is missed. SACKed data stays here until it is acknowledged: the receiver may still drop
it (RFC 2018 section 8).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from heapq import heappop, heappush
from operator import attrgetter

DUPLICATE_THRESHOLD = 3
"""DupThresh: duplicates that mean a loss and not reordering (RFC 5681 section 3.2, RFC 6675 section 2)."""

_COMPACT = 256
"""Dead records at the front before the list is cut: fewer are not worth the copying."""

_start = attrgetter("start")


class SentSegment:
    """A transmitted range [start, end). `sent_at` is the latest transmission, `first_sent_at` the first. The last four
    are the state of the connection at that transmission, for the delivery rate (`delivery_rate`), and unset without."""

    __slots__ = (
        "app_limited",
        "copies",
        "delivered",
        "delivered_at",
        "end",
        "first_sent_at",
        "flight_sent_at",
        "lost",
        "retransmissions",
        "sacked",
        "sent_at",
        "start",
    )

    delivered: int
    delivered_at: int
    flight_sent_at: int
    app_limited: bool

    def __init__(self, start: int, end: int, now: int) -> None:
        self.start = start
        self.end = end
        self.sent_at = now
        self.first_sent_at = now
        self.retransmissions = 0
        self.copies = 1
        self.sacked = False
        self.lost = False

    def cut(self, at: int) -> SentSegment:
        """Shorten this record to [at, end) and return the rest, [start, at), as a record of the same history."""
        left = SentSegment(self.start, at, self.sent_at)
        left.first_sent_at = self.first_sent_at
        left.retransmissions = self.retransmissions
        left.copies = self.copies
        left.sacked = self.sacked
        left.lost = self.lost
        if hasattr(self, "delivered"):
            left.delivered = self.delivered
            left.delivered_at = self.delivered_at
            left.flight_sent_at = self.flight_sent_at
            left.app_limited = self.app_limited
        self.start = at
        return left


class RetransmissionQueue:
    """`pipe`, `sacked` and `lost` are octets; a lost record that was resent counts in `pipe` again and no longer in
    `lost`. `segments[head:]` are the records."""

    __slots__ = (
        "_ends",
        "_lost_heap",
        "_starts",
        "head",
        "irregular_until",
        "lost",
        "mss",
        "pipe",
        "sacked",
        "segments",
    )

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.segments: list[SentSegment] = []
        self.head = 0
        self.pipe = 0
        self.sacked = 0
        self.lost = 0
        self.irregular_until = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._lost_heap: list[int] = []

    def __len__(self) -> int:
        return len(self.segments) - self.head

    # ------------------------------------------------------------------------------------------------ in and out

    def append(self, segment: SentSegment) -> None:
        """New data left."""
        self.segments.append(segment)
        self.pipe += segment.end - segment.start

    def acknowledge(self, ack: int) -> list[SentSegment]:
        """Remove all below `ack`. The records, or parts of one, of which it is new that they arrived: those that were
        not SACKed before."""
        segments = self.segments
        head = index = self.head
        count = len(segments)
        while index < count and segments[index].end <= ack:
            index += 1
        done = segments[head:index]
        if index < count and segments[index].start < ack:
            done.append(self._cut(segments[index], ack))
        if done:
            if done[0].start < self.irregular_until:
                done = self._take_off(done)
            else:
                self.pipe -= done[-1].end - done[0].start
        if index == count:
            segments.clear()
            index = 0
        elif index > _COMPACT and 2 * index > count:
            del segments[:index]
            index = 0
        self.head = index
        if self._starts:
            self._forget_ranges(ack)
        return done

    def _take_off(self, done: list[SentSegment]) -> list[SentSegment]:
        fresh = []
        for segment in done:
            length = segment.end - segment.start
            self.pipe -= segment.copies * length
            if segment.sacked:
                self.sacked -= length
                continue
            if segment.lost:
                self.lost -= length
                segment.lost = False
            fresh.append(segment)
        return fresh

    def _forget_ranges(self, ack: int) -> None:
        gone = bisect_right(self._ends, ack)
        del self._starts[:gone]
        del self._ends[:gone]
        if self._starts and self._starts[0] < ack:
            self._starts[0] = ack

    def _cut(self, segment: SentSegment, at: int) -> SentSegment:
        """Split off [start, at); the heap knows lost records by their start."""
        left = segment.cut(at)
        if segment.lost:
            heappush(self._lost_heap, at)
        return left

    def split(self, segment: SentSegment, at: int) -> SentSegment:
        """Split `segment` at `at`, inside of it. The left part is returned, `segment` becomes the right one."""
        index = self.index(segment.start)
        left = self._cut(segment, at)
        self.segments.insert(index, left)
        return left

    # -------------------------------------------------------------------------------------------------- looking

    def index(self, sequence: int) -> int:
        """Where in `segments` the first record lies that ends behind `sequence`; their number if there is none."""
        index = bisect_right(self.segments, sequence, self.head, key=_start) - 1
        if index < self.head:
            return self.head
        return index if self.segments[index].end > sequence else index + 1

    def between(self, start: int, end: int) -> list[SentSegment]:
        """The records that begin in [start, end)."""
        segments = self.segments
        first = bisect_left(segments, start, self.head, key=_start)
        return segments[first : bisect_left(segments, end, first, key=_start)]

    def first(self) -> SentSegment | None:
        """The record at SND.UNA."""
        return self.segments[self.head] if self.head < len(self.segments) else None

    def last_outstanding(self, below: int | None = None) -> SentSegment | None:
        """The record with the highest sequence number that begins below `below` and is not SACKed."""
        segments = self.segments
        index = (len(segments) if below is None else bisect_left(segments, below, self.head, key=_start)) - 1
        while index >= self.head:
            segment = segments[index]
            if not segment.sacked:
                return segment
            start = self._starts[bisect_right(self._starts, segment.start) - 1]
            index = bisect_left(segments, start, self.head, key=_start) - 1
        return None

    def highest_sacked(self) -> int:
        """The end of the highest SACKed range; 0 if nothing is SACKed."""
        return self._ends[-1] if self._ends else 0

    def sacked_until(self, sequence: int) -> int:
        """The end of the SACKed range that holds `sequence`; `sequence` itself if none does."""
        index = bisect_right(self._starts, sequence) - 1
        return max(self._ends[index], sequence) if index >= 0 else sequence

    def ranges(self) -> list[tuple[int, int]]:
        """What is SACKed, in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def lost_below(self) -> int | None:
        """Below which sequence number IsLost holds for all that is not SACKed (RFC 6675 section 4): above it lie
        DupThresh SACKed ranges, or more SACKed octets than DupThresh - 1 full segments have."""
        octets = 0
        for count, index in enumerate(range(len(self._starts) - 1, -1, -1), 1):
            octets += self._ends[index] - self._starts[index]
            if count >= DUPLICATE_THRESHOLD or octets > (DUPLICATE_THRESHOLD - 1) * self.mss:
                return self._starts[index]
        return None

    # ----------------------------------------------------------------------------------------------------- SACK

    def sack(self, start: int, end: int) -> list[SentSegment]:
        """The receiver holds [start, end), of what is outstanding. The records of which that is new."""
        starts, ends = self._starts, self._ends
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        if low < high and starts[low] <= start and end <= ends[low]:
            return []
        gaps = []
        for index in range(low, high):
            if starts[index] > start:
                gaps.append((start, starts[index]))
            start = ends[index]
        if start < end:
            gaps.append((start, end))
        fresh: list[SentSegment] = []
        for gap_start, gap_end in gaps:
            self._sack_gap(gap_start, gap_end, fresh)
        return fresh

    def _sack_gap(self, start: int, end: int, fresh: list[SentSegment]) -> None:
        """Mark the whole pieces in [start, end), in which nothing is SACKed yet."""
        segments = self.segments
        index = self.index(start)
        if index < len(segments) and segments[index].start < start:
            segment = segments[index]
            at = self._round_up(segment, start)
            if at < segment.end:
                self.split(segment, at)
            index += 1
        first = len(fresh)
        while index < len(segments) and segments[index].end <= end:
            self._mark_sacked(segments[index], fresh)
            index += 1
        if index < len(segments) and segments[index].start < end:
            segment = segments[index]
            at = segment.start + (end - segment.start) // self.mss * self.mss
            if at > segment.start:
                self._mark_sacked(self.split(segment, at), fresh)
        if len(fresh) > first:
            self._add_range(fresh[first].start, fresh[-1].end)

    def _round_up(self, segment: SentSegment, sequence: int) -> int:
        """The end of the piece of `segment` in which `sequence` lies."""
        return segment.start - (segment.start - sequence) // self.mss * self.mss

    def _mark_sacked(self, segment: SentSegment, fresh: list[SentSegment]) -> None:
        length = segment.end - segment.start
        self.pipe -= segment.copies * length
        segment.copies = 0
        segment.sacked = True
        self.sacked += length
        if segment.lost:
            segment.lost = False
            self.lost -= length
        if segment.end > self.irregular_until:
            self.irregular_until = segment.end
        fresh.append(segment)

    def _add_range(self, start: int, end: int) -> None:
        """Merge [start, end) with the ranges that it touches."""
        starts, ends = self._starts, self._ends
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        if low < high:
            start = min(start, starts[low])
            end = max(end, ends[high - 1])
        starts[low:high] = [start]
        ends[low:high] = [end]

    def renege(self) -> None:
        """The receiver dropped what it had SACKed (RFC 2018 section 8): forget all marks; it is lost."""
        for segment in self.segments[self.head :]:
            if segment.sacked:
                segment.sacked = False
                self.lose(segment)
        self.sacked = 0
        self._starts.clear()
        self._ends.clear()

    # ----------------------------------------------------------------------------------------- loss and resending

    def lose(self, segment: SentSegment) -> None:
        """No copy of `segment` is in the network any more; it waits to be resent."""
        length = segment.end - segment.start
        self.pipe -= segment.copies * length
        segment.copies = 0
        segment.lost = True
        self.lost += length
        heappush(self._lost_heap, segment.start)
        if segment.end > self.irregular_until:
            self.irregular_until = segment.end

    def next_lost(self) -> SentSegment | None:
        """The lost record with the lowest sequence number."""
        heap = self._lost_heap
        while heap:
            index = self.index(heap[0])
            if index < len(self.segments):
                segment = self.segments[index]
                if segment.start == heap[0] and segment.lost:
                    return segment
            heappop(heap)
        return None

    def resend(self, segment: SentSegment, now: int) -> None:
        """A copy of `segment` left again."""
        length = segment.end - segment.start
        if segment.lost:
            segment.lost = False
            self.lost -= length
        segment.copies += 1
        self.pipe += length
        segment.retransmissions += 1
        segment.sent_at = now
        if segment.end > self.irregular_until:
            self.irregular_until = segment.end

    def forgive(self) -> None:
        """What was held to be lost was only late: it is in the network again."""
        for segment in self.segments[self.head :]:
            if segment.lost:
                segment.lost = False
                segment.copies = 1
                self.pipe += segment.end - segment.start
        self.lost = 0
        self._lost_heap.clear()
