"""The files that an impairment names: distributions, traces of a rate, schedules. Read when the topology is, so that
what runs is all in the plan; their paths are relative to the topology file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationInfo

from lab.errors import UserInputError
from lab.model.names import wrong
from lab.model.yaml_source import Document, read_text
from nodes.impairment import Change, RateTrace
from nodes.physical.jitter import parse_distribution
from nodes.physical.traces import parse_mahimahi, parse_schedule

_T = TypeVar("_T")


def read_distribution(name: str, info: ValidationInfo) -> tuple[int, ...]:
    """The table of one of netem's *.dist files."""
    return _read(name, info, parse_distribution)


def read_trace(name: str, info: ValidationInfo) -> RateTrace:
    """A trace in Mahimahi's format."""
    return _read(name, info, parse_mahimahi)


def read_schedule(name: str, info: ValidationInfo) -> tuple[Change, ...]:
    """Changes from rows of `t, delay, rate, loss, up`."""
    origin = f"trace {name}"
    return tuple(replace(change, origin=origin) for change in _read(name, info, parse_schedule))


def _read(name: str, info: ValidationInfo, parse: Callable[[str], _T]) -> _T:
    """Raises a validation error of ours at the name, with the line of the file."""
    document = info.context
    path = (Path(document.file).parent if isinstance(document, Document) else Path()) / name
    try:
        return parse(read_text(path))
    except UserInputError as error:
        raise wrong(error.message, "" if path.exists() else "paths are relative to the topology file") from None
    except ValueError as error:
        raise wrong(f"{name}: {error}") from None
