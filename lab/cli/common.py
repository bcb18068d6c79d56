"""What several commands share: options, and which lab, node or run is meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from lab.engine import registry
from lab.engine.client import LabClient, NodeStatus
from lab.engine.runs import Run, runs_folder
from lab.errors import StateError, UserInputError

LAB_VARIABLE = "LAYERLAB_LAB"

LabOption = Annotated[
    str | None,
    typer.Option("--lab", "-l", metavar="LAB", envvar=LAB_VARIABLE, help="The lab; not needed while one is up."),
]
DriverOption = Annotated[
    Literal["netns", "docker", "mininet", "sim"],
    typer.Option("--driver", metavar="netns|docker|mininet|sim", help="What nodes live in; sim is virtual time."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node of the lab.")]

TopologyArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TOPOLOGY",
        help="A topology file (YAML), or FILE.py:NAME with a Mininet Topo.",
        show_default=False,
        readable=False,
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, max=(1 << 64) - 1, help="Replaces the file's seed.", show_default=False),
]


def which_lab(name: str | None, naming: str = "name one with --lab") -> str:
    """The lab that is meant: the named one, or the only one that is up. `naming` is the hint where there are several.
    Raises StateError or UserInputError."""
    if name is not None:
        return name
    running = registry.running()
    if not running:
        raise StateError("no lab is up", hint="`lab up TOPOLOGY` starts one")
    if len(running) > 1:
        raise UserInputError(f"several labs are up: {', '.join(running)}", hint=f"{naming}, or set {LAB_VARIABLE}")
    return running[0]


def open_lab(name: str | None) -> LabClient:
    return LabClient(which_lab(name))


def find_run(given: Path | None, lab: str | None) -> Run:
    """The run that is meant: a folder, that of a lab that is up, with all so far, or the latest one here."""
    if given is not None:
        run = Run(given)
        run.facts()
        return run
    running = registry.running()
    if lab in running or (lab is None and len(running) == 1):
        client = open_lab(lab)
        client.flush()
        folder = client.status()["run"]
        client.close()
        return Run(Path(folder))
    base = runs_folder()
    folders = sorted(base.glob(f"{lab}-*" if lab else "*-*"), key=lambda path: path.stat().st_mtime)
    if not folders:
        raise UserInputError(
            f"no run in {os.path.relpath(base)}", hint="`lab up` makes one; --run FOLDER names another"
        )
    return Run(folders[-1])


def status_of(client: LabClient, node: str) -> NodeStatus:
    """Raises UserInputError for a node that does not exist."""
    nodes = client.nodes()
    if node not in nodes:
        raise UserInputError(f"no node {node!r} in lab {client.lab}", hint=f"its nodes: {', '.join(sorted(nodes))}")
    return nodes[node]


def require_our_stack(client: LabClient, node: str, instead: str) -> None:
    """Raises UserInputError for a node that does not exist or whose stack is the kernel's."""
    status = status_of(client, node)
    if status.stack == "kernel" and status.kind != "switch":
        raise UserInputError(f"{node!r} has the kernel's stack, not ours", hint=f"`{instead}`")
    if status.kind not in ("host", "router"):
        raise UserInputError(f"{node!r} is a {status.kind}, it has no addresses", hint="hosts and routers have")
