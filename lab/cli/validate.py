"""`lab validate`: check topology files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption
from lab.cli.output import counted, print_error, print_json, print_note
from lab.cli.topology_file import plan_of
from lab.errors import LabError
from lab.model.errors import TopologyError


def main(
    topologies: Annotated[
        list[Path], typer.Argument(metavar="TOPOLOGY", help="Topology files (YAML), or FILE.py:NAME.", readable=False)
    ],
    json: JsonOption = False,
) -> None:
    """Check topology files and say everything that is wrong with them. Nothing is created."""
    code = 0
    findings = []
    for topology in topologies:
        try:
            plan = plan_of(topology, quiet=json)
        except LabError as error:
            code = error.exit_code
            findings.append({"file": str(topology), "valid": False, "problems": _problems(error, topology)})
            if not json:
                print_error(error.message, error.hint)
        else:
            findings.append({"file": str(topology), "valid": True, "problems": [], "warnings": list(plan.warnings)})
            if not json:
                print_note(f"{topology}: valid, {counted(len(plan.nodes), 'node')}, {counted(len(plan.links), 'link')}")
    if json:
        print_json(findings)
    if code:
        raise typer.Exit(code)


def _problems(error: LabError, topology: Path) -> list[dict[str, Any]]:
    """Each with its place; a file that cannot be read has none."""
    if isinstance(error, TopologyError):
        return [asdict(problem) for problem in error.problems]
    return [{"file": str(topology), "line": None, "column": None, "message": error.message, "hint": error.hint}]
