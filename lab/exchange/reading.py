"""A topology from wherever it is: a file of ours, or a file with Mininet's."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from lab.exchange.reference import parse_reference
from lab.model.load import loads
from lab.model.topology import Topology
from lab.model.yaml_source import read_text


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
    # Most topologies are files of ours, and most commands are waited for: what only the others need is imported here.
    return Read(*importlib.import_module("lab.exchange.mininet_reading").read_mininet(reference))
