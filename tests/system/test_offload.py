"""Offload on real links: long TCP segments without checksums pass where both ends take them, and are finished and cut
by the kernel in front of those that do not.

        a ----- s1 ----- b          a, b hosts of ours, k a Linux host; s1 a Linux bridge, s2 a switch of ours,
        |\\     / | \\               r a router of ours. The link a:dk -- k:da has no switch, a:dr -- r:da neither;
        | dr  k  r  s2              a:off -- k:off has `offload: off`
        k ------------ kr       a Linux router between a:up and k:far, whose link to k is narrower

The hosts are whole stacks in this process, each with packet sockets in its namespace; in place of TCP is a handler
that sends and takes the segments that a test wants. Every frame of them is captured, and tshark reads the captures.
"""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from lab.drivers.kernel.fabric import Fabric
from lab.host import ethtool
from lab.host.namespaces import in_namespace
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.io.packet_socket import PacketSocket
from nodes.io.recorder import Recorder, Recording
from nodes.network.datagram import Datagram, IcmpError
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.wire import ethernet, ipv4, tcp, tcp_options
from nodes.wire.addresses import Ip4, parse_ip4
from tests.system.conftest import Isolated, Needs

TOPOLOGY = """\
name: offload
nodes:
  a: host
  b: host
  k: {kind: host, stack: kernel}
  r: router
  s1: switch
  s2: {kind: switch, impl: stack}
  kr: {kind: router, stack: kernel}
links:
  - a:eth0 -- s1
  - b:eth0 -- s1
  - k:eth0 -- s1
  - r:eth0 -- s1
  - s2:p1 -- s1
  - a:dk -- k:da
  - a:dr -- r:da
  - {ends: [a:off, k:off], offload: off}
  - a:up -- kr:down
  - {ends: [kr:out, k:far], mtu: 1400}
"""
SECONDS = 10.0
LONG = 60_000
MSS = 1460
PORT = 5000
COMPLAINTS = (
    "!(icmp.type == 3) && (_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0"
    " || udp.checksum.status == 0 || icmp.checksum.status == 0 || _ws.expert.severity >= 6291456)"
)
"""A display filter. An ICMP error of Linux quotes the unfinished checksum of the segment that it is about."""

DATA = bytes(range(251)) * (LONG // 251 + 1)


class Handler:
    """In place of TCP: keeps what arrives. A wrong checksum that is not excused raises WireError and fails the test."""

    def __init__(self) -> None:
        self.arrived: list[tuple[tcp.Segment, Datagram]] = []
        self.errors: list[IcmpError] = []

    def receive(self, datagram: Datagram, now: int) -> bool:
        header = datagram.header
        verified = datagram.checksum_valid
        segment = tcp.parse(datagram.payload, header.source, header.destination, verified=verified)
        self.arrived.append((segment, datagram))
        return True

    def error(self, error: IcmpError, now: int) -> None:
        self.errors.append(error)


class Host:
    """A node of ours: its stack, its packet sockets and its capture."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.config = bench.plan.by_name[name]
        with in_namespace(bench.fabric.namespaces[name]):
            self.sockets = [PacketSocket(i.name, offload=i.offload) for i in self.config.interfaces]
        self.stack = Stack.from_config(self.config, Random(1), NullTracer(), time.monotonic_ns())
        self.handler = Handler()
        self.stack.handlers[ipv4.PROTOCOL_TCP] = self.handler
        self.stack.ip.icmp.is_ours = lambda error: True
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.recorder = Recorder(self.config, Recording(self.folder, time.monotonic_ns(), time.time_ns()))
        self.recorder.start_capture()
        self.largest_sent = 0
        self.mss = MSS

    def address(self, interface: str) -> Ip4:
        return _address(self.config.interfaces, interface)

    def pump(self) -> None:
        now = time.monotonic_ns()
        for port, opened in enumerate(self.sockets):
            for frame in opened.receive_batch():
                self.recorder.frame(port, frame, now, inbound=True)
                self.stack.receive(port, frame, now)
        deadline = self.stack.deadline()
        if deadline is not None and deadline <= now:
            self.stack.timeout(now)
        for port, frame in self.stack.transmit():
            self.recorder.frame(port, frame, now, inbound=False)
            self.largest_sent = max(self.largest_sent, len(frame))
            self.sockets[port].send(frame)

    def send(
        self, to: Ip4, sequence: int, acknowledgment: int, flags: int, data: bytes = b"", source: str = ""
    ) -> None:
        """One segment, its checksum and its cutting left to the link where that can do it."""
        now, ip = time.monotonic_ns(), self.stack.ip
        own = self.address(source) if source else ip.source_for(to)
        offload = ip.offload_for(to)
        options = tcp_options.build_syn(MSS, None, False, None) if flags & tcp.SYN else b""
        segment = tcp.build(
            own, to, PORT, PORT, sequence & 0xFFFFFFFF, acknowledgment, flags, 65535,
            options=options, payload=data, partial=offload,
        )  # fmt: skip
        size = self.mss if len(data) > self.mss else 0
        ip.send(
            segment, to, ipv4.PROTOCOL_TCP, now,
            source=own, dont_fragment=True, segment_size=size, partial_checksum=offload,
        )  # fmt: skip
        self.pump()

    def close(self) -> Path:
        self.recorder.close(time.monotonic_ns(), [opened.statistics() for opened in self.sockets])
        for opened in self.sockets:
            opened.close()
        return self.folder / "capture.pcapng"


class Bench:
    """The network of TOPOLOGY, and the hosts that a test asks for."""

    def __init__(self, plan: Plan, fabric: Fabric, folder: Path) -> None:
        self.plan = plan
        self.fabric = fabric
        self.folder = folder
        self.hosts: list[Host] = []

    def host(self, name: str) -> Host:
        self.hosts.append(Host(self, name))
        return self.hosts[-1]

    def address(self, node: str, interface: str = "eth0") -> Ip4:
        return _address(self.plan.by_name[node].interfaces, interface)

    def listen(self, kind: socket.SocketKind, address: Ip4) -> socket.socket:
        """A socket of the Linux host."""
        with in_namespace(self.fabric.namespaces["k"]):
            opened = socket.socket(socket.AF_INET, kind)
        opened.setblocking(False)
        opened.bind((socket.inet_ntoa(address.to_bytes(4, "big")), PORT))
        if kind == socket.SOCK_STREAM:
            opened.listen()
        return opened

    def until(self, condition: Callable[[], bool], again: Callable[[], object] = lambda: None) -> None:
        """Until it holds; what `again` does is done at the start and every 0.2 s."""
        end, due = time.monotonic() + SECONDS, 0.0
        while not condition():
            now = time.monotonic()
            assert now < end, [host.handler.arrived[-3:] for host in self.hosts]
            if now >= due:
                again()
                due = now + 0.2
            select.select([opened for host in self.hosts for opened in host.sockets], [], [], 0.01)
            for host in self.hosts:
                host.pump()


def _address(interfaces: tuple, interface: str) -> Ip4:
    return next(parse_ip4(i.addresses[0].partition("/")[0]) for i in interfaces if i.name == interface)


@contextmanager
def bench() -> Iterator[Bench]:
    """Everything is captured, and no capture may have what tshark complains about."""
    plan = make_plan(loads(TOPOLOGY))
    folder = Path(tempfile.mkdtemp(prefix="offload-"))
    fabric = Fabric()
    fabric.create(plan, lambda *_: None)
    try:
        made = Bench(plan, fabric, folder)
        yield made
        for host in made.hosts:
            assert tshark(host.close(), COMPLAINTS) == []
    finally:
        fabric.close()
        shutil.rmtree(folder)


def tshark(path: Path, wanted: str) -> list[str]:
    checks = [text for layer in ("ip", "tcp", "udp") for text in ("-o", f"{layer}.check_checksum:TRUE")]
    checks += ["-o", "tcp.analyze_sequence_numbers:FALSE"]  # what is sent here is no whole conversation
    command = ["tshark", "-n", "-r", str(path), *checks, "-d", f"tcp.port=={PORT},data", "-d", f"udp.port=={PORT},data"]
    done = subprocess.run(
        [*command, "-Y", wanted], capture_output=True, text=True, check=True, env={"HOME": str(path.parent)}
    )
    return done.stdout.splitlines()


def connect(network: Bench, host: Host, to: Ip4) -> tuple[int, int]:
    """The three-way handshake with a listening socket of Linux; returns the next sequence number of each side."""
    arrived = host.handler.arrived

    def answers() -> list[tcp.Segment]:
        return [segment for segment, packet in arrived if packet.header.source == to and segment.flags & tcp.SYN]

    network.until(lambda: bool(answers()), lambda: host.send(to, 1000, 0, tcp.SYN))
    answer = answers()[0]
    assert answer.flags == tcp.SYN | tcp.ACK, tcp.flag_text(answer.flags)
    theirs = answer.sequence + 1 & 0xFFFFFFFF
    host.send(to, 1001, theirs, tcp.ACK)
    arrived.clear()
    return 1001, theirs


def accepted(network: Bench, listener: socket.socket) -> socket.socket:
    found: list[socket.socket] = []

    def arrived() -> bool:
        try:
            found.append(listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    network.until(arrived)
    found[0].setblocking(False)
    return found[0]


def exchange(network: Bench, host: Host, to: Ip4) -> list[tuple[tcp.Segment, Datagram]]:
    """LONG octets in one segment to a socket of Linux, and 200,000 from there; returns what arrived with data."""
    listener = network.listen(socket.SOCK_STREAM, to)
    ours, theirs = connect(network, host, to)
    peer = accepted(network, listener)
    got = bytearray()

    def read() -> bool:
        try:
            got.extend(peer.recv(1 << 20))
        except BlockingIOError:
            return False
        return len(got) >= LONG

    network.until(read, lambda: host.send(to, ours, theirs, tcp.ACK, DATA[:LONG]))
    assert bytes(got) == DATA[:LONG]
    return fetch(network, host, to, peer, (ours + LONG, theirs))


def fetch(
    network: Bench, host: Host, to: Ip4, peer: socket.socket, numbers: tuple[int, int]
) -> list[tuple[tcp.Segment, Datagram]]:
    """200,000 octets from a socket of Linux, acknowledged as they come."""
    ours, theirs = numbers
    data = (DATA * 4)[:200_000]
    got, left = bytearray(), memoryview(data)
    kept: list[tuple[tcp.Segment, Datagram]] = []

    def turn() -> bool:
        nonlocal left
        with suppress(BlockingIOError):
            left = left[peer.send(left) :] if left else left
        for segment, datagram in host.handler.arrived:
            if len(segment.payload) and segment.sequence == theirs + len(got) & 0xFFFFFFFF:
                got.extend(segment.payload)
                kept.append((segment, datagram))
        if host.handler.arrived:
            host.handler.arrived.clear()
            host.send(to, ours, theirs + len(got) & 0xFFFFFFFF, tcp.ACK)
        return len(got) >= len(data)

    network.until(turn)
    assert bytes(got) == data
    return kept


def features(network: Bench, node: str, names: dict[str, bool]) -> None:
    """Interfaces of a node, and whether each has TCP's offloads; the others are off at all that the kernel drives."""
    with in_namespace(network.fabric.namespaces[node]):
        tool = ethtool.Ethtool()
        for name, wanted in names.items():
            on = {text for text, active in tool.features(name).items() if active and ethtool.OFFLOADS.match(text)}
            assert (on >= ethtool.TCP_OFFLOADS) == wanted, (node, name, on)
            assert wanted or not on, (node, name, on)
        tool.close()


def test_who_has_which_offloads(isolated: Isolated) -> None:
    def body() -> None:
        with bench() as network:
            features(network, "k", {"eth0": True, "da": True, "off": False})
            features(network, "a", {"eth0": True, "dk": True, "dr": False})
            tool = ethtool.Ethtool()
            for end, attachment in network.fabric._layout.ends.items():
                if end.node == "s1":
                    on = {text for text, active in tool.features(attachment.name).items() if active}
                    peer = network.fabric._layout.peers[end].end.node
                    takes = peer in ("a", "b", "k")
                    assert {text for text in on if ethtool.OFFLOADS.match(text)} == (
                        ethtool.TCP_OFFLOADS if takes else set()
                    ), peer
            tool.close()

    isolated(body)


def test_between_two_hosts_of_ours_a_long_segment_stays_whole(isolated: Isolated, needs: Needs) -> None:
    """Over a Linux bridge. UDP and ICMP pass beside it."""
    needs("tshark")

    def body() -> None:
        with bench() as network:
            a, b = network.host("a"), network.host("b")
            to = b.address("eth0")
            network.until(lambda: bool(b.handler.arrived), lambda: a.send(to, 1, 1, tcp.ACK, b"ready?"))
            b.handler.arrived.clear()
            a.send(to, 7, 1, tcp.ACK, DATA[:LONG])
            network.until(lambda: bool(b.handler.arrived))
            ((segment, datagram),) = b.handler.arrived
            assert bytes(segment.payload) == DATA[:LONG]
            assert datagram.checksum_valid
            now = time.monotonic_ns()
            left, right = a.stack.udp.open(), b.stack.udp.open()
            right.bind(to, PORT, now)
            left.send_to(b"x" * 4000, to, PORT, now)  # in fragments
            network.until(lambda: right.readable)
            received = right.receive()
            assert received is not None
            assert received.data == b"x" * 4000
            assert a.largest_sent > LONG

    isolated(body)


def test_a_socket_of_linux_takes_and_sends_long_segments(isolated: Isolated, needs: Needs) -> None:
    """Over a bridge and cable to cable, both ways; and a UDP datagram whose checksum Linux leaves to the link."""
    needs("tshark")

    def body() -> None:
        with bench() as network:
            a = network.host("a")
            for interface in ("eth0", "da"):
                arrived = exchange(network, a, network.address("k", interface))
                assert max(len(segment.payload) for segment, _ in arrived) > MSS, interface
                assert all(datagram.checksum_valid for _, datagram in arrived), interface
            server = network.listen(socket.SOCK_DGRAM, network.address("k"))
            now = time.monotonic_ns()
            ours = a.stack.udp.open()
            ours.connect(network.address("k"), PORT, now)
            ours.send(b"question", now)
            network.until(lambda: bool(select.select([server], [], [], 0)[0]))
            question, where = server.recvfrom(100)
            assert question == b"question"
            server.sendto(b"answer", where)
            network.until(lambda: ours.readable)
            answer = ours.receive()
            assert answer is not None
            assert answer.data == b"answer"
            long = tshark_of(a, "frame.len > 50000")
            assert len(long) >= 2, "a capture shows long segments as they went"

    isolated(body)


def tshark_of(host: Host, wanted: str) -> list[str]:
    host.recorder.flush()
    return tshark(host.folder / "capture.pcapng", wanted)


def test_a_linux_router_takes_long_segments_and_tells_its_mtu(isolated: Isolated, needs: Needs) -> None:
    """It quotes the segment as it came, longer than any link's MTU (RFC 1191); after that, pieces fit."""
    needs("tshark")

    def body() -> None:
        with bench() as network:
            a = network.host("a")
            to = network.address("k", "far")
            listener = network.listen(socket.SOCK_STREAM, to)
            numbers = connect(network, a, to)
            peer = accepted(network, listener)
            a.send(to, *numbers, tcp.ACK, DATA[:LONG])
            network.until(lambda: bool(a.handler.errors))
            assert a.handler.errors[0].header.total_length == LONG + 40
            assert a.stack.ip.path_mtu(to, 0) == 1400
            a.mss = 1360
            got = bytearray()
            while len(got) < LONG:
                a.send(to, *numbers, tcp.ACK, DATA[:LONG])
                network.until(lambda: bool(select.select([peer], [], [], 0)[0]))
                got.extend(peer.recv(1 << 20))
            assert bytes(got) == DATA[:LONG]

    isolated(body)


def test_without_offload_every_frame_is_one_of_a_wire(isolated: Isolated, needs: Needs) -> None:
    """`offload: off`: the stack cuts what is handed to it, and Linux sends frames that fit, with checksums."""
    needs("tshark")

    def body() -> None:
        with bench() as network:
            a = network.host("a")
            to = network.address("k", "off")
            assert not a.stack.ip.offload_for(to)
            assert not a.config.interfaces[3].offload
            listener = network.listen(socket.SOCK_STREAM, to)
            numbers = connect(network, a, to)
            peer = accepted(network, listener)
            arrived = fetch(network, a, to, peer, numbers)
            assert max(len(segment.payload) for segment, _ in arrived) <= MSS
            assert not any(datagram.checksum_valid for _, datagram in arrived)
            assert tshark_of(a, f"frame.len > {MSS + 54}") == []

    isolated(body)


def test_the_kernel_cuts_in_front_of_a_port_without_offload(isolated: Isolated, needs: Needs) -> None:
    """A router of ours, behind a bridge and cable to cable, and a switch of ours get what a wire carries."""
    needs("tshark")

    def body() -> None:
        with bench() as network:
            a, b = network.host("a"), network.host("b")
            for node, interface, to in (
                ("r", "eth0", network.address("r")),
                ("s2", "p1", b.address("eth0")),  # the bridge floods what is for a station that it does not know
                ("r", "da", network.address("r", "da")),
            ):
                with in_namespace(network.fabric.namespaces[node]):
                    plain = PacketSocket(interface)
                teach(network, a, node, interface, to)
                pieces = cut_frames(network, a, plain, to)
                assert len(pieces) == -(-LONG // MSS), (node, interface)
                assert b"".join(pieces) == DATA[:LONG]
                plain.close()

    isolated(body)


def teach(network: Bench, host: Host, node: str, interface: str, to: Ip4) -> None:
    """Let the host know a MAC address for `to`: nobody answers for it here."""
    config = next(i for i in network.plan.by_name[node].interfaces if i.name == interface)
    link = next(i for i in host.stack.interfaces if i.name == ("dr" if interface == "da" else "eth0"))
    mac = bytes.fromhex(config.mac.replace(":", "")) if node == "r" else b"\x02\0\0\0\0\x77"
    link.arp.learn(to, mac, time.monotonic_ns(), for_us=True, trigger="test")


def cut_frames(network: Bench, host: Host, plain: PacketSocket, to: Ip4) -> list[bytes]:
    """What arrives of one long segment at a socket without virtio-net headers: payloads, checksums verified."""
    frames: list[bytes] = []

    def data() -> list[tuple[int, bytes]]:
        found = []
        frames.extend(plain.receive_batch(1000))
        for frame in frames:
            header, packet = ethernet.parse(frame)
            if header.ethertype != ethernet.ETHERTYPE_IPV4:
                continue
            ip_header, payload = ipv4.parse(packet)
            if ip_header.protocol == ipv4.PROTOCOL_TCP and ip_header.destination == to:
                segment = tcp.parse(payload, ip_header.source, ip_header.destination)
                found.append((segment.sequence, bytes(segment.payload)))
        return found

    network.until(lambda: bool(data()), lambda: host.send(to, 1, 1, tcp.ACK, b"?"))
    frames.clear()
    plain.receive_batch(1000)
    host.send(to, 5000, 1, tcp.ACK | tcp.PSH, DATA[:LONG])
    network.until(lambda: sum(len(octets) for number, octets in data() if number >= 5000) >= LONG)
    assert max(map(len, frames)) <= 1514
    return [octets for number, octets in data() if number >= 5000]
