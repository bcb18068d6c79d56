"""A service that crashes, and a client that does not give up: `lab run examples/retry.py --driver sim`.

Both are plain asyncio; neither knows of the lab. What the client survives here it will survive elsewhere: run it again
with another seed, or for a night with a thousand of them.
"""

import asyncio
import itertools
import random

from lab import Lab

TOPOLOGY = """\
name: retry
nodes: {a: host, r: router, b: host}
links:
  - a -- r
  - {ends: [r, b], name: wan, impair: {delay: 20ms 5ms, loss: 2%}}
"""
PORT = 4000


async def server() -> None:
    """Answers each line with its number of letters."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"%d\n" % len(line.strip()))
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(talk, "0.0.0.0", PORT)
    async with listening:
        await listening.serve_forever()


async def ask(host: str, questions: int) -> dict[str, float]:
    """Ask one question a second; where the connection breaks, wait a little longer each time, and ask again."""
    loop = asyncio.get_running_loop()
    begin, failures = loop.time(), 0
    reader = writer = None
    for number in range(questions):
        for attempt in itertools.count():
            try:
                if writer is None or reader is None:
                    async with asyncio.timeout(2):
                        reader, writer = await asyncio.open_connection(host, PORT)
                writer.write(b"x" * number + b"\n")
                async with asyncio.timeout(2):
                    answer = await reader.readline()
                if answer.strip() != b"%d" % number:
                    raise ConnectionResetError("no answer")
                break
            except OSError:  # TimeoutError is one
                failures += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
                await asyncio.sleep(random.uniform(0.1, 0.2) * 2 ** min(attempt, 6))
        await asyncio.sleep(1)
    if writer is not None:
        writer.close()
    return {"answered": questions, "failures": failures, "seconds": round(loop.time() - begin, 3)}


async def main(lab: Lab) -> dict[str, float]:
    lab.node("b").start(server, restart=True)
    lab.at("20s", lab.node("b").kill)
    lab.at("25s", lab.node("b").restart)
    lab.at("40s", lab.link("wan").flap, down="1s", every="5s", times=3)
    return await lab.node("a").run(ask, "b", 60)
