"""The kernel's netem as executor, against a double of the kernel with its habits (netem_kernel.py). What the real one
does with all this is tried in tests/system/test_kernel_executor_uml.py."""

from __future__ import annotations

import dataclasses
import struct
import sys

import pytest

from lab.errors import DriverError
from lab.host import qdisc, traffic_control
from lab.host.links import Interface
from lab.host.netlink import Message, NetlinkError, Request, attribute
from lab.links.base import UNKNOWN, LinkExecutor, OpenedLink
from lab.links.kernel import KernelExecutor, can_express
from lab.links.link_meter import Timed
from nodes import impairment as values
from nodes.impairment import (
    NOTHING,
    Codel,
    Distribution,
    Fault,
    Impairment,
    RandomLoss,
    RateTrace,
    TimedGilbertElliott,
    TokenBucket,
)
from nodes.physical.statistics import Sample, Statistics
from nodes.units import MILLISECOND, SECOND
from tests.unit.netem_kernel import PRNG_SEED, NetemKernel

DELAY = Impairment(delay=20 * MILLISECOND)
LOSS = Impairment(loss=RandomLoss(chance=0.01))
LINK = OpenedLink("a--b", Interface("m1", 11), Interface("m2", 21), 1500, (DELAY, LOSS), (1, 2))
little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the double counts in little-endian")


def executor(kernel: NetemKernel) -> KernelExecutor:
    return KernelExecutor(kernel)  # type: ignore[arg-type]


def in_force(kernel: NetemKernel, index: int) -> qdisc.NetemSettings:
    return qdisc.decode_netem(kernel.netems[index].told())


def test_a_link_is_joined_and_impaired() -> None:
    """Frames to b leave by `right`, so ab is the netem of that one."""
    kernel = NetemKernel()
    subject: LinkExecutor = executor(kernel)
    subject.add(LINK)
    assert kernel.redirected == {11: "matchall", 21: "matchall"}
    assert in_force(kernel, 21) == qdisc.settings_of(DELAY, 1500, seed=1)
    assert in_force(kernel, 11) == qdisc.settings_of(LOSS, 1500, seed=2)
    subject.close()
    assert (kernel.netems, kernel.clsact, kernel.redirected) == ({}, set(), {})


def test_a_kernel_without_matchall() -> None:
    kernel = NetemKernel(lacks=frozenset({"matchall"}))
    executor(kernel).join(11, 21)
    assert kernel.redirected == {11: "u32", 21: "u32"}


def test_a_kernel_without_filters() -> None:
    kernel = NetemKernel(lacks=frozenset({"matchall", "u32"}))
    with pytest.raises(NetlinkError, match="no filter for it") as caught:
        executor(kernel).add(LINK)
    assert "act_mirred" in caught.value.hint
    assert not kernel.clsact


def test_a_kernel_without_netem() -> None:
    kernel = NetemKernel(lacks=frozenset({"netem"}))
    with pytest.raises(NetlinkError, match="this kernel has no sch_netem") as caught:
        executor(kernel).add(LINK)
    assert "impair_by: relay" in caught.value.hint
    assert not kernel.clsact


def test_an_interface_that_somebody_uses() -> None:
    kernel = NetemKernel()
    kernel.netems[21] = kernel.netems[11] = object()  # type: ignore[assignment]
    with pytest.raises(NetlinkError, match="exists"):
        executor(kernel).impair(21, DELAY, 1500, 1)


def test_what_the_kernel_ignores_is_an_error() -> None:
    """An old kernel does not know 64-bit times: it cuts to ticks, and says nothing."""
    kernel = NetemKernel(ignored=frozenset({6, 8}))
    subject = executor(kernel)
    with pytest.raises(DriverError) as caught:
        subject.add(dataclasses.replace(LINK, impairments=(Impairment(rate=8_000_000), NOTHING)))
    assert caught.value.message == (
        "set netem on interface 21: the kernel has not what it was asked for: rate: 8mbit asked, 0bit got"
    )
    assert (kernel.netems, kernel.clsact) == ({}, set())


@pytest.mark.parametrize(
    ("impairment", "reason"),
    [
        (Impairment(faults=(Fault("drop"),)), "faults"),
        (Impairment(rate=1_000_000, queue=Codel()), "queue discipline in front of it"),
        (Impairment(bucket=TokenBucket(1000, 1000)), "token bucket"),
        (Impairment(trace=RateTrace((1,))), "rate trace"),
        (Impairment(delay=2, jitter=1, steadiness=0.5), "steadiness"),
        (Impairment(loss=TimedGilbertElliott(good=1, bad=1)), "loss in continuous time"),
        (Impairment(rate=7), "rate below 8bit"),
        (Impairment(delay=4 * SECOND, jitter=3 * SECOND), "room for a jitter of 3s (at most 2147483.647us)"),
    ],
)
def test_what_the_kernel_cannot_express(impairment: Impairment, reason: str) -> None:
    assert can_express(impairment) == reason
    kernel = NetemKernel()
    with pytest.raises(DriverError, match="the kernel cannot do this"):
        executor(kernel).impair(21, impairment, 1500, 1)
    assert not kernel.sent


def test_what_the_kernel_can_express() -> None:
    rich = Impairment(
        delay=2, jitter=1, delay_correlation=0.5, distribution=Distribution("pareto"), loss=RandomLoss(chance=0.1),
        ecn=True, corrupt=0.1, duplicate=0.1, reorder=0.1, gap=3, rate=8, slot=values.Slot(1, 2), seed=3, limit=7,
    )  # fmt: skip
    assert can_express(rich) is None
    assert can_express(rich, seeds=False) == "seed (Linux 6.6 is the first to have one)"


# --- changes -------------------------------------------------------------------------------------------------------


def test_a_change_forgets_what_was() -> None:
    kernel = NetemKernel()
    subject = executor(kernel)
    subject.add(LINK)
    subject.change("a--b", (Impairment(rate=1_000_000, ecn=True, slot=values.Slot(1, 2)), NOTHING), 9000)
    subject.change("a--b", (DELAY, NOTHING), 9000)
    assert in_force(kernel, 21)._replace(seed=None) == qdisc.settings_of(DELAY, 9000)
    assert in_force(kernel, 11)._replace(seed=None) == qdisc.settings_of(NOTHING, 9000)


def test_a_change_that_fails_changes_nothing() -> None:
    """`ab` had been changed already when `ba` was refused."""
    kernel = NetemKernel(ignored=frozenset({PRNG_SEED}))
    subject = executor(kernel)
    subject.add(LINK)
    with pytest.raises(DriverError, match="this kernel's netem has none"):
        subject.change("a--b", (NOTHING, Impairment(delay=5, seed=7)), 1500)
    assert in_force(kernel, 21) == qdisc.settings_of(DELAY, 1500)
    assert in_force(kernel, 11) == qdisc.settings_of(LOSS, 1500)
    with pytest.raises(DriverError, match="faults"):
        subject.change("a--b", (NOTHING, Impairment(faults=(Fault("drop"),))), 1500)
    assert in_force(kernel, 21) == qdisc.settings_of(DELAY, 1500)


def test_seeds() -> None:
    """A change must not begin the same sequence again, and is as reproducible as the first message."""

    def drawn() -> list[int | None]:
        kernel = NetemKernel()
        subject = executor(kernel)
        found = []
        for impairment in (LOSS, LOSS, LOSS, dataclasses.replace(LOSS, seed=9), dataclasses.replace(LOSS, seed=9)):
            subject.impair(21, impairment, 1500, 42)
            found.append(in_force(kernel, 21).seed)
        return found

    seeds = drawn()
    assert seeds == drawn()
    assert (seeds[0], seeds[3]) == (42, 9)
    assert len(set(seeds)) == 5


def test_tables_are_not_forgotten_when_a_change_fails() -> None:
    """The kernel took the table; the uniform jitter that follows must displace it."""
    kernel = NetemKernel(ignored=frozenset({6, 8}))
    subject = executor(kernel)
    subject.impair(21, DELAY, 1500, 1)
    normal = Impairment(delay=2, jitter=1, distribution=Distribution("normal"))
    with pytest.raises(DriverError, match="rate"):
        subject.impair(21, dataclasses.replace(normal, rate=8000), 1500, 1)
    subject.impair(21, Impairment(delay=2, jitter=1), 1500, 1)
    assert kernel.netems[21].tables[2] == struct.pack("=4096h", *qdisc.uniform_table())


# --- what is told --------------------------------------------------------------------------------------------------


def test_applied() -> None:
    kernel = NetemKernel()
    applied = executor(kernel).impair(21, Impairment(rate=10_000_003), 1500, 42)
    assert (applied.impairment, applied.seeded) == (Impairment(rate=10_000_000, limit=1000, seed=42), True)
    old = NetemKernel(ignored=frozenset({PRNG_SEED}))
    applied = executor(old).impair(21, DELAY, 1500, 42)
    assert (applied.impairment, applied.seeded) == (dataclasses.replace(DELAY, limit=3302), False)


@little_endian
def test_statistics() -> None:
    kernel = NetemKernel()
    kernel.counters = {11: (100, 0, 5000, 0)}
    subject = executor(kernel)
    subject.add(LINK)
    kernel.counters = {11: (107, 1, 5700, 64)}
    kernel.stats = attribute(1, struct.pack("=QII", 400, 4, 0)) + attribute(3, struct.pack("=5I", 2, 200, 1, 0, 0))
    told = subject.statistics(21)
    assert told.keys() == Statistics().snapshot(0).keys()
    known = {name: value for name, value in told.items() if value is not None}
    assert known == {
        "in_frames": 7, "in_octets": 700, "out_frames": 4, "out_octets": 400, "inside": 2, "dropped": {"netem": 1},
    }  # fmt: skip
    for layout in ("=6I", "=6Q"):
        kernel.extra = struct.pack(layout, 1, 2, 3, 4, 5, 6)
        told = subject.statistics(21)
        assert [told[name] for name in ("corrupted", "duplicated", "reordered", "marked")] == [3, 4, 5, 6]
    kernel.extra = bytes(20)
    assert subject.statistics(21)["marked"] is None


class BusyKernel(NetemKernel):
    """Right after it has told of a qdisc, or of an interface, the next frame comes, for so many questions as `comes`
    says: it is counted by the interface 11, and is inside the netem of 21. `waiting` are there."""

    comes = 0
    waiting = 0

    def get(self, request: Request) -> Message:
        told = super().get(request)
        if self.comes:
            self.comes -= 1
            self.waiting += 1
            frames, _, octets, _ = self.counters.get(11, (0, 0, 0, 0))
            self.counters[11] = (frames + 1, 0, octets + 100, 0)
            self.stats = attribute(3, struct.pack("=5I", self.waiting, self.waiting * 100, 0, 0, 0))
        return told


@little_endian
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
def test_frames_that_come_while_the_kernel_is_asked(frames: int) -> None:
    """Its counters are of one moment all the same."""
    kernel = BusyKernel()
    subject = executor(kernel)
    subject.add(LINK)
    kernel.comes = frames
    told = subject.statistics(21)
    assert told["in_frames"] == told["inside"] > 0
    assert told["in_octets"] == told["inside"] * 100


@little_endian
def test_a_link_that_never_stands_still() -> None:
    kernel = BusyKernel()
    subject = executor(kernel)
    subject.add(LINK)
    kernel.comes = 1000
    told = subject.statistics(21)
    assert told["inside"] < told["in_frames"] < 10


class OpeningKernel(NetemKernel):
    """Frames come before its filters are there, when nobody passes them on, and then to a netem."""

    def request(self, request: Request) -> None:
        super().request(request)
        if 11 in self.redirected:
            self.counters = {11: (4, 0, 400, 0), 21: (1, 0, 100, 0)}
            self.stats = attribute(3, struct.pack("=5I", 1, 100, 0, 0, 0))
        else:
            self.counters = {11: (3, 0, 300, 0)}


@little_endian
def test_no_frame_passes_before_netem_is_there() -> None:
    """And those that came before anybody passed them on are not counted."""
    kernel = OpeningKernel()
    subject = executor(kernel)
    subject.add(LINK)
    kinds = [request.type for request in kernel.sent]
    assert kinds[:2] == [traffic_control.RTM_NEWQDISC] * 2
    assert kinds.index(traffic_control.RTM_NEWTFILTER) > 2
    for index in (11, 21):
        told = subject.statistics(index)
        assert (told["in_frames"], told["in_octets"], told["inside"]) == (1, 100, 1)


@little_endian
def test_samples() -> None:
    kernel = NetemKernel()
    kernel.counters = {11: (100, 0, 5000, 0), 21: (0, 0, 0, 0)}
    subject = executor(kernel)
    assert subject.samples() == {}
    subject.add(LINK)
    kernel.counters = {11: (107, 1, 5700, 64), 21: (9, 0, 900, 0)}
    kernel.stats = attribute(1, struct.pack("=QII", 400, 4, 0)) + attribute(3, struct.pack("=5I", 2, 200, 1, 0, 0))
    assert subject.samples() == {
        "a--b": {"ab": Sample(7, 4, 400, 1, 0, 0, UNKNOWN), "ba": Sample(9, 4, 400, 1, 0, 0, UNKNOWN)}
    }
    del kernel.netems[21]
    assert subject.samples() == {}


class Meter:
    """A double of LinkMeter: what the executor does with what it is told."""

    def __init__(self, seen: dict[str, object]) -> None:
        self.seen = seen
        self.calls: list[str] = []

    def add(self, link: OpenedLink) -> None:
        self.calls.append(f"add {link.name}")

    def remove(self, link: str) -> None:
        self.calls.append(f"remove {link}")

    def state(self, link: str) -> dict[str, object]:
        return {"ab": self.seen, "ba": {}, "meter": {"pid": 7}}

    def samples(self) -> dict[str, dict[str, Timed]]:
        return {"a--b": {"ab": Timed(3, 60), "ba": Timed(0, 0)}}

    def watch(self) -> dict[int, str]:
        return {5: "meter"}

    def restart(self) -> str:
        return "ended with 1"

    def close(self) -> None:
        self.calls.append("close")


def metered(kernel: NetemKernel, seen: dict[str, object], clock: list[int]) -> tuple[KernelExecutor, Meter]:
    meter = Meter(seen)
    return KernelExecutor(kernel, meter, clock=lambda: clock[0]), meter  # type: ignore[arg-type]


@little_endian
def test_what_the_meter_sees() -> None:
    """It fills what the kernel does not tell; what both know is the kernel's."""
    kernel = NetemKernel()
    subject, meter = metered(kernel, {"delay": {"count": 3}, "reordered": 2, "in_frames": 99}, [0])
    subject.add(LINK)
    state = subject.state("a--b")
    ab, ba = state["ab"]["measured"], state["ba"]["measured"]  # type: ignore[index]
    assert (ab["delay"], ab["reordered"], ab["in_frames"], ab["lateness"]) == ({"count": 3}, 2, 0, None)
    assert (ba["delay"], ba["reordered"]) == (None, None)
    assert state["emulator"]["meter"] == {"pid": 7}  # type: ignore[index]
    kernel.extra = struct.pack("=6I", 1, 2, 3, 4, 5, 6)
    assert subject.state("a--b")["ab"]["measured"]["reordered"] == 5  # type: ignore[index]
    assert [sample[4:6] for sample in subject.samples()["a--b"].values()] == [(60, 3), (0, 0)]
    assert (subject.watch(), subject.restart("meter")) == ({5: "meter"}, "ended with 1")
    subject.close()
    assert meter.calls == ["add a--b", "close"]


def test_a_link_that_fails_is_not_measured() -> None:
    subject, meter = metered(NetemKernel(lacks=frozenset({"netem"})), {}, [0])
    with pytest.raises(NetlinkError):
        subject.add(LINK)
    assert meter.calls == ["add a--b", "remove a--b"]


@little_endian
def test_rates_are_those_between_samples() -> None:
    kernel, clock = NetemKernel(), [SECOND]
    subject, _meter = metered(kernel, {}, clock)
    subject.add(LINK)

    def told() -> tuple[object, object]:
        measured = subject.state("a--b")["ab"]["measured"]  # type: ignore[index]
        return measured["rate"], measured["peak_rate"]

    assert told() == (None, None)
    for now, octets, rates in (
        (SECOND + 100 * MILLISECOND, 1000, (None, None)),
        (2 * SECOND, 2000, (16_000, 16_000)),
        (4 * SECOND, 3000, (4000, 16_000)),
        (5 * SECOND, 3000, (0, 16_000)),
    ):
        clock[0], kernel.stats = now, attribute(1, struct.pack("=QII", octets, 4, 0))
        subject.samples()
        assert told() == rates


def test_statistics_of_a_netem_that_is_gone() -> None:
    kernel = NetemKernel()
    subject = executor(kernel)
    subject.add(LINK)
    del kernel.netems[21]
    with pytest.raises(DriverError, match="has lost its netem: somebody set 'noqueue'"):
        subject.statistics(21)


def test_state() -> None:
    kernel = NetemKernel(ignored=frozenset({PRNG_SEED}))
    subject = executor(kernel)
    subject.add(LINK)
    state = subject.state("a--b")
    assert state["ab"]["applied"] == {"delay": 20 * MILLISECOND, "limit": 3302}  # type: ignore[index]
    assert values.decode(state["ba"]["applied"]) == dataclasses.replace(LOSS, limit=1000)  # type: ignore[index]
    emulator = state["emulator"]
    assert (emulator["filter"], emulator["seeded"]) == ("matchall", False)  # type: ignore[index]


# --- the end -------------------------------------------------------------------------------------------------------


def test_undo() -> None:
    kernel = NetemKernel()
    subject = executor(kernel)
    subject.join(11, 21)
    subject.impair(21, DELAY, 1500, 1)
    subject.impair(31, DELAY, 1500, 1)
    subject.undo()
    assert (kernel.netems, kernel.clsact) == ({}, set())
    subject.add(LINK)


def test_interfaces_that_are_gone() -> None:
    """A link that was opened anew has new interfaces; the old ones took everything with them."""
    kernel = NetemKernel()
    subject = executor(kernel)
    subject.add(LINK)
    kernel.netems.clear()
    kernel.clsact.clear()
    subject.remove("a--b")
    subject.add(LINK)
    assert kernel.netems.keys() == {11, 21}
