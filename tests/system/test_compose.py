"""A lab by `docker-compose up`, on a real engine: nodes that configure themselves, pings through our stacks, links
that are impaired inside the nodes, and nothing left when it is down."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.compose.document import Options, compose_file
from lab.model.load import loads
from lab.plan.planner import make_plan
from tests.system.docker_rig import CHECKOUT, DockerEngine

pytestmark = pytest.mark.timeout(600)  # the first test makes the engine, and perhaps its base image

MILLISECOND = 1_000_000


class Project:
    """A Compose file that is up."""

    def __init__(self, engine: DockerEngine, file: Path, name: str) -> None:
        self.engine = engine
        self.file = file
        self.name = name

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker-compose", "--project-name", self.name, "--file", str(self.file), *arguments],
            env=self.engine.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def must(self, *arguments: str) -> str:
        ran = self.compose(*arguments)
        assert ran.returncode == 0, f"{arguments}: {ran.stdout}{ran.stderr}{self.compose('logs').stdout}"
        return ran.stdout

    def ask(self, node: str, *words: str) -> list[dict[str, Any]]:
        """What `lab-node` in a container prints."""
        return [json.loads(line) for line in self.must("exec", "-T", node, "lab-node", *words).splitlines()]

    def state(self, node: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.must("exec", "-T", node, "lab-node", "state"))
        return answer

    def ping(self, source: str, destination: str, *options: str) -> list[int]:
        """Round trip times (ns) of the replies. The first also has the time that ARP took."""
        told = self.ask(source, "ping", destination, "interval=0.1", *(options or ("count=4",)))
        return [event["rtt"] for event in told if event.get("event") == "reply"]


@contextmanager
def up(engine: DockerEngine, file: Path, name: str) -> Iterator[Project]:
    project = Project(engine, file, name)
    interfaces = engine.run_in_network_namespace("ip", "-oneline", "link")
    try:
        project.must("up", "--detach")
        yield project
    finally:
        project.must("down", "--volumes", "--timeout", "5")
    for kind in ("ps", "network ls", "volume ls"):
        left = engine.docker(*kind.split(), "--quiet", "--filter", f"label=com.docker.compose.project={name}")
        assert left == "", f"{kind}: {left}"
    assert engine.run_in_network_namespace("ip", "-oneline", "link") == interfaces


def made(folder: Path, topology: str) -> Path:
    loaded = loads(topology)
    file = folder / "compose.yml"
    file.write_text(compose_file(loaded, make_plan(loaded), Options()))
    return file


def test_the_ready_pair(docker_engine: DockerEngine, tmp_path: Path) -> None:
    with up(docker_engine, CHECKOUT / "compose" / "pair.yml", "pair") as project:
        assert len(project.ping("a", "b")) == 4
        assert len(project.ping("b", "a")) == 4
        addresses = json.loads(project.must("exec", "-T", "a", "ip", "-json", "address", "show", "dev", "eth0"))
        assert addresses[0]["addr_info"] == [], "the kernel has an address, and would answer"
        assert project.must("exec", "-T", "a", "ip", "route") == ""
        assert project.must("exec", "-T", "a", "id", "--user").strip() == "1000"
        refused = project.compose("exec", "-T", "a", "touch", "/opt/layerlab/x")
        assert "Read-only file system" in refused.stderr + refused.stdout
        project.must("stop")
        docker_engine.docker("cp", f"{project.name}_a_1:/recordings/a", str(tmp_path))
    assert "segment" not in (trace := (tmp_path / "a" / "trace.sqlog").read_text())
    assert '"SIGTERM"' in trace, "the node was not told to end"
    assert list((tmp_path / "a").glob("*.json")), "no last state"


def test_the_ready_routed_lab_delays_and_loses(docker_engine: DockerEngine) -> None:
    with up(docker_engine, CHECKOUT / "compose" / "lossy.yml", "lossy") as project:
        times = project.ping("a", "b", "count=20")
        assert len(times) >= 15
        assert min(times) >= 40 * MILLISECOND
        assert min(times) < 60 * MILLISECOND
        plain = project.ping("a", "r")
        assert min(plain) < 20 * MILLISECOND
        hops = project.ask("a", "traceroute", "b")[-1]
        assert hops["reached"] and len(hops["hops"]) == 2
        kernel = project.must("exec", "-T", "k1", "ping", "-c", "10", "-i", "0.1", "k2")
        assert float(kernel.rpartition("=")[2].split("/")[0]) >= 40  # the minimum
        (port,) = project.state("b")["ports"]
        assert (port["out"], list(port["lines"])) == ("ba", ["ba"])
        assert port["lines"]["ba"]["in_frames"] >= 15


MIXED = """
name: mixed
nodes:
  a: host
  s: switch
  sw: {kind: switch, impl: stack}
  r: router
  b: {kind: host, start: [sink: {port: 9}]}
  k: {kind: host, stack: kernel}
  h: hub
  c: host
links:
  - {ends: [a, s], impair: {delay: 10ms, from: {s: {delay: 20ms}}}}
  - k -- s
  - s -- r
  - {ends: [r, sw], mtu: 1400}
  - {ends: [sw, b], mtu: 1400}
  - {ends: [sw, h], mtu: 1400}
  - {ends: [h, c], mtu: 1400}
"""


def test_all_kinds_of_nodes(docker_engine: DockerEngine, tmp_path: Path) -> None:
    """A Docker network for a switch, whose links one end impairs in both directions; switch and hub of ours; a plain
    Linux host; segments of TCP, fragments, path MTU."""
    with up(docker_engine, made(tmp_path, MIXED), "mixed") as project:
        for destination in ("k", "r", "b", "c"):
            times = project.ping("a", destination)
            assert len(times) == 4, destination
            assert 30 * MILLISECOND <= min(times) < 60 * MILLISECOND, destination
        assert min(project.ping("r", "k")) < 20 * MILLISECOND
        assert len(project.ping("c", "a", "count=2", "size=3000")) == 2
        linux = project.must("exec", "-T", "k", "ping", "-c", "2", "-i", "0.1", "-s", "3000", "c")
        assert "2 received" in linux
        for words, code in ((("run", "nothing"), 2), (("ping",), 2), (("ping", "b", "count"), 2), (("ping", "z"), 6)):
            refused = project.compose("exec", "-T", "a", "lab-node", *words)
            assert refused.returncode == code and "error: " in refused.stderr, words
        sent = project.ask("a", "run", "source", "to=b:9", "bytes=200kB")[-1]
        assert sent["octets"] == 200_000


def test_a_schedule_pulls_the_cable(docker_engine: DockerEngine, tmp_path: Path) -> None:
    text = "name: flap\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], schedule: [{at: 3s, up: false}]}]\n"
    with up(docker_engine, made(tmp_path, text), "flap") as project:
        assert project.ping("a", "b", "count=1")
        end = time.monotonic() + 20
        while project.state("a")["ports"][0]["up"]:
            assert time.monotonic() < end, "the cable is still in"
        refused = project.compose("exec", "-T", "a", "lab-node", "ping", "b", "count=1", "timeout=0.3")
        assert refused.returncode == 7


def test_two_labs_at_once_and_a_restart(docker_engine: DockerEngine, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    form = "name: {}\nnodes: {{a: host, b: host}}\nlinks: [a -- b]\n"
    with up(docker_engine, made(tmp_path / "x", form.format("x")), "x") as first:
        second = Project(docker_engine, made(tmp_path / "y", form.format("y")), "y")
        try:
            second.must("up", "--detach")
            assert len(second.ping("a", "b")) == 4
            first.must("restart", "--timeout", "5", "b")
            assert len(first.ping("a", "b")) == 4
        finally:
            second.must("down", "--volumes", "--timeout", "5")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ((), ("--environment",), 1),  # the engine's: the interpreter cannot be executed
        (("--cap-add", "NET_ADMIN"), ("--environment",), 2),
        (("--cap-add", "NET_ADMIN"), ("--config", "/no/such/file"), 2),
        (("--cap-add", "NET_ADMIN"), ("dance",), 2),
        (("--cap-add", "NET_ADMIN"), (), 2),
    ],
)
def test_what_cannot_be_a_node_says_so(
    docker_engine: DockerEngine, arguments: tuple[str, ...], words: tuple[str, ...], code: int
) -> None:
    ran = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *arguments, docker_engine.image, *words],
        env=docker_engine.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in (code, 126 if code == 1 else code), ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert "error" in ran.stderr.lower() or "not permitted" in ran.stderr
