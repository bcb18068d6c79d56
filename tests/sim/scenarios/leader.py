"""Five nodes agree on a leader, again and again: it crashes, its link flaps, its clock runs fast.

Each node believes in the lowest name from which it has heard within a second (a bully's election by heartbeats over
TCP); who it believes in, and when that changed, is the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from lab import Lab

NAMES = [f"n{number}" for number in range(1, 6)]
TOPOLOGY = f"""\
name: leader
nodes: {{{", ".join(f"{name}: host" for name in NAMES)}, r: router}}
defaults: {{capture: true, impair: {{delay: 8ms 4ms, loss: 3%, reorder: 10%}}}}
links: [{", ".join(f"{{ends: [{name}, r], name: {name}}}" for name in NAMES)}]
"""
PORT = 6000


async def member(own: str, seconds: float) -> list[tuple[float, str]]:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    heard = {own: float("inf")}
    believed: list[tuple[float, str]] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while line := await reader.readline():
                heard[line.decode().strip()] = loop.time()

    async def beat(other: str) -> None:
        while True:
            writer = None
            try:
                async with asyncio.timeout(2):
                    _, writer = await asyncio.open_connection(other, PORT)
                while True:
                    writer.write(own.encode() + b"\n")
                    async with asyncio.timeout(2):
                        await writer.drain()
                    await asyncio.sleep(random.uniform(0.2, 0.3))
            except OSError:
                await asyncio.sleep(random.uniform(0.1, 0.5))
            finally:
                if writer is not None:
                    writer.close()

    async with await asyncio.start_server(listen, "0.0.0.0", PORT):
        beats = [asyncio.create_task(beat(other)) for other in NAMES if other != own]
        while loop.time() < begin + seconds:
            leader = min(name for name, when in heard.items() if when > loop.time() - 1)
            if not believed or believed[-1][1] != leader:
                believed.append((round(loop.time() - begin, 6), leader))
            await asyncio.sleep(0.1)
        for task in beats:
            task.cancel()
        await asyncio.wait(beats)
    return believed


async def main(lab: Lab) -> object:
    lab.node("n4").set_clock(offset="-3s", drift_ppm=500)
    lab.at("4s", lab.node("n1").kill)
    lab.at("7s", lab.node("n1").restart)
    lab.at("10s", lab.link("n2").flap, down="1.5s", every="4s", times=2)
    lab.at("15s", lab.partition, ["n1", "n2"], ["n3", "n4", "n5"])
    lab.at("20s", lab.heal)
    running = [lab.node(name).start(member, name, 24, restart=True) for name in NAMES]
    return [await program.wait() for program in running]
