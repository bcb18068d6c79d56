"""Link and internet addresses as the cheapest values that can carry them.

A MAC address is its 6 bytes, an IPv4 address is its 32-bit number in host form (10.0.0.1 is 0x0A000001): both come
out of a `Struct` without another object, compare and hash at C speed, and mean nothing else, which the type checker
holds. Text exists only at the edges: configuration, events, tables.
"""

from __future__ import annotations

from string import hexdigits
from typing import NamedTuple, NewType

Mac = NewType("Mac", bytes)
Ip4 = NewType("Ip4", int)

BROADCAST_MAC = Mac(b"\xff" * 6)
ZERO_MAC = Mac(b"\x00" * 6)
ANY = Ip4(0)
LIMITED_BROADCAST = Ip4(0xFFFF_FFFF)
ALL_SYSTEMS = Ip4(0xE000_0001)  # 224.0.0.1, RFC 1112 section 4
ALL_ROUTERS = Ip4(0xE000_0002)  # 224.0.0.2

_HEXADECIMAL = frozenset(hexdigits)


def parse_mac(text: str) -> Mac:
    """`02:00:00:00:00:01` or `02-00-00-00-00-01` -> 6 bytes; a leading zero may be left out. Raises ValueError."""
    parts = text.split("-" if "-" in text else ":")
    if len(parts) != 6 or not all(1 <= len(part) <= 2 and _HEXADECIMAL.issuperset(part) for part in parts):
        raise ValueError(f"{text!r} is not a MAC address such as 02:00:00:00:00:01")
    return Mac(bytes(int(part, 16) for part in parts))


def format_mac(mac: bytes) -> str:
    return bytes(mac).hex(":")


def is_group_mac(mac: bytes) -> bool:
    """True for multicast and broadcast: the lowest bit of the first octet (IEEE 802.3 section 3.2.3)."""
    return bool(mac[0] & 1)


def parse_ip4(text: str) -> Ip4:
    """`10.0.0.1` -> 0x0A000001. Four decimal octets, nothing shorter. Raises ValueError."""
    parts = text.split(".")
    if len(parts) == 4 and all(_is_decimal(part, 255) for part in parts):
        return Ip4(int.from_bytes(bytes(map(int, parts)), "big"))
    raise ValueError(f"{text!r} is not an IPv4 address such as 10.0.0.1")


def _is_decimal(text: str, largest: int) -> bool:
    """Plain digits without a leading zero: 010 is eight to `inet_aton` and ten to others, so it is nobody's here."""
    plain = text.isascii() and text.isdigit() and len(text) <= 3 and (text == "0" or text[0] != "0")
    return plain and int(text) <= largest


def format_ip4(address: int) -> str:
    return ".".join(map(str, address.to_bytes(4, "big")))


def format_endpoint(address: Ip4, port: int) -> str:
    """`10.0.0.1:80`"""
    return f"{format_ip4(address)}:{port}"


def is_multicast(address: int) -> bool:
    """224.0.0.0/4, RFC 1112 section 4."""
    return address >> 28 == 0xE


def is_loopback(address: int) -> bool:
    """127.0.0.0/8, RFC 1122 section 3.2.1.3 (g)."""
    return address >> 24 == 127


def is_reserved(address: int) -> bool:
    """240.0.0.0/4 without the limited broadcast: class E, never a source or a destination."""
    return address >> 28 == 0xF and address != LIMITED_BROADCAST


def multicast_mac(group: int) -> Mac:
    """The Ethernet group of an IP group: 01:00:5e and the low 23 bits (RFC 1112 section 6.4)."""
    return Mac(b"\x01\x00\x5e" + (group & 0x7F_FFFF).to_bytes(3, "big"))


class Prefix(NamedTuple):
    """An address and a prefix length: `10.0.0.5/24`. As a route, the host bits are zero; on an interface, they are
    the interface's own address."""

    address: Ip4
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Raises ValueError for anything but `a.b.c.d/0..32`."""
        address, slash, length = text.partition("/")
        if not slash or not _is_decimal(length, 32):
            raise ValueError(f"{text!r} is not an address with a prefix length such as 10.0.0.1/24")
        return cls(parse_ip4(address), int(length))

    @property
    def mask(self) -> int:
        return (0xFFFF_FFFF << (32 - self.length)) & 0xFFFF_FFFF

    @property
    def network(self) -> Ip4:
        return Ip4(self.address & self.mask)

    @property
    def broadcast(self) -> Ip4 | None:
        """The directed broadcast, or None where /31 (RFC 3021) and /32 have none."""
        return Ip4(self.network | (~self.mask & 0xFFFF_FFFF)) if self.length < 31 else None

    def contains(self, address: int) -> bool:
        return (address ^ self.address) & self.mask == 0

    def __str__(self) -> str:
        return f"{format_ip4(self.address)}/{self.length}"
