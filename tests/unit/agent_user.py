"""A user's module: coroutine functions that run in a node. It knows nothing of labs."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Point:
    x: int
    y: int


class WordyError(Exception):
    """An exception that cannot be made again from its pickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


async def add(first: int, second: int = 1) -> int:
    await asyncio.sleep(0.01)
    return first + second


def no_coroutine() -> int:
    return 5


async def move(point: Point) -> Point:
    return Point(point.x + 1, point.y)


async def fail(text: str) -> None:
    await asyncio.sleep(0)
    raise LookupError(text)


async def fail_wordily() -> None:
    raise WordyError("a", "b")


async def leave() -> None:
    sys.exit(3)


async def a_lock() -> object:
    return threading.Lock()


async def octets(count: int) -> bytes:
    return bytes(count)


async def talk() -> None:
    print("one")
    print("two", file=sys.stderr)
    sys.stdout.buffer.write("grün\n".encode())
    await asyncio.to_thread(print, "three")


async def talk_much(lines: int) -> None:
    for number in range(lines):
        print(f"{number:09}" * 10)
        if not number % 1000:
            await asyncio.sleep(0)


async def wait_for_ever() -> str:
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        print("cleaned up")
        raise
    return ""


async def talk_for_ever() -> None:
    print("here")
    await wait_for_ever()


async def outlive_cancelling() -> str:
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        return "still here"
    return ""


async def leave_a_task() -> None:
    task = asyncio.create_task(asyncio.sleep(1000), name="left")
    del task


async def lose_an_exception() -> None:
    async def lose() -> None:
        raise LookupError("lost")

    task = asyncio.create_task(lose())
    await asyncio.sleep(0.01)
    del task


async def block() -> None:
    time.sleep(100)


async def spin() -> None:
    while True:
        for _ in range(1000):
            pass


async def in_a_thread() -> bool:
    return await asyncio.to_thread(threading.current_thread) is not threading.main_thread()


async def serve(port: int) -> int:
    """Echo one connection; the octets of it."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while data := await reader.read(65536):
            count += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        done.set_result(count)

    server = await asyncio.start_server(answer, None, port)
    async with server:
        return await done


async def ask(host: str, port: int, count: int) -> int:
    reader, writer = await asyncio.open_connection(host, port)

    async def send() -> None:
        for _ in range(count // 50_000):
            writer.write(b"x" * 50_000)
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    received = len(await reader.read())
    await sending
    writer.close()
    await writer.wait_closed()
    return received


async def where() -> tuple[str, str]:
    return str(Path.cwd()), __name__
