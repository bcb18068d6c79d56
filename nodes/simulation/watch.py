"""Sees that a simulation gets on, and says who is to blame when it does not.

    all wait for ever      no timer is set and no event is left, or none for `idle` of virtual time     DeadlockError
    nobody gets on         the script, and the programs that it waits for, have not run for `idle`      DeadlockError
    time stands still      `turns` of the loop at one instant                                           LivelockError
    one never yields       one callback of a node runs longer than `patience` of real time              StuckError

The first three leave the loop, and with them the simulation ends. The last is raised in the program itself, where it
stands, by a thread that looks at the clock: the loop is in that callback and can do nothing. What the program does
with it is its affair; as a rule it fails. Only code of programs is interrupted, never the stack's. What blocks in a
call into the operating system would hear of it when the call returns: a signal wakes it, whose handler does nothing,
but is code in which the exception is raised. SIGURG has no other use, and harms nobody who does not expect it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from nodes.errors import StuckError
from nodes.session.session import CURRENT
from nodes.simulation import surroundings
from nodes.simulation.garbage import EVERY, Garbage
from nodes.simulation.programs import PROGRAM, Program
from nodes.simulation.report import place_of
from nodes.units import SECOND

PATIENCE = 10.0
"""Seconds of real time: long for a callback, short for a person who waits. An agent has as much."""

TURNS = 100_000
"""Turns of the loop at one instant: a second or so of real time. Nobody needs a thousand."""

IDLE = 3 * 3600 * SECOND
"""Virtual time (ns): longer than the longest timer of a stack, the two hours of keepalive (RFC 1122 4.2.3.6) and its
probes, after which a connection fails and its program hears of it."""

TICK = 0.5
"""Seconds between two looks. They are counted: a process that was stopped for an hour has one."""

AGAIN = 2.0
"""Seconds until a program that goes on is interrupted again."""

_OURS = str(Path(__file__).parents[1]) + os.sep
_RUN = "_run", asyncio.events.__file__
_DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py", "debugpy")

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers


class Watch:
    """`now` is the virtual clock. `tell` is given what the thread finds."""

    def __init__(self, now: Callable[[], int], patience: float | None, tell: Callable[[str], None]) -> None:
        self.tasks: WeakKeyDictionary[asyncio.Task[Any], tuple[int, Program | None]] = WeakKeyDictionary()
        """When each task ran last, and whose it is."""
        self.outside_ran = now()
        """When anything outside of all nodes ran last."""
        self.ran = now()
        """When anything ran last."""
        self.handles = 0
        self.garbage = Garbage()
        self.tale: dict[str, int] | None = None
        """While somebody wants to know: who ran, and how often."""
        self._now = now
        self._patience = patience
        self._tell = tell
        self._handle: asyncio.Handle | None = None
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._ident = 0
        self._handler: _Handler | None = None

    # ------------------------------------------------------------------------------------------------ asked by the loop

    def on_handle(self, handle: asyncio.Handle) -> None:
        """A callback is about to run."""
        self.handles += 1
        if not self.handles % EVERY:
            self.garbage.collect()
        now = self._now()
        self.ran = now
        context = handle._context  # type: ignore[attr-defined]
        program = context.get(PROGRAM)
        if context.get(CURRENT) is None:
            self.outside_ran = now
            self._handle = None  # the script may take its time
        else:
            self._handle = handle
            if program is not None:
                program.last_ran = now
        task = task_of(handle)
        if task is not None:
            self.tasks[task] = now, program
        if self.tale is not None:
            who = _name(handle, task)
            self.tale[who] = self.tale.get(who, 0) + 1

    def rest(self) -> None:
        """No callback runs."""
        self._handle = None

    # ----------------------------------------------------------------------------------------------------- the watchdog

    def start(self) -> None:
        """Watch the calling thread."""
        self._ident = threading.get_ident()
        if self._patience is not None and self._thread is None:
            self._end.clear()
            if hasattr(signal, "SIGURG") and threading.current_thread() is threading.main_thread():
                self._handler = signal.signal(signal.SIGURG, _wake) or signal.SIG_DFL
            self._thread = threading.Thread(target=self._look, name="layerlab watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Harmless when it does not run."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._end.set()
            thread.join()
            if self._handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGURG, self._handler)
                self._handler = None

    def _look(self) -> None:
        patience = self._patience
        if patience is None:
            return
        tick = min(TICK, patience / 4)
        seen: tuple[asyncio.Handle | None, int] = None, 0
        spent, strikes = 0.0, 0
        while not self._end.wait(tick):
            current = self._handle, self.handles
            if current[0] is None or current != seen:
                seen, spent, strikes = current, 0.0, 0
                continue
            spent += tick
            if spent >= patience + strikes * AGAIN and self._strike(current, strikes):
                strikes += 1

    def _strike(self, current: tuple[asyncio.Handle | None, int], strikes: int) -> bool:
        """Interrupt the callback; False where it must not be just now."""
        frame = sys._current_frames().get(self._ident)
        handle = current[0]
        if frame is None or handle is None or _is_ours(frame) or _in_debugger(frame):
            return False
        text = self._text(handle, frame)
        if not strikes:
            self._tell(text + "\n" + _stack(frame))
        _raise_in(self._ident, text)
        if current != (self._handle, self.handles):  # it ended meanwhile
            _raise_in(self._ident, None)
        elif self._handler is not None:
            signal.pthread_kill(self._ident, signal.SIGURG)
        return True

    def _text(self, handle: asyncio.Handle, frame: FrameType) -> str:
        context = handle._context  # type: ignore[attr-defined]
        session, program, task = context.get(CURRENT), context.get(PROGRAM), task_of(handle)
        who = "a callback" if task is None else f"the task {task.get_name()}"
        whose = "" if program is None else f" of the program {program.name}"
        while _is_library(frame) and frame.f_back is not None and not _is_ours(frame.f_back):
            frame = frame.f_back
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
        return (
            f"node {session.name}: {who}{whose} has not let others run for {self._patience:g} s, at {place}, "
            f"at {self._now() / SECOND:.9g} s of virtual time"
        )


def _wake(number: int, frame: FrameType | None) -> None:
    """The handler of the signal that ends a call into the operating system."""


def task_of(handle: asyncio.Handle) -> asyncio.Task[Any] | None:
    """The task that a handle is a step of."""
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return owner if isinstance(owner, asyncio.Task) else None


def _name(handle: asyncio.Handle, task: asyncio.Task[Any] | None) -> str:
    session = handle._context.get(CURRENT)  # type: ignore[attr-defined]
    node = "script" if session is None else session.name
    if task is None:
        callback = handle._callback  # type: ignore[attr-defined]
        return f"{node}: {getattr(callback, '__qualname__', type(callback).__name__)}"
    place = place_of(task)
    return f"{node}: {task.get_name()}" + (f", {place}" if place else "")


def _stack(frame: FrameType) -> str:
    """The callback's own part of the stack."""
    calls = traceback.extract_stack(frame)
    first = max((index for index, call in enumerate(calls) if (call.name, call.filename) == _RUN), default=-1) + 1
    return "".join(traceback.format_list(calls[first:])).rstrip("\n")


def _is_ours(frame: FrameType) -> bool:
    """The stack's, or the simulation's. A program that asks for the time again and again is in neither."""
    return frame.f_code.co_filename.startswith(_OURS) and frame.f_code.co_filename != surroundings.__file__


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith((sys.base_prefix, "<frozen"))


def _in_debugger(frame: FrameType | None) -> bool:
    while frame is not None:
        if any(part in frame.f_code.co_filename for part in _DEBUGGERS):
            return True
        frame = frame.f_back
    return False


def _raise_in(ident: int, text: str | None) -> None:
    """Have StuckError raised in a thread, or not after all. The interpreter takes only a class, which makes the
    exception without arguments."""

    def initialize(self: StuckError) -> None:
        StuckError.__init__(
            self,
            text or "",
            hint="await something, or do what takes long outside of the nodes",
        )

    raised = None if text is None else type("StuckError", (StuckError,), {"__init__": initialize})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(ident), None if raised is None else ctypes.py_object(raised)
    )
