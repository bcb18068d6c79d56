"""Names to addresses and back, for the programs of a node: what the C library does with /etc/hosts.

    host                          address
    None                          127.0.0.1, to bind 0.0.0.0 (AI_PASSIVE)
    10.0.0.1, 10.1, 0x7f000001    itself, in all the forms of inet_aton
    localhost, x.localhost        127.0.0.1 (RFC 6761 section 6.3)
    a node of the lab             the address that the lab's table of hosts has, in capital letters or not
    the node itself               the same, or where the table lacks it, its first
    anything else, ""             gaierror EAI_NONAME: there is no DNS behind this
    ::1, any name as AF_INET6     gaierror EAI_ADDRFAMILY: the stack has no IPv6

Everything answers at once. Errors have the numbers and the words of the C library.
"""

from __future__ import annotations

import difflib
import socket
from functools import lru_cache
from typing import NoReturn, TypeAlias

from nodes.session.services import port_of, service_of
from nodes.session.session import Session
from nodes.wire.addresses import ANY, LIMITED_BROADCAST, Ip4, format_ip4

AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]
"""As `socket.getaddrinfo` has it: family, type, protocol, canonical name, socket address."""

Host: TypeAlias = str | bytes | None
Port: TypeAlias = str | bytes | int | None

LOOPBACK = Ip4(0x7F00_0001)

EAI_ADDRFAMILY: int = getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME)

_TEXTS = {
    socket.EAI_NONAME: "Name or service not known",
    EAI_ADDRFAMILY: "Address family for hostname not supported",
    socket.EAI_FAMILY: "ai_family not supported",
    socket.EAI_SOCKTYPE: "ai_socktype not supported",
    socket.EAI_SERVICE: "Servname not supported for ai_socktype",
    socket.EAI_BADFLAGS: "Bad value for ai_flags",
}

_TRANSPORTS = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP, "tcp"),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP, "udp"),
)


def getaddrinfo(
    session: Session,
    host: Host,
    port: Port,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002 (the names are those of the socket module)
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """As `socket.getaddrinfo`: one entry for each transport that fits. Raises socket.gaierror."""
    if family not in (socket.AF_UNSPEC, socket.AF_INET):
        _fail(EAI_ADDRFAMILY if family == socket.AF_INET6 else socket.EAI_FAMILY)
    if host is None and port is None:
        _fail(socket.EAI_NONAME)
    if flags & socket.AI_CANONNAME and host is None:
        _fail(socket.EAI_BADFLAGS)
    name = None if host is None else _text(host)
    transports = [item for item in _TRANSPORTS if type in (0, item[0]) and proto in (0, item[1])]
    if not transports:
        _fail(socket.EAI_SOCKTYPE if type else socket.EAI_SERVICE)
    ports = _ports(port, [protocol for _, _, protocol in transports], flags)
    if name is None:
        address = ANY if flags & socket.AI_PASSIVE else LOOPBACK
    else:
        address = _numeric_or_fail(name) if flags & socket.AI_NUMERICHOST else lookup(session, name)
    canonical = name if name is not None and flags & socket.AI_CANONNAME else ""
    found: list[AddressInfo] = []
    for kind, number, protocol in transports:
        if protocol in ports:
            sockaddr = (format_ip4(address), ports[protocol])
            found.append((socket.AF_INET, kind, int(number), "" if found else canonical, sockaddr))
    return found


def getnameinfo(session: Session, sockaddr: tuple[str, int], flags: int = 0) -> tuple[str, str]:
    """As `socket.getnameinfo`: the names of a host and of a service, or their numbers where they have no name. Raises
    socket.gaierror for what is no numeric IPv4 address, and with NI_NAMEREQD for a host without a name."""
    if len(sockaddr) != 2:
        raise TypeError(f"getnameinfo() takes a pair of address and port, not {sockaddr!r}")
    address = _numeric_or_fail(sockaddr[0])
    port = _checked_port(sockaddr[1])
    name = None if flags & socket.NI_NUMERICHOST else _name_of(session, address)
    if name is None and flags & socket.NI_NAMEREQD:
        _fail(socket.EAI_NONAME)
    protocol = "udp" if flags & socket.NI_DGRAM else "tcp"
    service = None if flags & socket.NI_NUMERICSERV else service_of(port, protocol)
    return name or format_ip4(address), service or str(port)


def resolve_endpoint(session: Session, address: object) -> tuple[Ip4, int]:
    """The pair of host and port that `bind`, `connect` and `sendto` take; "" is 0.0.0.0 there. Raises TypeError and
    OverflowError as the methods of a kernel's socket do, socket.gaierror for a host that is unknown."""
    if not isinstance(address, tuple) or len(address) != 2:
        raise TypeError(f"an address of IPv4 is a pair of host and port, not {address!r}")
    host, port = address
    if not isinstance(host, str | bytes | bytearray):
        raise TypeError(f"a host is text, not {host!r}")
    port = _checked_port(port)
    name = _text(bytes(host) if isinstance(host, bytearray) else host)
    if not name:
        return ANY, port
    if name == "<broadcast>":
        return LIMITED_BROADCAST, port
    return lookup(session, name), port


def resolve_peer(session: Session, address: object) -> tuple[Ip4, int]:
    """As `resolve_endpoint`, for what is sent or connected to: there 0.0.0.0 means this node, as in Linux and the BSDs,
    and programs do connect to the address that they listen on."""
    remote, port = resolve_endpoint(session, address)
    return (LOOPBACK if remote == ANY else remote), port


def lookup(session: Session, name: str) -> Ip4:
    """The address of a host by its name or its number. Raises socket.gaierror."""
    address = numeric(name)
    if address is not None:
        return address
    if ":" in name:
        _fail(EAI_ADDRFAMILY)
    hosts = session.stack.hosts
    plain = name.lower().removesuffix(".")
    if plain == "localhost" or plain.endswith(".localhost"):
        return LOOPBACK
    if name in hosts:
        return hosts[name]
    known = next((item for item in hosts if item.lower() == plain), None)
    if known is not None:
        return hosts[known]
    if plain == session.name.lower():
        return own_address(session)
    names = {item.lower(): item for item in hosts}
    near = difflib.get_close_matches(plain, names, n=1)
    note = f"hint: did you mean {names[near[0]]!r}?" if near else f"hint: {name!r} is no node of the lab"
    raise _error(socket.EAI_NONAME, note)


def own_address(session: Session) -> Ip4:
    """The first address of the node, 127.0.0.1 where it has none."""
    for interface in session.stack.interfaces:
        for prefix in interface.addresses:
            return prefix.address
    return LOOPBACK


@lru_cache(maxsize=4096)
def numeric(text: str) -> Ip4 | None:
    """An address in a form of inet_aton: one to four numbers, decimal, octal (0) or hexadecimal (0x), the last of which
    fills the octets that are left. None for anything else."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    values = [_number(part) for part in parts]
    address = 0
    for index, value in enumerate(values):
        octets = 1 if index < len(values) - 1 else 5 - len(values)
        if value is None or value >> 8 * octets:
            return None
        address = address << 8 * octets | value
    return Ip4(address)


def _number(text: str) -> int | None:
    base, digits = 10, text
    if text[:2] in ("0x", "0X"):
        base, digits = 16, text[2:]
    elif len(text) > 1 and text[0] == "0":
        base, digits = 8, text[1:]
    if not digits.isascii() or not digits.isalnum() or len(digits) > 11:
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def _text(host: str | bytes) -> str:
    """Names beyond ASCII are written as IDNA has it, as `socket` does."""
    if isinstance(host, bytes):
        return host.decode("ascii", "backslashreplace")
    if not isinstance(host, str):
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _numeric_or_fail(text: str) -> Ip4:
    address = numeric(text)
    if address is None:
        _fail(EAI_ADDRFAMILY if ":" in text else socket.EAI_NONAME)
    return address


def _checked_port(port: object) -> int:
    if not isinstance(port, int):
        raise TypeError(f"a port is a number, not {port!r}")
    if not 0 <= port <= 65_535:
        raise OverflowError("port must be 0-65535.")
    return port


def _ports(port: Port, protocols: list[str], flags: int) -> dict[str, int]:
    """The number of the port in each protocol that has one."""
    if isinstance(port, bytes):
        port = port.decode("ascii", "replace")
    if port is None or port == "":
        port = 0
    if isinstance(port, str):
        if not (port.isascii() and port.isdigit()):
            return _service_ports(port, protocols, flags)
        port = int(port[:6])
    if not isinstance(port, int):
        raise OSError("Int or String expected")
    if not 0 <= port <= 65_535:
        _fail(socket.EAI_SERVICE)
    return dict.fromkeys(protocols, port)


def _service_ports(name: str, protocols: list[str], flags: int) -> dict[str, int]:
    if flags & getattr(socket, "AI_NUMERICSERV", 0):
        _fail(socket.EAI_NONAME)
    found = {protocol: number for protocol in protocols if (number := port_of(name, protocol)) is not None}
    if not found:
        _fail(socket.EAI_SERVICE)
    return found


def _name_of(session: Session, address: Ip4) -> str | None:
    if address == LOOPBACK:
        return "localhost"
    hosts = session.stack.hosts
    found = next((name for name in hosts if hosts[name] == address), None)
    if found is None and session.stack.ip.is_local(address):
        return session.name
    return found


def _error(number: int, note: str = "") -> socket.gaierror:
    error = socket.gaierror(number, _TEXTS[number])
    if note:
        error.add_note(note)
    return error


def _fail(number: int) -> NoReturn:
    raise _error(number)
