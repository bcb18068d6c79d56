"""Any bytes: a summary is always made, readers of files give values or a located error, a control server survives."""

from __future__ import annotations

import io
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nodes.io.control import ControlError, ControlServer, Request
from nodes.io.control_protocol import LineBuffer, decode_line, encode_line
from nodes.io.reactor import Reactor
from nodes.trace.events import FrameDropped
from nodes.trace.files import TraceFileError
from nodes.trace.pcapng import PcapngWriter, read, read_items
from nodes.trace.sqlog import SqlogWriter
from nodes.trace.sqlog import read as read_sqlog
from nodes.wire import ethernet, icmp, ipv4
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, Ip4
from nodes.wire.summary import Summary, summarize

ETHERTYPES = st.sampled_from([0x0800, 0x0806, 0x8035, 0x8100, 0x88A8, 0x86DD, 38, 3, 0, 0xFFFF])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=8,
)


@contextmanager
def file_of(data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        yield path


def is_line(summary: Summary) -> bool:
    return all(isinstance(text, str) and "\n" not in text for text in summary)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_summary(data: bytes) -> None:
    assert is_line(summarize(data))
    assert is_line(summarize(data, link="ip"))
    assert is_line(summarize(memoryview(bytearray(data))))


@given(ETHERTYPES, st.binary(max_size=120))
def test_any_payload_has_a_summary(ethertype: int, payload: bytes) -> None:
    assert is_line(summarize(ethernet.build(BROADCAST_MAC, ZERO_MAC, ethertype, payload)))
    assert is_line(summarize(ethernet.build(BROADCAST_MAC, ZERO_MAC, ethertype, b"\x42\x42\x03" + payload)))


@given(
    st.sampled_from([1, 2, 6, 17, 89]),
    st.binary(max_size=80),
    st.integers(0, 255),
    st.integers(0, 255),
    st.data(),
)
def test_any_packet_has_a_summary(protocol: int, payload: bytes, kind: int, code: int, data: st.DataObject) -> None:
    packet = ipv4.build(Ip4(1), Ip4(2), protocol, payload, options=data.draw(st.binary(max_size=40)))
    error = ipv4.build(Ip4(2), Ip4(1), 1, icmp.build(kind, code, 0, packet))
    for whole in (packet, error):
        damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(0, 255))
        assert is_line(summarize(whole, link="ip"))
        assert is_line(summarize(damaged, link="ip"))


def capture() -> bytes:
    stream = io.BytesIO()
    writer = PcapngWriter(stream, comment="c")
    for name in ("a", "b"):
        number = writer.add_interface(name, "to x")
        writer.packet(number, 5, b"frame", True)
        writer.packet(number, 6, b"other", None, "why", 100, 2)
    writer.statistics(0, 1, 2)
    writer.close()
    return stream.getvalue()


CAPTURE = capture()


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_as_a_capture(data: bytes, headed: bool) -> None:
    with file_of(CAPTURE[: CAPTURE.index(b"\x01\0\0\0") if headed else 0] + data) as path:
        try:
            list(read_items(path))
        except TraceFileError as error:
            assert error.offset <= path.stat().st_size


@given(st.integers(0, len(CAPTURE) - 1), st.integers(0, 255))
def test_a_capture_with_one_wrong_octet(position: int, octet: int) -> None:
    with file_of(CAPTURE[:position] + bytes((octet,)) + CAPTURE[position + 1 :]) as path:
        try:
            list(read_items(path))
        except TraceFileError as error:
            assert error.offset <= len(CAPTURE)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63),
            st.binary(max_size=70),
            st.sampled_from([True, False, None]),
            st.none() | st.text(max_size=40),
            st.integers(0, 2**60),
        ),
        max_size=5,
    )
)
def test_frames_written_are_the_frames_read(frames: list[tuple[int, bytes, bool | None, str | None, int]]) -> None:
    stream = io.BytesIO()
    writer = PcapngWriter(stream)
    writer.add_interface("näme", "description")
    for wall_ns, frame, inbound, comment, dropped in frames:
        writer.packet(0, wall_ns, frame, inbound, comment, None, dropped)
    writer.close()
    with file_of(stream.getvalue()) as path:
        got = [(item.wall_ns, item.frame, item.inbound, item.comment, item.dropped) for item in read(path)]
    assert got == frames


@given(st.binary(max_size=200))
def test_any_bytes_as_a_trace(data: bytes) -> None:
    for content in (data, b"\x1e" + data, b"\x1e{}\n\x1e" + data):
        with file_of(content) as path:
            try:
                assert all(isinstance(record, dict) for record in read_sqlog(path))
            except TraceFileError as error:
                assert error.offset <= len(content)


@given(st.text(), st.text(), st.integers(), st.integers(-(2**60), 2**60))
def test_events_written_are_the_events_read(interface: str, reason: str, length: int, now: int) -> None:
    stream = io.BytesIO()
    trace = SqlogWriter(stream, node=interface, title=reason, start=0, wall_ns=1)
    trace(now, FrameDropped(interface, reason, length))
    trace.close()
    with file_of(stream.getvalue()) as path:
        header, event, _ = read_sqlog(path)
    assert header["title"] == reason
    assert event["data"] == {"interface": interface, "reason": reason, "length": length}
    assert event["time"] == float(Decimal(now) / 1_000_000)  # a float may not hold `now` itself


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_lines_written_are_the_lines_read(message: dict[str, object]) -> None:
    assert decode_line(encode_line(message)) == message


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_lines_do_not_depend_on_their_pieces(pieces: list[bytes]) -> None:
    lines, got = LineBuffer(), []
    for piece in pieces:
        lines.feed(piece)
        while (line := lines.next_line()) is not None:
            got.append(line)
    assert got == [line for line in b"".join(pieces).split(b"\n")[:-1] if line.strip()]


MESSAGES = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode() + b"\n"),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.integers(0, 3) | JSON,
            "method": st.sampled_from(["hello", "cancel", "wait", "echo", "odd"]) | JSON,
            "params": st.fixed_dictionaries({}, optional={"id": st.integers(0, 3) | JSON}) | JSON,
        },
    ).map(lambda value: json.dumps(value).encode() + b"\n"),
)


@given(st.booleans(), st.lists(MESSAGES, max_size=8))
def test_a_server_survives_any_peer(greeted: bool, messages: list[bytes]) -> None:
    """Every answer is a line of the protocol; at the end the connection and its requests are gone."""
    waiting: list[Request] = []

    def handle(request: Request) -> None:
        if request.method == "wait":
            waiting.append(request)
        elif request.method == "echo":
            request.result(request.params)
        else:
            raise ControlError("unknown-method", request.method)

    reactor, (here, there) = Reactor(), socket.socketpair()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("")  # an abstract address that the kernel chooses
    listening.listen()
    server = ControlServer(listening, reactor, handle, on_disconnect=lambda reason: reactor.stop())
    server.adopt(there)
    hello = b'{"id":0,"method":"hello","params":{"version":1}}\n' if greeted else b""
    with here, listening:
        here.sendall(hello + b"".join(messages))
        here.shutdown(socket.SHUT_WR)
        reactor.run()
        with here.makefile("rb") as stream:
            try:
                replies = [json.loads(line) for line in stream]
            except ConnectionResetError:  # closed before it had read everything
                replies = []
        server.close()
        reactor.close()
    assert all({"event", "result", "error"} & set(reply) for reply in replies)
    assert not server.connections
    assert all(request.done and request.cancelled for request in waiting)
