"""`python -m tests.drivers.command ARGUMENTS` is `lab ARGUMENTS`, whose supervisors are those of supervised.py."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.api import opening
from lab.cli import common, main
from lab.drivers import abilities
from lab.engine import spare_process
from lab.engine.own_python import own_python
from tests.drivers.fake import CANNOT

FAKE = "fake"


def _python(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return own_python("tests.drivers.supervised" if module == "lab.engine.supervisor" else module, *arguments)


def install() -> None:
    """Have labs of this process use supervisors that know the fake driver."""
    spare_process.own_python = _python
    abilities.CANNOT = {**abilities.CANNOT, FAKE: CANNOT}
    opening.DRIVERS = (*opening.DRIVERS, FAKE)  # type: ignore[assignment]


if __name__ == "__main__":
    install()
    common.DriverOption = Annotated[str, typer.Option("--driver")]  # type: ignore[misc]
    main.main()
