"""What is compared: options of netem with a seed, alone and together.

Frames come in bursts as fast as they go, which is no matter where each has a fate of its own; where a queue decides,
they come at intervals. Slots have long ones: were a slot to open within microseconds of an arrival, which of the two is
first would depend on how long the kernel takes. Limits are so high that nothing reaches them, where they are not what
it is about.

Not under a seed in the kernel, and so not here: which bit is corrupted, plain intervals of slots. Nor is the memory
with which a correlation begins; but it fades by the correlation with each number, and after FADED of them nothing is
left that decides. This helps where each frame draws the same numbers, whatever was decided before; only such are here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nodes.impairment import Distribution, GilbertElliott, Impairment, MarkovLoss, RandomLoss, Slot
from nodes.units import MILLISECOND
from tests.uml.traffic import Case

FRAMES = 2000
FADED = 150
"""Frames: a share of 0.8^150 of 32 bits is less than one."""
PLENTY = 1_000_000
_RANDOM = RandomLoss(chance=0.1)
_STATE = MarkovLoss(p13=0.02, p31=0.2, p32=0.1, p23=0.5, p14=0.01)
_GEMODEL = GilbertElliott(p=0.02, r=0.2, bad_loss=0.8, good_loss=0.01)
_DELAY, _JITTER = 300 * MILLISECOND, 70 * MILLISECOND
_TABLE = tuple(range(-8192, 8192, 163))
_LARGE, _LARGEST = 0xFEDC_BA98_7654_3210, (1 << 64) - 1

_LOSSES = [
    *(Impairment(loss=_RANDOM, seed=seed) for seed in (0, 1, 42, _LARGE, _LARGEST)),
    *(Impairment(loss=_STATE, seed=seed) for seed in (1, 42, _LARGE)),
    *(Impairment(loss=_GEMODEL, seed=seed) for seed in (1, 42, _LARGE)),
    Impairment(loss=GilbertElliott(p=0.01, r=0.1), seed=7),
]
_OTHERS = [
    *(Impairment(duplicate=0.1, seed=seed) for seed in (1, 42, _LARGE)),
    *(Impairment(corrupt=0.1, seed=seed) for seed in (1, 42, _LARGE)),
    *(Impairment(delay=_DELAY, reorder=0.25, seed=seed) for seed in (1, 42, _LARGE)),
    *(Impairment(delay=_DELAY, reorder=0.5, gap=gap, seed=42) for gap in (2, 5)),
]
_TIMES = [
    *(
        Impairment(delay=_DELAY, jitter=_JITTER, distribution=Distribution(name), seed=42)
        for name in ("uniform", "normal", "pareto", "paretonormal")
    ),
    Impairment(delay=_DELAY, jitter=_JITTER, distribution=Distribution("table", _TABLE), seed=7),
    Impairment(delay=_JITTER // 2, jitter=_JITTER, seed=7),
    Impairment(delay=_DELAY, jitter=_JITTER, reorder=0.1, gap=3, seed=_LARGE),
]
_TOGETHER = [
    Impairment(loss=_RANDOM, duplicate=0.1, seed=42),
    Impairment(loss=_GEMODEL, duplicate=0.1, corrupt=0.1, seed=42),
    Impairment(loss=_STATE, duplicate=0.2, corrupt=0.05, delay=_DELAY, reorder=0.25, gap=2, seed=7),
    Impairment(loss=_RANDOM, duplicate=0.2, corrupt=0.1, delay=_DELAY, jitter=_JITTER, reorder=0.2, seed=_LARGE),
    Impairment(
        loss=_GEMODEL, duplicate=0.1, corrupt=0.1, delay=_DELAY, jitter=_JITTER,
        distribution=Distribution("paretonormal"), reorder=0.3, gap=3, seed=_LARGE,
    ),
]  # fmt: skip
_CORRELATED = [
    Impairment(loss=RandomLoss(chance=0.25, correlation=0.25), seed=42),
    Impairment(loss=RandomLoss(chance=0.4, correlation=0.8), seed=42),
    Impairment(duplicate=0.3, duplicate_correlation=0.5, seed=42),
    Impairment(corrupt=0.3, corrupt_correlation=0.5, seed=42),
    Impairment(delay=_DELAY, reorder=0.3, reorder_correlation=0.5, seed=42),
    Impairment(delay=_DELAY, jitter=_JITTER, delay_correlation=0.5, seed=42),
]


def cases() -> dict[str, Case]:
    """By a number, in the order of the table."""
    plain = [*_LOSSES, *_OTHERS, *_TIMES, *_TOGETHER, *_CORRELATED]
    found = [Case(_roomy(impairment), FRAMES) for impairment in plain]
    found.append(Case(Impairment(loss=_RANDOM, ecn=True, limit=PLENTY, seed=42), FRAMES, ect=True))
    found.append(Case(Impairment(loss=_GEMODEL, ecn=True, duplicate=0.1, limit=PLENTY, seed=7), FRAMES, ect=True))
    rated = Impairment(delay=_JITTER, jitter=_JITTER // 2, loss=_RANDOM, rate=10_000_000, limit=PLENTY, seed=42)
    found.append(Case(rated, 1000, octets=1000, burst=5, interval=4 * MILLISECOND))
    cells = Impairment(
        delay=_JITTER, duplicate=0.1, rate=2_000_000, overhead=8, cell=48, cell_overhead=5, limit=PLENTY, seed=7
    )
    found.append(Case(cells, 1000, octets=500, burst=4, interval=10 * MILLISECOND))
    slotted = Slot(packets=3, distribution=Distribution("normal"), delay=20 * MILLISECOND, jitter=5 * MILLISECOND)
    found.append(
        Case(Impairment(delay=MILLISECOND, slot=slotted, loss=_RANDOM, limit=PLENTY, seed=42), 1000, burst=4,
             interval=100 * MILLISECOND)
    )  # fmt: skip
    return {str(number): case for number, case in enumerate(found)}


def phases() -> list[Case]:
    """One link whose executor changes it again and again: a seed derived from the link's and the number of the change,
    and one of its own."""
    full = Impairment(loss=_RANDOM, duplicate=0.2, corrupt=0.1, delay=20 * MILLISECOND, limit=20)
    ramp = [_roomy(Impairment(delay=delay * MILLISECOND, jitter=_JITTER, loss=_STATE)) for delay in (100, 200)]
    return [
        *(Case(value, FRAMES) for value in (*ramp, _roomy(Impairment(loss=_GEMODEL, duplicate=0.1, seed=42)))),
        *(Case(replace(full, seed=seed), 1280, interval=100 * MILLISECOND) for seed in (None, 42)),
    ]


class Step(NamedTuple):
    """A message with every option, and the `seed` that is in it; then the frames get the numbers of the seed `told`,
    from number `start` on, one each."""

    says: str
    seed: int | None
    told: int
    start: int

    @property
    def case(self) -> Case:
        return Case(_roomy(Impairment(loss=RandomLoss(chance=0.3), seed=self.seed)), STEP_FRAMES)


STEP_FRAMES = 500
STEPS = (
    Step("seed 42: its sequence begins", 42, 42, 0),
    Step("seed 42 again: it begins again", 42, 42, 0),
    Step("no seed: it goes on, and is still told", None, 42, STEP_FRAMES),
    Step("no seed: it goes on", None, 42, 2 * STEP_FRAMES),
    Step("seed 7: another sequence begins", 7, 7, 0),
)


def first_judged(case: Case) -> int:
    """The first frame for which kernel and engine have to agree."""
    value = case.impairment
    remembers = (
        value.duplicate_correlation,
        value.corrupt_correlation,
        value.reorder_correlation,
        value.delay_correlation,
        value.loss.correlation if isinstance(value.loss, RandomLoss) else 0.0,
    )
    return FADED if any(remembers) else 0


def _roomy(impairment: Impairment) -> Impairment:
    return replace(impairment, limit=PLENTY)
