"""Programs that experiments run in nodes: ordinary asyncio, as anybody would write it."""

from __future__ import annotations

import asyncio
import contextlib

READ = 65536


async def sink(port: int) -> None:
    """Take what comes on any connection and close when the peer does."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while await reader.read(READ):
                pass

    async with await asyncio.start_server(take, "0.0.0.0", port) as server:
        await server.serve_forever()


async def send(host: str, port: int, octets: int) -> float:
    """Send so many octets and wait until the peer has taken them and closed. Returns the seconds it took from the
    first octet."""
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer):
        begun = asyncio.get_running_loop().time()
        writer.write(bytes(octets))
        writer.write_eof()
        await reader.read()
        return asyncio.get_running_loop().time() - begun
