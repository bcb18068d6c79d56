"""Every way to end: peers that vanish, programs that vanish, resets, and what those who wait are told."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from nodes.errors import DisconnectedError, StackError, UnreachableError
from nodes.stack import Stack
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from nodes.wire import icmp, ipv4, tcp
from nodes.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.script.tcp_script import POSITIONS, Script
from tests.sim.tcp_attacker import NODE, PEER, Attacker, octets

HOUR = 3600 * SECOND


# ------------------------------------------------------------------------------------------------- orphans and endings


def closed_by_node(attacker: Attacker, **options: object) -> tuple[TcpSocket, object]:
    flow = attacker.open(attacker.listen(80, **options))
    assert flow.socket is not None
    flow.socket.close(attacker.now)
    attacker.pump()
    return flow.socket, flow


def test_fin_wait_2_orphan_ends() -> None:
    """A peer that acknowledged our FIN and never closes: gone after `fin_wait_2`; what comes later is reset."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80))
    assert flow.socket is not None
    flow.socket.close(attacker.now)
    attacker.pump()
    flow.send(ACK, flow.seq, flow.ack + 1)
    assert flow.connection.state is State.FIN_WAIT_2
    attacker.advance(59 * SECOND)
    assert attacker.connections() == 1
    attacker.advance(2 * SECOND)
    attacker.assert_empty()
    assert [s.flags for s in flow.send(ACK | FIN, flow.seq, flow.ack + 1)] == [RST]


def test_fin_wait_2_of_a_program_that_reads_stays() -> None:
    """A half-close is not an orphan: the program may wait for hours."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80))
    assert flow.socket is not None
    flow.socket.shutdown(attacker.now)
    attacker.pump()
    flow.send(ACK, flow.seq, flow.ack + 1)
    assert not attacker.advance(10 * HOUR)
    assert attacker.wakeups <= 1, "one entry of the timer queue may be stale"
    flow.send(ACK, flow.seq, flow.ack + 1, data=octets(flow.seq, 9))
    assert flow.socket.receive() == octets(flow.seq, 9)
    flow.socket.close(attacker.now)
    attacker.pump()
    attacker.advance(61 * SECOND)
    attacker.assert_empty()


@pytest.mark.parametrize("state", [s for s in POSITIONS if s not in (State.CLOSED, State.LISTEN)], ids=str)
def test_every_state_has_an_exit(state: State) -> None:
    """CLOSING most of all: the program closes, the peer is never heard again, and everything ends without a storm."""
    script = Script()
    peer = script.in_state(state)
    peer.program.socket.close(script.now)
    script.advance(1500 * SECOND)
    assert len(script.out) < 80
    layer = script.stack.tcp
    assert not layer._connections and not len(layer._timers) and layer.deadline() is None
    script.out.clear()


@pytest.mark.parametrize("state", [s for s in POSITIONS if s is not State.CLOSED], ids=str)
def test_abort_in_every_state(state: State) -> None:
    """RFC 9293 section 3.10.5: a reset where the RFC has one, nothing left anywhere."""
    script = Script()
    peer = script.in_state(state)
    peer.program.socket.abort(script.now)
    script.pump()
    resets = [segment.flags & RST for segment in script.out]
    told = (State.SYN_RCVD, State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT)
    assert resets == ([RST] if state in told else [])
    script.out.clear()
    layer = script.stack.tcp
    kept = 1 if state is State.TIME_WAIT else 0
    assert len(layer._connections) == len(layer._timers) == kept
    assert not layer._listeners and layer._sockets == 0
    script.advance(500 * SECOND)
    assert not layer._connections and not script.out
    peer.program.socket.abort(script.now)  # twice does no harm


@pytest.mark.parametrize("state", [State.CLOSED, *[s for s in POSITIONS if s is not State.CLOSED]], ids=str)
def test_reset_is_never_answered_with_a_reset(state: State) -> None:
    """PyTCP #5, smoltcp #338. RFC 9293 section 3.10.7: whatever else is in it."""
    for flags in (RST, RST | ACK, RST | SYN, RST | FIN | ACK, RST | SYN | ACK, RST | FIN):
        script = Script()
        peer = script.in_state(state)
        position = POSITIONS[state]
        for seq in (0, position.rcv_nxt, position.rcv_nxt + 5, position.rcv_nxt - 1, 1 << 30):
            for ack in (position.nxt, 0, 99_999):
                peer.send(flags, seq=seq, ack=ack)
        assert not [segment for segment in script.out if segment.flags & RST]
        script.out.clear()


# -------------------------------------------------------------------------------------------------------- what is told


def drained(stack: Stack, socket: TcpSocket) -> bool:
    stack.transmit()
    return socket in stack.drain_ready()


def test_reader_is_woken_by_a_reset() -> None:
    """What came before it can still be read; then the error, once; then the end."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80))
    socket = flow.socket
    assert socket is not None
    flow.send(ACK | PSH, flow.seq, data=octets(flow.seq, 5))
    attacker.stack.drain_ready()
    attacker.feed(RST, flow.seq + 5)
    assert drained(attacker.stack, socket) and socket.readable
    assert socket.receive() == octets(flow.seq, 5)
    with pytest.raises(DisconnectedError) as caught:
        socket.receive()
    assert caught.value.errno == errno.ECONNRESET
    assert socket.receive() == b""
    with pytest.raises(DisconnectedError) as caught:
        socket.send(b"x", attacker.now)
    assert caught.value.errno == errno.EPIPE


def test_writer_without_room_is_woken_by_a_reset() -> None:
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80, send_limit=1000))
    socket = flow.socket
    assert socket is not None
    socket.send(bytes(2000), attacker.now)
    attacker.pump()
    attacker.stack.drain_ready()
    attacker.feed(RST, flow.seq)
    assert drained(attacker.stack, socket) and socket.writable
    with pytest.raises(DisconnectedError):
        socket.send(b"x", attacker.now)


def _refuse(attacker: Attacker, port: int, iss: int) -> None:
    attacker.feed(RST | ACK, 0, iss + 1, port=80, local_port=port)


def _unreachable(attacker: Attacker, port: int, iss: int) -> None:
    segment = tcp.build(NODE, PEER, port, 80, iss, 0, SYN, 0)
    quoted = ipv4.build(NODE, PEER, tcp.PROTOCOL, segment)
    message = icmp.build(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, quoted)
    attacker.packet(ipv4.build(PEER, NODE, ipv4.PROTOCOL_ICMP, message))


def _silence(attacker: Attacker, port: int, iss: int) -> None:
    attacker.advance(400 * SECOND)


@pytest.mark.parametrize(
    ("event", "kind", "number"),
    [
        (_refuse, DisconnectedError, errno.ECONNREFUSED),
        (_unreachable, UnreachableError, errno.ECONNREFUSED),
        (_silence, DisconnectedError, errno.ETIMEDOUT),
    ],
)
def test_blocked_connect_hears_of_its_failure(
    event: Callable[[Attacker, int, int], None], kind: type[StackError], number: int
) -> None:
    """RST, ICMP (SHLD-26), silence (MUST-23): the program is rung, and told once."""
    attacker = Attacker()
    socket = attacker.tcp.open()
    socket.connect(PEER, 80, attacker.now)
    (syn,) = attacker.pump()
    assert not attacker.stack.drain_ready()
    event(attacker, syn.source_port, syn.sequence)
    assert socket in attacker.stack.drain_ready()
    assert socket.readable and socket.writable and not socket.connected
    with pytest.raises(kind) as caught:
        socket.receive()
    assert caught.value.errno == number
    assert socket.take_error() is None
    socket.close(attacker.now)
    attacker.assert_empty()
