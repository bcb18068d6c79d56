"""The receive window: what the peer is allowed to send (RFC 9293 sections 3.4 and 3.8.6, RFC 7323 section 2).

            available          window = edge - rcv_nxt
    ├──────────────────────┼───────────────────────────┤
    position            rcv_nxt                       edge ──▶ never moves left

The window is a promise of memory, kept as its right edge, an extended sequence number. What was promised is taken
even if the capacity was lowered since (SHLD-14). It opens again by three rules:

- **Silly windows** (MUST-39, RFC 1122 section 4.2.3.3). The edge moves only if it can move by half of the capacity or a
  full segment, whichever is less. A reader of single octets would otherwise make the peer send single octets.
- **Updates.** After a read, an acknowledgment that only tells of the new edge is worth sending if it at least
  doubles the window (`update_due`). All others tell it anyway. A closed window thus opens at the first full segment.
- **Scaling** (RFC 7323 section 2.3). The wire has 16 bits, in units of 2^shift octets. Rounding down would pull the
  edge back by up to a unit as `rcv_nxt` moves on in octets. Section 2.4 makes senders tolerate this; rounding up spares
  them it. The edge then creeps to the right by less than a unit per acknowledgment, and with segments smaller than a
  unit the window would never close. So the creep is bounded (`CREEP` units, until the edge moves by right); from there
  on rounding is downwards. Even then all up to `edge` is taken.

    scale_for(capacity) -> shift          syn_window(capacity) -> what a SYN says, never scaled
    ReceiveWindow(buffer, shift=, mss=)   offer() -> the window field       update_due() -> bool after a read
    edge                                  acceptable(sequence, length) -> bool
"""

from __future__ import annotations

from nodes.transport.tcp.receive_buffer import ReceiveBuffer

MAXIMUM_FIELD = 65_535
MAXIMUM_SHIFT = 14
"""RFC 7323 section 2.3: a window is less than 2^30 octets."""

CREEP = 8192
"""Units of 2^shift by which rounding up may move the edge beyond the capacity. With a shift that fits, they are
between an eighth and a quarter of it; a window of 2,000 segments that closes unread needs a fortieth."""


INITIAL_GRANT = 1 << 17
"""Octets that a program which has read nothing yet is trusted to read."""


def granted(limit: int, read: int) -> int:
    """How much may wait for a program that has read `read` octets so far, of at most `limit`. A peer in slow start
    sends per round trip about as much as in all those before, so twice of that never holds it back; and what nobody
    reads costs no more than INITIAL_GRANT."""
    return min(limit, INITIAL_GRANT + 2 * read)


def scale_for(capacity: int) -> int:
    """The least shift with which the window can say `capacity` octets, at most 14."""
    shift = 0
    while shift < MAXIMUM_SHIFT and MAXIMUM_FIELD << shift < capacity:
        shift += 1
    return shift


def syn_window(capacity: int) -> int:
    """The window field of a segment with SYN, which is never scaled (RFC 7323 section 2.2)."""
    return min(capacity, MAXIMUM_FIELD)


class ReceiveWindow:
    """Made when the peer's SYN came: `edge` is then what our SYN said, or is going to. `shift` is ours as negotiated (0
    if window scaling is not in use), `mss` the largest payload that the peer sends; it may change. The capacity is
    the buffer's, and may change at any time; with 0 the edge stays where it is."""

    __slots__ = ("_buffer", "_crept", "edge", "mss", "shift")

    def __init__(self, buffer: ReceiveBuffer, *, shift: int, mss: int) -> None:
        self._buffer = buffer
        self._crept = 0
        self.edge = buffer.rcv_nxt + syn_window(buffer.capacity)
        self.shift = shift
        self.mss = mss

    def offer(self) -> int:
        """The window field of the segment that is sent now. Moves `edge`: the segment must go out."""
        buffer, edge, shift = self._buffer, self.edge, self.shift
        rcv_nxt = buffer.rcv_nxt
        capacity = buffer.capacity
        limit = rcv_nxt + capacity - buffer.available
        gain = limit - edge
        if gain > 0 and (gain >= self.mss or gain * 2 >= capacity):
            field = min((limit - rcv_nxt) >> shift, MAXIMUM_FIELD)
            offered = rcv_nxt + (field << shift)
            if offered >= edge:
                self.edge = offered
                self._crept = 0
                return field
        return self._hold()

    def update_due(self) -> bool:
        """True if the application has read so much that the peer should hear of it now."""
        buffer, shift = self._buffer, self.shift
        capacity = buffer.capacity
        window = self.edge - buffer.rcv_nxt
        room = min((capacity - buffer.available) >> shift, MAXIMUM_FIELD) << shift
        gain = room - window
        return gain > 0 and (gain >= self.mss or gain * 2 >= capacity) and room >= 2 * window and not buffer.finished

    def acceptable(self, sequence: int, length: int) -> bool:
        """The test of RFC 9293 section 3.4 for a segment of `length` octets, SYN and FIN counted. `length` > 0: some
        octet is inside the window. Length 0: as the RFC says, and also at the edge itself, where a peer is that has
        used the whole window: were its acknowledgments dropped, our data would be stuck until its loss is repaired."""
        rcv_nxt = self._buffer.rcv_nxt
        if length:
            return sequence < self.edge and sequence + length > rcv_nxt
        return rcv_nxt <= sequence <= self.edge

    def _hold(self) -> int:
        """The field that says the edge as it stands, or the next that can be said."""
        shift = self.shift
        rcv_nxt = self._buffer.rcv_nxt
        window = self.edge - rcv_nxt
        if window <= 0:
            return 0
        field = window >> shift
        rest = window - (field << shift)
        if rest:
            crept = self._crept + (1 << shift) - rest
            if crept <= CREEP << shift:
                field += 1
                self._crept = crept
                self.edge = rcv_nxt + (field << shift)
        return field
