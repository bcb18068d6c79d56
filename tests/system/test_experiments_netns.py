"""The catalogue in network namespaces: each experiment that makes sense there passes, as `lab experiment run --all
--driver netns` runs it, and the list says of the others why they do not.

Variations, which have to break what they say, are run in virtual time (tests/sim/test_experiments.py): here they would
only take as long again. Real time is what these runs are made of, and most of it is waiting; so several run at once,
each in a process of its own, and every test waits for one of them. What a busy machine does to times must not fail a
claim: those that say something about time count round trips, or hold against what the sender measured.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.experiments.catalogue import CATALOGUE
from lab.experiments.where import drivers_of, why_not

ROOT = Path(__file__).parents[2]
AT_ONCE = 4
"""Labs side by side: they wait more than they compute."""
LONGEST = 150.0
"""Seconds for one, on a machine that is busy."""

HERE = [name for name, each in CATALOGUE.items() if "netns" in drivers_of(each)]
ELSEWHERE = [name for name in CATALOGUE if name not in HERE]

Done = subprocess.CompletedProcess[str]


def run(name: str, runs: Path) -> Done:
    """One that takes too long is interrupted, as by Ctrl-C, and takes its lab along."""
    line = [sys.executable, "-m", "lab", "experiment", "run", name, "--driver", "netns", "--json", "--runs", str(runs)]
    process = subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONGEST)
    return subprocess.CompletedProcess(line, process.returncode, out, err)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Done]]]:
    """Those of the tests that were asked for, in their order."""
    runs = tmp_path_factory.mktemp("runs")
    asked = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    here = [each.params["name"] for each in asked if each is not None]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, name, runs) for name in HERE if name in here}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", HERE)
def test_in_namespaces(running: dict[str, Future[Done]], name: str) -> None:
    done = running[name].result()
    assert done.stdout, done.stderr
    (result,) = json.loads(done.stdout)
    failed = [f"{each['claim']}: {each['numbers']}" for each in result["verdicts"] if not each["passed"]]
    assert not failed, failed
    assert result["error"] is None
    assert result["passed"]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ELSEWHERE)
def test_the_others_say_why_not(name: str) -> None:
    found = CATALOGUE[name]
    assert found.only_virtual
    refused = why_not(found, "netns", found.parameters)
    assert refused is not None
    assert found.only_virtual in refused.message


def test_most_of_them_run_here() -> None:
    assert len(HERE) >= 47
    assert len(ELSEWHERE) <= 5
