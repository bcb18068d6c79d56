"""Connections that are forgotten, eight at a time, in circles: Python's collector finds them together, in the order in
which it last saw them, which is that of a set of strings. They are closed in the order in which they were opened.

The result is the local port of each connection, as they were opened, and as they were closed.
"""

from __future__ import annotations

import asyncio
import warnings

from lab import Lab

TOPOLOGY = """\
name: forgotten
nodes: {a: host, b: host}
links: [{ends: [a, b], impair: {delay: 5ms}}]
"""
PORT = 7
CIRCLES, MEMBERS = 3, 8
WHILE = 2500
"""Callbacks in which the collector runs once at least."""


class Member:
    """Of a set, which it knows too."""

    def __init__(self, name: str, connection: object) -> None:
        self.name = name
        self.connection = connection
        self.circle: set[Member] = set()

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other


async def serve() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    await (await asyncio.start_server(talk, "0.0.0.0", PORT)).serve_forever()


async def forget() -> list[int]:
    """The local ports, in the order of opening."""
    warnings.simplefilter("ignore", ResourceWarning)
    ports = []
    for number in range(CIRCLES):
        members = []
        for each in range(MEMBERS):
            reader, writer = await asyncio.open_connection("b", PORT)
            ports.append(writer.get_extra_info("sockname")[1])
            members.append(Member(f"{number}.{each}", (reader, writer)))
        circle = set(members)
        for member in members:
            member.circle = circle
        del members, member, reader, writer
        await pass_callbacks(WHILE)  # the collector sees them, by way of the set
        del circle
    await pass_callbacks(10 * WHILE)
    return ports


async def pass_callbacks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0.001)


async def main(lab: Lab) -> dict[str, list[int]]:
    lab.node("b").start(serve)
    await lab.sleep(0.1)
    opened = await lab.node("a").run(forget)
    closed = lab.events("a", "transport:connection_state_updated", new="fin_wait_1")
    return {"opened": opened, "closed": [int(event["data"]["local"].rpartition(":")[2]) for event in closed]}
