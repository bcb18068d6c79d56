"""Which drivers there are for labs of processes, by name.

A driver is imported when it is asked for: what it needs (a container engine's library, Mininet) is not to be installed
by everybody.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

from lab.drivers.base import Driver, Epoch
from lab.errors import EnvironmentLackError
from lab.plan.values import Plan

DriverName = Literal["netns", "mininet"]

_CLASSES: dict[DriverName, str] = {"netns": "NetnsDriver", "mininet": "MininetDriver"}


def make_driver(name: DriverName, plan: Plan, run: Path, epoch: Epoch) -> Driver:
    """Raises EnvironmentLackError where what the driver needs is not installed."""
    try:
        module = importlib.import_module(f"lab.drivers.{name}.driver")
    except ImportError as error:
        raise EnvironmentLackError(
            f"the {name} driver cannot be loaded: {error}", hint=f"pip install 'layerlab[{name}]'"
        ) from error
    driver: Driver = getattr(module, _CLASSES[name])(plan, run, epoch)
    return driver
