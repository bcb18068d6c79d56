"""How would an attacker make this TCP use memory or time without bound? One test for each way that we know.

Memory is weighed as Python holds it (`memory_of`). Time is counted in what is done, never by the clock: function calls
of the interpreter (`calls`), which must not grow with what a connection already holds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random

import pytest

from nodes.transport.tcp.segment_size import MINIMUM_MSS
from nodes.transport.tcp.states import State
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from nodes.wire import tcp_options
from nodes.wire.tcp import ACK, FIN, PSH, URG
from tests.sim.tcp_attacker import MASK, RTT, Attacker, Flow, octets, options_of_syn, victim

KILOBYTE, MEGABYTE = 1 << 10, 1 << 20


def calls(action: Callable[[], object]) -> int:
    """Lines of Python that `action` executes: a measure of its cost that is the same on every machine."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


# --------------------------------------------------------------------------------- what the receiver holds for a peer


def holes(flow: Flow, count: int, size: int, step: int) -> None:
    """Segments of `size` octets, one every `step`, the first octet never."""
    for number in range(count):
        seq = flow.seq + 1 + number * step
        flow.send(ACK, seq, data=octets(seq, size))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "step"), [(1, 2), (100, 101), (511, 1000), (536, 600), (1400, 1401)])
def test_holes_everywhere(size: int, step: int) -> None:
    """Every second octet, or segments with holes between them: bounded by a small multiple of the window, and nothing
    that was promised by SACK is dropped."""
    limit = 256 * KILOBYTE
    attacker, flow = victim(receive_limit=limit)
    before = attacker.memory()
    holes(flow, min(6000, limit // step), size, step)
    assert attacker.memory() - before < 5 * limit
    buffer = flow.connection.receive_buffer
    held = buffer.sack_blocks(1 << 20)
    for seq in range(flow.seq, flow.seq + limit, 1400):
        flow.send(ACK, seq, data=octets(seq, 1400))
    assert flow.socket is not None
    data = flow.socket.receive(1 << 20)
    assert data is not None and len(data) >= max(end for _, end in held) - flow.connection.irs - 1
    assert data == b"".join(octets(seq, 1024) for seq in range(flow.seq, flow.seq + len(data), 1024))[: len(data)]


@pytest.mark.slow
def test_window_of_small_segments_in_order() -> None:
    """A window full of single octets that nobody reads: no object for each."""
    attacker, flow = victim(receive_limit=20_000)
    before = attacker.memory()
    for seq in range(flow.seq, flow.seq + 20_000):
        flow.send(ACK, seq, data=octets(seq, 1))
    assert flow.connection.receive_buffer.available == 20_000
    assert attacker.memory() - before < 60_000


def test_small_payload_keeps_no_large_packet_alive() -> None:
    """Segments of one octet in packets of 1500, the rest options and padding behind the IP length."""
    attacker, flow = victim(receive_limit=MEGABYTE)
    before = attacker.memory()
    padding = bytes([1]) * 40
    for number in range(1000):
        seq = flow.seq + 1 + 10 * number
        flow.send(ACK, seq, data=octets(seq, 1), options=padding)
    assert attacker.memory() - before < 1000 * 1000


@pytest.mark.slow
def test_the_same_range_again_and_again() -> None:
    """Overlaps in every way: nothing is held twice."""
    attacker, flow = victim(receive_limit=64 * KILOBYTE)
    before = attacker.memory()
    random = Random(1)
    for _ in range(5000):
        seq = flow.seq + random.randrange(1, 5000)
        flow.send(ACK, seq, data=octets(seq, random.randrange(1, 1400)))
    flow.send(ACK, flow.seq + 1, data=octets(flow.seq + 1, 1400))
    assert flow.connection.receive_buffer.out_of_order < 6400
    assert attacker.memory() - before < 60_000
    flow.send(ACK, flow.seq, data=octets(flow.seq, 1))
    assert flow.socket is not None
    data = flow.socket.receive()
    assert data is not None and data == octets(flow.seq, len(data)) and len(data) > 6000


@pytest.mark.slow
def test_cost_of_a_segment_does_not_grow_with_the_holes() -> None:
    _, flow = victim(receive_limit=4 * MEGABYTE)
    holes(flow, 50, 8, 100)
    few = calls(lambda: holes_behind(flow, 50, 100))
    holes(flow, 5000, 8, 100)
    many = calls(lambda: holes_behind(flow, 5000, 100))
    assert many < 2 * few


def holes_behind(flow: Flow, number: int, step: int) -> None:
    for extra in range(20):
        seq = flow.seq + 1 + (number + extra) * step
        flow.send(ACK, seq, data=octets(seq, 8))


def test_fin_in_the_future_does_not_hold_what_lies_behind_it() -> None:
    """A FIN far ahead, data beyond it: cut, and the connection still ends when the gap is filled."""
    _, flow = victim(receive_limit=100_000)
    flow.send(ACK | FIN, flow.seq + 1000)
    for seq in range(flow.seq + 1000, flow.seq + 60_000, 1000):
        flow.send(ACK, seq, data=octets(seq, 1000))
    assert flow.connection.receive_buffer.out_of_order == 0
    flow.send(ACK, flow.seq, data=octets(flow.seq, 1000))
    assert flow.connection.state is State.CLOSE_WAIT


# ----------------------------------------------------------------------------------- what the sender holds for a peer


def test_mss_of_one_is_not_believed() -> None:
    """CVE-2019-11479: an MSS of 1 would make a segment, a record and 40 octets of header for each octet."""
    for mss in (0, 1, 8, 40):
        attacker, flow = victim(mss=mss)
        assert flow.socket is not None
        flow.socket.send(octets(0, 4800), attacker.now)
        sizes = [len(segment.payload) for segment in attacker.pump() if segment.payload]
        assert sizes and min(sizes) >= MINIMUM_MSS


@pytest.mark.slow
def test_tiny_mss_and_a_huge_window() -> None:
    """CVE-2019-11478: the smallest segments, all acknowledged but the first: the records of what was sent cost a
    bounded multiple of the send buffer."""
    attacker, flow = victim(mss=MINIMUM_MSS, scale=14, send_limit=256 * KILOBYTE)
    assert flow.socket is not None
    before = attacker.memory()
    flow.socket.send(bytes(256 * KILOBYTE), attacker.now)
    for _ in range(300):
        attacker.now += MILLISECOND
        attacker.pump()
        flow.send(ACK, flow.seq, (flow.ack + MINIMUM_MSS) & MASK, options=sacked(flow, [(1, 2)]))
        edge = flow.connection.snd_nxt - flow.connection.iss - 1
        flow.send(ACK, flow.seq, flow.ack, options=sacked(flow, [(MINIMUM_MSS, edge)]))
    assert attacker.memory() - before < 20 * 256 * KILOBYTE


def sacked(flow: Flow, blocks: list[tuple[int, int]]) -> bytes:
    """A SACK option; the blocks are offsets in the node's stream."""
    return tcp_options.build(None, [((flow.ack + a) & MASK, (flow.ack + b) & MASK) for a, b in blocks])


def filled(send_limit: int = MEGABYTE) -> tuple[Attacker, Flow, int]:
    """A flight of many segments, to play with; its length in octets."""
    attacker, flow = victim(scale=14, send_limit=send_limit, congestion="none")
    assert flow.socket is not None
    flow.socket.send(bytes(send_limit), attacker.now)
    for _ in range(100):
        attacker.now += MICROSECOND
        attacker.pump()
    attacker.now += RTT
    return attacker, flow, flow.connection.snd_nxt - flow.connection.snd_una


def test_sack_splitting() -> None:
    """Blocks of single octets: the scoreboard has no more records than segments were sent."""
    attacker, flow, flight = filled()
    recovery = flow.connection.recovery
    assert recovery is not None
    records = len(recovery.queue)
    before = attacker.memory()
    for offset in range(1, flight - 8, 7 * flight // 6000):
        flow.send(ACK, flow.seq, options=sacked(flow, [(offset + 2 * n, offset + 2 * n + 1) for n in range(4)]))
    assert len(recovery.queue) <= records
    assert attacker.memory() - before < 100_000


@pytest.mark.parametrize("blocks", ["alternate", "repeated", "reversed", "nested", "beyond", "inverted"])
def test_sack_storm(blocks: str) -> None:
    """Blocks in every unkind shape: the cost of one does not grow with how many came, nothing is raised."""
    attacker, flow, flight = filled()
    mss = flow.connection.mss
    count = flight // mss
    shapes: dict[str, Callable[[int], list[tuple[int, int]]]] = {
        "alternate": lambda n: [((2 * n + k) * mss, (2 * n + k + 1) * mss) for k in (1, 3, 5, 7)],
        "repeated": lambda n: [(mss, 2 * mss)] * 4,
        "reversed": lambda n: [(flight - (2 * n + 1) * mss, flight - 2 * n * mss)],
        "nested": lambda n: [(mss + n, flight - n * mss)] * 4,
        "beyond": lambda n: [(flight, flight + n * mss), (flight - mss, flight + mss)],
        "inverted": lambda n: [((n + 2) * mss, (n + 1) * mss), (5 * mss, 5 * mss), (-3 * mss, mss)],
    }
    shape = shapes[blocks]
    costs = []
    for number in range(1, count // 2 - 8):
        attacker.now += 10 * MICROSECOND
        options = sacked(flow, shape(number))
        if number in (20, count // 2 - 20):
            costs.append(calls(lambda options=options: flow.send(ACK, flow.seq, options=options)))
        else:
            flow.send(ACK, flow.seq, options=options)
    assert costs[1] < 3 * costs[0] + 500
    flow.send(ACK, flow.seq, (flow.ack + flight) & MASK)
    assert flow.connection.snd_una - flow.connection.iss - 1 == flight


def test_optimistic_acknowledgments() -> None:
    """Acknowledging what is not yet sent opens nothing and is answered at most at the challenge limit."""
    _, flow, flight = filled(100_000)
    una = flow.connection.snd_una
    answers = 0
    for ahead in range(1, 3000):
        answers += len(flow.send(ACK, flow.seq, (flow.ack + flight + ahead) & MASK))
    assert flow.connection.snd_una == una
    assert answers <= 100


def test_acknowledgments_octet_by_octet() -> None:
    """RFC 3465: many acknowledgments of one segment do not open the window more than one would."""
    attacker, flow = victim(scale=14, send_limit=MEGABYTE, congestion="newreno")
    assert flow.socket is not None
    flow.socket.send(bytes(MEGABYTE), attacker.now)
    attacker.advance(MILLISECOND)
    congestion = flow.connection.congestion
    assert congestion is not None
    before = congestion.cwnd
    for octet in range(1, 1461):
        flow.send(ACK, flow.seq, (flow.ack + octet) & MASK)
    assert congestion.cwnd <= before + 2 * 1460


def test_timestamps_of_the_future_and_the_past_cost_nothing() -> None:
    """PAWS tricks: echoes of times that never were, values that jump by half the circle. The stream goes on, and the
    timer stays within its bounds."""
    attacker = Attacker()
    flow = attacker.open(attacker.listen(80), options=options_of_syn(stamp=1000))
    assert flow.socket is not None
    random = Random(3)
    for _ in range(2000):
        value, echo = (
            random.choice((1000, 1001, 0x7FFF_FFFF, 0x8000_03E8, random.getrandbits(32))),
            random.getrandbits(32),
        )
        flow.socket.send(b"x", attacker.now)
        attacker.now += MILLISECOND
        attacker.pump()
        connection = flow.connection
        flow.send(ACK, flow.seq, connection.snd_nxt, options=tcp_options.build((value, echo)))
        assert connection.layer.settings.minimum_rto <= connection.rtt.timeout <= 60 * SECOND


def test_urgent_tricks() -> None:
    """Pointers at nothing, at the past, beyond the window, with every segment: no stall, no octet lost, no ringing
    without end."""
    attacker, flow = victim(receive_limit=4000)
    assert flow.socket is not None
    random = Random(4)
    rings, seq, received = 0, flow.seq, b""
    for _ in range(1000):
        urgent = random.choice((0, 1, 2, 65535, random.getrandbits(16)))
        size = random.choice((0, 1, 30))
        attacker.feed(ACK | URG, seq, flow.ack, urgent=urgent, data=octets(seq, size))
        seq += size
        rings += len(attacker.stack.drain_ready())
        received += flow.socket.receive() or b""
        assert 0 <= flow.socket.urgent <= 65_535
    assert received == octets(flow.seq, len(received)) and len(received) == seq - flow.seq
    assert rings <= 1000


OPTIONS = (
    b"",
    bytes([1]) * 40,
    bytes([0]) * 40,
    bytes((2, 4, 0, 0)) * 10,
    bytes((3, 3, 255)) * 13,
    bytes((4, 2)) * 20,
    bytes((5, 2)) * 20,
    bytes((5, 0)) + bytes(38),
    bytes((5, 255)) + bytes(38),
    bytes((5, 34)) + bytes([255]) * 32,
    bytes((8, 10)) + bytes([255]) * 8 + bytes((8, 10)) + bytes(8),
    bytes((253, 40)) + bytes(38),
    bytes((28, 4, 0, 0)) * 10,
    bytes((34, 2)) * 20,
    bytes([255]) * 40,
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[:4].hex() or "none")
def test_option_storms(options: bytes) -> None:
    """In a SYN, in the handshake, in data: a connection that works, or none."""
    attacker = Attacker()
    server = attacker.listen(80)
    flow = attacker.open(server, options=options)
    assert flow.socket is not None
    seq = flow.seq
    for _ in range(50):
        attacker.feed(ACK | PSH, seq, flow.ack, data=octets(seq, 100), options=options)
        seq += 100
    assert flow.socket.receive() == octets(flow.seq, 5000)
    flow.socket.send(octets(0, 300), attacker.now)
    assert b"".join(bytes(segment.payload) for segment in attacker.pump())[:300] == octets(0, 300)
