"""mininet.util: the helpers that topologies use."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from lab.exchange.standin.absent import absent


def irange(start: int, end: int) -> range:
    """Both ends included."""
    return range(start, end + 1)


def natural(text: object) -> list[Any]:
    """A sort key: `h2` before `h10`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(text))]


def naturalSeq(items: Iterable[object]) -> list[list[Any]]:
    return [natural(item) for item in items]


def custom(cls: Callable[..., Any], **params: Any) -> Callable[..., Any]:
    return functools.partial(cls, **params)


def makeNumeric(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def ipStr(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def ipAdd(number: int, prefixLen: int = 8, ipBaseNum: int = 0x0A000000) -> str:
    hosts = 0xFFFFFFFF >> prefixLen
    return ipStr((ipBaseNum & ~hosts) + number)


def macColonHex(number: int) -> str:
    return ":".join(f"{number >> shift & 255:02x}" for shift in range(40, -8, -8))


def dumpNodeConnections(_nodes: object) -> None:
    """There are none before a network is built."""


dumpNetConnections = dumpPorts = dumpNodeConnections


def quietRun(*_args: Any, **_params: Any) -> NoReturn:
    absent("mininet.util.quietRun")


def errRun(*_args: Any, **_params: Any) -> NoReturn:
    absent("mininet.util.errRun")


def pmonitor(*_args: Any, **_params: Any) -> NoReturn:
    absent("mininet.util.pmonitor")


def waitListening(*_args: Any, **_params: Any) -> NoReturn:
    absent("mininet.util.waitListening")


def ensureRoot() -> None:
    """To describe a topology takes no rights."""
