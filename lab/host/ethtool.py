"""Turning off the offloads of an interface (ethtool(8) -K), by ioctl SIOCETHTOOL.

Why. A veth claims to be hardware that computes checksums and cuts segments. So Linux hands it TCP segments of 64 KiB
with an unfinished checksum, and takes such from its peer unverified. Between two Linux kernels nobody notices; a stack
in user space at the other end would see wrong checksums, in frames that no wire can carry. With offloads off, a frame
on a veth is what it would be on a cable. VLAN tags stay in the frame for the same reason.

Where the other end of a link takes such frames (another kernel, or a host of ours whose frames have virtio-net
headers), TCP's offloads stay on, and only these: no other protocol's segments are understood there. It is the features
of the end that sends which count: the kernel finishes a frame, and cuts it, just before it goes to an interface that
cannot; by packet sockets and bridges as well as by its own TCP. So each end has the features that its peer takes.

How. ETHTOOL_GSTRINGS tells the kernel's names of features, whose positions differ between kernels; ETHTOOL_GFEATURES
which of them this interface has and may change; ETHTOOL_SFEATURES changes them in one call; a second GFEATURES
verifies. Bits come in blocks of 32:

    GFEATURES block:  available | requested | active | never changed      (4 x u32)
    SFEATURES block:  valid | requested                                   (2 x u32)
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import re
import socket
import struct
from collections.abc import Callable, Iterable

from lab.errors import DriverError
from lab.host.namespaces import refused

_SIOCETHTOOL = 0x8946
_ETHTOOL_GSTRINGS = 0x1B
_ETHTOOL_GSSET_INFO = 0x37
_ETHTOOL_GFEATURES = 0x3A
_ETHTOOL_SFEATURES = 0x3B
_ETH_SS_FEATURES = 4
_STRING_BYTES = 32
_IFREQ_BYTES = 40

OFFLOADS = re.compile(
    r"rx-(checksum|gro|lro)|tx-(checksum|scatter-gather|gso)|[rt]x-vlan-(stag-)?hw-|tx-.*segmentation$"
)
"""Names of features that make a frame differ from what a wire carries: ethtool's tx, rx, sg, tso, gso, gro, lro, and
VLAN tags kept beside the frame. A prefix matches all variants."""


TCP_OFFLOADS = frozenset(
    {"tx-checksum-ip-generic", "tx-scatter-gather", "tx-generic-segmentation", "tx-tcp-segmentation"}
    | {"tx-tcp-ecn-segmentation"}
)
"""Those with which an interface sends long TCP segments over IPv4 that have no checksum yet. UDP's checksum is left to
the link, too."""


class Ethtool:
    """Features of the interfaces of the network namespace in which it is made."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        except OSError as error:
            raise refused("open a socket for ethtool", error) from error

    def close(self) -> None:
        self._socket.close()

    def features(self, name: str) -> dict[str, bool]:
        """The features that can be changed, and whether each is on. Raises DriverError."""
        names = _feature_names(self, name)
        available, active = self._read(name, len(names))
        return {text: bool(active >> bit & 1) for bit, text in enumerate(names) if available >> bit & 1}

    def offloads_off(self, name: str, *, but_tcp: bool = False) -> None:
        """Turn off every offload, with `but_tcp` all except TCP_OFFLOADS, which are turned on, and verify. Raises
        DriverError, which names what is not as it should be."""
        names = _feature_names(self, name)
        available, active = self._read(name, len(names))
        wanted = available & _bits(names, TCP_OFFLOADS.__contains__) if but_tcp else 0
        ours = available & _bits(names, OFFLOADS.match) | wanted
        if active & ours == wanted:
            return
        request = struct.pack("=II", _ETHTOOL_SFEATURES, _blocks(len(names)))
        for shift in range(0, 32 * _blocks(len(names)), 32):
            request += struct.pack("=II", ours >> shift & 0xFFFF_FFFF, wanted >> shift & 0xFFFF_FFFF)
        self._call(name, "set offloads", request)
        _available, active = self._read(name, len(names))
        wrong = [text for bit, text in enumerate(names) if (active & ours ^ wanted) & 1 << bit]
        if wrong:
            raise DriverError(f"{name}: the kernel does not change these offloads: {', '.join(wrong)}")

    def _read(self, name: str, count: int) -> tuple[int, int]:
        """The available and the active features as bit sets."""
        blocks = _blocks(count)
        request = struct.pack("=II", _ETHTOOL_GFEATURES, blocks) + bytes(16 * blocks)
        words = struct.unpack(f"={4 * blocks}I", self._call(name, "read features", request)[8:])
        available = sum(words[4 * block] << 32 * block for block in range(blocks))
        active = sum(words[4 * block + 2] << 32 * block for block in range(blocks))
        return available, active

    def read_names(self, name: str) -> tuple[str, ...]:
        """The kernel's names of all features, by bit number."""
        request = struct.pack("=IIQI", _ETHTOOL_GSSET_INFO, 0, 1 << _ETH_SS_FEATURES, 0)
        (count,) = struct.unpack_from("=I", self._call(name, "count features", request), 16)
        request = struct.pack("=III", _ETHTOOL_GSTRINGS, _ETH_SS_FEATURES, count) + bytes(_STRING_BYTES * count)
        answer = self._call(name, "read the names of features", request)[12:]
        parts = (answer[at : at + _STRING_BYTES] for at in range(0, _STRING_BYTES * count, _STRING_BYTES))
        return tuple(part.partition(b"\0")[0].decode(errors="replace") for part in parts)

    def _call(self, name: str, doing: str, request: bytes) -> bytes:
        """One ioctl. Its struct ifreq is the interface's name and the address of the request, which gets the answer."""
        buffer = ctypes.create_string_buffer(request, len(request))
        ifreq = struct.pack("@16sP", name.encode(), ctypes.addressof(buffer)).ljust(_IFREQ_BYTES, b"\0")
        try:
            fcntl.ioctl(self._socket, _SIOCETHTOOL, bytearray(ifreq))
        except OSError as error:
            raise refused(f"{doing} of {name}", OSError(error.errno or errno.EIO, error.strerror)) from error
        return buffer.raw


def set_offloads(interfaces: Iterable[tuple[str, bool]]) -> None:
    """Turn off the offloads of interfaces of the current network namespace, where the second value is true all but
    those of TCP, and verify. Raises DriverError."""
    tool = Ethtool()
    try:
        for name, but_tcp in interfaces:
            tool.offloads_off(name, but_tcp=but_tcp)
    finally:
        tool.close()


_names: list[tuple[str, ...]] = []
"""The names are the running kernel's, the same for all interfaces: read once."""


def _feature_names(tool: Ethtool, interface: str) -> tuple[str, ...]:
    if not _names:
        _names.append(tool.read_names(interface))
    return _names[0]


def _bits(names: Iterable[str], chosen: Callable[[str], object]) -> int:
    return sum(1 << bit for bit, text in enumerate(names) if chosen(text))


def _blocks(count: int) -> int:
    return (count + 31) // 32
