"""Threads that programs of nodes start: what they do takes no virtual time either.

A web framework runs ordinary functions in threads of its own, and awaits them. If virtual time went on meanwhile, a
function of a millisecond would take hours. So before time goes on, the simulation waits, in real time, until such
threads are idle: until they have handed over what they did, and wait themselves, for work or for the loop.

Idle is a thread that waits in a lock of `threading` or a queue with nothing in it. As nothing tells when a thread comes
to be so, its stack is looked at. What blocks in the operating system, or computes, is busy: it is waited for as long as
the patience with programs lasts, and not any more after that.

    time.sleep() in such a thread is virtual: it waits for a timer of the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import threading
import time
from collections.abc import Callable

LOOK = 0.0002
"""Seconds between two looks at first; then twice as many, up to LONGEST_LOOK."""

LONGEST_LOOK = 0.005

_STARTED: list[threading.Thread] = []
_IDLE: dict[threading.Thread, object] = {}
"""What each waited for when it was last seen to be idle: a thread that still waits for the same has not been woken."""

_ASLEEP: dict[threading.Event, None] = {}


def started(thread: threading.Thread) -> None:
    """A program of a node starts a thread."""
    _STARTED.append(thread)


def forget() -> None:
    """No simulation is open any more."""
    _STARTED.clear()
    _IDLE.clear()
    for awake in list(_ASLEEP):
        awake.set()


def sleep(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Let the calling thread sleep in virtual time. Raises RuntimeError where that ended before."""
    awake = threading.Event()
    in_time: list[bool] = []

    def wake() -> None:
        in_time.append(True)
        awake.set()

    _ASLEEP[awake] = None
    try:
        loop.call_soon_threadsafe(loop.call_later, seconds, wake)
        awake.wait()
    finally:
        del _ASLEEP[awake]
    if not in_time:
        raise RuntimeError("the simulation ended while this thread slept in it")


def exist() -> bool:
    """Whether there are any."""
    return bool(_STARTED)


def let_work(ready: Callable[[], bool], patience: float | None) -> bool:
    """Wait until something is `ready`, or all threads are idle. False: the patience (seconds) is over; those that are
    busy are not waited for again."""
    _STARTED[:] = [thread for thread in _STARTED if thread.is_alive()]
    end = None if patience is None else time.monotonic() + patience
    pause, quiet = LOOK, False
    while not ready():
        waits = {thread: waits_for(thread) for thread in _STARTED}
        if None in waits.values():
            quiet = False
        elif quiet or all(_IDLE.get(thread) is found for thread, found in waits.items()):
            _IDLE.clear()
            _IDLE.update(waits)
            return True
        else:
            quiet = True  # look again: it may be between two instructions of waking up
        if end is not None and time.monotonic() > end:
            _STARTED[:] = [thread for thread in _STARTED if waits[thread] is not None]
            return False
        time.sleep(pause)
        pause = LOOK if quiet else min(2 * pause, LONGEST_LOOK)
        _STARTED[:] = [thread for thread in _STARTED if thread.is_alive()]
    return True


def waits_for(thread: threading.Thread) -> object | None:
    """The lock that an idle thread waits for, another one each time, or what else stands for it; None of one that has
    something to do."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return None
    code, variables = frame.f_code, frame.f_locals
    if code.co_filename == threading.__file__:
        lock = variables.get("waiter") if code.co_name == "wait" else variables.get("lock")
        return lock if lock is not None and lock.locked() else None
    if code.co_filename == concurrent.futures.thread.__file__ and code.co_name == "_worker":
        work = variables.get("work_queue")
        return object() if work is not None and not work.qsize() else None
    return None
