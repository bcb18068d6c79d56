"""A topology from wherever it is: a file of ours, or a file with Mininet's."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lab.exchange.recording import record
from lab.exchange.reference import parse_reference
from lab.exchange.text import topology_text
from lab.exchange.translation import translate
from lab.model.load import checked, default_name, loads
from lab.model.names import is_node_name
from lab.model.topology import Topology
from lab.model.yaml_source import Document, read_text


class Read(NamedTuple):
    """`source` is a topology file of ours that says the same; that of a run."""

    topology: Topology
    source: str


def read(path: str | Path) -> Read:
    """A topology file, or `my_topo.py:MyTopo,4`. Raises TopologyError, and UserInputError where a file cannot be
    read."""
    reference = parse_reference(str(path))
    if reference is None:
        source = read_text(Path(path))
        return Read(loads(source, str(path)), source)
    document: Document = record(reference, translate)
    assert isinstance(document.data, dict)
    name = str(document.data["name"])
    document.data["name"] = name if is_node_name(name) else default_name(name)
    source = topology_text(document.data, (f"{reference.text}, a Mininet topology",))
    return Read(checked(document), source)
