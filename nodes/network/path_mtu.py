"""Path MTUs learned from "fragmentation needed" (RFC 1191).

A packet that must not be fragmented and does not fit the next link comes back as an ICMP error, which names that link's
MTU. Old routers leave the field 0; then the next lower of the common MTUs ("plateaus") is tried. An estimate only ever
falls by such news. As paths change for the better without telling, it is forgotten after ten minutes, and a larger
packet tries the path again (section 6.3).

Whoever can guess what we send can forge such an error. Estimates below 552 octets (the largest datagram that every host
must take, less the longest header, rounded) are therefore not believed: the estimate stops there and the entry is
`locked`, which asks transports to allow fragmentation instead, as Linux does. Real links that narrow still work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.trace.events import PathMtuUpdated, Tracer
from nodes.units import SECOND
from nodes.wire.addresses import Ip4, format_ip4

PLATEAUS = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)
"""RFC 1191 section 7.1."""

FLOOR = 552
LIFETIME = 600 * SECOND
"""RFC 1191 section 6.3: not within 5 minutes of news that it fell, 10 recommended."""

ENTRY_LIMIT = 1024
"""Destinations with an estimate; the oldest is forgotten for a new one, which costs it one more error."""


class PathMtu(NamedTuple):
    mtu: int
    locked: bool
    expires: int


class PathMtuCache:
    """Estimates by destination. A destination without one has the MTU of its first link."""

    __slots__ = ("_entries", "_floor", "_tracer")

    def __init__(self, tracer: Tracer, floor: int = FLOOR) -> None:
        self._tracer = tracer
        self._floor = floor
        self._entries: dict[Ip4, PathMtu] = {}  # those renewed last at the end: in the order of `expires`

    def lookup(self, destination: Ip4, first_link: int) -> int:
        """The largest packet, in octets, for `destination` behind a link of MTU `first_link`."""
        entry = self._entries.get(destination)
        return first_link if entry is None or entry.mtu > first_link else entry.mtu

    def is_locked(self, destination: Ip4) -> bool:
        """True where the path is said to be narrower than what is believed: do not forbid fragmentation."""
        entry = self._entries.get(destination)
        return entry is not None and entry.locked

    def lower(self, destination: Ip4, told: int, length: int, first_link: int, now: int) -> bool:
        """News of a packet of `length` octets that did not fit; `told` is the MTU in it, or 0. False where the news is
        none: nothing smaller than what is believed already."""
        current = self.lookup(destination, first_link)
        mtu = told or next((plateau for plateau in PLATEAUS if plateau < min(length, current)), PLATEAUS[-1])
        if mtu >= current:
            return False
        locked = mtu < self._floor
        new = min(max(mtu, self._floor), current)
        self._entries.pop(destination, None)
        if len(self._entries) >= ENTRY_LIMIT:
            self._entries.pop(next(iter(self._entries)))
        self._entries[destination] = PathMtu(new, locked, now + LIFETIME)
        trigger = "below_floor" if locked else "fragmentation_needed"
        self._tracer(now, PathMtuUpdated(destination, current, new, trigger))
        return True

    def timeout(self, now: int, first_link: Callable[[Ip4], int]) -> None:
        """Forgets what is too old. `first_link` gives the MTU that a destination falls back to, for the event."""
        while self._entries:
            destination, entry = next(iter(self._entries.items()))
            if entry.expires > now:
                return
            del self._entries[destination]
            self._tracer(now, PathMtuUpdated(destination, entry.mtu, first_link(destination), "aged"))

    def deadline(self) -> int | None:
        return next((entry.expires for entry in self._entries.values()), None)

    def snapshot(self, now: int) -> list[dict[str, object]]:
        return [
            {
                "destination": format_ip4(destination),
                "mtu": entry.mtu,
                "locked": entry.locked,
                "expires_in": (entry.expires - now) / SECOND,
            }
            for destination, entry in self._entries.items()
        ]
