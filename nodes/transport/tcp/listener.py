"""A socket that listens: half-open connections, the queue of finished ones, and SYN cookies (RFC 9293 section
3.10.7.2, RFC 4987).

          SYN                        ACK                          accept
    ────────────▶ half open ────────────────▶ waiting to be ─────────────▶ the program
         │        (SYN_RCVD)                  accepted (backlog)
         └ too many: a cookie instead ──── ACK that brings it back ──▲

The backlog bounds what waits for the program. When it is full, the acknowledgment that would complete a handshake is
dropped, and so is a new SYN: the peer tries again, and finds room or gives up; nobody is reset (B-API-2).
The half-open are bounded by `TcpSettings.maximum_half_open`; beyond it no SYN costs memory: the answer carries a
cookie (`cookies.py`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from nodes.trace.tcp_events import ListenerUpdated
from nodes.transport.tcp import arrival, opening, output
from nodes.transport.tcp.connection import DEFAULT_MSS, Connection
from nodes.transport.tcp.cookies import decode_timestamp, encode_timestamp
from nodes.transport.tcp.receive_window import scale_for
from nodes.transport.tcp.services import Key
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.states import State, Trigger
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp, tcp_options
from nodes.wire.addresses import Ip4, format_endpoint
from nodes.wire.tcp import Segment

if TYPE_CHECKING:
    from nodes.transport.tcp.layer import TcpLayer
    from nodes.transport.tcp.services import Owner

COOKIE_LIFETIME = 128 * SECOND
"""How long after the last cookie an acknowledgment may bring one back: see `cookies`."""

_MASK = 0xFFFF_FFFF


class Listener:
    """`address` 0.0.0.0 listens on all. `owner` is rung when a connection can be accepted."""

    def __init__(
        self, layer: TcpLayer, owner: Owner, address: Ip4, port: int, backlog: int, options: SocketOptions
    ) -> None:
        self.address = address
        self.port = port
        self.backlog = backlog
        self._layer = layer
        self.owner = owner
        self._options = options
        self._half_open: dict[Key, Connection] = {}
        self._waiting: deque[Connection] = deque()
        self._regime = "accepting"
        self._last_cookie: int | None = None
        self.overflows = 0

    # ---------------------------------------------------------------------------------------- for the layer: arrivals

    def receive(self, segment: Segment, key: Key, now: int, *, beyond: int | None = None) -> None:
        """A segment for no connection: RFC 9293 section 3.10.7.2. `beyond`: the last number of the connection in
        TIME_WAIT that a SYN ended; ours begin after it (RFC 1122 section 4.2.2.13)."""
        flags = segment.flags
        if flags & tcp.RST:
            return
        if flags & tcp.ACK:
            if not self._take_cookie(segment, key, now):
                self._layer.answer_reset(key, segment.acknowledgment, now)
        elif flags & tcp.SYN and not flags & tcp.FIN:
            self._take_syn(segment, key, now, beyond)
        else:
            self._layer.dropped(key, segment, "no_syn", now)

    def _take_syn(self, segment: Segment, key: Key, now: int, beyond: int | None) -> None:
        settings = self._layer.settings
        if not self.has_room():
            self.overflows += 1
            self._layer.counters.listen_overflows += 1
            self._layer.dropped(key, segment, "backlog_full", now)
            self._change("backlog_full", "syn", now)
        elif len(self._half_open) < settings.maximum_half_open and self._layer.has_room():
            self._change("accepting", "room", now)
            iss = self._layer.next_iss(key, beyond, now)
            connection = self._layer.create(key, SocketOptions.copy(self._options), now, iss=iss)
            connection.listener = self
            self._half_open[key] = connection
            opening.receive_syn(connection, segment, now)
        elif settings.syn_cookies:
            self._change("syn_cookies", "half_open_full", now)
            self._send_cookie(segment, key, now)
        else:
            self._layer.dropped(key, segment, "half_open_full", now)

    def has_room(self) -> bool:
        return len(self._waiting) < self.backlog

    def _change(self, regime: str, trigger: str, now: int) -> None:
        if regime != self._regime:
            old, self._regime = self._regime, regime
            self._layer.trace(now, ListenerUpdated(format_endpoint(self.address, self.port), old, regime, trigger))

    # -------------------------------------------------------------------------------------- for connections: `Origin`

    def opened(self, connection: Connection, now: int) -> None:  # noqa: ARG002 (the surface of an origin)
        del self._half_open[connection.key]
        self._waiting.append(connection)
        self.owner.wake()

    def failed(self, connection: Connection, now: int) -> None:  # noqa: ARG002
        if self._half_open.get(connection.key) is connection:
            del self._half_open[connection.key]
        elif connection in self._waiting and not connection.receive_buffer.available:
            self._waiting.remove(connection)

    # ------------------------------------------------------------------------------------------------- for the socket

    @property
    def ready(self) -> int:
        """How many connections wait to be accepted."""
        return len(self._waiting)

    @property
    def half_open(self) -> int:
        return len(self._half_open)

    def accept(self) -> Connection | None:
        return self._waiting.popleft() if self._waiting else None

    def close(self, now: int) -> None:
        """Connections that nobody accepted are reset (B-API-3)."""
        from_here = [*self._half_open.values(), *self._waiting]
        self._half_open.clear()
        self._waiting.clear()
        for connection in from_here:
            connection.listener = None
            if connection.state is not State.CLOSED:
                output.send_reset(connection, now)
                connection.end(Trigger.ABORT, None, now)

    # ---------------------------------------------------------------------------------------------------- SYN cookies

    def _send_cookie(self, segment: Segment, key: Key, now: int) -> None:
        """A SYN,ACK that leaves nothing behind."""
        layer, options = self._layer, segment.options
        settings = layer.settings
        mss = DEFAULT_MSS if options.mss is None else options.mss
        iss = layer.cookies.make(key, segment.sequence, mss, now)
        stamped = settings.timestamps and options.timestamp is not None
        sack = stamped and settings.sack and options.sack_permitted
        ecn = stamped and settings.ecn and opening.asks_for_ecn(segment.flags)
        shift = options.window_scale if stamped and settings.window_scale else None
        timestamp = None
        if stamped and options.timestamp is not None:
            clock = now // MILLISECOND + layer.sequences.timestamp_offset(*key) & _MASK
            peer_shift = None if shift is None else min(shift, opening.MAXIMUM_SHIFT)
            timestamp = (encode_timestamp(clock, peer_shift, sack, ecn), options.timestamp[0])
        scale = None if shift is None else scale_for(self._options.receive_limit)
        ours = opening.announced_mss(layer, key.remote, self._options)
        answer = tcp.build(
            key.local,
            key.remote,
            key.local_port,
            key.remote_port,
            iss,
            (segment.sequence + 1) & _MASK,
            tcp.SYN | tcp.ACK | (tcp.ECE if ecn else 0),
            min(self._options.receive_limit, 0xFFFF),
            options=tcp_options.build_syn(ours, scale, sack, timestamp),
        )
        self._last_cookie = now
        layer.counters.syn_cookies_sent += 1
        layer.send_bare(key, answer, "handshake", now)

    def _take_cookie(self, segment: Segment, key: Key, now: int) -> bool:
        """Whether an acknowledgment was of a SYN of ours that we forgot. It opens the connection then."""
        layer = self._layer
        if self._last_cookie is None or now - self._last_cookie > COOKIE_LIFETIME or segment.flags & tcp.SYN:
            return False
        iss, irs = (segment.acknowledgment - 1) & _MASK, (segment.sequence - 1) & _MASK
        mss = layer.cookies.check(key, irs, iss, now)
        if mss is None:
            layer.counters.syn_cookies_failed += 1
            return False
        if not self.has_room() or not layer.has_room():
            layer.counters.listen_overflows += 1
            return True  # valid, but there is no room: it may come again with data
        layer.counters.syn_cookies_accepted += 1
        connection = layer.create(key, SocketOptions.copy(self._options), now, iss=iss)
        connection.listener = self
        self._half_open[key] = connection
        timestamp = segment.options.timestamp
        told = decode_timestamp(timestamp[1]) if timestamp is not None else None
        syn = segment._replace(
            sequence=irs,
            flags=tcp.SYN | (tcp.ECE | tcp.CWR if told is not None and told.ecn else 0),
            options=segment.options._replace(
                mss=mss,
                window_scale=told.window_scale if told is not None else None,
                sack_permitted=told is not None and told.sack,
                sack=(),
            ),
        )
        opening.restore(connection, syn, now)
        arrival.receive(connection, segment, False, now)
        return True
