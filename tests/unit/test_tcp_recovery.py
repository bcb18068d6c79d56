"""Loss recovery as a whole: what it sends again when, and what it tells the congestion control."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from nodes.transport.tcp.congestion.base import Ack, CongestionControl, CongestionSettings, FastRecovery
from nodes.transport.tcp.congestion.fixed import FixedWindow
from nodes.transport.tcp.congestion.newreno import NewReno
from nodes.transport.tcp.congestion.reno import Reno
from nodes.transport.tcp.congestion.tahoe import Tahoe
from nodes.transport.tcp.recovery import CongestionState, Expired, LossRecovery, SentSegment
from nodes.units import MILLISECOND, SECOND
from tests.property.tcp_recovery_network import MSS, SilentTrace, new_recovery

MS = MILLISECOND
RTT = 100 * MS
RTO = SECOND


class Told(NewReno):
    """NewReno that notes what it is told."""

    __slots__ = ("acks", "hooks")

    def __init__(self, window: int = 10) -> None:
        super().__init__(CongestionSettings(MSS, window * MSS, Random(1)), 0)
        self.hooks: list[tuple[str, int]] = []
        self.acks: list[Ack] = []

    def acknowledged(self, ack: Ack) -> None:
        self.acks.append(ack)
        super().acknowledged(ack)

    def congestion(self, in_flight: int, now: int) -> None:
        self.hooks.append(("congestion", in_flight))
        super().congestion(in_flight, now)

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        self.hooks.append(("repeated" if repeated else "timeout", in_flight))
        super().timeout(in_flight, now, repeated=repeated)

    def recovered(self, now: int) -> None:
        self.hooks.append(("recovered", 0))
        super().recovered(now)

    def spurious(self, now: int) -> None:
        self.hooks.append(("spurious", 0))
        super().spurious(now)


class Sender:
    """Segments of 100 octets by number: segment 0 is [1, 101)."""

    def __init__(
        self, *, sack: bool = True, rack: bool = True, congestion: CongestionControl | None = None, window: int = 10
    ) -> None:
        self.told = Told(window)
        self.trace = SilentTrace()
        self.recovery: LossRecovery = new_recovery(
            sack=sack, rack=rack, congestion=congestion or self.told, trace=self.trace
        )
        self.now = 0
        self.new_data = True

    def send(self, count: int = 1) -> None:
        for _ in range(count):
            nxt = self.recovery.nxt
            self.recovery.sent(nxt, nxt + MSS, self.now)

    def ack(
        self,
        number: int,
        sacks: Sequence[tuple[int, int]] = (),
        *,
        duplicate: bool = False,
        echo_delay: int | None = None,
        ece: bool = False,
        limited: bool = False,
        after: int = 0,
    ) -> int:
        """All before segment `number` is acknowledged; `sacks` are [first, behind the last) in segments."""
        self.now += after
        return self.recovery.acknowledged(
            1 + number * MSS,
            [(1 + start * MSS, 1 + end * MSS) for start, end in sacks],
            self.now,
            duplicate=duplicate,
            echo_delay=echo_delay,
            ece=ece,
            limited=limited,
        )

    def duplicates(self, number: int, count: int) -> None:
        for _ in range(count):
            self.ack(number, duplicate=True)

    def measured(self) -> Sender:
        """One round trip of RTT is known; segment 1 is next."""
        self.send()
        self.ack(1, after=RTT)
        return self

    def resend(self) -> list[int]:
        """Send again all that may be; the numbers."""
        numbers = []
        while (segment := self.recovery.next_retransmission(MSS, new_data=self.new_data)) is not None:
            self.recovery.retransmitted(segment, self.now)
            numbers.append((segment.start - 1) // MSS)
        return numbers

    def send_allowed(self) -> int:
        """As much new data as there is room for; how many segments."""
        count = 0
        while self.recovery.room() >= MSS:
            self.send()
            count += 1
        return count

    def expire(self) -> Expired:
        deadline = self.recovery.deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        expired = self.recovery.timeout(self.now)
        after = self.recovery.deadline()
        assert after is None or after > self.now
        return expired

    @property
    def state(self) -> CongestionState:
        return self.recovery.state


# ---------------------------------------------------------------------------------------- the retransmission timer


def test_timer_starts_with_the_first_segment_and_stops_with_the_last_acknowledgment() -> None:
    """6298-5.1-3."""
    s = Sender()
    assert s.recovery.deadline() is None
    s.send()
    s.now = 200 * MS
    s.send()
    assert s.recovery.deadline() == RTO  # not restarted by the second
    s.ack(1, after=100 * MS)
    assert s.recovery.retransmission_at == s.now + s.recovery.rtt.timeout
    s.ack(2)
    assert s.recovery.deadline() is None
    assert s.recovery.first_unanswered is None


def test_partial_acknowledgment_pushes_the_timeout_out() -> None:
    """6298-5.1-3."""
    s = Sender(rack=False).measured()
    s.send(2)
    s.ack(2, after=500 * MS)
    assert s.recovery.deadline() == s.now + s.recovery.rtt.timeout


def test_timeouts_double_and_resend_the_first_segment() -> None:
    """6298-5.4-6: gaps in the ratio 2."""
    s = Sender(rack=False).measured()
    s.send(3)
    sent_at, gaps = s.now, []
    for _ in range(5):
        assert s.expire() is Expired.RETRANSMIT
        gaps.append(s.now - sent_at)
        sent_at = s.now
        assert s.resend() == [1]
    assert gaps == [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]
    assert s.recovery.timeouts == 5
    assert s.recovery.first_unanswered == RTT


def test_back_off_ends_with_a_valid_sample_only() -> None:
    """6298-3: Karn. The acknowledgment of what was sent twice measures nothing, and keeps the back-off."""
    s = Sender(rack=False).measured()
    s.send()
    s.expire()
    s.resend()
    srtt = s.recovery.rtt.srtt
    s.ack(2, after=300 * MS)
    assert (s.recovery.timeouts, s.recovery.rtt.backed_off, s.recovery.rtt.srtt) == (0, 1, srtt)
    s.send()
    assert s.recovery.deadline() == s.now + 2 * SECOND
    s.ack(3, after=RTT)
    assert s.recovery.rtt.backed_off == 0


def test_a_timestamp_is_a_sample_even_of_a_retransmission() -> None:
    """6298-3: unless timestamps tell the copies apart."""
    s = Sender(rack=False).measured()
    s.send()
    s.expire()
    s.resend()
    s.ack(2, after=300 * MS, echo_delay=300 * MS)
    assert s.recovery.rtt.latest == 300 * MS


def test_karn_for_sacked_segments() -> None:
    """6298+SACK."""
    s = Sender(rack=False).measured()
    s.send(4)
    s.expire()
    s.resend()
    latest = s.recovery.rtt.latest
    s.ack(1, [(1, 2)], after=50 * MS)
    assert s.recovery.rtt.latest == latest
    s.ack(1, [(1, 3)], after=50 * MS)
    assert s.recovery.rtt.latest == s.now - RTT


def test_no_sample_of_no_time() -> None:
    """What is recorded as sent only when it is acknowledged, as the octet of a window probe, measures nothing."""
    s = Sender()
    s.send()
    s.ack(1)
    assert s.recovery.rtt.srtt is None


def test_timeout_begins_again_with_one_segment() -> None:
    """5681-3.1f: after RTO exactly one segment, then doubling."""
    s = Sender(rack=False).measured()
    s.send(8)
    s.expire()
    assert s.told.hooks == [("timeout", 8 * MSS)]
    assert s.state is CongestionState.LOSS
    assert s.resend() == [1]
    assert s.send_allowed() == 0
    s.new_data = False
    s.ack(2, after=RTT)
    assert s.resend() == [2, 3]
    s.ack(3, after=RTT)
    s.ack(4)
    assert s.resend() == [4, 5, 6, 7]


def test_repeated_timeout_of_the_same_segment_is_told_as_such() -> None:
    """5681-3.1g."""
    s = Sender(rack=False).measured()
    s.send(8)
    s.expire()
    s.resend()
    s.expire()
    assert [hook for hook, _ in s.told.hooks] == ["timeout", "repeated"]
    s.resend()
    s.ack(2, after=RTT)
    s.resend()
    s.expire()
    assert [hook for hook, _ in s.told.hooks] == ["timeout", "repeated", "timeout"]


def test_recovery_from_a_timeout_ends_when_all_of_then_is_acknowledged() -> None:
    s = Sender(rack=False).measured()
    s.send(3)
    s.expire()
    s.new_data = False
    s.resend()
    s.ack(2, after=RTT)
    assert s.state is CongestionState.LOSS
    s.resend()
    s.ack(4, after=RTT)
    assert s.state is CongestionState.OPEN
    assert s.told.hooks[-1][0] == "recovered"


# ------------------------------------------------------------------------------------------- SACK and RACK


def test_one_hole_is_resent_and_recovery_ends() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 3)], after=RTT)
    assert s.state is CongestionState.DISORDER
    assert s.resend() == []
    assert s.recovery.deadline() == s.now + RTT // 4  # the reordering timer
    assert s.expire() is Expired.REORDER
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [1]
    s.ack(1, [(2, 11)], after=RTT)
    s.ack(11, after=RTT)
    assert s.state is CongestionState.OPEN
    assert [hook for hook, _ in s.told.hooks] == ["congestion", "recovered"]
    assert s.recovery.counters.retransmitted_segments == 1
    assert s.trace.losses == [(1 + MSS, MSS, "rack")]


def test_three_sacked_segments_need_no_timer() -> None:
    """8985-6.2d, 6675-5a."""
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 4)], after=RTT)
    assert s.resend() == []
    s.ack(1, [(2, 5)])
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [1]
    assert s.told.hooks == [("congestion", 10 * MSS)]
    assert s.told.ssthresh == 5 * MSS


def test_duplicates_without_sack_blocks_mean_nothing_with_sack() -> None:
    """6675-2: a duplicate acknowledgment is one that SACKs something new."""
    for rack in (True, False):
        s = Sender(rack=rack).measured()
        s.send(10)
        s.duplicates(1, 5)
        assert s.state is CongestionState.OPEN
        assert s.resend() == []


def test_limited_transmit() -> None:
    """3042-2: a new segment on the first and second duplicate, and they do not count as FlightSize."""
    for sack in (True, False):
        s = Sender(sack=sack, rack=False).measured()
        s.send(s.told.cwnd // MSS)
        assert s.send_allowed() == 0
        full = s.recovery.outstanding
        for last in (3, 4):
            s.ack(1, [(2, last)] if sack else (), duplicate=True)
            assert s.send_allowed() == 1
        s.ack(1, [(2, 5)] if sack else (), duplicate=True)
        assert s.state is CongestionState.RECOVERY
        assert s.told.hooks == [("congestion", full)]


def test_window_reduction_is_spread_over_recovery() -> None:
    """6937/PRR and 5681-4.3: half as much is sent as is delivered, and the pipe ends at ssthresh."""
    s = Sender(window=20).measured()
    s.send(20)
    sent = 0
    for last in range(3, 22):
        s.ack(1, [(2, last)], after=1 * MS)
        sent += len(s.resend()) + s.send_allowed()
    assert sent <= 11
    assert s.recovery.in_flight <= s.told.ssthresh == 10 * MSS
    assert s.recovery.in_flight >= 9 * MSS


def test_second_hole_of_the_window_causes_no_second_reduction() -> None:
    """6582-3.2a, once per window of data."""
    s = Sender(window=20).measured()
    s.send(20)
    s.ack(1, [(2, 5)], after=RTT)
    s.resend()
    s.ack(1, [(6, 9), (2, 5)])
    assert s.resend() == [5] or s.recovery.queue.lost == MSS
    assert [hook for hook, _ in s.told.hooks] == ["congestion"]


def test_lost_retransmission_is_found_and_answered() -> None:
    """8985-6.2c, RFC 5681 section 4.3: a second indication of congestion."""
    s = Sender(window=20).measured()
    s.send(20)
    s.ack(1, [(2, 5)], after=RTT)
    assert s.resend() == [1]
    s.now += 1 * MS
    for last in range(6, 12):
        s.ack(1, [(2, last)])
        s.send_allowed()
    assert s.recovery.nxt > 1 + 21 * MSS
    s.now += RTT
    s.ack(1, [(21, 22), (2, 21)])
    assert s.resend()[:1] == [1]
    assert [hook for hook, _ in s.told.hooks] == ["congestion", "congestion"]
    assert s.recovery.recover == s.recovery.nxt


def test_nothing_sacked_is_resent_before_a_timeout() -> None:
    """6675-5.1."""
    s = Sender(window=20).measured()
    s.send(20)
    s.ack(1, [(2, 5), (7, 9), (12, 20)], after=RTT)
    resent = set(s.resend())
    for _ in range(5):
        s.ack(1, [(2, 5), (7, 9), (12, 21)], after=1 * MS)
        resent |= set(s.resend())
    assert resent <= {1, 5, 6, 9, 10, 11}


def test_sack_marks_survive_a_timeout() -> None:
    """6675-5.1: what was SACKed is not sent again."""
    s = Sender().measured()
    s.send(6)
    s.ack(1, [(3, 6)], after=RTT)
    s.resend()
    s.expire()
    s.new_data = False
    resent = s.resend()
    s.ack(2, [(3, 6)], after=RTT)
    resent += s.resend()
    s.ack(3, [(3, 6)], after=RTT)
    resent += s.resend()
    assert set(resent) <= {1, 2, 6}


def test_reneging_is_noticed_by_a_timeout() -> None:
    """2018-8: the peer SACKs, then forgets; all is sent again after the timeout."""
    s = Sender().measured()
    s.send(5)
    s.ack(1, [(2, 6)], after=RTT)
    assert s.resend() == [1]
    s.ack(2, after=RTT)  # and nothing of what was SACKed
    assert s.resend() == []
    s.new_data = False
    assert s.expire() is Expired.RETRANSMIT
    assert s.recovery.counters.reneged == 1
    resent = s.resend()
    for number in range(3, 7):
        s.ack(number, after=RTT)
        resent += s.resend()
    assert resent == [2, 3, 4, 5]
    assert s.recovery.outstanding == 0


def test_reordering_is_forgiven() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 3)], after=RTT)
    s.ack(3, after=5 * MS)
    assert s.state is CongestionState.OPEN
    assert s.told.hooks == []
    s.ack(3, [(4, 8)])  # more than three, but reordering was seen: RACK waits
    assert s.state is CongestionState.DISORDER
    assert s.resend() == []


# ----------------------------------------------------------------------------------------- SACK without RACK


def test_next_seg_order() -> None:
    """6675-5b: lost holes, new data, other holes, one rescue."""
    s = Sender(rack=False, window=40).measured()
    s.send(20)
    s.now += RTT
    for blocks in ([(2, 3)], [(4, 5), (2, 3)], [(6, 7), (4, 5), (2, 3)]):
        s.ack(1, blocks)
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [1]  # only this one has three ranges above it
    for last in (8, 9, 10):
        s.ack(1, [(6, last), (4, 5), (2, 3)])  # more than two segments' octets above the other holes
    assert s.resend() == [3]
    for last in (11, 12):
        s.ack(1, [(6, last), (4, 5), (2, 3)])
    assert s.resend() == [5]
    for last in (13, 14, 15):
        s.ack(1, [(6, last), (4, 5), (2, 3)])
    assert s.resend() == []  # new data is there: that goes
    assert s.send_allowed() == 1
    s.new_data = False
    s.ack(1, [(6, 16), (4, 5), (2, 3)])
    assert s.resend() == [21]  # the rescue: the highest outstanding one
    s.ack(1, [(6, 17), (4, 5), (2, 3)])
    s.send()
    s.ack(1, [(6, 19), (4, 5), (2, 3)])
    assert s.recovery.room() >= MSS
    assert s.resend() == []  # 22 is the highest now, but one rescue is all


def test_rule_three_fills_holes_that_are_not_lost_yet() -> None:
    """6675-5b: rule 3 only without new data."""
    s = Sender(rack=False, window=40).measured()
    s.send(12)
    s.ack(1, [(2, 5)], after=RTT)
    assert s.resend() == [1]
    s.ack(1, [(6, 7), (2, 5)])
    s.ack(1, [(6, 8), (2, 5)])
    assert s.resend() == []  # 5 has two segments above: not lost
    s.new_data = False
    assert s.resend() == [5]


@pytest.mark.parametrize("rack", [True, False])
def test_three_duplicates_of_small_segments(rack: bool) -> None:
    """6675-5 step 1: DupAcks counts, even if the octets would not do."""
    s = Sender(rack=rack).measured()
    nxt = s.recovery.nxt
    for index in range(8):
        s.recovery.sent(nxt + index * 10, nxt + index * 10 + 10, s.now)
    for last in (20, 30, 40):
        s.recovery.acknowledged(
            nxt, [(nxt + 10, nxt + last)], s.now, duplicate=True, echo_delay=None, ece=False, limited=True
        )
    assert s.state is CongestionState.RECOVERY
    segment = s.recovery.next_retransmission(MSS, new_data=False)
    assert segment is not None and (segment.start, segment.end) == (nxt, nxt + 10)


def test_no_new_recovery_below_the_recovery_point_of_a_timeout() -> None:
    """6675-5.1."""
    s = Sender(rack=False).measured()
    s.send(8)
    s.expire()
    s.resend()
    for last in (3, 4, 5, 6):
        s.ack(1, [(2, last)])
    assert s.state is CongestionState.LOSS
    assert [hook for hook, _ in s.told.hooks] == ["timeout"]


# -------------------------------------------------------------------------------------------------- without SACK


def test_third_duplicate() -> None:
    """5681-3.2a: two duplicates: nothing; the third: SND.UNA again."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.duplicates(1, 2)
    assert s.resend() == []
    s.duplicates(1, 1)
    assert s.resend() == [1]
    assert s.told.hooks == [("congestion", 10 * MSS)]
    s.duplicates(1, 1)
    assert s.resend() == []


def test_further_duplicates_set_new_segments_free() -> None:
    """5681-3.2b: as many as the inflated window of RFC 5681, spread by PRR."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.duplicates(1, 3)
    s.resend()
    new = 0
    for _ in range(6):
        s.duplicates(1, 1)
        new += s.send_allowed()
    assert new == 4  # ssthresh of 5 and 9 duplicates, less the 10 that were sent
    assert s.recovery.in_flight <= 5 * MSS


def test_partial_acknowledgment_resends_the_next_hole() -> None:
    """6582-3.2b."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.duplicates(1, 3)
    s.resend()
    s.duplicates(1, 5)
    s.ack(4, after=RTT)
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [4]
    s.ack(11, after=RTT)
    assert s.state is CongestionState.OPEN
    assert [hook for hook, _ in s.told.hooks] == ["congestion", "recovered"]
    assert s.recovery.in_flight == 0


def test_partial_acknowledgment_resends_whatever_the_window() -> None:
    """6582-3.2b: at once, even ahead of PRR's share."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.duplicates(1, 3)
    s.resend()
    s.ack(2, after=RTT)
    assert s.recovery.prr.quota < MSS
    assert s.resend() == [2]


def test_no_fast_retransmit_for_duplicates_of_the_same_window() -> None:
    """6582-3.2a."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.duplicates(1, 3)
    s.resend()
    s.ack(11, after=RTT)
    s.send(5)
    s.duplicates(11, 3)  # answers to what was resent
    assert s.resend() == []
    assert s.state is CongestionState.DISORDER
    s.ack(12)
    s.duplicates(12, 3)
    assert s.resend() == [12]


def test_no_fast_retransmit_after_a_timeout() -> None:
    """6582-4."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    s.ack(4)
    s.duplicates(4, 4)
    assert s.state is CongestionState.LOSS
    assert [hook for hook, _ in s.told.hooks] == ["timeout"]


def test_reno_leaves_recovery_with_the_first_acknowledgment_of_new_data() -> None:
    """`FastRecovery.RENO`: a second loss in the window is a second reduction."""
    reno = Reno(CongestionSettings(MSS, 20 * MSS, Random(1)), 0)
    assert reno.fast_recovery is FastRecovery.RENO
    s = Sender(sack=False, congestion=reno).measured()
    s.send(20)
    s.duplicates(1, 3)
    assert s.resend() == [1]
    s.ack(4, after=RTT)
    assert s.state is CongestionState.OPEN
    half = reno.ssthresh
    assert s.resend() == []
    s.duplicates(4, 3)
    assert s.resend() == [4]
    assert reno.ssthresh < half


def test_tahoe_begins_again_at_the_third_duplicate() -> None:
    """`FastRecovery.NONE`: one segment and slow start, without back-off."""
    for sack in (True, False):
        tahoe = Tahoe(CongestionSettings(MSS, 20 * MSS, Random(1)), 0)
        s = Sender(sack=sack, congestion=tahoe).measured()
        s.send(10)
        for last in (3, 4, 5):
            s.ack(1, [(2, last)] if sack else (), duplicate=True)
        assert (s.state, tahoe.cwnd, tahoe.ssthresh) == (CongestionState.LOSS, MSS, 5 * MSS)
        assert s.resend() == [1]
        assert s.recovery.rtt.backed_off == 0
        s.ack(2, [(2, 5)] if sack else (), after=RTT)
        assert s.resend() == ([5, 6] if sack else [2, 3])


def test_a_large_record_is_resent_one_segment_at_a_time() -> None:
    """Offload: the third duplicate says that one segment is missing, not 64 KiB."""
    s = Sender(sack=False).measured()
    nxt = s.recovery.nxt
    s.recovery.sent(nxt, nxt + 10 * MSS, s.now)
    s.duplicates(1, 3)
    assert s.resend() == [1]
    assert s.recovery.queue.lost == 0


# ----------------------------------------------------------------------------------------------- the tail loss probe


def test_probe_before_the_timeout() -> None:
    """8985-7.2: tail loss; and 8985-7.3: the last segment, once."""
    s = Sender().measured()
    s.send(3)
    assert s.recovery.deadline() == s.now + 2 * RTT
    assert s.expire() is Expired.PROBE
    segment = s.recovery.probe_segment(MSS)
    assert segment is not None and segment.start == 1 + 3 * MSS
    s.recovery.probe_sent(s.now, new_data=False)
    assert s.recovery.deadline() == s.now + RTO
    s.ack(1, [(3, 4)], after=RTT)  # the probe shows what is missing before it
    s.now += RTT
    s.recovery.timeout(s.now)
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [1]


def test_probe_with_new_data() -> None:
    s = Sender().measured()
    s.send(3)
    s.expire()
    s.send()
    s.recovery.probe_sent(s.now, new_data=True)
    s.ack(5, after=RTT)
    assert s.told.hooks == []
    assert s.recovery.counters.retransmitted_segments == 0
    s.send()
    assert s.recovery.deadline() is not None
    assert s.expire() is Expired.PROBE


def test_loss_that_the_probe_repaired() -> None:
    """8985-7.4: one congestion response."""
    s = Sender().measured()
    s.send(3)
    s.expire()
    s.recovery.probe_segment(MSS)
    s.recovery.probe_sent(s.now, new_data=False)
    s.ack(4, after=RTT)
    assert s.told.hooks == []  # it may have been the first copy
    s.send(2)
    s.ack(6, after=RTT)
    assert [hook for hook, _ in s.told.hooks] == ["congestion", "recovered"]


def test_needless_probe() -> None:
    """8985-7.4: a DSACK tells that both copies arrived."""
    s = Sender().measured()
    s.send(3)
    s.expire()
    s.recovery.probe_segment(MSS)
    s.recovery.probe_sent(s.now, new_data=False)
    s.ack(4, after=1 * MS)
    s.send(2)
    s.ack(4, [(3, 4)], after=RTT)
    s.ack(6, after=RTT)
    assert s.told.hooks == []


def test_no_probe_without_sack_or_while_repairing() -> None:
    """RFC 8985 section 7.2."""
    s = Sender(sack=False).measured()
    s.send(3)
    assert s.expire() is Expired.RETRANSMIT
    s = Sender().measured()
    s.send(6)
    s.ack(1, [(2, 5)], after=RTT)
    s.resend()
    assert s.recovery.deadline() == s.now + RTO


def test_probe_of_a_large_record_is_its_last_segment() -> None:
    s = Sender().measured()
    nxt = s.recovery.nxt
    s.recovery.sent(nxt, nxt + 950, s.now)
    segment = s.recovery.probe_segment(MSS)
    assert segment is not None and (segment.start, segment.end) == (nxt + 850, nxt + 950)


# ------------------------------------------------------------------------------------------------------------ undoing


def test_eifel_undoes_a_spurious_timeout() -> None:
    """RFC 3522, RFC 4015: the acknowledgment echoes the original's timestamp."""
    s = Sender(rack=False).measured()
    s.send(10)
    cwnd = s.told.cwnd
    s.expire()
    s.resend()
    s.ack(2, after=10 * MS, echo_delay=s.now - RTT + 10 * MS)
    assert s.state is CongestionState.OPEN
    assert s.told.hooks[-1][0] == "spurious"
    assert s.told.cwnd >= cwnd
    assert (s.recovery.queue.lost, s.recovery.in_flight) == (0, 9 * MSS)
    assert s.resend() == []


def test_eifel_goes_by_the_first_retransmission() -> None:
    """RFC 3522: the first copy was lost, the second timeout was too early; the reduction was right."""
    s = Sender(rack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    resent_at = s.now
    s.expire()
    s.resend()
    s.ack(2, after=10 * MS, echo_delay=s.now + 10 * MS - resent_at)
    assert s.state is CongestionState.LOSS


def test_eifel_after_a_real_timeout_does_nothing() -> None:
    s = Sender(rack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    s.ack(2, after=RTT, echo_delay=RTT)
    assert s.state is CongestionState.LOSS


def test_frto_undoes_a_spurious_timeout() -> None:
    """RFC 5682 without timestamps: new data instead of retransmissions, and the acknowledgments go on."""
    for sack in (True, False):
        for rack in (True, False):
            s = Sender(sack=sack, rack=rack).measured()
            s.send(10)
            if s.expire() is Expired.PROBE:
                s.recovery.probe_sent(s.now, new_data=True)  # it never left: only the timer matters here
                s.expire()
            assert s.resend() == [1]
            s.ack(2, after=RTT)
            assert s.resend() == []
            assert s.send_allowed() == 2
            s.ack(3, after=1 * MS)
            assert s.state is CongestionState.OPEN, (sack, rack)
            assert [hook for hook, _ in s.told.hooks] == ["timeout", "spurious"]
            assert s.recovery.queue.lost == 0
            assert s.resend() == []


def test_losses_are_found_after_an_undone_timeout() -> None:
    """What was late and is in the network again may be lost all the same."""
    s = Sender().measured()
    s.send(10)
    s.expire()
    s.recovery.probe_sent(s.now, new_data=True)
    s.expire()
    s.resend()
    s.ack(2, after=RTT)
    s.send_allowed()
    s.ack(3, after=1 * MS)
    assert s.state is CongestionState.OPEN
    s.ack(3, [(4, 9)], after=1 * MS)
    assert s.expire() is Expired.REORDER
    assert s.resend() == [3]


def test_frto_sends_one_segment_whatever_the_window() -> None:
    fixed = FixedWindow(CongestionSettings(MSS, 10 * MSS, Random(1)), 0, 20 * MSS)
    s = Sender(sack=False, congestion=fixed).measured()
    s.send(10)
    s.expire()
    assert s.resend() == [1]
    assert s.recovery.room() == 0


def test_frto_real_timeout() -> None:
    """RFC 5682 section 2.1 step 3a: a duplicate, and all is resent."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    s.ack(2, after=RTT)
    assert s.send_allowed() == 2
    s.duplicates(2, 1)
    assert s.state is CongestionState.LOSS
    assert s.resend() == [2]  # the two new segments fill the window; one goes all the same
    s.ack(3, after=RTT)
    assert s.resend() == [3]


def test_frto_without_new_data_resends() -> None:
    """RFC 5682 section 2.1 step 2b: nothing new to send, so no second step."""
    s = Sender(sack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    s.ack(2, after=RTT)
    s.new_data = False
    assert s.resend() == [2, 3]


def test_dsack_undoes_fast_recovery_even_after_it() -> None:
    """RFC 3708: all that was resent arrived twice."""
    s = Sender().measured()
    s.send(10)
    cwnd = s.told.cwnd
    s.ack(1, [(2, 5)], after=RTT)
    assert s.resend() == [1]
    s.ack(11, after=RTT)  # the original was only late
    assert s.state is CongestionState.OPEN
    s.send(5)
    s.ack(11, [(1, 2)], after=10 * MS)
    assert s.told.hooks[-1][0] == "spurious"
    assert s.told.cwnd >= cwnd
    assert s.recovery.counters.dsacks == 1
    assert s.recovery.counters.undone == 1


def test_late_segments_that_were_never_resent_undo_too() -> None:
    s = Sender().measured()
    s.send(5)
    s.ack(1, [(2, 5)], after=RTT)
    assert s.state is CongestionState.RECOVERY
    s.ack(6)
    assert s.state is CongestionState.OPEN
    assert s.told.hooks[-1][0] == "spurious"


def test_a_mark_forbids_undoing() -> None:
    """RFC 4015 section 3.2."""
    s = Sender(rack=False).measured()
    s.send(10)
    s.expire()
    s.resend()
    s.ack(2, after=10 * MS, echo_delay=s.now - RTT + 10 * MS, ece=True)
    assert s.state is CongestionState.LOSS


# ---------------------------------------------------------------------------------------------------------------- ECN


def test_one_reduction_per_window_of_marks() -> None:
    """RFC 3168 section 6.1.2."""
    s = Sender().measured()
    s.send(10)
    s.ack(2, ece=True, after=RTT)
    assert s.state is CongestionState.CWR
    assert s.recovery.must_send_cwr
    s.recovery.must_send_cwr = False
    for number in range(3, 12):
        s.ack(number, ece=True, after=1 * MS)
    assert s.told.hooks == [("congestion", 10 * MSS), ("recovered", 0)]
    assert not s.recovery.must_send_cwr
    assert s.resend() == []
    s.send(4)
    s.ack(12, ece=True, after=RTT)
    assert [hook for hook, _ in s.told.hooks] == ["congestion", "recovered", "congestion"]


def test_a_loss_while_reducing_for_a_mark_reduces_no_further() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(2, ece=True, after=RTT)
    s.ack(2, [(3, 6)])
    assert s.state is CongestionState.RECOVERY
    assert s.resend() == [2]
    assert [hook for hook, _ in s.told.hooks] == ["congestion"]
    s.ack(11, after=RTT)
    assert s.state is CongestionState.OPEN


def test_losses_ask_for_cwr_too() -> None:
    """RFC 3168 section 6.1.2: any reduction does."""
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 5)], after=RTT)
    assert s.recovery.must_send_cwr


# -------------------------------------------------------------------------------------------------- windows and limits


def test_growth_only_when_the_window_was_full() -> None:
    """RFC 7661; `Ack.cwnd_limited`."""
    s = Sender()
    s.send(5)
    s.ack(2, after=RTT)
    assert not s.told.acks[-1].cwnd_limited
    s.send(7)
    assert s.recovery.room() < MSS
    s.ack(4, after=RTT)
    assert s.told.acks[-1].cwnd_limited


def test_what_the_congestion_control_is_told() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 5)], after=RTT)
    ack = s.told.acks[-1]
    assert (ack.acknowledged, ack.delivered, ack.lost, ack.in_recovery) == (0, 3 * MSS, MSS, True)
    assert (ack.prior_in_flight, ack.in_flight, ack.una, ack.nxt) == (10 * MSS, 6 * MSS, 1 + MSS, 1 + 11 * MSS)
    s.resend()
    s.ack(5, after=RTT)
    ack = s.told.acks[-1]
    assert (ack.acknowledged, ack.delivered, ack.rtt) == (4 * MSS, MSS, None)
    assert ack.lost == 6 * MSS  # sent a round trip before the retransmission that arrived


def test_a_window_of_its_own_in_recovery() -> None:
    """`uses_recovery_window` False: the fixed window holds while losses are repaired."""
    fixed = FixedWindow(CongestionSettings(MSS, 10 * MSS, Random(1)), 0, 12 * MSS)
    s = Sender(congestion=fixed).measured()
    s.send(12)
    s.ack(1, [(2, 6)], after=RTT)
    assert s.resend() == [1]
    assert s.send_allowed() == 4
    assert s.recovery.in_flight == 12 * MSS


def test_the_fast_retransmit_needs_no_window() -> None:
    """6675-5 step 4.3."""
    fixed = FixedWindow(CongestionSettings(MSS, 10 * MSS, Random(1)), 0, 12 * MSS)
    s = Sender(congestion=fixed).measured()
    s.send(12)
    fixed.cwnd = 2 * MSS
    s.ack(1, [(2, 6)], after=RTT)
    assert s.resend() == [1]


def test_lost_data_goes_before_new_data() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 5)], after=RTT)
    assert s.recovery.room() == 0
    s.resend()
    assert s.recovery.queue.lost == 0


def test_an_empty_path_takes_a_segment_whatever_the_window() -> None:
    fixed = FixedWindow(CongestionSettings(MSS, MSS, Random(1)), 0, MSS)
    fixed.cwnd = 30
    s = Sender(congestion=fixed)
    assert s.recovery.room() == MSS


def test_retransmissions_are_cut_to_the_limit() -> None:
    s = Sender().measured()
    nxt = s.recovery.nxt
    s.recovery.sent(nxt, nxt + 3 * MSS, s.now)
    s.send(5)
    s.ack(1, [(4, 9)], after=RTT)
    segment = s.recovery.next_retransmission(60, new_data=True)
    assert segment is not None and (segment.start, segment.end) == (nxt, nxt + 60)
    s.recovery.retransmitted(segment, s.now)


def test_smaller_segments_after_a_router_complained() -> None:
    """1191-3: what was too big goes again in pieces, with the same window."""
    s = Sender().measured()
    s.send(4)
    s.recovery.set_mss(60)
    s.recovery.too_big(1 + 2 * MSS, s.now)
    assert s.recovery.queue.lost == 3 * MSS
    pieces = []
    while (segment := s.recovery.next_retransmission(60, new_data=True)) is not None:
        s.recovery.retransmitted(segment, s.now)
        pieces.append((segment.start - 1, segment.end - 1))
    assert pieces == [(200, 260), (260, 300), (300, 360), (360, 400), (400, 460), (460, 500)]
    assert s.told.hooks == []
    s.recovery.too_big(1 + 2 * MSS, s.now)
    assert s.recovery.queue.lost == 0
    s.ack(3, after=RTT)
    assert s.told.acks[-1].rtt is None  # Karn


def test_another_congestion_control_may_take_over() -> None:
    class Measuring(Told):
        wants_rate = True

    s = Sender().measured()
    s.send(6)
    measuring = Measuring()
    s.recovery.congestion = measuring
    s.ack(3, after=RTT)
    assert measuring.acks[-1].rate is not None
    s.recovery.congestion = s.told
    s.ack(5, after=RTT)
    assert s.told.acks[-1].rate is None


def test_snapshot_is_json() -> None:
    s = Sender().measured()
    s.send(4)
    s.ack(1, [(3, 4)], after=RTT)
    values = s.recovery.snapshot(s.now)
    assert values["state"] == "disorder"
    assert values["sacked"] == MSS
    assert all(isinstance(value, (int, str, bool, type(None))) for value in values.values())


def test_states_are_traced_with_their_causes() -> None:
    s = Sender().measured()
    s.send(10)
    s.ack(1, [(2, 3)], after=RTT)
    s.ack(1, [(2, 5)])
    s.resend()
    s.ack(11, after=RTT)
    assert s.trace.states == [
        ("open", "disorder", "out_of_order"),
        ("disorder", "recovery", "rack"),
        ("recovery", "open", "acknowledged"),
    ]
    assert {"rack", "acknowledged"} <= set(s.trace.told)


@pytest.mark.parametrize("packets", [True, False])
def test_metrics_per_round_trip_or_per_acknowledgment(packets: bool) -> None:
    s = Sender()
    s.trace.packets = packets
    s.send(8)
    for number in range(1, 9):
        s.ack(number, after=1 * MS)
    assert s.trace.told.count("acknowledgment") == (8 if packets else 2)


def test_segments_know_their_history() -> None:
    segment = SentSegment(10, 30, 5)
    left = segment.cut(20)
    assert (left.start, left.end, segment.start, segment.end, left.first_sent_at) == (10, 20, 20, 30, 5)
