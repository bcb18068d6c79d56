"""Queue disciplines and slots: what a frame waits for before it flies, and in what company.

A queue is its name, or its name with settings; what is not written is as its RFC recommends:

    queue: codel             ->  queue: {codel: {}}
    limit: 100kB             ->  queue: {drop_tail: {octets: 100kB}}
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lab.model.errors import did_you_mean
from lab.model.impairment_parts import DistributionField
from lab.model.names import wrong
from lab.model.quantities import (
    Count,
    Duration,
    GivenLongDuration,
    GivenShare,
    LongDuration,
    Size,
    Strict,
    none_word,
)
from nodes import impairment as values
from nodes.impairment import Slot as SlotValue
from nodes.quantities import format_duration
from nodes.units import MILLISECOND

SHORTEST_UPDATE = MILLISECOND
"""Each update is an event, also where no frame comes; RFC 8033 recommends 15 ms."""


class _Settings(Strict):
    def written(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class DropTail(_Settings):
    """First in, first out."""

    packets: Count | None = Field(default=None, description="Packets that may wait")
    octets: Size = Field(default=None, description="Octets that may wait")


class Red(_Settings):
    """Random Early Detection (Floyd and Jacobson 1993)."""

    minimum: Size = Field(default=None, description="Average length below which nothing is dropped")
    maximum: Size = Field(default=None, description="Average length from which everything is")
    octets: Size = Field(default=None, description="Octets that may wait at all")
    chance: GivenShare | None = Field(default=None, description="Of a drop where the average reaches `maximum`")
    weight: GivenShare | None = Field(default=None, description="Of each packet in the average")
    ecn: bool | None = Field(default=None, description="Mark instead of drop")

    @model_validator(mode="after")
    def _check_order(self) -> Red:
        """Written thresholds must be in order: minimum < maximum <= octets."""
        given = [(name, getattr(self, name)) for name in ("minimum", "maximum", "octets")]
        steps = [(name, value) for name, value in given if value is not None]
        for (lower, low), (upper, high) in pairwise(steps):
            if low > high or (low == high and upper != "octets"):
                raise wrong(f"{lower} of the queue is not below {upper}", "minimum < maximum <= octets")
        return self


class Codel(_Settings):
    """RFC 8289."""

    target: GivenLongDuration | None = Field(default=None, description="Waiting time that may stand")
    interval: GivenLongDuration | None = Field(default=None, description="How long it may stand; a slow round trip")
    packets: Count | None = Field(default=None, description="Packets that may wait at all")
    ecn: bool | None = Field(default=None, description="Mark instead of drop")


class FqCodel(Codel):
    """RFC 8290."""

    flows: Annotated[int, Field(ge=1, le=65536)] | None = Field(default=None, description="Queues that flows share")
    quantum: Count | None = Field(default=None, description="Octets that a flow sends before the next one's turn")
    octets: Size = Field(default=None, description="Octets that may wait at all")


def _not_all_the_time(update: int) -> int:
    if update < SHORTEST_UPDATE:
        raise wrong(
            f"{format_duration(update)} between updates is too short", f"{format_duration(SHORTEST_UPDATE)} or more"
        )
    return update


class Pie(_Settings):
    """RFC 8033."""

    target: GivenLongDuration | None = Field(default=None, description="Waiting time to keep")
    update: Annotated[GivenLongDuration, AfterValidator(_not_all_the_time)] | None = Field(
        default=None, description="Time between looks at the queue"
    )
    packets: Count | None = Field(default=None, description="Packets that may wait at all")
    alpha: Annotated[float, Field(gt=0, le=100)] | None = Field(default=None, description="Weight of the error")
    beta: Annotated[float, Field(gt=0, le=100)] | None = Field(default=None, description="Weight of its change")
    ecn: bool | None = Field(default=None, description="Mark instead of drop")


_VALUES: dict[str, Any] = {
    "drop_tail": values.DropTail,
    "red": values.Red,
    "codel": values.Codel,
    "fq_codel": values.FqCodel,
    "pie": values.Pie,
}


def _queue_form(value: Any) -> Any:
    value = none_word(value)
    if isinstance(value, str):
        if value not in _VALUES:
            raise wrong(f"there is no queue discipline {value!r}", did_you_mean(value, list(_VALUES)))
        return {value: {}}
    if isinstance(value, dict):
        return {name: {} if settings is None else settings for name, settings in value.items()}
    return value


class Queue(Strict):
    """One discipline with its settings. Short form: its name."""

    drop_tail: DropTail | None = Field(default=None, description="First in, first out")
    red: Red | None = Field(default=None, description="Random Early Detection")
    codel: Codel | None = Field(default=None, description="CoDel, RFC 8289")
    fq_codel: FqCodel | None = Field(default=None, description="FQ-CoDel, RFC 8290")
    pie: Pie | None = Field(default=None, description="PIE, RFC 8033")

    @model_validator(mode="after")
    def _check_one(self) -> Queue:
        if len(self._given()) != 1:
            raise wrong(f"a queue has one discipline, {len(self._given())} given", f"one of: {', '.join(_VALUES)}")
        return self

    def _given(self) -> list[str]:
        return [name for name in _VALUES if getattr(self, name) is not None]

    def value(self) -> values.Queue:
        (name,) = self._given()
        settings: _Settings = getattr(self, name)
        made: values.Queue = _VALUES[name](**settings.written())
        return made


QueueField: TypeAlias = Annotated[Queue | None, BeforeValidator(_queue_form, json_schema_input_type=Queue | str)]


class Slot(Strict):
    """Frames leave in bursts, when a slot opens: `every` 10 ms, or `minimum` to `maximum` after the last, or after a
    time of a `distribution`. Short form: the time."""

    every: LongDuration = Field(default=None, description="Time from slot to slot")
    minimum: LongDuration = Field(default=None, description="Shortest time to the next slot")
    maximum: LongDuration = Field(default=None, description="Longest time to the next slot")
    packets: Count | None = Field(default=None, description="Frames that leave in one slot, at most")
    octets: Size = Field(default=None, description="Octets that leave in one slot, at most")
    distribution: DistributionField = Field(default=None, description="Of the time to the next slot")
    delay: Duration = Field(default=None, description="Mean time to the next slot, with a distribution")
    jitter: Duration = Field(default=None, description="Its variation, with a distribution")

    @model_validator(mode="after")
    def _check_times(self) -> Slot:
        ways = {"every": self.every, "minimum": self.minimum, "delay": self.delay}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            message = " and ".join(given) + " each say when slots open" if given else "nothing says when slots open"
            raise wrong(message, "every: 10ms; or minimum and maximum; or distribution, delay and jitter")
        if self.maximum is not None and (self.minimum is None or self.maximum < self.minimum):
            raise wrong("maximum of the slots is below their minimum", "minimum: 5ms, maximum: 10ms")
        if (self.distribution is None) != (self.delay is None) or (self.jitter is not None and self.delay is None):
            hint = "distribution: normal, delay: 10ms, jitter: 2ms"
            raise wrong("slots by a distribution need it and its delay", hint)
        return self

    def value(self) -> SlotValue:
        shortest = self.every or self.minimum or 0
        return SlotValue(
            minimum=shortest,
            maximum=self.maximum or shortest,
            packets=self.packets or 0,
            octets=self.octets or 0,
            distribution=self.distribution,
            delay=self.delay or 0,
            jitter=self.jitter or 0,
        )


def _slot_form(value: Any) -> Any:
    value = none_word(value)
    return value if value is None or isinstance(value, dict) else {"every": value}


SlotField: TypeAlias = Annotated[Slot | None, BeforeValidator(_slot_form, json_schema_input_type=Slot | str)]


PARTS: dict[str, type[Strict]] = {
    "queue": Queue,
    "drop_tail": DropTail,
    "red": Red,
    "codel": Codel,
    "fq_codel": FqCodel,
    "pie": Pie,
    "slot": Slot,
}
"""As in `impairment_parts`."""
