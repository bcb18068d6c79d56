"""The drivers that keep the contract: one row each, with what its tests need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.drivers.abilities import CANNOT, Cannot
from tests.drivers import fake


@dataclass(frozen=True, slots=True)
class Row:
    """`needs` are findings of `lab doctor` (`root`, `veth` ...), `engine` whether the tests' own Docker engine is.
    `bridge`: a switch is a bridge of the kernel, in which nothing runs. `own_files`: a node has files that this machine
    has not. `up_seconds`: for a lab of four nodes to come up, on a machine that does much else."""

    name: str
    needs: tuple[str, ...] = ()
    engine: bool = False
    bridge: bool = True
    own_files: bool = False
    up_seconds: float = 60.0
    cannot: Cannot = field(default_factory=dict)


_NETNS = ("root", "network and PID namespaces", "own /proc", "veth", "bridge", "packet sockets")

ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        Row("fake", bridge=False, cannot=fake.CANNOT),
        Row("netns", _NETNS, cannot=CANNOT["netns"]),
        Row("mininet", (*_NETNS, "Mininet", "mnexec"), cannot=CANNOT["mininet"]),
        Row("docker", _NETNS, engine=True, own_files=True, up_seconds=120.0, cannot=CANNOT["docker"]),
    )
}
"""Whose labs a supervisor owns. `sim` has none, and is held to the contract by test_contract_api.py."""
