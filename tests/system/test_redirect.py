"""Two interfaces joined by filters (lab/host/traffic_control.py): a cable that the kernel carries by itself."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from lab.host import links as rt
from lab.host import traffic_control as tc
from lab.host.namespaces import NO_IPV6, write_sysctls
from lab.host.netlink import Netlink, NetlinkError
from lab.links.base import OpenedLink
from lab.links.kernel import KernelExecutor
from nodes.impairment import NOTHING
from tests.system.conftest import Needs

Isolated = Callable[[Callable[[], None]], None]

pytestmark = pytest.mark.system

SECONDS = 20.0
BROADCAST, SPANNING_TREE, PAUSE = b"\xff" * 6, bytes.fromhex("0180c2000000"), bytes.fromhex("0180c2000001")
STRANGER = bytes.fromhex("020000000009")


def opened_link(netlink: Netlink) -> tuple[socket.socket, socket.socket]:
    """a == m1   m2 == b, and packet sockets on the outer ends."""
    write_sysctls(NO_IPV6)
    for outer, inner, index in (("a", "m1", 10), ("b", "m2", 20)):
        netlink.request(rt.create_veth(rt.VethEnd(outer, index), rt.VethEnd(inner, index + 1), "make veth", up=True))
        netlink.request(rt.change_link(index + 1, f"set {inner} up", up=True))
    sockets = []
    for name in ("a", "b"):
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        opened.bind((name, 3))
        opened.settimeout(SECONDS)
        sockets.append(opened)
    return sockets[0], sockets[1]


def next_frame(link: socket.socket) -> bytes:
    """The next one that came in, not out."""
    while True:
        frame, address = link.recvfrom(65535)
        if address[2] != socket.PACKET_OUTGOING:
            return frame


def test_frames_pass_as_they_are(isolated: Isolated, needs: Needs) -> None:
    """Also what a bridge would eat or flood, the shortest and the longest, and both ways at once."""
    needs("act_mirred")

    def body() -> None:
        with Netlink() as netlink:
            a, b = opened_link(netlink)
            executor = KernelExecutor(netlink)
            executor.join(11, 21)
            for number, destination in enumerate((BROADCAST, SPANNING_TREE, PAUSE, STRANGER)):
                for length in (15, 42, 1514):
                    there = (destination + bytes(6) + b"\x88\xb5").ljust(length, bytes([number]))
                    back = there[:12] + b"\x88\xb6" + there[14:]
                    a.send(there)
                    b.send(back)
                    assert next_frame(b) == there
                    assert next_frame(a) == back
            executor.undo()
            kinds = {state.kind for state in tc.read_qdiscs(netlink, "list qdiscs")}
            assert kinds == {"noqueue"}
            a.send(BROADCAST + bytes(48))
            b.settimeout(0.2)
            with pytest.raises(TimeoutError):
                next_frame(b)

    isolated(body)


def test_joining_twice_changes_nothing(isolated: Isolated, needs: Needs) -> None:
    needs("act_mirred")

    def body() -> None:
        with Netlink() as netlink:
            a, b = opened_link(netlink)
            executor = KernelExecutor(netlink)
            executor.join(11, 21)
            with pytest.raises(NetlinkError, match="prepare interface 11"):
                KernelExecutor(netlink).join(11, 21)
            with pytest.raises(NetlinkError, match="prepare interface 99"):
                executor.join(99, 21)
            a.send(BROADCAST + bytes(48))
            assert next_frame(b) == BROADCAST + bytes(48)

    isolated(body)


def test_without_netem_nothing_is_left(isolated: Isolated, needs: Needs, findings: dict[str, object]) -> None:
    needs("act_mirred")
    has_netem = bool(findings["sch_netem"].ok)  # type: ignore[attr-defined]

    def body() -> None:
        with Netlink() as netlink:
            opened_link(netlink)
            link = OpenedLink("a--b", rt.Interface("m1", 11), rt.Interface("m2", 21), 1500, (NOTHING, NOTHING), (1, 2))
            executor = KernelExecutor(netlink)
            if has_netem:
                executor.add(link)
                executor.remove("a--b")
            else:
                with pytest.raises(NetlinkError, match="this kernel has no sch_netem"):
                    executor.add(link)
            assert {state.kind for state in tc.read_qdiscs(netlink, "list qdiscs")} == {"noqueue"}

    isolated(body)


def test_a_qdisc_and_its_counters(isolated: Isolated, needs: Needs) -> None:
    """What is read of a qdisc, on one that every kernel has."""

    def body() -> None:
        with Netlink() as netlink:
            a, _b = opened_link(netlink)
            netlink.request(tc.add_clsact(11, "add clsact"))
            tc.redirect_all(netlink, 11, 21, "redirect")
            for _number in range(3):
                a.send(BROADCAST + bytes(48))
            state = tc.read_qdisc(netlink, 11, "read clsact", parent=tc.CLSACT)
            assert (state.interface, state.handle, state.kind) == (11, tc.CLSACT_HANDLE, "clsact")
            assert state.frames == 3
            netlink.request(tc.delete_clsact(11, "delete clsact"))
            with pytest.raises(NetlinkError, match="read clsact"):
                tc.read_qdisc(netlink, 11, "read clsact", parent=tc.CLSACT)

    needs("act_mirred")
    isolated(body)
