"""BBR's model of the path: how much it delivers per second, how long it takes, how much it holds.

    bw                 the rate to send at: min(max_bw, bw_shortterm)
    max_bw             largest delivery rate of the last two probing cycles
    bw_shortterm       what losses since the last probe suggest; forgotten before each probe (bw_lo in older texts)
    min_rtt            lowest round-trip time of the last 10 s: the path without a queue
    bdp                bw * min_rtt: what fills the path and no queue
    inflight_longterm  the most in flight that did not lose more than 2 % (inflight_hi)
    inflight_shortterm what losses since the last probe suggest (inflight_lo)
    extra_acked        how much more than expected acknowledgments bring at once, as on wireless links

Names and steps follow draft-ietf-ccwg-bbr, "Updating Network Path Model Parameters"; each method says which function
of the draft it is. Rates are octets per second, volumes octets, times nanoseconds. A round is one round trip counted in
packets: it ends when something is acknowledged that was sent after it began.
"""

from __future__ import annotations

from nodes.transport.tcp.congestion.base import INFINITE, Ack
from nodes.transport.tcp.congestion.bbr_filters import Flight, FlightLog, MaxFilter
from nodes.units import SECOND

LOSS_THRESHOLD = 0.02
"""More loss than this in a round says that too much was in flight (LossThresh)."""
BETA = 0.7
"""The most that one round of loss takes from the short-term bounds; CUBIC's factor."""
MAX_BW_CYCLES = 2
EXTRA_ACKED_ROUNDS = 10
MIN_RTT_WINDOW = 10 * SECOND


class PathModel:
    """Fed with every acknowledgment. The values of the newest rate sample (RS in the draft) stand in `rate` (0 without
    a sample), `sample_delivered`, `sample_lost`, `tx_in_flight`, `app_limited`."""

    __slots__ = (
        *("max_bw", "bw", "bw_shortterm", "bw_latest", "_bw_filter", "cycle_count"),
        *("min_rtt", "min_rtt_stamp", "min_rtt_expired"),
        *("inflight_longterm", "inflight_shortterm", "inflight_latest"),
        *("extra_acked", "_extra_filter", "_extra_start", "_extra_delivered"),
        *("delivered", "lost", "log", "limited_until"),
        *("rate", "sample_delivered", "sample_lost", "tx_in_flight", "app_limited", "_prior_delivered"),
        *("round_count", "round_start", "_next_round_delivered"),
        *("loss_in_round", "loss_round_start", "loss_events", "_loss_round_delivered"),
    )

    def __init__(self, now: int) -> None:
        self.max_bw = self.bw = 0
        self.bw_latest = self.inflight_latest = 0  # largest of this round
        self.bw_shortterm = INFINITE
        self._bw_filter = MaxFilter()
        self.cycle_count = 0
        self.min_rtt: int | None = None
        self.min_rtt_stamp = now
        self.min_rtt_expired = False
        self.inflight_longterm = self.inflight_shortterm = INFINITE
        self.extra_acked = 0
        self._extra_filter = MaxFilter()
        self._extra_start = now
        self._extra_delivered = 0
        self.delivered = self.lost = 0  # of the whole connection (C.delivered, C.lost)
        self.log = FlightLog()
        self.limited_until = 0  # samples of data sent before this many octets were delivered count as app limited
        self.rate = self.sample_delivered = self.sample_lost = self.tx_in_flight = 0
        self.app_limited = False
        self._prior_delivered = -1
        self.round_count = 0
        self.round_start = False
        self._next_round_delivered = 0
        self.loss_in_round = self.loss_round_start = False
        self.loss_events = 0
        self._loss_round_delivered = 0

    # --- what an acknowledgment says ---------------------------------------------------------------------------------

    def observe(self, ack: Ack) -> None:
        """GenerateRateSample: what was delivered how fast, and how much was lost since the newest of it was sent."""
        self.lost += ack.lost
        sample = ack.rate
        if sample is None:
            self.delivered += ack.delivered
            self.rate = self.sample_delivered = 0
            self.app_limited = False
            self._prior_delivered = -1
            flight = self.log.find(0)
        else:
            self.delivered = max(self.delivered, sample.total_delivered)
            self.rate = sample.delivered * SECOND // sample.interval if sample.interval > 0 else 0
            self.sample_delivered = sample.delivered
            self._prior_delivered = sample.prior_delivered
            self.app_limited = sample.is_app_limited or sample.prior_delivered < self.limited_until
            flight = self.log.find(sample.prior_delivered)
        if flight is None:
            flight = Flight(0, self.lost, ack.prior_in_flight)
        self.sample_lost = self.lost - flight[1]
        self.tx_in_flight = flight[2]

    def update_signals(self) -> None:
        """UpdateLatestDeliverySignals and UpdateMaxBw."""
        rate = self.rate
        if rate > self.bw_latest:
            self.bw_latest = rate
        if self.sample_delivered > self.inflight_latest:
            self.inflight_latest = self.sample_delivered
        self.loss_round_start = self._prior_delivered >= self._loss_round_delivered
        if self.loss_round_start:
            self._loss_round_delivered = self.delivered
        self.round_start = self._prior_delivered >= self._next_round_delivered
        if self.round_start:
            self.start_round()
            self.round_count += 1
        if rate and (rate >= self.max_bw or not self.app_limited):
            self.max_bw = self._bw_filter.update(rate, self.cycle_count, MAX_BW_CYCLES)

    def adapt_lower_bounds(self, cwnd: int) -> None:
        """InitLowerBounds and LossLowerBounds: once per round with loss, while not probing, slow down to what was
        delivered in it, by no more than `BETA`."""
        if self.bw_shortterm == INFINITE:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == INFINITE:
            self.inflight_shortterm = cwnd
        self.bw_shortterm = max(self.bw_latest, int(BETA * self.bw_shortterm))
        self.inflight_shortterm = max(self.inflight_latest, int(BETA * self.inflight_shortterm))

    def update_ack_aggregation(self, ack: Ack, cwnd: int, *, full_bw_reached: bool) -> None:
        """UpdateACKAggregation: how much more arrived than `bw` let expect."""
        expected = self.bw * (ack.now - self._extra_start) // SECOND
        if self._extra_delivered <= expected:
            self._extra_delivered = 0
            self._extra_start = ack.now
            expected = 0
        self._extra_delivered += ack.delivered
        extra = min(self._extra_delivered - expected, cwnd)
        rounds = EXTRA_ACKED_ROUNDS if full_bw_reached else 1
        self.extra_acked = self._extra_filter.update(extra, self.round_count, rounds)

    def restart_aggregation(self, now: int) -> None:
        self._extra_start = now
        self._extra_delivered = 0

    def expire_min_rtt(self, now: int) -> bool:
        """The first half of UpdateMinRTT: is `min_rtt` older than its window?"""
        self.min_rtt_expired = now > self.min_rtt_stamp + MIN_RTT_WINDOW
        return self.min_rtt_expired

    def update_min_rtt(self, rtt: int | None, now: int) -> None:
        """The second half: take a lower one, or any once the old one has expired."""
        if rtt is not None and (self.min_rtt is None or rtt < self.min_rtt or self.min_rtt_expired):
            self.min_rtt = rtt
            self.min_rtt_stamp = now

    def advance(self) -> None:
        """AdvanceLatestDeliverySignals and BoundBWForModel."""
        if self.loss_round_start:
            self.bw_latest = self.rate
            self.inflight_latest = self.sample_delivered
        self.bw = min(self.bw_shortterm, self.max_bw)

    # --- loss --------------------------------------------------------------------------------------------------------

    def note_loss(self) -> bool:
        """NoteLoss; True for the first loss of a round."""
        first = not self.loss_in_round
        if first:
            self._loss_round_delivered = self.delivered
        self.loss_in_round = True
        return first

    def too_high(self) -> bool:
        """IsInflightTooHigh: was more than 2 % lost of what was in flight with the newest delivered data?"""
        return self.sample_lost > self.tx_in_flight * LOSS_THRESHOLD

    def inflight_at_loss(self, size: int) -> int:
        """InflightAtLoss: at which volume, within the `size` octets just lost, losses crossed the threshold. Solves
        (lost before + x) / (in flight before + x) = threshold for x."""
        before = max(self.tx_in_flight - size, 0)
        lost_before = self.sample_lost - size
        prefix = (LOSS_THRESHOLD * before - lost_before) / (1 - LOSS_THRESHOLD)
        return max(before + int(prefix), 0)

    # --- beginnings --------------------------------------------------------------------------------------------------

    def start_round(self) -> None:
        self._next_round_delivered = self.delivered

    def reset_congestion_signals(self) -> None:
        self.loss_in_round = False
        self.bw_latest = 0
        self.inflight_latest = 0

    def reset_short_term(self) -> None:
        self.bw_shortterm = INFINITE
        self.inflight_shortterm = INFINITE

    # --- volumes -----------------------------------------------------------------------------------------------------

    def bdp(self, gain: float, initial: int) -> int:
        """BDPMultiple; `initial` (the initial window) without any sample of the round-trip time."""
        if self.min_rtt is None:
            return initial
        return int(gain * (self.bw * self.min_rtt // SECOND))
