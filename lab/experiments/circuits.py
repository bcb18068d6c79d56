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
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender saw: seconds that the call took, and that the whole took."""

    call: float
    whole: float


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


async def send_messages(host: str, port: int, count: int, every: float, length: int = 0) -> tuple[float, int, str]:
    """Numbers over a circuit, filled up to `length` octets: the seconds that the call took, how many were sent, and how
    it ended."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    number = 0
    async with called(host, port) as circuit:
        seconds = loop.time() - begun
        try:
            for number in range(count):
                await loop.sock_sendall(circuit, f"{number:0{length}}".encode())
                await asyncio.sleep(every)
        except OSError as error:
            return seconds, number, _name(error)
    return seconds, count, "done"


async def send_datagrams(host: str, port: int, count: int, every: float, length: int = 0) -> None:
    """The same numbers as datagrams, and then their end, several times: one of them will arrive."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        for number in range(count):
            await loop.sock_sendto(sock, f"{number:0{length}}".encode(), (host, port))
            await asyncio.sleep(every)
        await asyncio.sleep(0.5)  # behind the last of them, whichever way they go
        for _ in range(5):
            await loop.sock_sendto(sock, END, (host, port))
            await asyncio.sleep(0.05)


async def collect_datagrams(port: int) -> list[int]:
    """The numbers that come as datagrams until their end."""
    loop = asyncio.get_running_loop()
    numbers: list[int] = []
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))
        while (message := await loop.sock_recv(sock, MESSAGE)) != END:
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
