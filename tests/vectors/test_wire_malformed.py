"""Packets that break one rule each: the exact protocol, field, offset and reason of the WireError."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodes.errors import WireError
from nodes.wire import arp, checksum, ethernet, icmp, igmp, ipv4, udp
from nodes.wire.addresses import Ip4

A, B = Ip4(0x0A000001), Ip4(0x0A000002)


def arp_with(position: int, octets: str) -> bytes:
    packet = bytearray.fromhex("0001 0800 0604 0001 0200 0000 000a 0a00 0001 0000 0000 0000 0a00 0002")
    changed = bytes.fromhex(octets)
    packet[position : position + len(changed)] = changed
    return bytes(packet)


def ipv4_with(first: int, total_length: int, octets: int = 24, *, wrong: bool = False) -> bytes:
    """A header, right but for the given fields, and as many octets as asked for."""
    packet = bytearray(ipv4.build(A, B, 17, bytes(octets - 20)))
    packet[0] = first
    packet[2:4] = total_length.to_bytes(2, "big")
    packet[10:12] = bytes(2)
    packet[10:12] = checksum.checksum(packet[: max((first & 15) * 4, 20)]).to_bytes(2, "big")
    packet[8] ^= wrong
    return bytes(packet)


def udp_of(text: str) -> Callable[[], object]:
    return lambda: udp.parse(bytes.fromhex(text), A, B)


CASES: list[tuple[Callable[[], object], tuple[str, str, int, str]]] = [
    (lambda: ethernet.parse(bytes(13)), ("ethernet", "header", 13, "13 octets, at least 14 expected")),
    (lambda: arp.parse(arp_with(0, "")[:27]), ("arp", "packet", 27, "27 octets, 28 expected")),
    (lambda: arp.parse(arp_with(0, "0006")), ("arp", "hardware type", 0, "6, 1 (Ethernet) expected")),
    (lambda: arp.parse(arp_with(2, "86dd")), ("arp", "protocol type", 2, "0x86dd, 0x0800 (IPv4) expected")),
    (lambda: arp.parse(arp_with(4, "05")), ("arp", "hardware length", 4, "5, 6 expected")),
    (lambda: arp.parse(arp_with(5, "10")), ("arp", "protocol length", 5, "16, 4 expected")),
    (lambda: arp.parse(arp_with(6, "0000")), ("arp", "operation", 6, "0, 1 to 4 expected")),
    (lambda: arp.parse(arp_with(6, "0005")), ("arp", "operation", 6, "5, 1 to 4 expected")),
    (lambda: ipv4.parse(bytes(19)), ("ipv4", "header", 19, "19 octets, at least 20 expected")),
    (lambda: ipv4.parse(ipv4_with(0x65, 24)), ("ipv4", "version", 0, "6, 4 expected")),
    (lambda: ipv4.parse(ipv4_with(0x44, 24)), ("ipv4", "header length", 0, "16 octets, at least 20 expected")),
    (lambda: ipv4.parse(ipv4_with(0x46, 23)), ("ipv4", "total length", 2, "23 octets, header has 24")),
    (lambda: ipv4.parse(ipv4_with(0x45, 0)), ("ipv4", "total length", 2, "0 octets, header has 20")),
    (lambda: ipv4.parse(ipv4_with(0x45, 25)), ("ipv4", "total length", 2, "25 octets, 24 arrived")),
    (lambda: ipv4.parse(ipv4_with(0x4F, 60)), ("ipv4", "total length", 2, "60 octets, 24 arrived")),
    (lambda: ipv4.parse(ipv4_with(0x45, 24, wrong=True)), ("ipv4", "header checksum", 10, "wrong")),
    (lambda: icmp.parse(icmp.build(8, 0, 0)[:7]), ("icmp", "header", 7, "7 octets, at least 8 expected")),
    (lambda: icmp.parse(icmp.build(8, 0, 0) + b"\x01"), ("icmp", "checksum", 2, "wrong")),
    (lambda: igmp.parse(bytes(7)), ("igmp", "message", 7, "7 octets, at least 8 expected")),
    (lambda: igmp.parse(bytes.fromhex("1100 eefe 0000 0000")), ("igmp", "checksum", 2, "wrong")),
    # RFC 2236 section 2.5: the checksum covers the whole message, also what version 2 does not read.
    (lambda: igmp.parse(bytes.fromhex("1100 eeff 0000 0000 0001")), ("igmp", "checksum", 2, "wrong")),
    (udp_of("c000 1388 0008 00"), ("udp", "header", 7, "7 octets, at least 8 expected")),
    (udp_of("c000 1388 0000 0000"), ("udp", "length", 4, "0 octets, 8 arrived")),
    (udp_of("c000 1388 0007 0000"), ("udp", "length", 4, "7 octets, 8 arrived")),
    (udp_of("c000 1388 0009 0000"), ("udp", "length", 4, "9 octets, 8 arrived")),
    (udp_of("c000 1388 0008 1854"), ("udp", "checksum", 6, "wrong")),
]


@pytest.mark.parametrize(("read", "expected"), CASES, ids=[f"{case[1][0]} {case[1][3]}" for case in CASES])
def test_the_error_names_the_place(read: Callable[[], object], expected: tuple[str, str, int, str]) -> None:
    """826-2, 1122-3.2.1.1, 1122-3.2.1.2, 791-len, 768-1, 768-2."""
    with pytest.raises(WireError) as caught:
        read()
    error = caught.value
    assert (error.protocol, error.field, error.offset, error.reason) == expected


@pytest.mark.parametrize(
    ("options", "read", "offset", "reason"),
    [
        ("07", 0, 21, "0 for option 7"),
        ("0700", 0, 21, "0 for option 7"),
        ("0701", 0, 21, "1 for option 7"),
        ("01 0703 04 9404 0000 44", 2, 29, "0 for option 68"),
        ("0101 0705 0400", 0, 23, "5 for option 7"),
        ("9404 00", 0, 21, "4 for option 148"),
    ],
)
def test_an_option_that_leaves_the_header(options: str, read: int, offset: int, reason: str) -> None:
    """Those before it are still given, so that a router alert is seen; the offset is that of the length."""
    found = []
    with pytest.raises(WireError) as caught:
        found.extend(ipv4.option_fields(bytes.fromhex(options)))
    error = caught.value
    assert (error.protocol, error.field, error.offset, error.reason) == ("ipv4", "option length", offset, reason)
    fields = ipv4.option_fields(bytes.fromhex(options))
    assert len([next(fields) for _ in range(read)]) == read


def test_options_that_are_as_long_as_they_can_be() -> None:
    options = bytes((7, 2)) + bytes((148, 38)) + bytes(36)
    assert list(ipv4.option_fields(options)) == [(7, 20, b""), (148, 22, bytes(36))]


def test_nothing_is_read_after_the_end_of_the_list() -> None:
    assert list(ipv4.option_fields(bytes.fromhex("01 9404 0000 00 0701"))) == [(148, 21, b"\x00\x00")]


def test_a_longer_igmp_message_is_read_by_its_first_octets() -> None:
    """RFC 2236 section 2.5: so hosts of version 2 understand queries of version 3 (RFC 3376 section 4.1)."""
    body = bytes.fromhex("1164 0000 0000 0000 027d 0000")
    packet = body[:2] + checksum.checksum(body).to_bytes(2, "big") + body[4:]
    assert igmp.parse(packet) == (igmp.MEMBERSHIP_QUERY, 100, 0)


def test_ethernet_padding_is_given_to_the_layer_above() -> None:
    _, payload = ethernet.parse(bytes(ethernet.MINIMUM_FRAME))
    assert len(payload) == 46
