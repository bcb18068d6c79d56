"""ARP (RFC 826) and RARP (RFC 903) for IPv4 over Ethernet: one format, two EtherTypes.

 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-------------------------------+-------------------------------+
|      hardware type = 1        |    protocol type = 0x0800     |
+---------------+---------------+-------------------------------+
|  hw length 6  | proto length 4|           operation           |
+---------------+---------------+-------------------------------+
|                 sender hardware address (6)                   |
|                 sender protocol address (4)                   |
|                 target hardware address (6)                   |
|                 target protocol address (4)                   |
+---------------------------------------------------------------+
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from nodes.errors import WireError
from nodes.wire.addresses import Ip4, Mac
from nodes.wire.checksum import Buffer

PACKET = Struct("!HHBBH6sI6sI")
LENGTH = 28

REQUEST = 1
REPLY = 2
REVERSE_REQUEST = 3  # RFC 903
REVERSE_REPLY = 4

HARDWARE_ETHERNET = 1
PROTOCOL_IPV4 = 0x0800


class ArpPacket(NamedTuple):
    operation: int
    sender_mac: Mac
    sender_ip: Ip4
    target_mac: Mac
    target_ip: Ip4


def parse(packet: Buffer) -> ArpPacket:
    """Raises WireError for another hardware or protocol, for wrong lengths and for operations outside 1 to 4."""
    if len(packet) < LENGTH:
        raise WireError("arp", "packet", len(packet), f"{len(packet)} octets, 28 expected")
    hardware, protocol, hardware_length, protocol_length, operation, *addresses = PACKET.unpack_from(packet)
    if hardware != HARDWARE_ETHERNET:
        raise WireError("arp", "hardware type", 0, f"{hardware}, 1 (Ethernet) expected")
    if protocol != PROTOCOL_IPV4:
        raise WireError("arp", "protocol type", 2, f"0x{protocol:04x}, 0x0800 (IPv4) expected")
    if hardware_length != 6:
        raise WireError("arp", "hardware length", 4, f"{hardware_length}, 6 expected")
    if protocol_length != 4:
        raise WireError("arp", "protocol length", 5, f"{protocol_length}, 4 expected")
    if not REQUEST <= operation <= REVERSE_REPLY:
        raise WireError("arp", "operation", 6, f"{operation}, 1 to 4 expected")
    return ArpPacket(operation, *addresses)


def build(packet: ArpPacket) -> bytes:
    operation, sender_mac, sender_ip, target_mac, target_ip = packet
    return PACKET.pack(HARDWARE_ETHERNET, PROTOCOL_IPV4, 6, 4, operation, sender_mac, sender_ip, target_mac, target_ip)
