"""From a file to a topology: text, values with places, checked model. All that is wrong is reported together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from lab.model.errors import TopologyError
from lab.model.explain import problems_of
from lab.model.names import MAX_NODE_NAME, node_name, split_link
from lab.model.topology import Topology
from lab.model.yaml_source import Document, KeyPath, Mark, parse, read_text


def load(path: str | Path) -> Topology:
    """The topology in a file. Raises TopologyError, and UserInputError where the file cannot be read."""
    return loads(read_text(Path(path)), str(path))


def loads(text: str, name: str = "topology.yml") -> Topology:
    """The topology in `text`; `name` stands for the file in messages, and gives the lab its default name."""
    return topology_of(parse(text, name), text, name)


def topology_of(document: Document, text: str, name: str) -> Topology:
    """The same from a document that is parsed, or a part of one, whose places are those of `text`."""
    document = replace(document, values={**document.values, **_marks_of_links(document, text.splitlines())})
    data = document.data
    if isinstance(data, dict) and "name" not in data:
        data = {"name": _default_name(name), **data}
    try:
        topology = Topology.model_validate(data, context=document)
    except ValidationError as error:
        raise TopologyError([*document.problems, *problems_of(error, document)]) from None
    if document.problems:
        raise TopologyError(document.problems)
    return topology


def _default_name(file: str) -> str:
    """`my lab.yml` -> `my-lab`."""
    name = re.sub(r"[^a-zA-Z0-9_.-]+", "-", Path(file).stem).strip("-_.")[:MAX_NODE_NAME]
    try:
        return node_name(name)
    except PydanticCustomError:
        return "lab"


def _marks_of_links(document: Document, lines: list[str]) -> dict[KeyPath, Mark]:
    """The places of the ends inside short links, so that an error names the end and not only the link."""
    links = document.data.get("links") if isinstance(document.data, dict) else None
    marks: dict[KeyPath, Mark] = {}
    for index, link in enumerate(links if isinstance(links, list) else ()):
        path: KeyPath = ("links", index)
        if isinstance(link, list):
            marks |= {(*path, "ends", side): document.mark((*path, side)) for side in range(len(link))}
        elif isinstance(link, str):
            marks |= _marks_in_text(link, path, document.mark(path), lines)
    return marks


def _marks_in_text(link: str, path: KeyPath, start: Mark, lines: list[str]) -> dict[KeyPath, Mark]:
    try:
        match, _ = split_link(link)
    except PydanticCustomError:
        return {}
    line = lines[start.line - 1] if start.line <= len(lines) else ""
    offset = line.find(link, start.column - 1)  # past the quote, if there is one
    if offset < 0:
        return {}
    return {(*path, "ends", side): Mark(start.line, offset + match.start(side + 1) + 1) for side in (0, 1)}
