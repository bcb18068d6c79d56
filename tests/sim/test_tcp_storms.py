"""What broke in production elsewhere: timers that spin, acknowledgments and resets that answer each other for ever, and
peers that other stacks choked on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodes.errors import DisconnectedError
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import ANY, Prefix, parse_ip4
from nodes.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN
from tests.sim.tcp_attacker import MASK, NODE, PEER, Attacker, octets, options_of_syn
from tests.sim.tcp_network import LinkProfile, Network, pair
from tests.sim.tcp_programs import Echo, Transfer, connection_of

HOUR = 3600 * SECOND
LEGITIMATE = parse_ip4("10.9.9.9")


# --------------------------------------------------------------------------------------------------- timers and storms


def idle_pair(count: int, **options: object) -> tuple[Network, list[TcpSocket]]:
    """As many connections from one stack to another, over which nothing goes any more."""
    network = pair(LinkProfile(delay=MILLISECOND))
    listener = network.stacks[1].tcp.open()
    listener.bind(ANY, 80, 0)
    listener.listen(count, 0)
    sockets = []
    for _ in range(count):
        socket = network.stacks[0].tcp.open()
        for name, value in options.items():
            socket.set_option(name, value, 0)
        socket.connect(network.addresses[1], 80, 0)
        socket.send(b"hello", 0)
        sockets.append(socket)
    network.run(10 * SECOND)
    assert all(socket.state is State.ESTABLISHED and not socket.unsent for socket in sockets)
    return network, sockets


def wakeups(network: Network, duration: int) -> int:
    """How often a timer wakes one of the stacks within `duration`."""
    count = 0

    def counted(timeout: Callable[[int], None]) -> Callable[[int], None]:
        def run(now: int) -> None:
            nonlocal count
            count += 1
            timeout(now)

        return run

    for stack in network.stacks:
        stack.timeout = counted(stack.timeout)  # type: ignore[method-assign]
    network.run(network.now + duration)
    return count


@pytest.mark.slow
def test_a_thousand_idle_connections_do_not_wake_the_node() -> None:
    """Not once in an hour; with keep-alives as often as these say (pmd-pytcp: timers at 1 kHz)."""
    network, _ = idle_pair(1000)
    frames = network.frames
    assert wakeups(network, HOUR) == 0
    assert network.frames == frames


@pytest.mark.slow
def test_keepalives_of_a_thousand_idle_connections_wake_it_once_each() -> None:
    network, sockets = idle_pair(200, keepalive=True, keepalive_idle=600 * SECOND)
    frames = network.frames
    assert wakeups(network, HOUR) <= 2 * 6 * 200
    assert network.frames - frames <= 2 * 6 * 200
    assert all(socket.state is State.ESTABLISHED for socket in sockets)


def desynchronize(network: Network, change: Callable[[TcpSocket], None]) -> int:
    """Open a connection, let `change` confuse both ends, let both talk; frames in the minute after that."""
    listener = network.stacks[1].tcp.open()
    listener.bind(ANY, 80, 0)
    listener.listen(1, 0)
    client = network.stacks[0].tcp.open()
    client.connect(network.addresses[1], 80, 0)
    network.run(SECOND)
    server = listener.accept()
    assert server is not None
    for socket in (client, server):
        change(socket)
    client.send(b"x", network.now)
    server.send(b"y", network.now)
    frames = network.frames
    network.run(network.now + 60 * SECOND)
    return network.frames - frames


def test_desynchronized_numbers_do_not_storm() -> None:
    """RFC 5961 section 7: somebody told each end data that the other never sent. Each acknowledges what the other
    never said; that goes on at the pace of the challenge limit and of the retransmissions, not of the wire."""

    def told(socket: TcpSocket) -> None:
        connection_of(socket).receive_buffer.append(memoryview(bytes(1000)))

    assert desynchronize(pair(LinkProfile(delay=MILLISECOND)), told) < 2 * 60 * 100 + 100


def test_desynchronized_timestamps_do_not_storm() -> None:
    """One forged segment with a TSval of the future to each end: each finds the other's segments too old (PAWS), and
    says so; that must not be answered for ever at the pace of the wire."""

    def told(socket: TcpSocket) -> None:
        connection = connection_of(socket)
        connection.ts_recent = (connection.ts_recent + (1 << 30)) & MASK

    assert desynchronize(pair(LinkProfile(delay=10_000)), told) < 2 * 60 * 100 + 100


def test_lost_connection_is_reset_once() -> None:
    """One end forgot everything: data, one reset, silence. No war of resets between two stacks of ours."""
    network = pair(LinkProfile(delay=MILLISECOND))
    listener = network.stacks[1].tcp.open()
    listener.bind(ANY, 80, 0)
    listener.listen(1, 0)
    client = network.stacks[0].tcp.open()
    client.connect(network.addresses[1], 80, 0)
    network.run(SECOND)
    lost = connection_of(listener.accept())  # type: ignore[arg-type]
    network.stacks[1].tcp.forget(lost, network.now)
    frames = network.frames
    client.send(b"x", network.now)
    network.run(network.now + 60 * SECOND)
    assert network.frames - frames == 2
    with pytest.raises(DisconnectedError):
        client.receive()


def test_challenges_are_limited() -> None:
    """RFC 5961 section 7: a blind attacker gets a bounded number of answers per second."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80))
    answers = 0
    for offset in range(2000):
        attacker.now += MILLISECOND
        answers += len(flow.send(SYN, flow.seq + offset))
        answers += len(flow.send(RST, flow.seq + 1 + offset))
    assert answers <= 100 * 4
    assert attacker.tcp.counters.challenge_acks_suppressed >= 4000 - 400


# --------------------------------------------------------------------------------------------- what others choked on


def test_syn_with_ecn_bits_is_accepted() -> None:
    """gVisor #7075: ECE and CWR, also with reserved bits, and where ECN is switched off."""
    for settings in (TcpSettings(), TcpSettings(ecn=False)):
        attacker = Attacker(settings)
        attacker.listen(80)
        for port, flags in enumerate((SYN | ECE | CWR, SYN | ECE, SYN | CWR), 1):
            (answer,) = attacker.feed(flags, 9, port=port)
            assert answer.flags & ~ECE == SYN | ACK
            assert bool(answer.flags & ECE) == (settings.ecn and flags == SYN | ECE | CWR)


@pytest.mark.parametrize("settings", [TcpSettings(), TcpSettings(maximum_half_open=0)], ids=["kept", "cookie"])
def test_syn_from_where_no_route_leads(settings: TcpSettings) -> None:
    """Nothing can be answered, nothing is raised; nor where the route goes while a connection opens or is open."""
    attacker = Attacker(settings)
    server = attacker.listen(80)
    opening = attacker.flow(7, remote=LEGITIMATE)
    opening.ack = attacker.feed(SYN, opening.irs, port=7, remote=LEGITIMATE)[0].sequence + 1
    flow = attacker.open(server, 8, remote=parse_ip4("192.0.2.1"))
    assert flow.socket is not None
    for prefix in ("10.0.0.0/8", "0.0.0.0/0"):
        attacker.stack.remove_route(Prefix.parse(prefix), PEER if prefix == "0.0.0.0/0" else None, 0, attacker.now)
    attacker.stack.remove_address(0, Prefix(NODE, 8), attacker.now)
    attacker.stack.add_address(0, Prefix(NODE, 24), attacker.now)
    for flags in (SYN, ACK, ACK | FIN, RST, SYN | ACK, 0):
        assert not attacker.feed(flags, 100, 100, port=9, remote=parse_ip4("192.0.2.77"))
    opening.send(ACK, opening.seq, data=octets(opening.seq, 10))
    flow.send(ACK, flow.seq, data=octets(flow.seq, 10))
    assert flow.socket.receive() == octets(flow.seq, 10)
    flow.socket.send(b"answer", attacker.now)
    flow.socket.close(attacker.now)
    attacker.advance(2000 * SECOND)
    assert attacker.tcp.counters.out_errors > 0


def test_segments_without_timestamps_are_taken() -> None:
    """gVisor #11536: after timestamps were negotiated, as Linux does."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80), options=options_of_syn(stamp=500))
    assert flow.socket is not None and flow.connection.timestamps
    flow.send(ACK | PSH, flow.seq, data=octets(flow.seq, 20))
    assert flow.socket.receive() == octets(flow.seq, 20)
    flow.socket.send(b"answer", attacker.now)
    attacker.pump()
    flow.send(ACK, flow.seq + 20, flow.ack + 6)
    assert flow.socket.unsent == 0


def test_client_and_server_on_one_node() -> None:
    """A program that talks to its own node: no link, an MTU of 65,535."""
    attacker = Attacker()
    server = attacker.listen(80)
    client = attacker.tcp.open()
    client.connect(NODE, 80, attacker.now)
    attacker.advance(SECOND)
    accepted = server.accept()
    assert accepted is not None
    received, sent, data = b"", 0, octets(0, 60_000) * 10
    for _ in range(1000):
        sent += client.send(data[sent : sent + 100_000], attacker.now) if sent < len(data) else 0
        attacker.advance(10 * MILLISECOND)
        received += accepted.receive(1 << 20) or b""
    assert received == data
    for socket in (client, accepted):
        socket.close(attacker.now)
    attacker.advance(1000 * SECOND)
    assert attacker.connections() == 0


@pytest.mark.parametrize("limit", [1, 100, 536, 1460, 2000, 3000])
@pytest.mark.parametrize("chunk", [1, 700])
def test_silly_windows_do_not_stall(limit: int, chunk: int) -> None:
    """gVisor #1398: a small receive buffer and a reader that takes little at a time."""
    network = pair(LinkProfile(delay=MILLISECOND))
    size = 3000 if chunk > 1 and limit > 1 else 150
    transfer = Transfer(network, size, receive_limit=limit, chunk=chunk, every=2 * MILLISECOND)
    assert network.run(size * 2 * SECOND, transfer.is_done)


@pytest.mark.parametrize("mtu", [68, 80, 100, 300])
def test_smallest_links(mtu: int) -> None:
    """RFC 791: every link carries 68 octets. Headers and options alone may be longer; with losses, SACK too."""
    network = pair(LinkProfile(delay=MILLISECOND, loss=0.02), mtu=mtu)
    transfer = Transfer(network, 5000)
    assert network.run(600 * SECOND, transfer.is_done)


@pytest.mark.slow
def test_zero_window_reopens_in_a_long_echo() -> None:
    """lwIP, genode #4056: 1 MB through buffers of 20 KB, shut again and again."""
    network = pair(LinkProfile(delay=MILLISECOND, loss=0.01))
    echo = Echo(network, 1_000_000, (20_000, 20_000, 20_000, 20_000))
    assert network.run(HOUR, echo.is_done)


def test_lost_window_update_is_asked_for() -> None:
    """MUST-36: the acknowledgment that opens the window is lost."""
    network = pair(LinkProfile(delay=MILLISECOND))
    transfer = Transfer(network, 50_000, receive_limit=4000, every=500 * MILLISECOND, chunk=4000)
    lost = 0

    def rule(frame: bytes, now: int) -> bool:
        nonlocal lost
        window_update = network.now > 100 * MILLISECOND and int.from_bytes(frame[34:36], "big") > 0 and lost < 3
        lost += window_update
        return window_update

    network.links[1].rule = rule
    assert network.run(600 * SECOND, transfer.is_done)
    assert lost == 3


def test_tail_loss_probe_keeps_to_the_window() -> None:
    """A probe is no excuse to send what the peer has no room for."""
    attacker = Attacker(keep=True)
    flow = attacker.open(attacker.listen(80), win=1000, options=options_of_syn(scale=None))
    assert flow.socket is not None
    flow.socket.send(bytes(50_000), attacker.now)
    attacker.advance(100 * SECOND)
    ends = [s.sequence + len(s.payload) - flow.ack for s in attacker.sent if s.payload]
    assert len(ends) > 3 and max(ends) <= 1000
