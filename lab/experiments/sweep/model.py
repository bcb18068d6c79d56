"""The form of a sweep's file: an experiment, a grid of parameters, how often, and what to keep of it.

    experiment: throughput.yml
    grid:
      links.wire.impair.loss: [0.1%, 1%]
      rtt: {path: links.wire.impair.delay, from: 5ms, to: 80ms, steps: 5, scale: log}
    repeat: 5
    measure: {goodput: the goodput is that of the formula}

Here is what can be said of each key alone. What the names in a grid mean depends on the experiment: `load`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from lab.experiments.experiment import Parameter
from lab.model.errors import shown
from lab.model.names import wrong
from lab.model.quantities import GivenLongDuration
from nodes.units import SECOND

PATIENCE = 600 * SECOND
"""Of the wall clock, for a run of which the file says nothing: a run that hangs must not stop a night's work."""
MAX_REPEATS = 10_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def scalar_value(value: object) -> Parameter:
    if isinstance(value, bool | int | float | str):
        return value
    raise wrong(f"{shown(value)} stands here, a number, text, or true or false expected")


def _axis_form(value: object) -> object:
    """Short forms: a list of values, or one value."""
    if isinstance(value, list):
        return {"values": value}
    if isinstance(value, dict):
        return value
    raise wrong(
        f"{shown(value)} stands here, a list of values expected", "[0.1%, 1%], or {from: 1ms, to: 9ms, step: 1ms}"
    )


class Axis(_Model):
    """The values of one name: a list, or a range; `path` for a short name of what a topology has."""

    values: list[Any] | None = None
    begin: int | float | str | None = Field(default=None, alias="from")
    end: int | float | str | None = Field(default=None, alias="to")
    steps: int | None = Field(default=None, ge=2)
    step: int | float | str | None = None
    scale: Literal["linear", "log"] = "linear"
    path: str | list[str] | None = None

    @field_validator("values")
    @classmethod
    def _some(cls, values: list[Any]) -> list[Any]:
        if not values:
            raise wrong("no values", "at least one: [0.1%, 1%]")
        for value in values:
            scalar_value(value)
        return values

    @model_validator(mode="after")
    def _list_or_range(self) -> Axis:
        ends = self.model_fields_set & {"begin", "end", "steps", "step", "scale"}
        if self.values is not None and ends:
            raise wrong("a list of values, and a range", "one or the other")
        if self.values is None:
            if self.begin is None or self.end is None:
                raise wrong("no values", "values: [1, 2, 4], or from: 1, to: 4, steps: 3")
            if (self.steps is None) == (self.step is None):
                raise wrong("a range has 'steps' or 'step'", "{from: 1, to: 9, steps: 5}, or {from: 1, to: 9, step: 2}")
        return self

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else list(self.path or ())


class Measure(_Model):
    claim: str
    unit: str | None = None


def _measure_form(value: object) -> object:
    return {"claim": value} if isinstance(value, str) else value


AxisForm = Annotated[Axis, BeforeValidator(_axis_form)]
MeasureForm = Annotated[Measure, BeforeValidator(_measure_form)]


class SweepFile(_Model):
    """The whole file."""

    experiment: str
    grid: dict[str, AxisForm] = Field(default_factory=dict)
    cases: list[dict[str, Any]] = Field(default_factory=list)
    set: dict[str, Any] = Field(default_factory=dict)
    repeat: int = Field(default=1, ge=1, le=MAX_REPEATS)
    seed: int = Field(default=1, ge=0, lt=1 << 64)
    driver: Literal["netns", "docker", "mininet", "sim"] = "sim"
    measure: dict[str, MeasureForm] | list[str] = Field(default_factory=dict)
    timeout: GivenLongDuration = PATIENCE

    @field_validator("set")
    @classmethod
    def _plain(cls, values: dict[str, Any]) -> dict[str, Any]:
        for value in values.values():
            scalar_value(value)
        return values

    @field_validator("cases")
    @classmethod
    def _same_names(cls, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All say the same things, each something."""
        for number, case in enumerate(cases, 1):
            for value in case.values():
                scalar_value(value)
            if not case:
                raise wrong(f"case {number} sets nothing", "cases: [{buffer: 1000, delay: 5}]")
            if missing := sorted(cases[0].keys() - case.keys()) or sorted(case.keys() - cases[0].keys()):
                raise wrong(f"case {number} and case 1 do not both have {missing[0]!r}", "all cases set the same")
        return cases


MODELS: dict[str, type[BaseModel]] = {"grid": Axis, "measure": Measure}


def keys_at(place: list[str]) -> list[str]:
    """The keys that the mapping at a place of the file may have."""
    model = MODELS.get(place[0], SweepFile) if place else SweepFile
    return [field.alias or name for name, field in model.model_fields.items()]
