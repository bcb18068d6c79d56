"""The same seed gives the same run, octet for octet: traces, captures and measurements of scenarios, in processes
of their own with other hash seeds. Another seed gives another run.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIOS = ("files", "gossip", "leader")

pytestmark = pytest.mark.slow


def run(scenario: str, folder: Path, hash_seed: int, seed: int) -> tuple[object, dict[str, str]]:
    """What the script returned, and the hash of each file of the run, by its path."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    script = f"tests/sim/scenarios/{scenario}.py"
    command = ["run", script, "--driver", "sim", "--seed", str(seed), "--runs", str(folder), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "lab", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    recorded = Path(told["run"])
    files = sorted(path for path in recorded.rglob("*") if path.is_file() and path.name != "run.json")
    return told["result"], {
        str(path.relative_to(recorded)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_is_a_run(scenario: str, tmp_path: Path) -> None:
    """The same one: the same octets, but for run.json, which has the real time in it. Another one: other octets."""
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    result, files = run(scenario, first, hash_seed=1, seed=1)
    assert run(scenario, same, hash_seed=4_000_000_000, seed=1) == (result, files)
    captures = [name for name in files if name.endswith("capture.pcapng")]
    assert len(captures) >= 4
    assert sum(name.endswith("trace.sqlog") for name in files) >= 5
    assert {"links/series.csv", "links/measured.json"} <= files.keys()

    other_result, other_files = run(scenario, other, hash_seed=1, seed=2)
    assert result != other_result
    assert all(files[name] != other_files[name] for name in captures)


def test_connections_that_are_forgotten_are_closed_in_the_order_of_opening(tmp_path: Path) -> None:
    """The collector finds them in another order with each hash seed."""
    runs = [run("forgotten", tmp_path / str(seed), hash_seed=seed, seed=1) for seed in (1, 2)]
    assert runs[0] == runs[1]
    result = dict(runs[0][0])  # type: ignore[call-overload]
    assert len(result["closed"]) == 24
    assert result["closed"] == result["opened"]
