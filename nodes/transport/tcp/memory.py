"""A budget of memory for all connections of a node (`TcpSettings.memory`).

What the buffers of a connection hold is counted each time its output ran: two subtractions, whatever its size. While
the sum is over the budget

    windows     are not moved on: what was promised is still taken, and then the peer has to wait
    sends       take nothing
    opening     listeners drop SYNs, `connect` is refused (ENOBUFS)

and when the sum has fallen to seven eighths, what is free is shared by the connections whose windows stood still, and
programs that wanted to send are rung. Windows grow while less than half of the budget is used.
"""

from __future__ import annotations

from nodes.transport.tcp.connection import Connection


class MemoryBudget:
    """`limit` and `used` in octets."""

    __slots__ = ("_frozen", "_senders", "limit", "refusing", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.refusing = False
        """Even of what was promised only the next octets of a stream whose program has read all are taken."""
        self._frozen: dict[Connection, None] = {}
        self._senders: dict[Connection, None] = {}

    @property
    def exhausted(self) -> bool:
        return self.used > self.limit

    @property
    def ample(self) -> bool:
        """Windows may grow: less than half of the budget is used."""
        return 2 * self.used < self.limit

    def account(self, c: Connection) -> None:
        """Count what an open connection holds now."""
        held = c.send_buffer.memory
        if c.recovery is not None:
            held += c.receive_buffer.memory
        self.used += held - c.held
        c.held = held
        self.refusing = self.used > self.limit + self.limit // 4

    def release(self, c: Connection) -> None:
        """The connection is over."""
        self.used -= c.held
        c.held = 0
        self.refusing = self.used > self.limit + self.limit // 4
        self._frozen.pop(c, None)
        self._senders.pop(c, None)

    def wait(self, c: Connection) -> None:
        """A program wants to send."""
        self._senders[c] = None

    def freeze(self, c: Connection) -> None:
        """Let the window of a connection stand still."""
        if c.recovery is not None and c not in self._frozen:
            self._frozen[c] = None
            c.receive_buffer.capacity = 0

    def thaw(self) -> None:
        """Let everything go on, if there is memory again."""
        if not (self._frozen or self._senders) or 8 * self.used > 7 * self.limit:
            return
        frozen, self._frozen = self._frozen, {}
        senders, self._senders = self._senders, {}
        share = (self.limit - self.used) // max(len(frozen), 1)
        for c in frozen:
            buffer = c.receive_buffer
            buffer.capacity = min(c.receive_capacity(c.octets_read), max(buffer.available + share, c.peer_mss))
            c.acknowledge_now()
        for c in senders:
            c.wake()
