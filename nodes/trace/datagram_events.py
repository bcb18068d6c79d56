"""What can happen to sockets that send datagrams, of UDP and of ICMP echo, beside `nodes.trace.events`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from nodes.wire.addresses import Ip4


@dataclass(frozen=True, slots=True)
class SocketUpdated:
    """States of a datagram socket: none, bound, connected, closed."""

    category: ClassVar[str] = "transport"
    protocol: str
    local: str
    remote: str
    old: str
    new: str
    trigger: str


@dataclass(frozen=True, slots=True)
class DatagramSent:
    category: ClassVar[str] = "transport"
    packets: ClassVar[bool] = True
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    length: int


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    category: ClassVar[str] = "transport"
    packets: ClassVar[bool] = True
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    length: int


@dataclass(frozen=True, slots=True)
class DatagramDropped:
    category: ClassVar[str] = "transport"
    source: Ip4
    source_port: int
    destination: Ip4
    destination_port: int
    reason: str


DatagramEvent: TypeAlias = SocketUpdated | DatagramSent | DatagramReceived | DatagramDropped
