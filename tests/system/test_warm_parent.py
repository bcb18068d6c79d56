"""The warm parent: it never waits for a supervisor that does not read, and reports every end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from lab.drivers.base import Epoch
from lab.drivers.kernel import warm_parent
from lab.engine.client import LabClient
from lab.model.load import loads
from lab.plan.planner import make_plan
from tests.system.labs import Labs, wait_for

CAP_NET_RAW = 13

NODES = 600
"""More ends than the kernel keeps for a reader that does not come: it takes some 280 small messages."""


class FailingAgent:
    """Dies before it answers."""

    def __init__(self, *_: object) -> None:
        raise SystemExit(3)


def test_ends_that_nobody_reads_block_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A supervisor that starts hundreds of agents reads only afterwards; both must not wait for each other."""
    monkeypatch.setattr(warm_parent, "Agent", FailingAgent)
    monkeypatch.setattr(warm_parent.syscalls, "setns", lambda *_: None)
    names = [f"h{number}" for number in range(NODES)]
    text = "nodes:\n" + "".join(f"  {name}:\n" for name in names) + "  s: switch\nlinks:\n"
    plan = make_plan(loads(text + "".join(f"  - {name} -- s\n" for name in names)))
    for name in names:
        (tmp_path / "nodes" / name).mkdir(parents=True)
    link, pid = warm_parent.fork_warm_parent(plan, tmp_path, Epoch(0, 0))
    try:
        link.settimeout(60)
        with socket.socket(socket.AF_UNIX) as listener:
            for name in names:
                descriptors = [listener.fileno(), listener.fileno()]
                socket.send_fds(link, [json.dumps({"start": name}).encode()], descriptors)
        ended = [json.loads(link.recv(warm_parent.MESSAGE_LIMIT)) for _ in names]
    finally:
        link.close()
        os.waitpid(pid, 0)
    assert sorted(message["ended"] for message in ended) == sorted(names)
    assert {message["status"] for message in ended} == {1}
    assert (tmp_path / "nodes" / "h0" / "error.txt").read_text().endswith("SystemExit: 3\n")


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    plan = make_plan(loads("nodes: {a: , b: }\nlinks: [a -- b]"))
    link, pid = warm_parent.fork_warm_parent(plan, tmp_path, Epoch(0, 0))
    link.close()
    deadline = time.monotonic() + 10
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < deadline, "the warm parent goes on without its supervisor"
        time.sleep(0.01)


def test_agents_keep_no_capability(labs: Labs) -> None:
    """They parse what networks bring. Beside the kernel's stack, packet sockets are opened for each capture, which
    takes some; what is executed there has none either."""
    labs.up("nodes: {ours: , theirs: {stack: kernel}}\nlinks: [ours -- theirs]")
    ours, theirs = (capabilities(labs.process(f"lab:{node}")) for node in ("ours", "theirs"))
    assert ours == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert theirs["CapEff"] >> CAP_NET_RAW & 1
    assert (theirs["CapBnd"], theirs["CapAmb"]) == (0, 0)


def capabilities(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: int(value, 16) for name, _, value in (line.partition(":") for line in lines) if name[:3] == "Cap"}


def test_a_paused_agent_stands_still_at_once(labs: Labs) -> None:
    name = labs.up("nodes: {a: , b: }\nlinks: [a -- b]")
    agent = labs.process("lab:a")
    with closing(LabClient(name)) as client:
        for _ in range(20):
            client.pause("a")
            assert running_state(agent) == "T"
            client.resume("a")
            wait_for(lambda: running_state(agent) != "T", 5)
        client.pause("a")
        os.kill(agent, signal.SIGKILL)
        wait_for(lambda: client.nodes()["a"].state == "dead", 5)


def running_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
