"""Our captures as tshark and capinfos see them, and theirs as we do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodes.trace.pcapng import LINKTYPE_RAW, PcapngWriter, merge, read
from nodes.wire import arp, ethernet, icmp, ipv4, udp
from nodes.wire.addresses import BROADCAST_MAC, ZERO_MAC, parse_ip4, parse_mac

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("tshark") and "CI" not in os.environ, reason="tshark is not installed"),
]

WALL = 1_790_000_000_123_456_789
M1, M2 = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")
A, B = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
REQUEST = ethernet.build(BROADCAST_MAC, M1, ethernet.ETHERTYPE_ARP, arp.build(arp.ArpPacket(1, M1, A, ZERO_MAC, B)))
PING = ipv4.build(A, B, 1, icmp.echo(icmp.ECHO_REQUEST, 7, 1, b"0123456789"))
DATAGRAM = ipv4.build(B, A, 17, udp.build(B, A, 7, 4000, b"hello"))


def run(*command: str | Path) -> str:
    """Standard output; anything on standard error except the remark about root is a failure."""
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    warnings = [line for line in done.stderr.splitlines() if line and "Running as user" not in line]
    assert warnings == []
    return done.stdout


def tshark(path: Path) -> list[dict[str, Any]]:
    packets = json.loads(run("tshark", "-r", path, "-T", "json"))
    return [packet["_source"]["layers"] for packet in packets]


def capture(path: Path) -> None:
    writer = PcapngWriter(path, application="layerlab 0.1", comment="lab demo")
    eth0 = writer.add_interface("h1-eth0", "to s1")
    ppp0 = writer.add_interface("h1-ppp0", "to r1", LINKTYPE_RAW)
    writer.packet(eth0, WALL, REQUEST, False, comment="first of all")
    writer.packet(eth0, WALL + 1000, ethernet.build(M2, M1, ethernet.ETHERTYPE_IPV4, PING), False)
    writer.packet(ppp0, WALL + 2000, DATAGRAM, True, dropped=3)
    writer.statistics(eth0, 100, 4)
    writer.close()


def test_tshark_sees_names_directions_times_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "h1.pcapng"
    capture(path)
    request, ping, datagram = tshark(path)
    interfaces = [layers["frame"]["frame.interface_id_tree"] for layers in (request, ping, datagram)]
    assert [tree["frame.interface_name"] for tree in interfaces] == ["h1-eth0", "h1-eth0", "h1-ppp0"]
    assert [tree["frame.interface_description"] for tree in interfaces] == ["to s1", "to s1", "to r1"]
    assert [layers["frame"]["frame.time_epoch"] for layers in (request, ping, datagram)] == [
        "1790000000.123456789",
        "1790000000.123457789",
        "1790000000.123458789",
    ]
    directions = run("tshark", "-r", path, "-T", "fields", "-e", "frame.packet_flags_direction").split()
    assert [int(direction, 16) for direction in directions] == [2, 2, 1]
    assert "first of all" in json.dumps(request)
    assert request["arp"]["arp.dst.proto_ipv4"] == "10.0.0.2"
    assert ping["icmp"]["icmp.checksum.status"] == "1"
    assert datagram["udp"]["udp.dstport"] == "4000"


def test_tshark_finds_nothing_malformed(tmp_path: Path) -> None:
    path = tmp_path / "h1.pcapng"
    capture(path)
    assert run("tshark", "-r", path, "-Y", "_ws.malformed || _ws.expert.severity == error") == ""


def test_capinfos_sees_who_wrote_it_and_what_was_dropped(tmp_path: Path) -> None:
    path = tmp_path / "h1.pcapng"
    capture(path)
    text = run("capinfos", path)
    for part in ("layerlab 0.1", "lab demo", "Name = h1-eth0", "Description = to s1", "Number of packets = 2"):
        assert part in text
    assert "Number of packets:   3" in text
    assert "nanoseconds (9)" in text


def test_a_capture_at_its_bound_has_no_warnings(tmp_path: Path) -> None:
    path = tmp_path / "bound.pcapng"
    writer = PcapngWriter(path, max_octets=1500)
    eth0 = writer.add_interface("h1-eth0")
    for number in range(50):
        writer.packet(eth0, WALL + number, REQUEST, True)
    writer.close()
    recorded = len(list(read(path)))
    assert 0 < recorded < 50
    assert len(tshark(path)) == recorded


def test_we_read_what_tshark_writes(tmp_path: Path) -> None:
    ours, theirs, classic = (tmp_path / name for name in ("ours.pcapng", "theirs.pcapng", "classic.pcap"))
    capture(ours)
    run("tshark", "-r", ours, "-w", theirs)
    assert list(read(theirs)) == list(read(ours))
    assert not classic.exists()


def test_merged_captures_as_tshark_sees_them(tmp_path: Path) -> None:
    for name in ("h1", "h2"):
        writer = PcapngWriter(tmp_path / f"{name}.pcapng")
        writer.add_interface(f"{name}-eth0")
        for step in range(3):
            writer.packet(0, WALL + step * 100 + (name == "h2"), REQUEST, name == "h2")
        writer.close()
    out = tmp_path / "all.pcapng"
    assert merge([tmp_path / "h1.pcapng", tmp_path / "h2.pcapng"], out) == 6
    names = [layers["frame"]["frame.interface_id_tree"]["frame.interface_name"] for layers in tshark(out)]
    assert names == ["h1-eth0", "h2-eth0"] * 3
