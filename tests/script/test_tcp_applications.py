"""The applications on TCP, without a peer: options, quantities, the pattern, the pace, their turns and their end."""

from __future__ import annotations

import json
from random import Random

import pytest

from nodes.application.base import Part
from nodes.application.catalogue import APPLICATIONS, find
from nodes.application.destination import parse_destination
from nodes.application.octet_pattern import LONGEST_BLOCK, PERIOD, block, first_difference
from nodes.application.runner import ApplicationRunner
from nodes.application.sessions import BUDGET, CATCH_UP, GRAIN, SHARE, Pace, Session, Sessions
from nodes.application.tcp_source import OPENED
from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import DisconnectedError, MisuseError, StackError
from nodes.quantities import parse_rate, parse_size
from nodes.stack import Stack
from nodes.trace.events import ApplicationUpdated, ListTracer
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ipv4, tcp
from nodes.wire.addresses import parse_ip4

ME, PEER = map(parse_ip4, ("10.0.0.1", "10.0.0.2"))


class Rig:
    """One host with a bare IP interface."""

    def __init__(self) -> None:
        interface = InterfaceConfig("ip0", "02:00:00:00:00:01", ("10.0.0.1/24",), kind="ip")
        config = NodeConfig("lab", "me", interfaces=(interface,), hosts={"me": "10.0.0.1", "peer": "10.0.0.2"})
        self.tracer = ListTracer()
        self.stack = Stack.from_config(config, Random(5), self.tracer, 0)
        self.runner = ApplicationRunner(self.stack, self.tracer)
        self.now = 0

    def start(self, kind: str, **options: object) -> int:
        return self.runner.start(kind, options, self.now)

    def sent(self) -> list[tcp.Segment]:
        packets = [ipv4.parse(frame) for _, frame in self.stack.transmit()]
        return [tcp.parse(payload, header.source, header.destination) for header, payload in packets]

    def turn(self, now: int) -> None:
        self.now = now
        self.runner.timeout(now)
        self.runner.poll(now)
        deadline = self.runner.deadline()
        assert deadline is None or deadline > now, "it spins"


@pytest.fixture
def rig() -> Rig:
    return Rig()


# ----------------------------------------------------------------------------------------------------------- quantities


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("1500", 1500),
        ("1500B", 1500),
        ("100MB", 100_000_000),
        ("100 MB", 100_000_000),
        ("64kB", 64_000),
        ("64KB", 64_000),
        ("4MiB", 4 << 20),
        ("1GiB", 1 << 30),
        ("1.5kB", 1500),
        ("0.5KiB", 512),
        ("2TiB", 2 << 40),
    ],
)
def test_sizes(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize(
    ("text", "rate"),
    [("9600", 9600), ("64kbit", 64_000), ("10Mbit/s", 10_000_000), ("2.5Gbit", 2_500_000_000), ("1Mibit", 1 << 20)],
)
def test_rates(text: str, rate: int) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(text.replace("/s", "ps")) == rate


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1M", "1e3", "1 000", "1.0001kB", "1B ", "1PB", "10Mbit", "٣B", "0x10"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|whole number"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "10MB", "10M", "10Mbit/h", "0.1bit"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"rate|whole number"):
        parse_rate(text)


def test_options_with_units() -> None:
    checked = find("source").check({"to": "b", "bytes": "1MiB", "rate": "10Mbit", "write": 1000})
    assert (checked["bytes"], checked["rate"], checked["write"]) == (1 << 20, 10_000_000, 1000)
    timed = find("ping").check({"to": "b", "interval": "50ms", "timeout": 2})
    assert (timed["interval"], timed["timeout"]) == (0.05, 2.0)
    assert APPLICATIONS["source"].options["bytes"].allowed == "a size, at least 0"
    assert APPLICATIONS["sink"].options["rate"].allowed == "a rate from 0 to 1000000000000"


@pytest.mark.parametrize(
    ("kind", "options", "message", "hint"),
    [
        ("source", {"to": "peer", "bytes": "1M"}, "option bytes: '1M' is not a size such as", "bytes is a size"),
        ("source", {"to": "peer", "bytes": 1.5}, "option bytes: 1.5 is not allowed", "bytes is a size, at least 0"),
        ("source", {"to": "peer", "write": "1GB"}, "option write: 1000000000 is not allowed", "write is a size from 1"),
        ("source", {"to": "peer", "congestion": "cubci"}, "option congestion: there is no", "did you mean"),
        ("source", {"to": "peer", "mode": "request", "bytes": 5}, "option bytes is for streams", "count says"),
        (
            "source",
            {"to": "peer", "duration": "10"},
            "option duration: 10 has no unit",
            "duration is a time in seconds",
        ),
        ("source", {"to": "pere"}, "'pere' is neither an IPv4 address nor", "did you mean 'peer'?"),
        ("source", {"to": "peer:0"}, "'0' in 'peer:0' is no port", "ports are 1 to 65535"),
        ("source", {"to": "peer:http"}, "'http' in 'peer:http' is no port", "ports are 1 to 65535"),
        ("source", {"to": ":80"}, "'' is neither an IPv4 address nor", "known are"),
        ("chat", {"to": "nobody"}, "'nobody' is neither", ""),
        ("sink", {"verify": "yes"}, "option verify: 'yes' is not allowed", "verify is one of auto, always, never"),
        ("sink", {"port": 0}, "option port: 0 is not allowed", "port is a whole number from 1 to 65535"),
    ],
)
def test_wrong_options(rig: Rig, kind: str, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(MisuseError) as caught:
        rig.start(kind, **options)
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint
    assert rig.runner.running == ()
    assert rig.stack.tcp._sockets == 0, "what was refused holds nothing"


def test_destinations(rig: Rig) -> None:
    assert parse_destination(rig.stack, "peer", 9) == (PEER, 9)
    assert parse_destination(rig.stack, "peer:80", 9) == (PEER, 80)
    assert parse_destination(rig.stack, "10.0.0.2:65535", 9) == (PEER, 65_535)


# -------------------------------------------------------------------------------------------------------------- pattern


def test_the_pattern_is_that_of_the_documentation() -> None:
    """SHAKE128("layerlab"), by the reader's own tools: `printf layerlab | openssl dgst -shake128 -xoflen 8`."""
    assert block(0, 8).hex() == "747fc1f45a5756d7"
    assert PERIOD % 65_536 == 0
    assert PERIOD % (1 << 20), "a shift by a power of two shows"


@pytest.mark.parametrize("length", [1, 64, 1448, 4096, 65_536, LONGEST_BLOCK])
@pytest.mark.parametrize("start", [0, 1, 65_536, PERIOD - 1, PERIOD, 5 * PERIOD + 12_345])
def test_blocks_follow_each_other(start: int, length: int) -> None:
    data = block(start, length)
    assert len(data) == length
    assert first_difference(start, data) is None
    assert data == block(start + PERIOD, length)
    assert first_difference(start + 1, data) is not None or length == 1


@pytest.mark.parametrize("wrong", [0, 1, 4095, 4096, PERIOD - 1, PERIOD, 2 * PERIOD + 7])
def test_the_first_difference_is_found(wrong: int) -> None:
    start = 99
    data = bytearray(block(start, LONGEST_BLOCK) * 6)[: 3 * PERIOD]
    data[:] = b"".join(block(start + offset, 4096) for offset in range(0, 3 * PERIOD, 4096))[: 3 * PERIOD]
    data[wrong] ^= 1
    data[wrong + 3] ^= 1
    assert first_difference(start, bytes(data)) == start + wrong


# ----------------------------------------------------------------------------------------------------------------- pace


@pytest.mark.parametrize("rate", [8, 8_000, 1_000_000, 10_000_000_000])
def test_a_pace_is_kept_on_average(rate: int) -> None:
    """Every octet at its time: n octets not before 8 n / rate seconds, and no later than the next look."""
    pace = Pace(rate, 0)
    now = moved = 0
    for _ in range(200):
        now = pace.next()
        room = pace.room(now)
        assert 0 < room <= max(GRAIN, rate // 800) + 1
        pace.take(room)
        moved += room
        assert moved * 8 * SECOND <= now * rate
        assert not pace.room(now)
        assert pace.next() > now
    assert moved * 8 * SECOND >= (now - 20 * MILLISECOND) * rate - 8 * SECOND


def test_a_pace_makes_up_for_a_little() -> None:
    pace = Pace(8_000_000, 0)
    assert pace.room(SECOND) == CATCH_UP // 1000
    pace.take(CATCH_UP // 1000)
    assert pace.room(SECOND) == 0
    assert pace.room(SECOND + 5 * MILLISECOND) == 0, "less than a grain"
    assert pace.room(SECOND + 10 * MILLISECOND) == 10_000


# ---------------------------------------------------------------------------------------------------------------- turns


class Worker(Session):
    """Has so much to do, in shares."""

    __slots__ = ("left", "log", "number")

    def __init__(self, parent: Sessions, rig: Rig, number: int, left: int, log: list[int]) -> None:
        super().__init__(parent, rig.stack.tcp.open())
        self.number, self.left, self.log = number, left, log

    def work(self, now: int) -> int:
        self.log.append(self.number)
        if self.left < 0:
            raise DisconnectedError("gone")
        done = min(self.left, SHARE)
        self.left -= done
        if self.left:
            self.again()
        return done

    def failed(self, error: StackError, now: int) -> None:
        self.log.append(-self.number)

    def describe(self) -> dict[str, object]:
        return {"number": self.number}


def workers(rig: Rig, *amounts: int) -> tuple[Sessions, list[int]]:
    sessions, log = Sessions(rig.stack), []
    for number, amount in enumerate(amounts, 1):
        sessions.add(Worker(sessions, rig, number, amount, log))
    return sessions, log


def test_turns_go_round_and_end(rig: Rig) -> None:
    sessions, log = workers(rig, 3 * SHARE, SHARE, 10 * SHARE)
    sessions.ready(5)
    assert log == [1, 2, 3, 1], "until the budget is used up"
    assert BUDGET == 4 * SHARE
    assert sessions.deadline() == 6
    sessions.timeout(6)
    assert log[4:] == [3, 1, 3, 3]
    for now in range(7, 20):
        sessions.timeout(now)
    assert log.count(3) == 10
    assert sessions.deadline() is None


def test_a_failed_session_costs_the_others_nothing(rig: Rig) -> None:
    sessions, log = workers(rig, SHARE, -1, SHARE)
    sessions.ready(0)
    assert log == [1, 2, -2, 3]


def test_idle_sessions_cost_turns_too(rig: Rig) -> None:
    sessions, log = workers(rig, *[0] * 1500)
    sessions.ready(0)
    assert len(log) == 1024
    assert sessions.deadline() == 1


def test_a_session_waits_for_its_time(rig: Rig) -> None:
    sessions, log = workers(rig, 0, 0)
    sessions.ready(0)
    first, second = sessions.sessions
    second.again_at(50)
    first.again_at(70)
    first.again_at(60)
    assert sessions.deadline() == 50
    sessions.timeout(55)
    assert log == [1, 2, 2]
    assert sessions.deadline() == 70


def test_the_runner_tells_which_part_rang(rig: Rig) -> None:
    number = rig.start("sink")
    application = rig.runner.application(number)
    assert isinstance(application, Sessions)
    log: list[int] = []
    parts = [Worker(application, rig, index, 0, log) for index in range(3)]
    for part in parts:
        assert isinstance(part, Part)
        application.add(part)
    application.ready(0)
    parts[1].socket.wake()
    parts[1].socket.wake()
    rig.runner.poll(0)
    assert log == [0, 1, 2, 1]


# -------------------------------------------------------------------------------------------------- beginnings and ends


@pytest.mark.parametrize("kind", ["sink", "echo", "chat"])
def test_a_port_is_taken_and_given_back(rig: Rig, kind: str) -> None:
    number = rig.start(kind, port=80)
    assert rig.runner.outputs(number) == [{"event": "listening", "address": "0.0.0.0", "port": 80}]
    second = rig.start("sink", port=80)
    assert rig.runner.state(second) == "failed"
    assert (rig.runner.result(second)["error"], rig.runner.result(second)["errno"]) == (
        "port 80 is in use",
        "EADDRINUSE",
    )
    assert rig.tracer.of(ApplicationUpdated)[-1].new == "failed"
    rig.runner.stop(number, 0)
    rig.runner.stop(number, 0)
    assert rig.runner.state(number) == "stopped"
    assert rig.stack.tcp._sockets == 0
    assert rig.runner.state(rig.start(kind, port=80)) == "running"


def test_an_address_that_is_not_ours(rig: Rig) -> None:
    number = rig.start("sink", address="10.0.0.2")
    assert rig.runner.result(number)["errno"] == "EADDRNOTAVAIL"


def test_no_route_is_a_failure(rig: Rig) -> None:
    number = rig.start("source", to="10.9.9.9")
    assert rig.runner.state(number) == "failed"
    assert rig.runner.result(number)["errno"] == "ENETUNREACH"
    assert rig.stack.tcp._sockets == 0


def test_a_source_begins_with_its_options(rig: Rig) -> None:
    rig.start("source", to="peer:80", mss=1000, congestion="reno", nodelay=True, send_buffer="10kB")
    (syn,) = rig.sent()
    assert (syn.destination_port, syn.flags & tcp.SYN, syn.options.mss) == (80, tcp.SYN, 1000)
    (session,) = rig.runner.application(1).sessions  # type: ignore[attr-defined]
    options = session.socket.options
    assert (options.congestion, options.nodelay, options.send_limit) == ("reno", True, 10_000)


def test_after_a_part_of_a_block_the_rest_of_it_is_written(rig: Rig) -> None:
    """So the next ones are whole again, and need no copy."""
    rig.start("source", to="peer", bytes="1MB", write=4096)
    (session,) = rig.runner.application(1).sessions  # type: ignore[attr-defined]
    lengths = []
    for written, left in ((0, 1_000_000), (100, 999_900), (4096, 995_904), (997_000, 3000)):
        session.written, session.left = written, left
        lengths.append(session._allowed(0))
    assert lengths == [4096, 3996, 4096, 2424]


def test_connections_are_begun_in_portions(rig: Rig) -> None:
    rig.start("source", to="peer", connections=3 * OPENED)
    assert len(rig.sent()) == OPENED
    rig.turn(1)
    assert len(rig.sent()) == OPENED
    rig.turn(2)
    rig.turn(3)
    assert len(rig.sent()) == OPENED
    assert rig.runner.deadline() == 100 * MILLISECOND


def test_time_is_over_before_anybody_answers(rig: Rig) -> None:
    number = rig.start("source", to="peer", duration=0.5)
    rig.turn(SECOND // 2)
    assert rig.runner.state(number) == "done"
    result = rig.runner.result(number)
    assert (result["failed"], result["reason"], result["octets"]) == (1, "not_connected", 0)
    assert rig.runner.outputs(number)[0]["error"] == "not connected when the time was over"


def test_everything_is_json(rig: Rig) -> None:
    for kind in ("sink", "echo", "chat"):
        rig.start(kind)
    rig.start("source", to="peer", connections=2)
    rig.start("source", to="peer", mode="request")
    rig.start("chat", to="peer", say="x")
    rig.turn(2 * SECOND)
    assert len(json.loads(json.dumps(rig.runner.snapshot()))) == 6
    rig.runner.stop_all(2 * SECOND)
    assert json.dumps([rig.runner.outputs(number) for number in range(1, 7)])
    assert rig.stack.tcp._sockets == 0


def test_nothing_spins_while_nothing_happens(rig: Rig) -> None:
    rig.start("sink", duration=5.0)
    rig.start("source", to="peer", duration=5.0, rate="1Mbit/s")
    for _ in range(200):
        deadline = rig.runner.deadline()
        if deadline is None:
            break
        rig.turn(deadline)
    assert rig.runner.running == ()
