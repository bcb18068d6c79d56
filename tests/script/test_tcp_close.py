"""Closing connections (RFC 9293 sections 3.6, 3.10.4, 3.10.5): who closes first, half-closes, both at once; what a
program that is gone leaves behind; TIME_WAIT."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable

import pytest

from nodes.errors import DisconnectedError, MisuseError
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from tests.script.tcp_capture import ACK, FIN, MODULUS, PSH, RST, SYN, distance, mss, timestamps
from tests.script.tcp_peer import PORT, Peer
from tests.script.tcp_script import DEFAULTS, OURS, POSITIONS, THEIRS, Script

Maker = Callable[..., Script]
TWO_MSL = 2 * DEFAULTS.msl


def expect_gone(peer: Peer) -> None:
    """No connection: what belongs to it is reset (B-CLOSED-2)."""
    assert peer.state is State.CLOSED
    peer.send(ACK, seq=102, ack=202)
    peer.expect_reset(seq=202)


def expect_reset_from(peer: Peer, nxt: int) -> None:
    """RST at SND.NXT (RFC 9293 section 3.10.5), with or without an ACK."""
    script = peer.script
    script.check(len(script.out) == 1, f"one RST expected, seen {[str(segment) for segment in script.out]}")
    segment = script.out.popleft()
    script.check(segment.flags & ~ACK == RST and peer.relative(segment) == nxt, f"RST expected, seen {segment}")


# ----------------------------------------------------------------------------------------------- close in every state


CLOSE = {
    State.SYN_SENT: ("", State.CLOSED),
    State.ESTABLISHED: ("fin", State.FIN_WAIT_1),
    State.FIN_WAIT_1: ("", State.FIN_WAIT_1),
    State.FIN_WAIT_2: ("", State.FIN_WAIT_2),
    State.CLOSE_WAIT: ("fin", State.LAST_ACK),
    State.CLOSING: ("", State.CLOSING),
    State.LAST_ACK: ("", State.LAST_ACK),
    State.TIME_WAIT: ("", State.TIME_WAIT),
}


@pytest.mark.parametrize("call", ["close", "shutdown"])
@pytest.mark.parametrize("state", CLOSE, ids=str)
def test_close(script: Script, state: State, call: str) -> None:
    """MUST-12, RFC 9293 section 3.10.4: a FIN where there was none."""
    peer = script.in_state(state)
    sends, to = CLOSE[state]
    getattr(peer.program, call)()
    if sends:
        peer.expect(FIN | ACK, seq=201, ack=POSITIONS[state].rcv_nxt)
    peer.expect_nothing()
    assert peer.state is to


def test_close_of_an_unused_socket(script: Script) -> None:
    program = script.open()
    program.close()
    program.close()
    script.expect_nothing(10 * SECOND)


def test_close_while_opening_answers_late_syn_ack_with_reset(script: Script) -> None:
    """RFC 9293 section 3.10.4, SYN-SENT: the connection is forgotten."""
    peer = script.in_state(State.SYN_SENT)
    peer.program.close()
    peer.expect_nothing(30 * SECOND)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect_reset(seq=1)


@pytest.mark.parametrize("call", ["close", "shutdown"])
def test_close_in_syn_received(script: Script, call: str) -> None:
    """RFC 9293 section 3.10.4, SYN-RECEIVED: a FIN, now or as soon as the connection is there."""
    peer = script.in_state(State.SYN_RCVD)
    getattr(peer.program, call)()
    if script.out:
        peer.expect(FIN | ACK, seq=1, ack=1)
        peer.send(ACK, seq=1, ack=1)
    else:
        peer.send(ACK, seq=1, ack=1)
        peer.expect(FIN | ACK, seq=1, ack=1)
    assert peer.state is State.FIN_WAIT_1
    peer.send(ACK, seq=1, ack=2)
    assert peer.state is State.FIN_WAIT_2


ABORT_RESETS = (State.SYN_RCVD, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT)
ABORT_SILENT = (State.SYN_SENT, State.CLOSING, State.LAST_ACK)


@pytest.mark.parametrize("state", ABORT_RESETS + ABORT_SILENT, ids=str)
def test_abort(script: Script, state: State) -> None:
    """RFC 9293 section 3.10.5: RST where the peer would wait, nothing is sent again, nobody is there any more."""
    peer = script.in_state(state)
    peer.program.abort()
    if state in ABORT_RESETS:
        expect_reset_from(peer, POSITIONS[state].nxt)
    peer.expect_nothing(100 * SECOND)
    expect_gone(peer)


def test_abort_in_time_wait(script: Script) -> None:
    """RFC 9293 section 3.10.5 would forget the connection; that the peer's FIN is still answered does no harm."""
    peer = script.in_state(State.TIME_WAIT)
    peer.program.abort()
    peer.expect_nothing(10 * SECOND)


def test_abort_with_data_that_was_not_sent(script: Script) -> None:
    """RFC 9293 section 3.10.5: the RST has SND.NXT, where the peer expects it, not the end of what was queued."""
    peer = script.established()
    peer.send(ACK, seq=1, ack=1, win=1460)
    peer.program.send(bytes(10_000))
    peer.expect(ACK, seq=1, ack=1, data=1460)
    peer.program.abort()
    expect_reset_from(peer, 1461)


# ---------------------------------------------------------------------------------------------------- who closes first


def test_node_closes_first(script: Script) -> None:
    """MUST-13 (RFC 9293 figure 12): FIN, ACK, FIN, ACK, then 2 MSL of TIME_WAIT, then nothing."""
    peer = script.established()
    program = peer.program
    program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2)
    assert program.state is State.FIN_WAIT_2
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_ack(seq=2, ack=2)
    assert program.state is State.TIME_WAIT
    assert program.sees() == b""
    peer.expect_nothing(TWO_MSL - SECOND)
    assert program.state is State.TIME_WAIT
    peer.expect_nothing(SECOND)
    assert program.state is State.CLOSED
    expect_gone(peer)


def test_peer_closes_first(script: Script) -> None:
    """B-FIN-1: CLOSE_WAIT, LAST_ACK, and nothing to wait for after the peer's ACK."""
    peer = script.established()
    peer.send(FIN | ACK, seq=1, ack=1)
    peer.expect_ack(seq=1, ack=2)
    assert peer.program.sees() == b""
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=2)
    peer.send(ACK, seq=2, ack=2)
    peer.expect_nothing(300 * SECOND)
    expect_gone(peer)


def test_both_close_at_once(script: Script) -> None:
    """RFC 9293 figure 13: the FINs cross; both end in TIME_WAIT."""
    peer = script.established()
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(FIN | ACK, seq=1, ack=1)
    peer.expect_ack(seq=2, ack=2)
    assert peer.state is State.CLOSING
    peer.send(ACK, seq=2, ack=2)
    assert peer.state is State.TIME_WAIT
    peer.expect_nothing(TWO_MSL)
    expect_gone(peer)


def test_fin_that_acknowledges_ours(script: Script) -> None:
    """B-FIN-1: FIN_WAIT_1 to TIME_WAIT in one segment."""
    peer = script.established()
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_ack(seq=2, ack=2)
    assert peer.state is State.TIME_WAIT


def test_acknowledgment_short_of_the_fin(script: Script) -> None:
    """FIN_WAIT_1 ends with the ACK of the FIN, not with that of the data before it."""
    peer = script.in_state(State.FIN_WAIT_1)
    for ack in (150, 201):
        peer.send(ACK, seq=101, ack=ack)
        assert peer.state is State.FIN_WAIT_1
    peer.send(ACK, seq=101, ack=202)
    assert peer.state is State.FIN_WAIT_2


def test_fin_leaves_after_all_data(script: Script) -> None:
    """RFC 9293 section 3.10.4: what was sent before CLOSE is sent before the FIN."""
    peer = script.established()
    peer.program.send(bytes(3000))
    peer.program.close()
    segments = [script.out.popleft() for _ in range(len(script.out))]
    while sum(segment.length for segment in segments) < 3001:
        peer.send(ACK, seq=1, ack=1 + sum(segment.length for segment in segments))
        script.check(bool(script.out), "data or FIN is missing")
        segments += [script.out.popleft() for _ in range(len(script.out))]
    assert [bool(segment.flags & FIN) for segment in segments] == [False] * (len(segments) - 1) + [True]
    assert sum(len(segment.payload) for segment in segments) == 3000
    peer.send(ACK, seq=1, ack=3002)
    assert peer.state is State.FIN_WAIT_2


def test_fin_behind_a_hole_that_acknowledges_ours(script: Script) -> None:
    """B-FIN-2: the acknowledgment counts at once, the FIN when the hole is filled."""
    peer = script.in_state(State.FIN_WAIT_1)
    peer.send(FIN | ACK, seq=201, ack=202)
    peer.expect(ACK, seq=202, ack=101)
    assert peer.state is State.FIN_WAIT_2
    peer.send(ACK, seq=101, ack=202, data=THEIRS)
    peer.expect_ack(seq=202, ack=202)
    assert peer.state is State.TIME_WAIT


def test_hole_filled_by_what_acknowledges_our_fin(script: Script) -> None:
    """B-FIN-2: the same in the other order."""
    peer = script.in_state(State.FIN_WAIT_1)
    peer.send(FIN | ACK, seq=201, ack=101)
    peer.expect(ACK, seq=202, ack=101)
    assert peer.state is State.FIN_WAIT_1
    peer.send(ACK, seq=101, ack=202, data=THEIRS)
    peer.expect_ack(seq=202, ack=202)
    assert peer.state is State.TIME_WAIT
    assert peer.program.sees() == THEIRS


def test_half_close(script: Script) -> None:
    """MAY-1, B-FIN-4: after our FIN the peer's data is still taken, acknowledged and delivered, in both states."""
    peer = script.established()
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"one")
    peer.expect_ack(seq=2, ack=4)
    peer.send(ACK | PSH, seq=4, ack=2, data=b"two")
    peer.expect_ack(seq=2, ack=7)
    assert peer.program.sees() == b"onetwo"
    peer.send(FIN | ACK | PSH, seq=7, ack=2, data=b"three")
    peer.expect_ack(seq=2, ack=13)
    assert peer.program.sees() == b"three"
    assert peer.program.sees() == b""


def test_half_close_lasts(script: Script) -> None:
    """A half-closed connection whose program is there is no orphan: it stays as long as it likes."""
    peer = script.in_state(State.FIN_WAIT_2)
    peer.expect_nothing(3600 * SECOND)
    assert peer.state is State.FIN_WAIT_2
    peer.send(ACK | PSH, seq=101, ack=202, data=b"late")
    peer.expect_ack(seq=202, ack=105)
    assert peer.program.sees() == b"late"


def test_peer_half_closes(script: Script) -> None:
    """RFC 9293 section 3.6: in CLOSE_WAIT we go on sending."""
    peer = script.in_state(State.CLOSE_WAIT)
    peer.send(ACK, seq=102, ack=201)
    for seq in (201, 301):
        peer.program.send(OURS)
        peer.expect(ACK, seq=seq, ack=102, data=OURS)
        peer.send(ACK, seq=102, ack=seq + 100)
    assert peer.program.sees() == b""


def test_end_of_stream_is_told_again_and_again(script: Script) -> None:
    """MUST-12: an orderly end is b"", after all data, however often one asks."""
    peer = script.established()
    peer.send(FIN | ACK | PSH, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=102)
    assert peer.program.receive(60) == THEIRS[:60]
    assert peer.program.receive() == THEIRS[60:]
    assert [peer.program.receive() for _ in range(3)] == [b"", b"", b""]


def test_reader_is_woken_by_fin(script: Script) -> None:
    peer = script.established()
    script.stack.drain_ready()
    peer.send(FIN | ACK, seq=1, ack=1)
    peer.expect_ack(seq=1, ack=2)
    assert peer.program.socket in script.stack.drain_ready()
    assert peer.program.socket.readable


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT], ids=str)
def test_reader_is_woken_by_reset(script: Script, state: State) -> None:
    """MUST-12: an abort of the peer is an error, told once."""
    peer = script.in_state(state)
    script.stack.drain_ready()
    peer.send(RST, seq=POSITIONS[state].rcv_nxt)
    assert peer.program.socket in script.stack.drain_ready()
    assert peer.program.socket.readable
    assert peer.program.sees() == errno.ECONNRESET
    assert peer.program.state is State.CLOSED


def test_send_after_reset(script: Script) -> None:
    """MUST-12: the writer learns of it too, and gets EPIPE from then on."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(RST, seq=101)
    errors = []
    for _ in range(2):
        with pytest.raises(DisconnectedError) as caught:
            peer.program.send(b"x")
        errors.append(caught.value.errno)
    assert errors == [errno.ECONNRESET, errno.EPIPE]


def test_nothing_is_sent_after_reset(script: Script) -> None:
    """RFC 9293 section 3.10.7.4, second: the queues are flushed."""
    peer = script.in_state(State.ESTABLISHED)
    peer.program.send(bytes(100_000))
    script.out.clear()
    peer.send(RST, seq=101)
    peer.expect_nothing(100 * SECOND)


def test_misuse_after_close(script: Script) -> None:
    """The program's own errors: EBADF after close, EPIPE after shutdown, nothing for repeating either."""
    peer = script.established()
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.program.shutdown()
    with pytest.raises(DisconnectedError) as caught:
        peer.program.send(b"x")
    assert caught.value.errno == errno.EPIPE
    peer.program.close()
    peer.program.close()
    for call in (lambda: peer.program.send(b"x"), peer.program.receive, peer.program.shutdown):
        with pytest.raises(MisuseError) as misuse:
            call()
        assert misuse.value.errno == errno.EBADF
    peer.expect_nothing()


# ----------------------------------------------------------------------------------------------- the FIN is data too


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK], ids=str)
def test_fin_is_sent_again(script: Script, state: State) -> None:
    """B-FIN-3, 6298-5.4-6: after one second, and again after two more, until it is acknowledged."""
    peer = script.in_state(state)
    rcv_nxt = POSITIONS[state].rcv_nxt
    peer.send(ACK, seq=rcv_nxt, ack=201)
    assert peer.state is state
    for wait in (1, 2, 4):
        assert script.advance_to_output(10 * SECOND) == wait * SECOND
        peer.expect(FIN | ACK, seq=201, ack=rcv_nxt)
    peer.send(ACK, seq=rcv_nxt, ack=202)
    peer.expect_nothing(30 * SECOND)


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK], ids=str)
@pytest.mark.parametrize("closed", [True, False])
def test_fin_is_given_up(script: Script, state: State, closed: bool) -> None:
    """MUST-20: a peer that is gone keeps nothing: CLOSING has an exit, orphans end."""
    peer = script.in_state(state)
    if closed:
        peer.program.close()
    script.advance(2000 * SECOND)
    assert {segment.flags & ~PSH & ~FIN for segment in script.out} <= {ACK, RST, RST | ACK}
    script.out.clear()
    expect_gone(peer)
    if not closed and state is State.FIN_WAIT_1:
        assert peer.program.sees() == errno.ETIMEDOUT


def test_orphan_delivers_what_was_sent(script: Script) -> None:
    """After close the data is still repeated until it arrives."""
    peer = script.established()
    peer.program.send(OURS)
    peer.expect(ACK, seq=1, ack=1, data=OURS)
    peer.program.close()
    peer.expect(FIN | ACK, seq=101, ack=1)
    script.advance_to_output(2 * SECOND)
    again = script.out.popleft()
    assert (peer.relative(again), again.payload) == (1, OURS)
    script.out.clear()
    peer.send(ACK, seq=1, ack=102)
    assert peer.state is State.FIN_WAIT_2


# ----------------------------------------------------------------------------------------------- programs that are gone


def test_close_with_unread_data(script: Script) -> None:
    """SHLD-3: what arrived and was never read is lost: the peer hears of it by a reset."""
    peer = script.established()
    peer.send(ACK | PSH, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=101)
    peer.program.close()
    expect_reset_from(peer, 1)
    peer.expect_nothing(100 * SECOND)
    expect_gone(peer)


def test_close_with_unread_data_after_the_peers_fin(script: Script) -> None:
    """SHLD-3 in CLOSE_WAIT."""
    peer = script.established()
    peer.send(FIN | ACK | PSH, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=102)
    peer.program.close()
    expect_reset_from(peer, 1)
    expect_gone(peer)


def test_close_with_all_read(script: Script) -> None:
    """SHLD-3: the end of the stream is no data."""
    peer = script.established()
    peer.send(FIN | ACK | PSH, seq=1, ack=1, data=THEIRS)
    peer.expect_ack(seq=1, ack=102)
    assert peer.program.receive() == THEIRS
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=102)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_data_after_close(script: Script, acknowledged: bool) -> None:
    """SHLD-3: nobody will read it: reset, in FIN_WAIT_1 and in FIN_WAIT_2."""
    peer = script.established()
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2 if acknowledged else 1)
    peer.send(ACK | PSH, seq=1, ack=2 if acknowledged else 1, data=THEIRS)
    reset = script.out.popleft()
    assert reset.flags & RST
    assert peer.relative(reset) == 2
    peer.expect_nothing(100 * SECOND)
    expect_gone(peer)


def test_repeated_data_after_close(script: Script) -> None:
    """SHLD-3 is about data that nobody has read: what comes again because our ACK was lost is acknowledged again."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(ACK, seq=101, ack=201)
    peer.program.close()
    peer.expect(FIN | ACK, seq=201, ack=101)
    peer.send(ACK | PSH, seq=1, ack=201, data=THEIRS)
    peer.expect(ACK, seq=202, ack=101)
    assert peer.state is State.FIN_WAIT_1


def test_fin_after_close(script: Script) -> None:
    """SHLD-3 is about data: a FIN is what the closer waits for."""
    peer = script.established()
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_ack(seq=2, ack=2)
    assert peer.state is State.TIME_WAIT


def test_orphan_in_fin_wait_2(script: Script) -> None:
    """A peer that never closes does not keep an orphan: it ends after `TcpSettings.fin_wait_2`."""
    peer = script.established()
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2)
    peer.expect_nothing(DEFAULTS.fin_wait_2 - SECOND)
    assert peer.state is State.FIN_WAIT_2
    peer.expect_nothing(2 * SECOND)
    expect_gone(peer)
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_reset(seq=2)


def test_half_closed_becomes_orphan(script: Script) -> None:
    """The same where `shutdown` came first, and `close` in FIN_WAIT_2."""
    peer = script.in_state(State.FIN_WAIT_2)
    peer.expect_nothing(600 * SECOND)
    peer.program.close()
    peer.expect_nothing(DEFAULTS.fin_wait_2 + SECOND)
    expect_gone(peer)


def test_orphan_whose_peer_closes_in_time(script: Script) -> None:
    """The timer of FIN_WAIT_2 does not cut TIME_WAIT short."""
    peer = script.established()
    peer.program.close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(ACK, seq=1, ack=2)
    script.advance(DEFAULTS.fin_wait_2 - SECOND)
    peer.send(FIN | ACK, seq=1, ack=2)
    peer.expect_ack(seq=2, ack=2)
    script.advance(10 * SECOND)
    assert peer.state is State.TIME_WAIT


def test_linger_zero(script: Script) -> None:
    """B-API-4: close is an abort."""
    peer = script.in_state(State.ESTABLISHED)
    peer.program.socket.set_option("linger", 0, script.now)
    peer.program.close()
    expect_reset_from(peer, 201)
    peer.expect_nothing(100 * SECOND)
    expect_gone(peer)


def test_linger(script: Script) -> None:
    """B-API-4: a close that lingers is an orderly one where the peer answers in time."""
    peer = script.established()
    peer.program.send(OURS)
    peer.expect(ACK, seq=1, ack=1, data=OURS)
    peer.program.socket.set_option("linger", 5 * SECOND, script.now)
    peer.program.close()
    peer.expect(FIN | ACK, seq=101, ack=1)
    peer.send(FIN | ACK, seq=1, ack=102)
    peer.expect_ack(seq=102, ack=2)
    peer.expect_nothing(10 * SECOND)
    assert peer.state is State.TIME_WAIT


def test_linger_expires(script: Script) -> None:
    """B-API-4: after the time given, nothing of it is left."""
    peer = script.established()
    peer.program.send(OURS)
    peer.expect(ACK, seq=1, ack=1, data=OURS)
    peer.program.socket.set_option("linger", 5 * SECOND, script.now)
    peer.program.close()
    peer.expect(FIN | ACK, seq=101, ack=1)
    script.advance(6 * SECOND)
    script.out.clear()
    peer.expect_nothing(60 * SECOND)
    expect_gone(peer)


# ---------------------------------------------------------------------------------------------------------- TIME_WAIT


def test_time_wait_is_restarted_by_the_fin(script: Script) -> None:
    """MUST-13, B-TW-1: a repeated FIN is acknowledged, and 2 MSL begin again."""
    peer = script.in_state(State.TIME_WAIT)
    peer.expect_nothing(TWO_MSL - SECOND)
    peer.send(FIN | ACK, seq=101, ack=202)
    peer.expect(ACK, seq=202, ack=102)
    peer.expect_nothing(TWO_MSL - SECOND)
    assert peer.state is State.TIME_WAIT
    peer.expect_nothing(2 * SECOND)
    expect_gone(peer)


@pytest.mark.parametrize("seq", [-70_000, 50, 5000, 100_000])
def test_time_wait_is_not_restarted_by_another_fin(script: Script, seq: int) -> None:
    """B-TW-1: only the FIN that came before may be acknowledged and no more: another is forged."""
    peer = script.in_state(State.TIME_WAIT)
    peer.expect_nothing(TWO_MSL - SECOND)
    peer.send(FIN | ACK, seq=seq, ack=202)
    script.out.clear()
    peer.expect_nothing(2 * SECOND)
    expect_gone(peer)


def test_time_wait_is_not_restarted_by_an_ack(script: Script) -> None:
    """RFC 9293 section 3.10.7.4: only the FIN does that."""
    peer = script.in_state(State.TIME_WAIT)
    peer.expect_nothing(TWO_MSL - SECOND)
    peer.send(ACK, seq=102, ack=202)
    script.out.clear()
    peer.expect_nothing(2 * SECOND)
    expect_gone(peer)


def test_time_wait_lasts_as_long_as_the_node_says(make_script: Maker) -> None:
    """MUST-13 with an MSL of 30 seconds."""
    script = make_script(dataclasses.replace(DEFAULTS, msl=30 * SECOND))
    peer = script.in_state(State.TIME_WAIT)
    peer.expect_nothing(59 * SECOND)
    assert peer.state is State.TIME_WAIT
    peer.expect_nothing(2 * SECOND)
    expect_gone(peer)


def in_time_wait(script: Script, options: bytes = mss(1460), later: bytes = b"") -> Peer:
    """A connection that the node's listener accepted and its program closed; numbers are 2 on both sides."""
    peer = script.peer()
    listener = script.listen()
    peer.send(SYN, seq=0, options=options)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1, options=later)
    listener.accept().close()
    peer.expect(FIN | ACK, seq=1, ack=1)
    peer.send(FIN | ACK, seq=1, ack=2, options=later)
    peer.expect_ack(seq=2, ack=2)
    assert peer.state is State.TIME_WAIT
    peer.program = listener
    return peer


def test_new_syn_in_time_wait(script: Script) -> None:
    """MAY-2: a SYN beyond what was seen opens the next connection; our ISS is beyond what we used (RFC 1122 section
    4.2.2.13)."""
    old = in_time_wait(script)
    peer = script.peer(irs=script.numbers.irs + 100_000)
    peer.send(SYN, seq=0, options=mss(1460))
    answer = script.out.popleft()
    assert answer.flags == SYN | ACK
    assert peer.relative_ack(answer) == 1
    assert distance(answer.sequence, old.iss % MODULUS) >= 2
    peer.iss = answer.sequence
    peer.send(ACK, seq=1, ack=1)
    program = old.program.accept()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"second")
    peer.expect_ack(seq=1, ack=7)
    assert program.sees() == b"second"
    script.advance(TWO_MSL)
    assert program.state is State.ESTABLISHED


@pytest.mark.parametrize("seq", [0, 1, -1000])
def test_old_syn_in_time_wait(script: Script, seq: int) -> None:
    """MAY-2, 5961-4.2: a SYN that may be an old duplicate opens nothing: it is answered with an ACK."""
    peer = in_time_wait(script)
    peer.send(SYN, seq=seq)
    peer.expect(ACK, seq=2, ack=2)
    assert peer.program.accepted() is None


def test_new_syn_in_time_wait_by_timestamp(make_script: Maker) -> None:
    """SHLD-4 (RFC 6191 section 2): a newer timestamp proves that the SYN is new, whatever its number."""
    script = make_script()
    in_time_wait(script, mss(1460) + timestamps(1000), timestamps(1001))
    peer = script.peer(irs=script.numbers.irs - 50_000)
    peer.send(SYN, seq=0, options=mss(1460) + timestamps(2000))
    answer = script.out.popleft()
    assert answer.flags == SYN | ACK
    assert peer.relative_ack(answer) == 1


def test_old_timestamp_in_time_wait(make_script: Maker) -> None:
    """SHLD-4 (RFC 6191 section 2): an older one proves the contrary."""
    script = make_script()
    peer = in_time_wait(script, mss(1460) + timestamps(1000), timestamps(1001))
    peer.send(SYN, seq=-5000, options=mss(1460) + timestamps(900))
    peer.expect(ACK, seq=2, ack=2)


def test_equal_timestamp_in_time_wait(make_script: Maker) -> None:
    """SHLD-4 (RFC 6191 section 2): the same tick of a slow clock: then the sequence number decides."""
    script = make_script()
    peer = in_time_wait(script, mss(1460) + timestamps(1000), timestamps(1001))
    peer.send(SYN, seq=-5000, options=mss(1460) + timestamps(1001))
    peer.expect(ACK, seq=2, ack=2)
    peer = script.peer(irs=script.numbers.irs + 50_000)
    peer.send(SYN, seq=0, options=mss(1460) + timestamps(1001))
    assert script.out.popleft().flags == SYN | ACK


def test_reset_between_connections(script: Script) -> None:
    """RFC 1337 hazard: whatever a RST does in TIME_WAIT, no RST is answered."""
    peer = script.in_state(State.TIME_WAIT)
    for seq in (102, 103, 50):
        peer.send(RST, seq=seq)
    script.out = type(script.out)(segment for segment in script.out if segment.flags != ACK)
    peer.expect_nothing(SECOND)


def test_time_wait_is_bounded(make_script: Maker) -> None:
    """J-8: beyond the limit the oldest is forgotten, the newest are kept."""
    script = make_script(dataclasses.replace(DEFAULTS, time_wait_limit=2))
    listener = script.listen()
    peers = []
    for port in (6001, 6002, 6003):
        peer = script.peer(port=port, local_port=PORT)
        peer.send(SYN, seq=0)
        peer.expect(SYN | ACK, seq=0, ack=1)
        peer.send(ACK, seq=1, ack=1)
        listener.accept().close()
        peer.expect(FIN | ACK, seq=1, ack=1)
        peer.send(FIN | ACK, seq=1, ack=2)
        peer.expect_ack(seq=2, ack=2)
        peers.append(peer)
    assert [peer.state for peer in peers] == [State.CLOSED, State.TIME_WAIT, State.TIME_WAIT]


def test_connect_out_of_time_wait(script: Script) -> None:
    """RFC 1122 section 4.2.2.13: where the node itself calls again from the same socket, its ISS is beyond the old
    numbers; or the call is refused."""
    old = script.in_state(State.TIME_WAIT)
    old.program.close()
    script.advance(SECOND)
    peer = script.peer()
    try:
        script.connect(peer)
    except MisuseError as error:
        assert error.errno == errno.EADDRINUSE
        return
    syn = script.out.popleft()
    assert syn.flags == SYN
    assert distance(syn.sequence, old.iss % MODULUS) >= 202
