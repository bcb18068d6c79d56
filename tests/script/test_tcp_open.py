"""Opening connections (RFC 9293 sections 3.5, 3.9.1.1, 3.10.1): the node calls, is called, both call at once; nobody
answers; too many call."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable

import pytest

from nodes.errors import DisconnectedError, MisuseError, StackError
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, parse_ip4
from tests.script.tcp_capture import ACK, CWR, ECE, FIN, PSH, RST, SYN, mss
from tests.script.tcp_peer import NODE, OTHER, PEER, Peer, Program
from tests.script.tcp_script import DEFAULTS, Script

Maker = Callable[..., Script]


def connected_passively(script: Script, listener: Program, **which: object) -> tuple[Peer, Program]:
    peer = script.peer(**which)
    peer.send(SYN, seq=0, options=mss(1460))
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1)
    return peer, listener.accept()


# ------------------------------------------------------------------------------------------------------------- active


def test_active_open(script: Script) -> None:
    """B-SYNSENT-3: SYN, SYN-ACK, ACK (RFC 9293 figure 6)."""
    peer = script.peer()
    program = script.connect(peer)
    assert program.state is State.SYN_SENT
    peer.expect(SYN, seq=0)
    peer.expect_nothing(500 * MILLISECOND)
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460))
    peer.expect(ACK, seq=1, ack=1)
    assert program.state is State.ESTABLISHED
    assert program.sees() is None


def test_active_open_tells_the_program(script: Script) -> None:
    """The socket rings when the connection is there, and is writable then."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    script.stack.drain_ready()
    assert not program.socket.connected
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    assert program.socket in script.stack.drain_ready()
    assert program.socket.connected
    assert program.socket.writable


def test_syn_is_sent_without_ack_and_data(script: Script) -> None:
    """MUST-14: a SYN with MSS 1460 for an MTU of 1500 (MUST-67), acknowledging nothing."""
    peer = script.peer()
    script.connect(peer)
    syn = peer.expect(SYN, seq=0)
    assert (syn.acknowledgment, syn.options.mss, syn.ip.ttl) == (0, 1460, 64)


def test_data_with_the_syn_ack(script: Script) -> None:
    """B-SYNSENT-3: other controls or text of the segment are processed too."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1, data=b"banner")
    segment = script.out.popleft()
    if peer.relative_ack(segment) == 1:  # the text was left for the peer to send again
        peer.send(ACK, seq=1, ack=1, data=b"banner")
        peer.expect_ack(seq=1, ack=7)
    else:
        assert peer.relative_ack(segment) == 7
        script.out.clear()
    assert program.sees() == b"banner"


def test_fin_with_the_syn_ack(script: Script) -> None:
    """B-SYNSENT-3, B-FIN-1: a peer that answers and closes in one segment."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK | FIN, seq=0, ack=1, data=b"bye")
    segment = script.out.pop()
    if peer.relative_ack(segment) == 1:
        peer.send(FIN | ACK, seq=1, ack=1, data=b"bye")
        segment = script.out.pop()
    script.out.clear()
    assert peer.relative_ack(segment) == 5
    assert peer.state is State.CLOSE_WAIT
    assert program.sees() == b"bye"
    assert program.sees() == b""


def test_data_sent_while_opening_waits(script: Script) -> None:
    """B-API-1: what is sent in SYN_SENT is queued, and leaves when the connection is there."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    assert program.send(b"early") == 5
    peer.expect_nothing(500 * MILLISECOND)
    peer.send(SYN | ACK, seq=0, ack=1)
    segment = script.out.popleft()
    if not segment.payload:
        segment = script.out.popleft()
    assert (peer.relative(segment), peer.relative_ack(segment), segment.payload) == (1, 1, b"early")


def test_data_sent_while_opening_is_lost_with_a_reset(script: Script) -> None:
    """B-API-1, MUST-12: the program learns of it."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    program.send(b"early")
    peer.send(RST | ACK, seq=0, ack=1)
    assert program.sees() == errno.ECONNREFUSED
    peer.expect_nothing(10 * SECOND)


def test_refused(script: Script) -> None:
    """B-SYNSENT-2: the error comes once, with the errno that programs expect; the socket is closed."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    script.stack.drain_ready()
    peer.send(RST | ACK, seq=0, ack=1)
    assert program.socket in script.stack.drain_ready()
    assert program.socket.readable
    with pytest.raises(DisconnectedError) as caught:
        program.receive()
    assert caught.value.errno == errno.ECONNREFUSED
    assert program.state is State.CLOSED
    peer.expect_nothing(200 * SECOND)


def test_syn_is_repeated(script: Script) -> None:
    """MUST-22, 6298-2.1, 6298-5.4-6: after one second, then at doubled times; the same SYN each time."""
    peer = script.peer()
    script.connect(peer)
    first = peer.expect(SYN, seq=0)
    for wait in (1, 2, 4, 8):
        assert script.advance_to_output(10 * SECOND) == wait * SECOND
        again = peer.expect(SYN, seq=0)
        assert again.options.mss == first.options.mss
        assert again.sequence == first.sequence


def test_unanswered_syn_ends_after_r2(script: Script) -> None:
    """MUST-23, MUST-20: not before three minutes; ETIMEDOUT, and nothing more is sent."""
    peer = script.peer()
    program = script.connect(peer)
    script.advance(180 * SECOND - 1)
    assert program.state is State.SYN_SENT
    assert len(script.out) >= 4
    script.advance(120 * SECOND)
    assert all(segment.flags == SYN for segment in script.out)
    script.out.clear()
    assert program.sees() == errno.ETIMEDOUT
    assert program.state is State.CLOSED
    peer.expect_nothing(600 * SECOND)


def test_a_late_answer_to_a_repeated_syn(script: Script) -> None:
    """MUST-22."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    script.advance(1 * SECOND)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    assert program.state is State.ESTABLISHED
    peer.expect_nothing(30 * SECOND)


def test_repeated_syn_ack_is_acknowledged_again(script: Script) -> None:
    """5961-4.2: our ACK was lost, the peer's SYN-ACK comes again."""
    peer = script.in_state(State.ESTABLISHED)
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1460))
    peer.expect(ACK, seq=201, ack=101)
    assert peer.program.sees() is None


def test_stale_connection_of_the_peer(script: Script) -> None:
    """B-SYNSENT-1 (RFC 9293 figure 9): the peer thinks that the old connection is there; our RST clears it, our next
    SYN opens."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(ACK, seq=5000, ack=30_000)
    peer.expect_reset(seq=30_000)
    assert program.state is State.SYN_SENT
    script.advance(SECOND)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)


def test_bound_source_address(make_script: Maker) -> None:
    """MUST-43: the caller chooses the local address."""
    script = make_script(addresses=("10.0.0.1/24", "10.0.0.9/24"))
    local = parse_ip4("10.0.0.9")
    peer = script.peer(local=local, local_port=4444)
    script.connect(peer)
    assert peer.expect(SYN, seq=0).ip.source == local


def test_source_address_of_the_route(make_script: Maker) -> None:
    """MUST-44, MUST-45: chosen by the route, and kept for the whole connection; the port is a dynamic one."""
    script = make_script()
    program = script.open()
    program.connect(PEER, 80)
    syn = script.out[0]
    assert syn.ip.source == NODE
    assert syn.source_port >= 49152
    peer = script.peer(port=80, local_port=syn.source_port)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)


@pytest.mark.parametrize("address", [LIMITED_BROADCAST, parse_ip4("10.0.0.255"), parse_ip4("224.0.0.5"), ANY])
def test_connect_to_many_is_refused(script: Script, address: int) -> None:
    """MUST-46: an error of the call, nothing on the wire."""
    with pytest.raises(StackError):
        script.open().connect(address, 80)
    script.expect_nothing(5 * SECOND)


def test_connect_twice(script: Script) -> None:
    """RFC 9293 section 3.10.1: "connection already exists"."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    with pytest.raises(MisuseError):
        program.connect(PEER, 5000)


def test_two_connections_from_one_port(script: Script) -> None:
    """A connection is named by four values: the same port serves peers that differ."""
    listener = script.listen()
    one, first = connected_passively(script, listener, port=5001)
    two, second = connected_passively(script, listener, port=5002)
    three, third = connected_passively(script, listener, address=OTHER, port=5001)
    for number, (peer, program) in enumerate(((one, first), (two, second), (three, third))):
        peer.send(ACK | PSH, seq=1, ack=1, data=b"%d" % number)
        peer.expect_ack(seq=1, ack=2)
        assert program.sees() == b"%d" % number


@pytest.mark.parametrize("code", [2, 3])
def test_hard_icmp_error_while_opening(script: Script, code: int) -> None:
    """SHLD-26: protocol or port unreachable ends the attempt (RFC 5927 section 6.1 only for later states)."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.icmp(3, code, seq=0, length=60)
    assert program.sees() in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENOPROTOOPT)
    assert program.state is State.CLOSED
    peer.expect_nothing(100 * SECOND)


@pytest.mark.parametrize(("kind", "code"), [(3, 0), (3, 1), (3, 5), (11, 0), (12, 0)])
def test_soft_icmp_error_while_opening(script: Script, kind: int, code: int) -> None:
    """MUST-56: the way may come back: the SYN is repeated, an answer is taken."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.icmp(kind, code, seq=0, length=60)
    assert program.state is State.SYN_SENT
    script.advance(SECOND)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    assert program.state is State.ESTABLISHED


# ------------------------------------------------------------------------------------------------------ simultaneous


def test_simultaneous_open(script: Script) -> None:
    """MUST-10 (RFC 9293 figure 7): both SYNs cross; our SYN-ACK has the ISS of our SYN; one connection comes of it."""
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN, seq=0, options=mss(1000))
    assert peer.expect(SYN | ACK, seq=0, ack=1).options.mss == 1460
    assert program.state is State.SYN_RCVD
    peer.send(SYN | ACK, seq=0, ack=1, options=mss(1000))
    if script.out:
        peer.expect(ACK, seq=1, ack=1)
    assert program.state is State.ESTABLISHED
    program.send(bytes(1500))
    peer.expect(ACK, seq=1, ack=1, data=1000)
    peer.send(ACK, seq=1, ack=1001)
    peer.expect(ACK, seq=1001, ack=1, data=500)


def test_simultaneous_open_completed_by_a_bare_ack(script: Script) -> None:
    """MUST-10: a peer that answers our SYN-ACK as RFC 793 would."""
    peer = script.in_state(State.SYN_RCVD)
    peer.send(ACK, seq=1, ack=1)
    assert peer.program.state is State.ESTABLISHED
    peer.expect_nothing(5 * SECOND)


def test_simultaneous_open_repeats_its_syn_ack(script: Script) -> None:
    """MUST-22: our SYN is not acknowledged until the peer says so."""
    peer = script.in_state(State.SYN_RCVD)
    script.advance_to_output(4 * SECOND)
    peer.expect(SYN | ACK, seq=0, ack=1)


def test_simultaneous_open_refused(script: Script) -> None:
    """MUST-11: an active open that is reset in SYN_RCVD tells its program."""
    peer = script.in_state(State.SYN_RCVD)
    peer.send(RST, seq=1)
    assert peer.program.sees() in (errno.ECONNREFUSED, errno.ECONNRESET)
    assert peer.program.state is State.CLOSED


def test_listen_while_connecting_from_the_port(script: Script) -> None:
    """MUST-41, MUST-42: a listener on a port that a connection uses elsewhere; each SYN finds the right one."""
    script.listen()
    peer, other = script.peer(), script.peer(port=5001)
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)
    other.send(SYN, seq=0)
    other.expect(SYN | ACK, seq=0, ack=1)


def test_two_listeners(script: Script) -> None:
    """MUST-41: several passive opens, on ports of their own."""
    listeners = {port: script.listen(port) for port in (80, 81)}
    for port, listener in listeners.items():
        connected_passively(script, listener, local_port=port, port=6000 + port)
        assert listener.accepted() is None
    assert {listener.state for listener in listeners.values()} == {State.LISTEN}


# ------------------------------------------------------------------------------------------------------------ passive


def test_passive_open(script: Script) -> None:
    """B-LISTEN-1: SYN-ACK at once, the connection after the ACK and not before."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, options=mss(1460))
    peer.expect(SYN | ACK, seq=0, ack=1)
    assert listener.accepted() is None
    script.stack.drain_ready()
    peer.send(ACK, seq=1, ack=1)
    assert listener.socket in script.stack.drain_ready()
    program = listener.accept()
    assert program.state is State.ESTABLISHED
    assert listener.state is State.LISTEN
    assert listener.accepted() is None


def test_listener_on_another_address(make_script: Maker) -> None:
    """MUST-43: a listener that is bound to one address does not answer on another."""
    script = make_script(addresses=("10.0.0.1/24", "10.0.0.9/24"))
    script.listen(address=NODE)
    stranger = script.peer(local=parse_ip4("10.0.0.9"))
    stranger.send(SYN, seq=0)
    stranger.expect(RST | ACK, absolute=0, ack=1)
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)


def test_syn_ack_comes_from_the_address_that_was_called(make_script: Maker) -> None:
    """MUST-44: the second address of an interface answers for itself."""
    script = make_script(addresses=("10.0.0.1/24", "10.0.0.9/24"))
    listener = script.listen()
    connected_passively(script, listener, local=parse_ip4("10.0.0.9"))


def test_data_on_the_syn_is_delivered_once(script: Script) -> None:
    """B-LISTEN-2: kept or ignored, the acknowledgment number says which; never delivered before ESTABLISHED."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, data=b"early")
    answer = script.out.popleft()
    taken = peer.relative_ack(answer)
    assert (answer.flags, peer.relative(answer), taken in (1, 6)) == (SYN | ACK, 0, True)
    assert listener.accepted() is None
    peer.send(ACK, seq=1, ack=1, data=b"early")
    script.advance(SECOND)
    assert peer.relative_ack(script.out.pop()) == 6
    script.out.clear()
    program = listener.accept()
    assert program.sees() == b"early"
    assert program.sees() is None


def test_ack_of_the_handshake_with_data(script: Script) -> None:
    """B-ACK-2: the third segment carries data, as the first of most clients does when an ACK is lost."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"GET /")
    peer.expect_ack(seq=1, ack=6)
    assert listener.accept().sees() == b"GET /"


def test_ack_of_the_handshake_lost_and_data_follows(script: Script) -> None:
    """The same when the data comes in the second segment, and the first one late."""
    listener = script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK | PSH, seq=6, ack=1, data=b"world")
    peer.expect(ACK, seq=1, ack=1)
    peer.send(ACK | PSH, seq=1, ack=1, data=b"hello")
    peer.expect_ack(seq=1, ack=11)
    assert listener.accept().sees() == b"helloworld"


def test_reset_returns_to_listen(script: Script) -> None:
    """MUST-11: after a reset in SYN_RCVD the listener knows nothing of it, and the next SYN works."""
    peer = script.in_state(State.SYN_RCVD, passive=True)
    listener = peer.program
    peer.send(RST, seq=1)
    peer.expect_nothing(10 * SECOND)
    assert listener.accepted() is None
    assert listener.state is State.LISTEN
    connected_passively(script, listener)


def test_syn_ack_is_repeated(script: Script) -> None:
    """MUST-22: for a passive open too."""
    peer = script.in_state(State.SYN_RCVD, passive=True)
    for wait in (1, 2, 4):
        assert script.advance_to_output(10 * SECOND) == wait * SECOND
        peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1)
    assert peer.program.accept().state is State.ESTABLISHED
    peer.expect_nothing(60 * SECOND)


def test_half_open_connection_is_given_up(script: Script) -> None:
    """MUST-20: nobody completes the handshake; the listener lives on and nothing is left."""
    peer = script.in_state(State.SYN_RCVD, passive=True)
    script.advance(400 * SECOND)
    assert {segment.flags for segment in script.out} <= {SYN | ACK, RST, RST | ACK}
    script.out.clear()
    assert peer.program.accepted() is None
    peer.send(ACK, seq=1, ack=1)
    peer.expect_reset(seq=1)
    assert peer.program.state is State.LISTEN


def test_old_duplicate_syn(script: Script) -> None:
    """RFC 9293 figure 8: an old SYN opens half a connection, the peer's RST closes it, the real SYN comes through."""
    listener = script.listen()
    old = script.peer(irs=90)
    old.send(SYN, seq=0)
    old.expect(SYN | ACK, seq=0, ack=1)
    old.send(RST, seq=1)
    connected_passively(script, listener)


@pytest.mark.parametrize("flags", [ECE | CWR, ECE, CWR])
def test_syn_with_ecn_bits(script: Script, flags: int) -> None:
    """SHLD-8: answered, never with a reset; without ECN here as the node has it switched off."""
    script.listen()
    peer = script.peer()
    peer.send(SYN | flags, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)


def test_syn_with_ecn_agreed(make_script: Maker) -> None:
    """SHLD-8: SYN with ECE and CWR, SYN-ACK with ECE (RFC 3168 section 6.1.1)."""
    script = make_script(dataclasses.replace(DEFAULTS, ecn=True))
    script.listen()
    peer = script.peer()
    peer.send(SYN | ECE | CWR, seq=0)
    peer.expect(SYN | ACK | ECE, seq=0, ack=1)
    other = script.peer(port=5001)
    other.send(SYN, seq=0)
    other.expect(SYN | ACK, seq=0, ack=1)


def test_our_syn_with_ecn(make_script: Maker) -> None:
    """SHLD-8: asked for in our SYN; an answer with both bits is a mirror, not an agreement."""
    script = make_script(dataclasses.replace(DEFAULTS, ecn=True))
    peer = script.peer()
    program = script.connect(peer)
    peer.expect(SYN | ECE | CWR, seq=0)
    peer.send(SYN | ACK | ECE | CWR, seq=0, ack=1)
    peer.expect(ACK, seq=1, ack=1)
    program.send(b"x")
    assert peer.expect(ACK, seq=1, ack=1, data=b"x").ip.traffic_class & 3 == 0


# ------------------------------------------------------------------------------------------------------------ backlog


def fill_backlog(script: Script, waiting: int, room: int = 0) -> Program:
    listener = script.listen(backlog=waiting + room)
    for number in range(waiting):
        peer = script.peer(port=7000 + number)
        peer.send(SYN, seq=0)
        peer.expect(SYN | ACK, seq=0, ack=1)
        peer.send(ACK, seq=1, ack=1)
    return listener


def test_backlog(script: Script) -> None:
    """B-API-2: no more than the backlog waits; a SYN beyond it is not reset."""
    listener = fill_backlog(script, 3)
    peer = script.peer(port=7777)
    peer.send(SYN, seq=0)
    assert all(segment.flags == SYN | ACK for segment in script.out)
    script.out.clear()
    for _ in range(3):
        listener.accept()


def test_backlog_has_room_again(script: Script) -> None:
    """B-API-2: the SYN that comes again, after one was accepted, is answered."""
    listener = fill_backlog(script, 3)
    peer = script.peer(port=7777)
    peer.send(SYN, seq=0)
    script.out.clear()
    for _ in range(3):
        listener.accept()
    script.advance(SECOND)
    script.out.clear()
    peer.send(SYN, seq=0)
    script.out.clear()
    peer.send(ACK, seq=1, ack=1)
    assert listener.accept().state is State.ESTABLISHED


def test_completed_handshakes_beyond_the_backlog(script: Script) -> None:
    """B-API-2: half-open ones that complete while the backlog is full are not reset; they complete when there is room,
    and the first data is not lost."""
    listener = script.listen(backlog=1)
    one, two = script.peer(port=7000), script.peer(port=7001)
    for peer in (one, two):
        peer.send(SYN, seq=0)
        peer.expect(SYN | ACK, seq=0, ack=1)
    for peer in (one, two):
        peer.send(ACK, seq=1, ack=1)
    peer.expect_nothing()
    listener.accept()
    assert listener.accepted() is None
    two.send(ACK | PSH, seq=1, ack=1, data=b"hello")
    two.expect_ack(seq=1, ack=6)
    assert listener.accept().sees() == b"hello"


def test_backlog_is_bounded(script: Script) -> None:
    """B-API-2: fifty complete handshakes and a backlog of three: three wait, nobody is reset."""
    listener = script.listen(backlog=3)
    peers = [script.peer(port=7000 + number) for number in range(50)]
    for peer in peers:
        peer.send(SYN, seq=0)
    for peer in peers:
        peer.send(ACK, seq=1, ack=1)
    assert {segment.flags for segment in script.out} == {SYN | ACK}
    script.out.clear()
    accepted = 0
    while listener.accepted() is not None:
        accepted += 1
    assert 3 <= accepted <= 4


def test_accepted_in_order(script: Script) -> None:
    """The oldest waiting connection comes first."""
    listener = fill_backlog(script, 3)
    ports = [listener.accept().socket.remote[1] for _ in range(3)]
    assert ports == [7000, 7001, 7002]


def test_closing_the_listener_resets_what_waits(script: Script) -> None:
    """B-API-3: connections that nobody accepted, and half-open ones, do not stay for ever."""
    listener = fill_backlog(script, 2, room=1)
    half = script.peer(port=7100)
    half.send(SYN, seq=0)
    half.expect(SYN | ACK, seq=0, ack=1)
    listener.close()
    resets = {(segment.destination_port, bool(segment.flags & RST)) for segment in script.out}
    assert {(7000, True), (7001, True)} <= resets
    script.out.clear()
    for port in (7000, 7001, 7100):
        peer = script.peer(port=port)
        peer.send(ACK, seq=1, ack=1)
        peer.expect_reset(seq=1)


@pytest.mark.parametrize("data", [b"", b"last words"])
def test_reset_before_anybody_accepted(script: Script, data: bytes) -> None:
    """B-API-2: the place in the backlog is free again, or the program is given what came and then the error."""
    listener = script.listen(backlog=1)
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1, data=data)
    script.advance(SECOND)
    script.out.clear()
    peer.send(RST, seq=1 + len(data))
    program = listener.accepted()
    if program is not None:
        seen = [program.sees(), program.sees()]
        assert errno.ECONNRESET in seen
        assert not data or seen[0] == data
    connected_passively(script, listener, port=5001)


@pytest.mark.parametrize("code", [2, 3])
def test_hard_icmp_error_about_our_syn_ack(script: Script, code: int) -> None:
    """SHLD-26, MUST-11: the half-open connection goes, the listener stays."""
    peer = script.in_state(State.SYN_RCVD, passive=True)
    peer.icmp(3, code, seq=0, length=60)
    assert peer.program.accepted() is None
    peer.expect_nothing(100 * SECOND)
    connected_passively(script, peer.program)


def test_connection_within_the_node(script: Script) -> None:
    """A client and a server of one node, by its own address: nothing is on the wire."""
    listener, client = script.listen(), script.open()
    client.connect(NODE, 80)
    server = listener.accept()
    assert client.send(b"to myself") == 9
    assert server.sees() == b"to myself"
    server.close()
    assert client.sees() == b""
    client.close()
    script.expect_nothing(2 * SECOND)
    assert not script.icmp


def test_connection_to_itself(script: Script) -> None:
    """MUST-10: one socket that calls its own port: a simultaneous open with itself, or an error; never a storm."""
    program = script.open()
    program.socket.bind(NODE, 1234, script.now)
    try:
        program.connect(NODE, 1234)
    except StackError:
        return
    script.advance(5 * SECOND)
    assert program.state in (State.ESTABLISHED, State.CLOSED)
    if program.state is State.ESTABLISHED:
        program.send(b"echo")
        assert program.sees() == b"echo"
    script.expect_nothing()


def test_port_in_use(script: Script) -> None:
    """RFC 9293 section 3.10.1: a second listener on the same socket is an error of the call."""
    script.listen()
    with pytest.raises(MisuseError) as caught:
        script.listen()
    assert caught.value.errno == errno.EADDRINUSE


def test_syn_for_nobody(script: Script) -> None:
    """B-CLOSED-1: SYN with data and FIN counts all of it."""
    peer = script.peer()
    peer.send(SYN | FIN, seq=0, data=b"12345")
    peer.expect(RST | ACK, absolute=0, ack=7)


def test_listener_gone(script: Script) -> None:
    """B-CLOSED-1: after close, the port is closed."""
    script.listen().close()
    peer = script.peer()
    peer.send(SYN, seq=0)
    peer.expect(RST | ACK, absolute=0, ack=1)
