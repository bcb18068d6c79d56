"""What an acceptable acknowledgment does (RFC 9293 section 3.10.7.4, fifth step, ESTABLISHED).

SND.UNA < SEG.ACK =< SND.NXT    the recovery learns what arrived, the send buffer lets it go, the program gets room
WL1, WL2                        the window of a segment that is newer than the last one counts
beyond SND.NXT by one           the octet of a window probe was taken after all
"""

from __future__ import annotations

from nodes.transport.tcp import segment_size
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.sequence import unwrap
from nodes.transport.tcp.timers import Timer
from nodes.units import MILLISECOND
from nodes.wire import tcp
from nodes.wire.tcp import Segment

_HALF = 1 << 31
_MASK = 0xFFFF_FFFF


def acknowledged(c: Connection, segment: Segment, ack: int, empty: bool, now: int) -> None:
    """SND.UNA =< SEG.ACK =< SND.NXT: what the recovery, the send buffer and the program make of it. `empty`:
    the segment has neither text nor FIN."""
    recovery = c.recovery
    assert recovery is not None
    una = c.snd_una
    options = segment.options
    duplicate = empty and ack == una < c.snd_nxt and segment.window << c.snd_shift == c.snd_wnd  # RFC 5681 section 2
    sacks = _sack_ranges(c, segment) if options.sack and c.sack else ()
    delay = None
    if c.timestamps and options.timestamp is not None:
        ticks = (c.clock(now) - options.timestamp[1]) & _MASK
        delay = ticks * MILLISECOND if ticks < _HALF else None
    limited = c.snd_nxt >= c.data_end
    recovery.acknowledged(
        ack,
        sacks,
        now,
        duplicate=duplicate,
        echo_delay=delay,
        ece=c.ecn and bool(segment.flags & tcp.ECE),
        limited=limited,
    )
    if ack > una:
        c.snd_una = ack
        c.send_buffer.release(min(ack, c.send_buffer.end))
        c.soft_error = None
        if c.suspicions and ack >= c.ceiling_until:
            segment_size.passed(c, now)
        if c.wants_room and 3 * c.send_buffer.free >= c.send_buffer.capacity:
            c.wants_room = False
            c.wake()
    c.last_received = now
    c.keepalive_sent = 0
    c.mark()


def _sack_ranges(c: Connection, segment: Segment) -> list[tuple[int, int]]:
    """The blocks, unrolled. What cannot be is left out: empty, or beyond what was sent (RFC 2018 section 5)."""
    near, limit = c.snd_una, c.snd_nxt
    ranges = []
    for left, right in segment.options.sack:
        start = unwrap(left, near)
        end = start + ((right - left) & _MASK)
        if start < end <= limit:
            ranges.append((start, end))
    return ranges


def update_window(c: Connection, segment: Segment, sequence: int, ack: int, now: int) -> None:
    """RFC 9293: the window of a segment that is newer than the last whose window was taken (SND.WL1, SND.WL2)."""
    if c.snd_wl1 > sequence or (c.snd_wl1 == sequence and c.snd_wl2 > ack) or segment.flags & tcp.SYN:
        return
    window = segment.window << c.snd_shift
    c.snd_wl1, c.snd_wl2 = sequence, ack
    if window != c.snd_wnd:
        if not c.snd_wnd and c.recovery is not None:
            c.recovery.reopened(now)
        c.snd_wnd = window
        if window > c.snd_max_wnd:
            c.snd_max_wnd = window
        if window:
            c.timers.cancel(Timer.PERSIST)
            c.timers.cancel(Timer.OVERRIDE)
            c.probe_end = None
            c.probes = 0
        c.mark()


def probe_taken(c: Connection, now: int) -> None:
    """The octet of a window probe was accepted: it counts as sent from now on."""
    assert c.probe_end is not None and c.recovery is not None
    if c.probe_end > c.snd_nxt:
        c.recovery.sent(c.snd_nxt, c.probe_end, now)
        c.snd_nxt = c.probe_end
    c.probe_end = None
