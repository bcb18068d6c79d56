"""A Mininet `Topo` built from a file, with the places in the file that told each of its nodes and links.

The file is run as a module of its own, so that its `if __name__ == "__main__"` does not start a network. While the
topology is built, `addNode` and `addLink` of Mininet's base class note who calls them. What the file prints goes to
standard error: standard output belongs to the command. What it raises becomes a problem at the line that raised it.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from lab.errors import LabError
from lab.exchange.library import is_library, mininet_modules
from lab.exchange.reference import Reference
from lab.exchange.standin.absent import OnlyDescribedError
from lab.model.errors import Problem, TopologyError, did_you_mean
from lab.model.yaml_source import Mark, read_text

_ONE_AT_A_TIME = threading.RLock()
"""Modules and Mininet's base class belong to the whole process."""


@dataclass
class LinkTold:
    """A link as Mininet keeps it: `node1`, `node2`, `port1`, `port2`, and all that `addLink` was given."""

    info: dict[str, Any]
    mark: Mark


@dataclass
class Told:
    """A topology in the order in which the file told it. `hosts` are sorted as Mininet numbers their addresses."""

    file: str
    name: str
    nodes: dict[str, dict[str, Any]]
    marks: dict[str, Mark]
    links: list[LinkTold]
    hosts: list[str]
    warnings: list[Problem] = field(default_factory=list)

    def problem(self, mark: Mark, message: str, hint: str = "") -> Problem:
        return Problem(self.file, *mark, message, hint)


def record(reference: Reference, use: Callable[[Told], Any]) -> Any:
    """Build what is referred to, and return what `use` makes of it, while Mininet's names can still be imported.
    Raises TopologyError, and UserInputError where the file cannot be read."""
    path = Path(reference.file)
    read_text(path)  # says what is wrong with the file
    with (
        _ONE_AT_A_TIME,
        contextlib.redirect_stdout(sys.stderr),
        _importable(path.resolve().parent),
        mininet_modules() as library,
        _watched(library.Topo, reference.file) as places,
    ):
        module = _module(reference.file)
        name, make = _choose(reference, module, library.Topo)
        topo = _guarded(reference.file, lambda: make(*reference.arguments, **reference.keywords), make)
        if not isinstance(topo, library.Topo):
            message = f"{name!r} makes {_article(type(topo).__name__)}, which is no Topo"
            raise TopologyError([Problem(reference.file, *_definition(make), message, "derive it from Topo")])
        return use(_told(reference.file, name, topo, places))


class _Places:
    """What a topology was told, and where, by its identity."""

    def __init__(self) -> None:
        self.nodes: dict[int, dict[str, Mark]] = {}
        self.links: dict[int, list[LinkTold]] = {}
        self.warnings: dict[int, list[Problem]] = {}


@contextlib.contextmanager
def _watched(base: Any, file: str) -> Iterator[_Places]:
    places = _Places()
    add_node, add_link = base.addNode, base.addLink

    @functools.wraps(add_node)
    def adding_node(topo: Any, name: Any, *args: Any, **params: Any) -> Any:
        mark = _caller(file)
        if not isinstance(name, str):
            raise TopologyError([Problem(file, *mark, f"the name {name!r} is no text", f"write {str(name)!r}")])
        known = places.nodes.setdefault(id(topo), {})
        if name in known:
            problem = Problem(file, *mark, f"{name!r} is added again", f"line {known[name].line} has added it")
            places.warnings.setdefault(id(topo), []).append(problem)
        known[name] = mark
        return add_node(topo, name, *args, **params)

    @functools.wraps(add_link)
    def adding_link(topo: Any, node1: Any, node2: Any, *args: Any, **params: Any) -> Any:
        mark = _caller(file)
        for node in (node1, node2):
            if node not in topo.g.nodes():
                hint = did_you_mean(str(node), [*topo.g.nodes()], "addHost and addSwitch come before addLink")
                raise TopologyError([Problem(file, *mark, f"there is no node {node!r}", hint)])
        if node1 == node2:
            hint = "its ends are two different nodes"
            raise TopologyError([Problem(file, *mark, f"a link from {node1!r} to itself", hint)])
        key = add_link(topo, node1, node2, *args, **params)
        places.links.setdefault(id(topo), []).append(LinkTold(topo.linkInfo(node1, node2, key), mark))
        return key

    base.addNode, base.addLink = adding_node, adding_link
    try:
        yield places
    finally:
        base.addNode, base.addLink = add_node, add_link


def _told(file: str, name: str, topo: Any, places: _Places) -> Told:
    """The topology as it is in the end: links and parameters may have been changed since they were added."""
    marks = places.nodes.get(id(topo), {})
    order = {id(link.info): (number, link.mark) for number, link in enumerate(places.links.get(id(topo), ()))}
    infos = [info for _, _, info in topo.iterLinks(withInfo=True)]
    infos.sort(key=lambda info: order.get(id(info), (len(order), None))[0])
    links = [LinkTold(info, order[id(info)][1] if id(info) in order else Mark(1, 1)) for info in infos]
    nodes = {node: dict(topo.nodeInfo(node)) for node in topo.nodes(sort=False)}
    return Told(file, name, nodes, marks, links, topo.hosts(), places.warnings.get(id(topo), []))


# The file, and what in it makes the topology


def _module(file: str) -> ModuleType:
    """Run the file. Nothing is written beside it."""
    name = "topology_" + re.sub(r"\W", "_", Path(file).stem)
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module  # dataclasses and pickle look for it there

    def run() -> None:
        loader = SourceFileLoader(name, file)
        code: CodeType = loader.source_to_code(Path(file).read_bytes(), file)
        exec(code, module.__dict__)  # noqa: S102 (it is what the person asked to run)

    _guarded(file, run)
    return module


def _choose(reference: Reference, module: ModuleType, base: type) -> tuple[str, Callable[..., Any]]:
    """The name, and what to call."""
    topos = getattr(module, "topos", None)
    named: dict[str, Any] = {str(key): value for key, value in topos.items()} if isinstance(topos, dict) else {}
    classes = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and not is_library(value.__module__)
    }
    if reference.name:
        found = named.get(reference.name, getattr(module, reference.name, None))
        if callable(found):
            return reference.name, found
        hint = did_you_mean(reference.name, [*classes, *named], "a class that is derived from mininet.topo.Topo")
        raise TopologyError([Problem(reference.file, 1, 1, f"there is no topology {reference.name!r}", hint)])
    own = {name: value for name, value in classes.items() if value.__module__ == module.__name__}
    for choices in (named, own or classes):
        if len(choices) == 1:
            return next(iter(choices.items()))
    names = list(dict.fromkeys((*named, *(own or classes))))
    message = f"which of its topologies: {', '.join(names)}?" if names else "there is no topology in this file"
    hint = f"{reference.file}:{names[0]}" if names else "a class that is derived from mininet.topo.Topo"
    raise TopologyError([Problem(reference.file, 1, 1, message, hint)])


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The file may import its neighbors. They are forgotten again: another folder may have some of the same name."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if name.startswith("topology_") or (file and Path(file).resolve().is_relative_to(folder)):
                del sys.modules[name]


# What goes wrong in the file


def _guarded(file: str, action: Callable[[], Any], subject: Any = None) -> Any:
    """What the action returns. Raises TopologyError for whatever it raises, at the line of the file that did."""
    try:
        return action()
    except LabError:
        raise
    except SyntaxError as error:
        place = (error.lineno or 1, error.offset or 1)
        raise TopologyError([Problem(error.filename or file, *place, f"not valid Python: {error.msg}")]) from None
    except SystemExit as error:
        mark = _raised_at(error, file, subject)
        raise TopologyError([Problem(file, *mark, "it ends the program", "only describe a topology here")]) from None
    except Exception as error:  # noqa: BLE001 (whatever a person's file raises)
        mark = _raised_at(error, file, subject)
        raise TopologyError([Problem(file, *mark, _words(error), _hint(error))]) from None


def _words(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OnlyDescribedError | ImportError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _hint(error: Exception) -> str:
    if isinstance(error, OnlyDescribedError):
        return "build the topology in a class derived from Topo, and start a network under `if __name__ == '__main__'`"
    if isinstance(error, ImportError) and is_library(str(error.name or "")):
        return "what topologies are made of is here; for all of Mininet: pip install mininet"
    if isinstance(error, ImportError):
        return f"install it, or put it beside the file: {error.name}" if error.name else ""
    if isinstance(error, TypeError) and "argument" in str(error):
        return "arguments follow the name: FILE.py:NAME,4,k=2"
    return ""


def _raised_at(error: BaseException, file: str, subject: Any) -> Mark:
    """The innermost line of the file on the way to the error; where there is none, what was called."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_filename == file:
            return Mark(line, 1)
    return _definition(subject)


def _definition(subject: Any) -> Mark:
    """Where a class or a function of the file stands."""
    for each in (getattr(subject, "build", None), getattr(subject, "__init__", None), subject):
        code = getattr(each, "__code__", None)
        if code is not None and not is_library(getattr(each, "__module__", "") or ""):
            return Mark(code.co_firstlineno, 1)
    return Mark(1, 1)


def _caller(file: str) -> Mark:
    """The innermost call in the file that is under way: its line and column."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    if frame is None:
        return Mark(1, 1)
    _, _, column, _ = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None, None, None, None))
    return Mark(frame.f_lineno, (column or 0) + 1)


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
