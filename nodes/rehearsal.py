"""A rehearsal: two hosts and a switch in memory, before agents are forked.

What Python does once for each piece of code (specialized bytecode, attribute caches, compiled expressions, tables of
types) it does here, in the parent of all agents, and they share the result. An agent that starts has then less to
compute, and writes to fewer of the pages that it shares with the others.
"""

from __future__ import annotations

import json
from random import Random
from time import monotonic_ns

from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.device import Device, build_device
from nodes.stack import Stack
from nodes.trace import sqlog
from nodes.trace.sqlog import SqlogWriter
from nodes.units import SECOND, earliest

ROUNDS = 3
"""Python specializes code that has run a few times; a ping of this many requests runs all of it often enough."""

OCTETS = 65_536
"""As many segments as an initial window has, and some more."""

_PORTS = tuple(InterfaceConfig(name, "02:00:00:00:00:03") for name in ("p1", "p2"))
_SWITCH = NodeConfig("", "s", "switch", interfaces=_PORTS)


def rehearse() -> None:
    """Let a host ping another through a switch, then send to it by TCP, and write down what happened."""
    sqlog.prepare()
    now = monotonic_ns()
    tracer = SqlogWriter(None, node="", title="", start=now, wall_ns=now)
    devices = [build_device(config, Random(0), tracer, now) for config in (_host(1), _host(2), _SWITCH)]
    first, second = devices[0], devices[1]
    assert isinstance(first, Stack) and isinstance(second, Stack)
    for device in devices:
        device.set_port(0, True, now)
    devices[2].set_port(1, True, now)
    runner, server = ApplicationRunner(first, tracer), ApplicationRunner(second, tracer)
    server.start("sink", {"port": 9}, now)
    for kind, options in (
        ("ping", {"to": "10.0.0.2", "count": ROUNDS, "interval": 0.1}),
        ("source", {"to": "10.0.0.2:9", "bytes": OCTETS}),
    ):
        number = runner.start(kind, options, now)
        while runner.state(number) == "running":
            while _exchange(devices, now) or runner.poll(now) or server.poll(now):
                pass
            now = _wait(devices, runner, now)
    for device in devices:
        device.timeout(now + 4 * SECOND)
        device.deadline()
        json.dumps(device.snapshot(now))
    json.dumps(runner.result(number))


def _wait(devices: list[Device], runner: ApplicationRunner, now: int) -> int:
    """Let the next timer expire, and return when that was."""
    now = max(now, earliest(runner.deadline(), *(device.deadline() for device in devices)) or now)
    for device in devices:
        device.timeout(now)
    runner.timeout(now)
    return now


def _host(number: int) -> NodeConfig:
    interface = InterfaceConfig("eth0", f"02:00:00:00:00:0{number}", (f"10.0.0.{number}/24",))
    return NodeConfig("", "h", interfaces=(interface,), routes=(RouteConfig("0.0.0.0/0", "10.0.0.9", "eth0"),))


def _exchange(devices: list[Device], now: int) -> bool:
    """Carry what waits over two cables, from each host to its port of the switch; False where nothing did."""
    *hosts, switch = devices
    sent = False
    for port, host in enumerate(hosts):
        for _, frame in host.transmit():
            switch.receive(port, frame, now)
            sent = True
    for port, frame in switch.transmit():
        hosts[port].receive(0, frame, now)
        sent = True
    return sent
