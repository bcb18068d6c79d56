"""What a node knows of its virtual circuits: links, their labels, the ends here. See `nodes.network.circuits`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from nodes.wire.addresses import ANY, Ip4, Mac

LONGEST_MTU = 0xFFFF
WINDOW = 128
"""Messages that an end may send before the other end's program has read any. One more than allowed ends the circuit:
order kept means nothing missing."""


class Cause(IntEnum):
    """Why a circuit is over, as its clear request says."""

    DONE = 0
    REFUSED = 1
    NO_ROUTE = 2
    NO_VCI = 3
    LINK_DOWN = 4
    TIMEOUT = 5
    UNKNOWN_CIRCUIT = 6
    OVERFLOW = 7
    HOPS_EXCEEDED = 8
    TOO_LONG = 9


@dataclass(slots=True, eq=False)
class Circuit:
    """The end of a circuit in this node. `state` is one of calling, open, cleared; `changed` is called when that or
    what can be read or sent changes. `allowed` messages may be sent in all, `granted` may be received."""

    remote: Ip4
    state: str
    remote_port: int = 0
    local: Ip4 = ANY
    local_port: int = 0
    cause: Cause | None = None
    received: deque[bytes] = field(default_factory=deque)
    changed: Callable[[], None] = lambda: None
    leg: Leg | None = None
    sent: int = 0
    allowed: int = WINDOW
    read: int = 0
    granted: int = WINDOW


@dataclass(slots=True, eq=False)
class Listener:
    """Calls to a port, on one address or (0.0.0.0) on all: at most `backlog` wait. `changed` is called for each."""

    address: Ip4
    port: int
    backlog: int
    changed: Callable[[], None] = lambda: None
    waiting: deque[Circuit] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class Leg:
    """A circuit on one link. `state` is one of calling (we asked), called (we were asked), open, clearing; `other`
    is the leg that its packets go on by, or the end here."""

    port: int
    vci: int
    state: str
    other: Leg | Circuit | None = None
    due: int | None = None
    attempts: int = 0
    cause: Cause = Cause.DONE


@dataclass(slots=True)
class Link:
    """`name` is the interface's."""

    mac: Mac
    name: str = ""
    up: bool = True
    mtu: int = LONGEST_MTU
    neighbour: tuple[Mac, int] | None = None
    heard: int = 0
    legs: dict[int, Leg] = field(default_factory=dict)
