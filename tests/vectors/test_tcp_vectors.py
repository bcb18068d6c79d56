"""TCP segments byte by byte: what they mean, what our builders make of that meaning, and what tshark says to them.

Those named "Linux" were captured between two Linux 6 hosts (a request and its answer by HTTP/1.0, closed in order and
by a reset, with one urgent octet), those "by offload" on the loopback interface, where the kernel leaves the checksum
to the link. The rest are made by hand, with checksums by tshark.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from nodes.errors import WireError
from nodes.wire import ethernet, ipv4, tcp, tcp_options
from nodes.wire.addresses import Ip4, Mac, parse_ip4
from nodes.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG
from nodes.wire.tcp_options import NO_OPTIONS, Options

A, B, LOOPBACK = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2"), parse_ip4("127.0.0.1")
REQUEST, ANSWER = b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"


class Vector(NamedTuple):
    """`head` is ports, sequence and acknowledgment number, flags, window, urgent pointer; `built` are the octets of
    the options as our builders make them, which is how they stand in `octets`."""

    name: str
    source: Ip4
    destination: Ip4
    octets: bytes
    head: tuple[int, int, int, int, int, int, int]
    options: Options
    built: bytes
    payload: bytes
    partial: bool


def vector(
    name: str,
    octets: str,
    head: tuple[int, int, int, int, int, int, int],
    options: Options = NO_OPTIONS,
    built: bytes = b"",
    payload: bytes = b"",
    *,
    source: Ip4 = A,
    destination: Ip4 = B,
    partial: bool = False,
) -> Vector:
    return Vector(name, source, destination, bytes.fromhex(octets), head, options, built, payload, partial)


def syn(mss: int, value: int, echo: int, scale: int) -> tuple[Options, bytes]:
    options = NO_OPTIONS._replace(mss=mss, window_scale=scale, sack_permitted=True, timestamp=(value, echo))
    return options, tcp_options.build_syn(mss, scale, True, (value, echo))


def times(value: int, echo: int) -> tuple[Options, bytes]:
    return NO_OPTIONS._replace(timestamp=(value, echo)), tcp_options.build((value, echo))


CLIENT, SERVER = 0x1946_4CD9, 0x9802_366A  # timestamps of the first connection

VECTORS = [
    vector(
        "Linux SYN with ECN setup",
        "c122 0050 106d 6081 0000 0000 a0c2 faf0 9fc9 0000 0204 05b4 0402 080a 1946 4cd9 0000 0000 0103 030a",
        (49442, 80, 275603585, 0, SYN | ECE | CWR, 64240, 0),
        *syn(1460, CLIENT, 0, 10),
    ),
    vector(
        "Linux SYN,ACK that agrees to ECN",
        "0050 c122 2522 a7a9 106d 6082 a052 fe88 0168 0000 0204 05b4 0402 080a 9802 366a 1946 4cd9 0103 030a",
        (80, 49442, 623028137, 275603586, SYN | ACK | ECE, 65160, 0),
        *syn(1460, SERVER, CLIENT, 10),
        source=B,
        destination=A,
    ),
    vector(
        "Linux data of even length",
        "c122 0050 106d 6082 2522 a7aa 8018 003f 5007 0000 0101 080a 1946 4cd9 9802 366a"
        "4745 5420 2f20 4854 5450 2f31 2e30 0d0a 0d0a",
        (49442, 80, 275603586, 623028138, PSH | ACK, 63, 0),
        *times(CLIENT, SERVER),
        REQUEST,
    ),
    vector(
        "Linux data of odd length",
        "0050 c122 2522 a7aa 106d 6094 8018 0040 64c1 0000 0101 080a 9802 366a 1946 4cd9"
        "4854 5450 2f31 2e30 2032 3030 204f 4b0d 0a0d 0a",
        (80, 49442, 623028138, 275603604, PSH | ACK, 64, 0),
        *times(SERVER, CLIENT),
        ANSWER,
        source=B,
        destination=A,
    ),
    vector(
        "Linux FIN",
        "c122 0050 106d 6094 2522 a7bd 8011 003f 2e9b 0000 0101 080a 1946 4cd9 9802 366a",
        (49442, 80, 275603604, 623028157, FIN | ACK, 63, 0),
        *times(CLIENT, SERVER),
    ),
    vector(
        "Linux urgent octet, pointer behind it",
        "c128 0050 2a98 7080 7541 5fa6 8038 003f 4014 0001 0101 080a a1e6 9f49 093e 8556 21",
        (49448, 80, 714633344, 1967218598, PSH | ACK | URG, 63, 1),
        *times(0xA1E6_9F49, 0x093E_8556),
        b"!",
    ),
    vector(
        "Linux reset with ACK",
        "0050 c128 7541 5fa6 2a98 7082 8014 0040 5edf 0000 0101 080a 093e 8682 a1e6 a075",
        (80, 49448, 1967218598, 714633346, RST | ACK, 64, 0),
        *times(0x093E_8682, 0xA1E6_A075),
        source=B,
        destination=A,
    ),
    vector(
        "Linux SYN by offload",
        "81f8 0050 9add c37f 0000 0000 a0c2 ffd7 fe30 0000 0204 ffd7 0402 080a ddfb a1b8 0000 0000 0103 030a",
        (33272, 80, 2598224767, 0, SYN | ECE | CWR, 65495, 0),
        *syn(65495, 0xDDFB_A1B8, 0, 10),
        source=LOOPBACK,
        destination=LOOPBACK,
        partial=True,
    ),
    vector(
        "Linux data by offload",
        "81f8 0050 9add c380 ca63 fdd0 8018 0040 fe3a 0000 0101 080a ddfb a1b8 f4f8 f9fe"
        "4745 5420 2f20 4854 5450 2f31 2e30 0d0a 0d0a",
        (33272, 80, 2598224768, 3395550672, PSH | ACK, 64, 0),
        *times(0xDDFB_A1B8, 0xF4F8_F9FE),
        REQUEST,
        source=LOOPBACK,
        destination=LOOPBACK,
        partial=True,
    ),
    vector(
        "no options, every number at its largest",
        "ffff ffff ffff ffff ffff ffff 50ff ffff 9ae3 ffff",
        (65535, 65535, 0xFFFF_FFFF, 0xFFFF_FFFF, 0xFF, 65535, 65535),
    ),
    vector(
        "no flags, everything zero",
        "0000 0000 0000 0000 0000 0000 5000 0000 9be2 0000",
        (0, 0, 0, 0, 0, 0, 0),
    ),
    vector(
        "checksum that computes to zero",
        "0000 0000 0000 0000 0000 0000 5010 0000 0000 0000 9bd0",
        (0, 0, 0, 0, ACK, 0, 0),
        payload=b"\x9b\xd0",
    ),
    vector(
        "SYN with MSS only",
        "1388 0050 0000 0001 0000 0000 6002 2000 53e7 0000 0204 0218",
        (5000, 80, 1, 0, SYN, 8192, 0),
        NO_OPTIONS._replace(mss=536),
        tcp_options.build_syn(536, None, False, None),
    ),
    vector(
        "SYN with all but timestamps, and a user timeout in minutes",
        "1388 0050 0000 0001 0000 0000 9002 2000 6d1d 0000 0204 05b4 0101 0402 0103 0307 1c04 8e10",
        (5000, 80, 1, 0, SYN, 8192, 0),
        NO_OPTIONS._replace(mss=1460, window_scale=7, sack_permitted=True, user_timeout=3600 * 60),
        tcp_options.build_syn(1460, 7, True, None, 3600 * 60),
    ),
    vector(
        "three SACK blocks beside timestamps, across the wrap",
        "1388 0050 0000 0001 0000 03e8 f010 2000 7e06 0000 0101 080a 0000 0005 0000 0006 0101 051a"
        "ffff fff0 0000 0010 0000 07d0 0000 0bb8 0000 0fa0 0000 1388",
        (5000, 80, 1, 1000, ACK, 8192, 0),
        NO_OPTIONS._replace(timestamp=(5, 6), sack=((0xFFFF_FFF0, 0x10), (2000, 3000), (4000, 5000))),
        tcp_options.build((5, 6), [(0xFFFF_FFF0, 0x10), (2000, 3000), (4000, 5000), (6000, 7000)]),
    ),
    vector(
        "four SACK blocks alone",
        "1388 0050 0000 0001 0000 03e8 e010 2000 21e9 0000 0101 0522"
        "0000 07d0 0000 0bb8 0000 0fa0 0000 1388 0000 1770 0000 1b58 0000 1f40 0000 2328",
        (5000, 80, 1, 1000, ACK, 8192, 0),
        NO_OPTIONS._replace(sack=((2000, 3000), (4000, 5000), (6000, 7000), (8000, 9000))),
        tcp_options.build(None, [(2000, 3000), (4000, 5000), (6000, 7000), (8000, 9000), (10000, 11000)]),
    ),
]
BY_NAME = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


@BY_NAME
def test_bytes_to_value(vector: Vector) -> None:
    """MUST-3"""
    segment = tcp.parse(vector.octets, vector.source, vector.destination, verified=vector.partial)
    assert segment[:7] == vector.head
    assert segment.options == vector.options
    assert segment.payload == vector.payload


@BY_NAME
def test_value_to_bytes(vector: Vector) -> None:
    """MUST-2, MUST-68"""
    built = tcp.build(
        vector.source,
        vector.destination,
        *vector.head[:6],
        urgent=vector.head[6],
        options=vector.built,
        payload=vector.payload,
        partial=vector.partial,
    )
    assert built.hex(" ", 2) == vector.octets.hex(" ", 2)


@BY_NAME
def test_a_partial_checksum_completes_to_the_whole(vector: Vector) -> None:
    """VIRTIO 1.2 section 5.1.6.2: the complement of the sum over the segment, the field included."""
    fields = {"urgent": vector.head[6], "options": vector.built, "payload": vector.payload}
    ends = (vector.source, vector.destination, *vector.head[:6])
    partial = tcp.build(*ends, **fields, partial=True)  # type: ignore[arg-type]
    padded = partial + bytes(len(partial) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    whole = tcp.build(*ends, **fields)  # type: ignore[arg-type]
    assert partial[:16] + struct.pack("!H", total ^ 0xFFFF) + partial[18:] == whole


def test_a_partial_checksum_is_never_zero() -> None:
    """As the kernel folds it: of the two zeros of ones' complement, the one that is not mistaken for no checksum."""
    built = tcp.build(Ip4(0xFFFF - 6 - 20), Ip4(0), 1, 2, 3, 4, ACK, 5, partial=True)
    assert built[16:18] == b"\xff\xff"


@pytest.mark.parametrize("length", range(20))
def test_a_header_cut_off(length: int) -> None:
    with pytest.raises(WireError) as caught:
        tcp.parse(VECTORS[0].octets[:length], A, B)
    found = caught.value
    expected = ("tcp", "header", length, f"{length} octets, at least 20 expected")
    assert (found.protocol, found.field, found.offset, found.reason) == expected


@pytest.mark.parametrize(
    ("words", "length", "verified"), [(0, 20, True), (4, 20, False), (6, 20, True), (15, 59, False)]
)
def test_data_offset_outside_the_segment(words: int, length: int, verified: bool) -> None:
    octets = bytearray(length)
    octets[12] = words << 4
    with pytest.raises(WireError, match=f"tcp data offset at byte 12: {words * 4} octets of header, 20 to {length}"):
        tcp.parse(octets, A, B, verified=verified)


@pytest.mark.parametrize("vector", [v for v in VECTORS if not v.partial], ids=lambda vector: vector.name)
def test_one_wrong_bit_is_a_wrong_checksum(vector: Vector) -> None:
    """MUST-3: wherever the bit is, and for other addresses."""
    for position in {0, 7, 13, 16, 17, len(vector.octets) - 1}:
        octets = bytearray(vector.octets)
        octets[position] ^= 0x04
        with pytest.raises(WireError, match="tcp checksum at byte 16: wrong"):
            tcp.parse(octets, vector.source, vector.destination)
    with pytest.raises(WireError, match="checksum"):
        tcp.parse(vector.octets, vector.source, Ip4(vector.destination ^ 2))


def test_a_checksum_field_of_zero_is_no_excuse() -> None:
    """MUST-3: unlike UDP, TCP has no way to leave the checksum out."""
    octets = bytearray(VECTORS[2].octets)
    octets[16:18] = bytes(2)
    with pytest.raises(WireError, match="checksum"):
        tcp.parse(octets, A, B)
    assert tcp.parse(octets, A, B, verified=True).payload == REQUEST


def test_what_the_header_cannot_carry() -> None:
    with pytest.raises(ValueError, match="44 octets of TCP options, at most 40 fit"):
        tcp.build(A, B, 1, 2, 3, 4, ACK, 5, options=bytes(41))
    with pytest.raises(ValueError, match="a TCP segment of 65516 octets, at most 65515 fit"):
        tcp.build(A, B, 1, 2, 3, 4, ACK, 5, payload=bytes(65496))
    for number, limit in enumerate((1 << 16, 1 << 16, 1 << 32, 1 << 32, 1 << 8, 1 << 16)):
        for wrong in (limit, -1):
            head = [1, 2, 3, 4, ACK, 5]
            head[number] = wrong
            with pytest.raises(ValueError, match="a TCP field is out of range"):
                tcp.build(A, B, *head)
    with pytest.raises(ValueError, match="a TCP field is out of range"):
        tcp.build(A, B, 1, 2, 3, 4, ACK, 5, urgent=65536)


def test_flag_text() -> None:
    texts = {
        0: "none",
        SYN: "SYN",
        SYN | ACK: "SYN,ACK",
        FIN | ACK: "FIN,ACK",
        RST: "RST",
        PSH | ACK: "PSH,ACK",
        SYN | ECE | CWR: "SYN,ECE,CWR",
        0xFF: "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR",
    }
    assert {flags: tcp.flag_text(flags) for flags in texts} == texts


def test_the_payload_is_a_view() -> None:
    octets = bytearray(VECTORS[2].octets)
    payload = tcp.parse(memoryview(octets), A, B).payload
    octets[-1] ^= 0xFF
    assert payload[-1] == REQUEST[-1] ^ 0xFF


# --- another reader --------------------------------------------------------------------------------------------------

FIELDS = ["tcp.srcport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.urgent_pointer"]
OPTION_FIELDS = ["tcp.options.mss_val", "tcp.options.wscale.shift", "tcp.options.timestamp.tsval"]
SACK_FIELDS = ["tcp.options.sack.count", "tcp.options.sack_le", "tcp.checksum.status", "_ws.malformed", "tcp.len"]


@pytest.mark.system
@pytest.mark.slow
def test_tshark_reads_the_same(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    whole = [v for v in VECTORS if not v.partial and v.head[0]]  # its port 0 is an error to tshark
    path = tmp_path / "tcp.pcap"
    frames = [
        ethernet.build(Mac(bytes(6)), Mac(bytes(6)), 0x0800, ipv4.build(v.source, v.destination, 6, v.octets))
        for v in whole
    ]
    records = [struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame for frame in frames]
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records))
    command = [tshark, "-n", "-r", str(path), "-T", "fields", "-E", "separator=|", "-E", "occurrence=a"]
    command += ["-o", "tcp.check_checksum:TRUE", "-o", "tcp.relative_sequence_numbers:FALSE"]
    for field in [*FIELDS, *OPTION_FIELDS, *SACK_FIELDS]:
        command += ["-e", field]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert [line.split("|") for line in output.splitlines()] == [tshark_line(v) for v in whole]


def tshark_line(vector: Vector) -> list[str]:
    port, _, sequence, acknowledgment, flags, window, urgent = vector.head
    options = vector.options
    head = [str(port), str(sequence), str(acknowledgment), f"0x{flags:04x}", str(window), str(urgent)]
    stamp = options.timestamp[0] if options.timestamp else None
    known = ["" if value is None else str(value) for value in (options.mss, options.window_scale, stamp)]
    edges = ",".join(str(start) for start, _ in options.sack)
    count = str(len(options.sack)) if options.sack else ""
    return [*head, *known, count, edges, "1", "", str(len(vector.payload))]
