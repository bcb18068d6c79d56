"""What careful readers of the code found, and no other script had asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.transport.tcp.settings import DEFAULTS
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ethernet, ipv4, tcp, virtio
from nodes.wire.addresses import parse_ip4, parse_mac
from tests.script.tcp_capture import ACK, RST, SYN, mss, window_scale
from tests.script.tcp_peer import Peer, Program
from tests.script.tcp_script import Script

Maker = Callable[..., Script]

OWN, OTHER = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
OWN_MAC, OTHER_MAC = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")


def only_connection(script: Script):
    (connection,) = script.stack.tcp._connections.values()
    return connection


def test_the_window_of_a_syn_ack_with_text_is_not_scaled(script: Script) -> None:
    """7323-2.2b: also where the SYN,ACK carries text."""
    peer = script.peer()
    script.connect(peer)
    peer.expect(SYN, seq=0)
    peer.send(SYN | ACK, seq=0, ack=1, win=1000, options=mss(1460) + window_scale(10), data=b"x")
    assert only_connection(script).snd_wnd == 1000
    script.out.clear()


def test_a_cookie_tells_no_round_trip_time(make_script: Maker) -> None:
    """4987: nobody remembers when the SYN,ACK left."""
    script = make_script(dataclasses.replace(DEFAULTS, maximum_half_open=0))
    script.listen()
    peer = script.peer()
    peer.send(SYN, seq=0, options=mss(1460))
    peer.iss = script.out.popleft().sequence
    script.advance(100 * MILLISECOND)
    peer.send(ACK, seq=1, ack=1)
    rtt = only_connection(script).rtt
    assert (rtt.srtt, rtt.min_rtt) == (None, None)


def test_memory_that_comes_back_with_a_reset_is_told(make_script: Maker) -> None:
    """A program that waits for memory is rung when the connection that held it dies, and nothing else happens."""
    script = make_script(dataclasses.replace(DEFAULTS, memory=100_000))
    listener = script.listen()

    def accepted(port: int) -> tuple[Peer, Program]:
        peer = script.peer(port=port)
        peer.send(SYN, seq=0, options=mss(1460))
        peer.expect(SYN | ACK, seq=0, ack=1)
        peer.send(ACK, seq=1, ack=1)
        return peer, listener.accept()

    (peer, greedy), (_, waiting) = accepted(5001), accepted(5002)
    greedy.send(bytes(120_000))
    script.out.clear()
    assert waiting.send(b"hi") == 0
    script.stack.drain_ready()
    peer.send(RST, seq=1)
    assert waiting.socket in script.stack.drain_ready()


def test_the_push_out_of_a_timeout_does_not_wait_for_nagle(make_script: Maker) -> None:
    """5682: data that Nagle holds back is no new data that F-RTO could send: what is lost goes again at once."""
    script = make_script(dataclasses.replace(DEFAULTS, sack=False, ecn=False))
    peer = script.established()
    for data in (bytes(1460), bytes(1460), bytes(100), b"y" * 50):
        peer.program.send(data)
    script.out.clear()
    script.advance(SECOND)
    script.out.clear()
    peer.send(ACK, seq=1, ack=1461)
    assert script.out
    script.out.clear()


class Offloaded:
    """A host whose link cuts segments, and what it hands to that link."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND
        interface = InterfaceConfig("eth0", "02:00:00:00:00:01", ("10.0.0.1/24",), offload=True)
        self.stack = Stack.from_config(NodeConfig("t", "h", interfaces=(interface,)), Random(1), NullTracer(), self.now)
        self.stack.interfaces[0].arp.learn(OTHER, OTHER_MAC, self.now, for_us=True, trigger="test")
        self.stack.transmit()
        self.socket = self.stack.tcp.open()
        self.socket.connect(OTHER, 80, self.now)
        ((_, _, syn),) = self.out()
        answer = tcp.build(OTHER, OWN, 80, syn.source_port, 5000, syn.sequence + 1, SYN | ACK, 65535, options=mss(1460))
        packet = ipv4.build(OTHER, OWN, tcp.PROTOCOL, answer)
        frame = virtio.PLAIN + ethernet.build(OWN_MAC, OTHER_MAC, ethernet.ETHERTYPE_IPV4, packet)
        self.stack.receive(0, frame, self.now)
        self.out()

    def out(self) -> list[tuple[virtio.VirtioHeader, bytes, tcp.Segment]]:
        """The note, the frame as the link completes it, and the segment of each TCP frame."""
        found = []
        for _, frame in self.stack.transmit():
            note, rest = virtio.parse(frame)
            if ethernet.HEADER.unpack_from(rest)[2] == ethernet.ETHERTYPE_IPV4:
                packet = virtio.finish(frame)[ethernet.HEADER_LENGTH :]
                payload = ipv4.parse(packet)[1]
                found.append((note, bytes(packet), tcp.parse(payload, OWN, OTHER)))  # the checksum is right
        return found


def test_a_reset_over_a_link_that_completes_checksums() -> None:
    """MUST-2: what the link adds to makes a right checksum, of a reset too."""
    host = Offloaded()
    host.socket.send(b"x" * 100, host.now)
    assert len(host.out()) == 1
    host.socket.abort(host.now)
    ((_, _, reset),) = host.out()
    assert reset.flags & RST


def test_urgent_data_is_not_left_to_the_link_to_cut() -> None:
    """MUST-62: a link that cuts a segment repeats its urgent pointer in every piece."""
    host = Offloaded()
    host.socket.set_option("nodelay", True, host.now)
    host.socket.send(b"a" * 1000, host.now)
    host.socket.send_urgent(b"b" * 5000, host.now)
    frames = host.out()
    assert frames
    assert all(note.segment_size == 0 for note, _, _ in frames)
    ends = {segment.sequence + segment.urgent & 0xFFFFFFFF for _, _, segment in frames if segment.flags & tcp.URG}
    assert len(ends) == 1


def test_the_tail_of_a_long_segment_obeys_nagle() -> None:
    """SHLD-7: also where one segment carries several full ones."""
    host = Offloaded()
    for _ in range(3):
        host.socket.send(bytes(2000), host.now)
        lengths = [len(segment.payload) for _, _, segment in host.out()]
    assert sum(length % 1460 > 0 for length in lengths) == 0
