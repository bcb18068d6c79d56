"""Mininet's modules, while a file that imports them is read: the real ones where they can be imported, else ours.

Ours stand in `sys.modules` under Mininet's names, and are taken out again: nothing else in this process shall take
them for Mininet. Of the real ones, nothing can be started meanwhile: a network of a file that is only read would be
nobody's, and Mininet changes parameters of the whole machine first. Controllers, which files make beside their
topologies, are only kept.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from lab.exchange.standin.absent import absent

PACKAGE = "mininet"
_OURS = "lab.exchange.standin"
_MODULES = ("topo", "link", "node", "nodelib", "net", "cli", "log", "util", "topolib", "term", "clean")


@contextlib.contextmanager
def mininet_modules() -> Iterator[ModuleType]:
    """For the time of the context, `mininet` can be imported. Gives the module of `Topo`."""
    if can_import_mininet():
        with _nothing_starts(importlib.import_module(f"{PACKAGE}.net"), importlib.import_module(f"{PACKAGE}.node")):
            yield importlib.import_module(f"{PACKAGE}.topo")
        return
    found = {PACKAGE: importlib.import_module(_OURS)}
    found |= {f"{PACKAGE}.{name}": importlib.import_module(f"{_OURS}.{name}") for name in _MODULES}
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_mininet(name)}
    sys.modules.update(found)
    try:
        yield found[f"{PACKAGE}.topo"]
    finally:
        for name in [name for name in sys.modules if _is_mininet(name)]:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def _nothing_starts(net: Any, node: Any) -> Iterator[None]:
    def refuse(subject: object, *_args: object, **_params: object) -> None:
        absent(type(subject).__name__)

    def keep(controller: Any, name: str, **params: object) -> None:
        controller.name, controller.params = name, params

    replaced = [
        (net.Mininet, "__init__", refuse),
        (node.Node, "startShell", refuse),
        (node.Controller, "__init__", keep),
    ]
    replaced += [(cls, "__init__", keep) for cls in node.Controller.__subclasses__() if "__init__" in vars(cls)]
    before = [getattr(cls, name) for cls, name, _ in replaced]
    for cls, name, function in replaced:
        setattr(cls, name, function)
    try:
        yield
    finally:
        for (cls, name, _), function in zip(replaced, before, strict=True):
            setattr(cls, name, function)


def can_import_mininet() -> bool:
    """Mininet's node classes need modules that newer versions of Python have not: then it is as if it were absent. Its
    logger's class, which it leaves for all loggers that come after, is put back."""
    logger_class = logging.getLoggerClass()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in ("topo", "node", "net"):
                importlib.import_module(f"{PACKAGE}.{name}")
        except ImportError:
            return False
        finally:
            logging.setLoggerClass(logger_class)
    return True


def is_library(module: str) -> bool:
    """Is this module Mininet's, or does it stand for one?"""
    return _is_mininet(module) or module.startswith(_OURS)


def _is_mininet(module: str) -> bool:
    return module == PACKAGE or module.startswith(f"{PACKAGE}.")
