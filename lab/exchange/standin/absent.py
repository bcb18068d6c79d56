"""What belongs to a running Mininet, and not to the description of a topology."""

from __future__ import annotations

from typing import Any, NoReturn


class OnlyDescribedError(Exception):
    """A file does something that takes a running network."""


class Absent:
    """A class that can be named, passed on and derived from, and that has no objects."""

    def __init__(self, *_args: Any, **_params: Any) -> None:
        absent(type(self).__name__)


def absent(name: str) -> NoReturn:
    raise OnlyDescribedError(f"{name} belongs to a running network, and here a topology is only described")
