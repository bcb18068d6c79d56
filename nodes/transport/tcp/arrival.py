"""SEGMENT ARRIVES: RFC 9293 section 3.10.7, one function per step.

    SYN_SENT              section 3.10.7.3: `syn_sent`
    all that follow       section 3.10.7.4, in this order; a step that returns False ends it:

        timestamps        PAWS (RFC 7323 section 5.3)
        sequence          acceptable at all? cut to the window
        reset             RFC 5961 section 3: exact, or challenged
        syn               RFC 5961 section 4: challenged
        acknowledgment    handshake, SND.UNA, SND.WND, our FIN
        timestamp         to be echoed from now on
        urgent
        text              into the receive buffer
        fin

Nearly all segments of a transfer are the next one in order, or acknowledge the next data, and nothing else: they take a
short way (`_predicted`, header prediction), which does what the steps would do.

CLOSED and LISTEN have no connection: see `layer` and `listener`. TIME_WAIT has a record: see `time_wait`.

Where this differs from the letter: a segment without timestamps on a connection that negotiated them is taken (RFC 7323
section 3.2 would drop it), since middleboxes remove options and Linux takes it too; and a pure acknowledgment whose
number is exactly the right edge of our window is acceptable, since a peer that has filled the window has no other
number to send it with.
"""

from __future__ import annotations

from nodes.transport.tcp import closing, opening, output, progress, syn_sent
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.sequence import unwrap, wrap
from nodes.transport.tcp.states import CAN_RECEIVE, State, Trigger
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp
from nodes.wire.tcp import Segment

PAWS_LIFETIME = 24 * 24 * 3600 * SECOND
"""RFC 7323 section 5.5: a timestamp this old says nothing, its clock may have wrapped."""

PROBE_ANSWER_INTERVAL = 100 * MILLISECOND

_CONTROL = tcp.SYN | tcp.FIN | tcp.RST | tcp.URG | tcp.ACK
_HALF = 1 << 31
_MASK = 0xFFFF_FFFF


class Arrival:
    """A segment on its way through the steps: its numbers unrolled, its text cut to what is new. `end` is behind the
    last number that it takes, SYN and FIN included. `stamp` is its timestamp, if that is to be echoed."""

    __slots__ = ("acknowledgment", "congested", "data", "end", "fin", "flags", "segment", "sequence", "stamp")

    def __init__(self, c: Connection, segment: Segment, congested: bool) -> None:
        self.segment = segment
        self.flags = segment.flags
        self.congested = congested
        self.data = segment.payload
        self.sequence = unwrap(segment.sequence, c.receive_buffer.rcv_nxt)
        self.acknowledgment = unwrap(segment.acknowledgment, c.snd_nxt)
        self.fin = bool(self.flags & tcp.FIN)
        self.stamp: int | None = None
        self.end = self.sequence + len(self.data) + self.fin + bool(self.flags & tcp.SYN)


def receive(c: Connection, segment: Segment, congested: bool, now: int) -> None:
    """Take a segment. `congested`: a router marked its packet (CE, RFC 3168)."""
    c.segments_in += 1
    if c.state is State.SYN_SENT:
        if not syn_sent.receive(c, segment, now):
            return
        arrival = Arrival(c, segment, False)
        arrival.flags &= ~tcp.SYN  # it is taken; the segment keeps it, for its window is not scaled
        arrival.sequence += 1
    elif c.state is State.ESTABLISHED and _predicted(c, segment, congested, now):
        return
    else:
        arrival = Arrival(c, segment, congested)
    for step in STEPS:
        if not step(c, arrival, now):
            return


# --------------------------------------------------------------------------------------------------------- prediction


def _predicted(c: Connection, segment: Segment, congested: bool, now: int) -> bool:
    """The short way. False where anything is unusual; nothing was changed then."""
    flags = segment.flags
    buffer = c.receive_buffer
    rcv_nxt = buffer.rcv_nxt
    if flags & _CONTROL != tcp.ACK or segment.sequence != rcv_nxt & _MASK or buffer.has_gaps:
        return False
    if c.peer_fin is not None:
        return False
    options = segment.options
    timestamp = options.timestamp
    if c.timestamps and (timestamp is None or (timestamp[0] - c.ts_recent) & _MASK >= _HALF):
        return False
    data = segment.payload
    length = len(data)
    acknowledgment = c.snd_una + ((segment.acknowledgment - c.snd_una) & _MASK)
    if options.sack or options.user_timeout is not None:
        return False
    if acknowledgment > c.snd_nxt or (length and rcv_nxt + length > c.window.edge):
        return False
    if (c.ecn and (congested or flags & (tcp.ECE | tcp.CWR))) or (length and c.layer.memory.refusing):
        return False
    c.layer.counters.predicted += 1
    if timestamp is not None and c.timestamps and rcv_nxt <= c.last_ack_sent:  # RFC 7323 section 4.3
        c.ts_recent, c.ts_recent_at = timestamp[0], now
    if not length or acknowledgment != c.snd_una:
        progress.acknowledged(c, segment, acknowledgment, not length, now)
    progress.update_window(c, segment, rcv_nxt, acknowledgment, now)
    if length:
        c.last_received = now
        buffer.append(data)
        c.layer.counters.in_octets += length
        c.acks.received(length, now)
        c.wake()
    c.mark()
    return True


# -------------------------------------------------------------------------------------------------------------- steps


def _check_timestamps(c: Connection, a: Arrival, now: int) -> bool:
    """PAWS: a segment older than what was taken is a duplicate from before the numbers wrapped (RFC 7323 section 5).
    Resets are exempt: their timestamps may be anything."""
    timestamp = a.segment.options.timestamp
    if not c.timestamps or timestamp is None or a.flags & tcp.RST:
        return True
    if (timestamp[0] - c.ts_recent) & _MASK < _HALF or now - c.ts_recent_at > PAWS_LIFETIME:
        return True
    _drop(c, a, "paws", now)
    _correct(c, a, now)
    return False


def _check_sequence(c: Connection, a: Arrival, now: int) -> bool:
    """First: check sequence number; then cut the segment to the window."""
    rcv_nxt, edge = c.rcv_nxt, c.window.edge
    if c.state is State.SYN_RCVD and c.listener is None and _completes_simultaneous_open(c, a):
        a.flags &= ~tcp.SYN
        a.sequence = rcv_nxt
    if not _acceptable(c, a):
        return _unacceptable(c, a, now)
    timestamp = a.segment.options.timestamp
    if c.timestamps and timestamp is not None and a.sequence <= c.last_ack_sent:
        a.stamp = timestamp[0]
    if a.sequence < rcv_nxt:
        _cut_left(c, a, rcv_nxt)
    if a.end > edge and not a.flags & tcp.SYN:
        a.fin = False
        a.data = a.data[: max(edge - a.sequence, 0)]
        a.end = a.sequence + len(a.data)
    return True


def _acceptable(c: Connection, a: Arrival) -> bool:
    """The four cases of RFC 9293 section 3.4. The edge itself is for acknowledgments, not for resets."""
    if a.flags & tcp.RST and c.rcv_nxt < a.sequence == c.window.edge:
        return False
    return c.window.acceptable(a.sequence, a.end - a.sequence)


def _completes_simultaneous_open(c: Connection, a: Arrival) -> bool:
    """The peer's SYN came before; this is its SYN,ACK (RFC 9293 figure 7)."""
    return a.flags & (tcp.SYN | tcp.ACK) == tcp.SYN | tcp.ACK and a.segment.sequence == wrap(c.irs)


def _cut_left(c: Connection, a: Arrival, rcv_nxt: int) -> None:
    """What has come before is not new; it is reported (RFC 2883)."""
    if a.data:
        c.receive_buffer.duplicated(a.sequence, min(rcv_nxt, a.sequence + len(a.data)))
    if a.flags & (tcp.SYN | tcp.RST):
        return  # it gets a challenge, whatever else it carries: only its own number could be the right one
    a.data = a.data[rcv_nxt - a.sequence :]
    a.sequence = rcv_nxt
    c.acknowledge_now()


def _unacceptable(c: Connection, a: Arrival, now: int) -> bool:
    """Tell the peer where we are, unless it was a reset. At a shut window the rest of a segment still counts."""
    if not a.flags & tcp.RST and c.window.edge == c.rcv_nxt == a.sequence and not a.flags & tcp.SYN:
        a.data, a.fin, a.end = a.data[:0], False, a.sequence  # a window probe (RFC 9293 section 3.10.7.4)
        c.acknowledge_now()
        return True
    _drop(c, a, "outside_window", now)
    if a.flags & tcp.RST:
        return False  # RFC 5961 section 3.2
    if c.state is State.SYN_RCVD and a.flags & tcp.SYN and a.segment.sequence == wrap(c.irs):
        c.ect = c.ect and opening.asks_for_ecn(a.flags)
        opening.repeat_syn(c, now)  # the peer's SYN again: our SYN,ACK was lost
    else:
        c.receive_buffer.duplicated(a.sequence, min(c.rcv_nxt, a.sequence + len(a.data)))
        _correct(c, a, now)
    return False


def _correct(c: Connection, a: Arrival, now: int) -> None:
    """Tell the peer where we are. Two peers that disagree must not go on correcting each other's acknowledgments for
    ever, so those without data are answered within bounds only (RFC 5961 section 7). A keep-alive, or a window probe
    as Linux sends it, is answered in any case, as often as a live peer asks."""
    if a.data or a.fin:
        c.acknowledge_now()
    elif a.end == c.rcv_nxt - 1 and now - c.probe_answered_at >= PROBE_ANSWER_INTERVAL:
        c.probe_answered_at = now
        c.acknowledge_now()
    else:
        c.challenge(now)


def _check_reset(c: Connection, a: Arrival, now: int) -> bool:
    """Second: check the RST bit. Only the exact number resets (RFC 5961 section 3.2), unless a setting asks for the
    rule of RFC 793, by which the window that was checked before is enough."""
    if not a.flags & tcp.RST:
        return True
    if a.sequence != c.rcv_nxt and c.layer.settings.exact_resets:
        _drop(c, a, "inexact_reset", now)
        c.challenge(now)
    else:
        closing.reset(c, now)
    return False


def _check_syn(c: Connection, a: Arrival, now: int) -> bool:
    """Fourth: check the SYN bit: never on an open connection (RFC 5961 section 4.2)."""
    if not a.flags & tcp.SYN:
        return True
    _drop(c, a, "syn_in_window", now)
    c.challenge(now)
    return False


def _check_acknowledgment(c: Connection, a: Arrival, now: int) -> bool:
    """Fifth: check the ACK field."""
    if not a.flags & tcp.ACK:
        _drop(c, a, "no_ack", now)
        return False
    ack = a.acknowledgment
    if c.state is State.SYN_RCVD and not _take_syn_acknowledgment(c, a, now):
        return False
    if c.probe_end is not None and ack == c.probe_end:
        progress.probe_taken(c, now)
    if ack > c.snd_nxt:
        _drop(c, a, "acks_unsent", now)
        c.challenge(now)
        return False
    if ack < c.snd_una - c.snd_max_wnd:
        _drop(c, a, "ack_too_old", now)  # RFC 5961 section 5.2
        c.challenge(now)
        return False
    if ack < c.snd_una:
        return True  # old: its text may still be new
    opening.take_user_timeout(c, a.segment)
    progress.acknowledged(c, a.segment, ack, a.end == a.sequence, now)
    progress.update_window(c, a.segment, a.sequence, ack, now)
    return not c.fin_acknowledged or closing.fin_acknowledged(c, a, now)


def _take_syn_acknowledgment(c: Connection, a: Arrival, now: int) -> bool:
    """SYN_RCVD: the handshake completes, unless the number is wrong or nobody could accept it."""
    if not c.snd_una < a.acknowledgment <= c.snd_nxt:
        _drop(c, a, "unacceptable_ack", now)
        c.layer.answer_reset(c.key, a.segment.acknowledgment, now)
        return False
    if c.listener is not None and not c.listener.has_room():
        c.layer.counters.listen_overflows += 1
        _drop(c, a, "backlog_full", now)
        return False  # the peer's data, or our SYN,ACK again, brings the next chance
    syn_sent.opened(c, a.segment, a.sequence, a.acknowledgment, now)
    c.move(Trigger.SYN_ACKNOWLEDGED, now)
    if c.listener is not None:
        c.listener.opened(c, now)
    closing.close_if_wanted(c, now)
    c.wake()
    return True


def _take_timestamp(c: Connection, a: Arrival, now: int) -> bool:
    """RFC 7323 section 4.3: of segments that are taken, those that begin where we have acknowledged, or before."""
    if a.stamp is not None:
        c.ts_recent, c.ts_recent_at = a.stamp, now
    return True


def _take_urgent(c: Connection, a: Arrival, now: int) -> bool:  # noqa: ARG001 (the surface of a step)
    """Sixth: check the URG bit. RCV.UP = max(RCV.UP, SEG.UP); the program is told once per pointer."""
    if a.flags & tcp.URG and c.state in CAN_RECEIVE:
        pointer = unwrap(a.segment.sequence, a.sequence) + a.segment.urgent
        if pointer > (c.rcv_up or 0) and pointer > c.rcv_nxt:
            c.rcv_up = pointer
            c.wake()
    return True


def _take_text(c: Connection, a: Arrival, now: int) -> bool:
    """Seventh: process the segment text."""
    if not a.data:
        return True
    cwr = bool(a.flags & tcp.CWR)
    if c.ecn and (a.congested or cwr):
        c.acks.ecn(a.congested, cwr)
    if c.state not in CAN_RECEIVE:
        _drop(c, a, "text_after_fin", now)
        return False
    if c.cancelled:
        output.send_reset(c, now)
        c.refuse_data(now)
        return False
    buffer = c.receive_buffer
    if c.layer.memory.refusing and (buffer.available or a.sequence > buffer.rcv_nxt):
        _drop(c, a, "no_memory", now)  # not acknowledged: it comes again
        return False
    before = buffer.rcv_nxt
    gaps = buffer.has_gaps
    if c.peer_fin is not None:
        a.data = a.data[: max(c.peer_fin - a.sequence, 0)]  # a FIN came already: behind it there is nothing
    elif a.fin:
        c.peer_fin = a.sequence + len(a.data)  # before the data is acknowledged: SACK blocks tell of it
    buffer.insert(a.sequence, a.data)
    c.layer.counters.in_octets += len(a.data)
    in_order = buffer.rcv_nxt > before
    if in_order and not gaps:
        c.acks.received(buffer.rcv_nxt - before, now)
    else:
        c.acks.demand()  # RFC 5681 section 4.2
    if in_order:
        c.wake()
    else:
        c.fin_is_newest = False
        output.send_ack(c, now, "duplicate")  # each at once: who has no SACK counts them
    c.mark()
    return True


def _take_fin(c: Connection, a: Arrival, now: int) -> bool:
    """Eighth: check the FIN bit. A FIN behind a gap waits for what is missing."""
    if a.fin and c.peer_fin is None and c.state in CAN_RECEIVE:
        c.peer_fin = a.sequence + len(a.data)
        if c.peer_fin > c.rcv_nxt and not a.data:
            c.fin_is_newest = True
            output.send_ack(c, now, "duplicate")  # out of order, as text would be
    buffer = c.receive_buffer
    if c.peer_fin is not None and buffer.rcv_nxt >= c.peer_fin and not buffer.finished:
        c.peer_fin = buffer.rcv_nxt  # later than said where what was held lay beyond it
        buffer.finish()
        closing.fin_received(c, now)
    return True


STEPS = (
    _check_timestamps,
    _check_sequence,
    _check_reset,
    _check_syn,
    _check_acknowledgment,
    _take_timestamp,
    _take_urgent,
    _take_text,
    _take_fin,
)


def _drop(c: Connection, a: Arrival, reason: str, now: int) -> None:
    c.layer.dropped(c.key, a.segment, reason, now)
