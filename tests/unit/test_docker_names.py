"""Names and labels of containers: never the same for two nodes, and never somebody else's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.drivers.docker.names import LAB, RUN, SUPERVISOR, USER, Supervisor, container_name, is_ours, labels, started_at

NAMES = st.from_regex(r"[a-b0][ab0_.-]{0,5}", fullmatch=True)


@given(NAMES, NAMES, st.sampled_from(["", "agent"]), NAMES, NAMES, st.sampled_from(["", "agent"]))
def test_different_nodes_have_different_names(a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    assert (container_name(a, b, c) == container_name(d, e, f)) == ((a, b, c) == (d, e, f))


def test_dots_are_doubled() -> None:
    assert container_name("demo", "k") == "layerlab.demo.k"
    assert container_name("v1.2", "h.1", "agent") == "layerlab.v1..2.h..1.agent"


def test_labels_are_those_of_this_process() -> None:
    found = labels("x", Path("/runs/x"))
    assert (found[LAB], found[USER], found[RUN]) == ("x", str(os.getuid()), "/runs/x")
    assert Supervisor.parse(found[SUPERVISOR]) == Supervisor.this()
    assert is_ours(found)
    assert not is_ours({**found, USER: str(os.getuid() + 1)})
    assert not is_ours({LAB: "x", USER: str(os.getuid())})


def test_a_supervisor_that_lives() -> None:
    this = Supervisor.this()
    assert this.is_gone(container_runs=True) is False
    assert this.is_gone(container_runs=False) is False


def test_a_supervisor_that_is_gone() -> None:
    this = Supervisor.this()
    assert this._replace(started="1").is_gone(container_runs=True) is True  # its pid is somebody else's now
    ended = subprocess.Popen(["true"])
    while started_at(ended.pid) is not None:  # until it is what a zombie is
        pass
    assert this._replace(pid=ended.pid).is_gone(container_runs=True) is True
    ended.wait()
    assert this._replace(pid=ended.pid).is_gone(container_runs=True) is True


def test_a_supervisor_that_cannot_be_judged_from_here() -> None:
    this = Supervisor.this()
    assert this._replace(namespace="1", pid=1).is_gone(container_runs=True) is None
    assert this._replace(boot="x").is_gone(container_runs=True) is None
    assert this._replace(boot="x").is_gone(container_runs=False) is True


def test_labels_of_somebody_elses_making() -> None:
    assert Supervisor.parse("") is None
    assert Supervisor.parse("x/1/1/1") is None
    assert Supervisor.parse("1/1") is None
