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
from lab.model.yaml_source import Document, KeyPath, parse, read_text, scalar
from lab.plan.planner import make_plan
from lab.plan.values import Plan
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
            model, source = read(file)
        except TopologyError:
            raise
        except UserInputError as error:
            raise TopologyError([document.problem(("topology",), error.message, error.hint)]) from None
        _check_names(document, make_plan(model))
        return source.replace("$", "$$")
    part = document.part("topology")
    filled = replace(part, data=_filled(part.data, parameters, (), part, []))
    topology = topology_of(filled, text, str(path))
    _check_names(document, make_plan(topology))
    raw = part.data if isinstance(part.data, dict) else {}
    named = raw if "name" in raw else {"name": written.experiment, **raw}
    return str(yaml.safe_dump(named, sort_keys=False, allow_unicode=True))


def _strangers(document: Document, written: Written) -> list[Problem]:
    """What the model cannot see: names of what stands elsewhere in the file. Unknown options of an application are told
    when it starts."""
    problems = _unknown(document, written)
    for index, step in enumerate(written.timeline):
        if step.impair is not None and not step.impair.settings():
            path: KeyPath = ("timeline", index, "impair")
            problems.append(document.problem(path, "nothing to change", "impair: {link: wan, loss: 1%}"))
    return problems


def _unknown(document: Document, written: Written) -> list[Problem]:
    """Results that are asked for, claims that are to break and parameters that are to change have to exist."""
    problems = []

    def known(path: KeyPath, name: str, names: list[str], words: str, otherwise: str = "") -> None:
        if name not in names:
            problems.append(document.problem(path, f"{words} {name!r}", did_you_mean(name, names, otherwise)))

    results = [step.run.name for step in written.timeline if step.run is not None and step.run.name]
    claims = [each.claim for each in written.expect]
    for index, each in enumerate(written.expect):
        if each.result is not None:
            path: KeyPath = ("expect", index, "result", "of")
            known(path, each.result.of, results, "no run is named", "run: {..., as: NAME}")
    for name, variation in written.variations.items():
        for index, broken in enumerate(variation.breaks):
            known(("variations", name, "breaks", index), broken, claims, "there is no claim")
        for parameter in variation.parameters:
            path = ("variations", name, "parameters", parameter)
            known(path, parameter, list(written.parameters), "there is no parameter")
    return problems


def _check_names(document: Document, plan: Plan) -> None:
    """Nodes and links that the timeline and the expectations name exist. Raises TopologyError."""
    problems = []
    for path, mark in document.values.items():
        if path[:1] not in (("timeline",), ("expect",)) or "with" in path:
            continue
        if path[-1] in _NODE_KEYS:
            kind, names = "node", list(plan.by_name)
        elif path[-2:] in _LINK_KEYS:
            kind, names = "link", [link.name for link in plan.links]
        else:
            continue
        value: Any = document.data
        for step in path:
            value = value[step]
        if isinstance(value, str) and "$" not in value and value not in names:
            problems.append(Problem(document.file, *mark, f"no {kind} {value!r}", did_you_mean(value, names)))
    if problems:
        raise TopologyError(problems)


_LINK_KEYS = (("link", "name"), ("impair", "link"))
_NODE_KEYS = ("node", "kill", "restart", "pause", "resume")
