"""Models of loss: the kernel's decisions, and what they amount to."""

from __future__ import annotations

import hashlib
import itertools
import statistics

import pytest

from nodes.impairment import GilbertElliott, Loss, MarkovLoss, RandomLoss, TimedGilbertElliott
from nodes.physical.loss import MAXIMUM_STAYS, MarkovProcess, TimedProcess, gilbert_elliott, make_loss, stationary_loss
from nodes.physical.tausworthe import Tausworthe, scale
from nodes.units import MICROSECOND, MILLISECOND, SECOND

RANDOM = RandomLoss(chance=0.1)
ELLIOTT = GilbertElliott(p=0.02, r=0.20, bad_loss=0.80, good_loss=0.01)
MARKOV = MarkovLoss(p13=0.02, p31=0.20, p32=0.10, p23=0.50, p14=0.01)


def losses(loss: Loss, count: int, seed: int = 42, step: int = MILLISECOND) -> list[bool]:
    process = make_loss(loss, Tausworthe(seed))
    assert process is not None
    return [process.lost(index * step) for index in range(count)]


def bursts(lost: list[bool]) -> list[int]:
    """The lengths of the runs of losses."""
    return [len(list(run)) for is_lost, run in itertools.groupby(lost) if is_lost]


@pytest.mark.parametrize(
    ("loss", "count", "digest"),
    [
        (RANDOM, 472, "9db80f811b001ea2"),
        (ELLIOTT, 406, "a7ff0275d4202912"),
        (MARKOV, 482, "50899665bf23e437"),
    ],
)
def test_the_kernels_losses_for_seed_42(loss: Loss, count: int, digest: str) -> None:
    """5000 frames as octets of 0 and 1; the sequence is that of Linux 6.12."""
    lost = losses(loss, 5000)
    assert sum(lost) == count
    assert hashlib.sha256(bytes(lost)).hexdigest()[:16] == digest


def test_the_first_losses_of_seed_42() -> None:
    lost = losses(RANDOM, 60)
    assert [index for index, is_lost in enumerate(lost) if is_lost] == [13, 27, 37, 38, 39, 43, 49, 53]


def test_nothing_is_drawn_where_nothing_can_be_lost() -> None:
    assert make_loss(None, Tausworthe(1)) is None
    assert make_loss(RandomLoss(chance=0.0, correlation=0.5), Tausworthe(1)) is None
    assert make_loss(RandomLoss(chance=1e-11), Tausworthe(1)) is None


class Scripted(Tausworthe):
    """Gives the numbers of a script."""

    def __init__(self, chances: list[float]) -> None:
        super().__init__(0)
        self.draw = iter([scale(chance) for chance in chances]).__next__


def test_random_loss_includes_the_number_that_equals_its_chance() -> None:
    process = make_loss(RANDOM, Scripted([0.1, 0.1 + 1e-9]))
    assert process is not None
    assert [process.lost(0), process.lost(0)] == [True, False]


def test_markov_transitions() -> None:
    """One number for each frame, compared in the order of the kernel."""
    loss = MarkovLoss(p13=0.2, p31=0.3, p32=0.1, p23=0.4, p14=0.1)
    steps = [
        (0.31, 1, False),  # 1 stays
        (0.05, 4, True),  # 1 to 4
        (0.05, 1, False),  # 4 to 1, whatever the number
        (0.15, 3, True),  # 1 to 3
        (0.41, 3, True),  # 3 stays
        (0.05, 2, False),  # 3 to 2
        (0.41, 2, False),  # 2 stays
        (0.39, 3, True),  # 2 to 3
        (0.39, 1, False),  # 3 to 1
        (0.29, 3, True),  # 1 to 3
    ]
    process = MarkovProcess(loss, Scripted([number for number, _, _ in steps]))
    assert [process.lost(0) for _ in steps] == [lost for _, _, lost in steps]


def test_gilbert_elliott_loses_by_the_state_before_the_step() -> None:
    loss = GilbertElliott(p=0.2, r=0.3, bad_loss=0.8, good_loss=0.1)
    numbers = [
        (0.1, 0.5, False),  # to bad, but lost as in good
        (0.5, 0.1, False),  # bad stays; up to 1 - bad_loss frames are kept
        (0.5, 0.3, True),
        (0.2, 0.3, True),  # to good, lost as in bad
        (0.5, 0.05, True),  # good stays
        (0.5, 0.15, False),
    ]
    process = make_loss(loss, Scripted([number for step in numbers for number in step[:2]]))
    assert process is not None
    assert [process.lost(0) for _ in numbers] == [lost for _, _, lost in numbers]


@pytest.mark.parametrize(
    "loss",
    [
        RANDOM,
        RandomLoss(chance=0.25, correlation=0.25),
        ELLIOTT,
        MARKOV,
        MarkovLoss(p13=0.05, p31=0.5),
        MarkovLoss(p14=0.1),
        MarkovLoss(p13=0.9, p31=0.8, p32=0.3, p23=0.9, p14=0.3),
        MarkovLoss(p13=0.1, p31=0.9, p32=0.5, p23=0.5),
        MarkovLoss(p13=0.1, p31=0.1, p32=0.1, p23=0.0),
        MarkovLoss(p13=0.1, p31=0.0, p32=0.2, p23=0.4),
        MarkovLoss(p13=0.0, p14=0.0),
        GilbertElliott(p=0.0, r=0.0, good_loss=0.1),
        TimedGilbertElliott(good=90 * MILLISECOND, bad=10 * MILLISECOND, bad_loss=0.5, good_loss=0.01),
    ],
)
def test_stationary_loss_is_what_is_lost(loss: Loss) -> None:
    """50,000 frames after the chain's begin; four deviations of a share whose samples come in runs of ten at most."""
    expected = stationary_loss(loss)
    measured = statistics.fmean(losses(loss, 51_000, seed=0x1234_5678_9ABC)[1000:])
    assert measured == pytest.approx(expected, abs=4 * (10 * expected * (1 - expected) / 50_000) ** 0.5 + 0.0001)


def test_stationary_loss_of_gilbert_elliott() -> None:
    """[p(1-h) + r(1-k)] / (p + r)."""
    assert stationary_loss(ELLIOTT) == pytest.approx((0.02 * 0.8 + 0.2 * 0.01) / 0.22)
    assert stationary_loss(None) == 0
    assert stationary_loss(RandomLoss(chance=0.01, correlation=0.25)) == pytest.approx(2.4e-6, rel=0.05)


@pytest.mark.parametrize(
    ("loss", "mean", "p", "r"),
    [(0.01, 3, 0.00337, 0.333), (0.02, 8, 0.00255, 0.125), (0.002, 12, 0.000167, 0.0833), (0.005, 2, 0.00251, 0.5)],
)
def test_bursts_as_gilbert_elliott(loss: float, mean: float, p: float, r: float) -> None:
    """The presets."""
    translated = gilbert_elliott(loss, mean)
    assert (translated.p, translated.r) == (pytest.approx(p, rel=0.005), pytest.approx(r, rel=0.005))
    assert (translated.bad_loss, translated.good_loss) == (1, 0)
    assert stationary_loss(translated) == pytest.approx(loss)


def test_bursts_have_the_length_asked_for() -> None:
    lost = losses(gilbert_elliott(0.05, 4), 60_000, seed=9)
    lengths = bursts(lost)
    assert statistics.fmean(lengths) == pytest.approx(4, rel=0.1)
    assert statistics.fmean(lost) == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(
    ("loss", "mean", "message"),
    [
        (0.0, 3, "a loss of 0 is not between 0 and 1"),
        (1.0, 3, "a loss of 1 is not between 0 and 1"),
        (0.1, 0.5, "bursts of 0.5 frames: at least 1 has to be lost, and not all"),
        (0.8, 2, "a loss of 0.8 needs bursts of at least 4 frames"),
        (float("nan"), 2, "a loss of nan is not between 0 and 1"),
        (0.1, float("inf"), "bursts of inf frames: at least 1 has to be lost, and not all"),
        (0.1, float("nan"), "bursts of nan frames: at least 1 has to be lost, and not all"),
    ],
)
def test_bursts_that_are_not_possible(loss: float, mean: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        gilbert_elliott(loss, mean)


TIMED = TimedGilbertElliott(good=90 * MILLISECOND, bad=10 * MILLISECOND)


def test_timed_bursts_last_as_long_at_any_rate_of_frames() -> None:
    """At 0.1 ms and at 1 ms between frames, the bad times are the same ones, to the grain of the frames."""
    fine = losses(TIMED, 100_000, step=100 * MICROSECOND)
    coarse = losses(TIMED, 10_000, step=MILLISECOND)
    assert fine[::10] == coarse
    assert statistics.fmean(bursts(fine)) == pytest.approx(100, rel=0.25)


def test_losses_in_a_state_do_not_move_the_bad_times() -> None:
    partial = TimedGilbertElliott(good=TIMED.good, bad=TIMED.bad, bad_loss=0.5)
    everything, some = losses(TIMED, 5000), losses(partial, 5000)
    assert all(all_lost or not lost for all_lost, lost in zip(everything, some, strict=True))
    assert 0.3 < sum(some) / sum(everything) < 0.7


def test_timed_loss_leaves_netems_numbers_alone() -> None:
    generator = Tausworthe(42)
    process = make_loss(TIMED, generator)
    assert process is not None
    for index in range(100):
        process.lost(index * MILLISECOND)
    assert generator() == Tausworthe(42)()


def test_a_long_idle_time_costs_a_bounded_number_of_stays() -> None:
    process = TimedProcess(TimedGilbertElliott(good=100, bad=100), generator := Tausworthe(3))
    stays = 0
    exponential = generator.sibling("timed loss: stays").expovariate

    def counted(rate: float) -> float:
        nonlocal stays
        stays += 1
        return exponential(rate)

    generator.sibling("timed loss: stays").expovariate = counted  # type: ignore[method-assign]
    states = []
    for index in range(200):
        before = stays
        states.append(process.lost(index * 3600 * SECOND))
        assert stays - before <= MAXIMUM_STAYS + 1
    assert 60 < sum(states) < 140


@pytest.mark.parametrize("loss", [TimedGilbertElliott(), TimedGilbertElliott(good=1), TimedGilbertElliott(bad=1)])
def test_timed_loss_needs_stays(loss: TimedGilbertElliott) -> None:
    with pytest.raises(ValueError, match="stays longer than nothing"):
        make_loss(loss, Tausworthe(1))
