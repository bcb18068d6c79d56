"""ARQ: who can, which windows are safe, and timers that go off too early."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.lint.findings import Check, Finding
from lab.model.arq import Arq, safe_window
from lab.model.layout import Layout, Port
from lab.model.topology import MIN_MTU, Host, Router
from lab.model.yaml_source import KeyPath
from nodes.impairment import DIRECTIONS, Match
from nodes.quantities import format_duration
from nodes.units import SECOND
from nodes.wire.arq import HEADER, OVERHEAD, TRAILER

CONTROL_FRAME = HEADER.size + TRAILER.size
"""Octets of an acknowledgment."""


def _links(layout: Layout) -> Iterator[tuple[int, Arq, KeyPath]]:
    for index in layout.links:
        arq = layout.topology.links[index].arq
        if arq is not None:
            yield index, arq, ("links", index, "arq")


def _ends(layout: Layout) -> Iterator[Finding]:
    for index, _, path in _links(layout):
        for port in layout.links[index]:
            refused = _refused(layout, port)
            if refused:
                hint = "ARQ is between two hosts or routers with our stack"
                yield Finding(path, f"{port.node!r} is {refused}, which has no ARQ", hint, key=True)


def _refused(layout: Layout, port: Port) -> str:
    """Why a node cannot, empty where it can."""
    node = layout.topology.nodes[port.node]
    if not isinstance(node, Host | Router):
        return f"a {node.kind}"
    kernel = (node.stack or layout.topology.defaults.stack) == "kernel"
    return "a node with the kernel's stack" if kernel else ""


def _windows(layout: Layout) -> Iterator[Finding]:
    for _, arq, path in _links(layout):
        bits, window = arq.numbers()
        place = (*path, "window") if arq.window is not None else path
        safe = safe_window(arq.kind, bits)
        if arq.kind == "stop-and-wait" and window != 1:
            yield Finding(place, f"stop-and-wait with a window of {window}", "kind: go-back-n has a window")
        elif window > 1 << bits:
            message = f"a window of {window} frames, but numbers of {bits} bits are only {1 << bits}"
            yield Finding(place, message, "leave 'bits' out: they follow from the window")
        elif window > safe:
            message = f"with numbers of {bits} bits, a window above {safe} lets an old frame pass for a new one"
            yield Finding(place, message, f"window: {safe}, or more bits", warning=True)
        if arq.room() < window:
            message = f"a buffer of {arq.room()} frames does not hold a window of {window}"
            yield Finding((*path, "buffer"), message, "no less than the window: so many may be on the way")


def _mtus(layout: Layout) -> Iterator[Finding]:
    for index, _, path in _links(layout):
        for port in layout.links[index]:
            if layout.mtu(port) < MIN_MTU + OVERHEAD:
                message = f"MTU {layout.mtu(port)}: ARQ takes {OVERHEAD} octets of it, and IP needs {MIN_MTU}"
                yield Finding(path, message, f"mtu: {MIN_MTU + OVERHEAD}, or more", key=True)
                break


def _offload(layout: Layout) -> Iterator[Finding]:
    for index, _, _ in _links(layout):
        if layout.topology.links[index].offload == "on":
            message = "ARQ numbers single frames: 'offload' stays off"
            yield Finding(("links", index, "offload"), message, "leave 'offload' out, or 'arq'", warning=True)


def _timers(layout: Layout) -> Iterator[Finding]:
    """A timer runs from the end of a frame: what follows is the way there, the acknowledgment, and the way back. A
    frame of the other end that the acknowledgment has to wait for is left out."""
    for index, arq, path in _links(layout):
        asked = layout.impaired.link(index)
        if asked is None:
            continue
        there, back = (asked.of(direction) for direction in DIRECTIONS)
        slowest = min((rate for rate in (there.rate, back.rate) if rate), default=0)
        needed = there.delay + back.delay + (CONTROL_FRAME * 8 * SECOND // slowest if slowest else 0)
        if arq.timeout <= needed:
            place = (*path, "timeout") if "timeout" in arq.model_fields_set else path
            message = f"the timer goes off after {format_duration(arq.timeout)}, an acknowledgment takes no less than "
            hint = "every frame is sent again, needed or not"
            yield Finding(place, message + format_duration(needed), hint, warning=True)


def _order(layout: Layout) -> Iterator[Finding]:
    """Jitter lets frames overtake each other, but not with netem's rate, which keeps them apart."""
    for index, _, path in _links(layout):
        asked = layout.impaired.link(index)
        sides = [] if asked is None else [asked.of(direction) for direction in DIRECTIONS]
        if any(side.reorder or (side.jitter and not side.rate) for side in sides):
            message = "ARQ needs a link that keeps order: a frame that overtakes others looks like one of another round"
            yield Finding(path, message, "leave 'reorder' and jitter out, or give it a rate", key=True, warning=True)


def _faults(layout: Layout) -> Iterator[Finding]:
    """Matching looks into plain frames. Numbers and lengths of frames are all that it finds in ARQ's."""
    for index, _, path in _links(layout):
        asked = layout.impaired.link(index)
        sides = [] if asked is None else [asked.of(direction) for direction in DIRECTIONS]
        matches = [fault.match for side in sides for fault in side.faults]
        plain = [replace(match, minimum_length=0, maximum_length=0) == Match() for match in matches]
        if not all(plain):
            message = "a fault that looks for protocols, addresses or ports finds none in frames of ARQ"
            yield Finding(path, message, "choose frames by their number, 'frame' or 'first', or length", True, True)


CHECKS: tuple[Check, ...] = (_ends, _windows, _mtus, _offload, _timers, _order, _faults)
