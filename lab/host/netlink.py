"""Netlink, by hand: how a program tells the Linux kernel to make and to change interfaces.

A netlink message is a header, a fixed body that depends on its type, and attributes, each padded to four bytes
(RFC 3549 section 2.2 and 2.3; netlink(7)). All numbers are in the machine's own byte order.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------------------------------------------------------+
    |                  length, with this header                     |
    +-------------------------------+-------------------------------+
    |            type               |            flags              |
    +-------------------------------+-------------------------------+
    |                       sequence number                         |
    +---------------------------------------------------------------+
    |                          port id                              |
    +---------------------------------------------------------------+
    |  body, then attributes: length (16) | type (16) | value ...   |
    +---------------------------------------------------------------+

Theory of operation. One `ip` process per action costs 10 ms; a message costs 0.1 ms, nearly all of it in the kernel.
`Netlink.batch` puts up to 50 messages into one send. The kernel works through all of them, also after one has failed,
and answers each with an NLMSG_ERROR message, the acknowledgement, whose errno is zero for success and whose sequence
number says which request it answers. Two socket options shape the answers: NETLINK_CAP_ACK leaves out the copy of the
request, so that 50 answers fit any receive buffer, and NETLINK_EXT_ACK adds the kernel's own words on what was wrong.
Each request carries a description for people; a refusal is raised with description, errno and those words.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from struct import Struct
from types import TracebackType
from typing import NamedTuple, Self

from lab.errors import DriverError

NETLINK_ROUTE = 0
NETLINK_GENERIC = 16

NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400

_NLMSG_NOOP = 1
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLMSG_OVERRUN = 4

_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1

_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_ERROR = Struct("=i")

BATCH_MESSAGES = 50
"""Messages to a send. More gains nothing; 50 answers stay far below the receive buffer (212,992 bytes by default, of
which an answer takes about 1,000 with the kernel's overhead)."""
BATCH_BYTES = 32 * 1024
"""Bytes to a send: well below the default send buffer, so that a batch is never refused with EMSGSIZE."""
RECEIVE_BYTES = 64 * 1024
"""The kernel fills dump messages up to 32 KiB when the reader offers that much."""
ANSWER_SECONDS = 30
"""The kernel works while the send lasts, so answers are there at once; this ends a wait that has no other end."""
DUMP_ATTEMPTS = 8
"""A dump during which the table changed is inconsistent (NLM_F_DUMP_INTR) and taken again, this many times."""


class NetlinkError(DriverError):
    """The kernel refused a request. `errno` is its number, `words` its own explanation or empty."""

    def __init__(self, message: str, *, errno: int = 0, words: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errno = errno
        self.words = words


class Request(NamedTuple):
    """One message to send: type, flags beside REQUEST and ACK, body with attributes, and what it does in words."""

    type: int
    flags: int
    body: bytes
    description: str


class Message(NamedTuple):
    """One message as received; `body` is what follows the header."""

    type: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute. Raises ValueError for a value that its 16-bit length cannot hold."""
    length = _ATTRIBUTE.size + len(value)
    if length > 0xFFFF:
        raise ValueError(f"netlink attribute {kind}: {len(value)} bytes do not fit")
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length & 3)


def attribute_u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def attribute_u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def attribute_u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attribute_text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *values: bytes) -> bytes:
    """An attribute whose value is attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(values))


def encode(request: Request, sequence: int, extra_flags: int = NLM_F_ACK) -> bytes:
    """The whole message of a request."""
    flags = NLM_F_REQUEST | request.flags | extra_flags
    message = _HEADER.pack(_HEADER.size + len(request.body), request.type, flags, sequence, 0) + request.body
    return message + bytes(-len(message) & 3)


def parse_messages(data: bytes) -> Iterator[Message]:
    """The messages in what one receive gave. Raises NetlinkError for a length that does not fit."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise NetlinkError(f"netlink: {len(data) - offset} bytes left at byte {offset}, a header needs 16")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise NetlinkError(f"netlink: message length {length} at byte {offset} of {len(data)}")
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; of a type that comes twice, the last. Raises NetlinkError for a length that does not fit."""
    found: dict[int, bytes] = {}
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < _ATTRIBUTE.size:
            raise NetlinkError(f"netlink: {end - offset} bytes left at byte {offset}, an attribute needs 4")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise NetlinkError(f"netlink: attribute length {length} at byte {offset} of {end}")
        found[kind & _NLA_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


class Netlink:
    """A netlink socket in the network namespace that the calling thread is in when it is made. It stays there."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise _refusal("open a netlink socket", error.errno or errno.EIO, "") from error
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", ANSWER_SECONDS, 0))
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def batch(self, requests: Sequence[Request]) -> None:
        """Carry out the requests in order. Raises NetlinkError for the first that the kernel refused; those sent
        together with it have been carried out, later ones have not been sent."""
        at = 0
        while at < len(requests):
            at += self._send_some(requests, at)

    def request(self, request: Request) -> None:
        """Carry out one request. Raises NetlinkError."""
        self.batch((request,))

    def get(self, request: Request) -> Message:
        """One entry, asked for by what the request names. Raises NetlinkError.

        With NLM_F_ACK in its flags, the kernel says when it is done: for questions that it may leave unanswered."""
        self._sequence = (self._sequence + 1) & 0x7FFF_FFFF
        self._send(encode(request, self._sequence, 0), request.description)
        answer: Message | None = None
        while True:
            for message in self._receive(request.description):
                if message.sequence != self._sequence:
                    continue
                if message.type != _NLMSG_ERROR:
                    answer = message
                    if not request.flags & NLM_F_ACK:
                        return answer
                    continue
                failure = _failure(message, request)
                if failure is not None or answer is None:
                    raise failure or NetlinkError(f"{request.description}: acknowledged without an answer")
                return answer

    def dump(self, request: Request) -> list[Message]:
        """All entries of a table (NLM_F_DUMP). Raises NetlinkError."""
        for _attempt in range(DUMP_ATTEMPTS):
            entries, consistent = self._dump_once(request)
            if consistent:
                return entries
        raise NetlinkError(f"{request.description}: the table changed during each of {DUMP_ATTEMPTS} attempts")

    def _send_some(self, requests: Sequence[Request], start: int) -> int:
        """Send as many requests from `start` on as one send takes, await their answers, return their number."""
        waiting: dict[int, Request] = {}
        data = bytearray()
        for request in requests[start : start + BATCH_MESSAGES]:
            message = encode(request, self._sequence + 1)
            if data and len(data) + len(message) > BATCH_BYTES:
                break
            self._sequence = (self._sequence + 1) & 0x7FFF_FFFF
            waiting[self._sequence] = request
            data += message
        sent = len(waiting)
        self._send(data, requests[start].description)
        refused: list[tuple[int, NetlinkError]] = []
        while waiting:
            for message_in in self._receive(next(iter(waiting.values())).description):
                answered = waiting.pop(message_in.sequence, None)
                if answered is None or message_in.type != _NLMSG_ERROR:
                    raise NetlinkError(f"netlink: unexpected message {message_in.type}, sequence {message_in.sequence}")
                failure = _failure(message_in, answered)
                if failure is not None:
                    refused.append((message_in.sequence, failure))
        if refused:
            raise min(refused, key=lambda item: item[0])[1]
        return sent

    def _dump_once(self, request: Request) -> tuple[list[Message], bool]:
        self._sequence = (self._sequence + 1) & 0x7FFF_FFFF
        self._send(encode(request, self._sequence, NLM_F_DUMP), request.description)
        entries: list[Message] = []
        consistent = True
        while True:
            for message in self._receive(request.description):
                if message.sequence != self._sequence:
                    continue  # what is left of an earlier dump that was given up
                consistent = consistent and not message.flags & NLM_F_DUMP_INTR
                if message.type == _NLMSG_DONE:
                    _check_done(message, request)
                    return entries, consistent
                if message.type == _NLMSG_ERROR:
                    failure = _failure(message, request)
                    raise failure or NetlinkError(f"{request.description}: acknowledged without an answer")
                if message.type != _NLMSG_NOOP:
                    entries.append(message)

    def _send(self, data: bytes | bytearray, description: str) -> None:
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise _refusal(description, error.errno or errno.EIO, "") from error

    def _receive(self, description: str) -> list[Message]:
        """The messages of one datagram from the kernel (port 0); another process may write to us, unheard."""
        while True:
            try:
                data, _ancillary, flags, (port, _groups) = self._socket.recvmsg(RECEIVE_BYTES)
            except BlockingIOError:
                raise NetlinkError(f"{description}: no answer from the kernel in {ANSWER_SECONDS} s") from None
            except OSError as error:
                raise _refusal(description, error.errno or errno.EIO, "") from error
            if flags & socket.MSG_TRUNC:
                raise NetlinkError(f"{description}: an answer of more than {RECEIVE_BYTES} bytes")
            if port == 0:
                return list(parse_messages(data))


def _check_done(message: Message, request: Request) -> None:
    """The last message of a dump carries an errno of its own."""
    if len(message.body) >= _ERROR.size:
        (number,) = _ERROR.unpack_from(message.body)
        if number:
            raise _refusal(request.description, -number, "")


def _failure(message: Message, request: Request) -> NetlinkError | None:
    """None for an acknowledgement of success.

    The body is the errno, the header of the request, with CAPPED nothing more of it, and with ACK_TLVS attributes."""
    if len(message.body) < _ERROR.size + _HEADER.size:
        raise NetlinkError(f"{request.description}: an acknowledgement of {len(message.body)} bytes")
    (number,) = _ERROR.unpack_from(message.body)
    if number == 0:
        return None
    words = ""
    if message.flags & _NLM_F_ACK_TLVS:
        (copied,) = struct.unpack_from("=I", message.body, _ERROR.size)
        skip = _HEADER.size if message.flags & _NLM_F_CAPPED else (copied + 3) & ~3
        told = parse_attributes(message.body[_ERROR.size + skip :])
        words = told.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    return _refusal(request.description, -number, words)


def _refusal(description: str, number: int, words: str) -> NetlinkError:
    said = os.strerror(number) + (f" ({words})" if words else "")
    return NetlinkError(f"{description}: {said}", errno=number, words=words, hint=_HINTS.get(number, ""))


_HINTS = {
    errno.EPERM: "this takes CAP_NET_ADMIN: run as root, or allow user namespaces (lab doctor)",
    errno.EACCES: "this takes CAP_NET_ADMIN: run as root, or allow user namespaces (lab doctor)",
    errno.EEXIST: "something of that name or number exists already in that namespace",
    errno.ENOSPC: "a limit of the kernel is reached: see user.max_net_namespaces and lab doctor",
    errno.EOPNOTSUPP: "this kernel has no support for that kind of interface: load its module (lab doctor)",
    errno.ENOMEM: "the machine is out of memory: end other labs or make this one smaller",
    errno.ENOBUFS: "the machine is out of memory: end other labs or make this one smaller",
    errno.EXFULL: "a Linux bridge takes at most 1,023 ports: split the switch",
    errno.EMFILE: "too many open files: raise the limit with ulimit -n",
    errno.ENFILE: "too many open files on this machine: see the sysctl fs.file-max",
}
