"""Peers that never let go: shut windows, silly windows, half-open handshakes, strangers in TIME_WAIT. None may hold a
closed connection for ever, or make timers spin."""

from __future__ import annotations

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import Ip4
from nodes.wire.tcp import ACK, FIN, RST, SYN
from tests.sim.tcp_attacker import MASK, Attacker, octets, victim

ZERO_WINDOW_LIFETIME = 4 * 3600 * SECOND
"""How long a peer that only says that its window is shut may hold a closed connection."""


def test_zero_window_for_ever_does_not_hold_a_closed_connection() -> None:
    """The program is gone, the peer answers every probe with a window of zero. MUST-37 keeps such a connection while a
    program waits; a closed one would hold its buffer for ever (RFC 6429 section 3 lets it end)."""
    attacker, flow = victim(win=0)
    assert flow.socket is not None
    flow.socket.send(bytes(100_000), attacker.now)
    flow.socket.close(attacker.now)
    end = attacker.now + ZERO_WINDOW_LIFETIME
    while attacker.now < end and attacker.connections():
        if any(not segment.flags & RST for segment in attacker.advance(10 * SECOND)):
            flow.send(ACK, flow.seq, win=0)
    attacker.assert_empty()


@pytest.mark.slow
def test_zero_window_holds_a_connection_that_a_program_wants() -> None:
    """MUST-37: for a day, with few probes."""
    attacker, flow = victim(win=0)
    assert flow.socket is not None
    flow.socket.send(bytes(100_000), attacker.now)
    probes = 0
    for _ in range(24 * 60):
        for segment in attacker.advance(60 * SECOND):
            probes += 1
            assert not segment.flags & RST
            flow.send(ACK, flow.seq, win=0)
    assert flow.connection.state is State.ESTABLISHED
    assert probes < 24 * 60 + 10
    flow.send(ACK, flow.seq, win=65535)
    assert attacker.advance(SECOND) or flow.connection.snd_nxt > flow.connection.iss + 100


def test_window_that_shrinks_to_nothing_keeps_the_connection() -> None:
    """SHLD-17, MUST-35: the window is taken back from what is in flight, and the peer goes on saying so."""
    attacker, flow = victim(win=65535, scale=None)
    assert flow.socket is not None
    flow.socket.send(bytes(20_000), attacker.now)
    attacker.pump()
    flow.send(ACK, flow.seq, win=0)
    for _ in range(3600 // 5):
        for segment in attacker.advance(5 * SECOND):
            assert not segment.flags & RST
            flow.send(ACK, flow.seq, win=0)
    assert flow.connection.state is State.ESTABLISHED


def test_window_of_one_octet() -> None:
    """The peer always has room for one octet: silly-window avoidance sends it, slowly; nothing spins."""
    attacker, flow = victim(win=1, scale=None)
    assert flow.socket is not None
    flow.socket.send(octets(0, 100), attacker.now)
    got = b""
    waiting = attacker.pump()
    for _ in range(400):
        for segment in waiting:
            assert len(segment.payload) <= 1
            if (segment.sequence - flow.ack) & MASK == len(got):
                got += bytes(segment.payload)
        answers = flow.send(ACK, flow.seq, (flow.ack + len(got)) & MASK, win=1)
        waiting = answers + attacker.advance(250 * MILLISECOND)
    assert got == octets(0, 100)
    assert attacker.wakeups < 1000


def test_peer_that_trickles_its_answers_cannot_spin_timers() -> None:
    """Windows that open and shut with each acknowledgment."""
    attacker, flow = victim(win=0, scale=None)
    assert flow.socket is not None
    flow.socket.send(octets(0, 5000), attacker.now)
    frames = attacker.frames
    for number in range(2000):
        attacker.advance(10 * MILLISECOND)
        flow.send(ACK, flow.seq, win=number % 2)
    assert attacker.frames - frames < 500
    assert attacker.wakeups < 500


@pytest.mark.slow
def test_half_open_connections_of_many_listeners() -> None:
    """The limit is each listener's; what they hold together is bounded by the connections of the node."""
    attacker = Attacker(TcpSettings(maximum_connections=500, maximum_half_open=100))
    for port in range(1, 11):
        attacker.listen(port)
    for number in range(3000):
        attacker.now += 10_000
        attacker.feed(SYN, number, port=7, local_port=1 + number % 10, remote=Ip4(0x0B00_0000 + number))
    assert attacker.connections() == 500


def test_time_wait_is_not_prolonged_by_strangers() -> None:
    """RFC 9293 section 3.10.7.4: only a retransmission of the peer's FIN restarts 2 MSL, not any FIN at all."""
    attacker = Attacker(TcpSettings(msl=30 * SECOND))
    flow = attacker.open(attacker.listen(80))
    assert flow.socket is not None
    flow.socket.close(attacker.now)
    attacker.pump()
    flow.send(ACK | FIN, flow.seq, flow.ack + 1)
    assert attacker.connections() == 1
    for number in range(20):
        attacker.advance(10 * SECOND)
        flow.send(ACK | FIN, flow.seq + 100_000 * (number + 1), flow.ack + 77)
    attacker.assert_empty()


def test_connect_to_oneself() -> None:
    """Source and destination are the same socket: a simultaneous open with oneself (RFC 9293 section 3.5)."""
    attacker = Attacker()
    socket = attacker.tcp.open()
    local = attacker.stack.interfaces[0].addresses[0].address
    socket.bind(local, 4000, attacker.now)
    socket.connect(local, 4000, attacker.now)
    attacker.advance(SECOND)
    assert socket.connected
    socket.send(b"echo", attacker.now)
    attacker.advance(SECOND)
    assert socket.receive() == b"echo"
    socket.close(attacker.now)
    attacker.advance(2000 * SECOND)
    attacker.assert_empty()


def test_challenge_limit_is_no_side_channel() -> None:
    """CVE-2016-5696: how many challenges are left in a second must not tell whether somebody else was challenged. So
    the limit is another one each second, and still a limit."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80))
    counts = set()
    for _ in range(8):
        attacker.now = (attacker.now // SECOND + 1) * SECOND
        counts.add(sum(len(flow.send(SYN, flow.seq + 1)) for _ in range(400)))
    assert len(counts) > 2
    assert max(counts) <= 200
