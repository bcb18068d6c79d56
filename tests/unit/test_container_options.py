"""What a topology says of containers: read, refused with its place, planned, and warned of where nobody knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.compose.document import Options, compose_file
from lab.model.errors import TopologyError
from lab.model.load import load, loads
from lab.plan.planner import make_plan
from lab.plan.render import plan_from_dict, plan_to_dict
from nodes.contract import ContainerConfig, HealthcheckConfig, MountConfig, to_json

FULL = """\
name: full
defaults: {image: ours, memory: 64MiB}
nodes:
  a: {kind: host, pids: 9, environment: {A: b}}
  db:
    stack: kernel
    image: postgres:17
    command: postgres -c 'max connections=9'
    environment: {N: 3, TEXT: "x y"}
    mounts: [./x:/x:ro, {source: /y, target: /z/y}]
    healthcheck: {command: pg_isready, interval: 0.5, retries: 4}
    memory: 1GiB
links: [a -- db]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        make_plan(loads(text))
    return [str(problem) for problem in caught.value.problems]


def node(keys: str, stack: str = "kernel") -> str:
    return f"name: x\nnodes:\n  a: host\n  k: {{stack: {stack}, {keys}}}\nlinks: [a -- k]\n"


def test_everything_is_in_the_plan() -> None:
    plan = make_plan(loads(FULL))
    assert plan.by_name["a"].container == ContainerConfig(
        node_image="ours", environment={"A": "b"}, memory=64 << 20, pids=9
    )
    assert plan.by_name["db"].container == ContainerConfig(
        image="postgres:17",
        node_image="ours",
        command=("postgres", "-c", "max connections=9"),
        environment={"N": "3", "TEXT": "x y"},
        mounts=(MountConfig(str(Path.cwd() / "x"), "/x", True), MountConfig("/y", "/z/y")),
        healthcheck=HealthcheckConfig(("/bin/sh", "-c", "pg_isready"), 0.5, 5.0, 4),
        memory=1 << 30,
    )
    assert plan_from_dict(plan_to_dict(plan)) == plan


def test_nothing_said_is_nothing_planned() -> None:
    plan = make_plan(loads("name: x\nnodes: {a: host, s: switch, h: hub}\nlinks: [a -- s, s -- h]\n"))
    assert [each.container for each in plan.nodes] == [None, None, None]
    assert to_json(plan.nodes[0])["container"] is None


def test_mounts_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.yml").write_text(node("image: i, mounts: [../x:/x]"))
    config = make_plan(load(tmp_path / "t.yml")).by_name["k"].container
    assert config is not None
    assert config.mounts == (MountConfig(str(tmp_path.parent / "x"), "/x"),)


@pytest.mark.parametrize(
    ("keys", "column", "words"),
    [
        ("image: 'a b'", 29, "'a b' is not the name of an image"),
        ("image: 3", 29, "3 stands here, text expected"),
        ("command: []", 31, "a command has at least one word"),
        ('command: "it\'s"', 31, "cannot be split into words: No closing quotation"),
        ("environment: {A: true}", 39, "true stands here, text expected"),
        ("environment: {'A=B': x}", 36, "'A=B' is not the name of a variable"),
        ("memory: 5MiB", 30, "the memory '5MiB' is too small"),
        ("pids: 0", 28, "'pids' is 0, it must be at least 1"),
        ("mounts: [data:/data]", 31, "'data' is not the path of a file or folder"),
        ("mounts: [./data]", 31, "'./data' is not a mount"),
        ("mounts: [./data:/]", 31, "'/' is no place in a container"),
        ("mounts: [./data:/d:rx]", 31, "'./data:/d:rx' is not a mount"),
        ("mounts: [./a:/d, ./b:/d]", 39, "/d is mounted twice in 'k'"),
        ("healthcheck: {command: x, retries: 0}", 57, "'retries' is 0, it must be at least 1"),
        ("healthcheck: {test: x}", 36, "unknown key 'test'"),
    ],
)
def test_refused_with_its_place(keys: str, column: int, words: str) -> None:
    found = problems(node(keys))
    assert any(f"4:{column}: " in problem and words in problem for problem in found), found


def test_our_nodes_run_nothing_else() -> None:
    found = problems(node("command: sleep 9, healthcheck: 'true'", stack="layerlab"))
    assert [problem.split(": ")[1] for problem in found] == ["'k' has our stack"] * 2


def test_switches_have_no_container_of_a_users() -> None:
    found = problems("name: x\nnodes: {a: host, s: {kind: switch, image: x}}\nlinks: [a -- s]\n")
    assert "a switch has no 'image'" in found[0]


def test_other_drivers_warn() -> None:
    warned = make_plan(loads(FULL), driver="netns").warnings
    assert [warning.split(": ")[0] for warning in warned] == [
        f"topology.yml:{place}"
        for place in ("2:12", "2:25", "4:19", "4:28", "7:5", "12:5", "8:5", "9:5", "10:5", "11:5")
    ]
    assert "'mounts' of 'db': netns ignores it" in " ".join(warned)
    assert make_plan(loads(FULL), driver="docker").warnings == ()
    assert make_plan(loads(FULL)).warnings == ()


def test_compose_refuses() -> None:
    topology = loads(FULL)
    with pytest.raises(TopologyError, match="for the docker driver, not for a Compose file"):
        compose_file(topology, make_plan(topology), Options())
