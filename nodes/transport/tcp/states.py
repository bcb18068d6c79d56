"""The states of a connection and what moves it from one to the next (RFC 9293 section 3.3.2).

A connection is two streams, one each way, that are opened together and closed apart. Its state says how far each
side's SYN and FIN have come:

    opening     CLOSED        there is nothing: no connection, no memory of one
                LISTEN        somebody waits for any peer's SYN
                SYN_SENT      our SYN is out, the peer's has not come
                SYN_RCVD      both SYNs are out, ours is not acknowledged
    open        ESTABLISHED   both are acknowledged: data goes both ways
    we close    FIN_WAIT_1    our FIN is out; the peer may go on sending
    first       FIN_WAIT_2    our FIN is acknowledged: half closed, we only receive
                CLOSING       both FINs are out and ours is not acknowledged: both closed at once
                TIME_WAIT     all is done; wait until no old segment can be on its way any more
    the peer    CLOSE_WAIT    its FIN came; we may go on sending
    first       LAST_ACK      our FIN is out too, its acknowledgment is the end

**Opening.** The usual way is SYN_SENT on the one side, LISTEN and SYN_RCVD on the other. Two peers that call each
other at the same time both go from SYN_SENT to SYN_RCVD, and the result is one connection (MUST-10). SYN_RCVD
remembers where it came from: a reset takes a connection that began in LISTEN back there, silently, and one that began
in SYN_SENT to CLOSED with an error (MUST-11). A listener that keeps no half-open connections but SYN cookies
(RFC 4987 section 3.6) goes from LISTEN to ESTABLISHED by the acknowledgment of a SYN it has forgotten.

**Closing.** CLOSE says "I have no more to send" and nothing about receiving, so each side closes for itself. The side
that closes first ends in TIME_WAIT, which lasts twice the maximum segment lifetime for two reasons: the last
acknowledgment may have been lost, then the peer's FIN comes again and has to be answered; and delayed segments of
this connection must not be taken for those of the next between the same ports (MUST-13). A newer SYN may cut it short
where timestamps or sequence numbers prove that it is new (RFC 6191).

**Ending badly.** From nearly everywhere, a reset, an abort by the user, or too long a silence leads to CLOSED at once.
Two timers are ours and not the RFC's: a half-closed connection whose user is gone does not wait for the peer's FIN for
ever, and where too many wait in TIME_WAIT the oldest is evicted.

**What is not here.** A FIN in SYN_RCVD moves to ESTABLISHED first, because a segment's ACK is processed before its
FIN, and one without ACK is dropped (RFC 9293 section 3.10.7.4). A SYN in a synchronized state changes nothing: it is
answered by a challenge ACK (RFC 5961 section 4). Triggers are things that happened, never flags of a segment: an ACK
is `FIN_ACKNOWLEDGED` only where it covers our FIN.

docs/tcp-states.svg is drawn from `EDGES`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from nodes.errors import MisuseError


class State(StrEnum):
    """The eleven states; text as traces and tables show it. Hashed and compared as text: no cost over a constant."""

    CLOSED = "closed"
    LISTEN = "listen"
    SYN_SENT = "syn_sent"
    SYN_RCVD = "syn_rcvd"
    ESTABLISHED = "established"
    FIN_WAIT_1 = "fin_wait_1"
    FIN_WAIT_2 = "fin_wait_2"
    CLOSE_WAIT = "close_wait"
    CLOSING = "closing"
    LAST_ACK = "last_ack"
    TIME_WAIT = "time_wait"


class Trigger(StrEnum):
    """What can move a connection. First the user's calls, then what segments do, then what else ends it."""

    PASSIVE_OPEN = "passive_open"
    ACTIVE_OPEN = "active_open"
    SEND = "send"
    CLOSE = "close"
    ABORT = "abort"

    SYN_RECEIVED = "syn_received"
    SYN_ACK_RECEIVED = "syn_ack_received"
    """A SYN that acknowledges ours."""
    SYN_ACKNOWLEDGED = "syn_acknowledged"
    COOKIE_RECEIVED = "cookie_received"
    """The acknowledgment of a SYN of which only the cookie is left."""
    FIN_RECEIVED = "fin_received"
    """The peer's FIN, all its data before it."""
    FIN_ACKNOWLEDGED = "fin_acknowledged"
    FIN_RECEIVED_AND_ACKNOWLEDGED = "fin_received_and_acknowledged"
    """One segment with the peer's FIN and the acknowledgment of ours."""
    RESET_RECEIVED = "reset_received"
    RESET_RECEIVED_PASSIVE = "reset_received_passive"
    """A reset, for a connection that began in LISTEN."""

    TIME_WAIT_EXPIRED = "time_wait_expired"
    FIN_WAIT_2_EXPIRED = "fin_wait_2_expired"
    USER_TIMEOUT = "user_timeout"
    """Nothing was acknowledged for as long as R2, or the user's timeout, allows."""
    KEEP_ALIVE_EXPIRED = "keep_alive_expired"
    UNREACHABLE = "unreachable"
    """A hard ICMP error (RFC 5927 section 5.2: only while opening)."""
    REUSED = "reused"
    """A newer SYN between the same ports (RFC 6191)."""
    EVICTED = "evicted"
    """The table that holds it is full."""


class Edge(NamedTuple):
    """`sends` is what goes to the peer, if anything: flags of a segment."""

    state: State
    trigger: Trigger
    sends: str
    to: State


SYNCHRONIZED = frozenset(State) - {State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RCVD}
"""Both SYNs are acknowledged (RFC 9293 section 3.5.1)."""
CAN_SEND = frozenset({State.ESTABLISHED, State.CLOSE_WAIT})
"""Our FIN is not queued: new data may be sent."""
CAN_RECEIVE = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
"""The peer's FIN has not come: new data may arrive."""


_FIGURE_5 = (
    Edge(State.CLOSED, Trigger.PASSIVE_OPEN, "", State.LISTEN),
    Edge(State.CLOSED, Trigger.ACTIVE_OPEN, "SYN", State.SYN_SENT),
    Edge(State.LISTEN, Trigger.CLOSE, "", State.CLOSED),
    Edge(State.LISTEN, Trigger.SEND, "SYN", State.SYN_SENT),
    Edge(State.LISTEN, Trigger.SYN_RECEIVED, "SYN,ACK", State.SYN_RCVD),
    Edge(State.SYN_SENT, Trigger.CLOSE, "", State.CLOSED),
    Edge(State.SYN_SENT, Trigger.SYN_RECEIVED, "SYN,ACK", State.SYN_RCVD),
    Edge(State.SYN_SENT, Trigger.SYN_ACK_RECEIVED, "ACK", State.ESTABLISHED),
    Edge(State.SYN_RCVD, Trigger.SYN_ACKNOWLEDGED, "", State.ESTABLISHED),
    Edge(State.SYN_RCVD, Trigger.RESET_RECEIVED_PASSIVE, "", State.LISTEN),
    Edge(State.SYN_RCVD, Trigger.CLOSE, "FIN", State.FIN_WAIT_1),
    Edge(State.ESTABLISHED, Trigger.CLOSE, "FIN", State.FIN_WAIT_1),
    Edge(State.ESTABLISHED, Trigger.FIN_RECEIVED, "ACK", State.CLOSE_WAIT),
    Edge(State.FIN_WAIT_1, Trigger.FIN_ACKNOWLEDGED, "", State.FIN_WAIT_2),
    Edge(State.FIN_WAIT_1, Trigger.FIN_RECEIVED, "ACK", State.CLOSING),
    Edge(State.FIN_WAIT_1, Trigger.FIN_RECEIVED_AND_ACKNOWLEDGED, "ACK", State.TIME_WAIT),
    Edge(State.FIN_WAIT_2, Trigger.FIN_RECEIVED, "ACK", State.TIME_WAIT),
    Edge(State.CLOSING, Trigger.FIN_ACKNOWLEDGED, "", State.TIME_WAIT),
    Edge(State.CLOSE_WAIT, Trigger.CLOSE, "FIN", State.LAST_ACK),
    Edge(State.LAST_ACK, Trigger.FIN_ACKNOWLEDGED, "", State.CLOSED),
    Edge(State.TIME_WAIT, Trigger.TIME_WAIT_EXPIRED, "", State.CLOSED),
)

_SHORTCUTS = (
    Edge(State.LISTEN, Trigger.COOKIE_RECEIVED, "", State.ESTABLISHED),
    Edge(State.FIN_WAIT_2, Trigger.FIN_WAIT_2_EXPIRED, "", State.CLOSED),
    Edge(State.TIME_WAIT, Trigger.REUSED, "", State.CLOSED),
    Edge(State.TIME_WAIT, Trigger.EVICTED, "", State.CLOSED),
)

_OPENING = frozenset({State.SYN_SENT, State.SYN_RCVD})
_WAITS_FOR_THE_PEER = _OPENING | SYNCHRONIZED - {State.TIME_WAIT}
_ENDS = {
    Trigger.RESET_RECEIVED: _OPENING | SYNCHRONIZED,
    Trigger.ABORT: frozenset(State) - {State.CLOSED},
    Trigger.USER_TIMEOUT: _WAITS_FOR_THE_PEER,
    Trigger.KEEP_ALIVE_EXPIRED: SYNCHRONIZED - {State.TIME_WAIT},
    Trigger.UNREACHABLE: _OPENING,
}
RESETTABLE = frozenset({State.SYN_RCVD, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT})
"""The states in which ABORT tells the peer (RFC 9293 section 3.10.5)."""

EDGES = (
    *_FIGURE_5,
    *_SHORTCUTS,
    *(
        Edge(state, trigger, "RST" if trigger is Trigger.ABORT and state in RESETTABLE else "", State.CLOSED)
        for trigger, states in _ENDS.items()
        for state in State
        if state in states
    ),
)
"""Figure 5 of RFC 9293 in its order, then what ends a connection before its time."""

TRANSITIONS = {(edge.state, edge.trigger): edge.to for edge in EDGES}


def next_state(state: State, trigger: Trigger) -> State:
    """Where `trigger` leads from `state`. Raises MisuseError where the table has no such edge."""
    following = TRANSITIONS.get((state, trigger))
    if following is None:
        raise MisuseError(f"a connection in state {state} cannot take {trigger}")
    return following
