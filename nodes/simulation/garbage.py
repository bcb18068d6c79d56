"""Garbage is collected at the same moments in every run.

Python frees what nobody refers to at once, but what refers to itself in a circle, as a forgotten connection and its
protocol do, only when its collector runs. That is seen: such a connection is closed then, and its peer hears of it. By
itself the collector runs after so many objects have been made, by whomever: the thread that watches over a simulation
makes some too, as real time passes. So while a simulation is there it runs by the count of callbacks alone.
"""

from __future__ import annotations

import gc

EVERY = 2_000
"""Callbacks between two collections of what is young: some tens of milliseconds of work."""

OLDER, OLDEST = 10, 100
"""Each time so many collections have been made, what is older is looked through as well, and everything."""


class Garbage:
    """Harmless to begin and to end twice."""

    def __init__(self) -> None:
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
        if not self._collections % OLDEST:
            gc.collect()
        else:
            gc.collect(0 if self._collections % OLDER else 1)

    def end(self) -> None:
        """As it was before."""
        if self._was_automatic:
            self._was_automatic = False
            gc.enable()
