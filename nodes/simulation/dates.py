"""`datetime.now` and `utcnow` on a clock of ours.

The class `datetime` is written in C, reads the system's clock by itself and takes no attributes. Most programs have its
name from `from datetime import datetime`, long before a simulation begins, so another class in its place would reach
nobody. Hence its own dictionary is changed, which CPython lets nobody see but the garbage collector, and the caches of
attributes are then told. `date.today` and `datetime.today` need no help: they ask `time.time`.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from nodes.units import SECOND

NAMES = ("now", "utcnow")


def _attributes() -> dict[str, Any]:
    """The dictionary of the class itself."""
    for found in gc.get_referents(datetime.__dict__):
        if isinstance(found, dict):
            return found
    raise NotImplementedError("this Python does not show the attributes of datetime, so its clock cannot be set")


def _told(attributes: dict[str, Any]) -> None:
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))
    if datetime.__dict__["now"] is not attributes["now"]:
        raise NotImplementedError("this Python does not let the clock of datetime be set")


def replace(wall: Callable[[], int | None]) -> dict[str, object]:
    """From now on `wall` (ns since 1970) is asked, and where it says None, the system. Returns what `restore` wants.
    Raises NotImplementedError where this Python has no way."""
    attributes = _attributes()
    real = {name: attributes[name] for name in NAMES}

    def now(cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        at = wall()
        return real["now"].__get__(None, cls)(tz) if at is None else _at(cls, at, tz)

    def utcnow(cls: type[datetime]) -> datetime:
        at = wall()
        return real["utcnow"].__get__(None, cls)() if at is None else _at(cls, at, UTC).replace(tzinfo=None)

    attributes["now"] = classmethod(now)
    attributes["utcnow"] = classmethod(utcnow)
    _told(attributes)
    return dict(real)


def restore(saved: dict[str, object]) -> None:
    """The system's clock again."""
    attributes = _attributes()
    attributes.update(saved)
    _told(attributes)


def _at(cls: type[datetime], wall: int, tz: tzinfo | None) -> datetime:
    seconds, rest = divmod(wall, SECOND)
    return cls.fromtimestamp(seconds, tz).replace(microsecond=rest // 1000)
