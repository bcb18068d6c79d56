"""The internet layer: which packets are ours, which go on, and how ours leave (RFC 791, RFC 1122 section 3, RFC 1812).

    arriving packet
      |  short way of the forwarder (routers only)
      |  version, lengths, checksum ................ malformed: dropped, counted
      |  source, link broadcast .................... not acceptable: dropped, counted
      |  for us? -- no --> forward, or drop (hosts)
      |  options ................................... malformed: parameter problem; source route: refused
      |  fragment? --> reassembly -- not whole yet --> wait
      v
    Datagram, for the protocol above

Packets to our own addresses and to 127.0.0.0/8 never touch an interface: they wait in a short queue, from which
`next_local` takes them in the same turn of the pump, so that a node which answers itself does not recurse.

A packet that is longer than its path takes is cut here, unless `dont_fragment` says that the caller wants to know.
"""

from __future__ import annotations

import errno
import random as random_module
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from nodes.datalink.interface import Interface
from nodes.errors import MisuseError, UnreachableError, WireError
from nodes.network import fragmentation, packet_events, segmentation
from nodes.network.counters import IpCounters
from nodes.network.datagram import LOCAL_INTERFACE, Datagram, IcmpError
from nodes.network.egress import Egress, check_fields
from nodes.network.forwarding import Forwarder
from nodes.network.icmp import IcmpLayer
from nodes.network.igmp import IgmpHost
from nodes.network.ingress import Ingress
from nodes.network.local_addresses import LocalAddresses
from nodes.network.path_mtu import PathMtuCache
from nodes.network.reassembly import Reassembler
from nodes.network.routes import Route
from nodes.network.routing import Routing
from nodes.trace.events import Tracer
from nodes.units import earliest
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, Prefix, format_ip4, is_multicast
from nodes.wire.checksum import Buffer
from nodes.wire.ipv4 import IPv4Header

DEFAULT_TTL = 64
"""RFC 1700 (assigned numbers)."""

LOCAL_QUEUE_LIMIT = 256
"""Packets that this node sent to itself and has not taken yet; they are taken after each input."""

LOCAL_MTU = ipv4.MAXIMUM_LENGTH

LONGEST_PLAIN_PAYLOAD = ipv4.MAXIMUM_LENGTH - ipv4.HEADER_LENGTH
"""Octets behind a header without options."""


class InternetLayer:
    """The IPv4 of one node. `interfaces[i].index` must be `i`. Addresses that interfaces gain or lose later are noticed
    by `refresh`. `last_sent` is when something was sent last."""

    def __init__(
        self,
        interfaces: Sequence[Interface],
        random: random_module.Random,
        tracer: Tracer,
        *,
        forwarding: bool,
        now: int = 0,
    ) -> None:
        self.counters = IpCounters()
        self.addresses = LocalAddresses(interfaces)
        self.interfaces = self.addresses.interfaces
        self.routing = Routing(self.addresses, tracer)
        self.path_mtus = PathMtuCache(tracer)
        self.icmp = IcmpLayer(self.send, self.addresses, self.routing, self.path_mtus, tracer, router=forwarding)
        self.igmp = IgmpHost(self.interfaces, self.send, random, tracer)
        self._egress = Egress(self.addresses, self.routing.table, self.counters)
        self._ingress = self._make_ingress(tracer, forwarding)
        self._forwarder = self._make_forwarder(tracer) if forwarding else None
        self._reassembler = Reassembler(self.counters, tracer)
        self._identifications = fragmentation.Identifications(random)
        self._local: deque[tuple[int, bytes]] = deque()
        self._tracer = tracer
        self.last_sent = now
        self.refresh(now)

    def _make_ingress(self, tracer: Tracer, router: bool) -> Ingress:
        table = self.routing.table
        return Ingress(self.addresses, table, self.igmp, self.icmp, self.counters, tracer, router=router)

    def _make_forwarder(self, tracer: Tracer) -> Forwarder:
        return Forwarder(self.addresses, self.routing.table, self.icmp, self.counters, tracer)

    # -------------------------------------------------------------------------------------------------- receiving

    def receive(
        self, interface: Interface, packet: memoryview, link_broadcast: bool, now: int, checksum_valid: bool = False
    ) -> Datagram | None:
        """Takes a packet from an interface. Returns it where it is for this node and complete; forwards, keeps or drops
        it otherwise. Padding after the packet is cut off. `checksum_valid` is passed on in the datagram."""
        self.counters.in_receives += 1
        if self._forwarder is not None and not link_broadcast and self._forwarder.repeat(interface, packet, now):
            return None
        try:
            header, payload = ipv4.parse(packet)
        except WireError as error:
            self.counters.in_hdr_errors += 1
            self._tracer(now, packet_events.malformed(interface.name, packet, str(error)))
            return None
        if self._tracer.packets:
            self._tracer(now, packet_events.received(interface.name, header))
        index, length = interface.index, header.total_length
        whole = packet if len(packet) == length else packet[:length]
        datagram = Datagram(index, header, payload, whole, link_broadcast, checksum_valid)
        plain = not (link_broadcast or header.options or header.more_fragments or header.fragment_offset)
        if plain and self._ingress.is_known(header, index):
            self.counters.in_delivers += 1
            return datagram
        return self._receive_first(interface, datagram, now)

    def _receive_first(self, interface: Interface, datagram: Datagram, now: int) -> Datagram | None:
        """Takes a packet of which it is not known yet whether it is for us."""
        if not self._ingress.is_acceptable(interface, datagram, now):
            return None
        if self._ingress.is_for_us(interface, datagram):
            return self._deliver(interface, datagram, now)
        if self._forwarder is not None:
            self._forwarder.forward(interface, datagram.header, datagram.packet, now)
        else:
            self.counters.in_addr_errors += 1
            self._drop(interface, datagram.header, "not_for_this_host", now)
        return None

    def next_local(self) -> Datagram | None:
        """The next packet that this node sent to itself, None where there is none."""
        if not self._local:
            return None
        index, packet = self._local.popleft()
        self.counters.in_receives += 1
        self.counters.in_delivers += 1
        header, payload = ipv4.parse(packet)  # built by `send`: sound
        return Datagram(index, header, payload, memoryview(packet), False, True)  # memory needs no checksum

    def _deliver(self, interface: Interface, datagram: Datagram, now: int) -> Datagram | None:
        whole: Datagram | None = datagram
        if datagram.header.more_fragments or datagram.header.fragment_offset:
            try:
                whole = self._reassembler.receive(datagram, now)
            except WireError as error:
                self.counters.reasm_fails += 1
                self.counters.in_hdr_errors += 1
                self._drop(interface, datagram.header, str(error), now)
                return None
        if whole is not None:
            self.counters.in_delivers += 1
        return whole

    # ---------------------------------------------------------------------------------------------------- sending

    def send(
        self,
        payload: Buffer,
        destination: Ip4,
        protocol: int,
        now: int,
        *,
        source: Ip4 | None = None,
        ttl: int | None = None,
        dont_fragment: bool = False,
        traffic_class: int = 0,
        options: bytes = b"",
        interface: int | None = None,
        multicast_loop: bool = False,
        segment_size: int = 0,
        partial_checksum: bool = False,
    ) -> None:
        """Sends one datagram. `interface` binds it to an interface; `multicast_loop` gives a copy to the members of the
        group on this node. A multicast has a TTL of 1 unless the caller says more (RFC 1112 section 6.1).
        TCP only: with `partial_checksum` the checksum field has the sum of the pseudo header. Then `segment_size` (0:
        none) is the payload of the pieces that have to fit the path. `offload_for` tells where that saves work.

        Raises UnreachableError without a route (ENETUNREACH) or an address (EADDRNOTAVAIL); MisuseError for a source
        that is not ours (EADDRNOTAVAIL), for what is too long for IP or, with `dont_fragment`, for the path (EMSGSIZE),
        and for values that the header cannot carry (EINVAL)."""
        self.counters.out_requests += 1
        self.last_sent = now
        ttl = (1 if is_multicast(destination) else DEFAULT_TTL) if ttl is None else ttl
        if options or not (0 < ttl < 256 and 0 <= traffic_class < 256) or len(payload) > LONGEST_PLAIN_PAYLOAD:
            check_fields(payload, ttl, traffic_class, options)
        way = self._egress.way(destination, interface)
        out = way.interface
        source = self._egress.source(destination, way, source)
        mtu = LOCAL_MTU if out is None else self.path_mtus.lookup(destination, out.mtu)
        longest = segmentation.longest(payload, segment_size) if segment_size else len(payload)
        longest += ipv4.HEADER_LENGTH + len(options) + -len(options) % 4
        if dont_fragment and longest > mtu:
            raise self._too_long(longest, mtu, destination)
        pieces = segmentation.pieces_of(payload, segment_size) if segment_size else 1
        packet = ipv4.build(
            source,
            destination,
            protocol,
            payload,
            ttl=ttl,
            identification=0 if dont_fragment else self._identifications.next(source, destination, protocol, pieces),
            dont_fragment=dont_fragment,
            traffic_class=traffic_class,
            options=options,
        )
        if out is None:
            self._loop(packet, LOCAL_INTERFACE, now)
            return
        if multicast_loop and is_multicast(destination) and self.igmp.is_member(out.index, destination):
            self._loop(packet, out.index, now)
        if partial_checksum:
            self._transmit_partial(out, packet, way.next_hop, mtu, segment_size, longest, now)
        else:
            self._transmit(out, packet, way.next_hop, mtu, now)

    def _too_long(self, length: int, mtu: int, destination: Ip4) -> MisuseError:
        self.counters.frag_fails += 1
        return MisuseError(f"{length} octets, {mtu} fit the path to {format_ip4(destination)}", errno=errno.EMSGSIZE)

    def _transmit_partial(
        self, out: Interface, packet: bytes, next_hop: Ip4, mtu: int, segment_size: int, longest: int, now: int
    ) -> None:
        """Sends a TCP segment that the link is to finish, or finishes it here where the link cannot."""
        if not out.offload or longest > mtu:
            for piece in segmentation.cut(packet, segment_size):
                self._transmit(out, piece, next_hop, mtu, now)
            return
        if self._tracer.packets:
            self._tracer(now, packet_events.sent(out.name, ipv4.parse(packet)[0], len(packet)))
        out.send(packet, next_hop, now, segment_size=segment_size, partial_checksum=True)

    def _transmit(self, out: Interface, packet: bytes, next_hop: Ip4, mtu: int, now: int) -> None:
        if len(packet) <= mtu and not self._tracer.packets:
            out.send(packet, next_hop, now)
            return
        header, payload = ipv4.parse(packet)
        pieces = [packet]
        if len(packet) > mtu:
            pieces = fragmentation.fragment(header, payload, mtu)
            self.counters.frag_oks += 1
            self.counters.frag_creates += len(pieces)
            self._tracer(now, packet_events.fragmented(header, len(pieces), mtu))
        for piece in pieces:
            if self._tracer.packets:
                self._tracer(now, packet_events.sent(out.name, header, len(piece)))
            out.send(piece, next_hop, now)

    def _loop(self, packet: bytes, index: int, now: int) -> None:
        if len(self._local) >= LOCAL_QUEUE_LIMIT:
            self.counters.out_discards += 1
            header = ipv4.parse(packet)[0]
            self._tracer(now, packet_events.dropped(packet_events.LOOPBACK_NAME, header, "local_queue_full"))
            return
        self._local.append((index, packet))

    # -------------------------------------------------------------------------------------------------- questions

    def source_for(self, destination: Ip4, interface: int | None = None) -> Ip4:
        """The source that `send` would choose. Raises UnreachableError without a route or an address."""
        return self._egress.source(destination, self._egress.way(destination, interface))

    def interface_for(self, destination: Ip4) -> int:
        """The index of the interface that `send` would choose, LOCAL_INTERFACE for this node itself. Raises
        UnreachableError without a route."""
        out = self._egress.way(destination).interface
        return LOCAL_INTERFACE if out is None else out.index

    def path_mtu(self, destination: Ip4, now: int) -> int:  # noqa: ARG002 (estimates end by `timeout`)
        """The longest packet, in octets, header included, that is believed to reach `destination` whole. Raises
        UnreachableError without a route."""
        out = self._egress.way(destination).interface
        return LOCAL_MTU if out is None else self.path_mtus.lookup(destination, out.mtu)

    def offload_for(self, destination: Ip4) -> bool:
        """Whether TCP may leave checksums and cutting to the link on the way to `destination`: the interface has
        offload, or there is none, for what a node sends to itself is neither checked nor cut. Cheap enough to be asked
        before each segment. False without a route."""
        try:
            out = self._egress.way(destination).interface
        except UnreachableError:
            return False
        return out is None or (out.offload and out.up)

    def is_local(self, address: Ip4) -> bool:
        return self.addresses.is_own(address)

    def is_broadcast(self, address: Ip4) -> bool:
        return self.addresses.is_broadcast(address)

    @property
    def has_local(self) -> bool:
        """True while `next_local` has something."""
        return bool(self._local)

    # ---------------------------------------------------------------------------------------------------- changes

    def join(self, group: Ip4, interface: int, now: int) -> None:
        """See `IgmpHost.join`."""
        self.igmp.join(group, interface, now)

    def leave(self, group: Ip4, interface: int, now: int) -> None:
        """See `IgmpHost.leave`."""
        self.igmp.leave(group, interface, now)

    def add_route(self, route: Route, now: int) -> None:
        """Raises LimitError where the table is full."""
        self.routing.add(route, now)

    def remove_route(self, prefix: Prefix, via: Ip4 | None, interface: int, now: int) -> bool:
        """False where there is no such route."""
        return self.routing.remove(prefix, via, interface, now)

    def refresh(self, now: int) -> None:
        """Follows the interfaces' addresses: to be called after whatever may have changed them."""
        self.routing.refresh(now)

    def set_interface(self, interface: Interface, up: bool, now: int) -> None:
        """Tells that a carrier came or went."""
        self.routing.set_interface(interface, up, now)
        if up:
            self.igmp.link_up(interface.index, now)

    def undeliverable(self, interface: Interface, packets: Iterable[bytes], now: int) -> list[IcmpError]:
        """Packets whose next hop did not answer (`Interface.failed`). Sources elsewhere get a host unreachable; about
        our own packets, the errors for the transports above are returned."""
        errors = []
        for packet in packets:
            header, payload = ipv4.parse(packet)
            self.counters.out_discards += 1
            self._forget_gateway(header.destination, now)
            self._tracer(now, packet_events.dropped(interface.name, header, "next_hop_did_not_answer"))
            if header.source not in self.addresses.owner:
                self.icmp.error(
                    packet, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0, now, trigger="next_hop_did_not_answer"
                )
            elif not header.fragment_offset:
                errors.append(IcmpError(header.source, icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, 0, header, payload))
        return errors

    def _forget_gateway(self, destination: Ip4, now: int) -> None:
        route = self.routing.table.lookup(destination)
        if route is not None and route.via is not None:
            self.routing.gateway_failed(route.via, now)

    # ----------------------------------------------------------------------------------------------------- timers

    def timeout(self, now: int) -> None:
        for packet, link_broadcast in self._reassembler.timeout(now):
            kind, code, trigger = icmp.TIME_EXCEEDED, icmp.REASSEMBLY_EXCEEDED, "reassembly_timeout"
            self.icmp.error(packet, kind, code, 0, now, link_broadcast=link_broadcast, trigger=trigger)
        self.path_mtus.timeout(now, self._first_link_mtu)
        self.routing.timeout(now)
        self.igmp.timeout(now)

    def deadline(self) -> int | None:
        return earliest(
            self._reassembler.deadline(), self.path_mtus.deadline(), self.routing.deadline(), self.igmp.deadline()
        )

    def snapshot(self, now: int) -> dict[str, object]:
        return {
            "forwarding": self._forwarder is not None,
            "routes": self.routing.snapshot(),
            "path_mtus": self.path_mtus.snapshot(now),
            "reassembly": self._reassembler.snapshot(),
            "groups": self.igmp.snapshot(),
            "counters": asdict(self.counters),
            "icmp": asdict(self.icmp.counters),
        }

    def _first_link_mtu(self, destination: Ip4) -> int:
        route = self.routing.table.lookup(destination)
        return LOCAL_MTU if route is None else self.interfaces[route.interface].mtu

    def _drop(self, interface: Interface, header: IPv4Header, reason: str, now: int) -> None:
        self._tracer(now, packet_events.dropped(interface.name, header, reason))
