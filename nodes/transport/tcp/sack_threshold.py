"""Loss detection by SACK and a count, for connections without RACK (RFC 6675).

    IsLost     three SACKed ranges lie above it, or more octets than two full segments have: the same evidence as three
               duplicate acknowledgments. Three duplicates in a row themselves condemn the first segment.
    NextSeg    what is sent next, as far as the window allows:
                 1  the lowest lost segment              `RetransmissionQueue.next_lost`
                 2  new data                             the connection's
                 3  the lowest one with SACKed above     `third_choice`: perhaps lost; better than to send nothing
                 4  the rescue retransmission            `rescue`: the last outstanding one, once per recovery, because
                                                         nothing behind it can be SACKed and show that it was lost

A retransmission that is lost again is not noticed by counting; the retransmission timer has to. With RACK time tells
what is lost, and rules 3 and 4 are not used: they would resend what is only late.
"""

from __future__ import annotations

from nodes.transport.tcp.retransmission_queue import DUPLICATE_THRESHOLD, RetransmissionQueue, SentSegment


class SackThreshold:
    """`duplicates`: acknowledgments in a row that brought new SACK blocks and nothing else (DupAcks)."""

    __slots__ = ("_judged", "_rescued", "duplicates")

    def __init__(self) -> None:
        self.duplicates = 0
        self._judged = 0  # below it each record is SACKed, or was held lost or resent already
        self._rescued = False

    def reached(self, queue: RetransmissionQueue) -> bool:
        """Whether DupThresh is reached at all."""
        return self.duplicates >= DUPLICATE_THRESHOLD or queue.lost_below() is not None

    def detect(self, queue: RetransmissionQueue, una: int) -> list[SentSegment]:
        """The records that are to be held lost now."""
        below = queue.lost_below()
        if below is None:
            if self.duplicates < DUPLICATE_THRESHOLD:
                return []
            below = una + 1
        lost: list[SentSegment] = []
        while (segment := self._next_original(queue)) is not None and segment.start < below:
            lost.append(segment)
            self._judged = segment.end
        return lost

    def _next_original(self, queue: RetransmissionQueue) -> SentSegment | None:
        """The lowest record that was sent once and is neither SACKed nor lost."""
        segments = queue.segments
        index = queue.index(self._judged)
        while index < len(segments):
            segment = segments[index]
            if segment.sacked:
                index = queue.index(queue.sacked_until(segment.start))
                continue
            if not segment.lost and not segment.retransmissions:
                return segment
            self._judged = segment.end
            index += 1
        return None

    def third_choice(self, queue: RetransmissionQueue) -> SentSegment | None:
        """NextSeg rule 3."""
        segment = self._next_original(queue)
        return segment if segment is not None and segment.start < queue.highest_sacked() else None

    def rescue(self, queue: RetransmissionQueue, limit: int) -> SentSegment | None:
        """NextSeg rule 4: at most `limit` octets, at the end of what is not SACKed."""
        segment = queue.last_outstanding()
        if self._rescued or segment is None or segment.retransmissions:
            return None
        self._rescued = True
        if segment.end - segment.start > limit:
            queue.split(segment, segment.end - limit)
        return segment

    def begin(self) -> None:
        """A recovery begins."""
        self._rescued = False

    def forget(self) -> None:
        """Nothing is lost after all, or everything: begin again at the front."""
        self._judged = 0
        self.duplicates = 0
