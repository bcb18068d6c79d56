"""One node and somebody who means no good: any segment, at any time, as fast as the machine goes.

    attacker = Attacker()
    server = attacker.listen(80)
    flow = attacker.open(server)                     # a handshake by hand; `flow.socket` is the node's accepted socket
    flow.send(ACK, flow.seq, data=b"x")
    attacker.advance(10 * SECOND)
    attacker.sent                                    # the segments that the node answered with

The node is a whole `nodes.stack.Stack` on a link of bare IP packets. Every input is followed by what a driver does:
frames are taken, and what is due runs. A node that is due again at once, for ever, is found out here (`TURNS`).

`memory_of` weighs all objects that can be reached from a stack, so that a bound on memory counts what Python holds and
not what our counters believe.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from random import Random
from types import BuiltinFunctionType, FunctionType, ModuleType

from nodes.datalink.interface import PointToPointInterface
from nodes.network.routes import Route
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.transport.tcp.connection import Connection
from nodes.transport.tcp.layer import TcpLayer
from nodes.transport.tcp.settings import TcpSettings
from nodes.transport.tcp.socket import TcpSocket
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ipv4, tcp, tcp_options
from nodes.wire.addresses import ANY, Ip4, Prefix, parse_ip4
from nodes.wire.tcp import ACK, SYN, Segment

NODE, PEER = parse_ip4("10.0.0.1"), parse_ip4("10.0.0.2")
MASK = 0xFFFF_FFFF
RTT = 10 * MILLISECOND
"""How far away the attacker is, in the handshakes of `open`."""

TURNS = 200
"""Times that a node may be due again at one instant."""

PATTERN = Random(5).randbytes(1 << 16) * 2
"""What streams consist of: the octet of a sequence number depends on that number alone, so an octet in a wrong place
shows, however the segments overlapped. 2^32 is a multiple of its period."""


def octets(sequence: int, length: int) -> bytes:
    """The octets of a stream from `sequence` on; at most 65,536."""
    start = sequence & 0xFFFF
    return PATTERN[start : start + length]


def options_of_syn(*, mss: int = 1460, scale: int | None = 7, stamp: int | None = None, sack: bool = True) -> bytes:
    return tcp_options.build_syn(mss, scale, sack, None if stamp is None else (stamp, 0))


class Flow:
    """One connection, seen from outside: `seq` is our next number, `ack` what we acknowledge; 32 bits."""

    def __init__(self, attacker: Attacker, port: int, remote: Ip4, local_port: int, irs: int) -> None:
        self.attacker = attacker
        self.port, self.remote, self.local_port = port, remote, local_port
        self.irs = irs
        self.seq = (irs + 1) & MASK
        self.ack = 0
        self.socket: TcpSocket | None = None

    def send(
        self, flags: int, seq: int, ack: int | None = None, *, win: int = 65535, data: bytes = b"", options: bytes = b""
    ) -> list[Segment]:
        """A segment to the node; the answers to it."""
        ack = self.ack if ack is None else ack
        return self.attacker.feed(
            flags, seq, ack, win=win, data=data, options=options, port=self.port, local_port=self.local_port,
            remote=self.remote,
        )  # fmt: skip

    @property
    def connection(self) -> Connection:
        key = (NODE, self.local_port, self.remote, self.port)
        found = self.attacker.tcp.find(*key)
        assert found is not None, "the node has no such connection"
        return found


class Attacker:
    """`now` is the node's time, `wakeups` how often a timer woke it, `sent` the segments of the last input or advance
    (with `keep`, of all), fragments left out."""

    def __init__(self, settings: TcpSettings | None = None, *, mtu: int = 1500, seed: int = 1, keep: bool = False):
        self.now = 1000 * SECOND
        self.keep = keep
        self.sent: list[Segment] = []
        self.frames = 0
        self.wakeups = 0
        tracer = NullTracer()
        link = PointToPointInterface(0, "p0", mtu, tracer)
        self.stack = Stack(
            [link], Random(seed), tracer, forwarding=False, now=self.now, tcp=settings or TcpSettings(ecn=False)
        )
        self.stack.add_address(0, Prefix(NODE, 8), self.now)
        self.stack.add_route(Route(Prefix(ANY, 0), PEER, 0), self.now)

    @property
    def tcp(self) -> TcpLayer:
        return self.stack.tcp

    # -------------------------------------------------------------------------------------------------------- inputs

    def feed(
        self, flags: int, seq: int, ack: int = 0, *, win: int = 65535, data: bytes = b"", options: bytes = b"",
        urgent: int = 0, port: int = 5000, local_port: int = 80, remote: Ip4 = PEER, traffic_class: int = 0,
    ) -> list[Segment]:  # fmt: skip
        """A segment reaches the node; what it sends at once."""
        segment = tcp.build(
            remote, NODE, port, local_port, seq & MASK, ack & MASK, flags, win, urgent=urgent, options=options,
            payload=data,
        )  # fmt: skip
        return self.packet(ipv4.build(remote, NODE, tcp.PROTOCOL, segment, traffic_class=traffic_class))

    def packet(self, packet: bytes) -> list[Segment]:
        """Any packet reaches the node; what it sends at once."""
        self.stack.receive(0, packet, self.now)
        return self.pump()

    def pump(self) -> list[Segment]:
        """What a driver does after each input."""
        if not self.keep:
            self.sent = []
        self._drain()
        for _ in range(TURNS):
            due = self.stack.deadline()
            if due is None or due > self.now:
                return self.sent
            self.stack.timeout(self.now)
            self._drain()
        raise AssertionError(f"the node spins: it is {self.now}, and it is due at {self.stack.deadline()}")

    def advance(self, duration: int) -> list[Segment]:
        """Time passes; what the node sends meanwhile."""
        end = self.now + duration
        sent = list(self.pump())
        while (due := self.stack.deadline()) is not None and due <= end:
            assert due > self.now
            self.now = due
            self.wakeups += 1
            self.stack.timeout(due)
            new = self.pump()
            if not self.keep:
                sent += new
        self.now = end
        if not self.keep:
            self.sent = sent
        return self.sent

    def _drain(self) -> None:
        frames = self.stack.transmit()
        self.frames += len(frames)
        for _, packet in frames:
            fragment = (packet[6] & 0x3F) << 8 | packet[7]
            if packet[9] == tcp.PROTOCOL and not fragment:
                header, payload = ipv4.parse(packet)
                self.sent.append(tcp.parse(payload, header.source, header.destination))

    # ------------------------------------------------------------------------------------------------- ready-made

    def listen(self, port: int = 80, *, backlog: int = 128, **options: object) -> TcpSocket:
        socket = self.tcp.open()
        for name, value in options.items():
            socket.set_option(name, value, self.now)
        socket.bind(ANY, port, self.now)
        socket.listen(backlog, self.now)
        return socket

    def flow(self, port: int = 5000, *, remote: Ip4 = PEER, local_port: int = 80, irs: int = 7_000_000) -> Flow:
        return Flow(self, port, remote, local_port, irs)

    def open(
        self, server: TcpSocket | None, port: int = 5000, *, remote: Ip4 = PEER, win: int = 65535, irs: int = 7_000_000,
        options: bytes | None = None, data: bytes = b"",
    ) -> Flow:  # fmt: skip
        """A connection that the attacker opens; accepted where a `server` is given."""
        flow = self.flow(port, remote=remote, local_port=80 if server is None else server.local[1], irs=irs)
        answers = flow.send(SYN, irs, 0, win=win, options=options_of_syn() if options is None else options)
        assert len(answers) == 1 and answers[0].flags & (SYN | ACK) == SYN | ACK, answers
        flow.ack = (answers[0].sequence + 1) & MASK
        self.now += RTT
        answer = answers[0].options.timestamp
        stamp = b""
        if answer is not None:
            stamp = tcp_options.build((answer[1], answer[0]))
        flow.send(ACK, flow.seq, win=win, options=stamp, data=data)
        if server is not None:
            flow.socket = server.accept()
            assert flow.socket is not None
        return flow

    # ---------------------------------------------------------------------------------------------------- questions

    def connections(self) -> int:
        return len(self.tcp._connections)

    def memory(self) -> int:
        return memory_of(self.stack)

    def assert_empty(self) -> None:
        """Nothing of any connection is left."""
        assert not self.tcp._connections
        assert not self.tcp._pending
        assert not len(self.tcp._timers)
        assert not self.tcp._time_waits
        assert self.tcp.deadline() is None


def victim(*, win: int = 65535, scale: int | None = 7, mss: int = 1460, **options: object) -> tuple[Attacker, Flow]:
    """A node with one accepted connection; `options` are the socket's, the rest is the attacker's SYN."""
    attacker = Attacker()
    server = attacker.listen(80, **options)
    flow = attacker.open(server, win=win, options=options_of_syn(mss=mss, scale=scale))
    assert flow.socket is not None
    return attacker, flow


_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)


def memory_of(root: object) -> int:
    """Octets of all objects that can be reached from `root`, classes and code left out."""
    seen = {id(root)}
    waiting: deque[object] = deque([root])
    total = 0
    while waiting:
        item = waiting.popleft()
        total += sys.getsizeof(item)
        for other in gc.get_referents(item):
            if id(other) not in seen and not isinstance(other, _SHARED):
                seen.add(id(other))
                waiting.append(other)
    return total
