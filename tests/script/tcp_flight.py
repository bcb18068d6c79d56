"""A connection over which the node sends segments of 500 octets, seen by their index, for scripts about what is sent
when, and what is sent again.

    flight = Flight(make_script(RENO), sack=True)     # connected, with a round trip of 100 ms
    flight.write(20)                                  # the program writes 20 segments
    assert flight.left() == list(range(10))           # these left: the initial window
    flight.ack(0, (1, 4))                             # nothing new; segments 1, 2 and 3 by SACK
    assert flight.left()[0] == 0

`Model` is RFC 6298 section 2 in fractions, to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from nodes.transport.tcp.states import State
from nodes.units import MILLISECOND, SECOND
from nodes.wire import ipv4
from tests.script import tcp_capture as capture
from tests.script.tcp_capture import (
    ACK,
    CWR,
    ECE,
    PROTOCOL,
    SYN,
    Segment,
    mss,
    sack_permitted,
    timestamps,
    window_scale,
)
from tests.script.tcp_peer import Program
from tests.script.tcp_script import Script

SIZE = 500
"""So small that no loss looks like a black hole of large segments (RFC 4821)."""
RTT = 100 * MILLISECOND

CONGESTION_EXPERIENCED = 3
ECN_CAPABLE = 2  # ECT(0)
ECN_BITS = 3


class Flight:
    """`sack`, `stamped` and `ecn` are what the peer agrees to; `window` what it offers (octets), scaled by 2^`scale`;
    `rtt` how long it lets the node's SYN wait (the node's SYN-ACK where it is `passive`).
    `seq` is the number of its next segment."""

    def __init__(
        self,
        script: Script,
        *,
        sack: bool = False,
        stamped: bool = False,
        ecn: bool = False,
        rtt: int = RTT,
        window: int = 60_000,
        scale: int | None = None,
        passive: bool = False,
        size: int = SIZE,
        lost_syns: int = 0,
    ) -> None:
        self.script = script
        self.peer = script.peer()
        self.size = size
        self.stamped = stamped
        self.scale = scale or 0
        self.window = window
        self.echo = 0
        self.written = 0
        self.seq = 1
        options = mss(size + (12 if stamped else 0))
        options += sack_permitted() if sack else b""
        options += window_scale(scale) if scale is not None else b""
        self._open(options, ecn=ecn, rtt=rtt, passive=passive, lost_syns=lost_syns)

    def _open(self, options: bytes, *, ecn: bool, rtt: int, passive: bool, lost_syns: int) -> None:
        script, peer = self.script, self.peer
        window = min(self.window, 65535)
        own = SYN | (ECE | CWR if ecn else 0)
        if passive:
            listener = peer.program = script.listen()
            peer.send(own, seq=0, options=options + self._stamp(0), win=window)
            for _ in range(lost_syns + 1):
                script.advance_to_output(100 * SECOND)
                self._note(peer.expect(SYN | ACK | (ECE if ecn else 0), seq=0, ack=1))
            script.advance(rtt)
            self._send(ACK, ack=1)
            peer.program = listener.accept()
            return
        script.connect(peer)
        first = peer.expect(own, seq=0)
        self._note(first)
        for _ in range(lost_syns):
            script.advance_to_output(100 * SECOND)
            self._note(peer.expect(SYN, seq=0))
        script.advance(rtt)
        flags = SYN | ACK | (ECE if ecn else 0)
        peer.send(flags, seq=0, ack=1, options=options + self._stamp(self.echo), win=window)
        self._note(peer.expect(ACK, seq=1, ack=1))
        self._send(ACK, ack=1)  # the window of the SYN-ACK was not scaled

    def _stamp(self, echo: int) -> bytes:
        return timestamps(self.script.now // MILLISECOND, echo) if self.stamped else b""

    def _note(self, segment: Segment) -> None:
        if segment.options.timestamps is not None:
            self.echo = segment.options.timestamps[0]

    # ---------------------------------------------------------------------------------------------------- the program

    @property
    def program(self) -> Program:
        return self.peer.program

    def set(self, name: str, value: object) -> None:
        self.program.socket.set_option(name, value, self.script.now)
        self.script.pump()

    def write(self, segments: int, octets: int = 0) -> None:
        """The program writes so many segments, and so many octets more; all must be taken."""
        length = segments * self.size + octets
        data = bytes((self.written + index) * 7 & 0xFF for index in range(length))
        assert self.program.send(data) == length
        self.written += length

    def info(self, name: str) -> int:
        """A value of the socket's `info`."""
        value = self.program.socket.info(self.script.now)[name]
        assert isinstance(value, int)
        return value

    @property
    def cwnd(self) -> int:
        """The congestion window in segments, rounded down."""
        return self.info("cwnd") // self.size

    @property
    def ended(self) -> int:
        """When the connection ended (ns of the script's clock)."""
        events = self.script.tracer.events
        return max(now for now, event in events if getattr(event, "new", "") == State.CLOSED.value)

    # ------------------------------------------------------------------------------------------------- what is seen

    def segments(self) -> list[Segment]:
        """What left since the last call."""
        found = list(self.script.out)
        self.script.out.clear()
        for segment in found:
            self._note(segment)
        return found

    def left(self) -> list[int]:
        """The indices of the full segments that left since the last call; nothing else may have left."""
        found = []
        for segment in self.segments():
            start = self.peer.relative(segment) - 1
            self.script.check(
                len(segment.payload) == self.size and not start % self.size, f"not a full segment: {segment}"
            )
            found.append(start // self.size)
        return found

    def until_output(self, limit: int = 100 * SECOND) -> int:
        """How long it takes until the node sends something."""
        return self.script.advance_to_output(limit)

    def wait(self, duration: int = RTT) -> None:
        self.script.advance(duration)

    # ------------------------------------------------------------------------------------------------------ the peer

    def ack(
        self,
        upto: int,
        *sacked: tuple[int, int] | int,
        flags: int = 0,
        win: int | None = None,
        echo: int | None = None,
        octets: int = 0,
    ) -> None:
        """Acknowledges all segments below `upto`, and `octets` more. `sacked` are the blocks, [first, last) or one
        index each, the newest (or the DSACK) first. `echo` is the TSval that is echoed, the last one seen otherwise."""
        blocks = [(item, item + 1) if isinstance(item, int) else item for item in sacked]
        options = self._stamp(self.echo if echo is None else echo)
        if blocks:
            options += self.peer.sack(*((1 + start * self.size, 1 + end * self.size) for start, end in blocks))
        self._send(ACK | flags, ack=1 + upto * self.size + octets, win=win, options=options)

    def duplicates(self, count: int, upto: int = 0) -> None:
        for _ in range(count):
            self.ack(upto)

    def _send(self, flags: int, *, ack: int, win: int | None = None, options: bytes | None = None) -> None:
        field = (self.window if win is None else win) >> self.scale
        options = self._stamp(self.echo) if options is None else options
        self.peer.send(flags, seq=self.seq, ack=ack, win=min(field, 65535), options=options)

    def round(self) -> list[int]:
        """One round trip without loss: what is in flight arrives after `RTT`, and each segment is acknowledged. Returns
        what left."""
        una = self.info("acknowledged") // self.size
        nxt = una + self.info("in_flight") // self.size
        self.wait()
        for upto in range(una + 1, nxt + 1):
            self.ack(upto)
        return self.left()

    def marked(self, seq: int, data: bytes, *, flags: int = 0, traffic_class: int = CONGESTION_EXPERIENCED) -> None:
        """Data of the peer whose packet has this traffic class: by default a router marked it (CE)."""
        peer = self.peer
        local, local_port, remote, remote_port = peer.key
        segment = capture.build(
            remote,
            local,
            remote_port,
            local_port,
            peer.irs + seq,
            peer.iss + 1,
            ACK | flags,
            65535,
            options=self._stamp(self.echo),
            payload=data,
        )
        self.script.feed(ipv4.build(remote, local, PROTOCOL, segment, traffic_class=traffic_class))


class Model:
    """RFC 6298 section 2: round trips in, retransmission timeouts out (ns)."""

    def __init__(self, minimum: int = SECOND, maximum: int = 60 * SECOND, granularity: int = MILLISECOND) -> None:
        self.minimum = minimum
        self.maximum = maximum
        self.granularity = granularity
        self.srtt: Fraction | None = None
        self.rttvar = Fraction(0)

    def sample(self, rtt: int) -> None:
        if self.srtt is None:
            self.srtt = Fraction(rtt)
            self.rttvar = Fraction(rtt, 2)
            return
        self.rttvar = Fraction(3, 4) * self.rttvar + Fraction(1, 4) * abs(self.srtt - rtt)
        self.srtt = Fraction(7, 8) * self.srtt + Fraction(1, 8) * rtt

    @property
    def rto(self) -> Fraction:
        if self.srtt is None:
            return Fraction(SECOND)
        rto = self.srtt + max(Fraction(self.granularity), 4 * self.rttvar)
        return min(max(rto, Fraction(self.minimum)), Fraction(self.maximum))


def first_missing(arrived: Iterable[int]) -> int:
    """The cumulative acknowledgment of a receiver that has these segments."""
    held = set(arrived)
    return next(index for index in range(len(held) + 1) if index not in held)


def close_to(measured: int, expected: Fraction | int, tolerance: int = 1000) -> bool:
    """Equal but for what arithmetic in whole nanoseconds loses."""
    return abs(measured - expected) <= tolerance
