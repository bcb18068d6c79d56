"""Nothing but asyncio: its streams, with what a stream can do, in the clear or over TLS 1.3."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from tests.programs.common import HOSTNAME, client_tls, for_ever, octets, reachable, server_tls

SIZE = 1_000_000
RESET = struct.pack("ii", 1, 0)
"""Linger for no time at all: closing resets."""


async def server(address: str, port: int, tls: bool = False) -> None:
    """A line, then: `echo` sends back all that follows; `upgrade` does so after a TLS handshake; `abort` resets."""
    context = server_tls()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            match (await reader.readline()).strip():
                case b"abort":
                    socket = writer.get_extra_info("socket")
                    socket.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
                    writer.transport.abort()
                    return
                case b"upgrade":
                    writer.write(b"go\n")
                    await writer.drain()
                    await writer.start_tls(context)
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, address, port, ssl=context if tls else None):
        await for_ever()


async def client(address: str, port: int, tls: bool = False, size: int = SIZE) -> dict[str, Any]:
    await reachable(address, port)
    options: dict[str, Any] = {"ssl": client_tls(), "server_hostname": HOSTNAME} if tls else {}
    found: dict[str, Any] = {
        "echo": await _echo(address, port, size, options),
        "abort": await _abort(address, port, options),
    }
    if not tls:
        found["upgrade"] = await _upgrade(address, port, size)
    return found


async def _echo(address: str, port: int, size: int, options: dict[str, Any]) -> bool:
    """Half-closed by us; TLS has no half-close, so there the length tells the end."""
    reader, writer = await asyncio.open_connection(address, port, **options)
    writer.write(b"echo\n")
    reading = asyncio.ensure_future(reader.readexactly(size))
    writer.write(octets(size))
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
        rest = await reading + await reader.read()
    else:
        rest = await reading
    writer.close()
    await writer.wait_closed()
    return rest == octets(size)


async def _abort(address: str, port: int, options: dict[str, Any]) -> str:
    reader, writer = await asyncio.open_connection(address, port, **options)
    writer.write(b"abort\n")
    try:
        return repr(await reader.read())
    except ConnectionError as error:
        return type(error).__name__
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _upgrade(address: str, port: int, size: int) -> tuple[bool, str]:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(b"upgrade\n")
    assert await reader.readline() == b"go\n"
    await writer.start_tls(client_tls(), server_hostname=HOSTNAME)
    writer.write(octets(size))
    await writer.drain()
    same = await reader.readexactly(size) == octets(size)
    version = writer.get_extra_info("ssl_object").version()
    writer.close()
    await writer.wait_closed()
    return same, version
