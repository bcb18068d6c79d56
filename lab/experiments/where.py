"""On which drivers an experiment runs, and why not on the others: in the drivers' own words.

What a driver cannot do it says itself (lab/drivers/abilities.py); what an experiment needs is in its topology, but for
virtual time, which `only_virtual` asks for, and `lab`, which is not in the image of containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.drivers.abilities import CANNOT, Cannot, refusal, require_for
from lab.errors import EnvironmentLackError
from lab.experiments.experiment import Experiment, Parameter
from lab.model.load import loads
from lab.plan.planner import make_plan


@dataclass(frozen=True, slots=True)
class _Named:
    """A driver of Layerlab's that is not there, for what it says of itself."""

    name: str
    cannot: Cannot


def drivers_of(experiment: Experiment) -> tuple[str, ...]:
    """With the parameters that it has by itself; `sim` first. Raises UserInputError for a topology that is none."""
    names = sorted(CANNOT, key=lambda name: name != "sim")
    return tuple(name for name in names if why_not(experiment, name, experiment.parameters) is None)


def why_not(experiment: Experiment, driver: str, parameters: Mapping[str, Parameter]) -> EnvironmentLackError | None:
    """The error for a driver that cannot have it; None where it can. Raises UserInputError for a topology that is
    none."""
    cannot = CANNOT[driver]
    if experiment.only_virtual and "virtual" in cannot:
        error = refusal(driver, "virtual", experiment.name)
        return EnvironmentLackError(f"{error.message}, and {experiment.only_virtual}", hint="leave out `--driver`")
    if driver == "docker" and experiment.runs_programs_of_lab:
        message = (
            f"{experiment.name}: it runs programs of `lab` in its nodes, and the driver docker's containers have none"
        )
        return EnvironmentLackError(message, hint="netns and mininet can: `--driver netns`")
    plan = make_plan(loads(experiment.topology_with(parameters), experiment.name), None, None, driver)
    try:
        require_for(_Named(driver, cannot), plan)
    except EnvironmentLackError as error:
        return EnvironmentLackError(f"{experiment.name}: {error.message}", hint=error.hint)
    return None
