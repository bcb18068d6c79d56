"""Packets byte by byte: what they mean to us, what our builders make of that meaning, and what tshark says to both.

Sources: the checksum examples of RFC 1071 section 3 and RFC 1624 section 4; the IPv4 examples of RFC 791 appendix A
(completed with the addresses and the checksums it leaves open); the rest made by hand, field by field.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nodes.errors import WireError
from nodes.wire import arp, checksum, ethernet, icmp, igmp, ipv4, udp
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, parse_ip4, parse_mac

A_MAC, B_MAC = parse_mac("02:00:00:00:00:0a"), parse_mac("02:00:00:00:00:0b")
A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
QUOTE = bytes.fromhex("4500 001c 0001 0000 4011 66ce 0a00 0001 0a00 0002 c000 1388 0008 1853")


class Vector(NamedTuple):
    """`octets`, the function that reads them, the value they mean, the bytes that building it gives, a whole frame
    around them, and what tshark says of that frame by field."""

    name: str
    octets: bytes
    parse: Callable[[bytes], object]
    value: object
    built: bytes
    frame: bytes
    tshark: dict[str, str]


def vector(name: str, octets: str, read: object, value: object, built: bytes, frame: object, **tshark: str) -> Vector:
    raw = bytes.fromhex(octets)
    fields = {field.replace("__", "."): text for field, text in tshark.items()}
    return Vector(name, raw, read, value, built, frame(raw), fields)  # type: ignore[operator, arg-type]


def over_ethernet(ethertype: int) -> Callable[[bytes], bytes]:
    return lambda raw: ethernet.build(B_MAC, A_MAC, ethertype, raw)


def over_ip(protocol: int, destination: int = B) -> Callable[[bytes], bytes]:
    packet = over_ethernet(ethernet.ETHERTYPE_IPV4)
    return lambda raw: packet(ipv4.build(A, destination, protocol, raw))


def read_ip(raw: bytes) -> tuple[object, ...]:
    header, payload = ipv4.parse(raw)
    return (*header, bytes(payload))


def read_icmp(raw: bytes) -> tuple[object, ...]:
    message = icmp.parse(raw)
    return message.type, message.code, message.rest, bytes(message.body)


def read_udp(raw: bytes) -> tuple[object, ...]:
    header, payload = udp.parse(raw, A, B)
    return (*header, bytes(payload))


def as_is(raw: bytes) -> bytes:
    return raw


def ethernet_vectors() -> Iterator[Vector]:
    value = (ethernet.EthernetHeader(BROADCAST_MAC, A_MAC, 0x88B5), b"\x01\x02")
    built = ethernet.build(BROADCAST_MAC, A_MAC, 0x88B5, b"\x01\x02")
    name, raw = "local experimental EtherType", "ffff ffff ffff 0200 0000 000a 88b5 0102"
    yield vector(name, raw, ethernet.parse, value, built, as_is, eth__type="0x88b5", eth__dst="ff:ff:ff:ff:ff:ff")
    bpdu = bytes.fromhex("424203 0000 00 80" + "00" * 31)
    group = parse_mac("01:80:c2:00:00:00")
    value = (ethernet.EthernetHeader(group, A_MAC, 38), bpdu)
    built = ethernet.build(group, A_MAC, 38, bpdu)
    raw = "0180 c200 0000 0200 0000 000a 0026" + bpdu.hex()
    yield vector("length, not EtherType", raw, ethernet.parse, value, built, as_is, eth__len="38", llc__dsap="0x42")


def arp_vectors() -> Iterator[Vector]:
    who, ra = over_ethernet(ethernet.ETHERTYPE_ARP), over_ethernet(ethernet.ETHERTYPE_RARP)
    addresses = "0200 0000 000a 0a00 0001 0200 0000 000b 0a00 0002"
    for operation, name, frame in (
        (arp.REQUEST, "request", who),
        (arp.REPLY, "reply", who),
        (arp.REVERSE_REQUEST, "reverse request", ra),
        (arp.REVERSE_REPLY, "reverse reply", ra),
    ):
        value = arp.ArpPacket(operation, A_MAC, A, B_MAC, B)
        raw = f"0001 0800 0604 {operation:04x} {addresses}"
        fields = {
            "arp__opcode": str(operation),
            "arp__src__proto_ipv4": "10.0.0.1",
            "arp__dst__hw_mac": "02:00:00:00:00:0b",
        }
        yield vector(f"ARP {name}", raw, arp.parse, value, arp.build(value), frame, **fields)
    probe = arp.ArpPacket(arp.REQUEST, A_MAC, parse_ip4("0.0.0.0"), ZERO_MAC, B)
    raw = "0001 0800 0604 0001 0200 0000 000a 0000 0000 0000 0000 0000 0a00 0002"
    yield vector("ARP probe", raw, arp.parse, probe, arp.build(probe), who, arp__src__proto_ipv4="0.0.0.0")


def ipv4_vectors() -> Iterator[Vector]:
    frame = over_ethernet(ethernet.ETHERTYPE_IPV4)
    # RFC 791 appendix A, example 1: the smallest datagram, one octet of data, identification 111, TTL 123, ICMP.
    too_short = {"_ws__malformed": "[Malformed Packet: ICMP]"}  # one octet is no ICMP message
    value = (20, 0, 21, 111, False, False, 0, 123, 1, A, B, b"", b"\x2a")
    built = ipv4.build(A, B, 1, b"\x2a", ttl=123, identification=111)
    raw = "4500 0015 006f 0000 7b01 2b77 0a00 0001 0a00 0002 2a"
    yield vector(
        "RFC 791 A.1", raw, read_ip, value, built, frame, ip__id="0x006f", ip__ttl="123", ip__len="21", **too_short
    )
    # Example 2's second fragment: 216 octets of the last part, offset 32 * 8, as the RFC draws it.
    data = bytes(range(196))
    value = (20, 0, 216, 111, False, False, 256, 119, 6, A, B, b"", data)
    built = ipv4.build(A, B, 6, data, ttl=119, identification=111, fragment_offset=256)
    raw = "4500 00d8 006f 0020 7706 2e8f 0a00 0001 0a00 0002" + data.hex()
    yield vector("RFC 791 A.2 last fragment", raw, read_ip, value, built, frame, ip__frag_offset="32 or 256")
    value = (20, 0, 276, 111, False, True, 0, 119, 6, A, B, b"", bytes(256))
    built = ipv4.build(A, B, 6, bytes(256), ttl=119, identification=111, more_fragments=True)
    raw = "4500 0114 006f 2000 7706 0e73 0a00 0001 0a00 0002" + "00" * 256
    yield vector("RFC 791 A.2 first fragment", raw, read_ip, value, built, frame, ip__flags__mf="1")
    # RFC 791 appendix A, example 3: options with a no-operation inside and an end of list (here: record route).
    options = bytes.fromhex("07 0b 04 00000000 00000000 01 94040000")
    value = (36, 0xB9, 37, 9, True, False, 0, 1, 253, A, B, options, b"\x07")
    built = ipv4.build(
        A, B, 253, b"\x07", ttl=1, identification=9, dont_fragment=True, traffic_class=0xB9, options=options
    )
    raw = "49b9 0025 0009 4000 01fd c107 0a00 0001 0a00 0002" + options.hex() + "07"
    fields = {"ip__flags__df": "1", "ip__dsfield__dscp": "46", "ip__dsfield__ecn": "1", "ip__hdr_len": "36"}
    yield vector("options, DF, DSCP EF, ECT(1)", raw, read_ip, value, built, frame, **fields)
    value = (24, 0, 24, 0, False, False, 65528, 64, 253, A, B, b"\x07\x00\x00\x00", b"")
    built = ipv4.build(A, B, 253, b"", fragment_offset=65528, options=b"\x07")
    raw = "4600 0018 0000 1fff 40fd 3de8 0a00 0001 0a00 0002 0700 0000"
    yield vector("padded options, largest offset", raw, read_ip, value, built, frame, ip__frag_offset="8191 or 65528")


def icmp_vectors() -> Iterator[Vector]:
    frame = over_ip(ipv4.PROTOCOL_ICMP)
    for kind, name in ((icmp.ECHO_REQUEST, "request"), (icmp.ECHO_REPLY, "reply")):
        sum_text = {icmp.ECHO_REQUEST: "249d", icmp.ECHO_REPLY: "2c9d"}[kind]
        value = (kind, 0, 0x12340001, b"abcdef\x97")
        built = icmp.echo(kind, 0x1234, 1, b"abcdef\x97")
        raw = f"{kind:02x}00 {sum_text} 1234 0001 6162 6364 6566 97"
        yield vector(f"echo {name}", raw, read_icmp, value, built, frame, icmp__ident="4660", icmp__seq="1")
    for kind, code, rest, sum_text, fields in (
        (icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, "1119", {}),
        (icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, 1280, "0c18", {"icmp__mtu": "1280"}),
        (icmp.SOURCE_QUENCH, 0, 0, "101c", {}),
        (icmp.REDIRECT, icmp.REDIRECT_HOST, B, "0519", {"icmp__redir_gw": "10.0.0.2"}),
        (icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, 0, "091c", {}),
        (icmp.TIME_EXCEEDED, icmp.REASSEMBLY_EXCEEDED, 0, "091b", {}),
        (icmp.PARAMETER_PROBLEM, 0, 9 << 24, "ff1b", {"icmp__pointer": "9"}),
    ):
        value = (kind, code, rest, QUOTE)
        raw = f"{kind:02x}{code:02x} {sum_text} {rest:08x}" + QUOTE.hex()
        built = icmp.build(kind, code, rest, QUOTE)
        fields |= {"icmp__type": str(kind), "icmp__code": str(code)}
        yield vector(f"ICMP {kind}/{code}", raw, read_icmp, value, built, frame, **fields)
    times = bytes.fromhex("0000 0001 0000 0000 0000 0000")
    for kind, name, sum_text in ((13, "request", "f2fd"), (14, "reply", "f1fd")):
        value = (kind, 0, 0x00010000, times)
        raw = f"{kind:02x}00 {sum_text} 0001 0000" + times.hex()
        yield vector(f"timestamp {name}", raw, read_icmp, value, icmp.build(*value), frame, icmp__type=str(kind))


def udp_vectors() -> Iterator[Vector]:
    frame = over_ip(ipv4.PROTOCOL_UDP)

    def one(name: str, raw: str, value: tuple[object, ...], built: bytes, status: str = "1") -> Vector:
        return vector(name, raw, read_udp, value, built, frame, udp__length=str(value[2]), udp__checksum__status=status)

    built = udp.build(A, B, 49152, 5000, b"")
    yield one("768-2: UDP without data", "c000 1388 0008 1853", (49152, 5000, 8, 0x1853, b""), built)
    built = udp.build(A, B, 49152, 1234, b"hello")
    yield one("UDP, odd length", "c000 04d2 000d e32c 6865 6c6c 6f", (49152, 1234, 13, 0xE32C, b"hello"), built)
    built = udp.build(A, B, 49152, 1234, b"hello", no_checksum=True)
    value = (49152, 1234, 13, 0, b"hello")
    yield one("768-1: no checksum", "c000 04d2 000d 0000 6865 6c6c 6f", value, built, status="3")
    # The data completes the sum to 0xFFFF, whose complement, 0, would mean "none".
    built = udp.build(A, B, 49152, 5000, b"\x18\x4f")
    value = (49152, 5000, 10, 0xFFFF, b"\x18\x4f")
    yield one("768-1: computes to 0, sent as 0xFFFF", "c000 1388 000a ffff 184f", value, built)


def igmp_vectors() -> Iterator[Vector]:
    group = parse_ip4("239.1.2.3")
    for kind, maximum, to, sum_text, version in (
        (igmp.MEMBERSHIP_QUERY, 0, 0, "eeff", "1"),
        (igmp.VERSION_1_REPORT, 0, group, "fcfa", "1"),
        (igmp.MEMBERSHIP_QUERY, 100, 0, "ee9b", "2"),
        (igmp.MEMBERSHIP_QUERY, 10, group, "fdf0", "2"),
        (igmp.VERSION_2_REPORT, 0, group, "f8fa", "2"),
        (igmp.LEAVE_GROUP, 0, group, "f7fa", "2"),
    ):
        value = igmp.IgmpMessage(kind, maximum, to)
        raw = f"{kind:02x}{maximum:02x} {sum_text} {to:08x}"
        frame = over_ip(ipv4.PROTOCOL_IGMP, to or parse_ip4("224.0.0.1"))
        fields = {"igmp__type": f"0x{kind:02x}", "igmp__version": version, "igmp__checksum__status": "1"}
        yield vector(f"IGMP 0x{kind:x}/{maximum}", raw, igmp.parse, value, igmp.build(value), frame, **fields)


VECTORS = [
    *ethernet_vectors(),
    *arp_vectors(),
    *ipv4_vectors(),
    *icmp_vectors(),
    *udp_vectors(),
    *igmp_vectors(),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_bytes_to_value(vector: Vector) -> None:
    assert vector.parse(vector.octets) == vector.value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_kind_of_buffer_reads_the_same(vector: Vector, kind: Callable[[bytes], bytes]) -> None:
    assert vector.parse(kind(vector.octets)) == vector.value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_value_to_bytes(vector: Vector) -> None:
    assert vector.built.hex(" ", 2) == vector.octets.hex(" ", 2)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_cut_packet_is_a_wire_error(vector: Vector) -> None:
    """IPv4 and UDP know their length and miss any octet; of the others, those of the header."""
    fixed = {"eth": 14, "arp": 28, "ip": len(vector.octets), "icmp": 8, "udp": len(vector.octets), "igmp": 8}
    protocol = next(iter(vector.tshark)).partition(".")[0]
    for length in range(fixed[protocol]):
        with pytest.raises(WireError) as caught:
            vector.parse(vector.octets[:length])
        assert 0 <= caught.value.offset <= length


@pytest.fixture(scope="module")
def dissected(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """For each vector, what tshark prints for the fields of all vectors."""
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = tmp_path_factory.mktemp("tshark") / "vectors.pcap"
    write_pcap(path, [vector.frame for vector in VECTORS])
    command = [tshark, "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-E", "separator=|"]
    for option in ("ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "ip.defragment:FALSE"):
        command += ["-o", option]
    for name in TSHARK_FIELDS:
        command += ["-e", name]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return [line.split("|") for line in output.splitlines()]


ALWAYS = ["_ws.malformed", "ip.checksum.status", "icmp.checksum.status", "igmp.checksum.status"]
TSHARK_FIELDS = [*ALWAYS, *sorted({name for vector in VECTORS for name in vector.tshark} - set(ALWAYS))]


def write_pcap(path: Path, frames: list[bytes]) -> None:
    records = [struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames]
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(VECTORS)), ids=lambda number: VECTORS[number].name)
def test_tshark_reads_the_same(number: int, dissected: list[list[str]]) -> None:
    seen = dict(zip(TSHARK_FIELDS, dissected[number], strict=True))
    expected = {"_ws.malformed": "", **VECTORS[number].tshark}
    for name in ("ip.checksum.status", "icmp.checksum.status", "igmp.checksum.status"):
        assert seen[name] in ("", "1"), name
    for name, text in expected.items():
        assert seen[name] in text.split(" or "), name  # versions of tshark differ in the unit of the fragment offset


def test_rfc_1071_section_3() -> None:
    data = bytes.fromhex("0001 f203 f4f5 f6f7")
    assert checksum.ones_sum(data) == 0xDDF2
    assert checksum.checksum(data) == 0x220D
    assert checksum.is_valid(data + bytes.fromhex("220d"))
    # Byte order independence, section 2 (B): the sum of swapped words is the swapped sum.
    assert checksum.ones_sum(bytes.fromhex("0100 03f2 f5f4 f7f6")) == 0xF2DD
    # Section 2 (A): any order and grouping, so parts can be summed one by one.
    assert checksum.checksum(data[4:], checksum.ones_sum(data[:4])) == 0x220D


def test_rfc_1624_section_4() -> None:
    """The example where equation 2 gives 0xFFFF and equation 3 the right 0x0000."""
    assert checksum.updated(0xDD2F, 0x5555, 0x3285) == 0x0000
    assert checksum.updated(0x0000, 0x0000, 0x0001) == 0xFFFE  # the carry has a carry


@pytest.mark.parametrize(
    ("data", "total"),
    [
        (b"", 0),
        (b"\x00" * 7, 0),
        (b"\xff\xff", 0xFFFF),
        (b"\xff\xff" * 3, 0xFFFF),
        (b"\x01", 0x0100),
        (b"\xff\xfe\x00\x01", 0xFFFF),
    ],
)
def test_the_two_zeros(data: bytes, total: int) -> None:
    assert checksum.ones_sum(data) == total
    assert checksum.checksum(data) == 0xFFFF - total


def test_an_icmp_message_of_zeros_is_wrong() -> None:
    with pytest.raises(WireError, match="icmp checksum at byte 2: wrong"):
        icmp.parse(bytes(8))
