"""A kernel with netem, as far as rtnetlink shows it: the double of `Netlink` for tests of the executor.

It has the habits that the executor is there for (facts of sch_netem): a change leaves alone what its message does not
name, a table is never given up, attributes that are not known are passed over in silence, tables are not told."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from lab.host import links as rt
from lab.host import traffic_control as tc
from lab.host.netlink import (
    NLM_F_EXCL,
    Message,
    NetlinkError,
    Request,
    attribute,
    attribute_text,
    nested,
    parse_attributes,
)

QOPT_BYTES = 24
DELAY_DIST, LOSS, ECN, SLOT, SLOT_DIST, PRNG_SEED = 2, 5, 7, 12, 13, 14


@dataclass
class Netem:
    qopt: bytes = b""
    attributes: dict[int, bytes] = field(default_factory=dict)
    tables: dict[int, bytes] = field(default_factory=dict)

    def change(self, options: bytes, ignored: frozenset[int]) -> None:
        self.qopt = options[:QOPT_BYTES]
        named = {kind: value for kind, value in parse_attributes(options[QOPT_BYTES:]).items() if kind not in ignored}
        self.attributes.pop(LOSS, None)
        for kind, value in named.items():
            (self.tables if kind in (DELAY_DIST, SLOT_DIST) else self.attributes)[kind] = value

    def told(self) -> bytes:
        shown = {kind: value for kind, value in self.attributes.items() if kind not in (ECN, SLOT) or any(value)}
        return self.qopt + b"".join(attribute(kind, value) for kind, value in shown.items())


class NetemKernel:
    """`ignored`: attributes of netem that this kernel does not know. `lacks`: kinds of qdisc and filter that it has
    not. `counters` of an interface are (rx_packets, tx_packets, rx_bytes, tx_bytes); `stats` and `extra` are what
    TCA_STATS2 and TCA_XSTATS of every netem hold."""

    def __init__(self, ignored: frozenset[int] = frozenset(), lacks: frozenset[str] = frozenset()) -> None:
        self.ignored = ignored
        self.lacks = lacks
        self.netems: dict[int, Netem] = {}
        self.clsact: set[int] = set()
        self.redirected: dict[int, str] = {}
        self.counters: dict[int, tuple[int, int, int, int]] = {}
        self.stats = b""
        self.extra = b""
        self.sent: list[Request] = []

    def request(self, request: Request) -> None:
        self.sent.append(request)
        _family, index, _handle, parent, _info = tc.TCMSG.unpack_from(request.body)
        attributes = parse_attributes(request.body[tc.TCMSG.size :])
        kind = attributes.get(tc.TCA_KIND, b"").rstrip(b"\0").decode()
        if kind in self.lacks:
            raise NetlinkError(f"{request.description}: No such file or directory", errno=errno.ENOENT)
        if request.type == tc.RTM_NEWTFILTER:
            self.redirected[index] = kind
        elif request.type == tc.RTM_DELQDISC:
            self._delete(index, parent)
        elif kind == "clsact":
            if index in self.clsact:
                raise NetlinkError("File exists", errno=errno.EEXIST)
            self.clsact.add(index)
        else:
            if request.flags & NLM_F_EXCL and index in self.netems:
                raise NetlinkError("File exists", errno=errno.EEXIST)
            self.netems.setdefault(index, Netem()).change(attributes[tc.TCA_OPTIONS], self.ignored)

    def _delete(self, index: int, parent: int) -> None:
        if parent == tc.CLSACT and index in self.clsact:
            self.clsact.remove(index)
            self.redirected.pop(index, None)
        elif parent == tc.ROOT and index in self.netems:
            del self.netems[index]
        else:
            raise NetlinkError("No such file or directory", errno=errno.ENOENT)

    def get(self, request: Request) -> Message:
        if request.type == rt.RTM_GETLINK:
            return self._link(rt.IFINFO.unpack_from(request.body)[2])
        return self._qdisc(tc.TCMSG.unpack_from(request.body)[1])

    def dump(self, request: Request) -> list[Message]:
        if request.type == rt.RTM_GETLINK:
            return [self._link(index) for index in self.counters]
        return [self._qdisc(index) for index in sorted({1, *self.clsact, *self.netems})]

    def _link(self, index: int) -> Message:
        counters = self.counters.get(index, (0, 0, 0, 0))
        values = b"".join(value.to_bytes(8, "little") for value in (*counters, 0, 0, 0, 0))
        body = rt.IFINFO.pack(0, 1, index, 0, 0) + attribute(rt.IFLA_STATS64, values)
        return Message(rt.RTM_NEWLINK, 0, 1, body)

    def _qdisc(self, index: int) -> Message:
        body = tc.TCMSG.pack(0, index, tc.FIRST_HANDLE, tc.ROOT, 0)
        if index not in self.netems:
            return Message(tc.RTM_NEWQDISC, 0, 1, body + attribute_text(tc.TCA_KIND, "noqueue"))
        body += attribute_text(tc.TCA_KIND, "netem") + attribute(tc.TCA_OPTIONS, self.netems[index].told())
        body += nested(tc.TCA_STATS2, self.stats)
        return Message(tc.RTM_NEWQDISC, 0, 1, body + (attribute(tc.TCA_XSTATS, self.extra) if self.extra else b""))
