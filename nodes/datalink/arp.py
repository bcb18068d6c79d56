"""The ARP cache and resolver of one interface (RFC 826, RFC 1122 sections 2.3.2.1 and 2.3.2.2).

Which MAC address has the neighbour 10.0.0.2? The cache knows, or asks everybody on the segment and keeps the packets
that wait for the answer. What it knows grows old, because hosts move, die and change their network cards, so every
entry walks through these states (those of RFC 4861 section 7.3.2, which says best what RFC 1122 asks of ARP):

                  packet to send                  reply                      not confirmed for 60 s
      (none) ---------------------> incomplete ------------> reachable ------------------------------> stale
        ^  ^                         |      ^                    ^                                     |  |
        |  |             no answer   |      | no answer          | reply                  packet to    |  |
        |  | hold-down   3 times     v      | 2 times            |                        send         |  |
        |  +---------------------- failed   +--------------- probe <-----------------------------------+  |
        |                                                                        not used for 10 min      |
        +-------------------------------------------------------------------------------------------------+

    state        MAC known  packets           asks                                 then
    incomplete   no         wait in a queue   broadcast, once a second, 3 times    failed
    reachable    yes        sent              nobody                               stale
    stale        yes        sent              nobody, until a packet is sent       (none)
    probe        yes        sent              this MAC, once a second, twice       incomplete
    failed       no         given back        nobody (hold-down)                   (none)

**Learning** (RFC 826, "Packet Reception"): the sender of any valid ARP packet updates the entry that exists; a new
entry is made only where the packet was meant for us, because who asks for us is about to talk to us. So a segment full
of ARP fills no cache, and a gratuitous ARP (sender and target the same) corrects the caches of those who care. A MAC
that is changed by a packet not meant for us counts as stale: it is used at once, as a fail-over needs, and verified by
a unicast poll with the next packet.

**Out-of-date entries** are found by unicast polls (RFC 1122 section 2.3.2.1, method 2): the old address is used while
it is polled, so a living neighbour never causes a gap, and a segment hears no broadcast for it. Two unanswered polls
mean that the neighbour has another MAC or is gone, which a broadcast tells apart.

**Never a flood**: one request per second and destination, whatever is sent and however the state changes (RFC 1122
section 2.3.2.1). After a failure, the hold-down answers senders at once instead of asking again for each packet.

**Bounds**: everything that a peer or a scan of addresses can fill has a limit, see the constants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, TypeAlias

from nodes.datalink.deadlines import Deadlines
from nodes.errors import MisuseError
from nodes.trace.events import ArpUpdated, FrameDropped, Tracer
from nodes.units import SECOND
from nodes.wire import arp
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, Ip4, Mac, format_ip4, format_mac
from nodes.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4

CACHE_ENTRIES = 1024
"""Neighbours per interface: Linux's gc_thresh3, four full /24 subnets. A flood of addresses from the wire turns over
these and never more."""

PENDING_PACKETS = 256
"""Per neighbor: the fragments of one datagram of 65,535 octets, also where they were fragmented twice on their way (82
for an MTU of 1500 and then 1400); fewer, and the first large datagram to a new neighbor would always be lost."""

HELD_OCTETS = 4 * 1024 * 1024
"""Octets that wait or are to be given back, all neighbours together: a longest datagram for each of 64. Without it, a
scan of a thousand addresses could hold a thousand queues."""

PACKET_OVERHEAD = 64
"""Octets charged for holding one packet besides its own, so that tiny packets are bounded too."""

MINIMUM_INTERVAL = SECOND
"""RFC 1122 section 2.3.2.1: at most one request per second and destination."""

State: TypeAlias = Literal["none", "incomplete", "reachable", "stale", "probe", "failed"]


class SendFrame(Protocol):
    """How a unit of an interface sends. `note` is the virtio-net header of a packet that has one of its own."""

    def __call__(self, destination: Mac, ethertype: int, payload: bytes, now: int, note: bytes = b"") -> None: ...


@dataclass(frozen=True, slots=True)
class ArpSettings:
    """Times in nanoseconds. `defend` is the policy of RFC 5227 section 2.4 for a second conflict within 10 s: `once`
    gives the address up (policy b, for hosts), `always` keeps it (policy c, for routers and servers that everybody
    else is configured to use). `announcements` are broadcasts for an address that comes into use (RFC 5227: 2)."""

    reachable_time: int = 60 * SECOND  # "on the order of a minute", RFC 1122 section 2.3.2.1
    stale_time: int = 600 * SECOND
    request_interval: int = MINIMUM_INTERVAL
    broadcast_requests: int = 3
    unicast_polls: int = 2  # "typically two", RFC 1122 section 2.3.2.1
    hold_down: int = 3 * SECOND
    cache_entries: int = CACHE_ENTRIES
    pending_packets: int = PENDING_PACKETS
    defend: Literal["once", "always"] = "once"
    announcements: int = 2

    def __post_init__(self) -> None:
        if self.request_interval < MINIMUM_INTERVAL:
            raise MisuseError("ARP requests more often than one per second", hint="RFC 1122 section 2.3.2.1")
        if min(self.reachable_time, self.stale_time, self.hold_down) <= 0:
            raise MisuseError("ARP times are positive nanoseconds")
        if min(self.broadcast_requests, self.unicast_polls, self.cache_entries, self.pending_packets) < 1:
            raise MisuseError("ARP needs at least one request, one poll, one entry and one pending packet")
        if self.announcements < 0:
            raise MisuseError("the number of announcements is negative")


@dataclass(slots=True)
class ArpCounters:
    requests_sent: int = 0
    polls_sent: int = 0
    resolutions_failed: int = 0
    packets_failed: int = 0
    packets_dropped: int = 0
    entries_evicted: int = 0
    entries_refused: int = 0


class _Entry:
    __slots__ = ("address", "mac", "pending", "requested_at", "requests", "state")

    def __init__(self, address: Ip4) -> None:
        self.address = address
        self.mac: Mac | None = None
        self.state: State = "none"
        self.requests = 0  # in this state
        self.requested_at: int | None = None
        self.pending: deque[tuple[bytes, bytes]] = deque()  # packets, each with its note


class ArpCache:
    """The neighbours of one interface. `source_for(target)` gives our address that a request names as its sender;
    `given_up` is the interface's list of packets that nobody answered for, which `failed` empties."""

    def __init__(
        self,
        interface: str,
        mac: Mac,
        settings: ArpSettings,
        tracer: Tracer,
        send_frame: SendFrame,
        source_for: Callable[[Ip4], Ip4],
        given_up: list[bytes],
    ) -> None:
        self.counters = ArpCounters()
        self._interface = interface
        self._mac = mac
        self._settings = settings
        self._trace = tracer
        self._send_frame = send_frame
        self._source_for = source_for
        self._entries: dict[Ip4, _Entry] = {}  # the one confirmed longest ago first
        self._deadlines = Deadlines()
        self._failed = given_up
        self._held = 0  # octets in pending queues and in _failed
        self._on_timeout: dict[State, Callable[[_Entry, int], None]] = {
            "incomplete": self._incomplete_timeout,
            "reachable": self._reachable_timeout,
            "stale": self._stale_timeout,
            "probe": self._probe_timeout,
            "failed": self._failed_timeout,
        }

    def __len__(self) -> int:
        return len(self._entries)

    # ------------------------------------------------------------------ packets

    def resolve(self, address: Ip4, now: int) -> Mac | None:
        """The MAC to send to now, or None: then `queue` the packet. Using a stale entry starts its polls."""
        entry = self._entries.get(address)
        if entry is None:
            return None
        if entry.state == "stale":
            self._enter(entry, "probe", "packet to send", now)
            self._ask(entry, now)
        return entry.mac

    def queue(self, packet: bytes, address: Ip4, now: int, note: bytes = b"") -> None:
        """Keep `packet` and its note until `address` is resolved, and see to it that it is asked for. While the
        hold-down of a failed address runs, the packet comes back through `failed` at once."""
        entry = self._entries.get(address)
        if entry is None:
            entry = self._create(address, now)
            if entry is None:
                self._drop(packet, "ARP cache full of pending entries", now)
                return
            self._enter(entry, "incomplete", "packet to send", now)
            self._ask(entry, now)
        if entry.state == "failed":
            self.give_back(packet, now)
        else:
            self._hold(entry, packet, note, now)

    def give_back(self, packet: bytes, now: int) -> None:
        """Hand out `packet` through `failed`, as one whose next hop has no MAC address."""
        cost = len(packet) + PACKET_OVERHEAD
        if self._held + cost > HELD_OCTETS:
            self._drop(packet, "too many octets wait for ARP", now)
            return
        self._held += cost
        self._failed.append(bytes(packet))
        self.counters.packets_failed += 1

    def failed(self) -> list[bytes]:
        """The packets given up since the last call, oldest first per neighbour."""
        if not self._failed:
            return []
        packets = self._failed.copy()
        self._failed.clear()
        self._held -= sum(len(packet) + PACKET_OVERHEAD for packet in packets)
        return packets

    # ----------------------------------------------------------------- learning

    def learn(self, address: Ip4, mac: Mac, now: int, *, for_us: bool, trigger: str) -> None:
        """The merge of RFC 826 for the sender of an ARP packet; `for_us`: its target was our address. The caller has
        refused senders that no neighbour can have (groups, 0.0.0.0, our own addresses)."""
        entry = self._entries.get(address)
        if entry is None:
            entry = self._create(address, now) if for_us else None
            if entry is None:
                self.counters.entries_refused += for_us
                return
        unverified = not for_us and entry.mac is not None and entry.mac != mac
        moved, entry.mac = entry.mac != mac, mac
        self._entries[address] = self._entries.pop(address)
        self._enter(entry, "stale" if unverified else "reachable", trigger, now, changed=moved)
        times = self._settings
        self._deadlines.set(address, now + (times.stale_time if unverified else times.reachable_time))
        self._release(entry, now)

    def forget(self, address: Ip4, trigger: str, now: int) -> None:
        """Remove the entry of `address`, if there is one: it became our own, or a broadcast address."""
        entry = self._entries.get(address)
        if entry is not None:
            self._remove(entry, trigger, now)

    def flush(self, trigger: str, now: int) -> None:
        """Remove everything and drop what waits: when the link comes back it may lead to other neighbours."""
        for entry in list(self._entries.values()):
            self._remove(entry, trigger, now)

    # -------------------------------------------------------------------- timers

    def deadline(self) -> int | None:
        return self._deadlines.earliest()

    def timeout(self, now: int) -> None:
        for address in self._deadlines.due(now):
            entry = self._entries[address]
            self._on_timeout[entry.state](entry, now)

    def _incomplete_timeout(self, entry: _Entry, now: int) -> None:
        if entry.requests < self._settings.broadcast_requests:
            self._ask(entry, now)
            return
        self.counters.resolutions_failed += 1
        self.counters.packets_failed += len(entry.pending)
        self._failed += (packet for packet, _ in entry.pending)  # stay counted in _held until drained
        entry.pending.clear()
        self._enter(entry, "failed", f"no answer to {entry.requests} requests", now)
        self._deadlines.set(entry.address, now + self._settings.hold_down)

    def _reachable_timeout(self, entry: _Entry, now: int) -> None:
        self._enter(entry, "stale", "not confirmed in time", now)
        self._deadlines.set(entry.address, now + self._settings.stale_time)

    def _stale_timeout(self, entry: _Entry, now: int) -> None:
        self._remove(entry, "not used", now)

    def _probe_timeout(self, entry: _Entry, now: int) -> None:
        if entry.requests >= self._settings.unicast_polls:
            entry.mac = None
            self._enter(entry, "incomplete", f"no answer to {entry.requests} polls", now)
        self._ask(entry, now)

    def _failed_timeout(self, entry: _Entry, now: int) -> None:
        self._remove(entry, "hold-down over", now)

    # ------------------------------------------------------------------ the rest

    def _ask(self, entry: _Entry, now: int) -> None:
        """Send the next request of this state, unless the last one, of any state, is less than a second old."""
        interval = self._settings.request_interval
        if entry.requested_at is not None and now < entry.requested_at + interval:
            self._deadlines.set(entry.address, entry.requested_at + interval)
            return
        entry.requests += 1
        entry.requested_at = now
        self._deadlines.set(entry.address, now + interval)
        sender = self._source_for(entry.address)
        request = arp.build(arp.ArpPacket(arp.REQUEST, self._mac, sender, ZERO_MAC, entry.address))
        if entry.mac is None:
            self.counters.requests_sent += 1
            self._send_frame(BROADCAST_MAC, ETHERTYPE_ARP, request, now)
        else:
            self.counters.polls_sent += 1
            self._send_frame(entry.mac, ETHERTYPE_ARP, request, now)

    def _enter(self, entry: _Entry, state: State, trigger: str, now: int, *, changed: bool = False) -> None:
        old, entry.state = entry.state, state
        if old != state:
            entry.requests = 0
        if old != state or changed:
            self._trace(now, ArpUpdated(self._interface, entry.address, entry.mac, old, state, trigger))

    def _create(self, address: Ip4, now: int) -> _Entry | None:
        if len(self._entries) >= self._settings.cache_entries and not self._evict(now):
            return None
        entry = self._entries[address] = _Entry(address)
        return entry

    def _evict(self, now: int) -> bool:
        """Remove the entry confirmed longest ago: none on which packets wait, and none asked for within the last
        interval, for it would be asked for again too early."""
        latest = now - self._settings.request_interval
        for entry in self._entries.values():
            if entry.state != "incomplete" and (entry.requested_at is None or entry.requested_at <= latest):
                self.counters.entries_evicted += 1
                self._remove(entry, "cache full", now)
                return True
        return False

    def _remove(self, entry: _Entry, trigger: str, now: int) -> None:
        for packet, _ in entry.pending:
            self._held -= len(packet) + PACKET_OVERHEAD
            self._drop(packet, trigger, now)
        entry.pending.clear()
        self._deadlines.cancel(entry.address)
        del self._entries[entry.address]
        self._enter(entry, "none", trigger, now)

    def _hold(self, entry: _Entry, packet: bytes, note: bytes, now: int) -> None:
        """Append to the queue. Where it is full the oldest goes: RFC 1122 section 2.3.2.2 wants the latest packet
        saved, and the sender of the oldest is the nearest to giving up on it anyway."""
        cost = len(packet) + PACKET_OVERHEAD
        pending = entry.pending
        while pending and (len(pending) >= self._settings.pending_packets or self._held + cost > HELD_OCTETS):
            oldest, _ = pending.popleft()
            self._held -= len(oldest) + PACKET_OVERHEAD
            self._drop(oldest, "ARP queue full", now)
        if self._held + cost > HELD_OCTETS:
            self._drop(packet, "too many octets wait for ARP", now)
            return
        self._held += cost
        pending.append((bytes(packet), note))

    def _release(self, entry: _Entry, now: int) -> None:
        mac = entry.mac
        while entry.pending and mac is not None:
            packet, note = entry.pending.popleft()
            self._held -= len(packet) + PACKET_OVERHEAD
            self._send_frame(mac, ETHERTYPE_IPV4, packet, now, note)

    def _drop(self, packet: bytes, reason: str, now: int) -> None:
        self.counters.packets_dropped += 1
        self._trace(now, FrameDropped(self._interface, reason, len(packet)))

    def snapshot(self, now: int) -> dict[str, object]:
        """`expires_in` is the time to the entry's next step, in seconds."""
        return {"entries": [self._row(entry, now) for entry in self._entries.values()], **asdict(self.counters)}

    def _row(self, entry: _Entry, now: int) -> dict[str, object]:
        when = self._deadlines.get(entry.address)
        return {
            "address": format_ip4(entry.address),
            "mac": None if entry.mac is None else format_mac(entry.mac),
            "state": entry.state,
            "pending": len(entry.pending),
            "expires_in": None if when is None else (when - now) / SECOND,
        }
