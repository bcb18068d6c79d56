"""Which frames are lost: netem's three models, and one in continuous time.

    random    each frame for itself
    state     Markov chain of four states; a frame is lost that takes the chain to 3 (in a burst) or 4 (alone):

                        p14           p13            p32
                  4 ◀────────▶ 1 ◀────────▶ 3 ◀────────▶ 2        4 always goes back to 1; 1, 2 and 3 may stay
                         1            p31            p23

    gemodel   Gilbert-Elliott: a good and a bad state, each with a chance to leave it (p, r) and one to lose a frame
    timed     the same two states, with stays of exponential length instead of chances per frame

netem's chains take a step with each frame, so a burst is a number of frames, and lasts shorter the faster they come.
Radio and congestion elsewhere are not like that: their bad times are times. `timed` has those, from a generator of its
own, so that the bad times are the same ones whatever the traffic.

The numbers drawn, their order and the comparisons are netem's, so equal seeds lose equal frames. It begins in the good
state, and so does each change of the link.
"""

from __future__ import annotations

import math
from typing import Protocol, assert_never

from nodes.impairment import GilbertElliott, Loss, MarkovLoss, RandomLoss, TimedGilbertElliott
from nodes.physical.tausworthe import Correlated, Tausworthe, effective_chance, scale

MAXIMUM_STAYS = 1000
"""Changes of state that are followed for one frame. After an idle time of more, the state is as likely as it is at any
time, and is drawn: an hour without frames costs no more than this."""


class LossProcess(Protocol):
    """Decides for each frame in turn. `now` in ns matters to continuous time alone."""

    def lost(self, now: int) -> bool:
        """Whether the frame that arrives now is lost."""


class RandomProcess:
    """Each frame for itself; with a correlation, hardly any (nodes.physical.tausworthe)."""

    __slots__ = ("_chance", "_draw")

    def __init__(self, loss: RandomLoss, random: Tausworthe) -> None:
        number = Correlated(loss.chance, loss.correlation, random)
        self._chance, self._draw = number.chance, number.draw

    def lost(self, now: int) -> bool:  # noqa: ARG002
        return self._chance >= self._draw()


class MarkovProcess:
    """Four states, one number per frame."""

    __slots__ = ("_draw", "_p13", "_p14", "_p23", "_p31", "_p32", "_state")

    def __init__(self, loss: MarkovLoss, random: Tausworthe) -> None:
        self._p13, self._p31, self._p32 = scale(loss.p13), scale(loss.p31), scale(loss.p32)
        self._p23, self._p14 = scale(loss.p23), scale(loss.p14)
        self._draw = random.draw
        self._state = 1

    def lost(self, now: int) -> bool:  # noqa: ARG002
        self._state = self._next(self._draw())
        return self._state > 2

    def _next(self, number: int) -> int:
        match self._state:
            case 1:
                return 4 if number < self._p14 else 3 if number < self._p14 + self._p13 else 1
            case 2:
                return 3 if number < self._p23 else 2
            case 3:
                return 2 if number < self._p32 else 1 if number < self._p32 + self._p31 else 3
            case _:
                return 1


class GilbertElliottProcess:
    """A frame steps the chain and then is lost by the state before that step: two numbers for each."""

    __slots__ = ("_bad", "_bad_kept", "_draw", "_good_lost", "_p", "_r")

    def __init__(self, loss: GilbertElliott, random: Tausworthe) -> None:
        self._p, self._r = scale(loss.p), scale(loss.r)
        self._good_lost = scale(loss.good_loss)
        self._bad_kept = scale(1.0) - scale(loss.bad_loss)
        self._draw = random.draw
        self._bad = False

    def lost(self, now: int) -> bool:  # noqa: ARG002
        if self._bad:
            self._bad = self._draw() >= self._r
            return self._draw() > self._bad_kept
        self._bad = self._draw() < self._p
        return self._draw() < self._good_lost


class TimedProcess:
    """Begins good, with its first frame. Raises ValueError for a stay of no length."""

    __slots__ = ("_bad", "_chances", "_lengths", "_losses", "_stays", "_until")

    def __init__(self, loss: TimedGilbertElliott, random: Tausworthe) -> None:
        if loss.good <= 0 or loss.bad <= 0:
            raise ValueError("timed loss needs mean stays longer than nothing in both states")
        self._stays = (loss.good, loss.bad)
        self._chances = (loss.good_loss, loss.bad_loss)
        self._lengths = random.sibling("timed loss: stays")
        self._losses = random.sibling("timed loss: frames")  # apart, or the frames would move the bad times
        self._bad = False
        self._until: int | None = None

    def lost(self, now: int) -> bool:
        self._go_on(now)
        chance = self._chances[self._bad]
        return chance >= 1 or (chance > 0 and self._losses.random() < chance)

    def _go_on(self, now: int) -> None:
        until = now + self._stay() if self._until is None else self._until
        for _ in range(MAXIMUM_STAYS):
            if now < until:
                break
            self._bad = not self._bad
            until += self._stay()
        else:
            self._bad = self._lengths.random() * sum(self._stays) < self._stays[True]
            until = now + self._stay()
        self._until = until

    def _stay(self) -> int:
        return round(self._lengths.expovariate(1 / self._stays[self._bad])) + 1


def make_loss(loss: Loss | None, random: Tausworthe) -> LossProcess | None:
    """None where nothing can be lost: netem draws no number then. Raises ValueError for a timed loss without stays."""
    match loss:
        case None:
            return None
        case RandomLoss():
            return RandomProcess(loss, random) if scale(loss.chance) else None
        case MarkovLoss():
            return MarkovProcess(loss, random)
        case GilbertElliott():
            return GilbertElliottProcess(loss, random)
        case TimedGilbertElliott():
            return TimedProcess(loss, random)
        case _:
            assert_never(loss)


def gilbert_elliott(loss: float, mean: float) -> GilbertElliott:
    """Losses of `loss` (share of the frames, between 0 and 1) in bursts of `mean` frames (at least 1): a bad state that
    loses all, left with the chance r = 1/mean, entered with p = loss r / (1 - loss). Raises ValueError for what no
    chances give."""
    if not 0 < loss < 1:
        raise ValueError(f"a loss of {loss:g} is not between 0 and 1")
    if not 1 <= mean < math.inf:
        raise ValueError(f"bursts of {mean:g} frames: at least 1 has to be lost, and not all")
    r = 1 / mean
    p = loss * r / (1 - loss)
    if p > 1:
        raise ValueError(f"a loss of {loss:g} needs bursts of at least {loss / (1 - loss):g} frames")
    return GilbertElliott(p=p, r=r)


def stationary_loss(loss: Loss | None) -> float:
    """The share of frames that is lost in the long run. With a correlation this is much less than the chance asked for;
    for `timed` it is the share of frames that come evenly spread."""
    match loss:
        case None:
            return 0.0
        case RandomLoss():
            return effective_chance(loss.chance, loss.correlation)
        case MarkovLoss():
            return _stationary_markov(loss)
        case GilbertElliott():
            return _weighed(loss.p, loss.r, loss.bad_loss, loss.good_loss)
        case TimedGilbertElliott():
            return _weighed(loss.bad, loss.good, loss.bad_loss, loss.good_loss)
        case _:
            assert_never(loss)


def _weighed(bad: float, good: float, bad_loss: float, good_loss: float) -> float:
    total = bad + good
    return (bad * bad_loss + good * good_loss) / total if total else good_loss


def _stationary_markov(loss: MarkovLoss) -> float:
    """How often the chain is in 3 or 4, from the flows between neighbors, which balance."""
    alone = loss.p14
    burst = min(loss.p13, 1 - loss.p14)  # what the comparisons leave of them
    end = min(loss.p31, 1 - loss.p32)
    if not burst:
        return alone / (1 + alone)
    if loss.p32 and not loss.p23:
        return 0.0  # 2 is never left
    received = loss.p32 / loss.p23 if loss.p32 else 0.0  # in 2, for each in 3
    lost = 1.0
    gap = end / burst  # in 1, for each in 3
    return (lost + gap * alone) / (lost + received + gap * (1 + alone))
