"""A node's stack as the programs in it see it, and what they are driven by.

    program ──calls──▶ transports, sockets ──▶ stack            the call may leave frames to send: `touched`
            ◀─wakes── owners of endpoints ◀── ring ◀── stack    something arrived for an endpoint: `ring`

One event loop may serve the programs of many nodes. Which node a task lives in is said by a context variable, which
tasks and callbacks inherit from who made them, so that no program has to name its node.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from nodes.session.clock import NodeClock
from nodes.stack import Stack
from nodes.transport.endpoint import Endpoint


class EndpointOwner:
    """What a transport, a server or a socket of a program is to the stack's queue of ready endpoints. A base class and
    not a protocol: applications have a `ready` of the same form, and may have ended when their endpoint rings."""

    __slots__ = ()

    def ready(self, now: int) -> None:
        """Something happened to the endpoint: look what."""
        raise NotImplementedError


class Session:
    """`touched` is called after each call of a program into the stack; whoever drives the node then drains what the
    stack has to send, before time goes on. `now` reads the driver's clock (ns). `name` is the node's.

    `alive` is False once the node has crashed or ended: what its programs still do reaches nobody."""

    __slots__ = ("alive", "clock", "held", "name", "now", "stack", "touched")

    def __init__(self, name: str, stack: Stack, now: Callable[[], int], touched: Callable[[], None]) -> None:
        self.name = name
        self.stack = stack
        self.now = now
        self.touched = touched
        self.clock = NodeClock()
        self.alive = True
        self.held = False
        """True while the node is paused: its callbacks wait."""

    def ring(self, endpoint: Endpoint, now: int) -> None:
        """An endpoint that belongs to a program is ready. Others are none of ours."""
        owner = endpoint.owner
        if isinstance(owner, EndpointOwner):
            owner.ready(now)


CURRENT: ContextVar[Session | None] = ContextVar("layerlab_session", default=None)
"""The node whose program runs; None outside of all nodes."""


class World(Protocol):
    """What an event loop waits in: virtual time, or the reactor of an agent."""

    def now(self) -> int:
        """The clock of the whole network (ns, never backwards)."""
        ...

    def session(self) -> Session | None:
        """The node that the running task or callback lives in; None outside."""
        ...

    def wait(self, until: int | None, ready: Callable[[], bool]) -> None:
        """Send what programs have left to send; then let happen what happens, up to the instant `until` (None: for
        ever), and return as soon as `ready()`: a callback of a program wants to run. With `until` in the past, only
        what is due now happens."""
        ...
