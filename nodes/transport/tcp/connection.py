"""One connection: the transmission control block of RFC 9293 section 3.3.1, and the units that work for it.

       arrival            output               the clock
          │                 ▲                      │
          ▼                 │                      ▼
    ┌ Connection ──────────────────────────────────────────────┐
    │ numbers     SND.UNA SND.NXT SND.WND ... RCV.NXT ...      │
    │ units       send buffer   receive buffer   window        │
    │             recovery ── congestion ── rtt   acks  timers │
    └──────────────────────────────────────────────────────────┘
      arrival.py  what an incoming segment does    output.py   what leaves, and when
      opening.py  handshakes and their options     closing.py  the ways to end
      probing.py  zero windows, idle peers         expiry.py   what timers do

The connection itself decides nothing: it holds the numbers, under the names of the RFC, and the modules above are the
functions that move them. An input marks it as pending; when the layer flushes, after all waiting segments were taken
(RFC 9293 MUST-59), the output runs once.

Sequence numbers never wrap in here (`sequence.py`). A connection in TIME_WAIT becomes a small record of its own
(`time_wait.py`).
"""

from __future__ import annotations

import errno

from nodes.errors import DisconnectedError, StackError
from nodes.trace.tcp_events import ConnectionStateUpdated
from nodes.transport.tcp.acknowledgment import AckPolicy
from nodes.transport.tcp.congestion.base import CongestionControl
from nodes.transport.tcp.receive_buffer import ReceiveBuffer
from nodes.transport.tcp.receive_window import ReceiveWindow, granted
from nodes.transport.tcp.recovery import LossRecovery
from nodes.transport.tcp.rtt import RttEstimator
from nodes.transport.tcp.send_buffer import SendBuffer
from nodes.transport.tcp.services import Key, Layer, Origin, Owner
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.states import State, Trigger, next_state
from nodes.transport.tcp.timers import Timers
from nodes.units import MILLISECOND, SECOND

DEFAULT_MSS = 536
"""What a peer takes that did not say (RFC 9293 MUST-15)."""


SHORTEST_USER_TIMEOUT = 100 * SECOND
LONGEST_USER_TIMEOUT = 3600 * SECOND
"""L_LIMIT and U_LIMIT of RFC 5482 section 3.1: what a peer can bring us to."""


class Connection:
    """State of one connection. `iss` is the initial send sequence number, `listener` where a passive one came from."""

    __slots__ = (
        "acks",
        "cancelled",
        "ceiling_until",
        "congestion",
        "ecn",
        "ect",
        "error",
        "fin_is_newest",
        "fin_sequence",
        "held",
        "irs",
        "iss",
        "keepalive_sent",
        "key",
        "last_ack_sent",
        "last_received",
        "last_sent",
        "layer",
        "listener",
        "mss",
        "mss_ceiling",
        "offload",
        "opened_at",
        "options",
        "owner",
        "pace_at",
        "path_mtu",
        "peer_fin",
        "peer_mss",
        "peer_user_timeout",
        "pending",
        "probe_answered_at",
        "probe_end",
        "probes",
        "probing_since",
        "rcv_shift",
        "rcv_up",
        "receive_buffer",
        "recovery",
        "rtt",
        "sack",
        "scaled",
        "scheduled",
        "segments_in",
        "segments_out",
        "send_buffer",
        "small_until",
        "snd_max_wnd",
        "snd_nxt",
        "snd_shift",
        "snd_una",
        "snd_up",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "soft_error",
        "state",
        "suspicions",
        "syn_retransmissions",
        "syn_sent_at",
        "timers",
        "timestamp_offset",
        "timestamps",
        "ts_recent",
        "ts_recent_at",
        "wants_room",
        "window",
    )

    recovery: LossRecovery | None
    congestion: CongestionControl | None
    receive_buffer: ReceiveBuffer
    window: ReceiveWindow
    acks: AckPolicy

    def __init__(self, layer: Layer, key: Key, options: SocketOptions, iss: int, offset: int, now: int) -> None:
        self.layer = layer
        self.key = key
        self.options = options
        self.owner: Owner | None = None
        self.listener: Origin | None = None
        self.state = State.CLOSED
        self.error: StackError | None = None
        self.soft_error: StackError | None = None
        self.cancelled = False
        """Nobody will read any more: `close` was called. Data that still comes is refused."""
        self.pending = False
        self.held = 0
        """Octets of the node's memory that are counted as ours (`memory`)."""
        self.scheduled: int | None = None
        self.opened_at = now
        self.segments_in = self.segments_out = 0
        self._begin_sending(iss)
        self._begin_receiving(now)
        self._begin_path(offset, now)

    def _begin_sending(self, iss: int) -> None:
        self.iss = iss
        self.snd_una = iss
        self.snd_nxt = iss
        self.snd_wnd = 0
        self.snd_max_wnd = 0
        self.snd_wl1 = self.snd_wl2 = 0
        self.snd_up: int | None = None
        self.snd_shift = 0
        self.small_until = iss
        """Behind the last segment that was not full."""
        self.fin_sequence: int | None = None
        """The number of our FIN, once nothing more may be written."""
        self.send_buffer = SendBuffer(iss + 1, self.options.send_limit)
        self.wants_room = False
        self.probes = 0
        self.probing_since = 0
        self.probe_end: int | None = None
        self.probe_answered_at = -1 << 62
        self.keepalive_sent = 0
        self.pace_at = 0

    def _begin_receiving(self, now: int) -> None:
        self.irs = 0
        self.rcv_shift = 0
        self.rcv_up: int | None = None
        self.peer_fin: int | None = None
        self.fin_is_newest = False
        """The FIN is out of order, and nothing else that is came after it."""
        """The number of the peer's FIN, from its arrival on."""
        self.last_ack_sent = 0
        self.last_received = now
        self.last_sent = now

    def _begin_path(self, offset: int, now: int) -> None:
        settings = self.layer.settings
        self.peer_mss = DEFAULT_MSS
        self.peer_user_timeout: int | None = None
        self.path_mtu = 0
        self.mss_ceiling = 0
        """What a black hole lets through (RFC 4821), 0 while there is none."""
        self.suspicions = self.ceiling_until = 0
        self.mss = DEFAULT_MSS
        """The largest payload of a segment without SACK blocks: the effective send MSS (RFC 9293 section 3.7.1)."""
        self.offload = False
        self.scaled = settings.window_scale
        self.timestamps = settings.timestamps
        self.sack = settings.sack
        self.ecn = settings.ecn
        self.ect = True
        """False where a SYN went without ECN: marks are still answered, but we ask for none (RFC 3168 6.1.1)."""
        self.timestamp_offset = offset
        self.ts_recent = 0
        self.ts_recent_at = now

        self.rtt = RttEstimator(
            settings.initial_rto, settings.minimum_rto, settings.maximum_rto, settings.clock_granularity
        )
        self.timers = Timers()
        self.recovery = None
        self.congestion = None
        self.syn_sent_at: int | None = now
        self.syn_retransmissions = 0

    # ------------------------------------------------------------------------------------------------------- states

    @property
    def name(self) -> str:
        return str(self.key)

    def move(self, trigger: Trigger, now: int) -> None:
        """Take the edge of the state table that `trigger` names."""
        self.become(next_state(self.state, trigger), trigger.value, now)

    def become(self, new: State, trigger: str, now: int) -> None:
        old, self.state = self.state, new
        key = self.key
        self.layer.trace(
            now,
            ConnectionStateUpdated(key.local_name, key.remote_name, old.value, new.value, trigger),
        )

    def end(self, trigger: Trigger, error: StackError | None, now: int) -> None:
        """The connection is over: no number of it counts any more."""
        if self.state is State.CLOSED:
            return
        passive_opening = self.state is State.SYN_RCVD and self.listener is not None
        if self.error is None:
            self.error = error
        if error is not None:
            self.send_buffer.release(self.send_buffer.end)
        self.become(State.CLOSED, trigger.value, now)
        self.layer.forget(self, now)
        if self.listener is not None and (passive_opening or self.owner is None):
            self.listener.failed(self, now)
        self.wake()

    def lost(self, number: int, message: str, trigger: Trigger, now: int) -> None:
        """As `end`, with a DisconnectedError of this errno for the program."""
        self.end(trigger, DisconnectedError(f"{self.key.remote_name}: {message}", errno=number), now)

    def wake(self) -> None:
        if self.owner is not None:
            self.owner.wake()

    # ------------------------------------------------------------------------------------------------------- numbers

    @property
    def rcv_nxt(self) -> int:
        return self.receive_buffer.rcv_nxt

    @property
    def data_end(self) -> int:
        """Behind the last octet that is to be sent, our FIN included."""
        return self.send_buffer.end + (self.fin_sequence is not None)

    @property
    def fin_acknowledged(self) -> bool:
        return self.fin_sequence is not None and self.snd_una > self.fin_sequence

    @property
    def octets_read(self) -> int:
        """By the program, so far."""
        return self.receive_buffer.position - self.irs - 1

    @property
    def at_end(self) -> bool:
        """The peer's FIN was reached: nothing more will arrive."""
        return self.peer_fin is not None and self.receive_buffer.rcv_nxt > self.peer_fin

    @property
    def user_timeout(self) -> int:
        """How long an answer may be missing (ns)."""
        own = self.layer.settings.r2 if self.options.user_timeout is None else self.options.user_timeout
        if self.peer_user_timeout is None or not self.options.exchange_user_timeout:
            return own
        wanted = max(own, self.peer_user_timeout, SHORTEST_USER_TIMEOUT)
        return min(wanted, LONGEST_USER_TIMEOUT)

    def receive_capacity(self, read: int) -> int:
        """What may wait for a program that has read so many octets."""
        limit = self.options.receive_limit
        return granted(limit, read) if self.options.receive_grows else limit

    def clock(self, now: int) -> int:
        """Our timestamp: milliseconds, with an offset that no other connection has (RFC 7323 section 5.4)."""
        return (now // MILLISECOND + self.timestamp_offset) & 0xFFFF_FFFF

    # -------------------------------------------------------------------------------------------------------- wishes

    def mark(self) -> None:
        if not self.pending:
            self.pending = True
            self.layer.mark(self)

    def acknowledge_now(self) -> None:
        self.acks.now_needed = True
        self.mark()

    @property
    def fin_waits(self) -> bool:
        """The peer's FIN is here, and something before it is missing."""
        return self.peer_fin is not None and not self.receive_buffer.finished

    def challenge(self, now: int) -> None:
        """Tell the peer where we are, unless too many were told (RFC 5961 sections 3.2, 4.2, 5.2 and 7)."""
        if self.layer.allow_challenge(now):
            self.layer.counters.challenge_acks += 1
            self.acknowledge_now()
        else:
            self.layer.counters.challenge_acks_suppressed += 1

    def deadline(self) -> int | None:
        """When `expiry.run` is wanted next."""
        earliest = self.timers.earliest
        if self.recovery is not None:
            for other in (self.recovery.deadline(), self.acks.deadline):
                if other is not None and (earliest is None or other < earliest):
                    earliest = other
        return earliest

    def refuse_data(self, now: int) -> None:
        """Data came for a program that has closed: it is told that nobody will read it (RFC 9293 section 3.6.1)."""
        self.lost(errno.ECONNRESET, "data came after close", Trigger.ABORT, now)
