"""Packet sockets on a veth in a network namespace of a forked child."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.datalink.offload import note_of
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.io.timer import monotonic_ns
from nodes.units import SECOND
from nodes.wire import ipv4, tcp, virtio
from nodes.wire.addresses import Ip4

pytestmark = pytest.mark.system

CLONE_NEWNET = 0x4000_0000
CLONE_NEWUSER = 0x1000_0000
DEADLINE = 10.0
A, B = Ip4(0x0A00_0001), Ip4(0x0A00_0002)
FRAME = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01" + b"\x88\xb5"


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)


def enter_namespace() -> bool:
    """A network namespace, and for an ordinary user the user namespace that may have it. False: not allowed here."""
    user, group, root = os.geteuid(), os.getegid(), os.geteuid() == 0
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if root else CLONE_NEWNET | CLONE_NEWUSER) != 0:
        return False
    if not root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    return True


def await_carrier() -> None:
    """Until the kernel has taken note of both carriers, it silently drops what is sent."""
    for source, sink in (("left", "right"), ("right", "left")):
        sender, receiver = PacketSocket(source), PacketSocket(sink)
        until(lambda sender=sender, receiver=receiver: sender.send(FRAME) and ours(receiver.receive_batch()) != [])
        sender.close()
        receiver.close()


def in_namespace(check: Callable[[], None]) -> None:
    """Run `check` in a child whose network namespace has a veth pair, `left` and `right`, and ends with it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if not enter_namespace():
                os._exit(77)
            ip("link add name left mtu 1500 type veth peer name right mtu 1500")
            ip("link set dev left up")
            ip("link set dev right up")
            await_carrier()
            check()
            status = 0
        except BaseException:  # noqa: BLE001  (whatever it is, the parent must hear of it)
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 77 and "CI" not in os.environ:
        pytest.skip("this user cannot create a network namespace")
    assert os.waitstatus_to_exitcode(status) == 0


def ours(frames: list[bytes]) -> list[bytes]:
    """Without what the kernel itself says on a fresh interface (IPv6 multicast)."""
    return [frame for frame in frames if frame[12:14] == b"\x88\xb5"]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end


def test_frames_arrive_as_they_were_sent() -> None:
    def check() -> None:
        a, b = PacketSocket("left"), PacketSocket("right")
        frames = [FRAME + bytes((number,)) * (46 + number * 13) for number in range(100)]
        assert all(a.send(frame) for frame in frames)
        got: list[bytes] = []
        until(lambda: got.extend(ours(b.receive_batch(7))) or len(got) >= 100)
        assert got == frames
        assert a.sent == 100
        assert ours(a.receive_batch()) == []  # our own frames do not come back
        packets, drops = b.statistics()
        assert packets >= 100
        assert drops == 0
        assert b.statistics()[0] >= packets  # sums, although the kernel starts again at zero
        assert b.receive_batch() == []
        a.close()
        b.close()
        b.close()

    in_namespace(check)


def test_a_batch_has_its_limit() -> None:
    def check() -> None:
        a, b = PacketSocket("left"), PacketSocket("right")
        b.receive_batch(1000)
        for _ in range(10):
            a.send(FRAME + bytes(46))
        got = [len(b.receive_batch(3)) for _ in range(3)]
        assert got == [3, 3, 3]

    in_namespace(check)


def test_a_frame_that_is_too_long_is_refused_and_counted() -> None:
    def check() -> None:
        a = PacketSocket("left")
        assert not a.send(FRAME + bytes(1501))
        assert a.not_sent == {"EMSGSIZE": 1}
        assert a.up
        assert a.send(FRAME + bytes(1500))

    in_namespace(check)


def test_a_link_that_goes_down_and_comes_back() -> None:
    def check() -> None:
        a, b = PacketSocket("left"), PacketSocket("right")
        ip("link set dev left down")
        until(lambda: not (a.receive_batch() or a.up))
        assert not a.send(FRAME + bytes(46))
        assert not a.up
        assert a.not_sent["ENETDOWN"] == 1
        ip("link set dev left up")
        until(lambda: a.send(FRAME + bytes(46)))
        assert a.up
        until(lambda: a.send(FRAME + bytes(46)) and ours(b.receive_batch()) != [])
        until(lambda: b.send(FRAME + bytes(46)) and ours(a.receive_batch()) != [])

    in_namespace(check)


def test_an_interface_that_is_deleted() -> None:
    def check() -> None:
        a = PacketSocket("left")
        ip("link delete dev left")
        until(lambda: not a.send(FRAME + bytes(46)))
        assert not a.up
        assert a.receive_batch() == []
        assert set(a.not_sent) <= {"ENXIO", "ENETDOWN", "ENODEV"}

    in_namespace(check)


def test_a_full_receive_buffer_is_counted_by_the_kernel() -> None:
    def check() -> None:
        a, b = PacketSocket("left"), PacketSocket("right", receive_buffer=4096)
        for _ in range(200):
            a.send(FRAME + bytes(1000))
        until(lambda: b.statistics()[1] > 100)
        assert len(ours(b.receive_batch(1000))) < 100
        packets, drops = b.statistics()
        assert packets >= 200
        assert drops > 100  # told before: a question does not take them away

    in_namespace(check)


def test_with_offload_a_long_segment_passes_whole() -> None:
    def check() -> None:
        a, b = PacketSocket("left", offload=True), PacketSocket("right", offload=True)
        segment = tcp.build(A, B, 1, 2, 3, 4, tcp.ACK, 5, payload=b"x" * 65_400, partial=True)
        packet = ipv4.build(A, B, ipv4.PROTOCOL_TCP, segment)
        frame = note_of(packet, 1460) + FRAME[:12] + b"\x08\x00" + packet
        assert a.send(frame)
        assert a.send(virtio.PLAIN + FRAME + bytes(46))
        got: list[bytes] = []
        until(lambda: got.extend(f for f in b.receive_batch() if f[22:24] != b"\x86\xdd") or len(got) >= 2)
        assert got == [frame, virtio.PLAIN + FRAME + bytes(46)]
        assert not a.send(virtio.PLAIN + FRAME + bytes(1501))
        assert a.not_sent == {"EMSGSIZE": 1}

    in_namespace(check)


def test_an_interface_that_does_not_exist() -> None:
    def check() -> None:
        with pytest.raises(OSError, match="No such device"):
            PacketSocket("nothing")

    in_namespace(check)


def test_a_reactor_echoes_frames() -> None:
    def check() -> None:
        a, b, reactor = PacketSocket("left"), PacketSocket("right"), Reactor()
        replies: list[bytes] = []

        def echo() -> None:
            for frame in ours(b.receive_batch()):
                b.send(frame[6:12] + frame[:6] + frame[12:])

        def collect() -> None:
            replies.extend(ours(a.receive_batch()))
            if len(replies) == 10:
                reactor.stop()

        reactor.add(a.fileno(), collect)
        reactor.add(b.fileno(), echo)
        reactor.call_at(monotonic_ns() + int(DEADLINE) * SECOND, reactor.stop)
        for number in range(10):
            a.send(FRAME + bytes((number,)) * 46)
        reactor.run()
        assert [reply[14] for reply in replies] == list(range(10))
        assert replies[0][:12] == FRAME[6:12] + FRAME[:6]
        reactor.close()

    in_namespace(check)
