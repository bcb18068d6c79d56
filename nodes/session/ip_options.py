"""The options of the level IPPROTO_IP: lifetimes, service, groups and path MTU. See `options`."""

from __future__ import annotations

import errno
import socket

from nodes.session.errors import plain_error
from nodes.session.option_values import INT, Call, Table, Value, constant, number, short_number
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.udp_socket import UdpSocket
from nodes.wire.addresses import Ip4

DEFAULT_TTL = 64

MTU_DONT, MTU_WANT, MTU_DO, MTU_PROBE = range(4)
"""Values of IP_MTU_DISCOVER."""


def _get_ttl(call: Call) -> int:
    ttl = call.endpoint.options.ttl if isinstance(call.endpoint, TcpSocket) else call.endpoint.ttl
    return DEFAULT_TTL if ttl is None else ttl


def _set_ttl(call: Call, value: Value) -> None:
    ttl = number(value)
    if ttl != -1 and not 1 <= ttl <= 255:
        raise plain_error(errno.EINVAL)
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("ttl", DEFAULT_TTL if ttl == -1 else ttl)
    else:
        call.endpoint.ttl = None if ttl == -1 else ttl


def _get_tos(call: Call) -> int:
    endpoint = call.endpoint
    return endpoint.options.traffic_class if isinstance(endpoint, TcpSocket) else endpoint.traffic_class


def _set_tos(call: Call, value: Value) -> None:
    tos = short_number(value) & 0xFF
    if isinstance(call.endpoint, TcpSocket):
        call.tcp("traffic_class", tos & 0xFC)  # the bits of ECN are TCP's
    else:
        call.endpoint.traffic_class = tos


def _set_multicast_ttl(call: Call, value: Value) -> None:
    ttl = short_number(value)
    if not -1 <= ttl <= 255:
        raise plain_error(errno.EINVAL)
    call.datagrams().multicast_ttl = 1 if ttl == -1 else ttl


def _set_multicast_loop(call: Call, value: Value) -> None:
    call.datagrams().multicast_loop = short_number(value) != 0


def _get_multicast_interface(call: Call) -> bytes:
    """The address of the interface, as Linux tells it."""
    index = call.datagrams().multicast_interface
    if index is None:
        return bytes(4)
    addresses = call.session.stack.interfaces[index].addresses
    return addresses[0].address.to_bytes(4, "big") if addresses else bytes(4)


def _set_multicast_interface(call: Call, value: Value) -> None:
    endpoint = call.datagrams()
    if isinstance(value, int):
        value = INT.pack(value)
    if len(value) >= 12:  # struct ip_mreqn: group, address, interface
        endpoint.multicast_interface = _interface(call, value[4:8], number(value[8:12]))
    elif len(value) >= 4:  # an address, with or without a group before it
        endpoint.multicast_interface = _interface(call, value[4:8] if len(value) >= 8 else value[:4], 0)
    else:
        raise plain_error(errno.EINVAL)


def _membership(call: Call, value: Value) -> tuple[Ip4, int | None]:
    """struct ip_mreq: group, address of the interface; ip_mreqn: the interface's number, too."""
    if isinstance(value, int) or len(value) < 8:
        raise plain_error(errno.EINVAL)
    index = number(value[8:12]) if len(value) >= 12 else 0
    return Ip4(int.from_bytes(value[:4], "big")), _interface(call, value[4:8], index)


def _interface(call: Call, address: bytes, index: int) -> int | None:
    """The index of an interface by its number, or by one of its addresses; None for any. Raises OSError (ENODEV)."""
    interfaces = call.session.stack.interfaces
    if index:
        if not 1 <= index <= len(interfaces):
            raise plain_error(errno.ENODEV)
        return index - 1
    wanted = int.from_bytes(address, "big")
    if not wanted:
        return None
    for interface in interfaces:
        if any(prefix.address == wanted for prefix in interface.addresses):
            return interface.index
    raise plain_error(errno.ENODEV)


def _join(call: Call, value: Value) -> None:
    endpoint = call.datagrams()
    group, interface = _membership(call, value)
    endpoint.join_group(group, call.session.now(), interface)


def _leave(call: Call, value: Value) -> None:
    endpoint = call.datagrams()
    group, interface = _membership(call, value)
    endpoint.leave_group(group, call.session.now(), interface)


def _get_discovery(call: Call) -> int:
    if isinstance(call.endpoint, UdpSocket):
        return call.kept.get(call.key, MTU_DO if call.endpoint.dont_fragment else MTU_WANT)
    return call.kept.get(call.key, MTU_WANT)


def _set_discovery(call: Call, value: Value) -> None:
    wish = number(value)
    if not MTU_DONT <= wish <= MTU_PROBE or (isinstance(call.endpoint, TcpSocket) and wish == MTU_DONT):
        raise plain_error(errno.EINVAL)
    if isinstance(call.endpoint, UdpSocket):
        call.endpoint.dont_fragment = wish >= MTU_DO
    call.kept[call.key] = wish


def _set_record_errors(call: Call, value: Value) -> None:
    call.datagrams().record_errors = number(value) != 0


IP_OPTIONS: Table = {
    int(socket.IP_TTL): (_get_ttl, _set_ttl),
    int(socket.IP_TOS): (_get_tos, _set_tos),
    constant("IP_MULTICAST_TTL", 33): (lambda call: call.datagrams().multicast_ttl, _set_multicast_ttl),
    constant("IP_MULTICAST_LOOP", 34): (lambda call: int(call.datagrams().multicast_loop), _set_multicast_loop),
    constant("IP_MULTICAST_IF", 32): (_get_multicast_interface, _set_multicast_interface),
    constant("IP_ADD_MEMBERSHIP", 35): (None, _join),
    constant("IP_DROP_MEMBERSHIP", 36): (None, _leave),
    constant("IP_MTU_DISCOVER", 10): (_get_discovery, _set_discovery),
    constant("IP_RECVERR", 11): (lambda call: int(call.datagrams().record_errors), _set_record_errors),
}
