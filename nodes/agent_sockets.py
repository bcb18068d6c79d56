"""Sockets of the node that somebody outside drives, over the agent's control socket.

A `receive` waits: for a datagram, for an error that the network reported, or for its timeout. One may wait per socket.
"""

from __future__ import annotations

import base64
import errno
from collections.abc import Mapping
from typing import Any

from nodes.errors import LimitError, MisuseError
from nodes.io.control import Request
from nodes.io.reactor import Handle, Reactor
from nodes.stack import Stack
from nodes.transport.udp_socket import UdpSocket
from nodes.units import SECOND
from nodes.wire.addresses import ANY, Ip4, format_ip4, parse_ip4

SOCKET_LIMIT = 256
"""Sockets that clients of the control socket may hold open in one node; forgotten ones must not use up its ports."""


class SocketTable:
    """The sockets that clients of one node's control socket hold, by number. Methods raise MisuseError for a number
    that is not open, and what the stack raises."""

    def __init__(self, stack: Stack, reactor: Reactor) -> None:
        self._stack = stack
        self._reactor = reactor
        self._sockets: dict[int, OutsideSocket] = {}
        self._last = 0

    def open(self, params: Mapping[str, Any], now: int) -> dict[str, object]:
        """A UDP socket: bound to `address`, `port`; connected to `to`, `to_port`; in `groups` on `interface`."""
        if len(self._sockets) >= SOCKET_LIMIT:
            raise LimitError(f"{SOCKET_LIMIT} sockets are open", hint="`close` those that are not needed")
        opened = self._stack.udp.open()
        try:
            opened.broadcast = bool(params.get("broadcast", False))
            opened.bind(self._address(params.get("address")), int(params.get("port", 0)), now)
            if "to" in params:
                opened.connect(self._address(params["to"]), int(params["to_port"]), now)
            for group in params.get("groups", ()):
                opened.join_group(parse_ip4(group), now, self._interface(params.get("interface")))
        except Exception:
            opened.close(now)
            raise
        self._last += 1
        self._sockets[self._last] = OutsideSocket(opened, self._reactor)
        return {"socket": self._last, "address": format_ip4(opened.local_address), "port": opened.local_port}

    def send(self, number: int, data: bytes, params: Mapping[str, Any], now: int) -> None:
        opened = self._find(number).socket
        if "to" in params:
            opened.send_to(data, self._address(params["to"]), int(params["to_port"]), now)
        else:
            opened.send(data, now)

    def receive(self, number: int, request: Request, timeout: float, now: int) -> None:
        self._find(number).receive(request, now + round(timeout * SECOND))

    def close(self, number: int, now: int) -> None:
        self._find(number).close(now)
        del self._sockets[number]

    def _find(self, number: int) -> OutsideSocket:
        if number not in self._sockets:
            raise MisuseError(f"no socket {number!r}", hint=f"open: {', '.join(map(str, self._sockets)) or 'none'}")
        return self._sockets[number]

    def _interface(self, name: str | None) -> int:
        """The index of an interface; without a name, the first."""
        for interface in self._stack.interfaces:
            if name in (None, interface.name):
                return interface.index
        raise MisuseError(f"no interface {name!r}")

    def _address(self, text: str | None) -> Ip4:
        if not text:
            return ANY
        return self._stack.hosts[text] if text in self._stack.hosts else parse_ip4(text)


class OutsideSocket:
    """A socket and the request that waits for it. It is the owner that the stack's ready queue names."""

    def __init__(self, opened: UdpSocket, reactor: Reactor) -> None:
        self.socket = opened
        opened.owner = self
        self._reactor = reactor
        self._waiting: Request | None = None
        self._timer: Handle | None = None

    def receive(self, request: Request, deadline: int) -> None:
        if self._waiting is not None:
            raise MisuseError("another `receive` waits for this socket")
        self._waiting = request
        request.on_cancel = self._forget
        self._timer = self._reactor.call_at(deadline, self._time_out)
        self.ready(deadline)

    def ready(self, now: int) -> None:  # noqa: ARG002 - the surface of an owner
        """Answer the waiting request if there is something to answer with."""
        request = self._waiting
        if request is None:
            return
        error = self.socket.take_error()
        if error is not None:
            self._forget()
            request.error(errno.errorcode[error.errno], error.message, error.hint)
            return
        received = self.socket.receive()
        if received is not None:
            self._forget()
            request.result(
                {
                    "data": base64.b64encode(received.data).decode(),
                    "from": format_ip4(received.source),
                    "from_port": received.source_port,
                    "to": format_ip4(received.destination),
                    "ttl": received.ttl,
                }
            )

    def close(self, now: int) -> None:
        request = self._waiting
        self._forget()
        if request is not None:
            request.error("EBADF", "the socket was closed")
        self.socket.close(now)

    def _time_out(self) -> None:
        request = self._waiting
        self._forget()
        if request is not None:
            request.error("ETIMEDOUT", "nothing arrived in time")

    def _forget(self) -> None:
        self._waiting = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
