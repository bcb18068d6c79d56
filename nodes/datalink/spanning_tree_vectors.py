"""The values of a spanning tree: identifiers, priority vectors, times and settings (IEEE 802.1D-2004 17.5-17.13).

The tree is built by comparing priority vectors. One says: "I know this root, at this cost, and I am this bridge and
this port of it". Vectors compare from left to right, and the lower one is better; all bridges agree on that order,
so the best vector on every LAN names one designated port, and the best one overall names the one root.

    (root identifier, root path cost, designated bridge identifier, designated port identifier)

A NamedTuple of four integers has exactly this order, so `<` is the comparison of the standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nodes.contract import SpanningTreeConfig
from nodes.errors import MisuseError
from nodes.units import SECOND
from nodes.wire.addresses import Mac
from nodes.wire.bpdu import Bpdu, from_time

DEFAULT_PATH_COST = 20_000  # a link of 1 Gbit/s (table 17-3)
HIGHEST_PATH_COST = 0xFFFF_FFFF  # what the 32 bits of a BPDU hold
DEFAULT_PORT_PRIORITY = 128  # table 17-2
MAXIMUM_PORTS = 4095  # 12 bits of a port identifier, 0 excluded (section 9.2.7)
MINIMUM_HELLO = SECOND  # a received hello time below is taken as one second (section 17.21.13)
_ADDRESS_MASK = (1 << 48) - 1


class PriorityVector(NamedTuple):
    """Section 17.5. Lower is better."""

    root: int
    cost: int
    bridge: int
    port: int


class Times(NamedTuple):
    """The times of a BPDU, in nanoseconds."""

    message_age: int
    max_age: int
    hello_time: int
    forward_delay: int


@dataclass(frozen=True, slots=True)
class SpanningTreeSettings:
    """A bridge's parameters (tables 17-1 to 17-3); times in nanoseconds.

    `rapid=False` is the standard's forced compatibility with STP (section 17.13.4): configuration BPDUs only, and every
    change waits for the forward delay. Raises MisuseError for values that the standard forbids, because they let
    loops form."""

    priority: int = 32768
    hello_time: int = 2 * SECOND
    max_age: int = 20 * SECOND
    forward_delay: int = 15 * SECOND
    path_cost: int = DEFAULT_PATH_COST
    transmit_hold_count: int = 6
    rapid: bool = True

    @classmethod
    def from_config(cls, config: SpanningTreeConfig) -> SpanningTreeSettings:
        """From the seconds of a node's configuration."""
        return cls(
            priority=config.priority,
            hello_time=round(config.hello_time * SECOND),
            max_age=round(config.max_age * SECOND),
            forward_delay=round(config.forward_delay * SECOND),
        )

    def __post_init__(self) -> None:
        if self.priority not in range(0, 65536, 4096):
            _refuse(f"priority {self.priority}", "a multiple of 4096 from 0 to 61440 is allowed")
        _check_range("hello_time", self.hello_time, 1, 10)
        _check_range("max_age", self.max_age, 6, 40)
        _check_range("forward_delay", self.forward_delay, 4, 30)
        _check_number("path_cost", self.path_cost, 1, 200_000_000)
        _check_number("transmit_hold_count", self.transmit_hold_count, 1, 10)
        # Section 17.14: information must live long enough to cross the network, and die before a port forwards.
        if not 2 * (self.hello_time + SECOND) <= self.max_age <= 2 * (self.forward_delay - SECOND):
            _refuse(
                f"max_age {self.max_age / SECOND:g} s",
                "2 * (hello_time + 1 s) <= max_age <= 2 * (forward_delay - 1 s) must hold, "
                "as in hello_time 1, max_age 6, forward_delay 4",
            )

    @property
    def times(self) -> Times:
        """What this bridge announces as the root."""
        return Times(0, self.max_age, self.hello_time, self.forward_delay)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low * SECOND <= value <= high * SECOND:
        _refuse(f"{name} {value / SECOND:g} s", f"{low} to {high} s are allowed")


def _check_number(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        _refuse(f"{name} {value}", f"{low} to {high} are allowed")


def _refuse(what: str, hint: str) -> None:
    raise MisuseError(f"spanning tree: {what}", hint=hint)


def bridge_identifier(priority: int, mac: Mac) -> int:
    """Section 9.2.5: the priority in the upper 16 bits (the extension is 0), the address below."""
    return priority << 48 | int.from_bytes(mac, "big")


def bridge_address(identifier: int) -> int:
    """The 48 bits that name a bridge whatever its priority."""
    return identifier & _ADDRESS_MASK


def format_bridge(identifier: int) -> str:
    """`8000.025a00000001`, as Linux writes it."""
    return f"{identifier >> 48:04x}.{bridge_address(identifier):012x}"


def port_identifier(index: int) -> int:
    """Section 9.2.7: the default priority and a number from 1."""
    return (DEFAULT_PORT_PRIORITY >> 4) << 12 | index + 1


def format_port(identifier: int) -> str:
    """`8001`, as Linux writes it."""
    return f"{identifier:04x}"


def message_vector(message: Bpdu) -> PriorityVector:
    return PriorityVector(message.root, message.path_cost, message.bridge, message.port)


def message_times(message: Bpdu) -> Times:
    return Times(
        from_time(message.message_age),
        from_time(message.max_age),
        max(from_time(message.hello_time), MINIMUM_HELLO),
        from_time(message.forward_delay),
    )


def is_superior(message: PriorityVector, held: PriorityVector) -> bool:
    """Section 17.6: better, or from the same port of the same bridge, whose newest word always counts."""
    same_sender = bridge_address(message.bridge) == bridge_address(held.bridge) and message.port == held.port
    return message < held or same_sender


def one_hop_older(age: int) -> int:
    """Section 17.21.25: message age grows by a second per bridge, and is a whole number of seconds. With max age it
    bounds the diameter of a network, so that stale information dies out."""
    return (age + SECOND + SECOND // 2) // SECOND * SECOND
