"""Interfaces that somebody else made, taken over: found by address, stripped of it, renamed, set up (netdevice(7)).

Where an agent's interfaces come from a driver they are as they should be. A container of a Compose file gets them from
Docker, with names, MACs and addresses of Docker's choice. Here they become those of the plan, by ioctls on any socket:
each is a number and a `struct ifreq`, 16 octets of interface name and a union, and needs no library. Changes need
CAP_NET_ADMIN in the network namespace.

An interface is down while it gets its name, because older kernels rename no other; going down also removes its routes,
Docker's default route with them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from nodes.wire.addresses import Prefix, format_ip4, parse_ip4, parse_mac

SIOCADDRT = 0x890B
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCGIFADDR = 0x8915
SIOCSIFADDR = 0x8916
SIOCSIFNETMASK = 0x891C
SIOCSIFMTU = 0x8922
SIOCSIFNAME = 0x8923
SIOCSIFHWADDR = 0x8924
SIOCETHTOOL = 0x8946

IFF_UP = 0x1
RTF_UP, RTF_GATEWAY, RTF_HOST = 0x1, 0x2, 0x4
ARPHRD_ETHER = 1

ETHTOOL_OFFLOADS = {"checksums": 0x17, "scatter-gather": 0x19, "TSO": 0x1F, "GSO": 0x24, "GRO": 0x2C}
"""ETHTOOL_STXCSUM, SSG, STSO, SGSO, SGRO (linux/ethtool.h): what makes a frame of the kernel's stack differ from what a
wire carries."""

_IFREQ = 40
_ROUTE = struct.Struct("@L16s16s16sHhLBB3hhPLLH")  # struct rtentry of linux/route.h
_LOOPBACK = "lo"


class TakeoverError(Exception):
    """An interface could not become what the plan says. The text has the kernel's words."""


class KernelInterfaces:
    """The interfaces of the network namespace in which it is made. All methods raise TakeoverError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def take_over(self, names: Mapping[str, str], patience: float) -> None:
        """`names` maps the addresses of interfaces to the names that they are to have. Waits `patience` seconds for
        those that are not there yet. Afterwards they are down and have no address."""
        found = self._find(names, patience)
        for number, old in enumerate(found):
            self.set_up(old, up=False)
            self._change("remove the address of", SIOCSIFADDR, old, _socket_address("0.0.0.0"))
            self._change("rename", SIOCSIFNAME, old, _name(_temporary(number)))
        for number, new in enumerate(found.values()):
            self._change(f"give the name {new} to", SIOCSIFNAME, _temporary(number), _name(new))

    def set_up(self, name: str, *, up: bool) -> None:
        flags = self._flags(name)
        self._change("set flags of", SIOCSIFFLAGS, name, struct.pack("=H", flags | IFF_UP if up else flags & ~IFF_UP))

    def set_mac(self, name: str, mac: str) -> None:
        family = struct.pack("=H", ARPHRD_ETHER)
        self._change(f"set the MAC {mac} of", SIOCSIFHWADDR, name, family + parse_mac(mac))

    def set_mtu(self, name: str, mtu: int) -> None:
        self._change(f"set the MTU {mtu} of", SIOCSIFMTU, name, struct.pack("=i", mtu))

    def set_address(self, name: str, address: str) -> None:
        """An address with its prefix length, for the kernel's own stack. The interface gets no other."""
        prefix = Prefix.parse(address)
        mask = format_ip4(prefix.mask)
        self._change(f"set the address {address} of", SIOCSIFADDR, name, _socket_address(address.partition("/")[0]))
        self._change(f"set the mask {mask} of", SIOCSIFNETMASK, name, _socket_address(mask))

    def add_route(self, name: str, destination: str, via: str, metric: int) -> None:
        """A route of the kernel's own stack; `via` empty is the link itself."""
        prefix = Prefix.parse(destination)
        flags = RTF_UP | (RTF_GATEWAY if via else 0) | (RTF_HOST if prefix.length == 32 else 0)
        device = ctypes.create_string_buffer(name.encode())
        addresses = (format_ip4(prefix.network), via or "0.0.0.0", format_ip4(prefix.mask))
        # rt_metric has been one more than the metric since Linux 1
        fields = (flags, 0, 0, 0, 0, 0, 0, 0, metric + 1, ctypes.addressof(device), 0, 0, 0)
        route = _ROUTE.pack(0, *(_socket_address(address).ljust(16, b"\0") for address in addresses), *fields)
        try:
            fcntl.ioctl(self._socket, SIOCADDRT, route)
        except OSError as error:
            raise TakeoverError(f"cannot add the route {destination} via {via}: {error.strerror}") from error

    def offloads_off(self, name: str) -> None:
        """For an interface on which the kernel's own stack sends: a frame is a frame."""
        for offload, command in ETHTOOL_OFFLOADS.items():
            value = ctypes.create_string_buffer(struct.pack("=II", command, 0))
            pointer = struct.pack("@P", ctypes.addressof(value))
            try:
                self._ask(SIOCETHTOOL, name, pointer)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:  # an interface without it needs none of it turned off
                    raise TakeoverError(f"cannot turn off {offload} of {name}: {error.strerror}") from error

    def _find(self, names: Mapping[str, str], patience: float) -> dict[str, str]:
        """Present name to wanted name."""
        end = time.monotonic() + patience
        while True:
            present = {self._address(name): name for _, name in socket.if_nameindex() if name != _LOOPBACK}
            missing = [address for address in names if address not in present]
            if not missing:
                return {present[address]: name for address, name in names.items()}
            if time.monotonic() > end:
                seen = ", ".join(f"{name} {address or 'without address'}" for address, name in present.items())
                raise TakeoverError(
                    f"no interface has the address {missing[0]} that was to become {names[missing[0]]}; "
                    f"there are: {seen or 'none'}"
                )
            time.sleep(0.05)

    def _address(self, name: str) -> str:
        try:
            answer = self._ask(SIOCGIFADDR, name, b"")
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
                return ""
            raise TakeoverError(f"cannot read the address of {name}: {error.strerror}") from error
        return format_ip4(int.from_bytes(answer[20:24], "big"))

    def _flags(self, name: str) -> int:
        try:
            return int(struct.unpack_from("=H", self._ask(SIOCGIFFLAGS, name, b""), 16)[0])
        except OSError as error:
            raise TakeoverError(f"cannot read the flags of {name}: {error.strerror}") from error

    def _change(self, doing: str, request: int, name: str, value: bytes) -> None:
        try:
            self._ask(request, name, value)
        except OSError as error:
            hint = "; the container needs NET_ADMIN" if error.errno == errno.EPERM else ""
            raise TakeoverError(f"cannot {doing} {name}: {error.strerror}{hint}") from error

    def _ask(self, request: int, name: str, value: bytes) -> bytes:
        return fcntl.ioctl(self._socket, request, (_name(name) + value).ljust(_IFREQ, b"\0"))


def _temporary(number: int) -> str:
    """A name on the way: what is wanted may be another's yet."""
    return f"takeover{number}"


def _name(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def _socket_address(address: str) -> bytes:
    """The part of struct sockaddr_in that matters: family, no port, address."""
    return struct.pack("=HH", socket.AF_INET, 0) + parse_ip4(address).to_bytes(4, "big")
