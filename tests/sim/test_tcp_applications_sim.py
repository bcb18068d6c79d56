"""The applications on TCP over whole stacks in virtual time: they find each other, stop each other, and count right."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from nodes.application.base import OUTPUT_LIMIT
from nodes.application.octet_pattern import block
from nodes.application.runner import ApplicationRunner
from nodes.application.sessions import SHARE
from nodes.application.tcp_echo import Echo
from nodes.application.tcp_source import Source
from nodes.trace.events import NullTracer
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire.addresses import Ip4, parse_ip4
from tests.sim.tcp_network import LinkProfile, Network, clean

DELAY = 5 * MILLISECOND
HOSTS: Mapping[str, Ip4] = {"a": parse_ip4("10.0.0.1"), "b": parse_ip4("10.0.0.2")}
FAST = LinkProfile(delay=DELAY, rate=100_000_000, queue=1_000_000)


class Lab(Network):
    """Hosts a and b with their applications, and the link between them."""

    def __init__(self, forward: LinkProfile = FAST, settings: TcpSettings | None = None, seed: int = 1) -> None:
        super().__init__(seed)
        self.runners: list[ApplicationRunner] = []
        for name in HOSTS:
            stack = self.stacks[self.add_stack(f"10.0.0.{len(self.stacks) + 1}", settings)]
            stack.hosts = HOSTS
            self.runners.append(ApplicationRunner(stack, NullTracer()))
            assert name in stack.hosts
        self.route(0, 1, self.add_link(forward))
        self.route(1, 0, self.add_link(clean(forward)))
        self._runner_alarms: list[int | None] = [None, None]

    def start(self, node: str, kind: str, **options: object) -> int:
        index = "ab".index(node)
        number = self.runners[index].start(kind, options, self.now)
        self._touched[index] = None
        return number

    def _settle(self) -> None:
        busy = True
        while busy:
            touched = dict(self._touched)
            busy = False
            for index in touched:
                busy |= self.runners[index].poll(self.now)
            self._touched.update(touched)
            super()._settle()
            self._touched.update(touched if busy else {})
        self._touched.clear()
        for index, runner in enumerate(self.runners):
            due = runner.deadline()
            assert due is None or due > self.now, "it spins"
            if due is not None and due != self._runner_alarms[index]:
                self._runner_alarms[index] = due
                self.at(due, index, self.runners[index].timeout)

    def state(self, node: str, number: int) -> str:
        return self.runners["ab".index(node)].state(number)

    def result(self, node: str, number: int) -> dict[str, object]:
        return self.runners["ab".index(node)].result(number)

    def reports(self, node: str, number: int, event: str) -> list[dict[str, object]]:
        return [each for each in self.runners["ab".index(node)].outputs(number) if each["event"] == event]

    def finish(self, node: str, number: int, limit: int = 100 * SECOND) -> dict[str, object]:
        """Run until the application has ended by itself; its result."""
        self.run(self.now + limit, lambda: self.state(node, number) != "running")
        assert self.state(node, number) == "done", self.result(node, number)
        return self.result(node, number)

    def open(self, node: str) -> TcpSocket:
        return self.stacks["ab".index(node)].tcp.open()


# ------------------------------------------------------------------------------------------------------ source and sink


@pytest.mark.parametrize("congestion", ["cubic", "reno", "tahoe"])
def test_a_transfer_arrives_and_both_ends_agree(congestion: str) -> None:
    lab = Lab()
    sink = lab.start("b", "sink")
    result = lab.finish("a", lab.start("a", "source", to="b", bytes="2MB", congestion=congestion))
    lab.run(lab.now + SECOND)
    heard = lab.result("b", sink)
    assert (result["octets"], result["reason"], result["failed"]) == (2_000_000, "completed", 0)
    assert (heard["octets"], heard["verified"], heard["damaged"], heard["completed"]) == (2_000_000, 2_000_000, 0, 1)
    (connection,) = result["connections"]
    assert connection["connect_time"] == pytest.approx(2 * DELAY, abs=MILLISECOND)
    assert connection["rtt_min"] >= 2 * DELAY
    assert result["congestion"] == congestion
    assert 20_000_000 < result["goodput"] < 100_000_000
    assert result["goodput"] == 2_000_000 * 8 * SECOND // result["duration"]
    (closed,) = lab.reports("b", sink, "closed")
    assert closed["octets"] == 2_000_000
    json.dumps([result, heard])


def test_loss_is_seen_in_the_result_and_not_in_the_data() -> None:
    lab = Lab(LinkProfile(delay=DELAY, rate=100_000_000, queue=1_000_000, loss=0.02))
    sink = lab.start("b", "sink", connections=1)
    result = lab.finish("a", lab.start("a", "source", to="b", bytes="1MB"))
    heard = lab.finish("b", sink)
    assert result["retransmissions"] > 3
    assert (heard["verified"], heard["damaged"]) == (1_000_000, 0)


def test_several_connections_share_the_octets() -> None:
    lab = Lab()
    sink = lab.start("b", "sink", port=80, connections=3)
    result = lab.finish("a", lab.start("a", "source", to="b:80", bytes=1_000_001, connections=3))
    heard = lab.finish("b", sink)
    assert sorted(each["octets"] for each in result["connections"]) == [333_333, 333_334, 333_334]
    assert (heard["accepted"], heard["octets"], heard["verified"]) == (3, 1_000_001, 1_000_001)
    assert result["octets"] == 1_000_001
    assert len({each["local"] for each in result["connections"]}) == 3


def test_a_duration_ends_the_sending_and_everything_arrives() -> None:
    lab = Lab(LinkProfile(delay=DELAY, rate=10_000_000, queue=1_000_000))
    sink = lab.start("b", "sink")
    number = lab.start("a", "source", to="b", duration=2.5, send_buffer="100kB")
    result = lab.finish("a", number)
    assert 2.5 * SECOND < result["duration"] < 3.5 * SECOND
    assert lab.result("b", sink)["octets"] == result["octets"]
    intervals = lab.reports("a", number, "interval")
    assert [each["since"] for each in intervals] == [0, SECOND, 2 * SECOND]
    assert sum(each["octets"] for each in intervals) <= result["octets"]
    assert intervals[1]["goodput"] == pytest.approx(9_500_000, rel=0.1)
    assert intervals[1]["cwnd"] > 0 < intervals[1]["srtt"]


def test_a_rate_is_kept() -> None:
    lab = Lab()
    sink = lab.start("b", "sink")
    result = lab.finish("a", lab.start("a", "source", to="b", duration=4.0, rate="8Mbit/s"))
    assert result["octets"] == pytest.approx(4_000_000, rel=0.03)
    assert lab.result("b", sink)["verified"] == result["octets"]


def test_a_slow_reader_slows_the_source() -> None:
    """The window closes; the source waits for its bell and holds no more than its buffer."""
    lab = Lab()
    lab.start("b", "sink", rate="8Mbit/s", receive_buffer="64kB")
    number = lab.start("a", "source", to="b", send_buffer="32kB")
    lab.run(3 * SECOND)
    source = lab.runners[0].application(number)
    assert isinstance(source, Source)
    (session,) = source.sessions
    assert session.written - session.acknowledged <= 32_000
    assert session.acknowledged == pytest.approx(3_000_000, rel=0.1)
    assert session.acknowledged <= 3_100_000 + 64_000


def test_turns_are_fair_and_bounded() -> None:
    """Two streams into one sink: neither starves, and what one reads in a turn is bounded."""
    lab = Lab(LinkProfile(delay=MILLISECOND))
    sink = lab.start("b", "sink")
    result = lab.finish("a", lab.start("a", "source", to="b", connections=2, bytes=8 * SHARE))
    first, second = (each["duration"] for each in result["connections"])
    assert first == pytest.approx(second, rel=0.1)
    assert lab.result("b", sink)["verified"] == 8 * SHARE


def test_a_source_that_is_stopped_says_what_it_has() -> None:
    lab = Lab(LinkProfile(delay=DELAY, rate=10_000_000, queue=1_000_000))
    sink = lab.start("b", "sink")
    number = lab.start("a", "source", to="b")
    lab.run(SECOND)
    lab.runners[0].stop(number, lab.now)
    result = lab.result("a", number)
    assert (lab.state("a", number), result["reason"], result["failed"]) == ("stopped", "stopped", 0)
    assert result["octets"] > 1_000_000
    lab.run(lab.now + 5 * SECOND)
    assert lab.result("a", number) == result, "what is sent after its end does not count"
    heard = lab.result("b", sink)
    assert heard["completed"] == 1, "what was queued still went out, and the FIN"
    assert heard["verified"] == heard["octets"] >= result["octets"]


def test_nobody_listens() -> None:
    lab = Lab()
    number = lab.start("a", "source", to="b", bytes=1000, connections=2)
    result = lab.finish("a", number)
    assert (result["failed"], result["reason"], result["connected"], result["octets"]) == (2, "refused", 0, 0)
    assert [each["error"] for each in lab.reports("a", number, "error")] == ["10.0.0.2:9: connection refused"] * 2
    assert lab.stacks[0].tcp._sockets == 0


def test_a_sink_that_is_stopped_resets_the_source() -> None:
    lab = Lab(LinkProfile(delay=DELAY, rate=10_000_000, queue=1_000_000))
    sink = lab.start("b", "sink")
    number = lab.start("a", "source", to="b")
    lab.run(SECOND)
    lab.runners[1].stop(sink, lab.now)
    result = lab.finish("a", number)
    assert (result["failed"], result["reason"]) == (1, "reset")
    assert 500_000 < result["octets"] <= lab.result("b", sink)["octets"], "what was lost with the reset does not count"
    assert lab.state("b", sink) == "stopped"


def test_a_peer_that_never_closes_is_left_after_a_while() -> None:
    """The sink stays in CLOSE_WAIT; the source measures to the last acknowledgment and waits no longer than it must."""
    lab = Lab()
    sink = lab.start("b", "sink", close=False)
    began = lab.now
    result = lab.finish("a", lab.start("a", "source", to="b", bytes="100kB"))
    assert result["reason"] == "completed"
    assert result["duration"] < 200 * MILLISECOND < SECOND < lab.now - began < 2 * SECOND
    lab.run(lab.now + 5 * SECOND)
    (connection,) = lab.stacks[1].tcp.snapshot(lab.now)["connections"]
    assert connection["state"] == "close_wait"
    lab.runners[1].stop(sink, lab.now)


def test_totals_are_answered() -> None:
    lab = Lab()
    lab.start("b", "sink", totals=True)
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 9, lab.now)
    socket.send(b"hello", lab.now)
    lab.run(100 * MILLISECOND)
    socket.shutdown(lab.now)
    lab.run(SECOND)
    assert (socket.receive() or b"").startswith(b"5 octets in 0.0")
    assert socket.receive() == b""


@pytest.mark.parametrize("verify", ["auto", "always", "never"])
def test_wrong_octets_are_found(verify: str) -> None:
    lab = Lab()
    sink = lab.start("b", "sink", verify=verify)
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 9, lab.now)
    data = bytearray(block(0, 100_000))
    data[77_777] ^= 4
    socket.send(data, lab.now)
    lab.run(SECOND)
    heard = lab.result("b", sink)
    assert heard["octets"] == 100_000
    found = [] if verify == "never" else [{"event": "damaged", "remote": f"10.0.0.1:{socket.local[1]}", "at": 77_777}]
    assert (heard["verified"], heard["damaged"]) == ((0, 0) if verify == "never" else (77_777, 1))
    assert lab.reports("b", sink, "damaged") == found


def test_data_of_others_is_only_counted() -> None:
    lab = Lab()
    sink = lab.start("b", "sink")
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 9, lab.now)
    socket.send(b"GET / HTTP/1.1\r\n\r\n", lab.now)
    lab.run(SECOND)
    heard = lab.result("b", sink)
    assert (heard["octets"], heard["verified"], heard["damaged"], heard["open"]) == (18, 0, 0, 1)


# ------------------------------------------------------------------------------------------------------------- requests


def test_requests_measure_the_round_trip() -> None:
    lab = Lab(LinkProfile(delay=DELAY))
    lab.start("b", "echo")
    result = lab.finish("a", lab.start("a", "source", to="b:7", mode="request", count=50, size=100, nodelay=True))
    assert (result["answered"], result["octets"], result["damaged"], result["failed"]) == (50, 5000, 0, 0)
    assert (result["latency_min"], result["latency_max"]) == (2 * DELAY, 2 * DELAY)
    assert result["latency_p99"] == pytest.approx(2 * DELAY, rel=0.01)


def test_a_request_larger_than_all_buffers_comes_back() -> None:
    lab = Lab()
    lab.start("b", "echo")
    options = {"mode": "request", "count": 3, "size": "300kB", "send_buffer": "16kB"}
    result = lab.finish("a", lab.start("a", "source", to="b:7", **options))
    assert (result["answered"], result["damaged"]) == (3, 0)


def test_requests_to_one_who_only_takes_fail_in_words() -> None:
    lab = Lab()
    lab.start("b", "sink", connections=1, duration=1.0)
    number = lab.start("a", "source", to="b", mode="request", duration=5.0)
    result = lab.finish("a", number)
    assert (result["answered"], result["failed"]) == (0, 1)
    assert result["reason"] == "closed_by_peer"


# ----------------------------------------------------------------------------------------------------------------- echo


def test_echo_holds_back_a_peer_that_does_not_read() -> None:
    """RFC 862, and back-pressure: no more is taken than the buffers hold; then everything comes back in order."""
    lab = Lab(settings=TcpSettings(send_buffer=50_000, receive_buffer=50_000))
    number = lab.start("b", "echo")
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 7, lab.now)
    sent = 0
    for second in range(1, 20):
        sent += socket.send(block(sent, 65_536), lab.now)
        lab.run(second * SECOND)
    assert sent <= 4 * 50_000 + 65_536
    echo = lab.runners[1].application(number)
    assert isinstance(echo, Echo)
    (session,) = echo.sessions
    assert len(session.held) <= 65_536
    received = b""
    while len(received) < sent:
        received += socket.receive(1 << 20) or b""
        lab.run(lab.now + 100 * MILLISECOND)
        assert lab.now < 100 * SECOND
    assert received == b"".join(block(start, 1000) for start in range(0, sent, 1000))[:sent]
    socket.shutdown(lab.now)
    lab.run(lab.now + SECOND)
    assert socket.receive() == b""
    assert lab.result("b", number)["octets"] == sent


# ----------------------------------------------------------------------------------------------------------------- chat


def test_a_chat() -> None:
    lab = Lab()
    host = lab.start("b", "chat", say="hello\nhow are you?", connections=1)
    guest = lab.start("a", "chat", to="b", say="hi\nfine\nbye", interval=1.0, close=True)
    result = lab.finish("a", guest)
    lab.finish("b", host)
    assert [each["text"] for each in lab.reports("a", guest, "line")] == ["hello", "how are you?"]
    assert [each["text"] for each in lab.reports("b", host, "line")] == ["hi", "fine", "bye"]
    (connection,) = result["connections"]
    assert (connection["said"], connection["heard"], connection["reason"]) == (3, 2, "completed")


def test_lines_of_strangers() -> None:
    lab = Lab()
    number = lab.start("b", "chat")
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 5000, lab.now)
    for part in (b"one\r\ntw", b"o\n\xff\n" + b"x" * 5000, b"\nend"):
        socket.send(part, lab.now)
        lab.run(lab.now + 100 * MILLISECOND)
    socket.shutdown(lab.now)
    lab.run(lab.now + SECOND)
    lines = [each["text"] for each in lab.reports("b", number, "line")]
    assert lines == ["one", "two", "\\xff", "x" * 4096, "x" * 904, "end"]
    assert socket.receive() == b""


def test_both_close_at_once() -> None:
    lab = Lab()
    host = lab.start("b", "chat", close=True, connections=1)
    guest = lab.start("a", "chat", to="b", close=True)
    lab.finish("a", guest)
    lab.finish("b", host)


# ------------------------------------------------------------------------------------------------------------ all of it


def test_same_seed_same_run() -> None:
    def run() -> tuple[str, object]:
        lab = Lab(LinkProfile(delay=DELAY, rate=50_000_000, loss=0.01, jitter=MILLISECOND), seed=7)
        lab.start("b", "sink")
        return lab.finish("a", lab.start("a", "source", to="b", bytes="500kB", connections=2)), lab.digest

    assert run() == run()


def test_many_connections_come_and_go() -> None:
    """1000 connections with 1000 octets each; nothing is left but TIME_WAIT, and the reports stay bounded."""
    lab = Lab(LinkProfile(delay=MILLISECOND))
    sink = lab.start("b", "sink", connections=1000, backlog=1000)
    number = lab.start("a", "source", to="b", bytes=1_000_000, connections=1000)
    result = lab.finish("a", number)
    heard = lab.finish("b", sink)
    assert (result["connected"], result["octets"], heard["completed"]) == (1000, 1_000_000, 1000)
    assert len(result["connections"]) == len(heard["connections"]) == 100
    assert len(lab.runners[1].outputs(sink)) == OUTPUT_LIMIT
    assert heard["reports_dropped"] > 0
    assert lab.stacks[0].tcp._sockets == lab.stacks[1].tcp._sockets == 0
    assert lab.stacks[0].tcp.snapshot(lab.now)["connection_count"] == 0


def test_a_node_with_itself() -> None:
    lab = Lab()
    lab.start("a", "sink")
    result = lab.finish("a", lab.start("a", "source", to="a", bytes="3MB"))
    assert result["octets"] == 3_000_000


def test_the_far_end_is_in_close_wait_while_it_still_has_something_to_say() -> None:
    lab = Lab()
    lab.start("b", "chat", say="slow", interval=3.0, connections=1, close=True)
    socket = lab.open("a")
    socket.connect(HOSTS["b"], 5000, lab.now)
    lab.run(SECOND)
    assert socket.state is State.ESTABLISHED
    lab.run(5 * SECOND)
    assert socket.receive() == b"slow\n"
    assert socket.state is State.CLOSE_WAIT
