"""Asking a silent peer: window probes and keep-alives (RFC 9293 sections 3.8.6.1 and 3.8.4).

**Window probes.** A peer that shut its window opens it with a pure acknowledgment, which is not repeated: if that is
lost, both sides wait for ever. So the sender asks, after one retransmission timeout and then at doubling intervals,
with one octet of data (or the FIN) beyond the window. The peer answers with its window, and may take the octet: only
then does it count as sent. As long as it answers, the connection lives (MUST-37).

**Keep-alives**, off by default, ask whether an idle peer is still there, by a segment that is no longer acceptable to
it, SND.NXT - 1 without data, which it must answer.
"""

from __future__ import annotations

import errno

from nodes.transport.tcp import output
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.states import State, Trigger
from nodes.transport.tcp.timers import Timer
from nodes.wire import tcp

LONGEST_INTERVAL_SHIFT = 6

_OPEN = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT})
"""States in which a program may wait for a peer that is gone."""


def persist_expired(c: Connection, now: int) -> None:
    """Ask for the window once more."""
    if c.snd_wnd or c.snd_nxt >= c.data_end:
        return  # the window opened, or nothing waits any more
    if not c.probes:
        c.probing_since = now
    # A program may wait for ever (MUST-37); nobody waits on behalf of one that is gone (RFC 6429 section 3).
    heard = c.probing_since if c.cancelled else max(c.probing_since, c.last_received)
    if c.probes and now - heard >= c.user_timeout:
        c.lost(errno.ETIMEDOUT, "the peer's window stays shut and it no longer answers", Trigger.USER_TIMEOUT, now)
        return
    c.probes += 1
    c.layer.counters.probes += 1
    start = c.snd_nxt
    output.send_range(c, start, start + 1, now, "probe")
    c.probe_end = start + 1
    interval = min(c.rtt.timeout << min(c.probes, LONGEST_INTERVAL_SHIFT), c.layer.settings.maximum_rto)
    c.timers.set(Timer.PERSIST, min(now + interval, max(heard + c.user_timeout, now + c.rtt.timeout)))


def override_expired(c: Connection, now: int) -> None:
    """The window is smaller than a segment worth sending, and does not grow: use it (RFC 9293 section 3.8.6.2.1)."""
    recovery = c.recovery
    usable = c.snd_una + c.snd_wnd - c.snd_nxt
    length = min(usable, c.data_end - c.snd_nxt, output.payload_limit(c))
    if recovery is None or recovery.outstanding or length <= 0:
        return
    start = c.snd_nxt
    c.snd_nxt = start + length
    output.send_range(c, start, start + length, now, "data")
    recovery.sent(start, start + length, now)


def keepalive_expired(c: Connection, now: int) -> None:
    """Nothing was heard for a while."""
    options = c.options
    if not options.keepalive or c.state not in _OPEN:
        return
    idle_since = c.last_received + options.keepalive_idle
    if c.snd_nxt > c.snd_una:  # what is under way has its own timer
        c.keepalive_sent = 0
        c.timers.set(Timer.KEEP_ALIVE, now + options.keepalive_interval)
    elif now < idle_since:
        c.keepalive_sent = 0
        c.timers.set(Timer.KEEP_ALIVE, idle_since)
    elif c.keepalive_sent >= options.keepalive_probes:
        output.send_reset(c, now)
        c.lost(errno.ETIMEDOUT, "no answer to keep-alives", Trigger.KEEP_ALIVE_EXPIRED, now)
    else:
        c.keepalive_sent += 1
        c.layer.counters.keepalives += 1
        output.emit(c, c.snd_nxt - 1, tcp.ACK, b"", now, "keep_alive")
        c.timers.set(Timer.KEEP_ALIVE, now + options.keepalive_interval)
