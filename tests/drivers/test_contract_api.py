"""The contract of drivers, as scripts meet it: one script (contract_script.py) sees the same on each driver, `sim` too,
but for what the driver says that it cannot do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.drivers.abilities import CANNOT, WORDS, Verb
from tests.drivers.conftest import TOPOLOGY, Rig, parameters, rig_of
from tests.drivers.odd_names import odd_names
from tests.drivers.table import Row
from tests.system.docker_rig import CHECKOUT

SIM = Row("sim", cannot=CANNOT["sim"])


@pytest.fixture(params=[*parameters(), pytest.param(SIM, id="sim")])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rig_of(request, request.param) as made:
        yield made


def run(rig: Rig, script: Path, topology: str, *arguments: str) -> Any:
    done = rig.desk.run(
        "run", str(script), topology, *arguments, "--driver", rig.row.name, "--json", code=0, timeout=200
    )
    told = json.loads(done.out)
    assert told["left_behind"] == []
    return told["result"]


def expected(driver: str, cannot: Mapping[Verb, str]) -> dict[str, Any]:
    def refusal(verb: Verb, subject: str) -> list[str]:
        if verb not in cannot:
            return []
        return ["EnvironmentLackError", f"{subject}: the driver {driver} cannot {WORDS[verb]}: {cannot[verb]}"]

    impaired = {"delayed": [3, True], "through all loss": False, "cleared": True}
    return {
        "driver": driver,
        "nodes": ["a", "b", "r", "s"],
        "reaches": True,
        "routes": ["10.0.0.0/24", "10.0.1.0/24"],
        "unknown": ["UserInputError", "no node 'zz' in lab this lab"],
        "answer": "HELLO\n",
        "impair": refusal("impair", "far"),
        **({} if "impair" in cannot else impaired),
        "down": False,
        "up": True,
        "through an MTU of 1000": 0,
        "paused": False,
        "resumed": True,
        "killed": False,
        "a program of the dead": ["NodeError"],
        "restarted": True,
        "clock": refusal("clock", "a"),
        "exec": refusal("exec", "a"),
        "copy": refusal("copy", "a"),
    }


def test_a_script(rig: Rig) -> None:
    here = rig.desk.folder
    (here / "page").write_bytes(os.urandom(100_000))
    there = "/tmp" if rig.row.own_files else str(here)
    for name in ("contract_script.py", "contract_programs.py"):  # to where a container sees them
        shutil.copy(CHECKOUT / "tests" / "drivers" / name, here / name)
    seen = run(rig, here / "contract_script.py", rig.desk.write(TOPOLOGY), str(here), there)
    assert seen == expected(rig.row.name, rig.row.cannot)
    if not seen["copy"]:
        assert (here / "back").read_bytes() == (here / "page").read_bytes()
        assert rig.row.own_files or not (here / "copied").exists()


PINGS = """
async def main(lab):
    hosts = [node for node in lab.nodes.values() if node.kind == "host"]
    return [(await one.ping(other, count=1, timeout=2.0))["received"] for one, other in zip(hosts, hosts[1:])]
"""


@pytest.mark.parametrize("what", ["nodes", "interfaces"])
def test_odd_names(request: pytest.FixtureRequest, what: str) -> None:
    """Of `sim`; of the others test_contract_failures.py."""
    hosts, text = odd_names(what)
    with rig_of(request, SIM) as rig:
        (rig.desk.folder / "pings.py").write_text(PINGS)
        assert run(rig, rig.desk.folder / "pings.py", rig.desk.write(text)) == [1] * (len(hosts) - 1)
