"""An interface between two ends that carries bare IP packets, as a serial line or a tunnel does: no link addresses, so
nothing to resolve, to filter or to defend."""

from __future__ import annotations

from dataclasses import asdict

from nodes.datalink.address_conflict import check_prefix
from nodes.datalink.port import DOWN, Delivery, Port
from nodes.errors import MisuseError
from nodes.trace.events import AddressUpdated, Tracer
from nodes.wire.addresses import ZERO_MAC, Ip4, Mac, Prefix
from nodes.wire.checksum import Buffer
from nodes.wire.ethernet import ETHERTYPE_IPV4


class PointToPointInterface(Port):
    """The surface of `EthernetInterface`; what has no meaning without link addresses does nothing."""

    def __init__(self, index: int, name: str, mtu: int, tracer: Tracer) -> None:
        super().__init__(index, name, ZERO_MAC, mtu, tracer)
        self.addresses: list[Prefix] = []

    def add_address(self, prefix: Prefix, now: int, *, probe: bool = False) -> None:  # noqa: ARG002 - nobody to ask
        """Raises MisuseError for an address that no interface can have or that is here already."""
        check_prefix(prefix)
        if any(own.address == prefix.address for own in self.addresses):
            raise MisuseError(f"{prefix} is on {self.name} already")
        self.addresses.append(prefix)
        self._trace(now, AddressUpdated(self.name, prefix.address, "none", "assigned", "configuration"))

    def remove_address(self, prefix: Prefix, now: int) -> None:
        """Raises MisuseError where the interface does not have it."""
        if prefix not in self.addresses:
            raise MisuseError(f"{prefix} is not on {self.name}")
        self.addresses.remove(prefix)
        self._trace(now, AddressUpdated(self.name, prefix.address, "assigned", "none", "removed"))

    def request_address(self, length: int, now: int) -> None:  # noqa: ARG002 - the surface of all interfaces
        """Raises MisuseError: RARP needs a MAC address to ask about."""
        raise MisuseError(f"{self.name} has no MAC address, RARP cannot ask for its address")

    def join(self, group: Mac) -> None:
        """Every packet comes in."""

    def leave(self, group: Mac) -> None:
        """Every packet comes in."""

    def set_up(self, up: bool, now: int) -> None:
        if up != self.up:
            self._change(up, now)

    def send(
        self,
        packet: bytes,
        next_hop: Ip4,  # noqa: ARG002 - there is only one
        now: int,
        *,
        segment_size: int = 0,  # noqa: ARG002 - the surface of all interfaces
        partial_checksum: bool = False,
    ) -> None:
        """Send `packet` to the other end. Raises MisuseError: for more than the MTU (EMSGSIZE), and for what only a
        link with offload can carry."""
        if partial_checksum:
            raise MisuseError(f"{self.name} has no offload")
        if len(packet) > self.mtu:
            raise self._too_long(len(packet))
        if self.up:
            self._put(ZERO_MAC, ETHERTYPE_IPV4, bytes(packet), now)
        else:
            self._discard(len(packet), DOWN, now)

    def failed(self) -> list[bytes]:
        return []

    def receive(self, frame: Buffer, now: int) -> Delivery | None:
        """The packet. It is never a link broadcast."""
        if not self.up:
            self._ignore(frame, DOWN, now)
            return None
        self._count(ZERO_MAC, ZERO_MAC, ETHERTYPE_IPV4, len(frame), now)
        return memoryview(frame), False, False

    def deadline(self) -> int | None:
        return None

    def timeout(self, now: int) -> None:
        """Nothing waits here."""

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002 - the surface of all interfaces
        return {
            "name": self.name,
            "kind": "ip",
            "mtu": self.mtu,
            "up": self.up,
            "offload": self.offload,
            "addresses": [str(prefix) for prefix in self.addresses],
            "counters": asdict(self.counters),
        }
