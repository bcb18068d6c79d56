"""What a container of a Compose file is told about itself: the node, its interfaces as Docker gives them, and what it
does to the frames of its links, since nobody else is there to do it.

`lab compose` writes it as JSON into the file, without what has its default; the container's program reads it. Names and
addresses of all nodes are the same for all, and stand apart, once in the file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nodes import contract, impairment, json_values
from nodes.contract import NodeConfig
from nodes.impairment import Change, Direction, Impairment

NODE_VARIABLE = "LAYERLAB_NODE"
HOSTS_VARIABLE = "LAYERLAB_HOSTS"
RECORDINGS_FOLDER = "/recordings"
"""Where a volume is mounted; each node has a folder of its own in it."""


@dataclass(frozen=True, slots=True)
class PortImpairment:
    """What an interface does to the frames of its link. It always sends through a line (`out` is its direction of the
    link); with `both` it receives through one, too, because what is at the other end has no lines. `ab` and `ba` are
    encoded impairments: of both directions, because a ramp begins at what holds."""

    out: Direction
    both: bool = False
    mtu: int = 1500
    ab: Mapping[str, object] = field(default_factory=dict)
    ba: Mapping[str, object] = field(default_factory=dict)
    seed_ab: int = 0
    seed_ba: int = 0
    changes: tuple[Change, ...] = ()

    def of(self, direction: Direction) -> Impairment:
        """Raises ValueError for what is not an impairment."""
        return impairment.decode(self.ab if direction == "ab" else self.ba)

    def seed(self, direction: Direction) -> int:
        return self.seed_ab if direction == "ab" else self.seed_ba


@dataclass(frozen=True, slots=True)
class PortSettings:
    """An interface of the node. `address` is the one that Docker gives it: how it is found among the others, and
    nothing else. `up: false` leaves it down."""

    interface: str
    address: str
    up: bool = True
    impairment: PortImpairment | None = None


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    node: NodeConfig
    ports: tuple[PortSettings, ...] = ()
    recordings: str = RECORDINGS_FOLDER


def to_json(settings: ContainerSettings) -> str:
    """Without the names of other nodes (`hosts_to_json`)."""
    node = {"version": settings.node.version, **_lean(replace(settings.node, hosts={}))}
    return json.dumps({**_lean(settings), "node": node}, indent=1)


def hosts_to_json(hosts: Mapping[str, str]) -> str:
    return json.dumps(dict(hosts))


def from_json(text: str, hosts: str) -> ContainerSettings:
    """The reverse of the two. Raises ValueError."""
    data, names = json.loads(text), json.loads(hosts)
    if not isinstance(data, dict) or not isinstance(data.get("node"), dict) or not isinstance(names, dict):
        raise ValueError("the settings of a container are a JSON object with a node, and its hosts are another")
    contract.from_json(data["node"])  # says which version another one has
    return json_values.decode(ContainerSettings, {**data, "node": {**data["node"], "hosts": names}}, "container")


def _lean(value: object) -> Any:
    """As values of JSON, without the fields of dataclasses that have their defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: _lean(getattr(value, item.name))
            for item in dataclasses.fields(value)
            if getattr(value, item.name) != _default(item)
        }
    if isinstance(value, Mapping):
        return {key: _lean(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_lean(item) for item in value]
    return value


def _default(item: dataclasses.Field[Any]) -> object:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
