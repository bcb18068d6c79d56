"""netem's slots: frames that wait for them, and whose numbers they use."""

from __future__ import annotations

import pytest

from nodes.impairment import Distribution, GilbertElliott, Impairment, RandomLoss, Slot
from nodes.physical.carried import Carried
from nodes.physical.netem import Netem
from nodes.physical.statistics import Statistics
from nodes.physical.tausworthe import Tausworthe
from nodes.units import MILLISECOND, SECOND
from tests.unit.netem_world import DELAY, MTU, SEED, World, evenly, sent


def test_frames_wait_for_a_slot_and_leave_together() -> None:
    """The first look draws a slot that opens 20 ms later; what is due by then leaves at once."""
    world = World(Impairment(delay=MILLISECOND, slot=Slot(minimum=20 * MILLISECOND, maximum=20 * MILLISECOND)))
    world.send(*range(SECOND, SECOND + 50 * MILLISECOND, 5 * MILLISECOND)).end()
    assert [due - SECOND for due in world.dues] == [20 * MILLISECOND] * 4 + [40 * MILLISECOND] * 4 + [
        60 * MILLISECOND
    ] * 2


def test_a_slot_takes_so_many_frames() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND, packets=3)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 8).end()
    assert [(due - SECOND) // MILLISECOND for due in world.dues] == [10, 10, 10, 20, 20, 20, 30, 30]
    assert world.numbers == list(range(8))


def test_a_slot_takes_so_many_octets() -> None:
    """The frame that goes beyond is the last."""
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND, octets=2500)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 7).end()
    assert [(due - SECOND) // MILLISECOND for due in world.dues] == [10, 10, 10, 20, 20, 20, 30]


def test_an_idle_link_draws_its_slot_when_a_frame_comes() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND)
    world = World(Impairment(slot=slot)).send(SECOND, SECOND + 123 * MILLISECOND).end()
    assert world.dues == [SECOND + 10 * MILLISECOND, SECOND + 133 * MILLISECOND]


def test_each_look_draws_a_slot_anew_that_opens_before_the_first_frame_is_due() -> None:
    """The frame waits for 10 ms, slots follow 3 ms after a look. Looks at 0 and 10 give 3 and 13. Another frame, or one
    that is lost, makes one at 8, which gives 11."""
    slot = Slot(minimum=3 * MILLISECOND, maximum=3 * MILLISECOND)
    alone = World(Impairment(delay=10 * MILLISECOND, slot=slot)).send(SECOND).end()
    assert alone.dues == [SECOND + 13 * MILLISECOND]
    second = World(Impairment(delay=10 * MILLISECOND, slot=slot)).send(SECOND, SECOND + 8 * MILLISECOND).end()
    assert second.dues[0] == SECOND + 11 * MILLISECOND
    loss = GilbertElliott(p=1.0, r=0.0)  # all but the first
    lost = World(Impairment(delay=10 * MILLISECOND, slot=slot, loss=loss)).send(SECOND, SECOND + 8 * MILLISECOND).end()
    assert lost.dues == [SECOND + 11 * MILLISECOND]


def test_a_slot_may_open_just_when_a_frame_is_due() -> None:
    slot = Slot(minimum=DELAY, maximum=DELAY)
    assert World(Impairment(delay=DELAY, slot=slot)).send(SECOND).end().dues == [SECOND + DELAY]


def test_slots_between_two_times() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=30 * MILLISECOND, packets=1)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 400).end()
    gaps = [later - earlier for earlier, later in zip([SECOND, *world.dues], world.dues, strict=False)]
    assert all(10 * MILLISECOND <= gap <= 30 * MILLISECOND for gap in gaps)
    assert sum(gaps) / 400 == pytest.approx(20 * MILLISECOND, rel=0.05)
    assert min(gaps) < 11 * MILLISECOND
    assert max(gaps) > 29 * MILLISECOND


def test_slots_of_a_distribution_use_netems_numbers() -> None:
    slot = Slot(packets=1, distribution=Distribution("uniform"), delay=10 * MILLISECOND, jitter=MILLISECOND)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 5).end()
    draw = Tausworthe(SEED).draw
    at, expected = SECOND, []
    for _ in range(5):
        at += 10 * MILLISECOND + draw() % (2 * MILLISECOND) - MILLISECOND
        expected.append(at)
    assert world.dues == expected


def test_plain_slots_leave_netems_numbers_alone() -> None:
    loss = RandomLoss(chance=0.1)
    slotted = sent(Impairment(loss=loss, slot=Slot(minimum=MILLISECOND, maximum=5 * MILLISECOND)), 500)
    assert slotted.fates == sent(Impairment(loss=loss), 500).fates


def test_a_slot_without_times_is_none() -> None:
    assert sent(Impairment(slot=Slot(packets=1)), 5).dues == list(evenly(5))


def test_a_slot_is_seen_late_at_its_own_time() -> None:
    """Whoever looks seconds later gets the same frames with the same times."""
    impairment = Impairment(
        delay=5 * MILLISECOND,
        jitter=3 * MILLISECOND,
        slot=Slot(minimum=MILLISECOND, maximum=9 * MILLISECOND, packets=2),
    )
    exact = World(impairment).send(*[SECOND] * 50).end()
    late = Netem(impairment, MTU, SEED, Statistics())
    for left in range(50):
        late.receive(Carried(bytes(14) + left.to_bytes(4, "big") + bytes(982), SECOND), SECOND)
        assert late.release(SECOND) is None
    assert [carried.due for carried in iter(lambda: late.release(100 * SECOND), None)] == exact.dues
