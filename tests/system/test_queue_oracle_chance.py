"""Our PIE and RED against the kernel's in User Mode Linux (Linux 6.1): the same arrivals through `tbf rate 4mbit` with
one of them in it, and through a `Line`.

PIE's controller is followed step by step. The drops of both are drawn: the numbers of the kernel's run have to be among
those of 20 runs of the engine with other seeds, at a level of 0.1 %, and what fails is tried once more with new frames
(tests/uml/queueing.py).

What was found: both follow their documents, and so does Linux, with these choices of its own.

    pie    begins half a second after it was set up; its period is rounded up to clock ticks, and one more: 20 ms are
           30 ms at 100 ticks a second; time for bursts is used up when frames leave, and not at the updates
    both   in tbf: the frame that tbf holds counts in the guard of two frames and in the average
    red    in tbf: no idle time (tests/uml/linux_choices.py)
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import pytest

from nodes.impairment import Pie, Queue, Red
from nodes.physical.carried import Carried
from nodes.physical.queues.pie import MAXIMUM_BURST, PieQueue
from nodes.physical.statistics import Statistics
from nodes.units import MICROSECOND, MILLISECOND
from tests.uml import boot, comparison, linux_choices
from tests.uml.comparison import LEVEL
from tests.uml.queueing import FRAME, OCTETS, QueueCase, QueueOracle, Stream, lost, marked, queue_case, through_line
from tests.uml.traffic import Passage

pytestmark = pytest.mark.slow

SEEDS = range(20)
STUDENT = 3.883
"""Of 19 degrees of freedom, exceeded by chance in 0.1 %."""
SLACK = 0.05
"""By which numbers may differ beyond that: the guest's clock ticks of 10 ms are not the engine's time."""

PIES = {
    "pie": queue_case(
        Pie(target=20 * MILLISECOND, update=20 * MILLISECOND),
        (Stream(2400, FRAME * 4 // 5, 700 * MILLISECOND),),
        watched=True,
    ),
    "pie, gentle": queue_case(
        Pie(target=60 * MILLISECOND, update=20 * MILLISECOND), (Stream(2400, FRAME * 9 // 10, 700 * MILLISECOND),)
    ),
    "pie, short": queue_case(
        Pie(target=2 * MILLISECOND, update=20 * MILLISECOND), (Stream(2000, FRAME * 4 // 5, 700 * MILLISECOND),)
    ),
    "pie, ecn": queue_case(
        Pie(target=60 * MILLISECOND, update=20 * MILLISECOND, ecn=True),
        (Stream(2400, FRAME * 19 // 20, 700 * MILLISECOND),),
        ect=True,
    ),
}
UPDATE = 30 * MILLISECOND
"""What the kernel makes of 20 ms."""
RED = Red(minimum=10_000, maximum=40_000, octets=80_000, chance=0.1, weight=1 / 64)
REDS = {
    "red": queue_case(RED, (Stream(2400, FRAME * 19 // 20),)),
    "red, ecn": queue_case(dataclasses.replace(RED, ecn=True), (Stream(1600, FRAME * 19 // 20),), ect=True),
    "red, pause": queue_case(RED, (Stream(400, FRAME * 3 // 5), Stream(200, FRAME * 3 // 5, 2500 * MILLISECOND))),
}
SUDDEN = queue_case(
    Pie(target=10 * MILLISECOND, update=20 * MILLISECOND, alpha=2, beta=2),
    (Stream(900, FRAME // 4, 700 * MILLISECOND),),
)
"""Four times what the line carries, and a controller that soon is for dropping it."""

_PIE_STATISTICS = Struct("=QI")
"""struct tc_pie_xstats: the chance, 2^64 for certain, and the delay in us."""
SEEING = 2 * MILLISECOND
"""What it takes to ask the kernel, at most."""
KNOWN = 12 * MILLISECOND
"""By which the delay may have been another, for an update to be looked at."""
EXACT = 1e-3
"""The kernel's arithmetic is that of integers."""


@pytest.fixture(scope="module")
def oracle() -> QueueOracle:
    reason = boot.missing()
    if reason is not None:
        pytest.skip(reason)
    return QueueOracle(PIES | REDS | {"pie, sudden": SUDDEN})


class Update(NamedTuple):
    """The kernel's chance became `chance` between `since` and `until`; the delay was `least` to `most` ns then."""

    since: int
    until: int
    chance: float
    least: int
    most: int


def updates(kernel: Passage) -> list[Update]:
    """Those of the kernel's controller that were seen. It goes by the wait of the frame that was taken last, which
    tbf takes when the frame before it leaves."""
    taken, waits = [], []
    for (left, _), (_, number) in itertools.pairwise(zip(kernel.times, kernel.arrived, strict=True)):
        taken.append(max(left, kernel.sent[number]))
        waits.append(taken[-1] - kernel.sent[number])
    told = []
    for time, extra in kernel.facts["watched"]:
        chance, delay = _PIE_STATISTICS.unpack_from(bytes.fromhex(extra))
        told.append((time, chance / 2**64, delay * MICROSECOND))
    found = []
    for (since, chance, delay), (until, new_chance, new_delay) in itertools.pairwise(told):
        if chance != new_chance:
            first, last = (bisect.bisect_right(taken, time) for time in (since - SEEING, until))
            delays = [delay, new_delay, *waits[max(first - 1, 0) : last]]
            found.append(Update(since, until, new_chance, min(delays), max(delays)))
    return found


def controller_differs(kernel: Passage, settings: Pie) -> list[str]:
    """Each step of the kernel's chance beside those that ours takes from there, for the least and the most that the
    delays may have been, where they are well known. One in ten may be wrong: the guest may have stood still."""
    queue = PieQueue(settings, mtu=1500, seed=1, statistics=Statistics())
    queue.append(Carried(bytes(OCTETS), 0), 0)
    steps = updates(kernel)
    peak = max(range(len(steps)), key=lambda place: steps[place].most)
    seen, wrong = 0, []
    for before, after in itertools.pairwise(steps[: peak + 1]):
        unknown = max(before.most - before.least, after.most - after.least)
        if unknown > KNOWN or after.until - before.since > UPDATE * 3 // 2:
            continue
        chances = []
        for old, new in ((before.most, after.least), (before.least, after.most)):
            queue.chance, queue._old_delay, queue._delay = before.chance, old, new
            queue._update()
            chances.append(queue.chance)
        seen += 1
        if not chances[0] * (1 - EXACT) <= after.chance <= chances[1] * (1 + EXACT):
            wrong.append(f"from {before} to {after}, ours to {chances}")
    if seen < 10:
        return [f"{seen} steps seen"]
    return wrong if len(wrong) > seen // 10 else []


def test_the_controller_of_pie(oracle: QueueOracle) -> None:
    """From the delays that the kernel says it found, ours calculates the chances that it says it took, as long as the
    queue grows: the scaled steps below 10 %, and the steps of 2 % above (RFC 8033 sections 4.2 and 5.5)."""
    settings = oracle.cases["pie"].impairment.queue
    assert isinstance(settings, Pie)
    oracle.confirm("pie", lambda kernel: controller_differs(kernel, settings))


@pytest.mark.parametrize(
    "change", [{"alpha": 0.25}, {"beta": 4.0}, {"target": 80 * MILLISECOND}], ids=["alpha", "beta", "target"]
)
def test_the_comparison_sees_another_controller(oracle: QueueOracle, change: dict[str, float]) -> None:
    settings = oracle.cases["pie"].impairment.queue
    assert isinstance(settings, Pie)
    assert controller_differs(oracle.passage("pie"), dataclasses.replace(settings, **change))  # type: ignore[arg-type]


def test_allowance_for_bursts(oracle: QueueOracle) -> None:
    """Nothing is dropped in the first 150 ms of congestion, and something soon after (RFC 8033 section 4.4). Linux
    counts them when frames leave, we at the updates."""

    def first_drop(passage: Passage) -> int:
        return passage.sent[lost(passage)[0]] - passage.sent[0]

    def check(kernel: Passage) -> list[str]:
        with as_linux(oracle.cases["pie, sudden"]) as adapted:
            engine = [through_line(adapted, seed, kernel.sent, replay=kernel.times) for seed in SEEDS]
        found = [first_drop(passage) for passage in (kernel, *engine)]
        wrong = min(found) < MAXIMUM_BURST or max(found) > MAXIMUM_BURST + 2 * UPDATE
        return [f"first drops after {found} ns"] if wrong else []

    oracle.confirm("pie, sudden", check)


@contextlib.contextmanager
def as_linux(asked: QueueCase) -> Iterator[QueueCase]:
    queue = asked.impairment.queue
    if isinstance(queue, Pie):
        queue = dataclasses.replace(queue, update=UPDATE)
    with linux_choices.held_frame():
        yield dataclasses.replace(asked, impairment=dataclasses.replace(asked.impairment, queue=queue))


def measures(passage: Passage) -> dict[str, float]:
    """Of one run; waits in ns, of frames in the order in which they came."""
    waits = [delay for _, delay in sorted(zip(passage.arrived, passage.delays(), strict=True))]
    half = len(waits) // 2
    fate = passage.lost()
    return {
        "drops": sum(fate),
        "drops in the second half": sum(fate[len(fate) // 2 :]),
        "marks": len(passage.changed),
        "long wait": sorted(waits)[len(waits) * 9 // 10],
        "mean wait": statistics.fmean(waits),
        "mean wait in the second half": statistics.fmean(waits[half:]),
    }


def gaps(passages: Sequence[Passage]) -> Counter[int]:
    """Frames between two that were lost or marked."""
    counted: Counter[int] = Counter()
    for passage in passages:
        fate = passage.lost()
        for number in marked(passage):
            fate[number] = True
        counted += comparison.run_lengths(fate, False)
    return counted


def runs_differ(kernel: Passage, asked: QueueCase) -> list[str]:
    with as_linux(asked) as adapted:
        engine = [through_line(adapted, seed, kernel.sent, replay=kernel.times) for seed in SEEDS]
    here = measures(kernel)
    there = [measures(passage) for passage in engine]
    complaints = []
    for what, value in here.items():
        values = [each[what] for each in there]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        few = FRAME // 2 if "wait" in what else 2
        if abs(value - mean) > STUDENT * deviation * (1 + 1 / len(values)) ** 0.5 + SLACK * mean + few:
            complaints.append(f"{what}: kernel {value:.4g}, engine {mean:.4g} ± {deviation:.2g}")
    chance = comparison.counts_chance(gaps([kernel]), gaps(engine))
    if chance < LEVEL:
        complaints.append(f"gaps: kernel {gaps([kernel])}, engine {gaps(engine)}, chance {chance:.2g}")
    return complaints


@pytest.mark.parametrize("name", [*PIES, *REDS])
def test_one_run_among_many(oracle: QueueOracle, name: str) -> None:
    """Drops, marks and waits: the kernel's numbers lie where those of 20 seeds do (Student's t, 0.1 %), to 5 %; and the
    lengths of the gaps between drops have the same distribution (chi-square, 0.1 %)."""
    oracle.confirm(name, lambda kernel: runs_differ(kernel, oracle.cases[name]))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("pie, gentle", Pie(target=20 * MILLISECOND, update=20 * MILLISECOND)),
        ("red", dataclasses.replace(RED, chance=0.2)),
        ("red", dataclasses.replace(RED, minimum=20_000)),
        ("red, pause", dataclasses.replace(RED, weight=1 / 128)),
        ("red, ecn", RED),
    ],
)
def test_the_comparison_sees_another_run(oracle: QueueOracle, name: str, other: Queue) -> None:
    asked = oracle.cases[name]
    assert runs_differ(
        oracle.passage(name),
        dataclasses.replace(asked, impairment=dataclasses.replace(asked.impairment, queue=other)),
    )


def test_in_tbf_nobody_tells_red_of_a_pause(oracle: QueueOracle) -> None:
    """Linux's choice: after 1.6 s without a frame, its average still is where it was, and it drops some of the first
    thirty frames. The paper's has become nothing, and the first to be dropped come when the queue is long again."""
    asked = oracle.cases["red, pause"]
    begin = asked.streams[0].frames

    def first(passage: Passage) -> int:
        return next(number for number in lost(passage) if number >= begin) - begin

    def check(kernel: Passage) -> list[str]:
        engine = min(first(through_line(asked, seed, kernel.sent)) for seed in SEEDS)
        return [] if first(kernel) < 30 and engine > 60 else [f"kernel {first(kernel)}, engine {engine}"]

    oracle.confirm("red, pause", check)
