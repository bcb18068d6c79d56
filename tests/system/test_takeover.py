"""Interfaces that somebody else made become those of a plan, and sockets that impair, in a namespace without Docker."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import pytest

from nodes.impairment import Change, Direction, Impairment, encode_patch
from nodes.io.impaired_socket import Asked, ImpairedSocket
from nodes.io.kernel_interfaces import KernelInterfaces, TakeoverError
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.physical.line import Line
from nodes.physical.schedule import Schedule

Isolated = Callable[[Callable[[], None]], None]
MILLISECOND = 1_000_000
FRAME = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x88\xb5" + b"frame".ljust(60, b".")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def shown(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ip("-json", *words))
    return found


def as_docker_makes_them() -> None:
    """Two interfaces with addresses and a default route, each the end of a cable."""
    ip("link", "set", "lo", "up")
    for number in (0, 1):
        ip("link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
        ip("address", "add", f"198.18.0.{2 + 8 * number}/29", "dev", f"eth{number}")
        for name in ("eth", "far"):
            ip("link", "set", f"{name}{number}", "up")
    ip("route", "add", "default", "via", "198.18.0.1")


def test_interfaces_swap_their_names_and_lose_addresses_and_routes(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        before = {link["ifname"]: link["ifindex"] for link in shown("link")}
        with KernelInterfaces() as kernel:
            kernel.take_over({"198.18.0.2": "eth1", "198.18.0.10": "eth0"}, patience=0.0)
            for number in (0, 1):
                kernel.set_mac(f"eth{number}", f"02:00:00:00:00:0{number}")
                kernel.set_mtu(f"eth{number}", 1400)
                kernel.set_up(f"eth{number}", up=True)
            kernel.set_up("eth1", up=False)
        after = {link["ifname"]: link for link in shown("address")}
        assert (after["eth0"]["ifindex"], after["eth1"]["ifindex"]) == (before["eth1"], before["eth0"])
        for name, mac in (("eth0", "02:00:00:00:00:00"), ("eth1", "02:00:00:00:00:01")):
            assert [entry for entry in after[name]["addr_info"] if entry["family"] == "inet"] == []
            assert (after[name]["address"], after[name]["mtu"]) == (mac, 1400)
        assert "UP" in after["eth0"]["flags"] and "UP" not in after["eth1"]["flags"]
        assert shown("route") == []

    isolated(body)


def test_a_kernel_s_stack_gets_addresses_and_routes(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        with KernelInterfaces() as kernel:
            kernel.take_over({"198.18.0.2": "lan", "198.18.0.10": "eth0"}, patience=0.0)
            kernel.offloads_off("lan")
            kernel.set_address("lan", "10.0.0.5/27")
            kernel.set_up("lan", up=True)
            kernel.add_route("lan", "0.0.0.0/0", "10.0.0.1", 0)
            kernel.add_route("lan", "10.9.0.0/16", "10.0.0.2", 7)
            kernel.add_route("lan", "10.8.0.1/32", "", 0)
        (link,) = shown("-4", "address", "show", "dev", "lan")
        (address,) = link["addr_info"]
        assert (address["local"], address["prefixlen"], address["broadcast"]) == ("10.0.0.5", 27, "10.0.0.31")
        routes = {route["dst"]: (route.get("gateway"), route.get("metric")) for route in shown("route")}
        assert routes == {
            "default": ("10.0.0.1", None),
            "10.9.0.0/16": ("10.0.0.2", 7),
            "10.8.0.1": (None, None),
            "10.0.0.0/27": (None, None),
        }

    isolated(body)


def test_what_is_not_there_or_not_possible_is_said(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        with KernelInterfaces() as kernel:
            with pytest.raises(
                TakeoverError, match=r"no interface has the address 198\.18\.0\.99 .*eth0 198\.18\.0\.2"
            ):
                kernel.take_over({"198.18.0.99": "eth0"}, patience=0.0)
            with pytest.raises(TakeoverError, match="cannot set the MTU 1 of eth0"):
                kernel.set_mtu("eth0", 1)
            with pytest.raises(TakeoverError, match="cannot read the flags of eth7"):
                kernel.set_up("eth7", up=True)
            with pytest.raises(TakeoverError, match="cannot add the route"):
                kernel.add_route("eth0", "10.0.0.0/8", "10.77.0.1", 0)

    isolated(body)


def lines(out: Direction, ab: Impairment, ba: Impairment, *, both: bool, changes: tuple[Change, ...] = ()) -> Asked:
    now = monotonic_ns()
    impairments: dict[Direction, Impairment] = {"ab": ab, "ba": ba}
    made = {d: Line(impairments[d], 1500, 1, now) for d in impairments if both or d == out}
    return Asked(out, made, impairments, 1500, Schedule(changes, now) if changes else None)


class Port:
    """An impaired socket on `eth0`, driven as an agent drives it, and a plain one at the other end of the cable."""

    def __init__(self, asked: Asked) -> None:
        self.reactor = Reactor()
        self.got: list[tuple[int, bytes]] = []
        self.carrier: list[tuple[str, bool]] = []
        self.near = ImpairedSocket("eth0", asked, self.reactor, self.read, lambda *told: self.carrier.append(told))
        self.far = PacketSocket("far0")
        self.arrived: list[tuple[int, bytes]] = []
        self.reactor.add(self.near.fileno(), self.read)
        self.reactor.add(self.far.fileno(), self.listen)

    def read(self) -> None:
        self.got += [(monotonic_ns(), frame) for frame in self.near.receive_batch() if frame[12:14] == b"\x88\xb5"]

    def listen(self) -> None:
        self.arrived += [(monotonic_ns(), frame) for frame in self.far.receive_batch() if frame[12:14] == b"\x88\xb5"]

    def run(self, milliseconds: int) -> None:
        self.reactor.call_at(monotonic_ns() + milliseconds * MILLISECOND, self.reactor.stop)
        self.reactor.run()


def test_what_is_sent_and_received_is_delayed_each_by_its_own_line(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        port = Port(lines("ba", Impairment(delay=80 * MILLISECOND), Impairment(delay=30 * MILLISECOND), both=True))
        begin = monotonic_ns()
        assert port.near.send(FRAME)
        assert port.far.send(FRAME)
        port.run(300)
        ((sent, first),) = port.arrived
        ((received, second),) = port.got
        assert first == second == FRAME
        assert 30 * MILLISECOND <= sent - begin < 80 * MILLISECOND
        assert 80 * MILLISECOND <= received - begin < 200 * MILLISECOND
        state: Any = port.near.snapshot()
        assert state["out"] == "ba"
        assert {name: line["in_frames"] >= 1 for name, line in state["lines"].items()} == {"ab": True, "ba": True}
        port.near.close()

    isolated(body)


def test_without_a_line_for_it_what_is_received_comes_at_once(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        port = Port(
            lines("ab", Impairment(delay=60_000 * MILLISECOND), Impairment(delay=60_000 * MILLISECOND), both=False)
        )
        assert port.near.send(FRAME)
        assert port.far.send(FRAME)
        port.run(100)
        assert [frame for _, frame in port.got] == [FRAME]
        assert port.arrived == []
        port.near.close()

    isolated(body)


def test_a_schedule_changes_lines_and_carrier(isolated: Isolated) -> None:
    def body() -> None:
        as_docker_makes_them()
        changes = (
            Change(20 * MILLISECOND, ("ab",), encode_patch({"delay": 0})),
            Change(40 * MILLISECOND, up=False),
            Change(60 * MILLISECOND, up=True),
        )
        port = Port(lines("ab", Impairment(delay=60_000 * MILLISECOND), Impairment(), both=False, changes=changes))
        port.run(100)
        assert port.carrier == [("eth0", False), ("eth0", True)]
        assert port.near.send(FRAME)
        port.run(50)
        assert [frame for _, frame in port.arrived] == [FRAME]
        port.near.close()

    isolated(body)
