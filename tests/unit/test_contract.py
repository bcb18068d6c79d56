"""The contract between a lab and its nodes: a configuration survives JSON, and everything else is refused by name."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from nodes import contract, json_values
from nodes.contract import (
    ApplicationConfig,
    ContainerConfig,
    HealthcheckConfig,
    InterfaceConfig,
    MountConfig,
    NodeConfig,
    RouteConfig,
    SpanningTreeConfig,
    from_json,
    to_json,
)

FULL = NodeConfig(
    lab="campus",
    name="r1",
    kind="router",
    stack="layerlab",
    seed=2**64 - 1,
    interfaces=(
        InterfaceConfig("eth0", "02:5a:00:00:00:01", ("10.0.0.1/24", "10.0.1.1/24"), 1400, "ethernet", "rarp", "probe"),
        InterfaceConfig("ppp0", "02:5a:00:00:00:02", kind="ip", link="r1-r2", peer="r2:ppp0"),
    ),
    routes=(RouteConfig("0.0.0.0/0", "10.0.0.254", "eth0", 10),),
    hosts={"h1": "10.0.0.2"},
    rarp_table={"02:5a:00:00:00:03": "10.0.0.3"},
    spanning_tree=SpanningTreeConfig(4096, 1.0, 6.0, 4.0),
    ageing_time=10.5,
    applications=(ApplicationConfig("ping", {"destination": "10.0.0.2", "count": 3, "interval": 0.2, "flood": False}),),
    trace="packets",
    capture=True,
    circuits=True,
    container=ContainerConfig(
        "web", "ours", ("a", "b"), {"A": "b"}, (MountConfig("/x", "/y", True),), HealthcheckConfig(("c",), 2.0), 9, 10
    ),
)
SMALL = NodeConfig(lab="campus", name="h1")


def test_full_differs_from_every_default() -> None:
    """Or a field that is lost on the way would not be seen."""
    same = [field.name for field in dataclasses.fields(NodeConfig) if getattr(FULL, field.name) == field.default]
    assert same == ["stack", "version"]


@pytest.mark.parametrize("config", [FULL, SMALL], ids=["full", "small"])
def test_round_trip(config: NodeConfig) -> None:
    assert from_json(json.loads(json.dumps(to_json(config), allow_nan=False))) == config
    assert from_json(to_json(config)) == config


def test_the_result_is_json_and_nothing_else() -> None:
    data = to_json(FULL)
    assert data == json.loads(json.dumps(data))
    assert data["interfaces"][0]["addresses"] == ["10.0.0.1/24", "10.0.1.1/24"]


def test_any_mapping_will_do() -> None:
    """Frozen plans hold read-only views of dictionaries."""
    config = dataclasses.replace(SMALL, hosts=MappingProxyType({"h2": "10.0.0.2"}))
    assert to_json(config)["hosts"] == {"h2": "10.0.0.2"}
    assert from_json(MappingProxyType(to_json(config))) == dataclasses.replace(SMALL, hosts={"h2": "10.0.0.2"})


def test_the_result_shares_nothing_with_the_configuration() -> None:
    hosts = {"h2": "10.0.0.2"}
    data = to_json(dataclasses.replace(SMALL, hosts=hosts))
    data["hosts"]["h3"] = "10.0.0.3"
    assert hosts == {"h2": "10.0.0.2"}


def test_defaults_may_be_left_out() -> None:
    assert from_json({"version": 1, "lab": "campus", "name": "h1"}) == SMALL


def test_a_whole_number_of_seconds_is_a_number() -> None:
    config = from_json({"version": 1, "lab": "campus", "name": "h1", "ageing_time": 300})
    assert type(config.ageing_time) is float


def test_an_option_keeps_its_type() -> None:
    for value in (1, 1.0, True, "1"):
        data = {**to_json(SMALL), "applications": [{"kind": "ping", "options": {"x": value}}]}
        assert type(from_json(data).applications[0].options["x"]) is type(value)


def changed(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = to

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


BROKEN: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (without("version"), "contract version None, this node speaks 1"),
    (changed("version", to=2), "contract version 2, this node speaks 1"),
    (changed("version", to="1"), "contract version 1, this node speaks 1"),
    (changed("version", to=True), "node.version: bool, int expected"),
    (changed("version", to=1.0), "node.version: float, int expected"),
    (without("lab"), "node: field 'lab' is missing"),
    (without("name"), "node: field 'name' is missing"),
    (without("interfaces", 0, "mac"), "node.interfaces[0]: field 'mac' is missing"),
    (without("routes", 0, "via"), "node.routes[0]: field 'via' is missing"),
    (without("applications", 0, "kind"), "node.applications[0]: field 'kind' is missing"),
    (changed("colour", to="red"), "node: unknown field 'colour'"),
    (changed(1, to="red"), "node: unknown field 1"),
    (changed("interfaces", 1, "speed", to=10), "node.interfaces[1]: unknown field 'speed'"),
    (changed("spanning_tree", "cost", to=10), "node.spanning_tree: unknown field 'cost'"),
    (changed("name", to=1), "node.name: int, str expected"),
    (changed("name", to=None), "node.name: NoneType, str expected"),
    (changed("seed", to="1"), "node.seed: str, int expected"),
    (changed("seed", to=1.0), "node.seed: float, int expected"),
    (changed("seed", to=True), "node.seed: bool, int expected"),
    (changed("capture", to=1), "node.capture: int, bool expected"),
    (changed("ageing_time", to="300"), "node.ageing_time: str, float expected"),
    (changed("ageing_time", to=True), "node.ageing_time: bool, float expected"),
    (changed("ageing_time", to=10**400), "node.ageing_time: int, float expected"),
    (changed("ageing_time", to=math.nan), "node.ageing_time: nan is not a number of JSON"),
    (changed("ageing_time", to=math.inf), "node.ageing_time: inf is not a number of JSON"),
    (changed("kind", to="hosts"), "node.kind: 'hosts', one of 'host', 'router', 'switch', 'hub' expected"),
    (changed("kind", to=["host"]), "node.kind: ['host'], one of 'host', 'router', 'switch', 'hub' expected"),
    (changed("stack", to=None), "node.stack: None, one of 'layerlab', 'kernel', 'ovs' expected"),
    (changed("trace", to=True), "node.trace: True, one of 'off', 'state', 'packets' expected"),
    (changed("interfaces", to="eth0"), "node.interfaces: str, a list expected"),
    (changed("interfaces", to={}), "node.interfaces: dict, a list expected"),
    (changed("interfaces", 0, to="eth0"), "node.interfaces[0]: str, an object expected"),
    (changed("interfaces", 0, "addresses", to="10.0.0.1/24"), "node.interfaces[0].addresses: str, a list expected"),
    (changed("interfaces", 0, "addresses", 1, to=10), "node.interfaces[0].addresses[1]: int, str expected"),
    (changed("interfaces", 1, "mtu", to="1500"), "node.interfaces[1].mtu: str, int expected"),
    (changed("hosts", to=[]), "node.hosts: list, an object expected"),
    (changed("hosts", "h1", to=None), "node.hosts.h1: NoneType, str expected"),
    (changed("hosts", 1, to="10.0.0.9"), "node.hosts: int, str expected"),
    (changed("spanning_tree", to=[]), "node.spanning_tree: list, an object expected"),
    (changed("spanning_tree", to=True), "node.spanning_tree: bool, an object expected"),
    (changed("spanning_tree", "priority", to=1.5), "node.spanning_tree.priority: float, int expected"),
    (
        changed("applications", 0, "options", "count", to=[1]),
        "node.applications[0].options.count: list is not allowed here",
    ),
    (
        changed("applications", 0, "options", "count", to=None),
        "node.applications[0].options.count: NoneType is not allowed here",
    ),
    (
        changed("applications", 0, "options", "count", to=-math.inf),
        "node.applications[0].options.count: -inf is not a number of JSON",
    ),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_what_is_wrong_is_refused_with_its_place(change: Callable[[dict[str, Any]], None], message: str) -> None:
    data = to_json(FULL)
    change(data)
    with pytest.raises(ValueError) as caught:
        from_json(data)
    assert str(caught.value) == message


@pytest.mark.parametrize(("data", "kind"), [([], "list"), (None, "NoneType"), ("{}", "str"), (1, "int")])
def test_only_an_object_is_a_configuration(data: object, kind: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_json(data)
    assert str(caught.value) == f"node: {kind}, an object expected"


CLASSES = [cls for cls in vars(contract).values() if dataclasses.is_dataclass(cls) and isinstance(cls, type)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_values_are_frozen(cls: type[Any]) -> None:
    assert cls.__dataclass_params__.frozen
    assert "__dict__" not in dir(cls(**dict.fromkeys(required(cls), "x")))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_is_tried_with_a_wrong_type(cls: type[Any]) -> None:
    """`object()` fits no field, so a hint that the decoder does not understand would show here."""
    for field in dataclasses.fields(cls):
        data = dict.fromkeys(required(cls), "x") | {field.name: object()}
        with pytest.raises(ValueError, match=f"^place.{field.name}: "):
            json_values.decode(cls, data, "place")


def required(cls: type[Any]) -> list[str]:
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(cls) if f.default is missing and f.default_factory is missing]


def test_each_start_has_a_seed_of_its_own() -> None:
    """RFC 6528 section 3: who has seen the numbers of a node before it crashed must not know those after it."""
    config = NodeConfig("lab", "a", seed=7)
    assert config.at_start(0) is config
    seeds = [config.at_start(number).seed for number in range(100)]
    assert len(set(seeds)) == 100
    assert seeds == [config.at_start(number).seed for number in range(100)]
    assert all(0 <= seed < 1 << 64 for seed in seeds)
