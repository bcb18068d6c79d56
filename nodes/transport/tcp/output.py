"""What a connection sends, and when (RFC 9293 section 3.10.2 and 3.8).

`flush` runs once after a batch of inputs, in this order:

    1. what was lost, again        as far as the recovery allows
    2. new data                    as far as all of these allow:
                                     the peer's window        SND.UNA + SND.WND
                                     the congestion window    recovery.room()
                                     Nagle                    a small segment only when no other small one is under way
                                     silly-window avoidance   a full segment, all there is, or half the largest window
                                     pacing                   where the congestion control wants it
    3. our FIN                     on the last octet, or alone
    4. an acknowledgment alone     if one is due and nothing above carried it

A small segment means one with less payload than `Connection.mss`, which the timestamps are already taken off: to
compare with the MSS that was negotiated would hold back every segment of a bulk transfer.

Towards links that cut segments themselves (`Connection.offload`), one segment carries up to 64 KiB in multiples of the
MSS, and the checksum is left to the link.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from nodes.trace.tcp_events import SegmentSent
from nodes.transport.tcp import segment_size
from nodes.transport.tcp.sequence import wrap
from nodes.transport.tcp.states import State
from nodes.transport.tcp.timers import Timer
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from nodes.wire import tcp, tcp_options

if TYPE_CHECKING:
    from nodes.transport.tcp.connection import Connection
    from nodes.transport.tcp.recovery import LossRecovery

SACK_HEADER = 4  # two no-operations, kind and length
SACK_BLOCK = 8

SMALLEST_PAYLOAD = 8
"""RFC 9293 section 3.7.1 leaves room for options in any MSS that is allowed; this guards the arithmetic."""

LARGEST_SEGMENT = 65_535 - 20 - tcp.MAXIMUM_HEADER_LENGTH
"""Octets of payload that always fit an IPv4 packet."""

QUANTUM = 64 * 1024
"""Octets of new data in one flush without offload, and half a megabyte with it: then the arrivals get their turn."""

PACED_BURSTS = 1000
"""Segments per second of a paced sender at least: no more than a millisecond's worth leaves at once."""

PACING_SLACK = 1_000 * MICROSECOND
"""How far behind a paced sender may be and still catch up: timers fire late."""

OVERRIDE_TIMEOUT = 200 * MILLISECOND
"""RFC 9293 section 3.8.6.2.1: 0.1 to 1 second."""

_TIMESTAMPS = Struct("!III")


def flush(c: Connection, now: int) -> bool:
    """Send all that may leave now. False where the connection is over, and has no deadline any more."""
    c.pending = False
    if c.state is State.CLOSED or c.state is State.TIME_WAIT:
        return False
    recovery = c.recovery
    if recovery is None:  # opening: SYNs leave when they are made
        if c.state is State.SYN_RCVD and c.acks.now_needed:
            send_ack(c, now, "ack")
        return True
    segment_size.follow_path(c, now)
    _repair(c, recovery, now)
    if c.snd_nxt < c.data_end and not _blocked(c):
        _send_new(c, recovery, now)
    if c.acks.now_needed:
        send_ack(c, now, "ack")
    return True


def _blocked(c: Connection) -> bool:
    """No data before the handshake is complete; what was queued goes then."""
    return c.state is State.SYN_SENT or c.state is State.SYN_RCVD


# ---------------------------------------------------------------------------------------------------------------- data


def _repair(c: Connection, recovery: LossRecovery, now: int) -> None:
    """Retransmissions, each as long as a segment may be now."""
    limit = payload_limit(c)
    waiting, usable = c.data_end - c.snd_nxt, c.snd_una + c.snd_wnd - c.snd_nxt
    ready = min(waiting, usable)
    new_data = ready >= limit or _small_allowed(c, recovery, ready, waiting, usable)
    while (segment := recovery.next_retransmission(limit, new_data=new_data)) is not None:
        send_range(c, segment.start, segment.end, now, "retransmission")
        recovery.retransmitted(segment, now)
        counters = c.layer.counters
        counters.retransmitted_segments += 1
        counters.retransmitted_octets += segment.end - segment.start


def _send_new(c: Connection, recovery: LossRecovery, now: int) -> None:
    """New data and the FIN, up to the first rule that forbids it."""
    if not recovery.outstanding and now - c.last_sent > c.rtt.timeout and c.congestion is not None:
        c.congestion.idle(now)  # RFC 5681 section 4.1: nothing is known of the path any more
    limit = payload_limit(c)
    whole = c.offload and c.snd_up is None  # who cuts a segment repeats its urgent pointer in every piece
    largest = max(LARGEST_SEGMENT // limit, 1) * limit if whole else limit
    budget = 8 * QUANTUM if c.offload else QUANTUM
    edge = c.snd_una + c.snd_wnd
    data_end = c.data_end
    rate = None if c.congestion is None else c.congestion.pacing_rate
    paced = rate is not None
    if rate is not None:
        largest = min(largest, max(rate // PACED_BURSTS // limit * limit, limit))
    while c.snd_nxt < data_end:
        if paced and c.pace_at > now:
            c.timers.set(Timer.PACING, c.pace_at)
            return
        start = c.snd_nxt
        waiting = data_end - start
        allowed = min(edge - start, recovery.room())
        length = min(waiting, allowed, largest)
        if length < waiting:
            length = length // limit * limit or length
        elif length > limit and length % limit and not _small_allowed(c, recovery, length, waiting, edge - start):
            length -= length % limit  # the tail of a long segment is a small one too
        if length < limit and not _small_allowed(c, recovery, length, waiting, edge - start):
            if edge - start < min(limit, waiting):
                _window_shut(c, recovery, edge - start, now)
            return
        if budget <= 0:
            c.mark()  # the rest in the next turn
            return
        budget -= length
        if length % limit:
            c.small_until = start + length
        c.snd_nxt = start + length
        send_range(c, start, start + length, now, "data")
        recovery.sent(start, start + length, now)
        c.last_sent = now
        if paced:
            _pace(c, length, now)


def _small_allowed(c: Connection, recovery: LossRecovery, length: int, waiting: int, usable: int) -> bool:
    """Whether a segment that is not full may leave (RFC 9293 section 3.8.6.2.1, Nagle 3.7.4). Only a small segment that
    is not acknowledged holds the next one back, full ones do not (appendix A.3, Minshall): otherwise the end of each
    answer waits for the peer's delayed acknowledgment."""
    if length <= 0:
        return False
    if length == waiting:  # all there is
        if c.snd_una >= c.small_until or c.options.nodelay:
            return True
        return c.fin_sequence is not None or c.snd_up is not None
    if usable > length:  # the congestion window is the limit: wait for acknowledgments
        return not recovery.outstanding
    return 2 * length >= c.snd_max_wnd


def _window_shut(c: Connection, recovery: LossRecovery, usable: int, now: int) -> None:
    """Nothing is under way whose acknowledgment could open the window, and data waits. A shut window must be asked for
    (RFC 9293 section 3.8.6.1); one that is too small to be worth a segment is used after a while (3.8.6.2.1)."""
    if recovery.outstanding:
        return
    if usable > 0:
        if c.timers.get(Timer.OVERRIDE) is None:
            c.timers.set(Timer.OVERRIDE, now + OVERRIDE_TIMEOUT)
    elif c.timers.get(Timer.PERSIST) is None:
        c.timers.set(Timer.PERSIST, now + c.rtt.timeout)


def _pace(c: Connection, length: int, now: int) -> None:
    assert c.congestion is not None
    rate = c.congestion.pacing_rate
    if rate:
        c.pace_at = max(c.pace_at, now - PACING_SLACK) + length * SECOND // rate


def payload_limit(c: Connection) -> int:
    """The payload of a full segment now: SACK blocks take from it (RFC 9293 section 3.7.1)."""
    buffer = c.receive_buffer
    if not c.sack or not (buffer.has_gaps or buffer.duplicate or c.fin_waits):
        return c.mss
    blocks = min(buffer.ranges + (buffer.duplicate is not None) + c.fin_waits, 3 if c.timestamps else 4)
    return max(c.mss - SACK_HEADER - SACK_BLOCK * blocks, SMALLEST_PAYLOAD)


def send_range(c: Connection, start: int, end: int, now: int, trigger: str) -> None:
    """The octets [start, end) of our stream, of which the last may be the FIN."""
    flags = tcp.ACK
    fin = c.fin_sequence
    data_end = end
    if fin is not None and end > fin:
        flags |= tcp.FIN
        data_end = fin
    payload = c.send_buffer.view(start, data_end - start) if data_end > start else b""
    if payload and data_end == c.send_buffer.end:
        flags |= tcp.PSH  # nothing is buffered behind it (MUST-61)
    emit(c, start, flags, payload, now, trigger)


def emit(c: Connection, sequence: int, flags: int, payload: bytes | memoryview, now: int, trigger: str) -> None:
    """A segment of an open connection; it acknowledges what has come."""
    acks, key = c.acks, c.key
    receive_buffer = c.receive_buffer
    acknowledgment = receive_buffer.rcv_nxt
    ect = False
    urgent = 0
    if c.ecn:
        flags, ect = _ecn_marks(c, flags, payload, trigger)
    if c.snd_up is not None:
        flags, urgent = _urgent_mark(c, sequence, flags)
    blocks = _sack_blocks(c) if c.sack else ()
    if c.timestamps and not blocks:
        options = _TIMESTAMPS.pack(tcp_options.ALIGNED_TIMESTAMPS, c.clock(now), c.ts_recent)
    else:
        options = tcp_options.build((c.clock(now), c.ts_recent) if c.timestamps else None, blocks)
    window = c.window.offer()
    length = len(payload)
    segment = tcp.build(
        key.local,
        key.remote,
        key.local_port,
        key.remote_port,
        sequence & 0xFFFF_FFFF,
        acknowledgment & 0xFFFF_FFFF,
        flags,
        window,
        urgent=urgent,
        options=options,
        payload=payload,
        partial=c.offload,
    )
    c.last_ack_sent = acknowledgment
    acks.sent(with_data=length > 0)
    size = c.mss + (tcp_options.TIMESTAMPS_LENGTH if c.timestamps else 0) - len(options)
    _hand_over(c, segment, sequence, flags, length, window, now, trigger, ect, size if length > size else 0)


def _hand_over(
    c: Connection,
    segment: bytes,
    sequence: int,
    flags: int,
    length: int,
    window: int,
    now: int,
    trigger: str,
    ect: bool,
    segment_size: int,
) -> None:
    layer = c.layer
    layer.transmit(c, segment, now, ect=ect, segment_size=segment_size)
    c.segments_out += 1
    counters = layer.counters
    counters.out_segments += 1
    counters.out_octets += length
    if layer.trace.packets:
        key = c.key
        acknowledgment = wrap(c.last_ack_sent) if flags & tcp.ACK else 0
        layer.trace(
            now,
            SegmentSent(
                key.local,
                key.local_port,
                key.remote,
                key.remote_port,
                tcp.flag_text(flags),
                wrap(sequence),
                acknowledgment,
                length,
                window << (0 if flags & tcp.SYN else c.rcv_shift),
                trigger,
            ),
        )


def _ecn_marks(c: Connection, flags: int, payload: bytes | memoryview, trigger: str) -> tuple[int, bool]:
    """RFC 3168 section 6.1: ECT on new data only, CWR on the first of it after a reduction, ECE until CWR comes."""
    if c.acks.echo:
        flags |= tcp.ECE
    if not payload or trigger != "data" or not c.ect:
        return flags, False
    if c.recovery is not None and c.recovery.must_send_cwr:
        c.recovery.must_send_cwr = False
        flags |= tcp.CWR
    return flags, True


def _urgent_mark(c: Connection, sequence: int, flags: int) -> tuple[int, int]:
    """The urgent pointer, to the octet behind the urgent data (RFC 9293 section 3.8.5), while that is not yet
    acknowledged and near enough to be told."""
    assert c.snd_up is not None
    if c.snd_una >= c.snd_up:
        c.snd_up = None
        return flags, 0
    distance = c.snd_up - sequence
    return (flags | tcp.URG, min(distance, 0xFFFF)) if distance > 0 else (flags, 0)


def _sack_blocks(c: Connection) -> list[tuple[int, int]] | tuple[()]:
    """A duplicate to report (RFC 2883), then what is held beyond the gaps, newest first."""
    buffer = c.receive_buffer
    waits = c.fin_waits
    if buffer.duplicate is None and not buffer.has_gaps and not waits:
        return ()
    told = buffer.duplicate is not None
    blocks = buffer.report(4)
    if waits:
        _add_fin(c, blocks, int(told))
    return [(wrap(start), wrap(end)) for start, end in blocks]


def _add_fin(c: Connection, blocks: list[tuple[int, int]], first: int) -> None:
    """The FIN is held, too: at the end of the range before it, or alone. It has a number like any octet, and a sender
    that does not see it in a block sends it again, and does not count its acknowledgment. `first`: behind a duplicate
    that is reported."""
    fin = c.peer_fin
    assert fin is not None
    for index in range(first, len(blocks)):
        if blocks[index][1] == fin:
            blocks[index] = blocks[index][0], fin + 1
            return
    blocks.insert(first if c.fin_is_newest else len(blocks), (fin, fin + 1))


# ------------------------------------------------------------------------------------------------ segments without data


def send_ack(c: Connection, now: int, trigger: str) -> None:
    """<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>."""
    emit(c, c.snd_nxt, tcp.ACK, b"", now, trigger)


def emit_syn(c: Connection, flags: int, options: bytes, now: int) -> None:
    """A SYN or a SYN,ACK; the window in it is not scaled (RFC 7323 section 2.2)."""
    key = c.key
    window = min(c.options.receive_limit, 0xFFFF)
    acknowledgment = c.receive_buffer.rcv_nxt if flags & tcp.ACK else 0
    segment = tcp.build(
        key.local,
        key.remote,
        key.local_port,
        key.remote_port,
        wrap(c.iss),
        wrap(acknowledgment),
        flags,
        window,
        options=options,
    )
    c.last_ack_sent = acknowledgment
    _hand_over(c, segment, c.iss, flags, 0, window, now, "handshake", False, 0)


def send_reset(c: Connection, now: int) -> None:
    """<SEQ=SND.NXT><CTL=RST>, as ABORT has it (RFC 9293 section 3.10.5); with the acknowledgment, which does no harm
    and helps a peer to believe it."""
    key = c.key
    segment = tcp.build(
        key.local,
        key.remote,
        key.local_port,
        key.remote_port,
        wrap(c.snd_nxt),
        wrap(c.rcv_nxt),
        tcp.RST | tcp.ACK,
        0,
        partial=c.offload,
    )
    c.last_ack_sent = c.rcv_nxt
    c.layer.counters.out_resets += 1
    _hand_over(c, segment, c.snd_nxt, tcp.RST | tcp.ACK, 0, 0, now, "reset", False, 0)
