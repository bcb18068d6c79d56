"""A Mininet topology, from its file to a checked topology of ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lab.exchange.recording import record
from lab.exchange.reference import Reference
from lab.exchange.text import topology_text
from lab.exchange.translation import translate
from lab.model.load import checked, default_name
from lab.model.names import is_node_name
from lab.model.topology import Topology
from lab.model.yaml_source import Document


def read_mininet(reference: Reference) -> tuple[Topology, str]:
    """The topology, and the text of a file that says the same. Raises as `lab.exchange.reading.read`."""
    document: Document = record(reference, translate)
    data: dict[str, Any] = dict(document.data) if isinstance(document.data, dict) else {}
    name = str(data.get("name", ""))
    data["name"] = name if is_node_name(name) else default_name(name)
    text = topology_text(data, (f"{reference.text}, a Mininet topology",))
    return checked(replace(document, data=data)), text
