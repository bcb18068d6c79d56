"""The applications that nodes start: their kinds and options, by the catalogue of the nodes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from lab.lint.findings import Check, Finding
from lab.model.layout import Layout
from lab.model.topology import Application, Host, Router
from lab.model.yaml_source import KeyPath
from nodes.errors import MisuseError


def _applications(layout: Layout) -> Iterator[Finding]:
    for name, node in layout.topology.nodes.items():
        for index, application in enumerate(node.start if isinstance(node, Host | Router) else ()):
            yield from _application(layout, ("nodes", name, "start", index), application)


def _application(layout: Layout, path: KeyPath, application: Application) -> Iterator[Finding]:
    """Each wrong option at its place; what is missing, at the application."""
    try:
        kind = _find(application.kind)
    except MisuseError as error:
        yield Finding(path, error.message, error.hint)
        return
    wrong = False
    for option, value in application.options.items():
        try:
            if option in kind.options:
                kind.options[option].check(value)
            else:
                kind.check({option: value})
        except MisuseError as error:
            wrong = True
            place = _place(layout, path, application.kind, option)
            yield Finding(place, error.message, error.hint, key=option not in kind.options)
    if not wrong:
        yield from _missing(path, application)


def _find(kind: str) -> Any:
    """Imported when a topology starts something: applications stand on the whole stack, which takes longer to import
    than a topology to check. Raises MisuseError for a kind that there is not."""
    return importlib.import_module("nodes.application.catalogue").find(kind)


def _missing(path: KeyPath, application: Application) -> Iterator[Finding]:
    try:
        _find(application.kind).check(application.options)
    except MisuseError as error:
        yield Finding(path, error.message, error.hint)


def _place(layout: Layout, path: KeyPath, kind: str, option: str) -> KeyPath:
    """Where an option stands: below its kind in the short form, below `options` in the long form."""
    short = (*path, kind, option)
    return short if short in layout.topology.document.values else (*path, "options", option)


CHECKS: tuple[Check, ...] = (_applications,)
