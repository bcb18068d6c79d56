"""The ways a connection ends (RFC 9293 section 3.6 and 3.10.4, 3.10.5).

    shut_down   we have no more to send: FIN, after what is queued; the peer may go on
    close       the program is gone: as above, and data that still comes is answered with a reset; what came and was
                never read is a loss that the peer must hear of: reset at once (SHLD-3)
    abort       reset at once
    reset       the peer's reset
    FINs        each side's FIN, and the acknowledgment of ours, move the state

A program that is gone cannot be asked how long to wait for a peer that never says FIN: FIN_WAIT_2 has a timer then.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from nodes.errors import DisconnectedError
from nodes.transport.tcp import output
from nodes.transport.tcp.states import RESETTABLE, State, Trigger
from nodes.transport.tcp.timers import Timer

if TYPE_CHECKING:
    from nodes.transport.tcp.arrival import Arrival
    from nodes.transport.tcp.connection import Connection

# ------------------------------------------------------------------------------------------------------ what users ask


def shut_down(c: Connection, now: int) -> None:
    """CLOSE as the RFC has it: no more data from us. Harmless where that was said already."""
    if c.state is State.SYN_SENT:  # what was queued will never be sent (RFC 9293 section 3.10.4)
        queued = c.send_buffer.end > c.send_buffer.start
        lost = DisconnectedError("closed before the connection was open", errno=errno.ECONNABORTED) if queued else None
        c.end(Trigger.CLOSE, lost, now)
    elif c.fin_sequence is None and c.state in (State.SYN_RCVD, State.ESTABLISHED, State.CLOSE_WAIT):
        c.fin_sequence = c.send_buffer.end
        close_if_wanted(c, now)


def close_if_wanted(c: Connection, now: int) -> None:
    """Take the edge of CLOSE as soon as the handshake is complete: before, the FIN waits with the data."""
    if c.fin_sequence is not None and c.state in (State.ESTABLISHED, State.CLOSE_WAIT):
        c.move(Trigger.CLOSE, now)
        c.mark()


def close(c: Connection, now: int) -> None:
    """The program is gone."""
    c.cancelled = True
    unread = c.recovery is not None and c.receive_buffer.available
    if c.options.linger == 0 or unread:
        abort(c, now)
        return
    if c.options.linger and not c.fin_acknowledged:
        c.timers.set(Timer.LINGER, now + c.options.linger)
    shut_down(c, now)
    if c.state is State.FIN_WAIT_2:
        c.timers.set(Timer.FIN_WAIT_2, now + c.layer.settings.fin_wait_2)
    if c.state is not State.CLOSED:
        c.mark()


def abort(c: Connection, now: int) -> None:
    """ABORT: reset the connection."""
    if c.state in RESETTABLE:
        output.send_reset(c, now)
    c.lost(errno.ECONNABORTED, "aborted", Trigger.ABORT, now)


# ------------------------------------------------------------------------------------------------- what segments bring


def reset(c: Connection, now: int) -> None:
    """An acceptable reset (RFC 9293 section 3.10.7.4, second step)."""
    counters = c.layer.counters
    if c.state is State.SYN_RCVD:
        counters.attempt_fails += 1
        if c.listener is not None:
            c.end(Trigger.RESET_RECEIVED_PASSIVE, None, now)  # MUST-11
        else:
            c.lost(errno.ECONNREFUSED, "connection refused", Trigger.RESET_RECEIVED, now)
        return
    counters.established_resets += 1
    if c.state in RESETTABLE:
        c.lost(errno.ECONNRESET, "connection reset by the peer", Trigger.RESET_RECEIVED, now)
    else:
        c.end(Trigger.RESET_RECEIVED, None, now)


def fin_acknowledged(c: Connection, a: Arrival, now: int) -> bool:
    """Our FIN has arrived. False where that ends the connection."""
    if c.state is State.FIN_WAIT_1:
        if a.fin and a.sequence == c.rcv_nxt and not c.receive_buffer.has_gaps:
            return True  # one edge for both, taken by `fin_received`
        c.move(Trigger.FIN_ACKNOWLEDGED, now)
        c.timers.cancel(Timer.LINGER)  # the last octet has arrived
        c.wake()
        if c.cancelled:
            c.timers.set(Timer.FIN_WAIT_2, now + c.layer.settings.fin_wait_2)
    elif c.state is State.CLOSING:
        c.move(Trigger.FIN_ACKNOWLEDGED, now)
        c.layer.enter_time_wait(c, now)
        c.wake()
        return False
    elif c.state is State.LAST_ACK:
        c.end(Trigger.FIN_ACKNOWLEDGED, None, now)
        return False
    return True


def fin_received(c: Connection, now: int) -> None:
    """The peer's FIN, all its data before it (RFC 9293 section 3.10.7.4, eighth step)."""
    c.acknowledge_now()
    if c.state is State.FIN_WAIT_1 and c.fin_acknowledged:
        c.move(Trigger.FIN_RECEIVED_AND_ACKNOWLEDGED, now)
    else:
        c.move(Trigger.FIN_RECEIVED, now)
    if c.state is State.TIME_WAIT:
        c.layer.enter_time_wait(c, now)
    c.wake()
