"""What the options of sockets are made of: an endpoint to set them on, values in and out of octets."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Mapping, MutableMapping
from typing import NamedTuple, TypeAlias

from nodes.session.errors import plain_error
from nodes.session.session import Session
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.udp_socket import UdpSocket

SocketEndpoint: TypeAlias = TcpSocket | UdpSocket
Value: TypeAlias = int | bytes
Kept: TypeAlias = MutableMapping[tuple[int, int], int]
"""Options that the stack has no use for, by level and number."""

INT = struct.Struct("=i")


def constant(name: str, linux: int) -> int:
    """The number of an option on this system, Linux's where this one does not have it."""
    return int(getattr(socket, name, linux))


class Call(NamedTuple):
    """An endpoint with what an option needs besides."""

    session: Session
    endpoint: SocketEndpoint
    kept: Kept
    key: tuple[int, int]

    def tcp(self, name: str, value: object) -> None:
        """Set an option of a TCP socket. Raises OSError (ENOPROTOOPT) on another."""
        if not isinstance(self.endpoint, TcpSocket):
            raise plain_error(errno.ENOPROTOOPT)
        self.endpoint.set_option(name, value, self.session.now())

    def stream(self) -> TcpSocket:
        if not isinstance(self.endpoint, TcpSocket):
            raise plain_error(errno.ENOPROTOOPT)
        return self.endpoint

    def datagrams(self) -> UdpSocket:
        if not isinstance(self.endpoint, UdpSocket):
            raise plain_error(errno.ENOPROTOOPT)
        return self.endpoint


Setter: TypeAlias = Callable[[Call, Value], None]
Getter: TypeAlias = Callable[[Call], Value]
Table: TypeAlias = Mapping[int, tuple[Getter | None, Setter | None]]
"""By number: how to read, how to set; None for what cannot be."""


def number(value: Value) -> int:
    """A number, packed or not. Raises OSError (EINVAL) for fewer octets than an int has."""
    if isinstance(value, int):
        return value
    if len(value) < INT.size:
        raise plain_error(errno.EINVAL)
    return int(INT.unpack_from(value)[0])


def short_number(value: Value) -> int:
    """Of the multicast options, which also come as one octet."""
    return value[0] if isinstance(value, bytes) and 1 <= len(value) < INT.size else number(value)


def keep(call: Call, value: Value) -> None:
    call.kept[call.key] = number(value)


def keep_flag(call: Call, value: Value) -> None:
    call.kept[call.key] = int(number(value) != 0)


def kept(default: int = 0) -> Getter:
    return lambda call: call.kept.get(call.key, default)
