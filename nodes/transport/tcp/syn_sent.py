"""What a segment does to a connection that has sent its SYN (RFC 9293 section 3.10.7.3).

acknowledges something else     a reset, and nothing changes
reset                           refused, if it acknowledges our SYN; ignored otherwise (it may be forged)
SYN,ACK                         open
SYN                             both sides called at once: SYN_RCVD (MUST-10)
all else                        ignored
"""

from __future__ import annotations

import errno

from nodes.transport.tcp import closing, opening
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.states import Trigger
from nodes.wire import tcp
from nodes.wire.tcp import Segment


def receive(c: Connection, segment: Segment, now: int) -> bool:
    """RFC 9293 section 3.10.7.3. True where text or a FIN is left for the state after it."""
    flags = segment.flags
    acceptable = bool(flags & tcp.ACK) and opening.acknowledges_syn(c, segment)
    if flags & tcp.ACK and not acceptable:
        if not flags & tcp.RST:
            c.layer.answer_reset(c.key, segment.acknowledgment, now)
        return False
    if flags & tcp.RST:
        if acceptable:
            c.layer.counters.attempt_fails += 1
            c.lost(errno.ECONNREFUSED, "connection refused", Trigger.RESET_RECEIVED, now)
        return False
    if not flags & tcp.SYN:
        return False
    opening.take_syn(c, segment, now)
    if not acceptable:  # both called at once (RFC 9293 section 3.5, MUST-10)
        c.ecn = c.ecn and opening.asks_for_ecn(flags)
        c.move(Trigger.SYN_RECEIVED, now)
        opening.send_syn(c, now)
        return False
    c.ecn = c.ecn and flags & (tcp.ECE | tcp.CWR) == tcp.ECE
    opened(c, segment, c.irs, c.snd_nxt, now)
    c.move(Trigger.SYN_ACK_RECEIVED, now)
    c.acknowledge_now()
    closing.close_if_wanted(c, now)
    c.wake()
    return bool(segment.payload or flags & tcp.FIN)


def opened(c: Connection, segment: Segment, sequence: int, acknowledgment: int, now: int) -> None:
    """Our SYN is acknowledged."""
    c.snd_una = c.iss + 1
    shift = 0 if segment.flags & tcp.SYN else c.snd_shift
    c.snd_wnd = segment.window << shift
    c.snd_max_wnd = max(c.snd_max_wnd, c.snd_wnd)
    c.snd_wl1, c.snd_wl2 = sequence, acknowledgment
    opening.establish(c, now)
