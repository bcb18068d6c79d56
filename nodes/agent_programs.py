"""Programs of users in a node: asyncio code whose sockets are the node's stack.

Their event loop is a guest of the agent's reactor. It never waits: after each input of the node, the agent lets it run
what is ready (`turn`), sends what came of that, and asks when it wants to run next (`deadline`). What threads have
finished, and what the outside sends to sockets of the kernel, makes the loop's own descriptor readable, which the
reactor watches.

    reactor ──▶ stack ──rings──▶ transports ──call_soon──▶ ready callbacks ──turn──▶ stack ──▶ reactor

This module is imported with the first program of a node (nodes/agent_methods.py): asyncio and ssl take three times the
memory of a node that runs none.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import os
import pickle
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from pathlib import Path
from time import monotonic_ns
from types import ModuleType
from typing import Any

from nodes.errors import LimitError, MisuseError
from nodes.io.control import Request
from nodes.io.patience import Patience
from nodes.io.reactor import Handle, Reactor
from nodes.program_modules import Call, UserModules, stand_for_main
from nodes.program_output import OUTPUT, ProgramOutput, routed
from nodes.session.loop import StackEventLoop
from nodes.session.session import CURRENT, Session
from nodes.simulation.report import place_of, waits_for
from nodes.stack import Stack
from nodes.transport.endpoint import Endpoint
from nodes.units import MILLISECOND

PROGRAM_LIMIT = 256
"""Programs that run in a node at a time: as many as requests may wait on a connection."""

INLINE = 256 * 1024
"""Octets of a pickle that are sent in the line of the result; longer ones in a file in memory."""

FAREWELL_TURNS = 64
"""Turns in which cancelled tasks may say goodbye when the node ends: nothing is waited for."""

RETRY = 20 * MILLISECOND
"""Until output is offered again to a client who does not keep up."""


class _AgentWorld:
    """What the loop runs in. It never waits there."""

    def now(self) -> int:
        return monotonic_ns()

    def session(self) -> Session | None:
        return CURRENT.get()

    def wait(self, until: int | None, ready: Callable[[], bool]) -> None:
        """Nothing: the reactor waits."""


class Program:
    """A coroutine that somebody outside started, and waits for."""

    def __init__(self, number: int, name: str, request: Request, output: ProgramOutput) -> None:
        self.number = number
        self.name = name
        self.since = monotonic_ns()
        self.output = output
        self.task: asyncio.Task[Any] | None = None
        self.main: ModuleType | None = None
        self._request = request

    def flush(self, *, final: bool = False) -> bool:
        """Send what it printed. False: not now, the client does not keep up."""
        if self._request.congested and not final:
            return False
        self.output.flush(self._say, final=final)
        return True

    def _say(self, stream: str, text: str) -> None:
        self._request.event({"stream": stream, "text": text})

    def end(self, outcome: Mapping[str, object], pickled: bytes | None) -> None:
        """Answer. `pickled` is the value or the exception, None where there is none."""
        self.flush(final=True)
        if pickled is None:
            self._request.result({**outcome, "pickle": None})
        elif len(pickled) <= INLINE:
            self._request.result({**outcome, "pickle": base64.b64encode(pickled).decode()})
        else:
            self._answer_by_file(outcome, pickled)

    def _answer_by_file(self, outcome: Mapping[str, object], pickled: bytes) -> None:
        try:
            descriptor = os.memfd_create(f"result of {self.name}")
        except OSError as error:
            self._request.error(errno.errorcode.get(error.errno or 0, "EIO"), f"no file in memory: {error.strerror}")
            return
        with os.fdopen(descriptor, "wb") as file:
            file.write(pickled)
            file.flush()
            file.seek(0)
            self._request.result(outcome, fds=[descriptor])


class Programs:
    """Of one node. `pump` is called when programs want to run that the agent does not know of."""

    def __init__(self, name: str, stack: Stack, reactor: Reactor, pump: Callable[[], None]) -> None:
        self.session = Session(name, stack, monotonic_ns, _nothing)
        self._reactor = reactor
        self._pump = pump
        self._loop = StackEventLoop(_AgentWorld())
        self._loop.set_exception_handler(self._complain)
        self._patience = Patience(name)
        self._modules = UserModules()
        self._running: dict[int, Program] = {}
        self._last = 0
        self._thread = threading.get_ident()
        self._woken = False
        self._printed: deque[Program] = deque()
        self._retry: Handle | None = None
        self._routes = routed()
        self._routes.__enter__()
        reactor.add(self._loop.fileno(), self._on_loop)

    # ------------------------------------------------------------------------------------------------------- requests

    def start(self, request: Request, params: Mapping[str, Any]) -> None:
        """Read the call and run it. What the user's code raises meanwhile is the program's outcome."""
        if len(self._running) >= PROGRAM_LIMIT:
            raise LimitError(f"{PROGRAM_LIMIT} programs run in this node", hint="wait for the end of some")
        pickled = _pickled_call(params)
        self._last += 1
        program = self._new(self._last, str(params.get("name", "")), request)
        self._running[program.number] = program
        request.on_cancel = lambda: self._give_up(program)
        context = copy_context()
        context.run(OUTPUT.set, program.output)
        try:
            call = context.run(
                self._modules.read, pickled, params.get("modules", ()), params.get("path"), params.get("folder")
            )
            program.main = call.main
            program.name = program.name or getattr(call.function, "__qualname__", type(call.function).__name__)
            coroutine = context.run(_coroutine, call)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - the user's code
            self._ended(program, error)
            return
        context.run(CURRENT.set, self.session)
        request.event({"program": program.number})
        program.task = self._loop.create_task(coroutine, name=program.name, context=context)
        program.task.add_done_callback(lambda task: self._done(program, task), context=Context())

    def cancel(self, number: int) -> None:
        """Have a program end. Raises MisuseError for one that does not run."""
        program = self._running.get(number)
        if program is None or program.task is None:
            raise MisuseError(f"program {number!r} does not run", errno=errno.ESRCH)
        program.task.cancel()

    def snapshot(self) -> dict[str, object]:
        """The programs that run, and all tasks of the node."""
        running = self._running.values()
        return {
            "programs": [{"program": each.number, "name": each.name, "since": each.since} for each in running],
            "tasks": [_describe(task) for task in self._tasks()],
        }

    # ----------------------------------------------------------------------------------------------------- the reactor

    def ring(self, endpoint: Endpoint, now: int) -> None:
        """Something happened to a socket of a program."""
        self.session.ring(endpoint, now)

    def deadline(self) -> int | None:
        """When a program wants to run next (ns); in the past where one does now."""
        return self._loop.deadline()

    def turn(self, now: int) -> bool:
        """Run what is ready. False: nothing was."""
        due = self._loop.deadline()
        if not self._woken and (due is None or due > monotonic_ns()):  # what is ready is due as it is asked for
            return False
        self._woken = False
        self.session.stack.tcp.now = now  # reading from a socket tells it no time, and may open a window
        try:
            with self._patience:
                self._loop.turn()
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these through, once the task has them as its result. They mean the program, not the node.
            self._loop.call_exception_handler({"message": "a task ended its program", "exception": error})
        self._flush()
        return True

    def close(self) -> None:
        """The node ends: cancel all tasks, and let them say goodbye."""
        for task in self._tasks():
            task.cancel()
        for _ in range(FAREWELL_TURNS):
            self._woken = False
            due = self._loop.deadline()
            if due is None or due > monotonic_ns():
                break
            self.turn(monotonic_ns())
        for program in list(self._running.values()):
            self._cancelled(program)
        self.session.alive = False
        self._reactor.remove(self._loop.fileno())
        if self._retry is not None:
            self._retry.cancel()
        self._loop.close()
        self._routes.__exit__(None, None, None)

    def _on_loop(self) -> None:
        self._woken = True
        self._pump()

    def _tasks(self) -> list[asyncio.Task[Any]]:
        """In the order of their names, which count them."""
        return sorted(asyncio.all_tasks(self._loop), key=lambda task: (len(task.get_name()), task.get_name()))

    # -------------------------------------------------------------------------------------------------------- the end

    def _new(self, number: int, name: str, request: Request) -> Program:
        program = Program(number, name, request, ProgramOutput(lambda: self._wrote(program)))
        return program

    def _done(self, program: Program, task: asyncio.Task[Any]) -> None:
        if program.number not in self._running:
            return  # the node has ended before
        if task.cancelled():
            self._cancelled(program)
        elif (error := task.exception()) is not None:
            self._ended(program, error)
        else:
            self._returned(program, task.result())

    def _cancelled(self, program: Program) -> None:
        del self._running[program.number]
        program.end({"outcome": "cancelled"}, None)

    def _returned(self, program: Program, value: object) -> None:
        try:
            stand_for_main(program.main)
            pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever the value's class raises
            told = TypeError(f"the result of {program.name} cannot be sent: {error}")
            told.__cause__ = error
            self._ended(program, told)
            return
        del self._running[program.number]
        program.end({"outcome": "returned"}, pickled)

    def _ended(self, program: Program, error: BaseException) -> None:
        """By an exception: the user's own, in most cases."""
        del self._running[program.number]
        outcome = {
            "outcome": "raised",
            "type": type(error).__qualname__,
            "message": str(error),
            "traceback": "".join(traceback.format_exception(error)),
        }
        stand_for_main(program.main)
        program.end(outcome, _pickled_error(error))

    def _give_up(self, program: Program) -> None:
        """Nobody waits for it any more."""
        if program.task is not None:
            program.task.cancel()

    # -------------------------------------------------------------------------------------------------------- reports

    def _wrote(self, program: Program) -> None:
        """Called in any thread."""
        self._printed.append(program)
        if threading.get_ident() != self._thread and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_nothing)  # a turn, which ends with `_flush`

    def _flush(self) -> None:
        printed, late = self._printed, []
        while printed:
            program = printed.popleft()
            if not program.flush():
                late.append(program)
        printed.extend(late)
        if late and self._retry is None:
            self._retry = self._reactor.call_at(monotonic_ns() + RETRY, self._flush_again)

    def _flush_again(self) -> None:
        self._retry = None
        self._flush()

    def _complain(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio would log: to the program that it came from, where that is known, else to all."""
        lines = [str(context["message"])]
        lines += [
            f"{key}: {value!r}" for key, value in context.items() if key not in ("message", "exception", "context")
        ]
        error = context.get("exception")
        if error is not None:
            lines.append("".join(traceback.format_exception(error)).rstrip())
        text = "\n".join(lines).encode() + b"\n"
        output = OUTPUT.get()
        for each in [output] if output is not None else [program.output for program in self._running.values()]:
            each.write("stderr", text)


def _nothing() -> None:
    """The agent sends what the stack has to send after each turn: nobody needs to tell it."""


def _pickled_call(params: Mapping[str, Any]) -> bytes:
    if "call" in params:
        try:
            return base64.b64decode(params["call"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"call: {error}") from None
    try:
        return Path(params["call_file"]).read_bytes()
    except OSError as error:
        raise MisuseError(f"{params['call_file']}: {error.strerror}", errno=error.errno) from None


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


def _coroutine(call: Call) -> Any:
    """What a task can be made of. Raises TypeError for a function that is none of coroutines."""
    made = call.function(*call.arguments, **call.keywords)
    if asyncio.iscoroutine(made):
        return made
    if hasattr(made, "__await__"):
        return _awaiting(made)
    raise TypeError(f"{call.function!r} is no coroutine function: it returned {type(made).__name__}")


def _pickled_error(error: BaseException) -> bytes | None:
    """None for an exception that cannot be made again from its pickle, as many with arguments of their own cannot."""
    try:
        pickled = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        pickle.loads(pickled)  # noqa: S301 - just made
    except Exception:  # noqa: BLE001 - whatever its class raises
        return None
    return pickled


def _describe(task: asyncio.Task[Any]) -> dict[str, object]:
    coroutine, place = task.get_coro(), place_of(task)
    return {
        "task": task.get_name(),
        "coroutine": getattr(coroutine, "__qualname__", type(coroutine).__qualname__),
        "place": "" if place is None else str(place),
        "waits_for": waits_for(task),
    }
