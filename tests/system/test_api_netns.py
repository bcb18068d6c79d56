"""The API of labs on processes: the calls that tests/sim/test_api_sim.py makes in virtual time."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.errors import LabError, NodeError, UserInputError
from tests.sim import api_tour

pytestmark = [pytest.mark.system, pytest.mark.slow]

TOPOLOGY = """\
name: api
nodes: {a: host, b: host, k: {kind: host, stack: kernel}, s: switch}
links:
  - {ends: [a, s], name: wan, impair: {delay: 10ms}}
  - b -- s
  - k -- s
"""


async def echo() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", 7)
    print("listening")
    await server.serve_forever()


async def ask(host: str, text: bytes = b"hello") -> bytes:
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection(host, 7)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def fail() -> None:
    raise KeyError("of the program")


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def tour(lab: Lab, seen: dict[str, Any]) -> None:
    """One lab for many questions, as bringing one up is what takes long."""
    a, b, k = lab.node("a"), lab.node("b"), lab.node("k")
    server = b.start(echo, restart=True)
    seen["run"] = await a.run(ask, "b")
    seen["large"] = len(await a.run(ask, "b", bytes(1_000_000)))
    with pytest.raises(KeyError, match="of the program") as caught:
        await a.run(fail)
    seen["note"] = "".join(caught.value.__notes__)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(a.run(forever), 0.5)
    with pytest.raises(UserInputError, match="cannot be sent to a node"):
        a.start(lambda: None)

    reader, writer = await a.connect(b, 7)
    writer.write(b"outside")
    seen["connect"] = await reader.readexactly(7)
    writer.close()

    seen["ping"] = await a.ping(b, count=2)
    seen["exec"] = await k.exec("ping", "-c", "1", "b")
    seen["false"] = (await k.exec("false")).status

    await lab.link("k-s").impair(delay="30ms", from_="k")
    seen["impaired"] = await lab.link("k-s").state()
    await lab.partition(["a"], ["b"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(a.run(ask, "b"), 2)
    await lab.heal()
    seen["healed"] = await a.run(ask, "b")

    await b.kill()
    await asyncio.sleep(0.2)
    seen["crashed"] = server.state
    await b.restart()
    seen["again"] = await a.run(ask, "b")
    await b.pause()
    paused = asyncio.create_task(a.run(ask, "b"))
    assert not (await asyncio.wait([paused], timeout=1))[0]
    await b.resume()
    seen["resumed"] = await paused

    lab.at(lab.now + 0.2, lab.link("wan").down)
    lab.at(lab.now + 0.6, lab.link("wan").up)
    seen["event"] = await lab.wait_until("link:carrier_updated", timeout=5, new="down")
    with pytest.raises(LabError, match="the driver netns cannot set the clocks of nodes wrong: all processes"):
        a.set_clock(offset=1)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def main() -> None:
        async with Lab.open(TOPOLOGY, runs=tmp_path_factory.mktemp("runs")) as lab:
            found["folder"] = lab.run_folder
            await tour(lab, found)

    asyncio.run(main())
    return found


def test_programs(seen: dict[str, Any]) -> None:
    assert (seen["run"], seen["large"], seen["connect"]) == (b"hello", 1_000_000, b"outside")
    assert "in fail" in seen["note"]


def test_applications_and_commands(seen: dict[str, Any]) -> None:
    assert seen["ping"]["received"] == 2
    assert seen["ping"]["rtt_min"] > 20_000_000
    assert seen["exec"].status == 0
    assert "1 received" in seen["exec"].stdout
    assert seen["false"] == 1


def test_links_and_partitions(seen: dict[str, Any]) -> None:
    ends = [side["asked"] for side in seen["impaired"]["directions"]]
    assert ends == [{"delay": 30_000_000}, {}]
    assert seen["healed"] == b"hello"
    assert seen["event"]["node"] == "wan"


def test_nodes_crash_and_pause(seen: dict[str, Any]) -> None:
    assert seen["crashed"] == "crashed"
    assert (seen["again"], seen["resumed"]) == (b"hello", b"hello")


def test_nothing_is_left(seen: dict[str, Any]) -> None:
    assert json.loads((seen["folder"] / "run.json").read_text())["outcome"] == "down"


def test_the_tour(tmp_path: Path) -> None:
    """The same script as in tests/sim/test_api_sim.py, with the same outcome."""
    labs: list[Lab] = []
    found = Lab.run(api_tour.main, api_tour.TOPOLOGY, runs=tmp_path, told=labs.append)
    assert found == api_tour.EXPECTED
    assert [text.split(",")[0] for text in labs[0].left_behind] == ["a: a task: forgotten"]
    facts = json.loads((labs[0].run_folder / "run.json").read_text())
    assert (facts["outcome"], facts["left_behind"]) == ("down", labs[0].left_behind)


def test_a_program_that_fails_unheard_is_told_at_the_end(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        lab.node("a").start(fail)
        await lab.sleep(1)

    topology = "name: unheard\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"
    with pytest.raises(KeyError, match="of the program") as caught:
        Lab.run(main, topology, runs=tmp_path)
    assert caught.value.__notes__[-1] == "The program fail in a, for which nobody waited."
    facts = json.loads(next(tmp_path.glob("*/run.json")).read_text())
    assert (facts["outcome"], facts["reason"]) == ("failed", "KeyError: 'of the program'")


@pytest.mark.parametrize("interrupts", [1, 2])
@pytest.mark.parametrize("stage", ["supervisor.log", "nodes/h9/trace.sqlog"])
def test_ctrl_c_while_a_lab_comes_up(tmp_path: Path, stage: str, interrupts: int) -> None:
    """Interrupted where its folder is made, and where its last agent begins to record: nothing is left of it."""
    hosts = [f"h{number}" for number in range(10)]
    topology = f"name: early\nnodes: {{s: switch, {', '.join(f'{name}: host' for name in hosts)}}}\nlinks:\n"
    topology += "".join(f"  - {name} -- s\n" for name in hosts)
    script = tmp_path / "early.py"
    script.write_text(f"TOPOLOGY = {topology!r}\nasync def main(lab):\n    await lab.sleep(60)\n")
    command = [sys.executable, "-m", "lab", "run", str(script), "--runs", str(tmp_path / "runs")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 30
    while not list(tmp_path.glob(f"runs/early-*/{stage}")) and time.monotonic() < give_up:
        time.sleep(0.005)
    for _ in range(interrupts):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)  # two at once are one
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
    assert subprocess.run([sys.executable, "-m", "lab", "ps", "early"], capture_output=True).returncode == 3


def test_a_script_that_fails_takes_its_lab_along(tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text(f"TOPOLOGY = {TOPOLOGY.replace('name: api', 'name: bad')!r}\nasync def main(lab):\n    1 // 0\n")
    command = [sys.executable, "-m", "lab", "run", str(script), "--runs", str(tmp_path / "runs")]

    async def run(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
        _, err = await process.communicate()
        return process.returncode, err.decode()

    code, err = asyncio.run(run(*command))
    assert code == 1
    assert "bad.py" in err
    assert "ZeroDivisionError" in err
    assert "lab/api" not in err
    assert asyncio.run(run(sys.executable, "-m", "lab", "ps", "bad"))[0] == 3


def test_a_node_that_is_off(tmp_path: Path) -> None:
    async def main() -> None:
        topology = "name: off\nnodes: {a: host, b: host}\nlinks: [a -- b]\n"
        async with Lab.open(topology, runs=tmp_path) as lab:
            await lab.node("b").kill()
            with pytest.raises(NodeError):
                await lab.node("b").run(ask, "a")

    asyncio.run(main())


def test_nodes_inherit_what_all_programs_need(tmp_path: Path) -> None:
    """`from lab import Lab` stands at the head of most scripts, and each node of its own imports the script: half a
    second of work in each, unless all come from a process that has done it."""
    script = tmp_path / "lean.py"
    script.write_text(
        "import sys\n"
        "TOPOLOGY = 'name: lean\\nnodes: {a: host, b: host}\\nlinks: [a -- b]\\n'\n"
        "async def known(): return sorted({'lab.api.lab', 'pydantic', 'nodes.agent_programs'} & set(sys.modules))\n"
        "async def main(lab): return await lab.node('a').run(known)\n"
    )
    command = [sys.executable, "-m", "lab", "run", str(script), "--runs", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["result"] == ["lab.api.lab", "nodes.agent_programs", "pydantic"]


def test_an_exception_that_cannot_be_made_again_is_the_scripts_too(tmp_path: Path) -> None:
    """Its exit code is that of any other exception of a program."""
    script = tmp_path / "special.py"
    script.write_text(
        "TOPOLOGY = 'name: special\\nnodes: {a: host, b: host}\\nlinks: [a -- b]\\n'\n"
        "class Special(Exception):\n"
        "    def __init__(self, one, two): super().__init__(f'{one} and {two}')\n"
        "async def fails(): raise Special(1, 2)\n"
        "async def main(lab): await lab.node('a').run(fails)\n"
    )
    command = [sys.executable, "-m", "lab", "run", str(script), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: Special: 1 and 2"
    assert 'special.py", line 4, in fails' in done.stderr
