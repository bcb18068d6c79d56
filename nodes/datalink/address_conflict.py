"""An interface's own IPv4 addresses: probed, announced, defended (RFC 5227).

Two hosts with one address break each other's connections in ways that are hard to see. ARP shows it: a packet whose
sender address is ours and whose sender MAC is not can only come from the other one.

      add, probe=True       3 probes, no conflict            announced twice
    none -------------> probing ------------------> announced ----------------> assigned
     |                    |                         ^  |                        |   ^
     |  add, probe=False  |                         |  | conflict: announce     |   | 10 s without
     +--------------------|-------------------------+  | once more              |   | a second conflict
                          |                            +---------> defended <---+   |
                          | conflict                                 | |  |          |
                          v                        policy "once":    | |  +----------+
                        conflict <------ a second conflict in 10 s --+ +-- policy "always": keep the address, but
                                                                            announce at most once in 10 s

**Probe** (section 2.1.1): a request with sender 0.0.0.0, which changes nobody's cache, sent 3 times, 1 to 2 s apart,
after a random wait of up to 1 s; the address is ours 2 s after the last. That is safe, but 5.5 s pass on average before
the first packet, so it is a choice: an address added without it is usable at once, as in a lab whose plan has been
checked already.

**Announce** (section 2.3): a request with sender and target the address itself, twice, 2 s apart. It corrects the
caches that still hold the MAC of whoever had the address before.

**Defend** (section 2.4): answer a conflict with one announcement, never more than one in 10 s, or two hosts that both
defend would flood the segment. A second conflict within that time means the other one does not yield: policy (b),
`once`, gives the address up; policy (c), `always`, keeps it.

An address in `conflict` is not used. It gets another chance when it is removed and added, or when the link comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal, TypeAlias

from nodes.datalink.arp import ArpSettings, SendFrame
from nodes.datalink.deadlines import Deadlines
from nodes.errors import LimitError, MisuseError
from nodes.trace.events import AddressConflict, AddressUpdated, Tracer
from nodes.units import SECOND
from nodes.wire import arp
from nodes.wire.addresses import (
    ANY,
    BROADCAST_MAC,
    ZERO_MAC,
    Ip4,
    Mac,
    Prefix,
    format_mac,
    is_loopback,
    is_multicast,
)
from nodes.wire.ethernet import ETHERTYPE_ARP

# RFC 5227 section 1.1
PROBE_WAIT = SECOND
PROBE_NUM = 3
PROBE_MIN = SECOND
PROBE_MAX = 2 * SECOND
ANNOUNCE_WAIT = 2 * SECOND
ANNOUNCE_INTERVAL = 2 * SECOND
MAX_CONFLICTS = 10
RATE_LIMIT_INTERVAL = 60 * SECOND
DEFEND_INTERVAL = 10 * SECOND

INTERFACE_ADDRESSES = 256
"""Addresses of one interface: each is looked through when a source is chosen, so their number must stay small."""

State: TypeAlias = Literal["none", "probing", "announced", "assigned", "defended", "conflict"]


@dataclass(slots=True)
class ConflictCounters:
    probes_sent: int = 0
    announcements_sent: int = 0
    conflicts: int = 0
    addresses_lost: int = 0


class _Claim:
    __slots__ = ("prefix", "probe", "sent", "state")

    def __init__(self, prefix: Prefix, probe: bool) -> None:
        self.prefix = prefix
        self.probe = probe
        self.state: State = "none"
        self.sent = 0  # probes or announcements in this state


def check_prefix(prefix: Prefix) -> None:
    """Raises MisuseError where an interface cannot have this address (RFC 1122 section 3.2.1.3)."""
    address = prefix.address
    if address >> 24 == 0 or is_loopback(address) or is_multicast(address) or address >> 28 == 0xF:
        raise MisuseError(f"{prefix} is not the address of an interface", hint="take a unicast address")
    if prefix.length < 31 and address in (prefix.network, prefix.broadcast):
        raise MisuseError(f"{prefix} is the network's or the broadcast address", hint="take a host's address")


class OwnAddresses:
    """The addresses of one interface and their right to exist. `in_use` and `broadcasts` are what others may read;
    `changed(now)` is called after they changed."""

    def __init__(
        self,
        interface: str,
        mac: Mac,
        settings: ArpSettings,
        random: Random,
        tracer: Tracer,
        send_frame: SendFrame,
        changed: Callable[[int], None],
    ) -> None:
        self.in_use: list[Prefix] = []
        self.owned: set[Ip4] = set()
        self.broadcasts: set[Ip4] = set()
        self.counters = ConflictCounters()
        self._interface = interface
        self._mac = mac
        self._settings = settings
        self._random = random
        self._trace = tracer
        self._send_frame = send_frame
        self._changed = changed
        self._up = True
        self._claims: dict[Ip4, _Claim] = {}
        self._deadlines = Deadlines()
        self._probe_conflicts = 0
        self._last_probing = 0

    # ------------------------------------------------------- configuration

    def add(self, prefix: Prefix, now: int, *, probe: bool, trigger: str) -> None:
        """Raises MisuseError for an address that cannot be or is here already, LimitError for one too many."""
        check_prefix(prefix)
        if prefix.address in self._claims:
            raise MisuseError(f"{prefix} is on {self._interface} already")
        if len(self._claims) >= INTERFACE_ADDRESSES:
            raise LimitError(f"{self._interface} has {INTERFACE_ADDRESSES} addresses already")
        claim = self._claims[prefix.address] = _Claim(prefix, probe)
        if self._up:
            self._begin(claim, trigger, now)
        elif not probe:
            self._use(claim, now)

    def remove(self, prefix: Prefix, now: int) -> None:
        """Raises MisuseError where the interface does not have it."""
        claim = self._claims.get(prefix.address)
        if claim is None or claim.prefix != prefix:
            raise MisuseError(f"{prefix} is not on {self._interface}")
        del self._claims[prefix.address]
        self._withdraw(claim, "none", "removed", now)

    def set_up(self, up: bool, now: int) -> None:
        """Down: no timers, no defence; addresses stay in use for the layers above. Up: as if added now, because the
        link may lead to other neighbours (RFC 5227 section 2.1)."""
        self._up = up
        for claim in list(self._claims.values()):
            if up:
                self._begin(claim, "interface up", now)
            else:
                self._deadlines.cancel(claim.prefix.address)
                self._enter(claim, "none", "interface down", now)

    def source_for(self, target: Ip4) -> Ip4:
        """The address to name as the sender of a request: one of the target's own subnet, so that it believes the
        sender to be a neighbour; 0.0.0.0 where we have none, which changes nobody's cache."""
        for prefix in self.in_use:
            if prefix.contains(target):
                return prefix.address
        return self.in_use[0].address if self.in_use else ANY

    # -------------------------------------------------------------- packets

    def receive(self, packet: arp.ArpPacket, now: int) -> bool:
        """Look for a conflict in an ARP packet of another station. True where its sender claims an address of ours:
        then nothing may be learned from it."""
        claim = self._claims.get(packet.sender_ip)
        if claim is not None and claim.state not in ("none", "conflict"):
            self._conflict(claim, packet, now)
            return True
        if packet.sender_ip == ANY and packet.operation == arp.REQUEST:
            claim = self._claims.get(packet.target_ip)
            if claim is not None and claim.state == "probing":  # both probe: section 2.1.1, neither may have it
                self._conflict(claim, packet, now)
        return False

    def _conflict(self, claim: _Claim, packet: arp.ArpPacket, now: int) -> None:
        self.counters.conflicts += 1
        if claim.state == "defended" and self._settings.defend == "always":
            return  # counted only: neither an announcement nor an event more often than every 10 s
        trigger = f"arp operation {packet.operation} of {format_mac(packet.sender_mac)}"
        self._trace(now, AddressConflict(self._interface, claim.prefix.address, packet.sender_mac, trigger))
        if claim.state == "probing":
            self._probe_conflicts += 1
            self._lose(claim, "conflict while probing", now)
        elif claim.state == "defended":
            self._lose(claim, "second conflict within 10 s", now)
        else:
            self._enter(claim, "defended", trigger, now)
            self._announce(claim, now)
            self._deadlines.set(claim.prefix.address, now + DEFEND_INTERVAL)

    def _lose(self, claim: _Claim, trigger: str, now: int) -> None:
        self.counters.addresses_lost += 1
        self._withdraw(claim, "conflict", trigger, now)

    # --------------------------------------------------------------- timers

    def deadline(self) -> int | None:
        return self._deadlines.earliest()

    def timeout(self, now: int) -> None:
        for address in self._deadlines.due(now):
            claim = self._claims[address]
            if claim.state == "probing":
                self._probing_timeout(claim, now)
            elif claim.state == "announced":
                self._announce_next(claim, now)
            else:
                self._enter(claim, "assigned", "no conflict for 10 s", now)

    def _probing_timeout(self, claim: _Claim, now: int) -> None:
        if claim.sent == PROBE_NUM:
            self._claim(claim, "no conflict while probing", now)
            return
        claim.sent += 1
        self.counters.probes_sent += 1
        self._request(ANY, claim.prefix.address, now)
        last = claim.sent == PROBE_NUM
        wait = ANNOUNCE_WAIT if last else self._random.randint(PROBE_MIN, PROBE_MAX)
        self._deadlines.set(claim.prefix.address, now + wait)

    def _announce_next(self, claim: _Claim, now: int) -> None:
        if claim.sent < self._settings.announcements:
            claim.sent += 1
            self._announce(claim, now)
        if claim.sent < self._settings.announcements:
            self._deadlines.set(claim.prefix.address, now + ANNOUNCE_INTERVAL)
        else:
            self._enter(claim, "assigned", "announced", now)

    # -------------------------------------------------------------- the rest

    def _begin(self, claim: _Claim, trigger: str, now: int) -> None:
        if not claim.probe:
            self._claim(claim, trigger, now)
            return
        self._withdraw(claim, "probing", trigger, now)
        start = now + self._random.randint(0, PROBE_WAIT)
        if self._probe_conflicts >= MAX_CONFLICTS:
            start = max(start, self._last_probing + RATE_LIMIT_INTERVAL)
        self._last_probing = start
        self._deadlines.set(claim.prefix.address, start)

    def _claim(self, claim: _Claim, trigger: str, now: int) -> None:
        """From now on the address is ours."""
        self._enter(claim, "announced", trigger, now)
        self._use(claim, now)
        self._announce_next(claim, now)

    def _use(self, claim: _Claim, now: int) -> None:
        if claim.prefix not in self.in_use:
            self.in_use.append(claim.prefix)
            self._update(now)

    def _withdraw(self, claim: _Claim, state: State, trigger: str, now: int) -> None:
        self._deadlines.cancel(claim.prefix.address)
        self._enter(claim, state, trigger, now)
        if claim.prefix in self.in_use:
            self.in_use.remove(claim.prefix)
            self._update(now)

    def _update(self, now: int) -> None:
        self.owned = {prefix.address for prefix in self.in_use}
        self.broadcasts = {prefix.broadcast for prefix in self.in_use if prefix.broadcast is not None}
        self._changed(now)

    def _enter(self, claim: _Claim, state: State, trigger: str, now: int) -> None:
        old, claim.state, claim.sent = claim.state, state, 0
        if old != state:
            self._trace(now, AddressUpdated(self._interface, claim.prefix.address, old, state, trigger))

    def _announce(self, claim: _Claim, now: int) -> None:
        self.counters.announcements_sent += 1
        self._request(claim.prefix.address, claim.prefix.address, now)

    def _request(self, sender: Ip4, target: Ip4, now: int) -> None:
        packet = arp.build(arp.ArpPacket(arp.REQUEST, self._mac, sender, ZERO_MAC, target))
        self._send_frame(BROADCAST_MAC, ETHERTYPE_ARP, packet, now)

    def snapshot(self) -> dict[str, object]:
        rows = [
            {"address": str(claim.prefix), "state": claim.state, "in_use": claim.prefix in self.in_use}
            for claim in self._claims.values()
        ]
        return {"addresses": rows, **asdict(self.counters)}
