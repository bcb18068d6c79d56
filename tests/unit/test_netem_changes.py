"""netem that is told anew: what goes on, and what begins again."""

from __future__ import annotations

from nodes.impairment import GilbertElliott, Impairment, RandomLoss, Slot, TimedGilbertElliott
from nodes.physical.netem import Fate
from nodes.units import MILLISECOND, SECOND
from tests.unit.netem_world import DELAY, MTU, SEED, World, evenly, sent


def test_a_change_leaves_frames_in_flight_alone() -> None:
    world = World(Impairment(delay=DELAY)).send(0, MILLISECOND)
    world.netem.change(Impairment(delay=MILLISECOND), MTU, 2 * MILLISECOND)
    world.send(2 * MILLISECOND).end()
    assert world.left[0][:2] == (3 * MILLISECOND, 2)
    assert world.dues[1:] == [DELAY, DELAY + MILLISECOND]


def test_the_generator_goes_on_unless_the_seed_changes() -> None:
    loss = Impairment(loss=RandomLoss(chance=0.1), delay=DELAY)
    goes_on = World(loss).send(*evenly(500))
    goes_on.netem.change(loss, MTU, goes_on.now)
    goes_on.netem.change(loss, MTU, goes_on.now, SEED)
    goes_on.send(*[goes_on.now] * 500)
    assert goes_on.fates == World(loss).send(*evenly(1000)).fates
    again = World(loss).send(*evenly(500))
    again.netem.change(loss, MTU, again.now, SEED + 1)
    again.netem.change(loss, MTU, again.now, SEED)
    again.send(*[again.now] * 500)
    assert again.fates[500:] == again.fates[:500]


def test_the_impairments_seed_goes_first() -> None:
    loss = RandomLoss(chance=0.1)
    assert sent(Impairment(loss=loss, seed=SEED), 300, seed=1).fates == sent(Impairment(loss=loss), 300).fates
    world = World(Impairment(loss=loss), seed=1).send(*evenly(10))
    world.netem.change(Impairment(loss=loss, seed=SEED), MTU, world.now)
    world.send(*[world.now] * 300)
    assert world.fates[10:] == sent(Impairment(loss=loss), 300).fates


def test_a_change_begins_chains_and_gaps_anew() -> None:
    """Markov states and the count for `gap` are reset by each change."""
    stuck = Impairment(loss=GilbertElliott(p=1.0, r=0.0, bad_loss=1.0), delay=DELAY)
    world = World(stuck).send(0, 1, 2)
    world.netem.change(stuck, MTU, 3)
    world.send(3, 4)
    assert world.fates == [Fate.KEPT, Fate.LOST, Fate.LOST, Fate.KEPT, Fate.LOST]
    gap = Impairment(delay=DELAY, gap=3)
    world = World(gap).send(0, 1)
    world.netem.change(gap, MTU, 2)
    world.send(2, 3, 4)
    assert world.fates == [Fate.KEPT] * 4 + [Fate.REORDERED]


def test_timed_loss_goes_on_through_other_changes() -> None:
    timed = TimedGilbertElliott(good=50 * MILLISECOND, bad=50 * MILLISECOND)
    steady = sent(Impairment(loss=timed), 1000).fates
    world = World(Impairment(loss=timed))
    for now in evenly(1000):
        world.send(now)
        if now % (100 * MILLISECOND) == 0:
            world.netem.change(Impairment(loss=timed, delay=now // 1000), MTU, now)
    assert world.fates == steady


def test_another_timed_loss_takes_over() -> None:
    world = World(Impairment(loss=TimedGilbertElliott(good=SECOND, bad=1))).send(0, 1)
    world.netem.change(Impairment(loss=TimedGilbertElliott(good=1, bad=1, good_loss=1.0)), MTU, 2)
    world.send(*range(2, 10))
    assert world.fates == [Fate.KEPT] * 2 + [Fate.LOST] * 8


def test_frames_leave_slots_when_those_end() -> None:
    slot = Slot(minimum=SECOND, maximum=SECOND)
    world = World(Impairment(delay=DELAY, slot=slot)).send(SECOND, SECOND + 1, SECOND + DELAY)
    world.netem.change(Impairment(), MTU, SECOND + DELAY)
    world.end()
    assert [due - SECOND for due in world.dues] == [DELAY, DELAY + 1, 2 * DELAY]
    world = World(Impairment(slot=slot)).send(SECOND, SECOND + 1)
    world.netem.change(Impairment(), MTU, SECOND + 5)
    assert world.end().dues == [SECOND + 5] * 2


def test_frames_in_flight_wait_for_slots_that_begin() -> None:
    world = World(Impairment(delay=DELAY)).send(0, 1)
    world.netem.change(Impairment(slot=Slot(minimum=SECOND, maximum=SECOND)), MTU, 5)
    assert world.end().dues == [SECOND + 5] * 2


def test_clear_loses_all_inside() -> None:
    for slot in (None, Slot(minimum=SECOND, maximum=SECOND)):
        world = World(Impairment(delay=DELAY, jitter=MILLISECOND, slot=slot)).send(*range(10))
        assert world.netem.clear() == 10
        assert (world.netem.held, world.netem.deadline(), world.netem.release(1 << 62)) == (0, None, None)
        assert world.netem.clear() == 0
        world.left.clear()
        world.send(SECOND).end()
        assert world.numbers == [10]
