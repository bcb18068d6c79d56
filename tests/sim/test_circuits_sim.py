"""Virtual circuits through a lab in virtual time: programs with SOCK_SEQPACKET, two hosts and two routers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.errors import UserInputError

TOPOLOGY = """
name: circuits
circuits: true
defaults: {impair: {delay: 5ms}}
nodes:
  a: host
  r1: router
  r2: router
  b: host
links: [a -- r1, r1 -- r2, r2 -- b]
"""


def circuit() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET)
    sock.setblocking(False)
    return sock


async def serve(messages: int, taken: int = 65535) -> list[bytes]:
    """Answers each message of one circuit until it is cleared."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(circuit()) as listener:
        listener.bind(("0.0.0.0", 7))
        listener.listen()
        connection, _ = await loop.sock_accept(listener)
    seen: list[bytes] = []
    with contextlib.closing(connection):
        while len(seen) < messages and (message := await loop.sock_recv(connection, taken)):
            seen.append(message)
            await loop.sock_sendall(connection, b"-" + message)
    return seen


async def call(messages: int) -> tuple[list[bytes], float, Any, Any]:
    loop, sock = asyncio.get_running_loop(), circuit()
    before = loop.time()
    await loop.sock_connect(sock, ("b", 7))
    took, own, peer = loop.time() - before, sock.getsockname(), sock.getpeername()
    answers = []
    for number in range(messages):
        await loop.sock_sendall(sock, b"%d" % number)
    while answer := await loop.sock_recv(sock, 65535):
        answers.append(answer)
    sock.close()
    return answers, took, own, peer


async def failing(host: str, port: int) -> int:
    sock = circuit()
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except OSError as error:
        return error.errno or 0
    finally:
        sock.close()
    return 0


def run(main: Any, tmp_path: Path, topology: str = TOPOLOGY) -> Any:
    return Lab.run(main, topology, driver="sim", runs=tmp_path)


async def table(lab: Lab, name: str) -> Any:
    state: Any = await lab.node(name).state()
    return state["circuits"]["table"]


def test_messages_arrive_whole_and_in_order_and_the_end_after_them(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        await lab.sleep(2)
        server = lab.node("b").start(serve, 100)
        answers, took, own, peer = await lab.node("a").run(call, 100)
        assert answers == [b"-%d" % number for number in range(100)]
        assert await server.wait() == [b"%d" % number for number in range(100)]
        assert took == pytest.approx(0.030, abs=0.001)
        assert peer[1] == 7
        assert own[1] >= 49152
        await lab.sleep(1)
        for name in ("a", "r1", "r2", "b"):
            assert await table(lab, name) == []

    run(main, tmp_path)


def test_a_call_that_fails_says_why(tmp_path: Path) -> None:
    async def main(lab: Lab) -> list[int]:
        await lab.sleep(2)
        refused = await lab.node("a").run(failing, "b", 9)
        nowhere = await lab.node("a").run(failing, "192.0.2.1", 9)
        itself = await lab.node("a").run(failing, "a", 9)
        return [refused, nowhere, itself]

    assert run(main, tmp_path) == [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EHOSTUNREACH]


async def hold() -> int:
    """The error that ends a circuit, and when it came."""
    loop, sock = asyncio.get_running_loop(), circuit()
    await loop.sock_connect(sock, ("b", 7))
    try:
        await loop.sock_recv(sock, 100)
    except OSError as error:
        return error.errno or 0
    finally:
        sock.close()
    return 0


def test_a_dead_router_resets_the_circuits_through_it_and_forgets_them(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        await lab.sleep(2)
        server = lab.node("b").start(serve, 1)
        client = lab.node("a").start(hold)
        await lab.sleep(1)
        assert [row["state"] for row in await table(lab, "r1")] == ["open", "open"]
        before = lab.now
        await lab.node("r2").kill()
        assert await client.wait() == errno.ECONNRESET
        assert lab.now - before < 0.02  # the carrier is gone
        with pytest.raises(ConnectionResetError, match="cleared: LINK_DOWN"):
            await server.wait()
        assert await table(lab, "a") == await table(lab, "b") == []
        await lab.node("r2").restart()
        await lab.sleep(3)
        server = lab.node("b").start(serve, 1)
        assert (await lab.node("a").run(call, 1))[0] == [b"-0"]
        await server.wait()

    run(main, tmp_path)


def test_a_silent_router_is_dead_within_the_hold_time(tmp_path: Path) -> None:
    async def main(lab: Lab) -> float:
        await lab.sleep(2)
        lab.node("b").start(quietly)
        client = lab.node("a").start(hold)
        await lab.sleep(1)
        await lab.node("r2").pause()
        before = lab.now
        assert await client.wait() == errno.ECONNRESET
        return lab.now - before

    assert 2 <= run(main, tmp_path) <= 3.1


async def quietly() -> None:
    """Takes one circuit and waits for its end."""
    loop, listener = asyncio.get_running_loop(), circuit()
    listener.bind(("b", 7))
    listener.listen()
    connection, _ = await loop.sock_accept(listener)
    with contextlib.suppress(ConnectionResetError):
        await loop.sock_recv(connection, 100)
    connection.close()
    listener.close()


async def bulk(count: int) -> float:
    """Sends as fast as it may."""
    loop, sock = asyncio.get_running_loop(), circuit()
    await loop.sock_connect(sock, ("b", 7))
    for number in range(count):
        await loop.sock_sendall(sock, number.to_bytes(4) + bytes(1000))
    sock.close()
    return loop.time()


async def sink(pause: float) -> list[int]:
    loop, listener = asyncio.get_running_loop(), circuit()
    listener.bind(("", 7))
    listener.listen()
    connection, _ = await loop.sock_accept(listener)
    seen = []
    while message := await loop.sock_recv(connection, 4):
        seen.append(int.from_bytes(message))
        await asyncio.sleep(pause)
    connection.close()
    listener.close()
    return seen


def test_a_slow_reader_holds_the_sender_back(tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        await lab.sleep(2)
        server = lab.node("b").start(sink, 0.01)
        done = await lab.node("a").run(bulk, 500)
        assert done > 2 + (500 - 128 - 64) * 0.01
        assert await server.wait() == list(range(500))

    run(main, tmp_path)


async def too_long() -> int:
    loop, sock = asyncio.get_running_loop(), circuit()
    await loop.sock_connect(sock, ("b", 7))
    try:
        await loop.sock_sendall(sock, bytes(1497))
    except OSError as error:
        return error.errno or 0
    finally:
        sock.close()
    return 0


def test_a_message_longer_than_the_link_carries_is_refused(tmp_path: Path) -> None:
    async def main(lab: Lab) -> int:
        await lab.sleep(2)
        lab.node("b").start(serve, 1)
        return await lab.node("a").run(too_long)

    assert run(main, tmp_path) == errno.EMSGSIZE


def test_a_node_without_circuits_has_no_such_sockets(tmp_path: Path) -> None:
    async def main(lab: Lab) -> int:
        return await lab.node("a").run(failing, "b", 7)

    with pytest.raises(OSError, match="has no virtual circuits"):
        run(main, tmp_path, TOPOLOGY.replace("circuits: true", "circuits: false"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("  r1: {kind: switch, impl: stack}", "links with two ends"),
        ("  r1: {kind: router, stack: kernel}", "kernel's stack"),
    ],
)
def test_every_node_is_one_of_ours(change: str, message: str, tmp_path: Path) -> None:
    async def main(lab: Lab) -> None:
        pytest.fail("it was built")

    with pytest.raises(UserInputError, match=message):
        run(main, tmp_path, TOPOLOGY.replace("  r1: router", change))
