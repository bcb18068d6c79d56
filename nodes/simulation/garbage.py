"""Garbage is collected at the same moments in every run.

Python frees what nobody refers to at once, but what refers to itself in a circle, as a forgotten connection and its
protocol do, only when its collector runs. That is seen: such a connection is closed then, and its peer hears of it. By
itself the collector runs after so many objects have been made, by whomever: the thread that watches over a simulation
makes some too, as real time passes. So while a simulation is there it runs by the count of callbacks alone.

In which order it finalizes what it finds together may depend on the order of sets, and so on hashes. What that makes
ready to run is put in order by the loop.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

EVERY = 2_000
"""Callbacks between two collections of what is young: some tens of milliseconds of work."""

OLDER, OLDEST = 10, 100
"""Each time so many collections have been made, what is older is looked through as well, and everything."""


class Garbage:
    """Harmless to begin and to end twice."""

    def __init__(self) -> None:
        self.in_order: Callable[[Callable[[], object]], None] = _as_it_comes
        """Calls what it is given; see `StackEventLoop.in_order_of_creation`."""
        self._collections = 0
        self._was_automatic = False

    def begin(self) -> None:
        """From now on only `collect` collects."""
        gc.collect()
        self._was_automatic = self._was_automatic or gc.isenabled()
        gc.disable()

    def collect(self) -> None:
        """Called after each EVERY callbacks."""
        self._collections += 1
        generation = sum(not self._collections % every for every in (OLDER, OLDEST))
        self.in_order(lambda: gc.collect(generation))

    def end(self) -> None:
        """As it was before."""
        if self._was_automatic:
            self._was_automatic = False
            gc.enable()


def _as_it_comes(collect: Callable[[], object]) -> None:
    collect()
