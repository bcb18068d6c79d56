"""Time in the stack is an integer of nanoseconds; these are its units, and what all with deadlines ask."""

from __future__ import annotations

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000


def earliest(*deadlines: int | None) -> int | None:
    """The first of several deadlines, of which None are none; None where there is no other."""
    return min((deadline for deadline in deadlines if deadline is not None), default=None)
