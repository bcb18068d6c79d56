"""Which addresses are this node's own, and which sources nobody may use.

Interfaces own their addresses: the link layer adds one when its probes found no rival, and takes one away when
another station defends it (RFC 5227). This index of them is rebuilt by `refresh`, after whatever may have changed
them, so that a received packet costs one dictionary look-up.

Hosts follow the strong model of RFC 1122 section 3.3.4.2: a packet is theirs where it names an address of the interface
it came in by. Routers follow the weak one: any of their addresses will do, or a far interface could not be pinged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nodes.datalink.interface import Interface
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, Prefix, is_loopback, is_multicast

LOOPBACK = Ip4(0x7F00_0001)  # 127.0.0.1


class AddressChange(NamedTuple):
    """An interface gained (`added`) or lost an address."""

    interface: Interface
    prefix: Prefix
    added: bool


class LocalAddresses:
    """The addresses of all interfaces of a node: `owner` maps each to the index of its interface, `broadcasts` the
    directed broadcast of each of their subnets likewise."""

    __slots__ = ("_known", "broadcasts", "interfaces", "owner")

    def __init__(self, interfaces: Sequence[Interface]) -> None:
        self.interfaces = tuple(interfaces)
        self.owner: dict[Ip4, int] = {}
        self.broadcasts: dict[Ip4, int] = {}
        self._known: list[list[Prefix]] = [[] for _ in self.interfaces]

    def refresh(self) -> list[AddressChange]:
        """What changed since the last call. Cheap where nothing did."""
        if all(known == interface.addresses for known, interface in zip(self._known, self.interfaces, strict=True)):
            return []
        changes = list(self._differences())
        self._known = [list(interface.addresses) for interface in self.interfaces]
        self.owner.clear()
        self.broadcasts.clear()
        for index, prefixes in enumerate(self._known):
            for prefix in prefixes:
                self.owner.setdefault(prefix.address, index)
                if prefix.broadcast is not None:
                    self.broadcasts[prefix.broadcast] = index
        return changes

    def _differences(self) -> Iterator[AddressChange]:
        for known, interface in zip(self._known, self.interfaces, strict=True):
            yield from (
                AddressChange(interface, prefix, False) for prefix in known if prefix not in interface.addresses
            )
            yield from (AddressChange(interface, prefix, True) for prefix in interface.addresses if prefix not in known)

    def is_own(self, address: int) -> bool:
        """True for the node's addresses and for 127.0.0.0/8."""
        return address in self.owner or address >> 24 == 127

    def is_broadcast(self, address: int) -> bool:
        """True for the limited broadcast and the directed broadcasts of the node's subnets."""
        return address == LIMITED_BROADCAST or address in self.broadcasts

    def bad_source(self, source: Ip4) -> str | None:
        """Why a packet from the wire may not have this source (RFC 1122 section 3.2.1.3, RFC 1812 section 5.3.7), or
        None where it may. Our own address from outside is an echo of ours or a forgery."""
        if source in self.owner:
            return "own_source"
        if is_multicast(source):
            return "multicast_source"
        if source >> 28 == 0xF:
            return "broadcast_source" if source == LIMITED_BROADCAST else "reserved_source"
        if is_loopback(source):
            return "loopback_source"
        return "broadcast_source" if source in self.broadcasts else None

    def names_single_host(self, address: Ip4) -> bool:
        """False for what cannot be one station: zero, broadcast, multicast, reserved addresses (RFC 1122 section
        3.2.2)."""
        return not (address >> 24 == 0 or address >> 28 >= 0xE or address in self.broadcasts)

    def source_on(self, interface: Interface, next_hop: Ip4) -> Ip4:
        """The source for packets by `interface` to `next_hop`: its address in the same subnet, else its first, else
        any of the node (an unnumbered link), else 0.0.0.0."""
        for prefix in interface.addresses:
            if prefix.contains(next_hop):
                return prefix.address
        if interface.addresses:
            return interface.addresses[0].address
        return next(iter(self.owner), ANY)
