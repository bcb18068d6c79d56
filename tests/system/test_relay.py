"""The relay between real veths, as root and as an ordinary user.

a0 ═══ l0 │ relay │ r0 ═══ b0        the tests hold packet sockets on a0 and b0; another link has l1, r1
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from lab.host import syscalls
from lab.host.namespaces import NO_IPV6, write_sysctls
from lab.links.relay import run_relay
from lab.links.relay_client import RelayClient
from nodes.impairment import Fault, GilbertElliott, Impairment, RandomLoss
from nodes.io.control import ControlError
from nodes.io.stamped_socket import StampedSocket
from nodes.physical.line import Line
from nodes.units import MILLISECOND, SECOND
from tests.system.conftest import Isolated

DEADLINE = 20.0
HEADER = bytes.fromhex("020000000002 020000000001 88b5")
DELAY = 20 * MILLISECOND
SEEDS = (0x1234_5678_9ABC_DEF0, 42)
PLAIN = Impairment()
DELAYED = Impairment(delay=DELAY)
ALL_LOST = {"loss": {"model": "random", "chance": 1.0}}
NONSENSE = {"loss": {"model": "timed"}}


@dataclass
class Rig:
    client: RelayClient
    pid: int
    ends: dict[str, StampedSocket]
    sent_at: list[int] = field(default_factory=list)

    def add(self, number: int = 0, ab: Impairment = PLAIN, ba: Impairment = PLAIN, mtu: int = 1500) -> None:
        self.client.add(f"link{number}", f"l{number}", f"r{number}", ab, ba, seeds=SEEDS, mtu=mtu)

    def send(self, end: str, numbers: range, octets: int = 100) -> None:
        for number in numbers:
            self.sent_at.append(time.monotonic_ns())
            assert self.ends[end].send(frame_of(number, octets))

    def hear(self, end: str, count: int) -> list[tuple[int, bytes]]:
        """The next frames at an end, with their times."""
        heard: list[tuple[int, bytes]] = []
        until(lambda: heard.extend(self.ends[end].receive_stamped()) or len(heard) >= count, lambda: len(heard))
        assert len(heard) == count
        return heard

    def side(self, way: str = "ab", number: int = 0) -> dict[str, object]:
        """What the relay says of one direction."""
        return dict(self.client.state(f"link{number}").links[f"link{number}"][way])

    def settled(self, way: str, expected: int) -> dict[str, object]:
        """The same, as soon as that many frames have entered and none is inside any more."""
        until(lambda: (side := self.side(way))["in_frames"] == expected and not side["inside"], lambda: self.side(way))
        return self.side(way)


def frame_of(number: int, octets: int = 100) -> bytes:
    return HEADER + struct.pack("!I", number).ljust(octets - len(HEADER), b"\0")


def numbers_of(heard: list[tuple[int, bytes]]) -> list[int]:
    return [struct.unpack_from("!I", frame, len(HEADER))[0] for _, frame in heard]


def until(condition: Callable[[], object], state: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"did not come about: {state()}"
        time.sleep(0.001)


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


@contextmanager
def rig(links: int = 1) -> Iterator[Rig]:
    """Links and a relay in the network namespace of this process."""
    write_sysctls(NO_IPV6)
    for number in range(links):
        for outer, inner in (("a", "l"), ("b", "r")):
            ip(f"link add {outer}{number} type veth peer name {inner}{number}")
            ip(f"link set {outer}{number} up")
            ip(f"link set {inner}{number} up")
    ends = {f"{side}{number}": StampedSocket(f"{side}{number}") for number in range(links) for side in "ab"}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0relay")  # abstract: in the network namespace
    listener.listen()
    pid = os.fork()
    if not pid:
        be_relay(listener)
    client = RelayClient.connect("\0relay")
    try:
        rig = Rig(client, pid, ends)
        for number in range(links):
            await_carrier(rig, number)
        yield rig
        client.shutdown()
    finally:
        client.close()
    assert os.waitpid(pid, 0)[1] == 0


def be_relay(listener: socket.socket) -> None:
    status = 1
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        run_relay(listener, "relay")
        status = 0
    except BaseException:  # noqa: BLE001 - the last frame of a process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def await_carrier(rig: Rig, number: int) -> None:
    """Until the kernel has taken note of all carriers, it silently drops what is sent."""
    rig.add(number)
    for source, sink in (("a", "b"), ("b", "a")):
        sender, receiver = rig.ends[f"{source}{number}"], rig.ends[f"{sink}{number}"]
        until(lambda sender=sender, receiver=receiver: sender.send(frame_of(0)) and receiver.receive_stamped())
    rig.client.remove(f"link{number}")
    for end in rig.ends.values():
        while end.receive_stamped():
            pass


def test_frames_arrive_unchanged_in_order_and_not_early(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            relay.add(ab=DELAYED, ba=Impairment(delay=5 * MILLISECOND))
            for source, sink, way, delay in (("a0", "b0", "ab", DELAY), ("b0", "a0", "ba", 5 * MILLISECOND)):
                relay.sent_at.clear()
                relay.send(source, range(1000), 1514)
                heard = relay.hear(sink, 1000)
                assert [frame for _, frame in heard] == [frame_of(number, 1514) for number in range(1000)]
                early = [at - sent for (at, _), sent in zip(heard, relay.sent_at, strict=True) if at - sent < delay]
                assert not early
                side = relay.settled(way, 1000)
                assert side["out_frames"] == 1000
                assert side["out_octets"] == 1_514_000
                assert side["delay"]["minimum"] == side["delay"]["maximum"] == delay
                assert side["lateness"]["count"] == 1000
                assert (side["not_received"], side["not_sent"], side["dropped"]) == (0, {}, {})

    isolated(check)


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(delay=MILLISECOND, loss=RandomLoss(chance=0.3)),
        Impairment(loss=GilbertElliott(p=0.05, r=0.3), duplicate=0.2, faults=(Fault("drop", first=3),)),
    ],
    ids=["delayed", "at once"],
)
def test_the_relay_does_what_the_line_does(isolated: Isolated, impairment: Impairment) -> None:
    """The same frames through a line of the same seed, in this process, share their fate."""
    line = Line(impairment, 1500, SEEDS[0], 0)
    for number in range(1000):
        line.receive(frame_of(number), number)
    line.timeout(SECOND)
    expected = sorted(frame for _, _, frame in line.transmit())

    def check() -> None:
        with rig() as relay:
            relay.add(ab=impairment)
            relay.send("a0", range(1000))
            assert sorted(frame for _, frame in relay.hear("b0", len(expected))) == expected
            side = relay.settled("ab", 1000)
            for name in ("dropped", "duplicated", "out_frames"):
                assert side[name] == line.snapshot(SECOND)[name]

    assert 100 < len(expected) < 1000 or line.statistics.duplicated > 100
    isolated(check)


def test_two_links_are_kept_apart(isolated: Isolated) -> None:
    def check() -> None:
        with rig(2) as relay:
            relay.add(0, ab=DELAYED)
            relay.add(1)
            relay.send("a0", range(10))
            relay.send("a1", range(10, 20))
            assert numbers_of(relay.hear("b1", 10)) == list(range(10, 20))
            assert numbers_of(relay.hear("b0", 10)) == list(range(10))
            state = relay.client.state()
            assert list(state.links) == ["link0", "link1"]
            assert state.links["link1"]["ba"]["in_frames"] == 0
            assert state.relay["pid"] == relay.pid
            assert state.relay["priority"] in ("SCHED_FIFO 1", "SCHED_OTHER")

    isolated(check)


def test_a_change_holds_from_then_on(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            relay.add(ab=Impairment(delay=3600 * SECOND), ba=DELAYED)
            relay.send("a0", range(5))
            until(lambda: relay.side()["inside"] == 5)
            before = time.monotonic_ns()
            assert before < relay.client.change("link0", ab=PLAIN) < time.monotonic_ns()
            relay.send("a0", range(5, 10))
            assert numbers_of(relay.hear("b0", 5)) == [5, 6, 7, 8, 9]
            assert relay.side()["inside"] == 5, "frames in flight keep their time"
            relay.send("b0", range(3))
            relay.hear("a0", 3)
            assert relay.settled("ba", 3)["delay"]["minimum"] == DELAY, "the other direction is as it was"

    isolated(check)


def test_a_direction_that_is_not_changed_goes_on(isolated: Isolated) -> None:
    """A fault counts its frames from where it was, however often the other direction changes."""

    def check() -> None:
        with rig() as relay:
            third = Impairment(loss=GilbertElliott(p=1.0, r=0.0), faults=())
            relay.add(ab=third)
            relay.send("a0", range(1))  # netem looks at the state before its transition: the first one passes
            assert numbers_of(relay.hear("b0", 1)) == [0]
            relay.client.change("link0", ab=third, ba=DELAYED)
            relay.send("a0", range(1, 4))
            assert relay.settled("ab", 4)["dropped"] == {"loss": 3}
            relay.client.change("link0", ab=third, mtu=1400)
            relay.send("a0", range(4, 5))
            assert numbers_of(relay.hear("b0", 1)) == [4], "told anew, netem begins in the good state"

    isolated(check)


def test_a_link_that_is_down_loses_what_is_inside(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            relay.add(ab=Impairment(delay=3600 * SECOND))
            relay.send("a0", range(3))
            until(lambda: relay.side()["inside"] == 3)
            relay.client.set_up("link0", False)
            relay.send("a0", range(3, 5))
            assert relay.settled("ab", 5)["dropped"] == {"link down": 5}
            assert relay.client.state("link0").links["link0"]["up"] is False
            relay.client.set_up("link0", True)
            relay.client.change("link0", ab=PLAIN)
            relay.send("a0", range(5, 7))
            assert numbers_of(relay.hear("b0", 2)) == [5, 6]

    isolated(check)


def test_a_link_that_is_removed_carries_no_more_and_can_come_back(isolated: Isolated) -> None:
    def check() -> None:
        with rig(2) as relay:
            relay.add(0)
            relay.add(1)
            relay.client.remove("link0")
            assert list(relay.client.state().links) == ["link1"]
            relay.send("a0", range(5))
            relay.send("a1", range(5))
            relay.hear("b1", 5)
            assert relay.ends["b0"].receive_stamped() == []
            relay.add(0)
            relay.send("a0", range(5, 10))
            assert numbers_of(relay.hear("b0", 5)) == [5, 6, 7, 8, 9]

    isolated(check)


def test_frames_that_do_not_fit_the_other_end_are_counted(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            ip("link set dev r0 mtu 1000")
            relay.add()
            relay.send("a0", range(3), 1514)
            relay.send("a0", range(3, 4))
            assert numbers_of(relay.hear("b0", 1)) == [3]
            side = relay.settled("ab", 4)
            assert side["not_sent"] == {"EMSGSIZE": 3}

    isolated(check)


def test_an_interface_that_goes_down_comes_back(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            relay.add(ab=Impairment(delay=MILLISECOND))
            ip("link set dev r0 down")
            relay.send("a0", range(3))
            assert relay.settled("ab", 3)["not_sent"] == {"ENETDOWN": 3}
            ip("link set dev l0 down")
            ip("link set dev r0 up")
            ip("link set dev l0 up")
            until(lambda: relay.ends["a0"].send(frame_of(9)) and relay.ends["b0"].receive_stamped())

    isolated(check)


def test_what_is_wrong_is_said_and_harms_nothing(isolated: Isolated) -> None:
    def check() -> None:
        with rig() as relay:
            relay.add()
            call = relay.client._call
            good = {"link": "new", "left": "l0", "right": "r0", "ab": {}, "ba": {}, "seeds": [1, 2], "mtu": 1500}
            for code, method, params in (
                ("exists", "add", good | {"link": "link0"}),
                ("ENODEV", "add", good | {"right": "nothing"}),
                ("bad-params", "add", good | {"ab": {"delay": "banana"}}),
                ("bad-params", "add", good | {"seeds": [1]}),
                ("bad-params", "add", {name: value for name, value in good.items() if name != "mtu"}),
                ("bad-params", "up", {"link": "link0", "up": 1}),
                ("bad-params", "change", {"link": "link0", "ab": ALL_LOST, "ba": NONSENSE}),
                ("unknown-link", "change", {"link": "nothing"}),
                ("unknown-link", "remove", {"link": "nothing"}),
                ("unknown-link", "state", {"links": ["nothing"]}),
                ("unknown-method", "fly", {}),
            ):
                with pytest.raises(ControlError) as caught:
                    call(method, **params)
                assert caught.value.code == code, caught.value
            relay.send("a0", range(3))
            relay.hear("b0", 3)
            assert list(relay.client.state().links) == ["link0"]

    isolated(check)


def test_a_signal_ends_it_in_order(isolated: Isolated) -> None:
    def check() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\0relay")
        listener.listen()
        pid = os.fork()
        if not pid:
            be_relay(listener)
        client = RelayClient.connect("\0relay")
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == 0
        with pytest.raises(ControlError, match="closed"):
            client.state()
        client.close()

    isolated(check)
