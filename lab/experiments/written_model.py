"""The form of an experiment that is written in YAML: a topology, a timeline of actions, expectations.

    experiment: lost-syn
    claim: A lost SYN costs a second.
    topology: {nodes: {a: host, b: host}, links: [{ends: [a, b], impair: {delay: 10ms}}]}
    parameters: {octets: 1000}
    timeline:
      - start: {node: b, application: tcp_sink, port: 9000}
      - at: 1s
        run: {node: a, application: tcp_source, to: b, port: 9000, size: $octets, as: transfer}
    expect:
      - claim: it takes two round trips
        result: {of: transfer, field: seconds}
        is: 40ms +- 20%

Models are as strict as those of topologies: what they do not know, they refuse.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator, model_validator

from lab.engine.event_names import check_pattern
from lab.errors import UserInputError
from lab.experiments.bounds import Bound, parse_bound
from lab.experiments.experiment import Parameter
from lab.model.errors import did_you_mean
from lab.model.names import NodeName, wrong
from lab.model.quantities import GivenDuration
from nodes.application.catalogue import APPLICATIONS
from nodes.trace.catalogue import EVENTS
from nodes.units import SECOND


def _event(name: object) -> str:
    if not isinstance(name, str) or ("*" not in name and name not in EVENTS):
        raise wrong(f"there is no event {str(name)!r}", did_you_mean(str(name), sorted(EVENTS)))
    return name


def _application(kind: object) -> str:
    if kind not in APPLICATIONS:
        raise wrong(f"there is no application {str(kind)!r}", did_you_mean(str(kind), sorted(APPLICATIONS)))
    return str(kind)


def _bound(value: object) -> Bound:
    try:
        return parse_bound(value)
    except ValueError as error:
        raise wrong(str(error), "write 3, >= 1, < 200ms, 1..3, or 100ms +- 10%") from None


EventName = Annotated[str, PlainValidator(_event)]
ApplicationName = Annotated[str, PlainValidator(_application)]
BoundField = Annotated[Bound, PlainValidator(_bound)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, populate_by_name=False)


class Program(BaseModel):
    """An application in a node: its options stand beside these keys."""

    model_config = ConfigDict(extra="allow", strict=True)
    node: NodeName
    application: ApplicationName
    name: str | None = Field(default=None, alias="as")

    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Cable(_Model):
    name: str
    set: Literal["up", "down"] | None = None
    mtu: int | None = Field(default=None, ge=68)


class Happening(_Model):
    """An event, of a node, with these fields."""

    event: EventName
    node: NodeName | None = None
    fields: dict[str, Any] = Field(default_factory=dict, alias="with")
    within: GivenDuration | None = None

    @model_validator(mode="after")
    def _known_fields(self) -> Happening:
        try:
            check_pattern(self.event, self.fields)
        except UserInputError as error:
            raise wrong(error.message, error.hint) from None
        return self


class Impairing(BaseModel):
    """A link and the settings that `lab impair` knows."""

    model_config = ConfigDict(extra="allow", strict=True)
    link: str
    sender: NodeName | None = Field(default=None, alias="from")

    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Step(_Model):
    """One action of the timeline, at a time or after the one before."""

    at: GivenDuration | None = None
    start: Program | None = None
    run: Program | None = None
    sleep: GivenDuration | None = None
    until: Happening | None = None
    link: Cable | None = None
    impair: Impairing | None = None
    kill: NodeName | None = None
    restart: NodeName | None = None
    pause: NodeName | None = None
    resume: NodeName | None = None
    partition: list[list[NodeName]] | None = None
    heal: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_action(self) -> Step:
        if len(actions := sorted(self.model_fields_set - {"at"})) != 1:
            given = " and ".join(actions) or "none"
            raise wrong(f"a step has one action, {given} given", f"one of: {', '.join(ACTIONS)}")
        return self

    @property
    def action(self) -> str:
        return next(iter(self.model_fields_set - {"at"}))


class Ordered(_Model):
    node: NodeName
    events: list[Happening] = Field(min_length=1)


class States(_Model):
    """Of the n-th connection of a node with this port, from 1."""

    node: NodeName
    port: int | None = Field(default=None, ge=1, le=65535)
    connection: int = Field(default=1, ge=1)
    are: list[str]


class OfResult(_Model):
    of: str
    field: str


class Counter(_Model):
    node: NodeName
    path: str


class Series(_Model):
    node: NodeName
    metric: Literal["cwnd", "ssthresh", "in_flight", "srtt", "rttvar", "min_rtt", "rto"]
    take: Literal["first", "last", "smallest", "largest"]


class Span(_Model):
    begin: Happening = Field(alias="from")
    end: Happening = Field(alias="to")


class OfLink(_Model):
    name: str
    sender: NodeName = Field(alias="from")
    field: str


class Expectation(_Model):
    """A claim and what shows it; numbers are held against `is`."""

    claim: str = Field(min_length=1)
    order: Ordered | None = None
    states: States | None = None
    count: Happening | None = None
    result: OfResult | None = None
    counter: Counter | None = None
    series: Series | None = None
    time: Span | None = None
    link: OfLink | None = None
    bound: BoundField | None = Field(default=None, alias="is")

    @model_validator(mode="after")
    def _one_check(self) -> Expectation:
        checks = sorted(self.model_fields_set - {"claim", "bound"})
        if len(checks) != 1:
            given = " and ".join(checks) or "none"
            raise wrong(f"an expectation has one check, {given} given", f"one of: {', '.join(CHECKS)}")
        if (self.bound is None) != (checks[0] in ("order", "states")):
            missing = self.bound is None
            raise wrong(f"{checks[0]!r} {'needs' if missing else 'has no'} 'is'", "is: >= 1" if missing else "")
        return self

    @property
    def check(self) -> str:
        return next(iter(self.model_fields_set - {"claim", "bound"}))


class WrittenVariation(_Model):
    text: str
    parameters: dict[str, Any] = Field(min_length=1)
    breaks: list[str] = Field(min_length=1)


class Written(_Model):
    """The whole file."""

    experiment: NodeName
    claim: str = Field(min_length=1)
    topic: str = "Your own"
    look_at: str = ""
    explanation: str = ""
    only_virtual: str = ""
    topology: Any
    parameters: dict[str, Any] = Field(default_factory=dict)
    variations: dict[str, WrittenVariation] = Field(default_factory=dict)
    limit: GivenDuration = 60 * SECOND
    """Of the timeline, in the lab's time: a program that never ends would be a run that never ends."""
    timeline: list[Step] = Field(min_length=1)
    expect: list[Expectation] = Field(min_length=1)

    @field_validator("parameters")
    @classmethod
    def _plain(cls, values: dict[str, Parameter]) -> dict[str, Parameter]:
        for name, value in values.items():
            if not isinstance(value, int | float | str | bool):
                raise wrong(f"the parameter {name!r} is no number, text, or true or false")
        return values


ACTIONS = [name for name in Step.model_fields if name != "at"]
CHECKS = [name for name in Expectation.model_fields if name not in ("claim", "bound")]


def keys_at(place: list[str]) -> list[str]:
    """The keys that the mapping at a place of the file may have."""
    model: type[BaseModel] = Written
    for name in place:
        found = _MODELS.get(name)
        if found is not None:
            model = found
    return [field.alias or name for name, field in model.model_fields.items()]


_MODELS: dict[str, type[BaseModel]] = {
    "timeline": Step,
    "expect": Expectation,
    "variations": WrittenVariation,
    "until": Happening,
    "order": Ordered,
    "events": Happening,
    "states": States,
    "count": Happening,
    "result": OfResult,
    "counter": Counter,
    "series": Series,
    "time": Span,
    "from": Happening,
    "to": Happening,
}
