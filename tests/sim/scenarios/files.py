"""Files over links that lose and reorder, to a server that crashes in the middle and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random

from lab import Lab

TOPOLOGY = """\
name: files
nodes: {a: host, r: router, b: host, c: host}
defaults: {capture: true}
links:
  - {ends: [a, r], impair: {delay: 10ms 3ms normal, loss: 1%, reorder: 5%}}
  - {ends: [r, b], impair: {delay: 5ms, rate: 20mbit, queue: codel}}
  - {ends: [c, r], impair: {delay: 2ms, corrupt: 0.5%, duplicate: 1%}}
"""


async def store() -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        with contextlib.closing(writer):
            while data := await reader.read(10_000):
                digest.update(data)
            writer.write(digest.hexdigest().encode() + b"\n")

    server = await asyncio.start_server(take, "0.0.0.0", 9000)
    await server.serve_forever()


async def send(octets: int, attempts: int) -> tuple[int, float]:
    """How many attempts it took, and until when."""
    content = random.randbytes(octets)
    wanted = hashlib.sha256(content).hexdigest().encode() + b"\n"
    for attempt in range(1, attempts + 1):
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection("b", 9000)
                with contextlib.closing(writer):
                    writer.write(content)
                    writer.write_eof()
                    if await reader.readline() == wanted:
                        return attempt, asyncio.get_running_loop().time()
        except OSError:
            await asyncio.sleep(random.uniform(0.5, 1.5))
    raise ConnectionError(f"{attempts} attempts")


async def main(lab: Lab) -> object:
    lab.node("b").start(store, restart=True)
    lab.at("0.1s", lab.node("b").kill)
    lab.at("3s", lab.node("b").restart)
    return await asyncio.gather(lab.node("a").run(send, 300_000, 20), lab.node("c").run(send, 200_000, 20))
