"""A sweep over labs of processes: one at a time, each under its own name, and none left, whatever ends the sweep."""

from __future__ import annotations

import csv
import os
import signal

import pytest

from tests.sim.test_sweep import WIRE, workers
from tests.system.labs import Labs, wait_for

pytestmark = [pytest.mark.system, pytest.mark.slow]

SWEEP = "experiment: wire.yml\ngrid: {octets: [30000, 60000]}\ndriver: netns\n"
PATIENCE = 30.0


def test_runs_in_real_time(labs: Labs) -> None:
    labs.write(WIRE, "wire.yml")
    labs.write(SWEEP, "s.yml")
    done = labs.run("sweep", "s.yml", "--keep", code=0)
    assert "2 were run now" in done.err
    folder = labs.folder / "sweeps/s"
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert [(row["octets"], row["verdict"]) for row in rows] == [("30000", "passed"), ("60000", "passed")]
    runs = [row["run"] for row in csv.DictReader((folder / "times.csv").read_text().splitlines())]
    names = [(folder / run).name.rpartition("-")[0].rpartition("-")[0] for run in runs]
    assert names == [f"wire-{int(row['seed']):014x}" for row in rows]


@pytest.mark.parametrize("whom", ["Ctrl-C", "the process of a run", "the sweep"])
def test_what_ends_it_leaves_nothing(whom: str, labs: Labs) -> None:
    """The desk says at its end what is left: labs, processes, interfaces."""
    labs.write(WIRE, "wire.yml")
    labs.write(SWEEP.replace("[30000, 60000]", "[4000000000]"), "s.yml")
    with labs.start("sweep", "s.yml") as process:
        try:
            wait_for(lambda: "wire-" in labs.run("ps").out, PATIENCE)
            if whom == "Ctrl-C":
                process.send_signal(signal.SIGINT)
            elif whom == "the sweep":
                process.kill()
            else:
                os.kill(workers(process.pid)[0], signal.SIGKILL)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == {"Ctrl-C": 130, "the sweep": -signal.SIGKILL}.get(whom, 1), errors
    wait_for(lambda: "wire-" not in labs.run("ps").out, PATIENCE)
