"""Virtual time needs nothing of Linux (tests/sim/elsewhere.py takes away what other systems do not have)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def lab(system: str, *command: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(Path(__file__).with_name("elsewhere.py")), system, *command]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("system", ["mac", "windows"])
def test_a_simulation_runs_there(tmp_path: Path, system: str) -> None:
    done = lab(system, "run", "examples/retry.py", "--driver", "sim", "--runs", str(tmp_path))
    assert (done.returncode, '"answered": 60' in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("system", ["mac", "windows"])
@pytest.mark.parametrize("command", [("up", "topologies/pair.yml"), ("run", "examples/retry.py")])
def test_processes_do_not(tmp_path: Path, system: str, command: tuple[str, ...]) -> None:
    done = lab(system, *command, "--runs", str(tmp_path))
    assert done.returncode == 4
    assert done.stderr.startswith("error: labs of processes need Linux, this is ")
