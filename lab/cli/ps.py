"""`lab ps`: which labs are up, and which nodes a lab has."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_note, print_table, print_warning
from lab.engine import registry
from lab.engine.client import LabClient
from lab.errors import LabError, StateError

PATIENCE = 3.0
"""Seconds for a supervisor's answer. It needs milliseconds, except while a large lab comes up."""


def main(
    lab: Annotated[str | None, typer.Argument(metavar="LAB", help="Show the nodes of this lab.")] = None,
    json: JsonOption = False,
) -> None:
    """List the labs that are up; with a name, the nodes and links of that lab."""
    if lab is None:
        _list_labs(json)
    else:
        _show_lab(lab, json)


def _list_labs(json: bool) -> None:
    rows: list[dict[str, Any]] = []
    silent: list[LabError] = []
    for name in registry.running():
        try:
            rows.append(_status(name))
        except StateError:  # gone since
            continue
        except LabError as error:  # just coming up, or stuck: the others are still worth a line
            silent.append(error)
    if json:
        print_json(rows)
    elif rows:
        cells = [
            (row["lab"], row["driver"], _count(row), len(row["links"]), row["supervisor"], row["run"]) for row in rows
        ]
        print_table(["LAB", "DRIVER", "NODES", ">LINKS", ">PID", "RUN"], cells)
    elif not silent:
        print_note("no lab is up")
    for failure in silent:
        print_warning(failure.message)


def _show_lab(lab: str, json: bool) -> None:
    status = _status(lab)
    if json:
        print_json(status)
        return
    print_table(
        ["NODE", "KIND", "STACK", "STATE", "ADDRESSES"],
        [
            (node["name"], node["kind"], node["stack"], _state(node), " ".join(node["addresses"]))
            for node in status["nodes"]
        ],
    )
    down = [link["name"] for link in status["links"] if not link["up"]]
    if down:
        print(f"links down: {', '.join(down)}")


def _status(lab: str) -> dict[str, Any]:
    client = LabClient(lab, timeout=PATIENCE)
    try:
        return {**client.status(), "supervisor": client.supervisor_pid}
    finally:
        client.close()


def _count(status: dict[str, Any]) -> str:
    running = sum(node["state"] == "running" for node in status["nodes"])
    return f"{running}/{len(status['nodes'])}"


def _state(node: dict[str, Any]) -> str:
    if node["state"] != "dead":
        return str(node["state"])
    status = node["exit_status"]
    return f"dead (signal {-status})" if status < 0 else f"dead (exit {status})"
