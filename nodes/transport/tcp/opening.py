"""How a connection opens (RFC 9293 section 3.5), and what the two sides agree on while it does.

    active                                             passive
    connect: SYN  ───────────────────────────────▶  accept: SYN,ACK
             establish ◀───────────────────────────
             ACK  ───────────────────────────────▶  establish

What is agreed in the SYNs, and only there:

    MSS               the largest payload that each takes; 536 where nothing is said (MUST-15)
    window scale      only if both say it; windows in SYNs are never scaled (RFC 7323 section 2.2)
    timestamps        only if both say it (RFC 7323 section 3.2)
    SACK permitted    only if both say it (RFC 2018 section 2)
    ECN               SYN with ECE and CWR, answered with ECE alone (RFC 3168 section 6.1.1)

Until it is open a connection has neither buffers for arrivals nor a congestion control: a flood of SYNs gets little.
"""

from __future__ import annotations

from nodes.transport.tcp import output
from nodes.transport.tcp.acknowledgment import AckPolicy
from nodes.transport.tcp.congestion import registry
from nodes.transport.tcp.congestion.base import CongestionSettings
from nodes.transport.tcp.connection import DEFAULT_MSS, Connection
from nodes.transport.tcp.receive_buffer import ReceiveBuffer
from nodes.transport.tcp.receive_window import ReceiveWindow, scale_for
from nodes.transport.tcp.recovery import LossRecovery
from nodes.transport.tcp.segment_size import HEADERS, MINIMUM_MSS, effective_mss, initial_window
from nodes.transport.tcp.sequence import unwrap
from nodes.transport.tcp.services import Layer
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.states import State, Trigger
from nodes.transport.tcp.timers import Timer
from nodes.transport.tcp.tracing import ConnectionTrace
from nodes.units import SECOND
from nodes.wire import tcp, tcp_options
from nodes.wire.addresses import Ip4
from nodes.wire.tcp import Segment

MAXIMUM_SHIFT = 14
"""RFC 7323 section 2.3."""


def connect(c: Connection, now: int) -> None:
    """Active OPEN (RFC 9293 section 3.10.1)."""
    c.layer.counters.active_opens += 1
    c.snd_nxt = c.iss + 1
    c.move(Trigger.ACTIVE_OPEN, now)
    c.syn_sent_at = now
    send_syn(c, now)


def receive_syn(c: Connection, segment: Segment, now: int) -> None:
    """A SYN for a listener: passive OPEN. The caller has set `listener`."""
    _take_first_syn(c, segment, now)
    c.syn_sent_at = now
    send_syn(c, now)


def restore(c: Connection, segment: Segment, now: int) -> None:
    """A SYN that was answered by a cookie, as far as the cookie tells: as `receive_syn`, without an answer."""
    _take_first_syn(c, segment, now)
    c.syn_sent_at = None  # nobody knows when the cookie left


def _take_first_syn(c: Connection, segment: Segment, now: int) -> None:
    c.layer.counters.passive_opens += 1
    c.state = State.LISTEN  # as the copy of a listener that it is
    c.ecn = c.ecn and asks_for_ecn(segment.flags)
    take_syn(c, segment, now)
    c.snd_nxt = c.iss + 1
    c.move(Trigger.SYN_RECEIVED, now)


def asks_for_ecn(flags: int) -> bool:
    """Of a SYN (RFC 3168 section 6.1.1)."""
    return flags & (tcp.ECE | tcp.CWR) == tcp.ECE | tcp.CWR


def take_syn(c: Connection, segment: Segment, now: int) -> None:
    """The peer's SYN: where its numbers begin, and what it can do. The window in it is not scaled."""
    options = segment.options
    c.irs = segment.sequence
    c.scaled = c.scaled and options.window_scale is not None
    c.snd_shift = min(options.window_scale or 0, MAXIMUM_SHIFT) if c.scaled else 0
    c.rcv_shift = scale_for(c.options.receive_limit) if c.scaled else 0
    c.timestamps = c.timestamps and options.timestamp is not None
    c.sack = c.sack and options.sack_permitted
    c.peer_mss = max(DEFAULT_MSS if options.mss is None else options.mss, MINIMUM_MSS)
    if c.timestamps and options.timestamp is not None:
        c.ts_recent, c.ts_recent_at = options.timestamp[0], now
    c.receive_buffer = ReceiveBuffer(c.irs + 1, c.receive_capacity(0))
    mss = announced_mss(c.layer, c.key.remote, c.options)
    c.window = ReceiveWindow(c.receive_buffer, shift=c.rcv_shift, mss=mss)
    c.acks = AckPolicy(mss, c.layer.settings.delayed_ack, c.layer.settings.quick_acks)
    take_user_timeout(c, segment)
    c.last_ack_sent = c.irs + 1
    c.last_received = now
    c.snd_wnd = c.snd_max_wnd = segment.window
    c.snd_wl1 = c.irs
    c.snd_wl2 = c.iss


def take_user_timeout(c: Connection, segment: Segment) -> None:
    """RFC 5482 section 3.1: it counts for `Connection.user_timeout` where the program agreed."""
    seconds = segment.options.user_timeout
    if seconds:  # 0 is reserved (RFC 5482 section 3.3)
        c.peer_user_timeout = seconds * SECOND


def establish(c: Connection, now: int) -> None:
    """The handshake is complete: the units for data begin their work."""
    settings = c.layer.settings
    c.timers.cancel(Timer.SYN)
    if c.syn_retransmissions:
        c.rtt.syn_retransmitted()
    elif c.syn_sent_at is not None:
        c.rtt.sample(now - c.syn_sent_at, now)
    c.rtt.reset_back_off()
    c.mss = effective_mss(c, now)
    window = c.mss if c.syn_retransmissions else initial_window(settings.initial_window, c.mss)
    random = c.layer.random
    congestion = registry.create(c.options.congestion, CongestionSettings(c.mss, window, random), now)
    c.congestion = congestion
    c.recovery = LossRecovery(
        congestion=congestion,
        rtt=c.rtt,
        settings=settings,
        mss=c.mss,
        sack=c.sack,
        start=c.snd_nxt,
        trace=ConnectionTrace(c),
    )
    if c.options.keepalive:
        c.timers.set(Timer.KEEP_ALIVE, now + c.options.keepalive_idle)
    c.mark()


def change_congestion(c: Connection, now: int) -> None:
    """Another algorithm from now on; it begins with the window that the last one had."""
    if c.recovery is None or c.congestion is None:
        return
    settings = CongestionSettings(c.mss, max(c.congestion.cwnd, c.mss), c.layer.random)
    c.congestion = registry.create(c.options.congestion, settings, now)
    c.recovery.congestion = c.congestion


# ------------------------------------------------------------------------------------------------------ the SYN itself


def send_syn(c: Connection, now: int) -> None:
    """A SYN, or the SYN,ACK of SYN_RCVD; its timer runs until the connection is established (RFC 6298 section 5)."""
    repeat_syn(c, now)
    c.timers.set(Timer.SYN, max(min(now + c.rtt.timeout, _patience_ends(c)), now + 1))
    c.mark()  # for the timer


def repeat_syn(c: Connection, now: int) -> None:
    """The same without the timer, which a peer that repeats its SYN must not put off for ever."""
    answering = c.state is State.SYN_RCVD
    flags = tcp.SYN
    if answering:
        flags |= tcp.ACK | (tcp.ECE if c.ecn else 0)
    elif c.ecn and c.ect:
        flags |= tcp.ECE | tcp.CWR
    output.emit_syn(c, flags, syn_options(c, now), now)


def announced_mss(layer: Layer, remote: Ip4, options: SocketOptions) -> int:
    """What we take: as much as the link carries (MUST-67), or what the program wants."""
    return min(max(layer.link_mtu(remote) - HEADERS, MINIMUM_MSS), options.mss or 0xFFFF)


def syn_options(c: Connection, now: int) -> bytes:
    """What we offer; in an answer only what the peer offered too."""
    scale = scale_for(c.options.receive_limit) if c.scaled else None
    timestamp = (c.clock(now), c.ts_recent) if c.timestamps else None
    told = None
    if c.options.exchange_user_timeout and c.options.user_timeout is not None:
        told = min(-(-c.options.user_timeout // SECOND), tcp_options.LARGEST_TIMEOUT)  # 0 is reserved
    mss = announced_mss(c.layer, c.key.remote, c.options)
    return tcp_options.build_syn(mss, scale, c.sack, timestamp, told)


def _patience_ends(c: Connection) -> int:
    return c.opened_at + max(c.layer.settings.syn_r2, c.options.user_timeout or 0)


def expired(c: Connection, now: int) -> bool:
    """The SYN was not answered in time: once more, without ECN, which some routers choke on (RFC 3168 section
    6.1.1.1). False where R2 has passed (MUST-23) and the connection is to be given up."""
    if now >= _patience_ends(c):
        return False
    c.syn_retransmissions += 1
    c.layer.counters.retransmitted_segments += 1
    c.rtt.back_off()
    if c.state is State.SYN_SENT:
        c.ect = False
    send_syn(c, now)
    return True


def acknowledges_syn(c: Connection, segment: Segment) -> bool:
    """SND.UNA < SEG.ACK <= SND.NXT for a connection that has sent nothing but its SYN."""
    return c.iss < unwrap(segment.acknowledgment, c.snd_nxt) <= c.snd_nxt
