"""The catalogue of events: complete, frozen, uniquely named, and made of values that every writer can print."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from types import NoneType, UnionType
from typing import Any

import pytest

from nodes.trace import arq_events, circuit_events, datagram_events, events, link_events, tcp_events
from nodes.trace.events import Event, FrameDropped, FrameSent, ListTracer, NodeStopped, NullTracer, Tracer
from nodes.wire.addresses import Ip4, Mac, Prefix

CATEGORIES = {"node", "application", "link", "network", "transport", "recovery"}
FIELD_TYPES = {str, int, bool, float, Mac, Ip4, Prefix, NoneType}

CLASSES: list[type[Any]] = [
    cls
    for module in (events, arq_events, circuit_events, datagram_events, link_events, tcp_events)
    for cls in vars(module).values()
    if inspect.isclass(cls) and cls.__module__ == module.__name__ and dataclasses.is_dataclass(cls)
]
each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_the_union_is_the_module() -> None:
    assert set(typing.get_args(Event)) == set(CLASSES)
    assert len(CLASSES) >= 29
    tools = {NullTracer, ListTracer, Tracer}
    others = {cls for cls in vars(events).values() if inspect.isclass(cls) and cls.__module__ == events.__name__}
    assert others - set(CLASSES) == tools


@each
def test_an_event_is_a_frozen_slotted_value(cls: type[Any]) -> None:
    event = cls(*range(len(dataclasses.fields(cls))))
    assert not hasattr(event, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(cls)[0].name, 1)
    assert event == cls(*range(len(dataclasses.fields(cls))))


@each
def test_an_event_has_a_category_and_says_whether_it_is_of_packets(cls: type[Any]) -> None:
    """Every other class variable would be a field that was meant to be one."""
    assert cls.category in CATEGORIES
    variables = {
        name for name, hint in typing.get_type_hints(cls).items() if typing.get_origin(hint) is typing.ClassVar
    }
    assert variables <= {"category", "packets"}
    assert getattr(cls, "packets", True) is True


@each
def test_fields_are_of_types_that_writers_know(cls: type[Any]) -> None:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
        assert FIELD_TYPES.issuperset(members), f"{field.name}: {hint}"


@each
def test_a_field_of_an_address_has_the_type_of_one(cls: type[Any]) -> None:
    """A writer makes text of an address by its type; an `int` would be printed as a number."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in ("address", "source", "destination", "next_hop", "group"):
            assert hints[field.name] in (Ip4, Mac)
        if field.name == "mac":
            assert hints[field.name] in (Mac, Mac | None)


@each
def test_a_change_says_from_what_to_what_and_why(cls: type[Any]) -> None:
    names = [field.name for field in dataclasses.fields(cls)]
    if cls.__name__.endswith("Updated"):
        if not cls.__name__.endswith("MetricsUpdated"):  # qlog's name for a set of values
            assert [name for name in names if name.startswith("old")]
            assert [name for name in names if name.startswith("new")]
        assert names[-1] == "trigger"
    if cls.__name__.endswith(("Dropped", "Suppressed")):
        assert "reason" in names


def test_names_are_unique() -> None:
    """Without regard to case, as a qlog name is `category:snake_case`."""
    names = [f"{cls.category}:{cls.__name__.lower()}" for cls in CLASSES]
    assert len(names) == len(set(names))


def test_what_happens_to_every_packet_is_marked_as_such() -> None:
    often = {cls.__name__ for cls in CLASSES if getattr(cls, "packets", False)}
    names = {name for name in often if name.startswith(("Frame", "ArqFrame", "Packet", "Datagram", "Segment"))}
    assert often == names
    assert {"FrameSent", "FrameReceived", "PacketSent", "PacketReceived", "PacketForwarded"} <= often
    assert not any(name.endswith(("Dropped", "Updated")) for name in often)


def test_a_list_keeps_what_it_is_told() -> None:
    tracer = ListTracer()
    assert tracer.packets
    dropped, stopped = FrameDropped("eth0", "too short", 3), NodeStopped("signal")
    tracer(1, dropped)
    tracer(2, stopped)
    tracer(3, dropped)
    assert tracer.events == [(1, dropped), (2, stopped), (3, dropped)]
    assert tracer.of(FrameDropped) == [dropped, dropped]
    assert tracer.of(FrameSent) == []


def test_nobody_listens_to_a_null_tracer() -> None:
    assert not NullTracer.packets
    assert NullTracer()(0, NodeStopped("signal")) is None
    assert not ListTracer(packets=False).packets
