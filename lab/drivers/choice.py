"""Which drivers there are for labs of processes, by name, and what some of them leave behind.

A driver is imported when it is asked for: what it needs (a container engine's library, Mininet) is not to be installed
by everybody.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from lab.errors import EnvironmentLackError

if TYPE_CHECKING:  # the beginning of the command asks for the names alone
    from lab.drivers.base import Driver, Epoch
    from lab.plan.values import Plan

DriverName = Literal["netns", "docker", "mininet"]
DRIVERS: tuple[DriverName, ...] = get_args(DriverName)

_CLASSES: dict[DriverName, str] = {"netns": "NetnsDriver", "docker": "DockerDriver", "mininet": "MininetDriver"}


class Cleared(NamedTuple):
    """What was left of a dead lab outside of its supervisor, and is gone now."""

    lab: str
    run: str
    containers: int


def remove_leftovers(lab: str | None = None) -> list[Cleared]:
    """Of the drivers whose nodes do not end with the supervisor: of this user's dead labs, or of one. Raises
    EnvironmentLackError where it cannot be told, DriverError where something stays."""
    module = _import("docker", "leftovers")
    return [Cleared(found.lab, found.run, found.containers) for found in module.remove_leftovers(lab)]


def load(name: DriverName) -> None:
    """Import a driver. Raises EnvironmentLackError where what it needs is not installed."""
    _import(name, "driver")


def make_driver(name: DriverName, plan: Plan, run: Path, epoch: Epoch) -> Driver:
    """Raises EnvironmentLackError where what the driver needs is not installed."""
    module = _import(name, "driver")
    driver: Driver = getattr(module, _CLASSES[name])(plan, run, epoch)
    return driver


def _import(driver: DriverName, part: str) -> Any:
    try:
        return importlib.import_module(f"lab.drivers.{driver}.{part}")
    except ImportError as error:
        raise EnvironmentLackError(
            f"the {driver} driver cannot be loaded: {error}", hint=f"pip install 'layerlab[{driver}]'"
        ) from error
