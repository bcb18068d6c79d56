"""Where the command `lab` begins. What takes long is imported later: `lab up` has a supervisor's process started first,
which imports at the same time (`lab.engine.spare_process`)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from lab.drivers.choice import DRIVERS
from lab.engine import spare_process


def main() -> None:
    driver = wanted_driver(sys.argv[1:])
    if driver is not None and sys.platform == "linux":
        spare_process.begin(driver)
    try:
        importlib.import_module("lab.cli.main").main()
    except KeyboardInterrupt:  # before there is a command that could say so
        sys.exit(130)
    finally:
        spare_process.dismiss()


def wanted_driver(arguments: Sequence[str]) -> str | None:
    """That of a lab of processes that a command line is likely to bring up. Whether it makes sense is seen later."""
    if arguments[:1] != ["up"] or "--help" in arguments or "-h" in arguments:
        return None
    words = [word for argument in arguments for word in argument.split("=", 1)]
    name = words[words.index("--driver") + 1 :][:1] if "--driver" in words else ["netns"]
    return name[0] if name and name[0] in DRIVERS else None
