"""`bbr`: BBR version 3 (draft-ietf-ccwg-bbr). It sends at the rate the path delivers, not until something is lost.

A loss-based sender fills the bottleneck's buffer before it learns anything, and takes every random loss for a full
buffer. BBR measures instead: the largest delivery rate seen (`max_bw`) and the lowest round-trip time (`min_rtt`).
Their product is what the path holds without a queue; more than that in flight only waits.

     delivery rate        │ path      │ buffer      │ loss          round-trip  │           │       ╱
                          │       ╱───┼─────────────┤               time        │           │    ╱
     BBR aims here ───────┼──▶ ╱      │             │                           │           │ ╱
                          │ ╱         │             │               min_rtt ────┼───────────┤
                          └───────────┴─────────────┴─ in flight                └───────────┴──────── in flight
                                     bdp                                                   bdp

Both cannot be measured at once: the rate needs a full path, the time an empty queue. So it takes turns, which is the
state machine in `bbr_machine`; the measurements are in `bbr_model`. From these follow three control parameters
(section 5.6): `pacing_rate`, `send_quantum` (how much may leave at once) and `cwnd`. Pacing is what shapes the traffic;
the window is a bound of about twice the bdp.

Losses below 2 % per round hardly matter to it. While not probing, each round with loss lowers the short-term bounds to
what was delivered; while probing, more than 2 % ends the probe and sets `inflight_longterm`. An ECN mark is taken as
such a round (RFC 3168 section 5 asks for the response to a loss; the draft leaves it open).

Differences to the draft, for the hooks tell less than a packet does: what was in flight when a lost packet was sent
is taken from the newest delivered one; a connection without SACK is treated as one with it; and `pacing_rate` is at
least one segment per second, for zero would never send again.
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings, FastRecovery
from nodes.transport.tcp.congestion.bbr_machine import PACING_GAIN, BbrMachine, State
from nodes.transport.tcp.congestion.window import MAXIMUM_WINDOW
from nodes.units import MILLISECOND, SECOND

PACING_MARGIN = 0.99
"""One percent below the bandwidth, so that queues tend to empty (PacingMarginPercent)."""
QUANTUM_TIME = MILLISECOND
LARGEST_QUANTUM = 65_536


class Bbr(BbrMachine):
    name: ClassVar[str] = "bbr"
    fast_recovery: ClassVar[FastRecovery] = FastRecovery.FULL
    wants_rate: ClassVar[bool] = True
    uses_recovery_window: ClassVar[bool] = False

    __slots__ = ("_app_limited", "_seen_rtt", "_signal", "_undo", "pacing_rate", "send_quantum", "ssthresh")

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        super().__init__(settings, now)
        self.ssthresh = INFINITE  # unused: there is no slow start
        self._app_limited = False
        self._seen_rtt = False
        self._signal = False  # `congestion` was called and no loss has been told yet: an ECN mark, if none follows
        self._undo: tuple[int, int, int] | None = None
        # Before the first sample: the initial window within a millisecond (InitPacingRate).
        self.pacing_rate: int | None = int(PACING_GAIN[State.STARTUP] * self._initial_window * SECOND // MILLISECOND)
        self.send_quantum = 2 * self._mss

    # --- hooks -------------------------------------------------------------------------------------------------------

    def sent(self, octets: int, in_flight: int, now: int) -> None:
        """Note what is in flight; after a pause, HandleRestartFromIdle (section 5.4.1): pace at just the bandwidth."""
        model = self._model
        if in_flight <= octets and self._app_limited and not self._recovering:
            self._idle_restart = True
            model.restart_aggregation(now)
            if self._cycling:
                self._set_pacing_rate(1.0)
            elif self._state is State.PROBE_RTT:
                self._check_probe_rtt_done(now)
        if in_flight + self._mss > self.cwnd:
            self._full_until = model.delivered + in_flight
        model.log.sent(model.delivered, model.lost, in_flight)

    def acknowledged(self, ack: Ack) -> None:
        """UpdateOnACK, after HandleLostPacket for what this acknowledgment showed to be lost."""
        self._app_limited = not ack.cwnd_limited
        self._model.observe(ack)
        if ack.lost or self._signal:
            self._handle_loss(ack)
        self._advance(ack)
        if ack.srtt and not self._seen_rtt:
            self._seen_rtt = True
            self.pacing_rate = int(PACING_GAIN[State.STARTUP] * self._initial_window * SECOND / ack.srtt)
        self._set_pacing_rate(self._pacing_gain)
        self._set_send_quantum()
        self._set_cwnd(ack)

    def congestion(self, in_flight: int, now: int) -> None:
        """OnEnterFastRecovery. The window stays; the model answers when the losses are told."""
        self._save_state()
        self._recovering = True
        self._signal = True

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """OnEnterRTO: one segment, and back to the old window as acknowledgments come."""
        if not repeated:
            self._save_state()
        self._model.note_loss()
        self._recovering = True
        self.cwnd = self._mss

    def recovered(self, now: int) -> None:
        self._recovering = False
        self._restore_cwnd()
        self._bound_cwnd()

    def spurious(self, now: int) -> None:
        """HandleSpuriousLossDetection (section 5.5): what the supposed loss had set is raised again."""
        self._recovering = self._signal = False
        if self._undo is None:
            return
        model = self._model
        self._restore_cwnd()
        model.loss_in_round = False
        self._reset_full_bw(0)
        bw, shortterm, longterm = self._undo
        model.bw_shortterm = max(model.bw_shortterm, bw)
        model.inflight_shortterm = max(model.inflight_shortterm, shortterm)
        model.inflight_longterm = max(model.inflight_longterm, longterm)
        self._undo = None
        undo, self._undo_state = self._undo_state, None
        if undo is State.STARTUP and self._state is not State.STARTUP:
            self._full_bw_reached = False
            if self._state is not State.PROBE_RTT:
                self._enter(State.STARTUP)
        elif undo is State.UP and self._state not in (State.UP, State.PROBE_RTT):
            self._start_refill()

    def idle(self, now: int) -> None:
        """The window stays: the model knows what the path carries, and pacing prevents the burst (section 5.4)."""

    def set_mss(self, mss: int) -> None:
        self._mss = mss
        self._initial_window = max(self._initial_window, mss)
        self.cwnd = max(self.cwnd, mss)
        self._set_send_quantum()

    def snapshot(self) -> dict[str, object]:
        """The state and the model; None for bounds that are not set."""
        model = self._model
        bounds = {
            "bw_shortterm": model.bw_shortterm,
            "inflight_shortterm": model.inflight_shortterm,
            "inflight_longterm": model.inflight_longterm,
        }
        return {
            "phase": self._state.value,
            "bw": model.bw,
            "max_bw": model.max_bw,
            "min_rtt": model.min_rtt,
            "extra_acked": model.extra_acked,
            "round": model.round_count,
            "full_bw_reached": self._full_bw_reached,
            "send_quantum": self.send_quantum,
            **{name: None if value >= INFINITE else value for name, value in bounds.items()},
        }

    # --- loss --------------------------------------------------------------------------------------------------------

    def _handle_loss(self, ack: Ack) -> None:
        """HandleLostPacket, for all that one acknowledgment showed to be lost; or for an ECN mark."""
        model = self._model
        marked = self._signal and not ack.lost
        self._signal = False
        model.loss_events += 1
        model.note_loss()
        if self._is_probe_sample and (marked or model.too_high()):
            if not marked:
                model.tx_in_flight = model.inflight_at_loss(ack.lost)
            self._handle_too_high(ack)

    def _save_state(self) -> None:
        """SaveStateUponLoss."""
        model = self._model
        self._save_cwnd()
        self._undo_state = None
        self._undo = (model.bw_shortterm, model.inflight_shortterm, model.inflight_longterm)

    # --- control parameters (section 5.6) ----------------------------------------------------------------------------

    def _set_pacing_rate(self, gain: float) -> None:
        """SetPacingRateWithGain: never down before the path was full once, since samples may be the application's."""
        rate = max(int(gain * self._model.bw * PACING_MARGIN), self._mss)
        if self._full_bw_reached or self.pacing_rate is None or rate > self.pacing_rate:
            self.pacing_rate = rate

    def _set_send_quantum(self) -> None:
        """What leaves in a millisecond, up to 64 KiB and not less than two segments."""
        quantum = (self.pacing_rate or 0) * QUANTUM_TIME // SECOND
        self.send_quantum = max(min(quantum, LARGEST_QUANTUM), 2 * self._mss)

    def _send_quantum(self) -> int:
        return self.send_quantum

    def _set_cwnd(self, ack: Ack) -> None:
        """SetCwnd: toward `max_inflight`, by what was delivered, then within the bounds of the model."""
        model = self._model
        most = self._quantized(model.bdp(self._cwnd_gain, self._initial_window) + model.extra_acked)
        if self._full_bw_reached:
            self.cwnd = min(self.cwnd + ack.delivered, most)
        elif self.cwnd < most or model.delivered < self._initial_window:
            self.cwnd += ack.delivered
        self.cwnd = max(self.cwnd, self._min_pipe())
        self._bound_cwnd()

    def _bound_cwnd(self) -> None:
        """BoundCwndForProbeRTT and BoundCwndForModel."""
        model = self._model
        state = self._state
        cap = INFINITE
        if state is State.CRUISE:
            cap = self._with_headroom()
        elif state is State.PROBE_RTT:
            cap = min(self._with_headroom(), self._probe_rtt_cwnd)
        elif self._cycling:
            cap = model.inflight_longterm
        cap = max(min(cap, model.inflight_shortterm, MAXIMUM_WINDOW), self._min_pipe())
        self.cwnd = min(self.cwnd, cap)
