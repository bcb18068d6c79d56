"""Stamped packet sockets: many frames with one call, each with the kernel's time of its arrival."""

from __future__ import annotations

import subprocess
import time

import pytest

from lab.host.namespaces import NO_IPV6, write_sysctls
from nodes.io import stamped_socket
from nodes.io.packet_socket import PacketSocket
from nodes.io.stamped_socket import BATCH, StampedSocket, clock_offset
from nodes.units import MICROSECOND, SECOND
from tests.system.conftest import Isolated

FRAME = bytes.fromhex("020000000002 020000000001 88b5")
DEADLINE = 10.0


SLACK = 20 * MICROSECOND
"""Of the distance between two clocks."""


def pair(mtu: int = 1500) -> tuple[PacketSocket, StampedSocket]:
    """The two ends of a veth through which frames pass and get their time when they do."""
    write_sysctls(NO_IPV6)
    for arguments in (
        f"link add left mtu {mtu} type veth peer name right mtu {mtu}", "link set left up", "link set right up"
    ):  # fmt: skip
        subprocess.run(["ip", *arguments.split()], check=True)
    sender, receiver = PacketSocket("left"), StampedSocket("right")
    end = time.monotonic() + DEADLINE
    while True:
        sender.send(FRAME + bytes(46))
        sent = time.monotonic_ns()
        time.sleep(0.001)
        heard = receiver.receive_stamped()
        if heard and heard[-1][0] <= sent + SLACK:
            return sender, receiver
        assert time.monotonic() < end


def test_each_frame_has_its_time(isolated: Isolated) -> None:
    def check() -> None:
        sender, receiver = pair()
        frames = [FRAME + bytes((number,)) * (46 + 14 * number) for number in range(100)]
        times = []
        for frame in frames:
            before = time.monotonic_ns()
            sender.send(frame)
            times.append((before, time.monotonic_ns()))
        heard = receiver.receive_stamped()
        assert len(heard) == BATCH
        heard += receiver.receive_stamped()
        assert [frame for _, frame in heard] == frames
        assert receiver.receive_stamped() == []
        for (at, _), (before, after) in zip(heard, times, strict=True):
            assert before - SLACK <= at <= after + SLACK
        assert receiver.received >= 100

    isolated(check)


def test_frames_keep_their_bytes_in_any_size(isolated: Isolated) -> None:
    def check() -> None:
        sender, receiver = pair(mtu=65_535)
        sizes = [14, 60, 4096, 4097, 65_535 + 14]
        frames = [(FRAME + bytes(range(256)) * 256)[:size] for size in sizes]
        for frame in frames:
            assert sender.send(frame)
        assert [frame for _, frame in receiver.receive_stamped()] == frames
        assert receiver.truncated == 0

    isolated(check)


@pytest.mark.parametrize("tag", ["8100 2005", "88a8 0ffe", "88a8 0001 8100 e002"])
def test_vlan_tags_stay_in_their_frames(isolated: Isolated, tag: str) -> None:
    """The kernel takes the first one out, and tells it beside the frame."""

    def check() -> None:
        sender, receiver = pair()
        plain = FRAME + bytes(range(60))
        tagged = FRAME[:12] + bytes.fromhex(tag) + plain[12:]
        for frame in (plain, tagged, plain):
            assert sender.send(frame)
        assert [frame for _, frame in receiver.receive_stamped()] == [plain, tagged, plain]

    isolated(check)


def test_times_never_run_back_nor_ahead_of_the_clock(isolated: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the wall clock is set: its distance to ours jumps by an hour, forth and back."""

    def check() -> None:
        sender, receiver = pair()
        last = 0
        for hours in (0, 1, -1, 0):
            real = clock_offset() + hours * 3600 * SECOND
            monkeypatch.setattr(stamped_socket, "clock_offset", lambda real=real: real)
            receiver._offset_until = 0
            for _ in range(3):
                sender.send(FRAME + bytes(46))
            for at, _ in receiver.receive_stamped():
                assert last <= at <= time.monotonic_ns()
                last = at

    isolated(check)


def test_an_interface_that_is_down_gives_nothing(isolated: Isolated) -> None:
    def check() -> None:
        _, receiver = pair()
        subprocess.run(["ip", "link", "set", "right", "down"], check=True)
        assert receiver.receive_stamped() == []
        assert not receiver.up
        subprocess.run(["ip", "link", "delete", "right"], check=True)
        assert receiver.receive_stamped() == []

    isolated(check)


def test_a_closed_socket_is_an_error(isolated: Isolated) -> None:
    def check() -> None:
        _, receiver = pair()
        receiver.close()
        with pytest.raises(OSError, match="recvmmsg on right: Bad file descriptor"):
            receiver.receive_stamped()

    isolated(check)


def test_the_distance_of_the_clocks_is_measured_between_two_readings() -> None:
    before = time.monotonic_ns() - time.time_ns()
    assert abs(clock_offset() - before) < SECOND // 100
