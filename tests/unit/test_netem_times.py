"""When frames leave netem: delay, rate, and the limit of what is inside."""

from __future__ import annotations

import pytest

from nodes.impairment import Distribution, DropTail, Impairment, TokenBucket
from nodes.physical.carried import Carried
from nodes.physical.netem import Fate, Netem
from nodes.physical.statistics import Statistics
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from tests.unit.netem_world import DELAY, MTU, SEED, World, evenly, sent


def test_a_delay() -> None:
    assert sent(Impairment(delay=DELAY), 5).dues == [now + DELAY for now in evenly(5)]
    assert sent(Impairment(), 5).dues == list(evenly(5))


def test_a_delay_below_zero_is_none() -> None:
    world = sent(Impairment(delay=0, jitter=10 * MILLISECOND), 500)
    assert all(due >= number * MILLISECOND for due, number, _ in world.left)
    assert sum(due == number * MILLISECOND for due, number, _ in world.left) == pytest.approx(250, abs=40)


def test_equal_times_keep_the_order_of_arrival() -> None:
    table = Distribution("table", (0, 8192))
    world = sent(Impairment(delay=DELAY, jitter=MILLISECOND, distribution=table), 300)
    assert world.numbers != sorted(world.numbers) or len(set(world.dues)) < 300
    assert [(left.due, left.number) for left in world.left] == sorted((left.due, left.number) for left in world.left)
    assert len(set(world.dues)) < 300


def test_the_rate_spaces_frames() -> None:
    """Send = max(arrival + delay, last) + t(len)."""
    world = World(Impairment(delay=DELAY, rate=8_000_000)).send(0, 0, 100 * MICROSECOND, 5 * MILLISECOND).end()
    assert world.dues == [DELAY + time * MILLISECOND for time in (1, 2, 3, 6)]


def test_the_rate_is_of_whole_octets_a_second() -> None:
    """The kernel counts octets: 15 bit/s are 1 octet a second, and less than 8 are not no rate at all."""
    assert World(Impairment(rate=15)).send(0, octets=100).end().dues == [100 * SECOND]
    assert World(Impairment(rate=1)).send(0, octets=100).end().dues == [100 * SECOND]
    assert World(Impairment(rate=3_000_000_000)).send(0, octets=1000).end().dues == [2666]


@pytest.mark.parametrize(
    ("overhead", "cell", "cell_overhead", "octets"),
    [(0, 0, 0, 1000), (24, 0, 0, 1024), (-14, 0, 0, 986), (-2000, 0, 0, 0), (0, 48, 5, 21 * 53), (8, 48, 5, 21 * 53),
     (9, 48, 5, 22 * 53)],
)  # fmt: skip
def test_overhead_and_cells(overhead: int, cell: int, cell_overhead: int, octets: int) -> None:
    """Whole cells, each with its own header, are sent."""
    impairment = Impairment(delay=DELAY, rate=8_000_000, overhead=overhead, cell=cell, cell_overhead=cell_overhead)
    assert World(impairment).send(0).end().dues == [DELAY + octets * MICROSECOND]


def test_a_rate_keeps_the_order_whatever_the_jitter() -> None:
    world = sent(Impairment(delay=DELAY, jitter=DELAY, rate=10_000_000), 2000)
    assert world.numbers == list(range(2000))
    assert all(later - earlier >= 800_000 for earlier, later in zip(world.dues, world.dues[1:], strict=False))


def test_an_idle_link_forgets_its_last_transmission() -> None:
    """A delay below zero shortens the transmission, if nothing is in flight: netem's way."""
    table = Distribution("table", (-8192,))
    world = World(Impairment(jitter=MILLISECOND, distribution=table, rate=8_000_000))
    assert world.send(0, 0, 10 * MILLISECOND, octets=1500).end().dues == [
        500 * MICROSECOND,
        2 * MILLISECOND,
        10 * MILLISECOND + 500 * MICROSECOND,
    ]


def test_a_rate_set_later_counts_from_the_last_in_flight() -> None:
    """Which may be one that will be overtaken."""
    table = Distribution("table", (0, 8192))
    world = World(Impairment(delay=DELAY, jitter=10 * MILLISECOND, distribution=table))
    world.send(*range(20))
    last = max(carried.due for carried in world.netem._in_order)
    world.netem.change(Impairment(rate=8_000_000), MTU, 100)
    world.send(100).end()
    assert world.left[-1] == (last + MILLISECOND, 20, world.left[-1].frame)


def test_behind_a_server_there_is_no_rate() -> None:
    for impairment in (
        Impairment(rate=8_000, queue=DropTail(packets=10)),
        Impairment(rate=8_000, bucket=TokenBucket(rate=1, burst=1)),
    ):
        assert sent(impairment, 3).dues == list(evenly(3))


def test_the_limit_counts_all_inside() -> None:
    """Also those in flight; one place is free again as soon as one has left."""
    world = World(Impairment(delay=10 * MILLISECOND, limit=10)).send(*evenly(25)).end()
    assert [number for number, fate in enumerate(world.fates) if fate is Fate.LIMIT] == []
    world = World(Impairment(delay=10 * MILLISECOND, limit=9)).send(*evenly(25)).end()
    assert [number for number, fate in enumerate(world.fates) if fate is Fate.LIMIT] == [9, 19]
    assert world.statistics.dropped == {"limit": 2}


def test_the_limit_drops_copies_too() -> None:
    world = World(Impairment(delay=DELAY, limit=3, duplicate=1.0)).send(0, 1, 2)
    assert world.fates == [Fate.DUPLICATED, Fate.DUPLICATED, Fate.LIMIT]
    assert (world.statistics.duplicated, world.statistics.dropped["limit"]) == (2, 1)


def test_the_limit_is_sized_from_rate_and_delay() -> None:
    world = World(Impairment(delay=SECOND, rate=100_000_000))
    world.send(*[0] * 17_000)
    assert world.statistics.dropped["limit"] == 17_000 - 2 * (100_000_000 // (8 * 1514))


def test_nothing_leaves_early_and_deadlines_say_when() -> None:
    netem = Netem(Impairment(delay=DELAY), MTU, SEED, Statistics())
    assert netem.deadline() is None
    assert netem.release(SECOND) is None
    netem.receive(Carried(bytes(100), 0), 0)
    assert netem.deadline() == DELAY
    assert netem.release(DELAY - 1) is None
    carried = netem.release(DELAY + 5)
    assert carried is not None
    assert carried.due == DELAY
    assert netem.deadline() is None
