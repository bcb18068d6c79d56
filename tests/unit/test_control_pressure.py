"""A control server under pressure: slow readers, partial writes, file descriptors. One thread, the reactor in steps."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.contract import PROTOCOL_VERSION
from nodes.io.control import ControlClient, ControlServer, Request
from nodes.io.reactor import Reactor
from nodes.units import MILLISECOND

HELLO = b'{"id":0,"method":"hello","params":{"version":%d}}\n' % PROTOCOL_VERSION
BIG = 300_000


class Rig:
    """A server whose connection is one end of a socket pair; the test holds the other."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind("")
        listening.listen()
        self.listening = listening
        self.reasons: list[str] = []
        self.requests: list[Request] = []
        self.server = ControlServer(listening, self.reactor, self.handle, on_disconnect=self.reasons.append)
        self.server.adopt(self.there)
        self.received = b""

    def handle(self, request: Request) -> None:
        self.requests.append(request)
        if request.method == "big":
            request.result({"text": "x" * BIG})
        elif request.method == "big_file":
            request.result({"text": "x" * BIG}, fds=[0])
        else:
            request.result({})

    def step(self) -> None:
        """Let the server do what it can."""
        self.reactor.call_at(self.reactor.clock() + MILLISECOND, self.reactor.stop)
        self.reactor.run()

    def read(self) -> None:
        try:
            while data := self.here.recv(1 << 16):
                self.received += data
        except BlockingIOError:
            pass

    def watched(self) -> bool:
        return self.there.fileno() in self.reactor._readers

    def close(self) -> None:
        self.server.close()
        self.here.close()
        self.listening.close()
        self.reactor.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def lines(method: str, count: int) -> bytes:
    return b"".join(b'{"id":%d,"method":"%s"}\n' % (number, method.encode()) for number in range(1, count + 1))


def test_requests_that_were_read_already_wait_for_a_slow_reader(rig: Rig) -> None:
    rig.here.send(HELLO + lines("big", 10))
    rig.step()
    assert 0 < len(rig.requests) < 10
    assert rig.requests[-1].congested
    assert not rig.watched()
    while len(rig.requests) < 10:
        before = len(rig.received)
        rig.read()
        rig.step()
        assert len(rig.received) > before
    for _ in range(20):
        rig.read()
        rig.step()
    replies = [json.loads(line) for line in rig.received.splitlines()]
    assert [reply["id"] for reply in replies] == list(range(11))
    assert rig.watched()
    assert not rig.requests[-1].congested


def test_a_rejected_peer_that_does_not_read_is_not_polled(rig: Rig) -> None:
    rig.here.send(HELLO + lines("big", 1) + b"not json\n" + b"more")
    rig.step()
    assert not rig.watched()
    assert rig.reasons == []
    for _ in range(4):
        rig.read()
        rig.step()
    assert json.loads(rig.received.splitlines()[-1])["error"]["code"] == "bad-json"
    assert len(rig.reasons) == 1
    assert "bad-json" in rig.reasons[0]


def test_a_peer_that_goes_away_while_it_is_behind(rig: Rig) -> None:
    rig.here.send(HELLO + lines("big", 10))
    rig.step()
    rig.here.close()
    rig.step()
    assert len(rig.reasons) == 1
    assert not rig.server.connections


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_of_a_reply_that_is_sent_in_parts_arrive_once_and_are_closed_here(rig: Rig) -> None:
    before = descriptors()
    rig.here.send(HELLO + lines("big_file", 1))
    rig.step()
    rig.here.setblocking(True)
    data, fds, _, _ = socket.recv_fds(rig.here, 1 << 16, 16)
    rig.received += data
    while not fds:  # the line of hello came alone
        data, fds, _, _ = socket.recv_fds(rig.here, 1 << 16, 16)
        rig.received += data
    rig.here.setblocking(False)
    for _ in range(4):
        rig.read()
        rig.step()
    assert len(fds) == 1
    assert json.loads(rig.received.splitlines()[-1])["fds"] == 1
    assert rig.reasons == []
    os.close(fds[0])
    assert descriptors() == before


def test_descriptors_that_were_never_sent_are_closed(rig: Rig) -> None:
    before = descriptors()
    rig.here.send(HELLO + lines("big_file", 3))
    rig.step()
    rig.server.close()
    rig.here.close()
    assert descriptors() == before - 2


def test_descriptors_for_nobody_are_closed_by_the_client() -> None:
    here, there = socket.socketpair()
    before = descriptors()
    there.sendall(b'{"id":1,"result":{}}\n')
    client = ControlClient(here, timeout=5)
    client.stream("files").close()
    socket.send_fds(there, [b'{"id":2,"result":{},"fds":2}\n'], [0, 1])
    there.sendall(b'{"id":4,"result":{"ok":true}}\n')
    assert client.call("state", timeout=5) == ({"ok": True}, [])
    assert descriptors() == before
    socket.send_fds(there, [b'{"id":5,"resu'], [0])
    client.close()
    there.close()
    assert descriptors() == before - 2


def test_a_descriptor_that_cannot_be_passed_is_an_error_of_the_request() -> None:
    rig = Rig()
    rig.server.handler = lambda request: request.result({}, fds=[0, 99_999])
    before = descriptors()
    rig.here.send(HELLO + lines("files", 1))
    rig.step()
    rig.read()
    assert json.loads(rig.received.splitlines()[-1])["error"]["code"] == "EBADF"
    assert descriptors() == before
    rig.close()
