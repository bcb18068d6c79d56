"""Programs and their network in virtual time.

            script (outside of all nodes) ─┐
            programs of node a ────────────┼──▶ one event loop ──wait──▶ Simulation ──run──▶ Network
            programs of node b ────────────┘         ▲                                          │
                                                     └───── an endpoint rang, a timer is due ───┘

There is one event loop for all. While any callback is ready time stands still; when none is, the loop waits, and time
goes on from event to event until there is one. So a program costs no virtual time, however long it computes, and an
hour in which nothing happens costs no real time.

`run` drives it from the beginning to the end. In a program that has an event loop of its own, `wait_for` advances
virtual time while somebody waits for something in it (nodes.simulation.guest). In either case `watch` sees that it gets
on, and `surroundings` give each node its clock and its random numbers.
"""

from __future__ import annotations

import asyncio
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from nodes.errors import DeadlockError, MisuseError
from nodes.session.loop import StackEventLoop
from nodes.session.session import CURRENT, Session
from nodes.simulation.guest import Guest
from nodes.simulation.network import Network
from nodes.simulation.node import SimulatedNode
from nodes.simulation.pace import Pace
from nodes.simulation.programs import STUBBORN, Function, Program
from nodes.simulation.remains import Remnant, close_sockets, session_context, sockets_left, tasks_left
from nodes.simulation.report import situation
from nodes.simulation.surroundings import EPOCH, Surroundings, derived
from nodes.simulation.watch import IDLE, PATIENCE, TURNS, Watch
from nodes.simulation.world import VirtualWorld
from nodes.units import SECOND

Result = TypeVar("Result")

FAREWELL = 10 * SECOND
"""Virtual time (ns) that cancelled programs have at the end, to close their connections."""

SCRIPT_FAREWELL = 60 * SECOND
"""Virtual time (ns) that a script has which is cancelled: it may have to end the programs."""

LAST_WORDS = SECOND // 10
"""Virtual time (ns) for what sockets say that were closed at the end."""

LAST_TURNS = 3
"""Turns of the loop in which the protocols in a node that crashed hear that their connections are lost."""


class Simulation:
    """Drives the event loop `loop` in virtual time. `speed` is virtual seconds per real second, None as fast as can be.

    `patience` (real seconds, None without end), `turns` and `idle` (ns, None without end) say when a simulation does
    not get on, as `nodes.simulation.watch` explains; `tell` is given what is found about a program that does not yield.
    `epoch` is the nodes' wall clock at time 0 (ns since 1970).

    To be closed: with `close`, or as a context manager."""

    def __init__(
        self,
        network: Network,
        *,
        speed: float | None = None,
        patience: float | None = PATIENCE,
        turns: int = TURNS,
        idle: int | None = IDLE,
        epoch: int = EPOCH,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.network = network
        self.programs: list[Program] = []
        """All that were ever started, in that order."""
        self.remnants: list[Remnant] | None = None
        """What programs had left behind, once they were ended."""
        self.closed = False
        self.pace = Pace(network.clock, speed)
        self._tell = tell or _to_stderr
        self.watch = Watch(network.clock, patience, self._tell)
        self.world = VirtualWorld(network, self.watch, self.pace, turns=turns, idle=idle, patience=patience)
        self.world.waiters = self
        self.loop = StackEventLoop(self.world, threads=False)
        self.loop.on_handle = self.watch.on_handle
        self.watch.garbage.in_order = self.loop.in_order_of_creation
        self.loop.set_exception_handler(_report)
        self._epoch = epoch
        self._surroundings: list[Surroundings] = []
        self._lives: dict[str, int] = {}
        self._guest = Guest(self)
        self._began = False
        for node in network.nodes.values():
            self._surround(node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------- what drives it

    def run(self, main: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine outside of all nodes to its end, and then let the programs end, as `asyncio.run` does.
        Raises what it raises, and DeadlockError, LivelockError. Ctrl-C cancels it."""
        if not asyncio.iscoroutine(main):
            raise TypeError(f"a coroutine was expected, got {main!r}")
        self.begin()
        task = Context().run(self.loop.create_task, main, name="script")
        with self._interruptible(task) as interrupts:
            try:
                result: Result = self.loop.run_until_complete(task)
                return result
            except asyncio.CancelledError:
                if interrupts:
                    raise KeyboardInterrupt from None
                raise
            finally:
                self._clean_up()

    async def wait_for(self, awaitable: Awaitable[Result]) -> Result:
        """Wait for something that happens in the simulation: a coroutine that uses its time, a program's outcome. From
        another event loop virtual time goes on while anybody waits here, and only then."""
        if asyncio.get_running_loop() is self.loop:
            return await awaitable
        return await self._guest.wait_for(awaitable)

    async def finish(self) -> list[Remnant]:
        """The end of all programs: says what they left behind, cancels what still runs, and gives it FAREWELL of
        virtual time. What has not ended then will not run again."""
        return await self.wait_for(self._finish())

    def close(self) -> None:
        """Nothing of it runs any more. Harmless when closed already."""
        if self.closed:
            return
        self.closed = True
        self.watch.stop()
        self.watch.garbage.end()
        for surroundings in self._surroundings:
            for task in self.loop.tasks_of(surroundings.session):
                _abandon(task, surroundings.session)
            close_sockets(surroundings.session)
        for task in self.loop.tasks_of(None):
            _abandon(task, None)
        self.loop.close()
        for surroundings in self._surroundings:
            surroundings.close()

    # -------------------------------------------------------------------------------------------------- nodes, programs

    def start(
        self,
        node: str,
        function: Function,
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
        *,
        restart: bool = False,
        name: str = "",
    ) -> Program:
        """Start a coroutine function in a node. With `restart` it is started again whenever the node is. Raises
        MisuseError for a node without a stack of ours or one that is off, and once all programs were ended."""
        if self.remnants is not None:
            raise MisuseError("the programs of this simulation were ended: none can be started any more")
        session = self._session(node)
        program = Program(self.loop, node, function, arguments, keywords, restart=restart, name=name)
        program.begin(session)
        self.programs.append(program)
        return program

    async def wait(self, program: Program) -> Any:
        """Until a program has ended; its result. Raises what it raised, NodeCrashedError, CancelledError."""
        return await self.wait_for(program.outcome())

    def crash(self, node: str, trigger: str = "crashed") -> None:
        """Switch a node off, and its programs with it. Raises MisuseError where it is off."""
        found = self.network.node(node)
        session = found.session
        found.crash(trigger)
        for program in self.programs:
            if program.node == node:
                program.crash()
        if session is not None:
            self.loop.release(session)  # it may have been paused
            self._bury(session)

    def restart(self, node: str, trigger: str = "started") -> None:
        """Switch a node on again, and start the programs that want it. Its clock has gone on. Raises MisuseError where
        it is on."""
        found = self.network.node(node)
        found.start(trigger)
        session = found.session
        if session is None:
            return
        self._surround(found)
        for program in self.programs:
            if program.node == node and program.state == "crashed" and program.restart:
                program.begin(session)

    def pause(self, node: str) -> None:
        """Let a node stand still, with its programs. Raises MisuseError where it is off."""
        self.network.node(node).pause()

    def resume(self, node: str) -> None:
        """Let it go on; harmless where it runs."""
        found = self.network.node(node)
        found.resume()
        if found.session is not None:
            self.loop.release(found.session)

    def set_clock(self, node: str, *, offset: int | None = None, drift_ppb: int | None = None) -> None:
        """Put a node's clock wrong: by `offset` (ns), and further by so many ns in a second. Raises ValueError for a
        clock that would stand."""
        self._session(node).clock.set(self.network.now, offset=offset, drift_ppb=drift_ppb)

    def left_behind(self) -> list[Remnant]:
        """What ended programs have not ended or closed, up to now."""
        found: list[Remnant] = []
        for node in self.network.nodes.values():
            session = node.session
            if session is None or not session.alive:
                continue
            busy = any(program.node == node.name and program.state == "running" for program in self.programs)
            found += tasks_left(session, self._tasks(session), self.watch.tasks)
            found += sockets_left(session, busy=busy)
        return found

    # ---------------------------------------------------------------------------------------- what its world asks of it

    def handles_waiting(self) -> list[asyncio.TimerHandle]:
        """The timers that are set."""
        return [handle for handle in self.loop.timers() if not handle.cancelled()]

    def waits_for_kernel(self) -> bool:
        """Whether a thread or a socket of the kernel may make something ready."""
        return self.loop.awaits_kernel

    def nap(self, seconds: float) -> None:
        """Sleep for so many real seconds, or until the kernel or a thread has something for the loop."""
        descriptor = self.loop.fileno()
        if descriptor < 0:
            time.sleep(seconds)
        else:
            select.select([descriptor], [], [], seconds)

    def programs_awaited(self) -> list[Program]:
        """Those whose end somebody waits for."""
        return [program for program in self.programs if program.awaited and not program.done]

    def situation(self, *, script: bool = True) -> str:
        """Who waits for what, the script first."""
        groups = [("script", self.loop.tasks_of(None))] if script else []
        groups += [(node.name, self._tasks(node.session)) for node in self.network.nodes.values()]
        return situation(groups, self.watch.tasks, self.handles_waiting())

    # ----------------------------------------------------------------------------------------------------------- inside

    def begin(self) -> None:
        """Virtual time is about to go on. Raises MisuseError where it is closed."""
        if self.closed:
            raise MisuseError("the simulation is closed")
        if not self._began:
            self._began = True
            self.watch.garbage.begin()
            self.watch.start()
        self.pace.begin()

    def _tasks(self, session: Session | None) -> list[asyncio.Task[Any]]:
        return [] if session is None else self.loop.tasks_of(session)

    def _session(self, name: str) -> Session:
        node = self.network.node(name)
        if node.session is None:
            raise MisuseError(f"{name} is a {node.config.kind}: no programs run in it", hint="hosts and routers do")
        if not node.on:
            raise MisuseError(f"{name} is off", hint="restart it first")
        return node.session

    def _surround(self, node: SimulatedNode) -> None:
        if node.session is None:
            return
        life = self._lives[node.name] = self._lives.get(node.name, -1) + 1
        surroundings = Surroundings(node.session, derived(node.config.seed, f"programs {life}"), self._epoch, self.loop)
        surroundings.open()
        self._surroundings.append(surroundings)

    def _bury(self, session: Session, attempts: int = STUBBORN) -> None:
        """Cancel what still runs in a node that crashed, until nothing does or it will not, and close its sockets,
        which nobody hears of. Then its callbacks and timers wait for ever."""
        tasks = self.loop.tasks_of(session)
        for task in tasks:
            task.cancel()
        if attempts <= LAST_TURNS or not tasks:
            attempts = min(attempts, LAST_TURNS)
            close_sockets(session, crashed=True)
        if attempts:
            self.loop.call_soon(self._bury, session, attempts - 1, context=Context())
        else:
            session.held = True

    async def _finish(self) -> list[Remnant]:
        if self.remnants is not None:
            return self.remnants
        found = self.remnants = self.left_behind()
        for program in self.programs:
            program.cancel()
        sessions = [node.session for node in self.network.nodes.values() if node.session is not None]
        for session in sessions:
            if session.held:  # paused: it does not see its end
                self._bury(session, 0)
        tasks = [task for session in sessions for task in self.loop.tasks_of(session)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=FAREWELL / SECOND)
        closed = [close_sockets(session) for session in sessions]
        if any(closed):
            await asyncio.sleep(LAST_WORDS / SECOND)
        for session in sessions:
            session.held = True
        return found

    def _clean_up(self) -> None:
        """After the script, or what ended it: its own tasks may clean up, then the programs. Where that is what does
        not get on, it ends there."""
        loop = self.loop
        try:
            rest = loop.tasks_of(None)
            for each in rest:
                each.cancel()
            if rest:
                loop.run_until_complete(asyncio.wait(rest, timeout=SCRIPT_FAREWELL / SECOND))
            loop.run_until_complete(self._finish())
            loop.run_until_complete(loop.shutdown_asyncgens())
        except DeadlockError as error:
            self._tell(f"while everything was to end: {error}")

    @contextmanager
    def _interruptible(self, task: asyncio.Task[Any]) -> Iterator[list[int]]:
        """Ctrl-C cancels the script, the second one ends all at once."""
        seen: list[int] = []

        def interrupt(number: int, _: FrameType | None) -> None:
            seen.append(number)
            if len(seen) > 1 or task.done():
                raise KeyboardInterrupt
            task.cancel()
            self.loop.call_soon_threadsafe(bool)

        ours = threading.current_thread() is threading.main_thread()
        ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours:
            signal.signal(signal.SIGINT, interrupt)
        try:
            yield seen
        finally:
            if ours:
                signal.signal(signal.SIGINT, signal.default_int_handler)


def _abandon(task: asyncio.Task[Any], session: Session | None) -> None:
    """The end of a task that would not end: its coroutine is closed where it stands, as if nobody had it any more."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    if coroutine is not None:
        with suppress(RuntimeError):  # it awaits something on its way out
            session_context(session).run(coroutine.close)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody handled, as every loop logs it, and in which node. Callbacks of tasks that are cancelled may stumble
    over that (asyncio.streams of 3.11 does); when all of a node is cancelled, that is no news."""
    if isinstance(context.get("exception"), asyncio.CancelledError):
        return
    handle = context.get("handle")
    session = None if handle is None else handle._context.get(CURRENT)
    if session is not None:
        context = {**context, "message": f"node {session.name}: {context.get('message', 'unhandled exception')}"}
    loop.default_exception_handler(context)


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
