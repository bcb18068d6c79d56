"""RED, after Floyd and Jacobson's paper (figure 2)."""

from __future__ import annotations

import pytest

from nodes.impairment import DropTail, Red
from nodes.physical.carried import Carried
from nodes.physical.queues.red import RedQueue
from nodes.physical.server import RateServer
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND, SECOND
from tests.unit.queue_frames import ECT, Bottleneck, is_ce, packet

RATE = 10_000_000
PACKET_TIME = 800_000  # of 1000 octets, ns


def red(statistics: Statistics, seed: int = 1, **settings: object) -> RedQueue:
    return RedQueue(Red(**settings), rate=RATE, mtu=1500, seed=seed, statistics=statistics)  # type: ignore[arg-type]


def put(queue: RedQueue, now: int = 0, length: int = 1000, ecn: int = 0) -> None:
    queue.enqueue(Carried(packet(0, 0, length, ecn), now), now)


def test_average_follows_the_queue_that_the_frame_finds() -> None:
    queue = red(Statistics(), weight=0.25, octets=100_000, minimum=50_000, maximum=90_000)
    averages = []
    for _ in range(4):
        put(queue)
        averages.append(queue.average)
    assert averages == [0, 250, 687.5, 1265.625]  # found 0, 1000, 2000 and 3000 octets


def test_idle_time_ages_the_average() -> None:
    """As if a packet of 1000 octets had found the queue empty in each of the idle packet times."""
    queue = red(Statistics(), weight=0.5, octets=100_000, minimum=50_000, maximum=90_000)
    put(queue)
    queue.dequeue(0)
    queue.average = 1024.0
    assert queue.dequeue(MILLISECOND) is None
    assert queue.dequeue(2 * MILLISECOND) is None  # still idle since 1 ms
    put(queue, MILLISECOND + 3 * PACKET_TIME)
    assert queue.average == pytest.approx(128)
    put(queue, SECOND)
    assert queue.average == pytest.approx(128 + 0.5 * (1000 - 128))


def test_an_empty_queue_before_a_busy_line_is_not_idle() -> None:
    queue = red(Statistics(), weight=0.5, octets=100_000, minimum=50_000, maximum=90_000)
    put(queue)
    queue.dequeue(0)
    queue.average = 1024.0
    put(queue, SECOND)
    assert queue.average == 512


def test_below_the_minimum_nothing_is_dropped_above_the_maximum_everything() -> None:
    statistics = Statistics()
    queue = red(statistics, weight=0.0, octets=1_000_000, minimum=5000, maximum=15_000, chance=1.0)
    queue.average = 4999.9
    for _ in range(100):
        put(queue)
    assert not statistics.dropped
    queue.average = 15_000.0
    for _ in range(100):
        put(queue)
    assert statistics.dropped == {"red": 100}


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_drops_are_spread_evenly(share: float) -> None:
    """Section 7, method 2: the distance from drop to drop is uniform up to 1/p_b, 100 frames at the maximum here."""
    statistics = Statistics()
    queue = red(statistics, weight=0.0, octets=10**9, minimum=10_000, maximum=20_000, chance=0.01)
    queue.average = 10_000 + 9999.999999 * share
    distance, distances = 0, []
    for _ in range(60_000):
        before = statistics.dropped["red"]
        put(queue, length=60)
        distance += 1
        if statistics.dropped["red"] > before:
            distances.append(distance)
            distance = 0
    longest = round(100 / share)
    distances = distances[1:]
    assert longest * 0.9 < max(distances) <= longest
    assert sum(distances) / len(distances) == pytest.approx(longest / 2, rel=0.1)
    middle = sum(distance <= longest / 2 for distance in distances) / len(distances)
    assert middle == pytest.approx(0.5, abs=0.07)


def never_chosen(queue: RedQueue, averages: list[float]) -> list[bool]:
    """Which frames are dropped at these averages with a generator that only gives in to a certainty."""
    queue._random.random = lambda: 0.999999  # type: ignore[method-assign]
    dropped = []
    for average in averages:
        queue.average = average
        before = queue._statistics.dropped["red"]
        put(queue)
        dropped.append(queue._statistics.dropped["red"] > before)
    return dropped


def test_the_count_makes_a_drop_certain() -> None:
    """p_b is a quarter in the middle, so p_a is 1 at a count of 3: figure 2 counts from 0 above the minimum, and from 1
    after a drop. Frames counted at a lower average count as well when it has grown."""
    settings = {"weight": 0.0, "octets": 10**9, "minimum": 10_000, "maximum": 20_000, "chance": 0.5}
    low, middle, below = 10_100.0, 15_000.0, 9000.0
    assert never_chosen(red(Statistics(), **settings), [middle] * 7) == [False] * 3 + [True] + [False] * 2 + [True]
    assert never_chosen(red(Statistics(), **settings), [middle, below] + [middle] * 4) == [False] * 5 + [True]
    assert never_chosen(red(Statistics(), **settings), [low] * 7 + [middle]) == [False] * 7 + [True]


def test_same_seed_same_drops() -> None:
    def drops(seed: int) -> list[int]:
        statistics = Statistics()
        queue = red(statistics, seed, weight=0.0, octets=10**9, minimum=10_000, maximum=20_000, chance=0.1)
        queue.average = 15_000.0
        result = []
        for _ in range(200):
            put(queue)
            result.append(statistics.dropped["red"])
        return result

    assert drops(1) == drops(1) != drops(2)


def test_hard_limit() -> None:
    statistics = Statistics()
    queue = red(statistics, octets=10_500)
    for _ in range(12):
        put(queue)
    assert statistics.dropped == {"queue full": 2}
    assert queue.octets == 10_000


def test_marks_instead_of_early_drops_only() -> None:
    statistics = Statistics()
    queue = red(statistics, weight=0.0, octets=10_000, minimum=2000, maximum=3000, ecn=True)
    queue.average = 3000.0
    put(queue)
    for _ in range(12):
        put(queue, ecn=ECT)
    assert statistics.dropped == {"red": 1, "queue full": 2}
    assert statistics.marked >= 10
    first = queue.dequeue(0)
    assert first is not None
    assert is_ce(first.frame)


def test_a_drop_does_not_end_idleness() -> None:
    """The line has nothing to do, so the average goes on ageing, from one dropped frame to the next."""
    queue = red(Statistics(), weight=0.5, octets=100_000, minimum=10, maximum=100)
    queue.dequeue(0)
    queue.average = 8192.0
    for number in range(1, 4):
        put(queue, number * 2 * PACKET_TIME)
        assert queue.average == pytest.approx(8192 / 4**number)
    assert queue.packets == 0


def test_default_thresholds_are_parts_of_the_limit() -> None:
    state = red(Statistics()).snapshot(0)
    assert (state["limit_octets"], state["maximum"], state["minimum"]) == (125_000, 31_250, 10_416)


def test_change_keeps_the_average() -> None:
    queue = red(Statistics())
    queue.average = 777.0
    assert queue.change(Red(octets=9000), RATE, 1500)
    assert queue.snapshot(0)["average"] == 777
    assert queue.snapshot(0)["limit_octets"] == 9000
    assert not queue.change(DropTail(), RATE, 1500)


@pytest.mark.slow
def test_senders_that_react_stay_between_the_thresholds() -> None:
    """Thresholds of 8 and 25 ms at this rate."""
    queue = red(Statistics(), ecn=True)
    path = Bottleneck(queue, RateServer(RATE), flows=4, delay=20 * MILLISECOND, ecn=ECT)
    path.run(10 * SECOND)
    waits = path.waits(2 * SECOND)
    assert 8 * MILLISECOND < waits[len(waits) // 2] < 25 * MILLISECOND
    assert sum(path.octets) * 8 > 0.9 * RATE * 10
