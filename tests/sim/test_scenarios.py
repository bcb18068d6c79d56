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


@pytest.fixture(scope="module", params=SCENARIOS)
def first(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, object, dict[str, str]]:
    """A scenario, and how it went with seed 1."""
    return request.param, *run(request.param, tmp_path_factory.mktemp("first"), hash_seed=1, seed=1)


def test_the_same_seed_gives_the_same_octets(first: tuple[str, object, dict[str, str]], tmp_path: Path) -> None:
    """run.json alone has the real time in it."""
    scenario, result, files = first
    assert run(scenario, tmp_path, hash_seed=4_000_000_000, seed=1) == (result, files)
    assert sum(name.endswith("capture.pcapng") for name in files) >= 4
    assert sum(name.endswith("trace.sqlog") for name in files) >= 5
    assert {"links/series.csv", "links/measured.json"} <= files.keys()


def test_another_seed_gives_another_run(first: tuple[str, object, dict[str, str]], tmp_path: Path) -> None:
    scenario, result, files = first
    other_result, other_files = run(scenario, tmp_path, hash_seed=1, seed=2)
    assert result != other_result
    captures = [name for name in files if name.endswith("capture.pcapng")]
    assert all(files[name] != other_files[name] for name in captures)


def test_connections_that_are_forgotten_are_closed_in_the_order_of_opening(tmp_path: Path) -> None:
    """The collector finds them in another order with each hash seed."""
    runs = [run("forgotten", tmp_path / str(seed), hash_seed=seed, seed=1) for seed in (1, 2)]
    assert runs[0] == runs[1]
    result = dict(runs[0][0])  # type: ignore[call-overload]
    assert len(result["closed"]) == 24
    assert result["closed"] == result["opened"]
