"""The asyncio event loop whose sockets are our stack.

One loop serves the programs of one node, or of all nodes of a simulation. It does not know what drives it: it waits in
a `World`, which is virtual time or nothing at all, where the loop is the guest of an agent's reactor.

    a turn:  world.wait(until the next timer, or until something is ready)
             kernel descriptors, if there are any: a look, without waiting
             timers that are due  ──▶ ready
             run what was ready when the turn began; what that makes ready runs in the next

Time is integer nanoseconds of the world; a timer set in a node is due by the node's clock. Timers of the same instant
run in the order in which they were set, tasks are hashed and named by the order of their creation: the same run is the
same in every process.

Which node a callback belongs to is said by `CURRENT` in its context. Those of a node that is `held` wait for `release`.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import threading
from asyncio import base_events, events
from asyncio.log import logger
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from math import inf, isnan
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from nodes.session.connecting import ConnectingLoop
from nodes.session.session import CURRENT, Session, World
from nodes.units import SECOND

CANCELLED_TIMERS = 100
"""Timers that were cancelled and are kept at least: fewer are not worth clearing up."""

Value = TypeVar("Value")


class Task(asyncio.Task[Value]):
    """A task that is hashed by the order of its creation: asyncio keeps tasks in sets, and cancels them in the order
    of these."""

    __slots__ = ("_number",)

    def __init__(self, coro: Coroutine[Any, Any, Value] | Generator[Any, None, Value], number: int, **options: Any):
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class StackEventLoop(ConnectingLoop):
    """`threads`: whether `run_in_executor` uses threads. Without, the function runs in a turn of the loop, which is
    the same in every run; an executor given by name outside of all nodes is used anyway."""

    _ready: deque[asyncio.Handle]
    _stopping: bool
    _thread_id: int | None
    _selector: Any

    def __init__(self, world: World, *, threads: bool = True) -> None:
        self.on_handle: Callable[[asyncio.Handle], None] | None = None
        """Called before each callback is run."""
        self._woken = False
        self._threads = threads
        self._outstanding = 0  # calls in threads
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timers_cancelled = 0
        self._held: dict[Session, list[asyncio.Handle]] = {}
        self._tasks: dict[Session | None, WeakValueDictionary[int, asyncio.Task[Any]]] = {}
        self._names: dict[Session | None, int] = {}
        super().__init__(world)

    # ------------------------------------------------------------------------------------------------ for who drives it

    def turn(self) -> None:
        """Run what is ready or due now: for a loop that is a guest. What the world's `wait` or a callback raises, and
        is no program's affair, leaves it."""
        self._check_open()
        if self._thread_id is not None:
            raise RuntimeError("This event loop is already running")
        outer, hooks = events._get_running_loop(), sys.get_asyncgen_hooks()
        base: Any = self
        self._thread_id = threading.get_ident()
        sys.set_asyncgen_hooks(firstiter=base._asyncgen_firstiter_hook, finalizer=base._asyncgen_finalizer_hook)
        events._set_running_loop(self)
        try:
            self._run_once()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)

    def deadline(self) -> int | None:
        """When `turn` is wanted next (ns of the world); None where nothing is to be done."""
        if self._has_work():
            return self._world.now()
        self._forget_cancelled()
        return self._timers[0][0] if self._timers else None

    def release(self, session: Session) -> None:
        """What a held node's programs wanted to do meanwhile is done now."""
        self._ready.extend(self._held.pop(session, ()))

    def in_order_of_creation(self, collect: Callable[[], object]) -> None:
        """Collect garbage, and let what its finalizers have made ready run in the order in which their transports were
        made (see `orphan`): a forgotten StreamWriter closes its transport."""
        before = len(self._ready)
        collect()
        made = [self._ready.pop() for _ in range(len(self._ready) - before)]
        made.reverse()
        self._ready.extend(sorted(made, key=_number_of_owner))

    def tasks_of(self, session: Session | None) -> list[asyncio.Task[Any]]:
        """The tasks of a node, or of none, that are not done, in the order of their creation."""
        known = self._tasks.get(session)
        return [] if known is None else [task for task in known.values() if not task.done()]

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are set, the next first."""
        return [handle for _, _, handle in sorted(self._timers, key=_order) if not handle.cancelled()]

    @property
    def awaits_kernel(self) -> bool:
        """Whether a descriptor of the kernel or a thread may make something ready."""
        return self._outstanding > 0 or self._woken or (not self.is_closed() and len(self._selector.get_map()) > 1)

    def fileno(self) -> int:
        """A descriptor that is readable when the kernel or a thread has something for the loop; -1 on systems whose
        selector has none."""
        ask = getattr(self._selector, "fileno", None)
        return -1 if ask is None else int(ask())

    # ------------------------------------------------------------------------------------------------------------ time

    def time(self) -> float:
        """The steady clock of the node that the running program lives in, the world's outside of all (s)."""
        now = self._world.now()
        session = self._world.session()
        return (now if session is None else session.clock.steady(now)) / SECOND

    def call_at(  # type: ignore[override]  # the arguments are not checked twice
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, on the clock of `time`. Never early: when the callback runs, `time()` is at least `when`.
        A node's clock that is given another drift meanwhile does not move the timers that are set."""
        if when is None:
            raise TypeError("when cannot be None")
        self._check_open()
        if self.get_debug():
            self._check_caller(callback, "call_at")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        _drop_frame(timer)
        if when != inf:
            due = first_instant(when)
            session = self._world.session()
            if session is not None:
                due = session.clock.base(due)
            heapq.heappush(self._timers, (due, self.next_number(), timer))
            timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle._scheduled:  # type: ignore[attr-defined]
            self._timers_cancelled += 1

    # ----------------------------------------------------------------------------------------------------------- tasks

    def create_task(
        self, coro: Any, *, name: Any = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        """As asyncio's. Tasks without a name are Task-1, Task-2 ... in each node."""
        self._check_open()
        session = CURRENT.get() if context is None else context.get(CURRENT)
        if name is None:
            self._names[session] = number = self._names.get(session, 0) + 1
            name = f"Task-{number}"
        if self.get_task_factory() is None:
            task: asyncio.Task[Any] = Task(coro, self.next_number(), loop=self, name=name, context=context, **options)
            _drop_frame(task)
        else:
            task = super().create_task(coro, name=name, context=context, **options)
        known = self._tasks.get(session)
        if known is None:
            known = self._tasks[session] = WeakValueDictionary()
        known[self.next_number()] = task
        return task

    # ------------------------------------------------------------------------------------------------- kernel, threads

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """As asyncio's, see `threads` of the class."""
        outside = executor is not None and self._world.session() is None
        if self._threads or outside:
            future = super().run_in_executor(executor, func, *args)
            self._outstanding += 1
            future.add_done_callback(self._thread_done, context=Context())
            return future
        self._check_open()
        if self.get_debug():
            self._check_caller(func, "run_in_executor", thread=False)
        here: asyncio.Future[Any] = self.create_future()
        self.call_soon(_run_here, here, func, args)
        return here

    async def shutdown_default_executor(self, *timeout: Any) -> None:
        self._outstanding += 1  # it waits in a thread
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._outstanding -= 1

    def _thread_done(self, future: asyncio.Future[Any]) -> None:  # noqa: ARG002 (a callback)
        self._outstanding -= 1

    def _write_to_self(self) -> None:
        """A thread, or a signal, has something for the loop."""
        base: Any = super()
        base._write_to_self()
        self._woken = True  # after that, so that nobody looks before there is something to see

    def close(self) -> None:
        super().close()
        self._timers.clear()
        self._held.clear()

    # -------------------------------------------------------------------------------------------------------- the turn

    def _run_once(self) -> None:
        """In place of asyncio's."""
        if self._orphans:
            self._close_orphans()
        self._forget_cancelled()
        if self._ready or self._stopping:
            until: int | None = self._world.now()
        else:
            until = self._timers[0][0] if self._timers else None
        self._world.wait(until, self._has_work)
        if self._woken or self._threads or len(self._selector.get_map()) > 1 or getattr(self, "_signal_handlers", None):
            self._look_at_kernel()
        self._take_due()
        self._run_ready()

    def _has_work(self) -> bool:
        return bool(self._ready) or self._woken or bool(self._orphans)

    def _look_at_kernel(self) -> None:
        self._woken = False
        base: Any = self
        base._process_events(self._selector.select(0))

    def _take_due(self) -> None:
        timers, now = self._timers, self._world.now()
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle.cancelled():
                self._timers_cancelled -= 1
            else:
                self._ready.append(handle)

    def _run_ready(self) -> None:
        ready, tell, debug = self._ready, self.on_handle, self.get_debug()
        for _ in range(len(ready)):
            handle: Any = ready.popleft()
            if handle._cancelled:
                continue
            session = handle._context.get(CURRENT)
            if session is not None and session.held:
                self._held.setdefault(session, []).append(handle)
                continue
            if tell is not None:
                tell(handle)
            if debug:
                self._run_watched(handle)
            else:
                handle._run()

    def _run_watched(self, handle: Any) -> None:
        base: Any = self
        base._current_handle = handle
        begun = monotonic()
        try:
            handle._run()
            spent = monotonic() - begun
            if spent >= self.slow_callback_duration:
                text = base_events._format_handle(handle)  # type: ignore[attr-defined]
                logger.warning("Executing %s took %.3f seconds", text, spent)
        finally:
            base._current_handle = None

    def _forget_cancelled(self) -> None:
        """Timers that were cancelled: those that would be next, or all of them where they are many."""
        timers = self._timers
        if self._timers_cancelled > CANCELLED_TIMERS and 2 * self._timers_cancelled > len(timers):
            for _, _, handle in timers:
                if handle.cancelled():
                    handle._scheduled = False  # type: ignore[attr-defined]
            self._timers = timers = [item for item in timers if not item[2].cancelled()]
            heapq.heapify(timers)
            self._timers_cancelled = 0
        while timers and timers[0][2].cancelled():
            self._timers_cancelled -= 1
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False  # type: ignore[attr-defined]

    # ---------------------------------------------------------------------------------------------------------- inside

    def _check_open(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    def _check_caller(self, callback: Callable[..., object], method: str, *, thread: bool = True) -> None:
        base: Any = self
        if thread:
            base._check_thread()
        base._check_callback(callback, method)


def first_instant(when: float) -> int:
    """The first nanosecond that is not before `when` (s). Raises ValueError for what is no number."""
    if isnan(when):
        raise ValueError("a time that is not a number")
    instant = round(when * SECOND)
    while instant / SECOND < when:
        instant += 1 + (abs(instant) >> 52)  # where floats are further apart than nanoseconds
    return instant


def _number_of_owner(handle: asyncio.Handle) -> int:
    """0 where the callback is no method of what is numbered."""
    number = getattr(getattr(handle._callback, "__self__", None), "_number", 0)  # type: ignore[attr-defined]
    return number if isinstance(number, int) else 0


def _order(item: tuple[int, int, asyncio.TimerHandle]) -> tuple[int, int]:
    return item[:2]


def _drop_frame(made: Any) -> None:
    """In debug mode, who made a handle or a task is its caller, not the loop."""
    if made._source_traceback:
        del made._source_traceback[-1]


def _run_here(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.done():
        return
    try:
        value = func(*args)
    except (SystemExit, KeyboardInterrupt):
        raise
    except StopIteration as error:
        future.set_exception(RuntimeError(f"{func!r} raised {error!r}"))
    except BaseException as error:  # noqa: BLE001 (it is raised where somebody waits)
        future.set_exception(error)
    else:
        future.set_result(value)
