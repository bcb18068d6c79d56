"""mininet.term: terminals of running nodes."""

from __future__ import annotations

from typing import Any, NoReturn

from lab.exchange.standin.absent import absent


def makeTerm(*_args: Any, **_params: Any) -> NoReturn:
    absent("makeTerm")


def makeTerms(*_args: Any, **_params: Any) -> NoReturn:
    absent("makeTerms")


def cleanUpScreens() -> None:
    """There are none."""
