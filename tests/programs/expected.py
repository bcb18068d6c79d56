"""The cases: a server and a client of a program with their arguments, and what the client must find."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from tests.programs import asgi, http, mail, names, ssh, streams


class Call(NamedTuple):
    """A coroutine function, and its arguments after address and port."""

    function: Callable[..., Coroutine[Any, Any, Any]]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Case:
    """`own` and `peer`, which some clients tell, are checked against the addresses of the nodes."""

    name: str
    server: Call
    client: Call
    expected: dict[str, Any]
    small: int
    """Octets of bodies and files where a tenth of the usual is enough."""

    def with_less(self) -> Case:
        """The same, with small bodies and files."""
        function, arguments = self.client
        return replace(self, client=Call(function, (*arguments, self.small))) if self.small else self

    def pair(self, folder: str) -> tuple[Call, Call]:
        """Server and client; what they need of files is in the folder."""
        if self.server.function is ssh.server:
            private, public = ssh_key()
            return Call(ssh.server, (public, folder)), Call(self.client.function, (private, *self.client.arguments))
        return self.server, self.client

    def check(self, found: dict[str, Any], client_address: str, server_address: str, port: int) -> None:
        """Compares what the client has found with what it must find; the addresses are those of the two nodes."""
        found = dict(found)
        if "peer" in found:
            assert found.pop("peer")[0] == client_address
        if "own" in found:
            assert found.pop("own") == [server_address, port]
        assert found == self.expected


@cache
def ssh_key() -> tuple[str, str]:
    return ssh.make_key()


HTTP = {
    "kept alive": True,
    "body": True,
    "chunked": True,
    "upload": True,
    "chunked upload": True,
    "echo": True,
    "not found": 404,
    "many at once": 30,
    "websocket": {"text": "hello", "large": True, "in order": True, "close": (True, 4000, "as you wish")},
    "timeout": True,
    "refused": "ConnectionRefusedError",
}
SSH = {
    "echo": (0, "Hello, world\n"),
    "unknown command": (3, "make: no such command\n"),
    "input": True,
    "input and output": True,
    "at once": [0] * 5,
    "file": True,
    "size": True,
    "tail": True,
    "list": [".", "..", "file"],
    "renamed": True,
    "refused key": "PermissionDenied",
}
MAIL = {"clear": [True, True], "TLS": [True, True], "unknown": 550, "too large": 552, "at once": 10}
NAMES = {
    "A": ["192.0.2.1", "192.0.2.2"],
    "CNAME": ["192.0.2.1", "192.0.2.2"],
    "MX": ["10 mail.test."],
    "PTR": ["www.test."],
    "over TCP": names.LONG,
    "asked again": (["192.0.2.3"], True),
    "no such name": "NXDOMAIN",
    "no such record": "NoAnswer",
    "nobody there": "LifetimeTimeout",
    "at once": 50,
    "one by UDP": 2,
}
ASGI = {
    "hello": ("one", "two"),
    "kept alive": True,
    "stream": True,
    "upload": True,
    "background": (202, 0, 1),
    "lifespan": 2,
    "thread": "True",
    "file": True,
    "broken": 500,
    "websocket": {"answers": [True, True], "subprotocol": "chat", "latency": True, "close": (4001, "bye")},
}
TLS = "TLSv1.3"
STREAMS = {"echo": True, "abort": "ConnectionResetError"}
UPGRADED = (True, TLS)

CASES = [
    Case("streams", Call(streams.server), Call(streams.client, (False,)), {**STREAMS, "upgrade": UPGRADED}, 100_000),
    Case("streams over TLS", Call(streams.server, (True,)), Call(streams.client, (True,)), STREAMS, 100_000),
    Case("aiohttp", Call(http.server), Call(http.client, (False,)), {**HTTP, "tls": None}, 1_000_000),
    Case("aiohttp over TLS", Call(http.server, (True,)), Call(http.client, (True,)), {**HTTP, "tls": TLS}, 1_000_000),
    Case("asyncssh", Call(ssh.server), Call(ssh.client), SSH, 300_000),
    Case("aiosmtpd and aiosmtplib", Call(mail.server), Call(mail.client), MAIL, 100_000),
    Case("dnspython", Call(names.server), Call(names.client), NAMES, 0),
    Case("uvicorn (httptools) and Starlette", Call(asgi.server), Call(asgi.client), ASGI, 500_000),
    Case("uvicorn (h11) and Starlette", Call(asgi.server, ("h11",)), Call(asgi.client), ASGI, 500_000),
]
