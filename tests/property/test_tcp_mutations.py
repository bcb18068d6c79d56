"""J-7: mutated frames of real exchanges, in all states: the stacks live, hold little, and the next handshake works.

Two stacks talk over a wire without delay. In each round they go through one life of a connection (`LIVES`), and
whatever is on the wire is also damaged and thrown at both: fields of TCP and IP set to values of the edge, options
rewritten, payloads cut and grown, bits flipped, frames of older rounds, with checksums put right so that they get in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from random import Random

import pytest

from nodes.datalink.interface import PointToPointInterface
from nodes.errors import StackError
from nodes.stack import Stack
from nodes.trace.events import Event, NullTracer
from nodes.trace.tcp_events import ConnectionStateUpdated
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp
from nodes.wire.addresses import ANY, Prefix, parse_ip4
from nodes.wire.checksum import checksum, ones_sum
from tests.sim.tcp_attacker import memory_of

FRAMES = 100_000
BUDGET = 60
"""Damaged frames per exchange."""

KEPT = 400
"""Frames of the past that may come back."""

MEMORY = 6_000_000
"""Octets that both stacks may hold: a few connections with buffers of LIMIT, and their records."""

LIMIT = 30_000
CLIENT, SERVER = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
SETTINGS = TcpSettings(send_buffer=LIMIT, receive_buffer=LIMIT, msl=SECOND, maximum_half_open=20)


class StateTracer(NullTracer):
    """Counts the states that connections come into."""

    def __init__(self) -> None:
        super().__init__()
        self.states: Counter[str] = Counter()

    def __call__(self, time: int, event: Event) -> None:
        if isinstance(event, ConnectionStateUpdated):
            self.states[event.new] += 1


class Pair:
    """Two stacks; `inject` damaged frames per frame on the wire, as long as an exchange is not longer than BUDGET:
    answers to damaged frames are damaged too, and would breed for ever."""

    def __init__(self, random: Random, inject: int) -> None:
        self.random = random
        self.inject = inject
        self.injected = 0
        self.now = 0
        self.tracer = StateTracer()
        self.past: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self.stacks = [self._stack(number) for number in (1, 2)]
        self.listener = self.stacks[1].tcp.open()
        self.listener.bind(ANY, 80, 0)
        self.listener.listen(4, 0)
        self.client: TcpSocket | None = None
        self.accepted: list[TcpSocket] = []

    def _stack(self, number: int) -> Stack:
        link = PointToPointInterface(0, "p0", 1500, self.tracer)
        stack = Stack([link], Random(number), self.tracer, forwarding=False, tcp=SETTINGS)
        stack.add_address(0, Prefix.parse(f"10.0.0.{number}/24"), 0)
        return stack

    # ---------------------------------------------------------------------------------------------------- the wire

    def exchange(self, mutate: bool = True) -> None:
        """Until nothing is on the wire; or long enough, as damaged frames may keep a dispute alive."""
        budget = self.injected + BUDGET
        for _ in range(60):
            quiet = True
            for source in (0, 1):
                for _, frame in self.stacks[source].transmit():
                    quiet = False
                    if mutate and self.injected < budget:
                        self.past.append((1 - source, frame))
                        self.damage(frame, 1 - source)
                    self.stacks[1 - source].receive(0, frame, self.now)
            if quiet:
                return

    def damage(self, frame: bytes, target: int) -> None:
        random = self.random
        for _ in range(self.inject):
            victim, original = (target, frame) if random.random() < 0.7 else random.choice(self.past)
            self.stacks[victim].receive(0, mutated(original, random), self.now)
            self.injected += 1

    def wait(self, duration: int) -> None:
        end = self.now + duration
        for _ in range(3000):
            due = [at for stack in self.stacks if (at := stack.deadline()) is not None]
            if not due or min(due) > end:
                self.now = end
                return
            self.now = max(self.now, min(due))
            for stack in self.stacks:
                if (at := stack.deadline()) is not None and at <= self.now:
                    stack.timeout(self.now)
                    assert stack.tcp._pending or (stack.deadline() or self.now + 1) > self.now
            self.exchange(mutate=False)
        raise AssertionError(f"timers spin at {self.now}")

    # ------------------------------------------------------------------------------------------------ the programs

    def connect(self) -> None:
        self.client = self.stacks[0].tcp.open()
        self.client.connect(SERVER, 80, self.now)
        self.exchange()

    def each(self, action: Callable[[TcpSocket], object]) -> None:
        """What programs do, as far as it still makes sense."""
        while (socket := self.listener.accept()) is not None:
            self.accepted.append(socket)
        for socket in [self.client, *self.accepted]:
            if socket is not None and not socket.closed:
                try:
                    action(socket)
                except StackError:
                    socket.abort(self.now)
        self.exchange()

    def talk(self) -> None:
        self.each(lambda socket: socket.send(b"a line of text\n" * 100, self.now))
        self.each(lambda socket: socket.receive(500))

    def read(self) -> None:
        self.each(lambda socket: socket.receive(100_000))

    def client_closes(self) -> None:
        if self.client is not None:
            self.client.close(self.now)
        self.exchange()

    def servers_close(self) -> None:
        for socket in self.accepted:
            socket.close(self.now)
        self.exchange()

    def both_close(self) -> None:
        """At the same instant: CLOSING."""
        for socket in (self.client, *self.accepted):
            if socket is not None:
                socket.close(self.now)
        self.exchange()

    def half_close(self) -> None:
        self.each(lambda socket: socket.shutdown(self.now) if socket is self.client else None)

    def simultaneous(self) -> None:
        """Both connect: SYN_RCVD without a listener."""
        ends = [stack.tcp.open() for stack in self.stacks]
        for end in ends:
            end.bind(ANY, 0, self.now)
        ends[0].connect(SERVER, ends[1].local[1], self.now)
        ends[1].connect(CLIENT, ends[0].local[1], self.now)
        self.client = ends[0]
        self.accepted.append(ends[1])
        self.exchange()

    def finish(self) -> None:
        for socket in (self.client, *self.accepted):
            if socket is not None:
                socket.abort(self.now)
        while (socket := self.listener.accept()) is not None:
            socket.abort(self.now)
        self.client, self.accepted = None, []
        self.exchange(mutate=False)
        for stack in self.stacks:
            stack.drain_ready()

    def check(self) -> None:
        """Bounded, and a fresh handshake works."""
        for stack in self.stacks:
            for item in stack.tcp._connections.values():
                assert isinstance(item, Connection) is (item.state is not State.TIME_WAIT)
            stack.snapshot(self.now)
        self.finish()
        self.wait(1500 * SECOND)
        assert sum(memory_of(stack) for stack in self.stacks) < MEMORY
        for stack, sockets in zip(self.stacks, (0, 1), strict=True):
            assert not stack.tcp._connections and stack.tcp._sockets == sockets
            assert stack.tcp.deadline() is None
        inject, self.inject = self.inject, 0
        self.connect()
        accepted = self.listener.accept()
        assert accepted is not None and self.client is not None and self.client.connected
        self.client.send(b"fresh", self.now)
        self.exchange()
        assert accepted.receive() == b"fresh"
        self.accepted.append(accepted)
        self.finish()
        self.inject = inject


LIVES: list[list[Callable[[Pair], object]]] = [
    [Pair.connect, Pair.talk, Pair.read, Pair.client_closes, Pair.read, Pair.servers_close],
    [Pair.connect, Pair.talk, Pair.read, Pair.servers_close, Pair.read, Pair.client_closes],
    [Pair.connect, Pair.talk, Pair.talk, Pair.talk, lambda pair: pair.wait(3 * SECOND), Pair.read],
    [Pair.connect, Pair.talk, Pair.read, Pair.both_close],
    [Pair.connect, Pair.half_close, Pair.talk, Pair.read, Pair.servers_close, Pair.read],
    [Pair.simultaneous, Pair.talk, Pair.read, Pair.both_close],
    [Pair.connect, lambda pair: pair.wait(SECOND), Pair.talk, lambda pair: pair.wait(40 * MILLISECOND), Pair.read],
]


# ----------------------------------------------------------------------------------------------------------- mutations


def mutated(frame: bytes, random: Random) -> bytes:
    """The frame with one to three things wrong; nine of ten have checksums that are right."""
    octets = bytearray(frame)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice(MUTATIONS)(octets, random)
    return bytes(octets) if random.random() < 0.1 else mended(octets)


def mended(octets: bytearray) -> bytes:
    """Lengths and checksums of IP and TCP put right, as far as there are headers."""
    if len(octets) < 40 or octets[0] != 0x45:
        return bytes(octets)
    octets[2:4] = len(octets).to_bytes(2, "big")
    octets[10:12] = bytes(2)
    octets[10:12] = checksum(octets[:20]).to_bytes(2, "big")
    octets[36:38] = bytes(2)
    source, destination = (int.from_bytes(octets[at : at + 4], "big") for at in (12, 16))
    total = source + destination + tcp.PROTOCOL + len(octets) - 20 + ones_sum(bytes(octets[20:]))
    octets[36:38] = (-total % 0xFFFF).to_bytes(2, "big")
    return bytes(octets)


def _bit(octets: bytearray, random: Random) -> None:
    octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)


def _flags(octets: bytearray, random: Random) -> None:
    octets[33] = random.choice((0x02, 0x12, 0x04, 0x14, 0x10, 0x11, 0x18, 0x01, 0xC2, 0x38, 0, 255, octets[33] ^ 0x20))


def _number(at: int) -> Callable[[bytearray, Random], None]:
    def change(octets: bytearray, random: Random) -> None:
        value = int.from_bytes(octets[at : at + 4], "big")
        value += random.choice((1, -1, 1460, -1460, LIMIT, 65535, 1 << 31, -(1 << 31), random.getrandbits(32)))
        octets[at : at + 4] = (value & 0xFFFF_FFFF).to_bytes(4, "big")

    return change


def _window(octets: bytearray, random: Random) -> None:
    octets[34:36] = random.choice((0, 1, 100, 65535)).to_bytes(2, "big")


def _urgent(octets: bytearray, random: Random) -> None:
    octets[33] |= 0x20
    octets[38:40] = random.choice((0, 1, 65535)).to_bytes(2, "big")


def _cut(octets: bytearray, random: Random) -> None:
    del octets[random.randrange(20, len(octets) + 1) :]
    octets.extend(bytes(max(40 - len(octets), 0)))


def _grow(octets: bytearray, random: Random) -> None:
    octets.extend(random.randbytes(random.choice((1, 100, 1400))))


def _data_offset(octets: bytearray, random: Random) -> None:
    octets[32] = random.randrange(16) << 4


def _options(octets: bytearray, random: Random) -> None:
    """Other options, of which some are well formed."""
    kinds = (b"\x02\x04\x00\x01", b"\x03\x03\xff", b"\x04\x02", b"\x05\x0a" + random.randbytes(8), b"\x00", b"\x01")
    stamp = b"\x08\x0a" + random.randbytes(8)
    text = b"".join(random.choice((*kinds, stamp, random.randbytes(3))) for _ in range(random.randrange(5)))[:40]
    text += bytes(-len(text) % 4)
    end = 20 + (octets[32] >> 4) * 4
    octets[40 : max(min(end, len(octets)), 40)] = text
    octets[32] = (5 + len(text) // 4) << 4


def _ports(octets: bytearray, random: Random) -> None:
    octets[20:24] = random.choice((octets[22:24] + octets[20:22], octets[20:22] + b"\x00\x50", bytes(4)))


def _source(octets: bytearray, random: Random) -> None:
    octets[12:16] = random.choice((octets[16:20], bytes(4), b"\xff" * 4, b"\x7f\0\0\1", random.randbytes(4)))


def _ecn(octets: bytearray, random: Random) -> None:
    octets[1] |= random.choice((1, 2, 3))


def _fragment(octets: bytearray, random: Random) -> None:
    octets[6:8] = random.choice((b"\x20\x00", b"\x00\x01", b"\x40\x00", b"\x80\x00"))


def _same(octets: bytearray, random: Random) -> None:
    """The frame as it was: a duplicate."""


MUTATIONS: list[Callable[[bytearray, Random], None]] = [
    *(_bit, _flags, _flags, _number(24), _number(24), _number(28), _number(28), _window, _urgent, _cut, _grow),
    *(_data_offset, _options, _options, _ports, _source, _ecn, _fragment, _same),
]


def live(pair: Pair, frames: int) -> None:
    rounds = 0
    while pair.injected < frames:
        for step in pair.random.choice(LIVES):
            step(pair)
            pair.now += pair.random.choice((0, MILLISECOND, 50 * MILLISECOND))
        pair.finish()
        rounds += 1
        if rounds % 60 == 0:
            pair.check()
    pair.check()


@pytest.mark.slow
def test_some_mutated_frames() -> None:
    """J-7, a taste of it."""
    live(Pair(Random(1), 3), 1500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_100000_mutated_frames(seed: int) -> None:
    """J-7: half of them in each of two runs; every state was visited."""
    pair = Pair(Random(seed), 4)
    live(pair, FRAMES // 2)
    assert set(pair.tracer.states) == {state.value for state in State} - {"listen"}
    assert pair.injected >= FRAMES // 2
