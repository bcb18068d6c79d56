"""TIME_WAIT: what is left of a connection that we closed first (RFC 9293 section 3.6, MUST-13).

For twice the maximum segment lifetime the record answers for the connection: the peer's FIN, when our last
acknowledgment was lost, is acknowledged again and the time begins anew; any other segment that is not acceptable is
told where we were. It keeps no buffers and no timers, only numbers: a busy client has thousands.

A SYN that is certainly newer may open the ports again before the time is over: one whose timestamp is later than the
last that came, or, without timestamps, whose sequence number is beyond all that came (RFC 6191 section 2, RFC 1122
section 4.2.2.13, MAY-2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.transport.tcp.sequence import unwrap, wrap
from nodes.transport.tcp.states import State, Trigger
from nodes.wire import tcp, tcp_options
from nodes.wire.tcp import Segment

if TYPE_CHECKING:
    from nodes.transport.tcp.connection import Connection
    from nodes.transport.tcp.services import Key

_MASK = 0xFFFF_FFFF
_HALF = 1 << 31


class TimeWait:
    """`scheduled` belongs to the timer queue. `expires` is in nanoseconds."""

    __slots__ = (
        "expires",
        "key",
        "lifetime",
        "rcv_nxt",
        "scheduled",
        "snd_nxt",
        "timestamp_offset",
        "timestamps",
        "traffic_class",
        "ts_recent",
        "ttl",
        "window",
    )

    state = State.TIME_WAIT

    def __init__(self, c: Connection, lifetime: int, now: int) -> None:
        self.key: Key = c.key
        self.lifetime = lifetime
        self.expires = now + lifetime
        self.scheduled: int | None = None
        self.snd_nxt = c.snd_nxt
        self.rcv_nxt = c.rcv_nxt
        self.window = min((c.window.edge - c.rcv_nxt) >> c.window.shift, 0xFFFF) if c.window.edge > c.rcv_nxt else 0
        self.timestamps = c.timestamps
        self.timestamp_offset = c.timestamp_offset
        self.ts_recent = c.ts_recent
        self.ttl = c.options.ttl
        self.traffic_class = c.options.traffic_class

    def is_newer(self, segment: Segment) -> bool:
        """Whether a SYN may open the ports again."""
        if segment.flags & (tcp.SYN | tcp.RST | tcp.ACK | tcp.FIN) != tcp.SYN:
            return False
        timestamp = segment.options.timestamp
        if self.timestamps and timestamp is not None:
            later = (timestamp[0] - self.ts_recent) & _MASK
            if later:
                return later < _HALF
        return unwrap(segment.sequence, self.rcv_nxt) > self.rcv_nxt

    def receive(self, segment: Segment, now: int) -> Trigger | bool:
        """RESET_RECEIVED where the record is to be forgotten; else whether the segment is to be acknowledged: all that
        is not acceptable, and the peer's FIN, which comes again where our acknowledgment was lost."""
        flags = segment.flags
        sequence = unwrap(segment.sequence, self.rcv_nxt)
        end = sequence + len(segment.payload) + bool(flags & tcp.FIN) + bool(flags & tcp.SYN)
        edge = self.rcv_nxt + self.window
        if flags & tcp.RST:
            if sequence == self.rcv_nxt:
                return Trigger.RESET_RECEIVED
            return self.rcv_nxt < sequence < edge  # a challenge (RFC 5961 section 3.2)
        timestamp = segment.options.timestamp
        if self.timestamps and timestamp is not None and (timestamp[0] - self.ts_recent) & _MASK >= _HALF:
            return True  # PAWS
        if flags & tcp.FIN and flags & tcp.ACK and end == self.rcv_nxt:
            self.expires = now + self.lifetime
            return Trigger.FIN_RECEIVED
        inside = self.rcv_nxt <= sequence <= edge if sequence == end else self.rcv_nxt < end and sequence < edge
        if flags & tcp.SYN or not inside:
            return True
        beyond = unwrap(segment.acknowledgment, self.snd_nxt) > self.snd_nxt
        return bool(flags & tcp.ACK) and (end > sequence or beyond)

    def acknowledgment(self, clock: int) -> bytes:
        """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>; `clock` is the timestamp clock without offset."""
        key = self.key
        options = b""
        if self.timestamps:
            options = tcp_options.build(((clock + self.timestamp_offset) & _MASK, self.ts_recent))
        return tcp.build(
            key.local,
            key.remote,
            key.local_port,
            key.remote_port,
            wrap(self.snd_nxt),
            wrap(self.rcv_nxt),
            tcp.ACK,
            self.window,
            options=options,
        )
