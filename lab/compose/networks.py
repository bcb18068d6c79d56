"""Links as Docker networks.

    a ── r            one network for each link: a bridge with two ports, which is a cable
    a ── s ── b       a kernel switch is a Linux bridge, and so is a network: the switch and its links become one,
         │            and so do kernel switches that are linked to each other
         c

Docker wants to give every container an address on every network. These have nothing to do with the plan's: they come
from a range of their own, tell the container which of its interfaces is which, and are then removed. Each lab begins
somewhere else in the range, by its name, so that several fit on one engine; the range is one that is meant for tests
of networks (RFC 2544) and routed nowhere.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lab.errors import UserInputError
from lab.plan.values import End, LinkPlan, Plan

DEFAULT_RANGE = "198.18.0.0/15"

_LEAST = 8
"""Addresses of the smallest network: its own, the bridge's, broadcast, and room for containers."""
_RESERVED = 3
_SLOT = 1024
"""Labs begin at multiples of this."""
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9._-]")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A node's interface on a network, by the address that Docker gives it."""

    end: End
    link: LinkPlan
    address: str


@dataclass(frozen=True, slots=True)
class Network:
    """`mtu` is the largest of its links."""

    name: str
    subnet: str
    mtu: int
    attachments: tuple[Attachment, ...]


def networks_of(plan: Plan, subnets: str = DEFAULT_RANGE) -> list[Network]:
    """The networks of a plan. Raises UserInputError where they do not fit into the range, or where the range is one
    of the lab's own."""
    groups = [(name, links) for name, links in _grouped(plan) if _ends(plan, links)]
    sizes = [_size(len(_ends(plan, links))) for _, links in groups]
    blocks = _blocks(plan.lab, sizes, _range(subnets))
    _check_overlap(plan, blocks, subnets)
    names = _Names()
    return [
        Network(
            names.unique(name),
            str(block),
            max(link.mtu for link in links),
            tuple(
                Attachment(end, link, str(block.network_address + 2 + number))
                for number, (end, link) in enumerate(_ends(plan, links))
            ),
        )
        for (name, links), block in zip(groups, blocks, strict=True)
    ]


def _grouped(plan: Plan) -> list[tuple[str, list[LinkPlan]]]:
    """The links of each network, with a name: of its first kernel switch, else of its only link. A link that is down
    joins no switches."""
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            item = parent[item]
        return item

    bridges = {node.name for node in plan.nodes if node.is_bridge}
    members: dict[str, list[LinkPlan]] = defaultdict(list)
    joined = [[end.node for end in (link.a, link.b) if end.node in bridges] for link in plan.links]
    for link, switches in zip(plan.links, joined, strict=True):
        if len(switches) == 2 and link.up:
            parent[root(switches[1])] = root(switches[0])
    for link, switches in zip(plan.links, joined, strict=True):
        if len(switches) < 2:
            # a node's name is no link's: links have "--" or a name of their own
            members[f"switch {root(switches[0])}" if switches else f"link {link.name}"].append(link)
    return [(key.partition(" ")[2], links) for key, links in members.items()]


def _ends(plan: Plan, links: list[LinkPlan]) -> list[tuple[End, LinkPlan]]:
    """What is attached to the network of these links: all ends but those of kernel switches."""
    return [(end, link) for link in links for end in (link.a, link.b) if not plan.by_name[end.node].is_bridge]


def _size(members: int) -> int:
    size = _LEAST
    while size < members + _RESERVED:
        size *= 2
    return size


def _range(text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        raise UserInputError(f"--subnets {text!r}: {error}", hint=f"write a prefix such as {DEFAULT_RANGE}") from None


def _blocks(lab: str, sizes: list[int], available: IPv4Network) -> list[IPv4Network]:
    """One after the other, each at a multiple of its size, from where this lab begins."""
    offsets: list[int] = []
    position = 0
    for size in sizes:
        position = -(-position // size) * size
        offsets.append(position)
        position += size
    if position > available.num_addresses:
        raise UserInputError(
            f"{len(sizes)} networks need {position} addresses of Docker's, {available} has {available.num_addresses}",
            hint="--subnets names a larger range",
        )
    alignment = max([_SLOT, *sizes])
    slots = (available.num_addresses - position) // alignment + 1
    digest = hashlib.sha256(lab.encode()).digest()
    start = int(available.network_address) + int.from_bytes(digest[:8], "big") % slots * alignment
    return [
        IPv4Network((IPv4Address(start + offset), 33 - size.bit_length()))
        for offset, size in zip(offsets, sizes, strict=True)
    ]


def _check_overlap(plan: Plan, blocks: list[IPv4Network], subnets: str) -> None:
    for segment in plan.segments:
        for block in blocks:
            if segment.prefix and block.overlaps(IPv4Network(segment.prefix)):
                raise UserInputError(
                    f"segment {segment.name} has {segment.prefix}, in the range {subnets} from which Docker is to "
                    f"take its addresses",
                    hint="--subnets names another range",
                )


class _Names:
    """Of networks, in characters that Compose takes; `default` has a meaning of its own there."""

    def __init__(self) -> None:
        self._taken = {"default"}

    def unique(self, wanted: str) -> str:
        stem = name = _NOT_ALLOWED.sub("-", wanted).lstrip("._-") or "link"
        number = 2
        while name in self._taken:
            name, number = f"{stem}-{number}", number + 1
        self._taken.add(name)
        return name
