"""The rules that hold the house together, read from the source: who may import whom, and how long things may grow.

Each rule is a function from a source file to a list of complaints. It is tried on a snippet that breaks it, so that
the rule itself can fail, and then on every file. What import-linter can say (layers, forbidden imports) is in
pyproject.toml and only run from here.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 450
LONGEST_FUNCTION = 60
LONGEST_UNDOCUMENTED = 8  # statements of a public function that may speak for itself
# Methods that many classes have and one place explains: nodes.stack, nodes.application.base.
SURFACE = frozenset({"receive", "timeout", "deadline", "transmit", "snapshot", "set_port", "start", "ready", "stop"})

MAY_USE_PACKAGES = frozenset({"presentation"})  # of nodes; everything else there needs Python and nothing more
SANS_IO = ("wire", "physical", "datalink", "network", "transport", "stack", "device", "application")
OUTSIDE_WORLD = frozenset(
    {
        "asyncio",
        "datetime",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "secrets",
        "select",
        "selectors",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "uuid",
    }
)
OUTSIDE_CALLS = frozenset({"open", "print", "input", "exec", "eval"})
FORBIDDEN_PACKAGES = frozenset({"scapy", "pytcp", "nest"})  # under the GPL, which our licence cannot carry

# The only imports that may stand inside a function: packages that a user may not have.
OPTIONAL_PACKAGES = {
    "docker": "the docker driver, extra `docker`",
    "mininet": "the mininet driver, extra `mininet`",
    "networkx": "`lab generate` from GraphML, extra `cluster`",
}


class Source(NamedTuple):
    """A module: its dotted name, its text and its tree."""

    name: str
    text: str
    tree: ast.Module

    @classmethod
    def of(cls, name: str, text: str) -> Source:
        return cls(name, text, ast.parse(text))

    @property
    def room(self) -> str:
        """`wire` of `nodes.wire.arp`, `stack` of `nodes.stack`."""
        return self.name.partition(".")[2].partition(".")[0]


Rule = Callable[[Source], list[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted([*ROOT.glob("nodes/**/*.py"), *ROOT.glob("lab/**/*.py")])
SOURCES = [Source.of(module_name(path), path.read_text(encoding="utf-8")) for path in FILES]


# --- reading imports -----------------------------------------------------------------------------------------------


def imported(node: ast.AST, package: str = "") -> list[str]:
    """The dotted names that an import statement asks for: `from a import b` may mean the module `a` or `a.b`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def imports(source: Source, package: str = "", *, of_types: bool = True) -> Iterator[tuple[int, str]]:
    """(line, name) of each import, wherever it stands. `of_types` tells whether those that only a type checker follows,
    under `if TYPE_CHECKING:`, are wanted."""
    for node in ast.walk(source.tree) if of_types else walk_at_run_time(source.tree):
        for name in imported(node, package):
            yield node.lineno, name  # type: ignore[attr-defined]


def walk_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from walk_at_run_time(child)
        return
    for inner in ast.iter_child_nodes(node):
        yield from walk_at_run_time(inner)


def module_of(name: str, modules: Iterable[str]) -> str | None:
    """The module of ours that a dotted name leads to, or None for somebody else's."""
    return name if name in modules else (parent if (parent := name.rpartition(".")[0]) in modules else None)


def import_graph(sources: list[Source], packages: frozenset[str]) -> dict[str, set[str]]:
    modules = {source.name for source in sources}
    graph: dict[str, set[str]] = {}
    for source in sources:
        package = source.name if source.name in packages else source.name.rpartition(".")[0]
        targets = {module_of(name, modules) for _, name in imports(source, package, of_types=False)}
        graph[source.name] = {target for target in targets if target and target != source.name}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# --- the rules -----------------------------------------------------------------------------------------------------


def late_imports(source: Source) -> list[str]:
    """An import inside a function hides a dependency, and most often a cycle."""
    found = []
    for outer in ast.walk(source.tree):
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            for node in ast.walk(outer):
                found += [
                    f"line {node.lineno}: {name} is imported late"  # type: ignore[attr-defined]
                    for name in imported(node)
                    if name.partition(".")[0] not in OPTIONAL_PACKAGES
                ]
    return sorted(set(found))


def foreign_imports(source: Source) -> list[str]:
    """What runs in a node needs no package beside Python."""
    if not source.name.startswith("nodes") or source.room in MAY_USE_PACKAGES:
        return []
    allowed = sys.stdlib_module_names | {"nodes"}
    return [
        f"line {line}: {name} is not of the standard library"
        for line, name in imports(source, source.name.rpartition(".")[0])
        if name.partition(".")[0] not in allowed
    ]


def outside_world(source: Source) -> list[str]:
    """Sans-I/O: time, randomness and observation are arguments, so the same inputs give the same bytes."""
    if not source.name.startswith("nodes.") or source.room not in SANS_IO:
        return []
    found = [f"line {line}: {name}" for line, name in imports(source) if name.partition(".")[0] in OUTSIDE_WORLD]
    random_module = names_of_random(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "random":
            found += [f"line {node.lineno}: random.{alias.name}" for alias in node.names if alias.name != "Random"]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in random_module and node.attr != "Random":
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call):
            found += outside_call(node)
    return found


def names_of_random(tree: ast.Module) -> set[str]:
    """What the module `random` is called here; an argument of that name is a generator, not the module."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return {alias.asname or alias.name for node in statements for alias in node.names if alias.name == "random"}


def outside_call(node: ast.Call) -> list[str]:
    name = ast.unparse(node.func)
    if name in OUTSIDE_CALLS:
        return [f"line {node.lineno}: {name}()"]
    if name.split(".")[-1] == "Random" and not node.args and not node.keywords:
        return [f"line {node.lineno}: {name}() takes its seed from the system"]
    return []


def gpl_imports(source: Source) -> list[str]:
    return [
        f"line {line}: {name} is under the GPL"
        for line, name in imports(source)
        if name.partition(".")[0].lower() in FORBIDDEN_PACKAGES
    ]


def long_file(source: Source) -> list[str]:
    lines = len(source.text.splitlines())
    return [f"{lines} lines, at most {LONGEST_FILE}"] if lines >= LONGEST_FILE else []


def long_functions(source: Source) -> list[str]:
    return [
        f"line {node.lineno}: {node.name} has {length} lines, at most {LONGEST_FUNCTION}"
        for node in functions(source.tree)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) >= LONGEST_FUNCTION
    ]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def module_docstring(source: Source) -> list[str]:
    """An empty `__init__.py` has nothing to explain."""
    return ["no module docstring"] if source.tree.body and not ast.get_docstring(source.tree) else []


def public_docstrings(source: Source) -> list[str]:
    """A public function of more than a few statements says what it does, and a public class what it is, unless its
    fields are all there is, or it is the only one of its module, whose docstring is then about it."""
    if not source.name.startswith("nodes"):
        return []
    classes = [node for node in public(source.tree) if isinstance(node, ast.ClassDef) and not only_fields(node)]
    if len(classes) == 1 and ast.get_docstring(source.tree):
        classes = []
    members = [public(node) if isinstance(node, ast.ClassDef) else [node] for node in public(source.tree)]
    functions_of_all = [function for group in members for function in group if not is_obvious(function)]
    silent = [node for node in [*classes, *functions_of_all] if not ast.get_docstring(node)]
    return [f"line {node.lineno}: {node.name} has no docstring" for node in silent]


def public(owner: ast.Module | ast.ClassDef) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in owner.body if isinstance(node, kinds) and not node.name.startswith("_")]


def only_fields(node: ast.ClassDef) -> bool:
    return all(isinstance(item, ast.AnnAssign | ast.Assign | ast.Pass) for item in node.body)


def is_obvious(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    statements = sum(isinstance(item, ast.stmt) for item in ast.walk(node)) - 1
    return node.name in SURFACE or statements <= LONGEST_UNDOCUMENTED


def foreign_drivers(source: Source) -> list[str]:
    """Drivers share `abilities`, `base` and `kernel` of `lab.drivers`, and never know each other."""
    parts = source.name.split(".")
    if parts[:2] != ["lab", "drivers"] or len(parts) < 3:
        return []
    return [
        f"line {line}: {name} is of another driver"
        for line, name in imports(source, source.name.rpartition(".")[0])
        if name.startswith("lab.drivers.") and name.split(".")[2] not in (parts[2], "abilities", "base", "kernel")
    ]


RULES: list[Rule] = [
    late_imports,
    foreign_imports,
    outside_world,
    gpl_imports,
    long_file,
    long_functions,
    module_docstring,
    public_docstrings,
    foreign_drivers,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    assert SOURCES, "no source found"
    complaints = [f"{source.name}: {text}" for source in SOURCES for text in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


LONG = "\n".join(["def f():", *["    x = 1"] * (LONGEST_FUNCTION - 1)])
NINE = "\n".join(["    x = 1"] * (LONGEST_UNDOCUMENTED + 1))

BAD: list[tuple[Rule, str, str]] = [
    (late_imports, "lab.cli.up", "def f():\n    import json"),
    (late_imports, "lab.cli.up", "async def f():\n    from lab import plan"),
    (late_imports, "nodes.wire.arp", "class A:\n    def f(self):\n        if x:\n            import json"),
    (late_imports, "nodes.wire.arp", "class A:\n    import json"),
    (foreign_imports, "nodes.wire.arp", "import yaml"),
    (foreign_imports, "nodes.io.reactor", "from pydantic import BaseModel"),
    (foreign_imports, "nodes.stack", "import lab.model"),
    (foreign_imports, "nodes.agent", "if TYPE_CHECKING:\n    import rich.table"),
    *[(outside_world, f"nodes.{room}.x", "import time") for room in SANS_IO],
    (outside_world, "nodes.stack", "from socket import AF_INET"),
    (outside_world, "nodes.wire.x", "import os.path"),
    (outside_world, "nodes.wire.x", "import random\nx = random.randint(0, 5)"),
    (outside_world, "nodes.wire.x", "import random as r\nx = r.SystemRandom()"),
    (outside_world, "nodes.wire.x", "from random import choice"),
    (outside_world, "nodes.wire.x", "from random import Random\nx = Random()"),
    (outside_world, "nodes.wire.x", "import asyncio as a, logging as b"),
    (outside_world, "nodes.wire.x", "print('here')"),
    (outside_world, "nodes.wire.x", "with open('x') as f:\n    pass"),
    (gpl_imports, "lab.cli.up", "from scapy.all import Ether"),
    (gpl_imports, "nodes.io.x", "import pytcp.stack"),
    (long_file, "lab.cli.up", "x = 1\n" * LONGEST_FILE),
    (long_functions, "lab.cli.up", LONG),
    (long_functions, "lab.cli.up", "class A:\n    async " + LONG.replace("\n", "\n    ")),
    (module_docstring, "lab.cli.up", "x = 1"),
    (public_docstrings, "nodes.wire.x", f"def f():\n{NINE}"),
    (
        public_docstrings,
        "nodes.wire.x",
        "class A:\n    def __init__(self):\n        pass\nclass B(A):\n    '''Text.'''\n    def f(self):\n        pass",
    ),
    (
        public_docstrings,
        "nodes.wire.x",
        f"class A:\n    '''Text.'''\n    def f(self):\n    {NINE.replace(chr(10), chr(10) + '    ')}",
    ),
    (foreign_drivers, "lab.drivers.docker.driver", "from lab.drivers.netns import fabric"),
    (foreign_drivers, "lab.drivers.docker.driver", "from lab.drivers import netns"),
]

GOOD: list[tuple[Rule, str, str]] = [
    (late_imports, "lab.drivers.docker.driver", "def f():\n    import docker"),
    (late_imports, "nodes.wire.arp", "try:\n    import a\nexcept ImportError:\n    import b"),
    (
        foreign_imports,
        "nodes.wire.arp",
        "from __future__ import annotations\nimport struct\nfrom nodes.wire import udp",
    ),
    (foreign_imports, "nodes.presentation.tls", "import cryptography"),
    (
        outside_world,
        "nodes.wire.x",
        "from random import Random\ndef f(random: Random):\n    return random.getrandbits(8)",
    ),
    (outside_world, "nodes.wire.x", "import random\nx = random.Random(7)"),
    (outside_world, "nodes.wire.x", "import errno, struct"),
    (outside_world, "nodes.io.reactor", "import time, select, socket, os"),
    (long_file, "lab.cli.up", "x = 1\n" * (LONGEST_FILE - 1)),
    (long_functions, "lab.cli.up", LONG.rpartition("\n")[0]),
    (module_docstring, "lab.cli", "\n"),
    (
        public_docstrings,
        "nodes.wire.x",
        f"def _f():\n{NINE}\nclass A:\n    x: int\n    y: str = ''\ndef g():\n    return 1",
    ),
    (
        foreign_drivers,
        "lab.drivers.docker.driver",
        "from lab.drivers.base import Driver\nimport lab.drivers.docker.api",
    ),
]


@pytest.mark.parametrize(("rule", "name", "text"), BAD)
def test_a_rule_can_fail(rule: Rule, name: str, text: str) -> None:
    assert rule(Source.of(name, text))


@pytest.mark.parametrize(("rule", "name", "text"), GOOD)
def test_a_rule_lets_the_rest_pass(rule: Rule, name: str, text: str) -> None:
    assert rule(Source.of(name, text)) == []


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in BAD} == {rule for rule, _, _ in GOOD} | {gpl_imports} == set(RULES)


# --- cycles and contracts ------------------------------------------------------------------------------------------


def test_no_import_cycles() -> None:
    packages = frozenset(module_name(path) for path in FILES if path.name == "__init__.py")
    assert find_cycle(import_graph(SOURCES, packages)) == []


@pytest.mark.parametrize(
    "texts",
    [
        {"p.a": "import p.b", "p.b": "import p.a"},
        {"p.a": "from p import b", "p.b": "from p.a import x"},
        {"p.a": "from . import b", "p.b": "from .c import x", "p.c": "def f():\n    from .a import y"},
        {"p.a": "from ..p import b", "p.b": "if TYPE_CHECKING:\n    pass\nelse:\n    from p.a import X"},
        {"p": "from p.a import X", "p.a": "from p import Y"},
    ],
)
def test_a_cycle_is_found(texts: dict[str, str]) -> None:
    sources = [Source.of(name, text) for name, text in texts.items()]
    assert find_cycle(import_graph(sources, frozenset({"p"} & set(texts))))


def test_a_tree_has_no_cycle() -> None:
    types = "if TYPE_CHECKING:\n    from p.a import X"  # a type may be named from below
    texts = {"p": "", "p.a": "from p import b, c\nimport json", "p.b": "from .c import x", "p.c": types}
    assert find_cycle(import_graph([Source.of(*item) for item in texts.items()], frozenset({"p"}))) == []


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_import_contracts_of_pyproject() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.slow
def test_the_import_contracts_can_be_broken(tmp_path: Path) -> None:
    """A copy of the packages in which the lowest layer imports the highest, and nodes imports lab."""
    for folder in ("nodes", "lab"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "nodes" / "wire" / "arp.py").open("a") as file:
        file.write("\nimport nodes.transport\nimport lab.errors\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1
    assert "nodes never imports lab BROKEN" in result.stdout
    assert "the layers of a node BROKEN" in result.stdout
