"""The clock of a node beside the true one: off by some, faster or slower by some.

    steady = start_steady + (base - start_base) * (1 + drift)        CLOCK_MONOTONIC: never stepped; timers run by it
    local  = steady + offset                                         CLOCK_REALTIME: stepped when somebody sets it

The stack of a node runs on the true clock, and so do traces and captures. What a node's programs are told of time, and
when their timers come, is what this clock says.
"""

from __future__ import annotations

PARTS = 1_000_000_000
"""Drift is kept in parts per billion, so that all is integers."""


class NodeClock:
    """Right until `set`. `drift_ppb`: nanoseconds that it gains in a second."""

    __slots__ = ("_base", "_offset", "_steady", "drift_ppb")

    def __init__(self) -> None:
        self._base = 0
        self._steady = 0
        self._offset = 0
        self.drift_ppb = 0

    def set(self, base: int, *, offset: int | None = None, drift_ppb: int | None = None) -> None:
        """From the instant `base` on the wall clock is wrong by `offset` (ns), and both gain `drift_ppb`; None leaves
        either as it is. Raises ValueError for a clock that would stand still or run backwards."""
        if drift_ppb is not None and drift_ppb <= -PARTS:
            raise ValueError(f"a drift of {drift_ppb} ppb stops the clock")
        self._steady = self.steady(base)
        self._base = base
        if offset is not None:
            self._offset = base + offset - self._steady
        if drift_ppb is not None:
            self.drift_ppb = drift_ppb

    def steady(self, base: int) -> int:
        """What the clock that is never stepped shows at the true time `base` (ns)."""
        elapsed = base - self._base
        return self._steady + elapsed + elapsed * self.drift_ppb // PARTS

    def local(self, base: int) -> int:
        """What the wall clock shows at the true time `base` (ns)."""
        return self.steady(base) + self._offset

    def base(self, steady: int) -> int:
        """The first true time at which the steady clock shows at least `steady` (ns)."""
        elapsed = steady - self._steady
        return self._base - (-elapsed * PARTS // (PARTS + self.drift_ppb))
