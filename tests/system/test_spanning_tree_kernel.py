"""Our switch and a Linux bridge, joined by two cables: one tree.

The kernel speaks 802.1D-1998 only. The test runs this file as a program in a network namespace of its own, which
vanishes with it, and reads what both sides think from its output:

    station a ── [our switch] ══ two veth pairs ══ [Linux bridge] ── station b
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from nodes.datalink.spanning_tree_vectors import SpanningTreeSettings
from nodes.datalink.switch import LearningSwitch
from nodes.trace.events import NullTracer
from nodes.units import SECOND
from nodes.wire.addresses import BROADCAST_MAC, parse_mac

OURS = "02:5a:00:00:00:01"
THEIRS = "02:5a:00:00:00:02"
MARK = b"\x88\xb5"
PORTS = ("a1", "c1", "d1")  # a station, and two cables to the bridge
PATIENCE = 60 * SECOND
ETH_P_ALL = socket.htons(3)


def ip(*arguments: str) -> str:
    result = subprocess.run([shutil.which("ip") or "ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"ip {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def build(priority: int) -> None:
    """A bridge br0 with b0 (station b is b1), c0 and d0; a0 is station a."""
    bridge = ("br0", "address", THEIRS, "type", "bridge", "stp_state", "1", "priority", str(priority))
    ip("link", "add", *bridge, "hello_time", "100", "forward_delay", "400", "max_age", "600")
    for letter in "abcd":
        ip("link", "add", f"{letter}0", "type", "veth", "peer", "name", f"{letter}1")
        if letter != "a":
            ip("link", "set", f"{letter}0", "master", "br0")
        ip("link", "set", f"{letter}0", "up")
        ip("link", "set", f"{letter}1", "up")
    ip("link", "set", "br0", "up")


def packet_socket(name: str) -> socket.socket:
    result = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL)
    result.bind((name, 0))
    result.setblocking(False)
    return result


class Rig:
    """Our switch over packet sockets."""

    def __init__(self, priority: int) -> None:
        self.sockets = [packet_socket(name) for name in PORTS]
        self.switch = LearningSwitch(
            PORTS,
            parse_mac(OURS),
            Random(0),
            NullTracer(),
            ageing_time=300 * SECOND,
            spanning_tree=SpanningTreeSettings(priority, 1 * SECOND, 6 * SECOND, 4 * SECOND),
        )
        for port in range(len(PORTS)):
            self.switch.set_port(port, True, time.monotonic_ns())

    def poll(self) -> None:
        """Wait for a frame or a timer, once; at most a tenth of a second."""
        deadline = self.switch.deadline() or 0
        wait = min(max(deadline - time.monotonic_ns(), 0) / SECOND, 0.1)
        ready, _, _ = select.select(self.sockets, [], [], wait)
        now = time.monotonic_ns()
        for one in ready:
            frame, address = one.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                self.switch.receive(self.sockets.index(one), frame, now)
        if deadline <= now:
            self.switch.timeout(now)
        for port, out in self.switch.transmit():
            self.sockets[port].send(out)

    def tree(self) -> dict[str, object]:
        return self.switch.snapshot(time.monotonic_ns())["spanning_tree"]  # type: ignore[return-value]


def kernel_view() -> dict[str, object]:
    """The states of the bridge's ports, and its root as a port tells it: as the bridge's `root_id`, iproute2 6.1
    prints the bridge's own identifier."""
    links = {link["ifname"]: link for link in json.loads(ip("-d", "-j", "link", "show"))}
    data = {name: links[name]["linkinfo"]["info_slave_data"] for name in ("c0", "d0")}
    states = {name: port["state"] for name, port in data.items()}
    return {"root": plain_identifier(data["c0"]["root_id"]), "ports": states}


def plain_identifier(text: str) -> str:
    """`1000.2:5a:0:0:0:2`, as iproute2 writes it, in the kernel's own form: `1000.025a00000002`."""
    priority, _, address = text.partition(".")
    return f"{priority}.{parse_mac(address).hex()}"


def settled(tree: dict[str, object], kernel: dict[str, object]) -> bool:
    """Nobody is on the way to another state, and both know one root."""
    ours = [port["state"] for port in tree["ports"]]  # type: ignore[attr-defined]
    theirs = list(kernel["ports"].values())  # type: ignore[attr-defined]
    ways = sum(a == b == "forwarding" for a, b in zip(ours[1:], theirs, strict=True))
    moving = {"learning", "listening"} & {*ours, *theirs}
    return ways == 1 and ours[0] == "forwarding" and not moving and tree["root"] == kernel["root"]


def count_copies(rig: Rig, sender: str, receiver: str, number: int) -> int:
    """How often a broadcast of one station arrives at the other, within half a second."""
    source, target = packet_socket(sender), packet_socket(receiver)
    frame = BROADCAST_MAC + b"\x02\x00\x00\x00\x00" + bytes([number]) + MARK + number.to_bytes(46, "big")
    source.send(frame)
    end = time.monotonic_ns() + SECOND // 2
    copies = 0
    while time.monotonic_ns() < end:
        rig.poll()
        while select.select([target], [], [], 0)[0]:
            data, address = target.recvfrom(65536)
            copies += data == frame and address[2] != socket.PACKET_OUTGOING
    return copies


def wait_settled(rig: Rig) -> tuple[dict[str, object], dict[str, object]]:
    end = time.monotonic_ns() + PATIENCE
    while time.monotonic_ns() < end:
        rig.poll()
        tree, kernel = rig.tree(), kernel_view()
        if settled(tree, kernel):
            return tree, kernel
    raise SystemExit(f"not settled: {json.dumps([tree, kernel])}")


def main(ours: int, theirs: int) -> None:
    build(theirs)
    rig = Rig(ours)
    tree, kernel = wait_settled(rig)
    copies = [count_copies(rig, "a0", "b1", 1), count_copies(rig, "b1", "a0", 2)]
    spare = cut_cable_in_use(rig)
    while not carries(rig, spare):
        rig.poll()
    copies.append(count_copies(rig, "a0", "b1", 3))
    json.dump({"tree": tree, "kernel": kernel, "copies": copies}, sys.stdout)


def carries(rig: Rig, cable: str) -> bool:
    """Both ends of `c` or `d` forward."""
    states = {port["name"]: port["state"] for port in rig.tree()["ports"]}  # type: ignore[attr-defined]
    return states[f"{cable}1"] == kernel_view()["ports"][f"{cable}0"] == "forwarding"  # type: ignore[index,no-any-return]


def cut_cable_in_use(rig: Rig) -> str:
    """The other one is returned."""
    used, spare = ("c", "d") if carries(rig, "c") else ("d", "c")
    ip("link", "set", f"{used}0", "down")
    rig.switch.set_port(PORTS.index(f"{used}1"), False, time.monotonic_ns())
    return spare


# --- the tests, outside the namespace ------------------------------------------------------------------------------


def run_inside(ours: int, theirs: int) -> dict[str, object]:
    """Run `main` in a new network namespace."""
    unshare = shutil.which("unshare")
    flags = ["-n"] if os.geteuid() == 0 else ["-Urn"]
    if (
        unshare is None
        or shutil.which("ip") is None
        or subprocess.run([unshare, *flags, "true"], check=False).returncode
    ):
        if "CI" in os.environ:
            pytest.fail("unshare, ip and a network namespace are needed")
        pytest.skip("no unshare, no ip, or no right to make a network namespace")
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [unshare, *flags, sys.executable, __file__, str(ours), str(theirs)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)  # type: ignore[no-any-return]


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs"), [(4096, 32768), (32768, 4096)], ids=["our root", "kernel root"])
def test_one_tree_with_the_kernel(ours: int, theirs: int) -> None:
    """One root, one of two cables blocked, one copy of a broadcast each way, and the spare cable takes over."""
    result = run_inside(ours, theirs)
    tree, kernel = result["tree"], result["kernel"]
    expected = "1000." + (OURS if ours < theirs else THEIRS).replace(":", "")
    assert tree["root"] == kernel["root"] == expected  # type: ignore[index]
    cables = {port["name"]: port for port in tree["ports"] if port["name"] != "a1"}  # type: ignore[index]
    roles = sorted(port["role"] for port in cables.values())
    blocked_here = [name for name, port in cables.items() if port["state"] == "discarding"]
    blocked_there = [name for name, state in kernel["ports"].items() if state == "blocking"]  # type: ignore[index]
    if ours < theirs:
        assert roles == ["designated", "designated"]
        assert blocked_here == []
        assert blocked_there == ["d0"]  # the same cost and bridge: the lower port identifier of ours wins
    else:
        assert roles == ["alternate", "root"]
        assert blocked_here == ["d1"]
        assert blocked_there == []
    assert {port["protocol"] for port in cables.values()} == {"stp"}
    assert result["copies"] == [1, 1, 1]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
