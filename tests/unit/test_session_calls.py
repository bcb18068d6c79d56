"""loop.sock_* on sockets of the stack, and on kernel sockets that stand for them."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nodes.session.shadow import ShadowSocket, stack_socket
from nodes.session.socket import StackSocket
from nodes.session.stream import StreamTransport
from nodes.units import MILLISECOND, SECOND
from tests.unit.session_world import PairWorld
from tests.unit.test_session_stream import Told


@pytest.fixture
def world() -> Iterator[PairWorld]:
    world = PairWorld(send_buffer=200_000, receive_buffer=200_000)
    yield world
    world.close()


class Talk:
    """A connection between two sockets: `near` in a, `far` in b."""

    def __init__(self, world: PairWorld) -> None:
        self.world, self.loop = world, world.loop
        self.listening = StackSocket(world.b)
        self.listening.bind(("b", 80))
        self.listening.listen()
        accepting = world.start(world.b, self.loop.sock_accept(self.listening))
        self.near = StackSocket(world.a)
        world.outcome(world.a, self.loop.sock_connect(self.near, ("b", 80)))
        self.far, self.address = world.run(accepting)

    def close(self) -> None:
        for sock in (self.near, self.far, self.listening):
            sock.close()
        self.world.settle(SECOND)


@pytest.fixture
def talk(world: PairWorld) -> Iterator[Talk]:
    talk = Talk(world)
    yield talk
    talk.close()


def kernel_socket(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


# ------------------------------------------------------------------------------------------------------------- streams


def test_accept(talk: Talk) -> None:
    assert talk.address == talk.near.getsockname()
    assert talk.far.getpeername() == talk.address


def test_send_and_receive(world: PairWorld, talk: Talk) -> None:
    async def main() -> Any:
        await world.loop.sock_sendall(talk.near, b"hello world")
        buffer = bytearray(5)
        count = await world.loop.sock_recv_into(talk.far, buffer)
        return bytes(buffer[:count]), await world.loop.sock_recv(talk.far, 100)

    assert world.outcome(world.a, main()) == (b"hello", b" world")


def test_a_megabyte_waits_for_room(world: PairWorld, talk: Talk) -> None:
    async def receive() -> int:
        size = 0
        while data := await world.loop.sock_recv(talk.far, 65_536):
            size += len(data)
        return size

    async def send() -> None:
        await world.loop.sock_sendall(talk.near, bytearray(1_000_000))
        talk.near.shutdown(socket.SHUT_WR)

    receiving = world.start(world.b, receive())
    world.outcome(world.a, send())
    assert world.run(receiving) == 1_000_000


def test_sendfile(world: PairWorld, talk: Talk, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"contents of a file")

    async def main() -> bytes:
        with path.open("rb") as file:
            assert await world.loop.sock_sendfile(talk.near, file, 9) == 9
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await world.loop.sock_sendfile(talk.near, file, fallback=False)
        return await world.loop.sock_recv(talk.far, 100)

    assert world.outcome(world.a, main()) == b"of a file"


def test_the_end_and_a_reset(world: PairWorld, talk: Talk) -> None:
    talk.near.shutdown(socket.SHUT_WR)
    assert world.outcome(world.b, world.loop.sock_recv(talk.far, 10)) == b""
    talk.near.abort()
    world.settle(100 * MILLISECOND)
    with pytest.raises(ConnectionResetError):
        world.outcome(world.b, world.loop.sock_sendall(talk.far, b"to nobody"))


@pytest.mark.parametrize(
    "call",
    [
        lambda talk: talk.loop.sock_recv(talk.far, 10),
        lambda talk: talk.loop.sock_recv_into(talk.far, bytearray(10)),
        lambda talk: talk.loop.sock_recvfrom(talk.far, 10),
        lambda talk: talk.loop.sock_recvfrom_into(talk.far, bytearray(10)),
        lambda talk: talk.loop.sock_sendall(talk.near, bytes(5_000_000)),
        lambda talk: talk.loop.sock_accept(talk.listening),
    ],
)
def test_each_wait_can_be_cancelled(world: PairWorld, talk: Talk, call: Any) -> None:
    task = world.start(world.b, call(talk))
    world.settle(100 * MILLISECOND)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        world.run(task)
    waiting = [sock.on_ready._waiting for sock in (talk.near, talk.far, talk.listening) if sock.on_ready]  # type: ignore[attr-defined]
    assert not any(waiting)


def test_a_cancelled_receive_takes_nothing(world: PairWorld, talk: Talk) -> None:
    first = world.start(world.b, world.loop.sock_recv(talk.far, 10))
    world.settle(100 * MILLISECOND)
    second = world.start(world.b, world.loop.sock_recv(talk.far, 10))
    world.settle(100 * MILLISECOND)
    talk.near.send(b"hello")
    world.pair.run(100 * MILLISECOND)  # it has arrived, and the loop has not had its turn
    first.cancel()
    assert world.run(second) == b"hello"


def test_several_wait_in_turn(world: PairWorld, talk: Talk) -> None:
    receiving = [world.start(world.b, world.loop.sock_recv(talk.far, 2)) for _ in range(3)]
    world.settle(100 * MILLISECOND)
    world.outcome(world.a, world.loop.sock_sendall(talk.near, b"112233"))
    world.settle(100 * MILLISECOND)
    assert [task.result() for task in receiving] == [b"11", b"22", b"33"]


# ---------------------------------------------------------------------------------------------------------- connecting


def test_a_connection_that_is_refused_may_be_tried_again(world: PairWorld) -> None:
    async def main() -> None:
        with StackSocket(world.a) as sock:
            for _ in range(2):
                with pytest.raises(ConnectionRefusedError):
                    await world.loop.sock_connect(sock, ("b", 81))
            listening.listen()
            await world.loop.sock_connect(sock, ("b", 81))
            assert sock.getpeername() == ("10.0.0.2", 81)

    with StackSocket(world.b) as listening:
        listening.bind(("b", 81))
        world.outcome(world.a, main())
    world.settle(100 * MILLISECOND)


def test_a_cancelled_connect_goes_on(world: PairWorld) -> None:
    """Who asks again waits for the same connection."""

    async def main() -> int:
        with StackSocket(world.a) as sock:
            task = asyncio.create_task(world.loop.sock_connect(sock, ("b", 80)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(1)
            await world.loop.sock_connect(sock, ("b", 80))
            with pytest.raises(OSError) as caught:
                await world.loop.sock_connect(sock, ("b", 80))
            return caught.value.errno or 0

    with StackSocket(world.b) as listening:
        listening.bind(("b", 80))
        listening.listen()
        assert world.outcome(world.a, main()) == errno.EISCONN
    world.settle(100 * MILLISECOND)


def test_the_transports_socket_is_not_to_be_waited_for(world: PairWorld) -> None:
    server = world.outcome(world.b, world.loop.create_server(Told, "b", 80))

    async def main() -> None:
        sock = StackSocket(world.a)
        await world.loop.sock_connect(sock, ("b", 80))
        transport, _ = await world.loop.create_connection(Told, sock=sock)
        with pytest.raises(RuntimeError, match="is used by the transport"):
            await world.loop.sock_recv(sock, 10)
        transport.close()

    world.outcome(world.a, main())
    server.close()
    world.settle(SECOND)


def test_a_ring_before_the_transport_has_begun(world: PairWorld, talk: Talk) -> None:
    """connection_made first, then who waits for it, then the data that was there before either."""
    order: list[str] = []

    class Ordered(Told):
        def connection_made(self, transport: Any) -> None:
            order.append("made")

        def data_received(self, data: bytes) -> None:
            order.append("data")

    async def main() -> None:
        waiter: asyncio.Future[None] = world.loop.create_future()
        transport = StreamTransport(world.loop, talk.near, Ordered(), waiter)
        talk.far.send(b"data")
        world.pair.run(100 * MILLISECOND)  # it has arrived, and the loop has not had its turn
        await waiter
        order.append("waiter")
        await asyncio.sleep(1)
        transport.close()

    world.outcome(world.a, main())
    assert order == ["made", "waiter", "data"]


# ----------------------------------------------------------------------------------------------------------- datagrams


def test_datagrams(world: PairWorld) -> None:
    far = StackSocket(world.b, socket.SOCK_DGRAM)
    far.bind(("b", 53))
    near = StackSocket(world.a, socket.SOCK_DGRAM)

    async def answer() -> None:
        data, address = await world.loop.sock_recvfrom(far, 100)
        await world.loop.sock_sendto(far, data.upper(), address)

    async def ask() -> Any:
        await world.loop.sock_sendto(near, b"question", ("b", 53))
        buffer = bytearray(100)
        count, address = await world.loop.sock_recvfrom_into(near, buffer)
        return bytes(buffer[:count]), address

    world.start(world.b, answer())
    assert world.outcome(world.a, ask()) == (b"QUESTION", ("10.0.0.2", 53))
    world.outcome(world.a, world.loop.sock_connect(near, ("b", 54)))
    assert near.getpeername() == ("10.0.0.2", 54)
    near.close()
    far.close()


# ------------------------------------------------------------------------------------------------------------- shadows


def test_a_kernel_socket_stands_for_one_of_the_stack(world: PairWorld) -> None:
    server = world.outcome(world.b, world.loop.create_server(Told, "b", 80))

    async def main() -> None:
        sock = kernel_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        descriptor = sock.fileno()
        await world.loop.sock_connect(sock, ("b", 80))
        assert isinstance(sock, ShadowSocket)
        assert sock.getpeername() == ("10.0.0.2", 80)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport, _ = await world.loop.create_connection(Told, sock=sock)
        own = transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        del sock, own
        gc.collect()
        await asyncio.sleep(1)
        assert not transport.is_closing()
        transport.close()
        await asyncio.sleep(1)
        with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
            socket.socket(fileno=descriptor)

    world.outcome(world.a, main())
    server.close()
    world.settle(SECOND)
    assert not list(world.a.stack.tcp.sockets())


def test_a_program_sends_urgent_octets_through_its_own_socket(world: PairWorld) -> None:
    """Also when a transport has it: that is the only way there is with asyncio."""
    marks: list[object] = []

    class Marked(Told):
        def data_received(self, data: bytes) -> None:
            transport: Any = self.transport
            marks.append((data, transport.get_extra_info("socket").info()["urgent"]))

    server = world.outcome(world.b, world.loop.create_server(Marked, "b", 80))

    async def main() -> None:
        sock = kernel_socket()
        await world.loop.sock_connect(sock, ("b", 80))
        transport, _ = await world.loop.create_connection(Told, sock=sock)
        transport.write(b"in good time")
        assert sock.send(b"!", socket.MSG_OOB) == 1
        await asyncio.sleep(1)
        transport.close()

    world.outcome(world.a, main())
    server.close()
    world.settle(SECOND)
    assert marks == [(b"in good time", 1), (b"!", 0)]


def test_closing_the_shadow_closes_both(world: PairWorld) -> None:
    sock = kernel_socket()
    own = stack_socket(world.a, sock)
    assert own is not sock
    assert stack_socket(world.a, sock) is own
    sock.close()
    assert own.closed
    assert sock.fileno() == -1


def test_closing_the_socket_of_the_stack_closes_both(world: PairWorld) -> None:
    for method in ("close", "abort", "detach"):
        sock = kernel_socket()
        own = stack_socket(world.a, sock)
        endpoint = own.endpoint
        getattr(own, method)()
        assert sock.fileno() == -1
        assert endpoint.closed == (method != "detach")
        if method == "detach":
            endpoint.close(0)


def test_forgetting_the_shadow_closes_both(world: PairWorld) -> None:
    sock = kernel_socket()
    own = stack_socket(world.a, sock)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del sock
        gc.collect()
    assert own.closed


def test_what_the_kernel_knows_is_the_kernels(world: PairWorld) -> None:
    bound = kernel_socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    connected = kernel_socket(socket.SOCK_DGRAM)
    connected.connect(bound.getsockname())
    ours, theirs = socket.socketpair()
    closed = kernel_socket()
    closed.close()
    for sock in (bound, connected, ours, closed):
        assert stack_socket(world.a, sock) is sock
    for sock in (bound, connected, ours, theirs):
        sock.close()


def test_shadows_of_datagram_sockets(world: PairWorld) -> None:
    far = StackSocket(world.b, socket.SOCK_DGRAM)
    far.bind(("b", 53))

    async def main() -> bytes:
        with kernel_socket(socket.SOCK_DGRAM) as sock:
            await world.loop.sock_sendto(sock, b"hello", ("b", 53))
            data, address = await world.loop.sock_recvfrom(far, 100)
            assert address == ("10.0.0.1", sock.getsockname()[1])
        return data

    assert world.outcome(world.a, main()) == b"hello"
    far.close()


def test_a_shadow_of_a_datagram_endpoint(world: PairWorld) -> None:
    async def main() -> Any:
        transport, _ = await world.loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, sock=kernel_socket(socket.SOCK_DGRAM)
        )
        own = transport.get_extra_info("socket")
        transport.close()
        await asyncio.sleep(0)
        return own

    assert isinstance(world.outcome(world.a, main()).session.name, str)


def test_outside_of_nodes_a_kernel_socket_is_one(world: PairWorld) -> None:
    with kernel_socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        async def main() -> str:
            with kernel_socket() as sock:
                await world.loop.sock_connect(sock, listening.getsockname())
                accepted, _ = await world.loop.sock_accept(listening)
                accepted.close()
                return type(sock).__name__

        assert world.run(main()) == "socket"


def test_debug_mode_wants_sockets_that_do_not_block(world: PairWorld) -> None:
    world.loop.set_debug(True)
    with socket.socket() as sock, pytest.raises(ValueError, match="non-blocking"):
        world.outcome(world.a, world.loop.sock_recv(sock, 10))


# ------------------------------------------------------------------------------------------------------------- watching


def test_a_reader_is_called_while_there_is_something_to_read(world: PairWorld, talk: Talk) -> None:
    read: list[bytes] = []

    async def watch() -> None:
        world.loop.add_reader(talk.far, lambda: read.append(talk.far.recv(2)))

    world.outcome(world.b, watch())
    world.outcome(world.a, world.loop.sock_sendall(talk.near, b"112233"))
    world.settle(100 * MILLISECOND)
    assert read == [b"11", b"22", b"33"]
    assert world.loop.remove_reader(talk.far)
    assert not world.loop.remove_reader(talk.far)
    world.outcome(world.a, world.loop.sock_sendall(talk.near, b"44"))
    world.settle(100 * MILLISECOND)
    assert read == [b"11", b"22", b"33"]


def test_a_writer_is_called_while_there_is_room(world: PairWorld, talk: Talk) -> None:
    sent: list[int] = []

    def more() -> None:
        sent.append(talk.near.send(bytes(50_000)))

    async def watch() -> None:
        world.loop.add_writer(talk.near, more)

    world.outcome(world.a, watch())
    world.settle(SECOND)
    full = sum(sent)
    assert 200_000 < full < 500_000
    world.outcome(world.b, world.loop.sock_recv(talk.far, 200_000))
    world.settle(SECOND)
    assert sum(sent) > full
    assert world.loop.remove_writer(talk.near)
    assert not world.loop.remove_writer(talk.near)


def test_a_reader_of_a_shadow(world: PairWorld) -> None:
    read: list[bytes] = []
    far = StackSocket(world.b, socket.SOCK_DGRAM)

    async def main() -> None:
        with kernel_socket(socket.SOCK_DGRAM) as sock:
            world.loop.add_reader(sock, lambda: read.append(sock.recv(100)))
            sock.bind(("a", 53))
            far.sendto(b"hello", ("a", 53))
            await asyncio.sleep(1)
            world.loop.remove_reader(sock)

    world.outcome(world.a, main())
    far.close()
    assert read == [b"hello"]
