"""The documentation is true: every command of the README runs, every link leads somewhere, every topology works.

The commands are read from the README's `sh` blocks and run in their order, in a folder of their own, by the user who
runs the tests. What would never end is ended as a person would: `--follow` by Ctrl-C, the shell by `exit`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.engine.runs import Run
from tests.system.conftest import Needs
from tests.system.labs import Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
TOPOLOGIES = sorted((ROOT / "topologies").glob("*.yml"))


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in a language, none for plain text."""
    parts = re.split(r"^```(.*)\n", README, flags=re.MULTILINE)[1:]  # fence, block, closing fence, text, fence ...
    return [text for fence, text in zip(parts[::4], parts[1::4], strict=True) if fence == language]


def commands() -> Iterator[list[str]]:
    """The command lines of the `sh` blocks, without their comments."""
    for block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def user(needs: Needs) -> Iterator[Labs]:
    """A desk in a network namespace without any lab: names are a matter of the namespace in which `lab up` runs."""
    needs("root", "veth", "bridge", "packet sockets", "unshare", "nsenter", "ping")
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as holder:
        here = Path("/proc/self/ns/net").readlink()
        there = Path(f"/proc/{holder.pid}/ns/net")
        wait_for(lambda: there.readlink() != here, PATIENCE)
        own = own_account()
        with Labs(replace(own, command=("nsenter", f"--net={there}", *own.command))) as desk:
            try:
                yield desk
            finally:
                desk.run("down", "--all")
        assert holder.stdin is not None
        holder.stdin.close()


def test_the_commands(user: Labs) -> None:
    """In order, as they stand there, in a folder with the README's first topology, its script and the examples."""
    user.write(next(iter(blocks("yaml"))), "pair.yml")
    user.write(next(block for block in blocks("python") if "quotes.py" in block), "quotes.py")
    shutil.copytree(ROOT / "topologies", user.folder / "topologies")
    seen = set()
    for words in commands():
        if words[0] == "make":
            continue
        assert words[0] == "lab", words
        if "--follow" in words:
            _interrupt(user.start(*words[1:]))
        elif words[1] == "run" and words[-1] == "netns":
            _interrupt_the_script(user, user.start(*words[1:]))
        else:
            user.run(*words[1:], code=0, SHELL="/bin/sh")
        seen.add(words[1])
    assert seen >= {
        "up",
        "ping",
        "impair",
        "down",
        "validate",
        "plan",
        "ps",
        "state",
        "events",
        "capture",
        "exec",
        "shell",
        "run",
    }
    assert json.loads(user.run("ps", "--json", code=0).out) == []
    assert {run.name.partition("-")[0] for run in user.runs.iterdir()} == {"pair", "demo", "quotes"}


def _interrupt(process: subprocess.Popen[str]) -> None:
    """A command that goes on until Ctrl-C, for which the README's table of exit codes has 130."""
    assert process.stderr is not None
    assert "Ctrl-C" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def _interrupt_the_script(user: Labs, process: subprocess.Popen[str]) -> None:
    """It would take an hour. Its lab is brought down first."""

    def runs() -> bool:
        return "quotes" in [row["lab"] for row in json.loads(user.run("ps", "--json", code=0).out)]

    wait_for(runs, PATIENCE)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_the_make_targets(needs: Needs) -> None:
    """Those that the README names are there, and make can read them."""
    needs("make")
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert {"demo", "test", "check", "bench"} <= set(targets)
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_run_folder_is_as_described(labs: Labs) -> None:
    """The tree under "What a run leaves"."""
    (tree,) = (block for block in blocks("") if block.startswith("runs/"))
    described = [line.split()[0] for line in tree.splitlines() if line.startswith("  nodes/")]
    assert described == ["nodes/a/trace.sqlog", "nodes/a/capture.pcapng", "nodes/a/state.json"]
    text = "name: pair\ndefaults: {capture: true}\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"
    name = labs.up(text)
    labs.run("down", name, code=0)
    (run,) = labs.runs.iterdir()
    assert re.fullmatch(rf"{name}-\d{{8}}-\d{{6}}", run.name)
    tops = re.search(r"topology.yml +plan.json +run.json", tree)
    assert tops is not None
    for path in (*tops[0].split(), *described):
        assert (run / path).is_file(), path


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths(document: Path) -> None:
    """Every link and every path of this repository that a document names exists."""
    text = document.read_text()
    named = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [link for link in named if not (document.parent / link).exists()]
    paths = re.findall(r"`((?:nodes|lab|tests|topologies|docs|compose)/[\w./*-]*)`", text)
    missing += [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]
    assert missing == []


# --- topologies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda path: path.stem)
def test_topology(labs: Labs, topology: Path) -> None:
    """It is valid without a warning, comes up, every node of ours reaches every host and router, it goes down, and
    nothing is left."""
    assert topology.read_text().startswith("# ")
    done = labs.run("validate", str(topology), code=0)
    assert "warning" not in done.err
    name = labs.new_name()
    labs.run("up", str(topology), "--name", name, code=0)
    with Bench(labs, name) as bench:
        nodes = [node for node in bench.client.nodes().values() if node.kind in ("host", "router")]
        ours = [node.name for node in nodes if node.stack == "layerlab"]
        pairs = [(source, node.name) for source in ours for node in nodes if node.name != source]
        left = set(pairs)

        def all_reach() -> bool:
            left.difference_update(
                [pair for pair in sorted(left) if bench.ping(*pair, count=1, timeout=1.0)["received"]]
            )
            return not left

        wait_for(all_reach, PATIENCE + 0.05 * len(pairs), lambda: left)
        labs.run("down", name, code=0)
        assert Run(bench.folder).facts()["outcome"] == "down"
    labs.assert_nothing_left()
