"""What a socket of any transport has in common: an owner, and a bell.

A stack does not call programs. It rings: when a datagram or an error arrives for a socket, the socket goes into the
stack's queue of ready endpoints, and whoever drives the stack drains that queue and tells the owners.

                 arrival            drain_ready()             receive() until None
    (empty) ───────────────▶ queued ─────────────▶ owner told ────────────────────▶ (empty)
                               │ more arrivals: silent

A bell rings once: while an endpoint waits in the queue, further arrivals say nothing new. Leaving the queue arms it
again, so that an owner who reads only a part hears of the next arrival.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Protocol

from nodes.errors import MisuseError
from nodes.wire.addresses import ANY, Ip4, format_ip4
from nodes.wire.checksum import Buffer

SOCKET_RECEIVE_LIMIT = 212_992
"""Octets that may wait in a socket: the default of Linux (net.core.rmem_default), three datagrams of 65,507."""

SOCKET_QUEUE_LIMIT = 1024
"""Datagrams that may wait in a socket, for the empty ones, which cost memory but no octets."""

SOCKET_ERROR_LIMIT = 128
"""ICMP errors that may wait in a socket: more than a traceroute ever has under way."""


class Endpoint:
    """The base of a socket. `owner` is for the program above and means nothing to the stack."""

    __slots__ = ("_ring", "_rung", "owner")

    def __init__(self, ready: Callable[[Endpoint], None]) -> None:
        self.owner: object | None = None
        self._ring = ready
        self._rung = False

    @property
    def readable(self) -> bool:
        """True while there is something to read: data, an error or the end."""
        raise NotImplementedError

    def wake(self) -> None:
        """Put the endpoint into the queue of ready ones, once."""
        if not self._rung:
            self._rung = True
            self._ring(self)

    def armed(self) -> None:
        """The endpoint left the queue: the next arrival rings again."""
        self._rung = False


class ReadyQueue:
    """The endpoints that something happened to, in the order of their first event. It is itself the function that
    the layers get as `ready`. Its size is bounded by the number of open sockets."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Endpoint] = []

    def __call__(self, endpoint: Endpoint) -> None:
        self._waiting.append(endpoint)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def drain(self) -> list[Endpoint]:
        """All of them, each with its bell armed again."""
        ready, self._waiting = self._waiting, []
        for endpoint in ready:
            endpoint.armed()
        return ready


class Internet(Protocol):
    """What a transport asks of the internet layer below (RFC 1122 section 3.4); `nodes.network.ip` fulfils it."""

    def send(
        self,
        payload: Buffer,
        destination: Ip4,
        protocol: int,
        now: int,
        *,
        source: Ip4 | None = None,
        ttl: int | None = None,
        dont_fragment: bool = False,
        traffic_class: int = 0,
        options: bytes = b"",
        interface: int | None = None,
        multicast_loop: bool = False,
    ) -> None:
        """Raises UnreachableError without a route, MisuseError for what cannot be sent, LimitError where full."""
        ...

    def source_for(self, destination: Ip4, interface: int | None = None) -> Ip4:
        """The address that packets to `destination` leave from. Raises UnreachableError without a route."""
        ...

    def interface_for(self, destination: Ip4) -> int:
        """The index of the interface they leave by. Raises UnreachableError without a route."""
        ...

    def is_local(self, address: Ip4) -> bool: ...

    def is_broadcast(self, address: Ip4) -> bool: ...

    def join(self, group: Ip4, interface: int, now: int) -> None: ...

    def leave(self, group: Ip4, interface: int, now: int) -> None: ...


def check_destination(ip: Internet, destination: Ip4, *, broadcast: bool) -> None:
    """Raises MisuseError where a socket must not send to: to nobody, or to all where it was not allowed `broadcast`."""
    if destination == ANY:
        raise MisuseError("0.0.0.0 is not a destination (RFC 1122 section 3.2.1.3)")
    if not broadcast and ip.is_broadcast(destination):
        raise MisuseError(
            f"{format_ip4(destination)} is a broadcast address",
            errno=errno.EACCES,
            hint="set broadcast on the socket to allow it",
        )
