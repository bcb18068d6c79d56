"""The impairments of each link: defaults, link, direction and schedule of the topology merged into values.

The first end of a link sends in the direction `ab`, the second in `ba`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Protocol

from lab.model.impairment import NoImpair, impairment_of
from lab.model.topology import Link, Topology
from nodes.impairment import DIRECTIONS, NOTHING, Direction, Impairment, LinkImpairment, Patch


class _HasTopology(Protocol):
    @property
    def topology(self) -> Topology: ...


class Impaired:
    """The impaired links of a layout."""

    def __init__(self, layout: _HasTopology) -> None:
        self._topology = layout.topology
        self._found: dict[int, LinkImpairment | None] = {}

    def link(self, index: int) -> LinkImpairment | None:
        """None: the link only carries, now and later."""
        if index not in self._found:
            self._found[index] = self._link(self._topology.links[index])
        return self._found[index]

    @cached_property
    def _defaults(self) -> Patch:
        impair = self._topology.defaults.impair
        return impair.patch() if impair is not None else {}

    def _link(self, link: Link) -> LinkImpairment | None:
        if not self._defaults and link.impair is None and not link.schedule:
            return None
        ab, ba = (impairment_of(*self._patches(link, direction)) for direction in DIRECTIONS)
        changes = tuple(change for entry in link.schedule for change in entry.changes(directions_of(link, entry.from_)))
        if not changes and carries_only(ab) and carries_only(ba):
            return None
        by = link.impair_by or self._topology.defaults.impair_by
        return LinkImpairment(ab, ba, tuple(sorted(changes, key=lambda change: change.at)), by)

    def _patches(self, link: Link, direction: Direction) -> list[Patch]:
        impair = link.impair
        if isinstance(impair, NoImpair):
            return []
        if impair is None:
            return [self._defaults]
        senders = [part.patch() for end, part in impair.from_.items() if direction in directions_of(link, end)]
        return [self._defaults, impair.patch(), *senders]


def directions_of(link: Link, sender: str | None) -> tuple[Direction, ...]:
    """The direction in which an end of the link sends, which may be named by its node; both for None. Of a name that
    is no end, none; lint tells."""
    if sender is None:
        return DIRECTIONS
    return tuple(
        direction
        for direction, end in zip(DIRECTIONS, link.ends, strict=True)
        if sender in (end, end.partition(":")[0])
    )


def carries_only(impairment: Impairment) -> bool:
    """Whether nothing happens to a frame: a seed or a limit alone do nothing."""
    return replace(impairment, seed=None, limit=0) == NOTHING
