"""A driver that fails when it is told to: at the n-th call of a method, before it is carried out or after.

A call that is refused before is an engine that says no; one that fails after is worse, for something was made that
nobody was told of, and `destroy` has to find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.drivers.base import Driver
from lab.errors import DriverError

STEPS = ("enter", "create", "start_node", "connect", "set_link", "exits")
"""What is called while a lab comes up; `stop_node` and others are called later."""


class Faulty:
    """Stands before a driver. `fault` is `METHOD:NUMBER:before|after`; empty for none. Every call is written to `log`,
    by which a test knows which calls there are."""

    def __init__(self, driver: Driver, fault: str, log: Path) -> None:
        method, _, rest = fault.partition(":")
        number, _, self._when = rest.partition(":")
        self._method, self._number = method, int(number or 0)
        self._driver = driver
        self._log = log
        self._calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **keywords: Any) -> Any:
            count = self._calls[name] = self._calls.get(name, 0) + 1
            with self._log.open("a") as log:
                log.write(f"{name}\n")
            due = (name, count) == (self._method, self._number)
            if due and self._when == "before":
                raise DriverError(f"{name} refused, as the test wants it")
            result = found(*arguments, **keywords)
            if due:
                raise DriverError(f"{name} failed, as the test wants it")
            return result

        return call
