"""`lab demo` as root, as a person sees it: on a terminal of 80 columns. As an ordinary user: test_rootless.py."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import struct
import termios
import time

from lab.engine.runs import Run
from nodes.trace.sqlog import read
from tests.system.conftest import Needs
from tests.system.labs import Labs
from tests.system.observe import complaints

COLUMNS = 80
SECONDS = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TOOLS = ("tshark", "ping", "traceroute")
VERDICTS = 11


def on_a_terminal(labs: Labs, *arguments: str) -> tuple[int, str]:
    """The exit code of a `lab` command and all that its terminal was told."""
    pid, descriptor = os.forkpty()
    if not pid:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
            os.chdir(labs.folder)
            command = [*labs.account.command, *arguments]
            os.execvpe(command[0], command, labs.environment | {"TERM": "xterm-256color", "NO_COLOR": "1"})
        finally:
            os._exit(1)
    shown = b""
    end = time.monotonic() + SECONDS
    try:
        while select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
            shown += os.read(descriptor, 65536)
    except OSError:  # EIO: the last one who had the terminal open is gone
        pass
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_on_a_terminal(labs: Labs, needs: Needs) -> None:
    """Every verdict passes, no line is wider than the terminal, nothing depends on color, nothing is left."""
    needs(*TOOLS)
    code, shown = on_a_terminal(labs, "demo")
    lines = ESCAPES.sub("", shown).replace("\r", "\n").split("\n")
    assert code == 0, shown
    assert [line for line in lines if len(line) > COLUMNS and str(labs.runs) not in line] == []
    assert sum(line.startswith("  pass  ") for line in lines) == VERDICTS
    assert not any("FAIL" in line or "not tried" in line for line in lines)
    assert re.search(r"\x1b\[[0-9;]*3[0-7]m", shown) is None  # NO_COLOR is honoured
    labs.assert_nothing_left()


def test_the_run(labs: Labs, needs: Needs) -> None:
    """The run folder is complete, says `down`, and its captures hold what the verdicts claim."""
    needs(*TOOLS)
    done = labs.run("demo", code=0)
    (folder,) = labs.runs.iterdir()
    assert str(folder) in done.out
    run = Run(folder)
    agents = [node.name for node in run.plan().nodes if (node.kind, node.stack) != ("switch", "kernel")]
    assert len(agents) == 7
    for name in ("topology.yml", "plan.json", "run.json", "supervisor.log"):
        assert (folder / name).is_file(), name
    assert (folder / "supervisor.log").read_text() == ""
    assert run.facts()["outcome"] == "down"
    for node in agents:
        state = json.loads((run.node_folder(node) / "state.json").read_text())
        assert state["recording"]["events_lost"] == 0
        *_, closed = read(run.node_folder(node) / "trace.sqlog")
        assert closed["name"] == "trace:closed"
        assert (run.node_folder(node) / "capture.pcapng").stat().st_size > 1000
    assert " 0 lost on the way" in done.out
    assert complaints(folder, but="icmp.resp_not_found") == []
    ladder = labs.run("ladder", "--run", str(folder), "a", "r1", "r2", "b", "--last", "0", code=0).out
    assert "ICMP fragmentation needed, next-hop MTU 1400" in ladder
    labs.assert_nothing_left()
