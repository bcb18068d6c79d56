r"""Our stack meets Linux's: the real ping, traceroute, arping, nc and dig against our nodes, and ours against it.

    k ---- hub ---- s1 ---- r1 ===== r2 ---- s2 ---- b       s1 a switch of ours, s2 a Linux bridge
    a -----/         |      1400 octets      \------ far
                     +-- c                           k, w, far, kr: Linux; a, b, c, r1, r2, r3: ours
                     +-- w
                     +-- r3, kr    the wrong first hops of w and c

One lab serves all tests; the last one takes it down and has tshark read every capture.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest

from nodes.io.control import ControlError
from tests.system.conftest import Needs
from tests.system.labs import Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench, complaints, last_state, tshark

TOPOLOGY = """\
name: peers
defaults: {capture: true}
nodes:
  k: {kind: host, stack: kernel, address: 10.0.0.10/24, gateway: 10.0.0.1}
  w: {kind: host, stack: kernel, address: 10.0.0.11/24, gateway: 10.0.0.3}
  a: {kind: host, address: 10.0.0.20/24, gateway: 10.0.0.1, start: [udp_echo]}
  c: {kind: host, address: 10.0.0.21/24, gateway: 10.0.0.4}
  b: {kind: host, start: [udp_echo]}
  far: {kind: host, stack: kernel}
  hub: hub
  s1: {kind: switch, impl: stack}
  s2: switch
  r1: router
  r2: router
  r3: router
  kr: {kind: router, stack: kernel}
links:
  - k -- hub
  - a -- hub
  - hub -- s1
  - c -- s1
  - w -- s1
  - {ends: [s1, r1], addresses: {r1: 10.0.0.1/24}}
  - {ends: [s1, r3], addresses: {r3: 10.0.0.3/24}}
  - {ends: [s1, kr], addresses: {kr: 10.0.0.4/24}}
  - {ends: [r1, r2], name: core, mtu: 1400}
  - r2 -- s2
  - s2 -- b
  - s2 -- far
"""
OURS = ("a", "b", "c", "r1", "r2", "r3")
NARROW = 1400
HEADERS = 28  # IPv4 and ICMP echo


@pytest.fixture(scope="module")
def bench(needs: Needs) -> Iterator[Bench]:
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk, Bench(desk, desk.up(TOPOLOGY)) as bench:
        yield bench


# --- ping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["a", "b"])
def test_ping_of_all_sizes(bench: Bench, needs: Needs, target: str) -> None:
    """Linux's ping, with DF off so that every router on the way may fragment: every octet comes back."""
    needs("ping")
    sizes = [0, 56, 1372, 1373, 1472, 1473, 8000, 60_000]
    script = f"for size in {' '.join(map(str, sizes))}; do ping -n -M dont -c 2 -i 0.2 -W 5 -s $size {target}; done"
    done = bench.inside("k", "sh", "-c", script)
    assert done.out.count(" 2 received, 0% packet loss") == len(sizes), done.out
    assert "wrong data byte" not in done.out
    for size in sizes:
        assert len(re.findall(rf"^{size + 8} bytes from {bench.address(target)}", done.out, re.MULTILINE)) == 2
    assert {int(ttl) for ttl in re.findall(r"ttl=(\d+)", done.out)} == {64 if target == "a" else 62}


def test_kernel_learns_the_path_mtu_from_our_router(bench: Bench, needs: Needs) -> None:
    """RFC 1191: r1 answers what does not fit with the MTU of its narrow link; Linux believes it."""
    needs("ping", "ip")
    size = 1500 - HEADERS
    done = bench.inside("k", "ping", "-n", "-M", "do", "-c", "2", "-i", "0.2", "-W", "5", "-s", str(size), "b", code=1)
    assert f"mtu = {NARROW}" in done.out or f"mtu={NARROW}" in done.out + done.err
    assert f"mtu {NARROW}" in bench.inside("k", "ip", "route", "get", bench.address("b")).out
    fits = NARROW - HEADERS
    assert " 1 received" in bench.inside("k", "ping", "-n", "-M", "do", "-c", "1", "-s", str(fits), "b").out
    bench.inside("k", "ping", "-n", "-M", "do", "-c", "1", "-W", "1", "-s", str(fits + 1), "b", code=1)
    assert bench.wait_for_event("r1", "network:icmp_sent", type=3, code=4)["data"]["destination"] == "10.0.0.10"


def test_broadcast_pings_are_ignored(bench: Bench, needs: Needs) -> None:
    """RFC 1122 section 3.2.2.6 allows silence, RFC 2644 wants it of routers: nobody answers, nobody forwards."""
    needs("ping")
    before = bench.state("b")["interfaces"][0]["counters"]["in_frames"]
    done = bench.inside("k", "ping", "-n", "-b", "-c", "2", "-i", "0.2", "-W", "1", "10.0.0.255", code=1)
    assert " 0 received" in done.out
    other = bench.address("b").rpartition(".")[0] + ".255"
    done = bench.inside("k", "ping", "-n", "-b", "-c", "1", "-W", "1", other, code=1)
    assert " 0 received" in done.out
    assert bench.wait_for_event("r2", "network:packet_dropped", destination=other)["data"]["reason"]
    assert bench.state("b")["interfaces"][0]["counters"]["in_frames"] - before < 5


def test_unreachable_destinations(bench: Bench, needs: Needs) -> None:
    """Our routers say why: nobody has the address on the last link (RFC 1812 section 4.3.3.1), or there is no route."""
    needs("ping")
    nobody = bench.address("b").rpartition(".")[0] + ".99"
    done = bench.inside("k", "ping", "-n", "-c", "1", "-W", "8", nobody, code=1)
    assert re.search(rf"From {bench.addresses['r2'][0]} icmp_seq=1 Destination Host Unreachable", done.out), done.out
    done = bench.inside("k", "ping", "-n", "-c", "1", "-W", "3", "10.99.0.1", code=1)
    assert "From 10.0.0.1 icmp_seq=1 Destination Net Unreachable" in done.out
    done = bench.inside("k", "ping", "-n", "-t", "1", "-c", "1", "-W", "3", "b", code=1)
    assert "From 10.0.0.1 icmp_seq=1 Time to live exceeded" in done.out


@pytest.mark.parametrize("target", ["k", "far"])
def test_our_ping_of_all_sizes(bench: Bench, target: str) -> None:
    for size in (0, 56, 1372, 1373, 1472, 1473, 8000, 60_000, 65_507):
        result = bench.ping("a", target, size=size)
        assert (result["received"], result["corrupted"]) == (2, 0), (size, result)


# --- traceroute ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [(), ("-I",)], ids=["udp", "icmp"])
def test_traceroute_of_the_kernel(bench: Bench, needs: Needs, method: tuple[str, ...]) -> None:
    needs("traceroute")
    done = bench.inside("k", "traceroute", "-n", "-q", "2", "-w", "5", *method, bench.address("b"))
    hops = [line.split()[:2] for line in done.out.splitlines()[1:]]
    assert hops == [["1", "10.0.0.1"], ["2", bench.addresses["r2"][0]], ["3", bench.address("b")]], done.out
    assert "*" not in done.out
    assert "!" not in done.out


@pytest.mark.parametrize("method", ["udp", "icmp"])
def test_our_traceroute(bench: Bench, method: str) -> None:
    result, hops = bench.run("a", "traceroute", to="far", method=method, timeout=5.0)
    found = [{probe["address"] for probe in hop["probes"]} for hop in hops if hop["event"] == "hop"]
    assert found == [{"10.0.0.1"}, {bench.addresses["r2"][0]}, {bench.address("far")}]
    assert result["reached"]


# --- ARP ----------------------------------------------------------------------------------------------------------


def test_arping(bench: Bench, needs: Needs) -> None:
    """Our nodes answer ARP requests, and probes of duplicate address detection (RFC 5227 section 2.1.1)."""
    needs("arping")
    mac = bench.state("a")["interfaces"][0]["mac"].upper()
    done = bench.inside("k", "arping", "-I", "eth0", "-c", "2", "-w", "5", "10.0.0.20")
    assert done.out.count(f"10.0.0.20 [{mac}]") == 2
    done = bench.inside("k", "arping", "-D", "-I", "eth0", "-c", "2", "-w", "5", "10.0.0.20", code=1)
    assert f"10.0.0.20 [{mac}]" in done.out
    done = bench.inside("k", "arping", "-D", "-I", "eth0", "-c", "1", "-w", "1", "10.0.0.77")
    assert "Received 0 response(s)" in done.out


def test_a_kernel_host_takes_our_address(bench: Bench, needs: Needs) -> None:
    """RFC 5227 section 2.4: our node notices, says so, and defends its address; the neighbors believe it again."""
    needs("arping", "ip")
    mac = json.loads(bench.inside("k", "ip", "-j", "link", "show", "eth0").out)[0]["address"]
    script = (
        "ip addr add 10.0.0.21/32 dev eth0 && arping -q -U -I eth0 -c 1 -s 10.0.0.21 10.0.0.21; "
        "ip addr del 10.0.0.21/32 dev eth0"
    )
    bench.inside("k", "sh", "-c", script, code=None)
    conflict = bench.wait_for_event("c", "link:address_conflict", address="10.0.0.21")
    assert conflict["data"]["mac"] == mac
    bench.wait_for_event("c", "link:address_updated", address="10.0.0.21", new="defended")
    assert bench.ping("a", "c")["received"] == 2


# --- UDP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [5, 20_000])
def test_nc_to_our_udp_echo(bench: Bench, needs: Needs, octets: int) -> None:
    """nc sends at most 16,384 octets in a datagram, far more than a frame, and ends when all of it is back."""
    needs("nc")
    text = ("0123456789abcdef" * 1250)[:octets]
    path = bench.desk.write(text, f"echo-{octets}")
    script = f"nc -n -u -w 10 -W {1 + octets // 16_384} {bench.address('b')} 7 < {path}"
    assert bench.inside("k", "sh", "-c", script).out == text


def test_our_udp_to_nc(bench: Bench, needs: Needs) -> None:
    needs("nc")
    with (
        bench.begin("far", "nc", "-n", "-u", "-l", "-W", "1", "-w", "20", "4000") as process,
        bench.socket("a", to=bench.address("far"), to_port=4000) as opened,
    ):
        wait_for(lambda: ":0FA0 " in bench.inside("far", "cat", "/proc/net/udp").out, PATIENCE)
        opened.send(b"from our stack\n")
        out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == ("from our stack\n", 0), err


SERVER = """\
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER off: the first answers may not be lost
s.bind(("", 4001))
print("ready", flush=True)
while True:
    data, where = s.recvfrom(65535)
    s.sendto(data, where)
"""


@pytest.mark.parametrize("size", [24, 1472, 60_000])
def test_our_udp_to_a_program_on_the_kernel(bench: Bench, size: int) -> None:
    with bench.begin("k", sys.executable, "-c", SERVER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        options = {"port": 4001, "size": size, "count": 5, "mode": "request", "timeout": 5.0}
        result, _ = bench.run("b", "udp_source", to="k", **options)
    assert (result["sent"], result["answered"]) == (5, 5)


REFUSED = """\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 4999))
s.send(b"anybody?")
try:
    s.recv(1)
except ConnectionRefusedError:
    print("refused")
"""


def test_closed_ports(bench: Bench) -> None:
    """RFC 1122 section 4.1.3.1 and 4.1.3.3: port unreachable becomes ECONNREFUSED, both ways, through routers."""
    assert bench.inside("k", sys.executable, "-c", REFUSED, bench.address("b")).out == "refused\n"
    with bench.socket("b", to="k", to_port=4999) as opened:
        opened.send(b"anybody?")
        with pytest.raises(ControlError) as failure:
            opened.receive()
        assert failure.value.code == "ECONNREFUSED"
        opened.send(b"still there?")  # the error was told once; the socket lives
        with pytest.raises(ControlError) as failure:
            opened.receive()
        assert failure.value.code == "ECONNREFUSED"


def test_errors_of_our_sockets(bench: Bench) -> None:
    """An unconnected socket hears of no errors; silence, no permission and no size are errors of their own."""
    with bench.socket("b") as opened:
        opened.send(b"anybody?", to="k", to_port=4999)
        assert _code(lambda: opened.receive(timeout=0.3)) == "ETIMEDOUT"
        assert _code(lambda: opened.send(b"all?", to="255.255.255.255", to_port=9)) == "EACCES"
        assert _code(lambda: opened.send(bytes(65_508), to="k", to_port=9)) == "EMSGSIZE"
    with bench.socket("b", port=4444):
        assert _code(lambda: bench.call("b", "open", port=4444)) == "EADDRINUSE"


def _code(action: object) -> str:
    with pytest.raises(ControlError) as failure:
        action()  # type: ignore[operator]
    return str(failure.value.code)


# --- DNS ----------------------------------------------------------------------------------------------------------


def test_dig_at_a_closed_port(bench: Bench, needs: Needs) -> None:
    needs("dig")
    done = bench.inside("k", "dig", "@10.0.0.20", "+tries=1", "+time=5", "example.test", code=9)
    assert "connection refused" in done.out


def test_dig_is_answered(bench: Bench, needs: Needs) -> None:
    """A DNS server on a socket of our stack: one A record for whatever is asked (RFC 1035 section 4.1)."""
    needs("dig")
    command = ("dig", f"@{bench.address('b')}", "+tries=3", "+time=5", "www.example.test")
    with bench.socket("b", port=53) as server, bench.begin("k", *command) as process:
        query = server.receive(timeout=PATIENCE)
        assert query["from"] == "10.0.0.10"
        server.send(_answer(query["data"], "192.0.2.53"), to=query["from"], to_port=query["from_port"])
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "status: NOERROR" in out
    assert re.search(r"^www\.example\.test\.\s+60\s+IN\s+A\s+192\.0\.2\.53$", out, re.MULTILINE)
    assert f"SERVER: {bench.address('b')}#53" in out


def _answer(query: bytes, address: str) -> bytes:
    """The response to a query with one question: the same identifier and question, one A record of 60 s."""
    question_end = query.index(b"\0", 12) + 5
    header = query[:2] + b"\x85\x80" + b"\0\1" + b"\0\1" + b"\0\0" * 2
    record = b"\xc0\x0c" + b"\0\1\0\1" + (60).to_bytes(4, "big") + b"\0\4" + bytes(map(int, address.split(".")))
    return header + query[12:question_end] + record


# --- multicast, redirects -----------------------------------------------------------------------------------------

GROUP = "239.1.2.3"
TCPDUMP = ("tcpdump", "-Z", "root", "-i", "eth0", "-n", "-l", "-c", "1", "igmp")
SENDER = f"""\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.10"))
s.sendto(b"to all of you", ("{GROUP}", 5000))
"""


def test_multicast_from_the_kernel(bench: Bench, needs: Needs) -> None:
    """RFC 2236: joining is announced, members get what is sent to the group, leaving is announced, and then nothing
    comes any more."""
    needs("tcpdump")
    with bench.begin("k", *TCPDUMP) as watch:
        assert watch.stderr is not None
        assert "listening on eth0" in watch.stderr.readline() + watch.stderr.readline()
        with bench.socket("c", port=5000, groups=[GROUP]):
            out, _ = watch.communicate(timeout=PATIENCE)
    assert f"10.0.0.21 > {GROUP}: igmp v2 report {GROUP}" in out
    with bench.socket("c", port=5000, groups=[GROUP]) as member, bench.socket("a", port=5000) as stranger:
        bench.inside("k", sys.executable, "-c", SENDER)
        received = member.receive()
        assert (received["data"], received["from"], received["to"]) == (b"to all of you", "10.0.0.10", GROUP)
        assert received["ttl"] == 1
        assert _code(lambda: stranger.receive(timeout=0.2)) == "ETIMEDOUT"
    leave = bench.wait_for_event("c", "network:group_updated", group=GROUP, new="non-member")
    assert leave["data"]["old"] in ("idle", "delaying")


def test_our_router_redirects_the_kernel(bench: Bench, needs: Needs) -> None:
    """RFC 1812 section 5.2.7.2: w asks r3, which knows that r1 is on the same link. Linux takes the better way."""
    needs("ping", "ip")
    assert "via 10.0.0.3" in bench.inside("w", "ip", "route", "get", bench.address("b")).out
    bench.inside("w", "ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", "b")
    assert "via 10.0.0.1" in bench.inside("w", "ip", "route", "get", bench.address("b")).out
    bench.wait_for_event("r3", "network:icmp_sent", destination="10.0.0.11", type=5, trigger="same_interface")


def test_the_kernel_redirects_us(bench: Bench) -> None:
    """RFC 1122 section 3.2.2.2: c asks kr, a Linux router, and learns the host route by r1."""
    assert bench.ping("c", "b", count=3, interval=0.2)["received"] == 3
    (route,) = [row for row in bench.state("c")["routes"] if row["origin"] == "redirect"]
    assert (route["prefix"], route["via"]) == (f"{bench.address('b')}/32", "10.0.0.1")
    bench.wait_for_event("c", "network:route_updated", prefix=route["prefix"], trigger="redirect")
    _, hops = bench.run("c", "traceroute", to="b", timeout=5.0)
    assert hops[0]["probes"][0]["address"] == "10.0.0.1"


# --- the captures -------------------------------------------------------------------------------------------------


EXPECTED = "icmp.resp_not_found || arp.duplicate-address-detected || dns.retransmission"


def test_captures(bench: Bench, needs: Needs) -> None:
    """tshark checks what every node sent and heard in the tests above. It may remark that a request had no reply and
    that an address was used twice, which tests did, and on a hub that a query passed twice: in and out."""
    needs("tshark")
    for node in OURS[:3]:
        assert bench.ping(node, "far", size=3000)["received"] == 2
    bench.desk.run("down", bench.name, code=0)
    assert complaints(bench.folder, but=EXPECTED) == []
    for node in OURS:
        frames = tshark(bench.folder / f"nodes/{node}/capture.pcapng")
        counters = [interface["counters"] for interface in last_state(bench.folder, node)["device"]["interfaces"]]
        assert len(frames) > 10
        assert sum(row["in_errors"] + row["in_discards"] + row["out_discards"] for row in counters) == 0
