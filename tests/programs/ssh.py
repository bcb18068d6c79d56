"""asyncssh: commands and files (SFTP) over SSH.

The server lets in who has the private key that belongs to `authorized`, a line as in ~/.ssh/authorized_keys. SFTP shows
the folder `root` and nothing beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import asyncssh

from tests.programs.common import digest, for_ever, octets, reachable

USER = "guest"
FILE = 3_000_000
CHUNK = 65_536
FAILED = 3


def make_key() -> tuple[str, str]:
    """(private key in OpenSSH's format, public key)"""
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key.export_private_key().decode(), key.export_public_key().decode()


# ---------------------------------------------------------------------------------------------------------- the server


async def server(address: str, port: int, authorized: str, root: str) -> None:
    """Serves until it is cancelled."""
    listener = await asyncssh.listen(
        address,
        port,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=asyncssh.import_authorized_keys(authorized),
        process_factory=command,
        encoding=None,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=root.encode()),
        config=None,
    )
    try:
        await for_ever()
    finally:
        listener.close()
        await listener.wait_closed()


async def command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """`echo WORDS`, `cat` (what comes, until its end), `sha256sum`, `sleep SECONDS`; anything else fails."""
    name, _, words = (process.command or "").partition(" ")
    if name == "echo":
        process.stdout.write(words.encode() + b"\n")
    elif name == "cat":
        while chunk := await process.stdin.read(CHUNK):
            process.stdout.write(chunk)
            await process.stdout.drain()
    elif name == "sha256sum":
        process.stdout.write(hashlib.sha256(await process.stdin.read()).hexdigest().encode() + b"\n")
    elif name == "sleep":
        await asyncio.sleep(float(words))
    else:
        process.stderr.write(f"{name}: no such command\n".encode())
        process.exit(FAILED)
        return
    process.exit(0)


# ---------------------------------------------------------------------------------------------------------- the client


async def client(address: str, port: int, private_key: str, size: int = FILE) -> dict[str, Any]:
    """Commands one after the other and at once, and files both ways, on one connection."""
    await reachable(address, port)
    async with asyncssh.connect(
        address,
        port,
        username=USER,
        client_keys=[asyncssh.import_private_key(private_key)],
        known_hosts=None,
        agent_path=None,
        config=None,
        keepalive_interval=5,
    ) as connection:
        said = await connection.run("echo Hello, world")
        wrong = await connection.run("make coffee")
        summed = await connection.run("sha256sum", input=octets(size), encoding=None)
        back = await connection.run("cat", input=octets(size), encoding=None)
        naps = await asyncio.gather(*(connection.run(f"sleep {each / 10}") for each in range(1, 6)))
        return {
            "echo": (said.exit_status, said.stdout),
            "unknown command": (wrong.exit_status, wrong.stderr),
            "input": _bytes(summed).decode().strip() == digest(size),
            "input and output": _bytes(back) == octets(size),
            "at once": [nap.exit_status for nap in naps],
            **await _files(connection, size),
            "refused key": await _wrong_key(address, port),
        }


def _bytes(done: asyncssh.SSHCompletedProcess) -> bytes:
    """What a command printed; the type is wider than what comes where nothing is decoded."""
    return cast("bytes", done.stdout)


async def _files(connection: asyncssh.SSHClientConnection, size: int) -> dict[str, Any]:
    with TemporaryDirectory(prefix="sftp-") as folder:
        here = Path(folder)
        (here / "sent").write_bytes(octets(size))
        async with connection.start_sftp_client() as sftp:
            await sftp.makedirs("a/b")
            await sftp.put(here / "sent", "a/b/file")
            await sftp.get("a/b/file", here / "received")
            attributes = await sftp.stat("a/b/file")
            async with sftp.open("a/b/file", "rb") as file:
                await file.seek(size - 1000)
                tail = await file.read()
            listed = sorted(str(name) for name in await sftp.listdir("a/b"))
            await sftp.rename("a/b/file", "a/renamed")
            gone = not await sftp.exists("a/b/file")
            await sftp.rmtree("a")
        return {
            "file": (here / "received").read_bytes() == octets(size),
            "size": attributes.size == size,
            "tail": cast("bytes", tail) == octets(size)[-1000:],
            "list": listed,
            "renamed": gone,
        }


async def _wrong_key(address: str, port: int) -> str:
    try:
        await asyncssh.connect(
            address,
            port,
            username=USER,
            client_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            known_hosts=None,
            agent_path=None,
            config=None,
        )
    except asyncssh.PermissionDenied as error:
        return type(error).__name__
    return "let in"
