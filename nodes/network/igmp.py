"""The host's side of IGMP version 2 (RFC 2236): telling multicast routers which groups are wanted on a link.

For each group on each interface (section 6):

                  join: report, timer            timer: report
    non-member ------------------> delaying ------------------> idle
        ^                           |  ^  |                      |
        |                           |  |  +--report of another-->|
        |                           |  +------query: timer-------+
        +------leave: leave message if the last report was ours--+

A router asks who is interested; every member waits a random time before it reports, and the first report silences the
others, which hear it as members. Reports of version 1 are sent for 400 seconds after a query of version 1. Nobody
reports 224.0.0.1: all systems are members for ever. Messages have TTL 1 and carry the router alert option, so that
routers look at packets to groups that they are no members of.
"""

from __future__ import annotations

import random as random_module
from dataclasses import dataclass

from nodes.datalink.interface import Interface
from nodes.errors import LimitError, MisuseError, StackError, WireError
from nodes.network import packet_events
from nodes.network.datagram import Datagram
from nodes.network.icmp_sender import Send
from nodes.trace.events import GroupUpdated, PacketDropped, Tracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import igmp, ipv4
from nodes.wire.addresses import ALL_ROUTERS, ALL_SYSTEMS, Ip4, format_ip4, is_multicast, multicast_mac
from nodes.wire.igmp import IgmpMessage

UNSOLICITED_REPORT_INTERVAL = 10 * SECOND  # section 8.10
VERSION_1_ROUTER_PRESENT = 400 * SECOND  # section 8.11
VERSION_1_RESPONSE = 10 * SECOND  # section 4: what a query of version 1, whose field is zero, stands for
RESPONSE_UNIT = 100 * MILLISECOND  # section 2.2

GROUP_LIMIT = 1024
"""Groups over all interfaces: more than any program joins, and as many timers as a query can start at once."""


@dataclass(slots=True)
class Membership:
    """`users` counts the joins, `due` is when a report is to be sent, `last_reporter` that the last report was ours."""

    users: int = 1
    due: int | None = None
    last_reporter: bool = False

    @property
    def state(self) -> str:
        return "idle" if self.due is None else "delaying"


class IgmpHost:
    """The group memberships of a node. `send` is the internet layer's."""

    def __init__(
        self, interfaces: tuple[Interface, ...], send: Send, random: random_module.Random, tracer: Tracer
    ) -> None:
        self._interfaces = interfaces
        self._send = send
        self._random = random
        self._tracer = tracer
        self._members: dict[tuple[int, Ip4], Membership] = {}
        self._version_1_until = [0] * len(interfaces)
        self._deadline: int | None = None
        for interface in interfaces:
            interface.join(multicast_mac(ALL_SYSTEMS))

    def is_member(self, interface: int, group: Ip4) -> bool:
        return group == ALL_SYSTEMS or (interface, group) in self._members

    def join(self, group: Ip4, interface: int, now: int) -> None:
        """Wants a group's packets on an interface; each join needs its leave. Raises MisuseError for what is no group
        or no interface, LimitError for too many groups."""
        self._check(group, interface)
        member = self._members.get((interface, group))
        if member is not None:
            member.users += 1
            return
        if len(self._members) >= GROUP_LIMIT:
            raise LimitError(f"{GROUP_LIMIT} group memberships, the most allowed")
        self._interfaces[interface].join(multicast_mac(group))
        member = self._members[interface, group] = Membership()
        if group != ALL_SYSTEMS:
            self._report(interface, group, member, now)
            member.due = now + self._delay(UNSOLICITED_REPORT_INTERVAL)
            self._rearm()
        self._trace(interface, group, "non-member", member.state, "join", now)

    def leave(self, group: Ip4, interface: int, now: int) -> None:
        """Raises MisuseError where there was no join."""
        self._check(group, interface)
        member = self._members.get((interface, group))
        if member is None:
            raise MisuseError(f"not a member of {format_ip4(group)} on {self._interfaces[interface].name}")
        member.users -= 1
        if member.users:
            return
        del self._members[interface, group]
        self._interfaces[interface].leave(multicast_mac(group))
        if member.last_reporter and now >= self._version_1_until[interface]:
            self._transmit(interface, IgmpMessage(igmp.LEAVE_GROUP, 0, group), ALL_ROUTERS, now)
        self._rearm()
        self._trace(interface, group, member.state, "non-member", "leave", now)

    def receive(self, datagram: Datagram, now: int) -> None:
        """A query, or the report of another member. Other messages are for routers."""
        try:
            message = igmp.parse(datagram.payload)
        except WireError as error:
            self._dropped(datagram, str(error), now)
            return
        if datagram.interface < 0:
            return  # our own
        if message.type == igmp.MEMBERSHIP_QUERY:
            self._query(datagram.interface, message, now)
        elif message.type in (igmp.VERSION_1_REPORT, igmp.VERSION_2_REPORT):
            self._heard(datagram.interface, message.group, now)
        self._rearm()

    def link_up(self, interface: int, now: int) -> None:
        """Reports again on a link that came up: it may be another one, and its routers know nothing."""
        for (index, group), member in self._members.items():
            if index == interface and group != ALL_SYSTEMS:
                self._wait(index, group, member, now + self._delay(UNSOLICITED_REPORT_INTERVAL), "interface_up", now)
        self._rearm()

    def timeout(self, now: int) -> None:
        for (interface, group), member in self._members.items():
            if member.due is not None and member.due <= now:
                member.due = None
                self._report(interface, group, member, now)
                self._trace(interface, group, "delaying", "idle", "timeout", now)
        self._rearm()

    def deadline(self) -> int | None:
        return self._deadline

    def snapshot(self) -> list[dict[str, object]]:
        return [
            {
                "interface": self._interfaces[interface].name,
                "group": format_ip4(group),
                "state": member.state,
                "users": member.users,
                "last_reporter": member.last_reporter,
            }
            for (interface, group), member in self._members.items()
        ]

    def _query(self, interface: int, message: IgmpMessage, now: int) -> None:
        longest = message.maximum_response * RESPONSE_UNIT
        if longest == 0:
            self._version_1_until[interface] = now + VERSION_1_ROUTER_PRESENT
            longest = VERSION_1_RESPONSE
        for (index, group), member in self._members.items():
            if index != interface or group == ALL_SYSTEMS or message.group not in (0, group):
                continue
            if member.due is None or member.due > now + longest:
                self._wait(interface, group, member, now + self._delay(longest), "query", now)

    def _heard(self, interface: int, group: Ip4, now: int) -> None:
        member = self._members.get((interface, group))
        if member is not None and member.due is not None:
            member.due = None
            member.last_reporter = False
            self._trace(interface, group, "delaying", "idle", "report_heard", now)

    def _wait(self, interface: int, group: Ip4, member: Membership, due: int, trigger: str, now: int) -> None:
        old = member.state
        member.due = due
        if old != "delaying":
            self._trace(interface, group, old, "delaying", trigger, now)

    def _delay(self, longest: int) -> int:
        """Above zero, or the timer would be due in the moment that starts it."""
        return self._random.randint(1, longest)

    def _report(self, interface: int, group: Ip4, member: Membership, now: int) -> None:
        version_1 = now < self._version_1_until[interface]
        kind = igmp.VERSION_1_REPORT if version_1 else igmp.VERSION_2_REPORT
        member.last_reporter = True
        self._transmit(interface, IgmpMessage(kind, 0, group), group, now)

    def _transmit(self, interface: int, message: IgmpMessage, destination: Ip4, now: int) -> None:
        try:
            self._send(
                igmp.build(message),
                destination,
                ipv4.PROTOCOL_IGMP,
                now,
                ttl=1,
                options=ipv4.ROUTER_ALERT,
                interface=interface,
            )
        except StackError as error:  # the link is down: `link_up` reports later
            name = self._interfaces[interface].name
            self._tracer(now, PacketDropped(name, Ip4(0), destination, ipv4.PROTOCOL_IGMP, error.message))

    def _check(self, group: Ip4, interface: int) -> None:
        if not is_multicast(group):
            raise MisuseError(f"{format_ip4(group)} is not a multicast address")
        if not 0 <= interface < len(self._interfaces):
            raise MisuseError(f"there is no interface {interface}")

    def _rearm(self) -> None:
        self._deadline = min((member.due for member in self._members.values() if member.due is not None), default=None)

    def _dropped(self, datagram: Datagram, reason: str, now: int) -> None:
        index = datagram.interface
        name = self._interfaces[index].name if index >= 0 else packet_events.LOOPBACK_NAME
        self._tracer(now, packet_events.dropped(name, datagram.header, reason))

    def _trace(self, interface: int, group: Ip4, old: str, new: str, trigger: str, now: int) -> None:
        self._tracer(now, GroupUpdated(self._interfaces[interface].name, group, old, new, trigger))
