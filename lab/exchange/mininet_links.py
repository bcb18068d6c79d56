"""Links of a plan as arguments of Mininet's `addLink`, and what those have no words for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from lab.exchange.link_parameters import FASTEST
from lab.model.impaired import carries_only
from lab.model.impairment_text import describe, describe_change
from lab.plan.values import LinkPlan
from nodes.contract import InterfaceConfig
from nodes.impairment import Distribution, Impairment, RandomLoss
from nodes.quantities import format_duration
from nodes.units import MICROSECOND

_MBIT = 10**6

Arguments = dict[str, object]


def link_arguments(
    link: LinkPlan, ends: tuple[InterfaceConfig, InterfaceConfig], own: tuple[Arguments, Arguments]
) -> Arguments:
    """Keyword arguments. `own` is what each end needs beside impairments: names and ports as arguments of the link,
    `params` for the interface."""
    arguments: Arguments = {}
    params: list[Arguments] = []
    for number, each in enumerate(own, 1):
        arguments |= {f"{key}{number}": value for key, value in each.items() if key != "params"}
        given = each.get("params")
        params.append(dict(given) if isinstance(given, Mapping) else {})
    arguments |= {f"addr{number}": end.mac for number, end in enumerate(ends, 1)}
    asked = link.impairment
    tc = [parameters(each) for each in (asked.ab, asked.ba)] if asked is not None else [{}, {}]
    both = tc[0] if tc[0] == tc[1] else {}
    for number, (each, more) in enumerate(zip(params, tc, strict=True), 1):
        whole = each if both else {**each, **more}
        if whole:
            arguments[f"params{number}"] = whole
    return {**arguments, **both}


def parameters(impairment: Impairment) -> Arguments:
    """TCLink's, as far as it has them."""
    found: Arguments = {}
    if 0 < impairment.rate <= FASTEST * _MBIT:
        found["bw"] = _plain(Decimal(impairment.rate) / _MBIT)
    if impairment.delay:
        found["delay"] = time(impairment.delay)
        if impairment.jitter:
            found["jitter"] = time(impairment.jitter)
    if isinstance(impairment.loss, RandomLoss) and impairment.loss.chance:
        found["loss"] = _plain(Decimal(repr(impairment.loss.chance)) * 100)
    if impairment.limit:
        found["max_queue_size"] = impairment.limit
    return found


def remainder(impairment: Impairment) -> Impairment:
    """What TCLink's parameters leave out."""
    told = parameters(impairment)
    changes: dict[str, object] = {"limit": 0, "seed": None}
    if "bw" in told:
        changes["rate"] = 0
    if "delay" in told:
        changes["delay"] = 0
    if "jitter" in told and impairment.distribution == Distribution():
        changes["jitter"] = 0
    if "loss" in told:
        left = RandomLoss(correlation=impairment.loss.correlation) if isinstance(impairment.loss, RandomLoss) else None
        changes["loss"] = left if left != RandomLoss() else None
    return replace(impairment, **changes)  # type: ignore[arg-type]  # fields by name


def left_out(link: LinkPlan) -> Iterator[str]:
    """What Mininet cannot say of a link, in words."""
    if link.mtu != 1500:
        yield f"MTU {link.mtu}"
    if not link.up:
        yield "it starts down"
    if link.name != f"{link.a.node}--{link.b.node}" and link.name != f"{link.a}--{link.b}":
        yield f"the name {link.name}"
    asked = link.impairment
    if asked is None:
        return
    rest = {direction: remainder(asked.of(direction)) for direction in ("ab", "ba")}
    senders = {"ab": link.a.node, "ba": link.b.node}
    if rest["ab"] == rest["ba"]:
        if not carries_only(rest["ab"]):
            yield describe(rest["ab"])
    else:
        yield from (
            f"from {senders[direction]}: {describe(each)}" for direction, each in rest.items() if not carries_only(each)
        )
    for direction in ("ab", "ba"):
        seed = asked.of(direction).seed
        if seed is not None:
            yield f"from {senders[direction]}: seed {seed}"
    for change in asked.changes:
        yield f"at {format_duration(change.at)}: {describe_change(change)}"
    if asked.by != "auto":
        yield f"carried by {asked.by}"


def time(nanoseconds: int) -> str:
    """As tc writes it. It has no unit below the microsecond in older versions."""
    text = format_duration(nanoseconds)
    return f"{_plain(Decimal(nanoseconds) / MICROSECOND)}us" if text.endswith("ns") else text


def python(value: object) -> str:
    """A value as Python writes it."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{python(key)}: {python(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(python, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(python, value)) + ")"
    return repr(value)


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
