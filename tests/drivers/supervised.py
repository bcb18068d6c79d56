"""A supervisor that knows the fake driver, and lets any driver fail: `python -m tests.drivers.supervised DESCRIPTOR`.

Nothing of a lab is replaced but what makes a driver of a name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lab.drivers.base import Driver, Epoch
from lab.drivers.choice import make_driver
from lab.engine import supervisor
from lab.plan.values import Plan
from tests.drivers.fake import FakeDriver
from tests.drivers.faults import Faulty

FAULT, CALLS = "LAYERLAB_TEST_FAULT", "LAYERLAB_TEST_CALLS"
"""What `Faulty` is told, and the file for its log. Without the log, nothing stands before the driver."""


def _make(name: Any, plan: Plan, run: Path, epoch: Epoch) -> Driver:
    driver: Driver = FakeDriver(plan, run, epoch) if name == "fake" else make_driver(name, plan, run, epoch)
    if CALLS not in os.environ:
        return driver
    faulty: Any = Faulty(driver, os.environ.get(FAULT, ""), Path(os.environ[CALLS]))
    return faulty  # type: ignore[no-any-return]


if __name__ == "__main__":
    supervisor.make_driver = _make
    supervisor.main()
