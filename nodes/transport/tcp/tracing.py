"""What TCP has to tell, as events: of segments, and of a connection's recovery."""

from __future__ import annotations

from nodes.network.datagram import Datagram
from nodes.trace.tcp_events import (
    CongestionStateUpdated,
    RecoveryMetricsUpdated,
    SegmentDropped,
    SegmentLost,
    SegmentReceived,
    SegmentSent,
)
from nodes.transport.tcp.congestion.base import INFINITE
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.sequence import wrap
from nodes.transport.tcp.services import Key
from nodes.wire import tcp
from nodes.wire.addresses import Ip4
from nodes.wire.tcp import Segment


class ConnectionTrace:
    """Fulfils `recovery.RecoveryTrace`."""

    __slots__ = ("_connection", "packets")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.packets = connection.layer.trace.packets

    def lost(self, sequence: int, length: int, trigger: str, now: int) -> None:
        c = self._connection
        c.layer.trace(now, SegmentLost(c.name, wrap(sequence), length, trigger))

    def state(self, old: str, new: str, trigger: str, now: int) -> None:
        c = self._connection
        c.layer.trace(now, CongestionStateUpdated(c.name, old, new, trigger))

    def metrics(self, trigger: str, now: int) -> None:
        c = self._connection
        if c.congestion is None or c.recovery is None:
            return
        ssthresh = c.congestion.ssthresh
        rtt = c.rtt
        c.layer.trace(
            now,
            RecoveryMetricsUpdated(
                c.name,
                c.congestion.cwnd,
                None if ssthresh >= INFINITE else ssthresh,
                c.recovery.in_flight,
                rtt.srtt,
                rtt.rttvar,
                rtt.min_rtt,
                rtt.timeout,
                trigger,
            ),
        )


def received(segment: Segment, source: Ip4, destination: Ip4, shift: int) -> SegmentReceived:
    """`shift`: of the peer's window scale; the window is told in octets, as that of a segment that was sent."""
    return SegmentReceived(
        source,
        segment.source_port,
        destination,
        segment.destination_port,
        tcp.flag_text(segment.flags),
        segment.sequence,
        segment.acknowledgment,
        len(segment.payload),
        segment.window << shift,
    )


def sent_bare(key: Key, segment: bytes, trigger: str) -> SegmentSent:
    """Of a segment that no connection stands behind."""
    _, _, sequence, acknowledgment, _, flags, window, _, _ = tcp.HEADER.unpack_from(segment)
    local, remote = (key.local, key.local_port), (key.remote, key.remote_port)
    return SegmentSent(*local, *remote, tcp.flag_text(flags), sequence, acknowledgment, 0, window, trigger)


def dropped(key: Key, segment: Segment, reason: str) -> SegmentDropped:
    flags, length = tcp.flag_text(segment.flags), len(segment.payload)
    return SegmentDropped(
        key.remote, key.remote_port, key.local, key.local_port, flags, segment.sequence, length, reason
    )


def malformed(datagram: Datagram, reason: str) -> SegmentDropped:
    """What can be told of octets that are no segment."""
    header, payload = datagram.header, datagram.payload
    source_port = destination_port = sequence = 0
    if len(payload) >= tcp.HEADER_LENGTH:
        source_port, destination_port, sequence, *_ = tcp.HEADER.unpack_from(payload)
    length = len(payload)
    return SegmentDropped(
        header.source, source_port, header.destination, destination_port, "none", sequence, length, reason
    )
