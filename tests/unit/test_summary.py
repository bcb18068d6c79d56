"""One line per frame: the words for each protocol, and what is cut short or damaged."""

from __future__ import annotations

from struct import pack

import pytest

from nodes.wire import arp, bpdu, circuit, ethernet, icmp, igmp, ipv4, tcp, tcp_options, udp
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, Ip4, parse_ip4, parse_mac
from nodes.wire.checksum import checksum, pseudo_header_sum
from nodes.wire.summary import Summary, summarize

M1, M2 = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")
A, B, R = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), parse_ip4("10.0.0.254")


def packet(protocol: int, payload: bytes, **options: object) -> bytes:
    return ipv4.build(A, B, protocol, payload, **options)  # type: ignore[arg-type]


def line(protocol: int, payload: bytes, **options: object) -> Summary:
    return summarize(ethernet.build(M2, M1, ethernet.ETHERTYPE_IPV4, packet(protocol, payload, **options)))


def arp_info(operation: int, sender: Ip4, target: Ip4, ethertype: int = ethernet.ETHERTYPE_ARP) -> tuple[str, str]:
    body = arp.build(arp.ArpPacket(operation, M1, sender, ZERO_MAC, target))
    summary = summarize(ethernet.build(BROADCAST_MAC, M1, ethertype, body + bytes(18)))
    assert summary[:2] == ("02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff")
    return summary.protocol, summary.info


def test_arp() -> None:
    assert arp_info(1, A, B) == ("ARP", "request who-has 10.0.0.2 tell 10.0.0.1")
    assert arp_info(2, A, B) == ("ARP", "reply 10.0.0.1 is-at 02:00:00:00:00:01")
    assert arp_info(1, Ip4(0), B) == ("ARP", "probe who-has 10.0.0.2")
    assert arp_info(1, A, A) == ("ARP", "announcement 10.0.0.1 is-at 02:00:00:00:00:01")
    assert arp_info(9, A, B) == ("ARP", "operation 9")


def test_rarp() -> None:
    assert arp_info(3, Ip4(0), Ip4(0), ethernet.ETHERTYPE_RARP) == (
        "RARP",
        "reverse request who-is 00:00:00:00:00:00 tell 02:00:00:00:00:01",
    )
    assert arp_info(4, A, B, ethernet.ETHERTYPE_RARP) == ("RARP", "reverse reply 00:00:00:00:00:00 at 10.0.0.2")


def test_udp() -> None:
    assert line(17, udp.build(A, B, 4000, 7, b"hello")) == Summary("10.0.0.1:4000", "10.0.0.2:7", "UDP", "length 5")
    assert line(17, udp.build(A, B, 4000, 7, b"", no_checksum=True)).info == "length 0, no checksum"
    assert line(17, udp.build(A, B, 1, 2, b"hello")[:-1] + b"x").info == "length 5 [bad checksum]"
    assert line(17, pack("!HHHH", 1, 2, 99, 0)).info == "length field 99 of 8 octets [bad length]"
    assert line(17, b"\0\1\0").info == "3 octets [truncated]"


def test_link_padding_is_not_payload() -> None:
    frame = ethernet.build(M2, M1, 0x0800, packet(17, udp.build(A, B, 4000, 7, b"hi")) + bytes(20))
    assert summarize(frame).info == "length 2"


@pytest.mark.parametrize(
    ("kind", "code", "rest", "info"),
    [
        (8, 0, 7 << 16 | 3, "echo request, id 7, seq 3, length 4"),
        (0, 0, 7 << 16 | 3, "echo reply, id 7, seq 3, length 4"),
        (13, 0, 0, "timestamp request"),
        (14, 0, 0, "timestamp reply"),
        (10, 0, 0, "router solicitation"),
        (17, 0, 0, "address mask request"),
        (99, 5, 0, "type 99, code 5"),
    ],
)
def test_icmp_queries(kind: int, code: int, rest: int, info: str) -> None:
    assert line(1, icmp.build(kind, code, rest, b"data")) == Summary("10.0.0.1", "10.0.0.2", "ICMP", info)


@pytest.mark.parametrize(
    ("kind", "code", "rest", "info"),
    [
        (3, 0, 0, "network unreachable"),
        (3, 1, 0, "host unreachable"),
        (3, 2, 0, "protocol unreachable"),
        (3, 3, 0, "port unreachable"),
        (3, 4, 1400, "fragmentation needed, next-hop MTU 1400"),
        (3, 5, 0, "source route failed"),
        (3, 13, 0, "communication administratively prohibited"),
        (3, 77, 0, "destination unreachable, code 77"),
        (4, 0, 0, "source quench"),
        (5, 1, R, "redirect for the host to 10.0.0.254"),
        (5, 9, R, "redirect code 9 to 10.0.0.254"),
        (11, 0, 0, "time to live exceeded in transit"),
        (11, 1, 0, "fragment reassembly time exceeded"),
        (11, 2, 0, "time exceeded, code 2"),
        (12, 0, 20 << 24, "parameter problem at octet 20"),
        (12, 1, 0, "parameter problem required option missing"),
        (12, 9, 0, "parameter problem code 9"),
    ],
)
def test_icmp_errors_quote_the_packet_they_are_about(kind: int, code: int, rest: int, info: str) -> None:
    quote = packet(17, udp.build(A, B, 40000, 33434, bytes(100)))[:28]
    quoted = " (about 10.0.0.1:40000 > 10.0.0.2:33434 UDP length 100)"
    assert line(1, icmp.build(kind, code, rest, quote)).info == info + quoted


def test_every_code_of_unreachable_has_words() -> None:
    infos = [line(1, icmp.build(3, code, 0)).info for code in range(16)]
    assert len(set(infos)) == 16
    assert not any("code" in info for info in infos)


def test_quotes_in_quotes_end() -> None:
    message = b""
    for _ in range(50):
        message = icmp.build(3, 1, 0, packet(1, message))
    assert line(1, message).info.count("about") == 2


def test_fragments() -> None:
    first = line(17, udp.build(A, B, 4000, 7, bytes(92)), identification=9, more_fragments=True)
    assert first == Summary("10.0.0.1:4000", "10.0.0.2:7", "UDP", "length 92, first fragment id 9 length 100+")
    middle = line(17, bytes(80), identification=9, more_fragments=True, fragment_offset=1480)
    assert middle == Summary("10.0.0.1", "10.0.0.2", "IPv4", "fragment id 9 offset 1480 length 80+, protocol 17")
    last = line(17, bytes(8), identification=9, fragment_offset=2960)
    assert last.info == "fragment id 9 offset 2960 length 8, protocol 17"


def test_tcp() -> None:
    segment = pack("!HHIIBBHHH", 5000, 80, 100, 200, 5 << 4, 0x12, 65535, 0, 0)
    good = segment[:16] + pack("!H", checksum(segment, pseudo_header_sum(A, B, 6, 20))) + segment[18:]
    summary = line(6, segment + b"data")
    assert summary[:3] == ("10.0.0.1:5000", "10.0.0.2:80", "TCP")
    assert summary.info == "flags [S.], seq 100, ack 200, length 4, win 65535 [bad checksum]"
    assert line(6, good).info == "flags [S.], seq 100, ack 200, length 0, win 65535"
    rst = pack("!HHIIBBHHH", 5000, 80, 100, 0, 5 << 4, 0x04, 0, 0, 0)
    assert line(6, rst).info.startswith("flags [R], seq 100, length 0, win 0")
    assert line(6, bytes(7)).info == "7 octets [truncated]"


@pytest.mark.parametrize(
    ("flags", "letters"),
    [(0x02, "S"), (0x12, "S."), (0x10, "."), (0x11, "F."), (0x18, "P."), (0x14, "R."), (0xC2, "SEW"), (0, "none")],
)
def test_tcp_flags_are_in_the_order_of_tcpdump(flags: int, letters: str) -> None:
    assert line(6, tcp.build(A, B, 1, 2, 3, 0, flags, 0)).info.startswith(f"flags [{letters}], seq 3, ")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (tcp_options.build_syn(1460, 7, True, (5, 6)), "[mss 1460,sackOK,TS val 5 ecr 6,wscale 7]"),
        (tcp_options.build_syn(536, None, False, None, 300), "[mss 536,uto 300 s]"),
        (tcp_options.build((5, 6)), "[TS val 5 ecr 6]"),
        (tcp_options.build((5, 6), [(10, 20), (30, 40)]), "[TS val 5 ecr 6,sack 2 {10:20}{30:40}]"),
        (b"\x02\x04\x05\xb4\x08\x00\x00\x00", "[mss 1460,malformed]"),
    ],
)
def test_tcp_options(options: bytes, text: str) -> None:
    segment = tcp.build(A, B, 5000, 80, 100, 200, tcp.ACK, 65535, options=options, payload=b"data")
    assert line(6, segment).info == f"flags [.], seq 100, ack 200, length 4, win 65535, options {text}"


def test_tcp_padding_is_no_option() -> None:
    assert "options" not in line(6, tcp.build(A, B, 1, 2, 3, 4, tcp.ACK, 5, options=b"\x01\x01\x01\x00")).info


def test_tcp_urgent_pointer() -> None:
    segment = tcp.build(A, B, 1, 2, 3, 4, tcp.ACK | tcp.URG, 5, urgent=6, payload=b"data56")
    assert line(6, segment).info == "flags [.U], seq 3, ack 4, length 6, win 5, urg 6"


@pytest.mark.parametrize(("words", "octets"), [(4, 16), (15, 60)])
def test_tcp_data_offset_outside_the_segment(words: int, octets: int) -> None:
    segment = pack("!HHIIBBHHH", 1, 2, 3, 4, words << 4, 0x10, 5, 0, 0)
    info = f"flags [.], seq 3, ack 4, win 5, data offset {octets} of 20 octets [bad length] [bad checksum]"
    assert line(6, segment).info == info


def test_tcp_options_cut_off_by_the_capture() -> None:
    options = tcp_options.build_syn(1460, 7, True, (5, 6))
    frame = packet(6, tcp.build(A, B, 1, 2, 3, 0, tcp.SYN, 5, options=options))[:44]
    assert summarize(frame, link="ip").info == "flags [S], seq 3, win 5, 24 of 40 octets of header [truncated]"


def test_tcp_as_an_icmp_error_quotes_it() -> None:
    """RFC 792: the header and eight octets, which are the ports and the sequence number."""
    quote = packet(6, tcp.build(A, B, 5000, 80, 100, 200, tcp.ACK, 5))[:28]
    info = line(1, icmp.build(3, 1, 0, quote)).info
    assert info == "host unreachable (about 10.0.0.1:5000 > 10.0.0.2:80 TCP seq 100, 8 octets [truncated])"


def test_igmp() -> None:
    group = parse_ip4("224.1.2.3")
    texts = {
        (0x11, 100, 0): "general query",
        (0x11, 10, group): "query for 224.1.2.3, within 1 s",
        (0x12, 0, group): "v1 report 224.1.2.3",
        (0x16, 0, group): "v2 report 224.1.2.3",
        (0x17, 0, group): "leave 224.1.2.3",
        (0x55, 0, group): "type 0x55",
    }
    for (kind, response, address), text in texts.items():
        assert line(2, igmp.build(igmp.IgmpMessage(kind, response, Ip4(address)))).info == text


def bpdu_frame(body: bytes) -> Summary:
    payload = b"\x42\x42\x03" + body
    return summarize(ethernet.build(parse_mac("01:80:c2:00:00:00"), M1, len(payload), payload + bytes(20)))


def test_spanning_tree() -> None:
    root, bridge = int.from_bytes(b"\x80\x00" + M1, "big"), int.from_bytes(b"\x90\x00" + M2, "big")
    identifiers = root, 4, bridge, 0x8001, 256, 5120, 512, 3840
    text = "root 32768.02:00:00:00:00:01, cost 4, bridge 36864.02:00:00:00:00:02, port 0x8001, age 1 s"
    stp = summarize(bpdu.build(bpdu.Bpdu(bpdu.CONFIGURATION, 0x0F, *identifiers), M1))
    assert stp[1:] == ("01:80:c2:00:00:00", "STP", f"configuration, {text}, flags [topology change]")
    rapid = summarize(bpdu.build(bpdu.Bpdu(bpdu.RAPID, 0x3E, *identifiers), M1))
    assert rapid.info == f"rapid, {text}, role designated, flags [proposal, learning, forwarding]"
    assert summarize(bpdu.build(bpdu.Bpdu(bpdu.NOTIFICATION), M1)).info == "topology change notification"
    assert bpdu_frame(b"\0\0\0\0\0").info == "configuration, 5 octets [truncated]"
    assert bpdu_frame(b"\0").info == "1 octets [truncated]"
    assert bpdu_frame(b"\0\0\x03\x99").info == "version 3, type 0x99"


def test_other_frames() -> None:
    assert summarize(b"\1\2\3") == Summary("", "", "Ethernet", "3 octets [truncated]")
    assert summarize(ethernet.build(M2, M1, 0x88B7, b"abc")).info == "ethertype 0x88b7, length 3"
    assert summarize(ethernet.build(M2, M1, 0x86DD, b"abc")).protocol == "IPv6"
    assert summarize(ethernet.build(M2, M1, 3, b"\xaa\xaa\x03 padding"))[2:] == ("LLC", "aa aa 03, length 3")
    tagged = pack("!HH", 42, 0x0800) + packet(17, udp.build(A, B, 1, 2, b""))
    assert summarize(ethernet.build(M2, M1, 0x8100, tagged)).info == "vlan 42 length 0"
    assert line(89, b"abcd") == Summary("10.0.0.1", "10.0.0.2", "OSPF", "protocol 89, length 4")
    assert line(200, b"").protocol == "IP 200"


def circuit_line(octets: bytes) -> str:
    found = summarize(ethernet.build(M2, M1, circuit.ETHERTYPE_CIRCUIT, octets))
    assert found.protocol == "VC"
    return found.info


def test_circuits() -> None:
    call = circuit.build(circuit.CallRequest(5, 31, B, A, 7, 50000))
    assert circuit_line(call) == "call request, VCI 5: 10.0.0.1 calls 10.0.0.2:7, 31 hops"
    assert circuit_line(circuit.build(circuit.Data(5, b"abc")) + bytes(30)) == "VCI 5, 3 octets"
    assert circuit_line(circuit.build(circuit.ClearRequest(5, 4))) == "clear request, VCI 5, cause 4"
    assert circuit_line(circuit.build(circuit.CallAccepted(5))) == "call accepted, VCI 5"
    assert circuit_line(circuit.build(circuit.Hello(9))) == "hello"
    assert circuit_line(b"abc") == "3 octets [truncated]"
    assert circuit_line(call[:10]) == f"signal of {len(call) - 4} octets [truncated]"
    assert circuit_line(b"\0\5\0\4ab") == "VCI 5, 4 octets [truncated]"


def test_damaged_ip_headers() -> None:
    whole = packet(17, udp.build(A, B, 1, 2, b"0123456789"))
    assert summarize(whole, link="ip").info == "length 10"
    assert summarize(whole[:25], link="ip").info == "5 octets [truncated]"
    assert summarize(whole[:30], link="ip").info == "length 10 [truncated]"
    assert summarize(whole[:8] + b"\x07" + whole[9:], link="ip").info == "length 10 [bad header checksum]"
    assert summarize(b"\x60" + whole[1:], link="ip").protocol == "IPv6"
    assert summarize(b"\x44" + whole[1:], link="ip").info.endswith("[bad length]")
    assert summarize(whole[:19], link="ip").info == "19 octets [truncated]"
    assert line(17, udp.build(A, B, 1, 2, b""), ttl=1).info == "length 0, ttl 1"


def test_a_header_whose_options_were_cut_off() -> None:
    whole = packet(17, udp.build(A, B, 1, 2, b""), options=b"\x07\x07\x04\0\0\0\0")
    assert summarize(whole[:24], link="ip").info == "header length 28 [truncated]"
    assert summarize(whole, link="ip").info == "length 0"


def test_octets_behind_a_datagram_do_not_count() -> None:
    assert line(17, udp.build(A, B, 1, 2, b"hello") + b"rest").info == "length 5"


def test_another_link_is_misuse() -> None:
    with pytest.raises(ValueError, match="token ring"):
        summarize(b"", link="token ring")
