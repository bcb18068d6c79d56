"""What drivers say that they cannot do: every statement is of a known verb, and the documents have the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from lab.cli.main import run
from lab.drivers.abilities import CANNOT, WORDS, Verb, reasons, refusal, require, require_for
from lab.drivers.choice import DriverName
from lab.errors import EnvironmentLackError
from lab.model.load import loads
from lab.plan.planner import make_plan

ROOT = Path(__file__).parents[2]

TABLE = [
    f"| the driver can | {' | '.join(f'`{name}`' for name in CANNOT)} |",
    f"|---|{'---|' * len(CANNOT)}",
    *(
        f"| {words} | {' | '.join('no' if verb in cannot else 'yes' for cannot in CANNOT.values())} |"
        for verb, words in WORDS.items()
    ),
]
KERNEL = "name: x\nnodes: {a: host, k: {kind: host, stack: kernel}}\nlinks: [a -- k]\n"
OVS = "name: x\nnodes: {a: host, s: {kind: switch, impl: ovs}}\nlinks: [a -- s]\n"
IMPAIRED = "name: x\nnodes: {a: host, b: host}\nlinks: [{ends: [a, b], impair: {delay: 1ms}}]\n"


class Unable:
    name = "unable"
    cannot = dict.fromkeys(WORDS, "it is made so")


def test_every_driver_speaks_of_known_verbs() -> None:
    assert set(WORDS) == set(get_args(Verb))
    assert {*CANNOT, "sim"} == {*get_args(DriverName), "sim"}
    for cannot in CANNOT.values():
        assert set(cannot) <= set(WORDS)
        assert all(reason and reason[-1] != "." for reason in cannot.values())


def test_the_documents_have_the_table() -> None:
    text = (ROOT / "docs" / "drivers.md").read_text()
    assert "\n".join(TABLE) in text
    for names, verb, reason in reasons():
        assert f"- {names} cannot {WORDS[verb]}: {reason}." in text
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(TABLE[2:]) in readme


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drivers"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[3:] == list(CANNOT)
    (row,) = (line for line in out.splitlines() if line.startswith("set the clocks"))
    assert row.split()[-4:] == ["no", "no", "no", "yes"]
    assert "netns, docker, mininet cannot set the clocks of nodes wrong: all processes have the machine's clock" in out
    assert run(["drivers", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["driver"]: row["cannot"] for row in told} == CANNOT


def test_a_refusal_says_who_can() -> None:
    error = refusal("sim", "exec", "a")
    assert error.exit_code == 4
    assert error.message == (
        "a: the driver sim cannot run Linux commands in nodes (`lab exec`): there is no kernel to run them on"
    )
    assert error.hint == "netns and docker and mininet can: `--driver netns`"
    assert refusal("docker", "user", hint="no").hint == "no"


@pytest.mark.parametrize(
    ("text", "verb", "subject"), [(KERNEL, "kernel", "k"), (OVS, "ovs", "s"), (IMPAIRED, "impair", "a--b")]
)
def test_a_plan_with_what_the_driver_has_not(text: str, verb: Verb, subject: str) -> None:
    plan = make_plan(loads(text))
    with pytest.raises(EnvironmentLackError) as caught:
        require_for(Unable, plan)
    assert caught.value.message == f"{subject}: the driver unable cannot {WORDS[verb]}: it is made so"
    with pytest.raises(EnvironmentLackError):
        require(Unable, verb, subject)
    others: set[Verb] = set(WORDS) - {verb}
    able = type("Able", (), {"name": "able", "cannot": dict.fromkeys(others, "no")})
    require_for(able, plan)
