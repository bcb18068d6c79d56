"""The same network with the same calls does the same, to the octet: in one process, and in two with different hashes.

A scenario has everything that draws or orders: loss, jitter, reordering and duplicates on links, TCP and UDP through a
switch with a spanning tree and a router, a crash with a restart, a pause, a flapping link, a partition."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.model.load import loads
from lab.plan.planner import make_plan
from nodes.contract import NodeConfig
from nodes.io.recorder import Recorder, Recording
from nodes.simulation.network import Network
from nodes.trace.sqlog import SqlogWriter
from nodes.units import MILLISECOND, SECOND
from tests.sim.simulated_lab import configs, wire

SCENARIO = """
name: same
defaults: {impl: stack, capture: true, impair: {delay: 3ms 1ms, loss: 5%, reorder: 10%, duplicate: 2%}}
nodes:
  a: {kind: host, start: [source: {to: c, bytes: 200000}]}
  b: {kind: host, start: [ping: {to: c, count: 50, interval: 0.2}, udp_source: {to: c, count: 200}]}
  c: {kind: host, start: [sink: {}, udp_sink: {}]}
  s1: {kind: switch, stp: {}}
  s2: {kind: switch, stp: {}}
  r: router
links: [a -- s1, b -- s1, s1 -- s2, {ends: [s1, s2], name: spare}, s2 -- r, r -- c]
"""
EPOCH = 1_700_000_000 * SECOND


def build(folder: Path, seed: int) -> tuple[Network, SqlogWriter]:
    plan = make_plan(loads(SCENARIO, "same.yml"), seed)

    def recorder_for(config: NodeConfig) -> Recorder:
        (folder / config.name).mkdir()
        return Recorder(config, Recording(folder / config.name, 0, EPOCH))

    links = SqlogWriter(folder / "links.sqlog", node="links", title="same/links", start=0, wall_ns=EPOCH)
    wires = [wire(plan, link) for link in plan.links]
    return Network(configs(plan), wires, recorder_for=recorder_for, link_tracer=links), links


def play(folder: Path, seed: int, step: int = 1 << 60) -> None:
    """`step`: how far (ns) one call of `run` goes at most."""
    network, links = build(folder, seed)
    network.call_at(35 * SECOND, lambda: network.link("spare").flap(SECOND, 3 * SECOND, 3))
    network.call_at(36 * SECOND, network.node("a").crash)
    network.call_at(40 * SECOND, lambda: network.node("a").start("restarted"))
    network.call_at(41 * SECOND, network.node("c").pause)
    network.call_at(43 * SECOND, network.node("c").resume)
    network.call_at(50 * SECOND, lambda: network.node("b").block(network.node("b").config.hosts["c"].split()))
    network.call_at(52 * SECOND, lambda: network.node("b").block([]))
    while network.now < 60 * SECOND:
        network.run(min(60 * SECOND, network.now + step))
    network.close()
    links.close(network.now)
    assert network.hops > 2000


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("first")
    play(folder, seed=1)
    found = digests(folder)
    assert len(found) == 6 + 6 + 1  # traces and captures of nodes, and the trace of links
    return found


@pytest.mark.slow
def test_the_same_seed_gives_the_same_octets_in_a_process_with_other_hashes(
    tmp_path: Path, first: dict[str, str]
) -> None:
    environment = dict(os.environ, PYTHONHASHSEED="4242")
    program = f"from pathlib import Path; from {__name__} import play; play(Path({str(tmp_path)!r}), 1)"
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=Path(__file__).parents[2])
    assert digests(tmp_path) == first


@pytest.mark.slow
def test_another_seed_gives_another_run(tmp_path: Path, first: dict[str, str]) -> None:
    play(tmp_path, seed=2)
    found = digests(tmp_path)
    assert found.keys() == first.keys()
    assert found["c/capture.pcapng"] != first["c/capture.pcapng"]


@pytest.mark.slow
def test_how_far_each_call_of_run_goes_changes_nothing(tmp_path: Path, first: dict[str, str]) -> None:
    play(tmp_path, seed=1, step=7 * MILLISECOND)
    assert digests(tmp_path) == first
