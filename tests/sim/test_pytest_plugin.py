"""The plugin for pytest, as people meet it: in a project of their own, with a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = '''
import asyncio
import pytest

PAIR = """
name: pair
defaults: {capture: true}
nodes: {a: host, b: host}
links: [{ends: [a, b], impair: {delay: 20ms, loss: 20%}}]
"""


async def service():
    async def talk(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async with await asyncio.start_server(talk, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def client():
    reader, writer = await asyncio.open_connection("b", 80)
    writer.write(b"hello\\\\n")
    try:
        return await reader.readline()
    finally:
        writer.close()
'''.replace("\\\\n", "\\n")

pytestmark = pytest.mark.slow


def run(folder: Path, tests: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest on a file of tests, in a folder that has nothing else."""
    (folder / "test_own.py").write_text(SERVICE + tests)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    without = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # the second saves half of pytest's start
    command = [sys.executable, "-m", "pytest", "-q", *without, *options]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    given = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTEST_ADDOPTS")}
    return subprocess.run(
        command, cwd=folder, env=given | {"PYTHONPATH": path} | environment, capture_output=True, text=True, timeout=90
    )


def test_a_service(tmp_path: Path) -> None:
    """A test gets the lab and other fixtures and parameters; its time is virtual; a class works, too."""
    tests = """
@pytest.mark.lab(PAIR)
@pytest.mark.parametrize("hours", [1, 2])
async def test_service(sim, hours, tmp_path):
    assert tmp_path.is_dir()
    sim.node("b").start(service)
    await asyncio.sleep(hours * 3600)
    assert sim.now >= hours * 3600
    assert await sim.node("a").run(client) == b"HELLO\\n"

@pytest.mark.lab(PAIR, seeds=range(3))
class TestSeeds:
    async def test_seed(self, sim, lab_seed):
        assert sim.seed == lab_seed

def test_plain():
    pass
"""
    done = run(tmp_path, tests)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_a_failure_says_where(tmp_path: Path) -> None:
    """The assertion as pytest shows it, the seed and how to repeat it, the run, the last events, a ladder."""
    tests = """
@pytest.mark.lab(PAIR, seeds=range(20))
async def test_fast(sim):
    sim.node("b").start(service)
    await sim.node("a").ping("b", count=1)
    begin = sim.now
    await sim.node("a").run(client)
    took = sim.now - begin
    assert took < 0.9
"""
    done = run(tmp_path, tests, "-x")
    assert done.returncode == 1, done.stdout
    assert re.search(r"assert \d+\.\d+ < 0\.9", done.stdout)
    found = re.search(r"driver sim, seed (\d+); again: pytest '(.*)' --lab-seed \1\n", done.stdout)
    assert found is not None, done.stdout
    folder = re.search(r"^run (.*)$", done.stdout, re.MULTILINE)
    assert folder is not None
    assert (Path(folder[1]) / "run.json").is_file()
    assert re.search(r"the last of \d+ events of a:", done.stdout)
    assert re.search(r"the last of \d+ events of b:", done.stdout)
    assert "the last frames:" in done.stdout
    assert "├──────▶│" in done.stdout
    seen = re.search(r"took = (\d+\.\d+)|assert (\d+\.\d+) < 0\.9", done.stdout)
    again = run(tmp_path, tests, "-x", found[2], "--lab-seed", found[1])
    same = re.search(r"took = (\d+\.\d+)|assert (\d+\.\d+) < 0\.9", again.stdout)
    assert seen is not None
    assert same is not None
    assert same[0] == seen[0]  # the same failure, to the digit


def test_seeds_at_random(tmp_path: Path) -> None:
    tests = """
@pytest.mark.lab(PAIR)
async def test_it(sim):
    print("seed:", sim.seed)
"""
    seeds = [re.findall(r"seed: (\d+)", run(tmp_path, tests, "-s", "--lab-seed", "random").stdout) for _ in range(2)]
    assert len(seeds[0]) == len(seeds[1]) == 1
    assert seeds[0] != seeds[1]
    assert "seed: 77\n" in run(tmp_path, tests, "-s", "--lab-seed", "77").stdout


def test_mistakes(tmp_path: Path) -> None:
    """Each said in a line, without a traceback of ours."""
    mistakes = [
        ("@pytest.mark.lab(PAIR)\ndef test_1(sim): pass", "test_1 gets a lab and is no coroutine function"),
        ("async def test_2(sim): pass", "test_2 has no topology"),
        ("@pytest.mark.lab(PAIR, sed=1)\nasync def test_3(sim): pass", "the marker `lab` has no option 'sed'"),
        ("@pytest.mark.lab('no.yml')\nasync def test_4(sim): pass", "no.yml: no such file"),
        ("@pytest.mark.lab(PAIR)\nasync def test_5(sim, lab): pass", "test_5 gets two labs"),
        ("@pytest.mark.lab(PAIR, driver='docke')\nasync def test_6(lab): pass", "there is no driver 'docke'"),
        ("@pytest.mark.lab('name: x\\nnodes: {a: hos}\\n')\nasync def test_7(sim): pass", "topology:2:12"),
    ]
    done = run(tmp_path, "".join(f"\n{test}\n" for test, _ in mistakes))
    assert done.returncode == 1, done.stdout
    assert "lab/testing" not in done.stdout
    sections = re.split(r"^_{3,} .*(test_\d)(?:\[.*\])? _{3,}$", done.stdout, flags=re.MULTILINE)
    told = dict(zip(sections[1::2], sections[2::2], strict=True))
    for number, (_, says) in enumerate(mistakes, 1):
        assert says in told[f"test_{number}"], done.stdout


def test_several_workers(tmp_path: Path) -> None:
    """With pytest-xdist."""
    tests = """
@pytest.mark.lab(PAIR, seeds=range(6))
async def test_it(sim):
    sim.node("b").start(service)
    await asyncio.sleep(1)
    assert await sim.node("a").run(client) == b"HELLO\\n"
"""
    done = run(tmp_path, tests, "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_the_readme(tmp_path: Path) -> None:
    """Its test runs as it stands there."""
    text = (ROOT / "README.md").read_text()
    (block,) = (part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "test_retry.py" in part)
    (tmp_path / "test_retry.py").write_text(block)
    done = run(tmp_path, "", "test_retry.py")
    assert "1 failed, 49 passed" in done.stdout, done.stdout
    assert set(re.findall(r"seed (\d+); again", done.stdout)) == {"25"}
