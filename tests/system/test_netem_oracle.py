"""The engine against the kernel's netem in User Mode Linux: what happens to frames, whatever the time.

Cases without chance must give the same frames in the same order. The others are compared by the tests of
tests/uml/comparison.py at a level of 0.1 %, confirmed with new frames (tests/uml/oracle.py): 20,000 frames through the
kernel, 60,000 through the engine, with fixed seeds.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import pytest

from nodes.impairment import (
    Distribution,
    GilbertElliott,
    Impairment,
    MarkovLoss,
    RandomLoss,
)
from nodes.physical.congestion_mark import mark
from nodes.physical.loss import gilbert_elliott, stationary_loss
from nodes.units import MILLISECOND
from tests.uml import boot, comparison, numbered
from tests.uml.comparison import LEVEL
from tests.uml.engine import through_engine
from tests.uml.oracle import Oracle
from tests.uml.traffic import Case, Passage

pytestmark = pytest.mark.slow

FRAMES = 20_000
ENGINE_FRAMES = 60_000
CORRUPTED_OCTETS = 100
"""Frames for corruption are so long that their octets are a multiple of the classes they are counted in."""

LOSSES = {
    "random": RandomLoss(chance=0.1),
    "random, rare": RandomLoss(chance=0.01),
    "correlated": RandomLoss(chance=0.1, correlation=0.25),
    "strongly correlated": RandomLoss(chance=0.25, correlation=0.5),
    "state": MarkovLoss(p13=0.02, p31=0.2, p32=0.1, p23=0.5, p14=0.01),
    "state, halves": MarkovLoss(p13=0.05, p31=0.5, p32=0.5, p23=0.5),
    "state, tc's defaults": MarkovLoss(p13=0.05, p31=0.95),
    "gemodel": GilbertElliott(p=0.02, r=0.2, bad_loss=0.8, good_loss=0.01),
    "gemodel, simple": GilbertElliott(p=0.01, r=0.25),
    "burst": gilbert_elliott(0.05, 3),
}
SHARES = {
    "duplicate": Impairment(duplicate=0.1),
    "duplicate, correlated": Impairment(duplicate=0.25, duplicate_correlation=0.5),
    "duplicate and lose": Impairment(duplicate=0.1, loss=RandomLoss(chance=0.1)),
    "corrupt": Impairment(corrupt=0.1),
    "corrupt, correlated": Impairment(corrupt=0.25, corrupt_correlation=0.5),
    "all": Impairment(duplicate=0.2, corrupt=0.2, loss=GilbertElliott(p=0.05, r=0.3, bad_loss=0.9, good_loss=0.02)),
}
DELAY = 400 * MILLISECOND
REORDERS = {
    "reorder": Impairment(delay=DELAY, reorder=0.25),
    "reorder, correlated": Impairment(delay=DELAY, reorder=0.25, reorder_correlation=0.5),
    "reorder, gap": Impairment(delay=DELAY, reorder=0.5, gap=4),
}
EXACT = {
    "nothing": Case(Impairment(), 1000),
    "all lost": Case(Impairment(loss=RandomLoss(chance=1)), 500),
    "each twice": Case(Impairment(duplicate=1), 500),
    "each twice and lost": Case(Impairment(duplicate=1, loss=RandomLoss(chance=1)), 500),
    "every fifth at once": Case(Impairment(delay=DELAY, reorder=1, gap=5), 100, burst=100, interval=1),
    "all at once": Case(Impairment(delay=DELAY, reorder=1), 100, burst=100, interval=1),
    "limit": Case(Impairment(delay=DELAY, limit=70), 128, burst=128, interval=1),
    "limit, each twice and even": Case(Impairment(delay=DELAY, duplicate=1, limit=72), 128, burst=128, interval=1),
    "limit, each twice": Case(Impairment(delay=DELAY, duplicate=1, limit=71), 128, burst=128, interval=1),
    "limit, rate": Case(Impairment(rate=200_000, limit=10), 30, octets=1000, burst=30, interval=1),
    "limit, all at once": Case(Impairment(delay=DELAY, reorder=1, limit=5), 100, burst=100, interval=1),
    "past the rate": Case(Impairment(rate=200_000, reorder=1, gap=4), 30, octets=1000, burst=30, interval=1),
    "rate lets none overtake": Case(
        Impairment(delay=20 * MILLISECOND, jitter=19 * MILLISECOND, rate=20_000_000), 500, burst=100,
        interval=4 * MILLISECOND,
    ),
    "normal without jitter": Case(
        Impairment(delay=DELAY, distribution=Distribution("normal")), 100, burst=100, interval=1
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    reason = boot.missing()
    if reason is not None:
        pytest.skip(reason)
    losses = {name: Case(Impairment(loss=loss), FRAMES, burst=128) for name, loss in LOSSES.items()}
    shares = {name: Case(impairment, FRAMES, CORRUPTED_OCTETS, burst=128) for name, impairment in SHARES.items()}
    reorders = {
        name: Case(dataclasses.replace(impairment, limit=FRAMES), 6000, burst=128, interval=5 * MILLISECOND)
        for name, impairment in REORDERS.items()
    }
    marks = Case(Impairment(loss=RandomLoss(chance=0.1), ecn=True), 5000, burst=128, ect=True)
    return Oracle(losses | shares | reorders | EXACT | {"ecn": marks})


def engine(case: Case, seed: int) -> Passage:
    return through_engine(dataclasses.replace(case, frames=ENGINE_FRAMES), seed)


def shares_differ(what: str, here: list[bool], there: list[bool]) -> list[str]:
    """Of the frames to which something happened, in both; LEVEL, inflated as the engine's frames depend."""
    inflation = comparison.variance_inflation(there)
    chance = comparison.share_chance(sum(here), len(here), sum(there), len(there), inflation)
    if chance >= LEVEL:
        return []
    return [f"{what}: kernel {sum(here)} of {len(here)}, engine {sum(there)} of {len(there)}, chance {chance:.2g}"]


def runs_differ(what: str, here: list[bool], there: list[bool]) -> list[str]:
    """Lengths of the runs of what happened, and of what lies between: chi-square of homogeneity, at LEVEL."""
    complaints = []
    for kind in (True, False):
        pair = [comparison.run_lengths(sequence, kind) for sequence in (here, there)]
        chance = comparison.counts_chance(*pair)
        if chance < LEVEL:
            complaints.append(f"{what}: runs of {kind}: {pair}, chance {chance:.2g}")
    return complaints


@pytest.mark.parametrize("name", EXACT)
def test_without_chance_the_same_frames_in_the_same_order(oracle: Oracle, name: str) -> None:
    """Not statistics: equal. Only a kernel that was not given the processor for long may deal a burst otherwise."""

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        kernel = passages[name]
        there = through_engine(oracle.cases[name], seed, kernel.sent).arrived
        if kernel.arrived == there and not kernel.changed:
            return []
        return [f"kernel {kernel.arrived}, engine {there}, {len(kernel.changed)} changed"]

    oracle.confirm(name, check)


@pytest.mark.parametrize("name", LOSSES)
def test_loss(oracle: Oracle, name: str) -> None:
    """Share of losses, its agreement with the stationary one (Wilson's interval, inflated), lengths of bursts and of
    gaps; 20,000 frames, 0.1 % each."""

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        case, here = oracle.cases[name], passages[name].lost()
        there = engine(case, seed).lost()
        low, high = comparison.wilson(sum(here), len(here), comparison.variance_inflation(there))
        expected = stationary_loss(case.impairment.loss)
        complaints = shares_differ("loss", here, there) + runs_differ("loss", here, there)
        margin = expected * 0.02 if "correlated" in name else 0  # the effective share is computed on a grid
        if not low - margin <= expected <= high + margin:
            complaints.append(f"kernel loses between {low:.4%} and {high:.4%}, {expected:.4%} expected")
        return complaints

    oracle.confirm(name, check)


@pytest.mark.parametrize("name", SHARES)
def test_copies_and_damage(oracle: Oracle, name: str) -> None:
    """Shares of the frames that were lost, that came twice and that came damaged, and how they follow each other."""

    def outcomes(passage: Passage) -> dict[str, list[bool]]:
        copies = Counter(passage.arrived)
        damaged = {passage.arrived[place] for place in passage.changed}
        frames = range(len(passage.sent))
        return {
            "lost": [copies[number] == 0 for number in frames],
            "twice": [copies[number] == 2 for number in frames],
            "damaged": [number in damaged for number in frames],
            "more than twice": [copies[number] > 2 for number in frames],
        }

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        here, there = outcomes(passages[name]), outcomes(engine(oracle.cases[name], seed))
        complaints = [f"{sum(here['more than twice'])} came more than twice"] if any(here["more than twice"]) else []
        for what in ("lost", "twice", "damaged"):
            complaints += shares_differ(what, here[what], there[what]) + runs_differ(what, here[what], there[what])
        return complaints

    oracle.confirm(name, check)


def test_of_what_is_lost_and_doubled_the_shares_of_the_arithmetic(oracle: Oracle) -> None:
    """With duplication d and loss l: (1 - d) l lost, d (1 - l)^2 doubled; Wilson at 0.1 %."""

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        passage = passages["duplicate and lose"]
        copies = Counter(passage.arrived)
        complaints = []
        for what, count, expected in (
            ("lost", sum(passage.lost()), 0.9 * 0.1),
            ("doubled", sum(1 for number in copies.values() if number == 2), 0.1 * 0.9**2),
        ):
            low, high = comparison.wilson(count, FRAMES)
            if not low <= expected <= high:
                complaints.append(f"{what}: between {low:.4%} and {high:.4%}, {expected:.4%} expected")
        return complaints

    oracle.confirm("duplicate and lose", check)


@pytest.mark.parametrize("side", ["kernel", "engine"])
def test_one_bit_anywhere(oracle: Oracle, side: str) -> None:
    """Exactly one bit flips; which octet (50 classes) and which bit of it: chi-square against evenness, 0.1 %."""
    case = oracle.cases["corrupt"]

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        passage = passages["corrupt"] if side == "kernel" else engine(case, seed)
        octets, bits = [0] * 50, [0] * 8
        for place, frame in passage.changed.items():
            flips = flipped(numbered.build(passage.arrived[place], case.octets), frame)
            if len(flips) != 1:
                return [f"{len(flips)} bits flipped"]
            octets[flips[0] // 8 * 50 // case.octets] += 1
            bits[flips[0] % 8] += 1
        chances = [comparison.evenness_chance(octets), comparison.evenness_chance(bits)]
        return [f"octets {octets}, bits {bits}: chances {chances}"] if min(chances) < LEVEL else []

    oracle.confirm("corrupt", check)


def flipped(before: bytes, after: bytes) -> list[int]:
    difference = int.from_bytes(before, "little") ^ int.from_bytes(after, "little")
    return [bit for bit in range(8 * len(before)) if difference >> bit & 1]


@pytest.mark.parametrize("name", REORDERS)
def test_reordering(oracle: Oracle, name: str) -> None:
    """Share of the frames that leave at once, and how they follow each other: 6,000 frames, 0.1 %."""

    def early(passage: Passage) -> list[bool]:
        delays = dict(zip(passage.arrived, passage.delays(), strict=True))
        return [delays[number] < DELAY // 2 for number in range(len(passage.sent))]

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        case = oracle.cases[name]
        endless = dataclasses.replace(case, impairment=dataclasses.replace(case.impairment, limit=ENGINE_FRAMES))
        here, there = early(passages[name]), early(engine(endless, seed))
        return shares_differ("early", here, there) + runs_differ("early", here, there)

    oracle.confirm(name, check)


def test_marks_instead_of_losses(oracle: Oracle) -> None:
    """With `ecn`, nothing is lost that may be marked. Marked frames are equal octet by octet, checksum included."""

    def marked(passage: Passage) -> list[bool]:
        there = {passage.arrived[place] for place in passage.changed}
        return [number in there for number in range(len(passage.sent))]

    case = oracle.cases["ecn"]
    kernel = oracle.passages()["ecn"]
    assert kernel.arrived == list(range(case.frames))
    for place, frame in kernel.changed.items():
        assert frame == mark(numbered.build(kernel.arrived[place], case.octets, ect=True))

    def check(passages: Mapping[str, Passage], seed: int) -> list[str]:
        return shares_differ("marked", marked(passages["ecn"]), marked(engine(case, seed)))

    oracle.confirm("ecn", check)


@pytest.mark.parametrize(
    ("kernel", "wrong"),
    [
        ("random", RandomLoss(chance=0.115)),
        ("gemodel", GilbertElliott(p=0.02, r=0.4, bad_loss=0.8, good_loss=0.01)),
        ("burst", RandomLoss(chance=0.05)),
        ("state", MarkovLoss(p13=0.02, p31=0.08, p32=0.1, p23=0.5, p14=0.01)),
        ("correlated", RandomLoss(chance=0.1)),
    ],
)
def test_the_comparison_sees_what_is_different(
    oracle: Oracle, kernel: str, wrong: RandomLoss | GilbertElliott | MarkovLoss
) -> None:
    """An engine with other numbers is found out."""
    here = oracle.passages()[kernel].lost()
    there = engine(Case(Impairment(loss=wrong), FRAMES), 42).lost()
    assert shares_differ("loss", here, there) + runs_differ("loss", here, there)
