"""Streams: the transport in every detail that programs of asyncio rely on."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from nodes.session.socket import StackSocket
from nodes.session.stream import StreamTransport
from nodes.units import MILLISECOND, SECOND
from tests.unit.session_world import PairWorld

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: close resets."""


class Told(asyncio.Protocol):
    """Keeps what it is told. `keep_open` is what `eof_received` returns."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.told: list[Any] = []
        self.data = b""
        self.keep_open = keep_open
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        if not self.data:
            self.told.append("data")
        self.data += data

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", exc))


class Into(asyncio.BufferedProtocol):
    """Takes octets into a buffer of its own."""

    def __init__(self, size: int = 100) -> None:
        self.buffer = bytearray(size)
        self.data = b""
        self.told: list[Any] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", exc))


class Connected:
    """A connection from a protocol in `a` to one in `b`."""

    def __init__(self, world: PairWorld, near: Any, far: Any) -> None:
        self.world = world
        self.near, self.far = near, far
        self.accepted: list[Any] = []

        def made() -> Any:
            self.accepted.append(far)
            return far

        self.server = world.outcome(world.b, world.loop.create_server(made, "0.0.0.0", 80))
        self.transport, _ = world.outcome(world.a, world.loop.create_connection(lambda: near, "10.0.0.2", 80))
        self.settle()

    def settle(self, duration: int = 500 * MILLISECOND) -> None:
        self.world.settle(duration)

    def reset_from_far(self) -> None:
        self.far.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.far.transport.abort()
        self.settle()

    def close(self) -> None:
        self.server.close()
        for each in (self.near, self.far):
            if each.transport is not None:
                each.transport.abort()
        self.settle()


@pytest.fixture
def world() -> Iterator[PairWorld]:
    world = PairWorld(send_buffer=200_000, receive_buffer=200_000)
    yield world
    world.close()


@pytest.fixture
def pair(world: PairWorld) -> Iterator[Connected]:
    connected = Connected(world, Told(), Told())
    yield connected
    connected.close()


def open_pair(world: PairWorld, near: Any, far: Any) -> Connected:
    return Connected(world, near, far)


# ---------------------------------------------------------------------------------------------------------- in general


def test_a_connection(pair: Connected) -> None:
    pair.transport.write(b"hello")
    pair.settle()
    assert pair.far.told == ["made", "data"]
    assert pair.far.data == b"hello"
    pair.transport.close()
    pair.settle()
    assert pair.far.told == ["made", "data", "eof", ("lost", None)]
    assert pair.near.told == ["made", ("lost", None)]


def test_data_that_came_with_the_handshake_follows_connection_made(world: PairWorld) -> None:
    """The client writes in connection_made; the server's protocol hears of itself first."""

    class Eager(Told):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"at once")

    pair = open_pair(world, Eager(), Told())
    assert pair.far.told == ["made", "data"]
    pair.close()


def test_extra_info(pair: Connected) -> None:
    ask = pair.transport.get_extra_info
    assert ask("peername") == ("10.0.0.2", 80)
    assert ask("sockname")[0] == "10.0.0.1"
    assert pair.far.transport.get_extra_info("peername") == ask("sockname")
    assert ask("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert ask("socket").family == socket.AF_INET
    assert ask("tcp_info")["state"] == "established"
    assert ask("sslcontext") is None
    assert ask("unknown", 7) == 7


def test_a_transport_says_what_it_is(pair: Connected) -> None:
    text = repr(pair.transport)
    assert "tcp of a" in text
    assert "('10.0.0.2', 80)" in text
    assert isinstance(pair.transport, asyncio.Transport)
    assert pair.transport.can_write_eof()
    pair.transport.close()
    pair.settle()
    assert "closed" in repr(pair.transport)


def test_transports_are_hashed_in_order(pair: Connected) -> None:
    assert hash(pair.transport) == pair.transport._number
    assert pair.transport == pair.transport
    assert pair.transport != pair.far.transport


def test_a_megabyte_both_ways(world: PairWorld) -> None:
    data = bytes(range(256)) * 4000
    pair = open_pair(world, Told(), Told())
    pair.transport.write(data)
    pair.far.transport.write(data)
    pair.settle(5 * SECOND)
    assert pair.far.data == data
    assert pair.near.data == data
    assert sorted(pair.near.told) == ["data", "made", "pause", "resume"]
    pair.close()


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_kinds_of_data(pair: Connected, kind: Any) -> None:
    pair.transport.write(kind(b"octets"))
    pair.transport.writelines([kind(b"1"), kind(b"2")])
    pair.transport.write(b"")
    pair.settle()
    assert pair.far.data == b"octets12"


@pytest.mark.parametrize("data", ["text", None, 7, [1]])
def test_no_data(pair: Connected, data: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        pair.transport.write(data)


def test_wide_elements_are_octets(pair: Connected) -> None:
    pair.transport.write(memoryview(struct.pack("4I", 1, 2, 3, 4)).cast("I"))
    pair.settle()
    assert len(pair.far.data) == 16


def test_a_writer_is_paused_and_resumed(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Told())
    pair.far.transport.pause_reading()
    pair.transport.write(bytes(2_000_000))
    assert pair.near.told == ["made", "pause"]
    pair.settle(10 * SECOND)
    assert pair.near.told == ["made", "pause"]
    assert pair.transport.get_write_buffer_size() > 1_000_000
    pair.far.transport.resume_reading()
    pair.settle(10 * SECOND)
    assert pair.near.told == ["made", "pause", "resume"]
    assert len(pair.far.data) == 2_000_000
    assert pair.transport.get_write_buffer_size() == 0
    pair.close()


def test_water_marks(pair: Connected) -> None:
    pair.transport.set_write_buffer_limits(high=5, low=1)
    assert pair.transport.get_write_buffer_limits() == (1, 5)


def test_a_reader_that_pauses_for_ever_and_closes(world: PairWorld) -> None:
    """What it did not read is lost, and the peer hears of it: a reset, as from a kernel."""
    pair = open_pair(world, Told(), Told())
    pair.far.transport.pause_reading()
    pair.transport.write(bytes(2_000_000))
    pair.settle(10 * SECOND)
    pair.far.transport.close()
    pair.settle(10 * SECOND)
    assert pair.far.told == ["made", ("lost", None)]
    lost = pair.near.told[-1]
    assert lost[0] == "lost"
    assert isinstance(lost[1], ConnectionResetError)
    pair.close()


def test_write_after_the_end_is_told_in_the_log(pair: Connected, caplog: pytest.LogCaptureFixture) -> None:
    pair.reset_from_far()
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        for _ in range(10):
            pair.transport.write(b"to nobody")
    assert [record.message for record in caplog.records].count("socket.send() raised exception.") > 0
    pair.settle()
    assert [word for word in pair.near.told if word[0] == "lost"] == [pair.near.told[-1]]


def test_close_sends_what_is_buffered(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Told())
    pair.transport.write(bytes(1_000_000))
    pair.transport.close()
    assert pair.transport.is_closing()
    assert not pair.transport.is_reading()
    pair.settle(10 * SECOND)
    assert len(pair.far.data) == 1_000_000
    assert pair.near.told[-1] == ("lost", None)
    pair.close()


def test_write_eof(pair: Connected) -> None:
    pair.far.keep_open = True
    pair.transport.write(b"question")
    pair.transport.write_eof()
    pair.transport.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        pair.transport.write(b"more")
    pair.settle()
    assert pair.far.told == ["made", "data", "eof"]
    pair.far.transport.write(b"answer")
    pair.settle()
    assert pair.near.data == b"answer"
    pair.far.transport.close()
    pair.settle()
    assert pair.near.told == ["made", "data", "eof", ("lost", None)]


def test_write_eof_follows_what_is_buffered(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Told(keep_open=True))
    pair.transport.write(bytes(1_000_000))
    pair.transport.write_eof()
    pair.settle(10 * SECOND)
    assert len(pair.far.data) == 1_000_000
    assert pair.far.told == ["made", "data", "eof"]
    pair.close()


# ------------------------------------------------------------------------------------------------------------- reading


def test_pause_reading(pair: Connected) -> None:
    pair.far.transport.pause_reading()
    pair.far.transport.pause_reading()
    assert not pair.far.transport.is_reading()
    pair.transport.write(b"later")
    pair.settle()
    assert pair.far.data == b""
    pair.far.transport.resume_reading()
    pair.far.transport.resume_reading()
    pair.settle()
    assert pair.far.data == b"later"


def test_what_is_read_opens_the_window_at_once(world: PairWorld) -> None:
    """The writer has found it closed for long: its next probe is seconds away."""
    pair = open_pair(world, Told(), Told())
    pair.far.transport.pause_reading()
    pair.transport.write(bytes(2_000_000))
    pair.settle(20 * SECOND)
    touched: list[int] = []
    world.b.touched = lambda: touched.append(world.now())
    pair.far.transport.resume_reading()
    begin = world.now()
    pair.settle(100 * MILLISECOND)
    assert touched[0] == begin  # the driver sends the window that it opened
    assert len(pair.far.data) == 2_000_000
    pair.close()


def test_the_end_is_told_to_a_protocol_that_came_later(world: PairWorld) -> None:
    """As with asyncio: to one that was set while nothing was read."""
    pair = open_pair(world, Told(), Told(keep_open=True))
    pair.transport.write_eof()
    pair.settle()
    assert pair.far.told == ["made", "eof"]
    later = Told()
    pair.far.transport.pause_reading()
    pair.far.transport.set_protocol(later)
    pair.far.transport.resume_reading()
    pair.settle()
    assert later.told == ["eof", ("lost", None)]
    pair.close()


def test_pause_reading_in_connection_made(world: PairWorld) -> None:
    class Shy(Told):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    pair = open_pair(world, Told(), Shy())
    pair.transport.write(b"later")
    pair.settle()
    assert pair.far.data == b""
    pair.far.transport.resume_reading()
    pair.settle()
    assert pair.far.data == b"later"
    pair.close()


def test_pause_reading_between_two_reads(world: PairWorld) -> None:
    """It is paused from the first data on: the rest waits in TCP."""

    class Sated(Told):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    pair = open_pair(world, Told(), Sated())
    pair.far.transport.pause_reading()
    pair.transport.write(bytes(1_000_000))
    pair.settle(SECOND)
    pair.far.transport.resume_reading()
    pair.settle(SECOND)
    assert 0 < len(pair.far.data) <= 256 * 1024
    pair.close()


def test_the_end_while_paused(pair: Connected) -> None:
    pair.far.transport.pause_reading()
    pair.transport.write(b"last words")
    pair.transport.close()
    pair.settle()
    assert pair.far.told == ["made"]
    pair.far.transport.resume_reading()
    pair.settle()
    assert pair.far.told == ["made", "data", "eof", ("lost", None)]


def test_a_buffered_protocol(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Into(100))
    pair.transport.write(bytes(range(250)))
    pair.settle()
    assert pair.far.data == bytes(range(250))
    pair.transport.write_eof()
    pair.settle()
    assert pair.far.told == ["eof", ("lost", None)]
    pair.close()


def test_another_protocol(pair: Connected) -> None:
    other = Told()
    pair.far.transport.set_protocol(other)
    assert pair.far.transport.get_protocol() is other
    pair.transport.write(b"to the other")
    pair.settle()
    assert other.data == b"to the other"
    assert pair.far.data == b""
    into = Into()
    pair.far.transport.set_protocol(into)
    pair.transport.write(b"to the third")
    pair.settle()
    assert into.data == b"to the third"


# ------------------------------------------------------------------------------------------------------------- the end


def test_a_reset(pair: Connected) -> None:
    pair.reset_from_far()
    error = pair.near.told[-1][1]
    assert isinstance(error, ConnectionResetError)
    assert error.errno == errno.ECONNRESET
    assert pair.near.told == ["made", ("lost", error)]
    assert pair.far.told == ["made", ("lost", None)]


def test_data_before_a_reset_is_read(pair: Connected) -> None:
    pair.near.transport.pause_reading()
    pair.far.transport.write(b"before")
    pair.settle()
    pair.reset_from_far()
    assert pair.near.told == ["made"]
    pair.near.transport.resume_reading()
    pair.settle()
    assert pair.near.told[:2] == ["made", "data"]
    assert isinstance(pair.near.told[2][1], ConnectionResetError)


def test_abort_gives_up_what_is_buffered_here(world: PairWorld) -> None:
    """What TCP has taken still arrives, and then FIN: as from a kernel."""
    pair = open_pair(world, Told(), Told())
    pair.transport.write(bytes(2_000_000))
    left = pair.transport.get_write_buffer_size()
    assert left
    pair.transport.abort()
    pair.transport.abort()
    assert pair.transport.get_write_buffer_size() == 0
    pair.settle(10 * SECOND)
    assert len(pair.far.data) == 2_000_000 - left
    assert pair.far.told[-1] == ("lost", None)
    assert pair.near.told == ["made", "pause", ("lost", None)]
    pair.close()


def test_close_and_abort_end_once(pair: Connected) -> None:
    pair.transport.close()
    pair.transport.abort()
    pair.transport.close()
    pair.settle()
    pair.transport.abort()
    pair.settle()
    assert pair.near.told == ["made", ("lost", None)]


def test_nobody_answers_any_more(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Told())
    pair.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
    world.pair.cut = True
    pair.transport.write(b"is anybody there?")
    pair.settle(30 * SECOND)
    error = pair.near.told[-1][1]
    assert isinstance(error, TimeoutError)
    assert error.errno == errno.ETIMEDOUT
    pair.close()


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_a_protocol_that_raises(world: PairWorld, method: str) -> None:
    told: list[dict[str, Any]] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context))

    def fail(*arguments: Any) -> None:
        raise RuntimeError("of the protocol")

    far = Told()
    setattr(far, method, fail)
    pair = open_pair(world, Told(), far)
    pair.transport.write(b"data")
    pair.transport.write_eof()
    pair.settle()
    assert [context["message"] for context in told] == [f"Fatal error: protocol.{method}() call failed."]
    assert told[0]["transport"] is far.transport
    assert [str(word[1]) for word in far.told if word[0] == "lost"] == ["of the protocol"]
    pair.close()


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_a_buffered_protocol_that_raises(world: PairWorld, method: str) -> None:
    told: list[dict[str, Any]] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context))

    def fail(*arguments: Any) -> None:
        raise RuntimeError("of the protocol")

    far = Into()
    setattr(far, method, fail)
    pair = open_pair(world, Told(), far)
    pair.transport.write(b"data")
    pair.settle()
    assert [context["message"] for context in told] == [f"Fatal error: protocol.{method}() call failed."]
    pair.close()


def test_an_empty_buffer(world: PairWorld) -> None:
    told: list[dict[str, Any]] = []
    world.loop.set_exception_handler(lambda loop, context: told.append(context))
    pair = open_pair(world, Told(), Into(0))
    pair.transport.write(b"data")
    pair.settle()
    assert str(told[0]["exception"]) == "get_buffer() returned an empty buffer"
    pair.close()


def test_a_transport_that_is_forgotten(world: PairWorld) -> None:
    """As long as it is open the stack knows it; a node that crashed has none to warn of."""
    pair = open_pair(world, Told(), Told())
    transport = pair.transport
    transport._endpoint.owner = None
    pair.near.transport = pair.transport = None
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    far = pair.far.transport
    world.b.alive = False
    far._endpoint.owner = None
    pair.far.transport = None
    del far
    gc.collect()
    pair.close()


def test_orphans_are_closed_in_the_next_turn_in_the_order_of_their_numbers(world: PairWorld) -> None:
    """Finalizers run in any thread, and in the middle of anything."""
    closed: list[int] = []
    for number in (3, 1, 2):
        thread = threading.Thread(target=world.loop.orphan, args=(number, partial(closed.append, number)))
        thread.start()
        thread.join()
    assert not closed
    assert world.loop.deadline() == world.now()
    world.loop.turn()
    assert closed == [1, 2, 3]


def test_only_streams(world: PairWorld) -> None:
    sock = StackSocket(world.a, socket.SOCK_DGRAM)
    with pytest.raises(ValueError, match="Stream Socket"):
        StreamTransport(world.loop, sock, Told())
    sock.close()


# ------------------------------------------------------------------------------------------------- asyncio's streams


def test_streams(world: PairWorld) -> None:
    """drain, readuntil, readexactly, eof, all over one connection."""
    seen: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        seen.append(await reader.readexactly(1_000_000))
        seen.append(await reader.read())
        writer.write(b"all of it")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client() -> bytes:
        reader, writer = await asyncio.open_connection("Web", 80)
        writer.write(b"line\n")
        for _ in range(100):
            writer.write(bytes(10_000))
            await writer.drain()
        writer.write(b"end")
        writer.write_eof()
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    server = world.outcome(world.b, asyncio.start_server(handle, "0.0.0.0", 80))
    assert world.outcome(world.a, client()) == b"all of it"
    assert seen == [b"line\n", bytes(1_000_000), b"end"]
    server.close()


def test_cancelling_a_read(world: PairWorld) -> None:
    async def client() -> str:
        reader, writer = await asyncio.open_connection("Web", 80)
        try:
            async with asyncio.timeout(5):
                await reader.read(1)
        except TimeoutError:
            return f"gave up after {asyncio.get_running_loop().time():.3f}"
        finally:
            writer.close()
            await writer.wait_closed()
        return "read"

    server = world.outcome(world.b, world.loop.create_server(Told, "0.0.0.0", 80))
    assert world.outcome(world.a, client()).startswith("gave up after 5.0")
    server.close()
    world.settle(SECOND)


def test_cancelling_a_drain(world: PairWorld) -> None:
    pair = open_pair(world, Told(), Told())
    held: list[Any] = []

    async def client() -> None:
        _, writer = await asyncio.open_connection("Web", 80)
        try:
            writer.write(bytes(3_000_000))
            async with asyncio.timeout(5):
                await writer.drain()
        finally:
            writer.transport.abort()

    pair.far.connection_made = held.append
    pair.far.data_received = lambda data: held[0].pause_reading()
    with pytest.raises(TimeoutError):
        world.outcome(world.a, client())
    held[0].abort()
    pair.close()
