"""Traffic control: the queueing disciplines (qdiscs), filters and actions that the kernel has on interfaces (tc(8)).

    tcmsg: the body of every message here           what is attached where
    +--------+--------------------------+           root      parent FFFF:FFFF   of frames that leave
    | family |           pad            |           clsact    parent FFFF:FFF1   holds filters, no frames:
    +--------+--------------------------+             ingress        FFFF:FFF2     of frames that arrive
    |          interface index          |             egress         FFFF:FFF3     of frames that leave, before root
    +-----------------------------------+
    |    handle: major:minor, 16 each   |           A message with CREATE and REPLACE and a handle changes the qdisc
    +-----------------------------------+           that has this handle, in place, with its frames; where another
    |              parent               |           one is, it takes its place, and that one's frames are lost.
    +-----------------------------------+
    |  info: priority | EtherType       |
    +-----------------------------------+

A cable of two halves. Two interfaces of one namespace are joined by `redirect` in both directions: a filter that
matches everything, with the action "mirred egress redirect", sends each frame that arrives at one out of the other. The
frame goes through the other's root qdisc as if the kernel had sent it, which is where a netem can hold it. It never
reaches the namespace's own IP stack, and needs no bridge, which would learn, age and eat link-local frames (802.1D).
Packet sockets still see every frame.

The kernel answers a question about a qdisc (RTM_GETQDISC) only to those who listen to its announcements, or ask for an
echo (NLM_F_ECHO); about those of its own making it says nothing at all, hence the acknowledgement (NLM_F_ACK).
"""

from __future__ import annotations

import errno
import struct
import sys
from struct import Struct
from typing import NamedTuple

from lab.host.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Netlink,
    NetlinkError,
    Request,
    attribute,
    attribute_text,
    nested,
    parse_attributes,
)

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER = 44
NLM_F_ECHO = 0x008

TCMSG = Struct("=BxxxiIII")
ROOT = 0xFFFF_FFFF
CLSACT, CLSACT_HANDLE, INGRESS = 0xFFFF_FFF1, 0xFFFF_0000, 0xFFFF_FFF2
FIRST_HANDLE = 0x1_0000
"""1:0, what people write as `handle 1:`."""

TCA_KIND, TCA_OPTIONS, TCA_XSTATS, TCA_STATS2 = 1, 2, 4, 7
_STATS_BASIC, _STATS_QUEUE, _STATS_PACKETS64 = 1, 3, 8
_BASIC = Struct("=QI")
_QUEUE = Struct("=5I")

CLASSIFIERS = ("matchall", "u32")
"""Kinds of filter that can match everything, the cheaper one first; a kernel may have been built without either."""
_MATCHALL_ACTIONS, _U32_SELECTOR, _U32_ACTIONS = 2, 5, 7
_U32_EVERYTHING = struct.pack("=BBBxHHhHI", 1, 0, 0, 0, 0, 0, 0, 0)
"""tc_u32_sel without a key to match; flag 1: a match is final. tc's `match u32 0 0` would read four octets of the
packet, and miss frames that have not so many."""
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARAMETERS = 1, 2, 2
_EGRESS_REDIRECT, _STOLEN = 1, 4
_PRIORITY = 1
_ETH_P_ALL = 3


class QdiscState(NamedTuple):
    """One qdisc as the kernel tells it. `frames` and `octets` left it, `backlog` octets in `waiting` frames are inside.
    `options` and `extra` (TCA_XSTATS) are its own."""

    interface: int
    handle: int
    parent: int
    kind: str
    options: bytes
    frames: int
    octets: int
    waiting: int
    backlog: int
    drops: int
    extra: bytes


def set_qdisc(
    index: int, kind: str, options: bytes, flags: int, description: str, *, parent: int = ROOT, handle: int = 0
) -> Request:
    """A qdisc; what is there before is created, kept or changed as `flags` say."""
    body = TCMSG.pack(0, index, handle, parent, 0) + attribute_text(TCA_KIND, kind) + attribute(TCA_OPTIONS, options)
    return Request(RTM_NEWQDISC, flags, body, description)


def delete_qdisc(index: int, description: str, *, parent: int = ROOT) -> Request:
    """Back to the interface's default; frames inside are lost. ENOENT or EINVAL where none was set."""
    return Request(RTM_DELQDISC, 0, TCMSG.pack(0, index, 0, parent, 0), description)


def add_clsact(index: int, description: str) -> Request:
    """A place for filters. EEXIST where there is one."""
    body = TCMSG.pack(0, index, CLSACT_HANDLE, CLSACT, 0) + attribute_text(TCA_KIND, "clsact")
    return Request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, description)


def delete_clsact(index: int, description: str) -> Request:
    """With it go its filters and their actions."""
    return delete_qdisc(index, description, parent=CLSACT)


def redirect(source: int, target: int, classifier: str, description: str) -> Request:
    """All frames that arrive at `source`, which has a clsact, leave by `target`. ENOENT where the kernel lacks the
    classifier (one of CLASSIFIERS) or the action."""
    parameters = struct.pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = nested(
        1,  # the first, and only, action
        attribute_text(_ACT_KIND, "mirred"),
        nested(_ACT_OPTIONS, attribute(_MIRRED_PARAMETERS, parameters)),
    )
    if classifier == "matchall":
        options = nested(_MATCHALL_ACTIONS, action)
    else:
        options = attribute(_U32_SELECTOR, _U32_EVERYTHING) + nested(_U32_ACTIONS, action)
    info = _PRIORITY << 16 | _network_order(_ETH_P_ALL)
    body = TCMSG.pack(0, source, 0, INGRESS, info) + attribute_text(TCA_KIND, classifier)
    return Request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body + nested(TCA_OPTIONS, options), description)


def redirect_all(netlink: Netlink, source: int, target: int, description: str) -> str:
    """`redirect` with the first classifier that the kernel has, which is returned. Raises NetlinkError."""
    missing: NetlinkError | None = None
    for classifier in CLASSIFIERS:
        try:
            netlink.request(redirect(source, target, classifier, description))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            missing = missing or error
        else:
            return classifier
    raise NetlinkError(
        f"{description}: the kernel has no filter for it ({' or '.join(CLASSIFIERS)}) or not the action mirred",
        errno=errno.ENOENT,
        hint="load its module: modprobe act_mirred cls_matchall (lab doctor)",
    ) from missing


def read_qdisc(netlink: Netlink, index: int, description: str, *, parent: int = ROOT) -> QdiscState:
    """The qdisc there, with its counters. Raises NetlinkError, also for one that the kernel does not show."""
    request = Request(RTM_GETQDISC, NLM_F_ECHO | NLM_F_ACK, TCMSG.pack(0, index, 0, parent, 0), description)
    return parse_qdisc(netlink.get(request), description)


def read_qdiscs(netlink: Netlink, description: str) -> list[QdiscState]:
    """Those of all interfaces of the namespace, in one question."""
    request = Request(RTM_GETQDISC, 0, TCMSG.pack(0, 0, 0, 0, 0), description)
    return [parse_qdisc(message, description) for message in netlink.dump(request)]


def parse_qdisc(message: Message, description: str) -> QdiscState:
    """Raises NetlinkError for what is no description of a qdisc."""
    if message.type != RTM_NEWQDISC or len(message.body) < TCMSG.size:
        raise NetlinkError(f"{description}: message {message.type} of {len(message.body)} bytes is no qdisc")
    _family, index, handle, parent, _info = TCMSG.unpack_from(message.body)
    found = parse_attributes(message.body[TCMSG.size :])
    told = parse_attributes(found.get(TCA_STATS2, b""))
    octets, frames = _BASIC.unpack_from(told.get(_STATS_BASIC, b"").ljust(_BASIC.size, b"\0"))
    if _STATS_PACKETS64 in told:
        frames = int.from_bytes(told[_STATS_PACKETS64], sys.byteorder)
    waiting, backlog, drops, _requeues, _over = _QUEUE.unpack_from(
        told.get(_STATS_QUEUE, b"").ljust(_QUEUE.size, b"\0")
    )
    kind = found.get(TCA_KIND, b"").rstrip(b"\0").decode(errors="replace")
    return QdiscState(
        index, handle, parent, kind, found.get(TCA_OPTIONS, b""),
        frames, octets, waiting, backlog, drops, found.get(TCA_XSTATS, b""),
    )  # fmt: skip


def _network_order(value: int) -> int:
    """A 16-bit number whose bytes in memory are in network order."""
    return int(struct.unpack("=H", struct.pack("!H", value))[0])
