"""Cutting packets into fragments (RFC 791 section 2.3 and 3.2), and naming them (RFC 6864).

    packet, MTU 100          |header 20|                 payload 200                 |
    fragments                |header 20| 80 (offset 0, MF) |
                             |header 20| 80 (offset 80, MF)|
                             |header 20| 40 (offset 160)   |

Every fragment but the last carries a multiple of eight octets. The first keeps all options, the others those whose
copied bit is set. A fragment can be cut again: the offsets go on from its own, and its last piece keeps its
more-fragments bit.

Only fragments need an identification: it must not come again for the same source, destination and protocol while an
older datagram may still be on the way. A packet that is never cut (`dont_fragment`) has none to tell: 0.
"""

from __future__ import annotations

import random as random_module

from nodes.network import options as ip_options
from nodes.wire import ipv4
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer
from nodes.wire.ipv4 import IPv4Header

MINIMUM_MTU = 68
"""Every internet module must forward 68 octets without cutting them: the longest header and eight octets."""

COUNTERS = 1024
"""Identification counters. Flows that share one only use up its 65,536 values faster, which at the speed of an
emulated network lasts longer than a datagram lives. RFC 6864 section 4.3 would have the sender wait there."""


class Identifications:
    """The next identification for a source, destination and protocol. The counters start at random values and are
    assigned by a secret, so that nobody can tell from the values of one flow those of another (RFC 7739 section 5). A
    counter is drawn when its first flow comes: most nodes need a few of them."""

    __slots__ = ("_counters", "_random", "_secret")

    def __init__(self, random: random_module.Random) -> None:
        self._counters: dict[int, int] = {}
        self._random = random
        self._secret = random.getrandbits(64)

    def next(self, source: Ip4, destination: Ip4, protocol: int, count: int = 1) -> int:
        """The first of `count` identifications in a row."""
        index = hash((self._secret, source, destination, protocol)) % COUNTERS  # of integers: the same in every run
        last = self._counters.get(index)
        value = self._random.getrandbits(16) if last is None else last + 1 & 0xFFFF
        self._counters[index] = value + count - 1
        return value


def fragment(header: IPv4Header, payload: Buffer, mtu: int) -> list[bytes]:
    """`header` and its payload as packets of at most `mtu` octets (at least 68), in order. Raises WireError where the
    options are malformed."""
    view = memoryview(payload)
    fragments = []
    position = 0
    options = header.options
    while position < len(view):
        room = mtu - ipv4.HEADER_LENGTH - len(options)
        end = len(view) if len(view) - position <= room else position + room // 8 * 8
        fragments.append(_piece(header, options, view[position:end], position, last=end == len(view)))
        if position == 0 and options:
            options = ip_options.copied(options)
        position = end
    return fragments


def _piece(header: IPv4Header, options: bytes, payload: memoryview, position: int, *, last: bool) -> bytes:
    return ipv4.build(
        header.source,
        header.destination,
        header.protocol,
        payload,
        ttl=header.ttl,
        identification=header.identification,
        dont_fragment=header.dont_fragment,
        more_fragments=header.more_fragments or not last,
        fragment_offset=header.fragment_offset + position,
        traffic_class=header.traffic_class,
        options=options,
    )
