"""What an agent or a simulation drives: one surface for stacks, switches and hubs.

A device has ports, numbered in the order of its configuration. Its driver hands it every input with the time, then
drains its output: `receive`, `timeout` and `set_port` change its state, `transmit` gives the frames to send, and
`deadline` says when it wants its next `timeout`.
"""

from __future__ import annotations

from random import Random
from typing import Protocol

from nodes.contract import NodeConfig
from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch import LearningSwitch
from nodes.errors import MisuseError
from nodes.physical.hub import Hub
from nodes.stack import Stack
from nodes.trace.events import Tracer
from nodes.units import SECOND
from nodes.wire.addresses import parse_mac


class Device(Protocol):
    def receive(self, port: int, frame: bytes, now: int) -> None: ...

    def timeout(self, now: int) -> None: ...

    def deadline(self) -> int | None:
        """When `timeout` is wanted next, in nanoseconds of the caller's clock, or None."""
        ...

    def transmit(self) -> list[tuple[int, bytes]]:
        """The frames to send since the last call, oldest first, each with its port."""
        ...

    def set_port(self, port: int, up: bool, now: int) -> None:
        """Tell that a port gained or lost its carrier."""
        ...

    def snapshot(self, now: int) -> dict[str, object]:
        """The device's whole state as values of JSON."""
        ...


def build_device(config: NodeConfig, random: Random, tracer: Tracer, now: int) -> Device:
    """The device that a configuration describes. Raises MisuseError where it contradicts itself, and for nodes whose
    stack is the kernel's, which have none."""
    if config.kind != "host" and any(interface.offload for interface in config.interfaces):
        raise MisuseError(f"{config.name}: a {config.kind} passes on what a wire carries and has no offload")
    if config.kind in ("switch", "hub") and any(interface.arq for interface in config.interfaces):
        raise MisuseError(f"{config.name}: a {config.kind} passes frames on and has no ARQ")
    ports = [interface.name for interface in config.interfaces]
    if config.kind == "hub":
        return Hub(ports, tracer)
    if config.kind == "switch":
        settings = SpanningTreeSettings.from_config(config.spanning_tree) if config.spanning_tree else None
        mac = parse_mac(config.interfaces[0].mac)
        ageing = int(config.ageing_time * SECOND)
        return LearningSwitch(
            ports,
            mac,
            random,
            tracer,
            ageing_time=ageing,
            spanning_tree=settings,
            shared_ports=_ports_to(config, "hub"),
            edge_ports=_ports_to(config, "host", "router"),
        )
    return Stack.from_config(config, random, tracer, now)


def _ports_to(config: NodeConfig, *kinds: str) -> list[int]:
    """The ports whose peer is of one of these kinds."""
    return [port for port, interface in enumerate(config.interfaces) if interface.peer_kind in kinds]
