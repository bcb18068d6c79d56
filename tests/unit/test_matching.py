"""Which frames a fault means."""

from __future__ import annotations

import pytest

from nodes.impairment import Match
from nodes.physical import matching
from nodes.physical.matching import Matcher, parse_flags
from nodes.wire import arp, ethernet, icmp, ipv4, tcp, udp
from nodes.wire.addresses import Ip4, Mac, parse_ip4

A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
MAC_A, MAC_B = Mac(b"\x02\0\0\0\0\x01"), Mac(b"\x02\0\0\0\0\x02")
SYN, ACK, FIN, RST, PSH = tcp.SYN, tcp.ACK, tcp.FIN, tcp.RST, tcp.PSH


def ip_frame(protocol: int, payload: bytes, *, offset: int = 0, more: bool = False, options: bytes = b"") -> bytes:
    packet = ipv4.build(A, B, protocol, payload, fragment_offset=offset, more_fragments=more, options=options)
    return ethernet.build(MAC_B, MAC_A, ethernet.ETHERTYPE_IPV4, packet)


def tcp_frame(
    flags: int = ACK, sequence: int = 0, data: bytes = b"", port: int = 80, source: Ip4 = A, options: bytes = b""
) -> bytes:
    segment = tcp.build(source, B, 5000, port, sequence % 2**32, 0, flags, 1000, payload=data, options=options)
    packet = ipv4.build(source, B, ipv4.PROTOCOL_TCP, segment)
    frame = ethernet.build(MAC_B, MAC_A, ethernet.ETHERTYPE_IPV4, packet)
    return frame + bytes(max(0, 60 - len(frame)))  # padded as on a wire: the padding is no payload


def udp_frame(data: bytes = b"data", port: int = 53) -> bytes:
    return ip_frame(ipv4.PROTOCOL_UDP, udp.build(A, B, 5000, port, data))


def tagged(frame: bytes, tags: int = 1) -> bytes:
    return frame[:12] + bytes.fromhex("8100002a") * tags + frame[12:]


ARP = ethernet.build(
    MAC_B, MAC_A, ethernet.ETHERTYPE_ARP, arp.build(arp.ArpPacket(arp.REQUEST, MAC_A, A, Mac(bytes(6)), B))
)
PING = ip_frame(ipv4.PROTOCOL_ICMP, icmp.build(icmp.ECHO_REQUEST, 0, 1 << 16 | 1, b"ping"))
BARE_PING = ip_frame(ipv4.PROTOCOL_ICMP, icmp.build(icmp.ECHO_REQUEST, 0, 1 << 16 | 1, b""))
IGMP = ip_frame(ipv4.PROTOCOL_IGMP, bytes(8))
IPV6 = MAC_B + MAC_A + bytes.fromhex("86dd 6000000000000640") + bytes(32) + bytes(20)
BPDU = bytes.fromhex("0180c2000000 025a00000001 0026 424203") + bytes(43)
FIRST = ip_frame(ipv4.PROTOCOL_UDP, udp.build(A, B, 5000, 53, bytes(1000))[:504], more=True)
MIDDLE = ip_frame(ipv4.PROTOCOL_UDP, FIRST[34:434], offset=504, more=True)  # begins as if with a header
LAST = ip_frame(ipv4.PROTOCOL_UDP, bytes(104), offset=904)
FRAMES = {
    "arp": ARP,
    "ping": PING,
    "bare ping": BARE_PING,
    "igmp": IGMP,
    "udp": udp_frame(),
    "empty udp": udp_frame(b""),
    "syn": tcp_frame(SYN),
    "syn ack": tcp_frame(SYN | ACK),
    "ack": tcp_frame(ACK),
    "data": tcp_frame(ACK | PSH, data=b"hello"),
    "fin": tcp_frame(FIN | ACK),
    "ipv6": IPV6,
    "bpdu": BPDU,
    "first": FIRST,
    "middle": MIDDLE,
    "last": LAST,
}
TCP = {"syn", "syn ack", "ack", "data", "fin"}
UDP = {"udp", "empty udp", "first", "middle", "last"}
IP = TCP | UDP | {"ping", "bare ping", "igmp"}


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        (Match(), set(FRAMES)),
        (Match(protocol="arp"), {"arp"}),
        (Match(protocol="ip"), IP),
        (Match(protocol="icmp"), {"ping", "bare ping"}),
        (Match(protocol="igmp"), {"igmp"}),
        (Match(protocol="udp"), UDP),
        (Match(protocol="tcp"), TCP),
        (Match(flags="SYN"), {"syn", "syn ack"}),
        (Match(flags="SYN", not_flags="ACK"), {"syn"}),
        (Match(flags="syn,ack"), {"syn ack"}),
        (Match(not_flags="SYN,FIN"), {"ack", "data"}),
        (Match(protocol="tcp", payload=True), {"data"}),
        (Match(protocol="tcp", payload=False), TCP - {"data"}),
        (Match(payload=True), {"data", "udp", "ping", "first", "middle", "last"}),
        (Match(payload=False), TCP - {"data"} | {"empty udp", "bare ping"}),
        (Match(fragment="none"), IP - {"first", "middle", "last"}),
        (Match(fragment="first"), {"first"}),
        (Match(fragment="later"), {"middle", "last"}),
        (Match(fragment="any"), {"first", "middle", "last"}),
        (Match(source="10.0.0.1"), IP | {"arp"}),
        (Match(protocol="arp", destination="10.0.0.2"), {"arp"}),
        (Match(source="10.0.0.2"), set()),
        (Match(destination_port=53), {"udp", "empty udp", "first"}),
        (Match(destination_port=80), TCP),
        (Match(source_port=5000, protocol="tcp"), TCP),
        (Match(source_port=53), set()),
        (Match(minimum_length=500), {"first"}),
        (Match(minimum_length=len(MIDDLE), maximum_length=len(MIDDLE)), {"middle"}),
        (Match(protocol="tcp", maximum_length=59), set()),
    ],
)
def test_what_is_meant(match: Match, meant: set[str]) -> None:
    """Every kind of frame against every part of a match."""
    matcher = Matcher(match)
    assert {name for name, frame in FRAMES.items() if matcher.matches(frame)} == meant


@pytest.mark.parametrize("tags", [1, 2])
def test_tags_are_passed_over(tags: int) -> None:
    matcher = Matcher(Match(flags="SYN", destination_port=80, source="10.0.0.1"))
    assert matcher.matches(tagged(FRAMES["syn"], tags))
    assert not matcher.matches(tagged(FRAMES["ack"], tags))
    assert not matcher.matches(tagged(FRAMES["udp"], tags))


def test_options_move_the_header() -> None:
    """The transport header is where the IP header ends, and the payload where TCP's options do."""
    segment = tcp.build(A, B, 5000, 80, 7, 0, SYN, 1000, options=bytes.fromhex("020405b4"))
    frame = ip_frame(ipv4.PROTOCOL_TCP, segment, options=ipv4.ROUTER_ALERT)
    assert Matcher(Match(flags="SYN", destination_port=80, payload=False)).matches(frame)
    assert not Matcher(Match(flags="SYN", payload=True)).matches(frame)


# Places in a stream


def test_sequence_counts_from_the_syn() -> None:
    """The first octet of data is 1; a segment matches that carries one octet of the range, an acknowledgment none."""
    matcher = Matcher(Match(sequence=(100, 200)))
    isn = 4_000_000_000
    assert not matcher.matches(tcp_frame(SYN, isn))
    assert not matcher.matches(tcp_frame(ACK, isn + 1, bytes(99)))  # 1 to 99
    assert matcher.matches(tcp_frame(ACK, isn + 100, b"x"))
    assert matcher.matches(tcp_frame(ACK, isn + 1, bytes(100)))  # the last of them is 100
    assert matcher.matches(tcp_frame(ACK, isn + 199, b"x"))
    assert not matcher.matches(tcp_frame(ACK, isn + 200, b"x"))
    assert not matcher.matches(tcp_frame(ACK, isn + 150))
    assert matcher.matches(tcp_frame(ACK, isn + 100, bytes(50)))  # sent again


@pytest.mark.parametrize(("flags", "places"), [(SYN, (0, 1)), (FIN | ACK, (500, 501))])
def test_syn_and_fin_have_places(flags: int, places: tuple[int, int]) -> None:
    matcher = Matcher(Match(sequence=places))
    assert matcher.matches(tcp_frame(SYN, 10)) is (flags == SYN)
    assert matcher.matches(tcp_frame(FIN | ACK, 510)) is (flags != SYN)


def test_sequence_numbers_wrap() -> None:
    """A place beyond 2^32 octets is its own: the number it shares with an earlier one does not match."""
    step, far = 1 << 29, (1 << 32) + 5
    matcher = Matcher(Match(sequence=(far, far + 1)))
    isn = 0xFFFF_FFF0
    matcher.matches(tcp_frame(SYN, isn))
    assert not matcher.matches(tcp_frame(ACK, isn + 5, b"x"))
    for begin in range(step, 1 << 32, step):
        assert not matcher.matches(tcp_frame(ACK, isn + begin, b"x"))
    assert matcher.matches(tcp_frame(ACK, isn + 5, b"x"))


def test_a_wild_number_does_not_move_the_stream() -> None:
    """A segment further away than any window leaves the places of the others as they are."""
    matcher = Matcher(Match(sequence=(1, 2)))
    matcher.matches(tcp_frame(SYN, 0))
    for wild in (0x6000_0000, 0xC000_0000, 0x2000_0000 * 7):
        matcher.matches(tcp_frame(ACK, wild, b"x"))
    assert matcher.matches(tcp_frame(ACK, 1, b"x"))


def test_connections_are_told_apart() -> None:
    matcher = Matcher(Match(sequence=(1, 10)))
    matcher.matches(tcp_frame(SYN, 0, port=80))
    matcher.matches(tcp_frame(SYN, 1000, port=81))
    assert matcher.matches(tcp_frame(ACK, 1001, b"x", port=81))
    assert not matcher.matches(tcp_frame(ACK, 1001, b"x", port=80))
    assert not matcher.matches(tcp_frame(ACK, 1, b"x", port=82))  # its beginning was not seen


def test_the_syn_is_noted_though_the_rest_fails() -> None:
    """A SYN carries no payload, and still tells where the payload is."""
    matcher = Matcher(Match(sequence=(0, 10), payload=True, minimum_length=70))
    assert not matcher.matches(tcp_frame(SYN, 77))
    assert not matcher.matches(tcp_frame(ACK, 78, bytes(5)))
    assert matcher.matches(tcp_frame(ACK, 78, bytes(100)))


def test_the_syn_is_noted_though_its_flags_are_others() -> None:
    matcher = Matcher(Match(sequence=(1, 10), flags="FIN"))
    assert not matcher.matches(tcp_frame(SYN, 77))
    assert not matcher.matches(tcp_frame(ACK, 78, b"x"))
    assert matcher.matches(tcp_frame(FIN | ACK, 79, b"x"))


def test_a_new_syn_begins_anew_and_a_repeated_one_does_not() -> None:
    matcher = Matcher(Match(sequence=(1, 10)))
    matcher.matches(tcp_frame(SYN, 100))
    matcher.matches(tcp_frame(ACK, 200, bytes(10)))
    matcher.matches(tcp_frame(SYN, 100))
    assert matcher.matches(tcp_frame(ACK, 101, b"x"))
    matcher.matches(tcp_frame(SYN, 9000))
    assert not matcher.matches(tcp_frame(ACK, 101, b"x"))
    assert matcher.matches(tcp_frame(ACK, 9001, b"x"))


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that began first is forgotten, and that is counted."""
    monkeypatch.setattr(matching, "CONNECTIONS_LIMIT", 3)
    matcher = Matcher(Match(sequence=(1, 10)))
    for port in (1, 2, 3, 1, 4):
        matcher.matches(tcp_frame(SYN, port, port=port))
    assert matcher.forgotten == 1
    assert [port for port in (1, 2, 3, 4) if matcher.matches(tcp_frame(ACK, port + 1, b"x", port=port))] == [2, 3, 4]
    for port in (2, 5):  # 2 begins anew, so that 3 is the oldest
        matcher.matches(tcp_frame(SYN, port + 50, port=port))
    assert [port for port in (3, 4) if matcher.matches(tcp_frame(ACK, port + 1, b"x", port=port))] == [4]
    assert matcher.forgotten == 2


# Frames that are broken


def test_a_broken_data_offset_leaves_the_ports() -> None:
    frame = bytearray(tcp_frame(ACK, data=b"data"))
    frame[14 + 20 + 12] = 0xF0
    assert Matcher(Match(destination_port=80, flags="ACK")).matches(bytes(frame))
    assert not Matcher(Match(payload=True)).matches(bytes(frame))
    assert not Matcher(Match(payload=False)).matches(bytes(frame))


@pytest.mark.parametrize(("place", "value"), [(14, 0x41), (14, 0x4F), (17, 10)])
def test_a_broken_ip_header_carries_nothing(place: int, value: int) -> None:
    """Header length 4 or 60 in a packet of 40 octets, total length 10."""
    frame = bytearray(tcp_frame(ACK))
    frame[place] = value
    assert Matcher(Match(protocol="tcp", source="10.0.0.1")).matches(bytes(frame))
    for match in (Match(destination_port=80), Match(flags="ACK"), Match(payload=False), Match(sequence=(0, 9))):
        assert not Matcher(match).matches(bytes(frame))


@pytest.mark.parametrize("name", FRAMES)
def test_cut_frames_never_raise(name: str) -> None:
    """Every prefix of every frame, tagged or not, against matches that look at everything."""
    matchers = [
        Matcher(Match(protocol="tcp", flags="SYN", not_flags="ACK", sequence=(0, 1000), payload=True)),
        Matcher(Match(protocol="udp", source_port=5000, destination_port=53, fragment="first")),
        Matcher(Match(protocol="arp", source="10.0.0.1", destination="10.0.0.2")),
        Matcher(Match(protocol="icmp", payload=True, source="10.0.0.1")),
    ]
    for frame in (FRAMES[name], tagged(FRAMES[name]), tagged(FRAMES[name], 2), tagged(FRAMES[name], 3)):
        for length in range(len(frame) + 1):
            for matcher in matchers:
                assert matcher.matches(frame[:length]) in (True, False)


def test_a_broken_ip_header_is_no_place_to_read_from() -> None:
    """Where a header of 4 octets would end, there stands what looks like a port; and a later fragment is cut off."""
    frame = bytearray(ip_frame(ipv4.PROTOCOL_UDP, bytes(40)))
    frame[14] = 0x41
    frame[18:20] = (5000).to_bytes(2, "big")
    assert not Matcher(Match(source_port=5000)).matches(bytes(frame))
    later = bytearray(LAST)
    later[14] = 0x4F
    later[16:18] = (40).to_bytes(2, "big")
    for payload in (True, False):
        assert not Matcher(Match(payload=payload)).matches(bytes(later))


def test_later_fragments_have_no_transport_header() -> None:
    """Even if their octets look like one."""
    segment = tcp_frame(SYN | ACK, 0, bytes(40))[34:]
    first = ip_frame(ipv4.PROTOCOL_TCP, segment, more=True)
    later = ip_frame(ipv4.PROTOCOL_TCP, segment, offset=80)
    for match in (Match(flags="SYN"), Match(destination_port=80), Match(not_flags="RST"), Match(sequence=(0, 9))):
        assert Matcher(match).matches(first)
        assert not Matcher(match).matches(later)
    assert Matcher(Match(protocol="tcp", payload=True)).matches(later)


def test_a_checksum_does_not_matter() -> None:
    frame = bytearray(tcp_frame(ACK, data=b"data"))
    frame[14 + 10] ^= 0xFF
    frame[14 + 20 + 16] ^= 0xFF
    assert Matcher(Match(flags="ACK", payload=True)).matches(bytes(frame))


# Matches that make no sense


@pytest.mark.parametrize(
    ("match", "message"),
    [
        (Match(flags="SIN"), "'SIN' is not one of the TCP flags FIN, SYN"),
        (Match(flags="SYN", not_flags="SYN"), "a TCP flag cannot be set and not set"),
        (Match(protocol="udp", flags="SYN"), "udp has no TCP flags"),
        (Match(protocol="udp", sequence=(1, 2)), "udp has no TCP sequence"),
        (Match(protocol="icmp", source_port=1), "icmp has no ports"),
        (Match(protocol="arp", payload=True), "arp has no payload"),
        (Match(protocol="arp", fragment="any"), "arp has no fragments"),
        (Match(fragment="later", destination_port=1), "a later fragment has no ports"),
        (Match(source="10.0.0"), "'10.0.0' is not an IPv4 address"),
        (Match(destination_port=70000), "a port is 1 to 65535"),
        (Match(sequence=(5, 5)), "two numbers, of which the second is larger"),
        (Match(sequence=(5,)), "two numbers"),
        (Match(minimum_length=100, maximum_length=99), "no frame has 100 octets or more and at most 99"),
        (Match(minimum_length=-1), "a length is not negative"),
    ],
)
def test_nonsense_is_refused(match: Match, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Matcher(match)


def test_flags_in_any_form() -> None:
    assert parse_flags("SYN,ACK") == parse_flags("syn ack") == parse_flags(" ACK , Syn ") == SYN | ACK
    assert parse_flags("") == 0
    assert parse_flags("fin,syn,rst,psh,ack,urg,ece,cwr") == 0xFF
