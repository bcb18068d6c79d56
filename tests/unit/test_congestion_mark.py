"""Congestion Experienced, set by a link."""

from __future__ import annotations

import pytest

from nodes.physical.congestion_mark import mark, network_header
from nodes.wire import ethernet, ipv4
from nodes.wire.addresses import Ip4
from tests.unit.queue_frames import PEER, STATION

DSCP = 46 << 2


def ip4_frame(traffic_class: int, options: bytes = b"") -> bytes:
    packet = ipv4.build(
        Ip4(0x0A000001), Ip4(0x0A000002), 17, b"data" * 7, traffic_class=traffic_class, options=options, ttl=9
    )
    return ethernet.build(PEER, STATION, ethernet.ETHERTYPE_IPV4, packet)


def ip6_frame(traffic_class: int) -> bytes:
    packet = (6 << 28 | traffic_class << 20 | 0xABCDE).to_bytes(4, "big") + bytes(36) + b"data"
    return ethernet.build(PEER, STATION, 0x86DD, packet)


def tagged(frame: bytes, *tags: int) -> bytes:
    return frame[:12] + b"".join(tag.to_bytes(2, "big") + b"\x00\x05" for tag in tags) + frame[12:]


@pytest.mark.parametrize("codepoint", [1, 2])
@pytest.mark.parametrize("options", [b"", ipv4.ROUTER_ALERT])
def test_ipv4_capable_is_marked_and_its_checksum_follows(codepoint: int, options: bytes) -> None:
    """RFC 3168 section 5, RFC 1624: all other fields stay, DSCP too."""
    frame = ip4_frame(DSCP | codepoint, options)
    assert mark(frame) == ip4_frame(DSCP | 3, options)
    assert mark(frame) != frame


def test_all_checksums_stay_right() -> None:
    """Every value that the incremental update can meet."""
    for identification in range(0, 0x10000, 257):
        packet = ipv4.build(Ip4(1), Ip4(2), 6, b"", identification=identification, traffic_class=2)
        marked = mark(ethernet.build(PEER, STATION, ethernet.ETHERTYPE_IPV4, packet))
        assert marked is not None
        assert ipv4.parse(marked[14:])[0].traffic_class == 3


def test_a_wrong_checksum_stays_wrong() -> None:
    frame = bytearray(ip4_frame(2))
    frame[24] ^= 0x10
    marked = mark(bytes(frame))
    assert marked is not None
    assert int.from_bytes(marked[14:34], "big") % 0xFFFF


@pytest.mark.parametrize("codepoint", [1, 2])
def test_ipv6_capable_is_marked(codepoint: int) -> None:
    assert mark(ip6_frame(DSCP | codepoint)) == ip6_frame(DSCP | 3)


@pytest.mark.parametrize("build", [ip4_frame, ip6_frame])
def test_marked_already_stays_and_not_capable_is_refused(build: object) -> None:
    assert callable(build)
    assert mark(build(DSCP | 3)) == build(DSCP | 3)
    assert mark(build(DSCP)) is None


def test_vlan_tags_are_passed_over() -> None:
    for tags in ((0x8100,), (0x88A8, 0x8100)):
        assert mark(tagged(ip4_frame(2), *tags)) == tagged(ip4_frame(3), *tags)
        assert mark(tagged(ip6_frame(2), *tags)) == tagged(ip6_frame(3), *tags)
    assert mark(tagged(ip4_frame(2), 0x8100, 0x8100, 0x8100)) is None


def test_anything_else_is_refused() -> None:
    """Other protocols, frames that are cut off anywhere in the header, and versions that contradict the EtherType."""
    assert mark(ethernet.build(PEER, STATION, ethernet.ETHERTYPE_ARP, b"\x02" * 46)) is None
    for frame, header in ((ip4_frame(2), 34), (ip6_frame(2), 54), (tagged(ip4_frame(2), 0x8100), 38)):
        for length in range(header):
            assert mark(frame[:length]) is None
        assert mark(frame[:header]) is not None
    assert mark(ip4_frame(2)[:12] + b"\x86\xdd" + ip4_frame(2)[14:]) is None
    assert mark(ip6_frame(2)[:12] + b"\x08\x00" + ip6_frame(2)[14:]) is None


def test_network_header() -> None:
    assert network_header(ip4_frame(0)) == (0x0800, 14)
    assert network_header(tagged(ip6_frame(0), 0x8100)) == (0x86DD, 18)
    assert network_header(ethernet.build(PEER, STATION, ethernet.ETHERTYPE_ARP, b"")) == (0x0806, 14)
    assert network_header(b"") == (0, 0)
