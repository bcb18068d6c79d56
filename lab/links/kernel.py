"""The kernel as executor of impairments: netem on the inner ends of an opened link.

    a ═════ left ──redirect──▶ [netem] right ═════ b         ab: the netem of `right`, through which frames leave to b
            left [netem] ◀──redirect── right                 ba: that of `left`

Theory of operation. Two filters join the inner ends (lab/host/traffic_control.py), and each end's root qdisc is a netem
(lab/host/qdisc.py). After that no process of ours touches a frame. What was asked is read back after each message and
compared number for number, because a kernel ignores attributes that it does not know: nothing is ever said to be in
force that is not.

A change goes into the netem that is there. Frames inside keep the time at which they leave; a delay made shorter lets
later frames overtake them. The Markov chain of a loss model begins anew, and so does the count for `gap`.

Seeds. netem has one of its own only since Linux 6.6; on older kernels the results differ from run to run, which
`state` says (`seeded`). A change sets the seed again, and with the same number the sequence would begin again: after
each step of a ramp the same frames would be lost. So the n-th change has a seed derived from the link's and from n, as
reproducible as the first, but not the sequence that the relay draws after a change.

Frames and octets are the kernel's counts, and rates those of its counts, second by second. It does not tell how long
frames took, nor how many were reordered, doubled or damaged (kernels of 2026 tell the latter): that is what the meter
sees (lab/links/meter.py), and None where there is none. Nobody knows which of the dropped frames were lost and which
found netem full. The kernel counts a frame that was marked instead of dropped as dropped, too. When an end goes down,
it empties its qdisc without counting.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.errors import DriverError
from lab.host import qdisc, traffic_control
from lab.host.link_state import read_link, read_links
from lab.host.netlink import Netlink, NetlinkError, Request
from lab.links.base import UNKNOWN, OpenedLink, Samples
from lab.links.link_meter import NOBODY, LinkMeter, Timed
from nodes import impairment as values
from nodes.impairment import DIRECTIONS, Direction, Impairment, effective_limit
from nodes.physical.statistics import Sample
from nodes.physical.tausworthe import derived_seed
from nodes.units import MILLISECOND, SECOND

_GONE = frozenset({errno.ENOENT, errno.ENODEV})
"""The kernel's answers to who deletes a qdisc that is not there, or went with its interface."""
_ANY_MTU = 1500
_RELAY_HINT = "the relay can: impair_by: relay"
_LEAST_INTERVAL = 500 * MILLISECOND
"""A rate over less would be that of a burst."""
_READINGS = 4
"""Of a link whose counters do not stand still. The last one is taken as it is, with the frames that passed meanwhile:
so many hardly matter where there are so many more."""
_COUNTERS = ("delayed", "dropped", "corrupted", "duplicated", "reordered", "marked")
"""Of tc_netem_xstats (2026), in this order."""


class Applied(NamedTuple):
    """What is in force, as read back: `impairment` with the numbers that the kernel has. `seeded`: its random numbers
    are those of the seed."""

    impairment: Impairment
    seeded: bool


@dataclass(slots=True)
class _Egress:
    """One netem: what it was asked last, `seed` where that has none, and the tables that it holds. `changes` counts the
    messages since `seed` was new. `arrived` are the frames and octets that the interface where they come by had counted
    before the first one of this netem."""

    asked: Impairment
    mtu: int
    seed: int
    held: qdisc.Held
    changes: int
    arrived: tuple[int, int]
    seeded: bool = False

    @property
    def seed_to_send(self) -> int:
        seed = self.seed if self.asked.seed is None else self.asked.seed
        return derived_seed(seed, "change", self.changes) if self.changes else seed


@dataclass(slots=True)
class _Rate:
    """In bit/s: that of the last interval between two samples, and the greatest of all. None before the first."""

    since: int
    octets: int = 0
    last: int | None = None
    peak: int | None = None

    def note(self, octets: int, now: int) -> None:
        """So many octets have left since the beginning."""
        elapsed = now - self.since
        if elapsed >= _LEAST_INTERVAL:
            self.last = (octets - self.octets) * 8 * SECOND // elapsed
            self.peak = max(self.peak or 0, self.last)
            self.since, self.octets = now, octets


def can_express(impairment: Impairment, *, seeds: bool = True) -> str | None:
    """None, or what of it the kernel's netem cannot do, as a noun. `seeds`: whether it knows them (`netem_support` of
    lab/host/probe.py)."""
    for words in values.beyond_netem(impairment).values():
        return words
    if 0 < impairment.rate < 8:
        return "rate below 8bit"
    if impairment.seed is not None and not seeds:
        return "seed (Linux 6.6 is the first to have one)"
    try:
        qdisc.settings_of(impairment, _ANY_MTU)
    except ValueError as error:
        return str(error)
    return None


class KernelExecutor:
    """For the interfaces of the network namespace that `netlink` is in. Interfaces are named by their index. `meter`
    tells what netem does not; the links do without it."""

    name = "kernel"

    def __init__(
        self, netlink: Netlink, meter: LinkMeter | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._netlink = netlink
        self._meter = meter
        self._clock = clock
        self._rates: dict[int, _Rate] = {}
        self._joined: dict[int, int] = {}
        self._egress: dict[int, _Egress] = {}
        self._links: dict[str, OpenedLink] = {}
        self._classifier = ""

    # As an executor of links (lab/links/base.py)

    def add(self, link: OpenedLink) -> None:
        """Raises DriverError; then nothing of it is left."""
        self._links[link.name] = link
        if self._meter is not None:
            self._meter.add(link)  # before the first frame passes
        try:
            self.change(link.name, link.impairments, link.mtu)
            self.join(link.left.index, link.right.index)  # last: so no frame passes unimpaired
        except DriverError:
            self.remove(link.name)
            raise
        now = self._clock()
        self._rates |= {index: _Rate(now) for _direction, index in _sides(link)}

    def change(self, link: str, impairments: tuple[Impairment, Impairment], mtu: int) -> None:
        """Raises DriverError; then what was in force is in force again."""
        opened = self._links[link]
        before = [self._egress.get(index) for _direction, index in _sides(opened)]
        try:
            for (_direction, index), impairment, seed in zip(_sides(opened), impairments, opened.seeds, strict=True):
                self.impair(index, impairment, mtu, seed)
        except DriverError:
            for (_direction, index), old in zip(_sides(opened), before, strict=True):
                if old is not None and old is not self._egress[index]:
                    self.impair(index, old.asked, old.mtu, old.seed)
            raise

    def remove(self, link: str) -> None:
        """Nothing moves this link's frames any more. Raises DriverError."""
        opened = self._links.pop(link)
        if self._meter is not None:
            self._meter.remove(link)
        self.separate(opened.left.index, opened.right.index)

    def set_up(self, link: str, up: bool) -> None:
        """Nothing to do: the inner ends are down while the link is, which empties their qdiscs."""

    def state(self, link: str) -> dict[str, object]:
        """Raises DriverError."""
        told: dict[str, object] = {}
        seeded = True
        seen = self._meter.state(link) if self._meter is not None else {}
        for direction, index in _sides(self._links[link]):
            applied = self.applied(index)
            measured = self.statistics(index) | {"rate": self._rates[index].last, "peak_rate": self._rates[index].peak}
            known = {name: value for name, value in measured.items() if value is not None}
            told[direction] = {
                "applied": values.encode(applied.impairment),
                "measured": measured | seen.get(direction, {}) | known,
            }
            seeded = seeded and applied.seeded
        kernel = f"{os.uname().sysname} {os.uname().release}"
        emulator = {"kernel": kernel, "filter": self._classifier, "seeded": seeded, "meter": seen.get("meter")}
        return told | {"emulator": emulator}

    def samples(self) -> dict[str, Samples]:
        """In two questions for all links. One whose netem somebody has removed is missing. Raises DriverError."""
        if not self._links:
            return {}
        qdiscs = traffic_control.read_qdiscs(self._netlink, "read the netems of all links")
        netems = {
            told.interface: told for told in qdiscs if (told.kind, told.parent) == ("netem", traffic_control.ROOT)
        }
        received = {link.index: link.statistics["rx_packets"] for link in read_links(self._netlink)}
        now = self._clock()
        for index, rate in self._rates.items():
            if index in netems:
                rate.note(netems[index].octets, now)
        timed = self._meter.samples() if self._meter is not None else {}
        return {
            name: {
                direction: self._sample(netems[index], received, timed.get(name, {}).get(direction, NOBODY))
                for direction, index in _sides(link)
            }
            for name, link in self._links.items()
            if {link.left.index, link.right.index} <= netems.keys()
        }

    def _sample(self, told: traffic_control.QdiscState, received: Mapping[int, int], timed: Timed) -> Sample:
        arrived = received.get(self._joined[told.interface], 0) - self._egress[told.interface].arrived[0]
        return Sample(arrived, told.frames, told.octets, told.drops, timed.delay, timed.frames, UNKNOWN)

    def watch(self) -> dict[int, str]:
        """Of the meter: the links themselves have no process."""
        return self._meter.watch() if self._meter is not None else {}

    def restart(self, _process: str) -> str:
        """Replace the meter, which ended. Returns how. The links have not noticed."""
        return self._meter.restart() if self._meter is not None else ""

    def close(self) -> None:
        """Take back everything. What the kernel does not let go of ends with the namespace."""
        if self._meter is not None:
            self._meter.close()
        with contextlib.suppress(DriverError):
            self.undo()

    # By interface

    def join(self, left: int, right: int) -> None:
        """What arrives at one leaves by the other, both ways. Raises DriverError; then neither is changed."""
        made: list[int] = []
        try:
            for source, target in ((left, right), (right, left)):
                self._netlink.request(traffic_control.add_clsact(source, f"prepare interface {source} for filters"))
                made.append(source)
                doing = f"pass frames from interface {source} to {target}"
                self._classifier = traffic_control.redirect_all(self._netlink, source, target, doing)
        except NetlinkError:
            for source in made:
                self._netlink.request(traffic_control.delete_clsact(source, f"remove filters of interface {source}"))
            raise
        self._joined |= {left: right, right: left}
        for index in (left, right):
            if index in self._egress:
                self._egress[index].arrived = self._begin(index)

    def impair(self, index: int, impairment: Impairment, mtu: int, seed: int) -> Applied:
        """What leaves by interface `index` suffers `impairment` from now on; `seed` where that has none of its own.
        Raises DriverError where the kernel refuses, or has afterwards something else than it was asked for."""
        doing = f"set netem on interface {index}"
        reason = can_express(impairment)
        if reason is not None:
            raise DriverError(f"{doing}: the kernel cannot do this: {reason}", hint=_RELAY_HINT)
        egress = self._next(index, impairment, mtu, seed)
        before = self._egress.get(index)
        held = before.held if before else qdisc.NO_TABLES
        sent = dataclasses.replace(impairment, seed=egress.seed_to_send)
        self._send(qdisc.encode_netem(sent, mtu, index, description=doing, held=held, new=before is None))
        self._egress[index] = egress
        got = qdisc.decode_netem(traffic_control.read_qdisc(self._netlink, index, f"{doing}: read it back").options)
        egress.seeded = got.seed is not None
        unlike = qdisc.differences(qdisc.settings_of(sent, mtu, held=held), got)
        if impairment.seed is not None and not egress.seeded:
            unlike.append(f"seed: {impairment.seed} asked, this kernel's netem has none (Linux 6.6 has)")
        if unlike:
            raise DriverError(
                f"{doing}: the kernel has not what it was asked for: {'; '.join(unlike)}", hint=_RELAY_HINT
            )
        return self.applied(index)

    def applied(self, index: int) -> Applied:
        """What has been read back of the last `impair` there."""
        egress = self._egress[index]
        in_force = dataclasses.replace(
            egress.asked,
            limit=effective_limit(egress.asked, egress.mtu),
            rate=egress.asked.rate // 8 * 8,
            seed=egress.seed_to_send if egress.seeded else None,
        )
        return Applied(in_force, egress.seeded)

    def statistics(self, index: int) -> dict[str, Any]:
        """Of what leaves by interface `index`: as nodes.physical.statistics.Statistics.snapshot, None for what the
        kernel does not tell; counted since the first `impair`. Raises DriverError."""
        told, now = self._read(index)
        if told.kind != "netem":
            raise DriverError(f"interface {index} has lost its netem: somebody set {told.kind!r} there")
        begin = self._egress[index].arrived
        counters = _counters(told.extra)
        return {
            "in_frames": now[0] - begin[0],
            "in_octets": now[1] - begin[1],
            "out_frames": told.frames,
            "out_octets": told.octets,
            "inside": told.waiting,
            "dropped": {"netem": told.drops} if told.drops else {},
            **{name: counters.get(name) for name in ("duplicated", "reordered", "corrupted", "marked")},
            **dict.fromkeys(("rate", "peak_rate", "delay", "lateness")),
        }

    def separate(self, left: int, right: int) -> None:
        """Take both netems and the redirection away; what is inside is lost. Interfaces that are gone have taken theirs
        with them. Raises NetlinkError."""
        for index in (left, right):
            self._rates.pop(index, None)
            if self._egress.pop(index, None) is not None:
                self._delete(traffic_control.delete_qdisc(index, f"remove netem of interface {index}"))
            if self._joined.pop(index, None) is not None:
                self._delete(traffic_control.delete_clsact(index, f"remove filters of interface {index}"))

    def undo(self) -> None:
        """All that was joined and impaired is as it was before. Raises NetlinkError."""
        for index in {*self._joined, *self._egress}:
            self.separate(index, self._joined.get(index, index))
        self._links.clear()

    def _next(self, index: int, impairment: Impairment, mtu: int, seed: int) -> _Egress:
        """The entry of an interface after this message."""
        before = self._egress.get(index)
        if before is None:
            return _Egress(
                impairment, mtu, seed, qdisc.tables_after(impairment, qdisc.NO_TABLES), 0, self._arrived(index)
            )
        same = (before.seed, before.asked.seed) == (seed, impairment.seed)
        held = qdisc.tables_after(impairment, before.held)
        return _Egress(impairment, mtu, seed, held, before.changes + 1 if same else 0, before.arrived)

    def _begin(self, index: int) -> tuple[int, int]:
        """What had come by the interface, and gone nowhere, before it was joined: all but what netem has seen since."""
        told, arrived = self._read(index)
        return arrived[0] - told.frames - told.waiting - told.drops, arrived[1] - told.octets - told.backlog

    def _read(self, index: int) -> tuple[traffic_control.QdiscState, tuple[int, int]]:
        """The netem of `index`, and what has come for it by then. The kernel tells one after the other, and a frame
        that comes between the two would be counted by one of them only. So this asks for what has come before and
        after, until nothing has come meanwhile."""
        doing = f"read netem of interface {index}"
        after = self._arrived(index)
        for _ in range(_READINGS):
            before, told, after = after, traffic_control.read_qdisc(self._netlink, index, doing), self._arrived(index)
            if before == after:
                break
        return told, after

    def _arrived(self, index: int) -> tuple[int, int]:
        """Frames and octets that came for the netem of `index`, by the counters of the interface that they come by."""
        source = self._joined.get(index)
        if source is None:
            return 0, 0
        counted = read_link(self._netlink, source).statistics
        return counted["rx_packets"], counted["rx_bytes"]

    def _send(self, request: Request) -> None:
        try:
            self._netlink.request(request)
        except NetlinkError as error:
            raise qdisc.with_netem_hint(error) from error

    def _delete(self, request: Request) -> None:
        try:
            self._netlink.request(request)
        except NetlinkError as error:
            if error.errno not in _GONE:
                raise


def _sides(link: OpenedLink) -> Iterator[tuple[Direction, int]]:
    """The interface that a direction's frames leave by."""
    return zip(DIRECTIONS, (link.right.index, link.left.index), strict=True)


def _counters(extra: bytes) -> dict[str, int]:
    """netem's own counters, of 32 or of 64 bits; empty for a kernel that has none."""
    for letter, size in (("I", 4), ("Q", 8)):
        if len(extra) == size * len(_COUNTERS):
            return dict(zip(_COUNTERS, struct.unpack(f"={len(_COUNTERS)}{letter}", extra), strict=True))
    return {}
