"""Virtual time as an event loop waits in it: from event to event, until a callback is ready.

Here it is seen that nothing will ever happen again, that nobody who matters gets on, or that time stands still, and
this is where the loop is left then, with an error that says who waits for what.

Time stands still while callbacks are ready. Where two callbacks keep each other busy for ever, the network never has
its turn, so neither of them will see what it waits for: `turns` at one instant are the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NoReturn, Protocol

from nodes.errors import DeadlockError, LivelockError
from nodes.session.session import CURRENT, Session
from nodes.simulation import threads
from nodes.simulation.network import Network
from nodes.simulation.pace import NAP, Pace
from nodes.simulation.programs import PROGRAM, Program
from nodes.simulation.report import at
from nodes.simulation.watch import Watch
from nodes.units import SECOND, earliest

LOOK = SECOND
"""Virtual time (ns) that may pass after the last event before it is noticed that there is none any more."""

TALE = 50
"""The last turns of which it is told who ran in them, when time stands still."""


class Waiters(Protocol):
    """What the world has to know of its simulation."""

    def handles_waiting(self) -> Iterable[object]:
        """The timers that are set, as handles of asyncio."""
        ...

    def waits_for_kernel(self) -> bool:
        """Whether a thread or a socket of the kernel may make something ready."""
        ...

    def nap(self, seconds: float) -> None:
        """Sleep, until one of these does."""
        ...

    def programs_awaited(self) -> list[Program]:
        """Those whose end somebody waits for."""
        ...

    def situation(self) -> str:
        """Who waits for what."""
        ...


class VirtualWorld:
    """The World of nodes.session, over a network. `turns`, `idle` (ns, None: without end) and `patience`
    (real seconds, None: without end): see nodes.simulation.watch."""

    def __init__(
        self, network: Network, watch: Watch, pace: Pace, *, turns: int, idle: int | None, patience: float | None
    ) -> None:
        self.budget: Callable[[], bool] | None = None
        """Asked with `ready`: True ends a wait before its time, and those of a simulation that is a guest."""
        self.naps = True
        """Whether it sleeps for its pace, or returns early."""
        self.waiters: Waiters | None = None
        self._network = network
        self._watch = watch
        self._pace = pace
        self._turn_limit = turns
        self._turns = 0
        self._handles = 0
        self._idle = idle
        self._patience = patience
        self._looked = network.now

    def now(self) -> int:
        """The clock of the network (ns)."""
        return self._network.now

    def session(self) -> Session | None:
        """The node whose program runs."""
        return CURRENT.get()

    def wait(self, until: int | None, ready: Callable[[], bool]) -> None:
        """See `nodes.session.session.World`. It may return before its time with nothing ready. Raises DeadlockError,
        LivelockError."""
        self._watch.rest()
        network, before = self._network, self._network.now
        if threads.exist() and not ready():
            threads.let_work(ready, self._patience)
        if until is not None and self._pace.speed is None and self.budget is None:
            network.run(until, ready)
        else:
            self._advance(until, ready)
        if network.now != before:
            self._turns, self._watch.tale = 0, None
            if self._idle is not None and network.now - self._looked > self._idle // 4:
                self._look(network.now)
        elif self._watch.handles != self._handles:
            self._handles = self._watch.handles
            self._turns += 1
            if self._turns > self._turn_limit - TALE:
                self._stands_still()

    def next_wanted(self, deadline: int | None) -> int | None:
        """When something is to happen next, in the network or at the `deadline` of the loop."""
        return earliest(self._network.next_event(), deadline)

    # ------------------------------------------------------------------------------------------------------ going on

    def _advance(self, until: int | None, ready: Callable[[], bool]) -> None:
        """In steps: to the next event that the pace allows, or to where it is to be seen that there is none."""
        network, budget = self._network, self.budget
        stop = ready if budget is None else (lambda: ready() or budget())
        last = until
        if until is None and self._idle is not None:
            last = max(self._watch.ran + self._idle, network.now)
        network.run(network.now, stop)
        while not stop():
            following = network.next_event()
            if until is None and (following is None or (last is not None and following > last)):
                if self.waiters is None or not self.waiters.waits_for_kernel():
                    self._nothing_comes(ever=following is None)
                if self.naps:
                    self.waiters.nap(NAP)
                return
            if following is None or (last is not None and following > last):
                following = last
            assert following is not None
            allowed = self._pace.allowed()
            if allowed is not None and following > allowed:
                if not self._nap(following, stop):
                    return
                continue
            limit = following + LOOK if last is None else min(following + LOOK, last)
            network.run(limit if allowed is None else min(limit, allowed), stop)
            if last is not None and until is not None and network.now >= last:
                return

    def _nap(self, instant: int, stop: Callable[[], bool]) -> bool:
        """Sleep towards an instant; False where somebody else has to."""
        if not self.naps:
            return False
        while not stop():
            left = self._pace.until(instant)
            if not left:
                break
            time.sleep(min(left, NAP))
        return True

    # -------------------------------------------------------------------------------------------------- not going on

    def _nothing_comes(self, *, ever: bool) -> NoReturn:
        if ever:
            text = f"nothing will ever happen any more, since {at(self._network.now)} of virtual time"
        else:
            assert self._idle is not None
            text = f"no program has run for {at(self._idle)} of virtual time, and no timer of any is set"
        raise DeadlockError(self._told(text), hint="give what may never come a timeout")

    def _look(self, now: int) -> None:
        """Timers go on for ever in many a program. That the script, or whom it waits for, has run, is what counts."""
        self._looked = now
        waiters, idle = self.waiters, self._idle
        if waiters is None or idle is None or now - self._watch.outside_ran < idle:
            return
        awaited = waiters.programs_awaited()
        if any(now - program.last_ran < idle for program in awaited) or waiters.waits_for_kernel():
            return
        for handle in waiters.handles_waiting():
            context = handle._context  # type: ignore[attr-defined]
            if context.get(CURRENT) is None or context.get(PROGRAM) in awaited:
                return
        whom = ", ".join(f"{program.name} of {program.node}" for program in awaited)
        text = f"the script has waited for {at(now - self._watch.outside_ran)} of virtual time"
        text += f" for the programs {whom}, which do not get on" if whom else ""
        raise DeadlockError(self._told(text), hint="give what may never come a timeout, or raise the limit `idle`")

    def _stands_still(self) -> None:
        if self._watch.tale is None:
            self._watch.tale = {}
        if self._turns <= self._turn_limit:
            return
        ran = "\n".join(f"  {who}, {count} times" for who, count in self._watch.tale.items())
        self._turns, self._watch.tale = 0, None
        text = f"virtual time stands still at {at(self._network.now)}: {self._turn_limit} turns of the event loop, and "
        text += "always somebody who wants to run at once; the last were\n" + ran
        raise LivelockError(self._told(text), hint="wait for what is to happen, not for `sleep(0)`: it takes no time")

    def _told(self, text: str) -> str:
        return text if self.waiters is None else f"{text}\n{self.waiters.situation()}"
