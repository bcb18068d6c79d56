"""Drop-tail, how large a queue is by default, and what all disciplines share."""

from __future__ import annotations

import pytest

from nodes.errors import MisuseError
from nodes.impairment import Codel, DropTail, FqCodel, Pie, Queue, Red
from nodes.physical.carried import Carried
from nodes.physical.queues.base import QueueDiscipline, change_queue, make_queue
from nodes.physical.queues.fifo import default_octets
from nodes.physical.statistics import Statistics
from nodes.units import MILLISECOND
from tests.unit.queue_frames import number_of, packet

DISCIPLINES: list[Queue] = [DropTail(), Red(), Codel(), FqCodel(), Pie()]


def made(queue: Queue | None, statistics: Statistics, rate: int = 10_000_000) -> QueueDiscipline:
    return make_queue(queue, rate=rate, mtu=1500, seed=7, statistics=statistics)


def numbers(queue: QueueDiscipline, now: int = 0) -> list[int]:
    result = []
    while (carried := queue.dequeue(now)) is not None:
        result.append(number_of(carried.frame))
    return result


def fill(queue: QueueDiscipline, count: int, now: int = 0, length: int = 1514) -> None:
    for number in range(count):
        queue.enqueue(Carried(packet(0, number, length), now), now)


def test_packets_bound() -> None:
    statistics = Statistics()
    queue = made(DropTail(packets=3), statistics)
    fill(queue, 5)
    assert (queue.packets, queue.octets) == (3, 3 * 1514)
    assert statistics.dropped == {"queue full": 2}
    assert numbers(queue) == [0, 1, 2]
    assert (queue.packets, queue.octets) == (0, 0)


def test_octets_bound_lets_a_smaller_frame_in() -> None:
    statistics = Statistics()
    queue = made(DropTail(octets=3100), statistics)
    fill(queue, 3)
    queue.enqueue(Carried(packet(0, 9, 72), 0), 0)
    queue.enqueue(Carried(packet(0, 10, 73), 0), 0)
    assert queue.octets == 3100
    assert statistics.dropped == {"queue full": 2}
    assert numbers(queue) == [0, 1, 9]


def test_both_bounds_hold() -> None:
    statistics = Statistics()
    queue = made(DropTail(packets=2, octets=10_000), statistics)
    fill(queue, 3, length=100)
    assert queue.packets == 2
    queue = made(DropTail(packets=100, octets=1600), statistics)
    fill(queue, 3)
    assert queue.packets == 1


@pytest.mark.parametrize("settings", [None, DropTail()])
def test_default_is_100_ms_of_the_rate(settings: Queue | None) -> None:
    queue = made(settings, Statistics(), rate=10_000_000)
    fill(queue, 200)
    assert queue.packets == 125_000 // 1514


def test_default_has_bounds_of_its_own() -> None:
    assert default_octets(1000, 1500) == 32 * 1514
    assert default_octets(10_000_000, 1500) == 125_000
    assert default_octets(10**12, 1500) == 32 << 20


@pytest.mark.parametrize("settings", DISCIPLINES)
def test_all_keep_the_order_count_and_note_the_time(settings: Queue) -> None:
    queue = made(settings, Statistics())
    fill(queue, 10, now=5)
    assert (queue.packets, queue.octets) == (10, 15_140)
    first = queue.dequeue(5)
    assert first is not None
    assert first.note == 5
    assert numbers(queue, 5) == list(range(1, 10))
    assert (queue.packets, queue.octets) == (0, 0)
    assert queue.dequeue(6) is None
    state = queue.snapshot(6)
    assert state["discipline"] == settings.discipline
    assert (state["packets"], state["octets"]) == (0, 0)


@pytest.mark.parametrize("settings", DISCIPLINES)
def test_drain_gives_all(settings: Queue) -> None:
    statistics = Statistics()
    queue = made(settings, statistics)
    fill(queue, 10)
    assert [number_of(carried.frame) for carried in queue.drain()] == list(range(10))
    assert (queue.packets, queue.octets) == (0, 0)
    assert queue.dequeue(0) is None
    fill(queue, 2)
    assert numbers(queue) == [0, 1]
    assert not statistics.dropped


@pytest.mark.parametrize("old", DISCIPLINES)
@pytest.mark.parametrize("new", DISCIPLINES)
def test_a_change_keeps_all_frames_and_their_times(old: Queue, new: Queue) -> None:
    statistics = Statistics()
    queue = made(old, statistics)
    for number in range(20):
        queue.enqueue(Carried(packet(number % 3, number), number), number)
    changed = change_queue(queue, new, rate=10_000_000, mtu=1500, seed=7, statistics=statistics)
    assert (changed is queue) is (type(old) is type(new))
    assert (changed.packets, changed.octets) == (20, 20 * 1514)
    assert changed.snapshot(30)["discipline"] == new.discipline
    drained = changed.drain()
    assert [number_of(carried.frame) for carried in drained] == list(range(20))
    assert [carried.note for carried in drained] == list(range(20))
    assert not statistics.dropped


def test_a_lower_bound_drops_only_what_comes() -> None:
    statistics = Statistics()
    queue = made(DropTail(packets=10), statistics)
    fill(queue, 8)
    assert change_queue(queue, DropTail(packets=4), rate=1, mtu=1500, seed=7, statistics=statistics) is queue
    assert queue.packets == 8
    fill(queue, 1)
    assert statistics.dropped == {"queue full": 1}


def test_a_change_of_the_rate_changes_the_default() -> None:
    statistics = Statistics()
    queue = made(None, statistics, rate=10_000_000)
    assert change_queue(queue, None, rate=20_000_000, mtu=1500, seed=7, statistics=statistics) is queue
    assert queue.snapshot(0)["limit_octets"] == 250_000


@pytest.mark.parametrize(
    "settings",
    [
        Codel(interval=0),
        Codel(packets=0),
        FqCodel(quantum=0),
        FqCodel(flows=0),
        FqCodel(packets=0),
        FqCodel(octets=0),
        Pie(update=0),
        Pie(packets=0),
    ],
)
def test_nonsense_is_refused(settings: Queue) -> None:
    with pytest.raises(MisuseError, match="more than 0 expected"):
        made(settings, Statistics())


def test_only_pie_has_timers() -> None:
    for settings in DISCIPLINES:
        queue = made(settings, Statistics())
        assert queue.deadline() is None
        fill(queue, 1)
        queue.timeout(0)
        assert queue.deadline() == (15 * MILLISECOND if isinstance(settings, Pie) else None)
