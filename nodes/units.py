"""Time in the stack is an integer of nanoseconds; these are its units."""

from __future__ import annotations

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000
