"""What our TCP and the kernel's agree on, as the kernel sees it, and what tshark and nmap think of us.

`ss -tino` in the kernel's namespace shows its side of a connection. Settings of the kernel (sysctl) and of our host
(TcpSettings) take each option away, once on either side, with either side opening.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from tests.system.conftest import Needs
from tests.system.observe import tshark
from tests.system.tcp_rig import KERNEL, OURS, Net, Ours, beside, digest, poll, receive, send

pytestmark = [pytest.mark.system, pytest.mark.slow]

MB = 1_000_000
ALL = {"ts", "sack", "ecn", "wscale"}
KERNELS = {"ts": "tcp_timestamps", "sack": "tcp_sack", "ecn": "tcp_ecn", "wscale": "tcp_window_scaling"}
OURS_NAMED = {"ts": "timestamps", "sack": "sack", "ecn": "ecn", "wscale": "window_scale"}
SUSPICIOUS = (
    "(tcp.analysis.flags && !tcp.analysis.window_update && !tcp.analysis.window_full)"
    " || (_ws.expert.severity >= 6291456 && !tcp.connection.rst)"
    " || _ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0"
)
"""A display filter: an expert's warning or error (PI_WARN, PI_ERROR), except about the reset that a closed port sends;
anything unusual about sequence numbers, except that a window was used up or opened, which is how it should be."""


@pytest.fixture
def net(needs: Needs) -> Iterator[Net]:
    needs("root", "veth", "packet sockets", "nsenter", "setpriv", "ss")
    with Net(sysctls={"net.ipv4.tcp_ecn": "1"}) as net:
        yield net


def agreed(net: Net, host: Ours, opener: str) -> tuple[set[str], set[str]]:
    """The options of a connection, as the kernel's ss names them and as our host does. Some data passes both ways."""
    if opener == "kernel":
        host.start("echo 7")
        client = net.connect(7)
    else:
        server = net.listen(4000)
        host.start(f"connect {KERNEL} 4000 send=100000 close=stay")
        client = net.accept(server)
        server.close()
    with client:
        client.sendall(b"x" * 100_000)
        left = 100_000
        while left:
            left -= len(client.recv(left))
        text = net.ss("dst", OURS)
        words = set(text.split())
        theirs = {name for name in ALL if name in words or re.search(rf"\b{name}:\d+,\d+", text)}
        (connection,) = host.state()["tcp"]["connections"]
        ours = {option.partition(":")[0] for option in connection["options"]}
        scales = re.search(r"wscale:(\d+),(\d+)", text)
        mine = next((item for item in connection["options"] if item.startswith("wscale")), None)
        if scales and mine:
            assert mine == f"wscale:{scales[2]},{scales[1]}"
    return theirs, ours


@pytest.mark.parametrize("opener", ["kernel", "ours"])
@pytest.mark.parametrize(("who", "missing"), [("neither", ""), *product(("kernel", "ours"), sorted(ALL))])
def test_options(net: Net, opener: str, who: str, missing: str) -> None:
    """RFC 7323 sections 2.2 and 3.2, RFC 2018 section 2, RFC 3168 section 6.1.1: an option is used where both sides
    want it, and nothing else changes where one does not."""
    if who == "kernel":
        net.sysctl(**{KERNELS[missing]: "0"})
    host = net.ours(*(["--set", f"{OURS_NAMED[missing]}=false"] if who == "ours" else []))
    expected = ALL - {missing}
    assert agreed(net, host, opener) == (expected, expected)
    host.close()


@pytest.mark.parametrize("opener", ["kernel", "ours"])
def test_no_options_at_all(net: Net, opener: str) -> None:
    net.sysctl(**dict.fromkeys(KERNELS.values(), "0"))
    host = net.ours()
    assert agreed(net, host, opener) == (set(), set())
    host.close()


@pytest.mark.parametrize("opener", ["kernel", "ours"])
def test_bulk_without_options(net: Net, opener: str) -> None:
    """RFC 793 alone: windows of 64 KiB at most, recovery without SACK, round trips without timestamps."""
    net.sysctl(**dict.fromkeys(KERNELS.values(), "0"))
    host = net.ours()
    if opener == "kernel":
        host.start("echo 7")
        client = net.connect(7)
    else:
        server = net.listen(4000)
        host.start(f"connect {KERNEL} 4000 send={5 * MB} close=last")
        client = net.accept(server)
    with client, beside(lambda: send(client, 5 * MB)) as sent:
        assert receive(client) == (5 * MB, digest(5 * MB))
        sent()
    assert host.close()["state"]["tcp"]["counters"]["retransmitted_segments"] == 0


# --- SYN cookies --------------------------------------------------------------------------------------------------


def test_cookies_of_the_kernel(net: Net) -> None:
    """tcp_syncookies=2: the kernel answers every SYN of ours with a cookie, its options in the timestamp."""
    net.sysctl(tcp_syncookies="2")
    host = net.ours()
    server = net.listen(4000)
    program = host.start(f"connect {KERNEL} 4000 send={MB} count=5")
    for _ in range(5):
        accepted = net.accept(server)
        with accepted:
            assert receive(accepted) == (MB, digest(MB))
    results = host.result(program)
    assert [result["error"] for result in results] == [None] * 5
    assert set(results[0]["info"]["options"]) >= {"ts", "sack"}
    cookies = re.search(r"SyncookiesRecv +(\d+)", net.run("k", "nstat", "-az", "TcpExtSyncookiesRecv"))
    assert cookies is not None
    assert int(cookies[1]) == 5
    host.close()


@pytest.mark.parametrize("timestamps", ["1", "0"])
def test_our_cookies(net: Net, timestamps: str) -> None:
    """maximum_half_open=0: every SYN of the kernel gets a cookie (RFC 4987 section 3.6); what the number has no room
    for comes back in the timestamp, or is not used where there is none."""
    net.sysctl(tcp_timestamps=timestamps)
    host = net.ours("--set", "maximum_half_open=0")
    echo = host.start("echo 7")
    for _ in range(5):
        with net.connect(7) as client:
            if timestamps == "1":
                text = net.ss("dst", OURS)
                assert {"ts", "sack", "ecn"} <= set(text.split()), text
                assert "wscale:" in text
            with beside(partial(send, client, MB)) as sent:
                assert receive(client) == (MB, digest(MB))
                sent()
    results = host.wait_over(echo, 5)
    assert {result["info"]["options"][0] for result in results if result["info"]["options"]} <= {"ts"}
    counters = host.close()["state"]["tcp"]["counters"]
    assert counters["syn_cookies_sent"] == counters["syn_cookies_accepted"] == 5


# --- what others think of us --------------------------------------------------------------------------------------


def test_tshark_finds_nothing_wrong(net: Net, needs: Needs, tmp_path: Path) -> None:
    """J-5: handshakes, bulk both ways, echo, half-close, a refused connection, a reset: no frame of ours makes tshark's
    analysis say so much as a warning, and none is a retransmission, a duplicate acknowledgment or the like. Without
    tail loss probes: a machine that is busy for 10 ms draws them, and tshark calls them retransmissions."""
    needs("tshark", "tcpdump")
    path = tmp_path / "capture.pcap"
    with net.capture("k", path):
        host = net.ours("--set", "rack=false")
        for program in ("echo 7", "sink 9", f"bytes 19 {5 * MB}"):
            host.start(program)
        with net.connect(9) as client:
            send(client, 5 * MB)
            assert receive(client) == (0, digest(0))
        with net.connect(19) as client:
            assert receive(client) == (5 * MB, digest(5 * MB))
        with net.connect(7) as client, beside(lambda: send(client, 2 * MB)) as sent:
            assert receive(client) == (2 * MB, digest(2 * MB))
            sent()
        server = net.listen(4000)
        number = host.start(f"connect {KERNEL} 4000 send={MB}")
        accepted = net.accept(server)
        with accepted:
            assert receive(accepted) == (MB, digest(MB))
        assert host.result(number)[0]["error"] is None
        with pytest.raises(ConnectionRefusedError):
            net.connect(1)
        host.close()
    ours = ("-d", "tcp.port==1-65535,data")
    assert len(tshark(path, f"ip.src == {OURS} && tcp.len > 0")) > 5000
    assert tshark(path, f"ip.src == {OURS} && ({SUSPICIOUS})", *ours) == []


def test_nmap_finds_our_sequence_numbers_as_hard_as_the_kernels(net: Net, needs: Needs) -> None:
    """RFC 6528: nmap's "TCP Sequence Prediction" difficulty, 261 or so for random numbers."""
    needs("nmap")
    host = net.ours()
    host.start("echo 7")
    with net.listen(7):
        ours = difficulty(net.run("k", "nmap", "-n", "-Pn", "-O", "-v", "-p", "7,8", "--max-os-tries", "1", OURS))
        kernels = difficulty(net.run("k", "nmap", "-n", "-Pn", "-O", "-v", "-p", "7,8", "--max-os-tries", "1", KERNEL))
    assert ours >= min(kernels, 250), (ours, kernels)
    host.close()


def difficulty(text: str) -> int:
    found = re.search(r"TCP Sequence Prediction: Difficulty=(\d+)", text)
    assert found is not None, text
    return int(found[1])


def test_nmap_sees_ports_open_and_closed(net: Net, needs: Needs) -> None:
    """A SYN scan: SYN,ACK and its reset leave no half-open connection behind; a closed port resets."""
    needs("nmap")
    host = net.ours()
    host.start("echo 7")
    text = net.run("k", "nmap", "-n", "-Pn", "-sS", "--reason", "-p", "1-500", OURS)
    assert re.search(r"^7/tcp +open +echo +syn-ack", text, re.MULTILINE), text
    assert re.search(r"499 closed tcp ports \(reset\)", text), text
    poll(lambda: host.state()["tcp"]["connection_count"] == 0, 5)
    host.close()
