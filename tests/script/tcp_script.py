"""Scripts for TCP: be the peer of a node, segment by segment, in a time of your own.

A script has one real node, `nodes.stack.Stack`, on a link that carries bare IP packets, and speaks for the other end:

    script = Script()
    program = script.listen(80)                       # what the program at the node does
    peer = script.peer()                              # who we are on the wire
    peer.send(SYN, seq=0, options=mss(1460))
    peer.expect(SYN | ACK, seq=0, ack=1)
    peer.send(ACK, seq=1, ack=1)
    server = program.accept()
    peer.send(ACK | PSH, seq=1, ack=1, data=b"hello")
    assert server.receive() == b"hello"
    peer.expect_ack(seq=1, ack=6)
    script.advance(10 * SECOND)                       # timers run in order, each at its deadline
    peer.expect_nothing()
    script.finish()                                   # nothing was sent that was not expected

Sequence numbers are relative: the SYN of either side is 0, its first octet 1. `Numbers` says where the absolute ones
begin; tests run with `PLAIN` ones and with those that pass 2^32 at the SYN or within the first octets of a stream.

Every segment that leaves is read by `tests.script.tcp_capture`, strictly, and held against the rules that are true for
whole connections. Segments wait in the order they left: `expect` takes the next one of the whole node and compares
all of it, `expect_nothing` says that there is none.

`Script.in_state` brings a connection into any of the eleven states by a legal exchange, see `POSITIONS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

from nodes.datalink.interface import PointToPointInterface
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import ListTracer
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.states import State
from nodes.units import SECOND
from nodes.wire.addresses import ANY, Ip4, Prefix
from tests.script import tcp_capture as capture
from tests.script.tcp_capture import ACK, FIN, MODULUS, PROTOCOL, PSH, SYN, Segment, mss
from tests.script.tcp_peer import NODE, PEER, PEER_PORT, PORT, Peer, Program

DEFAULTS = TcpSettings(ecn=False)
"""The settings of scripts: our SYN without ECN, which few of them are about."""

_TURNS = 1000  # timers that may be due at one time; a node that asks for more is spinning


class Numbers(NamedTuple):
    """The initial sequence numbers: the node's, and that of the first peer."""

    iss: int
    irs: int


PLAIN = Numbers(iss=1000, irs=70_000)
DATA_WRAPS = Numbers(iss=MODULUS - 51, irs=MODULUS - 1)
"""2^32 is passed within the node's first data, and by the peer's SYN."""
SYN_WRAPS = Numbers(iss=MODULUS - 1, irs=MODULUS - 51)
"""The other way round."""


class Sequences:
    """In the place of `nodes.transport.tcp.isn`: the initial sequence number that the script chose, for every
    connection until the script sets another."""

    def __init__(self, iss: int) -> None:
        self.iss = iss
        self.offset = 0
        """The node's timestamps are its clock plus this."""

    def initial(self, *_: object) -> int:
        return self.iss % MODULUS

    def timestamp_offset(self, *_: object) -> int:
        return self.offset


class Position(NamedTuple):
    """SND.UNA, SND.NXT and RCV.NXT of the node, relative."""

    una: int
    nxt: int
    rcv_nxt: int


OURS, THEIRS = bytes(range(100)), bytes(range(100, 200))
"""What each side sent, in every state that comes after the handshake. The node sent it twice, and the second hundred
is not acknowledged where the state does not say otherwise."""

POSITIONS = {
    State.CLOSED: Position(0, 0, 0),
    State.LISTEN: Position(0, 0, 0),
    State.SYN_SENT: Position(0, 1, 0),
    State.SYN_RCVD: Position(0, 1, 1),
    State.ESTABLISHED: Position(101, 201, 101),
    State.FIN_WAIT_1: Position(101, 202, 101),
    State.FIN_WAIT_2: Position(202, 202, 101),
    State.CLOSE_WAIT: Position(101, 201, 102),
    State.CLOSING: Position(101, 202, 102),
    State.LAST_ACK: Position(101, 202, 102),
    State.TIME_WAIT: Position(202, 202, 102),
}
"""Where `Script.in_state` leaves a connection."""


class Script:
    """A node, its clock and its link. `out` are the segments that nobody expected yet, `icmp` other packets;
    `own_sequences` is the node's own source of initial sequence numbers, which `sequences` replaced."""

    def __init__(
        self,
        numbers: Numbers = PLAIN,
        settings: TcpSettings = DEFAULTS,
        *,
        mtu: int = 1500,
        addresses: tuple[str, ...] = ("10.0.0.1/24",),
        seed: int = 1,
    ) -> None:
        self.numbers = numbers
        self.now = 1000 * SECOND
        self.tracer = ListTracer()
        self.sequences = Sequences(numbers.iss)
        link = PointToPointInterface(0, "eth0", mtu, self.tracer)
        self.stack = Stack([link], Random(seed), self.tracer, forwarding=False, now=self.now, tcp=settings)
        self.own_sequences = self.stack.tcp.sequences
        self.stack.tcp.sequences = self.sequences
        for address in addresses:
            self.stack.add_address(0, Prefix.parse(address), self.now)
        self.stack.add_route(Route(Prefix(ANY, 0), PEER, 0), self.now)
        self.mtu = mtu
        self.out: deque[Segment] = deque()
        self.icmp: list[bytes] = []
        self._held = False
        self._peers: dict[tuple[Ip4, int, Ip4, int], Peer] = {}

    # --------------------------------------------------------------------------------------------- the two ends

    def peer(
        self,
        address: Ip4 = PEER,
        port: int = PEER_PORT,
        *,
        local: Ip4 = NODE,
        local_port: int = PORT,
        iss: int | None = None,
        irs: int | None = None,
    ) -> Peer:
        """One who talks to the node, from `port` to `local_port`. `iss` (the node's) and `irs` (the peer's) are the
        numbers that its relative ones count from. A new peer between the same sockets replaces the old one."""
        iss = self.numbers.iss if iss is None else iss
        irs = self.numbers.irs if irs is None else irs
        peer = Peer(self, (local, local_port, address, port), iss, irs)
        self._peers[peer.key] = peer
        for segment in self.out:
            if segment.key == peer.key:  # the node called before we knew that it would
                peer.flow.check(segment)
        return peer

    def open(self) -> Program:
        """A program with a socket that is not bound yet."""
        return Program(self, self.stack.tcp.open())

    def listen(self, port: int = PORT, *, backlog: int = 8, address: Ip4 = ANY) -> Program:
        program = self.open()
        program.socket.bind(address, port, self.now)
        program.listen(backlog)
        return program

    def connect(self, peer: Peer) -> Program:
        """Starts an active open to `peer`, from the socket it talks to."""
        local, local_port, remote, remote_port = peer.key
        program = self.open()
        program.socket.bind(local, local_port, self.now)
        program.connect(remote, remote_port)
        peer.program = program
        return program

    # ------------------------------------------------------------------------------------------------- the clock

    def advance(self, duration: int) -> None:
        """Lets time pass: timers run in their order, each at its deadline."""
        self._run(self.now + duration, until_output=False)

    def advance_to_output(self, limit: int) -> int:
        """Lets time pass until the node sends something, at most `limit`. Returns how long it took."""
        start = self.now
        self._run(start + limit, until_output=True)
        return self.now - start

    def _run(self, end: int, *, until_output: bool) -> None:
        while not (until_output and self.out):
            deadline = self.stack.deadline()
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.pump()

    def feed(self, packet: bytes) -> None:
        """An IP packet reaches the node."""
        self.stack.receive(0, packet, self.now)
        self.pump()

    @contextmanager
    def burst(self) -> Iterator[None]:
        """What arrives and what programs do inside comes in one wake-up: the node is asked for output at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.pump()

    def pump(self) -> None:
        """What a driver does after every input: take what is to be sent, and run what is due already."""
        if self._held:
            return
        self._drain()
        for _ in range(_TURNS):
            deadline = self.stack.deadline()
            if deadline is None or deadline > self.now:
                return
            self.stack.timeout(self.now)
            self._drain()
        raise AssertionError(f"the node spins: its deadline stays at {self.stack.deadline()}, it is {self.now}")

    def _drain(self) -> None:
        for _, packet in self.stack.transmit():
            if packet[9] != PROTOCOL:
                self.icmp.append(packet)
                continue
            segment = capture.read(packet, self.now)
            peer = self._peers.get(segment.key)
            if peer is not None:
                peer.flow.check(segment)
            self.out.append(segment)

    # ------------------------------------------------------------------------------------------------ the verdict

    def check(self, condition: bool, message: str) -> None:
        """Fails the script with `message` where `condition` is false."""
        assert condition, message

    def finish(self) -> None:
        """Nothing is left that was not expected."""
        self.expect_nothing()

    def expect_nothing(self, duration: int = 0) -> None:
        """Nothing was sent, nor is within `duration`."""
        self.advance(duration)
        self.check(not self.out, f"nothing expected, seen: {'; '.join(map(str, self.out))}")

    # ------------------------------------------------------------------------------------------- ready-made states

    def in_state(self, state: State, *, passive: bool = False, options: bytes | None = None) -> Peer:
        """A peer whose connection is in `state`, at the numbers of `POSITIONS`: `peer.program` is the node's program
        (for LISTEN, and for SYN_RCVD when `passive`, the listener). It was opened by the node, or by the peer where
        `passive` says so; LISTEN always is, SYN_RCVD is otherwise that of a simultaneous open. `options` are those of
        the peer's SYN, an MSS of 1460 by default. Where the peer has closed, the program has read that; the node
        closes by a half-close (`shutdown`)."""
        peer = self.peer()
        syn_options = mss(1460) if options is None else options
        if state is not State.CLOSED:
            self._open(peer, state, passive or state is State.LISTEN, syn_options)
        if state not in (State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RCVD):
            self._talk(peer)
            _CLOSINGS[state](peer)
        self.check(peer.state is state, f"the connection is in {peer.state.name}, not in {state.name}")
        return peer

    def established(self, *, passive: bool = False, options: bytes | None = None) -> Peer:
        """A peer whose connection is open, and over which nothing went yet: SND.NXT and RCV.NXT are 1."""
        peer = self.peer()
        self._open(peer, State.ESTABLISHED, passive, mss(1460) if options is None else options)
        return peer

    def _open(self, peer: Peer, state: State, passive: bool, options: bytes) -> None:
        if passive:
            listener = peer.program = self.listen()
            if state is State.LISTEN:
                return
            peer.send(SYN, seq=0, options=options)
            peer.expect(SYN | ACK, seq=0, ack=1)
            if state is not State.SYN_RCVD:
                peer.send(ACK, seq=1, ack=1)
                peer.program = listener.accept()
            return
        self.connect(peer)
        peer.expect(SYN, seq=0)
        if state is State.SYN_RCVD:
            peer.send(SYN, seq=0, options=options)
            peer.expect(SYN | ACK, seq=0, ack=1)
        elif state is not State.SYN_SENT:
            peer.send(SYN | ACK, seq=0, ack=1, options=options)
            peer.expect(ACK, seq=1, ack=1)

    def _talk(self, peer: Peer) -> None:
        peer.send(ACK | PSH, seq=1, ack=1, data=THEIRS)
        peer.expect_ack(seq=1, ack=101)
        self.check(peer.program.receive() == THEIRS, "what the peer sent did not arrive")
        for seq in (1, 101):
            self.check(peer.program.send(OURS) == len(OURS), "the node did not take 100 octets")
            peer.expect(ACK, seq=seq, ack=101, data=OURS)
            if seq == 1:
                peer.send(ACK, seq=101, ack=101)


def _node_closes(peer: Peer) -> None:
    peer.program.shutdown()
    peer.expect(FIN | ACK, seq=201, ack=peer.flow_ack)


def _peer_closes(peer: Peer, ack: int, nxt: int) -> None:
    peer.send(FIN | ACK, seq=101, ack=ack)
    peer.expect_ack(seq=nxt, ack=102)
    assert peer.program.receive() == b"", "the end of the peer's data was not read"


def _to_fin_wait_2(peer: Peer) -> None:
    _node_closes(peer)
    peer.send(ACK, seq=101, ack=202)


def _to_closing(peer: Peer) -> None:
    _node_closes(peer)
    _peer_closes(peer, 101, 202)


def _to_time_wait(peer: Peer) -> None:
    _to_fin_wait_2(peer)
    _peer_closes(peer, 202, 202)


def _to_close_wait(peer: Peer) -> None:
    _peer_closes(peer, 101, 201)


def _to_last_ack(peer: Peer) -> None:
    _to_close_wait(peer)
    _node_closes(peer)


_CLOSINGS: dict[State, Callable[[Peer], None]] = {
    State.ESTABLISHED: lambda _: None,
    State.FIN_WAIT_1: _node_closes,
    State.FIN_WAIT_2: _to_fin_wait_2,
    State.CLOSE_WAIT: _to_close_wait,
    State.CLOSING: _to_closing,
    State.LAST_ACK: _to_last_ack,
    State.TIME_WAIT: _to_time_wait,
}
"""From ESTABLISHED to the states after it."""
