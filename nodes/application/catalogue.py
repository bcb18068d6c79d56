"""The applications that a node can run, with their options, and the check of what a person asked for.

An entry is read from the options dataclass of the application: field name, type, default, help, what is allowed. So
a topology, a command line and the documentation all say the same.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from nodes.application.base import Application, Node, did_you_mean
from nodes.application.ping import Ping, PingOptions
from nodes.application.tcp_chat import Chat, ChatOptions
from nodes.application.tcp_echo import Echo, EchoOptions
from nodes.application.tcp_sink import Sink, SinkOptions
from nodes.application.tcp_source import Source, SourceOptions
from nodes.application.traceroute import Traceroute, TracerouteOptions
from nodes.application.udp_echo import UdpEcho, UdpEchoOptions
from nodes.application.udp_sink import UdpSink, UdpSinkOptions
from nodes.application.udp_source import UdpSource, UdpSourceOptions
from nodes.errors import MisuseError
from nodes.quantities import parse_duration, parse_rate, parse_size
from nodes.units import SECOND

Value = str | int | float | bool

_TYPE_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}

_UNITS: dict[str, tuple[str, Callable[[str], int | float]]] = {
    "octets": ("a size", parse_size),
    "bit/s": ("a rate", parse_rate),
    "s": ("a time in seconds", lambda text: parse_duration(text) / SECOND),
}
"""What an option with a unit is called, and what reads its text."""


@dataclass(frozen=True, slots=True)
class Option:
    """`default` is None where the option is required. `choices` is empty where any text will do. With a `unit`, a
    number may also be text such as `100MB` or `10s`."""

    name: str
    type: type
    default: Value | None
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""

    @property
    def required(self) -> bool:
        return self.default is None

    @property
    def allowed(self) -> str:
        """What is allowed, in words: `a whole number from 1 to 255`."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        text = _UNITS[self.unit][0] if self.unit else _TYPE_NAMES[self.type]
        if self.minimum is not None and self.maximum is not None:
            return f"{text} from {self.minimum:.15g} to {self.maximum:.15g}"
        return f"{text}, at least {self.minimum:.15g}" if self.minimum is not None else text

    def check(self, value: object) -> Value:
        """The value as the option's own type. Raises MisuseError that names the option and what is allowed."""
        if self.unit and isinstance(value, str):
            value = self._quantity(value)
        if self.type is float and type(value) is int:
            value = float(value) if abs(value) < 1 << 53 else value
        if type(value) is not self.type or not self._in_range(value):
            raise MisuseError(f"option {self.name}: {value!r} is not allowed", hint=f"{self.name} is {self.allowed}")
        return typing.cast("Value", value)

    def _quantity(self, text: str) -> int | float:
        try:
            return _UNITS[self.unit][1](text)
        except ValueError as error:
            raise MisuseError(f"option {self.name}: {error}", hint=f"{self.name} is {self.allowed}") from None

    def _in_range(self, value: object) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        if isinstance(value, float) and not isfinite(value):
            return False
        assert isinstance(value, int | float)
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True, slots=True)
class ApplicationKind:
    """`help` is one line. `create` raises MisuseError for options that `check` cannot judge, as a name of nobody.
    `awaited`: who starts it with `to` waits for what it finds."""

    name: str
    help: str
    options: Mapping[str, Option]
    create: Callable[[Node, Mapping[str, Value]], Application]
    awaited: bool = False

    def check(self, values: Mapping[str, object]) -> dict[str, Value]:
        """All options, defaults filled in. Raises MisuseError for an unknown, missing or wrong one."""
        for name in values:
            if name not in self.options:
                raise MisuseError(f"{self.name} has no option {name!r}", hint=did_you_mean(str(name), self.options))
        checked: dict[str, Value] = {}
        for name, option in self.options.items():
            if name in values:
                checked[name] = option.check(values[name])
            elif option.default is None:
                raise MisuseError(
                    f"{self.name} needs the option {name}: {option.help}", hint=f"{name} is {option.allowed}"
                )
            else:
                checked[name] = option.default
        return checked


def find(kind: str) -> ApplicationKind:
    """Raises MisuseError with the nearest names for a kind that does not exist."""
    if kind not in APPLICATIONS:
        raise MisuseError(f"there is no application {kind!r}", hint=did_you_mean(kind, APPLICATIONS))
    return APPLICATIONS[kind]


def _kind(
    name: str,
    text: str,
    application: Callable[[Node, Any], Application],
    options: type[Any],
    *,
    awaited: bool = False,
) -> ApplicationKind:
    def create(node: Node, values: Mapping[str, Value]) -> Application:
        return application(node, options(**values))

    hints = typing.get_type_hints(options)
    fields = {field.name: _option(field, hints[field.name]) for field in dataclasses.fields(options)}
    return ApplicationKind(name, text, fields, create, awaited)


def _option(field: dataclasses.Field[Any], kind: type) -> Option:
    default = None if field.default is dataclasses.MISSING else field.default
    return Option(field.name, kind, default, **field.metadata)


APPLICATIONS: Mapping[str, ApplicationKind] = {
    kind.name: kind
    for kind in (
        _kind("chat", "talks in lines of text over TCP", Chat, ChatOptions, awaited=True),
        _kind("echo", "sends what comes over TCP back", Echo, EchoOptions),
        _kind("ping", "ICMP echo requests to a node, with round trip times", Ping, PingOptions),
        _kind("sink", "takes data over TCP, counts and checks it", Sink, SinkOptions),
        _kind("source", "sends a stream over TCP, or requests one at a time", Source, SourceOptions, awaited=True),
        _kind("traceroute", "the routers on the way to a node", Traceroute, TracerouteOptions),
        _kind("udp_echo", "sends UDP datagrams back to where they came from", UdpEcho, UdpEchoOptions),
        _kind("udp_sink", "counts UDP datagrams, their loss, order and jitter", UdpSink, UdpSinkOptions),
        _kind("udp_source", "sends UDP datagrams at a rate, or requests one at a time", UdpSource, UdpSourceOptions),
    )
}
