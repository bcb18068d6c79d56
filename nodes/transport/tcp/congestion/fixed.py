"""`none`: no congestion control at all, a window that never moves.

The peer's receive window and the send buffer alone limit the sender, as in TCP before 1988. Two such senders at one
bottleneck fill its buffer and keep it full; most of what they send is dropped or arrives a second time, and the link is
busy with what nobody needs: congestion collapse (RFC 896, RFC 2914 section 5). It is here to be shown, and for links
that nobody shares.
"""

from __future__ import annotations

from typing import ClassVar

from nodes.transport.tcp.congestion.base import Ack, CongestionSettings
from nodes.transport.tcp.congestion.window import MAXIMUM_WINDOW, WindowControl


class FixedWindow(WindowControl):
    """A window of `window` octets. Losses are repaired, but never answered."""

    name: ClassVar[str] = "none"
    uses_recovery_window: ClassVar[bool] = False

    __slots__ = ()

    def __init__(self, settings: CongestionSettings, now: int, window: int = MAXIMUM_WINDOW) -> None:
        super().__init__(settings, now)
        self.cwnd = max(window, settings.mss)

    def acknowledged(self, ack: Ack) -> None:
        """Nothing, as in all hooks: that is the point."""

    def congestion(self, in_flight: int, now: int) -> None:
        """Nothing."""

    def timeout(self, in_flight: int, now: int, *, repeated: bool) -> None:
        """Nothing."""

    def idle(self, now: int) -> None:
        """Nothing."""

    def snapshot(self) -> dict[str, object]:
        return {"phase": "fixed"}
