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

**Flow control.** An end may send a window of messages; the other end allows more as its program reads. The number
allowed in all travels, so that a lost credit is made good by the next one. Nothing here repeats what a link loses: the
links below circuits are to be reliable, as X.25 has LAPB below it, and here ARQ is.

A link here has two ends. Links are told by number; whoever drives this puts packets in Ethernet frames. Ports are
those of programs: a call names one at each end.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeAlias

from nodes.errors import LimitError, MisuseError, UnreachableError
from nodes.network.circuit_table import WINDOW, Cause, Circuit, Leg, Link, Listener
from nodes.trace.circuit_events import CircuitNeighborUpdated, CircuitUpdated
from nodes.trace.events import NullTracer, Tracer
from nodes.units import SECOND, earliest
from nodes.wire.addresses import ANY, Ip4, Mac
from nodes.wire.checksum import Buffer
from nodes.wire.circuit import (
    HEADER,
    LAST_VCI,
    CallAccepted,
    CallRequest,
    ClearConfirmation,
    ClearRequest,
    Credit,
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
GRANT = WINDOW // 4
"""Messages that a program has read before more are allowed: a credit for each would be a packet for each."""

Lookup: TypeAlias = Callable[[Ip4], int | None]
_Labelled: TypeAlias = CallAccepted | ClearRequest | ClearConfirmation | Credit | Data


class CircuitLayer:
    """`lookup` says by which link an address is reached, or None; `is_local` tells the node's own addresses. `now` is
    when something was last done."""

    def __init__(
        self,
        macs: list[Mac],
        is_local: Callable[[Ip4], bool],
        lookup: Lookup,
        instance: int,
        now: int,
        tracer: Tracer | None = None,
    ) -> None:
        self.links = [Link(mac) for mac in macs]
        self.now = now
        self._trace = NullTracer() if tracer is None else tracer
        self._listeners: dict[tuple[Ip4, int], Listener] = {}
        self._timed: dict[Leg, None] = {}
        self._is_local = is_local
        self._lookup = lookup
        self._instance = instance
        self._hello = now
        self._out: list[tuple[int, bytes]] = []

    # Programs

    def listen(self, listener: Listener) -> None:
        self._listeners[listener.address, listener.port] = listener

    def unlisten(self, listener: Listener, now: int) -> None:
        """Calls that nobody has taken are cleared."""
        del self._listeners[listener.address, listener.port]
        for circuit in listener.waiting:
            self.clear(circuit, now)

    def call(self, called: Ip4, calling: Ip4, now: int, called_port: int = 0, calling_port: int = 0) -> Circuit:
        """Asks for a circuit. Raises UnreachableError without a route, LimitError without a free VCI."""
        self.now = now
        port = None if self._is_local(called) else self._lookup(called)
        if port is None or self.links[port].neighbour is None:
            raise UnreachableError("no route for a circuit, or no neighbour there that speaks of circuits")
        vci = self._free(port)
        if vci is None:
            raise LimitError("no VCI is free on the link")
        circuit = Circuit(called, "calling", called_port, calling, calling_port)
        circuit.leg = self.links[port].legs[vci] = Leg(port, vci, "calling", circuit)
        self._time(circuit.leg, now + SETUP_TIMEOUT)
        self._tell(circuit.leg, "none", "call")
        self._send(port, CallRequest(vci, HOPS, called, calling, called_port, calling_port))
        return circuit

    def send(self, circuit: Circuit, message: bytes, now: int) -> bool:
        """False where it has to wait for credit. Raises MisuseError on a circuit that is not open, and (EMSGSIZE) for
        a message longer than the link carries; LimitError where too much waits for `transmit`."""
        leg = circuit.leg
        if leg is None or leg.state != "open":
            raise MisuseError(f"the circuit is {circuit.state}")
        longest = self.links[leg.port].mtu - HEADER.size
        if len(message) > longest:
            raise MisuseError(
                f"a message of {len(message)} octets, the link carries {longest}",
                errno=errno.EMSGSIZE,
                hint="circuits do not fragment: send shorter messages",
            )
        if circuit.sent >= circuit.allowed:
            return False
        if len(self._out) >= SEND_LIMIT:
            raise LimitError(f"{SEND_LIMIT} packets wait to be sent")
        self.now = now
        circuit.sent += 1
        self._send(leg.port, Data(leg.vci, message))
        return True

    def read(self, circuit: Circuit, now: int) -> bytes | None:
        """The oldest message, None where there is none."""
        if not circuit.received:
            return None
        message = circuit.received.popleft()
        circuit.read += 1
        leg, allowed = circuit.leg, circuit.read + WINDOW
        if leg is not None and leg.state == "open" and allowed - circuit.granted >= GRANT:
            self.now = now
            circuit.granted = allowed
            self._send(leg.port, Credit(leg.vci, allowed))
        return message

    def clear(self, circuit: Circuit, now: int) -> None:
        """Ends it, if it is not over yet."""
        leg = circuit.leg
        if leg is not None:
            self.now = now
            _end(circuit, Cause.DONE)
            self._clear(leg, Cause.DONE, now)

    # The pump

    def receive(self, port: int, source: Mac, packet: Buffer, now: int) -> None:
        """Raises WireError for what is no packet."""
        link, message = self.links[port], parse(packet)
        self.now = now
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
        self.now = now
        if now >= self._hello:
            for port, link in enumerate(self.links):
                if link.up:
                    self._send(port, Hello(self._instance))
            self._hello = now + HELLO_INTERVAL
        for port, link in enumerate(self.links):
            if link.neighbour is not None and now >= link.heard + HOLD_TIME:
                self._lose(port, now, "silence")
        for leg in list(self._timed):
            if leg.due is not None and now >= leg.due:
                self._overdue(leg, now)

    def deadline(self) -> int | None:
        held = [link.heard + HOLD_TIME for link in self.links if link.neighbour is not None]
        return earliest(self._hello, *held, *(leg.due for leg in self._timed))

    def transmit(self) -> list[tuple[int, bytes]]:
        out, self._out = self._out, []
        return out

    def set_port(self, port: int, up: bool, now: int) -> None:
        """The carrier of a port came or went."""
        self.now = now
        self.links[port].up = up
        if up:
            self._hello = now
        else:
            self._lose(port, now, "carrier")

    def snapshot(self) -> list[dict[str, object]]:
        """The VCI table."""
        rows: list[dict[str, object]] = []
        for link in self.links:
            for leg in link.legs.values():
                other = leg.other
                onward = [self.links[other.port].name, other.vci] if isinstance(other, Leg) else None
                rows.append({"interface": link.name, "vci": leg.vci, "state": leg.state, "onward": onward})
        return rows

    # Signals

    def _greet(self, port: int, source: Mac, instance: int, now: int) -> None:
        link = self.links[port]
        if link.neighbour not in (None, (source, instance)):
            self._lose(port, now, "restart")
        if link.neighbour is None:
            self._trace(now, CircuitNeighborUpdated(link.name, source, "down", "up", "hello"))
            self._send(port, Hello(self._instance))  # so that it need not wait for ours
        link.neighbour, link.heard = (source, instance), now

    def _called(self, port: int, call: CallRequest, now: int) -> None:
        link = self.links[port]
        stale = link.legs.get(call.vci)
        if stale is not None:
            self._forget(stale, "call request")
            self._onward(stale, Cause.UNKNOWN_CIRCUIT, now)
        if call.vci % 2 == self._parity(port) or len(link.legs) >= CIRCUIT_LIMIT:
            self._send(port, ClearRequest(call.vci, Cause.NO_VCI))
            return
        leg = link.legs[call.vci] = Leg(port, call.vci, "called")
        self._tell(leg, "none", "call request")
        cause = self._take(leg, call) if self._is_local(call.called) else self._pass_on(leg, call, now)
        if cause is not None:
            self._clear(leg, cause, now)

    def _take(self, leg: Leg, call: CallRequest) -> Cause | None:
        port = call.called_port
        listener = self._listeners.get((call.called, port)) or self._listeners.get((ANY, port))
        if listener is None or len(listener.waiting) >= listener.backlog:
            return Cause.REFUSED
        circuit = Circuit(call.calling, "open", call.calling_port, call.called, port, leg=leg)
        leg.other = circuit
        self._move(leg, "open", "call request")
        listener.waiting.append(circuit)
        self._send(leg.port, CallAccepted(leg.vci))
        listener.changed()
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
        leg.other = self.links[port].legs[vci] = Leg(port, vci, "calling", leg)
        self._time(leg.other, now + SETUP_TIMEOUT)
        self._tell(leg.other, "none", "call request")
        self._send(port, call._replace(vci=vci, hops=call.hops - 1))
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
            case Credit(_, allowed):
                if leg is not None and leg.state == "open":
                    self._allow(leg, allowed)
            case CallAccepted():
                if leg is not None and leg.state == "calling":
                    self._opened(leg)
            case ClearRequest(vci, cause):
                self._send(port, ClearConfirmation(vci))
                if leg is not None:
                    self._forget(leg, "clear request")
                    self._onward(leg, _cause(cause), now)
            case ClearConfirmation():
                if leg is not None and leg.state == "clearing":
                    self._forget(leg, "clear confirmation")

    def _opened(self, leg: Leg) -> None:
        self._move(leg, "open", "call accepted")
        self._time(leg, None)
        if isinstance(leg.other, Leg):
            self._move(leg.other, "open", "call accepted")
            self._send(leg.other.port, CallAccepted(leg.other.vci))
        elif leg.other is not None:
            leg.other.state = "open"
            leg.other.changed()

    def _allow(self, leg: Leg, allowed: int) -> None:
        if isinstance(leg.other, Leg):
            self._send(leg.other.port, Credit(leg.other.vci, allowed))
        elif leg.other is not None:
            leg.other.allowed = max(leg.other.allowed, allowed)
            leg.other.changed()

    def _forward(self, leg: Leg, payload: bytes, now: int) -> None:
        other = leg.other
        if isinstance(other, Leg):
            if len(payload) + HEADER.size <= self.links[other.port].mtu:
                self._send(other.port, Data(other.vci, payload))
            else:
                self._break(leg, Cause.TOO_LONG, now)
        elif other is not None and len(other.received) < WINDOW:
            other.received.append(payload)
            other.changed()
        else:
            self._break(leg, Cause.OVERFLOW, now)

    # Ends

    def _lose(self, port: int, now: int, trigger: str) -> None:
        link = self.links[port]
        if link.neighbour is not None:
            self._trace(now, CircuitNeighborUpdated(link.name, link.neighbour[0], "up", "down", trigger))
        link.neighbour = None
        for leg in list(link.legs.values()):
            self._forget(leg, trigger)
            self._onward(leg, Cause.LINK_DOWN, now)

    def _overdue(self, leg: Leg, now: int) -> None:
        if leg.state == "calling":
            self._break(leg, Cause.TIMEOUT, now)
        elif leg.attempts >= CLEAR_ATTEMPTS:
            self._forget(leg, "timeout")
        else:
            self._clear(leg, leg.cause, now)

    def _break(self, leg: Leg, cause: Cause, now: int) -> None:
        """Ends a circuit from its middle: both ways."""
        self._onward(leg, cause, now)
        self._clear(leg, cause, now)

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
        if leg.state != "clearing":
            self._move(leg, "clearing", cause.name.lower())
        leg.attempts += 1
        self._time(leg, now + CLEAR_INTERVAL)
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

    def _time(self, leg: Leg, due: int | None) -> None:
        leg.due = due
        if due is None:
            self._timed.pop(leg, None)
        else:
            self._timed[leg] = None

    def _forget(self, leg: Leg, trigger: str) -> None:
        """Its label is free again."""
        del self.links[leg.port].legs[leg.vci]
        self._time(leg, None)
        self._move(leg, "none", trigger)

    def _move(self, leg: Leg, state: str, trigger: str) -> None:
        old, leg.state = leg.state, state
        self._tell(leg, old, trigger)

    def _tell(self, leg: Leg, old: str, trigger: str) -> None:
        self._trace(self.now, CircuitUpdated(self.links[leg.port].name, leg.vci, old, leg.state, trigger))

    def _send(self, port: int, packet: Packet) -> None:
        self._out.append((port, build(packet)))


def _end(circuit: Circuit, cause: Cause) -> None:
    circuit.state, circuit.cause, circuit.leg = "cleared", cause, None
    circuit.changed()


def _cause(number: int) -> Cause:
    """A peer may know more causes than we do."""
    return Cause(number) if number in Cause._value2member_map_ else Cause.UNKNOWN_CIRCUIT
