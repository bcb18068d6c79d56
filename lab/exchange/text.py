"""The values of a topology as the text of a topology file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lab.model.yaml_source import parse

_PLAIN = re.compile(r"[A-Za-z0-9][\w./%-]*( via [\w./]+|:[A-Za-z][\w.-]*)?", re.ASCII)


def topology_text(data: Mapping[str, Any], comments: tuple[str, ...] = ()) -> str:
    """YAML, one line for each node and link."""
    lines = [f"# {line}" for comment in comments for line in comment.splitlines()]
    for key, value in data.items():
        if key == "nodes":
            lines += ["nodes:", *(f"  {_flow(name)}: {_node(node)}" for name, node in value.items())]
        elif key == "links":
            lines += ["links:", *(f"  - {_link(link)}" for link in value)] if value else []
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _node(node: Mapping[str, Any]) -> str:
    return _flow(node["kind"]) if set(node) == {"kind"} else _flow(node)


def _link(link: Mapping[str, Any]) -> str:
    return _flow(" -- ".join(link["ends"])) if set(link) == {"ends"} and _plain_ends(link) else _flow(link)


def _plain_ends(link: Mapping[str, Any]) -> bool:
    return all(_PLAIN.fullmatch(end) for end in link["ends"])


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return value if _needs_no_quotes(value) else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """As JSON, but for characters beyond 16 bits: YAML has an escape for these, and JSON two halves."""
    return '"' + "".join(f"\\U{ord(c):08x}" if ord(c) > 0xFFFF else json.dumps(c)[1:-1] for c in text) + '"'


def _needs_no_quotes(text: str) -> bool:
    """Where it reads as itself: not as a number, true, or nothing."""
    ends = text.split(" -- ")
    plain = len(ends) <= 2 and all(map(_PLAIN.fullmatch, ends))
    return plain and parse(f"[{text}]", "").data == [text]
