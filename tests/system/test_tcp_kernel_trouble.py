"""Our TCP and the kernel's when things go wrong: loss, reordering and duplication on the path, closed ports, a peer
that dies, windows that shut, idle peers, closes that cross, and a port that is used again at once.
"""

from __future__ import annotations

import hashlib
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.application.octet_pattern import block
from tests.system.conftest import Needs
from tests.system.observe import tshark
from tests.system.tcp_rig import KERNEL, OURS, Net, beside, digest, poll, receive, send

pytestmark = [pytest.mark.system, pytest.mark.slow]

MB = 1_000_000
FATES = {
    "loss 1 %": "--loss 1",
    "loss 5 %": "--loss 5",
    "reordering": "--reorder 3 --behind 5",
    "duplication": "--duplicate 5",
    "delay": "--delay 10",
    "all": "--loss 1 --reorder 1 --duplicate 1 --delay 2",
}


@pytest.fixture
def net(needs: Needs) -> Iterator[Net]:
    needs("root", "veth", "packet sockets", "nsenter", "setpriv")
    with Net() as net:
        yield net


# --- a bad path ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", FATES)
def test_bad_path(needs: Needs, fate: str) -> None:
    """Both directions at once, twice: the kernel opens, and we open. What arrives is what was sent, whatever the path
    does, and soon: no transfer waits for a chain of timeouts."""
    needs("root", "veth", "packet sockets", "nsenter", "setpriv")
    size = 2 * MB
    with Net(fates=FATES[fate]) as net:
        host = net.ours("--set", "minimum_rto=0.2")
        host.start("echo 7")
        with net.connect(7) as client, beside(lambda: send(client, size)) as sent:
            assert receive(client) == (size, digest(size))
            sent()
        server = net.listen(4000)
        program = host.start(f"connect {KERNEL} 4000 send={size} close=last")
        accepted = net.accept(server)
        with accepted, beside(lambda: send(accepted, size)) as sent:
            assert receive_exactly(accepted, size) == digest(size)
            sent()
            (result,) = host.result(program)
        assert (result["received"], result["hash"], result["error"]) == (size, digest(size), None)
        counters = host.counters
        assert net.impairment is not None
        fates = net.impairment.close()
        for direction in fates.values():
            assert direction["frames"] > 2 * size / 1448 / 2
            for option, met in (("loss", "lost"), ("reorder", "reordered"), ("duplicate", "doubled")):
                assert (met in direction) == (option in FATES[fate])
        if fate in ("duplication", "delay"):
            # Nothing was lost. On a machine that stands still, timers expire nevertheless.
            assert counters["retransmitted_segments"] <= counters["tail_loss_probes"] + counters["timeouts"]
        lost = fates["to_left"].get("lost", 0)
        again = counters["retransmitted_segments"]
        assert again <= 3 * lost + 200, (again, lost)


def receive_exactly(connection: socket.socket, size: int) -> str:
    state = hashlib.sha256()
    while size:
        data = connection.recv(min(size, 1 << 20))
        assert data, f"{size} octets are missing"
        state.update(data)
        size -= len(data)
    return state.hexdigest()


def test_congestion_marks(needs: Needs, tmp_path: Path) -> None:
    """RFC 3168 section 6.1: a mark on the way makes the receiver say ECE until the sender says CWR, and the sender
    slows down without losing anything; both sides in both roles."""
    needs("root", "veth", "packet sockets", "nsenter", "setpriv", "tshark", "tcpdump")
    size = 5 * MB
    path = tmp_path / "capture.pcap"
    with Net(fates="--mark 2 --delay 1", sysctls={"net.ipv4.tcp_ecn": "1"}) as net:
        host = net.ours()
        host.start(f"bytes 19 {size}")
        sink = host.start("sink 9")
        with net.capture("o", path):
            with net.connect(19, congestion="cubic") as client:
                assert receive(client) == (size, digest(size))
            with net.connect(9, congestion="cubic") as client:
                send(client, size)
                assert receive(client) == (0, digest(0))
        assert host.wait_over(sink, 1)[0]["hash"] == digest(size)
        assert host.close()["state"]["tcp"]["counters"]["retransmitted_segments"] == 0
        assert net.impairment is not None
        fates = net.impairment.close()
    assert fates["to_left"]["marked"] > 10
    assert fates["to_right"]["marked"] > 10
    data = "tcp.flags.syn == 0"
    for sender, receiver, port in ((OURS, KERNEL, 19), (KERNEL, OURS, 9)):
        echoes = tshark(path, f"ip.src == {receiver} && tcp.port == {port} && {data} && tcp.flags.ece == 1")
        answers = tshark(path, f"ip.src == {sender} && tcp.port == {port} && {data} && tcp.flags.cwr == 1")
        assert len(echoes) >= len(answers) > 2, (sender, len(echoes), len(answers))
        unmarked = f"ip.src == {sender} && tcp.port == {port} && tcp.len == 0 && ip.dsfield.ecn != 0"
        assert tshark(path, unmarked) == [], "only data carries ECT (section 6.1.4)"


# --- resets -------------------------------------------------------------------------------------------------------


def test_closed_ports(net: Net) -> None:
    host = net.ours()
    with pytest.raises(ConnectionRefusedError):
        net.connect(1)
    (result,) = host.run(f"connect {KERNEL} 1 send=1")
    assert result["error"] == "ECONNREFUSED"
    host.close()


def test_nobody_there(net: Net) -> None:
    """No host has the address: ARP fails, and a program hears of it (RFC 1122 section 4.2.3.9: a soft error that ends
    an attempt to connect, or its timeout)."""
    host = net.ours("--set", "syn_r2=3")
    (result,) = host.run("connect 10.0.0.99 1")
    assert result["error"] in ("EHOSTUNREACH", "ETIMEDOUT")
    host.close()


SLOW_READER = """\
import socket, sys
s = socket.create_connection(("10.0.0.2", int(sys.argv[1])))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
s.send(b"x" * 100)
s.recv(100)
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_kernels_program_is_killed(net: Net) -> None:
    """With data unread, Linux resets. Our program is told, and the connection is gone."""
    host = net.ours()
    server = host.start(f"bytes 19 {50 * MB}")
    process = net.spawn("k", sys.executable, "-c", SLOW_READER, "19")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    (result,) = host.wait_over(server, 1)
    assert result["error"] == "ECONNRESET"
    state = host.close()["state"]["tcp"]
    assert state["counters"]["established_resets"] == 1
    assert state["connections"] == []


def test_our_program_aborts(net: Net) -> None:
    """ABORT in mid-transfer: the kernel's program gets ECONNRESET (RFC 9293 section 3.10.5)."""
    host = net.ours()
    server = net.listen(4000)
    host.start(f"connect {KERNEL} 4000 send={20 * MB} close=abort")
    accepted = net.accept(server)
    with accepted, pytest.raises(ConnectionResetError):
        receive(accepted)
    host.close()


def test_our_program_aborts_an_idle_connection(net: Net) -> None:
    """Nothing is under way that could be answered: only the reset of ABORT itself can tell the kernel."""
    host = net.ours()
    server = net.listen(4000)
    program = host.start(f"connect {KERNEL} 4000 send=10 close=stay")
    with net.accept(server) as accepted:
        assert accepted.recv(100) == block(0, 10)
        poll(lambda: host.state()["tcp"]["connections"][0]["recovery"]["outstanding"] == 0, 5)
        host.tell(f"close {program} abort")
        with pytest.raises(ConnectionResetError):
            accepted.recv(1)
    host.close()


def test_the_kernel_aborts(net: Net) -> None:
    """SO_LINGER of 0: RST in place of FIN."""
    host = net.ours()
    sink = host.start("sink 9")
    with net.connect(9) as client:
        client.sendall(b"abc")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    (result,) = host.wait_over(sink, 1)
    assert result["error"] == "ECONNRESET"
    host.close()


# --- windows ------------------------------------------------------------------------------------------------------


def test_the_kernel_stops_reading(net: Net) -> None:
    """Its window shuts, we probe, and go on when it reads again (RFC 9293 section 3.8.6.1)."""
    size = 20 * MB
    host = net.ours("--set", "minimum_rto=0.2")
    server = host.start(f"bytes 19 {size}")
    client = net.open()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
    client.connect((OURS, 19))
    with client:
        poll(lambda: host.counters["probes"] >= 4, 15)
        (connection,) = host.state()["tcp"]["connections"]
        assert connection["snd_wnd"] == 0
        assert receive(client) == (size, digest(size))
    host.wait_over(server, 1)
    assert host.close()["state"]["tcp"]["counters"]["timeouts"] == 0


@pytest.mark.parametrize("size", [10 * MB, 10 * MB + 1])
def test_we_stop_reading(net: Net, tmp_path: Path, size: int) -> None:
    """Our window shuts for 2 s: the kernel probes, is answered, loses nothing, and is told when there is room."""
    host = net.ours()
    sink = host.start("sink 9 pause=2 receive_limit=100000")
    path = tmp_path / "capture.pcap"
    with net.capture("k", path), net.connect(9) as client, beside(lambda: send(client, size)) as sent:
        assert receive(client) == (0, digest(0))
        sent()
    (result,) = host.wait_over(sink, 1)
    assert (result["received"], result["hash"]) == (size, digest(size))
    # What Linux asks a shut window with looks like a keep-alive.
    probe = f"ip.src == {KERNEL} && tcp.analysis.keep_alive"  # no octet, an old number
    assert len(tshark(path, probe)) >= 2
    answer = f"ip.src == {OURS} && tcp.window_size == 0 && tcp.flags.syn == 0"
    assert len(tshark(path, answer)) >= 1 + len(tshark(path, probe))
    assert host.close()["state"]["port"]["dropped"] == 0


def test_tiny_windows(net: Net) -> None:
    """Buffers of a few segments on our side, then on the kernel's: slow, and no silly windows (MUST-38, MUST-39)."""
    host = net.ours()
    sink = host.start("sink 9 receive_limit=4000")
    with net.connect(9) as client:
        send(client, 300_000)
        assert receive(client) == (0, digest(0))
    assert host.wait_over(sink, 1)[0]["hash"] == digest(300_000)
    host.start("bytes 19 300000")
    client = net.open()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel's least, 2304 octets
    client.connect((OURS, 19))
    with client:
        assert receive(client) == (300_000, digest(300_000))
    host.close()


# --- idle connections ---------------------------------------------------------------------------------------------


def test_our_keepalive(net: Net, tmp_path: Path) -> None:
    """Probes are answered while the peer lives; when it is gone without a word, the program hears of it (RFC 9293
    section 3.8.4)."""
    host = net.ours("--set", "minimum_rto=0.2")
    server = net.listen(4000)
    options = "keepalive=true keepalive_idle=0.2 keepalive_interval=0.2 keepalive_probes=3"
    program = host.start(f"connect {KERNEL} 4000 close=stay {options}")
    accepted = net.accept(server)
    with accepted:
        poll(lambda: host.counters["keepalives"] >= 4, 10)
        (connection,) = host.state()["tcp"]["connections"]
        assert connection["state"] == "established"
        net.run("k", "ip", "address", "del", f"{KERNEL}/24", "dev", "eth0")
        (result,) = host.result(program)
    assert result["error"] == "ETIMEDOUT"
    host.close()


def test_the_kernels_keepalive(net: Net) -> None:
    """We answer its probes (MUST-24 of RFC 9293 for the other side): its connection stays."""
    host = net.ours()
    host.start("echo 7")
    with net.connect(7) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 1)):
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        before = host.counters["in_segments"]
        poll(lambda: host.counters["in_segments"] >= before + 3, 10)
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
    host.close()


def test_many_idle_connections_are_all_answered(net: Net) -> None:
    """Keep-alive probes are answered however many come: the limit of RFC 5961 is for other segments."""
    host = net.ours("--set", "challenge_ack_limit=10")
    host.start("echo 7")
    clients = [net.connect(7) for _ in range(30)]
    for client in clients:
        for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 1)):
            client.setsockopt(socket.IPPROTO_TCP, option, value)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    before = host.counters["in_segments"]
    poll(lambda: host.counters["in_segments"] >= before + 3 * len(clients), 10)
    for client in clients:
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
        client.close()
    host.close()


# --- the end ------------------------------------------------------------------------------------------------------


def test_closes_that_cross(needs: Needs) -> None:
    """100 ms apart, both sides send FIN at once: CLOSING, then TIME_WAIT, on both (RFC 9293 figure 13)."""
    needs("root", "veth", "packet sockets", "nsenter", "setpriv")
    with Net(fates="--delay 100") as net:
        host = net.ours("--set", "msl=0.5")
        server = net.listen(4000)
        program = host.start(f"connect {KERNEL} 4000 send=1 close=stay")
        accepted = net.accept(server)
        assert accepted.recv(10) == block(0, 1)
        host.tell(f"close {program} shutdown")
        accepted.shutdown(socket.SHUT_WR)
        host.wait(lambda value: "closed" in value)
        assert accepted.recv(10) == b""
        (result,) = host.result(program)
        assert result["error"] is None
        assert result["info"]["state"] in ("closing", "time_wait")
        poll(lambda: f"{KERNEL}:4000" in net.run("k", "ss", "-Htn", "state", "time-wait"), 5)
        assert [item["remote"] for item in host.state()["tcp"]["time_waits"]] == [f"{KERNEL}:4000"]
        poll(lambda: host.state()["tcp"]["time_wait_count"] == 0, 5)
        host.close()


def test_the_same_port_again_at_once(net: Net) -> None:
    """We close first and are in TIME_WAIT; a new SYN of the kernel from the same port, with a later timestamp, opens a
    new connection (RFC 6191)."""
    host = net.ours()
    host.start("bytes 19 1000")
    for _ in range(3):
        client = net.open()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((KERNEL, 4321))
        client.connect((OURS, 19))
        with client:
            assert receive(client) == (1000, digest(1000))
        poll(lambda: host.state()["tcp"]["time_wait_count"] == 1, 5)
    counters = host.close()["state"]["tcp"]["counters"]
    assert counters["time_waits_recycled"] == 2


def test_our_port_again_at_once(net: Net) -> None:
    """The kernel closes first; our next connection from the same port is taken by its TIME_WAIT."""
    host = net.ours()
    server = net.listen(4000)
    for _ in range(3):
        program = host.start(f"connect {KERNEL} 4000 from=4321 close=last send=1000")
        accepted = net.accept(server)
        with accepted:
            accepted.shutdown(socket.SHUT_WR)
            assert receive(accepted) == (1000, digest(1000))
        (result,) = host.result(program)
        assert result["error"] is None
    host.close()


def test_half_close_by_us_and_data_from_the_kernel(net: Net) -> None:
    """FIN_WAIT_2 for as long as the peer has something to say."""
    host = net.ours()
    server = net.listen(4000)
    program = host.start(f"connect {KERNEL} 4000 send=10")
    accepted = net.accept(server)
    with accepted:
        assert receive(accepted)[0] == 10
        send(accepted, 3 * MB)
        (result,) = host.result(program)
    assert (result["received"], result["hash"]) == (3 * MB, digest(3 * MB))
    host.close()
