"""Any frames, at any times, through any discipline and any server."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.impairment import Codel, DropTail, FqCodel, Pie, Queue, RateTrace, Red, TokenBucket
from nodes.physical.carried import Carried
from nodes.physical.congestion_mark import mark, network_header
from nodes.physical.queues.base import QueueDiscipline, change_queue, make_queue
from nodes.physical.queues.flows import flow_key
from nodes.physical.server import BucketServer, RateServer, TraceServer
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND
from tests.unit.queue_frames import packet

MTU = 1500
RATE = 8_000_000

frames = st.one_of(
    st.builds(
        packet,
        st.integers(0, 3),
        st.integers(0, 9),
        st.integers(60, 1514),
        st.integers(0, 3),
    ),
    st.binary(min_size=1, max_size=80),
)
disciplines: st.SearchStrategy[Queue] = st.one_of(
    st.builds(DropTail, packets=st.integers(0, 9), octets=st.integers(0, 20_000)),
    st.builds(
        Red,
        minimum=st.integers(0, 3000),
        maximum=st.integers(0, 3000),
        octets=st.integers(0, 20_000),
        chance=st.floats(0, 1),
        weight=st.floats(0, 1),
        ecn=st.booleans(),
    ),
    st.builds(Codel, target=st.integers(0, 9_000_000), interval=st.integers(1, 20_000_000), ecn=st.booleans()),
    st.builds(
        FqCodel,
        target=st.integers(0, 9_000_000),
        interval=st.integers(1, 20_000_000),
        packets=st.integers(1, 20),
        flows=st.integers(1, 4),
        quantum=st.integers(1, 3000),
        octets=st.integers(1, 20_000),
        ecn=st.booleans(),
    ),
    st.builds(
        Pie,
        target=st.integers(0, 9_000_000),
        update=st.integers(1_000_000, 20_000_000),
        packets=st.integers(1, 20),
        alpha=st.floats(0, 100),
        beta=st.floats(0, 100),
        ecn=st.booleans(),
    ),
)
gaps = st.integers(0, 30 * MILLISECOND)
actions = st.lists(st.tuples(gaps, st.one_of(st.none(), frames, disciplines)), max_size=120)


class Watched:
    """A queue, and what must hold of it after each call."""

    def __init__(self, queue: Queue) -> None:
        self.statistics = Statistics()
        self.queue = self._made(queue)
        self.sent: list[Carried] = []
        self.entered: list[Carried] = []

    def _made(self, queue: Queue) -> QueueDiscipline:
        return make_queue(queue, rate=RATE, mtu=MTU, seed=3, statistics=self.statistics)

    def act(self, now: int, action: bytes | Queue | None) -> None:
        deadline = self.queue.deadline()
        while deadline is not None and deadline <= now:
            self.queue.timeout(deadline)
            following = self.queue.deadline()
            assert following is None or following > deadline
            deadline = following
        if action is None:
            carried = self.queue.dequeue(now)
            if carried is not None:
                assert carried.note <= now
                self.sent.append(carried)
            else:
                assert self.queue.packets == 0
        elif isinstance(action, bytes):
            carried = Carried(action, now)
            self.entered.append(carried)
            self.queue.enqueue(carried, now)
        else:
            packets = self.queue.packets
            dropped = self.statistics.dropped.total()
            self.queue = change_queue(self.queue, action, rate=RATE, mtu=MTU, seed=3, statistics=self.statistics)
            assert self.queue.packets == packets - (self.statistics.dropped.total() - dropped)
        self.check()

    def check(self) -> None:
        assert len(self.entered) == len(self.sent) + self.statistics.dropped.total() + self.queue.packets
        assert (self.queue.packets == 0) is (self.queue.octets == 0)
        assert self.queue.octets >= 0
        state = self.queue.snapshot(0)
        assert (state["packets"], state["octets"]) == (self.queue.packets, self.queue.octets)


@given(disciplines, actions)
@settings(max_examples=300, deadline=None)
def test_conserves_bounds_and_keeps_order(queue: Queue, script: list[tuple[int, bytes | Queue | None]]) -> None:
    """Every frame leaves, waits or is counted as dropped, once; frames of a flow never change places; nothing is raised
    and no deadline stays in the past, whatever the frames are and however often the discipline changes."""
    watched = Watched(queue)
    now = 0
    for gap, action in script:
        now += gap
        watched.act(now, action)
    octets = sum(len(carried.frame) for carried in watched.queue.drain())
    assert watched.queue.octets == watched.queue.packets == 0
    assert octets <= sum(len(carried.frame) for carried in watched.entered)
    order = {id(carried): index for index, carried in enumerate(watched.entered)}
    latest: dict[bytes, int] = {}
    for carried in watched.sent:
        index = order.pop(id(carried))
        key = flow_key(carried.frame)
        assert latest.get(key, -1) < index
        latest[key] = index


@given(disciplines, st.lists(st.tuples(gaps, st.one_of(st.none(), frames)), max_size=80))
@settings(max_examples=100, deadline=None)
def test_same_seed_same_run(queue: Queue, script: list[tuple[int, bytes | None]]) -> None:
    def run() -> tuple[list[bytes], object, int]:
        watched = Watched(queue)
        now = 0
        for gap, action in script:
            now += gap
            watched.act(now, action)
        return [carried.frame for carried in watched.sent], watched.queue.snapshot(now), watched.statistics.marked

    assert run() == run()


@given(st.one_of(st.binary(max_size=90), frames))
def test_marking_any_octets(frame: bytes) -> None:
    """None, or a frame of the same length that cannot be marked any further; only two octets of header and checksum
    differ."""
    marked = mark(frame)
    if marked is not None:
        assert len(marked) == len(frame)
        assert mark(marked) == marked
        assert sum(one != other for one, other in zip(frame, marked, strict=True)) <= 3
        assert network_header(marked) == network_header(frame)


lengths = st.integers(0, 3000)


@given(st.integers(1, 10**10), st.lists(lengths, min_size=1, max_size=50), st.integers(0, 10**12))
def test_rate_is_exact_over_any_number_of_frames(rate: int, octets: list[int], start: int) -> None:
    server = RateServer(rate)
    now = start
    for length in octets:
        end = server.finish(length, now)
        assert end >= now
        now = end
    assert now == start + sum(octets) * 8 * SECOND // rate


@given(
    st.integers(1, 10**9),
    st.integers(1, 5000),
    st.one_of(st.just(0), st.integers(1, 10**9)),
    st.lists(st.tuples(st.integers(0, SECOND), lengths), max_size=60),
)
def test_bucket_is_the_fractional_one_to_the_next_nanosecond(
    rate: int, burst: int, peak: int, script: list[tuple[int, int]]
) -> None:
    """Beside a bucket in exact fractions that is told the same start times: no frame starts before its tokens are
    there, nor a whole nanosecond after."""
    server = BucketServer(TokenBucket(rate, burst, peak), 0)
    tokens, at, now = Fraction(burst), 0, 0
    for gap, length in script:
        now += gap
        end = server.finish(length, now)
        start = end - (-(-length * 8 * SECOND // peak) if peak else 0)
        assert start >= now
        earlier = min(tokens + Fraction((start - 1 - at) * rate, 8 * SECOND), Fraction(burst))
        tokens = min(tokens + Fraction((start - at) * rate, 8 * SECOND), Fraction(burst))
        at = start
        assert tokens >= min(length, burst)
        assert start == now or earlier < min(length, burst)
        tokens -= length
        now = end


def opportunities_from(trace: list[int]) -> list[int]:
    return [cycle * trace[-1] + time for cycle in range(200) for time in trace]


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=8).map(sorted).filter(lambda trace: trace[-1] > 0),
    st.lists(st.tuples(st.one_of(st.just(0), st.integers(0, 25 * MILLISECOND)), st.integers(15, 9000)), max_size=25),
)
def test_trace_is_the_walk_over_its_opportunities(trace: list[int], script: list[tuple[int, int]]) -> None:
    """Beside a model that walks over all opportunities one by one, as Mahimahi does."""
    server = TraceServer(RateTrace(tuple(trace)), 0)
    walk = [(time * MILLISECOND, 1500) for time in opportunities_from(trace)]
    now = 0
    for gap, length in script:
        now += gap
        needed, index = length - 14, 0
        while needed > 0:
            while walk[index][0] < now:
                index += 1
            at, left = walk[index]
            taken = min(left, needed)
            needed -= taken
            walk[index] = (at, left - taken)
            if needed:
                index += 1
        end = server.finish(length, now)
        assert end == walk[index][0]
        now = end
