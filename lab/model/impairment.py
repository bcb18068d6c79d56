"""What a link does to frames, as a person writes it: the keys of `impair`.

    impair: {delay: 20ms 5ms normal, loss: 1%, rate: 10mbit}

Each key says something of the link; those that are not written leave it as `defaults`, the link, or the running lab
have it. The word `none` turns a key off. `patch` gives what was written as fields of `nodes.impairment.Impairment`,
and patches are merged in order: of the defaults, of the link, of one direction, of the schedule, of `lab impair`.

Here each value is checked for itself. What does not go together can only be told of the merged whole: that is lint's.
"""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Field, PlainValidator, ValidationInfo, WrapValidator, field_validator
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from lab.model import impairment_parts, impairment_queues
from lab.model.impairment_faults import FaultsField
from lab.model.impairment_files import read_trace
from lab.model.impairment_parts import (
    Bucket,
    Burst,
    Chance,
    DistributionField,
    LossField,
    RateField,
    chance_field,
    distribution,
    words,
)
from lab.model.impairment_queues import QueueField, SlotField
from lab.model.names import LinkEnd, wrong
from lab.model.quantities import NONE, Correlation, Count, Duration, NoneOr, Strict, correlation, duration, size
from nodes.impairment import NOTHING, Distribution, DropTail, Impairment, Patch, RateTrace, merged


class Delay(NamedTuple):
    """`TIME [JITTER [CORRELATION]] [DISTRIBUTION]`, tc's order; None is not written."""

    time: int
    jitter: int | None = None
    correlation: float | None = None
    distribution: Distribution | None = None


def _delay(value: Any, info: ValidationInfo) -> Delay | None:
    if value == NONE:
        return None
    if isinstance(value, dict):
        raise wrong("a mapping stands here, a time such as 20ms expected", "delay: 20ms and jitter: 5ms are two keys")
    given = words(value) if isinstance(value, str) else [value]
    named = given.pop() if len(given) > 1 and not given[-1][0].isdigit() else None
    if not 1 <= len(given) <= 3:
        raise wrong(f"{value!r} is not a delay", "20ms, or 20ms 5ms, or 20ms 5ms normal")
    time, *rest = given
    return Delay(
        duration(time),
        duration(rest[0]) if rest else None,
        correlation(rest[1]) if rest[1:] else None,
        distribution(named, info) if named else None,
    )


class Limit(NamedTuple):
    """Of packets, or of octets."""

    packets: int = 0
    octets: int = 0


def _limit(value: Any) -> Limit | None:
    if value == NONE:
        return None
    if isinstance(value, str) and not value.isdecimal():
        return Limit(octets=size(value))
    packets = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    if not 1 <= packets < 1 << 32:
        raise wrong(f"{value!r} is not a limit", "a number of packets, such as 1000; or of octets, such as 100kB")
    return Limit(packets)


def _trace(value: Any, info: ValidationInfo) -> RateTrace | None:
    if value == NONE:
        return None
    if not isinstance(value, str):
        raise wrong("a trace is the name of a file", "in Mahimahi's format: a millisecond on each line")
    return read_trace(value, info)


class Impair(Strict):
    """What a link does to frames, in both directions."""

    delay: Annotated[Delay | None, PlainValidator(_delay, json_schema_input_type=str | int)] = Field(
        default=None, description="Time on the way: `20ms`, `20ms 5ms`, `20ms 5ms normal`"
    )
    jitter: Duration = Field(default=None, description="Variation of the delay")
    distribution: DistributionField = Field(
        default=None, description="Of the jitter: uniform, normal, pareto, paretonormal, or a file *.dist"
    )
    delay_correlation: Correlation = Field(default=None, description="netem's; hardly does anything")
    steadiness: Correlation = Field(default=None, description="Correlation of successive delays, a real one")
    loss: LossField = Field(default=None, description="Share of frames, or a model")
    burst: Annotated[Burst | None, NoneOr] = Field(default=None, description="Losses in bursts, instead of `loss`")
    ecn: bool | None = Field(default=None, description="Mark frames that can be marked instead of losing them")
    corrupt: Annotated[Chance | None, chance_field("corrupt")] = Field(
        default=None, description="Turn a bit of a frame"
    )
    duplicate: Annotated[Chance | None, chance_field("duplicate")] = Field(default=None, description="Deliver it twice")
    reorder: Annotated[Chance | None, chance_field("reorder")] = Field(
        default=None, description="Send it without delay"
    )
    gap: Annotated[Count | None, NoneOr] = Field(default=None, description="Only each n-th frame is reordered")
    rate: RateField = Field(default=None, description="bit/s, and what each frame costs beside its octets")
    slot: SlotField = Field(default=None, description="Frames leave in bursts, at these times")
    limit: Annotated[Limit | None, PlainValidator(_limit, json_schema_input_type=str | int)] = Field(
        default=None, description="Packets inside at most; or octets that wait for the rate"
    )
    queue: QueueField = Field(default=None, description="Discipline of the frames that wait for the rate")
    bucket: Annotated[Bucket | None, NoneOr] = Field(default=None, description="Token bucket, instead of a rate")
    trace: Annotated[RateTrace | None, PlainValidator(_trace, json_schema_input_type=str)] = Field(
        default=None, description="File of a rate that varies, in Mahimahi's format"
    )
    faults: FaultsField = Field(default=None, description="What is done to certain frames")
    seed: Annotated[Annotated[int, Field(ge=0, lt=1 << 64)] | None, NoneOr] = Field(
        default=None, description="Start of its random choices; chosen from the lab's where it is left out"
    )

    @field_validator("jitter", "distribution", "delay_correlation", mode="after")
    @classmethod
    def _not_twice(cls, value: Any, info: ValidationInfo) -> Any:
        """`delay: 20ms 5ms` says the jitter already."""
        part = {"delay_correlation": "correlation"}.get(str(info.field_name), str(info.field_name))
        delay = info.data.get("delay")
        if isinstance(delay, Delay) and getattr(delay, part) is not None:
            raise wrong(f"{info.field_name!r} is given twice", "'delay' has it already")
        return value

    @field_validator("burst", "queue", mode="after")
    @classmethod
    def _not_beside(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "burst" and info.data.get("loss") is not None:
            raise wrong("'burst' and 'loss' are two losses", "leave one out")
        limit = info.data.get("limit")
        if info.field_name == "queue" and isinstance(limit, Limit) and limit.octets:
            raise wrong("a limit of octets is a queue, drop_tail, and here is another", "give the limit to the queue")
        return value

    def patch(self) -> dict[str, object]:
        """The fields of an Impairment that the file has."""
        fields: dict[str, object] = {}
        for key in type(self).model_fields:
            if key in self.model_fields_set and key in FIELDS_OF:
                value = getattr(self, key)
                fields |= _cleared(key) if value is None else _FIELDS.get(key, _same)(key, value)
        return fields


FIELDS_OF: dict[str, tuple[str, ...]] = {
    "delay": ("delay",),
    "jitter": ("jitter",),
    "distribution": ("distribution",),
    "delay_correlation": ("delay_correlation",),
    "steadiness": ("steadiness",),
    "loss": ("loss",),
    "burst": ("loss",),
    "ecn": ("ecn",),
    "corrupt": ("corrupt", "corrupt_correlation"),
    "duplicate": ("duplicate", "duplicate_correlation"),
    "reorder": ("reorder", "reorder_correlation"),
    "gap": ("gap",),
    "rate": ("rate", "overhead", "cell", "cell_overhead"),
    "slot": ("slot",),
    "limit": ("limit",),
    "queue": ("queue",),
    "bucket": ("bucket",),
    "trace": ("trace",),
    "faults": ("faults",),
    "seed": ("seed",),
}
"""The fields of an Impairment that `none` resets, by the key that writes them."""


def _cleared(key: str) -> dict[str, object]:
    return {field: getattr(NOTHING, field) for field in FIELDS_OF[key]}


def _same(key: str, value: Any) -> dict[str, object]:
    return {key: value}


def _of_delay(_: str, value: Delay) -> dict[str, object]:
    parts = {
        "delay": value.time,
        "jitter": value.jitter,
        "delay_correlation": value.correlation,
        "distribution": value.distribution,
    }
    return {name: part for name, part in parts.items() if part is not None}


def _of_limit(_: str, value: Limit) -> dict[str, object]:
    return {"queue": DropTail(octets=value.octets)} if value.octets else {"limit": value.packets}


_FIELDS: dict[str, Any] = {
    "delay": _of_delay,
    "limit": _of_limit,
    "rate": lambda _, value: value.fields(),
    "faults": lambda _, value: {"faults": tuple(fault.value() for fault in value)},
    **dict.fromkeys(
        ("loss", "burst", "slot", "queue", "bucket"), lambda key, value: {FIELDS_OF[key][0]: value.value()}
    ),
    **dict.fromkeys(
        ("corrupt", "duplicate", "reorder"),
        lambda key, value: {key: value.chance, f"{key}_correlation": value.correlation},
    ),
}


def impairment_of(*patches: Patch) -> Impairment:
    """The whole that patches make, in their order."""
    return functools.reduce(merged, patches, NOTHING)


# Of a link: also by direction, and nothing at all


class LinkImpair(Impair):
    """Of a link: both directions, and what differs in one."""

    from_: dict[LinkEnd, Impair] = Field(default_factory=dict, alias="from", description="By the end that sends")


class NoImpair(LinkImpair):
    """`impair: false`: nothing, and not what came before either."""


def _false_is_nothing(value: Any, validate: ValidatorFunctionWrapHandler) -> LinkImpair:
    made: LinkImpair = NoImpair() if value is False else validate(value)
    return made


LinkImpairField: TypeAlias = Annotated[
    LinkImpair | None, WrapValidator(_false_is_nothing, json_schema_input_type=LinkImpair | Literal[False] | None)
]

PARTS: dict[str, type[Strict]] = {**impairment_parts.PARTS, **impairment_queues.PARTS, "impair": Impair}
"""What stands below a key, for hints to keys that are unknown."""
