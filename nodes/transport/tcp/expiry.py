"""What a connection does when its time comes: one function per timer.

The recovery keeps the retransmission, probe and reordering timers, the acknowledgment policy its delay; all others are
in the connection's table.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from nodes.errors import DisconnectedError, UnreachableError
from nodes.trace.tcp_events import TimerUpdated
from nodes.transport.tcp import closing, opening, output, probing, segment_size
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.recovery import LossRecovery
from nodes.transport.tcp.recovery_state import Expired
from nodes.transport.tcp.states import State, Trigger
from nodes.transport.tcp.timers import Timer


def run(c: Connection, now: int) -> None:
    """Do all that is due. The output runs after it."""
    if c.recovery is not None:
        segment_size.follow_path(c, now)
    for timer in c.timers.expired(now):
        _HANDLERS[timer](c, now)
        c.layer.trace(now, TimerUpdated(c.name, timer.text, "running", "expired", c.state.value))
        if c.state is State.CLOSED:
            return
    recovery = c.recovery
    if recovery is not None:
        c.acks.timeout(now)
        due = recovery.deadline()
        if due is not None and due <= now:
            _recovery_expired(c, recovery, now)
    if c.state is not State.CLOSED:
        c.mark()


def _recovery_expired(c: Connection, recovery: LossRecovery, now: int) -> None:
    expired = recovery.timeout(now)
    if expired is not Expired.NONE:
        c.layer.trace(now, TimerUpdated(c.name, expired.value, "running", "expired", c.state.value))
    match expired:
        case Expired.RETRANSMIT:
            c.layer.counters.timeouts += 1
            _no_answer(c, recovery, now)
        case Expired.PROBE:
            _tail_loss_probe(c, recovery, now)
        case Expired.REORDER | Expired.NONE:
            pass  # the output sends what was found lost


def _no_answer(c: Connection, recovery: LossRecovery, now: int) -> None:
    """R1 and R2 (RFC 9293 section 3.8.3), and the search for a black hole (RFC 4821 section 7.7)."""
    if _patience_over(c, now):
        return
    if recovery.timeouts == c.layer.settings.r1 and c.soft_error is None:
        c.soft_error = DisconnectedError("no answer for a while", errno=errno.ETIMEDOUT)
        c.wake()
    first = recovery.queue.first()
    if first is not None and c.snd_wnd:  # a shut window swallows segments too
        segment_size.suspect_black_hole(c, recovery.timeouts, min(c.mss, first.end - first.start), now)


def _patience_over(c: Connection, now: int) -> bool:
    """R2, or the user timeout, has passed. If not, its timer runs, for the next retransmission may be long after it."""
    if c.recovery is None or c.recovery.first_unanswered is None:
        return False
    since = c.recovery.first_unanswered
    if not c.snd_wnd:
        since = max(since, c.last_received)  # a peer whose window is shut need only answer (MUST-37, SHLD-17)
    if now - since >= c.user_timeout:
        _give_up(c, now)
        return True
    c.timers.set(Timer.USER_TIMEOUT, since + c.user_timeout)
    return False


def _user_timeout(c: Connection, now: int) -> None:
    _patience_over(c, now)


def _tail_loss_probe(c: Connection, recovery: LossRecovery, now: int) -> None:
    """RFC 8985 section 7.3: new data if there is some and the peer's window takes it, else the last segment again."""
    start = c.snd_nxt
    limit = output.payload_limit(c)
    length = min(c.data_end - start, c.snd_una + c.snd_wnd - start, limit)
    if length > 0:
        if length < limit:
            c.small_until = start + length
        c.snd_nxt = start + length
        output.send_range(c, start, start + length, now, "probe")
        recovery.sent(start, start + length, now)
        recovery.probe_sent(now, new_data=True)
        return
    segment = recovery.probe_segment(limit, c.send_buffer.end)
    if segment is not None:
        end = c.data_end if segment.end == c.fin_sequence else segment.end  # the FIN goes along
        output.send_range(c, segment.start, end, now, "probe")
        recovery.probe_sent(now, new_data=False)
        c.layer.counters.tail_loss_probes += 1
        c.layer.counters.retransmitted_segments += 1
        c.layer.counters.retransmitted_octets += segment.end - segment.start


def _syn(c: Connection, now: int) -> None:
    if not opening.expired(c, now):
        c.layer.counters.attempt_fails += 1
        _give_up(c, now)


def _give_up(c: Connection, now: int) -> None:
    """The program hears why, as far as the network said (RFC 9293 section 3.9.2.2)."""
    if isinstance(c.soft_error, DisconnectedError | UnreachableError) and c.soft_error.errno != errno.ETIMEDOUT:
        c.end(Trigger.USER_TIMEOUT, c.soft_error, now)
    else:
        c.lost(errno.ETIMEDOUT, "no answer", Trigger.USER_TIMEOUT, now)


def _fin_wait_2(c: Connection, now: int) -> None:
    c.end(Trigger.FIN_WAIT_2_EXPIRED, None, now)


def _linger(c: Connection, now: int) -> None:
    closing.abort(c, now)


def _pacing(c: Connection, now: int) -> None:
    """The output, which runs next, is what waited."""


_HANDLERS: dict[Timer, Callable[[Connection, int], None]] = {
    Timer.SYN: _syn,
    Timer.FIN_WAIT_2: _fin_wait_2,
    Timer.USER_TIMEOUT: _user_timeout,
    Timer.LINGER: _linger,
    Timer.KEEP_ALIVE: probing.keepalive_expired,
    Timer.PERSIST: probing.persist_expired,
    Timer.OVERRIDE: probing.override_expired,
    Timer.PACING: _pacing,
}
