"""`TcpSettings.memory`: one budget for the buffers of all connections. Peers and programs that fill everything at once
make windows shut and sends wait; nothing is lost, nothing stands still once there is memory again."""

from __future__ import annotations

import errno

import pytest

from nodes.errors import LimitError
from nodes.transport.tcp.receive_window import INITIAL_GRANT
from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp_options
from nodes.wire.addresses import Ip4
from nodes.wire.tcp import ACK, FIN, RST, SYN
from tests.sim.tcp_attacker import MASK, PEER, Attacker, Flow, octets, options_of_syn

BUDGET = 1 << 20
REMOTE = 0x0B00_0000


class Crowd:
    """A node with a budget of BUDGET, and peers who send as much as they are allowed."""

    def __init__(self, count: int, memory: int = BUDGET, **options: object) -> None:
        self.attacker = Attacker(TcpSettings(memory=memory, ecn=False))
        self.server = self.attacker.listen(80, backlog=count, **options)
        self.empty = self.attacker.memory()
        self.flows = [self.attacker.open(self.server, remote=Ip4(REMOTE + n)) for n in range(count)]
        self.seqs = [flow.seq for flow in self.flows]

    @property
    def used(self) -> int:
        return self.attacker.tcp.memory.used

    @property
    def held(self) -> int:
        return self.attacker.memory() - self.empty

    def window(self, flow: Flow) -> int:
        return flow.connection.window.edge

    def fill(self, flow: Flow, index: int, most: int = 1 << 22) -> int:
        """The peer of `flow` sends until its window is full, or `most` octets; how many that were."""
        before = self.seqs[index]
        end = min((flow.connection.window.edge - flow.connection.rcv_nxt), most) + before
        while (seq := self.seqs[index]) < end:
            size = min(1400, end - seq)
            flow.send(ACK, seq, data=octets(seq, size))
            self.seqs[index] = seq + size
        return self.seqs[index] - before

    def resume(self, index: int) -> None:
        """The peer goes on behind what was taken: it sends again what was not."""
        flow = self.flows[index]
        self.seqs[index] = flow.seq + flow.connection.rcv_nxt - flow.connection.irs - 1

    def read(self, flow: Flow) -> int:
        assert flow.socket is not None
        length = 0
        while data := flow.socket.receive(1 << 16):
            length += len(data)
        return length


@pytest.mark.slow
def test_windows_shut_when_the_budget_is_used() -> None:
    """Peers get no more than was promised to them; what was promised is still taken."""
    crowd = Crowd(40)
    for _ in range(3):
        for index, flow in enumerate(crowd.flows):
            crowd.fill(flow, index)
    assert crowd.used > BUDGET
    assert crowd.attacker.tcp.counters.memory_pressure > 0
    for flow, seq in zip(crowd.flows, crowd.seqs, strict=True):
        assert flow.connection.window.edge - flow.connection.irs - 1 <= INITIAL_GRANT + 65_536
        assert flow.connection.rcv_nxt == seq or crowd.used > BUDGET


@pytest.mark.slow
def test_promises_do_not_add_up_to_more_than_twice_the_budget() -> None:
    """A crowd that held nothing fills its windows at once: what is promised to all is many times the budget. From
    somewhere on segments are dropped, which the peers send again."""
    crowd = Crowd(100)
    for index, flow in enumerate(crowd.flows):
        crowd.fill(flow, index)
    assert crowd.held < 2 * BUDGET + 100 * 10_000
    for _ in range(2):
        for index, flow in enumerate(crowd.flows):
            crowd.read(flow)
            crowd.attacker.pump()
            crowd.resume(index)
            assert crowd.fill(flow, index, 1400) > 0
            assert crowd.read(flow) > 0, "everybody gets on"


@pytest.mark.slow
def test_windows_open_again_after_reads() -> None:
    """The peers are told at once: they need not ask."""
    crowd = Crowd(20)
    for index, flow in enumerate(crowd.flows):
        crowd.fill(flow, index)
    edges = [flow.connection.window.edge for flow in crowd.flows]
    assert crowd.used > BUDGET
    answers = 0
    for flow in crowd.flows:
        crowd.read(flow)
        answers += len(crowd.attacker.pump())
    answers += len(crowd.attacker.advance(SECOND))
    assert answers >= 20
    moved = sum(flow.connection.window.edge > edge for flow, edge in zip(crowd.flows, edges, strict=True))
    assert moved == 20
    assert crowd.used < BUDGET // 8


def test_window_of_the_only_connection_opens_again() -> None:
    """Nobody else's traffic makes the node look at its memory: the read itself has to."""
    crowd = Crowd(1, memory=20_000)
    (flow,) = crowd.flows
    for _ in range(5):
        assert crowd.fill(flow, 0) > 10_000
        assert crowd.used > 20_000
        crowd.read(flow)
        assert any(segment.window for segment in crowd.attacker.pump()), "the peer hears of it at once"
        assert crowd.used == 0
        crowd.resume(0)


def test_sends_wait_and_are_rung() -> None:
    """Beyond the budget a send takes nothing, whoever calls; programs are rung when others' data is acknowledged."""
    crowd = Crowd(6)
    taken = [flow.socket.send(bytes(300_000), crowd.attacker.now) for flow in crowd.flows if flow.socket is not None]
    assert BUDGET <= sum(taken) <= BUDGET + 300_000
    refused = [flow for flow, length in zip(crowd.flows, taken, strict=True) if not length]
    assert refused
    crowd.attacker.pump()
    crowd.attacker.stack.drain_ready()
    rung: set[object] = set()
    for flow in crowd.flows:
        for _ in range(300):
            connection = flow.connection
            if connection.snd_una == connection.send_buffer.end:
                break
            crowd.attacker.now += MILLISECOND
            flow.send(ACK, flow.seq, connection.snd_nxt)
            rung.update(crowd.attacker.stack.drain_ready())
    assert all(flow.socket in rung for flow in refused)
    for flow in refused:
        assert flow.socket is not None and flow.socket.send(b"now", crowd.attacker.now) == 3


def test_no_new_connections_without_memory() -> None:
    """`connect` says so, a SYN is dropped; what is open goes on."""
    crowd = Crowd(5)
    for flow in crowd.flows:
        assert flow.socket is not None
        flow.socket.send(bytes(400_000), crowd.attacker.now)
    attacker = crowd.attacker
    attacker.pump()
    client = attacker.tcp.open()
    with pytest.raises(LimitError) as caught:
        client.connect(PEER, 9, attacker.now)
    assert caught.value.errno == errno.ENOBUFS
    answers = attacker.feed(SYN, 1, port=77, options=options_of_syn())
    if answers:  # a cookie, which costs nothing, and opens nothing yet
        attacker.feed(ACK, 2, answers[0].sequence + 1, port=77)
    assert attacker.connections() == 5
    for flow in crowd.flows:
        attacker.feed(RST, flow.seq, remote=flow.remote)
    assert crowd.used == 0
    client.connect(PEER, 9, attacker.now)


def test_holes_count() -> None:
    """What is held out of order costs memory too, and more than its octets."""
    crowd = Crowd(1)
    (flow,) = crowd.flows
    for number in range(1000):
        seq = flow.seq + 10 + 10 * number
        flow.send(ACK, seq, data=octets(seq, 1))
    assert crowd.used > 1000 * 100


def test_budget_is_free_again_at_the_end() -> None:
    """Whatever way connections end: nothing stays counted, nothing is counted twice."""
    crowd = Crowd(12)
    for index, flow in enumerate(crowd.flows):
        socket = flow.socket
        assert socket is not None
        crowd.fill(flow, index, 20_000)
        socket.send(bytes(10_000), crowd.attacker.now)
        crowd.attacker.pump()
        match index % 6:
            case 0:
                socket.abort(crowd.attacker.now)
            case 1:
                socket.close(crowd.attacker.now)
            case 2:
                crowd.read(flow)
                socket.close(crowd.attacker.now)
            case 3:
                flow.send(RST, crowd.seqs[index])
            case 4:
                flow.send(ACK | FIN, crowd.seqs[index])
                crowd.read(flow)
                socket.close(crowd.attacker.now)
            case 5:
                socket.shutdown(crowd.attacker.now)
    assert crowd.used == sum(c.held for c in crowd.attacker.tcp._connections.values() if hasattr(c, "held"))
    for flow in crowd.flows:
        assert flow.socket is not None
        flow.socket.close(crowd.attacker.now)
    crowd.attacker.advance(3 * 3600 * SECOND)
    assert crowd.attacker.connections() == 0
    assert crowd.used == 0


def test_forever_shut_peers_do_not_lock_the_others_out() -> None:
    """Peers that take nothing hold what programs queued for them, and that is all they hold: other connections still
    get what they had, and go on as soon as those are gone."""
    crowd = Crowd(4)
    greedy, modest = crowd.flows[:3], crowd.flows[3]
    for flow in greedy:
        flow.send(ACK, flow.seq, win=0)
        assert flow.socket is not None
        flow.socket.send(bytes(400_000), crowd.attacker.now)
    assert crowd.used > BUDGET
    assert crowd.fill(modest, 3, 60_000) == 60_000
    assert crowd.read(modest) == 60_000
    for flow in greedy:
        assert flow.socket is not None
        flow.socket.abort(crowd.attacker.now)
    crowd.attacker.pump()
    assert modest.socket is not None
    assert modest.socket.send(b"answer", crowd.attacker.now) == 6
    stamp = tcp_options.build(None, ())
    assert crowd.attacker.pump()
    for _ in range(100):
        crowd.fill(modest, 3, 10_000)
        crowd.read(modest)
        crowd.attacker.pump()
        modest.send(ACK, crowd.seqs[3], (modest.ack + 6) & MASK, options=stamp)
    assert crowd.seqs[3] - modest.seq > 600_000
