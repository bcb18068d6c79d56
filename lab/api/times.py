"""Times as scripts write them: numbers of seconds, or text with a unit."""

from __future__ import annotations

import math

from lab.errors import UserInputError
from nodes.quantities import parse_duration
from nodes.units import SECOND


def nanoseconds(time: str | float, *, signed: bool = False) -> int:
    """`5`, `0.2`, "200ms", "5s", and with `signed` "-3s". Raises UserInputError."""
    if isinstance(time, str):
        text, sign = (time[1:], -1) if signed and time.startswith("-") else (time, 1)
        try:
            return sign * parse_duration(text)
        except ValueError as error:
            raise UserInputError(f"{time!r} is no time: {error}", hint='write "200ms" or 0.2') from None
    if not math.isfinite(time):
        raise UserInputError(f"{time} s is no time")
    if time < 0 and not signed:
        raise UserInputError(f"{time} s is no time", hint="nothing happens before now")
    return round(time * SECOND)
