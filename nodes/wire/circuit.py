"""The packets of virtual circuits, beside IPv4 on Ethernet, under an EtherType for local experiments (IEEE 802).

    0                   1                   2                   3
    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |  virtual circuit identifier   |            length             |
    +-------------------------------+-------------------------------+
    |  `length` octets: data, or with identifier 0 a signal         |
    +---------------+---------------+-------------------------------+
    |     type      | hops or cause |  identifier that it is about  |
    +---------------+---------------+-------------------------------+
    |            called address, or a neighbour's instance          |
    +---------------------------------------------------------------+
    |                        calling address                        |
    +-------------------------------+-------------------------------+
    |          called port          |         calling port          |
    +-------------------------------+-------------------------------+

What a signal has no use for is 0. A credit has, in place of the called address, how many messages its receiver may send
on the circuit in all. Data needs 4 octets of header, since the tables know the rest. What follows `length` is padding
of the link. The signals have the names of X.25 (ITU-T X.25 section 5.2); signals on an identifier of their own are
ATM's idea.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple, TypeAlias

from nodes.errors import MisuseError, WireError
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer

ETHERTYPE_CIRCUIT = 0x88B6  # IEEE Std 802, local experimental EtherType 2
HEADER = Struct("!HH")
SIGNAL_LAYOUT = Struct("!BBHIIHH")
SIGNALLING = 0
LAST_VCI = 0xFFFF
LONGEST = 0xFFFF


class Signal(IntEnum):
    HELLO = 1
    CALL_REQUEST = 2
    CALL_ACCEPTED = 3
    CLEAR_REQUEST = 4
    CLEAR_CONFIRMATION = 5
    CREDIT = 6


class Hello(NamedTuple):
    """`instance` is another one after each start: who has restarted has forgotten its circuits."""

    instance: int


class CallRequest(NamedTuple):
    vci: int
    hops: int
    called: Ip4
    calling: Ip4
    called_port: int = 0
    calling_port: int = 0


class CallAccepted(NamedTuple):
    vci: int


class ClearRequest(NamedTuple):
    vci: int
    cause: int


class ClearConfirmation(NamedTuple):
    vci: int


class Credit(NamedTuple):
    vci: int
    allowed: int


class Data(NamedTuple):
    vci: int
    payload: bytes


Packet: TypeAlias = Hello | CallRequest | CallAccepted | ClearRequest | ClearConfirmation | Credit | Data


def parse(packet: Buffer) -> Packet:
    """Raises WireError for packets that are cut short, unknown signals, and signals about identifier 0."""
    if len(packet) < HEADER.size:
        raise WireError("circuit", "header", len(packet), f"{len(packet)} octets, 4 expected")
    vci, length = HEADER.unpack_from(packet)
    if len(packet) < HEADER.size + length:
        raise WireError("circuit", "length", 2, f"{length}, {len(packet) - HEADER.size} octets are there")
    if vci != SIGNALLING:
        return Data(vci, bytes(packet[HEADER.size : HEADER.size + length]))
    if length != SIGNAL_LAYOUT.size:
        raise WireError("circuit", "length", 2, f"{length} octets of signal, {SIGNAL_LAYOUT.size} expected")
    kind, detail, about, called, calling, *ports = SIGNAL_LAYOUT.unpack_from(packet, HEADER.size)
    if kind == Signal.HELLO:
        return Hello(called)
    if about == SIGNALLING:
        raise WireError("circuit", "identifier", 6, "0, which is for signals")
    match kind:
        case Signal.CALL_REQUEST:
            return CallRequest(about, detail, Ip4(called), Ip4(calling), *ports)
        case Signal.CALL_ACCEPTED:
            return CallAccepted(about)
        case Signal.CLEAR_REQUEST:
            return ClearRequest(about, detail)
        case Signal.CLEAR_CONFIRMATION:
            return ClearConfirmation(about)
        case Signal.CREDIT:
            return Credit(about, called)
    raise WireError("circuit", "type", 4, f"{kind}, 1 to 6 expected")


def build(packet: Packet) -> bytes:
    """Raises MisuseError for data that is too long or has the signals' identifier."""
    match packet:
        case Data(vci, payload):
            if not SIGNALLING < vci <= LAST_VCI or len(payload) > LONGEST:
                raise MisuseError(f"{len(payload)} octets on circuit {vci}")
            return HEADER.pack(vci, len(payload)) + payload
        case Hello(instance):
            return _signal(Signal.HELLO, 0, 0, instance, 0)
        case CallRequest(vci, hops, called, calling, called_port, calling_port):
            return _signal(Signal.CALL_REQUEST, hops, vci, called, calling, called_port, calling_port)
        case CallAccepted(vci):
            return _signal(Signal.CALL_ACCEPTED, 0, vci, 0, 0)
        case ClearRequest(vci, cause):
            return _signal(Signal.CLEAR_REQUEST, cause, vci, 0, 0)
        case ClearConfirmation(vci):
            return _signal(Signal.CLEAR_CONFIRMATION, 0, vci, 0, 0)
        case Credit(vci, allowed):
            return _signal(Signal.CREDIT, 0, vci, allowed, 0)


def _signal(
    kind: int, detail: int, about: int, called: int, calling: int, called_port: int = 0, calling_port: int = 0
) -> bytes:
    fields = SIGNAL_LAYOUT.pack(kind, detail, about, called, calling, called_port, calling_port)
    return HEADER.pack(SIGNALLING, SIGNAL_LAYOUT.size) + fields
