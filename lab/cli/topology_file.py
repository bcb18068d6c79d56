"""What commands that read a topology file share. Apart from the others, which start faster without the model."""

from __future__ import annotations

from pathlib import Path

from pydantic_core import PydanticCustomError

from lab.cli.output import print_warning
from lab.errors import UserInputError
from lab.exchange.reading import read
from lab.model.names import node_name
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.impairment import Executor


def plan_of(
    path: Path,
    seed: int | None = None,
    *,
    name: str | None = None,
    impair_by: Executor | None = None,
    driver: str | None = None,
    quiet: bool = False,
) -> Plan:
    """Load and check a topology; seed, name and executor replace the file's. Warnings go to standard error."""
    return plan_and_source(path, seed, name=name, impair_by=impair_by, driver=driver, quiet=quiet)[0]


def plan_and_source(
    path: Path,
    seed: int | None = None,
    *,
    name: str | None = None,
    impair_by: Executor | None = None,
    driver: str | None = None,
    quiet: bool = False,
) -> tuple[Plan, str]:
    """The plan, and the text of a topology file that says the same."""
    topology, source = read(path)
    if name is not None:
        topology = topology.model_copy(update={"name": checked_name(name)})
    plan = make_plan(topology, seed, impair_by, driver)
    if not quiet:
        for warning in plan.warnings:
            print_warning(warning)
    return plan, source


def checked_name(name: str) -> str:
    """A name for a lab, as topology files allow it. Raises UserInputError."""
    try:
        return node_name(name)
    except PydanticCustomError as error:
        raise UserInputError(f"--name: {error.message()}", hint=str((error.context or {}).get("hint", ""))) from None
