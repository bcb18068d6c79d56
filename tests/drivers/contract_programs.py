"""What runs in the nodes of contract_script.py: a container has this file, and has no `lab`."""

from __future__ import annotations

import asyncio

PORT = 99


async def echo() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async with await asyncio.start_server(answer, "0.0.0.0", PORT) as server:
        await server.serve_forever()


async def ask() -> str:
    reader, writer = await asyncio.open_connection("b", PORT)
    writer.write(b"hello\n")
    answer = await reader.readline()
    writer.close()
    return answer.decode()
