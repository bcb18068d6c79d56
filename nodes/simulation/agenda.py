"""What is to happen in a simulation, and when: alarms, one for each part that has a deadline, in one heap.

A part has at most one alarm that counts, at `armed`. A deadline that moves later leaves it where it is: when it comes,
the part looks again and waits on. Only one that moves earlier gets another, and the first is then passed over. So a
timer that every segment pushes back costs one entry of the heap per expiry and not one per segment.

What happens at the same instant happens in the order in which it was set: nothing depends on addresses in memory or on
the order of hashes, and two runs are alike.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Alarmed:
    """A part with a deadline."""

    __slots__ = ("armed",)

    def __init__(self) -> None:
        self.armed: int | None = None
        """When its alarm comes (ns); None: not at all."""

    def due(self, now: int) -> None:
        """The alarm came; it is not armed any more."""
        raise NotImplementedError


class Timer(Alarmed):
    """One call of a function, unless it is cancelled before."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        super().__init__()
        self._callback = callback

    def due(self, now: int) -> None:  # noqa: ARG002
        self._callback()

    def cancel(self) -> None:
        """Harmless when it has been called already."""
        self.armed = None


class Agenda:
    """`heap` has (time, order, part); entries that the part does not agree with any more count for nothing."""

    __slots__ = ("heap", "order")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Alarmed]] = []
        self.order = 0

    def arm(self, part: Alarmed, at: int) -> None:
        """Have `part` called at `at` or before."""
        if part.armed is None or at < part.armed:
            part.armed = at
            self.order += 1
            heapq.heappush(self.heap, (at, self.order, part))

    def next(self) -> int | None:
        """The time of the next alarm that counts."""
        heap = self.heap
        while heap and heap[0][2].armed != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
