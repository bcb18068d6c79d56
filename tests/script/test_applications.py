"""Applications on a stack with one bare IP interface: the packets they send, what they make of the answers."""

from __future__ import annotations

import json
from random import Random

import pytest

from nodes.application.base import OUTPUT_LIMIT, Reports, resolve
from nodes.application.catalogue import APPLICATIONS, find
from nodes.application.runner import FINISHED_LIMIT, RUNNING_LIMIT, ApplicationRunner
from nodes.application.statistics import Durations
from nodes.application.stream import LENGTH, build, parse
from nodes.application.udp_sink import STREAM_LIMIT, WINDOW, StreamStatistics
from nodes.application.udp_source import BURST
from nodes.contract import InterfaceConfig, NodeConfig, RouteConfig
from nodes.errors import LimitError, MisuseError
from nodes.stack import Stack
from nodes.trace.events import ApplicationUpdated, ListTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import icmp, ipv4, udp
from nodes.wire.addresses import ANY, Ip4, parse_ip4

ME, PEER, ROUTER, FAR = map(parse_ip4, ("10.0.0.1", "10.0.0.2", "10.0.0.9", "10.9.9.9"))


class Rig:
    def __init__(self) -> None:
        interface = InterfaceConfig("ip0", "02:00:00:00:00:01", ("10.0.0.1/24",), kind="ip")
        route = RouteConfig("10.9.0.0/16", "10.0.0.9", "ip0")
        hosts = {"me": "10.0.0.1", "peer": "10.0.0.2", "far": "10.9.9.9"}
        config = NodeConfig("lab", "me", interfaces=(interface,), routes=(route,), hosts=hosts)
        self.tracer = ListTracer()
        self.stack = Stack.from_config(config, Random(5), self.tracer, 0)
        self.runner = ApplicationRunner(self.stack, self.tracer)
        self.now = 0

    def start(self, kind: str, **options: object) -> int:
        return self.runner.start(kind, options, self.now)

    def sent(self) -> list[tuple[ipv4.IPv4Header, bytes]]:
        return [(header, bytes(payload)) for header, payload in (ipv4.parse(f) for _, f in self.stack.transmit())]

    def echo_requests(self) -> list[icmp.IcmpMessage]:
        return [icmp.parse(payload) for _, payload in self.sent()]

    def arrive(self, protocol: int, payload: bytes, source: Ip4 = PEER) -> None:
        self.stack.receive(0, ipv4.build(source, ME, protocol, payload, ttl=60), self.now)
        self.runner.poll(self.now)

    def reply(self, request: icmp.IcmpMessage, data: bytes | None = None, source: Ip4 = PEER) -> None:
        body = request.body if data is None else data
        self.arrive(1, icmp.build(icmp.ECHO_REPLY, 0, request.rest, body), source)

    def error(self, kind: int, code: int, header: ipv4.IPv4Header, payload: bytes, source: Ip4 = ROUTER) -> None:
        quoted = ipv4.build(header.source, header.destination, header.protocol, payload)[:28]
        self.arrive(1, icmp.build(kind, code, 0, quoted), source)

    def wait(self, time: int) -> None:
        """Let the clock go on by `time` ns, timeouts at their deadlines."""
        end = self.now + time
        while (deadline := self.runner.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.runner.timeout(self.now)
            after = self.runner.deadline()
            assert after is None or after > self.now
        self.now = end


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- ping


def test_ping_reports_and_sums_up(rig: Rig) -> None:
    number = rig.start("ping", to="peer", count=3, interval=1.0, size=4, ttl=7)
    for rtt in (10, 20, 60):
        (request,) = rig.echo_requests()
        assert bytes(request.body) == b"\x00\x01\x02\x03"
        rig.wait(rtt * MILLISECOND)
        rig.reply(request)
        rig.wait(SECOND - rtt * MILLISECOND)
    first = rig.runner.outputs(number)[0]
    assert first == {
        "event": "reply",
        "sequence": 1,
        "source": "10.0.0.2",
        "ttl": 60,
        "rtt": 10 * MILLISECOND,
        "octets": 12,
    }
    result = rig.runner.result(number)
    assert (result["transmitted"], result["received"], result["loss"]) == (3, 3, 0.0)
    times = tuple(result[f"rtt_{name}"] for name in ("min", "avg", "max"))
    assert times == (10 * MILLISECOND, 30 * MILLISECOND, 60 * MILLISECOND)
    assert result["rtt_mdev"] == 21_602_468
    assert rig.runner.state(number) == "done"
    assert rig.runner.running == ()


def test_ping_duplicate_late_and_lost(rig: Rig) -> None:
    number = rig.start("ping", to="peer", count=2, timeout=0.5)
    (first,) = rig.echo_requests()
    rig.reply(first)
    rig.reply(first)
    rig.wait(SECOND)
    (second,) = rig.echo_requests()
    rig.wait(SECOND // 2 - 1)
    assert rig.runner.state(number) == "running"
    rig.wait(1)
    result = rig.runner.result(number)
    assert (result["received"], result["duplicates"], result["loss"]) == (1, 1, 0.5)
    assert [output["event"] for output in rig.runner.outputs(number)] == ["reply", "reply", "timeout"]
    rig.reply(second)
    assert rig.runner.result(number)["late"] == 0, "the socket is closed"


def test_ping_late_reply(rig: Rig) -> None:
    number = rig.start("ping", to="peer", count=3, timeout=0.5)
    (first,) = rig.echo_requests()
    rig.wait(SECOND * 6 // 10)
    rig.reply(first)
    result = rig.runner.result(number)
    assert (result["received"], result["late"], result["loss"]) == (0, 1, 1.0)


def test_ping_finds_corruption(rig: Rig) -> None:
    number = rig.start("ping", to="peer", count=1, size=6, pattern="ab")
    (request,) = rig.echo_requests()
    assert bytes(request.body) == b"\xab" * 6
    rig.reply(request, b"\xab\xab\xab\xac\xab\xab")
    assert rig.runner.result(number)["corrupted"] == 1
    assert rig.runner.outputs(number)[0]["corrupted_at"] == 3


def test_ping_names_who_sent_the_error(rig: Rig) -> None:
    number = rig.start("ping", to="far", count=1)
    ((header, payload),) = rig.sent()
    rig.error(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, header, payload)
    (output,) = rig.runner.outputs(number)
    assert (output["sequence"], output["source"], output["error"]) == (1, "10.0.0.9", "host_unreachable")
    assert rig.runner.state(number) == "done"


@pytest.mark.slow
def test_ping_goes_on_until_stopped(rig: Rig) -> None:
    number = rig.start("ping", to="peer", count=0, interval=0.001, timeout=0.002)
    rig.wait(70 * SECOND)  # past 65,535 sequence numbers
    assert rig.runner.result(number)["transmitted"] == 70_001
    rig.runner.stop(number, rig.now)
    assert rig.runner.state(number) == "stopped"
    assert len(rig.stack.echo.identifiers) == 0


def test_ping_does_not_make_up_for_a_pause(rig: Rig) -> None:
    rig.start("ping", to="peer", count=10)
    rig.now = 5 * SECOND + 7
    rig.runner.timeout(rig.now)
    assert len(rig.echo_requests()) == 2
    assert rig.runner.deadline() == 6 * SECOND


# -- traceroute


@pytest.mark.parametrize(
    ("code", "mark"),
    [
        (icmp.HOST_UNREACHABLE, "host_unreachable"),
        (icmp.NET_UNREACHABLE, "net_unreachable"),
        (icmp.PROTOCOL_UNREACHABLE, "protocol_unreachable"),
        (icmp.ADMINISTRATIVELY_PROHIBITED, "administratively_prohibited"),
    ],
)
def test_traceroute_marks(rig: Rig, code: int, mark: str) -> None:
    number = rig.start("traceroute", to="far", probes=1, parallel=1)
    ((header, payload),) = rig.sent()
    assert header.ttl == 1
    assert udp.HEADER.unpack_from(payload)[1] == 33434
    rig.wait(3)
    rig.error(icmp.TIME_EXCEEDED, 0, header, payload)
    ((header, payload),) = rig.sent()
    assert header.ttl == 2
    assert udp.HEADER.unpack_from(payload)[1] == 33435
    rig.wait(5)
    rig.error(icmp.UNREACHABLE, code, header, payload)
    assert rig.runner.result(number) == {
        "destination": "10.9.9.9",
        "reached": False,
        "hops": [
            {"hop": 1, "probes": [{"address": "10.0.0.9", "rtt": 3}]},
            {"hop": 2, "probes": [{"address": "10.0.0.9", "rtt": 5, "mark": mark}]},
        ],
    }
    assert rig.runner.state(number) == "done"


def test_traceroute_silent_hops_and_limit(rig: Rig) -> None:
    number = rig.start("traceroute", to="far", probes=2, max_hops=3, timeout=1.0)
    assert [header.ttl for header, _ in rig.sent()] == [1, 1, 2, 2, 3, 3]
    rig.wait(SECOND)
    result = rig.runner.result(number)
    assert [hop["probes"] for hop in result["hops"]] == [[{"address": None, "rtt": None}] * 2] * 3
    assert rig.runner.state(number) == "done"


def test_traceroute_bounds_probes_under_way_and_reports_in_order(rig: Rig) -> None:
    number = rig.start("traceroute", to="far", probes=1, parallel=4)
    probes = rig.sent()
    assert len(probes) == 4
    rig.error(icmp.TIME_EXCEEDED, 0, *probes[1])
    assert rig.runner.outputs(number) == []
    rig.error(icmp.TIME_EXCEEDED, 0, *probes[0])
    assert [output["hop"] for output in rig.runner.outputs(number)] == [1, 2]
    assert [header.ttl for header, _ in rig.sent()] == [5, 6]
    rig.error(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, *probes[3], source=FAR)
    rig.error(icmp.TIME_EXCEEDED, 0, *probes[2])
    result = rig.runner.result(number)
    assert (len(result["hops"]), result["reached"]) == (4, True)
    assert rig.runner.state(number) == "done"


def test_traceroute_by_echo(rig: Rig) -> None:
    number = rig.start("traceroute", to="peer", method="icmp", probes=1, parallel=1)
    rig.reply(rig.echo_requests()[0])
    assert rig.runner.result(number)["reached"] is True


# -- UDP


def test_udp_echo(rig: Rig) -> None:
    number = rig.start("udp_echo", port=7)
    rig.arrive(17, udp.build(PEER, ME, 4000, 7, b"hello"))
    rig.arrive(17, udp.build(PEER, ME, 19, 7, b"chargen"))
    ((header, payload),) = rig.sent()
    assert (header.source, header.destination) == (ME, PEER)
    assert payload == udp.build(ME, PEER, 7, 4000, b"hello")
    assert rig.runner.result(number) == {"datagrams": 1, "octets": 5, "refused": 1, "failed": 0}


def test_source_keeps_its_rate(rig: Rig) -> None:
    number = rig.start("udp_source", to="peer", rate=3.0, count=7, size=40)
    times = []
    while rig.runner.state(number) == "running":
        times += [rig.now] * len(rig.sent())
        rig.now = rig.runner.deadline()
        rig.runner.timeout(rig.now)
    times += [rig.now] * len(rig.sent())
    assert times == [index * SECOND // 3 for index in range(7)]


def test_source_header(rig: Rig) -> None:
    rig.now = 77
    rig.start("udp_source", to="peer", count=1, size=50)
    _, payload = rig.sent()[0]
    header, data = udp.parse(payload, ME, PEER)
    assert len(data) == 50
    assert parse(data) == (header.source_port, 0, 77)
    assert parse(b"") is parse(bytes(50)) is None
    assert len(build(1, 2, 3, LENGTH)) == LENGTH


def test_source_bursts_are_bounded(rig: Rig) -> None:
    number = rig.start("udp_source", to="peer", rate=0.0)
    assert len(rig.sent()) == BURST
    assert rig.runner.deadline() == MILLISECOND
    rig.runner.stop(number, rig.now)
    rig.start("udp_source", to="peer", rate=1000.0)
    rig.sent()
    rig.now = 10 * SECOND
    rig.runner.timeout(rig.now)
    assert len(rig.sent()) == BURST, "what was missed is not made up for"
    assert rig.runner.deadline() > rig.now


def test_source_lasts_its_duration(rig: Rig) -> None:
    number = rig.start("udp_source", to="peer", rate=10.0, duration=1.0)
    rig.wait(2 * SECOND)
    result = rig.runner.result(number)
    assert (result["sent"], result["duration"], result["rate"]) == (10, SECOND, 10.0)


def test_stream_statistics_window() -> None:
    stream = StreamStatistics()
    for sequence in (0, 1, 3, 2, 2, 0, 10):
        stream.add(sequence, 0, 0)
    assert (stream.distinct, stream.lost, stream.reordered, stream.duplicated) == (5, 6, 1, 2)
    stream.add(10 + WINDOW, 0, 0)
    stream.add(10, 0, 0)
    assert (stream.reordered, stream.duplicated) == (2, 2), "too old to know"
    stream.add(11, 0, 0)
    stream.add(11, 0, 0)
    assert (stream.reordered, stream.duplicated) == (3, 3)
    stream.add(2**64 - 1, 0, 0)
    assert stream.lost > 0


def test_jitter_is_that_of_rfc_3550() -> None:
    """Appendix A.8: J += |D| - (J + 8 >> 4). By hand: 1000; 1000 - 63 + 1000 = 1937; 1937 - 121 = 1816, >> 4."""
    stream = StreamStatistics()
    for index, transit in enumerate((1000, 2000, 1000, 1000)):
        stream.add(index, index * 10_000, index * 10_000 + transit)
    assert stream._jitter == 1816
    assert stream.jitter == 113
    stream.add(4, 40_000, 41_008)
    assert stream._jitter == 1816 + 8 - 114


def test_wrong_answers_are_no_answers(rig: Rig) -> None:
    number = rig.start("udp_source", to="peer", port=7, mode="request", size=30, count=1)
    ((_, payload),) = rig.sent()
    header, data = udp.parse(payload, ME, PEER)
    for answer in (bytes(data[:-1]) + b"X", b"", bytes(data), bytes(data)):
        rig.arrive(17, udp.build(PEER, ME, 7, header.source_port, answer))
    result = rig.runner.result(number)
    assert (result["answered"], result["unexpected"], result["lost"]) == (1, 2, 0)


def test_sink_follows_a_bounded_number_of_streams(rig: Rig) -> None:
    number = rig.start("udp_sink", port=9)
    for stream in range(STREAM_LIMIT + 2):
        rig.arrive(17, udp.build(PEER, ME, 4000, 9, build(stream, 0, 0, 30)))
    rig.arrive(17, udp.build(PEER, ME, 4000, 9, b"from elsewhere"))
    result = rig.runner.result(number)
    assert (result["datagrams"], len(result["streams"]), result["untracked"]) == (STREAM_LIMIT + 3, STREAM_LIMIT, 2)


def test_durations() -> None:
    durations = Durations()
    assert durations.percentile(50) is durations.average is durations.deviation is None
    for value in range(1, 100_001):
        durations.add(value)
    assert (durations.minimum, durations.maximum, durations.average) == (1, 100_000, 50_000)
    for share in (1, 50, 90, 99, 100):
        assert share * 1000 <= durations.percentile(share) <= share * 1000 * 1.008
    assert len(durations._buckets) < 2000


def test_an_error_that_comes_before_its_ring_is_counted(rig: Rig) -> None:
    number = rig.start("udp_source", to="peer", rate=1.0, count=2)
    ((header, payload),) = rig.sent()
    quoted = ipv4.build(header.source, header.destination, header.protocol, payload)[:28]
    message = icmp.build(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, quoted)
    rig.stack.receive(0, ipv4.build(PEER, ME, 1, message), 0)
    rig.wait(SECOND)
    assert len(rig.sent()) == 1
    result = rig.runner.result(number)
    assert (result["sent"], result["errors"]) == (2, 1)


# -- names, catalogue, runner


def test_names(rig: Rig) -> None:
    assert resolve(rig.stack, "peer") == PEER
    assert resolve(rig.stack, "1.2.3.4") == parse_ip4("1.2.3.4")
    with pytest.raises(MisuseError) as caught:
        resolve(rig.stack, "pere")
    assert "'pere'" in caught.value.message
    assert caught.value.hint == "did you mean 'peer'?"


@pytest.mark.parametrize(
    ("kind", "options", "message", "hint"),
    [
        ("pin", {}, "there is no application 'pin'", "did you mean 'ping'?"),
        ("ping", {}, "ping needs the option to: address or name to ping", "to is text"),
        ("ping", {"to": "peer", "cuont": 1}, "ping has no option 'cuont'", "did you mean 'count'?"),
        ("ping", {"to": "peer", "ttl": 0}, "option ttl: 0 is not allowed", "ttl is a whole number from 1 to 255"),
        ("ping", {"to": "peer", "ttl": 1.0}, "option ttl: 1.0 is not allowed", "ttl is a whole number from 1 to 255"),
        (
            "ping",
            {"to": "peer", "count": True},
            "option count: True is not allowed",
            "count is a whole number, at least 0",
        ),
        ("ping", {"to": 5}, "option to: 5 is not allowed", "to is text"),
        (
            "ping",
            {"to": "peer", "interval": float("nan")},
            "option interval: nan is not allowed",
            "interval is a time in seconds from 0.001 to 3600",
        ),
        (
            "ping",
            {"to": "peer", "dont_fragment": 1},
            "option dont_fragment: 1 is not allowed",
            "dont_fragment is true or false",
        ),
        (
            "ping",
            {"to": "peer", "pattern": "xyz"},
            "pattern 'xyz' is not an even number of hexadecimal digits such as 'ff00'",
            "",
        ),
        (
            "traceroute",
            {"to": "peer", "method": "tcp"},
            "option method: 'tcp' is not allowed",
            "method is one of udp, icmp",
        ),
        ("udp_source", {"to": "peer", "rate": 1e-9}, "option rate: 1e-09 is not allowed, 0 or at least 0.001", ""),
    ],
)
def test_wrong_options(rig: Rig, kind: str, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(MisuseError) as caught:
        rig.start(kind, **options)
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert rig.runner.running == ()
    assert rig.stack.udp._open == rig.stack.echo._open == 0


def test_catalogue_is_complete() -> None:
    assert set(APPLICATIONS) == {
        *("chat", "echo", "ping", "sink", "source", "traceroute"),
        *("udp_echo", "udp_sink", "udp_source"),
    }
    for kind in APPLICATIONS.values():
        assert kind.help
        for option in kind.options.values():
            assert option.help
            assert option.required or option.check(option.default) == option.default
    assert find("ping").check({"to": "x", "interval": 2})["interval"] == 2.0


def test_failure_is_a_result(rig: Rig) -> None:
    """Two services on a port: the second fails, with the message in its result, and holds nothing."""
    rig.start("udp_echo", port=7)
    number = rig.start("udp_echo", port=7)
    assert rig.runner.state(number) == "failed"
    result = rig.runner.result(number)
    assert (result["error"], result["errno"]) == ("port 7 is in use", "EADDRINUSE")
    assert rig.runner.failure(number) == "port 7 is in use"
    assert rig.stack.udp._open == 1
    assert rig.tracer.of(ApplicationUpdated)[-1] == ApplicationUpdated(
        "udp_echo#2", "running", "failed", "port 7 is in use"
    )


def test_runner_is_bounded_and_forgets(rig: Rig) -> None:
    numbers = [rig.start("udp_echo", port=port) for port in range(1000, 1000 + RUNNING_LIMIT)]
    with pytest.raises(LimitError):
        rig.start("udp_echo", port=7)
    rig.runner.stop_all(0)
    for _ in range(3):
        rig.runner.stop(rig.start("udp_echo", port=7), 0)
    assert len(rig.runner.snapshot()) == FINISHED_LIMIT
    with pytest.raises(MisuseError):
        rig.runner.result(numbers[0])
    rig.runner.stop(numbers[-1], 0)
    rig.runner.forget(numbers[-1])
    with pytest.raises(MisuseError):
        rig.runner.state(numbers[-1])


def test_runner_hands_on_what_is_not_its_own(rig: Rig) -> None:
    heard = []
    rig.runner = ApplicationRunner(rig.stack, rig.tracer, lambda endpoint, now: heard.append((endpoint, now)))
    socket = rig.stack.udp.open()
    socket.bind(ANY, 7, 0)
    rig.now = 3
    rig.arrive(17, udp.build(PEER, ME, 4000, 7, b"x"))
    assert heard == [(socket, 3)]
    assert rig.runner.poll(4) is False


def test_everything_is_json(rig: Rig) -> None:
    rig.start("ping", to="peer")
    rig.start("traceroute", to="far")
    rig.start("udp_sink")
    rig.start("udp_source", to="peer")
    rig.start("udp_source", to="peer", mode="request")
    assert len(json.loads(json.dumps(rig.runner.snapshot()))) == 5
    rig.wait(SECOND)
    assert json.dumps([rig.runner.outputs(number) for number in range(1, 6)])


def test_stop_twice_and_ready_after_the_end(rig: Rig) -> None:
    for kind in APPLICATIONS.values():
        options = {"to": "peer"} if "to" in kind.options else {}
        application = kind.create(rig.stack, kind.check(options))
        application.start(0)
        application.stop(1)
        application.stop(1)
        application.ready(1)
        application.timeout(1)
        assert application.done
        assert application.deadline() is None


def test_unread_reports_are_bounded() -> None:
    report = Reports()
    for index in range(OUTPUT_LIMIT + 5):
        report("x", index=index)
    assert report.dropped == 5
    assert report.drain()[0]["index"] == 5
