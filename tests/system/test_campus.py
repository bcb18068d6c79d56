"""The same thirty nodes and the same script, in processes and in virtual time: the same verdicts, and times that agree.

What processes add is their own work: some hundred microseconds for each of the five nodes on the way, more while thirty
processes share two processors. So a handshake may take up to 30 ms longer than in virtual time, and a transfer of some
twenty round trips up to a second; neither may be shorter, but for what the emulator's clock rounds (0.1 ms).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.slow]


def run(driver: str, runs: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "lab", "run", "examples/campus.py", "--driver", driver, "--json"]
    command += ["--name", f"campus-{driver}", "--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["result"])


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """In virtual time, and in processes."""
    return run("sim", tmp_path_factory.mktemp("sim")), run("netns", tmp_path_factory.mktemp("netns"))


def test_the_same_verdicts(results: tuple[dict[str, Any], dict[str, Any]]) -> None:
    verdicts = [{key: value for key, value in each.items() if isinstance(value, bool)} for each in results]
    assert len(verdicts[0]) == 5
    assert verdicts[0] == verdicts[1] == dict.fromkeys(verdicts[0], True)


@pytest.mark.parametrize(
    ("what", "virtual", "more"),
    [
        ("handshake h1 h9", 0.020, 0.030),
        ("handshake h9 h17", 0.030, 0.030),
        ("transfer h2 h10", 0.340, 1.0),
    ],
)
def test_the_times_agree(
    results: tuple[dict[str, Any], dict[str, Any]], what: str, virtual: float, more: float
) -> None:
    simulated, real = results[0][what], results[1][what]
    assert virtual <= simulated <= virtual * 1.1
    assert simulated - 0.0005 <= real <= simulated + more
