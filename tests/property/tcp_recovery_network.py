"""A sender's recovery, a receiver and a network that loses, delays and duplicates, in virtual time.

The network is a list of fates, one for each transmission: delivered after some time, or lost. When the list is used up,
everything arrives, so that each transfer ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from nodes.transport.tcp.congestion.base import CongestionControl, CongestionSettings
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.transport.tcp.recovery import Expired, LossRecovery
from nodes.transport.tcp.rtt import RttEstimator
from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND

MSS = 100


class SilentTrace:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.packets = False
        self.states: list[tuple[str, str, str]] = []
        self.losses: list[tuple[int, int, str]] = []
        self.told: list[str] = []

    def lost(self, sequence: int, length: int, trigger: str, now: int) -> None:
        self.losses.append((sequence, length, trigger))

    def state(self, old: str, new: str, trigger: str, now: int) -> None:
        self.states.append((old, new, trigger))

    def metrics(self, trigger: str, now: int) -> None:
        self.told.append(trigger)


def new_recovery(
    *,
    sack: bool = True,
    rack: bool = True,
    mss: int = MSS,
    start: int = 1,
    congestion: CongestionControl | None = None,
    trace: SilentTrace | None = None,
) -> LossRecovery:
    """One with NewReno, ten segments and the timers of the RFCs."""
    settings = TcpSettings(rack=rack, sack=sack)
    return LossRecovery(
        congestion=congestion or NewReno(CongestionSettings(mss, 10 * mss, Random(1)), 0),
        rtt=RttEstimator(settings.initial_rto, settings.minimum_rto, settings.maximum_rto, settings.clock_granularity),
        settings=settings,
        mss=mss,
        sack=sack,
        start=start,
        trace=trace or SilentTrace(),
    )


@dataclass
class Receiver:
    """Keeps octets as a set: slow, and obviously right."""

    expected: int
    sack: bool
    held: set[int] = field(default_factory=set)
    recent: list[int] = field(default_factory=list)  # an octet of each range, newest first

    def receive(self, start: int, end: int) -> tuple[int, list[tuple[int, int]], bool]:
        """ACK, SACK blocks with DSACK first, and whether the ACK is a duplicate."""
        before = self.expected
        duplicate = [n for n in range(start, end) if n < self.expected or n in self.held]
        self.held.update(n for n in range(start, end) if n >= self.expected)
        while self.expected in self.held:
            self.held.discard(self.expected)
            self.expected += 1
        blocks: list[tuple[int, int]] = []
        if self.sack:
            if len(duplicate) == end - start:
                blocks.append((start, end))
            self.recent = [start, *(n for n in self.recent if n != start)][:20]
            for block in self._ranges():
                if block not in blocks[1:] and len(blocks) < 4:
                    blocks.append(block)
        return self.expected, blocks, self.expected == before

    def _ranges(self) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        for octet in self.recent:
            if octet in self.held:
                low = high = octet
                while low - 1 in self.held:
                    low -= 1
                while high in self.held:
                    high += 1
                if (low, high) not in ranges:
                    ranges.append((low, high))
        return ranges


Fate = tuple[bool, int]
"""Arrives, and after how many milliseconds."""


@dataclass
class Network:
    """Drives one transfer of `total` octets from sequence number 1 on."""

    recovery: LossRecovery
    total: int
    fates: Sequence[Fate]
    ack_fates: Sequence[Fate] = ()
    burst: int = 1  # segments in one record, as with offload
    timestamps: bool = False
    check: Callable[[LossRecovery], None] = lambda recovery: None
    now: int = 0
    sent: list[tuple[int, int, int, bool]] = field(default_factory=list)  # (when, start, end, again)
    steps: int = 0
    timeouts: int = 0
    sacked_resent: int = 0
    reneged: bool = False

    def __post_init__(self) -> None:
        self._events: list[tuple[int, int, tuple[object, ...]]] = []
        self._count = 0
        self._sent_count = 0
        self._ack_count = 0
        self._receiver = Receiver(1, self.recovery.sack)
        self._known: set[int] = set()

    def run(self, limit: int = 100_000) -> None:
        """Until all is acknowledged. Fails after `limit` steps."""
        recovery = self.recovery
        self._flush()
        while recovery.una < 1 + self.total:
            self.steps += 1
            if self.steps > limit:
                raise AssertionError(f"no end: {recovery.snapshot(self.now)}")
            deadline = recovery.deadline()
            if self._events and (deadline is None or self._events[0][0] <= deadline):
                self._arrive()
            else:
                assert deadline is not None, f"stuck: {recovery.snapshot(self.now)}"
                assert deadline >= self.now
                self.now = deadline
                self._expire()
            self.check(recovery)
            self._flush()
            self.check(recovery)

    def _arrive(self) -> None:
        self.now, _, event = heappop(self._events)
        if event[0] == "data":
            _, start, end, stamp = event
            for piece in range(start, end, MSS):  # type: ignore[call-overload]
                ack, blocks, duplicate = self._receiver.receive(piece, min(piece + MSS, end))  # type: ignore[call-overload]
                self._post(self.ack_fates, self._ack_count, ("ack", ack, blocks, duplicate, stamp))
                self._ack_count += 1
            return
        _, ack, blocks, duplicate, stamp = event
        recovery = self.recovery
        if ack < recovery.una:  # type: ignore[operator]
            return
        for start, end in blocks:  # type: ignore[attr-defined]
            self._known.update(range(start, end))
        delay = (self.now // MILLISECOND - stamp) * MILLISECOND if self.timestamps else None  # type: ignore[operator]
        recovery.acknowledged(
            ack,  # type: ignore[arg-type]
            blocks,  # type: ignore[arg-type]
            self.now,
            duplicate=duplicate and ack == recovery.una and recovery.outstanding > 0,  # type: ignore[arg-type]
            echo_delay=delay,
            ece=False,
            limited=recovery.nxt >= 1 + self.total,
        )

    def _expire(self) -> None:
        recovery = self.recovery
        expired = recovery.timeout(self.now)
        deadline = recovery.deadline()
        assert deadline is None or deadline > self.now, "spinning"
        if expired is Expired.RETRANSMIT:
            self.timeouts += 1
            self._known.clear()  # reneging is for the receiver to decide, and only a timeout may assume it
        elif expired is Expired.PROBE:
            if recovery.nxt < 1 + self.total:
                self._send_new(min(recovery.nxt + MSS, 1 + self.total))
                recovery.probe_sent(self.now, new_data=True)
            else:
                segment = recovery.probe_segment(MSS)
                assert segment is not None
                self._transmit(segment.start, segment.end, again=True)
                recovery.probe_sent(self.now, new_data=False)

    def _flush(self) -> None:
        recovery = self.recovery
        end = 1 + self.total
        while (segment := recovery.next_retransmission(MSS, new_data=recovery.nxt < end)) is not None:
            assert segment.end - segment.start <= MSS
            self._transmit(segment.start, segment.end, again=True)
            recovery.retransmitted(segment, self.now)
            self.check(recovery)
        while recovery.nxt < end:
            length = min(end - recovery.nxt, recovery.room(), self.burst * MSS)
            if length < end - recovery.nxt:
                length = length // MSS * MSS
            if length <= 0:
                break
            self._send_new(recovery.nxt + length)

    def _send_new(self, end: int) -> None:
        start = self.recovery.nxt
        self._transmit(start, end, again=False)
        self.recovery.sent(start, end, self.now)
        self.check(self.recovery)

    def _transmit(self, start: int, end: int, *, again: bool) -> None:
        if again:
            assert start >= self.recovery.una, "resent what was acknowledged"
            assert not self._known.intersection(range(start, end)), "resent what was SACKed"
        self.sent.append((self.now, start, end, again))
        for piece in range(start, end, MSS):
            data = ("data", piece, min(piece + MSS, end), self.now // MILLISECOND)
            self._post(self.fates, self._sent_count, data)
            self._sent_count += 1

    def _post(self, fates: Sequence[Fate], index: int, event: tuple[object, ...]) -> None:
        arrives, delay = fates[index] if index < len(fates) else (True, 10)
        if arrives:
            heappush(self._events, (self.now + delay * MILLISECOND, self._count, event))
        self._count += 1


def check_counts(recovery: LossRecovery) -> None:
    """All that is kept incrementally, against a recount."""
    queue = recovery.queue
    records = queue.segments[queue.head :]
    assert queue.pipe == sum(s.copies * (s.end - s.start) for s in records)
    assert queue.sacked == sum(s.end - s.start for s in records if s.sacked)
    assert queue.lost == sum(s.end - s.start for s in records if s.lost)
    assert recovery.in_flight >= 0
    assert all(not (s.sacked or s.lost) or not s.copies for s in records)
    expected = recovery.una
    for segment in records:
        assert segment.start == expected < segment.end
        expected = segment.end
    assert expected == recovery.nxt
    merged: list[tuple[int, int]] = []
    for segment in records:
        if segment.sacked:
            if merged and merged[-1][1] == segment.start:
                merged[-1] = (merged[-1][0], segment.end)
            else:
                merged.append((segment.start, segment.end))
    assert queue.ranges() == merged
    first_lost = next((s for s in records if s.lost), None)
    assert queue.next_lost() is first_lost
    assert all(s.end <= queue.irregular_until for s in records if s.sacked or s.lost or s.retransmissions)
