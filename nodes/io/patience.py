"""Ends code that does not let others run.

A node has one thread: while a program in it computes, sleeps or waits in a call that blocks, nothing else in the node
happens, and to its peers it is dead. After `PATIENCE`, a signal of a timer interrupts such code, where it stands, with
a StuckError; what goes on all the same is interrupted again when as much time has passed. Code of ours is never
interrupted, nor what it calls in the standard library: only a program is, and what that calls.
"""

from __future__ import annotations

import signal
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

from nodes.errors import StuckError

PATIENCE = 10.0
"""Seconds: long after every peer has begun to retransmit, and short before people think that it hangs."""

TICK = 1.0
"""Seconds between two looks at the clock. They are counted: a process that was stopped for an hour has one tick."""

AGAIN = 0.01
"""Seconds until the next attempt where it was in our own code."""

_OURS = str(Path(__file__).parents[1]) + "/"
_LIBRARY = sysconfig.get_paths()["stdlib"] + "/"
_INSTALLED = ("site-packages/", "dist-packages/")


class Patience:
    """Used around each turn of a node's programs, in the main thread. It has the signal SIGALRM for itself."""

    def __init__(self, node: str, seconds: float = PATIENCE) -> None:
        self._node = node
        self._seconds = seconds
        self._tick = min(TICK, seconds)
        self._left = 0.0
        signal.signal(signal.SIGALRM, self._look)

    def __enter__(self) -> None:
        self._left = self._seconds
        signal.setitimer(signal.ITIMER_REAL, self._tick, self._tick)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _look(self, _: int, frame: FrameType | None) -> None:
        self._left -= self._tick
        if self._left > 0:
            return
        place = program_frame(frame)
        if place is None:
            signal.setitimer(signal.ITIMER_REAL, AGAIN, self._tick)
            return
        self._left = self._seconds
        raise StuckError(
            f"node {self._node}: a program has not let others run for {self._seconds:g} s, at "
            f"{place.f_code.co_filename}:{place.f_lineno}, in {place.f_code.co_name}",
            hint="await something, or use asyncio.to_thread for what blocks",
        )


def program_frame(frame: FrameType | None) -> FrameType | None:
    """Where a program stands that runs in `frame`; None where it is our code that does."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            return None
        installed = any(part in file for part in _INSTALLED)
        if installed or not file.startswith((_LIBRARY, "<frozen")):
            return frame
        frame = frame.f_back
    return None
