"""Many timers, one deadline: a heap with lazy deletion.

A cache of a thousand neighbours has a timer for each, and its owner asks for the earliest after every frame. The table
holds the truth (key -> time); the heap holds every time that was ever set, and an entry that the table no longer
agrees with is skipped when it comes to the top. Timers that are moved over and over (a neighbour confirmed again and
again) leave such entries behind, so the heap is rebuilt from the table once it is twice as long: setting a timer costs
O(log n), the earliest O(1), both amortized, and memory stays proportional to the timers that run.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from nodes.wire.addresses import Ip4

SLACK = 16  # entries; below this a rebuild costs more than the memory it frees


class Deadlines:
    """At most one running timer per address. Equal times come out lowest address first: the same in every run."""

    __slots__ = ("_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[Ip4, int] = {}
        self._heap: list[tuple[int, Ip4]] = []

    def set(self, key: Ip4, when: int) -> None:
        """Start the timer of `key`, or move it, to `when` (ns)."""
        self._times[key] = when
        if len(self._heap) >= 2 * len(self._times) + SLACK:
            self._heap = [(time, key) for key, time in self._times.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (when, key))

    def cancel(self, key: Ip4) -> None:
        """Stop the timer of `key`, if it runs."""
        self._times.pop(key, None)

    def clear(self) -> None:
        self._times.clear()
        self._heap.clear()

    def get(self, key: Ip4) -> int | None:
        return self._times.get(key)

    def earliest(self) -> int | None:
        """The time of the next timer, None where none runs."""
        heap = self._heap
        while heap:
            when, key = heap[0]
            if self._times.get(key) == when:
                return when
            heappop(heap)
        return None

    def due(self, now: int) -> list[Ip4]:
        """The keys whose time has come, earliest first. Their timers no longer run."""
        keys = []
        while (when := self.earliest()) is not None and when <= now:
            _, key = heappop(self._heap)
            del self._times[key]
            keys.append(key)
        return keys

    def __len__(self) -> int:
        return len(self._times)
