"""Frozen dataclasses as JSON and back: numbers, text, tuples, mappings and each other, nothing else.

Reading is strict: a field that is unknown or missing, or of another type, is refused with its place. Of a union of
dataclasses, each says what it is by its first field, a `Literal`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar


def encode(value: object) -> Any:
    """A dataclass, or what is in one, as values of JSON."""
    if dataclasses.is_dataclass(value):
        return {item.name: encode(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


_T = TypeVar("_T")


def decode(cls: type[_T], data: object, where: str) -> _T:
    """The reverse of `encode`. `where` begins the places in messages. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: {type(data).__name__}, an object expected")
    described: Any = cls
    hints = _hints(described)
    unknown = [name for name in data if name not in hints]
    if unknown:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}")
    missing = [name for name in _required(described) if name not in data]
    if missing:
        raise ValueError(f"{where}: field {missing[0]!r} is missing")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of a class's fields, which take longer to find than to use: a plan has thousands of interfaces."""
    return typing.get_type_hints(cls)


@functools.cache
def _required(cls: Any) -> list[str]:
    absent = dataclasses.MISSING
    return [item.name for item in dataclasses.fields(cls) if item.default is absent and item.default_factory is absent]


def _value(hint: Any, value: object, where: str) -> Any:
    if hint is object:  # checked by whoever knows what it is
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: {type(value).__name__}, a list expected")
        return tuple(_value(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where}: {value!r}, one of {', '.join(map(repr, arguments))} expected")
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: {type(value).__name__}, an object expected")
        return {_value(arguments[0], key, where): _value(arguments[1], value[key], f"{where}.{key}") for key in value}
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[object]", hint), value, where)
    return _scalar(hint, value, where)


def _scalar(hint: type[Any], value: object, where: str) -> Any:
    if hint is float and type(value) is int and abs(value) < 2**53:  # a float holds it exactly
        return float(value)
    if type(value) is not hint:
        raise ValueError(f"{where}: {type(value).__name__}, {hint.__name__} expected")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a number of JSON")
    return value


def _union(arguments: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    if type(value) in arguments:
        return _scalar(type(value), value, where)
    for argument in arguments:
        if dataclasses.is_dataclass(argument) and _is_meant(argument, value):
            return _value(argument, value, where)
    raise ValueError(f"{where}: {type(value).__name__} is not allowed here")


def _is_meant(cls: Any, value: object) -> bool:
    """Whether `value` is of this class of a union: its first field tells, where that is a `Literal`."""
    first = dataclasses.fields(cls)[0].name
    hint = _hints(cls)[first]
    if typing.get_origin(hint) is not Literal:
        return True
    return isinstance(value, Mapping) and value.get(first) in typing.get_args(hint)
