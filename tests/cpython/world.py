"""The world of the loops under test: a simulated network with one host, whose time jumps unless a thread is there.

A test has its own network, which all its loops share, as they share a machine. The `Session` stays the same object:
contexts that were copied before the test began know it already.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.session.session import CURRENT, Session
from nodes.simulation.network import Network
from nodes.simulation.values import HOP, QuietRecorder
from nodes.trace.events import NullTracer
from nodes.units import MILLISECOND
from tests.cpython.mirror import Mirror

HOST = NodeConfig(
    lab="cpython",
    name="host",
    interfaces=(InterfaceConfig("eth0", "02:5a:00:00:00:01", ("10.0.0.1/24",), address_check="none"),),
    hosts={"host": "10.0.0.1"},
)
SLICE = 2 * MILLISECOND
"""How long (ns) the kernel is waited for at once, beside threads whose doings nothing announces."""


TURNS = 100
"""After so many turns of a loop without any time, a frame's time passes: tests that ask again and again with sleep(0)
count on a machine on which every turn takes some."""


class HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Machine:
    """A `World`."""

    def __init__(self, seed: int = 1) -> None:
        self._network = self._new_network(seed)
        node = self._network.node("host").session
        assert node is not None
        self._session = Session("host", node.stack, self.now, self._touched)
        self.mirror = Mirror(self._session, lambda: self.wait(self.now() + SLICE, bool))
        self.loops: list[HasDescriptor] = []
        self._turns = self._last = 0
        self._adopt()

    @staticmethod
    def _new_network(seed: int) -> Network:
        host = replace(HOST, seed=seed)  # which its port numbers come from
        return Network([host], [], seed=seed, recorder_for=lambda config: QuietRecorder(), link_tracer=NullTracer())

    def renew(self, seed: int = 1) -> None:
        """Another network, for another test."""
        self.mirror.clear()
        self.loops.clear()
        self._network = self._new_network(seed)
        self._adopt()

    def _adopt(self) -> None:
        """Our session takes the place of the node's own."""
        node = self._network.node("host")
        assert node.stack is not None
        assert node.session is not None
        self._session.stack = node.stack
        self._node_session = node.session

    def _touched(self) -> None:
        self._node_session.touched()

    def enter(self) -> None:
        """From now on this context is that of the node's programs."""
        CURRENT.set(self._session)

    # -------------------------------------------------------------------------------------------------------- a World

    def now(self) -> int:
        return self._network.now

    def session(self) -> Session | None:
        return CURRENT.get()

    def wait(self, until: int | None, ready: Callable[[], bool]) -> None:
        self._turns = self._turns + 1 if self._network.now == self._last else 0
        self._last = self._network.now
        if self._turns >= TURNS:
            self._network.run(self._last + HOP)
        while True:
            self.mirror.poll()
            start = time.monotonic_ns()
            if not self._kernel_side():
                self._network.run(until, ready)
                return
            base = self._network.now
            self._network.run(base if until is None else min(base, until), ready)
            while self.mirror.poll():
                self._network.run(base, ready)
            if ready() or (until is not None and base >= until):
                return
            heard = self._listen_outside(until)
            self._network.run(self._limit(base + time.monotonic_ns() - start, until), ready)
            if ready() or heard:
                return

    def _limit(self, at: int, until: int | None) -> int:
        return at if until is None else min(at, until)

    def _kernel_side(self) -> bool:
        """Somebody outside whom time must wait for."""
        return threading.active_count() > 1 or self.mirror.busy or any(_watches(loop) for loop in self.loops)

    def _listen_outside(self, until: int | None) -> bool:
        """Wait a little for the kernel; whether it has something for a loop."""
        due = [at for at in (until, self._network.next_event()) if at is not None]
        wait = min([SLICE, *(max(at - self._network.now, 0) for at in due)])
        descriptors = [loop.fileno() for loop in self.loops if loop.fileno() >= 0]
        watched: list[Any] = [*self.mirror.sockets(), *descriptors]
        found, _, _ = select.select(watched, [], [], wait / 1e9)
        return any(each in descriptors for each in found)


def _watches(loop: HasDescriptor) -> bool:
    """Whether a loop has kernel descriptors beside its own pipe."""
    selector = getattr(loop, "_selector", None)
    return selector is not None and selector.get_map() is not None and len(selector.get_map()) > 1
