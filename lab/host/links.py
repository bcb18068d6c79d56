"""Requests about interfaces, addresses and routes: the bodies of rtnetlink messages (rtnetlink(7), linux/if_link.h).

    ifinfomsg                                      ifaddrmsg
    +--------+--------+-----------------+          +--------+--------+--------+--------+
    | family |  pad   |  device type    |          | family | prefix |  flags | scope  |
    +--------+--------+-----------------+          +--------+--------+--------+--------+
    |       interface index (0: by name)|          |          interface index          |
    +-----------------------------------+          +-----------------------------------+
    |       flags: IFF_UP ...           |
    +-----------------------------------+
    |       mask of flags to change     |
    +-----------------------------------+

Each function returns a value; nothing is sent here. Interfaces are named by index, which the caller chooses at their
creation: so a whole network is described without one question to the kernel, and goes out in a few batches.

A veth pair is one message that makes both ends where they shall be. The kernel gives the first end everything (also
IFF_UP, and the master); the second is made before they are joined, so that it can neither be set up (ENOTCONN) nor
enslaved in that message: a second message does both at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from lab.host.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Request,
    attribute,
    attribute_text,
    attribute_u8,
    attribute_u16,
    attribute_u32,
    nested,
)
from nodes.wire.addresses import Prefix

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_GETNEIGH = 30

IFF_UP = 0x1
LOOPBACK_INDEX = 1

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER = 1, 3, 4, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64, IFLA_NET_NS_FD = 18, 20, 23, 28
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES, IFLA_CARRIER, IFLA_NEW_IFINDEX = 31, 32, 33, 49
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1

IFLA_BR_FORWARD_DELAY, IFLA_BR_HELLO_TIME, IFLA_BR_MAX_AGE, IFLA_BR_AGEING_TIME = 1, 2, 3, 4
IFLA_BR_STP_STATE, IFLA_BR_PRIORITY, IFLA_BR_MCAST_SNOOPING = 5, 6, 23

IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST = 254, 4, 1
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_HOST = 0, 253, 254
AF_UNSPEC, AF_INET, AF_BRIDGE = 0, 2, 7

USER_HZ = 100
"""Bridges take and give times in clock ticks of user space, which are 1/100 s on every architecture."""
NAME_BYTES = 15
"""The longest interface name: IFNAMSIZ (16) with its final zero."""
ALIAS_BYTES = 255

IFINFO = Struct("=BxHiII")
IFADDR = Struct("=BBBBI")
RTMSG = Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair. `index` 0 lets the kernel choose; for the second end it counts only where the first has
    one. `namespace` is the file descriptor of the network namespace to make it in, None for the socket's own."""

    name: str
    index: int = 0
    mac: bytes | None = None
    mtu: int = 1500
    namespace: int | None = None

    def attributes(self) -> bytes:
        """One queue each way: the default, one per processor, costs memory and time and gains a lab nothing."""
        parts = [
            _name(self.name),
            attribute_u32(IFLA_MTU, self.mtu),
            attribute_u32(IFLA_NUM_TX_QUEUES, 1),
            attribute_u32(IFLA_NUM_RX_QUEUES, 1),
        ]
        if self.mac is not None:
            parts.append(attribute(IFLA_ADDRESS, self.mac))
        if self.namespace is not None:
            parts.append(attribute_u32(IFLA_NET_NS_FD, self.namespace))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the namespace that both sides of a call know."""

    name: str
    index: int


class BridgeSettings(NamedTuple):
    """Times in seconds. The kernel's spanning tree is that of 802.1D-1998."""

    ageing_time: float = 300.0
    spanning_tree: bool = False
    priority: int = 32768
    hello_time: float = 2.0
    max_age: float = 20.0
    forward_delay: float = 15.0


def create_veth(first: VethEnd, second: VethEnd, description: str, *, up: bool = False, master: int = 0) -> Request:
    """A veth pair; `up` and `master` (the index of a bridge beside the first end) concern the first end."""
    peer = nested(VETH_INFO_PEER, IFINFO.pack(AF_UNSPEC, 0, second.index, 0, 0) + second.attributes())
    info = nested(IFLA_LINKINFO, attribute_text(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, peer))
    body = IFINFO.pack(AF_UNSPEC, 0, first.index, IFF_UP * up, IFF_UP * up) + first.attributes() + info
    if master:
        body += attribute_u32(IFLA_MASTER, master)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, description)


def create_bridge(
    name: str, settings: BridgeSettings, description: str, *, index: int = 0, mac: bytes | None = None, mtu: int = 1500
) -> Request:
    """A bridge, up. Multicast snooping is off: without a querier it would cut off groups after some minutes. Without
    spanning tree there is no forwarding delay."""
    delay = settings.forward_delay if settings.spanning_tree else 0.0
    data = nested(
        IFLA_INFO_DATA,
        attribute_u32(IFLA_BR_FORWARD_DELAY, ticks(delay)),
        attribute_u32(IFLA_BR_HELLO_TIME, ticks(settings.hello_time)),
        attribute_u32(IFLA_BR_MAX_AGE, ticks(settings.max_age)),
        attribute_u32(IFLA_BR_AGEING_TIME, ticks(settings.ageing_time)),
        attribute_u32(IFLA_BR_STP_STATE, int(settings.spanning_tree)),
        attribute_u16(IFLA_BR_PRIORITY, settings.priority),
        attribute_u8(IFLA_BR_MCAST_SNOOPING, 0),
    )
    body = IFINFO.pack(AF_UNSPEC, 0, index, IFF_UP, IFF_UP) + _name(name) + attribute_u32(IFLA_MTU, mtu)
    if mac is not None:
        body += attribute(IFLA_ADDRESS, mac)
    body += nested(IFLA_LINKINFO, attribute_text(IFLA_INFO_KIND, "bridge"), data)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, description)


def change_link(
    index: int,
    description: str,
    *,
    up: bool | None = None,
    master: int | None = None,
    mtu: int | None = None,
    name: str = "",
    alias: str = "",
) -> Request:
    """Change what is given and leave the rest. `master` 0 takes the interface out of its bridge. The kernel renames
    an interface that is up only since 6.3: set it down before."""
    flags, change = (IFF_UP * bool(up), IFF_UP) if up is not None else (0, 0)
    body = IFINFO.pack(AF_UNSPEC, 0, index, flags, change)
    if mtu is not None:
        body += attribute_u32(IFLA_MTU, mtu)
    if name:
        body += _name(name)
    if alias:
        body += attribute(IFLA_IFALIAS, alias.encode()[:ALIAS_BYTES])
    if master is not None:
        body += attribute_u32(IFLA_MASTER, master)
    return Request(RTM_SETLINK, 0, body, description)


def move_link(index: int, namespace: int, name: str, description: str) -> Request:
    """Move an interface to another namespace under another name, down, with its index, MAC and MTU kept (EBUSY where
    the index is taken). Its addresses and routes are gone."""
    body = IFINFO.pack(AF_UNSPEC, 0, index, 0, IFF_UP)
    body += attribute_u32(IFLA_NET_NS_FD, namespace) + _name(name) + attribute_u32(IFLA_NEW_IFINDEX, index)
    return Request(RTM_SETLINK, 0, body, description)


def delete_link(index: int, description: str) -> Request:
    """Delete an interface; of a veth pair, both ends."""
    return Request(RTM_DELLINK, 0, IFINFO.pack(AF_UNSPEC, 0, index, 0, 0), description)


def add_address(index: int, prefix: Prefix, description: str, *, replace: bool = False) -> Request:
    """An IPv4 address with its prefix length and directed broadcast address."""
    address = prefix.address.to_bytes(4, "big")
    body = IFADDR.pack(AF_INET, prefix.length, 0, RT_SCOPE_UNIVERSE, index)
    body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
    broadcast = prefix.broadcast
    if broadcast is not None:
        body += attribute(IFA_BROADCAST, broadcast.to_bytes(4, "big"))
    return Request(RTM_NEWADDR, _creation(replace), body, description)


def add_route(
    index: int, destination: Prefix, via: int | None, description: str, *, metric: int = 0, replace: bool = False
) -> Request:
    """A static route in the main table, through a gateway or (`via` None) directly on the link."""
    return Request(RTM_NEWROUTE, _creation(replace), _route(index, destination, via, metric), description)


def delete_route(index: int, destination: Prefix, via: int | None, description: str, *, metric: int = 0) -> Request:
    return Request(RTM_DELROUTE, 0, _route(index, destination, via, metric), description)


def ticks(seconds: float) -> int:
    """Seconds as the bridge counts them."""
    return round(seconds * USER_HZ)


def _creation(replace: bool) -> int:
    return NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)


def _route(index: int, destination: Prefix, via: int | None, metric: int) -> bytes:
    scope = RT_SCOPE_LINK if via is None else RT_SCOPE_UNIVERSE
    body = RTMSG.pack(AF_INET, destination.length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, 0)
    if destination.length:
        body += attribute(RTA_DST, destination.network.to_bytes(4, "big"))
    if via is not None:
        body += attribute(RTA_GATEWAY, via.to_bytes(4, "big"))
    if metric:
        body += attribute_u32(RTA_PRIORITY, metric)
    return body + attribute_u32(RTA_OIF, index)


def _name(name: str) -> bytes:
    if not is_interface_name(name):
        raise ValueError(f"{name!r} is not an interface name: 1 to {NAME_BYTES} bytes without '/', ':', '%' and space")
    return attribute_text(IFLA_IFNAME, name)


def is_interface_name(name: str) -> bool:
    """Whether the kernel takes `name` as it is: `%` would make it a pattern, `all` and `default` are folders of
    sysctls."""
    return (
        0 < len(name.encode()) <= NAME_BYTES
        and name not in {".", "..", "all", "default"}
        and not any(character in "/:%\0" or character.isspace() for character in name)
    )
