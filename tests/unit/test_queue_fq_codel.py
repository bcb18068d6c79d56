"""FQ-CoDel: flows, turns, and what a full queue drops (RFC 8290)."""

from __future__ import annotations

from collections import Counter

import pytest

from nodes.impairment import Codel, DropTail, FqCodel
from nodes.physical.carried import Carried
from nodes.physical.queues.base import make_queue
from nodes.physical.queues.flows import FlowHash, flow_key
from nodes.physical.queues.fq_codel import FqCodelQueue
from nodes.physical.server import RateServer
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ethernet, ipv4
from nodes.wire.addresses import Ip4
from tests.unit.queue_frames import ECT, PEER, STATION, Bottleneck, flow_of, is_ce, number_of, packet

RATE = 10_000_000
SEED = 1
"""With which flows 0 to 15 have queues of their own (tested below)."""


def fq(statistics: Statistics, **settings: object) -> FqCodelQueue:
    return FqCodelQueue(FqCodel(**settings), mtu=1500, seed=SEED, statistics=statistics)  # type: ignore[arg-type]


def put(queue: FqCodelQueue, flow: int, *frames: int, now: int = 0, length: int = 1514, ecn: int = 0) -> None:
    for number in frames:
        queue.enqueue(Carried(packet(flow, number, length, ecn), now), now)


def take(queue: FqCodelQueue, count: int, now: int = 0) -> list[tuple[int, int]]:
    """(flow, number) of the next frames."""
    result = []
    for _ in range(count):
        carried = queue.dequeue(now)
        if carried is not None:
            result.append((flow_of(carried.frame), number_of(carried.frame)))
    return result


def ip(protocol: int, payload: bytes = b"\x00\x01\x00\x02data", **fields: object) -> bytes:
    datagram = ipv4.build(Ip4(1), Ip4(2), protocol, payload, **fields)  # type: ignore[arg-type]
    return ethernet.build(PEER, STATION, ethernet.ETHERTYPE_IPV4, datagram)


def test_flows_of_these_tests_do_not_collide() -> None:
    hashed = FlowHash(1024, SEED)
    assert len({hashed(packet(flow)) for flow in range(16)}) == 16


def test_full_frames_take_turns() -> None:
    queue = fq(Statistics())
    for flow in range(3):
        put(queue, flow, 0, 1, 2)
    assert take(queue, 10) == [(flow, number) for number in range(3) for flow in range(3)]


def test_turns_are_shares_of_octets() -> None:
    """Deficit round robin: 1514 octets of small frames for each large one."""
    queue = fq(Statistics())
    put(queue, 0, *range(20))
    put(queue, 1, *range(300), length=100)
    octets: Counter[int] = Counter()
    for flow, _ in take(queue, 160):
        octets[flow] += 100 if flow else 1514
    assert abs(octets[0] - octets[1]) <= 2 * 1514


def test_quantum_is_how_much_one_sends_before_the_next() -> None:
    """A queue sends as long as its deficit is positive: 300 octets are three frames of 100, 301 are four."""
    for quantum, turn in ((300, 3), (301, 4), (100, 1)):
        queue = fq(Statistics(), quantum=quantum)
        put(queue, 0, *range(20), length=100)
        put(queue, 1, *range(20), length=100)
        assert [flow for flow, _ in take(queue, 2 * turn)] == [0] * turn + [1] * turn
        following = 3 if quantum == 301 else turn  # what it sent too much is missing the next time
        assert [flow for flow, _ in take(queue, 2 * following)] == [0] * following + [1] * following


def test_new_flows_go_before_old_ones() -> None:
    queue = fq(Statistics())
    put(queue, 0, *range(10))
    put(queue, 1, *range(10))
    take(queue, 6)
    put(queue, 2, 0, length=100)
    assert take(queue, 2) == [(2, 0), (0, 3)]


def test_a_new_flow_that_pauses_does_not_starve_old_ones() -> None:
    """Section 4.2: an emptied new queue goes through the old ones once, and its next frame waits for that."""
    queue = fq(Statistics(), quantum=10 * 1514)
    put(queue, 0, *range(40))
    take(queue, 11)  # an old one since the eleventh, with nine to go
    order = []
    for number in range(6):
        put(queue, 1, number, length=100)
        order += [flow for flow, _ in take(queue, 2)]
    assert order == [1] + [0] * 9 + [1, 1]


def test_an_emptied_old_flow_is_forgotten_and_new_again() -> None:
    queue = fq(Statistics())
    put(queue, 0, 0)
    assert take(queue, 1) == [(0, 0)]
    assert queue.dequeue(0) is None
    state = queue.snapshot(0)
    assert (state["new_flows"], state["old_flows"]) == (0, 0)
    put(queue, 0, 1)
    assert queue.snapshot(0)["new_flows"] == 1


def test_a_full_queue_drops_half_of_the_longest_from_its_head() -> None:
    """Section 4.1: at most 64 at once; the frame that came is kept."""
    statistics = Statistics()
    queue = fq(statistics, packets=20)
    put(queue, 0, *range(7))
    put(queue, 1, *range(13), length=200)
    assert not statistics.dropped
    put(queue, 1, 13, length=200)
    assert statistics.dropped == {"queue full": 4}
    assert (queue.packets, queue.octets) == (17, 3 * 1514 + 14 * 200)
    assert [number for flow, number in take(queue, 20) if flow == 0] == [4, 5, 6]

    statistics = Statistics()
    queue = fq(statistics, packets=300)
    put(queue, 0, *range(301))
    assert statistics.dropped == {"queue full": 64}


def test_a_full_queue_counts_octets_too() -> None:
    statistics = Statistics()
    queue = fq(statistics, octets=10 * 1514)
    put(queue, 0, *range(10))
    assert not statistics.dropped
    put(queue, 1, 0, length=60)
    assert statistics.dropped == {"queue full": 5}
    queue = fq(statistics, octets=2300)
    put(queue, 0, 0, 1, length=600)
    put(queue, 1, 0, length=1100)
    put(queue, 2, 0, length=1150)  # half of flow 0 is not enough
    assert queue.octets == 1700
    queue = fq(statistics, octets=1000)
    put(queue, 0, 0, 1)
    assert (queue.packets, queue.octets) == (0, 0)
    assert queue.dequeue(0) is None


def test_codel_acts_on_one_flow_only() -> None:
    """The others' frames, which came just now, are not dropped."""
    statistics = Statistics()
    queue = fq(statistics)
    put(queue, 0, *range(500))
    lost: Counter[int] = Counter()
    for at in range(1, 400):
        if at % 10 == 0:
            put(queue, 1, at, now=at * MILLISECOND, length=100)
        carried = queue.dequeue(at * MILLISECOND)
        assert carried is not None
        lost[flow_of(carried.frame)] += 1
    assert statistics.dropped["codel"] >= 3
    assert lost[1] == 39
    assert queue.packets == 500 - lost[0] - statistics.dropped["codel"]


def test_codel_looks_at_the_octets_of_all_flows() -> None:
    """As Linux: many flows with one frame each are a standing queue, too."""
    statistics = Statistics()
    queue = fq(statistics)
    for at in range(300):
        for flow in range(16):
            if at % 16 == flow or not at:
                put(queue, flow, at, now=at * MILLISECOND)
        queue.dequeue(at * MILLISECOND)
    assert statistics.dropped["codel"] > 0

    statistics = Statistics()
    queue = fq(statistics)
    for at in range(0, 3000, 10):
        put(queue, 0, at, now=at * MILLISECOND)
        queue.dequeue((at + 9) * MILLISECOND)
    assert not statistics.dropped


def test_marks_by_default() -> None:
    statistics = Statistics()
    queue = fq(statistics)
    put(queue, 0, *range(500), ecn=ECT)
    marked = 0
    for at in range(1, 400):
        carried = queue.dequeue(at * MILLISECOND)
        assert carried is not None
        assert number_of(carried.frame) == at - 1
        marked += is_ce(carried.frame)
    assert marked == statistics.marked >= 3
    assert not statistics.dropped


def test_change_keeps_the_queues_unless_their_number_changes() -> None:
    queue = fq(Statistics())
    put(queue, 0, 0)
    assert queue.change(FqCodel(quantum=300, packets=7), RATE, 1500)
    assert queue.snapshot(0)["limit_packets"] == 7
    assert not queue.change(FqCodel(flows=16), RATE, 1500)
    assert not queue.change(Codel(), RATE, 1500)


def test_key_is_the_five_tuple() -> None:
    assert flow_key(packet(1, 1, 100)) == flow_key(packet(1, 2, 1514, ECT))
    assert flow_key(packet(1)) != flow_key(packet(2))
    ports = b"\x00\x01\x00\x02"
    assert len({flow_key(ip(protocol, ports)) for protocol in (6, 17, 33, 132, 136, 1)}) == 6
    assert flow_key(ip(1, b"\x08\x00\x01\x02")) == flow_key(ip(1, b"\x00\x00\x03\x04"))
    assert flow_key(ip(6, ports, options=ipv4.ROUTER_ALERT)) == flow_key(ip(6, ports))


def test_key_of_fragments_has_no_ports() -> None:
    whole, first = ip(17), ip(17, more_fragments=True)
    later = ip(17, b"\x33\x44\x55\x66", fragment_offset=1480)
    assert flow_key(first) == flow_key(later) != flow_key(whole)
    assert flow_key(ip(17, dont_fragment=True)) == flow_key(whole)


def test_key_of_ipv6_and_of_the_rest() -> None:
    def ip6(protocol: int, ports: bytes, last: int = 1) -> bytes:
        header = bytes((0x60, 0, 0, 0, 0, 8, protocol, 64)) + bytes(31) + bytes((last,))
        return ethernet.build(PEER, STATION, 0x86DD, header + ports + b"data")

    assert flow_key(ip6(6, b"\x00\x01\x00\x02")) != flow_key(ip6(6, b"\x00\x01\x00\x03"))
    assert flow_key(ip6(58, b"\x00\x01\x00\x02")) == flow_key(ip6(58, b"\x00\x01\x00\x03"))
    assert flow_key(ip6(58, b"", 1)) != flow_key(ip6(58, b"", 2))
    arp = ethernet.build(PEER, STATION, ethernet.ETHERTYPE_ARP, b"one")
    assert flow_key(arp) == flow_key(arp[:14] + b"two") != flow_key(ethernet.build(STATION, PEER, 0x0806, b"one"))
    assert flow_key(b"") == b""


def test_hash_spreads_evenly_and_depends_on_the_seed() -> None:
    """10,000 flows over 64 queues: chi-square with 63 degrees of freedom, below its 99.9 % point (103.4). And two keys
    that share a queue under one seed do not under another."""
    frames = [packet(flow, length=60) for flow in range(10_000)]
    one, other = FlowHash(64, 1), FlowHash(64, 2)
    counts = Counter(one(frame) for frame in frames)
    expected = len(frames) / 64
    assert sum((counts[number] - expected) ** 2 / expected for number in range(64)) < 103.4
    first = one(frames[0])
    together = [frame for frame in frames if one(frame) == first]
    assert len({other(frame) for frame in together}) > 32
    assert FlowHash(64, 1)(frames[5]) == one(frames[5])


def test_hash_of_any_octets_is_a_queue() -> None:
    for flows in (1, 7, 1024):
        hashed = FlowHash(flows, 3)
        for length in range(80):
            assert 0 <= hashed(packet(0)[:length]) < flows


@pytest.mark.slow
def test_a_thin_flow_does_not_wait_behind_thick_ones() -> None:
    """A frame of 100 octets each 20 ms beside four senders that fill the line: it waits for one full frame at most, and
    with drop-tail for all of them."""
    worst = {}
    for settings in (DropTail(packets=200), FqCodel()):
        queue = make_queue(settings, rate=RATE, mtu=1500, seed=SEED, statistics=Statistics())
        path = ThinBeside(queue, RateServer(RATE), flows=4, delay=20 * MILLISECOND)
        path.run(3 * SECOND)
        worst[settings.discipline] = max(path.thin_waits[50:])
        if settings.discipline == "fq_codel":
            shares = path.octets[:4]
            assert max(shares) < 1.1 * min(shares)
    assert worst["drop_tail"] > 100 * MILLISECOND
    assert worst["fq_codel"] < 2 * MILLISECOND


class ThinBeside(Bottleneck):
    """With one more flow, of which one frame comes each 20 ms whatever happens to it."""

    def run(self, until: int) -> None:
        self.thin_waits: list[int] = []
        for at in range(0, until, 20 * MILLISECOND):
            super().run(at)
            self.queue.enqueue(Carried(packet(9, length=100), at), at)
            if self.busy_until < at:
                self._serve(at)

    def _left(self, carried: Carried, now: int) -> None:
        if flow_of(carried.frame) == 9:
            self.thin_waits.append(now - carried.note)
        else:
            super()._left(carried, now)
