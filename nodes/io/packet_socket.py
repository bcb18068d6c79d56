"""An interface of a node as a packet socket: raw Ethernet frames in and out (packet(7)).

The kernel's end of the veth has no address, so that the kernel never answers for us; every frame that the link carries
to this interface comes here, and every frame sent here goes on the link as it is.

- The socket is created with protocol 0 and gets its protocol with `bind`: in between, it would receive the frames of
  all interfaces.
- PACKET_IGNORE_OUTGOING keeps our own frames from coming back (Linux 4.20 or newer; an older kernel refuses it).
- The socket is bound to an interface index. When the link goes down, one call reports ENETDOWN; when it comes back, the
  socket works again, without a new bind.
- After a link came up, the kernel drops what is sent, without an error, until it has taken note of the carrier, some
  milliseconds later: the operational state of the interface (rtnetlink) tells when, not this socket.
- Frames are received into a buffer that is reused and then copied, because the stack keeps slices of frames. A `recv`
  of the largest size would allocate 64 KiB for each frame and shrink it: a third slower for full frames.
- With PACKET_VNET_HDR, every frame begins with a virtio-net header (nodes.wire.virtio), both ways. What is sent may
  then be a TCP segment of up to 64 KiB without a checksum, which the kernel passes on as it is where the interface has
  the features for it (lab/host/ethtool.py), and finishes and cuts where not.
- A VLAN tag that a driver took out of the frame (hardware acceleration, which a veth has too) is only in the auxiliary
  data of `recvmsg`, at twice the cost. Layerlab's links have no VLANs, and without offloads the tag stays in the frame.
"""

from __future__ import annotations

import errno
import socket
import time
from struct import Struct
from typing import NamedTuple

from nodes.units import SECOND

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
SO_TIMESTAMPNS = 35

RECEIVE_BUFFER = 4 << 20
"""Octets of kernel memory for frames that wait: 20 ms of full frames at 1 Gbit/s, counted with their overhead."""

SEND_BUFFER = 1 << 20

OFFLOAD_RECEIVE_BUFFER = 32 << 20
"""For frames of 64 KiB: as many octets as the largest receive windows of the connections that send at once, and as much
again, for the kernel charges a frame with the memory around it."""

MAXIMUM_FRAME = 65_560
"""The largest frame: an IPv4 packet of 65535 octets behind 14 of Ethernet and 10 of virtio-net header, rounded up."""

_BUFFER = bytearray(MAXIMUM_FRAME)
_VIEW = memoryview(_BUFFER)
"""Where frames arrive before they are copied: one for all sockets of a process, which has one thread."""

_STATISTICS = Struct("=II")  # struct tpacket_stats: packets, drops
_TIMESTAMP = Struct("=qq")  # struct timespec, wall clock
_TIMESTAMP_SPACE = socket.CMSG_SPACE(_TIMESTAMP.size)
DOWN = frozenset({errno.ENETDOWN, errno.ENXIO, errno.ENODEV})
"""What a socket says when its interface is down, or gone."""


class HeardFrame(NamedTuple):
    """`inbound`: it came from the link, and was not sent there by the kernel. `time`: when (ns, monotonic clock), for
    by the time a listener reads a frame that left, its answer may have been received elsewhere."""

    frame: bytes
    inbound: bool
    time: int


class PacketSocket:
    """Non-blocking; needs CAP_NET_RAW in the network namespace. Raises OSError where the interface does not exist or
    the kernel refuses the socket. `outgoing`: hear also what the kernel's own stack sends on the interface. `offload`:
    frames begin with a virtio-net header."""

    __slots__ = (
        "_drops",
        "_packets",
        "_socket",
        "interface",
        "not_sent",
        "received",
        "sent",
        "truncated",
        "up",
    )

    def __init__(
        self,
        interface: str,
        *,
        receive_buffer: int | None = None,
        send_buffer: int = SEND_BUFFER,
        outgoing: bool = False,
        offload: bool = False,
    ) -> None:
        self.interface = interface
        self.up = True
        """False from an ENETDOWN or ENXIO until a frame passes again."""
        self.received = 0
        self.sent = 0
        self.truncated = 0
        """Frames longer than MAXIMUM_FRAME, thrown away."""
        self.not_sent: dict[str, int] = {}
        """Frames that the kernel did not take, by the name of its error."""
        self._packets = 0
        self._drops = 0
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            if outgoing:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            else:
                self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            if offload:
                self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            receive_buffer = receive_buffer or (OFFLOAD_RECEIVE_BUFFER if offload else RECEIVE_BUFFER)
            _size(self._socket, SO_RCVBUFFORCE, socket.SO_RCVBUF, receive_buffer)
            _size(self._socket, SO_SNDBUFFORCE, socket.SO_SNDBUF, send_buffer)
            self._socket.bind((interface, ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def bind_again(self) -> None:
        """After the interface may have been replaced by another of its name: a socket whose interface is deleted hears
        nothing more. Without effect where it is the same, or where it is gone again."""
        try:
            self._socket.bind((self.interface, ETH_P_ALL))
        except OSError as error:
            if error.errno not in DOWN:
                raise
            self.up = False

    def receive_batch(self, limit: int = 64) -> list[bytes]:
        """The frames that wait, at most `limit`; more may wait behind them. Empty: none, or the link is down."""
        frames: list[bytes] = []
        recv_into, buffer, view = self._socket.recv_into, _BUFFER, _VIEW
        try:
            for _ in range(limit):
                length = recv_into(buffer, 0, socket.MSG_TRUNC)  # the length on the wire, also of what does not fit
                if length > MAXIMUM_FRAME:
                    self.truncated += 1
                    continue
                frames.append(view[:length].tobytes())
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in DOWN:
                raise
            self.up = False
        if frames:
            self.received += len(frames)
            self.up = True
        return frames

    def listen_batch(self, limit: int = 64) -> list[HeardFrame]:
        """As `receive_batch`, for a socket that hears outgoing frames too."""
        frames: list[HeardFrame] = []
        try:
            for _ in range(limit):
                frame, ancillary, _flags, address = self._socket.recvmsg(MAXIMUM_FRAME, _TIMESTAMP_SPACE)
                frames.append(HeardFrame(frame, address[2] != socket.PACKET_OUTGOING, _passed(ancillary)))
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno not in DOWN:
                raise
            self.up = False
        self.received += len(frames)
        return frames

    def send(self, frame: bytes | bytearray | memoryview) -> bool:
        """Put a frame on the link. False: the kernel did not take it, which `not_sent` counts by reason: the link is
        full or down, or the frame is longer than its MTU. Raises OSError only for a closed socket."""
        try:
            self._socket.send(frame)
        except OSError as error:
            return self._refused(error)
        self.sent += 1
        self.up = True
        return True

    def _refused(self, error: OSError) -> bool:
        if error.errno == errno.EBADF:
            raise error
        number = error.errno or 0
        name = errno.errorcode.get(number, str(number))
        self.not_sent[name] = self.not_sent.get(name, 0) + 1
        if number in DOWN:
            self.up = False
        return False

    def statistics(self) -> tuple[int, int]:
        """(frames that the kernel offered to this socket, frames it dropped because the buffer was full), both since
        the socket was opened. The kernel starts again at zero with each question; the sums are kept here."""
        packets, drops = _STATISTICS.unpack(self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, _STATISTICS.size))
        self._packets += packets
        self._drops += drops
        return self._packets, self._drops

    def snapshot(self) -> dict[str, object]:
        """What passed, and what did not: frames that the kernel dropped for us, and that it did not take from us."""
        return {
            "name": self.interface,
            "up": self.up,
            "received": self.received,
            "dropped": self.statistics()[1],
            "truncated": self.truncated,
            "sent": self.sent,
            "not_sent": dict(self.not_sent),
        }

    def close(self) -> None:
        """Safe to call twice."""
        self._socket.close()


def _passed(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When the kernel saw a frame, by the monotonic clock."""
    now = time.monotonic_ns()
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESTAMP.unpack(data)
            return min(now, now - time.time_ns() + int(seconds) * SECOND + int(nanoseconds))
    return now


def _size(raw: socket.socket, force: int, plain: int, octets: int) -> None:
    """Beyond the limit of the system where we may (CAP_NET_ADMIN of the first user namespace), up to it elsewhere."""
    try:
        raw.setsockopt(socket.SOL_SOCKET, force, octets)
    except PermissionError:
        raw.setsockopt(socket.SOL_SOCKET, plain, octets)
