"""Reverse ARP (RFC 903): a host that knows its MAC address asks for its IPv4 address.

    client                                              server
      |  broadcast: reverse request                        |
      |  sender MAC = target MAC = mine, addresses 0       |
      |--------------------------------------------------->|  looks the *target* MAC up in its table
      |                                                    |
      |        unicast: reverse reply, target = the answer |
      |<---------------------------------------------------|  not there: silence, another may know

The packet is ARP's, under an EtherType of its own, so that hosts which know only ARP never see it. RFC 903 leaves
retransmission to the client: ours doubles its interval from 1 s to 64 s, with a random part so that a lab which starts
a hundred clients at once does not ask in step, and never gives up, for the server may start last. Neither side learns
ARP entries from RARP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from nodes.units import SECOND
from nodes.wire import arp
from nodes.wire.addresses import ANY, Ip4, Mac, is_loopback, is_multicast

FIRST_INTERVAL = SECOND
LONGEST_INTERVAL = 64 * SECOND  # as DHCP's, RFC 2131 section 4.1: a server is not flooded, a user not lost


@dataclass(slots=True)
class RarpServerCounters:
    answered: int = 0
    unknown: int = 0


class RarpServer:
    """Answers from a fixed table. One server object may serve several interfaces."""

    def __init__(self, table: Mapping[Mac, Ip4]) -> None:
        self.table = dict(table)
        self.counters = RarpServerCounters()

    def answer(self, request: arp.ArpPacket, mac: Mac, source_for: Callable[[Ip4], Ip4]) -> arp.ArpPacket | None:
        """The reply, to be sent to the request's sender; None where the table does not know the target. `mac` and
        `source_for(client)` are the addresses that the server names as its own."""
        found = self.table.get(request.target_mac)
        if found is None:
            self.counters.unknown += 1
            return None
        self.counters.answered += 1
        return arp.ArpPacket(arp.REVERSE_REPLY, mac, source_for(found), request.target_mac, found)


class RarpClient:
    """Asks until `receive` has seen an answer. `length` is the prefix length that RARP cannot tell."""

    def __init__(self, mac: Mac, length: int, random: Random, now: int) -> None:
        self.length = length
        self._mac = mac
        self._random = random
        self._interval = FIRST_INTERVAL
        self._deadline = now
        self.requests = 0

    def deadline(self) -> int:
        return self._deadline

    def timeout(self, now: int) -> arp.ArpPacket | None:
        """The request to broadcast, when it is time."""
        if now < self._deadline:
            return None
        self.requests += 1
        # Three to five quarters of the interval: never less than 0.75 s away, never in step with the neighbours.
        self._deadline = now + self._interval * self._random.randint(750, 1250) // 1000
        self._interval = min(2 * self._interval, LONGEST_INTERVAL)
        return arp.ArpPacket(arp.REVERSE_REQUEST, self._mac, ANY, self._mac, ANY)

    def receive(self, packet: arp.ArpPacket) -> Ip4 | None:
        """The address that the reply gives us. None for replies to others and for what no host can have."""
        address = packet.target_ip
        if packet.operation != arp.REVERSE_REPLY or packet.target_mac != self._mac:
            return None
        unusable = address == ANY or is_multicast(address) or is_loopback(address) or address >> 28 == 0xF
        return None if unusable else address
