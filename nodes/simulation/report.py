"""Who waits for what: tasks in words, for people who look for the one that waits for ever.

    node  task      where                          waits for                                             since
    a     Task-3    fetch, client.py:31            data of tcp 10.0.0.1:49152 ─ 10.0.0.2:80 ESTABLISHED   2.000104 s
    b     Task-5    Pool.take, pool.py:88          a free place in <Semaphore>, held by others            0 s
    -     script    main, test_shop.py:17          program client of a                                    0 s

A task that waits is a chain of coroutines, each awaiting the next; the last awaits a future. The place shown is the
innermost that is not the standard library's, and the kind of waiting is read from the functions of asyncio above it,
and from the sockets of ours that their variables hold.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple

from nodes.session.view import TransportSocketView
from nodes.units import SECOND

_LIBRARY = str(Path(sysconfig.get_paths()["stdlib"])) + os.sep
_INSTALLED = ("site-packages", "dist-packages")
_OURS = tuple(str(Path(__file__).parents[2] / name) + os.sep for name in ("nodes", "lab"))

DEEPEST = 100
"""Coroutines of a chain that are followed: more await each other in a circle."""


class Place(NamedTuple):
    """A line of a program."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} at {Path(self.file).name}:{self.line}"


class Waiting(NamedTuple):
    """A task that waits. `node` is "-" for the script outside; `since` is virtual time (ns), None where nobody knows;
    `until` is when a timer ends it, in seconds of its
    loop's clock, None where none does."""

    node: str
    task: str
    coroutine: str
    place: Place | None
    waits_for: str
    since: int | None
    until: float | None = None

    @property
    def where(self) -> str:
        """The task's coroutine, and the line that waits."""
        place = self.place
        if place is None:
            return self.coroutine
        inside = "" if place.function == self.coroutine else f", in {place.function}"
        return f"{self.coroutine}{inside} at {Path(place.file).name}:{place.line}"

    def __str__(self) -> str:
        since = "" if self.since is None else f", since {at(self.since)}"
        until = "" if self.until is None else f", until {self.until:.9g} s of its clock"
        return f"{self.node}: {self.task}, {self.where}, waits for {self.waits_for}{since}{until}"


def at(instant: int) -> str:
    """An instant of virtual time (ns) in seconds."""
    seconds, rest = divmod(instant, SECOND)
    return f"{seconds}.{rest:09d}".rstrip("0").rstrip(".") + " s"


def waiting(task: asyncio.Task[Any], node: str, since: int | None, until: float | None = None) -> Waiting:
    """What there is to say of a task."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
    return Waiting(node, task.get_name(), name, place_of(task), waits_for(task), since, until)


LONGEST = 60
"""Tasks that a report tells of."""


def situation(
    groups: Iterable[tuple[str, Iterable[asyncio.Task[Any]]]],
    known: Mapping[asyncio.Task[Any], tuple[int, object]],
    timers: Iterable[asyncio.TimerHandle],
) -> str:
    """All tasks that wait, a line for each. `known` says when each ran last."""
    until = _ends(timers)
    items = []
    for node, tasks in groups:
        for task in tasks:
            if not task.done():
                since = known[task][0] if task in known else None
                items.append(waiting(task, node, since, until.get(id(task), until.get(id(waiter_of(task))))))
    lines = [f"  {item}" for item in items[:LONGEST]]
    if len(items) > LONGEST:
        lines.append(f"  and {len(items) - LONGEST} more tasks")
    return "\n".join(lines) if lines else "  no task is left"


def _ends(timers: Iterable[asyncio.TimerHandle]) -> dict[int, float]:
    """When a timer ends a wait: by the future that it sets, or the task whose timeout it is."""
    ends: dict[int, float] = {}
    for handle in timers:
        callback, arguments = handle._callback, handle._args  # type: ignore[attr-defined]
        owner = getattr(callback, "__self__", None)
        concerned = [*arguments, getattr(owner, "_task", None)]
        for each in concerned:
            if isinstance(each, asyncio.Future):
                ends[id(each)] = handle.when()
    return ends


# -------------------------------------------------------------------------------------------------- the chain of awaits


def chain(coroutine: object) -> Iterator[tuple[CodeType, FrameType | None]]:
    """The coroutines that await each other, the outermost first, each with its frame while it has begun."""
    for _ in range(DEEPEST):
        if isinstance(coroutine, CoroutineType):
            yield coroutine.cr_code, coroutine.cr_frame
            coroutine = coroutine.cr_await
        elif isinstance(coroutine, AsyncGeneratorType):
            yield coroutine.ag_code, coroutine.ag_frame
            coroutine = coroutine.ag_await
        elif isinstance(coroutine, GeneratorType):
            yield coroutine.gi_code, coroutine.gi_frame
            coroutine = coroutine.gi_yieldfrom
        elif hasattr(coroutine, "cr_await"):  # of Cython and the like: no frames
            coroutine = coroutine.cr_await
        else:
            inner = _inside(coroutine)
            if inner is None:
                return
            coroutine = inner


_OPAQUE = frozenset({"anext_awaitable", "async_generator_asend", "async_generator_athrow", "coroutine_wrapper"})


def _inside(awaited: object) -> object | None:
    """`anext()` of an asynchronous generator, or `__await__()` of a coroutine, is awaited through an object that shows
    nothing: the garbage collector knows what it holds."""
    if type(awaited).__name__ in _OPAQUE:
        held: object
        for held in gc.get_referents(awaited):
            if isinstance(held, AsyncGeneratorType | CoroutineType) or type(held).__name__ in _OPAQUE:
                return held
    return None


def place_of(task: asyncio.Task[Any]) -> Place | None:
    """The innermost line of the program itself; of an installed package, or of the library, where nothing else is."""
    best: tuple[int, Place] | None = None
    for code, frame in chain(task.get_coro()):
        line = code.co_firstlineno if frame is None else frame.f_lineno or code.co_firstlineno
        rank = _rank(code.co_filename)
        if best is None or rank <= best[0]:
            best = rank, Place(code.co_qualname, code.co_filename, line)
    return None if best is None else best[1]


def _rank(file: str) -> int:
    if any(part in file for part in _INSTALLED):
        return 1
    return 2 if file.startswith((_LIBRARY, *_OURS, "<frozen")) else 0


# -------------------------------------------------------------------------------------------------- what it waits for

Explain = Callable[[Mapping[str, Any]], str | None]


def _of_self(text: str) -> Explain:
    return lambda variables: f"{text} {_short(variables.get('self'))}"


def _reader(variables: Mapping[str, Any]) -> str:
    transport = getattr(variables.get("self"), "_transport", None)
    return f"data of {_connection(transport)}"


def _drain(variables: Mapping[str, Any]) -> str:
    transport = getattr(variables.get("self"), "transport", None) or getattr(variables.get("self"), "_transport", None)
    held = f", {transport.get_write_buffer_size()} octets wait" if isinstance(transport, asyncio.Transport) else ""
    return f"room to send on {_connection(transport)}{held}"


def _closed(variables: Mapping[str, Any]) -> str:
    owner = variables.get("self")
    return f"the end of {_connection(getattr(owner, '_transport', None))}"


def _sock(word: str) -> Explain:
    def explain(variables: Mapping[str, Any]) -> str:
        shown = next((found for found in map(_socket, variables.values()) if found), "a socket")
        return f"{word} {shown}"

    return explain


def _queue(word: str) -> Explain:
    def explain(variables: Mapping[str, Any]) -> str:
        queue = variables.get("self")
        size = f" of {queue.maxsize}" if isinstance(queue, asyncio.Queue) and queue.maxsize else ""
        return f"{word} {type(queue).__name__}{size}"

    return explain


_EXPLANATIONS: dict[str, Explain] = {
    "sleep": lambda _: "time to pass",
    "Lock.acquire": _of_self("the lock"),
    "Event.wait": _of_self("the event"),
    "Condition.wait": _of_self("a notification of"),
    "Semaphore.acquire": _of_self("a free place in"),
    "Barrier.wait": _of_self("the others at"),
    "Queue.get": _queue("an item from a"),
    "Queue.put": _queue("room in a"),
    "Queue.join": _queue("the work of a"),
    "StreamReader._wait_for_data": _reader,
    "FlowControlMixin._drain_helper": _drain,
    "StreamWriter.wait_closed": _closed,
    "Server.serve_forever": lambda _: "connections, for ever",
    "Server.wait_closed": lambda _: "the end of a server's connections",
    "StackServer.serve_forever": lambda _: "connections, for ever",
    "StackServer.wait_closed": lambda _: "the end of a server's connections",
    "TaskGroup.__aexit__": lambda _: "the other tasks of its group",
}

_BY_NAME: dict[str, Explain] = {
    "sock_accept": _sock("a connection to"),
    "sock_connect": _sock("the connection of"),
    "sock_recv": _sock("data of"),
    "sock_recv_into": _sock("data of"),
    "sock_recvfrom": _sock("a datagram for"),
    "sock_recvfrom_into": _sock("a datagram for"),
    "sock_sendall": _sock("room to send on"),
    "sock_sendto": _sock("room to send on"),
}


def waits_for(task: asyncio.Task[Any]) -> str:
    """The kind of thing, in words."""
    frames = [(code, frame) for code, frame in chain(task.get_coro()) if frame is not None]
    for code, frame in reversed(frames):
        explain = _explanation(code)
        if explain is not None:
            text = explain(frame.f_locals)
            if text is not None:
                return text
    for _, frame in reversed(frames):
        if frame.f_code.co_filename.startswith((_LIBRARY, *_OURS)):
            shown = next((found for found in map(_socket, list(frame.f_locals.values())) if found), None)
            if shown is not None:
                return f"{frame.f_code.co_name} on {shown}"
    return _future(waiter_of(task))


def _explanation(code: CodeType) -> Explain | None:
    if not code.co_filename.startswith((_LIBRARY, *_OURS)):
        return None
    return _EXPLANATIONS.get(code.co_qualname) or _BY_NAME.get(code.co_name)


def waiter_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """The future that the task awaits."""
    waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", None)
    return waiter


def awaited(future: asyncio.Future[Any]) -> list[asyncio.Future[Any]]:
    """The futures that a future of `gather` waits for; none for any other."""
    return [child for child in getattr(future, "_children", ()) if not child.done()]


def _future(future: asyncio.Future[Any] | None) -> str:
    if future is None:
        return "its turn"
    name = getattr(future, "awaited_name", None)
    if name is not None:
        return str(name)
    if isinstance(future, asyncio.Task):
        return f"the task {future.get_name()}"
    children = awaited(future)
    if children:
        return "all of: " + ", ".join(_future(child) for child in children[:8]) + (", ..." if len(children) > 8 else "")
    return "a future"


# ------------------------------------------------------------------------------------------------------------- sockets


def _connection(transport: object) -> str:
    if not isinstance(transport, asyncio.BaseTransport):
        return "a stream"
    shown = _socket(transport)
    return shown or _short(transport)


def _socket(value: object) -> str | None:
    """A socket of ours in words, or the one under a transport."""
    if isinstance(value, asyncio.BaseTransport):
        value = value.get_extra_info("socket")
    if not isinstance(value, TransportSocketView):
        return None
    return repr(value).partition(" ")[2].rstrip(">")


def _short(value: object) -> str:
    """Without the address in memory, which is another in every run."""
    text = repr(value)
    if " object at 0x" in text or " at 0x" in text:
        before, _, after = text.partition(" at 0x")
        return before.removesuffix(" object") + after.lstrip("0123456789abcdef")
    return text
