"""An experiment: a claim about networks, a network that shows it, a script, and what has to be seen.

A coroutine function becomes one by its decorator, and stays readable as what it is, a script for a lab:

    @experiment(
        topic="Congestion control",
        claim="At the third duplicate acknowledgment TCP sends the lost segment again, without a timeout.",
        topology=TOPOLOGY,
        look_at="...",
        parameters={"follow": 10},
        variations={"too-few": Variation("Two segments after the lost one: ...", {"follow": 2}, breaks=("...",))},
    )
    async def fast_retransmit(trial: Trial) -> None:
        ...
        trial.at_most("the segment is sent again after one round trip", seen, 0.03, "s")

What makes a claim worth believing is that the experiment can fail: each variation changes parameters so that named
verdicts fail, and the runner holds it to that.

The topology is the text of a file, in which `$follow` stands for the parameter of that name. What a parameter is at the
beginning decides its type.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from string import Template
from typing import TYPE_CHECKING

from lab.errors import UserInputError
from lab.model.errors import did_you_mean

if TYPE_CHECKING:
    from lab.experiments.trial import Trial

Parameter = int | float | str | bool
Script = Callable[["Trial"], Awaitable[None]]

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Variation:
    """Other parameters, with which the verdicts on the claims `breaks` fail, and only those."""

    text: str
    parameters: Mapping[str, Parameter]
    breaks: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    name: str
    topic: str
    claim: str
    look_at: str
    topology: str
    script: Script
    explanation: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    variations: Mapping[str, Variation] = field(default_factory=dict)
    only_virtual: str = ""
    """Why it makes sense in virtual time only; empty where it does elsewhere, too."""
    claims: tuple[str, ...] = ()
    """That are known before it runs: those of a file, none of a script."""
    check: Callable[[Mapping[str, Parameter]], object] = dict
    """Raises UserInputError for parameters with which it cannot run; what a script takes, the script alone knows."""

    @property
    def runs_programs_of_lab(self) -> bool:
        """Whether its nodes import modules of `lab`: the script of a file runs applications only."""
        return getattr(self.script, "__module__", "").startswith("lab.experiments.catalogue.")

    def with_parameters(self, variation: str | None, changes: Mapping[str, str]) -> dict[str, Parameter]:
        """All parameters, of which some are a variation's, and some a person's: texts. Raises UserInputError."""
        values = dict(self.parameters)
        if variation is not None:
            if variation not in self.variations:
                hint = did_you_mean(variation, list(self.variations))
                raise UserInputError(f"{self.name} has no variation {variation!r}", hint=hint or "it has none")
            values |= self.variations[variation].parameters
        for name, text in changes.items():
            if name not in values:
                hint = did_you_mean(name, list(values)) or "it has no parameters"
                raise UserInputError(f"{self.name} has no parameter {name!r}", hint=hint)
            values[name] = parsed(name, text, values[name])
        return values

    def broken_by(self, variation: str | None) -> tuple[str, ...]:
        """Claims that have to fail."""
        found = self.variations.get(variation or "")
        return () if found is None else found.breaks

    def topology_with(self, parameters: Mapping[str, Parameter]) -> str:
        """The topology's text."""
        return Template(self.topology).substitute({key: as_yaml(value) for key, value in parameters.items()})


def experiment(
    *,
    topic: str,
    claim: str,
    look_at: str,
    topology: str,
    parameters: Mapping[str, Parameter] | None = None,
    variations: Mapping[str, Variation] | None = None,
    only_virtual: str = "",
) -> Callable[[Script], Experiment]:
    """Its name is the function's, with hyphens; the explanation is the function's docstring, or its module's."""

    def made(script: Script) -> Experiment:
        name: str = getattr(script, "__name__", "experiment").replace("_", "-")
        explanation = script.__doc__ or getattr(script, "__globals__", {}).get("__doc__") or ""
        return Experiment(
            name,
            topic,
            claim,
            look_at,
            topology.lstrip("\n"),
            script,
            _unfolded(explanation),
            dict(parameters or {}),
            dict(variations or {}),
            only_virtual,
        )

    return made


def _unfolded(text: str) -> str:
    """Paragraphs as lines; indented blocks stay."""
    lines = [re.sub(r"^    ", "", line) for line in text.strip().splitlines()]
    return "\n".join(lines)


def parsed(name: str, text: str, before: Parameter) -> Parameter:
    """A text as a value of the type that it replaces."""
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(type(before), "text")
    try:
        if isinstance(before, bool):
            if text.lower() not in (*_TRUE, *_FALSE):
                raise ValueError(text)
            return text.lower() in _TRUE
        return type(before)(text)
    except ValueError:
        raise UserInputError(f"{name}: {text!r}", hint=f"{wanted} expected, as {as_yaml(before)}") from None


def as_yaml(value: Parameter) -> str:
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
