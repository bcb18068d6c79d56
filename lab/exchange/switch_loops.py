"""Loops of switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def switches_in_loops(links: Iterable[tuple[str, str]], switches: Sequence[str]) -> list[list[str]]:
    """The groups of connected switches in which links close a loop: those that have as many links as switches, or
    more. In the order of `switches`; all of a group, for a spanning tree is one of all of them."""
    parent = {name: name for name in switches}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    between = [(a, b) for a, b in links if a in parent and b in parent and a != b]
    for a, b in between:
        parent[root(a)] = root(b)
    count = Counter(root(a) for a, _ in between)
    groups: dict[str, list[str]] = {}
    for name in switches:
        groups.setdefault(root(name), []).append(name)
    return [names for top, names in groups.items() if count[top] >= len(names)]
