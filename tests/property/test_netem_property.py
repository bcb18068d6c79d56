"""What holds of netem whatever is asked of it and whatever comes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.impairment import (
    Distribution,
    GilbertElliott,
    Impairment,
    Loss,
    MarkovLoss,
    RandomLoss,
    Slot,
    TimedGilbertElliott,
    effective_limit,
)
from nodes.physical.carried import Carried
from nodes.physical.netem import Fate, Netem
from nodes.physical.statistics import Statistics
from nodes.units import SECOND

MTU = 1500
pytestmark = pytest.mark.slow

chances = st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.floats(0, 1))
times = st.one_of(st.just(0), st.integers(0, 20_000), st.integers(0, 2 * SECOND))
distributions = st.one_of(
    st.sampled_from([Distribution(name) for name in ("uniform", "normal", "pareto", "paretonormal")]),
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=9).map(lambda table: Distribution("table", tuple(table))),
)
losses: st.SearchStrategy[Loss | None] = st.one_of(
    st.none(),
    st.builds(RandomLoss, chance=chances, correlation=chances),
    st.builds(MarkovLoss, p13=chances, p31=chances, p32=chances, p23=chances, p14=chances),
    st.builds(GilbertElliott, p=chances, r=chances, bad_loss=chances, good_loss=chances),
    st.builds(
        TimedGilbertElliott,
        good=st.integers(1, SECOND),
        bad=st.integers(1, SECOND),
        bad_loss=chances,
        good_loss=chances,
    ),
)
slots = st.one_of(
    st.none(),
    st.builds(
        Slot,
        minimum=times,
        maximum=times,
        packets=st.integers(0, 4),
        octets=st.integers(0, 4000),
        distribution=st.none() | distributions,
        delay=times,
        jitter=times,
    ),
)
impairments = st.builds(
    Impairment,
    delay=times,
    jitter=times,
    delay_correlation=chances,
    distribution=distributions,
    steadiness=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    loss=losses,
    ecn=st.booleans(),
    corrupt=chances,
    corrupt_correlation=chances,
    duplicate=chances,
    duplicate_correlation=chances,
    reorder=chances,
    reorder_correlation=chances,
    gap=st.integers(0, 4),
    rate=st.sampled_from([0, 0, 1, 8_000, 1_000_000, 10_000_000_000]),
    overhead=st.integers(-100, 100),
    cell=st.sampled_from([0, 0, 1, 48]),
    cell_overhead=st.integers(0, 10),
    slot=slots,
    limit=st.sampled_from([0, 1, 2, 5, 1000]),
)
arrivals = st.lists(st.tuples(times, st.integers(0, 1600)), min_size=1, max_size=40)
seeds = st.integers(0, (1 << 64) - 1)


class Run(NamedTuple):
    entered: list[tuple[int, Carried, Fate]]
    left: list[tuple[int, Carried]]
    """With the time at which the netem was asked."""
    statistics: Statistics
    most: int


def drive(impairment: Impairment, seed: int, gaps: list[tuple[int, int]], change: Impairment | None = None) -> Run:
    """Frames of the lengths given, each so long after the one before; in the middle a change."""
    statistics = Statistics()
    netem = Netem(impairment, MTU, seed, statistics)
    run = Run([], [], statistics, 0)
    now = most = 0
    for index, (gap, octets) in enumerate(gaps):
        advance(netem, run, now, now + gap)
        now += gap
        if change is not None and index == len(gaps) // 2:
            netem.change(change, MTU, now)
            advance(netem, run, now, now)
        carried = Carried(bytes(octets), now)
        run.entered.append((now, carried, netem.receive(carried, now)))
        most = max(most, netem.held)
        advance(netem, run, now, now)
    advance(netem, run, now, 1 << 70)
    assert netem.held == 0
    return run._replace(most=most)


def advance(netem: Netem, run: Run, begin: int, end: int) -> None:
    before = begin - 1
    while (at := netem.deadline()) is not None and at <= end:
        assert at > before, "a deadline that has passed"
        assert at >= begin
        if at > begin:
            assert netem.release(at - 1) is None, "released early"
        before = at
        while (carried := netem.release(at)) is not None:
            run.left.append((at, carried))


@given(impairments, seeds, arrivals, st.none() | impairments)
@settings(max_examples=300, deadline=None)
def test_every_frame_leaves_or_is_counted(
    impairment: Impairment, seed: int, gaps: list[tuple[int, int]], change: Impairment | None
) -> None:
    run = drive(impairment, seed, gaps, change)
    fates, statistics = Counter(flag for _, _, fate in run.entered for flag in Fate if flag & fate), run.statistics
    assert len(gaps) + statistics.duplicated == len(run.left) + statistics.dropped.total()
    assert set(statistics.dropped) <= {"loss", "limit"}
    assert (
        statistics.duplicated
        == fates[Fate.DUPLICATED]
        == sum(carried.is_copy for _, carried in run.left)
        + (statistics.dropped.total() - fates[Fate.LOST] - fates[Fate.LIMIT])
    )
    expected = [carried for _, carried, fate in run.entered if not fate & (Fate.LOST | Fate.LIMIT)]
    assert {id(carried) for _, carried in run.left if not carried.is_copy} == {id(carried) for carried in expected}
    assert statistics.corrupted >= fates[Fate.CORRUPTED] - sum(not octets for _, octets in gaps)


@given(impairments, seeds, arrivals, st.none() | impairments)
@settings(max_examples=200, deadline=None)
def test_frames_leave_when_due_in_order_of_time_and_after_they_came(
    impairment: Impairment, seed: int, gaps: list[tuple[int, int]], change: Impairment | None
) -> None:
    run = drive(impairment, seed, gaps, change)
    assert all(at == carried.due >= carried.arrived for at, carried in run.left)
    assert [at for at, _ in run.left] == sorted(at for at, _ in run.left)


@given(impairments, seeds, arrivals)
@settings(max_examples=100, deadline=None)
def test_no_more_are_held_than_the_limit(impairment: Impairment, seed: int, gaps: list[tuple[int, int]]) -> None:
    """By one: the copy of the last that is let in comes with it."""
    run = drive(impairment, seed, [(0, octets) for _, octets in gaps])
    assert run.most <= effective_limit(impairment, MTU) + 1


@given(impairments, seeds, arrivals)
@settings(max_examples=100, deadline=None)
def test_the_same_seed_gives_the_same_run(impairment: Impairment, seed: int, gaps: list[tuple[int, int]]) -> None:
    first, second = (
        [(at, carried.arrived, carried.frame, carried.is_copy) for at, carried in drive(impairment, seed, gaps).left]
        for _ in range(2)
    )
    assert first == second


@given(impairments, seeds, arrivals, st.booleans())
@settings(max_examples=200, deadline=None)
def test_no_frame_overtakes_without_jitter_or_with_a_rate(
    impairment: Impairment, seed: int, gaps: list[tuple[int, int]], with_rate: bool
) -> None:
    parts: dict[str, int] = {"rate": 1_000_000} if with_rate else {"jitter": 0, "rate": 0}
    ordered = dataclasses.replace(impairment, reorder=0.0, gap=0, **parts)  # type: ignore[arg-type]
    run = drive(ordered, seed, gaps)
    arrived = [carried.arrived for _, carried in run.left]
    assert arrived == sorted(arrived)
    place = {id(carried): index for index, (_, carried, _) in enumerate(run.entered)}
    places = [place[id(carried)] for _, carried in run.left if not carried.is_copy]
    assert places == sorted(places)


@given(impairments, seeds, arrivals)
@settings(max_examples=200, deadline=None)
def test_a_rate_leaves_each_frame_its_time(impairment: Impairment, seed: int, gaps: list[tuple[int, int]]) -> None:
    """Two frames are as far apart as the second takes, or a delay below zero was cut where the link was idle."""
    parts = {"reorder": 0.0, "gap": 0, "slot": None, "jitter": 0, "rate": 8_000_000, "cell": 0, "overhead": 0}
    run = drive(dataclasses.replace(impairment, **parts), seed, gaps)  # type: ignore[arg-type]
    before = -1 << 70
    for at, carried in run.left:
        send = max(carried.arrived + impairment.delay, before) + len(carried.frame) * 1000
        assert at == send
        before = at


@given(impairments, seeds, arrivals, st.integers(0, 3 * SECOND))
@settings(max_examples=150, deadline=None)
def test_who_looks_late_sees_the_same(
    impairment: Impairment, seed: int, gaps: list[tuple[int, int]], lateness: int
) -> None:
    """All frames come at one time; asked late, the netem gives them with the times they would have had."""
    frames = [octets for _, octets in gaps]
    exact = [
        (carried.due, carried.frame) for _, carried in drive(impairment, seed, [(0, octets) for octets in frames]).left
    ]
    netem = Netem(impairment, MTU, seed, Statistics())
    late = []
    for octets in frames:
        netem.receive(Carried(bytes(octets), 0), 0)
        late += [(carried.due, carried.frame) for carried in iter(lambda: netem.release(0), None)]
    while (at := netem.deadline()) is not None:
        late += [(carried.due, carried.frame) for carried in iter(lambda at=at: netem.release(at + lateness), None)]
    assert late == exact
