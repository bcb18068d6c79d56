"""HyStart++ (RFC 9406): leave slow start when the queue begins to grow, before it overflows.

Slow start doubles until something is lost, and then up to half a window is. A bottleneck whose queue fills shows
earlier in the round-trip times: their minimum over one round rises against that of the round before.

    slow start ──── minimum of this round ≥ that of the last + threshold ────▶ conservative slow start (CSS)
        ▲                                                                        │ growth / 4
        └────── minimum below what it was at the start of CSS: a false alarm ────┤
                                                                                 └─ after 5 rounds: congestion avoidance

A round is the time until all that was sent at its start is acknowledged. A minimum counts with at least 8 samples. The
threshold is an eighth of the last minimum, between 4 and 16 ms. HyStart++ serves the first slow start only; after a
loss `ssthresh` says where to stop (section 4.3).
"""

from __future__ import annotations

from nodes.transport.tcp.congestion.base import Ack
from nodes.units import MILLISECOND

MIN_RTT_THRESH = 4 * MILLISECOND
MAX_RTT_THRESH = 16 * MILLISECOND
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5


class HyStart:
    """The tuning constants are those of RFC 9406 section 4.3. `done`: slow start is over."""

    __slots__ = ("_baseline", "_css_rounds", "_current", "_last", "_round_end", "_samples", "done")

    def __init__(self) -> None:
        self.done = False
        self._round_end: int | None = None
        self._last: int | None = None  # the lowest RTT of the round before (lastRoundMinRTT)
        self._current: int | None = None  # and of this one (currentRoundMinRTT)
        self._samples = 0
        self._baseline: int | None = None  # cssBaselineMinRtt; None outside CSS
        self._css_rounds = 0

    @property
    def conservative(self) -> bool:
        return self._baseline is not None

    def growth(self, ack: Ack) -> int:
        """Octets by which the window grows for this acknowledgment; afterwards `done` may be set. RFC 9406 bounds them
        (L of section 4.2) where the sender does not pace; see `window` for why not here."""
        if self._round_end is None:
            self._round_end = ack.nxt
        elif ack.una >= self._round_end:
            self._next_round(ack.nxt)
        if ack.rtt is not None:
            self._samples += 1
            if self._current is None or ack.rtt < self._current:
                self._current = ack.rtt
        self._judge()
        octets = min(ack.acknowledged, ack.delivered)
        return octets if self._baseline is None else octets // CSS_GROWTH_DIVISOR

    def _next_round(self, end: int) -> None:
        self._round_end = end
        self._last, self._current, self._samples = self._current, None, 0
        if self._baseline is not None:
            self._css_rounds += 1  # the round in which CSS began counts as one
            self.done = self._css_rounds >= CSS_ROUNDS

    def _judge(self) -> None:
        """Did the queue begin to grow, or was it a false alarm?"""
        if self._samples < N_RTT_SAMPLE or self._current is None:
            return
        if self._baseline is not None:
            if self._current < self._baseline:
                self._baseline = None
        elif self._last is not None:
            threshold = max(MIN_RTT_THRESH, min(self._last // MIN_RTT_DIVISOR, MAX_RTT_THRESH))
            if self._current >= self._last + threshold:
                self._baseline = self._current
                self._css_rounds = 0
