"""`lab requirements`: the requirements of the RFCs, and the tests that show them."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import lab
from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_note, print_table
from lab.errors import EnvironmentLackError, UserInputError

STATUSES = ("covered", "not covered", "different", "not tested")
CHECKOUT = Path(lab.__file__).parent.parent


def main(
    only: Annotated[
        str | None, typer.Option("--only", metavar="STATUS", help=f"Those of one status: {', '.join(STATUSES)}.")
    ] = None,
    tests: Annotated[bool, typer.Option("--tests", help="Name the tests of each.")] = False,
    json: JsonOption = False,
) -> None:
    """List what the RFCs require of the stack, which tests show it, and where it differs, with the reason."""
    if only is not None and only not in STATUSES:
        raise UserInputError(f"--only {only!r}: no such status", hint=f"one of: {', '.join(STATUSES)}")
    known = _load().table()
    rows = [row for row in known if only is None or row.status == only]
    if json:
        print_json([{**row._asdict(), "tests": list(row.tests), "status": row.status} for row in rows])
        return
    last = [(_tests(row.tests) if tests else row.note or row.text) for row in rows]
    print_table(
        ["ID", "LEVEL", "STATUS", "TESTS" if tests else "REQUIREMENT, OR WHY NOT"],
        [(row.id, row.level, row.status, text) for row, text in zip(rows, last, strict=True)],
    )
    counts = Counter(row.status for row in known)
    print_note(", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]))


def _tests(names: tuple[str, ...]) -> str:
    return ", ".join(name.rpartition("/")[2] for name in names) or "-"


def _load() -> ModuleType:
    """The table belongs to the tests, and is not installed with the package."""
    path = CHECKOUT / "tests" / "requirements.py"
    if not path.exists():
        raise EnvironmentLackError(
            "the table of requirements is part of the source, and this is an installed package",
            hint="run it from a checkout",
        )
    spec = importlib.util.spec_from_file_location("layerlab_requirements", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
