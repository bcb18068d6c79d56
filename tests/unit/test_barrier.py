"""The barrier of a partition: frames in and out, by the addresses in them."""

from __future__ import annotations

import pytest

from nodes.contract import InterfaceConfig
from nodes.network.barrier import Barrier
from nodes.trace.events import FrameDropped, ListTracer, PartitionUpdated
from nodes.wire import arp, ethernet, virtio
from nodes.wire.addresses import Mac, parse_ip4
from nodes.wire.arp import ArpPacket

US, THEM, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"
MAC = Mac(b"\x02\0\0\0\0\x01")
PORTS = (
    InterfaceConfig("eth0", "02:00:00:00:00:01"),
    InterfaceConfig("eth1", "02:00:00:00:00:02", offload=True),
    InterfaceConfig("ip0", "", kind="ip"),
)


def packet(source: str, destination: str) -> bytes:
    addresses = parse_ip4(source).to_bytes(4, "big") + parse_ip4(destination).to_bytes(4, "big")
    return b"\x45" + bytes(11) + addresses + b"data"


def frame(port: int, source: str, destination: str) -> bytes:
    if port == 2:
        return packet(source, destination)
    whole = ethernet.build(MAC, MAC, ethernet.ETHERTYPE_IPV4, packet(source, destination))
    return virtio.PLAIN + whole if port == 1 else whole


def request(sender: str, target: str) -> bytes:
    question = ArpPacket(arp.REQUEST, MAC, parse_ip4(sender), Mac(bytes(6)), parse_ip4(target))
    return ethernet.build(Mac(b"\xff" * 6), MAC, ethernet.ETHERTYPE_ARP, arp.build(question))


@pytest.fixture
def tracer() -> ListTracer:
    return ListTracer()


@pytest.fixture
def barrier(tracer: ListTracer) -> Barrier:
    barrier = Barrier(PORTS, tracer)
    barrier.block([THEM], 5)
    return barrier


@pytest.mark.parametrize("port", [0, 1, 2])
def test_packets(barrier: Barrier, tracer: ListTracer, port: int) -> None:
    assert barrier.hears(port, frame(port, OTHER, US), 7)
    assert barrier.sends(port, frame(port, US, OTHER), 7)
    assert barrier.hears(port, frame(port, OTHER, THEM), 7), "it is not from them"
    assert barrier.sends(port, frame(port, THEM, OTHER), 7), "it is not for them"
    assert not barrier.hears(port, frame(port, THEM, US), 7)
    assert not barrier.sends(port, frame(port, US, THEM), 8)
    assert (barrier.dropped_in, barrier.dropped_out) == (1, 1)
    name, length = PORTS[port].name, len(frame(port, US, THEM))
    assert tracer.of(FrameDropped) == [FrameDropped(name, "partition", length)] * 2


@pytest.mark.parametrize("destination", ["255.255.255.255", "224.0.0.1", "10.0.0.255"])
def test_what_they_send_to_all_is_not_heard(barrier: Barrier, destination: str) -> None:
    assert not barrier.hears(0, frame(0, THEM, destination), 7)
    assert barrier.sends(0, frame(0, US, destination), 7)


def test_arp(barrier: Barrier) -> None:
    assert not barrier.hears(0, request(THEM, US), 7)
    assert not barrier.sends(0, request(US, THEM), 7)
    assert barrier.hears(0, request(OTHER, US), 7)
    assert barrier.sends(0, request(US, OTHER), 7)


def test_frames_without_addresses_pass(barrier: Barrier) -> None:
    for length in range(46):
        for whole in (frame(0, THEM, THEM)[:29], request(THEM, THEM)[:31], b"\xff" * 60):
            short = whole[: min(length, len(whole))]
            assert barrier.hears(0, short, 7)
            assert barrier.sends(0, short[:30], 7)
    bpdu = ethernet.build(MAC, MAC, 38, b"\x42\x42\x03" + bytes(35))
    assert barrier.hears(0, bpdu, 7)


def test_healing(barrier: Barrier, tracer: ListTracer) -> None:
    barrier.hears(0, frame(0, THEM, US), 7)
    assert barrier.snapshot() == {"blocked": [THEM], "dropped_in": 1, "dropped_out": 0}
    barrier.block([OTHER, THEM], 8)
    barrier.block([THEM, OTHER], 9)
    barrier.block([], 10)
    assert not barrier.blocked
    assert barrier.hears(0, frame(0, THEM, US), 11)
    both = f"{THEM} {OTHER}"
    changes = [("none", THEM), (THEM, both), (both, "none")]
    assert tracer.of(PartitionUpdated) == [PartitionUpdated(old, new, "command") for old, new in changes]


def test_what_is_no_address_changes_nothing(barrier: Barrier) -> None:
    with pytest.raises(ValueError, match="b"):
        barrier.block([OTHER, "b"], 7)
    assert barrier.blocked == {parse_ip4(THEM)}
