"""RACK (RFC 8985 section 6)."""

from __future__ import annotations

from nodes.transport.tcp.rack import PERSISTENCE, Rack
from nodes.transport.tcp.retransmission_queue import RetransmissionQueue, SentSegment
from nodes.units import MILLISECOND

MS = MILLISECOND
MSS = 100
RTT = 40 * MS


class Flow:
    """Segments of 100 octets, by number, from sequence number 0 on."""

    def __init__(self) -> None:
        self.queue = RetransmissionQueue(MSS)
        self.rack = Rack()

    def send(self, count: int, now: int = 0, gap: int = 0) -> None:
        start = self.queue.segments[-1].end if self.queue.segments else 0
        for index in range(count):
            self.queue.append(SentSegment(start + index * MSS, start + index * MSS + MSS, now + index * gap))

    def sack(self, number: int, now: int, echo_sent_at: int | None = None) -> None:
        for segment in self.queue.sack(number * MSS, number * MSS + MSS):
            self.rack.arrived(segment, now, RTT, echo_sent_at)

    def ack(self, number: int, now: int, echo_sent_at: int | None = None) -> None:
        for segment in self.queue.acknowledge(number * MSS):
            self.rack.arrived(segment, now, RTT, echo_sent_at)

    def detect(self, now: int, window: int = 0) -> list[int]:
        lost = self.rack.detect(self.queue, now, window)
        for segment in lost:
            self.queue.lose(segment)
        return [segment.start // MSS for segment in lost]

    def resend(self, number: int, now: int) -> None:
        segment = self.queue.segments[self.queue.index(number * MSS)]
        self.queue.resend(segment, now)
        self.rack.resent(segment)


def test_the_newest_delivered_drives_the_round_trip() -> None:
    """8985-6.2a."""
    flow = Flow()
    flow.send(4, gap=1 * MS)
    flow.sack(2, 42 * MS)
    assert (flow.rack.sent_at, flow.rack.end, flow.rack.rtt) == (2 * MS, 300, 40 * MS)
    flow.sack(1, 43 * MS)  # sent earlier: no news
    assert (flow.rack.sent_at, flow.rack.end, flow.rack.rtt) == (2 * MS, 300, 40 * MS)


def test_lost_after_the_reordering_window() -> None:
    """8985-6.2b: one SACK above a hole and the timer, without three duplicates."""
    flow = Flow()
    flow.send(2, gap=1 * MS)
    flow.sack(1, 41 * MS)
    assert flow.detect(41 * MS, window=10 * MS) == []
    assert flow.rack.deadline == 51 * MS
    assert flow.detect(49 * MS, window=10 * MS) == []
    assert flow.detect(51 * MS, window=10 * MS) == [0]
    assert flow.rack.deadline is None


def test_what_was_sent_later_is_not_judged() -> None:
    flow = Flow()
    flow.send(5, gap=1 * MS)
    flow.sack(2, 42 * MS)
    assert flow.detect(100 * MS) == [0, 1]


def test_same_instant_goes_by_sequence_number() -> None:
    flow = Flow()
    flow.send(4)
    flow.sack(2, RTT)
    assert flow.detect(RTT) == [0, 1]


def test_lost_retransmission() -> None:
    """8985-6.2c: something sent after the retransmission was delivered, it was not."""
    flow = Flow()
    flow.send(4)
    flow.sack(1, RTT)
    assert flow.detect(RTT) == [0]
    flow.resend(0, RTT)
    flow.send(1, now=RTT + 1 * MS)
    assert flow.detect(RTT + 2 * MS) == []
    flow.sack(2, RTT + 2 * MS)
    flow.sack(3, RTT + 2 * MS)
    assert flow.detect(RTT + 2 * MS) == []
    flow.sack(4, 2 * RTT + 1 * MS)
    assert flow.detect(2 * RTT + 1 * MS) == [0]


def test_late_retransmission_waits_for_the_reordering_window() -> None:
    """8985-6.2c, with the timer."""
    flow = Flow()
    flow.send(3)
    flow.sack(1, RTT)
    assert flow.detect(RTT) == [0]
    flow.resend(0, RTT)
    flow.send(1, now=RTT + 1 * MS)
    flow.sack(2, RTT + 1 * MS)
    flow.sack(3, 2 * RTT + 1 * MS)
    assert flow.detect(2 * RTT + 1 * MS, window=10 * MS) == []
    assert flow.rack.deadline == 2 * RTT + 11 * MS
    assert flow.detect(2 * RTT + 11 * MS, window=10 * MS) == [0]


def test_a_delivered_retransmission_condemns_what_was_sent_before_it() -> None:
    """The tail of a flight in recovery: nothing follows it but the retransmission."""
    flow = Flow()
    flow.send(4)
    flow.sack(1, RTT)
    flow.detect(RTT)
    flow.resend(0, RTT)
    flow.ack(2, 2 * RTT)
    assert flow.detect(2 * RTT) == [2, 3]


def test_an_early_acknowledgment_of_a_retransmission_is_the_originals() -> None:
    """8985-6.2 step 2: sooner than min_RTT, or with an older timestamp."""
    for later, echo in ((RTT - 1, None), (RTT + 5 * MS, 39 * MS)):
        flow = Flow()
        flow.send(4)
        flow.sack(1, RTT)
        flow.detect(RTT)
        flow.resend(0, RTT)
        flow.ack(2, RTT + later, echo)
        assert flow.rack.sent_at == 0
        assert flow.detect(RTT + later) == []
    flow = Flow()
    flow.send(4)
    flow.sack(1, RTT)
    flow.detect(RTT)
    flow.resend(0, RTT)
    flow.ack(2, 2 * RTT, RTT)
    assert flow.rack.sent_at == RTT


def test_reordering_is_noticed() -> None:
    """8985-6.2d: an original arrives below what arrived before."""
    flow = Flow()
    flow.send(4)
    flow.sack(2, RTT)
    assert not flow.rack.reordering_seen
    flow.sack(1, RTT)
    assert flow.rack.reordering_seen


def test_a_filled_hole_is_no_reordering() -> None:
    flow = Flow()
    flow.send(4)
    flow.sack(2, RTT)
    flow.detect(RTT)
    flow.resend(0, RTT)
    flow.ack(1, 2 * RTT)
    assert not flow.rack.reordering_seen


def test_reordering_window() -> None:
    """8985-6.2d: a quarter of min_RTT; none with three SACKed or in recovery, until reordering is seen."""
    rack = Rack()
    assert rack.reordering_window(eager=False, min_rtt=RTT, srtt=RTT) == RTT // 4
    assert rack.reordering_window(eager=True, min_rtt=RTT, srtt=RTT) == 0
    assert rack.reordering_window(eager=False, min_rtt=RTT, srtt=1 * MS) == 1 * MS
    assert rack.reordering_window(eager=False, min_rtt=None, srtt=None) == 0
    rack.reordering_seen = True
    assert rack.reordering_window(eager=True, min_rtt=RTT, srtt=RTT) == RTT // 4


def test_dsack_widens_once_per_round_trip_and_wears_off() -> None:
    """8985-6.2d: grows with DSACK."""
    rack = Rack()

    def quarters() -> int:
        return rack.reordering_window(eager=False, min_rtt=RTT, srtt=100 * RTT) // (RTT // 4)

    rack.dsack(1000, 2000)
    rack.dsack(1500, 2500)
    assert quarters() == 2
    rack.dsack(2000, 3000)
    assert quarters() == 3
    for _ in range(PERSISTENCE - 1):
        rack.recovered()
    assert quarters() == 3
    rack.recovered()
    assert quarters() == 1


class CountingList(list[SentSegment]):
    """Counts how often a record is looked at."""

    looked = 0

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        CountingList.looked += 1
        return super().__getitem__(index)


def test_each_record_is_judged_once() -> None:
    """The walk does not begin at the front for each acknowledgment, and jumps over what is SACKed."""
    flow = Flow()
    flow.send(1000, gap=1000)
    for number in range(1, 400, 2):
        flow.sack(number, RTT + number * 1000)
        flow.detect(RTT + number * 1000)
    flow.queue.segments = CountingList(flow.queue.segments)
    CountingList.looked = 0
    for number in range(401, 500):
        flow.sack(number, RTT + number * 1000)
        flow.detect(RTT + number * 1000)
    assert CountingList.looked / 99 < 60  # a few bisections of 1000


def test_what_was_split_after_resending_is_still_judged() -> None:
    flow = Flow()
    flow.queue.append(SentSegment(0, 300, 0))
    flow.send(2)
    flow.sack(3, RTT)
    assert flow.detect(RTT) == [0]
    segment = flow.queue.segments[0]
    flow.queue.resend(segment, RTT)
    flow.rack.resent(segment)
    flow.send(1, now=RTT + 1)
    flow.sack(1, 2 * RTT)  # the middle of it
    flow.sack(5, 2 * RTT + 1)
    assert sorted(flow.detect(2 * RTT + 1)) == [0, 2, 4]


def test_timeout_condemns_the_first_and_the_overdue() -> None:
    """Section 6.3."""
    flow = Flow()
    flow.send(2)
    flow.send(1, now=90 * MS)
    flow.rack.rtt = RTT
    lost = flow.rack.timed_out(flow.queue, 100 * MS, 10 * MS)
    assert [segment.start for segment in lost] == [0, 100]
    lost = flow.rack.timed_out(flow.queue, 1, 10 * MS)
    assert [segment.start for segment in lost] == [0]


def test_after_a_mistake_all_are_judged_anew() -> None:
    flow = Flow()
    flow.send(5)
    flow.sack(3, RTT)
    assert flow.detect(RTT) == [0, 1, 2]
    flow.queue.forgive()
    flow.rack.forget()
    assert flow.detect(2 * RTT) == []
    flow.sack(4, 2 * RTT)
    assert flow.detect(2 * RTT) == [0, 1, 2]
