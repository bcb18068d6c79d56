"""The settings of TCP: congestion controls by the nodes' own list, and times that contradict each other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from lab.lint.findings import Check, Finding
from lab.model.layout import Layout
from lab.model.tcp import Tcp
from lab.model.topology import Host, Router
from lab.model.yaml_source import KeyPath
from nodes.errors import MisuseError
from nodes.transport.tcp.congestion import registry
from nodes.transport.tcp.settings import DEFAULTS
from nodes.units import SECOND

SHORT_MSL = 0.5
"""Seconds. A segment that waits in a queue of a lab may well be as old."""


def _settings(layout: Layout) -> Iterator[tuple[KeyPath, Tcp]]:
    topology = layout.topology
    yield ("defaults", "tcp"), topology.defaults.tcp
    for name, node in topology.nodes.items():
        if isinstance(node, Host | Router):
            yield ("nodes", name, "tcp"), node.tcp


def _congestion(layout: Layout) -> Iterator[Finding]:
    for path, tcp in _settings(layout):
        if tcp.congestion is not None:
            try:
                check_congestion(tcp.congestion)
            except MisuseError as error:
                yield Finding((*path, "congestion"), error.message, error.hint)


def check_congestion(name: str) -> None:
    """Raises MisuseError where no algorithm has this name, with the reason where a package offers one that does not
    load. Packages are only looked at for a name that is not ours, and what looks at them is only imported then."""
    if name in registry.ALGORITHMS:
        return
    for extension in importlib.import_module("nodes.io.extensions").load_congestion_controls():
        if extension.name == name and extension.problem:
            raise MisuseError(
                f"the congestion control {name!r} of another package does not load", hint=extension.problem
            )
    registry.check(name)


def _kernel_nodes(layout: Layout) -> Iterator[Finding]:
    topology = layout.topology
    for name, node in topology.nodes.items():
        if not isinstance(node, Host | Router) or (node.stack or topology.defaults.stack) != "kernel":
            continue
        if node.tcp.written():
            message = f"{name!r} has the kernel's stack, with TCP of its own"
            hint = f"`lab exec {name} -- sysctl -w net.ipv4.tcp_...=VALUE` in the running lab"
            yield Finding(("nodes", name, "tcp"), message, hint, key=True)


def _times(layout: Layout) -> Iterator[Finding]:
    """Defaults are looked at alone, and each node with them."""
    topology = layout.topology
    for path, tcp in _settings(layout):
        written = tcp.written()
        together = {**topology.defaults.tcp.written(), **written}
        if "msl" in written and float(written["msl"]) < SHORT_MSL:
            hint = "an old segment may reach the next connection between the same ports (RFC 9293 section 3.4.1)"
            yield Finding((*path, "msl"), f"TIME_WAIT of only {2 * float(written['msl']):g} s", hint, warning=True)
        least, most = (_seconds(together, name) for name in ("minimum_rto", "maximum_rto"))
        if least > most and ("minimum_rto" in written or "maximum_rto" in written):
            key = "minimum_rto" if "minimum_rto" in written else "maximum_rto"
            yield Finding((*path, key), f"minimum_rto {least:g} is above maximum_rto {most:g}", "")
        delay = _seconds(together, "delayed_ack")
        if "minimum_rto" in written and least <= delay:
            hint = f"a peer may delay an acknowledgment by {delay:g} s, which would be taken for a loss"
            yield Finding((*path, "minimum_rto"), f"a retransmission timeout of only {least:g} s", hint, warning=True)


def _seconds(values: dict[str, str | int | float | bool], name: str) -> float:
    return float(values[name]) if name in values else getattr(DEFAULTS, name) / SECOND


CHECKS: tuple[Check, ...] = (_congestion, _kernel_nodes, _times)
