"""What the loss-based algorithms share: slow start, congestion avoidance, reduction, undoing, restart after idling.

RFC 5681 moves two variables. Below `ssthresh` the window doubles each round trip (slow start), above it grows by one
segment each (congestion avoidance); a loss sets `ssthresh` to a part of what was in flight.

    cwnd                          loss
     │                         ┌╴╱                ╱
     │                       ╱ │                ╱
     │  ssthresh ╶╶╶╶╶╶╶╶╶ ╱   │     ╱╶╶╶╶╶╶╶ ╱     timeout: to one segment, slow start to ssthresh
     │                    ╱    │   ╱   half
     │                   ╱     └╴╱                  loss: to ssthresh (tahoe: as after a timeout)
     │               __╱
     │  ____________╱
     └──── slow start ─┴─ congestion avoidance ──── time

Growth counts octets, not acknowledgments (RFC 3465, appropriate byte counting): a receiver that acknowledges every
second segment does not halve the growth, and one that splits its acknowledgments does not speed it up. RFC 3465 also
bounds what one acknowledgment adds in slow start (L), for receivers acknowledged every second segment then. Today they
coalesce: one that takes a batch of segments from its link, as ours and Linux's do, sends one acknowledgment for all. It
stands for the many that were saved, so its growth is not bounded, as in Linux; otherwise slow start would be linear.
After a timeout one acknowledgment gives one segment at most, and what had arrived before counts no more, since one may
then cover much that left the network long ago (RFC 3465 section 2.3).

The window grows only when it was what limited the sender (`Ack.cwnd_limited`), otherwise it would say nothing about
the path (RFC 7661 section 4.1, RFC 9438 section 4.2), and not while losses are repaired.

`WindowControl` is complete: it is Reno's window. An algorithm of its own overrides `reduced` (how far to go down),
`acknowledged` (how to go up), or both.
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import INFINITE, Ack, CongestionSettings, FastRecovery

MAXIMUM_WINDOW = 65_535 << 14
"""No peer can offer more (RFC 7323 section 2.3), so a larger congestion window would mean nothing."""


class WindowControl:
    """A congestion window that additive increase and multiplicative decrease move, with slow start."""

    name: ClassVar[str] = "window"
    fast_recovery: ClassVar[FastRecovery] = FastRecovery.FULL
    wants_rate: ClassVar[bool] = False
    uses_recovery_window: ClassVar[bool] = True

    __slots__ = ("_burst", "_credit", "_initial_window", "_undo", "cwnd", "mss", "pacing_rate", "ssthresh")

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        self.mss = settings.mss
        self._initial_window = max(settings.initial_window, settings.mss)
        self._burst = MAXIMUM_WINDOW  # octets that one acknowledgment may add in slow start
        self._credit = 0  # octets acknowledged toward the next increase
        self._undo: tuple[int, int] | None = None  # cwnd and ssthresh before the last reduction
        self.cwnd = min(self._initial_window, MAXIMUM_WINDOW)
        self.ssthresh = INFINITE
        self.pacing_rate: int | None = None

    def sent(self, octets: int, in_flight: int, now: int) -> None:
        """Nothing: these algorithms go by what arrives."""

    def acknowledged(self, ack: Ack) -> None:
        """RFC 5681 section 3.1: double per round trip below `ssthresh`, one segment per round trip above."""
        if ack.in_recovery or not ack.cwnd_limited:
            return
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            self.cwnd = min(cwnd + min(ack.acknowledged, ack.delivered, self._burst), self.ssthresh, MAXIMUM_WINDOW)
            return
        credit = self._credit + ack.acknowledged
        if credit >= cwnd:
            self.cwnd = min(cwnd + self.mss, MAXIMUM_WINDOW)
            credit = min(credit - cwnd, cwnd)  # one acknowledgment is not two round trips
        self._credit = credit

    def reduced(self, in_flight: int) -> int:
        """The new `ssthresh` after a loss: half of what was outstanding, at least two segments (RFC 5681 (4))."""
        return max(in_flight // 2, 2 * self.mss)

    def congestion(self, in_flight: int, now: int) -> None:
        self._remember()
        self.ssthresh = self.reduced(in_flight)
        self.cwnd = min(self.cwnd, self.ssthresh)
        self._credit = 0

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """One segment, the loss window (RFC 5681 section 3.1). A second expiry for the same segment says nothing new
        about the path, and what is worth undoing is the state before the first."""
        if not repeated:
            self._remember()
            self.ssthresh = self.reduced(in_flight)
        self.cwnd = self.mss
        self._credit = 0
        self._burst = self.mss

    def recovered(self, now: int) -> None:
        """`congestion` has set the window that holds from now on."""
        self._burst = MAXIMUM_WINDOW

    def spurious(self, now: int) -> None:
        """Back to what was before the reduction (RFC 4015 section 3.2 and RFC 5682 section 3)."""
        self._burst = MAXIMUM_WINDOW
        if self._undo is None:
            return
        cwnd, ssthresh = self._undo
        self._undo = None
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    def idle(self, now: int) -> None:
        """Start again from the initial window (RFC 5681 section 4.1): nothing is left to clock a larger one.
        `ssthresh` remembers most of what the path carried (RFC 2861 section 3.2), and slow start leads back."""
        self.ssthresh = max(self.ssthresh, self.cwnd * 3 // 4)
        self.cwnd = min(self.cwnd, self._initial_window)
        self._credit = 0

    def set_mss(self, mss: int) -> None:
        """The window stays what it is in octets; it holds at least one segment."""
        self.mss = mss
        self._initial_window = max(self._initial_window, mss)
        self.cwnd = max(self.cwnd, mss)

    def snapshot(self) -> dict[str, object]:
        return {"phase": "slow_start" if self.cwnd < self.ssthresh else "congestion_avoidance"}

    def _remember(self) -> None:
        self._undo = (self.cwnd, self.ssthresh)
