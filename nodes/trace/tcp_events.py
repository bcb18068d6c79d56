"""What can happen in TCP, beside `nodes.trace.events`: states, segments, losses, recovery, timers, each with its cause.

Sequence and acknowledgment numbers are those on the wire (modulo 2^32). Lengths and windows are octets, after scaling;
times are nanoseconds. Names follow qlog's for QUIC recovery (draft-ietf-quic-qlog-quic-events, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from nodes.wire.addresses import Ip4


@dataclass(frozen=True, slots=True)
class ConnectionStateUpdated:
    """`old` and `new` are states of RFC 9293 section 3.3.2, with underscores: `syn_sent`, `time_wait`."""

    category: ClassVar[str] = "transport"
    local: str
    remote: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class SegmentSent:
    """`trigger`: data, ack, handshake, fin, retransmission, probe, window_update, reset, keep_alive ..."""

    category: ClassVar[str] = "transport"
    packets: ClassVar[bool] = True
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    flags: str
    sequence: int
    acknowledgment: int
    length: int
    window: int
    trigger: str


@dataclass(frozen=True, slots=True)
class SegmentReceived:
    """`window` in octets, as of those that are sent: scaled where the connection is known."""

    category: ClassVar[str] = "transport"
    packets: ClassVar[bool] = True
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    flags: str
    sequence: int
    acknowledgment: int
    length: int
    window: int


@dataclass(frozen=True, slots=True)
class SegmentDropped:
    """A segment that was not taken, and the rule it broke."""

    category: ClassVar[str] = "transport"
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    flags: str
    sequence: int
    length: int
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentLost:
    """The sender concluded that a segment is lost; `trigger` says by which rule: duplicate_acks, sack, rack, timeout,
    too_big."""

    category: ClassVar[str] = "recovery"
    connection: str
    sequence: int
    length: int
    trigger: str


@dataclass(frozen=True, slots=True)
class CongestionStateUpdated:
    """States: open, disorder, recovery, loss, cwr. `spurious` undoings go back to open with that trigger."""

    category: ClassVar[str] = "recovery"
    connection: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class RecoveryMetricsUpdated:
    """Octets and nanoseconds. `ssthresh` is None while it was never set."""

    category: ClassVar[str] = "recovery"
    connection: str
    cwnd: int
    ssthresh: int | None
    in_flight: int
    srtt: int | None
    rttvar: int | None
    min_rtt: int | None
    rto: int
    trigger: str


@dataclass(frozen=True, slots=True)
class TimerUpdated:
    """A timer expired. `timer` is one of: syn, retransmit, probe, reorder, persist, override, keep_alive, fin_wait_2,
    user_timeout, linger, pacing. `old` is running, `new` expired, `trigger` is the connection's state after it."""

    category: ClassVar[str] = "recovery"
    connection: str
    timer: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class ListenerUpdated:
    """A listening socket's queues changed their regime: `accepting`, `syn_cookies`, `backlog_full`."""

    category: ClassVar[str] = "transport"
    local: str
    old: str
    new: str
    trigger: str


TcpEvent: TypeAlias = (
    ConnectionStateUpdated
    | SegmentSent
    | SegmentReceived
    | SegmentDropped
    | SegmentLost
    | CongestionStateUpdated
    | RecoveryMetricsUpdated
    | TimerUpdated
    | ListenerUpdated
)
