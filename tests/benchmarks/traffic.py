"""Load for the forwarding benchmark: a generator that is faster than what it measures, and a sink that costs nothing.

The generator sends copies of one UDP datagram in an Ethernet frame through a packet socket, at a rate or as fast as it
can. (One `send` per frame: sendmmsg(2) through ctypes was slower by a third.)

The sink is two sockets that nobody reads. A packet socket with a filter for our port, whose statistics count what
arrived: it has next to no buffer, so that the kernel counts each frame and copies none. And a UDP socket bound to the
port, whose filter rejects every datagram: without it, the kernel would answer each with an ICMP error.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterable

from tests.benchmarks.rig import Answer

PORT = 5009
BATCH = 64
"""Frames between two looks at the clock, at most."""

GAP = 0.0002
"""Seconds that a paced generator sleeps between two looks at the clock: at 50,000 frames/s it sends 10 at a time."""

_ETH_P_IP = 0x0800
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_SO_ATTACH_FILTER = 26


def datagram_frame(source_mac: bytes, to_mac: bytes, source: str, destination: str, octets: int) -> bytes:
    """A UDP datagram without a checksum, in an IPv4 packet, in a frame of `octets` octets without its FCS."""
    length = octets - 14
    words = [0x4500, length, 0, 0x4000, 64 << 8 | socket.IPPROTO_UDP, 0]
    header = struct.pack("!6H", *words) + socket.inet_aton(source) + socket.inet_aton(destination)
    checksum = -int.from_bytes(header, "big") % 0xFFFF
    header = header[:10] + checksum.to_bytes(2, "big") + header[12:]
    udp = struct.pack("!4H", PORT, PORT, length - 20, 0)
    ethernet = to_mac + source_mac + _ETH_P_IP.to_bytes(2, "big")
    return (ethernet + header + udp).ljust(octets, b"\0")


class Generator:
    """Answers {"frame": hex, "rate": frames/s or 0, "seconds": s} with {"sent", "seconds"}."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))

    def __call__(self, request: Answer) -> Answer:
        frame, rate, sent = bytes.fromhex(request["frame"]), request["rate"], 0
        send = self._socket.send
        begun = time.perf_counter()
        end = begun + request["seconds"]
        while (now := time.perf_counter()) < end:
            due = min(int((now - begun) * rate) - sent, BATCH) if rate else BATCH
            for _ in range(due):
                send(frame)
            sent += max(due, 0)
            if due <= 0:
                time.sleep(GAP)
        return {"sent": sent, "seconds": time.perf_counter() - begun}


class Sink:
    """Answers {"reset": true} by counting from zero, anything else with {"received"}: frames since then."""

    def __init__(self, interface: str, greet: str) -> None:
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        _attach(self._udp, [(0x06, 0, 0, 0)])
        self._udp.bind(("0.0.0.0", PORT))
        self._udp.sendto(b"here I am", (greet, 9))  # neighbors and switches on the way learn where we are
        self._raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._raw.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        _attach(self._raw, _PORT_FILTER)
        self._raw.bind((interface, _ETH_P_IP))
        self._statistics()

    def __call__(self, request: Answer) -> Answer:
        return {"received": self._statistics()}

    def _statistics(self) -> int:
        """Frames that passed the filter since the last question."""
        return int(struct.unpack("=II", self._raw.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[0])


_PORT_FILTER = [
    (0x30, 0, 0, 23),  # the IP protocol
    (0x15, 0, 3, socket.IPPROTO_UDP),
    (0x28, 0, 0, 36),  # the destination port, behind a header without options
    (0x15, 0, 1, PORT),
    (0x06, 0, 0, 64),
    (0x06, 0, 0, 0),
]
"""Classic BPF, as tcpdump would write it for `udp dst port PORT`."""


def _attach(to: socket.socket, program: Iterable[tuple[int, int, int, int]]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(code) // 8, ctypes.addressof(buffer)))
