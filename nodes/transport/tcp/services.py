"""What a connection asks of those around it: its name, its socket, its listener, its layer."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nodes.trace.events import Tracer
from nodes.transport.tcp.counters import TcpCounters
from nodes.transport.tcp.settings import TcpSettings
from nodes.wire.addresses import Ip4, format_endpoint
from nodes.wire.tcp import Segment

if TYPE_CHECKING:
    from nodes.transport.tcp.connection import Connection


class Key(NamedTuple):
    """The two sockets that name a connection, ours first."""

    local: Ip4
    local_port: int
    remote: Ip4
    remote_port: int

    def __str__(self) -> str:
        return f"{self.local_name} {self.remote_name}"

    @property
    def local_name(self) -> str:
        """`10.0.0.1:80`"""
        return format_endpoint(self.local, self.local_port)

    @property
    def remote_name(self) -> str:
        return format_endpoint(self.remote, self.remote_port)


class Owner(Protocol):
    """The socket of a connection: rung when there is something to read, room to write, or an end."""

    def wake(self) -> None: ...


class Origin(Protocol):
    """The listener of a passive connection."""

    def opened(self, connection: Connection, now: int) -> None:
        """The handshake is complete."""
        ...

    def failed(self, connection: Connection, now: int) -> None:
        """The connection ended before its handshake was complete, or before anybody accepted it."""
        ...

    def has_room(self) -> bool:
        """Whether one more connection may wait to be accepted."""
        ...


class Memory(Protocol):
    """The budget of the node (`memory`)."""

    @property
    def refusing(self) -> bool:
        """Not even all that was promised can be taken."""
        ...


class Layer(Protocol):
    """What a connection asks of the layer around it; `nodes.transport.tcp.layer.TcpLayer` has it."""

    settings: TcpSettings
    counters: TcpCounters
    trace: Tracer
    random: Random

    @property
    def memory(self) -> Memory: ...

    def mark(self, connection: Connection) -> None:
        """Let the output of this connection run at the next flush."""
        ...

    def forget(self, connection: Connection, now: int) -> None: ...

    def enter_time_wait(self, connection: Connection, now: int) -> None: ...

    def allow_challenge(self, now: int) -> bool:
        """RFC 5961 section 7: whether one more unasked acknowledgment may leave."""
        ...

    def answer_reset(self, key: Key, sequence: int, now: int) -> None:
        """<SEQ=sequence><CTL=RST>."""
        ...

    def dropped(self, key: Key, segment: Segment, reason: str, now: int) -> None:
        """Count and trace a segment that was not taken."""
        ...

    def link_mtu(self, destination: Ip4) -> int: ...

    def path_mtu(self, destination: Ip4, now: int) -> int:
        """Of what may be sent now; the link's where there is no route any more."""
        ...

    def offload_for(self, destination: Ip4) -> bool:
        """Whether the link cuts segments and computes checksums."""
        ...

    def transmit(self, connection: Connection, segment: bytes, now: int, *, ect: bool, segment_size: int) -> None:
        """What the internet layer cannot take is lost, like any segment."""
        ...
