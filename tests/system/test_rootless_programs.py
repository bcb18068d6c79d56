"""Programs of users in the nodes of an ordinary user's lab: by `lab run`, and by a script that opens the lab itself."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.system.labs import Labs

pytestmark = [pytest.mark.system, pytest.mark.slow]

SCRIPT = '''\
"""What a program in a node can see and do."""

import asyncio
import os
from functools import partial

from lab import Lab

TOPOLOGY = """
name: NAME
nodes: {a: host, r: router, b: host, k: {kind: host, stack: kernel}}
links: [a -- r, {ends: [r, b], impair: {delay: 5ms}}, r -- k]
"""


async def echo():
    async def talk(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    print("listening", flush=True)
    async with await asyncio.start_server(talk, "0.0.0.0", 80) as server:
        await server.serve_forever()


async def listens():
    try:
        _reader, writer = await asyncio.open_connection("b", 80)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def ask(text):
    reader, writer = await asyncio.open_connection("b", 80)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def who(folder):
    with open(os.path.join(folder, "written"), "w") as file:
        file.write("by a node")
    return {"uid": os.getuid(), "thread": await asyncio.to_thread(os.getcwd)}


async def fail():
    raise LookupError("of the program")


async def main(lab):
    lab.node("b").start(echo)
    await lab.wait_until(partial(lab.node("a").run, listens))
    large = bytes(range(256)) * 8000
    found = {"large": await lab.node("a").run(ask, large) == large}
    reader, writer = await lab.node("a").connect("b", 80)
    writer.write(b"outside\\n")
    found["outside"] = (await reader.readline()).decode()
    writer.close()
    found["who"] = await lab.node("a").run(who, os.environ["HOME"])
    found["kernel"] = (await lab.node("k").exec("ping", "-c", "1", "b")).status
    await lab.node("b").kill()
    await lab.node("b").restart()
    await lab.partition(["a"], ["b"])
    found["parted"] = (await lab.node("a").ping("b", count=1))["received"]
    try:
        await lab.node("a").run(fail)
    except LookupError as error:
        found["failed"] = "in fail" in "".join(error.__notes__)
    return found


async def opened():
    async with Lab.open(TOPOLOGY) as lab:
        return await main(lab)


if __name__ == "__main__":
    import json

    print(json.dumps(asyncio.run(opened())))
'''


@pytest.mark.parametrize("how", ["lab run", "Lab.open"])
def test_programs(rootless_labs: Labs, how: str) -> None:
    desk = rootless_labs
    name = f"{desk.name}-p"
    desk.names.append(name)
    script = desk.folder / "home" / "own.py"
    script.write_text(SCRIPT.replace("NAME", name))
    uid = desk.account.uid
    if how == "lab run":
        done = desk.run("run", str(script), "--json", code=0)
        lines = done.out.splitlines()
        found = json.loads("\n".join(lines[lines.index("{") :]))["result"]
    else:
        command = [desk.account.command[0], str(script)]
        process = subprocess.run(
            command,
            env=desk.environment,
            cwd=desk.folder,
            capture_output=True,
            text=True,
            timeout=60,
            **desk.account.become(),
        )
        assert process.returncode == 0, process.stderr
        lines = process.stdout.splitlines()
        found = json.loads(lines[-1])
    assert lines[0] == "listening"
    who = found.pop("who")
    assert found == {"large": True, "outside": "outside\n", "kernel": 0, "parted": 0, "failed": True}
    written = desk.folder / "home" / "written"
    assert (written.read_text(), written.stat().st_uid) == ("by a node", written.parent.stat().st_uid)
    assert uid is None or written.stat().st_uid == uid
    assert who["thread"]
    desk.assert_nothing_left()
