"""TCP Vegas (Brakmo and Peterson, 1994): keep two to four segments in the bottleneck's queue, seen by its delay."""

from typing import ClassVar

from nodes.transport.tcp.congestion.base import Ack, CongestionSettings
from nodes.transport.tcp.congestion.window import WindowControl


class Vegas(WindowControl):
    name: ClassVar[str] = "vegas"

    def __init__(self, settings: CongestionSettings, now: int) -> None:
        super().__init__(settings, now)
        self.round_end = 0

    def acknowledged(self, ack: Ack) -> None:
        if ack.in_recovery or not ack.cwnd_limited or not ack.rtt or not ack.min_rtt or ack.una < self.round_end:
            return
        self.round_end = ack.nxt  # once per round trip
        queued = self.cwnd * (ack.rtt - ack.min_rtt) / ack.rtt
        if self.cwnd < self.ssthresh and queued < self.mss:
            self.cwnd += self.cwnd // 2  # slow start
            return
        self.ssthresh = min(self.ssthresh, self.cwnd)
        if queued < 2 * self.mss:
            self.cwnd += self.mss
        elif queued > 4 * self.mss:
            self.cwnd = max(self.cwnd - self.mss, 2 * self.mss)
