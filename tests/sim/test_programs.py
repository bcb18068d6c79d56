"""The programs of tests/programs on nodes in virtual time.

client ── r1 ══ r2 ── server        the link in the middle is quiet, slow, or loses and reorders
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Lab
from tests.programs.expected import CASES, Case

pytestmark = pytest.mark.slow

PORT = 8080
TOPOLOGY = """\
name: programs
nodes:
  client: host
  r1: router
  r2: router
  server: host
links:
  - client -- r1
  - {ends: [r1, r2]%s}
  - r2 -- server
"""
QUIET = ""
ROUGH = ", impair: {delay: 10ms, jitter: 2ms, loss: 1%, duplicate: 0.5%, reorder: 1%}"


async def meet(lab: Lab, case: Case, folder: str) -> None:
    """The client in its node against the server in its own."""
    server, client = case.pair(folder)
    there, here = lab.node("server"), lab.node("client")
    serving = there.start(server.function, "0.0.0.0", PORT, *server.arguments)
    found = await here.run(client.function, there.address, PORT, *client.arguments)
    case.check(found, here.address, there.address, PORT)
    serving.cancel()


def run(case: Case, impairment: str, folder: Path, seed: int = 1) -> None:
    topology = folder / "topology.yml"
    topology.write_text(TOPOLOGY % impairment)
    files = folder / "files"
    files.mkdir()
    Lab.run(lambda lab: meet(lab, case, str(files)), topology, driver="sim", seed=seed, runs=folder / "runs")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_program_in_virtual_time(case: Case, tmp_path: Path) -> None:
    run(case, QUIET, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_program_over_a_rough_path(case: Case, tmp_path: Path) -> None:
    run(case.with_less(), ROUGH, tmp_path)
