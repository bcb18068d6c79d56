"""`python -m tests.drivers.command ARGUMENTS` is `lab ARGUMENTS`, whose supervisors are those of supervised.py."""

from __future__ import annotations

from typing import Annotated

import typer

from lab.cli import common, main
from lab.engine import launch

FAKE = "fake"
_own_python = launch.own_python


def _python(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    return _own_python("tests.drivers.supervised" if module == "lab.engine.supervisor" else module, *arguments)


def install() -> None:
    """Have labs of this process use supervisors that know the fake driver."""
    launch.own_python = _python


if __name__ == "__main__":
    install()
    common.DriverOption = Annotated[str, typer.Option("--driver")]  # type: ignore[misc]
    main.main()
