"""SEGMENT ARRIVES, whole: runs the table of `tests.script.tcp_matrix`, cell by cell."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from nodes.transport.tcp.states import State
from tests.script.tcp_capture import ACK, FIN, RST, SYN, Segment, distance
from tests.script.tcp_matrix import COLUMNS, ROWS, Row, Spot
from tests.script.tcp_peer import DELAYED_ACK, PORT, QUIET, Peer, Program
from tests.script.tcp_script import POSITIONS, THEIRS, Position, Script

NEWS = {errno.ECONNRESET: "reset", errno.ECONNREFUSED: "refused"}
HAS_EOF = (State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)


def cells() -> Iterator[object]:
    for entry in ROWS:
        for column in entry.cells:
            yield pytest.param(entry, column, id=f"{entry.name}-{column}")


@pytest.mark.parametrize(("entry", "column"), list(cells()))
def test_cell(script: Script, entry: Row, column: str) -> None:
    """B-CLOSED, B-LISTEN, B-SYNSENT, B-SEQ, B-RST, B-SYN, B-ACK, B-FIN, B-TW, B-WRAP: the rules of the rows."""
    state, passive = COLUMNS[column]
    peer = script.in_state(state, passive=passive)
    position = POSITIONS[state]
    spot = Spot(*position, peer.edge if peer.flow.edge else 70_000, state in (State.SYN_SENT, State.SYN_RCVD))
    arguments = entry.segment(spot)
    peer.send(**arguments)
    if not script.out:
        script.advance_to_output(DELAYED_ACK - 1)
    script.advance(QUIET)
    seen = _outcome(script, peer, state, position, arguments)
    allowed = [_normal(text) for text in entry.cells[column].split("|")]
    script.check(seen in allowed, f"{entry.name} in {column} ({entry.rules}): seen {seen!r}, expected {allowed}")
    _check_next(peer, passive)


def _outcome(script: Script, peer: Peer, state: State, position: Position, arguments: dict[str, object]) -> str:
    """What happened, in the words of the table."""
    new = peer.state
    news = _news(peer, state)
    received = position.rcv_nxt
    if state is State.SYN_SENT and new is not State.SYN_SENT:
        received += 1
    received += len(THEIRS) if "data" in news else 0
    received += "eof" in news
    answers = [_answer(peer, segment, position.nxt, received, arguments) for segment in script.out]
    script.out.clear()
    change = f" > {new.value}" if new is not state else ""
    return " + ".join(answers or ["."]) + change + (f", {' '.join(news)}" if news else "")


def _news(peer: Peer, state: State) -> list[str]:
    """What the program sees that it did not see before."""
    program = peer.program
    if program.socket is None:
        return []
    if state in (State.LISTEN, State.SYN_RCVD) and program.state is State.LISTEN:
        accepted = program.accepted()
        if accepted is None:
            return []
        peer.program = program = accepted
    news = _read(program)
    if state in HAS_EOF and news[:1] == ["eof"]:
        news = news[1:]  # it is true still
    return news


def _read(program: Program) -> list[str]:
    seen = program.sees()
    if seen is None:
        return []
    if isinstance(seen, int):
        return [NEWS.get(seen, errno.errorcode[seen])]
    if not seen:
        return ["eof"]
    assert seen == THEIRS, "the data is not what was sent"
    return ["data", *_read(program)]


def _answer(peer: Peer, segment: Segment, nxt: int, received: int, arguments: dict[str, object]) -> str:
    """The word for a segment of the node, or its numbers where it is not exactly what a word stands for."""
    seq, ack = peer.relative(segment), peer.relative_ack(segment)
    flags = segment.flags
    length = len(arguments.get("data", b"")) + bool(arguments["flags"] & SYN) + bool(arguments["flags"] & FIN)
    if segment.payload:
        return str(segment)
    if flags == ACK and (seq, ack) == (nxt, received):
        return "ack"
    if flags == SYN | ACK and (seq, ack) == (0, 1):
        return "syn,ack"
    if flags == RST and "ack" in arguments and distance(seq, arguments["ack"]) == 0:
        return "rst"
    if flags == RST | ACK and segment.sequence == 0 and ack == arguments["seq"] + length:
        return "rst,ack"
    return f"{segment} (relative {seq}, {ack})"


def _normal(text: str) -> str:
    return " ".join(text.split())


def _check_next(peer: Peer, passive: bool) -> None:
    """The state is what events say: nobody is there after `closed`, a listener after `listen`."""
    script = peer.script
    if peer.state is State.CLOSED:
        peer.send(ACK, seq=500, ack=777)
        peer.expect_reset(seq=777)
    elif peer.state is State.LISTEN and passive:
        fresh = script.peer(port=5999, local_port=PORT)
        fresh.send(SYN, seq=0)
        fresh.expect(SYN | ACK, seq=0, ack=1)
    elif not passive and peer.program.socket is not None:
        script.check(peer.program.state is peer.state, f"events say {peer.state}, the socket {peer.program.state}")
    peer.expect_nothing()
