"""The parts of an impairment that are mappings themselves: losses, chances, rates, buckets.

Each class is what stands in the file, long form; `value()` makes of it what `nodes.impairment` has. Short forms, among
them the texts that tc(8) takes, become long ones before their keys are checked:

    loss: 1% 25%             ->  loss: {random: 1%, correlation: 25%}
    loss: gemodel 1% 10%     ->  loss: {gemodel: {p: 1%, r: 10%}}
    corrupt: 0.1% 25%        ->  corrupt: {chance: 0.1%, correlation: 25%}
    rate: 10mbit 24 48 5     ->  rate: {rate: 10mbit, overhead: 24, cell: 48, cell_overhead: 5}
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from lab.model.errors import did_you_mean
from lab.model.impairment_files import read_distribution
from lab.model.names import wrong
from lab.model.quantities import (
    NONE,
    GivenCorrelation,
    GivenLongDuration,
    GivenRate,
    GivenShare,
    GivenSize,
    Rate,
    Share,
    Strict,
    none_word,
)
from nodes.impairment import (
    Distribution,
    GilbertElliott,
    MarkovLoss,
    RandomLoss,
    TimedGilbertElliott,
    TokenBucket,
)
from nodes.impairment import Loss as LossValue
from nodes.physical.loss import gilbert_elliott
from nodes.quantities import format_share

DISTRIBUTIONS = ("uniform", "normal", "pareto", "paretonormal")
_GAP_BEFORE_UNIT = re.compile(r"(?<=\d)\s+(?=[a-zA-Zµ%])")


def words(text: str) -> list[str]:
    """The words of a short form; a unit belongs to the number before it."""
    return _GAP_BEFORE_UNIT.sub("", text).split()


def short_form(name: str, keys: tuple[str, ...]) -> Callable[[Any], Any]:
    """A validator that makes a mapping of words in tc's order; `name` is what it describes, for messages."""

    def expand(value: Any) -> Any:
        value = none_word(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {keys[0]: value}
        return _by_name(name, keys, words(value)) if isinstance(value, str) else value

    return expand


def _by_name(name: str, keys: tuple[str, ...], given: list[str]) -> dict[str, Any]:
    if len(given) > len(keys):
        raise wrong(f"{name} has at most {len(keys)} values, {len(given)} given", " ".join(keys).upper())
    return {
        key: int(word) if re.fullmatch(r"-?\d{1,9}", word) else word for key, word in zip(keys, given, strict=False)
    }


# Distributions of the jitter


def distribution(value: Any, info: ValidationInfo) -> Distribution:
    if value in DISTRIBUTIONS:
        return Distribution(value)
    if not isinstance(value, str) or not value.endswith(".dist"):
        hint = did_you_mean(str(value), [*DISTRIBUTIONS, "FILE.dist"])
        raise wrong(f"there is no distribution {value!r}", hint)
    return Distribution("table", read_distribution(value, info))


def _distribution_or_none(value: Any, info: ValidationInfo) -> Distribution | None:
    return None if value == NONE else distribution(value, info)


DistributionField: TypeAlias = Annotated[
    Distribution | None, PlainValidator(_distribution_or_none, json_schema_input_type=str)
]


# Chances: corrupt, duplicate, reorder


class Chance(Strict):
    """Short form: the chance, or `CHANCE CORRELATION`."""

    chance: GivenShare = Field(description="Of each frame")
    correlation: GivenCorrelation = Field(default=0.0, description="netem's, which makes it rarer")


def chance_field(name: str) -> BeforeValidator:
    return BeforeValidator(short_form(name, ("chance", "correlation")), json_schema_input_type=Chance | str | int)


# Losses


class Markov(Strict):
    """netem's `state`: chances of the transitions between 1 (gap), 2 (received in a burst), 3 (lost in a burst) and
    4 (lost alone)."""

    p13: GivenShare = Field(description="From gap to burst")
    p31: Share = Field(default=None, description="From burst to gap; 100% less p13 where it is left out")
    p32: GivenShare = Field(default=0.0, description="From lost to received in a burst")
    p23: GivenShare = Field(default=1.0, description="From received to lost in a burst")
    p14: GivenShare = Field(default=0.0, description="A single loss in a gap")

    @model_validator(mode="after")
    def _check_sums(self) -> Markov:
        for first, second in (("p13", "p14"), ("p31", "p32")):
            together = getattr(self.value(), first) + getattr(self.value(), second)
            if together > 1 + 1e-9:
                message = f"{first} and {second} leave the same state, and are {format_share(together)} together"
                raise wrong(message, "at most 100%")
        return self

    def value(self) -> MarkovLoss:
        p31 = 1 - self.p13 if self.p31 is None else self.p31
        return MarkovLoss(p13=self.p13, p31=p31, p32=self.p32, p23=self.p23, p14=self.p14)


class Gemodel(Strict):
    """Gilbert-Elliott: chances per frame to turn bad and to turn good, and the losses in both states."""

    p: GivenShare = Field(description="From good to bad, for each frame")
    r: Share = Field(default=None, description="From bad to good; 100% less p where it is left out")
    bad_loss: GivenShare = Field(default=1.0, description="Loss in the bad state: 1-h")
    good_loss: GivenShare = Field(default=0.0, description="Loss in the good state: 1-k")

    def value(self) -> GilbertElliott:
        r = 1 - self.p if self.r is None else self.r
        return GilbertElliott(p=self.p, r=r, bad_loss=self.bad_loss, good_loss=self.good_loss)


class Timed(Strict):
    """Gilbert-Elliott in time: mean stays in both states, whatever the rate of frames."""

    good: GivenLongDuration = Field(description="Mean time between bad times")
    bad: GivenLongDuration = Field(description="Mean length of a bad time")
    bad_loss: GivenShare = Field(default=1.0, description="Loss in the bad state")
    good_loss: GivenShare = Field(default=0.0, description="Loss in the good state")

    def value(self) -> TimedGilbertElliott:
        return TimedGilbertElliott(good=self.good, bad=self.bad, bad_loss=self.bad_loss, good_loss=self.good_loss)


_TC_LOSS = {"state": ("p13", "p31", "p32", "p23", "p14"), "gemodel": ("p", "r", "bad_loss", "good_loss")}


def _loss_form(value: Any) -> Any:
    value = none_word(value)
    first, *rest = words(value) if isinstance(value, str) and value else [""]
    if first in _TC_LOSS:
        return {first: _by_name(f"loss {first}", _TC_LOSS[first], rest)}
    if first == "random":
        value = " ".join(rest)
    return None if value is None else short_form("a random loss", ("random", "correlation"))(value)


class Loss(Strict):
    """One of the models. Short forms: `1%`, and tc's `1% 25%`, `state 1% 10%`, `gemodel 1% 10%`."""

    random: Share = Field(default=None, description="Chance of each frame for itself")
    correlation: GivenCorrelation = Field(default=0.0, description="netem's, of `random`; makes losses rarer")
    state: Markov | None = Field(default=None, description="Markov chain of four states")
    gemodel: Gemodel | None = Field(default=None, description="Gilbert-Elliott, per frame")
    timed: Timed | None = Field(default=None, description="Gilbert-Elliott, in time")

    @model_validator(mode="after")
    def _check_one(self) -> Loss:
        given = [name for name in ("random", "state", "gemodel", "timed") if getattr(self, name) is not None]
        if len(given) != 1:
            message = f"a loss has one model, here are {' and '.join(given)}" if given else "a loss needs a model"
            raise wrong(message, "loss: 1%, or one of random, state, gemodel, timed")
        if self.correlation and self.random is None:
            raise wrong(f"the correlation belongs to 'random', not to {given[0]!r}", f"{given[0]} makes bursts itself")
        return self

    def value(self) -> LossValue | None:
        model = self.state or self.gemodel or self.timed
        if model is not None:
            return model.value()
        return RandomLoss(chance=self.random, correlation=self.correlation) if self.random else None


LossField: TypeAlias = Annotated[Loss | None, BeforeValidator(_loss_form, json_schema_input_type=Loss | str | int)]


class Burst(Strict):
    """Losses in bursts, by the two numbers that a person knows; becomes a Gilbert-Elliott loss."""

    loss: GivenShare = Field(description="Of all frames, on average")
    mean: float = Field(ge=1, le=1_000_000, description="Frames lost in a row, on average")

    @model_validator(mode="after")
    def _check_possible(self) -> Burst:
        """Good frames part the bursts, so many losses need long ones."""
        if self.loss == 1:
            raise wrong("a loss of 100% has no bursts", "loss: 100%")
        try:
            self.value()
        except ValueError:
            least = math.ceil(self.loss / (1 - self.loss) * 10) / 10
            asked = f"a loss of {format_share(self.loss)} in bursts of {self.mean:g}"
            raise wrong(f"{asked} leaves no frames between the bursts", f"mean: {least:g} or more") from None
        return self

    def value(self) -> GilbertElliott | None:
        return gilbert_elliott(self.loss, self.mean) if self.loss else None


# Rates


class RateParts(Strict):
    """Short form: the rate, or tc's `RATE OVERHEAD CELL CELL_OVERHEAD`. What is not written stays as it is."""

    rate: GivenRate = Field(description="bit/s")
    overhead: Annotated[int, Field(ge=-1500, le=1500)] | None = Field(
        default=None, description="Octets that each frame is longer on the line; may be negative"
    )
    cell: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="Octets of a cell: a frame takes whole ones"
    )
    cell_overhead: Annotated[int, Field(ge=-1500, le=1500)] | None = Field(
        default=None, description="Octets that each cell is longer"
    )

    def fields(self) -> dict[str, object]:
        return self.model_dump(exclude_none=True)


RateField: TypeAlias = Annotated[
    RateParts | None,
    BeforeValidator(
        short_form("a rate", ("rate", "overhead", "cell", "cell_overhead")),
        json_schema_input_type=RateParts | str | int,
    ),
]


class Bucket(Strict):
    """A token bucket: `rate` on average, `burst` octets at once."""

    rate: GivenRate = Field(description="bit/s on average")
    burst: GivenSize = Field(description="Octets at once; at least a frame")
    peak: Rate = Field(default=None, description="No faster than this even within a burst")

    @model_validator(mode="after")
    def _check_peak(self) -> Bucket:
        if self.peak is not None and self.peak <= self.rate:
            raise wrong("the peak rate of the bucket is not above its rate", "without 'peak' a burst goes at any speed")
        return self

    def value(self) -> TokenBucket:
        return TokenBucket(rate=self.rate, burst=self.burst, peak=self.peak or 0)


PARTS: dict[str, type[Strict]] = {
    "corrupt": Chance,
    "duplicate": Chance,
    "reorder": Chance,
    "loss": Loss,
    "state": Markov,
    "gemodel": Gemodel,
    "timed": Timed,
    "burst": Burst,
    "rate": RateParts,
    "bucket": Bucket,
}
"""What stands below a key, for hints to keys that are unknown."""
