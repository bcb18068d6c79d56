"""Two nodes on a hub, each with a session, in virtual time: what the tests of sockets run on."""

from __future__ import annotations

from random import Random

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.session.session import Session
from nodes.stack import Stack
from nodes.trace.events import ListTracer
from nodes.units import MICROSECOND, MILLISECOND

DELAY = 100 * MICROSECOND

HOSTS = {"a": "10.0.0.1", "b": "10.0.0.2", "Web": "10.0.0.2", "far": "192.0.2.1"}


class Pair:
    """Nodes `a` (10.0.0.1) and `b` (10.0.0.2). `touches` counts how often a session asked for the pump; with
    `cut`, IP packets get lost on the way, and ARP does not."""

    def __init__(self, **settings: object) -> None:
        self.now = 0
        self.touches = 0
        self.cut = False
        self.stacks = [self._stack(number, settings) for number in (1, 2)]
        self.sessions = [
            Session(name, stack, lambda: self.now, self._touched) for name, stack in zip("ab", self.stacks, strict=True)
        ]
        self.a, self.b = self.sessions
        self._flying: list[tuple[int, int, bytes]] = []

    def _stack(self, number: int, settings: dict[str, object]) -> Stack:
        interface = InterfaceConfig("eth0", f"02:00:00:00:00:0{number}", (f"10.0.0.{number}/24",), address_check="none")
        config = NodeConfig("lab", "-ab"[number], interfaces=(interface,), hosts=HOSTS, tcp=settings)
        return Stack.from_config(config, Random(number), ListTracer(), 0)

    def _touched(self) -> None:
        self.touches += 1

    def run(self, duration: int = 10 * MILLISECOND) -> None:
        """Lets everything happen that happens within `duration` (ns)."""
        until = self.now + duration
        while True:
            self._pump()
            times = [time for time, _, _ in self._flying]
            times += [due for stack in self.stacks if (due := stack.deadline()) is not None]
            following = min(times, default=until + 1)
            if following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            arriving = [item for item in self._flying if item[0] <= self.now]
            self._flying = [item for item in self._flying if item[0] > self.now]
            for _, index, frame in arriving:
                self.stacks[index].receive(0, frame, self.now)
            for stack in self.stacks:
                due = stack.deadline()
                if due is not None and due <= self.now:
                    stack.timeout(self.now)

    def _pump(self) -> None:
        for index, (stack, session) in enumerate(zip(self.stacks, self.sessions, strict=True)):
            frames = [frame for _, frame in stack.transmit() if not (self.cut and frame[12:14] == b"\x08\x00")]
            self._flying += [(self.now + DELAY, 1 - index, frame) for frame in frames]
            for endpoint in stack.drain_ready():
                session.ring(endpoint, self.now)
