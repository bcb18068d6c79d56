"""Carrier and MTU of a node's interfaces, told by the kernel.

A rtnetlink socket (RFC 3549 section 2.2) that listens to the link group of its network namespace: a message for every
change of an interface, and one for each interface at the start.

An interface counts as up when the kernel calls it running (operational state UP, RFC 2863). The carrier alone
(IFF_LOWER_UP) comes some milliseconds earlier, and until then the kernel drops what is sent without a word.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_NETLINK_ROUTE = 0
_RTMGRP_LINK = 1
_NEW_LINK = 16
_DELETE_LINK = 17
_GET_LINK = 18
_REQUEST_DUMP = 0x301
_HEADER = Struct("=IHHII")
_LINK = Struct("=BxHiII")
_ATTRIBUTE = Struct("=HH")
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFF_UP = 1
_IFF_RUNNING = 0x40


class LinkState(NamedTuple):
    interface: str
    up: bool
    mtu: int


class LinkMonitor:
    """Non-blocking; `fileno` for a poll loop. Lives in the network namespace in which it was made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_ROUTE)
        self._socket.bind((0, _RTMGRP_LINK))
        self.ask()

    def ask(self) -> None:
        """Have the state of every interface told again."""
        self._socket.send(_HEADER.pack(_HEADER.size + _LINK.size, _GET_LINK, _REQUEST_DUMP, 1, 0) + bytes(_LINK.size))

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Iterator[LinkState]:
        """All that is known now. Where the kernel says that messages were lost, everything is asked for again."""
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.ask()
                continue
            yield from parse(data)

    def close(self) -> None:
        self._socket.close()


def parse(data: bytes) -> Iterator[LinkState]:
    """The links in a datagram of netlink messages."""
    position = 0
    while position + _HEADER.size + _LINK.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, position)
        if length < _HEADER.size:
            return
        if kind in (_NEW_LINK, _DELETE_LINK):
            _, _, _, flags, _ = _LINK.unpack_from(data, position + _HEADER.size)
            name, mtu = _attributes(data[position + _HEADER.size + _LINK.size : position + length])
            up = kind == _NEW_LINK and bool(flags & _IFF_UP) and bool(flags & _IFF_RUNNING)
            yield LinkState(name, up, mtu)
        position += (length + 3) & ~3


def _attributes(data: bytes) -> tuple[str, int]:
    name, mtu, position = "", 0, 0
    while position + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < 4:
            break
        if kind == _IFLA_IFNAME:
            name = data[position + 4 : position + length].rstrip(b"\0").decode(errors="replace")
        elif kind == _IFLA_MTU:
            mtu = int.from_bytes(data[position + 4 : position + 8], sys.byteorder)
        position += (length + 3) & ~3
    return name, mtu
