"""Time in the stack is an integer of nanoseconds; these are its units, and what all with deadlines ask."""

from __future__ import annotations

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000


def earliest(*deadlines: int | None) -> int | None:
    """The first of several deadlines, of which None are none; None where there is no other."""
    first = None
    for deadline in deadlines:  # asked after each wake-up: a plain loop costs half of `min` over a generator
        if deadline is not None and (first is None or deadline < first):
            first = deadline
    return first
