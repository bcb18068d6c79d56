"""Settings of a topology by their paths: `links.wan.impair.loss`, `nodes.a.tcp.receive_buffer`, `defaults.mtu`.

A path is the file's own keys with dots between. A link is called by its name, or by its ends: `a--b`; an entry of
another list by its number, from 0. Keys on the way that the file lacks are made, so that what it leaves to the defaults
can be set too; whether they mean anything is for the topology's own checks to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from lab.api.opening import IN_TEXT
from lab.errors import UserInputError
from lab.experiments.experiment import Parameter
from lab.model.errors import did_you_mean
from lab.model.topology import Topology
from lab.model.yaml_source import parse

PARTS = [name for name in Topology.model_fields if name not in ("name", "description", "seed")]
"""Where a path may begin. A run has its own seed and name."""


class PathError(UserInputError):
    """A path that leads nowhere in a topology, whatever value is put there."""


def with_settings(topology: str, settings: Mapping[str, Parameter]) -> str:
    """The text of a topology in which these stand. Raises PathError."""
    if not settings:
        return topology
    data = parse(topology, IN_TEXT).data
    for path, value in settings.items():
        _set(data, path, value)
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _set(data: Any, path: str, value: Parameter) -> None:
    part = path.partition(".")[0]
    if part not in PARTS:
        raise PathError(f"a topology has no {part!r} to set", hint=did_you_mean(part, PARTS))
    place, rest = data, path
    while True:
        key, rest = _step(place, rest, path)
        if not rest:
            place[key] = value
            return
        place[key] = _opened(place[key] if isinstance(place, list) else place.get(key), path, key)
        place = place[key]


def _step(place: Any, rest: str, path: str) -> tuple[Any, str]:
    """The key or index with which the rest of a path begins, and what follows it."""
    names = _names(place) if isinstance(place, list) else {name: name for name in place}
    words = rest.split(".")
    for count in range(len(words), 0, -1):  # a name may have dots of its own
        name = ".".join(words[:count])
        if name in names:
            return names[name], ".".join(words[count:])
    known = path[: -len(rest)].rstrip(".")
    if isinstance(place, list) or known == "nodes":
        hint = did_you_mean(words[0], list(dict.fromkeys(map(str, names))))
        raise PathError(f"{known or 'the topology'} has no {words[0]!r}", hint=hint)
    return words[0], ".".join(words[1:])


def _names(entries: list[Any]) -> dict[str, int]:
    """What the entries of a list are called: links by names and ends, others by numbers."""
    found: dict[str, int] = {}
    for index, entry in enumerate(entries):
        ends = _ends(entry)
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            found[entry["name"]] = index
        elif ends is not None:
            found.setdefault("--".join(ends), index)
            found.setdefault("--".join(reversed(ends)), index)
        else:
            found[str(index)] = index
    return found


def _ends(entry: Any) -> list[str] | None:
    """Of a link, however it is written."""
    ends = entry.get("ends") if isinstance(entry, dict) else entry
    if isinstance(ends, str):
        ends = [word.strip() for word in ends.split(" -- ")]
    if isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, str) for end in ends):
        return ends
    return None


def _opened(value: Any, path: str, key: Any) -> Any:
    """What has more of the path inside it, in its long form."""
    if value is None:
        return {}
    if isinstance(value, dict) or (isinstance(value, list) and _ends(value) is None):
        return value
    ends = _ends(value)
    if ends is not None:
        return {"ends": ends}
    if isinstance(value, str) and path.startswith("nodes."):
        return {"kind": value}
    raise PathError(f"{path}: {key!r} is {value!r} in the topology", hint="there is nothing inside it to set")
