"""A UDP socket: two bounded queues and the options of what it sends.

States, as events name them:

    none ──bind──▶ bound ──connect──▶ connected ──close──▶ closed
                     ▲────disconnect──────┘

Sending or connecting binds first where nobody did, to a dynamic port. A connected socket hears its peer only, and
learns of ICMP errors as an exception from its next call (RFC 1122 section 4.1.3.3); with `record_errors`, any
socket also keeps the errors themselves in a queue, as IP_RECVERR does in Linux.

A full receive queue drops the newest datagram and counts it: UDP has no way to slow a sender down.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple, Protocol

from nodes.errors import LimitError, MisuseError, UnreachableError
from nodes.network.datagram import IcmpError
from nodes.transport.endpoint import Endpoint
from nodes.transport.icmp_errors import as_exception
from nodes.transport.inbox import InboxEndpoint
from nodes.transport.ports import Claim
from nodes.wire.addresses import ANY, Ip4, format_ip4
from nodes.wire.checksum import Buffer

GROUPS_PER_SOCKET = 20
"""Multicast groups that one socket may join: the default of Linux (net.ipv4.igmp_max_memberships)."""


class Received(NamedTuple):
    """A datagram as a program gets it. `destination` is the address that the sender used, `interface` the index of the
    interface it came in by, `time` when it arrived (ns)."""

    data: bytes
    source: Ip4
    source_port: int
    destination: Ip4
    interface: int
    ttl: int
    time: int


class Datagrams(Protocol):
    """What a socket asks of its layer, which knows all sockets and the internet layer."""

    def bind(self, socket: UdpSocket, address: Ip4, port: int, now: int) -> None: ...

    def connect(self, socket: UdpSocket, address: Ip4, port: int, now: int) -> None: ...

    def disconnect(self, socket: UdpSocket, now: int) -> None: ...

    def send(
        self,
        socket: UdpSocket,
        data: Buffer,
        address: Ip4,
        port: int,
        now: int,
        *,
        ttl: int | None,
        dont_fragment: bool,
        traffic_class: int,
        source: Ip4 | None,
    ) -> None: ...

    def answer_source(self, destination: Ip4) -> Ip4 | None: ...

    def group_interface(self, group: Ip4, interface: int | None) -> int: ...

    def join(self, socket: UdpSocket, group: Ip4, interface: int, now: int) -> None: ...

    def leave(self, socket: UdpSocket, group: Ip4, interface: int, now: int) -> None: ...

    def close(self, socket: UdpSocket, now: int) -> None: ...


class UdpSocket(InboxEndpoint[Received]):
    """Made by `UdpLayer.open`. Options are attributes, and may be changed at any time:

    `broadcast`            sending to broadcast addresses is allowed (SO_BROADCAST)
    `reuse_address`        others with this option may bind the same address and port; before `bind`
    `ttl`                  of unicast and broadcast packets; None for the node's default
    `dont_fragment`        datagrams larger than the path MTU fail with EMSGSIZE instead of being fragmented
    `traffic_class`        DSCP and ECN of what is sent
    `multicast_ttl`        of multicast packets; 0 keeps them inside this node
    `multicast_loop`       members on this node hear what this socket sends to a group
    `multicast_interface`  index of the interface that multicast and broadcast leave by; None for the route's
    `receive_limit`        octets that may wait to be read
    `no_checksum`          send without a checksum (RFC 1122 section 4.1.3.4)
    `record_errors`        keep ICMP errors for `receive_error`

    Every call on a closed socket raises MisuseError with EBADF.
    """

    __slots__ = (
        "_layer",
        "_pending",
        "broadcast",
        "claim",
        "dont_fragment",
        "groups",
        "local_address",
        "local_port",
        "multicast_interface",
        "multicast_loop",
        "multicast_ttl",
        "no_checksum",
        "record_errors",
        "remote_address",
        "remote_port",
        "reuse_address",
        "traffic_class",
        "ttl",
    )

    def __init__(self, layer: Datagrams, ready: Callable[[Endpoint], None]) -> None:
        super().__init__(ready)
        self._layer = layer
        self._pending: UnreachableError | None = None
        self.claim: Claim | None = None
        self.local_address: Ip4 = ANY
        self.local_port = 0
        self.remote_address: Ip4 = ANY
        self.remote_port = 0
        self.groups: set[tuple[Ip4, int]] = set()
        self.broadcast = False
        self.reuse_address = False
        self.ttl: int | None = None
        self.dont_fragment = False
        self.traffic_class = 0
        self.multicast_ttl = 1
        self.multicast_loop = True
        self.multicast_interface: int | None = None
        self.no_checksum = False
        self.record_errors = False

    # -- what a program calls

    def bind(self, address: Ip4, port: int, now: int) -> None:
        """Take a local address (`ANY` for all, a group or a broadcast address to hear only that) and a port (0 for
        a dynamic one). Raises MisuseError: EINVAL when bound already, EADDRNOTAVAIL for an address that is not ours,
        EADDRINUSE; LimitError with EADDRNOTAVAIL when no dynamic port is free."""
        self._check_open()
        self._layer.bind(self, address, port, now)

    def connect(self, address: Ip4, port: int, now: int) -> None:
        """Choose the peer, and the local address by the route to it. Nothing is sent. Raises MisuseError (EACCES for a
        broadcast address without `broadcast`), UnreachableError without a route, LimitError with EAGAIN when no
        dynamic port is free."""
        self._check_open()
        self._layer.connect(self, address, port, now)

    def disconnect(self, now: int) -> None:
        """Have no peer again; the port stays."""
        self._check_open()
        self._layer.disconnect(self, now)

    def send(self, data: Buffer, now: int) -> None:
        """To the peer of a connected socket. Raises MisuseError with EDESTADDRREQ where there is none, and what
        `send_to` raises."""
        if not self.remote_port:
            self._check_open()
            raise MisuseError("the socket is not connected", errno=errno.EDESTADDRREQ, hint="use send_to or connect")
        self.send_to(data, self.remote_address, self.remote_port, now)

    def send_to(
        self,
        data: Buffer,
        address: Ip4,
        port: int,
        now: int,
        *,
        ttl: int | None = None,
        dont_fragment: bool | None = None,
        traffic_class: int | None = None,
        source: Ip4 | None = None,
    ) -> None:
        """Send one datagram of 0 to 65,507 octets. The keywords replace the socket's options for this one; `source`
        is an address of this node to send from. Raises a pending error first; MisuseError: EMSGSIZE for too many
        octets, EACCES for a broadcast address without `broadcast`, EINVAL; UnreachableError without a route."""
        self._check_open()
        self._raise_pending()
        self._layer.send(
            self,
            data,
            address,
            port,
            now,
            ttl=ttl,
            dont_fragment=self.dont_fragment if dont_fragment is None else dont_fragment,
            traffic_class=self.traffic_class if traffic_class is None else traffic_class,
            source=source,
        )

    def answer(self, received: Received, data: Buffer, now: int) -> None:
        """Send to where `received` came from, out of the address that it came to (RFC 1122 section 4.1.3.5), unless
        that was a broadcast or a group. Raises what `send_to` raises."""
        source = self._layer.answer_source(received.destination)
        self.send_to(data, received.source, received.source_port, now, source=source)

    def receive(self) -> Received | None:
        """The oldest datagram, or None. Raises a pending error first."""
        self._check_open()
        self._raise_pending()
        return super().receive()

    def take_error(self) -> UnreachableError | None:
        """The pending error of a connected socket, which is then no longer pending (SO_ERROR)."""
        self._check_open()
        error, self._pending = self._pending, None
        return error

    def join_group(self, group: Ip4, now: int, interface: int | None = None) -> None:
        """Hear `group` on the interface with this index, or on that of the route to it (RFC 1112 section 6.1). Raises
        MisuseError: EINVAL for no group, EADDRINUSE when already a member; LimitError over 20 groups;
        UnreachableError without a route."""
        self._check_open()
        interface = self._layer.group_interface(group, interface)
        if (group, interface) in self.groups:
            raise MisuseError(f"already a member of {format_ip4(group)}", errno=errno.EADDRINUSE)
        if len(self.groups) >= GROUPS_PER_SOCKET:
            raise LimitError(f"a socket can join {GROUPS_PER_SOCKET} groups", errno=errno.ENOBUFS)
        self._layer.join(self, group, interface, now)

    def leave_group(self, group: Ip4, now: int, interface: int | None = None) -> None:
        """Raises MisuseError with EADDRNOTAVAIL where the socket is not a member."""
        self._check_open()
        interface = self._layer.group_interface(group, interface)
        if (group, interface) not in self.groups:
            raise MisuseError(f"not a member of {format_ip4(group)}", errno=errno.EADDRNOTAVAIL)
        self._layer.leave(self, group, interface, now)

    def close(self, now: int) -> None:
        """Give the port and the groups back and forget what waits to be read."""
        self._check_open()
        self._layer.close(self, now)
        self._forget()
        self._pending = None

    @property
    def readable(self) -> bool:
        return super().readable or self._pending is not None

    @property
    def waiting(self) -> tuple[int, int]:
        """(datagrams, octets) that wait to be read."""
        return len(self._queue), self._octets

    # -- what the layer calls

    def report(self, error: IcmpError) -> None:
        """An ICMP error about a datagram of this socket: pending where connected, queued where it records them."""
        exception = as_exception(error)
        if exception is None:
            return
        if self.remote_port:
            self._pending = exception
            self.wake()
        if self.record_errors:
            super().report(error)

    def hears(self, group: Ip4, interface: int | None) -> bool:
        """True for a member of `group` on this interface, on any with None."""
        if interface is None:
            return any(joined == group for joined, _ in self.groups)
        return (group, interface) in self.groups

    def _raise_pending(self) -> None:
        if self._pending is not None:
            error, self._pending = self._pending, None
            raise error
