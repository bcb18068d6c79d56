"""The interfaces of hosts and routers: between the internet layer's packets and the medium's frames.

    network layer        send(packet, next_hop)                    receive(frame) -> packet
                               |                                        ^
    EthernetInterface    which MAC is the next hop?              is the frame for us?
                         broadcast, multicast: computed           own MAC, broadcast, joined groups
                         unicast: ARP cache, or wait              EtherType: IPv4 up; ARP, RARP eaten here
                               |                                        |
    medium                transmit() -> frames                     receive(frame)

The pieces are `ArpCache` (who is where), `OwnAddresses` (which addresses are ours, and the conflicts about them) and
the two sides of RARP; the interface only joins them and frames what they send.

**Destination filter.** A hub or a flooding switch brings frames for others, at times all of them; they are no error
and leave no event, only a count, as in a network card. Everything else that is dropped is counted and traced
with its reason.

**No padding.** IEEE 802.3 section 4.2.8 pads frames to 60 octets, so that a collision is noticed while the frame still
goes out. A veth has no collisions and carries any length, the stack below our frames pads where real hardware is; on
receipt, padding is left for the internet layer, whose total length field says where the packet ends (RFC 894).

**Offload.** A link without a wire need not be given what only a wire needs: finished checksums, and packets no longer
than the MTU. On an interface with `offload`, every frame begins with a virtio-net header (`nodes.wire.virtio`), in both
directions. What TCP left to the link stands there; all else goes with a header that says nothing is left.

**Two kinds.** The other one, `PointToPointInterface`, carries bare IP packets without Ethernet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from random import Random
from typing import TypeAlias

from nodes.datalink.address_conflict import OwnAddresses
from nodes.datalink.arp import ArpCache, ArpSettings
from nodes.datalink.offload import PARTIAL_TCP, PLAIN_IPV4, longest_piece, note_of, refusal
from nodes.datalink.point_to_point import PointToPointInterface
from nodes.datalink.port import DOWN, Delivery, Port
from nodes.datalink.rarp import RarpClient, RarpServer
from nodes.errors import LimitError, MisuseError, WireError
from nodes.trace.events import AddressUpdated, FrameDropped, Tracer
from nodes.wire import arp, virtio
from nodes.wire.addresses import (
    ANY,
    BROADCAST_MAC,
    LIMITED_BROADCAST,
    ZERO_MAC,
    Ip4,
    Mac,
    Prefix,
    format_mac,
    is_group_mac,
    is_loopback,
    is_multicast,
    multicast_mac,
)
from nodes.wire.checksum import Buffer
from nodes.wire.circuit import ETHERTYPE_CIRCUIT
from nodes.wire.ethernet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_RARP,
    HEADER,
    HEADER_LENGTH,
    LOWEST_ETHERTYPE,
)

INTERFACE_GROUPS = 1024
"""Multicast groups of one interface, many times what a host joins; hardware filters hold 16 to 128."""


CircuitReceiver: TypeAlias = Callable[[Mac, Buffer, int], None]
"""Takes the source, a packet and the time. Raises WireError."""


class EthernetInterface(Port):
    """IPv4 over Ethernet (RFC 894). `addresses` are the addresses in use, to be read only; `rarp_server` answers RARP
    where it is set, `circuits` takes the packets of virtual circuits."""

    def __init__(
        self,
        index: int,
        name: str,
        mac: Mac,
        mtu: int,
        random: Random,
        tracer: Tracer,
        settings: ArpSettings = ArpSettings(),  # noqa: B008 - frozen
        *,
        offload: bool = False,
    ) -> None:
        if len(mac) != 6 or is_group_mac(mac) or mac == ZERO_MAC:
            raise MisuseError(f"{format_mac(mac)} is not the MAC address of a station")
        super().__init__(index, name, mac, mtu, tracer, offload=offload)
        self._plain = virtio.PLAIN if offload else b""  # stands before a frame that lacks nothing
        self._start = self._lead + HEADER_LENGTH
        self._random = random
        self._own = OwnAddresses(name, mac, settings, random, tracer, self._send_frame, self._addresses_changed)
        self.arp = ArpCache(name, mac, settings, tracer, self._send_frame, self._own.source_for, self.given_up)
        self.addresses: list[Prefix] = self._own.in_use
        self.rarp_server: RarpServer | None = None
        self._rarp_client: RarpClient | None = None
        self._groups: dict[Mac, int] = {}
        self.circuits: CircuitReceiver | None = None

    # -------------------------------------------------------------- configuration

    def add_address(self, prefix: Prefix, now: int, *, probe: bool = False) -> None:
        """Use `prefix` at once and announce it, or with `probe` after the probes of RFC 5227 found no other user.
        Raises MisuseError for an address that no interface can have or that is here already, LimitError for one too
        many."""
        self._own.add(prefix, now, probe=probe, trigger="configuration")

    def remove_address(self, prefix: Prefix, now: int) -> None:
        """Raises MisuseError where the interface does not have it."""
        self._own.remove(prefix, now)

    def request_address(self, length: int, now: int) -> None:
        """Ask a RARP server for an address, which then gets the prefix length `length` (RFC 903). Raises MisuseError
        for a length outside 0 to 32."""
        if not 0 <= length <= 32:
            raise MisuseError(f"prefix length {length}, 0 to 32 expected")
        self._trace(now, AddressUpdated(self.name, ANY, "none", "requesting", "rarp"))
        self._rarp_client = RarpClient(self.mac, length, self._random, now)
        if self.up:
            self._rarp_timeout(now)

    def join(self, group: Mac) -> None:
        """Let frames for `group` in, until as many calls of `leave`. Raises MisuseError, LimitError."""
        if not is_group_mac(group):
            raise MisuseError(f"{format_mac(group)} is not a group address")
        if group not in self._groups and len(self._groups) >= INTERFACE_GROUPS:
            raise LimitError(f"{self.name} has joined {INTERFACE_GROUPS} groups already")
        self._groups[group] = self._groups.get(group, 0) + 1

    def leave(self, group: Mac) -> None:
        """Raises MisuseError where the group was not joined."""
        if group not in self._groups:
            raise MisuseError(f"{self.name} has not joined {format_mac(group)}")
        self._groups[group] -= 1
        if not self._groups[group]:
            del self._groups[group]

    def set_up(self, up: bool, now: int) -> None:
        """The carrier came or went. Down: the ARP cache is flushed, what waited in it is dropped. Up: the addresses are
        announced or probed again, a RARP client asks again."""
        if up == self.up:
            return
        self._change(up, now)
        if not up:
            self.arp.flush(DOWN, now)
        self._own.set_up(up, now)
        if up and self._rarp_client is not None:
            self._rarp_client = RarpClient(self.mac, self._rarp_client.length, self._random, now)
            self._rarp_timeout(now)

    def _addresses_changed(self, now: int) -> None:
        for address in self._own.owned | self._own.broadcasts:
            self.arp.forget(address, "address of the interface", now)

    # --------------------------------------------------------------------- sending

    def send(
        self, packet: bytes, next_hop: Ip4, now: int, *, segment_size: int = 0, partial_checksum: bool = False
    ) -> None:
        """Send `packet` to the neighbour `next_hop`, once its MAC address is known. What cannot be resolved comes back
        through `failed`, possibly at once.

        For TCP, and with `offload` only: `partial_checksum` leaves the checksum to the link, and with it `segment_size`
        lets the packet be longer than the MTU, as long as its pieces with so many octets of payload are not. Raises
        MisuseError for more than the MTU (EMSGSIZE), and for a partial checksum without offload."""
        note = self._plain
        if partial_checksum:
            note = self._note(packet, segment_size)
        elif len(packet) > self.mtu:
            raise self._too_long(len(packet))
        if not self.up:
            self._discard(len(packet), DOWN, now)
            return
        mac = self.arp.resolve(next_hop, now)
        if mac is None:
            mac = self._mapped(next_hop)
        if mac is not None:
            self._put(mac, ETHERTYPE_IPV4, note + HEADER.pack(mac, self.mac, ETHERTYPE_IPV4) + packet, now)
        elif next_hop == ANY or next_hop in self._own.owned:
            self.arp.give_back(packet, now)  # a route that leads to ourselves: nobody would answer
        else:
            self.arp.queue(packet, next_hop, now, note)

    def failed(self) -> list[bytes]:
        """The packets given up since the last call because nobody answered for their next hop. To be drained after
        `send` and `timeout`; the internet layer tells their senders (RFC 1122 section 2.3.2.2)."""
        return self.arp.failed()

    def _mapped(self, next_hop: Ip4) -> Mac | None:
        """The MAC addresses that need no question (RFC 1122 section 3.3.6, RFC 1112 section 6.4)."""
        if is_multicast(next_hop):
            return multicast_mac(next_hop)
        if next_hop == LIMITED_BROADCAST or next_hop in self._own.broadcasts:
            return BROADCAST_MAC
        return None

    def _note(self, packet: bytes, segment_size: int) -> bytes:
        """The virtio-net header of a TCP segment whose checksum is left to the link, and its cutting where needed."""
        if not self.offload:
            raise MisuseError(f"{self.name} has no offload")
        longest = longest_piece(packet, segment_size)
        if longest > self.mtu:
            raise self._too_long(longest)
        return note_of(packet, segment_size) if segment_size or packet[0] != PLAIN_IPV4 else PARTIAL_TCP

    def _send_frame(self, destination: Mac, ethertype: int, payload: bytes, now: int, note: bytes = b"") -> None:
        header = (note or self._plain) + HEADER.pack(destination, self.mac, ethertype)
        self._put(destination, ethertype, header + payload, now)

    def send_circuit(self, packet: bytes, neighbour: Mac | None, now: int) -> None:
        """A packet of virtual circuits, to all where the neighbour is not known yet."""
        self._send_frame(neighbour or BROADCAST_MAC, ETHERTYPE_CIRCUIT, packet, now)

    # ------------------------------------------------------------------- receiving

    def receive(self, frame: Buffer, now: int) -> Delivery | None:
        """An IPv4 packet, padding included, and what is known of it. None for all that ends here."""
        if not self.up:
            self._ignore(frame, DOWN, now)
            return None
        if len(frame) < self._start:
            self._refuse(frame, f"{self._length(frame)} octets, no Ethernet header", now)
            return None
        destination, source, ethertype = HEADER.unpack_from(frame, self._lead)
        group = destination != self.mac
        if group and destination != BROADCAST_MAC and destination not in self._groups:
            self.counters.in_filtered += 1
            return None
        if source[0] & 1:
            self._refuse(frame, "source is a group address", now)
            return None
        if source == self.mac:
            self._refuse(frame, "source is our own MAC address: a loop, or another station uses it", now)
            return None
        self._count(source, destination, ethertype, len(frame) - self._lead, now)
        self.counters.in_group_frames += group
        if ethertype == ETHERTYPE_IPV4:
            packet = memoryview(frame)[self._start :]
            if not self.offload:
                return packet, group, False
            refused = refusal(frame, self.mtu) if frame[1] else None
            if refused is not None:
                self._refuse(frame, refused, now)
                return None
            return packet, group, frame[0] & virtio.TRUSTED != 0
        self._receive_other(ethertype, frame, now)
        return None

    def _receive_other(self, ethertype: int, frame: Buffer, now: int) -> None:
        content = memoryview(frame)[self._start :]
        try:
            if ethertype == ETHERTYPE_ARP:
                self._receive_arp(_parse_arp(content), now)
                return
            if ethertype == ETHERTYPE_RARP:
                self._receive_rarp(_parse_arp(content), now)
                return
            if ethertype == ETHERTYPE_CIRCUIT and self.circuits is not None:
                self.circuits(Mac(HEADER.unpack_from(frame, self._lead)[1]), content, now)
                return
        except WireError as error:
            self._refuse(frame, str(error), now)
            return
        self.counters.in_unknown_protocols += 1
        kind = "IEEE 802.2 frame of length" if ethertype < LOWEST_ETHERTYPE else "unknown EtherType"
        self._trace(now, FrameDropped(self.name, f"{kind} 0x{ethertype:04x}", len(frame)))

    def _receive_arp(self, packet: arp.ArpPacket, now: int) -> None:
        """The reception of RFC 826, after the search for conflicts of RFC 5227 section 2.4."""
        operation, sender_mac, sender_ip, _, target_ip = packet
        if operation not in (arp.REQUEST, arp.REPLY):
            raise WireError("arp", "operation", 6, f"{operation}, RARP's, under ARP's EtherType")
        if sender_mac == self.mac or sender_ip in self._own.broadcasts:
            raise WireError("arp", "sender", 8, "our own MAC address or a broadcast address")
        request = operation == arp.REQUEST
        self.counters.arp_requests_received += request
        self.counters.arp_replies_received += not request
        if self._own.receive(packet, now):
            return
        for_us = target_ip in self._own.owned
        if sender_ip != ANY:  # a probe tells nothing about its sender (RFC 5227 section 2.1.1)
            trigger = "gratuitous arp" if sender_ip == target_ip else "arp request" if request else "arp reply"
            self.arp.learn(sender_ip, sender_mac, now, for_us=for_us, trigger=trigger)
        if request and for_us:
            self.counters.arp_replies_sent += 1
            reply = arp.ArpPacket(arp.REPLY, self.mac, target_ip, sender_mac, sender_ip)
            self._send_frame(sender_mac, ETHERTYPE_ARP, arp.build(reply), now)

    def _receive_rarp(self, packet: arp.ArpPacket, now: int) -> None:
        if packet.operation == arp.REVERSE_REQUEST:
            server = self.rarp_server
            reply = server.answer(packet, self.mac, self._own.source_for) if server is not None else None
            if reply is not None:
                self._send_frame(packet.sender_mac, ETHERTYPE_RARP, arp.build(reply), now)
        elif packet.operation != arp.REVERSE_REPLY:
            raise WireError("rarp", "operation", 6, f"{packet.operation}, ARP's, under RARP's EtherType")
        elif self._rarp_client is not None:
            self._accept_address(self._rarp_client, packet, now)

    def _accept_address(self, client: RarpClient, packet: arp.ArpPacket, now: int) -> None:
        address = client.receive(packet)
        if address is None:
            return
        if address in self._own.owned:  # configured too: nothing is left to ask
            self._rarp_client = None
            return
        prefix = Prefix(address, client.length)
        try:
            self._own.add(prefix, now, probe=False, trigger=f"rarp reply of {format_mac(packet.sender_mac)}")
        except (MisuseError, LimitError) as error:  # what a server offers is a peer's mistake, not our caller's
            raise WireError("rarp", "target protocol address", 24, error.message) from None
        self._rarp_client = None

    # ---------------------------------------------------------------------- timers

    def deadline(self) -> int | None:
        earliest = self.arp.deadline()
        for other in (self._own.deadline(), self._rarp_deadline()):  # asked after every frame: no generator
            if other is not None and (earliest is None or other < earliest):
                earliest = other
        return earliest

    def timeout(self, now: int) -> None:
        self.arp.timeout(now)
        self._own.timeout(now)
        if self.up:
            self._rarp_timeout(now)

    def _rarp_deadline(self) -> int | None:
        return self._rarp_client.deadline() if self._rarp_client is not None and self.up else None

    def _rarp_timeout(self, now: int) -> None:
        request = self._rarp_client.timeout(now) if self._rarp_client is not None else None
        if request is not None:
            self._send_frame(BROADCAST_MAC, ETHERTYPE_RARP, arp.build(request), now)

    def snapshot(self, now: int) -> dict[str, object]:
        """`addresses` are those in use; `arp`, `address_states` and `rarp` tell the rest."""
        state: dict[str, object] = {
            "name": self.name,
            "kind": "ethernet",
            "mac": format_mac(self.mac),
            "mtu": self.mtu,
            "up": self.up,
            "offload": self.offload,
            "addresses": [str(prefix) for prefix in self.addresses],
            "groups": {format_mac(group): count for group, count in self._groups.items()},
            "counters": asdict(self.counters),
            "arp": self.arp.snapshot(now),
            "address_states": self._own.snapshot(),
        }
        if self._rarp_client is not None:
            state["rarp_client"] = {"requests": self._rarp_client.requests}
        if self.rarp_server is not None:
            state["rarp_server"] = asdict(self.rarp_server.counters)
        return state


def _parse_arp(content: Buffer) -> arp.ArpPacket:
    """Raises WireError also for senders that no station can be."""
    packet = arp.parse(content)
    mac, address = packet.sender_mac, packet.sender_ip
    if is_group_mac(mac) or mac == ZERO_MAC:
        raise WireError("arp", "sender hardware address", 8, f"{format_mac(mac)} is no station's")
    if is_multicast(address) or is_loopback(address) or address >> 28 == 0xF:
        raise WireError("arp", "sender protocol address", 14, "not a host's address")
    return packet


Interface: TypeAlias = EthernetInterface | PointToPointInterface

__all__ = ["ArpSettings", "EthernetInterface", "Interface", "PointToPointInterface"]
