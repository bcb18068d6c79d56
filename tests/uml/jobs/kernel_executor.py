"""In a guest: the kernel's executor on an opened link, from the first frame to the last trace of it.

    socket ══ a ═ m1 ⇄ m2 ═ b ══ socket        m1 and m2 are the inner ends, joined by the executor

Each function below is one scene on the same link; what it returns is judged on the host. Delays are ns from before the
send call until the kernel's time of arrival, so they may be longer than they should be, and never shorter."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from struct import Struct
from typing import Any

from lab.errors import DriverError
from lab.host import probe, traffic_control
from lab.host.links import Interface, VethEnd, change_link, create_veth
from lab.host.netlink import Netlink
from lab.links.base import OpenedLink
from lab.links.kernel import KernelExecutor
from nodes.impairment import NOTHING, Distribution, Impairment, RandomLoss
from nodes.units import MILLISECOND
from tests.uml import numbered

LEFT, RIGHT = Interface("m1", 11), Interface("m2", 21)
QUIET_SECONDS = 0.4
_SO_TIMESTAMPNS = 35
_TIMESTAMP = Struct("=qq")


def run(_arguments: Mapping[str, Any]) -> dict[str, Any]:
    with Netlink() as netlink:
        scenes = Scenes(netlink)
        found = {"support": probe.netem_support()._asdict()}
        for scene in (
            scenes.both_ways,
            scenes.distributions,
            scenes.loss,
            scenes.frames_in_flight,
            scenes.refused,
            scenes.pulled_out,
            scenes.undone,
        ):
            found[scene.__name__] = scene()
        return found


class Scenes:
    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink
        for inner, outer in ((LEFT, VethEnd("a", 10)), (RIGHT, VethEnd("b", 20))):
            netlink.request(create_veth(outer, VethEnd(inner.name, inner.index), f"make {inner.name}", up=True))
            netlink.request(change_link(inner.index, f"set {inner.name} up", up=True))
        self._executor = KernelExecutor(netlink)
        self._executor.add(OpenedLink("a--b", LEFT, RIGHT, 1500, (NOTHING, NOTHING), (1, 2)))
        self._a, self._b = _packet_socket("a"), _packet_socket("b")

    def both_ways(self) -> dict[str, Any]:
        self._change(Impairment(delay=20 * MILLISECOND), Impairment(delay=5 * MILLISECOND))
        there, back = self._pass(self._a, self._b, 200), self._pass(self._b, self._a, 200)
        return {
            "there": there,
            "back": back,
            "state": self._executor.state("a--b"),
            "samples": self._executor.samples(),
        }

    def distributions(self) -> dict[str, Any]:
        """A normal distribution, and then a uniform one, which the kernel has no word for any more."""
        found = {}
        for distribution in (Distribution("normal"), Distribution()):
            jittery = Impairment(delay=200 * MILLISECOND, jitter=50 * MILLISECOND, distribution=distribution)
            self._change(jittery, NOTHING)
            found[distribution.name] = self._pass(self._a, self._b, 400)
        return found

    def loss(self) -> dict[str, Any]:
        before = self._executor.statistics(RIGHT.index)
        self._change(Impairment(loss=RandomLoss(chance=0.2)), NOTHING)
        arrived = self._pass(self._a, self._b, 500)
        return {"arrived": arrived, "before": before, "after": self._executor.statistics(RIGHT.index)}

    def frames_in_flight(self) -> dict[str, Any]:
        self._change(Impairment(delay=200 * MILLISECOND), NOTHING)
        sent = self._send(self._a, range(10))
        self._change(NOTHING, NOTHING)
        sent |= self._send(self._a, range(10, 20))
        return {"arrived": self._arrivals(self._b, sent)}

    def refused(self) -> dict[str, Any]:
        self._change(Impairment(delay=30 * MILLISECOND), NOTHING)
        try:
            self._change(NOTHING, Impairment(delay=1, seed=7))
        except DriverError as error:
            return {"message": error.message, "arrived": self._pass(self._a, self._b, 20)}
        return {"message": "", "arrived": []}

    def pulled_out(self) -> dict[str, Any]:
        self._change(Impairment(delay=2000 * MILLISECOND), NOTHING)
        self._send(self._a, range(10))
        inside = [self._executor.statistics(RIGHT.index)["inside"]]
        for up in (False, True):
            for end in (LEFT, RIGHT):
                self._netlink.request(change_link(end.index, f"set {end.name}", up=up))
        inside.append(self._executor.statistics(RIGHT.index)["inside"])
        self._change(Impairment(delay=20 * MILLISECOND), NOTHING)
        return {"inside": inside, "arrived": self._pass(self._a, self._b, 20)}

    def undone(self) -> dict[str, Any]:
        self._executor.close()
        left = {state.kind for state in traffic_control.read_qdiscs(self._netlink, "list qdiscs")}
        return {"kinds": sorted(left), "arrived": self._pass(self._a, self._b, 5)}

    def _change(self, there: Impairment, back: Impairment) -> None:
        self._executor.change("a--b", (there, back), 1500)

    def _pass(self, source: socket.socket, target: socket.socket, count: int) -> list[tuple[int, int]]:
        return self._arrivals(target, self._send(source, range(count)))

    def _send(self, source: socket.socket, numbers: range) -> dict[int, int]:
        sent = {}
        for number in numbers:
            sent[number] = time.clock_gettime_ns(time.CLOCK_REALTIME)
            source.send(numbered.build(number, 100))
        return sent

    def _arrivals(self, target: socket.socket, sent: Mapping[int, int]) -> list[tuple[int, int]]:
        """(number, delay) of each frame, until none has come for a while."""
        arrived = []
        while True:
            try:
                frame, ancillary, _flags, _address = target.recvmsg(2048, socket.CMSG_SPACE(_TIMESTAMP.size))
            except TimeoutError:
                return arrived
            number = numbered.number_of(frame)
            if number in sent:
                seconds, nanoseconds = _TIMESTAMP.unpack(ancillary[0][2])
                arrived.append((number, seconds * 1_000_000_000 + nanoseconds - sent[number]))


def _packet_socket(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    opened.settimeout(QUIET_SECONDS)
    opened.bind((interface, numbered.EXPERIMENTAL_TYPE))
    return opened
