"""`aimd`: additive increase, multiplicative decrease, and nothing else. For teaching.

The window grows by one segment per round trip, and any sign of congestion (a loss, an ECN mark, a timeout) halves it.
Chiu and Jain (1989) showed why just this pair is fair: of two flows at one bottleneck, increase adds the same to both,
decrease takes more from the larger, so each cycle brings them nearer to equal shares.

    flow 2 │ ╲      ╱ fair
           │   ╲  ╱              up: parallel to the line of equal shares
           │    ╱╲ ╱             down: toward the origin, which is nearer to that line
           │  ╱ ╱  ╲
           │╱ ╱      ╲ full
           └──────────── flow 1

What is missing is on purpose: without slow start it takes 100 round trips to a window of 100 segments.
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import CongestionSettings
from nodes.transport.tcp.congestion.window import WindowControl


class Aimd(WindowControl):
    name: ClassVar[str] = "aimd"

    __slots__ = ()

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        super().__init__(settings, now)
        self.ssthresh = self.cwnd  # never above the window: there is no slow start

    def congestion(self, in_flight: int, now: int) -> None:
        super().congestion(in_flight, now)
        self.ssthresh = self.cwnd

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """A sign of congestion like any other. Each further expiry halves again, down to one segment."""
        if not repeated:
            self._remember()
        self.cwnd = self.ssthresh = max(self.cwnd // 2, self.mss)
        self._credit = 0

    def spurious(self, now: int) -> None:
        super().spurious(now)
        self.ssthresh = self.cwnd

    def idle(self, now: int) -> None:
        self.cwnd = self.ssthresh = min(self.cwnd, self._initial_window)
        self._credit = 0

    def set_mss(self, mss: int) -> None:
        super().set_mss(mss)
        self.ssthresh = self.cwnd

    def snapshot(self) -> dict[str, object]:
        return {"phase": "congestion_avoidance"}
