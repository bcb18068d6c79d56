"""Datagrams of asyncio over the stack: the surface of `create_datagram_endpoint` and of its transport."""

import asyncio
import contextlib
import errno
import logging
import socket
from types import SimpleNamespace

import pytest

from nodes.session import datagram
from nodes.session.datagram import DatagramTransport, create_datagram_endpoint
from nodes.session.session import CURRENT
from nodes.session.socket import StackSocket
from nodes.session.view import TransportSocketView
from tests.unit.session_pair import Pair

SERVER = ("10.0.0.2", 9)


class Recorder(asyncio.DatagramProtocol):
    """What a transport tells its protocol, in order."""

    def __init__(self):
        self.calls = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def connection_lost(self, exc):
        self.calls.append(("lost", exc))

    def datagram_received(self, data, addr):
        self.calls.append((data, addr))

    def error_received(self, exc):
        self.calls.append(exc)

    @property
    def data(self):
        return [call[0] for call in self.calls if isinstance(call, tuple) and isinstance(call[0], bytes)]


class Scene:
    def __init__(self):
        self.pair = Pair()
        self.loop = asyncio.get_running_loop()
        self.trouble = []
        self.loop.set_exception_handler(lambda _, context: self.trouble.append(context))

    async def open(self, session, factory=Recorder, **arguments):
        return await create_datagram_endpoint(self.loop, session, factory, **arguments)

    async def server(self, **arguments):
        return await self.open(self.pair.b, local_addr=("0.0.0.0", 9), **arguments)

    async def client(self, **arguments):
        return await self.open(self.pair.a, remote_addr=("b", 9), **arguments)

    async def settle(self):
        for _ in range(5):
            self.pair.run()
            await asyncio.sleep(0)


def scene(test):
    """Runs a coroutine function of a scene."""

    def run():
        async def main():
            made = Scene()
            await test(made)
            assert not made.trouble

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@scene
async def test_both_ways(s):
    server, heard = await s.server()
    client, answers = await s.client()
    assert heard.calls == answers.calls == ["made"]
    assert heard.transport is server
    client.sendto(b"one")
    client.sendto(b"")
    client.sendto(bytearray(b"two"), SERVER)
    client.sendto(memoryview(b"three"), None)
    await s.settle()
    address = client.get_extra_info("sockname")
    assert heard.calls[1:] == [(b"one", address), (b"", address), (b"two", address), (b"three", address)]
    server.sendto(b"back", address)
    await s.settle()
    assert answers.calls[1:] == [(b"back", SERVER)]


@scene
async def test_without_a_peer_any_address_will_do(s):
    _, heard = await s.server()
    client, protocol = await s.open(s.pair.a, family=socket.AF_INET)
    client.sendto(b"x", ("Web", 9))
    await s.settle()
    assert heard.data == [b"x"]
    client.sendto(b"x", ("nobody", 9))
    assert isinstance(protocol.calls[-1], socket.gaierror)
    client.sendto(b"x")
    assert protocol.calls[-1].errno == errno.EDESTADDRREQ


@scene
async def test_what_is_known_of_a_transport(s):
    server, _ = await s.server()
    client, protocol = await s.client()
    assert server.get_extra_info("sockname") == ("0.0.0.0", 9)
    assert server.get_extra_info("peername") is None
    assert client.get_extra_info("peername") == SERVER
    view = client.get_extra_info("socket")
    assert type(view) is TransportSocketView
    assert view.getsockname() == client.get_extra_info("sockname")
    assert view.type == socket.SOCK_DGRAM
    assert client.get_extra_info("nothing", 5) == 5
    assert client.get_protocol() is protocol
    assert client.get_write_buffer_size() == 0
    client.set_write_buffer_limits(high=10)
    assert client.get_write_buffer_limits() == (2, 10)
    assert repr(server) == "<DatagramTransport open udp of b local=0.0.0.0:9 peer=None>"
    server.close()
    assert "closing" in repr(server)
    assert isinstance(client, asyncio.DatagramTransport)


@scene
async def test_the_protocol_can_be_replaced(s):
    server, first = await s.server()
    client, _ = await s.client()
    second = Recorder()
    server.set_protocol(second)
    client.sendto(b"x")
    await s.settle()
    assert (first.data, second.data) == ([], [b"x"])


@scene
async def test_nobody_is_there(s):
    client, protocol = await s.client()
    client.sendto(b"x")
    await s.settle()
    (error,) = protocol.calls[1:]
    assert isinstance(error, ConnectionRefusedError)
    client.sendto(b"x")
    s.pair.run()
    client.sendto(b"y")  # before the loop could tell: the call does, as a kernel's does
    assert len(protocol.calls) == 3
    await s.settle()
    assert [type(call) for call in protocol.calls[1:]] == [ConnectionRefusedError] * 2


@scene
async def test_recorded_errors(s):
    client, protocol = await s.open(s.pair.a, local_addr=("0.0.0.0", 0))
    client.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, 11, 1)
    client.sendto(b"x", SERVER)
    client.sendto(b"x", ("b", 10))
    await s.settle()
    assert [type(call) for call in protocol.calls[1:]] == [ConnectionRefusedError] * 2


@scene
async def test_what_cannot_be_sent_is_an_error_received(s):
    client, protocol = await s.open(s.pair.a, local_addr=("0.0.0.0", 0))
    for data, address, number in (
        (b"x" * 65_508, SERVER, errno.EMSGSIZE),
        (b"x", ("10.0.0.255", 9), errno.EACCES),
        (b"x", ("192.0.2.1", 9), errno.ENETUNREACH),
    ):
        client.sendto(data, address)
        assert protocol.calls[-1].errno == number
    assert not client.is_closing()


@scene
async def test_wrong_arguments_of_sendto(s):
    client, protocol = await s.client()
    for data in ("x", 5, None):
        with pytest.raises(TypeError):
            client.sendto(data)
    with pytest.raises(ValueError, match="Invalid address"):
        client.sendto(b"x", ("10.0.0.1", 9))
    assert protocol.calls == ["made"]


@scene
async def test_what_is_no_address_ends_the_transport(s):
    client, protocol = await s.open(s.pair.a, local_addr=("0.0.0.0", 0))
    client.sendto(b"x", ("b", 99_999))
    await s.settle()
    (context,) = s.trouble
    assert context["message"] == "Fatal write error on datagram transport"
    assert context["transport"] is client
    assert protocol.calls == ["made", ("lost", context["exception"])]
    assert isinstance(context["exception"], OverflowError)
    s.trouble.clear()


@scene
async def test_closing(s):
    server, heard = await s.server()
    client, _ = await s.client()
    client.sendto(b"last")
    client.close()
    assert client.is_closing()
    server.close()
    assert heard.calls == ["made"]
    await s.settle()
    assert heard.calls == ["made", ("lost", None)]
    server.close()
    server.abort()
    await s.settle()
    assert len(heard.calls) == 2
    await s.server()  # the port is free again


@scene
async def test_what_was_sent_before_the_end_arrives(s):
    _, heard = await s.server()
    client, _ = await s.client()
    client.sendto(b"last")
    client.close()
    await s.settle()
    assert heard.data == [b"last"]


@scene
async def test_abort(s):
    server, heard = await s.server()
    server.abort()
    await s.settle()
    assert heard.calls == ["made", ("lost", None)]


def test_sends_after_the_end_go_nowhere(caplog):
    async def main():
        s = Scene()
        _, heard = await s.server()
        client, _ = await s.client()
        client.close()
        for _ in range(datagram.WARN_AFTER):
            client.sendto(b"x")
        assert [record.message for record in caplog.records] == ["socket.send() raised exception."]
        await s.settle()
        assert heard.data == []

    with caplog.at_level(logging.WARNING, "asyncio"):
        asyncio.run(main())


@scene
async def test_nothing_is_told_after_close(s):
    """What waits to be read when a transport closes is nobody's any more."""
    server, heard = await s.server()
    client, _ = await s.client()
    client.sendto(b"x")
    s.pair.run()
    server.close()
    await s.settle()
    assert heard.calls == ["made", ("lost", None)]


@scene
async def test_a_protocol_that_closes_while_it_is_told(s):
    class Closing(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    _, heard = await s.server(factory=Closing)
    client, _ = await s.client()
    for _ in range(3):
        client.sendto(b"x")
    await s.settle()
    assert heard.data == [b"x"]


@scene
async def test_a_protocol_that_raises_hears_the_rest(s):
    class Raising(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise RuntimeError("no")

    _, heard = await s.server(factory=Raising)
    client, _ = await s.client()
    for number in range(3):
        client.sendto(b"%d" % number)
    await s.settle()
    assert heard.data == [b"0", b"1", b"2"]
    assert len(s.trouble) == 3
    s.trouble.clear()


@scene
async def test_a_protocol_that_raises_when_it_is_connected(s):
    class Raising(Recorder):
        def connection_made(self, transport):
            raise RuntimeError("no")

    _, heard = await asyncio.wait_for(s.server(factory=Raising), 1)
    client, _ = await s.client()
    client.sendto(b"x")
    await s.settle()
    assert heard.data == [b"x"]
    assert len(s.trouble) == 1
    s.trouble.clear()


@scene
async def test_many_datagrams_take_turns(s):
    _, heard = await s.server()
    client, _ = await s.client()
    total = 3 * datagram.READS_PER_TURN
    for number in range(total):
        client.sendto(b"%d" % number)
    s.pair.run()
    await asyncio.sleep(0)
    assert len(heard.data) == datagram.READS_PER_TURN
    await s.settle()
    assert heard.data == [b"%d" % number for number in range(total)]


@scene
async def test_what_came_before_the_protocol_was_connected(s):
    client, _ = await s.client()
    server = StackSocket(s.pair.b, socket.SOCK_DGRAM)
    server.bind(("", 9))
    client.sendto(b"early")
    s.pair.run()
    transport, heard = await s.open(s.pair.b, sock=server)
    await s.settle()
    assert heard.calls[0] == "made"
    assert heard.data == [b"early"]
    assert transport.get_extra_info("sockname") == ("0.0.0.0", 9)
    assert server.endpoint.owner is transport


@scene
async def test_callbacks_live_in_the_node_of_their_transport(s):
    class Asking(Recorder):
        def datagram_received(self, data, addr):
            self.calls.append(CURRENT.get())

        def connection_lost(self, exc):
            self.calls.append(CURRENT.get())

    token = CURRENT.set(s.pair.b)
    server, heard = await s.server(factory=Asking)
    CURRENT.reset(token)
    client, _ = await s.client()
    client.sendto(b"x")
    await s.settle()
    server.close()
    await s.settle()
    assert heard.calls == ["made", s.pair.b, s.pair.b]


@scene
async def test_broadcast(s):
    _, heard = await s.server()
    client, protocol = await s.open(s.pair.a, remote_addr=("10.0.0.255", 9), allow_broadcast=True)
    assert client.get_extra_info("peername") is None
    assert client.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
    client.sendto(b"x")
    await s.settle()
    assert heard.data == [b"x"]
    with pytest.raises(ValueError, match="Invalid address"):
        client.sendto(b"x", SERVER)
    assert protocol.calls == ["made"]


@scene
async def test_a_port_may_be_shared(s):
    with pytest.raises(OSError, match="in use") as caught:
        for _ in range(2):
            await s.server()
    assert caught.value.errno == errno.EADDRINUSE
    for _ in range(2):
        transport, _ = await s.open(s.pair.b, local_addr=("0.0.0.0", 10), reuse_port=True)
        assert transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1


@scene
async def test_local_and_remote_address(s):
    client, _ = await s.client(local_addr=("a", 7))
    assert client.get_extra_info("sockname") == ("10.0.0.1", 7)
    assert client.get_extra_info("peername") == SERVER


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({}, ValueError, "unexpected address family"),
        ({"family": socket.AF_INET6}, OSError, ""),
        ({"local_addr": ("b", 0)}, OSError, "not an address of this node"),
        ({"remote_addr": ("192.0.2.1", 1)}, OSError, "no route"),
        ({"remote_addr": ("nobody", 1)}, socket.gaierror, ""),
        ({"remote_addr": ("::1", 1)}, socket.gaierror, ""),
        ({"remote_addr": ("b", 1), "family": socket.AF_INET6}, socket.gaierror, ""),
        ({"local_addr": ("b",)}, TypeError, "2-tuple"),
        ({"local_addr": "path"}, TypeError, "2-tuple"),
    ],
)
def test_endpoints_that_cannot_be(arguments, kind, text):
    async def main():
        s = Scene()
        with pytest.raises(kind, match=text or None):
            await s.open(s.pair.a, **arguments)
        assert s.pair.stacks[0].udp._open == 0

    asyncio.run(main())


@scene
async def test_a_socket_comes_alone_and_of_the_right_kind(s):
    with pytest.raises(ValueError, match="A datagram socket was expected"):
        await s.open(s.pair.a, sock=StackSocket(s.pair.a))
    made = StackSocket(s.pair.a, socket.SOCK_DGRAM)
    for modifier in ({"local_addr": ("", 1)}, {"reuse_port": True}, {"family": socket.AF_INET}):
        with pytest.raises(ValueError, match=f"can not be used when sock is specified.*{next(iter(modifier))}"):
            await s.open(s.pair.a, sock=made, **modifier)
    with pytest.raises(ValueError, match="datagram socket"):
        DatagramTransport(s.loop, StackSocket(s.pair.a), Recorder())


@scene
async def test_a_connected_socket_keeps_its_peer(s):
    _, heard = await s.server()
    made = StackSocket(s.pair.a, socket.SOCK_DGRAM)
    made.start_connect(SERVER)
    client, _ = await s.open(s.pair.a, sock=made)
    assert client.get_extra_info("peername") == SERVER
    client.sendto(b"x")
    client.sendto(b"y", SERVER)
    await s.settle()
    assert heard.data == [b"x", b"y"]


@scene
async def test_cancelled_before_it_was_made(s):
    task = asyncio.create_task(s.server())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await s.settle()
    assert s.pair.stacks[1].udp._open == 0


@scene
async def test_a_factory_that_raises_leaves_no_socket(s):
    def factory():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await s.server(factory=factory)
    assert s.pair.stacks[1].udp._open == 0


@scene
async def test_a_session_that_is_rung_schedules_one_handle(s):
    server, heard = await s.server()
    client, _ = await s.client()
    handles = []
    server._loop = SimpleNamespace(call_soon=lambda *arguments, context: handles.append(arguments))
    for _ in range(3):
        client.sendto(b"x")
        s.pair.run()
    assert handles == [(server._read_ready,)]
    server._read_ready()
    assert heard.data == [b"x"] * 3
    client.sendto(b"x")
    s.pair.run()
    assert len(handles) == 2
