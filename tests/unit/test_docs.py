"""The documentation, held against the program: topologies load, commands and options exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel

from lab.cli.main import COMMANDS, app
from lab.model.arq import Arq
from lab.model.container import ContainerNode, Healthcheck, Mount
from lab.model.explain import keys_of
from lab.model.impairment import LinkImpair
from lab.model.impairment_faults import Corrupt, Delay, Drop, Duplicate
from lab.model.impairment_parts import PARTS, Loss
from lab.model.impairment_queues import PARTS as QUEUE_PARTS
from lab.model.impairment_queues import Queue, Slot
from lab.model.load import loads
from lab.model.schedule import Entry
from lab.model.tcp import Tcp
from lab.model.topology import Defaults, Host, Hub, Interface, Link, Network, Router, SpanningTree, Switch, Topology
from lab.plan.planner import make_plan
from nodes.application.catalogue import APPLICATIONS, Option
from nodes.transport.tcp.settings import DEFAULTS, settings_from

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOPOLOGIES = sorted((ROOT / "topologies").glob("*.yml"))
REFERENCE = (ROOT / "docs" / "topology.md").read_text(encoding="utf-8")

Place = tuple[str, int]


def blocks(path: Path, language: str) -> Iterator[tuple[Place, str]]:
    """The fenced blocks of a language, each with the place where it begins."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield (path.name, text.count("\n", 0, match.start()) + 1), match[1]


def commands(path: Path) -> Iterator[tuple[Place, str]]:
    """What follows `lab ` in code spans and in the lines of shell blocks."""
    text = path.read_text(encoding="utf-8")
    for match in re.finditer(r"`lab ([^`]+)`", text):
        yield (path.name, text.count("\n", 0, match.start()) + 1), " ".join(match[1].split())
    for (name, first), block in blocks(path, "sh"):
        for number, line in enumerate(block.splitlines(), first + 1):
            if line.startswith("lab "):
                yield (name, number), line.removeprefix("lab ")


def complaint(line: str) -> str | None:
    """What is wrong with a command line, which may hold words in capitals for what a person fills in."""
    words = shlex.split(line, comments=True)
    words = words[: words.index("--")] if "--" in words else words
    name, *rest = words
    if name.isupper():
        return None
    if name not in COMMANDS:
        return f"no command {name!r}"
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        if not rest or rest[0] not in command.commands:
            return f"{name} has no command {rest[0] if rest else ''!r}"
        command = command.commands[rest[0]]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    if name == "start" and len(rest) > 1:
        if rest[1].isupper():
            return None
        known |= {f"--{option}" for option in APPLICATIONS[rest[1]].options} if rest[1] in APPLICATIONS else set()
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]
    return f"{name} has no option {unknown[0]}" if unknown else None


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def section(title: str) -> str:
    """A section of the reference, without those below it."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


def keys(title: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)


@pytest.mark.parametrize(
    ("place", "text"),
    [pytest.param(*block, id=":".join(map(str, block[0]))) for p in PAGES for block in blocks(p, "yaml")],
)
def test_topologies_in_pages_work(place: Place, text: str) -> None:
    assert make_plan(loads(text, place[0])).warnings == ()


def test_commands_in_pages_exist() -> None:
    found = [(place, line) for path in [*PAGES, *TOPOLOGIES] for place, line in commands(path)]
    assert len(found) > 40
    assert [(place, wrong) for place, line in found if (wrong := complaint(line))] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("pign a b", "no command 'pign'"),
        ("ping a b --cuont 3", "ping has no option --cuont"),
        ("exec --labb x k -- ping -c 3 a", "exec has no option --labb"),
        ("exec k -- ping --cuont 3 a", None),
        ("ping a b --help  # --not-this", None),
        ("COMMAND --help", None),
        ("start a source --to b --bytes 1MB", None),
        ("start a source --to b --octets 1MB", "start has no option --octets"),
        ("start a KIND --OPTION VALUE", None),
        ("experiment run slow-start --set x=1", None),
        ("experiment walk slow-start", "experiment has no command 'walk'"),
        ("experiment list --all", "experiment has no option --all"),
    ],
)
def test_a_wrong_command_is_found(line: str, wrong: str | None) -> None:
    assert complaint(line) == wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


COMMON = {"kind", "trace", "capture"}
CONTAINER = set(ContainerNode.model_fields)


@pytest.mark.parametrize(
    ("title", "models", "elsewhere"),
    [
        ("The file", (Topology,), set()),
        ("Nodes", (Hub,), {"kind"}),
        ("Hosts and routers", (Host, Router), COMMON | CONTAINER),
        ("Containers", (ContainerNode,), set()),
        ("Mounts", (Mount,), set()),
        ("Health checks", (Healthcheck,), set()),
        ("Switches", (Switch, SpanningTree), COMMON),
        ("Interfaces", (Interface,), set()),
        ("Links", (Link,), set()),
        ("ARQ", (Arq,), set()),
        ("Networks", (Network,), set()),
        ("Defaults", (Defaults,), set()),
        ("TCP", (Tcp,), set()),
        ("Impairments", (LinkImpair,), set()),
        ("Losses", (Loss,), {"correlation"}),
        ("Queues and slots", (Queue,), set()),
        ("Faults", (Drop, Delay, Duplicate, Corrupt), set()),
        ("Schedules", (Entry,), set()),
    ],
)
def test_reference_has_every_key(title: str, models: tuple[type[BaseModel], ...], elsewhere: set[str]) -> None:
    fields = {name for model in models for name in keys_of(model)} - elsewhere
    shown = [key for key in keys(title) if key not in ("host", "router", "switch", "hub")]
    assert sorted(shown) == sorted(fields)


def test_reference_has_the_parts_of_impairments() -> None:
    """Tables that name the keys of a part in one row, and sentences about slots."""
    for title, names, parts in (
        ("Losses", ("gemodel", "state", "timed"), PARTS),
        ("Queues and slots", ("drop_tail", "red", "codel", "fq_codel", "pie"), QUEUE_PARTS),
        ("Impairments", ("burst", "corrupt", "duplicate", "reorder", "rate", "bucket"), PARTS),
    ):
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section(title), re.MULTILINE))
        for name in names:
            assert set(re.findall(r"`(\w+)`", rows[name])) == set(keys_of(parts[name])), name
    assert all(f"`{key}`" in section("Queues and slots") for key in keys_of(Slot))


@pytest.mark.parametrize(
    ("title", "model"),
    [("Switches", Switch), ("Switches", SpanningTree), ("Links", Link), ("Defaults", Defaults), ("The file", Topology)],
)
def test_reference_has_the_defaults(title: str, model: type[BaseModel]) -> None:
    """A default in a table, where it is a plain value, is the model's."""
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]*)` \|", section(title), re.MULTILINE))
    for name, field in model.model_fields.items():
        if type(field.default) in (bool, int, float, str) and field.default != "" and name != "kind":
            value = field.default
            assert rows[name] == (
                str(value).lower() if isinstance(value, bool) else f"{value:g}" if type(value) is float else str(value)
            )


def test_reference_has_the_defaults_of_tcp() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]*)` \|", section("TCP"), re.MULTILINE))
    written = {name: loads(f"nodes: {{a: {{tcp: {{{name}: {text}}}}}}}", "t.yml") for name, text in rows.items()}
    for name, topology in written.items():
        value = topology.nodes["a"].tcp.written()[name]  # type: ignore[union-attr]
        assert settings_from({name: value}) == DEFAULTS, name


def option_row(option: Option) -> str:
    """One line of an application's table."""
    value = option.default
    shown = f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"
    return f"| `{option.name}` | {option.allowed} | {'required' if option.required else shown} | {option.help} |"


@pytest.mark.parametrize("kind", APPLICATIONS.values(), ids=lambda kind: kind.name)
def test_reference_has_the_catalogue(kind: object) -> None:
    text = section(kind.name)  # type: ignore[attr-defined]
    help_text: str = kind.help  # type: ignore[attr-defined]
    assert help_text[1:] in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [option_row(option) for option in kind.options.values()]  # type: ignore[attr-defined]


def test_reference_has_every_application() -> None:
    titles = re.findall(r"^### (\w+)$", REFERENCE.partition("## Applications")[2], re.MULTILINE)
    assert titles == list(APPLICATIONS)
