"""What every application is: a unit without clock or socket of the outside, on the sockets of a stack.

    start(now) ──▶ running ── ready(now): one of its sockets has something to read
                      │       timeout(now): its deadline came
                      ▼
                    done      by itself, or after stop(now)

It says what happens in `outputs()`, a list of values of JSON that each `event` names, and sums up in `result()`. All
times in them are integers of nanoseconds. A StackError that leaves one of the calls ends the application as failed.

The options of an application are the fields of a frozen dataclass, made with `option`: name, type, default, help and
what is allowed stand in one place, and `nodes.application.catalogue` reads them from there.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from nodes.errors import MisuseError
from nodes.transport.echo import EchoLayer
from nodes.transport.tcp.layer import TcpLayer
from nodes.transport.udp import UdpLayer
from nodes.units import SECOND
from nodes.wire.addresses import Ip4, parse_ip4

OUTPUT_LIMIT = 1024
"""Reports that wait to be drained. Who never reads them loses the oldest, counted in the result."""


class Node(Protocol):
    """What an application needs of the node that it runs on; `nodes.stack.Stack` has it."""

    @property
    def udp(self) -> UdpLayer: ...

    @property
    def tcp(self) -> TcpLayer: ...

    @property
    def echo(self) -> EchoLayer: ...

    @property
    def hosts(self) -> Mapping[str, Ip4]: ...


class Application(Protocol):
    """The surface that `ApplicationRunner` drives. After `timeout(now)`, `deadline()` is later than `now` or None."""

    @property
    def kind(self) -> str: ...

    @property
    def done(self) -> bool: ...

    def start(self, now: int) -> None: ...

    def ready(self, now: int) -> None: ...

    def timeout(self, now: int) -> None: ...

    def deadline(self) -> int | None: ...

    def stop(self, now: int) -> None:
        """End it: its sockets are closed, its result is what there is. Harmless when it is done."""
        ...

    def outputs(self) -> list[dict[str, object]]:
        """The reports since the last call, oldest first."""
        ...

    def result(self) -> dict[str, object]: ...


class Part:
    """The owner of one of many sockets of an application, which is told which of them rang before `ready` is called: so
    a turn costs what happened, and not what is open."""

    __slots__ = ("application",)

    application: PartedApplication


class PartedApplication(Application, Protocol):
    """An application with parts."""

    def rang(self, part: Part) -> None:
        """Something happened to the socket of this part; `ready` follows."""
        ...


class Reports:
    """A bounded queue of progress reports."""

    def __init__(self) -> None:
        self._queue: deque[dict[str, object]] = deque()
        self.dropped = 0

    def __call__(self, event: str, **values: object) -> None:
        if len(self._queue) >= OUTPUT_LIMIT:
            self._queue.popleft()
            self.dropped += 1
        self._queue.append({"event": event, **values})

    def drain(self) -> list[dict[str, object]]:
        reports = list(self._queue)
        self._queue.clear()
        return reports


def option(
    text: str,
    default: str | float | bool | None = None,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    unit: str = "",
) -> Any:
    """A field of an options dataclass: its help, its default (None: the option is required), what is allowed. A
    number with the unit `octets`, `bit/s` or `s` may also be written as `100MB`, `10Mbit` or `10s` (`quantities`)."""
    metadata = {"help": text, "minimum": minimum, "maximum": maximum, "choices": choices, "unit": unit}
    if default is None:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def resolve(node: Node, text: str) -> Ip4:
    """An address from `10.0.0.1` or the name of a node. Raises MisuseError with the nearest names for others."""
    if text in node.hosts:
        return node.hosts[text]
    try:
        return parse_ip4(text)
    except ValueError:
        raise MisuseError(
            f"{text!r} is neither an IPv4 address nor the name of a node",
            errno=errno.EINVAL,
            hint=did_you_mean(text, node.hosts),
        ) from None


def did_you_mean(word: str, words: Mapping[str, object] | tuple[str, ...]) -> str:
    """A hint with the known word nearest to `word`, or all of them where none is near."""
    near = difflib.get_close_matches(word, list(words), n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(sorted(words))}" if words else ""


def nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)
