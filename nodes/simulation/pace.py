"""How fast virtual time goes: as fast as it can, or at a speed.

    real ────────────────────▶
    virtual = start + (real - start of real) · speed

At a speed, an event waits until real time has come to it. A simulation that is behind does not wait, and catches up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nodes.units import SECOND

NAP = 0.05
"""Seconds that are slept at most at a time: what other threads and people want is noticed after as long."""


class Pace:
    """`speed` is virtual seconds per real second, None: as fast as can be. `now` is the virtual clock. Raises
    ValueError for a speed that is not above 0."""

    def __init__(self, now: Callable[[], int], speed: float | None = None) -> None:
        self._now = now
        self._speed: float | None = None
        self._virtual = 0
        self._real = 0
        self.speed = speed

    @property
    def speed(self) -> float | None:
        return self._speed

    @speed.setter
    def speed(self, speed: float | None) -> None:
        if speed is not None and not speed > 0:
            raise ValueError(f"a speed of {speed}: above 0 expected, or None for as fast as can be")
        self._speed = speed
        self.begin()

    def begin(self) -> None:
        """Count from here: after a time in which virtual time was not meant to go on."""
        self._virtual, self._real = self._now(), time.monotonic_ns()

    def allowed(self) -> int | None:
        """How far virtual time may go by now; None: as far as it likes."""
        if self._speed is None:
            return None
        return self._virtual + int((time.monotonic_ns() - self._real) * self._speed)

    def until(self, instant: int) -> float:
        """Real seconds until virtual time may be there; 0 where it may."""
        allowed = self.allowed()
        if allowed is None or self._speed is None:
            return 0.0
        return max(0.0, (instant - allowed) / self._speed / SECOND)
