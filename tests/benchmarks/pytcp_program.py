"""pmd-pytcp as a program of its own: a sink or a source behind a TAP interface.

    python -O pytcp_program.py TAP ADDRESS/LENGTH sink PORT SECONDS
    python -O pytcp_program.py TAP ADDRESS/LENGTH source TO PORT OCTETS

It runs with the Python of the environment that pmd-pytcp is installed in, which has nothing of Layerlab, and only uses
what pmd-pytcp documents. It says `{"ready": true}` once its address is in use and it listens. A source then waits for
an empty line on standard input, connects, and writes so much at once: `send` takes whatever it is given, and has no
back-pressure by which a program could write for a time. A sink says what a connection brought until its end, or in so
long from its first octet: `{"octets", "seconds"}`.

The program is its own master: it is not imported from anywhere, since pmd-pytcp is under the GPL.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from pmd_net_addr import Ip4IfAddr  # type: ignore[import-not-found,unused-ignore]
from pmd_pytcp import socket, stack  # type: ignore[import-not-found,unused-ignore]

READ = 262_144


async def main() -> None:
    tap, address, role, *rest = sys.argv[1:]
    stack.LOG__CHANNEL.clear()
    interface = stack.initialize_interface__tap(tap)
    stack.init(**interface, ip4_host=Ip4IfAddr(address), ip4_dhcp=False, ip6_support=False)
    await stack.start()
    while not stack.local_ip4_unicast():
        await asyncio.sleep(0.05)
    if role == "sink":
        await sink(int(rest[0]), float(rest[1]))
    else:
        await source(rest[0], int(rest[1]), int(rest[2]))


async def sink(port: int, limit: float) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", port))
    listener.listen()
    say({"ready": True})
    connection, _ = await listener.accept()
    octets, first, last = 0, 0.0, 0.0
    while data := await connection.recv(READ):
        last = time.perf_counter()
        first = first or last
        octets += len(data)
        if last - first > limit:
            break
    say({"octets": octets, "seconds": last - first})


async def source(to: str, port: int, octets: int) -> None:
    say({"ready": True})
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    await connection.connect((to, port))
    await connection.send(bytes(octets))
    await asyncio.Event().wait()


def say(value: dict[str, object]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
