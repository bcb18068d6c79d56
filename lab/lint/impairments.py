"""Impairments and schedules of links: each direction merged, held against the rules, and what is said put where the
file says it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from lab.lint.findings import Check, Finding
from lab.lint.impairment_rules import errors_of, warnings_of
from lab.model.errors import did_you_mean
from lab.model.impaired import directions_of
from lab.model.impairment import FIELDS_OF
from lab.model.layout import Layout
from lab.model.yaml_source import KeyPath
from nodes.impairment import (
    DIRECTIONS,
    NOTHING,
    Change,
    Direction,
    Impairment,
    LinkImpairment,
    beyond_netem,
    decode_patch,
    merged,
)
from nodes.physical.ramp import Ramp

__all__ = ["CHECKS", "errors_of", "warnings_of"]

_ALSO_IN = {"jitter": "delay", "distribution": "delay", "delay_correlation": "delay", "queue": "limit"}
"""Keys whose short form says other fields, too."""


def _ends(layout: Layout) -> Iterator[Finding]:
    """What `from` names must be an end of the link."""
    for index, link in enumerate(layout.topology.links):
        own: KeyPath = ("links", index)
        named = [((*own, "impair", "from", end), end, True) for end in (link.impair.from_ if link.impair else ())]
        for number, entry in enumerate(link.schedule):
            named += [((*own, "schedule", number, "from"), entry.from_, False)] if entry.from_ is not None else []
        for path, end, key in named:
            if not directions_of(link, end):
                hint = did_you_mean(end, [name.partition(":")[0] for name in link.ends])
                yield Finding(path, f"{end!r} is no end of this link", hint, key=key)
        for first, second in combinations(link.impair.from_ if link.impair else (), 2):
            if directions_of(link, first) and directions_of(link, first) == directions_of(link, second):
                path = (*own, "impair", "from", second)
                yield Finding(path, f"{first!r} and {second!r} are the same end", "make one of them", key=True)


def _impairments(layout: Layout) -> Iterator[Finding]:
    """The same is said once, of links and directions that have it from the same place."""
    said: set[Finding] = set()
    for index in layout.links:
        asked = layout.impaired.link(index)
        if asked is not None:
            for finding in (*_start(layout, index, asked), *_changes(layout, index, asked), *_offload(layout, index)):
                if finding not in said:
                    said.add(finding)
                    yield finding


def _start(layout: Layout, index: int, asked: LinkImpairment) -> Iterator[Finding]:
    for direction in DIRECTIONS:
        bases = _bases(layout, index, direction)
        for field, message, hint, warning in _rules(layout, index, asked, asked.of(direction)):
            yield Finding(_place(layout, bases, field), message, hint, warning=warning)


def _changes(layout: Layout, index: int, asked: LinkImpairment) -> Iterator[Finding]:
    """What is wrong after a change, and was not before it."""
    now = {direction: asked.of(direction) for direction in DIRECTIONS}
    before = {direction: set(_rules(layout, index, asked, now[direction])) for direction in DIRECTIONS}
    entries = enumerate(layout.topology.links[index].schedule)
    tables = [number for number, entry in entries if entry.trace is not None]  # too long to think about each row
    for number, change in _in_order(layout, index):
        base: KeyPath = ("links", index, "schedule", number)
        for direction in change.directions if change.patch or change.replace else ():
            yield from _jumps(now[direction], change, base)
            now[direction] = merged(NOTHING if change.replace else now[direction], decode_patch(change.patch))
            rules = list(_rules(layout, index, asked, now[direction], warn=number not in tables))
            for said in rules:
                if said not in before[direction]:
                    field, message, hint, warning = said
                    yield Finding(_place(layout, [(*base, "impair"), base], field), message, hint, warning=warning)
            before[direction] = set(rules)


def _jumps(before: Impairment, change: Change, base: KeyPath) -> Iterator[Finding]:
    """Parts of a ramp that have nothing between their two ends."""
    if not change.ramp:
        return
    for field in Ramp(before, decode_patch(change.patch), replace=change.replace).first:
        hint = "give it a value before the ramp" if field in ("rate", "limit", "loss") else "make two entries of it"
        message = f"{field!r} has nothing in between: it changes when the ramp begins"
        yield Finding((*base, "ramp"), message, hint, warning=True)


def _in_order(layout: Layout, index: int) -> list[tuple[int, Change]]:
    """The changes of a link in time, each with the number of its entry."""
    link = layout.topology.links[index]
    changes = [
        (number, change)
        for number, entry in enumerate(link.schedule)
        for change in entry.changes(directions_of(link, entry.from_))
    ]
    return sorted(changes, key=lambda item: item[1].at)


_Rule = tuple[str, str, str, bool]


def _rules(
    layout: Layout, index: int, asked: LinkImpairment, impairment: Impairment, *, warn: bool = True
) -> Iterator[_Rule]:
    mtu = max(layout.mtu(port) for port in layout.links[index])
    errors = errors_of(impairment, mtu)
    if asked.by == "kernel":
        for field, words in beyond_netem(impairment).items():
            yield field, f"netem has no {words}, and 'impair_by' says kernel", "impair_by: relay, or auto", False
    for said in errors:
        yield *said, False
    if warn and not errors:
        for said in warnings_of(impairment, mtu):
            yield *said, True


def _offload(layout: Layout, index: int) -> Iterator[Finding]:
    if layout.topology.links[index].offload == "on":
        hint = "leave 'offload' out, or the impairment"
        message = "a link that does something to frames is given single frames: 'offload' stays off"
        yield Finding(("links", index, "offload"), message, hint, warning=True)


def _bases(layout: Layout, index: int, direction: Direction) -> list[KeyPath]:
    """Where what holds in a direction can stand, the most particular place first."""
    link = layout.topology.links[index]
    own: KeyPath = ("links", index, "impair")
    senders = link.impair.from_ if link.impair is not None else ()
    particular = [(*own, "from", end) for end in senders if direction in directions_of(link, end)]
    return [*particular, own, ("defaults", "impair")]


def _place(layout: Layout, bases: list[KeyPath], field: str) -> KeyPath:
    """Where a field is written; else the first of the mappings that exists."""
    values = layout.topology.document.values
    keys = [key for key, fields in FIELDS_OF.items() if field in fields]
    keys += [_ALSO_IN[field]] if field in _ALSO_IN else []
    for base in bases:
        for key in keys:
            if (*base, key) in values:
                return (*base, key)
    return next((base for base in bases if base in values), bases[0])


CHECKS: tuple[Check, ...] = (_ends, _impairments)
