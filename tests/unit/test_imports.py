"""What a process imports before it knows whether it needs it: that is what a command waits for, and what is copied
into every agent."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SUPERVISOR = "import lab.engine.supervisor; from lab.drivers.choice import load; load('netns')"
READING = "import lab.cli.topology_file"
ENTRY = "import lab.cli.entry"


def imported(code: str) -> set[str]:
    listing = f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="labs of processes need Linux")
def test_agents_are_forked_from_little() -> None:
    """No threads: Python sets up what it knows of them anew after each fork. No model, no terminal, no event loop."""
    heavy = {"threading", "subprocess", "shutil", "asyncio", "pydantic", "typer", "rich", "yaml"}
    assert heavy & imported(SUPERVISOR) == set()


def test_a_topology_is_read_without_the_stack() -> None:
    """Only one that starts applications needs it."""
    assert {"nodes.stack", "nodes.transport.tcp.connection", "nodes.trace.events"} & imported(READING) == set()


def test_a_supervisor_begins_before_the_command_imports_its_libraries() -> None:
    assert {"typer", "pydantic", "yaml", "nodes.contract"} & imported(ENTRY) == set()
