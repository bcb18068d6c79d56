"""What the engine is asked, and what a person is told of its errors. Docker's library makes the requests; no engine."""

from __future__ import annotations

import errno
from pathlib import Path

import docker
import pytest
import requests
from docker.errors import APIError, DockerException

from lab.drivers.docker import engine
from lab.drivers.docker.specs import (
    agent_image,
    agent_spec,
    has_program,
    missing_sources,
    program_image,
    program_spec,
    shared_folder,
)
from lab.errors import DriverError, EnvironmentLackError
from nodes.contract import ContainerConfig, HealthcheckConfig, MountConfig, NodeConfig

CLIENT = docker.APIClient(base_url="unix:///nowhere", version="1.41")


def node(stack: str = "kernel", **options: object) -> NodeConfig:
    container = ContainerConfig(**options)  # type: ignore[arg-type]
    return NodeConfig("lab", "k", stack=stack, hosts={"a": "10.0.0.1"}, container=container)  # type: ignore[arg-type]


def test_which_images() -> None:
    assert agent_image(NodeConfig("x", "a")) == "layerlab"
    assert not has_program(NodeConfig("x", "a", stack="kernel"))
    mine = node("layerlab", image="mine", node_image="all")
    assert (agent_image(mine), has_program(mine)) == ("mine", False)
    web = node(image="nginx", node_image="all")
    assert (agent_image(web), program_image(web), has_program(web)) == ("all", "nginx", True)
    command = node(command=("sleep", "9"))
    assert (agent_image(command), program_image(command), has_program(command)) == ("layerlab", "layerlab", True)


def test_the_agent_of_a_program_has_none_of_its_options() -> None:
    web = node(image="nginx", environment={"SECRET": "x"}, memory=1 << 30, pids=3, mounts=(MountConfig("/a", "/b"),))
    agent = agent_spec(CLIENT, web, Path("/run/k"), {"l": "1"}, Path("/home/me"))
    assert agent.name == "layerlab.lab.k.agent"
    host = agent.arguments["host_config"]
    assert agent.arguments["environment"] == {}
    assert "Memory" not in host
    assert host["PidsLimit"] == 512
    assert [mount["Target"] for mount in host["Mounts"]] == ["/run/k"]
    assert host["ExtraHosts"] == ["a:10.0.0.1"]

    program = program_spec(CLIENT, web, "ID", {"l": "1"})
    assert program.name == "layerlab.lab.k"
    host = program.arguments["host_config"]
    assert host["NetworkMode"] == "container:ID"
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (1 << 30, 1 << 30, 3)
    assert program.arguments["environment"] == {"SECRET": "x"}
    assert "Privileged" not in host
    assert program.arguments["labels"]["org.layerlab.role"] == "program"


def test_a_command_takes_the_place_of_the_images_command_and_of_our_entry_point() -> None:
    theirs = program_spec(CLIENT, node(image="i", command=("a", "b")), "ID", {}).arguments
    assert (theirs["command"], theirs.get("entrypoint")) == (["a", "b"], None)
    ours = program_spec(CLIENT, node(command=("a", "b")), "ID", {}).arguments
    assert (ours.get("command"), ours["entrypoint"]) == (None, ["a", "b"])


def test_times_of_a_health_check_are_nanoseconds() -> None:
    web = node(image="i", healthcheck=HealthcheckConfig(("x", "y"), 0.5, 2.0, 3, 4.0))
    assert program_spec(CLIENT, web, "ID", {}).arguments["healthcheck"] == {
        "test": ["CMD", "x", "y"],
        "interval": 500_000_000,
        "timeout": 2_000_000_000,
        "retries": 3,
        "start_period": 4_000_000_000,
    }


@pytest.mark.parametrize(
    ("folder", "is_shared"),
    [("/", False), ("/usr", False), ("/opt", False), ("/work", True), ("/usr/src/x", True), ("/home/me", True)],
)
def test_what_is_shared_hides_nothing_of_the_image(folder: str, is_shared: bool) -> None:
    assert shared_folder(Path(folder)) == (Path(folder) if is_shared else None)


def test_what_is_not_there_to_be_mounted(tmp_path: Path) -> None:
    there = MountConfig(str(tmp_path), "/a")
    assert missing_sources((node(mounts=(there, MountConfig("/no/such", "/b"))),)) == ["/no/such (for k)"]


def api_error(status: int, words: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("error", response, words)


def test_errors_in_words() -> None:
    full = engine.told(api_error(500, "mkdir /var/lib/docker/x: no space left on device"), "create container x")
    assert isinstance(full, EnvironmentLackError)
    assert full.message.startswith("cannot create container x: the engine's disk is full")
    refused = engine.told(api_error(400, 'OCI: exec: "lab-node": executable file not found in $PATH'), "start x")
    assert isinstance(refused, DriverError)
    assert "Dockerfile" in refused.hint
    silent = engine.told(requests.exceptions.ConnectionError("gone"), "start x")
    assert silent.message == "cannot start x: the Docker engine does not answer: gone"


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.ENOENT, "there is no Docker engine at unix:///x", "install and start"),
        (errno.ECONNREFUSED, "no Docker engine answers at unix:///x", "systemctl start docker"),
        (errno.EACCES, "this user may not use the Docker engine", "group docker"),
    ],
)
def test_why_there_is_no_connection(number: int, words: str, hint: str) -> None:
    wrapped = DockerException("Error while fetching server API version")
    wrapped.__cause__ = requests.exceptions.ConnectionError(Exception("aborted", OSError(number, "x")))
    found = engine._unreachable("unix:///x", wrapped)
    assert words in found.message
    assert hint in found.hint
