"""Which socket an arriving datagram is for.

    unicast      1. a connected socket whose four values all match
                 2. a socket bound to the destination address
                 3. a socket bound to all addresses
                 of sockets that share an address and a port, the one that came last

    broadcast,   every socket bound to all addresses or to exactly this destination, unless it is connected to
    multicast    another peer

A socket bound to one unicast address hears no broadcast, as in Linux: it asked for datagrams to that address.
Connected sockets are found by one dictionary look-up, the others by their port.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from nodes.wire.addresses import ANY, Ip4


class Addressed(Protocol):
    """What is demultiplexed. `remote_port` is 0 where the socket is not connected. The four values must not change
    while the socket is in the table."""

    local_address: Ip4
    local_port: int
    remote_address: Ip4
    remote_port: int


SocketT = TypeVar("SocketT", bound=Addressed)


class Demultiplexer(Generic[SocketT]):
    """The sockets of one protocol, by their addresses. Dictionaries serve as sets that remember the order."""

    def __init__(self) -> None:
        self._bound: dict[int, dict[SocketT, None]] = {}
        self._connected: dict[tuple[int, int, int, int], dict[SocketT, None]] = {}

    def add(self, socket: SocketT) -> None:
        if socket.remote_port:
            self._connected.setdefault(_key(socket), {})[socket] = None
        else:
            self._bound.setdefault(socket.local_port, {})[socket] = None

    def remove(self, socket: SocketT) -> None:
        """Raises KeyError for a socket that is not in the table."""
        if socket.remote_port:
            key = _key(socket)
            del self._connected[key][socket]
            if not self._connected[key]:
                del self._connected[key]
        else:
            del self._bound[socket.local_port][socket]
            if not self._bound[socket.local_port]:
                del self._bound[socket.local_port]

    def find(self, local: Ip4, port: int, remote: Ip4, remote_port: int) -> SocketT | None:
        """The one socket for a unicast datagram from `remote` to `local`."""
        connected = self._connected.get((local, port, remote, remote_port))
        if connected:
            return next(reversed(connected))
        wildcard = None
        for socket in reversed(self._bound.get(port, {})):
            if socket.local_address == local:
                return socket
            if wildcard is None and socket.local_address == ANY:
                wildcard = socket
        return wildcard

    def find_all(self, group: Ip4, port: int, remote: Ip4, remote_port: int) -> list[SocketT]:
        """Every socket that a broadcast or multicast datagram to `group` is for, the oldest first."""
        found = [socket for socket in self._bound.get(port, ()) if socket.local_address in (ANY, group)]
        found.extend(self._connected.get((group, port, remote, remote_port), ()))
        return found

    def sockets(self) -> Iterator[SocketT]:
        """All sockets, those that are not connected first."""
        for table in (self._bound, self._connected):
            for sockets in table.values():
                yield from sockets


def _key(socket: Addressed) -> tuple[int, int, int, int]:
    return socket.local_address, socket.local_port, socket.remote_address, socket.remote_port
