"""What labs are opened with: topologies, drivers, options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from pydantic_core import PydanticCustomError

from lab.api.simulated import SimulatedLab
from lab.api.times import nanoseconds
from lab.drivers.sim.network import check, with_stand_ins
from lab.engine.launch import check_system
from lab.engine.runs import Run
from lab.errors import NodeError, UserInputError
from lab.exchange.reading import read
from lab.model.errors import did_you_mean
from lab.model.load import loads
from lab.model.names import node_name
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.errors import StackError
from nodes.impairment import Executor

Driver = Literal["netns", "docker", "mininet", "sim"]
DRIVERS: tuple[Driver, ...] = ("netns", "docker", "mininet", "sim")
Topology = str | Path | Plan
"""The path of a file, or `my_topo.py:MyTopo` of Mininet's; the text of a file (it has several lines); or a plan."""


class Virtual(TypedDict, total=False):
    """Options that have no meaning, and no effect, in real time. Without them all is as fast as can be, and limited as
    nodes/simulation/watch.py says."""

    speed: float | None
    """Virtual seconds per second."""
    patience: float | None
    """Real seconds that one step of a program may take."""
    idle: str | float | None
    """Virtual time without a sign of the script, or of programs that it waits for."""
    turns: int
    """Of the event loop without virtual time going on."""
    stand_in: bool
    """Our stack takes the place of the kernel's, where a host or router wants that: in virtual time there is none."""


class Options(Virtual, total=False):
    seed: int | None
    name: str | None
    runs: str | Path | None
    impair: Executor | None


def check_driver(driver: str) -> None:
    """Raises UserInputError, and EnvironmentLackError where the machine cannot have it."""
    if driver not in DRIVERS:
        raise UserInputError(f"there is no driver {driver!r}", hint=f"there are {', '.join(DRIVERS)}")
    if driver != "sim":
        check_system()


IN_TEXT = "topology"
"""What messages call the text of a topology, in the place of a file."""


def plan_of(
    topology: Topology,
    driver: str,
    *,
    seed: int | None = None,
    name: str | None = None,
    impair: Executor | None = None,
) -> tuple[Plan, str]:
    """The plan and the text that it was made from. Raises what `check_driver` does, and UserInputError."""
    check_driver(driver)
    if isinstance(topology, Plan):
        if (seed, name, impair) != (None, None, None):
            raise UserInputError("a plan has its seed, name and executors already")
        return topology, topology.source
    if isinstance(topology, str) and "\n" in topology:
        source, model = topology, loads(topology, IN_TEXT)
    else:
        model, source = read(topology)
    if name is not None:
        try:
            model = model.model_copy(update={"name": node_name(name)})
        except PydanticCustomError as error:
            raise UserInputError(error.message()) from None
    return make_plan(model, seed, impair, driver), source


def settings_of(virtual: Mapping[str, Any]) -> dict[str, Any]:
    """For `Simulation`. Raises UserInputError."""
    for key in virtual:
        if key not in Options.__annotations__:
            raise UserInputError(f"there is no option {key!r}", hint=did_you_mean(key, list(Options.__annotations__)))
    settings = {key: value for key, value in virtual.items() if key in Virtual.__annotations__}
    if settings.get("idle") is not None:
        settings["idle"] = nanoseconds(settings["idle"])
    for key in ("speed", "patience"):
        value = settings.get(key)
        if value is not None and not 0 < value < math.inf:
            raise UserInputError(f"a {key} of {value}", hint="a number above 0, or None for no limit")
    return settings


def simulated(plan: Plan, source: str, runs: Path | None, settings: Mapping[str, Any]) -> SimulatedLab:
    """Raises LabError; then the run has failed."""
    settings = dict(settings)
    if settings.pop("stand_in", False):
        plan = with_stand_ins(plan)
    check(plan)
    run = Run.create(plan, driver="sim", source=source, parent=runs)
    try:
        return SimulatedLab(plan, run, **settings)
    except StackError as error:
        run.finish("failed", reason=error.message)
        raise NodeError(error.message, hint=error.hint) from error
    except BaseException as error:
        run.finish("failed", reason=reason_of(error))
        raise


def reason_of(error: BaseException) -> str:
    """For the run: one line."""
    return next(iter(told_of(error).splitlines()), "")


def told_of(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
