"""`lab sweep` as a person has it: the same tables however many processes it has, and whatever ends them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.experiments.catalogue.mathis import _formula

ROOT = Path(__file__).parents[2]
LAB = (sys.executable, "-m", "lab")
PATIENCE = 60.0

pytestmark = pytest.mark.slow

WIRE = """\
experiment: wire
claim: A transfer takes the longer, the more is lost.
topology:
  defaults: {trace: 'off'}
  nodes: {a: host, b: host}
  links: [{ends: [a, b], name: wire, impair: {delay: 10ms, rate: 20mbit}}]
parameters: {octets: 300000, longest: 100000.0}
limit: 10h
timeline:
  - start: {node: b, application: sink, port: 9000}
  - run: {node: a, application: source, to: b, port: 9000, bytes: $octets, as: transfer}
expect:
  - claim: all of it arrives
    result: {of: transfer, field: octets}
    is: ">= 1"
  - claim: it takes a while
    result: {of: transfer, field: seconds}
    is: 0..$longest
"""
SWEEP = """\
experiment: wire.yml
grid:
  links.wire.impair.loss: [0, 1%, 3%]
  octets: [300000, 900000]
repeat: 2
"""
RUNS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wire.yml").write_text(WIRE)
    (tmp_path / "s.yml").write_text(SWEEP)
    return tmp_path


def swept(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, "sweep", "s.yml", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(**more),
    )


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}


@contextmanager
def started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """In a process group of its own, all of which is gone in the end."""
    with subprocess.Popen(
        [*LAB, "sweep", "s.yml", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.01)


def lines(folder: Path) -> list[dict[str, object]]:
    journal = folder / "sweeps/s/journal.jsonl"
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def workers(sweep: int) -> list[int]:
    """The processes of a sweep that do runs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == sweep and b"spawn_main" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def table(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / f"sweeps/s/{name}.csv").read_text().splitlines()))


def results(folder: Path) -> bytes:
    return b"".join((folder / "sweeps/s" / name).read_bytes() for name in ("results.csv", "summary.csv"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The tables of a sweep that nothing disturbed, one run after the other."""
    path = tmp_path_factory.mktemp("whole")
    (path / "wire.yml").write_text(WIRE)
    (path / "s.yml").write_text(SWEEP)
    done = swept(path, "--jobs", "1")
    assert done.returncode == 0, done.stderr
    return results(path)


def test_two_processes_make_the_same_tables_as_one(folder: Path, whole: bytes) -> None:
    done = swept(folder, "--jobs", "2", "--json", PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stderr
    assert results(folder) == whole
    facts = json.loads(done.stdout)
    assert (facts["runs"], facts["run_now"], facts["passed"]) == (RUNS, RUNS, RUNS)
    assert len(facts["summary"]) == 12
    rows = table(folder, "results")
    assert list(rows[0]) == [
        *("links_wire_impair_loss", "octets", "longest", "repeat", "seed", "verdict", "failed_claims", "error"),
        *("all_of_it_arrives_octets", "it_takes_a_while_s"),
    ]
    assert [row["repeat"] for row in rows] == ["1", "2"] * 6
    assert not list((folder / "sweeps/s/runs").glob("*"))
    assert not (folder / "sweeps/s/workers.log").exists()

    again = swept(folder)
    assert again.returncode == 0, again.stderr
    assert "has 12 of 12 runs already" in again.stderr
    assert "0 were run now" in again.stderr
    assert results(folder) == whole
    assert all(len(line) <= 80 for line in again.stdout.splitlines())
    assert again.stdout.splitlines()[0] == "all of it arrives (octets)"


def test_a_sweep_that_is_killed_goes_on(folder: Path, whole: bytes) -> None:
    with started(folder, "--jobs", "2") as process:
        wait_for(lambda: len(lines(folder)) >= 3)
        others = workers(process.pid)
        process.kill()
        process.wait()
    assert others
    wait_for(lambda: not any(map(alive, others)))
    journal = folder / "sweeps/s/journal.jsonl"
    done = journal.read_bytes().count(b"\n")
    assert 3 <= done < RUNS
    with journal.open("ab") as file:
        file.write(b'{"point": {"links.wire.imp')
    assert not (folder / "sweeps/s/results.csv").exists()
    rest = swept(folder, "--jobs", "2")
    assert rest.returncode == 0, rest.stderr
    assert f"has {done} of 12 runs already" in rest.stderr
    assert len(lines(folder)) == RUNS
    assert results(folder) == whole


def test_a_process_that_is_killed_costs_its_run_only(folder: Path, whole: bytes) -> None:
    with started(folder, "--jobs", "2") as process:
        wait_for(lambda: lines(folder))
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, errors
    assert "error: of 12 runs, 1 got lost" in errors
    assert "the same command runs those that were lost again" in errors
    assert len(lines(folder)) == RUNS
    rows = table(folder, "results")
    (lost,) = [row for row in rows if row["verdict"] != "passed"]
    assert (lost["verdict"], lost["error"], lost["it_takes_a_while_s"]) == ("lost", "its process died: SIGKILL", "")
    again = swept(folder)
    assert again.returncode == 0, again.stderr
    assert "1 were run now" in again.stderr
    assert results(folder) == whole


@pytest.mark.parametrize("whom", ["all of the group", "the command"])
def test_ctrl_c_ends_it_at_once_and_loses_nothing(whom: str, folder: Path, whole: bytes) -> None:
    with started(folder, "--jobs", "2") as process:
        wait_for(lambda: len(lines(folder)) >= 2)
        others = workers(process.pid)
        begun = time.monotonic()
        if whom == "the command":
            process.send_signal(signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - begun
    assert process.returncode == 130, errors
    assert output == ""
    kept = len(lines(folder))
    assert f"{kept} of 12 runs are in sweeps/s; the same command goes on from there" in errors
    assert errors.endswith("error: interrupted\n")
    assert "Traceback" not in errors
    assert seconds < 10
    assert not any(map(alive, others))
    rest = swept(folder)
    assert rest.returncode == 0, rest.stderr
    assert results(folder) == whole


def test_ctrl_c_before_the_first_run(folder: Path) -> None:
    """While the processes are being made, which then hear it too."""
    with started(folder, "--jobs", "2") as process:
        wait_for(lambda: workers(process.pid))
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "0 of 12 runs are in sweeps/s" in errors


def test_no_process_hears_ctrl_c_before_it_can_bear_it() -> None:
    """What spawn does on the way, in a program that has not done so before, leaves the signal blocked."""
    code = """if True:
        import signal
        from multiprocessing import resource_tracker
        from lab.experiments.sweep import pool
        with pool._quietly():
            resource_tracker.ensure_running()
            print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_run_that_takes_too_long_is_ended(folder: Path) -> None:
    (folder / "s.yml").write_text("experiment: wire.yml\ngrid: {octets: [1000, 4000000000]}\ntimeout: 4s\n")
    done = swept(folder, "--jobs", "1")
    assert done.returncode == 1
    assert "error: of 2 runs, 1 got lost" in done.stderr
    rows = {row["octets"]: row for row in table(folder, "results")}
    assert rows["1000"]["verdict"] == "passed"
    assert (rows["4000000000"]["verdict"], rows["4000000000"]["error"]) == ("lost", "longer than 4 s")


def test_claims_that_fail_are_exit_code_7_and_their_runs_are_kept(folder: Path) -> None:
    (folder / "s.yml").write_text(
        "experiment: wire.yml\ngrid: {longest: [0.01, 100]}\nmeasure: {time: it takes a while}\n"
    )
    done = swept(folder)
    assert done.returncode == 7
    assert "error: of 2 runs, 1 failed" in done.stderr
    assert "the column `verdict` of sweeps/s/results.csv tells which" in done.stderr
    rows = table(folder, "results")
    assert [(row["verdict"], row["failed_claims"]) for row in rows] == [("failed", "it takes a while"), ("passed", "")]
    assert list(rows[0])[-1] == "time_s"
    times = table(folder, "times")
    assert (folder / "sweeps/s" / times[0]["run"] / "plan.json").exists()
    assert times[1]["run"] == ""
    assert all(float(row["wall_s"]) > 0 for row in times)
    again = swept(folder)
    assert again.returncode == 7
    assert "0 were run now" in again.stderr


def test_a_measure_that_no_run_has_is_said(folder: Path) -> None:
    """What the script of the catalogue claims is known when it has run."""
    (folder / "s.yml").write_text("experiment: dynamic-ports\ngrid: {count: [5]}\nmeasure: {first: the first prt}\n")
    done = swept(folder)
    assert "warning: no run says a number of 'the first prt'" in done.stderr


def test_an_experiment_without_numbers_has_verdicts(folder: Path) -> None:
    (folder / "s.yml").write_text("experiment: same-port\ngrid: {first: [udp, tcp]}\n")
    done = swept(folder)
    assert done.returncode == 7
    assert "warning: no claim of same-port says a number: the tables have verdicts only" in done.stderr
    assert [row["verdict"] for row in table(folder, "results")] == ["passed", "failed"]
    assert table(folder, "summary") == []


def test_a_grid_that_grows_runs_what_is_new(folder: Path, whole: bytes) -> None:
    text = SWEEP.replace("[0, 1%, 3%]", "[0]")
    (folder / "s.yml").write_text(text.replace("repeat: 2", "repeat: 1"))
    assert "2 were run now" in swept(folder).stderr
    (folder / "s.yml").write_text(SWEEP)
    done = swept(folder)
    assert done.returncode == 0, done.stderr
    assert "10 were run now" in done.stderr
    assert results(folder) == whole
    (folder / "s.yml").write_text(text)
    refused = swept(folder)
    assert refused.returncode == 2
    assert "has 8 runs that are not in the grid" in refused.stderr
    assert "--again" in refused.stderr
    (folder / "wire.yml").write_text(WIRE.replace("delay: 10ms", "delay: 11ms"))
    (folder / "s.yml").write_text(SWEEP)
    changed = swept(folder)
    assert changed.returncode == 2
    assert "has runs with another content of the experiment" in changed.stderr
    assert results(folder) == whole
    again = swept(folder, "--again", "--repeat", "1")
    assert "6 were run now" in again.stderr
    assert results(folder) != whole


def test_two_sweeps_at_once(folder: Path) -> None:
    with started(folder, "--jobs", "1") as process:
        wait_for(lambda: (folder / "sweeps/s/journal.jsonl").exists())
        done = swept(folder)
        assert done.returncode == 3
        assert done.stderr.splitlines() == [
            "error: another sweep writes to sweeps/s",
            "  hint: wait for it, or `--out FOLDER`",
        ]
        elsewhere = swept(folder, "--out", "other", "--repeat", "1")
        assert elsewhere.returncode == 0, elsewhere.stderr
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors


def test_a_dry_run_touches_nothing(folder: Path) -> None:
    done = swept(folder, "--dry-run")
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["links.wire.impair.loss", "octets", "repeat", "seed", "state"]
    assert [row.split()[0] for row in rows] == ["0", "0", "1%", "1%", "3%", "3%"] * 2
    assert done.stderr.startswith("wire on sim: 6 points, 12 runs, 12 to do")
    assert not (folder / "sweeps").exists()
    facts = json.loads(swept(folder, "--dry-run", "--json", "--seed", "5", "--repeat", "1").stdout)
    assert len(facts["runs"]) == 6
    assert len({run["seed"] for run in facts["runs"]}) == 6
    assert facts["runs"][0]["point"] == {"links.wire.impair.loss": 0, "octets": 300000}


MATHIS = "experiment: mathis\ngrid: {seconds: [1]}\n"


@pytest.mark.parametrize(
    ("text", "words", "code", "says"),
    [
        (
            "experiment: wire.yml\ngrid: {}\n",
            (),
            2,
            ["s.yml:2:7: the grid is empty: nothing to sweep", "hint: grid: {"],
        ),
        ("grid: {x: [1]}\n", (), 2, ["s.yml:1:1: 'experiment' is missing"]),
        (SWEEP, ("--out", "wire.yml"), 2, ["wire.yml: not a folder", "--out"]),
        (SWEEP, ("--out", "."), 2, [".: there is something else in it"]),
        (SWEEP, ("--out", "/proc/nothing"), 4, ["cannot write /proc/nothing"]),
        (SWEEP, ("--jobs", "0"), 2, ["--jobs"]),
        (SWEEP, ("--repeat", "0"), 2, ["--repeat"]),
        (MATHIS, ("--driver", "netns"), 2, ["mathis does not run on netns", "it takes a minute until"]),
    ],
    ids=["empty grid", "no experiment", "a file", "another folder", "no disk", "no jobs", "no repeat", "a driver"],
)
def test_what_is_wrong_is_said(text: str, words: tuple[str, ...], code: int, says: list[str], folder: Path) -> None:
    (folder / "s.yml").write_text(text)
    done = swept(folder, *words)
    assert done.returncode == code, done.stderr
    assert all(word in done.stderr for word in says), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_file_that_is_not_there(folder: Path) -> None:
    (folder / "s.yml").unlink()
    done = swept(folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: s.yml: no such file\n  hint: ")


def test_the_example_follows_the_formula(folder: Path) -> None:
    """With a grid of four points: four times the loss is about half of the goodput, and so is twice the round trip."""
    text = (ROOT / "examples/loss-sweep.yml").read_text()
    small = text.replace("throughput.yml", str(ROOT / "examples/throughput.yml"))
    small = small.replace("from: 0.1%, to: 1.6%", "from: 0.4%, to: 1.6%").replace("[10ms, 20ms, 40ms]", "[20ms, 40ms]")
    small = small.replace("repeat: 7", "repeat: 3")
    assert small.count("20ms") == 1
    (folder / "s.yml").write_text(small)
    done = swept(folder, "--json")
    assert done.returncode == 0, done.stderr
    medians = {
        (row["point"]["loss"], row["point"]["delay"]): row["median"]
        for row in json.loads(done.stdout)["summary"]
        if row["measure"] == "goodput_bit_per_s"
    }
    for (loss, delay), median in medians.items():
        theory = 8 * _formula(2 * float(delay.removesuffix("ms")) / 1000, float(loss.removesuffix("%")) / 100)
        assert theory / 2 < median < theory * 1.3, (loss, delay, median, theory)
    assert len(medians) == 4
