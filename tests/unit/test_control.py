"""The control protocol over socket pairs: a server in its reactor in one thread, blocking clients in another."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from nodes.contract import PROTOCOL_VERSION
from nodes.errors import UnreachableError
from nodes.io import control_server
from nodes.io.control import MAX_LINE, ControlClient, ControlError, ControlServer, Request
from nodes.io.control_protocol import LineBuffer, decode_line, encode_line
from nodes.io.reactor import Reactor

DEADLINE = 20.0


class Service:
    """Methods for the tests; remembers what it was asked."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.waiting: list[Request] = []
        self.cancelled: list[str] = []
        self.reasons: list[str] = []

    def handle(self, request: Request) -> None:
        getattr(self, f"do_{request.method}", self.unknown)(request)

    def unknown(self, request: Request) -> None:
        raise ControlError("unknown-method", f"no method {request.method}", "see docs/control-protocol.md")

    def do_echo(self, request: Request) -> None:
        request.result(request.params)

    def do_count(self, request: Request) -> None:
        for number in range(int(str(request.params["to"]))):
            request.event({"number": number})
        request.result({"done": True})
        request.event({"too": "late"})
        request.result({"done": "twice"})

    def do_refuse(self, request: Request) -> None:
        raise UnreachableError("no route to 10.9.0.1", hint="add a route")

    def do_files(self, request: Request) -> None:
        reader, writer = os.pipe()
        os.write(writer, b"through a pipe")
        request.result({"kind": "pipe"}, fds=[reader])
        os.close(reader)
        os.close(writer)

    def do_wait(self, request: Request) -> None:
        request.on_cancel = lambda: self.cancelled.append(request.method)
        self.waiting.append(request)
        request.event({"waiting": True})

    def do_partial(self, request: Request) -> None:
        request.on_cancel = lambda: request.result({"received": 2})
        request.event({"waiting": True})

    def do_finish(self, request: Request) -> None:
        for waiting in self.waiting:
            waiting.result({"finished": True})
        request.result({"cancelled": [waiting.cancelled for waiting in self.waiting]})

    def do_huge(self, request: Request) -> None:
        request.result({"text": "x" * MAX_LINE})

    def do_flood(self, request: Request) -> None:
        while not request.cancelled:
            request.event({"text": "x" * 60_000})


@contextmanager
def serving() -> Iterator[tuple[Service, Callable[[], socket.socket]]]:
    """A service in its thread, and a function that opens a connection to it."""
    service = Service()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("")  # an abstract address that the kernel chooses
    listening.listen()
    server = ControlServer(listening, service.reactor, service.handle, name="h1", on_disconnect=service.reasons.append)
    stop_reader, stop_writer = socket.socketpair()
    service.reactor.add(stop_reader.fileno(), service.reactor.stop)
    thread = threading.Thread(target=service.reactor.run)
    thread.start()

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(DEADLINE)
        connection.connect(listening.getsockname())
        return connection

    try:
        yield service, connect
    finally:
        stop_writer.close()
        thread.join(DEADLINE)
        server.close()
        service.reactor.close()
        stop_reader.close()
        listening.close()


@pytest.fixture
def served() -> Iterator[tuple[Service, Callable[[], socket.socket]]]:
    with serving() as pair:
        yield pair


@pytest.fixture
def client(served: tuple[Service, Callable[[], socket.socket]]) -> Iterator[ControlClient]:
    with ControlClient(served[1](), timeout=DEADLINE) as client:
        yield client


def ask_raw(connection: socket.socket, *lines: bytes) -> list[dict[str, object]]:
    """Send lines as they are, return the replies until the server closes."""
    replies = []
    with connection, connection.makefile("rb") as stream:
        # A server that closes before it has read everything resets the connection, behind its replies.
        with suppress(ConnectionError):
            connection.sendall(b"".join(lines))
        with suppress(ConnectionError):
            while line := stream.readline():
                replies.append(json.loads(line))
    return replies


HELLO = b'{"id":1,"method":"hello","params":{"version":%d}}\n' % PROTOCOL_VERSION


def test_hello_tells_version_and_name(client: ControlClient) -> None:
    assert client.server == {"version": PROTOCOL_VERSION, "name": "h1"}


def test_call(client: ControlClient) -> None:
    assert client.call("echo", {"text": "grüße", "list": [1, None]}, DEADLINE) == (
        {"text": "grüße", "list": [1, None]},
        [],
    )


def test_events_then_one_result_and_nothing_after_it(client: ControlClient) -> None:
    stream = client.stream("count", {"to": 3}, DEADLINE)
    assert [event["number"] for event in stream] == [0, 1, 2]
    assert stream.result == {"done": True}
    assert client.call("echo", {"still": "in step"}, DEADLINE)[0] == {"still": "in step"}


def test_a_call_in_the_middle_of_a_stream(client: ControlClient) -> None:
    stream = client.stream("count", {"to": 100}, DEADLINE)
    assert next(stream) == {"number": 0}
    assert client.call("echo", {"a": 1}, DEADLINE)[0] == {"a": 1}
    assert len(list(stream)) == 99


def test_result_is_the_value_of_the_end(client: ControlClient) -> None:
    stream = client.stream("echo", {"a": 1}, DEADLINE)
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == {"a": 1}


def test_errors_of_a_method_keep_code_message_and_hint(client: ControlClient) -> None:
    with pytest.raises(ControlError, match="no method fly") as caught:
        client.call("fly", timeout=DEADLINE)
    assert (caught.value.code, caught.value.hint) == ("unknown-method", "see docs/control-protocol.md")


def test_errors_of_the_stack_have_the_name_of_their_errno(client: ControlClient) -> None:
    with pytest.raises(ControlError) as caught:
        client.call("refuse", timeout=DEADLINE)
    error = caught.value
    assert (error.code, error.message, error.hint) == ("EHOSTUNREACH", "no route to 10.9.0.1", "add a route")


def test_file_descriptors_come_with_their_reply(client: ControlClient) -> None:
    result, fds = client.call("files", timeout=DEADLINE)
    assert result == {"kind": "pipe"}
    assert len(fds) == 1
    assert not os.get_inheritable(fds[0])
    with os.fdopen(fds[0], "rb") as stream:
        assert stream.read() == b"through a pipe"


def test_descriptors_of_several_replies_keep_their_order(client: ControlClient) -> None:
    streams = [client.stream(method, {}, DEADLINE) for method in ("echo", "files", "echo", "files")]
    for stream in reversed(streams):
        list(stream)
    assert [len(stream.fds) for stream in streams] == [0, 1, 0, 1]
    for stream in streams:
        for fd in stream.fds:
            assert os.read(fd, 100) == b"through a pipe"
            os.close(fd)


def test_cancel_ends_a_request_with_an_error(
    served: tuple[Service, Callable[[], socket.socket]], client: ControlClient
) -> None:
    stream = client.stream("wait", {}, DEADLINE)
    assert next(stream) == {"waiting": True}
    stream.cancel()
    with pytest.raises(ControlError, match="wait was cancelled"):
        next(stream)
    assert served[0].cancelled == ["wait"]
    assert client.call("finish", timeout=DEADLINE)[0] == {"cancelled": [True]}


def test_a_cancelled_method_may_still_give_its_result(client: ControlClient) -> None:
    stream = client.stream("partial", {}, DEADLINE)
    next(stream)
    stream.cancel()
    assert list(stream) == []
    assert stream.result == {"received": 2}


def test_a_stream_that_is_given_up_is_cancelled_and_forgotten(
    served: tuple[Service, Callable[[], socket.socket]], client: ControlClient
) -> None:
    stream = client.stream("wait", {}, DEADLINE)
    next(stream)
    stream.close()
    assert client.call("finish", timeout=DEADLINE)[0] == {"cancelled": [True]}
    assert served[0].cancelled == ["wait"]


def test_timeout_gives_the_request_up(client: ControlClient) -> None:
    with pytest.raises(ControlError) as caught:
        client.call("wait", timeout=0.01)
    assert caught.value.code == "timeout"
    assert client.call("finish", timeout=DEADLINE)[0] == {"cancelled": [True]}


def test_requests_of_a_peer_that_goes_away_are_cancelled(served: tuple[Service, Callable[[], socket.socket]]) -> None:
    service, connect = served
    with ControlClient(connect(), timeout=DEADLINE) as client:
        next(client.stream("wait", {}, DEADLINE))
    with ControlClient(connect(), timeout=DEADLINE) as other:
        assert other.call("finish", timeout=DEADLINE)[0] == {"cancelled": [True]}
    assert service.reasons[0] == "the peer closed the connection"


def test_a_server_that_goes_away_is_reported() -> None:
    with serving() as (_, connect):
        client = ControlClient(connect(), timeout=DEADLINE)
    with pytest.raises(ControlError) as caught:
        client.call("echo", {}, DEADLINE)
    assert caught.value.code == "closed"
    client.close()


def test_another_version_is_refused(served: tuple[Service, Callable[[], socket.socket]]) -> None:
    replies = ask_raw(
        served[1](), b'{"id":1,"method":"hello","params":{"version":999}}\n', b'{"id":2,"method":"echo"}\n'
    )
    assert [reply["error"]["code"] for reply in replies] == ["version"]
    assert "999" in replies[0]["error"]["message"]


def test_hello_must_be_first(served: tuple[Service, Callable[[], socket.socket]]) -> None:
    replies = ask_raw(served[1](), b'{"id":4,"method":"echo","params":{}}\n')
    assert [(reply["id"], reply["error"]["code"]) for reply in replies] == [(4, "version")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{not json}\n", "bad-json"),
        (b"[1, 2]\n", "bad-json"),
        (b"\xff\xfe\n", "bad-json"),
        (b"[" * 100_000 + b"\n", "bad-json"),
        (b'{"method":"echo"}\n', "bad-request"),
        (b'{"id":"x","method":"echo"}\n', "bad-request"),
        (b'{"id":true,"method":"echo"}\n', "bad-request"),
        (b'{"id":9}\n', "bad-request"),
        (b'{"id":9,"method":"echo","params":[]}\n', "bad-request"),
        (b'{"id":9,"method":"echo","surprise":1}\n', "bad-request"),
        (b'{"id":9,"method":"wait"}\n{"id":9,"method":"echo"}\n', "too-many"),
        (b"x" * (MAX_LINE + 1) + b"\n", "too-long"),
        (b"x" * (MAX_LINE + 1), "too-long"),
    ],
)
def test_what_is_no_request_is_answered_then_closed(
    served: tuple[Service, Callable[[], socket.socket]], line: bytes, code: str
) -> None:
    replies = ask_raw(served[1](), HELLO, line)
    errors = [reply["error"]["code"] for reply in replies if "error" in reply and reply["error"]["code"] != "cancelled"]
    assert errors == [code]


def test_empty_lines_are_skipped_and_lines_may_come_in_pieces(
    served: tuple[Service, Callable[[], socket.socket]],
) -> None:
    connection = served[1]()
    for octet in b"\n\n" + HELLO + b'\n{"id":2,"method":"echo"}\n':
        connection.sendall(bytes((octet,)))
    with connection, connection.makefile("rb") as stream:
        assert json.loads(stream.readline())["id"] == 1
        assert json.loads(stream.readline()) == {"id": 2, "result": {}}


def test_a_result_that_is_too_long_is_an_error(client: ControlClient) -> None:
    with pytest.raises(ControlError) as caught:
        client.call("huge", timeout=DEADLINE)
    assert caught.value.code == "too-long"
    assert client.call("echo", {}, DEADLINE)[0] == {}


def test_a_reader_that_is_stuck_is_dropped_with_a_reason(served: tuple[Service, Callable[[], socket.socket]]) -> None:
    service, connect = served
    with connect() as stuck, ControlClient(connect(), timeout=DEADLINE) as other:
        stuck.sendall(HELLO + b'{"id":2,"method":"flood"}\n')
        with stuck.makefile("rb") as stream:
            while stream.readline():  # what the kernel already had, then the end
                other.call("echo", {}, DEADLINE)
                if service.reasons:
                    break
        assert "the peer does not read" in service.reasons[0]
        assert other.call("echo", {"alive": True}, DEADLINE)[0] == {"alive": True}


def test_requests_of_a_slow_reader_wait_and_all_are_answered(
    served: tuple[Service, Callable[[], socket.socket]],
) -> None:
    """Back-pressure: more replies than may wait, to a reader that starts when the server takes no more requests."""
    text = "y" * 50_000
    count = 4 * control_server.MAX_WAITING // len(text)
    lines = [encode_line({"id": number, "method": "echo", "params": {"t": text}}) for number in range(2, count + 2)]
    requests = memoryview(HELLO + b"".join(lines))
    sent = 0
    with served[1]() as connection:
        while select.select([], [connection], [], 0.1)[1]:
            sent += connection.send(requests[sent : sent + 4096])
        assert sent < control_server.MAX_WAITING
        thread = threading.Thread(target=connection.sendall, args=(requests[sent:],))
        thread.start()
        with connection.makefile("rb") as stream:
            assert [json.loads(stream.readline())["id"] for _ in range(count + 1)] == list(range(1, count + 2))
        thread.join(DEADLINE)
        assert served[0].reasons == []


def test_too_many_connections_are_turned_away(
    served: tuple[Service, Callable[[], socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_server, "MAX_CONNECTIONS", 1)
    with ControlClient(served[1](), timeout=DEADLINE) as first:
        with pytest.raises(ControlError) as caught:
            ControlClient(served[1](), timeout=DEADLINE)
        assert caught.value.code == "closed"
        assert first.call("echo", {}, DEADLINE)[0] == {}


def test_line_buffer_finds_lines_across_pieces() -> None:
    lines = LineBuffer()
    lines.feed(b'{"a":')
    assert lines.next_line() is None
    lines.feed(b'1}\n{"b":2}\n{"c"')
    assert [lines.next_line(), lines.next_line(), lines.next_line()] == [b'{"a":1}', b'{"b":2}', None]


def test_encode_and_decode_are_inverse() -> None:
    assert decode_line(encode_line({"a": [1, "ü\n"]})) == {"a": [1, "ü\n"]}
    assert encode_line({"a": "x\ny"}).count(b"\n") == 1
