"""What a simulated network is made of, and what its parts expect of the rest.

A `Wire` is the plan of a link; what a node is made of is its `NodeConfig`, as in every other kind of lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from nodes.errors import MisuseError
from nodes.impairment import LinkImpairment
from nodes.network.fragmentation import MINIMUM_MTU
from nodes.trace.events import NullTracer, Tracer
from nodes.units import MICROSECOND

HOP = 10 * MICROSECOND
"""What every link takes for every frame (ns), beside what it is asked to do: about as much as a veth pair and the
wake-ups at its ends. If a frame took no time, those that circle in a loop of switches would stop time for ever; so
would a node that talks to itself, whose sockets hear what it sends after as long."""

FRAMES_PER_TURN = 64
"""Frames that a node takes from a wire before its programs have their turn, as an agent does in one wake-up: sockets
are not flooded faster than there."""

PAUSED_OCTETS = 4 << 20
"""Frames that wait at a port of a node that is paused: what the receive buffer of a packet socket holds."""

FRAME_CHARGE = 256
"""Octets that a frame costs there beside its own."""

End: TypeAlias = tuple[str, str]
"""A node's name and its interface's."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A link between two interfaces. `seeds` (64 bits each) are of its directions ab and ba, `mtu` counts octets of IP
    packet, `least_mtu` is what it may be changed to. `impairment` None: it only carries."""

    name: str
    a: End
    b: End
    mtu: int = 1500
    up: bool = True
    impairment: LinkImpairment | None = None
    seeds: tuple[int, int] = (0, 0)
    least_mtu: int = MINIMUM_MTU


class NodeRecorder(Protocol):
    """What a node leaves behind; `nodes.io.recorder.Recorder` is one."""

    @property
    def trace(self) -> Tracer: ...

    @property
    def capturing(self) -> bool: ...

    def start_capture(self) -> object:
        """Returns the path of the new file."""
        ...

    def stop_capture(self, statistics: list[tuple[int, int]]) -> dict[str, object]: ...

    def frame(self, port: int, frame: bytes, now: int, *, inbound: bool) -> None:
        """Called only while `capturing`."""
        ...

    def status(self) -> dict[str, object]: ...

    def write_state(self, state: dict[str, object]) -> str | None: ...

    def close(self, now: int, statistics: list[tuple[int, int]]) -> None:
        """`statistics` are (received, dropped) frames of each interface."""
        ...


class QuietRecorder:
    """Keeps nothing but what its tracer keeps: for tests, and for networks that nobody looks at."""

    capturing = False

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.trace: Tracer = tracer if tracer is not None else NullTracer()

    def start_capture(self) -> object:
        raise MisuseError("this node records nothing, so it has nowhere to capture to")

    def stop_capture(self, statistics: list[tuple[int, int]]) -> dict[str, object]:  # noqa: ARG002
        raise MisuseError("no capture is running")

    def frame(self, port: int, frame: bytes, now: int, *, inbound: bool) -> None:
        pass

    def status(self) -> dict[str, object]:
        return {}

    def write_state(self, state: dict[str, object]) -> str | None:  # noqa: ARG002
        return None

    def close(self, now: int, statistics: list[tuple[int, int]]) -> None:
        pass
