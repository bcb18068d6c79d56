"""Floods, leaks and limits: what many connections, or many that want to be one, cost a node."""

from __future__ import annotations

import errno

import pytest

from nodes.errors import LimitError
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp_options
from nodes.wire.addresses import ANY, Ip4, parse_ip4
from nodes.wire.tcp import ACK, FIN, PSH, RST, SYN
from tests.sim.tcp_attacker import MASK, PEER, Attacker, memory_of, octets, options_of_syn
from tests.sim.tcp_network import LinkProfile, pair

LEGITIMATE = parse_ip4("10.9.9.9")


# -------------------------------------------------------------------------------------------------------------- floods


def flood(attacker: Attacker, count: int, *, start: int = 0) -> None:
    """SYNs from as many sockets, 20 µs apart, which never answer."""
    options = options_of_syn(stamp=77)
    for number in range(start, start + count):
        attacker.now += 20_000
        source = Ip4(0x0B00_0000 + number)
        attacker.feed(SYN, number * 64_007, port=1 + number % 60_000, remote=source, options=options)


@pytest.mark.slow
def test_syn_flood_of_50000() -> None:
    """B-API-2, RFC 4987: bounded memory, cookies from the limit on, a client in the middle of it gets in."""
    attacker = Attacker()
    server = attacker.listen(80)
    before = attacker.memory()
    flood(attacker, 25_000)
    assert attacker.connections() == attacker.tcp.settings.maximum_half_open
    held = attacker.memory() - before
    flow = attacker.open(server, remote=LEGITIMATE, options=options_of_syn(stamp=5))
    flood(attacker, 25_000, start=25_000)
    stamp = tcp_options.build((900, 0))
    assert flow.send(ACK | PSH, flow.seq, data=octets(flow.seq, 3000)[:1400], options=stamp)
    assert flow.socket is not None and flow.socket.receive() == octets(flow.seq, 1400)
    counters = attacker.tcp.counters
    assert counters.syn_cookies_sent == 50_001 - attacker.tcp.settings.maximum_half_open
    assert counters.syn_cookies_accepted == 1
    assert held < 8 << 20
    assert attacker.memory() - before < held + (1 << 18), "the flood goes on, and costs nothing more"
    attacker.advance(300 * SECOND)
    assert attacker.connections() == 1, "the half-open ones are given up after R2"


def test_forged_cookies_open_nothing() -> None:
    """RFC 4987 section 3.6: acknowledgments out of the blue, while cookies are being taken."""
    attacker = Attacker(TcpSettings(maximum_half_open=4))
    server = attacker.listen(80)
    flood(attacker, 10)
    for number in range(500):
        answers = attacker.feed(ACK, 1000, number * 8_000_009, port=9, remote=LEGITIMATE)
        assert [answer.flags for answer in answers] == [RST]
    assert attacker.connections() == 4
    assert server.accept() is None
    assert attacker.tcp.counters.syn_cookies_failed == 500


def test_syn_flood_without_cookies_is_dropped() -> None:
    attacker = Attacker(TcpSettings(maximum_half_open=16, syn_cookies=False))
    attacker.listen(80)
    flood(attacker, 300)
    assert attacker.connections() == 16
    assert attacker.frames == 16
    assert attacker.tcp.counters.drops["half_open_full"] == 284


def test_half_open_connections_end() -> None:
    """Those whose peer is silent by R2, those whose peer resets at once (MUST-11)."""
    attacker = Attacker(TcpSettings(maximum_half_open=3))
    attacker.listen(80)
    for _ in range(3):
        flood(attacker, 3)
        attacker.feed(RST, 1, port=1, remote=Ip4(0x0B00_0000))
        assert attacker.connections() == 2
        attacker.advance(300 * SECOND)
        attacker.assert_empty()
    assert attacker.tcp.counters.syn_cookies_sent == 0, "their places are free again"


def test_accept_queue_overflow() -> None:
    """B-API-2: the backlog is what it says; who comes later is neither reset nor counted in, and gets in once the
    program has accepted."""
    attacker = Attacker()
    server = attacker.listen(80, backlog=2)
    flows = [attacker.flow(port) for port in (1, 2, 3)]
    for flow in flows:
        flow.ack = (flow.send(SYN, flow.irs, 0, options=options_of_syn())[0].sequence + 1) & MASK
    for flow in flows:
        flow.send(ACK, flow.seq)
    assert flows[2].connection.state is State.SYN_RCVD
    assert attacker.feed(SYN, 5, port=4) == []
    assert attacker.tcp.counters.listen_overflows == 2
    assert server.accept() is not None
    flows[2].send(ACK | PSH, flows[2].seq, data=octets(flows[2].seq, 10))
    assert flows[2].connection.state is State.ESTABLISHED
    assert attacker.tcp.counters.out_resets == 0


def test_connections_of_a_listener_that_closes_are_reset() -> None:
    """B-API-3: nothing stays behind that nobody can reach."""
    attacker = Attacker(keep=True)
    server = attacker.listen(80)
    attacker.open(None, port=1)
    attacker.feed(SYN, 5, port=2)
    server.close(attacker.now)
    attacker.pump()
    assert [s.destination_port for s in attacker.sent if s.flags & RST] == [2, 1]
    attacker.assert_empty()


# --------------------------------------------------------------------------------------------------------------- leaks


class Cycle:
    """Two stacks on a wire without delay, and a whole life of a connection again and again."""

    def __init__(self, settings: TcpSettings) -> None:
        network = pair(LinkProfile(), settings=settings)
        self.client, self.server = network.stacks
        self.now = 0
        self.listener = self.server.tcp.open()
        self.listener.bind(ANY, 80, 0)
        self.listener.listen(8, 0)

    def exchange(self) -> None:
        busy = True
        while busy:
            busy = False
            for source, destination in ((self.client, self.server), (self.server, self.client)):
                for _, frame in source.transmit():
                    busy = True
                    destination.receive(0, frame, self.now)

    def run(self, number: int) -> None:
        socket = self.client.tcp.open()
        socket.connect(parse_ip4("10.0.0.2"), 80, self.now)
        self.exchange()
        accepted = self.listener.accept()
        assert accepted is not None
        socket.send(b"question", self.now)
        self.exchange()
        assert accepted.receive() == b"question"
        ends = (socket, accepted)
        first, second = ends if number % 2 else ends[::-1]
        if number % 5 == 4:
            first.abort(self.now)
        else:
            first.close(self.now)
        self.exchange()
        second.close(self.now)
        self.exchange()
        self.now += 100 * MILLISECOND
        for stack in (self.client, self.server):
            due = stack.deadline()
            if due is not None and due <= self.now:
                stack.timeout(self.now)
            stack.drain_ready()
            stack.transmit()

    def memory(self) -> int:
        return memory_of(self.client) + memory_of(self.server)


@pytest.mark.slow
def test_10000_connect_close_cycles_leak_nothing() -> None:
    """J-8: ports, timers, connections, records of TIME_WAIT, memory."""
    cycle = Cycle(TcpSettings(msl=SECOND))
    for number in range(1000):
        cycle.run(number)
    before = cycle.memory()
    for number in range(1000, 10_000):
        cycle.run(number)
    assert cycle.memory() < before + 8192
    cycle.now += 10 * SECOND
    for stack in (cycle.client, cycle.server):
        stack.timeout(cycle.now)
        assert not stack.transmit()
        assert not stack.tcp._connections
        assert not stack.tcp._time_waits
        assert not len(stack.tcp._timers) and stack.tcp.deadline() is None
        assert len(stack.tcp.ports) == (1 if stack is cycle.server else 0)
        assert stack.tcp._sockets == (1 if stack is cycle.server else 0)
    assert cycle.client.tcp.counters.active_opens == 10_000


def test_time_waits_are_bounded() -> None:
    """The oldest give way; the newest keep their 2 MSL."""
    cycle = Cycle(TcpSettings(time_wait_limit=20, msl=1000 * SECOND))
    for number in range(1, 300, 2):
        cycle.run(number - number % 5 + 1 if number % 5 == 4 else number)
    layer = cycle.client.tcp
    assert len(layer._connections) == len(layer._time_waits) == 20
    assert layer.counters.time_wait_overflows >= 100


def test_reopened_time_waits_do_not_push_out_others() -> None:
    """MAY-2: one client that uses its port again and again has one record, whatever the limit."""
    attacker = Attacker(TcpSettings(time_wait_limit=10))
    server = attacker.listen(80)
    irs = 1000
    for port in (1, *[2] * 40):
        irs += 100_000
        flow = attacker.open(server, port, irs=irs)
        assert flow.socket is not None
        flow.socket.close(attacker.now)
        attacker.pump()
        flow.send(ACK | FIN, flow.seq, flow.ack + 1)
    assert attacker.connections() == 2
    assert attacker.tcp.counters.time_wait_overflows == 0
    assert len(attacker.tcp._time_waits) <= 11


# -------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.slow
def test_port_exhaustion_is_an_error_to_the_caller() -> None:
    """RFC 6056: 16,384 dynamic ports to one destination; another destination still works."""
    attacker = Attacker()
    sockets = []
    for _ in range(16_384):
        socket = attacker.tcp.open()
        socket.connect(PEER, 80, attacker.now)
        sockets.append(socket)
    refused = attacker.tcp.open()
    with pytest.raises(LimitError) as caught:
        refused.connect(PEER, 80, attacker.now)
    assert caught.value.errno == errno.EADDRNOTAVAIL and caught.value.hint
    refused.connect(PEER, 81, attacker.now)
    sockets[5].close(attacker.now)
    attacker.tcp.open().connect(PEER, 80, attacker.now)
    attacker.pump()


def test_socket_limit_is_an_error_to_the_caller() -> None:
    attacker = Attacker(TcpSettings(maximum_connections=3))
    sockets = [attacker.tcp.open() for _ in range(3)]
    with pytest.raises(LimitError) as caught:
        attacker.tcp.open()
    assert caught.value.errno == errno.EMFILE
    sockets[0].close(attacker.now)
    attacker.tcp.open()


def test_connection_limit_is_an_error_to_the_caller() -> None:
    attacker = Attacker(TcpSettings(maximum_connections=3))
    socket = attacker.listen(80)
    for port in (1, 2, 3):
        attacker.open(None, port=port)
    client = attacker.tcp.open()
    with pytest.raises(LimitError) as caught:
        client.connect(PEER, 80, attacker.now)
    assert caught.value.errno == errno.ENOBUFS
    answers = attacker.feed(SYN, 5, port=4, options=options_of_syn())
    attacker.feed(ACK, 6, answers[0].sequence + 1, port=4)
    assert attacker.connections() == 3, "a cookie costs nothing, and brings nothing while the node is full"
    assert socket.accept() is not None


@pytest.mark.slow
def test_send_has_back_pressure() -> None:
    """pmd-pytcp queued 3 GB in 8 s: a socket takes what its limit says, and rings when there is room again."""
    attacker = Attacker()
    server = attacker.listen(80, send_limit=100_000)
    flow = attacker.open(server)
    assert flow.socket is not None
    before = attacker.memory()
    accepted = sum(flow.socket.send(bytes(7000), attacker.now) for _ in range(10_000))
    assert accepted == 100_000
    accepted += sum(flow.socket.send(b"x", attacker.now) for _ in range(1000))
    assert accepted == 100_000 and not flow.socket.writable
    assert attacker.memory() - before < 250_000
    attacker.pump()
    attacker.stack.drain_ready()
    flow.send(ACK, flow.seq, flow.ack + 10_000)
    assert attacker.stack.drain_ready() == []
    while not attacker.stack.drain_ready():
        flow.send(ACK, flow.seq, flow.connection.snd_nxt)
    assert flow.socket.send(bytes(7000), attacker.now) == 7000


def test_small_writes_cost_no_object_each() -> None:
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80), win=0)
    assert flow.socket is not None
    before = attacker.memory()
    for _ in range(50_000):
        flow.socket.send(b"x", attacker.now)
    assert attacker.memory() - before < 200_000
