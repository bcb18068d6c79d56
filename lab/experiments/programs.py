"""Programs that experiments run in nodes: ordinary asyncio, as anybody would write it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

READ = 65536


async def sink(port: int) -> None:
    """Take what comes on any connection and close when the peer does."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while await reader.read(READ):
                pass

    async with await asyncio.start_server(take, "0.0.0.0", port) as server:
        await server.serve_forever()


async def echo(port: int) -> None:
    """Send back what comes."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(READ):
                writer.write(data)

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


class Mailbox(asyncio.DatagramProtocol):
    """Keeps the datagrams that come, and the errors."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, _: object) -> None:
        self.datagrams.append(data)

    def error_received(self, error: Exception) -> None:
        self.errors.append(error)


async def collect(port: int, seconds: float, group: str = "") -> list[bytes]:
    """The datagrams that come to a port in so many seconds; also those for a multicast group."""
    loop = asyncio.get_running_loop()
    transport, mailbox = await loop.create_datagram_endpoint(Mailbox, local_addr=("0.0.0.0", port))
    with contextlib.closing(transport):
        if group:
            member = socket.inet_aton(group) + socket.inet_aton("0.0.0.0")
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        await asyncio.sleep(seconds)
        return mailbox.datagrams
