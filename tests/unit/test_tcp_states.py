"""The state table: every state with every trigger, the sets made of states, and the picture in the docs."""

from __future__ import annotations

import errno
from collections import Counter
from xml.etree import ElementTree as ET

import pytest

from nodes.errors import MisuseError
from nodes.transport.tcp.states import (
    CAN_RECEIVE,
    CAN_SEND,
    EDGES,
    SYNCHRONIZED,
    TRANSITIONS,
    Edge,
    State,
    Trigger,
    next_state,
)
from tests.unit.tcp_state_diagram import PICTURE, WORDS, draw

# What the table must say, written apart from it: for each trigger, from where to where.
EXPECTED = {
    Trigger.PASSIVE_OPEN: "closed>listen",
    Trigger.ACTIVE_OPEN: "closed>syn_sent",
    Trigger.SEND: "listen>syn_sent",
    Trigger.CLOSE: "listen>closed syn_sent>closed syn_rcvd>fin_wait_1 established>fin_wait_1 close_wait>last_ack",
    Trigger.ABORT: "listen>closed syn_sent>closed syn_rcvd>closed established>closed fin_wait_1>closed"
    " fin_wait_2>closed close_wait>closed closing>closed last_ack>closed time_wait>closed",
    Trigger.SYN_RECEIVED: "listen>syn_rcvd syn_sent>syn_rcvd",
    Trigger.SYN_ACK_RECEIVED: "syn_sent>established",
    Trigger.SYN_ACKNOWLEDGED: "syn_rcvd>established",
    Trigger.COOKIE_RECEIVED: "listen>established",
    Trigger.FIN_RECEIVED: "established>close_wait fin_wait_1>closing fin_wait_2>time_wait",
    Trigger.FIN_ACKNOWLEDGED: "fin_wait_1>fin_wait_2 closing>time_wait last_ack>closed",
    Trigger.FIN_RECEIVED_AND_ACKNOWLEDGED: "fin_wait_1>time_wait",
    Trigger.RESET_RECEIVED: "syn_sent>closed syn_rcvd>closed established>closed fin_wait_1>closed fin_wait_2>closed"
    " close_wait>closed closing>closed last_ack>closed time_wait>closed",
    Trigger.RESET_RECEIVED_PASSIVE: "syn_rcvd>listen",
    Trigger.TIME_WAIT_EXPIRED: "time_wait>closed",
    Trigger.FIN_WAIT_2_EXPIRED: "fin_wait_2>closed",
    Trigger.USER_TIMEOUT: "syn_sent>closed syn_rcvd>closed established>closed fin_wait_1>closed fin_wait_2>closed"
    " close_wait>closed closing>closed last_ack>closed",
    Trigger.KEEP_ALIVE_EXPIRED: "established>closed fin_wait_1>closed fin_wait_2>closed close_wait>closed"
    " closing>closed last_ack>closed",
    Trigger.UNREACHABLE: "syn_sent>closed syn_rcvd>closed",
    Trigger.REUSED: "time_wait>closed",
    Trigger.EVICTED: "time_wait>closed",
}


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("state", State)
def test_every_state_with_every_trigger(state: State, trigger: Trigger) -> None:
    """MUST-10, MUST-11, MUST-13: RFC 9293 figure 5, and section 3.10 for what leads to CLOSED"""
    edges = dict(edge.split(">") for edge in EXPECTED[trigger].split())
    if state in edges:
        assert next_state(state, trigger) == edges[state]
    else:
        with pytest.raises(MisuseError, match=f"in state {state.value} cannot take {trigger.value}") as caught:
            next_state(state, trigger)
        assert caught.value.errno == errno.EINVAL


def test_eleven_states_named_as_in_traces() -> None:
    assert [state.value for state in State] == [state.name.lower() for state in State]
    assert len(State) == 11
    assert f"{State.TIME_WAIT}" == "time_wait"


def test_no_edge_twice() -> None:
    assert len(TRANSITIONS) == len(EDGES)
    assert set(Counter((edge.state, edge.trigger) for edge in EDGES).values()) == {1}


def test_every_state_can_be_reached_and_left() -> None:
    reached, grown = {State.CLOSED}, True
    while grown:
        before = len(reached)
        reached |= {edge.to for edge in EDGES if edge.state in reached}
        grown = len(reached) > before
    assert reached == set(State)
    assert {edge.state for edge in EDGES} == set(State)


def test_what_is_sent() -> None:
    """RFC 9293 figure 5 and section 3.10.5: a FIN by CLOSE and only by it, a reset by ABORT and only by it."""
    for edge in EDGES:
        assert (edge.sends == "FIN") == (edge.trigger is Trigger.CLOSE and edge.to is not State.CLOSED)
        assert edge.sends in ("", "RST") or edge.trigger is not Trigger.ABORT
        assert ("SYN" in edge.sends) == (edge.to in (State.SYN_SENT, State.SYN_RCVD))
        assert (edge.sends == "ACK") == (edge.trigger in ANSWERED)
    resetting = {edge.state for edge in EDGES if edge.sends == "RST"}
    assert resetting == {"syn_rcvd", "established", "fin_wait_1", "fin_wait_2", "close_wait"}


ANSWERED = {Trigger.SYN_ACK_RECEIVED, Trigger.FIN_RECEIVED, Trigger.FIN_RECEIVED_AND_ACKNOWLEDGED}


def test_sets() -> None:
    assert set(State) - SYNCHRONIZED == {"closed", "listen", "syn_sent", "syn_rcvd"}
    assert {"established", "close_wait"} == CAN_SEND
    assert {"established", "fin_wait_1", "fin_wait_2"} == CAN_RECEIVE


def test_the_sets_follow_from_the_table() -> None:
    """Who can still close can send; who can still get a FIN can receive."""
    closing = {edge.state for edge in EDGES if edge.trigger is Trigger.CLOSE and edge.sends == "FIN"}
    assert closing & SYNCHRONIZED == CAN_SEND
    assert {edge.state for edge in EDGES if edge.trigger is Trigger.FIN_RECEIVED} == CAN_RECEIVE


# --- the picture -----------------------------------------------------------------------------------------------------


def test_the_picture_is_drawn_from_the_table() -> None:
    advice = "run python -m tests.unit.tcp_state_diagram"
    assert PICTURE.read_text(encoding="utf-8") == draw(), advice


def test_the_picture_says_everything() -> None:
    words = Counter(element.text for element in ET.fromstring(draw()).iter("{http://www.w3.org/2000/svg}text"))
    for state in State:
        assert words[state.name] == (2 if state is State.CLOSED else 1)
    assert set(WORDS) == set(Trigger)
    assert [word for word in WORDS.values() if not words[word]] == []


@pytest.mark.parametrize(
    "edges",
    [
        [edge for edge in EDGES if edge.trigger is not Trigger.COOKIE_RECEIVED],
        [*EDGES, Edge(State.CLOSED, Trigger.COOKIE_RECEIVED, "", State.ESTABLISHED)],
    ],
    ids=["an edge less", "an edge more"],
)
def test_another_table_has_no_picture(edges: list[Edge]) -> None:
    with pytest.raises(ValueError, match="without a place"):
        draw(edges)
