"""What the programs share: octets that can be checked, TLS, and waiting for a server."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path

HOSTNAME = "service.test"
"""The name in the certificate."""
TLS = Path(__file__).parent / "tls"
RETRY = 0.05
"""Seconds between two attempts to reach a server that has not started yet."""
ATTEMPTS = 200
BLOCK = hashlib.sha256(b"layerlab").digest() * 2048
"""64 KiB: no part of 32 octets is like that of another alignment."""


def blocks(size: int) -> Iterator[bytes]:
    """`size` octets, 64 KiB at a time."""
    for start in range(0, size, len(BLOCK)):
        yield BLOCK[: size - start]


def octets(size: int) -> bytes:
    return b"".join(blocks(size))


def digest(size: int) -> str:
    """SHA-256 of `octets(size)`."""
    sha = hashlib.sha256()
    for block in blocks(size):
        sha.update(block)
    return sha.hexdigest()


def server_tls() -> ssl.SSLContext:
    """TLS 1.3 and nothing older."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    return context


def client_tls() -> ssl.SSLContext:
    """Believes nobody but our servers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(TLS / "certificate.pem")
    return context


async def reachable(address: str, port: int) -> None:
    """Returns once somebody listens there. Raises ConnectionRefusedError if nobody does in ten seconds."""
    for attempt in range(ATTEMPTS):
        try:
            _, writer = await asyncio.open_connection(address, port)
        except ConnectionRefusedError:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(RETRY)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def for_ever() -> None:
    """Until it is cancelled."""
    await asyncio.get_running_loop().create_future()
