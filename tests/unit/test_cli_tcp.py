"""What `lab sockets` and `lab start ... source` print, and how options of applications are written."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from lab.cli import sockets, start, transfer
from lab.cli.output import amount, bit_rate
from lab.errors import UserInputError
from nodes.application.runner import ApplicationRunner
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import MisuseError
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import ANY, parse_ip4


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_940, "99.9 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_214_500_000, "1.21 GB"),
    ],
)
def test_amounts_have_three_figures(octets: int, text: str) -> None:
    assert amount(octets) == text


def test_rates() -> None:
    assert [bit_rate(rate) for rate in (None, 0, 943_000_000)] == ["-", "0 bit/s", "943 Mbit/s"]


# ------------------------------------------------------------------------------------------------------------ lab start


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--to server:80 --bytes 100MB", {"to": "server:80", "bytes": "100MB"}),
        ("to=b bytes=5", {"to": "b", "bytes": 5}),
        ("--to=b --bytes=1GiB", {"to": "b", "bytes": "1GiB"}),
        ("--nodelay --to b", {"nodelay": True, "to": "b"}),
        ("--to b --nodelay", {"to": "b", "nodelay": True}),
        ("--nodelay no --to b", {"nodelay": False, "to": "b"}),
        ("--nodelay=true", {"nodelay": True}),
        ("--send-buffer 4096", {"send_buffer": 4096}),
        ("--duration 2.5 --count 7", {"duration": 2.5, "count": 7}),
        ("--duration 2 --to=a=b", {"duration": 2.0, "to": "a=b"}),
        ("--unknown 5 --port x", {"unknown": "5", "port": "x"}),
        ("", {}),
    ],
)
def test_options_of_applications(line: str, values: dict[str, object]) -> None:
    """Words keep what is not of the type: the node refuses it, and says why."""
    assert start.parse_options("source", line.split()) == values


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("port", "'port' is not an option"),
        ("=5", "'=5' is not an option"),
        ("--to", "--to needs a value"),
        ("--to --nodelay", "--to needs a value"),
        ("-p 80", "'-p' is not an option"),
    ],
)
def test_words_that_are_no_options(line: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        start.parse_options("source", line.split())
    assert caught.value.message == message


def test_an_unknown_application() -> None:
    with pytest.raises(MisuseError, match="there is no application 'sauce'"):
        start.parse_options("sauce", [])


# ------------------------------------------------------------------------------------------------------------ transfers

CONNECTION = {
    "local": "10.0.0.1:64736",
    "remote": "10.0.0.2:9",
    "octets": 100_000_000,
    "goodput": 943_000_000,
    "retransmissions": 3,
    "rtt_min": 283_000,
    "rtt_p50": 412_000,
    "rtt_p90": 1_200_000,
    "rtt_p99": 12_300_000,
    "cwnd_max": 2_920_000,
    "reason": "completed",
}
RESULT = {
    **CONNECTION,
    "destination": "10.0.0.2:9",
    "congestion": "cubic",
    "duration": 853_000_000,
    "connected": 1,
    "failed": 0,
    "connections": [CONNECTION],
}
INTERVAL = {
    "event": "interval",
    "since": 0,
    "duration": SECOND,
    "octets": 118_000_000,
    "goodput": 943_000_000,
    "retransmissions": 3,
    "srtt": 412_000,
    "cwnd": 1_200_000,
    "answered": 250,
    "connections": 1,
}


def test_a_transfer_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    view = transfer.view_of("source", {})
    view.show(INTERVAL)
    view.show({**INTERVAL, "since": SECOND, "duration": SECOND // 2, "srtt": None, "goodput": None})
    view.show({"event": "closed", "remote": "x"})
    view.sum_up(RESULT)
    assert capsys.readouterr().out.splitlines() == [
        "    TIME s    OCTETS      GOODPUT  RESENT    RTT ms      CWND",
        "       0-1    118 MB   943 Mbit/s       3     0.412   1.20 MB",
        "     1-1.5    118 MB            -       3         -   1.20 MB",
        "",
        " PORT  OCTETS     GOODPUT  RESENT  RTT MIN    P50    P90   P99     CWND",
        "64736  100 MB  943 Mbit/s       3    0.283  0.412  1.200  12.3  2.92 MB",
        "10.0.0.2:9, cubic: 100 MB in 0.853 s, 943 Mbit/s",
    ]


def test_several_connections_have_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    transfer.view_of("source", {}).sum_up({**RESULT, "connections": [CONNECTION, {**CONNECTION, "local": ""}]})
    head, first, second, total, last = capsys.readouterr().out.splitlines()
    assert (first.split()[0], second.split()[0], total.split()[0]) == ("64736", "-", "all")
    assert max(map(len, (head, first, second, total, last))) <= 80


def test_requests_have_latencies(capsys: pytest.CaptureFixture[str]) -> None:
    view = transfer.view_of("source", {"mode": "request"})
    view.show(INTERVAL)
    times = {f"latency_{name}": 1_000_000 * n for n, name in enumerate(("min", "p50", "p90", "p99", "max"), 1)}
    view.sum_up({**RESULT, "answered": 250, **times})
    assert capsys.readouterr().out.splitlines() == [
        "    TIME s   ANSWERED  RESENT    RTT ms",
        "       0-1        250       3     0.412",
        "",
        "10.0.0.2:9, cubic: 250 requests answered",
        "request to answer min / p50 / p90 / p99 / max: 1.000 / 2.000 / 3.000 / 4.000 / 5.000 ms",
        "round trip min / p50 / p90 / p99: 0.283 / 0.412 / 1.200 / 12.3 ms",
    ]


def test_who_never_connected_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    view = transfer.view_of("source", {})
    view.show({"event": "error", "remote": "10.0.0.2:9", "error": "10.0.0.2:9: connection refused"})
    view.sum_up({**RESULT, "connected": 0})
    out, err = capsys.readouterr()
    assert out == ""
    assert "connection refused" in err


def test_other_applications_have_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = transfer.view_of("chat", {})
    view.show({"event": "line", "remote": "10.0.0.2:5000", "text": "hello", "none": None})
    view.sum_up({"accepted": 1, "connections": []})
    assert capsys.readouterr().out.splitlines() == ["line remote=10.0.0.2:5000 text=hello", "accepted: 1"]


# ---------------------------------------------------------------------------------------------------------- lab sockets


def shown(of: Stack, now: int) -> list[str]:
    """What `lab sockets` prints of a stack, as it comes over the control socket."""
    device: dict[str, Any] = json.loads(json.dumps(of.snapshot(now)))
    return list(sockets.lines({"tcp": device["tcp"], "udp": device["udp"]["sockets"]}))


def stack(name: str, address: str) -> Stack:
    interface = InterfaceConfig("ip0", "02:00:00:00:00:01", (f"{address}/24",), kind="ip")
    config = NodeConfig("lab", name, interfaces=(interface,), tcp={"msl": 1})
    return Stack.from_config(config, Random(name), NullTracer(), 0)


def carry(first: Stack, second: Stack, now: int) -> None:
    """Until nothing moves."""
    moved = True
    while moved:
        moved = False
        for one, other in ((first, second), (second, first)):
            for _, frame in one.transmit():
                other.receive(0, frame, now)
                moved = True


def test_sockets_of_a_life() -> None:
    """A listener, a half-open connection, an established one, TIME_WAIT; every line fits 80 columns."""
    server, client = stack("b", "10.0.0.2"), stack("a", "10.0.0.1")
    runner = ApplicationRunner(server, NullTracer())
    runner.start("sink", {"port": 80}, 0)
    runner.start("udp_sink", {"port": 9}, 0)
    assert shown(server, 0) == [
        "TYPE STATE         RECV-Q   SEND-Q  LOCAL                  REMOTE",
        "tcp  listen             0      128  0.0.0.0:80             *",
        "udp  bound              0        0  0.0.0.0:9              *",
    ]
    socket = client.tcp.open()
    socket.bind(ANY, 4000, 0)
    socket.connect(parse_ip4("10.0.0.2"), 80, 0)
    client.transmit()
    _, line, times, timers = shown(client, 100 * MILLISECOND)
    assert line == "tcp  syn_sent           0        0  10.0.0.1:4000          10.0.0.2:80"
    assert times == "      rtt -, rto 1000 ms"
    assert timers.startswith("      timers: ")
    socket.abort(SECOND)
    socket = client.tcp.open()
    socket.connect(parse_ip4("10.0.0.2"), 80, SECOND)
    carry(client, server, SECOND)
    socket.send(b"x" * 5000, SECOND)
    client.transmit()
    lines = shown(client, SECOND)
    assert lines[1].split() == ["tcp", "established", "0", "5000", f"10.0.0.1:{socket.local[1]}", "10.0.0.2:80"]
    assert lines[2].startswith("      cubic (slow_start), ts sack ecn wscale:")
    assert lines[3].startswith("      mss 1448, path mtu 1500, windows ")
    assert lines[4].startswith("      cwnd ")
    assert lines[4].endswith("in flight 5.00 kB")
    assert lines[5].startswith("      rtt ")
    assert "timers: retransmission in " in lines[-1]
    socket.abort(SECOND)
    carry(client, server, SECOND)
    assert len(shown(client, SECOND)) == 1
    assert max(len(line) for line in (*lines, *shown(server, SECOND))) <= 80
    runner.stop_all(SECOND)


def test_time_wait_and_what_is_not_shown() -> None:
    empty: dict[str, Any] = {"listeners": [], "connections": [], "time_waits": []}
    waiting = {"local": "255.255.255.255:65535", "remote": "255.255.255.254:65535", "expires_in": 1_500_000_000}
    tcp = {**empty, "time_waits": [waiting], "connection_count": 7, "time_wait_count": 1}
    _, row, rest, hidden = sockets.lines({"tcp": tcp, "udp": []})
    assert row == "tcp  time_wait          0        0  255.255.255.255:65535  255.255.255.254:65535"
    assert len(row) == 80
    assert rest.strip() == "for another 1.5 s"
    assert hidden == "and 7 more"
