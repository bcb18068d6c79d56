"""What the kernel knows of a network namespace, as JSON values: links with counters, addresses, routes, neighbors,
and of a bridge its ports and its forwarding database. Read by netlink dumps in the current network namespace."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

from lab.host import links as rt
from lab.host.netlink import Message, Netlink, NetlinkError, Request, attribute_u32, parse_attributes
from nodes.wire.addresses import format_ip4, format_mac

IFF_LOWER_UP = 0x1_0000

_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_MASTER = 1, 2, 3, 9
_NTF_SELF = 0x02
_NDMSG = Struct("=BxxxiHBB")
_BR_ROOT_ID, _BR_BRIDGE_ID, _BR_ROOT_PORT, _BR_ROOT_PATH_COST, _BR_TOPOLOGY_CHANGE = 10, 11, 12, 13, 14
_PORT_STATE, _PORT_COST, _PORT_NUMBER = 1, 3, 18
_PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_NUD_PERMANENT, _NUD_NOARP = 0x80, 0x40
_NEIGHBOR_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    _NUD_NOARP: "noarp",
    _NUD_PERMANENT: "permanent",
}
_STATISTICS = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
)  # fmt: skip
_STATS64 = Struct(f"={len(_STATISTICS)}Q")
_ROUTE_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 6: "blackhole", 7: "unreachable"}


@dataclass(frozen=True, slots=True)
class Link:
    """One interface. `data` and `port_data` are the attributes of its kind, and those it has as port of a bridge."""

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    kind: str
    master: int
    alias: str
    statistics: dict[str, int]
    data: Mapping[int, bytes]
    port_data: Mapping[int, bytes]

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "mac": self.mac,
            "mtu": self.mtu,
            "up": self.up,
            "carrier": self.carrier,
            **self.statistics,
        }


def read_links(netlink: Netlink) -> list[Link]:
    """All interfaces. Raises NetlinkError."""
    request = Request(rt.RTM_GETLINK, 0, rt.IFINFO.pack(rt.AF_UNSPEC, 0, 0, 0, 0), "list interfaces")
    return [_link(message) for message in netlink.dump(request)]


def read_link(netlink: Netlink, index: int) -> Link:
    """One interface. Raises NetlinkError, ENODEV where there is none of that index."""
    body = rt.IFINFO.pack(rt.AF_UNSPEC, 0, index, 0, 0)
    return _link(netlink.get(Request(rt.RTM_GETLINK, 0, body, f"read interface {index}")))


def read_addresses(netlink: Netlink, names: Mapping[int, str]) -> list[dict[str, object]]:
    """IPv4 addresses; `names` are those of the interfaces by index."""
    request = Request(rt.RTM_GETADDR, 0, rt.IFADDR.pack(rt.AF_INET, 0, 0, 0, 0), "list addresses")
    found: list[dict[str, object]] = []
    for message in netlink.dump(request):
        _family, length, _flags, _scope, index = _head(rt.IFADDR, message)
        attributes = parse_attributes(message.body[rt.IFADDR.size :])
        address = attributes.get(rt.IFA_LOCAL) or attributes.get(rt.IFA_ADDRESS, b"")
        found.append({"interface": names.get(index, str(index)), "address": f"{_ip4(address)}/{length}"})
    return found


def read_routes(netlink: Netlink, names: Mapping[int, str]) -> list[dict[str, object]]:
    """The IPv4 routes of the main table."""
    body = rt.RTMSG.pack(rt.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)  # naming a table that is still empty gives ENOENT
    found: list[dict[str, object]] = []
    for message in netlink.dump(Request(rt.RTM_GETROUTE, 0, body, "list routes")):
        _family, length, _source, _tos, table, _protocol, _scope, kind, _flags = _head(rt.RTMSG, message)
        if table != rt.RT_TABLE_MAIN:
            continue
        attributes = parse_attributes(message.body[rt.RTMSG.size :])
        index = _u32(attributes.get(rt.RTA_OIF))
        via = attributes.get(rt.RTA_GATEWAY)
        found.append(
            {
                "destination": f"{_ip4(attributes.get(rt.RTA_DST, bytes(4)))}/{length}",
                "via": _ip4(via) if via else "",
                "interface": names.get(index, ""),
                "metric": _u32(attributes.get(rt.RTA_PRIORITY)),
                "type": _ROUTE_TYPES.get(kind, str(kind)),
            }
        )
    return found


def read_neighbors(netlink: Netlink, names: Mapping[int, str]) -> list[dict[str, object]]:
    """The ARP cache."""
    request = Request(rt.RTM_GETNEIGH, 0, _NDMSG.pack(rt.AF_INET, 0, 0, 0, 0), "list neighbors")
    found: list[dict[str, object]] = []
    for message in netlink.dump(request):
        _family, index, state, _flags, _kind = _head(_NDMSG, message)
        attributes = parse_attributes(message.body[_NDMSG.size :])
        found.append(
            {
                "interface": names.get(index, str(index)),
                "address": _ip4(attributes.get(_NDA_DST, b"")),
                "mac": format_mac(attributes.get(_NDA_LLADDR, b"")),
                "state": _NEIGHBOR_STATES.get(state, str(state)),
            }
        )
    return found


def read_forwarding_database(netlink: Netlink, bridge: int, names: Mapping[int, str]) -> list[dict[str, object]]:
    """Where a bridge sends which MAC address. `age` is in seconds since a frame from it came; local addresses (the
    ports' own) do not age."""
    body = _NDMSG.pack(rt.AF_BRIDGE, 0, 0, 0, 0) + attribute_u32(_NDA_MASTER, bridge)
    found: list[dict[str, object]] = []
    for message in netlink.dump(Request(rt.RTM_GETNEIGH, 0, body, "read the forwarding database")):
        _family, index, state, flags, _kind = _head(_NDMSG, message)
        attributes = parse_attributes(message.body[_NDMSG.size :])
        if flags & _NTF_SELF or _u32(attributes.get(_NDA_MASTER)) != bridge:
            continue  # the multicast filters of the devices themselves
        _confirmed, _used, updated = struct.unpack_from("=III", attributes.get(_NDA_CACHEINFO, bytes(16)))
        local = bool(state & _NUD_PERMANENT)
        found.append(
            {
                "mac": format_mac(attributes.get(_NDA_LLADDR, b"")),
                "port": names.get(index, str(index)),
                "kind": "local" if local else "static" if state & _NUD_NOARP else "learned",
                "age": None if local else updated / rt.USER_HZ,
            }
        )
    return found


def bridge_port(link: Link) -> dict[str, object]:
    """The state of a bridge's port (IEEE 802.1D-2004 section 7.4), its path cost, and the interface's own state."""
    state = link.port_data.get(_PORT_STATE, b"\xff")[0]
    return {
        "state": _PORT_STATES[state] if state < len(_PORT_STATES) else str(state),
        "path_cost": _u32(link.port_data.get(_PORT_COST)),
        **link.to_json(),
    }


def port_number(link: Link) -> int:
    """The bridge's own number of a port, 0 where the link is none."""
    return int.from_bytes(link.port_data.get(_PORT_NUMBER, b""), sys.byteorder)


def spanning_tree(link: Link, ports: Mapping[int, str]) -> dict[str, object]:
    """The spanning tree's view of a bridge; `ports` are the names by port number."""
    data = link.data
    root_port = int.from_bytes(data.get(_BR_ROOT_PORT, b""), sys.byteorder)
    return {
        "enabled": bool(_u32(data.get(rt.IFLA_BR_STP_STATE))),
        "bridge_id": _bridge_id(data.get(_BR_BRIDGE_ID, b"")),
        "root_id": _bridge_id(data.get(_BR_ROOT_ID, b"")),
        "root_port": ports.get(root_port, ""),
        "root_path_cost": _u32(data.get(_BR_ROOT_PATH_COST)),
        "topology_change": bool(data.get(_BR_TOPOLOGY_CHANGE, b"\0")[0]),
    }


def ageing_time(link: Link) -> float:
    """A bridge's ageing time in seconds."""
    return _u32(link.data.get(rt.IFLA_BR_AGEING_TIME)) / rt.USER_HZ


def _link(message: Message) -> Link:
    _family, _type, index, flags, _change = _head(rt.IFINFO, message)
    attributes = parse_attributes(message.body[rt.IFINFO.size :])
    info = parse_attributes(attributes.get(rt.IFLA_LINKINFO, b""))
    is_port = _text(info.get(rt.IFLA_INFO_SLAVE_KIND)) == "bridge"
    counters = attributes.get(rt.IFLA_STATS64, b"")
    values = _STATS64.unpack_from(counters) if len(counters) >= _STATS64.size else (0,) * len(_STATISTICS)
    return Link(
        index=index,
        name=_text(attributes.get(rt.IFLA_IFNAME)),
        mac=format_mac(attributes.get(rt.IFLA_ADDRESS, b"")),
        mtu=_u32(attributes.get(rt.IFLA_MTU)),
        up=bool(flags & rt.IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        kind=_text(info.get(rt.IFLA_INFO_KIND)),
        master=_u32(attributes.get(rt.IFLA_MASTER)),
        alias=_text(attributes.get(rt.IFLA_IFALIAS)),
        statistics=dict(zip(_STATISTICS, values, strict=True)),
        data=parse_attributes(info.get(rt.IFLA_INFO_DATA, b"")),
        port_data=parse_attributes(info.get(rt.IFLA_INFO_SLAVE_DATA, b"")) if is_port else {},
    )


def _head(layout: Struct, message: Message) -> tuple[int, ...]:
    if len(message.body) < layout.size:
        raise NetlinkError(f"netlink: message {message.type} of {len(message.body)} bytes, {layout.size} expected")
    return layout.unpack_from(message.body)


def _bridge_id(value: bytes) -> str:
    """Priority and MAC as `8000.02:00:00:00:00:01` (802.1D-2004 section 9.2.5)."""
    return f"{value[:2].hex()}.{format_mac(value[2:])}"


def _u32(value: bytes | None) -> int:
    return struct.unpack("=I", value)[0] if value is not None and len(value) == 4 else 0


def _text(value: bytes | None) -> str:
    return (value or b"").partition(b"\0")[0].decode(errors="replace")


def _ip4(value: bytes) -> str:
    return format_ip4(int.from_bytes(value, "big")) if len(value) == 4 else ""
