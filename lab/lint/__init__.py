"""What is well-formed but will not work, found before anything is created.

The model checks each value for itself; here values are held against each other: ends against nodes, addresses against
segments, links against loops. Each check is a generator of findings over the layout; none stops at the first.

Errors make a lab that cannot be built or that would fail at once. Warnings make one that works in a way its author
probably did not mean: they go into the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from lab.lint import addresses, applications, arq, circuits, containers, impairments, layer2, nodes, tcp
from lab.model.errors import Problem
from lab.model.layout import Layout, layout_of
from lab.model.topology import Topology


@dataclass(frozen=True)
class Report:
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check(topology: Topology, layout: Layout | None = None) -> Report:
    """All that is wrong with a topology. Touches nothing."""
    layout = layout or layout_of(topology)
    errors: list[Problem] = []
    warnings = list(topology.document.warnings)
    checks = (
        *nodes.CHECKS,
        *applications.CHECKS,
        *containers.CHECKS,
        *tcp.CHECKS,
        *addresses.CHECKS,
        *layer2.CHECKS,
        *impairments.CHECKS,
        *arq.CHECKS,
        *circuits.CHECKS,
    )
    for checker in checks:
        for path, message, hint, key, warning in checker(layout):
            (warnings if warning else errors).append(topology.document.problem(path, message, hint, key=key))
    return Report(tuple(errors), tuple(warnings))
