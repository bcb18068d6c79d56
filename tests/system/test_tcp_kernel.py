"""Our TCP and the kernel's exchange octets: curl, nc, ssh and plain sockets, both ways, both roles, all sizes.

Whatever arrives is compared with what was sent, by its hash. Links: 1500 octets without offload unless a test says
otherwise; the longest transfers use offload, so that they take seconds.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from nodes.application.octet_pattern import block
from tests.system.conftest import Needs
from tests.system.tcp_rig import (
    KERNEL,
    OURS,
    Net,
    Ours,
    beside,
    digest,
    end,
    pieces,
    poll,
    receive,
    send,
)

pytestmark = [pytest.mark.system, pytest.mark.slow]

MB = 1_000_000
SIZES = (1, 1447, 1448, 1449, 65_535, 65_537, MB, 20 * MB)
MANY = 100
CONGESTIONS = ("cubic", "reno", "bbr")


@pytest.fixture(scope="module")
def net(needs: Needs) -> Iterator[Net]:
    needs("root", "veth", "packet sockets", "nsenter", "setpriv")
    with Net() as net:
        yield net


@pytest.fixture(scope="module")
def ours(net: Net) -> Iterator[Ours]:
    """One host with servers for all: what one test does must not harm the next."""
    host = net.ours()
    for program in ("echo 7", "sink 9", "http 80 nodelay=true"):
        host.start(program)
    yield host
    state = host.close()["state"]
    assert state["tcp"]["counters"]["in_errors"] == 0
    counters = state["tcp"]["counters"]  # a busy machine answers late, and is probed: that is no loss
    assert counters["retransmitted_segments"] <= counters["tail_loss_probes"], "nothing is lost on a clean link"
    assert counters["timeouts"] == 0
    port = state["port"]  # the buffer of a process that a busy machine does not let run may overflow
    assert port["dropped"] <= port["received"] // 100
    for name in ("TcpInErrs", "TcpInCsumErrors", "TcpExtPAWSEstab", "TcpExtTCPSACKReneging"):
        count = re.search(rf"^{name} +(\d+)", net.run("k", "nstat", "-asz", name), re.MULTILINE)
        assert count is not None, name
        assert count[1] == "0", f"the kernel counts {name}"


@pytest.fixture
def serve(net: Net) -> Iterator[Callable[[int], socket.socket]]:
    opened: list[socket.socket] = []

    def listen(port: int) -> socket.socket:
        opened.append(net.listen(port))
        return opened[-1]

    yield listen
    for item in opened:
        item.close()


# --- curl ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1448, MB, 100 * MB])
def test_curl(net: Net, ours: Ours, needs: Needs, size: int) -> None:
    needs("curl")
    done = net.run("k", "sh", "-c", f"curl -sS --fail http://{OURS}/{size} | sha256sum")
    assert done.split()[0] == digest(size)


def test_curl_keeps_the_connection(net: Net, ours: Ours, needs: Needs) -> None:
    needs("curl")
    sizes = [1000, 0, 300_000, 1, 1448] * 8
    wanted = [argument for size in sizes for argument in (f"http://{OURS}/{size}", "-o", "/dev/null")]
    done = net.run("k", "curl", "-sS", *wanted, "-w", "%{size_download} %{num_connects} %{local_port}\n")
    lines = [line.split() for line in done.splitlines()]
    assert [int(line[0]) for line in lines] == sizes
    assert [line[1] for line in lines] == ["1"] + ["0"] * (len(sizes) - 1)
    assert len({line[2] for line in lines}) == 1


def test_curl_fifty_at_once(net: Net, ours: Ours, needs: Needs) -> None:
    needs("curl")
    wanted = [argument for _ in range(50) for argument in (f"http://{OURS}/{MB}", "-o", "/dev/null")]
    done = net.run(
        "k", "curl", "-sS", "-Z", "--parallel-immediate", "--parallel-max", "50", *wanted,
        "-w", "%{size_download} %{http_code}\n",
    )  # fmt: skip
    assert done.splitlines() == [f"{MB} 200"] * 50


# --- nc: half-close -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100_000, 10 * MB])
def test_nc_to_our_echo(net: Net, ours: Ours, needs: Needs, size: int) -> None:
    """nc -N sends FIN at the end of its input; what is on its way back still arrives (RFC 9293 section 3.6, case 1)."""
    needs("nc")
    data = b"".join(pieces(size))
    assert net.run_bytes("k", "nc", "-n", "-N", OURS, "7", data=data) == data


@pytest.mark.parametrize("size", [1, 100_000, 10 * MB])
def test_our_client_to_nc(net: Net, ours: Ours, needs: Needs, tmp_path: Path, size: int) -> None:
    """Both send at once, nc closes its half, and then we do. (nc ends with what it reads, whatever it has to send.)"""
    needs("nc")
    port = 4000
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(b"".join(pieces(size)))
    with given.open("rb") as source, got.open("wb") as sink:
        process = net.spawn("k", "nc", "-n", "-N", "-l", KERNEL, str(port), stdin=source, stdout=sink)
        poll(lambda: f":{port}" in net.run("k", "ss", "-Hltn"), 5)
        (result,) = ours.run(f"connect {KERNEL} {port} send={size} close=last")
        process.wait(10)
    assert (result["received"], result["hash"], result["error"]) == (size, digest(size), None)
    assert hashlib.sha256(got.read_bytes()).hexdigest() == digest(size)


# --- sizes, roles, directions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_from_the_kernel(net: Net, ours: Ours, serve: Callable[[int], socket.socket], size: int) -> None:
    """The kernel sends: to our server, and to our client."""
    before = len(ours.connections(1))
    with net.connect(9) as client:
        send(client, size)
        assert receive(client) == (0, digest(0))
    arrived = ours.wait_over(1, before + 1)[-1]
    assert (arrived["received"], arrived["hash"]) == (size, digest(size))

    server = serve(4001)
    program = ours.start(f"connect {KERNEL} 4001")
    accepted = net.accept(server)
    with accepted:
        send(accepted, size)
        assert receive(accepted) == (0, digest(0))
    (result,) = ours.result(program)
    assert (result["received"], result["hash"], result["error"]) == (size, digest(size), None)


@pytest.mark.parametrize("size", SIZES)
def test_to_the_kernel(net: Net, ours: Ours, serve: Callable[[int], socket.socket], size: int) -> None:
    """We send: our server, and our client."""
    port = 5000 + SIZES.index(size)
    ours.start(f"bytes {port} {size}")
    with net.connect(port) as client:
        assert receive(client) == (size, digest(size))
    server = serve(4002)
    program = ours.start(f"connect {KERNEL} 4002 send={size}")
    accepted = net.accept(server)
    with accepted:
        assert receive(accepted) == (size, digest(size))
    assert ours.result(program)[0]["error"] is None


@pytest.mark.parametrize("congestion", CONGESTIONS)
def test_congestion_controls_of_the_kernel(net: Net, ours: Ours, congestion: str) -> None:
    """Each paces and bursts in its own way."""
    before = len(ours.connections(1))
    try:
        client = net.connect(9, congestion=congestion)
    except FileNotFoundError:
        pytest.skip(f"this kernel has no {congestion}")
    with client:
        send(client, 5 * MB)
        assert receive(client) == (0, digest(0))
    assert ours.wait_over(1, before + 1)[-1]["hash"] == digest(5 * MB)


@pytest.mark.parametrize("congestion", ["reno", "newreno", "cubic", "bbr", "tahoe", "aimd"])
def test_our_congestion_controls(net: Net, ours: Ours, serve: Callable[[int], socket.socket], congestion: str) -> None:
    server = serve(4003)
    program = ours.start(f"connect {KERNEL} 4003 send={3 * MB} congestion={congestion}")
    accepted = net.accept(server)
    with accepted:
        assert receive(accepted) == (3 * MB, digest(3 * MB))
    assert ours.result(program)[0]["info"]["congestion"] == congestion


# --- many at once -------------------------------------------------------------------------------------------------


def test_a_hundred_connections_from_the_kernel(net: Net, ours: Ours) -> None:
    """All to our echo, all at once: each gets back what it sent, and nobody else's."""

    def put(client: socket.socket, data: bytes) -> None:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)

    def one(number: int) -> bool:
        data = block(1000 * number, 200_000)
        with net.connect(7) as client:
            with beside(partial(put, client, data)) as sent:
                answer = receive(client)
                sent()
            return answer == (len(data), hashlib.sha256(data).hexdigest())

    with ThreadPoolExecutor(MANY) as pool:
        assert all(pool.map(one, range(MANY)))


def test_a_hundred_connections_to_the_kernel(net: Net, ours: Ours, serve: Callable[[int], socket.socket]) -> None:
    server = serve(4004)
    program = ours.start(f"connect {KERNEL} 4004 send=200000 count={MANY}")

    def one(accepted: socket.socket) -> tuple[int, str]:
        with accepted:
            return receive(accepted)

    with ThreadPoolExecutor(MANY) as pool:
        jobs = [pool.submit(one, net.accept(server)) for _ in range(MANY)]
        assert {job.result() for job in jobs} == {(200_000, digest(200_000))}
    assert [result["error"] for result in ours.result(program)] == [None] * MANY


# --- other links --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [576, 9000])
def test_mtus(needs: Needs, mtu: int) -> None:
    """The MSS of both sides is the MTU less 40, of which the timestamps take 12 (RFC 9293 section 3.7.1)."""
    needs("root", "veth", "packet sockets")
    size = 2 * MB
    with Net(mtu=mtu) as net:
        host = net.ours()
        sink = host.start("sink 9")
        host.start(f"bytes 19 {size}")
        with net.connect(9) as client:
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == mtu - 52
            send(client, size)
            assert receive(client) == (0, digest(0))
        with net.connect(19) as client:
            assert receive(client) == (size, digest(size))
        (result,) = host.wait_over(sink, 1)
        assert (result["hash"], result["info"]["mss"]) == (digest(size), mtu - 52)
        host.close()


def test_a_gigabyte_each_way(needs: Needs) -> None:
    """With segments of up to 64 KiB, as the two kernels of a veth would exchange them."""
    needs("root", "veth", "packet sockets")
    size = 1000 * MB
    with Net(offload=True) as net:
        host = net.ours()
        sink = host.start("sink 9")
        host.start(f"bytes 19 {size}")
        with net.connect(9, timeout=60) as client:
            send(client, size)
            assert receive(client) == (0, digest(0))
        with net.connect(19, timeout=60) as client:
            assert receive(client) == (size, digest(size))
        (result,) = host.wait_over(sink, 1)
        assert (result["received"], result["hash"]) == (size, digest(size))
        host.close()


# --- ssh ----------------------------------------------------------------------------------------------------------


def test_scp_through_our_relay(net: Net, ours: Ours, needs: Needs, tmp_path: Path) -> None:
    """ssh's server and client are both the kernel's, and all between them is ours: two connections and a relay."""
    needs("ssh", "scp")
    daemon = shutil.which("sshd", path="/usr/sbin:/usr/bin")
    if daemon is None:
        pytest.skip("no program 'sshd'")
    Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    settings = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "user.pub",
        "ListenAddress": KERNEL,
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
        "UsePAM": "no",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    process = net.spawn("k", daemon, "-D", "-e", "-f", "/dev/null", "-p", "2222", *options, stderr=subprocess.DEVNULL)
    poll(lambda: ":2222" in net.run("k", "ss", "-Hltn"), 5)
    ours.start(f"relay 22 {KERNEL} 2222 nodelay=true")
    size = 10 * MB
    (tmp_path / "given").write_bytes(b"".join(pieces(size)))
    client = ["-q", "-P", "22", "-i", str(tmp_path / "user"), "-o", "StrictHostKeyChecking=no"]
    client += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-F", "/dev/null"]
    net.run("k", "scp", *client, str(tmp_path / "given"), f"root@{OURS}:{tmp_path / 'there'}")
    net.run("k", "scp", *client, f"root@{OURS}:{tmp_path / 'there'}", str(tmp_path / "back"))
    for name in ("there", "back"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest(size)
    end(process)
