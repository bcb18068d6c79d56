"""What changes on a link, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodes.impairment import (
    NOTHING,
    Change,
    Codel,
    Direction,
    DropTail,
    GilbertElliott,
    Impairment,
    MarkovLoss,
    RandomLoss,
    TokenBucket,
    encode_patch,
    merged,
)
from nodes.physical.schedule import Due, Schedule
from nodes.units import MILLISECOND, SECOND

START = 1_000 * SECOND
BOTH: tuple[Direction, ...] = ("ab", "ba")


def step(at: float, **patch: object) -> Change:
    return Change(round(at * SECOND), patch=encode_patch(patch))


def ramp(at: float, seconds: float, **patch: object) -> Change:
    return replace(step(at, **patch), ramp=round(seconds * SECOND))


class Link:
    """What an executor does with a schedule, in virtual time."""

    def __init__(self, changes: list[Change], ab: Impairment = NOTHING, ba: Impairment = NOTHING) -> None:
        self.holds: dict[Direction, Impairment] = {"ab": ab, "ba": ba}
        self.schedule = Schedule(tuple(changes), START)
        self.log: list[Due] = []

    def apply(self, now: int) -> list[Due]:
        dues = self.schedule.due(now, lambda direction: self.holds[direction])
        for due in dues:
            if due.patch is not None:
                for direction in due.directions:
                    self.holds[direction] = merged(NOTHING if due.replace else self.holds[direction], due.patch)
        self.log += dues
        return dues

    def run(self, seconds: float) -> None:
        """Each deadline on time."""
        while (at := self.schedule.deadline()) is not None and at <= START + round(seconds * SECOND):
            self.apply(at)
            after = self.schedule.deadline()
            assert after is None or after > at

    def values(self, field: str, direction: Direction = "ab") -> list[tuple[float, Any]]:
        """When, and to what, a field was set."""
        return [
            ((due.at - START) / SECOND, due.patch[field])
            for due in self.log
            if due.patch is not None and field in due.patch and direction in due.directions
        ]


def test_steps() -> None:
    link = Link([step(10, delay=5), step(2.5, delay=7, loss=RandomLoss(chance=0.1))])
    assert link.schedule.deadline() == START + 2_500 * MILLISECOND
    link.run(60)
    patch = {"delay": 7, "loss": RandomLoss(chance=0.1)}
    assert link.log == [
        Due(START + 2_500 * MILLISECOND, BOTH, patch, False, None, "schedule: step at 2.5 s"),
        Due(START + 10 * SECOND, BOTH, {"delay": 5}, False, None, "schedule: step at 10 s"),
    ]
    assert link.schedule.deadline() is None
    assert link.apply(START + 99 * SECOND) == []


def test_nothing_is_early() -> None:
    link = Link([step(10, delay=5)])
    assert link.apply(START + 10 * SECOND - 1) == []
    assert len(link.apply(START + 10 * SECOND)) == 1


def test_one_direction_and_replace() -> None:
    link = Link([replace(step(1, delay=5), directions=("ba",), replace=True)], *[Impairment(jitter=3)] * 2)
    link.run(2)
    assert link.log[0].directions == ("ba",) and link.log[0].replace
    assert link.holds == {"ab": Impairment(jitter=3), "ba": Impairment(delay=5)}


def test_replace_with_nothing_clears() -> None:
    link = Link([Change(SECOND, replace=True)], Impairment(delay=5), Impairment(delay=6))
    link.run(2)
    assert link.log[0].patch == {}
    assert link.holds == {"ab": NOTHING, "ba": NOTHING}


def test_flap() -> None:
    """Down for 1 s, every 5 s, three times."""
    down = Change(40 * SECOND, up=False, every=5 * SECOND, times=3, origin="flap")
    link = Link([down, replace(down, at=41 * SECOND, up=True)])
    link.run(100)
    assert [((due.at - START) // SECOND, due.up) for due in link.log] == [
        (40, False),
        (41, True),
        (45, False),
        (46, True),
        (50, False),
        (51, True),
    ]
    assert all(due.patch is None for due in link.log)
    assert [due.trigger for due in link.log[2:4]] == ["flap: down at 45 s, 2 of 3", "flap: up at 46 s, 2 of 3"]


def test_a_period_without_end() -> None:
    link = Link([Change(0, patch={"delay": 1}, every=SECOND, times=0), Change(SECOND // 2, patch={"delay": 2})])
    link.run(1000)
    assert len(link.log) == 1002
    assert link.log[-1].trigger == "schedule: step at 1000 s, time 1001"
    assert link.schedule.deadline() == START + 1001 * SECOND


# Ramps


def test_ramp_goes_in_steps_and_ends_exactly() -> None:
    link = Link([ramp(10, 1, delay=1000, corrupt=0.3)], *[Impairment(delay=3)] * 2)
    link.run(60)
    delays = link.values("delay")
    assert [at for at, _ in delays] == [10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 10.7, 10.8, 10.9, 11.0]
    assert [delay for _, delay in delays] == [102, 202, 302, 401, 501, 601, 700, 800, 900, 1000]
    assert [corrupt for _, corrupt in link.values("corrupt")] == pytest.approx([0.03 * n for n in range(1, 11)])
    assert link.holds["ab"] == link.holds["ba"] == Impairment(delay=1000, corrupt=0.3)
    assert link.log[-1].trigger == "schedule: ramp at 10 s, step 10 of 10"


@pytest.mark.parametrize(
    ("seconds", "steps"), [(0.00000001, 1), (0.1, 1), (0.15, 2), (10, 100), (20, 200), (20.1, 200), (3600, 200)]
)
def test_how_many_steps(seconds: float, steps: int) -> None:
    """Each 100 ms, at most 200, the last at the end of the ramp."""
    link = Link([ramp(0, seconds, delay=10**9)])
    link.run(4000)
    assert len(link.log) == steps
    assert link.log[-1].at == START + round(seconds * SECOND)
    assert link.values("delay")[-1][1] == 10**9


def test_ramp_downwards() -> None:
    link = Link([ramp(0, 1, rate=1_000_000)], *[Impairment(rate=2_000_001)] * 2)
    link.run(2)
    rates = [rate for _, rate in link.values("rate")]
    assert rates == sorted(rates, reverse=True)
    assert rates[4] == 1_500_000
    assert rates[-1] == 1_000_000


def test_directions_ramp_from_their_own_values() -> None:
    """And are one change again where they meet."""
    link = Link([ramp(0, 0.2, delay=100)], Impairment(delay=0), Impairment(delay=50))
    link.run(2)
    assert [(due.directions, due.patch) for due in link.log] == [
        (("ab",), {"delay": 50}),
        (("ba",), {"delay": 75}),
        (BOTH, {"delay": 100}),
    ]


def test_what_has_nothing_in_between_changes_at_the_beginning() -> None:
    link = Link([ramp(1, 0.2, delay=100, ecn=True, seed=7, queue=Codel(), gap=5, cell=48)])
    link.run(2)
    first = link.log[0]
    assert (first.at, first.trigger) == (START + SECOND, "schedule: ramp at 1 s begins")
    assert first.patch == {"ecn": True, "seed": 7, "queue": Codel(), "gap": 5, "cell": 48}
    assert [due.patch for due in link.log[1:]] == [{"delay": 50}, {"delay": 100}]


def test_a_loss_model_moves_as_a_whole() -> None:
    start = Impairment(loss=GilbertElliott(p=0.1, r=0.5, bad_loss=1.0))
    link = Link([ramp(0, 0.2, loss=GilbertElliott(p=0.3, r=0.1, bad_loss=0.5))], start, start)
    link.run(1)
    middle = link.values("loss")[0][1]
    assert (middle.p, middle.r, middle.bad_loss, middle.good_loss) == pytest.approx((0.2, 0.3, 0.75, 0))
    assert link.holds["ab"].loss == GilbertElliott(p=0.3, r=0.1, bad_loss=0.5)


def test_loss_from_none_and_to_none() -> None:
    """No loss is a loss of 0 %; at the end there is none again."""
    link = Link([ramp(0, 0.2, loss=RandomLoss(chance=0.1)), ramp(5, 0.2, loss=None)])
    link.run(9)
    assert link.values("loss") == [
        (0.1, RandomLoss(chance=0.05)),
        (0.2, RandomLoss(chance=0.1)),
        (5.1, RandomLoss(chance=0.05)),
        (5.2, None),
    ]


def test_another_loss_model_comes_at_once() -> None:
    link = Link([ramp(0, 1, loss=MarkovLoss(p13=0.1))], *[Impairment(loss=RandomLoss(chance=0.1))] * 2)
    link.run(9)
    assert link.values("loss") == [(0, MarkovLoss(p13=0.1))]


def test_without_a_rate_is_not_a_small_rate() -> None:
    """From no limit the ramp begins at its target; to no limit it keeps the rate until its end. Never in between."""
    link = Link([ramp(0, 1, rate=10**6, limit=50), ramp(5, 1, rate=0, limit=0)])
    link.run(9)
    assert link.values("rate") == [(0, 10**6), (6, 0)]
    assert link.values("limit") == [(0, 50), (6, 0)]


def test_a_bucket_moves_and_its_peak_too() -> None:
    old, new = TokenBucket(rate=1000, burst=2000), TokenBucket(rate=3000, burst=1000, peak=5000)
    link = Link([ramp(0, 0.2, bucket=new)], *[Impairment(bucket=old)] * 2)
    link.run(9)
    assert link.values("bucket") == [(0.1, TokenBucket(rate=2000, burst=1500, peak=5000)), (0.2, new)]


def test_ramp_that_replaces() -> None:
    """Numbers go from where they were to their defaults; what else there was is gone at once."""
    before = Impairment(delay=100, ecn=True, rate=10**6, queue=DropTail(packets=5), loss=RandomLoss(chance=0.2))
    link = Link([replace(ramp(0, 0.2, jitter=10), replace=True)], before, before)
    link.run(0)
    assert link.holds["ab"] == Impairment(delay=100, rate=10**6, loss=RandomLoss(chance=0.2))
    link.run(0.1)
    assert link.holds["ab"] == Impairment(delay=50, jitter=5, rate=10**6, loss=RandomLoss(chance=0.1))
    link.run(1)
    assert link.holds["ab"] == link.holds["ba"] == Impairment(jitter=10)


def test_ramp_that_replaces_what_is_not_a_number() -> None:
    """It is gone at the beginning, even if nothing comes in its place."""
    link = Link([replace(ramp(0, 0.1, jitter=10), replace=True)], Impairment(ecn=True), Impairment(ecn=True))
    link.run(0)
    assert link.holds["ab"] == link.holds["ba"] == NOTHING
    link.run(1)
    assert link.holds["ab"] == Impairment(jitter=10)


def test_up_comes_with_the_beginning_of_a_ramp() -> None:
    link = Link([replace(ramp(1, 0.1, delay=5), up=True)])
    link.run(2)
    assert [(due.at - START, due.up, due.patch) for due in link.log] == [
        (SECOND, True, None),
        (1_100 * MILLISECOND, None, {"delay": 5}),
    ]


def test_a_later_change_ends_the_ramp_of_its_fields() -> None:
    """Of `delay` in one direction; jitter, and the other direction, go on."""
    link = Link([ramp(0, 1, delay=1000, jitter=100), replace(step(0.5, delay=7), directions=("ab",))])
    link.run(2)
    assert link.holds["ab"] == Impairment(delay=7, jitter=100)
    assert link.holds["ba"] == Impairment(delay=1000, jitter=100)


def test_replace_ends_all_ramps() -> None:
    link = Link([ramp(0, 1, delay=1000, jitter=100), Change(SECOND // 2, replace=True)])
    link.run(2)
    assert link.holds == {"ab": NOTHING, "ba": NOTHING}


def test_somebody_else_supersedes() -> None:
    link = Link([ramp(0, 1, delay=1000, jitter=100)])
    link.run(0.5)
    link.schedule.supersede(("ba",), {"delay": 3})
    link.run(2)
    assert link.values("delay", "ab")[-1] == (1.0, 1000)
    assert link.values("delay", "ba")[-1] == (0.5, 500)
    assert link.values("jitter", "ba")[-1] == (1.0, 100)


def test_periodic_ramps() -> None:
    """The second of a pair begins where the first has ended, at the same instant, with its exact value."""
    up = replace(ramp(0, 1, delay=1000), every=2 * SECOND, times=2)
    down = replace(ramp(1, 1, delay=0), every=2 * SECOND, times=2)
    link = Link([down, up])
    link.run(60)
    values = dict(link.values("delay"))
    assert [values[at] for at in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)] == [500, 1000, 500, 0, 500, 1000, 500, 0]
    assert len(values) == 40


def test_a_ramp_that_begins_anew_before_its_end() -> None:
    """The old one is over: one value per step, none twice."""
    link = Link([replace(ramp(0, 1, delay=1000), every=SECOND // 2, times=2)])
    link.run(9)
    times = [at for at, _ in link.values("delay")]
    assert times == sorted(set(times))
    assert times[-1] == 1.5
    assert len(times) == 5 + 10
    assert [delay for at, delay in link.values("delay") if at in (0.5, 1.0, 1.5)] == [500, 750, 1000]


def test_late_is_the_same_as_on_time() -> None:
    """Asked once at the end: the same changes, in order, each once, from values that were not applied in between."""
    changes = [
        step(1, delay=10, jitter=5),
        ramp(2, 2, delay=1000),
        replace(step(3, jitter=50), directions=("ba",)),
        Change(SECOND, up=False, every=SECOND, times=4),
        replace(ramp(5, 1, rate=5000, loss=RandomLoss(chance=0.5)), replace=True),
    ]
    punctual, late = Link(changes, Impairment(rate=10_000)), Link(changes, Impairment(rate=10_000))
    punctual.run(60)
    late.apply(START + 60 * SECOND)
    assert punctual.log == late.log
    assert punctual.holds == late.holds
    assert late.holds["ab"] == Impairment(rate=5000, loss=RandomLoss(chance=0.5))


def test_ties_keep_the_order_in_which_they_are_written() -> None:
    link = Link([step(1, delay=1), step(1, delay=2), step(1, delay=3)])
    link.run(1)
    assert [delay for _, delay in link.values("delay")] == [1, 2, 3]


def test_a_change_says_where_it_comes_from() -> None:
    link = Link([replace(step(15, delay=1), origin="trace leo.csv")])
    link.run(20)
    assert link.log[0].trigger == "trace leo.csv: step at 15 s"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(0), "changes nothing"),
        (Change(-1, patch={"delay": 1}), "not negative"),
        (Change(0, patch={"delay": 1}, ramp=-1), "not negative"),
        (Change(0, up=True, times=2), "has a period"),
        (Change(0, up=True, times=0), "has a period"),
        (Change(0, up=True, every=1), "a period of 1 ns, at least 1000000"),
        (Change(0, up=True, every=-SECOND), "a period of"),
        (Change(0, up=True, ramp=1), "a ramp has values"),
        (Change(0, (), up=True), "of one direction or of both"),
        (Change(0, ("ab", "ab"), up=True), "of one direction or of both"),
        (Change(0, patch={"delai": 1}), "patch: unknown field 'delai'"),
        (Change(0, patch={"delay": "soon"}), "patch.delay: str, int expected"),
    ],
)
def test_nonsense_is_refused(change: Change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule((change,), 0)
