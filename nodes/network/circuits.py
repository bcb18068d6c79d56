"""Virtual circuits: a path is chosen once, at call set-up; packets carry only a label (VCI) of the link they are on.

    a                    r                    b
    |-- call request --->|-- call request --->|       each hop looks the called address up in its route table, takes
    |   VCI 1            |   VCI 2            |       the lowest free VCI of the next link and notes both in its table
    |<- call accepted ---|<- call accepted ---|       one round trip before the first data
    |== data, VCI 1 ====>|== data, VCI 2 ====>|       in order: one path, first in, first out
    |-- clear request -->|-- clear request -->|       each hop confirms; a VCI is free again when it is confirmed

**Glare.** Both ends of a link could choose one VCI for two calls at once. The end with the lower MAC address takes odd
ones, the other even ones, so they cannot.

**Death.** Each node says hello every second. A link whose neighbour was not heard for three, lost its carrier, or
comes back as another instance is dead, and all its circuits with it: they are cleared towards both ends, as the
tables at the dead node are gone. A clear request that nobody confirms is repeated, then the VCI is free; a call that
comes on a VCI still in use says that the neighbour has freed it.

A link here has two ends. Ports are told by number; whoever drives this puts packets in Ethernet frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from nodes.errors import LimitError, MisuseError, UnreachableError
from nodes.units import SECOND, earliest
from nodes.wire.addresses import Ip4, Mac
from nodes.wire.circuit import (
    LAST_VCI,
    CallAccepted,
    CallRequest,
    ClearConfirmation,
    ClearRequest,
    Data,
    Hello,
    Packet,
    build,
    parse,
)

HELLO_INTERVAL = SECOND
HOLD_TIME = 3 * HELLO_INTERVAL
SETUP_TIMEOUT = 5 * SECOND
CLEAR_INTERVAL = SECOND
CLEAR_ATTEMPTS = 3
HOPS = 32
"""Nodes that a call may pass: routes that lead in a circle end it."""
CIRCUIT_LIMIT = 1024
"""Labels of one link, odd and even ones together."""
SEND_LIMIT = 256
"""Packets that may wait for `transmit` when a program sends another one."""
RECEIVE_LIMIT = 256
"""Messages that wait for a program at a circuit's end. One more ends the circuit: order kept means nothing missing."""


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


@dataclass(slots=True, eq=False)
class Circuit:
    """The end of a circuit in this node. `state` is one of calling, open, cleared."""

    remote: Ip4
    state: str
    cause: Cause | None = None
    received: deque[bytes] = field(default_factory=deque)


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
    mac: Mac
    up: bool = True
    neighbour: tuple[Mac, int] | None = None
    heard: int = 0
    legs: dict[int, Leg] = field(default_factory=dict)


Lookup: TypeAlias = Callable[[Ip4], int | None]
_Labelled: TypeAlias = CallAccepted | ClearRequest | ClearConfirmation | Data


class CircuitLayer:
    """`lookup` says by which port an address is reached, or None; `local` are the node's own addresses; a node takes
    calls while `listening`, and `accept` returns them."""

    def __init__(self, macs: list[Mac], local: frozenset[Ip4], lookup: Lookup, instance: int, now: int) -> None:
        self.links = [Link(mac) for mac in macs]
        self.listening = False
        self._local = local
        self._lookup = lookup
        self._instance = instance
        self._hello = now
        self._out: list[tuple[int, bytes]] = []
        self._accepted: deque[Circuit] = deque()

    # Programs

    def call(self, called: Ip4, calling: Ip4, now: int) -> Circuit:
        """Asks for a circuit. Raises UnreachableError without a route, LimitError without a free VCI."""
        port = self._lookup(called)
        if port is None or self.links[port].neighbour is None:
            raise UnreachableError("no route for a circuit, or no neighbour there")
        vci = self._free(port)
        if vci is None:
            raise LimitError("no VCI is free on the link")
        circuit = Circuit(called, "calling")
        self.links[port].legs[vci] = Leg(port, vci, "calling", circuit, now + SETUP_TIMEOUT)
        self._send(port, CallRequest(vci, HOPS, called, calling))
        return circuit

    def accept(self) -> Circuit | None:
        return self._accepted.popleft() if self._accepted else None

    def send(self, circuit: Circuit, message: bytes) -> None:
        """Raises MisuseError on a circuit that is not open, LimitError where too much waits for `transmit`."""
        leg = self._leg_of(circuit)
        if leg is None or leg.state != "open":
            raise MisuseError(f"the circuit is {circuit.state}")
        if len(self._out) >= SEND_LIMIT:
            raise LimitError(f"{SEND_LIMIT} packets wait to be sent")
        self._send(leg.port, Data(leg.vci, message))

    def clear(self, circuit: Circuit, now: int) -> None:
        """Ends it, if it is not over yet."""
        leg = self._leg_of(circuit)
        if leg is not None:
            _end(circuit, Cause.DONE)
            self._clear(leg, Cause.DONE, now)

    # The pump

    def receive(self, port: int, source: Mac, packet: bytes, now: int) -> None:
        """Raises WireError for what is no packet."""
        link, message = self.links[port], parse(packet)
        if not link.up:
            return
        if isinstance(message, Hello):
            self._greet(port, source, message.instance, now)
        elif link.neighbour is None or link.neighbour[0] != source:
            return  # who has not said hello has no labels here
        elif isinstance(message, CallRequest):
            self._called(port, message, now)
        else:
            self._about(port, message, now)

    def timeout(self, now: int) -> None:
        if now >= self._hello:
            for port, link in enumerate(self.links):
                if link.up:
                    self._send(port, Hello(self._instance))
            self._hello = now + HELLO_INTERVAL
        for port, link in enumerate(self.links):
            if link.neighbour is not None and now >= link.heard + HOLD_TIME:
                self._lose(port, now)
            for leg in list(link.legs.values()):
                if leg.due is not None and now >= leg.due:
                    self._overdue(leg, now)

    def deadline(self) -> int | None:
        held = [link.heard + HOLD_TIME for link in self.links if link.neighbour is not None]
        return earliest(self._hello, *held, *(leg.due for link in self.links for leg in link.legs.values()))

    def transmit(self) -> list[tuple[int, bytes]]:
        out, self._out = self._out, []
        return out

    def set_port(self, port: int, up: bool, now: int) -> None:
        """The carrier of a port came or went."""
        self.links[port].up = up
        if up:
            self._hello = now
        else:
            self._lose(port, now)

    def snapshot(self) -> list[dict[str, object]]:
        """The VCI table."""
        rows: list[dict[str, object]] = []
        for link in self.links:
            for leg in link.legs.values():
                onward = [leg.other.port, leg.other.vci] if isinstance(leg.other, Leg) else None
                rows.append({"port": leg.port, "vci": leg.vci, "state": leg.state, "onward": onward})
        return rows

    # Signals

    def _greet(self, port: int, source: Mac, instance: int, now: int) -> None:
        link = self.links[port]
        if link.neighbour not in (None, (source, instance)):
            self._lose(port, now)
        if link.neighbour is None:
            self._send(port, Hello(self._instance))  # so that it need not wait for ours
        link.neighbour, link.heard = (source, instance), now

    def _called(self, port: int, call: CallRequest, now: int) -> None:
        link = self.links[port]
        stale = link.legs.pop(call.vci, None)
        if stale is not None:
            self._onward(stale, Cause.UNKNOWN_CIRCUIT, now)
        if call.vci % 2 == self._parity(port) or len(link.legs) >= CIRCUIT_LIMIT:
            self._send(port, ClearRequest(call.vci, Cause.NO_VCI))
            return
        leg = link.legs[call.vci] = Leg(port, call.vci, "called")
        cause = self._take(leg, call) if call.called in self._local else self._pass_on(leg, call, now)
        if cause is not None:
            self._clear(leg, cause, now)

    def _take(self, leg: Leg, call: CallRequest) -> Cause | None:
        if not self.listening or len(self._accepted) >= CIRCUIT_LIMIT:
            return Cause.REFUSED
        leg.state, leg.other = "open", Circuit(call.calling, "open")
        self._accepted.append(leg.other)
        self._send(leg.port, CallAccepted(leg.vci))
        return None

    def _pass_on(self, leg: Leg, call: CallRequest, now: int) -> Cause | None:
        port = self._lookup(call.called)
        if port is None or port == leg.port or self.links[port].neighbour is None:
            return Cause.NO_ROUTE
        if call.hops <= 1:
            return Cause.HOPS_EXCEEDED
        vci = self._free(port)
        if vci is None:
            return Cause.NO_VCI
        leg.other = self.links[port].legs[vci] = Leg(port, vci, "calling", leg, now + SETUP_TIMEOUT)
        self._send(port, CallRequest(vci, call.hops - 1, call.called, call.calling))
        return None

    def _about(self, port: int, message: _Labelled, now: int) -> None:
        """All that is about a circuit that should be in the table."""
        leg = self.links[port].legs.get(message.vci)
        match message:
            case Data(vci, payload):
                if leg is None:
                    self._send(port, ClearRequest(vci, Cause.UNKNOWN_CIRCUIT))
                elif leg.state == "open":
                    self._forward(leg, payload, now)
            case CallAccepted():
                if leg is not None and leg.state == "calling":
                    self._opened(leg)
            case ClearRequest(vci, cause):
                self._send(port, ClearConfirmation(vci))
                if leg is not None:
                    del self.links[port].legs[vci]
                    self._onward(leg, _cause(cause), now)
            case ClearConfirmation(vci):
                if leg is not None and leg.state == "clearing":
                    del self.links[port].legs[vci]

    def _opened(self, leg: Leg) -> None:
        leg.state, leg.due = "open", None
        if isinstance(leg.other, Leg):
            leg.other.state = "open"
            self._send(leg.other.port, CallAccepted(leg.other.vci))
        elif leg.other is not None:
            leg.other.state = "open"

    def _forward(self, leg: Leg, payload: bytes, now: int) -> None:
        if isinstance(leg.other, Leg):
            self._send(leg.other.port, Data(leg.other.vci, payload))
        elif leg.other is not None and len(leg.other.received) < RECEIVE_LIMIT:
            leg.other.received.append(payload)
        else:
            self._onward(leg, Cause.OVERFLOW, now)
            self._clear(leg, Cause.OVERFLOW, now)

    # Ends

    def _lose(self, port: int, now: int) -> None:
        link = self.links[port]
        link.neighbour = None
        legs, link.legs = link.legs, {}
        for leg in legs.values():
            self._onward(leg, Cause.LINK_DOWN, now)

    def _overdue(self, leg: Leg, now: int) -> None:
        if leg.state == "calling":
            self._onward(leg, Cause.TIMEOUT, now)
            self._clear(leg, Cause.TIMEOUT, now)
        elif leg.attempts >= CLEAR_ATTEMPTS:
            del self.links[leg.port].legs[leg.vci]
        else:
            self._clear(leg, leg.cause, now)

    def _onward(self, leg: Leg, cause: Cause, now: int) -> None:
        """Tells the other side of a leg that is over."""
        other, leg.other = leg.other, None
        if isinstance(other, Leg):
            other.other = None
            self._clear(other, cause, now)
        elif other is not None:
            _end(other, cause)

    def _clear(self, leg: Leg, cause: Cause, now: int) -> None:
        other = leg.other
        leg.state, leg.due, leg.attempts = "clearing", now + CLEAR_INTERVAL, leg.attempts + 1
        leg.other, leg.cause = None, cause
        if isinstance(other, Leg):
            other.other = None
        self._send(leg.port, ClearRequest(leg.vci, cause))

    # Labels

    def _parity(self, port: int) -> int:
        link = self.links[port]
        return int(link.neighbour is not None and link.mac < link.neighbour[0])

    def _free(self, port: int) -> int | None:
        """The lowest free label of those that are ours to give."""
        legs = self.links[port].legs
        if len(legs) >= CIRCUIT_LIMIT:
            return None
        return next((vci for vci in range(2 - self._parity(port), LAST_VCI + 1, 2) if vci not in legs), None)

    def _leg_of(self, circuit: Circuit) -> Leg | None:
        legs = (leg for link in self.links for leg in link.legs.values())
        return next((leg for leg in legs if leg.other is circuit), None)

    def _send(self, port: int, packet: Packet) -> None:
        self._out.append((port, build(packet)))


def _end(circuit: Circuit, cause: Cause) -> None:
    circuit.state, circuit.cause = "cleared", cause


def _cause(number: int) -> Cause:
    """A peer may know more causes than we do."""
    return Cause(number) if number in Cause._value2member_map_ else Cause.UNKNOWN_CIRCUIT
