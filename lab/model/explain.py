"""Validation errors in the words of a person who writes a topology.

Pydantic says where (a path that also holds union tags) and what type of error; here the path becomes a place in the
file, and the type a sentence with a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lab.model import impairment, impairment_faults, schedule
from lab.model.arq import Arq
from lab.model.container import Healthcheck, Mount
from lab.model.errors import Problem, did_you_mean, shown
from lab.model.tcp import Tcp
from lab.model.topology import (
    Application,
    Defaults,
    Host,
    Hub,
    Interface,
    Link,
    Network,
    Route,
    Router,
    SpanningTree,
    Switch,
    Topology,
)
from lab.model.yaml_source import Document, KeyPath

_KINDS: dict[str, type[BaseModel]] = {"host": Host, "router": Router, "switch": Switch, "hub": Hub}
_PARTS: dict[str, type[BaseModel]] = {
    "arq": Arq,
    "defaults": Defaults,
    "healthcheck": Healthcheck,
    "interfaces": Interface,
    "links": Link,
    "mounts": Mount,
    "networks": Network,
    "routes": Route,
    "start": Application,
    "stp": SpanningTree,
    "tcp": Tcp,
}
_REFUSED = {
    ("hub", "impl"): "a hub is always our own repeater: the kernel has none",
    ("hub", "stp"): "a hub repeats every frame and takes no part in a spanning tree",
    ("router", "address"): "a router has one address per interface: interfaces: {eth0: {address: 10.0.0.1/24}}",
    ("router", "gateway"): "write routes: [default via 10.0.0.254]",
    ("host", "impl"): "'impl' belongs to a switch; the stack of a host is 'stack'",
    ("router", "impl"): "'impl' belongs to a switch; the stack of a router is 'stack'",
    ("switch", "stack"): "what a switch is made of is 'impl': kernel, stack or ovs",
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}


Keys = Callable[[list[str]], list[str]]
"""The keys that the mapping at a place may have."""


def problems_of(error: ValidationError, document: Document, keys: Keys | None = None) -> list[Problem]:
    """`keys` for files that are no topologies."""
    return [_problem(details, document, keys) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, document: Document, keys: Keys | None) -> Problem:
    kind = details["type"]
    if kind == "extra_forbidden" and keys is not None:
        *place, wrong = map(str, details["loc"])
        message, hint = f"unknown key {wrong!r}", did_you_mean(wrong, keys(place))
    else:
        message, hint = _SENTENCES.get(kind, _other)(details)
    key = kind == "extra_forbidden" or "[key]" in details["loc"]
    return document.problem(_path(details["loc"], document), message, hint, key=key)


def _path(loc: tuple[int | str, ...], document: Document) -> KeyPath:
    """`loc` without what is not in the file: union tags, and the fields that a short form stands for."""
    path: KeyPath = ()
    value = document.data
    for index, step in enumerate(loc):
        if (*path, *loc[index:]) in document.values:
            return (*path, *loc[index:])
        try:
            value = value[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            continue
        path = (*path, step)
    return path


def _unknown_key(details: ErrorDetails) -> tuple[str, str]:
    *place, key = map(str, details["loc"])
    if len(place) == 3 and place[0] == "nodes":
        return _unknown_node_key(place[2], key)
    if key == "from" and place == ["defaults", "impair"]:
        return "the defaults have no 'from'", "only a link has ends: links: [{ends: [a, b], impair: {from: ...}}]"
    return f"unknown key {key!r}", did_you_mean(key, keys_of(_model_at(place)))


def _model_at(place: list[str]) -> type[BaseModel]:
    """Of the mapping at a place: by the last key that has one. Names within impairments mean other things outside."""
    parts: Mapping[str, type[BaseModel]] = _PARTS
    if {"impair", "schedule"} & set(place) or (place[:1] and place[0] in impairment.FIELDS_OF):
        parts = {**impairment.PARTS, **schedule.PARTS}
        if "faults" in place:
            parts, place = impairment_faults.PARTS, place[place.index("faults") :]
        elif place[-2:-1] == ["from"]:
            return impairment.Impair
    names = [part for part in place if part in parts]
    return parts[names[-1]] if names else Topology


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a mapping of the file may have."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _unknown_node_key(kind: str, key: str) -> tuple[str, str]:
    others = [name for name, model in _KINDS.items() if key in model.model_fields]
    if (kind, key) in _REFUSED:
        return f"a {kind} has no {key!r}", _REFUSED[kind, key]
    if others:
        return f"a {kind} has no {key!r}", f"it belongs to: {', '.join(others)}"
    return f"unknown key {key!r}", did_you_mean(key, list(_KINDS[kind].model_fields))


def _missing(details: ErrorDetails) -> tuple[str, str]:
    return f"{str(details['loc'][-1])!r} is missing", ""


def _unknown_kind(details: ErrorDetails) -> tuple[str, str]:
    tag = str(_context(details)["tag"])
    return f"unknown kind {shown(tag)}", did_you_mean(tag, list(_KINDS))


def _not_a_choice(details: ErrorDetails) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", str(_context(details)["expected"]))
    given = details["input"]
    return f"{shown(given)} is not a value of {_field(details)!r}", did_you_mean(str(given), choices)


def _wrong_type(details: ErrorDetails) -> tuple[str, str]:
    given = details["input"]
    is_number = details["type"] == "string_type" and isinstance(given, int | float)
    hint = f"write {str(given)!r} in quotes" if is_number else ""
    return f"{shown(given)} stands here, {_EXPECTED[details['type']]} expected", hint


def _bound(words: str, name: str) -> Callable[[ErrorDetails], tuple[str, str]]:
    def explain(details: ErrorDetails) -> tuple[str, str]:
        return f"{_field(details)!r} is {shown(details['input'])}, it must be {words} {_context(details)[name]:g}", ""

    return explain


def _length(details: ErrorDetails) -> tuple[str, str]:
    if _field(details) == "nodes":
        return "a topology needs at least one node", "nodes: {a: host, b: host}"
    if _field(details) != "ends":
        return f"{_field(details)!r} is empty", ""
    return f"a link has two ends, {_context(details)['actual_length']} given", "write A -- B, or [A, B]"


def _ours(details: ErrorDetails) -> tuple[str, str]:
    context = _context(details)
    return str(context["message"]), str(context["hint"])


def _other(details: ErrorDetails) -> tuple[str, str]:
    return f"{_field(details)!r}: {details['msg'][:1].lower()}{details['msg'][1:]}", ""


def _field(details: ErrorDetails) -> str:
    """The nearest key around the value: `mtu`, `links`."""
    names = [str(step) for step in details["loc"] if isinstance(step, str) and step != "[key]"]
    return names[-1] if names else "topology"


def _context(details: ErrorDetails) -> Mapping[str, Any]:
    return details.get("ctx", {})


_SENTENCES: dict[str, Callable[[ErrorDetails], tuple[str, str]]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_invalid": _unknown_kind,
    "literal_error": _not_a_choice,
    "greater_than_equal": _bound("at least", "ge"),
    "greater_than": _bound("more than", "gt"),
    "less_than_equal": _bound("at most", "le"),
    "less_than": _bound("less than", "lt"),
    "multiple_of": _bound("a multiple of", "multiple_of"),
    "too_short": _length,
    "too_long": _length,
    "layerlab": _ours,
    **dict.fromkeys(_EXPECTED, _wrong_type),
}
