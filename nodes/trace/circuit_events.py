"""What happens to virtual circuits, beside `nodes.trace.events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from nodes.wire.addresses import Mac


@dataclass(frozen=True, slots=True)
class CircuitUpdated:
    """A circuit on one link of the node, where its label is `vci`. States: none, calling (the node asked its neighbor
    for it), called (its neighbor did), open, clearing."""

    category: ClassVar[str] = "network"
    interface: str
    vci: int
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class CircuitNeighborUpdated:
    """`old` and `new` are `up` or `down`; `trigger` is hello, silence, carrier, or restart."""

    category: ClassVar[str] = "network"
    interface: str
    mac: Mac
    old: str
    new: str
    trigger: str


CircuitEvent: TypeAlias = CircuitUpdated | CircuitNeighborUpdated
