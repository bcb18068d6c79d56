"""BBR's state machine: when to send faster than the path delivers, when slower, when the same.

    Startup ──full──▶ Drain ──empty──▶ ┌──────────────────────────────────────────────────┐
     2.77               0.5            │ ProbeBW                                          │
                                       │   DOWN ──▶ CRUISE ──▶ REFILL ──▶ UP ──▶ DOWN ... │
      ▲                                │   0.90      1.0        1.0      1.25             │
      │                                └──────────────────────────────────────────────────┘
      └── path never filled ── ProbeRTT ◀── min_rtt is 10 s old (from any state): 200 ms with half a bdp in flight

The numbers are pacing gains: multiples of the estimated bandwidth. Startup doubles each round until the delivery rate
stops growing (three rounds with less than 25 % more) or losses say so; the queue that it made goes in Drain. A cycle of
ProbeBW begins with DOWN, which leaves room for others, and after some seconds REFILL and UP ask whether there is
more bandwidth. How long CRUISE lasts is partly random, so that flows do not probe together, and no longer than a
Reno flow of this size would take between its losses (63 rounds at most), so that both get along.

The section numbers are those of draft-ietf-ccwg-bbr; state and signal names are the draft's.
"""

from __future__ import annotations

from enum import Enum

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings
from nodes.transport.tcp.congestion.bbr_model import BETA, PathModel
from nodes.units import MILLISECOND, SECOND

MIN_PIPE_SEGMENTS = 4
"""The least to keep in flight: two segments on their way and the acknowledgment of two on its way (MinPipeCwnd)."""
HEADROOM = 0.15
"""What is left free of `inflight_longterm` for others while cruising."""
PROBE_RTT_DURATION = 200 * MILLISECOND
FULL_BW_GROWTH = 1.25
FULL_BW_ROUNDS = 3
STARTUP_LOSS_EVENTS = 6
DRAIN_ROUNDS = 3
RENO_ROUNDS = 63


class State(Enum):
    STARTUP = "startup"
    DRAIN = "drain"
    DOWN = "probe_bw_down"
    CRUISE = "probe_bw_cruise"
    REFILL = "probe_bw_refill"
    UP = "probe_bw_up"
    PROBE_RTT = "probe_rtt"


class AckPhase(Enum):
    """Whether the acknowledgments that arrive are about data sent while probing: feedback lags by a round."""

    INIT = "init"
    REFILLING = "refilling"
    PROBE_STARTING = "probe_starting"
    PROBE_FEEDBACK = "probe_feedback"
    PROBE_STOPPING = "probe_stopping"


PACING_GAIN = {
    State.STARTUP: 2.77,
    State.DRAIN: 0.5,
    State.DOWN: 0.9,
    State.CRUISE: 1.0,
    State.REFILL: 1.0,
    State.UP: 1.25,
    State.PROBE_RTT: 1.0,
}
CWND_GAIN = dict.fromkeys(State, 2.0) | {State.UP: 2.25, State.PROBE_RTT: 0.5}
PROBE_RTT_CWND_GAIN = CWND_GAIN[State.PROBE_RTT]

PROBE_BW = frozenset({State.DOWN, State.CRUISE, State.REFILL, State.UP})
ACCELERATING = frozenset({State.STARTUP, State.REFILL, State.UP})


class BbrMachine:
    """States and transitions (sections 5.3 and 5.4). `Bbr` adds the hooks and the control parameters."""

    __slots__ = (
        *("_mss", "_initial_window", "_random", "_model", "cwnd", "_prior_cwnd", "_recovering"),
        *("_state", "_cycling", "_pacing_gain", "_cwnd_gain", "_ack_phase"),
        *("_recovery_in_round", "_full_bw", "_full_bw_count", "_full_bw_now", "_full_bw_reached", "_drain_start_round"),
        *("_cycle_stamp", "_probe_wait", "_rounds_since_probe_up", "_is_probe_sample", "_probe_up_rounds"),
        *("_probe_up_acked", "_probe_up_per_increase", "_prev_probe_too_high", "_prev_probe_precautionary"),
        *("_probe_rtt_cwnd", "_probe_rtt_done", "_probe_rtt_round_done", "_idle_restart", "_undo_state", "_full_until"),
    )

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        self._mss = settings.mss
        self._initial_window = max(settings.initial_window, settings.mss)
        self._random = settings.random
        self._model = PathModel(now)
        self._enter(State.STARTUP)
        self._ack_phase = AckPhase.INIT
        self.cwnd = self._initial_window
        self._prior_cwnd = 0
        self._recovering = False
        self._recovery_in_round = False
        self._full_bw_reached = False
        self._reset_full_bw(0)
        self._drain_start_round = 0
        self._cycle_stamp = now
        self._probe_wait = 0
        self._rounds_since_probe_up = 0
        self._is_probe_sample = False
        self._probe_up_rounds = 0
        self._probe_up_acked = 0
        self._probe_up_per_increase = INFINITE
        self._prev_probe_too_high = False
        self._prev_probe_precautionary = False
        self._probe_rtt_cwnd = self._initial_window
        self._probe_rtt_done: int | None = None
        self._probe_rtt_round_done = False
        self._idle_restart = False
        self._undo_state: State | None = None
        self._full_until = -1  # what is delivered up to here was sent in flights that filled the window

    def _enter(self, state: State) -> None:
        """The gains go with the state; they are needed for every acknowledgment."""
        self._state = state
        self._cycling = state in PROBE_BW
        self._pacing_gain = PACING_GAIN[state]
        self._cwnd_gain = CWND_GAIN[state]

    def _advance(self, ack: Ack) -> None:
        """UpdateModelAndState, the order of which matters (section 5.2.3)."""
        model = self._model
        model.update_signals()
        self._rounds_since_probe_up += model.round_start
        self._recovery_in_round |= ack.in_recovery
        high_loss = model.loss_round_start and self._startup_high_loss()
        if model.loss_round_start:
            if model.loss_in_round and self._state not in ACCELERATING:
                model.adapt_lower_bounds(self.cwnd)
            model.loss_in_round = self._recovery_in_round = False
            model.loss_events = 0
        model.update_ack_aggregation(ack, self.cwnd, full_bw_reached=self._full_bw_reached)
        self._check_full_bw()
        self._check_startup_and_drain(ack, high_loss=high_loss)
        self._update_probe_bw(ack)
        self._update_min_rtt(ack)
        model.advance()

    # --- Startup and Drain (5.3.1, 5.3.2) ----------------------------------------------------------------------------

    def _reset_full_bw(self, rate: int) -> None:
        self._full_bw = rate
        self._full_bw_count = 0
        self._full_bw_now = False

    def _check_full_bw(self) -> None:
        """CheckFullBWReached: three rounds with less than 25 % more."""
        model = self._model
        if self._full_bw_now or not model.round_start or model.app_limited:
            return
        if model.rate >= self._full_bw * FULL_BW_GROWTH:
            self._reset_full_bw(model.rate)
            return
        self._full_bw_count += 1
        if self._full_bw_count >= FULL_BW_ROUNDS:
            self._full_bw_now = self._full_bw_reached = True

    def _startup_high_loss(self) -> bool:
        """CheckStartupHighLoss, at the end of a round that began with a loss: it went by in recovery, and more than 2 %
        of it was lost, in at least six places. The hooks tell losses per acknowledgment, so one that reveals loss is
        taken for one place."""
        model = self._model
        many = self._recovery_in_round and model.loss_events >= STARTUP_LOSS_EVENTS
        return many and self._state is State.STARTUP and model.too_high()

    def _check_startup_and_drain(self, ack: Ack, *, high_loss: bool) -> None:
        model = self._model
        if self._state is State.STARTUP:
            if high_loss and not self._full_bw_reached:
                self._undo_state = State.STARTUP
                self._full_bw_reached = True
                model.inflight_longterm = max(model.bdp(1.0, self._initial_window), model.inflight_latest)
            if self._full_bw_reached:
                self._enter(State.DRAIN)
                self._drain_start_round = model.round_count
        if self._state is State.DRAIN:
            late = model.round_count > self._drain_start_round + DRAIN_ROUNDS
            if late or ack.in_flight <= self._inflight(1.0):
                self._start_down(ack.now)

    # --- ProbeBW (5.3.3) ---------------------------------------------------------------------------------------------

    def _start_down(self, now: int) -> None:
        """StartProbeBW_DOWN with PickProbeWait: 2 to 3 s, or as many rounds as Reno would take."""
        self._model.reset_congestion_signals()
        self._probe_up_per_increase = INFINITE
        self._rounds_since_probe_up = self._random.randrange(2)
        self._probe_wait = 2 * SECOND + int(self._random.random() * SECOND)
        self._cycle_stamp = now
        self._ack_phase = AckPhase.PROBE_STOPPING
        self._model.start_round()
        self._enter(State.DOWN)

    def _start_refill(self) -> None:
        """StartProbeBW_REFILL: forget what losses suggested, and fill the path before asking for more."""
        self._model.reset_short_term()
        self._probe_up_rounds = 0
        self._probe_up_acked = 0
        self._prev_probe_precautionary = False
        self._ack_phase = AckPhase.REFILLING
        self._model.start_round()
        self._enter(State.REFILL)

    def _start_up(self) -> None:
        self._ack_phase = AckPhase.PROBE_STARTING
        self._model.start_round()
        self._reset_full_bw(self._model.rate)
        self._enter(State.UP)
        self._raise_slope()

    def _update_probe_bw(self, ack: Ack) -> None:
        """UpdateProbeBWCyclePhase."""
        if not self._full_bw_reached or self._adapt_long_term(ack) or not self._cycling:
            return
        if self._state is State.UP:
            if self._time_to_go_down(ack):
                self._prev_probe_too_high = False
                self._start_down(ack.now)
        elif self._state is State.REFILL:
            if self._model.round_start:
                self._is_probe_sample = True
                self._start_up()
        elif self._time_to_probe(ack.now):
            self._start_refill()
        elif self._state is State.DOWN and self._time_to_cruise(ack.in_flight):
            self._enter(State.CRUISE)

    def _time_to_probe(self, now: int) -> bool:
        """IsTimeToProbeBW: the wait is over, or as many rounds have passed as Reno takes between losses."""
        if now > self._cycle_stamp + self._probe_wait:
            return True
        rounds = self._rounds_since_probe_up
        return self._model.round_start and (rounds >= RENO_ROUNDS or rounds >= self._target_inflight() // self._mss)

    def _time_to_cruise(self, in_flight: int) -> bool:
        return in_flight <= self._with_headroom() and in_flight <= self._inflight(1.0)

    def _time_to_go_down(self, ack: Ack) -> bool:
        """IsTimeToGoDown: the rate grows no more, or this is the cautious probe after one that lost too much."""
        longterm = self._model.inflight_longterm
        if self._prev_probe_too_high and ack.in_flight >= longterm:
            self._prev_probe_precautionary = True
            return True
        if self._window_was_full() and self.cwnd >= longterm:
            self._reset_full_bw(self._model.rate)
            return False
        return self._full_bw_now

    def _adapt_long_term(self, ack: Ack) -> bool:
        """AdaptLongTermModel; True: it chose the next state."""
        model = self._model
        if self._ack_phase is AckPhase.PROBE_STARTING and model.round_start:
            self._ack_phase = AckPhase.PROBE_FEEDBACK
        if self._ack_phase is AckPhase.PROBE_STOPPING and model.round_start:
            self._is_probe_sample = False
            self._ack_phase = AckPhase.INIT
            if self._cycling:
                if not model.app_limited:
                    model.cycle_count += 1  # AdvanceMaxBwFilter
                if self._prev_probe_precautionary and not self._prev_probe_too_high:
                    self._start_refill()
                    return True
        if model.inflight_longterm != INFINITE and not model.too_high():
            model.inflight_longterm = max(model.inflight_longterm, model.tx_in_flight)
            if self._state is State.UP:
                self._probe_upward(ack)
        return False

    def _raise_slope(self) -> None:
        """RaiseInflightLongtermSlope: one segment more in the first round, then two, four, eight ..."""
        growth = 1 << self._probe_up_rounds
        self._probe_up_rounds = min(self._probe_up_rounds + 1, 30)
        self._probe_up_per_increase = max(self.cwnd // growth, self._mss)

    def _probe_upward(self, ack: Ack) -> None:
        """ProbeInflightLongtermUpward."""
        model = self._model
        if not self._window_was_full() or self.cwnd < model.inflight_longterm:
            return
        self._probe_up_acked += ack.delivered
        if self._probe_up_acked >= self._probe_up_per_increase:
            steps, self._probe_up_acked = divmod(self._probe_up_acked, self._probe_up_per_increase)
            model.inflight_longterm += steps * self._mss
        if model.round_start:
            self._raise_slope()

    def _handle_too_high(self, ack: Ack) -> None:
        """HandleInflightTooHigh: a probe lost too much. Once per probe."""
        model = self._model
        self._prev_probe_too_high = True
        self._is_probe_sample = False
        if not model.app_limited:
            model.inflight_longterm = max(model.tx_in_flight, int(self._target_inflight() * BETA))
        if self._state is State.UP:
            self._undo_state = State.UP
            self._start_down(ack.now)

    # --- ProbeRTT (5.3.4) --------------------------------------------------------------------------------------------

    def _update_min_rtt(self, ack: Ack) -> None:
        """UpdateMinRTT and CheckProbeRTT."""
        model = self._model
        now = ack.now
        if model.expire_min_rtt(now) and self._state is not State.PROBE_RTT:
            # With the old min_rtt: the next sample may come from a full queue, and half of that would drain nothing.
            self._probe_rtt_cwnd = max(model.bdp(PROBE_RTT_CWND_GAIN, self._initial_window), self._min_pipe())
        model.update_min_rtt(ack.rtt, now)
        if self._state is not State.PROBE_RTT and model.min_rtt_expired and not self._idle_restart:
            self._save_cwnd()
            self._enter(State.PROBE_RTT)
            self._probe_rtt_done = None
            self._ack_phase = AckPhase.PROBE_STOPPING
            model.start_round()
        if self._state is State.PROBE_RTT:
            self._handle_probe_rtt(ack)
        if ack.delivered:
            self._idle_restart = False

    def _handle_probe_rtt(self, ack: Ack) -> None:
        model = self._model
        model.limited_until = model.delivered + ack.in_flight  # the low rates of this state say nothing
        if self._probe_rtt_done is None:
            if ack.in_flight <= self._probe_rtt_cwnd:
                self._probe_rtt_done = ack.now + PROBE_RTT_DURATION
                self._probe_rtt_round_done = False
                model.start_round()
            return
        self._probe_rtt_round_done |= model.round_start
        if self._probe_rtt_round_done:
            self._check_probe_rtt_done(ack.now)

    def _check_probe_rtt_done(self, now: int) -> None:
        if self._probe_rtt_done is None or now <= self._probe_rtt_done:
            return
        self._model.min_rtt_stamp = now
        self._restore_cwnd()
        self._model.reset_short_term()
        if self._full_bw_reached:
            self._start_down(now)
            self._enter(State.CRUISE)
        else:
            self._enter(State.STARTUP)

    def _window_was_full(self) -> bool:
        """C.is_cwnd_limited: the window and not the pacing held data back, when what arrives now was sent."""
        return self._model.delivered <= self._full_until

    # --- volumes (5.6.4) ---------------------------------------------------------------------------------------------

    def _min_pipe(self) -> int:
        return MIN_PIPE_SEGMENTS * self._mss

    def _target_inflight(self) -> int:
        return min(self._model.bdp(1.0, self._initial_window), self.cwnd)

    def _with_headroom(self) -> int:
        longterm = self._model.inflight_longterm
        if longterm == INFINITE:
            return INFINITE
        return max(longterm - max(self._mss, int(HEADROOM * longterm)), self._min_pipe())

    def _inflight(self, gain: float) -> int:
        return self._quantized(self._model.bdp(gain, self._initial_window))

    def _quantized(self, volume: int) -> int:
        """QuantizationBudget: room for three bursts, as offload makes them."""
        volume = max(volume, 3 * self._send_quantum(), self._min_pipe())
        return volume + 2 * self._mss if self._state is State.UP else volume

    def _send_quantum(self) -> int:
        raise NotImplementedError

    def _save_cwnd(self) -> None:
        """SaveCwnd: the last window that neither recovery nor ProbeRTT had touched."""
        kept = 0 if not self._recovering and self._state is not State.PROBE_RTT else self._prior_cwnd
        self._prior_cwnd = max(kept, self.cwnd)

    def _restore_cwnd(self) -> None:
        self.cwnd = max(self.cwnd, self._prior_cwnd)
