"""The rules of addresses in a topology. Values stay text, in one normal form; `ipaddress` reads them where needed."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated

from pydantic import AfterValidator, Field

from lab.model.names import wrong

RARP = "rarp"
DEFAULT_ROUTE = "0.0.0.0/0"

_CIDR = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")


def interface_address(text: str) -> str:
    """`10.0.0.1/24`: an address that a node may own, with the length of its prefix; or `rarp`."""
    return text if text == RARP else static_address(text)


def static_address(text: str) -> str:
    try:
        interface = IPv4Interface(text) if _CIDR.fullmatch(text) else None
    except ValueError:
        interface = None
    if interface is None:
        raise wrong(f"{text!r} is not an address with a prefix length", "write it like 10.0.0.1/24")
    _must_be_unicast(interface.ip)
    if not 1 <= interface.network.prefixlen <= 31:
        raise wrong(f"the prefix of {text} has no room for a neighbor", "prefix lengths are 1 to 31")
    return str(interface)


def host_address(text: str) -> str:
    """`10.0.0.254`: one address, such as a gateway."""
    try:
        address = IPv4Address(text)
    except ValueError:
        raise wrong(f"{text!r} is not an address", "write it like 10.0.0.254, without a prefix length") from None
    _must_be_unicast(address)
    return text


def network_prefix(text: str) -> str:
    """`10.0.0.0/24`: a prefix, host bits zero."""
    try:
        if not _CIDR.fullmatch(text):
            raise ValueError(text)
        prefix = IPv4Interface(text).network
    except ValueError:
        raise wrong(f"{text!r} is not a prefix", "write it like 10.0.0.0/24") from None
    if str(prefix) != text:
        raise wrong(f"the prefix {text} has host bits", f"did you mean {str(prefix)!r}?")
    return text


def segment_prefix(text: str) -> str:
    """A prefix that a segment can have."""
    prefix = IPv4Network(network_prefix(text))
    _must_be_unicast(prefix.network_address)
    if not 1 <= prefix.prefixlen <= 31:
        raise wrong(f"the prefix {text} has no room for two nodes", "prefix lengths are 1 to 31")
    return text


def destination(text: str) -> str:
    """Where a route leads: a prefix, an address, or `default`."""
    if text == "default":
        return DEFAULT_ROUTE
    return network_prefix(text if "/" in text else f"{text}/32")


def mac_address(text: str) -> str:
    if not _MAC.fullmatch(text):
        raise wrong(f"{text!r} is not a MAC address", "write it like 02:00:00:00:00:01")
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1:
        raise wrong(f"{text} is a group address", "the first octet of a station's MAC address is even")
    if mac == "00:00:00:00:00:00":
        raise wrong(f"{text} is nobody's address", "write it like 02:00:00:00:00:01")
    return mac


def _must_be_unicast(address: IPv4Address) -> None:
    """RFC 1122 section 3.2.1.3: what no interface may have."""
    if address.is_multicast:
        raise wrong(f"{address} is a multicast address", "a node's address is below 224.0.0.0")
    if address.is_loopback:
        raise wrong(f"{address} is a loopback address", "127.0.0.0/8 never leaves a node")
    if address.is_reserved or int(address) >> 24 == 0:
        raise wrong(f"{address} is reserved", "use an address of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")


InterfaceAddress = Annotated[str, AfterValidator(interface_address), Field(examples=["10.0.0.1/24", "rarp"])]
StaticAddress = Annotated[str, AfterValidator(static_address), Field(examples=["10.0.0.1/24"])]
HostAddress = Annotated[str, AfterValidator(host_address), Field(examples=["10.0.0.254"])]
SegmentPrefix = Annotated[str, AfterValidator(segment_prefix), Field(examples=["10.0.0.0/24"])]
Destination = Annotated[str, AfterValidator(destination), Field(examples=["10.9.0.0/16", "default"])]
MacAddress = Annotated[str, AfterValidator(mac_address), Field(examples=["02:00:00:00:00:01"])]
