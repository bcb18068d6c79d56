"""The two ends of a scripted connection: `Peer`, who is on the wire, and `Program`, who is above the node's socket. See
`tests.script.tcp_script`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeVar

from nodes.errors import StackError
from nodes.trace.events import ListTracer
from nodes.trace.tcp_events import ConnectionStateUpdated
from nodes.transport.tcp.settings import SocketOptions
from nodes.transport.tcp.socket import TcpSocket
from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND
from nodes.wire import icmp, ipv4
from nodes.wire.addresses import Ip4, format_ip4, parse_ip4
from tests.script import tcp_capture as capture
from tests.script.tcp_capture import ACK, MODULUS, PROTOCOL, PSH, RST, SYN, Flow, Segment, distance, flag_names

T = TypeVar("T")

NODE, PEER, OTHER = (parse_ip4(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
PORT, PEER_PORT = 80, 5000

DELAYED_ACK = 500 * MILLISECOND
"""The longest that an acknowledgment may wait (MUST-40)."""

QUIET = 300 * MILLISECOND
"""Silence that counts as no answer: longer than our delayed ACK, shorter than any retransmission."""


class Driver(Protocol):
    """What both ends ask of the script around them."""

    now: int
    mtu: int
    tracer: ListTracer
    out: deque[Segment]

    def feed(self, packet: bytes) -> None: ...

    def pump(self) -> None: ...

    def advance_to_output(self, limit: int) -> int: ...

    def check(self, condition: bool, message: str) -> None: ...

    def expect_nothing(self, duration: int = 0) -> None: ...


class Peer:
    """The other end of one connection. All numbers are relative; `key` are the node's socket and the peer's."""

    def __init__(self, script: Driver, key: tuple[Ip4, int, Ip4, int], iss: int, irs: int) -> None:
        self.script = script
        self.key = key
        self.iss = iss
        self.irs = irs
        self.flow = Flow(script.mtu)
        self.program: Program = Program(script, None)
        self._born = len(script.tracer.events)

    # ------------------------------------------------------------------------------------------------------ sending

    def send(
        self,
        flags: int,
        *,
        seq: int,
        ack: int = 0,
        win: int = 65535,
        data: bytes = b"",
        options: bytes = b"",
        urgent: int = 0,
        source: Ip4 | None = None,
        destination: Ip4 | None = None,
        data_offset: int | None = None,
        reserved: int = 0,
        checksum_field: int | None = None,
        options_of_ip: bytes = b"",
    ) -> None:
        """A segment to the node. `win` and `urgent` are the fields as they are; `ack` counts only with the flag ACK;
        `source`, `destination`, `data_offset` and `checksum_field` override what is right."""
        local, local_port, remote, remote_port = self.key
        remote = remote if source is None else source
        local = local if destination is None else destination
        if flags & SYN and checksum_field is None:
            self._note_syn(options)
        segment = capture.build(
            remote,
            local,
            remote_port,
            local_port,
            self.irs + seq,
            self.iss + ack if flags & ACK else 0,
            flags,
            win,
            urgent=urgent,
            options=options,
            payload=data,
            data_offset=data_offset,
            reserved=reserved,
            checksum_field=checksum_field,
        )
        self.script.feed(ipv4.build(remote, local, PROTOCOL, segment, options=options_of_ip))

    def sack(self, *blocks: tuple[int, int]) -> bytes:
        """The SACK option with blocks of the node's relative numbers."""
        return capture.sack(*((self.iss + start, self.iss + end) for start, end in blocks))

    def icmp(self, kind: int, code: int, *, seq: int, rest: int = 0, source: Ip4 = OTHER, length: int = 1500) -> None:
        """An ICMP error about a segment of the node with sequence number `seq`, which was `length` octets long; it
        quotes the eight octets that RFC 792 asks for."""
        local, local_port, remote, remote_port = self.key
        quoted = capture.build(
            local, remote, local_port, remote_port, self.iss + seq, 0, ACK, 0, payload=bytes(length - 40)
        )
        packet = ipv4.build(local, remote, PROTOCOL, quoted, dont_fragment=True)[: ipv4.HEADER_LENGTH + 8]
        message = icmp.build(kind, code, rest, packet)
        self.script.feed(ipv4.build(source, local, ipv4.PROTOCOL_ICMP, message))

    def _note_syn(self, options: bytes) -> None:
        """For the rules of the flow, which start with what the SYNs say. Options that are wrong count as none."""
        padded = options + bytes(-len(options) % 4)
        try:
            self.flow.peer_opens(capture.read_options(padded))
        except (AssertionError, IndexError):
            self.flow.peer_opens(capture.Options())

    # ---------------------------------------------------------------------------------------------------- expecting

    def expect(
        self,
        flags: int,
        *,
        seq: int | None = None,
        ack: int = 0,
        win: int | None = None,
        data: bytes | int = b"",
        absolute: int | None = None,
    ) -> Segment:
        """Takes the next segment of the node and compares it: its flags (PSH only where it is asked for), its sequence
        number, its acknowledgment number where ACK is set, its payload (octets, or how many), its window in octets
        where `win` is given. `absolute` is a sequence number that is not relative: the 0 of a reset. Returns it."""
        wanted = f"{flag_names(flags)} seq {seq if absolute is None else absolute} ack {ack}"
        self.script.check(bool(self.script.out), f"expected {wanted}, seen nothing")
        segment = self.script.out.popleft()
        differences = self._differences(segment, flags, self.iss + seq if absolute is None else absolute, ack, data)
        if win is not None and self.flow.window(segment) != win:
            differences.append(f"window {self.flow.window(segment)}, not {win}")
        seen = f"seen {segment}, relative seq {self.relative(segment)} ack {self.relative_ack(segment)}"
        self.script.check(not differences, f"expected {wanted}, {seen}: {', '.join(differences)}")
        return segment

    def _differences(self, segment: Segment, flags: int, sequence: int, ack: int, data: bytes | int) -> list[str]:
        local, local_port, remote, remote_port = self.key
        found = []
        if (segment.ip.source, segment.source_port) != (local, local_port):
            found.append("from another socket")
        if (segment.ip.destination, segment.destination_port) != (remote, remote_port):
            found.append("to another socket")
        if segment.flags & ~(0 if flags & PSH else PSH) != flags:
            found.append(f"flags {flag_names(segment.flags)}")
        if distance(segment.sequence, sequence % MODULUS):
            found.append("sequence number")
        if flags & ACK and distance(segment.acknowledgment, (self.irs + ack) % MODULUS):
            found.append("acknowledgment number")
        if (len(segment.payload) if isinstance(data, int) else segment.payload) != data:
            found.append(f"payload of {len(segment.payload)} octets")
        return found

    def expect_ack(self, *, seq: int, ack: int, win: int | None = None) -> Segment:
        """A pure acknowledgment, at once or after the delay that is allowed (MUST-40)."""
        if not self.script.out:
            self.script.advance_to_output(DELAYED_ACK - 1)
        return self.expect(ACK, seq=seq, ack=ack, win=win)

    def expect_reset(self, *, seq: int) -> Segment:
        """The answer to a segment with ACK that belongs to nobody: RST with that number, and no ACK."""
        return self.expect(RST, seq=seq)

    def expect_nothing(self, duration: int = 0) -> None:
        self.script.expect_nothing(duration)

    def relative(self, segment: Segment) -> int:
        return distance(segment.sequence, self.iss % MODULUS)

    def relative_ack(self, segment: Segment) -> int | None:
        return distance(segment.acknowledgment, self.irs % MODULUS) if segment.flags & ACK else None

    # ----------------------------------------------------------------------------------------------------- the node

    @property
    def state(self) -> State:
        """The state of this peer's connection, as the node's events tell it; LISTEN where there is none, and a
        listener waits."""
        name = f"{format_ip4(self.key[2])}:{self.key[3]}"
        events = [
            event
            for _, event in self.script.tracer.events[self._born :]
            if isinstance(event, ConnectionStateUpdated) and event.remote == name
        ]
        state = State(events[-1].new) if events else State.CLOSED
        if state is State.CLOSED and self.program.socket is not None and self.program.socket.state is State.LISTEN:
            return State.LISTEN
        return state

    @property
    def edge(self) -> int:
        """The right edge of the window that the node offered: the first octet that it does not take."""
        return distance(self.flow.edge or 0, self.irs % MODULUS)

    @property
    def flow_ack(self) -> int:
        """The last acknowledgment number of the node."""
        return distance(self.flow.ack or 0, self.irs % MODULUS)


class Program:
    """The program above a socket of the node: the calls of `TcpSocket`, with the clock of the script and a driver
    that sends what they bring about."""

    def __init__(self, script: Driver, socket: TcpSocket | None) -> None:
        self.script = script
        self.socket = socket
        self._error: int | None = None  # what `sees` says next

    def _do(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return call(*arguments)
        finally:
            self.script.pump()

    def listen(self, backlog: int) -> None:
        self._do(self.socket.listen, backlog, self.script.now)

    def connect(self, address: Ip4, port: int) -> None:
        self._do(self.socket.connect, address, port, self.script.now)

    def accept(self) -> Program:
        """The next connection. Fails the script where there is none."""
        accepted = self.accepted()
        self.script.check(accepted is not None, "no connection to accept")
        return accepted

    def accepted(self) -> Program | None:
        """The next connection, if there is one."""
        socket = self._do(self.socket.accept)
        return None if socket is None else Program(self.script, socket)

    def send(self, data: bytes) -> int:
        return self._do(self.socket.send, data, self.script.now)

    def receive(self, limit: int = 65536) -> bytes | None:
        return self._do(self.socket.receive, limit)

    def shutdown(self) -> None:
        self._do(self.socket.shutdown, self.script.now)

    def close(self) -> None:
        self._do(self.socket.close, self.script.now)

    def abort(self) -> None:
        self._do(self.socket.abort, self.script.now)

    @property
    def state(self) -> State:
        return self.socket.state

    @property
    def options(self) -> SocketOptions:
        return self.socket.options

    def sees(self) -> bytes | int | None:
        """What reading says now: octets (b"" is the end), None for nothing, or the errno of an error. An error behind
        octets is kept for the next call."""
        if self._error is not None:
            error, self._error = self._error, None
            return error
        data = b""
        try:
            while piece := self.receive():
                data += piece
        except StackError as error:
            if not data:
                return error.errno
            self._error = error.errno
        return data or piece
