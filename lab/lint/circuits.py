"""Virtual circuits: what stands at both ends of each link."""

from __future__ import annotations

from collections.abc import Iterator

from lab.lint.findings import Check, Finding
from lab.model.layout import Layout
from lab.model.topology import Host, Router


def _ends(layout: Layout) -> Iterator[Finding]:
    topology = layout.topology
    if not topology.circuits:
        return
    hint = "with circuits every node is a host or a router with our stack, and every link leads from one to another"
    for name, node in topology.nodes.items():
        if not isinstance(node, Host | Router):
            message = f"{name!r} is a {node.kind}: virtual circuits need links with two ends"
            yield Finding(("nodes", name), message, hint, key=True)
        elif (node.stack or topology.defaults.stack) == "kernel":
            message = f"{name!r} has the kernel's stack, which has no virtual circuits"
            yield Finding(("nodes", name), message, hint, key=True)


CHECKS: tuple[Check, ...] = (_ends,)
