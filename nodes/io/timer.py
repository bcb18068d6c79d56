"""One deadline as a file descriptor: timerfd, on the clock that the stack counts in.

The timeout of `epoll_wait` is in milliseconds, rounded up: a timer behind it fires 0.8 ms late on average, several
times what a round trip between two nodes takes. A timerfd fires within 0.1 ms and is one more descriptor to watch.

Times are absolute nanoseconds of CLOCK_MONOTONIC, which `time.monotonic_ns` reads too: a deadline that passed while it
was being set fires at once, and setting the clock of the machine moves nothing. Python has `os.timerfd_*` from 3.13 on;
before, libc is called directly.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Protocol

from nodes.units import SECOND

monotonic_ns = time.monotonic_ns
"""The clock of a node: nanoseconds of CLOCK_MONOTONIC."""

_NON_BLOCKING = os.O_NONBLOCK  # TFD_NONBLOCK, TFD_CLOEXEC: timerfd_create(2)
_CLOSE_ON_EXEC = os.O_CLOEXEC
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _System(Protocol):
    """The two calls that depend on the version of Python."""

    def create(self) -> int: ...

    def set(self, descriptor: int, deadline: int) -> None:
        """`deadline` 0 disarms."""


class _LibcTimer:
    """timerfd by ctypes. One `itimerspec` is reused: {interval s, interval ns, value s, value ns}."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._create = libc.timerfd_create
        self._settime = libc.timerfd_settime
        self._create.argtypes = (ctypes.c_int, ctypes.c_int)
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._spec = (ctypes.c_long * 4)()
        self._address = ctypes.addressof(self._spec)

    def create(self) -> int:
        descriptor = int(self._create(time.CLOCK_MONOTONIC, _NON_BLOCKING | _CLOSE_ON_EXEC))
        if descriptor < 0:
            raise _error("timerfd_create")
        return descriptor

    def set(self, descriptor: int, deadline: int) -> None:
        self._spec[2], self._spec[3] = divmod(deadline, SECOND)
        if self._settime(descriptor, _ABSOLUTE, self._address, None) < 0:
            raise _error("timerfd_settime")


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


if sys.version_info >= (3, 13):

    class _OsTimer:
        """timerfd by the standard library."""

        def create(self) -> int:
            return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def set(self, descriptor: int, deadline: int) -> None:
            os.timerfd_settime_ns(descriptor, flags=os.TFD_TIMER_ABSTIME, initial=deadline)

    _new_system = _OsTimer
else:
    _new_system = _LibcTimer


class Timer:
    """A timerfd. `fileno()` is readable from the deadline until `acknowledge()`. Raises OSError without descriptors."""

    __slots__ = ("_descriptor", "_system", "deadline")

    def __init__(self) -> None:
        self._system: _System = _new_system()
        self._descriptor = self._system.create()
        self.deadline: int | None = None
        """When the timer fires (ns, monotonic), None while it is not set."""

    def fileno(self) -> int:
        return self._descriptor

    def set(self, deadline: int | None) -> None:
        """Fire at `deadline`; None: never. Replaces the deadline before."""
        if deadline == self.deadline:
            return
        # 0 would disarm: a deadline at or before the start of the clock is simply due.
        self._system.set(self._descriptor, 0 if deadline is None else max(deadline, 1))
        self.deadline = deadline

    def acknowledge(self) -> bool:
        """Take note of a firing, which also disarms. False: it has not fired, the deadline was moved meanwhile."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return False
        self.deadline = None
        return True

    def close(self) -> None:
        """Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
