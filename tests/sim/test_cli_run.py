"""`lab run` as people meet it: what it prints, and its exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOPOLOGY = 'TOPOLOGY = """\nname: pair\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"""\n'
LAB = (sys.executable, "-m", "lab", "run")

pytestmark = pytest.mark.slow


def run(folder: Path, text: str, *options: str, driver: str = "sim") -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(text)
    command = [*LAB, str(script), "--driver", driver, "--runs", str(folder / "runs"), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_what_main_returns_is_printed(tmp_path: Path) -> None:
    body = "import sys\nasync def main(lab):\n    await lab.sleep(90)\n"
    text = TOPOLOGY + body + "    return {'seed': lab.seed, 'argv': sys.argv[1:]}\n"
    done = run(tmp_path, text, "--seed", "4")
    assert (done.returncode, done.stdout) == (0, '{\n "seed": 4,\n "argv": []\n}\n')
    assert "90.000 s of virtual time in" in done.stderr
    assert f"it recorded to {tmp_path}/runs/pair-" in done.stderr


def test_a_traceback_begins_in_the_script(tmp_path: Path) -> None:
    text = TOPOLOGY + "async def f():\n    1 // 0\nasync def main(lab):\n    await lab.node('a').run(f)\n"
    done = run(tmp_path, text)
    assert done.returncode == 1
    assert done.stderr.count("script.py") == 3  # two frames and the last line
    assert "lab/api" not in done.stderr
    assert "nodes/" not in done.stderr
    assert "error: script.py raised ZeroDivisionError" in done.stderr


def test_who_waits_for_ever_is_told(tmp_path: Path) -> None:
    text = TOPOLOGY + (
        "import asyncio\n"
        "async def waits():\n    await asyncio.open_connection('b', 80)\n    await asyncio.Event().wait()\n"
        "async def listens():\n"
        "    server = await asyncio.start_server(lambda r, w: None, '0.0.0.0', 80)\n    await server.serve_forever()\n"
        "async def main(lab):\n    lab.node('b').start(listens)\n    await lab.node('a').run(waits)\n"
    )
    done = run(tmp_path, text)
    assert done.returncode == 1
    assert "waits for the event" in done.stderr or "ConnectionRefusedError" in done.stderr


def test_what_is_left_behind_is_told(tmp_path: Path) -> None:
    text = TOPOLOGY + (
        "import asyncio\nkept = []\n"
        "async def forgets():\n    kept.append(asyncio.create_task(asyncio.sleep(9), name='forgotten'))\n"
        "async def main(lab):\n    await lab.node('a').run(forgets)\n"
    )
    done = run(tmp_path, text)
    assert done.returncode == 0
    assert "warning: left behind: a: a task of the program forgets: forgotten" in done.stderr


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        (TOPOLOGY, (), 2, "has no `async def main(lab)`"),
        (TOPOLOGY + "async def main():\n    pass\n", (), 2, "`main` takes one argument, the lab"),
        (TOPOLOGY + "import nowhere\n", (), 1, "script.py cannot be imported: ModuleNotFoundError"),
        ("async def main(lab):\n    pass\n", (), 2, "which topology?"),
        (
            TOPOLOGY.replace("b: host", "b: hos") + "async def main(lab):\n    pass\n",
            (),
            2,
            "error: topology:3:21: unknown kind 'hos'",
        ),
        (TOPOLOGY + "async def main(lab):\n    pass\n", ("--speed", "fast"), 2, "'fast' is no speed"),
        (TOPOLOGY + "async def main(lab):\n    pass\n", ("--speed", "0"), 2, "'0' is no speed"),
    ],
)
def test_what_cannot_run(tmp_path: Path, text: str, options: tuple[str, ...], code: int, message: str) -> None:
    done = run(tmp_path, text, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()


def test_speed_is_for_virtual_time(tmp_path: Path) -> None:
    done = run(tmp_path, TOPOLOGY + "async def main(lab):\n    pass\n", "--speed", "1", driver="netns")
    assert done.returncode == 2
    assert "--speed is for virtual time" in done.stderr


def test_slow_motion(tmp_path: Path) -> None:
    """A tenth of a virtual second takes a real one."""
    begun = time.monotonic()
    done = run(tmp_path, TOPOLOGY + "async def main(lab):\n    await lab.sleep(0.1)\n", "--speed", "0.1")
    assert done.returncode == 0
    assert time.monotonic() - begun >= 1


def test_a_syntax_error_is_shown_without_the_machinery_of_imports(tmp_path: Path) -> None:
    done = run(tmp_path, TOPOLOGY + "async def main(lab)\n    pass\n")
    assert done.returncode == 1
    assert 'script.py", line 6' in done.stderr
    assert "SyntaxError" in done.stderr
    assert "importlib" not in done.stderr
    assert "lab/cli" not in done.stderr


def test_what_a_script_takes_from_modules_is_virtual_too(tmp_path: Path) -> None:
    body = "from os import urandom\nfrom time import time\n"
    body += "async def f():\n    return urandom(4).hex(), time()\n"
    body += "async def main(lab):\n    return await lab.node('a').run(f)\n"
    answers = [run(tmp_path, TOPOLOGY + body).stdout for _ in range(2)]
    assert answers[0] == answers[1]
    assert "1767225600.0" in answers[0]


def test_where_the_script_waits_is_a_line_of_its_own(tmp_path: Path) -> None:
    body = "import asyncio\nasync def waits():\n    await asyncio.Event().wait()\n"
    done = run(tmp_path, TOPOLOGY + body + "async def main(lab):\n    await lab.node('a').run(waits)\n")
    assert "in main at script.py:10, waits for the program waits of a" in done.stderr
    assert "a: waits, waits at script.py:8, waits for the event" in done.stderr


WAITS = """
import asyncio
async def waits():
    print("begun", flush=True)
    await asyncio.Event().wait()
async def main(lab):
    await lab.node("a").run(waits)
"""


@pytest.mark.parametrize(
    "driver",
    [
        "sim",
        pytest.param(
            "netns", marks=[pytest.mark.system, pytest.mark.skipif(sys.platform != "linux", reason="namespaces")]
        ),
    ],
)
def test_ctrl_c_tells_who_waited_for_what(tmp_path: Path, driver: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(TOPOLOGY + WAITS)
    command = [*LAB, str(script), "--driver", driver, "--runs", str(tmp_path / "runs")]
    command += ["--speed", "1"] if driver == "sim" else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    lines = err.splitlines()
    assert lines[0] == "interrupted while the script waited at script.py:12"
    assert lines[1].startswith("  a: waits, waits at script.py:10, waits for the event")
    assert lines[-1] == "error: interrupted"


def test_a_simulation_is_no_daemon() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab", "up", "topologies/pair.yml", "--driver", "sim"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert done.stderr.startswith("error: the driver sim cannot keep a lab up for commands")
    assert "`lab run SCRIPT --driver sim`" in done.stderr


def test_a_stand_in(tmp_path: Path) -> None:
    """A node that wants the kernel's stack is refused in virtual time, unless ours may stand in for it."""
    text = (
        'TOPOLOGY = """\nname: pair\nnodes: {a: host, k: {kind: host, stack: kernel}}\nlinks: [a -- k]\n"""\n'
        "async def main(lab):\n"
        "    return lab.node('k').stack, (await lab.node('k').ping('a', count=2))['received']\n"
    )
    done = run(tmp_path, text)
    assert done.returncode == 4
    assert "k: the driver sim cannot run hosts and routers with the kernel's stack" in done.stderr
    assert "--stand-in" in done.stderr
    done = run(tmp_path, text, "--stand-in")
    assert (done.returncode, done.stdout) == (0, '[\n "layerlab",\n 2\n]\n'), done.stderr
    done = run(tmp_path, text, "--stand-in", driver="netns")
    assert done.returncode == 2
    assert "--stand-in is for virtual time" in done.stderr


def test_the_demo(tmp_path: Path) -> None:
    """In virtual time it shows what it shows in processes (tests/system/test_demo.py)."""
    command = [sys.executable, "-m", "lab", "demo", "--driver", "sim", "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n  pass  ") == 11
    assert "a -> r1 -> r2 -> b" in done.stdout
    assert "all 11 verdicts passed" in done.stderr
