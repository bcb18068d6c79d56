"""Congestion controls of other packages: entry points of the group `layerlab.congestion`, loaded once per process.

A package offers one in its pyproject.toml, and is found when it is installed beside this one:

    [project.entry-points."layerlab.congestion"]
    mine = "my_package.control:Mine"

Python's own reader of entry points (importlib.metadata) takes tens of milliseconds to import, as long as a small lab
takes to start, so the files are read here: `NAME-VERSION.dist-info/entry_points.txt` in the folders of `sys.path`, in
the form that the Python Packaging User Guide specifies (sections in brackets, `name = module:attribute`).

What cannot be loaded stops nothing, and is not hidden either: `load_congestion_controls` tells of each, an agent
records it as an event, and a topology that names it is refused with the reason.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nodes.trace.events import ExtensionUpdated
from nodes.transport.tcp.congestion import registry

_ENTRY = re.compile(r"([\w-]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)", re.ASCII)


class Extension(NamedTuple):
    """An entry point. `problem` is empty where it was loaded, else the reason why not."""

    name: str
    target: str
    problem: str


@functools.cache
def load_congestion_controls() -> tuple[Extension, ...]:
    """Register every one that is installed, in the order of `sys.path`. The second call costs nothing."""
    return tuple(Extension(name, target, _register(name, target)) for name, target in _entries(tuple(sys.path)))


def known_congestion_controls() -> tuple[str, ...]:
    """All names, those of other packages included."""
    load_congestion_controls()
    return tuple(registry.ALGORITHMS)


def updated(extension: Extension) -> ExtensionUpdated:
    """What an agent records of it."""
    new = "failed" if extension.problem else "loaded"
    return ExtensionUpdated(extension.name, "none", new, extension.problem or extension.target)


def _entries(folders: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Name and target of each entry of the group; the first of a name wins, as with imports."""
    seen: set[str] = set()
    for folder in folders:
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            for file in sorted(Path(folder or ".").glob(pattern)):
                for name, target in _of_file(file):
                    if name not in seen:
                        seen.add(name)
                        yield name, target


def _of_file(file: Path) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # a distribution that is being installed or removed offers nothing
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == registry.ENTRY_POINT_GROUP and line and not line.startswith(("#", ";")):
            name, _, target = line.partition("=")
            yield name.strip(), target.strip()


def _register(name: str, target: str) -> str:
    """Load and register one; what went wrong, or nothing. Code of others may raise whatever it likes."""
    match = _ENTRY.match(f"{name} = {target}")
    if match is None:
        return f"{target!r} is not MODULE:ATTRIBUTE"
    try:
        value: object = importlib.import_module(match[2])
        for attribute in match[3].split("."):
            value = getattr(value, attribute)
        registry.register(name, value)  # type: ignore[arg-type]  # which says itself what it does not take
    except Exception as error:  # noqa: BLE001 (foreign code)
        return f"{type(error).__name__}: {error}"
    return ""
