"""A port of a switch that has programs of its own."""

from __future__ import annotations

from typing import NamedTuple


class Port(NamedTuple):
    """An interface to join to a switch, and the number that it gets there."""

    name: str
    number: int
