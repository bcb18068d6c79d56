"""Files with Mininet topologies, read without Mininet."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.exchange import library
from lab.exchange.reading import Read, read
from lab.plan.planner import make_plan
from lab.plan.values import Plan

HEAD = """\
from mininet.link import TCLink
from mininet.node import CPULimitedHost, Node, OVSSwitch
from mininet.topo import Topo

class Router(Node):
    def config(self, **params):
        super().config(**params)
        self.cmd("sysctl -w net.ipv4.ip_forward=1")
"""
"""Line 1 of what a test writes is line 10 of its file."""

ReadText = Callable[..., Read]


def use_our_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without Mininet, whether this one has it or not."""
    monkeypatch.setattr(library, "can_import_mininet", lambda: False)


class Files:
    """Topology files in a folder that is the current one, so that messages name them as `net.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str, name: str = "net.py", head: str = HEAD) -> None:
        (self.folder / name).write_text(head + "\n" + textwrap.dedent(text))

    def build(self, body: str, reference: str = "net.py") -> Read:
        """What a `build` with this body makes."""
        lines = textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)
        self.write(f"class Net(Topo):\n    def build(self, n=2, **options):\n{lines}\n")
        return read(reference)

    def plan(self, body: str) -> Plan:
        return make_plan(self.build(body).topology)


def addresses(plan: Plan) -> dict[str, str]:
    """By interface, of hosts and routers."""
    return {
        f"{node.name}:{each.name}": ", ".join(each.addresses)
        for node in plan.nodes
        for each in node.interfaces
        if node.kind in ("host", "router")
    }


def warnings(found: Read) -> list[str]:
    """As a person sees them, without hints."""
    return [str(problem).partition("\n")[0] for problem in found.topology.document.warnings]
