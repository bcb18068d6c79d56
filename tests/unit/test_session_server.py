"""Servers and connections: addresses, errors with their numbers, asyncio's rules, TLS."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.session.session import CURRENT
from nodes.session.socket import StackSocket
from nodes.session.stream import StreamTransport
from nodes.units import MILLISECOND, SECOND
from tests.programs.common import client_tls, server_tls
from tests.unit.session_world import PairWorld
from tests.unit.test_session_stream import Told


@pytest.fixture
def world() -> Iterator[PairWorld]:
    world = PairWorld()
    yield world
    world.close()


def serve(world: PairWorld, *arguments: Any, factory: Any = Told, **options: Any) -> Any:
    return world.outcome(world.b, world.loop.create_server(factory, *arguments, **options))


def connect(world: PairWorld, *arguments: Any, factory: Any = Told, **options: Any) -> Any:
    return world.outcome(world.a, world.loop.create_connection(factory, *arguments, **options))


def end(world: PairWorld, *transports: Any) -> None:
    for transport in transports:
        transport.abort()
    world.settle(100 * MILLISECOND)


# ------------------------------------------------------------------------------------------------------------- servers


def test_a_free_port(world: PairWorld) -> None:
    server = serve(world, "10.0.0.2", 0)
    (listening,) = server.sockets
    address, port = listening.getsockname()
    assert (address, port > 1023) == ("10.0.0.2", True)
    transport, _ = connect(world, address, port)
    assert isinstance(server, asyncio.Server)
    assert "10.0.0.2" in repr(server)
    server.close()
    end(world, transport)


@pytest.mark.parametrize(
    ("host", "bound"),
    [
        (None, ["0.0.0.0"]),
        ("", ["0.0.0.0"]),
        ("localhost", ["127.0.0.1"]),
        ("b", ["10.0.0.2"]),
        (["10.0.0.2", "127.0.0.1", "10.0.0.2"], ["10.0.0.2", "127.0.0.1"]),
        (("Web", "localhost"), ["10.0.0.2", "127.0.0.1"]),
    ],
)
def test_hosts(world: PairWorld, host: Any, bound: list[str]) -> None:
    server = serve(world, host, 80)
    assert [sock.getsockname() for sock in server.sockets] == [(address, 80) for address in bound]
    server.close()
    assert server.sockets == ()


def test_a_port_that_is_taken(world: PairWorld) -> None:
    server = serve(world, "10.0.0.2", 80)
    with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
        serve(world, ["127.0.0.1", "10.0.0.2"], 80)
    assert caught.value.errno == errno.EADDRINUSE
    server.close()
    serve(world, ["127.0.0.1", "10.0.0.2"], 80).close()  # nothing was left open


def test_an_address_of_another(world: PairWorld) -> None:
    with pytest.raises(OSError, match=r"10\.0\.0\.9") as caught:
        serve(world, "10.0.0.9", 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_no_such_name(world: PairWorld) -> None:
    with pytest.raises(socket.gaierror):
        serve(world, "nobody", 80)
    with pytest.raises(socket.gaierror):
        connect(world, "nobody", 80)


def test_no_internet_protocol_version_6(world: PairWorld) -> None:
    for address in ("::1", "::"):
        with pytest.raises(OSError) as caught:
            serve(world, address, 80)
        assert caught.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(OSError) as caught:
        connect(world, "::1", 80)
    assert caught.value.errno == errno.EAFNOSUPPORT


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ssl": True}, TypeError),
        ({"ssl_handshake_timeout": 1}, ValueError),
        ({"ssl_shutdown_timeout": 1}, ValueError),
        ({}, ValueError),
        ({"host": "b", "port": 80, "sock": "own"}, ValueError),
        ({"sock": "datagram"}, ValueError),
    ],
)
def test_what_a_server_cannot_be(world: PairWorld, options: dict[str, Any], error: type[Exception]) -> None:
    with StackSocket(world.b) as own, StackSocket(world.b, socket.SOCK_DGRAM) as datagram:
        if "sock" in options:
            options = options | {"sock": {"own": own, "datagram": datagram}[options["sock"]]}
        with pytest.raises(error):
            serve(world, **options)


def test_a_server_over_a_socket(world: PairWorld) -> None:
    sock = StackSocket(world.b)
    sock.bind(("10.0.0.2", 8080))
    server = serve(world, sock=sock)
    transport, _ = connect(world, "b", 8080)
    server.close()
    end(world, transport)


def test_who_serves_for_a_node_from_outside(world: PairWorld) -> None:
    """What its connections call lives in the node of the socket, not where the server was made."""
    lived_in: list[Any] = []

    class Where(Told):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            lived_in.append(CURRENT.get())

    sock = StackSocket(world.b)
    sock.bind(("10.0.0.2", 80))
    server = world.run(world.loop.create_server(Where, sock=sock))  # type: ignore[arg-type]
    transport, _ = connect(world, "b", 80)
    world.settle(100 * MILLISECOND)
    assert lived_in == [world.b]
    server.close()
    end(world, transport)


def test_a_socket_that_listens_already(world: PairWorld) -> None:
    """Who came before the server is accepted too, be it more than the server's backlog."""
    accepted: list[Told] = []

    def made() -> Told:
        accepted.append(Told())
        return accepted[-1]

    sock = StackSocket(world.b)
    sock.bind(("10.0.0.2", 80))
    sock.listen(10)
    transports = [connect(world, "b", 80)[0] for _ in range(5)]
    world.settle(100 * MILLISECOND)
    server = serve(world, sock=sock, factory=made, backlog=1)
    world.settle(100 * MILLISECOND)
    assert len(accepted) == 5
    server.close()
    end(world, *transports)


def test_no_room_to_accept(world: PairWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and tried again after a second."""
    told: list[Any] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context["message"]))
    accepted: list[Told] = []

    def made() -> Told:
        accepted.append(Told())
        return accepted[-1]

    def full(sock: StackSocket) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    server = serve(world, "b", 80, factory=made)
    monkeypatch.setattr(StackSocket, "accept", full)
    transport, _ = connect(world, "b", 80)
    world.settle(900 * MILLISECOND)
    assert told == ["socket.accept() out of system resource"]
    monkeypatch.undo()
    world.settle(200 * MILLISECOND)
    assert len(accepted) == 1
    server.close()
    end(world, transport)


def test_a_connection_at_the_moment_of_closing(world: PairWorld) -> None:
    told: list[Any] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context))
    server = serve(world, "b", 80)
    sock = StackSocket(world.a)
    sock.start_connect(("b", 80))
    world.pair.run(100 * MILLISECOND)  # it has arrived, and the loop has not had its turn
    server.close()
    world.settle(100 * MILLISECOND)
    assert not told
    assert isinstance(sock.error, ConnectionResetError)
    sock.close()


def test_not_serving_yet(world: PairWorld) -> None:
    server = serve(world, "b", 80, start_serving=False)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        connect(world, "b", 80)
    world.outcome(world.b, server.start_serving())
    assert server.is_serving()
    transport, _ = connect(world, "b", 80)
    server.close()
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        connect(world, "b", 80)
    end(world, transport)


def test_serve_for_ever_until_cancelled(world: PairWorld) -> None:
    async def main() -> None:
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "b", 80) as server:
            await server.serve_forever()

    task = world.start(world.b, main())
    transport, _ = connect(world, "b", 80)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        world.run(task)
    with pytest.raises(ConnectionRefusedError):
        connect(world, "b", 80)
    end(world, transport)


def test_wait_closed(world: PairWorld) -> None:
    """What it waits for is what it is in the Python that runs: from 3.12 on, the end of the connections."""
    server = serve(world, "b", 80)
    transport, _ = connect(world, "b", 80)
    world.settle(100 * MILLISECOND)
    waiter = world.start(world.b, server.wait_closed())
    server.close()
    end(world, transport)
    world.run(waiter)


def test_close_clients(world: PairWorld) -> None:
    """They are new in Python 3.13."""
    for method in {"close_clients", "abort_clients"} & set(dir(asyncio.Server)):
        server = serve(world, "b", 80)
        _, protocol = connect(world, "b", 80)
        world.settle(100 * MILLISECOND)
        server.close()
        getattr(server, method)()
        world.settle(100 * MILLISECOND)
        assert protocol.told[-1] == ("lost", None)


def test_many_at_once(world: PairWorld) -> None:
    """More than the backlog: nobody is turned away, the latecomers only have to try again."""
    accepted: list[Told] = []

    def made() -> Told:
        accepted.append(Told())
        return accepted[-1]

    server = serve(world, "b", 80, backlog=5, factory=made)

    async def all_of_them() -> list[Any]:
        connecting = [world.loop.create_connection(Told, "b", 80) for _ in range(20)]
        return list(await asyncio.gather(*connecting))

    made_connections = world.outcome(world.a, all_of_them())
    world.settle(10 * SECOND)
    assert len(accepted) == 20
    server.close()
    end(world, *(transport for transport, _ in made_connections))


def test_a_factory_that_raises(world: PairWorld) -> None:
    def fail() -> Any:
        raise RuntimeError("no protocol")

    told: list[Any] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context))
    world.loop.set_debug(True)
    server = serve(world, "b", 80, factory=fail)
    transport, _ = connect(world, "b", 80)
    world.settle(100 * MILLISECOND)
    assert [context["message"] for context in told] == ["Error on transport creation for incoming connection"]
    server.close()
    end(world, transport)


def test_closing_a_server_resets_those_who_wait(world: PairWorld) -> None:
    """Connections that were not accepted yet."""
    sock = StackSocket(world.b)
    sock.bind(("b", 80))
    sock.listen(5)
    _, protocol = connect(world, "b", 80)
    world.settle(100 * MILLISECOND)
    sock.close()
    world.settle(100 * MILLISECOND)
    assert isinstance(protocol.told[-1][1], ConnectionResetError)


# --------------------------------------------------------------------------------------------------------- connections


def test_refused(world: PairWorld) -> None:
    with pytest.raises(ConnectionRefusedError, match=r"Connect call failed .*10\.0\.0\.2.* 81") as caught:
        connect(world, "b", 81)
    assert caught.value.errno == errno.ECONNREFUSED


def test_no_route(world: PairWorld) -> None:
    with pytest.raises(OSError) as caught:
        connect(world, "far", 80)
    assert caught.value.errno == errno.ENETUNREACH


def test_no_such_neighbor(world: PairWorld) -> None:
    with pytest.raises(OSError) as caught:
        connect(world, "10.0.0.77", 80)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_no_answer(world: PairWorld) -> None:
    world.pair.cut = True
    with pytest.raises(TimeoutError) as caught:
        connect(world, "b", 80)
    assert caught.value.errno == errno.ETIMEDOUT
    assert 100 * SECOND < world.pair.now < 200 * SECOND


def test_giving_up(world: PairWorld) -> None:
    """A connection that nobody waits for any more leaves nothing behind."""
    world.pair.cut = True

    async def main() -> None:
        async with asyncio.timeout(5):
            await asyncio.open_connection("b", 80)

    with pytest.raises(TimeoutError):
        world.outcome(world.a, main())
    assert world.pair.now == pytest.approx(5 * SECOND, abs=2)
    assert not list(world.a.stack.tcp.sockets())


def test_from_an_own_address(world: PairWorld) -> None:
    server = serve(world, "b", 80)
    transport, _ = connect(world, "b", 80, local_addr=("10.0.0.1", 5555))
    assert transport.get_extra_info("sockname") == ("10.0.0.1", 5555)
    with pytest.raises(OSError, match=r"10\.0\.0\.9") as caught:
        connect(world, "b", 80, local_addr=("10.0.0.9", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    server.close()
    end(world, transport)


def test_happy_eyeballs(world: PairWorld) -> None:
    server = serve(world, "b", 80)
    transport, _ = connect(world, "b", 80, happy_eyeballs_delay=0.25, interleave=1)
    server.close()
    end(world, transport)


def test_a_node_with_itself(world: PairWorld) -> None:
    server = serve(world, "127.0.0.1", 80)
    far, protocol = world.outcome(world.b, world.loop.create_connection(Told, "localhost", 80))
    far.write(b"hello")
    world.settle(100 * MILLISECOND)
    assert far.get_extra_info("peername") == ("127.0.0.1", 80)
    server.close()
    end(world, far)
    assert protocol.told[-1] == ("lost", None)


def test_over_a_socket_of_ones_own(world: PairWorld) -> None:
    server = serve(world, "b", 80)

    async def main() -> Any:
        sock = StackSocket(world.a)
        await world.loop.sock_connect(sock, ("b", 80))
        return await world.loop.create_connection(Told, sock=sock)

    transport, _ = world.outcome(world.a, main())
    assert isinstance(transport, StreamTransport)
    server.close()
    end(world, transport)


def test_data_comes_after_whoever_waited_for_the_connection(world: PairWorld) -> None:
    """It is there before the transport is, and yet the program that awaited the transport runs first."""
    order: list[str] = []

    class Greeting(Told):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"welcome")

    class Client(Told):
        def data_received(self, data: bytes) -> None:
            order.append("data")

    async def main() -> Any:
        sock = StackSocket(world.a)
        await world.loop.sock_connect(sock, ("b", 80))
        await asyncio.sleep(1)
        transport, _ = await world.loop.create_connection(Client, sock=sock)
        order.append("connected")
        await asyncio.sleep(1)
        return transport

    server = serve(world, "b", 80, factory=Greeting)
    transport = world.outcome(world.a, main())
    assert order == ["connected", "data"]
    server.close()
    end(world, transport)


def test_an_accepted_socket(world: PairWorld) -> None:
    async def main() -> Any:
        listening = StackSocket(world.b)
        listening.bind(("b", 80))
        listening.listen()
        sock, _ = await world.loop.sock_accept(listening)
        listening.close()
        return await world.loop.connect_accepted_socket(Told, sock)

    accepting = world.start(world.b, main())
    near, _ = connect(world, "b", 80)
    far, protocol = world.run(accepting)
    near.write(b"hello")
    world.settle(100 * MILLISECOND)
    assert protocol.data == b"hello"
    end(world, near, far)


def test_sendfile(world: PairWorld, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    protocols: list[Told] = []

    def made() -> Told:
        protocols.append(Told())
        return protocols[-1]

    server = serve(world, "b", 80, factory=made)
    transport, _ = connect(world, "b", 80)

    async def main() -> int:
        with path.open("rb") as file:
            return await world.loop.sendfile(transport, file)

    assert world.outcome(world.a, main()) == 256_000
    world.settle(SECOND)
    assert protocols[0].data == path.read_bytes()
    server.close()
    end(world, transport)


# ----------------------------------------------------------------------------------------------------------------- TLS


def test_tls(world: PairWorld) -> None:
    """TLS 1.3, a megabyte there and back, an orderly end."""
    ended: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(1_000_000)
        writer.write(data)
        await writer.drain()
        ended.append(repr(await reader.read()))
        writer.close()
        await writer.wait_closed()

    async def client() -> Any:
        options = {"ssl": client_tls(), "server_hostname": "service.test"}
        reader, writer = await asyncio.open_connection("b", 443, **options)
        writer.write(bytes(1_000_000))
        data = await reader.readexactly(1_000_000)
        version = writer.get_extra_info("ssl_object").version()
        peer = writer.get_extra_info("peername")
        writer.close()
        await writer.wait_closed()
        return data, version, peer

    server = world.outcome(world.b, asyncio.start_server(handle, "b", 443, ssl=server_tls()))
    data, version, peer = world.outcome(world.a, client())
    world.settle(SECOND)
    assert data == bytes(1_000_000)
    assert version == "TLSv1.3"
    assert peer == ("10.0.0.2", 443)
    assert ended == ["b''"]
    server.close()


def test_a_certificate_for_somebody_else(world: PairWorld) -> None:
    world.loop.set_exception_handler(lambda loop, context: None)
    server = serve(world, "b", 443, ssl=server_tls())
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(world, "b", 443, ssl=client_tls(), server_hostname="other.test")
    world.settle(SECOND)
    server.close()


def test_a_peer_without_tls(world: PairWorld) -> None:
    """The handshake takes as long as it may, in virtual time."""
    server = serve(world, "b", 80)
    begun = world.pair.now
    with pytest.raises(ConnectionAbortedError):
        connect(world, "b", 80, ssl=client_tls(), server_hostname="service.test", ssl_handshake_timeout=30)
    assert world.pair.now - begun == pytest.approx(30 * SECOND, rel=0.01)
    world.settle(SECOND)
    server.close()


def test_start_tls(world: PairWorld) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(server_tls())
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection("b", 25)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        await writer.start_tls(client_tls(), server_hostname="service.test")
        writer.write(b"secret\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    server = world.outcome(world.b, asyncio.start_server(handle, "b", 25))
    assert world.outcome(world.a, client()) == b"SECRET\n"
    world.settle(SECOND)
    server.close()
