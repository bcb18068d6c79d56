"""The contract of drivers when it goes wrong: whatever fails, there is one clear error, nothing is left, and the
name is free again.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.drivers.conftest import Rig, with_faults
from tests.drivers.faults import STEPS
from tests.drivers.odd_names import odd_names
from tests.system.labs import wait_for

IMPAIRED = "name: contract\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], name: far, impair: {delay: 1ms}}]\n"
PAIR = "name: contract\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], name: far}]\n"


def small(rig: Rig) -> str:
    return PAIR if "impair" in rig.row.cannot else IMPAIRED


def steps(rig: Rig, folder: Path) -> Counter[str]:
    """How often each method is called until a small lab is up."""
    name, _ = rig.up(small(rig), **with_faults(folder))
    called = Counter((folder / "calls").read_text().split())
    (folder / "calls").unlink()
    rig.desk.run("down", name, code=0)
    return called


def test_every_step_fails_in_turn(rig: Rig, tmp_path: Path) -> None:
    """The first call of each method and the last, before it is carried out and after."""
    called = steps(rig, tmp_path)
    wanted = [step for step in STEPS if called[step]]
    assert wanted[:4] == ["enter", "create", "start_node", "connect"]
    assert ("set_link" in wanted) is ("impair" not in rig.row.cannot)
    for step in wanted:
        for number in sorted({1, called[step]}):
            for when in ("before", "after"):
                fails(rig, tmp_path, f"{step}:{number}:{when}")
    name, _ = rig.up(small(rig))  # after all that, the same lab comes up
    assert rig.desk.reaches(name, "a", "b")
    rig.desk.run("down", name, code=0)
    rig.assert_nothing_left(name)


def fails(rig: Rig, folder: Path, fault: str) -> None:
    step, _, when = fault.split(":")
    name, done = rig.up(small(rig), code=5, **with_faults(folder, fault))
    how = "refused" if when == "before" else "failed"
    assert done.err == f"error: {step} {how}, as the test wants it\n", fault
    calls = (folder / "calls").read_text().split()
    (folder / "calls").unlink()
    assert calls[-1] == ("destroy" if step != "enter" else "enter"), (fault, calls)
    assert rig.desk.outcome(name) == "failed"
    assert not rig.desk.listens(name)
    rig.assert_nothing_left(name)
    assert rig.desk.run("gc", code=0).err == "nothing to clear away\n", fault


def test_a_failure_while_it_is_up(rig: Rig, tmp_path: Path) -> None:
    """Of a step that a command asked for: the command says so, and the lab goes on."""
    name, _ = rig.up(PAIR, **with_faults(tmp_path, "stop_node:1:before"))
    done = rig.desk.run("stop", "--lab", name, "b", code=5)
    assert done.err == "error: stop_node refused, as the test wants it\n"
    assert rig.desk.node(name, "b")["state"] != "running"
    rig.desk.run("start", "--lab", name, "b")
    rig.desk.run("down", name, code=0)
    rig.assert_nothing_left(name)


def test_what_the_plan_wants_and_the_driver_cannot(rig: Rig) -> None:
    """Before anything is made."""
    for verb, text, subject in (
        ("kernel", "name: x\nnodes: {a: host, k: {kind: host, stack: kernel}}\nlinks: [a -- k]\n", "k"),
        ("ovs", "name: x\nnodes: {a: host, s: {kind: switch, impl: ovs}}\nlinks: [a -- s]\n", "s"),
        ("impair", IMPAIRED, "far"),
    ):
        if verb not in rig.row.cannot:
            continue
        name, done = rig.up(text, code=4)
        assert done.err.startswith(rig.refusal(verb, subject)), done  # type: ignore[arg-type]
        assert rig.desk.outcome(name) == "failed"
        rig.assert_nothing_left(name)


def test_down_twice(rig: Rig) -> None:
    name, _ = rig.up(PAIR)
    rig.desk.run("down", name, code=0)
    done = rig.desk.run("down", name, code=3)
    assert done.err.startswith(f"error: lab '{name}' is not up\n")
    rig.assert_nothing_left(name)


def test_up_twice(rig: Rig) -> None:
    name, _ = rig.up(PAIR)
    _, done = rig.up(PAIR, code=3)
    assert done.err.startswith(f"error: lab '{name}' is already up\n")
    assert rig.desk.reaches(name, "a", "b")
    rig.desk.run("down", name, code=0)
    rig.assert_nothing_left(name)


def test_two_labs_at_once(rig: Rig) -> None:
    """Of the same file: what is done to one is not done to the other."""
    one, _ = rig.up(PAIR, "-one")
    two, _ = rig.up(PAIR, "-two")
    rig.desk.run("link", "--lab", one, "far", "down", code=0)
    rig.desk.run("stop", "--lab", one, "a", code=0)
    assert rig.desk.reaches(two, "a", "b")
    assert rig.desk.node(two, "a")["state"] == "running"
    rig.desk.run("down", one, code=0)
    assert rig.desk.reaches(two, "a", "b")
    assert rig.containers(one) == []
    rig.desk.run("down", two, code=0)
    rig.assert_nothing_left(two)


def test_the_supervisor_is_killed(rig: Rig) -> None:
    """Nothing of it runs on; what the kernel does not clear away, `lab gc` does."""
    name, _ = rig.up(PAIR)
    os.kill(rig.desk.supervisor(name), signal.SIGKILL)
    wait_for(lambda: not rig.desk.listens(name), 5)
    done = rig.desk.run("gc", code=0)
    assert done.err.startswith(f"lab {name} had crashed; its run is ")
    assert rig.desk.outcome(name) == "crashed"
    rig.assert_nothing_left(name)
    name, _ = rig.up(PAIR)
    rig.desk.run("down", name, code=0)


@pytest.mark.parametrize("what", ["nodes", "interfaces"])
def test_odd_names(rig: Rig, what: str) -> None:
    hosts, text = odd_names(what)
    name, _ = rig.up(text, "-0..x_Y.")
    for first, second in pairwise(hosts):
        assert rig.desk.reaches(name, first, second), (first, second)
    for each in hosts[:3]:
        rig.desk.run("stop", "--lab", name, each, code=0)
        rig.desk.run("start", "--lab", name, each, code=0)
        if "exec" not in rig.row.cannot:
            assert rig.desk.run("exec", "--lab", name, each, "--", "echo", each, code=0).out == f"{each}\n"
    if what == "nodes":
        rig.desk.run("link", "--lab", name, "x-", "down", code=0)
        rig.desk.run("link", "--lab", name, "x-", "up", code=0)
    wait_for(lambda: rig.desk.pings(name, hosts[0], hosts[-1]), 10)
    rig.desk.run("down", name, code=0)
    rig.assert_nothing_left(name)
