"""PIE, after RFC 8033 sections 4 and 5."""

from __future__ import annotations

import pytest

from nodes.impairment import DropTail, Pie
from nodes.physical.carried import Carried
from nodes.physical.queues.pie import MAXIMUM_BURST, PieQueue
from nodes.physical.server import RateServer
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND
from tests.unit.queue_frames import ECT, Bottleneck, is_ce, packet

RATE = 10_000_000
UPDATE = 15 * MILLISECOND


def pie(statistics: Statistics, seed: int = 1, **settings: object) -> PieQueue:
    return PieQueue(Pie(**settings), mtu=1500, seed=seed, statistics=statistics)  # type: ignore[arg-type]


def put(queue: PieQueue, now: int = 0, count: int = 1, ecn: int = 0) -> None:
    for _ in range(count):
        queue.enqueue(Carried(packet(0, ecn=ecn), now), now)


def congested(statistics: Statistics, chance: float, wait: int = 100 * MILLISECOND, **settings: object) -> PieQueue:
    """A queue whose last frame waited that long, now and at the update before, without allowance for bursts."""
    queue = pie(statistics, **settings)
    put(queue, 0, 10)
    queue.dequeue(wait)
    queue.timeout(wait + UPDATE)
    queue.chance, queue.burst_allowance = chance, 0
    return queue


def test_first_update_is_the_formula() -> None:
    """Section 4.2: 0.125 · (100 ms - 15 ms) + 1.25 · (100 ms - 0) = 0.135625, divided by 2048 from zero."""
    queue = pie(Statistics())
    put(queue, 0, 10)
    queue.dequeue(100 * MILLISECOND)
    before = queue.chance
    assert before == 0
    queue.timeout(105 * MILLISECOND)
    assert queue.chance == pytest.approx(0.135625 / 2048)
    queue.timeout(120 * MILLISECOND)  # the trend is gone
    assert queue.chance == pytest.approx(0.135625 / 2048 + 0.010625 / 128)


@pytest.mark.parametrize(
    ("chance", "divisor"),
    [(0, 2048), (9e-7, 2048), (1e-6, 512), (1e-5, 128), (1e-4, 32), (1e-3, 8), (1e-2, 2), (0.099, 2), (0.1, 1)],
)
def test_steps_are_scaled_by_the_chance(chance: float, divisor: int) -> None:
    queue = congested(Statistics(), chance)
    deadline = queue.deadline()
    assert deadline is not None
    queue.timeout(deadline)
    assert queue.chance == pytest.approx(chance + 0.010625 / divisor)


def test_alpha_and_beta_are_settings() -> None:
    queue = pie(Statistics(), alpha=0.25, beta=0.5, target=20 * MILLISECOND, update=10 * MILLISECOND)
    put(queue, 0, 10)
    queue.dequeue(100 * MILLISECOND)
    queue.timeout(100 * MILLISECOND)
    assert queue.chance == 0  # was due when the frame left, and saw no delay
    queue.timeout(110 * MILLISECOND)
    assert queue.chance == pytest.approx((0.25 * 0.08 + 0.5 * 0.1) / 2048)


def test_step_is_capped_when_the_chance_is_large() -> None:
    """Section 5.5: 1 s of delay would add 0.12."""
    queue = congested(Statistics(), 0.1, wait=SECOND)
    queue.timeout(queue.deadline() or 0)
    assert queue.chance == pytest.approx(0.12)
    queue.chance = 0.995
    queue.timeout(queue.deadline() or 0)
    assert queue.chance == 1.0


def test_chance_decays_without_delay() -> None:
    """Section 4.2: the controller's own step, and 2 % of what there is."""
    queue = congested(Statistics(), 0.5)
    while queue.packets:
        queue.dequeue(200 * MILLISECOND)
    queue.timeout(queue.deadline() or 0)
    queue.chance = 0.5
    queue.timeout(queue.deadline() or 0)
    assert queue.chance == pytest.approx((0.5 - 0.125 * 0.015) * 0.98)


def test_burst_allowance() -> None:
    """Section 4.4: 150 ms in ten updates, in which nothing is dropped; full again when all is calm."""
    statistics = Statistics()
    queue = pie(statistics)
    put(queue, 0, 900)
    queue.dequeue(10 * MILLISECOND)
    for number in range(1, 10):
        queue.timeout(number * UPDATE)
        assert queue.burst_allowance == MAXIMUM_BURST - number * UPDATE
        queue.dequeue(number * UPDATE + 14 * MILLISECOND)
    queue.chance = 1.0
    put(queue, 140 * MILLISECOND, 50)
    assert not statistics.dropped
    queue.timeout(200 * MILLISECOND)
    assert queue.burst_allowance == 0
    put(queue, 200 * MILLISECOND, 10)
    assert statistics.dropped["pie"] == 10
    while queue.packets:
        queue.dequeue(201 * MILLISECOND)
    queue.chance = 0.0
    queue.timeout(300 * MILLISECOND)
    assert queue.burst_allowance == MAXIMUM_BURST


def test_no_drops_while_the_queue_is_short_or_fast() -> None:
    """Section 4.1."""
    statistics = Statistics()
    queue = congested(statistics, 1.0)
    while queue.packets > 2:
        queue.dequeue(100 * MILLISECOND)
    put(queue, 115 * MILLISECOND)
    assert not statistics.dropped
    put(queue, 115 * MILLISECOND)
    assert statistics.dropped == {"pie": 1}

    statistics = Statistics()
    queue = congested(statistics, 0.19, wait=7 * MILLISECOND)
    put(queue, 22 * MILLISECOND, 100)
    assert not statistics.dropped
    queue.chance = 0.2
    put(queue, 22 * MILLISECOND, 100)
    assert statistics.dropped["pie"] > 5


@pytest.mark.slow
def test_drops_are_neither_too_close_nor_too_far() -> None:
    """Section 5.4: not before 0.85/p frames, and after 8.5/p frames at the latest; between them one in 1/p."""
    statistics = Statistics()
    queue = congested(statistics, 0.05, packets=10**9)
    distance, distances = 0, []
    for _ in range(60_000):
        before = statistics.dropped["pie"]
        put(queue, 115 * MILLISECOND)
        distance += 1
        if statistics.dropped["pie"] > before:
            distances.append(distance)
            distance = 0
    assert min(distances) == 17
    assert max(distances) <= 170
    assert sum(distances) / len(distances) == pytest.approx(16 + 1 / 0.05, rel=0.05)


def test_the_longest_distance_is_enforced() -> None:
    """With a generator that never chooses."""
    statistics = Statistics()
    queue = congested(statistics, 0.05, packets=10**9)
    queue._random.random = lambda: 1.0  # type: ignore[method-assign]
    put(queue, 115 * MILLISECOND, 1000)
    assert statistics.dropped["pie"] == 1000 // 170


def test_marks_below_ten_percent() -> None:
    """Section 5.1."""
    statistics = Statistics()
    queue = congested(statistics, 0.0999, ecn=True)
    put(queue, 115 * MILLISECOND, 100, ecn=ECT)
    assert statistics.marked > 0
    assert not statistics.dropped
    frames = [carried.frame for carried in queue.drain()]
    assert sum(map(is_ce, frames)) == statistics.marked

    statistics = Statistics()
    queue = congested(statistics, 0.1, ecn=True)
    put(queue, 115 * MILLISECOND, 100, ecn=ECT)
    assert statistics.dropped["pie"] > 0
    assert statistics.marked == 0


def test_bound_in_packets() -> None:
    statistics = Statistics()
    queue = pie(statistics, packets=3)
    put(queue, 0, 5)
    assert queue.packets == 3
    assert statistics.dropped == {"queue full": 2}


def test_late_updates_are_the_same_updates() -> None:
    """Whether asked each time, or once by the frame that comes after them."""
    punctual, late = congested(Statistics(), 0.01), congested(Statistics(), 0.01)
    for at in range(115, 1000):
        punctual.timeout(at * MILLISECOND)
    put(punctual, SECOND)
    put(late, SECOND)
    assert punctual.snapshot(SECOND) == late.snapshot(SECOND)
    assert punctual.deadline() == late.deadline()


def test_sleeps_when_there_is_nothing_to_control() -> None:
    """And `deadline` is in the future after each `timeout`."""
    queue = congested(Statistics(), 1.0, wait=SECOND)
    while queue.packets:
        queue.dequeue(SECOND)
    updates = 0
    while (deadline := queue.deadline()) is not None:
        queue.timeout(deadline)
        following = queue.deadline()
        assert following is None or following > deadline
        updates += 1
    assert updates < 2000
    assert queue.chance == 0
    put(queue, 100 * SECOND)
    assert queue.deadline() == 100 * SECOND + UPDATE


def test_change_keeps_the_chance() -> None:
    queue = congested(Statistics(), 0.3)
    assert queue.change(Pie(packets=4), RATE, 1500)
    assert queue.chance == 0.3
    assert queue.snapshot(0)["limit_packets"] == 4
    assert not queue.change(DropTail(), RATE, 1500)


@pytest.mark.slow
@pytest.mark.parametrize("ecn", [False, True])
def test_senders_that_react_wait_about_the_target(ecn: bool) -> None:
    queue = pie(Statistics(), ecn=ecn)
    path = Bottleneck(queue, RateServer(RATE), flows=4, delay=80 * MILLISECOND, ecn=ECT if ecn else 0)
    path.run(12 * SECOND)
    waits = path.waits(4 * SECOND)
    assert 10 * MILLISECOND < waits[len(waits) // 2] < 20 * MILLISECOND
    assert sum(path.octets) * 8 > 0.9 * RATE * 12
