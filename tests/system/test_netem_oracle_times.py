"""The engine against the kernel's netem in User Mode Linux: when frames leave.

A timer is never early and always a little late: in User Mode Linux by 0.1 ms, and by many milliseconds whenever this
machine gives the guest no processor. A steady link beside the others, from which a frame leaves each millisecond at a
time that is known, measures that: the lateness of calm times, and when times were not calm. Frames that left then are
left out; that has nothing to do with the delay that was drawn for them.

Where the engine gives exact times, the kernel's are compared with them frame by frame. Where they are drawn, the
kernel's delays and the engine's, each with a lateness drawn from those measured, are two samples for Anderson and
Darling's test: up to 4,000 and 16,000 frames, 0.1 %, confirmed with new frames (tests/uml/oracle.py).
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from nodes.impairment import Distribution, Impairment, Slot
from nodes.units import MICROSECOND, MILLISECOND
from tests.uml import boot, comparison
from tests.uml.engine import through_engine
from tests.uml.oracle import Oracle
from tests.uml.traffic import Case, Passage

pytestmark = pytest.mark.slow

FRAMES = 4000
ENGINE_FRAMES = 16_000
LEAST = 1000
"""Frames of the kernel, so that the test sees anything."""
BURST, INTERVAL = 10, 12 * MILLISECOND
LATE = 2 * MILLISECOND
"""Median lateness of a guest that gets its share of the processor at all."""
CALM = 500 * MICROSECOND
"""Who is later than this was kept from running."""
STEP = 1200 * MICROSECOND
"""Between two frames of the steady link: 100 octets at 680 kbit/s."""
SKEW = 400 * MICROSECOND
"""By which the least late of many frames may differ from the least late of others."""
LIMIT = 100_000
TRIANGLE = tuple(range(-16_384, 16_384, 32))
"""A table of its own: uniform, to two jitters."""

DRAWN = {
    "uniform": Impairment(delay=60 * MILLISECOND, jitter=30 * MILLISECOND),
    "normal": Impairment(delay=100 * MILLISECOND, jitter=20 * MILLISECOND, distribution=Distribution("normal")),
    "pareto": Impairment(delay=100 * MILLISECOND, jitter=20 * MILLISECOND, distribution=Distribution("pareto")),
    "paretonormal": Impairment(
        delay=100 * MILLISECOND, jitter=20 * MILLISECOND, distribution=Distribution("paretonormal")
    ),
    "table": Impairment(delay=100 * MILLISECOND, jitter=20 * MILLISECOND, distribution=Distribution("table", TRIANGLE)),
    "correlated": Impairment(delay=60 * MILLISECOND, jitter=30 * MILLISECOND, delay_correlation=0.75),
    "cut at zero": Impairment(delay=10 * MILLISECOND, jitter=20 * MILLISECOND),
}
RATES = {
    "rate": Case(Impairment(rate=10_000_000), 400, octets=1514, burst=400, interval=1),
    "rate, overhead": Case(Impairment(rate=5_000_000, overhead=24), 400, octets=514, burst=400, interval=1),
    "rate, less": Case(Impairment(rate=2_000_000, overhead=-14), 400, octets=264, burst=400, interval=1),
    "rate, cells": Case(
        Impairment(rate=8_000_000, overhead=8, cell=48, cell_overhead=5), 400, octets=1014, burst=400, interval=1
    ),
    "rate, delay": Case(
        Impairment(rate=4_000_000, delay=30 * MILLISECOND), 400, octets=514, burst=5, interval=4 * MILLISECOND
    ),
    "rate, idle between": Case(Impairment(rate=4_000_000), 400, octets=514, burst=10, interval=15 * MILLISECOND),
}
SLOTS = {
    "slots": Slot(minimum=20 * MILLISECOND, maximum=20 * MILLISECOND, packets=5),
    "slots of octets": Slot(minimum=15 * MILLISECOND, maximum=15 * MILLISECOND, octets=650),
    "slots of any length": Slot(minimum=10 * MILLISECOND, maximum=30 * MILLISECOND, packets=4),
    "slots by table": Slot(
        packets=4, distribution=Distribution("normal"), delay=20 * MILLISECOND, jitter=3 * MILLISECOND
    ),
}


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    reason = boot.missing()
    if reason is not None:
        pytest.skip(reason)
    drawn = {name: dataclasses.replace(value, limit=LIMIT) for name, value in DRAWN.items()}
    drawn["steady"] = Impairment(delay=200 * MILLISECOND, rate=680_000, limit=LIMIT)  # STEP
    drawn["constant"] = Impairment(delay=50 * MILLISECOND, limit=LIMIT)
    cases = {name: Case(value, FRAMES, burst=BURST, interval=INTERVAL) for name, value in drawn.items()}
    slots = {
        name: Case(Impairment(delay=MILLISECOND, slot=slot, limit=LIMIT), 800, burst=BURST, interval=INTERVAL)
        for name, slot in SLOTS.items()
    }
    return Oracle(cases | slots | RATES, always=("steady",))


class Clockwork:
    """What the steady link tells of the guest: how `late` its frames were (ns) in calm times, and when those were."""

    def __init__(self, oracle: Oracle, passages: Mapping[str, Passage]) -> None:
        kernel = passages["steady"]
        engine = through_engine(oracle.cases["steady"], 1, kernel.sent)
        pairs = list(zip(engine.times, kernel.times, strict=True))
        self.late = [left - due for due, left in pairs if left - due <= CALM]
        self._calm: list[tuple[int, int]] = []
        """From one punctual frame to the next, where that is near."""
        for (due, left), (next_due, next_left) in itertools.pairwise(pairs):
            if max(left - due, next_left - next_due) <= CALM and next_due - due < 2 * STEP:
                self._calm.append((due, next_due))

    def calm(self, passage: Passage) -> list[int]:
        """The delays of the frames that left in calm times."""
        begins = [begin for begin, _ in self._calm]
        delays = []
        for time, delay in zip(passage.times, passage.delays(), strict=True):
            place = bisect.bisect_right(begins, time) - 1
            if place >= 0 and time < self._calm[place][1]:
                delays.append(delay)
        assert len(delays) > LEAST, f"this machine had calm times for {len(delays)} frames only"
        return delays

    def measured(self, delays: Sequence[int], seed: int) -> list[int]:
        """The engine's delays, as they would have been measured. What is not delayed needs no timer."""
        source = random.Random(seed)
        return [delay + source.choice(self.late) if delay else 0 for delay in delays]


def test_a_constant_delay_is_never_too_short(oracle: Oracle) -> None:
    def check(passages: Mapping[str, Passage], _seed: int) -> list[str]:
        constant = passages["constant"]
        late = [delay - 50 * MILLISECOND for delay in constant.delays()]
        wrong = min(late) < 0 or statistics.median(late) > LATE or constant.arrived != list(range(FRAMES))
        return [f"late by {min(late)} to {max(late)} ns, {statistics.median(late)} mostly"] if wrong else []

    oracle.confirm("constant", check)


def delays_differ(oracle: Oracle, here: str, there: Case, passages: Mapping[str, Passage], seed: int) -> list[str]:
    """Of kernel and engine. Less than a millisecond counts as none: it is not drawn, it is the way."""
    clockwork = Clockwork(oracle, passages)
    engine = through_engine(dataclasses.replace(there, frames=ENGINE_FRAMES), seed)
    pair = [clockwork.calm(passages[here]), clockwork.measured(engine.delays(), seed)]
    kernel, engine_delays = ([delay if delay > MILLISECOND else 0 for delay in delays] for delays in pair)
    if not comparison.distributions_differ(kernel, engine_delays):
        return []
    return [f"{len(kernel)} frames, percentiles: kernel {percentiles(kernel)}, engine {percentiles(engine_delays)} ms"]


@pytest.mark.parametrize("name", DRAWN)
def test_distribution_of_delays(oracle: Oracle, name: str) -> None:
    """Anderson-Darling, 4,000 frames of the kernel, 16,000 of the engine, 0.1 %."""

    oracle.confirm(name, lambda passages, seed: delays_differ(oracle, name, oracle.cases[name], passages, seed))


def percentiles(values: Sequence[int]) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[int(share * (len(ordered) - 1))] / MILLISECOND, 2) for share in (0, 0.1, 0.5, 0.9, 0.99, 1)]


@pytest.mark.parametrize("wrong", ["uniform", "normal", "paretonormal", "table", "less"])
def test_the_comparison_sees_another_distribution(oracle: Oracle, wrong: str) -> None:
    """Each of those that are not pareto, and pareto with 7 % less jitter."""
    pareto = oracle.cases["pareto"]
    impairment = DRAWN.get(wrong) or dataclasses.replace(pareto.impairment, jitter=18_600 * MICROSECOND)
    impairment = dataclasses.replace(impairment, delay=100 * MILLISECOND, limit=LIMIT)
    there = dataclasses.replace(pareto, impairment=impairment)
    assert delays_differ(oracle, "pareto", there, oracle.passages(), 42)


@pytest.mark.parametrize("name", ["uniform", "correlated"])
def test_successive_delays_do_not_depend(oracle: Oracle, name: str) -> None:
    """Not even where that was asked for: netem's correlation is lost on the way. Of 4,000 independent delays the
    autocorrelation is within 0.052 (3.3 / sqrt(n), 0.1 %); some of it is lateness."""

    def by_number(passage: Passage) -> list[float]:
        delays = dict(zip(passage.arrived, passage.delays(), strict=True))
        return [float(delays[number]) for number in sorted(delays)]

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        pair = [by_number(passage) for passage in (passages[name], through_engine(oracle.cases[name], seed))]
        found = [comparison.autocorrelation(delays) for delays in pair]
        return [f"autocorrelation: kernel {found[0]:.3f}, engine {found[1]:.3f}"] if max(map(abs, found)) > 0.06 else []

    oracle.confirm(name, check)


@pytest.mark.parametrize("name", RATES)
def test_spacing_of_a_rate(oracle: Oracle, name: str) -> None:
    """Each frame when the engine says, but for the timer; and no drift: the least late frame of the last quarter is as
    late as that of the first, to 0.4 ms in half a second."""

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        kernel = passages[name]
        engine = through_engine(oracle.cases[name], seed, kernel.sent)
        if kernel.arrived != engine.arrived:
            return ["another order"]
        late = [here - there for here, there in zip(kernel.times, engine.times, strict=True)]
        quarter = len(late) // 4
        drift = min(late[-quarter:]) - min(late[:quarter])
        wrong = min(late) < 0 or statistics.median(late) > LATE or abs(drift) > SKEW
        return [f"late by {min(late)} ns, {statistics.median(late)} mostly, drift {drift}"] if wrong else []

    oracle.confirm(name, check)


@pytest.mark.parametrize("name", SLOTS)
def test_slots(oracle: Oracle, name: str) -> None:
    """So many frames leave together, and so much later the next. The kernel draws the next slot when its timer wakes
    it, which adds its lateness to each interval: fixed ones are never shorter and mostly 2 ms longer at most; drawn
    ones are compared by Anderson and Darling's test, 0.1 %."""
    slot = SLOTS[name]
    fixed = slot.minimum == slot.maximum and slot.distribution is None

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        case = oracle.cases[name]
        kernel = passages[name]
        here = bursts(kernel.times)
        there = bursts(through_engine(dataclasses.replace(case, frames=2 * case.frames), seed).times)
        if kernel.arrived != list(range(case.frames)):
            return ["another order"]
        sizes = [Counter(size for size, _ in sample[1:-1]).most_common(1)[0][0] for sample in (here, there)]
        if sizes[0] != sizes[1] or any(size > sizes[1] for size, _ in here):
            return [f"sizes of bursts: kernel {here}, engine {there}"]
        mine, its = ([interval for _, interval in sample[1:]] for sample in (here, there))
        if fixed:
            wrong = min(mine) < min(its) - SKEW or statistics.median(mine) > statistics.median(its) + LATE
        else:
            wrong = comparison.distributions_differ(mine, Clockwork(oracle, passages).measured(its, seed))
        return [f"intervals: kernel {percentiles(mine)}, engine {percentiles(its)} ms"] if wrong else []

    oracle.confirm(name, check)


def bursts(times: Sequence[int]) -> list[tuple[int, int]]:
    """Frames that left together (within 6 ms), and since when the burst before had begun."""
    found: list[tuple[int, int]] = []
    began = times[0]
    size, since = 0, 0
    for time in times:
        if time - began > 6 * MILLISECOND:
            found.append((size, since))
            size, since, began = 0, time - began, time
        size += 1
    return [*found, (size, since)]
