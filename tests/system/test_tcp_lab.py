"""TCP in a lab: our applications with each other and with Linux's nc and ss, through the command line.

    a ──┐
    b ──┼── s1 ── r ── far        a, b, far, r: ours; k: Linux
    k ──┘

One lab serves all tests.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.application.octet_pattern import block
from tests.system.conftest import Needs
from tests.system.labs import Done, Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench

TOPOLOGY = """\
name: tcplab
defaults: {tcp: {msl: 1}}
nodes:
  a: {kind: host, tcp: {congestion: reno}}
  b: {kind: host, start: [sink: {port: 80}, echo: {}]}
  k: {kind: host, stack: kernel}
  s1: switch
  r: router
  far: {kind: host, start: [sink: {port: 80}]}
links: [a -- s1, b -- s1, k -- s1, s1 -- r, r -- far]
"""
SIZES = (0, 1, 1_448, 1_000_000)


@pytest.fixture(scope="module")
def bench(needs: Needs) -> Iterator[Bench]:
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk, Bench(desk, desk.up(TOPOLOGY)) as bench:
        yield bench


def lab(bench: Bench, line: str, code: int | None = 0) -> Done:
    """`lab COMMAND` in this lab."""
    command, *rest = line.split()
    return bench.desk.run(command, "--lab", bench.name, *rest, code=code)


def sink_of(bench: Bench, node: str) -> dict[str, Any]:
    """What the sink that the topology starts has found."""
    applications = bench.call(node, "applications")["applications"]
    return next(dict(each["result"]) for each in applications if each["kind"] == "sink")


# ------------------------------------------------------------------------------------------------------- ours with ours


@pytest.mark.parametrize("to", ["b:80", "far:80"])
def test_a_transfer_by_the_command_line(bench: Bench, to: str) -> None:
    """`lab start a source` follows it to its end, prints one table, and every octet is checked at the other end."""
    before = sink_of(bench, to.removesuffix(":80"))["verified"]
    done = lab(bench, f"start a source --to {to} --bytes 20MB --connections 2 --congestion cubic")
    *table, last = done.out.splitlines()
    assert table[-4].split() == ["PORT", "OCTETS", "GOODPUT", "RESENT", "RTT", "MIN", "P50", "P90", "P99", "CWND"]
    assert [row.split()[1:3] for row in table[-3:]] == [["10.0", "MB"], ["10.0", "MB"], ["20.0", "MB"]]
    assert table[-1].split()[0] == "all"
    assert f"{bench.address(to.removesuffix(':80'))}:80, cubic: 20.0 MB in " in last
    assert max(map(len, done.out.splitlines())) <= 80
    after = sink_of(bench, to.removesuffix(":80"))
    assert (after["verified"] - before, after["damaged"]) == (20_000_000, 0)


def test_a_transfer_as_json(bench: Bench) -> None:
    done = lab(bench, "start far source --to b:80 --duration 2.2 --rate 8Mbit/s --json")
    result = json.loads(done.out)
    assert (result["node"], result["application"], result["reason"]) == ("far", "source", "completed")
    assert result["octets"] == pytest.approx(2_200_000, rel=0.1)
    assert result["goodput"] == pytest.approx(8_000_000, rel=0.15)
    events = [event for event in result["events"] if event["event"] == "interval"]
    assert len(events) >= 2
    assert all(name in result for name in ("retransmissions", "rtt_min", "rtt_p50", "rtt_p90", "rtt_p99", "cwnd_max"))


def test_requests(bench: Bench) -> None:
    done = lab(bench, "start a source --to b:7 --mode request --count 200 --size 100 --nodelay")
    assert "200 requests answered" in done.out
    assert "request to answer min / p50 / p90 / p99 / max: " in done.out


def test_the_topology_sets_tcp(bench: Bench) -> None:
    """`tcp` of the node and of `defaults`: reno, and TIME_WAIT of two seconds."""
    done = lab(bench, "start a source --to b:80 --bytes 1kB")
    assert ", reno: 1.00 kB in " in done.out
    wait_for(lambda: bench.state("a")["tcp"]["time_wait_count"] == 0, PATIENCE)


def test_nobody_listens(bench: Bench) -> None:
    done = lab(bench, "start a source --to b:81", code=7)
    assert done.out == ""
    assert "error: 1 of 1 connection failed: refused\n" in done.err


def test_ctrl_c_ends_a_source_with_its_result(bench: Bench) -> None:
    def established() -> set[str]:
        return {each["local"] for each in bench.state("a")["tcp"]["connections"] if each["state"] == "established"}

    before = established()  # other tests' connections may still be closing
    process = bench.desk.start("start", "--lab", bench.name, "a", "source", "--to", "b:80", "--rate", "8Mbit/s")
    wait_for(lambda: established() - before, PATIENCE)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert out.splitlines()[-1].startswith(f"{bench.address('b')}:80, reno: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("start a source --to b:80 --bytes 1M", "option bytes: '1M' is not a size such as"),
        ("start a source --to b:80 --congestion cubci", "there is no congestion control 'cubci'"),
        ("start a source --to bb:80", "'bb' is neither an IPv4 address nor the name of a node"),
        ("start a source --to b:80 --octets 5", "source has no option 'octets'"),
        ("start a source --bytes 5", "source needs the option to"),
        ("start a source --to", "--to needs a value"),
        ("start k source --to b:80", "'k' has the kernel's stack, not ours"),
    ],
)
def test_wrong_options(bench: Bench, line: str, message: str) -> None:
    done = lab(bench, line, code=2)
    assert message in done.err
    assert "hint: " in done.err


# ------------------------------------------------------------------------------------------------------ ours with Linux


@pytest.mark.parametrize("size", SIZES)
def test_nc_sends_to_our_sink(bench: Bench, needs: Needs, size: int, tmp_path: Path) -> None:
    needs("nc")
    (tmp_path / "data").write_bytes(b"".join(block(start, 8192) for start in range(0, size, 8192))[:size])
    before = sink_of(bench, "b")
    bench.inside("k", "sh", "-c", f"nc -N -w 10 b 80 < {tmp_path}/data")
    wait_for(lambda: sink_of(bench, "b")["completed"] > before["completed"], PATIENCE)
    after = sink_of(bench, "b")
    assert after["octets"] - before["octets"] == after["verified"] - before["verified"] == size


@pytest.mark.parametrize("size", SIZES[1:])
def test_our_source_sends_to_nc(bench: Bench, needs: Needs, size: int, tmp_path: Path) -> None:
    needs("nc")
    with bench.begin("k", "sh", "-c", f"nc -l -p 7000 > {tmp_path}/data") as process:
        _wait_until_listening(bench, "k", 7000)
        result, _ = bench.run("a", "source", to="k:7000", bytes=size)
        process.communicate(timeout=PATIENCE)
    assert (result["octets"], result["reason"]) == (size, "completed")
    expected = b"".join(block(start, 8192) for start in range(0, size, 8192))[:size]
    assert (tmp_path / "data").read_bytes() == expected


def test_nc_hears_our_echo(bench: Bench, needs: Needs) -> None:
    needs("nc")
    done = bench.inside("k", "sh", "-c", "seq 1 20000 | nc -N -w 10 b 7 | md5sum; seq 1 20000 | md5sum")
    first, second = done.out.splitlines()
    assert first == second


def test_nc_chats(bench: Bench, needs: Needs) -> None:
    needs("nc")
    number = bench.call("a", "start", application="chat", options={"say": "hello\nwho is there?", "connections": 1})[
        "id"
    ]
    done = bench.inside("k", "sh", "-c", "printf 'it is me\\n' | nc -N -w 10 a 5000")
    assert done.out == "hello\nwho is there?\n"
    applications = bench.call("a", "applications")["applications"]
    (chat,) = [each for each in applications if each["id"] == number]
    assert chat["result"]["connections"][0]["heard"] == 1


def _wait_until_listening(bench: Bench, node: str, port: int) -> None:
    """A kernel's listener shows in /proc/net/tcp of its namespace."""
    pattern = f"00000000:{port:04X} 00000000:0000 0A"
    wait_for(lambda: pattern in bench.inside(node, "cat", "/proc/net/tcp").out, PATIENCE)


# ---------------------------------------------------------------------------------------------------------- lab sockets


def test_sockets_of_our_node(bench: Bench) -> None:
    number = bench.call("a", "start", application="source", options={"to": "b:80", "rate": "8Mbit/s"})["id"]
    wait_for(lambda: any(each["state"] == "established" for each in bench.state("b")["tcp"]["connections"]), PATIENCE)
    out = lab(bench, "sockets b").out
    assert out.splitlines()[0].split() == ["TYPE", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE"]
    assert "tcp  listen             0      128  0.0.0.0:80             *\n" in out
    assert f"  {bench.address('b')}:80" in out
    assert "wscale:" in out
    mine = lab(bench, "sockets a").out
    assert "      reno (" in mine
    assert "in flight" in mine
    assert max(map(len, (out + mine).splitlines())) <= 80
    data = json.loads(lab(bench, "sockets a --json").out)
    (connection,) = [each for each in data["tcp"]["connections"] if each["state"] == "established"]
    assert connection["congestion"] == "reno"
    bench.call("a", "stop", id=number)


def test_sockets_again_and_again(bench: Bench) -> None:
    process = bench.desk.start("sockets", "--lab", bench.name, "b", "--watch", "0.1")
    assert process.stdout is not None
    seen = 0
    while seen < 3 and (line := process.stdout.readline()):
        seen += line.startswith("TYPE ")
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()  # where Ctrl-C did not end it
    assert (process.returncode, seen) == (130, 3), err


def test_sockets_of_a_kernel_node(bench: Bench, needs: Needs) -> None:
    needs("ss", "nc")
    with bench.begin("k", "nc", "-l", "-p", "7001"):
        _wait_until_listening(bench, "k", 7001)
        out = lab(bench, "sockets k").out
        assert "LISTEN" in out
        assert ":7001" in out
    done = lab(bench, "sockets k --json", code=2)
    assert "lab exec k -- ss -tuina" in done.err


def test_no_sockets(bench: Bench) -> None:
    assert "'s1' is a switch, it has no sockets" in lab(bench, "sockets s1", code=2).err
    assert "no node 'zz'" in lab(bench, "sockets zz", code=2).err
