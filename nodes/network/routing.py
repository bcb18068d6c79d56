"""Where routes come from, and what ends them.

    static      the topology, or a command at run time; stays until removed
    connected   the prefix of an interface's address, as long as the interface has it
    redirect    a first-hop router said that another one on the link is better (RFC 1122 section 3.2.2.2): a host route,
                kept for some minutes, and dropped at once when its gateway stops answering

Each change is an event with its cause. The table itself (`nodes.network.routes`) knows neither time nor names.
"""

from __future__ import annotations

from nodes.datalink.interface import Interface
from nodes.network.local_addresses import AddressChange, LocalAddresses
from nodes.network.routes import Route, RouteTable
from nodes.trace.events import RouteUpdated, Tracer
from nodes.units import SECOND
from nodes.wire.addresses import Ip4, Prefix, format_ip4

REDIRECT_LIFETIME = 300 * SECOND
"""RFC 1122 gives no number; as long as other systems keep one. A redirect that still holds will come again."""

REDIRECT_LIMIT = 64
"""Host routes learned from redirects. They come from the network, so they are few; the oldest gives way."""


class Routing:
    """The routes of a node with their origin. Used by whoever sends or forwards through `table`."""

    def __init__(self, addresses: LocalAddresses, tracer: Tracer) -> None:
        self.table = RouteTable()
        self._addresses = addresses
        self._tracer = tracer
        self._redirects: dict[Ip4, tuple[Route, int]] = {}  # destination -> its route and when it ends, oldest first

    def add(self, route: Route, now: int, trigger: str = "configuration") -> None:
        """Raises LimitError where the table is full."""
        old = self.table.best(route.prefix)
        self.table.add(route)
        self._changed(route.prefix, old, now, trigger)

    def remove(self, prefix: Prefix, via: Ip4 | None, interface: int, now: int, trigger: str = "configuration") -> bool:
        """False where there is no such route."""
        old = self.table.best(prefix)
        if self.table.remove(prefix, via, interface) is None:
            return False
        self._changed(prefix, old, now, trigger)
        return True

    def refresh(self, now: int) -> list[AddressChange]:
        """Follows the addresses of the interfaces with connected routes, and returns what changed."""
        changes = self._addresses.refresh()
        if changes:
            self.table.changed()  # what was decided from addresses, too, is decided again
        for interface, prefix, added in changes:
            if added:
                self.add(Route(prefix, None, interface.index), now, "address_added")
            elif not _is_connected(interface, prefix):
                self.remove(prefix, None, interface.index, now, "address_removed")
        return changes

    def set_interface(self, interface: Interface, up: bool, now: int) -> None:
        """Passes over, or uses again, the routes of an interface, and says which prefixes lead elsewhere now."""
        prefixes = dict.fromkeys(route.prefix for route in self.table.routes() if route.interface == interface.index)
        before = {prefix: self.table.best(prefix) for prefix in prefixes}
        self.table.set_interface(interface.index, up)
        for prefix, old in before.items():
            self._changed(prefix, old, now, "interface_up" if up else "interface_down")

    def redirect(self, destination: Ip4, gateway: Ip4, interface: int, now: int) -> None:
        """Sends what is for `destination` to `gateway` for a while."""
        self._forget(destination, now, "redirect")
        if len(self._redirects) >= REDIRECT_LIMIT:
            self._forget(next(iter(self._redirects)), now, "redirect_limit")
        route = Route(Prefix(destination, 32), gateway, interface)
        self._redirects[destination] = route, now + REDIRECT_LIFETIME
        self.add(route, now, "redirect")

    def gateway_failed(self, gateway: Ip4, now: int) -> None:
        """Gives up redirects to a gateway that does not answer (RFC 1122 section 3.3.1.4)."""
        for destination in [key for key, (route, _) in self._redirects.items() if route.via == gateway]:
            self._forget(destination, now, "gateway_failed")

    def timeout(self, now: int) -> None:
        for destination in [key for key, (_, end) in self._redirects.items() if end <= now]:
            self._forget(destination, now, "redirect_aged")

    def deadline(self) -> int | None:
        """Redirects all live equally long: the oldest ends first."""
        return next((end for _, end in self._redirects.values()), None)

    def snapshot(self) -> list[dict[str, object]]:
        names = [interface.name for interface in self._addresses.interfaces]
        return [
            {
                "prefix": str(route.prefix),
                "via": None if route.via is None else format_ip4(route.via),
                "interface": names[route.interface],
                "metric": route.metric,
                "origin": self._origin(route),
            }
            for route in self.table.routes()
        ]

    def _origin(self, route: Route) -> str:
        if route.prefix.length == 32 and self._redirects.get(route.prefix.address, (None,))[0] == route:
            return "redirect"
        on_link = route.via is None and _is_connected(self._addresses.interfaces[route.interface], route.prefix)
        return "connected" if on_link else "static"

    def _forget(self, destination: Ip4, now: int, trigger: str) -> None:
        known = self._redirects.pop(destination, None)
        if known is not None:
            route = known[0]
            self.remove(route.prefix, route.via, route.interface, now, trigger)

    def _changed(self, prefix: Prefix, old: Route | None, now: int, trigger: str) -> None:
        prefix = Prefix(prefix.network, prefix.length)
        new = self.table.best(prefix)
        if new != old:
            self._tracer(now, RouteUpdated(prefix, self._describe(old), self._describe(new), trigger))

    def _describe(self, route: Route | None) -> str:
        return "none" if route is None else route.describe(self._addresses.interfaces[route.interface].name)


def _is_connected(interface: Interface, prefix: Prefix) -> bool:
    """True where the interface has an address in exactly this subnet."""
    return any((own.network, own.length) == (prefix.network, prefix.length) for own in interface.addresses)
