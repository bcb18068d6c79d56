"""The meter on real veths that filters join, as root and as an ordinary user. Without a netem, the delay is what the
kernel takes to pass a frame on; with one, see test_kernel_executor_uml.py.

    socket ══ a ═ m1 ⇄ m2 ═ b ══ socket        the meter listens at m1 and m2
"""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.host import links as rt
from lab.host.namespaces import NO_IPV6, write_sysctls
from lab.host.netlink import Netlink
from lab.links import link_meter, meter
from lab.links.base import OpenedLink
from lab.links.kernel import KernelExecutor
from lab.links.link_meter import RESTARTS, LinkMeter, Timed
from nodes.impairment import NOTHING
from nodes.units import MILLISECOND
from tests.system.conftest import Isolated, Needs

pytestmark = pytest.mark.system

DEADLINE = 20.0
LEFT, RIGHT = rt.Interface("m1", 11), rt.Interface("m2", 21)
LINK = OpenedLink("a--b", LEFT, RIGHT, 1500, (NOTHING, NOTHING), (1, 2))
HEADER = bytes.fromhex("020000000002 020000000001 88b5")


class Rig:
    """An opened link that is joined and measured."""

    def __init__(self) -> None:
        write_sysctls(NO_IPV6)
        self.netlink = Netlink()
        for outer, inner, index in (("a", "m1", 10), ("b", "m2", 20)):
            veth = rt.create_veth(rt.VethEnd(outer, index), rt.VethEnd(inner, index + 1), "make veth", up=True)
            self.netlink.request(veth)
            self.netlink.request(rt.change_link(index + 1, f"set {inner} up", up=True))
        self.meter = LinkMeter("test")
        self.meter.add(LINK)
        self.executor = KernelExecutor(self.netlink)
        self.executor.join(LEFT.index, RIGHT.index)
        self.a, self.b = raw("a"), raw("b")

    def pass_on(self, numbers: range, octets: int = 100) -> None:
        for number in numbers:
            self.a.send(frame_of(number, octets))

    def settled(self, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What the meter says of the link as soon as the check likes it."""
        end = time.monotonic() + DEADLINE
        while not check(state := self.meter.state("a--b")):
            assert time.monotonic() < end, state
            time.sleep(0.01)
        return state


def frame_of(number: int, octets: int = 100) -> bytes:
    return (HEADER + number.to_bytes(8, "big")).ljust(octets, b"\0")


def raw(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.bind((interface, 0))
    return opened


def timed(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda state: bool(state["ab"]) and state["ab"]["delay"]["count"] >= count


def end_of(subject: LinkMeter) -> int:
    """Wait until the process has ended; its descriptor."""
    (descriptor,) = subject.watch()
    assert select.select([descriptor], [], [], DEADLINE)[0]
    return descriptor


def test_frames_are_timed(isolated: Isolated, needs: Needs) -> None:
    needs("act_mirred")

    def body() -> None:
        rig = Rig()
        rig.pass_on(range(500))
        rig.b.send(frame_of(1))
        state = rig.settled(lambda state: timed(500)(state) and state["ba"]["delay"]["count"] >= 1)
        ab, ba = state["ab"], state["ba"]
        assert (ab["delay"]["count"], ba["delay"]["count"]) == (500, 1)
        assert 0 <= ab["delay"]["p50"] < MILLISECOND
        for name in ("duplicated", "reordered", "corrupted", "alike", "unknown"):
            assert (name, ab[name], ba[name]) == (name, 0, 0)
        assert (ab["sampled"], state["meter"]["missed"]) == (1.0, 0)
        total = ab["delay"]["mean"] * 500
        sums = rig.meter.samples()["a--b"]
        assert sums["ab"].frames == 500
        assert total <= sums["ab"].delay < total + 500
        assert sums["ba"] == Timed(1, ba["delay"]["maximum"])
        rig.meter.remove("a--b")
        assert rig.meter.samples() == {}
        rig.meter.close()

    isolated(body)


def test_what_leaves_without_having_entered(isolated: Isolated, needs: Needs) -> None:
    """Frames that somebody sends at the end itself are what corrupted ones look like; so are doubled ones."""
    needs("act_mirred")

    def body() -> None:
        rig = Rig()
        rig.pass_on(range(10))
        inner = raw("m2")
        for number in range(100, 104):
            inner.send(frame_of(number))
        for _copy in range(3):
            inner.send(frame_of(9))
        state = rig.settled(lambda state: bool(state["ab"]["corrupted"] == 4 and state["ab"]["duplicated"] == 3))
        assert state["ab"]["delay"]["count"] == 13
        assert state["ba"]["corrupted"] == 0
        rig.meter.close()

    isolated(body)


def test_many_frames_are_sampled(isolated: Isolated, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small budget, so that no flood is needed: both taps take the same part of the frames, and what is counted
    stands for all."""
    needs("act_mirred")
    monkeypatch.setattr(meter.Meter.__init__, "__defaults__", (500,))

    def body() -> None:
        rig = Rig()
        sent, end = 0, time.monotonic() + DEADLINE
        while rig.meter.state("a--b")["ab"]["sampled"] > 1 / 8 or sent < 10_000:
            rig.pass_on(range(sent, sent + 100))
            sent += 100
            time.sleep(0.005)  # 20,000 frames/s at most
            assert time.monotonic() < end
        told = rig.settled(timed(round(0.6 * sent)))["ab"]
        assert told["delay"]["count"] < 1.5 * sent
        assert told["corrupted"] == told["duplicated"] == told["reordered"] == 0
        assert told["delay"]["p50"] < MILLISECOND
        rig.meter.close()

    isolated(body)


def test_a_meter_that_dies_is_replaced(isolated: Isolated, needs: Needs) -> None:
    """The link goes on; what was measured goes on counting from where it was; after some deaths it is given up."""
    needs("act_mirred")

    def body() -> None:
        rig = Rig()
        rig.pass_on(range(50))
        rig.settled(timed(50))
        assert rig.meter.samples()["a--b"]["ab"].frames == 50
        for death in range(RESTARTS + 1):
            os.kill(rig.meter.state("a--b")["meter"]["pid"], signal.SIGKILL)
            end_of(rig.meter)
            lost = rig.meter.state("a--b")
            assert lost["ab"] == {}
            assert "does not answer" in lost["meter"]["problem"]
            assert rig.meter.restart() == "was killed by SIGKILL"
            assert rig.meter.restarts == death + 1
            if death == 0:
                rig.pass_on(range(100, 120))
                raw("m2").send(frame_of(5000))  # it may have been inside when the first one died
                rig.settled(lambda state: timed(20)(state) and state["ab"]["unknown"] == 1)
                assert rig.meter.samples()["a--b"]["ab"].frames == 70
        assert rig.meter.watch() == {}
        problem = rig.meter.state("a--b")["meter"]["problem"]
        assert problem == f"the meter ended {RESTARTS + 1} times; at last it was killed by SIGKILL"
        rig.b.bind(("b", 3))
        rig.pass_on(range(200, 201))
        assert rig.b.recv(200) == frame_of(200)
        rig.meter.add(dataclasses.replace(LINK, name="other"))
        assert rig.meter.state("other")["meter"]["problem"] == problem

    isolated(body)


def test_a_meter_that_hangs_is_killed(isolated: Isolated, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("act_mirred")
    monkeypatch.setattr(link_meter, "TIMEOUT", 0.1)

    def body() -> None:
        rig = Rig()
        os.kill(rig.meter.state("a--b")["meter"]["pid"], signal.SIGSTOP)
        assert rig.meter.samples() == {}
        end_of(rig.meter)
        assert rig.meter.restart() == "was killed by SIGKILL"
        monkeypatch.setattr(link_meter, "TIMEOUT", DEADLINE)
        rig.pass_on(range(10))
        rig.settled(timed(10))
        rig.meter.close()

    isolated(body)


def test_an_interface_that_is_not_there(isolated: Isolated, needs: Needs) -> None:
    """That link is not measured, and the others are."""
    needs("act_mirred")

    def body() -> None:
        rig = Rig()
        rig.meter.add(dataclasses.replace(LINK, name="gone", right=rt.Interface("m99", 99)))
        assert rig.meter.state("gone")["meter"]["problem"] == "meter: m99: No such device"
        rig.pass_on(range(5))
        rig.settled(timed(5))
        rig.meter.remove("gone")
        rig.meter.close()

    isolated(body)
