"""The catalogue in virtual time: each experiment passes, each variation breaks what it says; and the command for it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lab.api.lab import Lab
from lab.errors import EnvironmentLackError, UserInputError
from lab.experiments.catalogue import CATALOGUE, find
from lab.experiments.runner import Asked, Result, run_experiment
from lab.experiments.trial import METRICS, Trial, jain, latest
from lab.experiments.where import drivers_of, why_not

ROOT = Path(__file__).parents[2]
LAB = (sys.executable, "-m", "lab", "experiment")
ALL = [(name, variation) for name, each in CATALOGUE.items() for variation in (None, *each.variations)]


def told(result: Result) -> str:
    """Why it did not pass."""
    failed = [each for each in result.verdicts if each.passed == (each.claim in result.broken)]
    return result.error or "; ".join(f"{each.claim}: {each.numbers}" for each in failed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variation"), ALL, ids=[f"{name}-{which or 'as-it-is'}" for name, which in ALL])
def test_the_catalogue(name: str, variation: str | None, tmp_path: Path) -> None:
    result = run_experiment(find(name), Asked(variation=variation, runs=tmp_path))
    assert result.passed, told(result)


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    one, other = (run_experiment(find("unreliable-udp"), Asked(seed=5, runs=tmp_path)) for _ in range(2))
    assert one.verdicts == other.verdicts
    assert one.run != other.run


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_each_has(name: str) -> None:
    """A claim, an explanation that names its source, and a variation that breaks claims that it makes."""
    each = find(name)
    assert each.claim.endswith(".")
    assert len(each.explanation.splitlines()) > 3
    assert any(word in each.explanation for word in ("RFC", "IEEE", "19", "20")), "no source"
    assert each.variations
    for variation in each.variations.values():
        assert variation.breaks
        assert set(variation.parameters) <= set(each.parameters)


def test_the_document_has_each() -> None:
    """The table of claims in docs/experiments.md names every experiment, and no other."""
    text = (ROOT / "docs/experiments.md").read_text()
    table = text[text.index("| claim of a course |") :].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row.split("|")[2])]
    assert sorted(named) == sorted(CATALOGUE)


# ---------------------------------------------------------------------------------------------------------- the command


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAB, *words], cwd=ROOT, capture_output=True, text=True, timeout=100, env=_environment(folder)
    )


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "LAYERLAB_RUNS": str(folder)}


@pytest.mark.slow
def test_list(tmp_path: Path) -> None:
    done = command("list", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in CATALOGUE)
    facts = json.loads(command("list", "--json", folder=tmp_path).stdout)
    assert [each["name"] for each in facts] == list(CATALOGUE)
    alone = {each["name"] for each in facts if each["drivers"] == ["sim"]}
    assert all((each["only_virtual"] is not None) == (each["name"] in alone) for each in facts)


@pytest.mark.slow
def test_show(tmp_path: Path) -> None:
    done = command("show", "old-segment", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for word in ("TIME_WAIT", "RFC 6191", "Look at:", "msl: 30.0", "without-time-wait", "octets=300000"):
        assert word in done.stdout


@pytest.mark.slow
def test_run_says_numbers_and_the_seed(tmp_path: Path) -> None:
    done = command("run", "same-port", "--seed", "7", "--runs", str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pass  two programs have port 5000 at the same time" in done.stdout
    assert "expected served, served, seen served, served" in done.stdout
    assert "seed 7" in done.stdout
    assert "1 run passed" in done.stderr


@pytest.mark.slow
def test_a_claim_that_fails_is_exit_code_7(tmp_path: Path) -> None:
    junit = tmp_path / "results.xml"
    words = ("run", "same-port", "--set", "first=tcp", "--junit", str(junit), "--runs", str(tmp_path))
    done = command(*words, folder=tmp_path)
    assert done.returncode == 7
    assert "1 of 1 runs failed: same-port" in done.stderr
    root = ElementTree.parse(junit).getroot()
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "2", "0")
    cases = {case.get("name"): case for case in suite}
    failure = cases["two programs have port 5000 at the same time"].find("failure")
    assert failure is not None
    assert failure.get("message") == "expected served, served, seen served, OSError"


@pytest.mark.slow
def test_a_variation_fails_as_it_has_to(tmp_path: Path) -> None:
    junit = tmp_path / "results.xml"
    words = ("run", "same-port", "--variation", "both-tcp", "--json", "--junit", str(junit), "--runs", str(tmp_path))
    done = command(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (facts,) = json.loads(done.stdout)
    assert facts["passed"]
    assert [(each["passed"], each["has_to_fail"]) for each in facts["verdicts"]] == [(False, True)] * 2
    assert ElementTree.parse(junit).getroot()[0].get("failures") == "0"


@pytest.mark.slow
def test_repeat_takes_a_seed_for_each(tmp_path: Path) -> None:
    words = ("run", "dynamic-ports", "--repeat", "2", "--seed", "3", "--json", "--runs", str(tmp_path))
    facts = json.loads(command(*words, folder=tmp_path).stdout)
    assert [each["seed"] for each in facts] == [3, 4]
    assert facts[0]["verdicts"] != facts[1]["verdicts"]


@pytest.mark.slow
def test_compare_puts_numbers_beside_each_other(tmp_path: Path) -> None:
    done = command("compare", "same-port", "--runs", str(tmp_path), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "two programs have port 5000 at the same time"
    assert lines[1].startswith("  pass  as it is:")
    assert lines[2].startswith("  FAIL  both-tcp:")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "cause", "hint"),
    [
        (("run", "handshak"), "there is no experiment 'handshak'", "handshake"),
        (("show", "xyz"), "there is no experiment 'xyz'", "one of: "),
        (("run",), "which experiment?", "--all"),
        (("run", "--all", "handshake"), "--all, and names", "one or the other"),
        (("run", "handshake", "--variation", "lost"), "handshake has no variation 'lost'", "lost-syn-ack"),
        (("run", "time-wait", "--set", "mls=1"), "time-wait has no parameter 'mls'", "msl"),
        (("run", "time-wait", "--set", "msl=long"), "msl: 'long'", "a number expected"),
        (("run", "half-close", "--set", "whole=perhaps"), "whole: 'perhaps'", "true or false expected"),
        (("run", "time-wait", "--set", "msl"), "--set msl", "NAME=VALUE expected"),
        (("run", "time-wait", "--set", "msl=-1"), "msl", ""),
        (("run", "same-port", "--junit", "/nowhere/at/all.xml"), "/nowhere/at/all.xml: No such file", "writable"),
        (
            ("compare", "same-port", "--drivers", "sim,dos"),
            "there is no driver 'dos'",
            "there are netns, docker, mininet, sim",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said(words: tuple[str, ...], cause: str, hint: str, tmp_path: Path) -> None:
    done = command(*words, folder=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert cause in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("driver", ["netns", "docker", "mininet"])
def test_a_driver_that_cannot_have_an_experiment_says_why(driver: str, tmp_path: Path) -> None:
    done = command("run", "port-exhaustion", "--driver", driver, folder=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"the driver {driver} cannot run in virtual time" in done.stderr
    assert "it takes four minutes of TIME_WAIT" in done.stderr
    assert "leave out `--driver`" in done.stderr


def test_a_topology_that_a_driver_cannot_have(tmp_path: Path) -> None:
    each = dataclasses.replace(
        find("handshake"), topology="name: k\nnodes: {a: {kind: host, stack: kernel}, b: host}\nlinks: [a -- b]\n"
    )
    assert drivers_of(each) == ("netns", "mininet")
    refused = why_not(each, "docker", each.parameters)
    assert refused is not None
    assert "runs programs of `lab` in its nodes" in refused.message
    of_a_file = dataclasses.replace(each, script=_script)
    assert drivers_of(of_a_file) == ("netns", "docker", "mininet")
    with pytest.raises(EnvironmentLackError, match="handshake: a: the driver sim cannot run hosts and routers with"):
        run_experiment(each, Asked(runs=tmp_path))
    bridge = "name: k\nnodes: {a: host, b: host, s: {kind: switch, impl: ovs}}\nlinks: [a -- s, b -- s]\n"
    assert "docker" not in drivers_of(dataclasses.replace(of_a_file, topology=bridge))


async def _script(trial: Trial) -> None:
    """Runs nothing of `lab` in its nodes."""


# ------------------------------------------------------------------------------------------------------------ the trial

TOPOLOGY = """
name: trial
nodes: {a: {kind: host, trace: packets}, b: host}
links: [a -- b]
"""


def tried(tmp_path: Path, script: Any) -> Trial:
    trials: list[Trial] = []

    async def main(lab: Lab) -> None:
        trials.append(Trial(lab, {}))
        await lab.node("a").ping("b", count=1)
        script(trials[0])

    Lab.run(main, TOPOLOGY, driver="sim", runs=tmp_path)
    return trials[0]


def test_an_event_that_does_not_exist_is_a_mistake_of_the_script(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="there is no event 'network:icmp_recieved'"):
        tried(tmp_path, lambda trial: trial.events("network:icmp_recieved"))


def test_a_failed_order_says_expected_seen_and_where(tmp_path: Path) -> None:
    steps = [("network:icmp_received", {"type": 0}), ("network:icmp_received", {"type": 11})]
    trial = tried(tmp_path, lambda trial: trial.in_order("it comes", "a", steps))
    (verdict,) = trial.verdicts
    assert not verdict.passed
    assert verdict.numbers == "expected icmp_received (type 0), icmp_received (type 11); seen icmp_received (type 0)"
    assert verdict.where.startswith("a, after network:icmp_received at 0.0")


class Recorded:
    """What a trial asks of a lab: the events of a node that read three segments at one time."""

    ROWS = (
        ("transport:segment_received", None),
        (METRICS, None),
        (METRICS, 10),
        (METRICS, 20),
        ("recovery:lost", None),
    )

    def events(self, node: str) -> list[dict[str, Any]]:
        return [{"time": 5.0, "node": node, "name": name, "data": {"cwnd": cwnd}} for name, cwnd in self.ROWS]


def test_what_was_before_goes_by_the_trace_and_not_by_time() -> None:
    lab: Any = Recorded()
    trial, events = Trial(lab, {}), lab.events("a")
    assert trial.before(events[4], "cwnd") == 20
    assert trial.before(events[3], "cwnd") == 10
    for early in events[:3]:
        with pytest.raises(ValueError, match=r"a has no cwnd before .* at 5\.000 ms"):
            trial.before(early, "cwnd")


def test_numbers() -> None:
    assert jain([3, 3, 3]) == pytest.approx(1)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert latest([(1.0, 5), (2.0, 6)], 1.5) == 5
    with pytest.raises(ValueError, match="no value until"):
        latest([(1.0, 5)], 0.5)
