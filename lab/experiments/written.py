"""Experiments from YAML files: read, checked as strictly as topologies, and carried out.

`$name` anywhere in the file stands for a parameter. The file is checked with the parameters as it gives them, before
anything runs; all that is wrong is said at once, each with its place.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lab.errors import UserInputError
from lab.exchange.reading import read
from lab.experiments.experiment import Experiment, Parameter, Variation
from lab.experiments.timeline import carry_out
from lab.experiments.trial import Trial
from lab.experiments.written_checks import judge
from lab.experiments.written_model import Written, keys_at
from lab.model.errors import Problem, TopologyError, did_you_mean
from lab.model.explain import problems_of
from lab.model.load import topology_of
from lab.model.topology import Topology
from lab.model.yaml_source import Document, KeyPath, parse, read_text, scalar
from nodes.units import SECOND

_PARAMETER = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def load_experiment(path: Path) -> Experiment:
    """Raises TopologyError with all that is wrong, and UserInputError where the file cannot be read."""
    text = read_text(path)
    document = parse(text, str(path))
    given = document.data.get("parameters") if isinstance(document.data, dict) else None
    parameters = (
        {key: value for key, value in given.items() if isinstance(value, int | float | str | bool)}
        if isinstance(given, dict)
        else {}
    )
    written = _written(document, parameters)
    topology = _topology_text(document, written, text, parameters, path)
    for variation in written.variations.values():
        _written(document, parameters | variation.parameters)

    async def script(trial: Trial) -> None:
        now = _written(document, trial.parameters)
        try:
            async with asyncio.timeout(now.limit / SECOND):
                results = await carry_out(trial, now.timeline)
        except TimeoutError:
            message = f"the timeline does not end within {now.limit / SECOND:g} s"
            raise UserInputError(message, hint="`limit: 5min` gives it longer") from None
        for expectation in now.expect:
            await judge(trial, expectation, results)

    return Experiment(
        written.experiment,
        written.topic,
        written.claim,
        written.look_at,
        topology,
        script,
        written.explanation,
        parameters,
        {name: Variation(each.text, each.parameters, tuple(each.breaks)) for name, each in written.variations.items()},
        written.only_virtual,
        tuple(each.claim for each in written.expect),
        lambda values: _written(document, values),
    )


def _plain(values: object) -> dict[str, Parameter]:
    """What can be a parameter; the model complains of the others."""
    found = values if isinstance(values, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, int | float | str | bool)}


def _written(document: Document, parameters: Mapping[str, Parameter]) -> Written:
    """The file's model, with these parameters. Raises TopologyError."""
    problems: list[Problem] = []
    filled = replace(document, data=_filled(document.data, parameters, (), document, problems))
    try:
        written = Written.model_validate(filled.data, context=filled)
    except ValidationError as error:
        raise TopologyError([*document.problems, *problems, *problems_of(error, filled, keys_at)]) from None
    if document.problems or problems:
        raise TopologyError([*document.problems, *problems])
    problems += _strangers(filled, written)
    if problems:
        raise TopologyError(problems)
    return written


def _filled(
    value: object, parameters: Mapping[str, Parameter], path: KeyPath, document: Document, problems: list[Problem]
) -> object:
    """The same with parameters in their places."""
    if isinstance(value, dict):
        return {key: _filled(each, parameters, (*path, key), document, problems) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, parameters, (*path, index), document, problems) for index, each in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = _PARAMETER.fullmatch(value)
    if whole is not None and (whole[1] or whole[2]) in parameters:
        return parameters[whole[1] or whole[2]]

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in parameters:
            hint = did_you_mean(name, list(parameters), "parameters: {NAME: VALUE}")
            problems.append(document.problem(path, f"there is no parameter {name!r}", hint))
            return match[0]
        return str(parameters[name])

    return scalar(_PARAMETER.sub(put, value))


def _topology_text(
    document: Document, written: Written, text: str, parameters: Mapping[str, Parameter], path: Path
) -> str:
    """The topology as a text with `$name` in it. Raises TopologyError where it is none."""
    if isinstance(written.topology, str):
        file = path.parent / written.topology
        try:
            source = read(file).source
        except TopologyError:
            raise
        except UserInputError as error:
            raise TopologyError([document.problem(("topology",), error.message, error.hint)]) from None
        return source.replace("$", "$$")
    part = document.part("topology")
    filled = replace(part, data=_filled(part.data, parameters, (), part, []))
    topology = topology_of(filled, text, str(path))
    _check_names(document, topology)
    raw = part.data if isinstance(part.data, dict) else {}
    named = raw if "name" in raw else {"name": written.experiment, **raw}
    return str(yaml.safe_dump(named, sort_keys=False, allow_unicode=True))


def _strangers(document: Document, written: Written) -> list[Problem]:
    """Unknown keys of what takes options: an application checks its own when it starts; settings of links here."""
    problems = []
    for index, step in enumerate(written.timeline):
        if step.impair is not None and not step.impair.settings():
            path: KeyPath = ("timeline", index, "impair")
            problems.append(document.problem(path, "nothing to change", "impair: {link: wan, loss: 1%}"))
    return problems


def _check_names(document: Document, topology: Topology) -> None:
    """Nodes that the timeline and the expectations name exist. Raises TopologyError."""
    names = list(topology.nodes)
    problems = []
    for path, mark in document.values.items():
        if path[:1] not in (("timeline",), ("expect",)) or path[-1] not in _NODE_KEYS or "with" in path:
            continue
        value: Any = document.data
        for step in path:
            value = value[step]
        if isinstance(value, str) and "$" not in value and value not in names:
            problems.append(Problem(document.file, *mark, f"no node {value!r}", did_you_mean(value, names)))
    if problems:
        raise TopologyError(problems)


_NODE_KEYS = ("node", "kill", "restart", "pause", "resume")
