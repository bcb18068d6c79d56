"""Loss recovery: what one side of a connection has sent, what became of it, and what it may send now.

The units below know one thing each; this one feeds them every transmission, acknowledgment and timer, and keeps the
state (`recovery_state`) and the three timers.

    transmission ──> retransmission queue ──> pipe ──┐
                        │ SACK, ACK                  ├──> room(), next_retransmission()
    acknowledgment ─────┤                window ─────┘
        │               ├──> RTT, delivery rate
        │               ├──> spurious? (Eifel, DSACK, F-RTO) ──────> undo the reduction
        │               ├──> loss? (RACK, SACK count, duplicates) ─> congestion control, once per window of data
        │               └──> tail loss probe: what did it repair?
        └── ECN mark ──> congestion control, once per window of data

**The window** is the congestion control's `cwnd`, but PRR's while it is reduced (`prr`), two new segments while F-RTO
waits, and always enough for the first retransmission after a loss or a timeout (RFC 6675 section 5 step 4.3).

**Once per window of data.** `recover` is SND.NXT at the last reduction. Until it is acknowledged, further losses and
marks tell of the same congestion. There is one exception: a retransmission that is lost again is a second indication
(RFC 5681 section 4.3).

**Timers.** Retransmission (RFC 6298 section 5), restarted by every acknowledgment of new data and by resending the
first segment; tail loss probe; RACK's reordering timer. Each expiry moves its timer on or ends it.

**SACK marks after a timeout** are kept, since what was SACKed need not be sent again (RFC 6675 section 5.1), unless the
first outstanding segment is SACKed: then the receiver has dropped what it reported (RFC 2018 section 8), and all marks
are forgotten. Until the next timeout no SACKed data is sent again.

**Cost.** An acknowledgment of new data with nothing missing takes a short way (`examination.advance`), which does not
look at the units for losses.
"""

from __future__ import annotations

from collections.abc import Sequence

from nodes.transport.tcp import reaction, selection
from nodes.transport.tcp.ack_report import AckReport
from nodes.transport.tcp.congestion.base import CongestionControl
from nodes.transport.tcp.delivery_rate import DeliveryRate
from nodes.transport.tcp.examination import advance, examine
from nodes.transport.tcp.new_reno import DuplicateCounter
from nodes.transport.tcp.prr import ProportionalRateReduction
from nodes.transport.tcp.rack import Rack
from nodes.transport.tcp.recovery_state import CongestionState, Expired, RecoveryCounters, RecoveryTrace
from nodes.transport.tcp.retransmission_queue import RetransmissionQueue, SentSegment
from nodes.transport.tcp.rtt import RttEstimator
from nodes.transport.tcp.sack_threshold import SackThreshold
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.spurious import ForwardRto, ReductionUndo
from nodes.transport.tcp.tail_loss_probe import TailLossProbe

__all__ = ["CongestionState", "Expired", "LossRecovery", "RecoveryTrace", "SentSegment"]

_OPEN = CongestionState.OPEN
_LOSS = CongestionState.LOSS


class LossRecovery:
    """One connection's. Sequence numbers never wrap, sizes are octets, times nanoseconds.

    `una` and `nxt` are SND.UNA and SND.NXT, `timeouts` the expirations in a row without progress, `first_unanswered`
    since when nothing was acknowledged although something is outstanding (None: nothing is). `must_send_cwr`: the
    window was reduced, and the next new data carries CWR if ECN is used (RFC 3168 section 6.1.2); the sender of it
    clears the mark. FIN takes a number like any octet."""

    __slots__ = (
        "_congestion",
        "counters",
        "disorder_flight",
        "duplicates",
        "episode_over",
        "first_unanswered",
        "force",
        "frto",
        "full_until",
        "lost_untold",
        "mss",
        "must_send_cwr",
        "nxt",
        "probe",
        "probed",
        "prr",
        "queue",
        "rack",
        "rate",
        "recover",
        "reduced_at",
        "retransmission_at",
        "round_end",
        "rtt",
        "sack",
        "shrunk_until",
        "state",
        "threshold",
        "timeouts",
        "trace",
        "una",
        "undo",
    )

    def __init__(
        self,
        *,
        congestion: CongestionControl,
        rtt: RttEstimator,
        settings: TcpSettings,
        mss: int,
        sack: bool,
        start: int,
        trace: RecoveryTrace,
    ) -> None:
        """`mss` is the payload of a full segment, without options. `start`: the first sequence number to be sent."""
        self.rtt = rtt
        self.una = self.nxt = start
        self.recover = start - 1
        self.state = _OPEN
        self.timeouts = 0
        self.first_unanswered: int | None = None
        self.episode_over = False
        self.must_send_cwr = False
        self.counters = RecoveryCounters()
        self.queue = RetransmissionQueue(mss)
        self.mss = mss
        self.sack = sack
        self.trace = trace
        self.rack = Rack() if sack and settings.rack else None
        self.probe = TailLossProbe() if sack and settings.rack else None
        self.threshold = SackThreshold()
        self.duplicates = DuplicateCounter()
        self.prr = ProportionalRateReduction(mss)
        self.undo = ReductionUndo()
        self.frto = ForwardRto(sack)
        self.rate: DeliveryRate | None = None
        self._congestion = congestion
        self.congestion = congestion
        self.retransmission_at: int | None = None
        self.probed: SentSegment | None = None
        self.force = False  # the first retransmission after a loss does not ask for room
        self.full_until = start  # the window was full when what ends here was sent
        self.disorder_flight = 0
        self.reduced_at = 0
        self.round_end = start
        self.shrunk_until = start
        self.lost_untold = 0

    @property
    def congestion(self) -> CongestionControl:
        """The algorithm; another one may take over at any time."""
        return self._congestion

    @congestion.setter
    def congestion(self, congestion: CongestionControl) -> None:
        """Its window counts from the next call on; a delivery rate is measured from what is outstanding on."""
        self._congestion = congestion
        if not congestion.uses_recovery_window:
            self.prr.stop()
        if not congestion.wants_rate:
            self.rate = None
        elif self.rate is None:
            self.rate = DeliveryRate()
            for segment in self.queue.segments[self.queue.head :]:
                self.rate.sent(segment, 0, segment.sent_at)

    @property
    def in_flight(self) -> int:
        """`pipe`: the octets held to be in the network."""
        return max(self.queue.pipe - self.duplicates.left, 0)

    @property
    def outstanding(self) -> int:
        """The octets from SND.UNA to SND.NXT."""
        return self.nxt - self.una

    # ---------------------------------------------------------------------------------------------------- sending

    def sent(self, start: int, end: int, now: int) -> None:
        """New data [start, end) left; `start` is `nxt`."""
        segment = SentSegment(start, end, now)
        queue = self.queue
        if self.rate is not None:
            self.rate.sent(segment, queue.pipe, now)
        queue.append(segment)
        self.nxt = end
        if self.retransmission_at is None:
            self.retransmission_at = now + self.rtt.timeout
            self.first_unanswered = now
        if self.probe is not None:
            self.probe.armed_at = now
        octets = end - start
        in_flight = queue.pipe - self.duplicates.left
        congestion = self._congestion
        if in_flight + self.mss > congestion.cwnd:
            self.full_until = end
        if self.prr.active:
            self.prr.sent(octets)
        if self.state is _LOSS:
            self.frto.sent(octets)
        congestion.sent(octets, in_flight, now)

    def room(self) -> int:
        """Octets of new data that the window allows now; zero or less: none. What is lost goes first."""
        return selection.room(self)

    def next_retransmission(self, limit: int, *, new_data: bool) -> SentSegment | None:
        """The record to be sent again now, cut to at most `limit` octets; None if there is none, or no room for it.
        `new_data`: there is new data, and the peer's window takes it. Call `retransmitted` once it has left."""
        return selection.next_retransmission(self, limit, new_data=new_data)

    def retransmitted(self, segment: SentSegment, now: int) -> None:
        """`segment` left again."""
        queue = self.queue
        if self.rate is not None:
            self.rate.sent(segment, queue.pipe, now)
        queue.resend(segment, now)
        octets = segment.end - segment.start
        if self.rack is not None:
            self.rack.resent(segment)
        if self.undo.active and self.undo.expires is None:
            self.undo.sent_again(segment.start, segment.end, now)
        if self.prr.active:
            self.prr.sent(octets)
        self.force = False
        self.counters.retransmitted_segments += 1
        self.counters.retransmitted_octets += octets
        if segment.start == self.una:
            self.retransmission_at = now + self.rtt.timeout
        in_flight = self.in_flight
        if in_flight + self.mss > self._congestion.cwnd:
            self.full_until = self.nxt
        self._congestion.sent(octets, in_flight, now)

    def probe_segment(self, limit: int, data_end: int | None = None) -> SentSegment | None:
        """What to probe with if there is no new data: the end of what is outstanding, at most `limit` octets; rather
        the last data than a FIN of its own (behind `data_end`), which no SACK block reports."""
        segment = self.queue.last_outstanding(data_end) or self.queue.last_outstanding()
        if segment is not None and segment.end - segment.start > limit:
            self.queue.split(segment, segment.end - limit)
        self.probed = segment
        return segment

    def probe_sent(self, now: int, *, new_data: bool) -> None:
        """The probe left: new data, which `sent` has recorded, or `probe_segment`, which is recorded here."""
        if not new_data and self.probed is not None:
            self.retransmitted(self.probed, now)
        self.probed = None
        self.counters.probes += 1
        if self.probe is not None:
            self.probe.sent(self.nxt, retransmission=not new_data)

    # ------------------------------------------------------------------------------------------- acknowledgments

    def acknowledged(
        self,
        ack: int,
        sacks: Sequence[tuple[int, int]],
        now: int,
        *,
        duplicate: bool,
        echo_delay: int | None,
        ece: bool,
        limited: bool,
    ) -> int:
        """An acceptable acknowledgment arrived, una <= ack <= nxt; returns the octets that it newly acknowledges.

        `sacks`: its blocks as [start, end), none beyond `nxt`, DSACK first (RFC 2883). `duplicate`: it is one by RFC
        5681 section 2. `echo_delay`: the age of the timestamp that it echoes, in whole milliseconds of `now`'s clock,
        None without. `ece`: its ECN-Echo flag, where ECN is used. `limited`: the application had no more to send."""
        probe = self.probe
        if (
            ack > self.una
            and not sacks
            and not ece
            and self.state is _OPEN
            and self.una >= self.queue.irregular_until
            and (probe is None or probe.end is None)
        ):
            return advance(self, ack, now, limited=limited)
        report = AckReport(ack, sacks, now, duplicate=duplicate, echo_delay=echo_delay, ece=ece, limited=limited)
        return examine(self, report)

    def progress(self, now: int) -> None:
        """New data was acknowledged: RFC 6298 sections 5.2 and 5.3."""
        self.timeouts = 0
        if self.nxt > self.una:
            self.retransmission_at = now + self.rtt.timeout
            self.first_unanswered = now
            if self.probe is not None:
                self.probe.armed_at = now
        else:
            self.retransmission_at = self.first_unanswered = None
            self._disarm()

    def _disarm(self) -> None:
        if self.rack is not None:
            self.rack.deadline = None
        if self.probe is not None:
            self.probe.armed_at = None

    # ---------------------------------------------------------------------------------------------------- timers

    def deadline(self) -> int | None:
        """When `timeout` is wanted: the earliest of the three timers."""
        at = self.retransmission_at
        if at is None:
            return None
        probe_at = self._probe_at()
        if probe_at is not None and probe_at < at:
            at = probe_at
        if self.rack is not None and self.rack.deadline is not None and self.rack.deadline < at:
            at = self.rack.deadline
        return at

    def _probe_at(self) -> int | None:
        """RFC 8985 section 7.2: no probe while SACK or a recovery already tells what is missing."""
        probe, at = self.probe, self.retransmission_at
        if probe is None or probe.armed_at is None or at is None or self.queue.sacked:
            return None
        if self.state is CongestionState.RECOVERY or self.state is _LOSS:
            return None
        return probe.deadline(at, self.rtt.srtt, self.nxt - self.una <= self.mss)

    def timeout(self, now: int) -> Expired:
        """Do what is due, and say what the connection has to do. `deadline` is after `now` then."""
        at = self.retransmission_at
        if at is None:
            return Expired.NONE
        probe_at = self._probe_at()
        if at <= now and probe_at is None:
            return reaction.expire(self, now)
        reorder_at = None if self.rack is None else self.rack.deadline
        if reorder_at is not None and reorder_at <= now and reaction.find_late(self, now):
            self.retransmission_at = max(at, now + self.rtt.timeout)
            return Expired.REORDER
        if probe_at is not None and probe_at <= now and self.probe is not None:
            self.probe.armed_at = None
            self.retransmission_at = now + self.rtt.timeout  # RFC 8985 section 7.3
            return Expired.PROBE
        return Expired.NONE

    # ----------------------------------------------------------------------------------------------------- other

    def reopened(self, now: int) -> None:
        """The peer's window was shut and opened: what it refused meanwhile counts from now on, without back-off."""
        if self.retransmission_at is None:
            return
        self.timeouts = 0
        self.first_unanswered = now
        self.rtt.reset_back_off()
        self.retransmission_at = now + self.rtt.timeout

    def set_mss(self, mss: int) -> None:
        """The payload of a full segment changed: the path MTU did."""
        if mss < self.mss:
            self.shrunk_until = self.nxt
        self.mss = self.queue.mss = mss
        self.prr.set_mss(mss)
        self._congestion.set_mss(mss)

    def too_big(self, sequence: int, now: int) -> None:
        """A router dropped the segment at `sequence` for its size (RFC 1191); `set_mss` has been called. It and those
        of its size behind it go again in pieces, which is no sign of congestion."""
        reaction.too_big(self, sequence, now)

    def snapshot(self, now: int) -> dict[str, object]:
        """What is known, as values of JSON. Times are from `now`."""
        deadline = self.deadline()
        rack = self.rack
        return {
            "state": self.state.value,
            "outstanding": self.outstanding,
            "in_flight": self.in_flight,
            "sacked": self.queue.sacked,
            "lost": self.queue.lost,
            "records": len(self.queue),
            "timeouts_in_a_row": self.timeouts,
            "deadline": None if deadline is None else deadline - now,
            "unanswered_for": None if self.first_unanswered is None else now - self.first_unanswered,
            "reordering_seen": rack is not None and rack.reordering_seen,
            "detection": "rack" if rack is not None else "sack" if self.sack else "duplicate_acks",
            **self.counters.snapshot(),
        }
