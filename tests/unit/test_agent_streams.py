"""Connections of a node for somebody outside: bridged to a UNIX socket, with all their ends and with back-pressure."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from nodes.io.control import ControlClient, ControlError
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from tests.unit.agent_world import ADDRESSES, World

PORT = 80
MEGABYTES = bytes(range(256)) * 8192


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


class Peer:
    """The other end: a listener in node b, whose calls run in the thread of the nodes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.listener = world.nodes["b"].stack.tcp.open()
        self.listener.bind(0, PORT, 0)  # type: ignore[arg-type]
        self.listener.listen(8, 0)
        self.accepted: TcpSocket | None = None
        self.received = bytearray()

    @property
    def socket(self) -> TcpSocket:
        if self.accepted is None:
            self.accepted = self.listener.accept()
        assert self.accepted is not None
        return self.accepted

    def do(self, call: Callable[[int], Any]) -> Any:
        """Call in the nodes' thread; return what it returned."""
        return self._world.do(call)

    def read(self, count: int) -> bytes:
        """From the connection, until so many octets are there."""

        def take(_: int) -> bytes | None:
            return self.socket.receive()

        def more() -> bool:
            if len(self.received) < count and (data := self.do(take)):
                self.received += data
            return len(self.received) >= count

        wait_for(more)
        return bytes(self.received)


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.001)


OPENED: list[socket.socket] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def connect(client: ControlClient, port: int = PORT, to: str = "b") -> tuple[socket.socket, dict[str, object]]:
    result, fds = client.call("connect", {"to": to, "to_port": port})
    opened = socket.socket(fileno=fds[0])
    OPENED.append(opened)
    opened.settimeout(10)
    return opened, result


def read_all(opened: socket.socket) -> bytes:
    data = bytearray()
    while piece := opened.recv(65536):
        data += piece
    return bytes(data)


def ended(client: ControlClient, number: object) -> dict[str, object]:
    def state() -> dict[str, object]:
        return client.call("connection", {"connection": number})[0]

    wait_for(lambda: state()["state"] == "closed")
    return state()


def test_both_ways_and_both_ends(world: World) -> None:
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, result = connect(client)
            assert (result["address"], result["to"], result["to_port"]) == (ADDRESSES["a"], ADDRESSES["b"], PORT)
            opened.sendall(b"question")
            assert peer.read(8) == b"question"
            assert client.call("connection", {"connection": 1})[0]["state"] == "open"
            opened.shutdown(socket.SHUT_WR)
            wait_for(lambda: peer.do(lambda _: peer.socket.receive()) == b"")
            peer.do(lambda now: peer.socket.send(b"answer", now))  # half closed: the other direction goes on
            assert opened.recv(100) == b"answer"
            peer.do(lambda now: peer.socket.close(now))
            assert opened.recv(100) == b""
            assert ended(client, 1) == {"state": "closed", "error": None, "sent": 8, "received": 6}

    world.run(work)


def test_the_peer_ends_first(world: World) -> None:
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            peer.do(lambda now: (peer.socket.send(b"bye", now), peer.socket.shutdown(now)))
            assert read_all(opened) == b"bye"
            opened.sendall(b"still here")
            assert peer.read(10) == b"still here"
            opened.close()
            wait_for(lambda: peer.do(lambda _: peer.socket.receive()) == b"")
            assert ended(client, 1)["error"] is None

    world.run(work)


def test_back_pressure_both_ways(world: World) -> None:
    """Who does not read stops the other; nothing is lost, and what waits in the node is bounded."""
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            opened.settimeout(0.3)
            sent = 0
            with pytest.raises(TimeoutError):
                while True:
                    sent += opened.send(MEGABYTES[sent % 256 :][:65536])
            assert sent < 16_000_000
            assert peer.read(sent) == (MEGABYTES * (sent // len(MEGABYTES) + 1))[:sent]
            offered = 0

            def offer(now: int) -> int:
                return sum(iter(lambda: peer.socket.send(MEGABYTES, now), 0))

            quiet = 0
            while quiet < 100:
                taken = peer.do(offer)
                offered += taken
                quiet = 0 if taken else quiet + 1
            assert offered < 16_000_000
            opened.settimeout(10)
            received = bytearray()
            while len(received) < offered:
                received += opened.recv(65536)
            assert received[:256] == MEGABYTES[:256]
            opened.close()

    world.run(work)


def test_who_reads_late_gets_the_rest_without_the_peer(world: World) -> None:
    """All has left the peer, and waits in the node: nothing but the reading makes it go on."""
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            size = 0
            while size < 600_000:
                size += peer.do(partial(lambda left, now: peer.socket.send(MEGABYTES[:left], now), 600_000 - size))
            wait_for(lambda: peer.do(lambda _: peer.socket.unsent) == 0)
            opened.settimeout(10)  # on a busy machine; where the reading does not make it go on, nothing ever does
            count = 0
            while count < size:
                data = opened.recv(65536)
                assert data, f"ended after {count} octets"
                count += len(data)

    world.run(work)


def test_the_peer_resets(world: World) -> None:
    """What had arrived is still read; why it is over can be asked."""
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            peer.do(lambda now: peer.socket.send(b"last words", now))
            wait_for(lambda: client.call("connection", {"connection": 1})[0]["received"] == 10)
            peer.do(lambda now: peer.socket.abort(now))
            assert read_all(opened) == b"last words"
            error = ended(client, 1)["error"]
            assert isinstance(error, dict)
            assert error["code"] == "ECONNRESET"

    world.run(work)


def test_the_program_closes_with_something_unread(world: World) -> None:
    """RST, as from a kernel's socket."""
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            peer.do(lambda now: peer.socket.send(b"unread", now))
            wait_for(lambda: client.call("connection", {"connection": 1})[0]["received"] == 6)
            opened.close()
            wait_for(lambda: peer.do(lambda _: peer.socket.error) is not None)
            assert ended(client, 1)["state"] == "closed"

    world.run(work)


def test_the_program_goes_away_while_it_only_listened(world: World) -> None:
    """After its half is shut down, its close is noticed without a byte from the peer."""
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            opened.shutdown(socket.SHUT_WR)
            wait_for(lambda: peer.do(lambda _: peer.socket.receive()) == b"")
            assert client.call("connection", {"connection": 1})[0]["state"] == "open"
            opened.close()
            assert ended(client, 1)["error"] is None

    world.run(work)


def test_abort(world: World) -> None:
    peer = Peer(world)

    def work() -> None:
        with world.client("a") as client:
            opened, _ = connect(client)
            wait_for(lambda: peer.do(lambda _: peer.accepted is not None or peer.socket))
            assert client.call("abort", {"connection": 1})[0]["state"] == "closed"
            wait_for(lambda: peer.do(lambda _: peer.socket.state) is State.CLOSED)
            assert opened.recv(10) == b""
            assert client.call("abort", {"connection": 1})[0]["state"] == "closed"

    world.run(work)


@pytest.mark.parametrize(
    ("to", "port", "code"),
    [("b", 81, "ECONNREFUSED"), ("nobody", 80, "EINVAL"), ("b", 70000, "EINVAL"), ("224.0.0.1", 80, "ENETUNREACH")],
)
def test_what_cannot_be_connected(world: World, to: str, port: int, code: str) -> None:
    def work() -> None:
        with world.client("a") as client:
            with pytest.raises(ControlError) as caught:
                connect(client, port, to)
            assert caught.value.code == code
            if code == "ECONNREFUSED":
                error = client.call("connection", {"connection": 1})[0]["error"]
                assert isinstance(error, dict)
                assert error["code"] == code

    world.run(work)


def test_giving_up_a_connection_that_is_not_there_yet(world: World) -> None:
    def work() -> None:
        with world.client("a") as client:
            world.nodes["b"].barrier.block([ADDRESSES["a"]], 0)
            stream = client.stream("connect", {"to": "b", "to_port": PORT})
            wait_for(lambda: client.call("connection", {"connection": 1})[0]["state"] == "opening")
            stream.cancel()
            with pytest.raises(ControlError, match="cancelled"):
                next(stream)
            assert ended(client, 1)["state"] == "closed"

    world.run(work)


def test_unknown_numbers(world: World) -> None:
    def work() -> None:
        with world.client("a") as client:
            for method in ("connection", "abort"):
                with pytest.raises(ControlError) as caught:
                    client.call(method, {"connection": 5})
                assert caught.value.code == "ESRCH"

    world.run(work)
