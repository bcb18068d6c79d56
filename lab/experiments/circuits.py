"""Programs that experiments on virtual circuits run in nodes, and the network that they run in.

A circuit is a socket of the type SOCK_SEQPACKET: `connect` is the call set-up, what is sent arrives as the message that
it was, an empty one is the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from typing import Any

MESSAGE = 4096
END = b"the end"

DIAMOND = """
nodes:
  a: {kind: host, address: 10.1.0.2/24}
  r1: {kind: router, routes: [10.0.0.0/8 via 10.3.0.2]}
  r2: router
  r3: router
  r4: {kind: router, routes: [10.0.0.0/8 via 10.4.0.1]}
  b: {kind: host, address: 10.2.0.2/24}
"""
"""The shortest way from a to b is over r2; r1 and r4 also know, in general, one over r3."""


def circuit_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def called(host: str, port: int) -> AsyncIterator[socket.socket]:
    """A circuit to a node, open when this begins, cleared when it ends."""
    with contextlib.closing(circuit_socket()) as circuit:
        await asyncio.get_running_loop().sock_connect(circuit, (host, port))
        yield circuit


async def accepted(port: int) -> socket.socket:
    """The first circuit that somebody calls this port for."""
    with contextlib.closing(circuit_socket()) as listener:
        listener.bind(("0.0.0.0", port))
        listener.listen()
        circuit, _ = await asyncio.get_running_loop().sock_accept(listener)
        circuit.setblocking(False)
        return circuit


async def collect_messages(port: int) -> tuple[list[int], str]:
    """The numbers that come over one circuit, and how it ended: `done`, or the name of an error."""
    loop = asyncio.get_running_loop()
    numbers: list[int] = []
    with contextlib.closing(await accepted(port)) as circuit:
        try:
            while message := await loop.sock_recv(circuit, MESSAGE):
                numbers.append(int(message))
        except OSError as error:
            return numbers, _name(error)
    return numbers, "done"


async def send_messages(host: str, port: int, count: int, every: float) -> tuple[float, int, str]:
    """Numbers over a circuit: the seconds that the call took, how many were sent, and how it ended."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    number = 0
    async with called(host, port) as circuit:
        seconds = loop.time() - begun
        try:
            for number in range(count):
                await loop.sock_sendall(circuit, b"%d" % number)
                await asyncio.sleep(every)
        except OSError as error:
            return seconds, number, _name(error)
    return seconds, count, "done"


class Inbox(asyncio.DatagramProtocol):
    """Datagrams in the order in which they come, each with its sender."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        self.queue.put_nowait((data, sender))


@contextlib.asynccontextmanager
async def datagrams(port: int = 0, to: tuple[str, int] | None = None) -> AsyncIterator[tuple[Any, Inbox]]:
    """A transport and what comes to it: on a port of the node, or from one peer."""
    loop = asyncio.get_running_loop()
    local = None if to else ("0.0.0.0", port)
    transport, inbox = await loop.create_datagram_endpoint(Inbox, local_addr=local, remote_addr=to)
    with contextlib.closing(transport):
        yield transport, inbox


async def send_datagrams(host: str, port: int, count: int, every: float) -> None:
    """The same numbers as datagrams, and then their end, several times: one of them will arrive."""
    async with datagrams(to=(host, port)) as (transport, _):
        for number in range(count):
            transport.sendto(b"%d" % number)
            await asyncio.sleep(every)
        await asyncio.sleep(0.5)  # behind the last of them, whichever way they go
        for _ in range(5):
            transport.sendto(END)
            await asyncio.sleep(0.05)


async def collect_datagrams(port: int) -> list[int]:
    """The numbers that come as datagrams until their end."""
    numbers: list[int] = []
    async with datagrams(port) as (_, inbox):
        while (message := (await inbox.queue.get())[0]) != END:
            numbers.append(int(message))
    return numbers


def overtaken(numbers: list[int]) -> int:
    """How many came after one that was sent later."""
    highest, late = -1, 0
    for number in numbers:
        late += number < highest
        highest = max(highest, number)
    return late


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
