"""When the transmitter of a link is free.

A sender of ARQ is the transmitter of its line: it begins a frame when the one before has left, and its timer runs from
there. Behind a queue that somebody else empties it would be neither: what it decided to send again would wait behind
all that it had sent before, and the timer would measure the queue. So it counts the time that its frames take on the
wire. Where the line has no rate, a frame takes none.
"""

from __future__ import annotations

from nodes.units import SECOND


class Line:
    """`rate` in bit/s, 0 for none."""

    __slots__ = ("_rate", "_waited", "free_at")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._waited = False
        self.free_at = 0
        """When the last frame has left, in ns."""

    def ready(self, now: int) -> bool:
        """Whether a frame may begin. Where it may not, the one that asks is assumed to wait for it."""
        if not self._rate or self.free_at <= now:
            return True
        self._waited = True
        return False

    def occupy(self, octets: int, now: int) -> int:
        """Send so many octets; returns when they have left. A frame that waited begins when the line was free, not when
        its driver woke up: timers that are late by a little would slow the line down."""
        if not self._rate:
            self.free_at = now
            return now
        duration = octets * 8 * SECOND // self._rate
        punctual = self._waited and now - self.free_at < duration
        begin = self.free_at if punctual else max(self.free_at, now)
        self._waited = False
        self.free_at = begin + duration
        return self.free_at
