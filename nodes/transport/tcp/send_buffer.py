"""What the application gave and the peer has not acknowledged: the octets from SND.UNA on (RFC 9293 section 3.8.6.2).

    start (SND.UNA)                       tail                     end
      │  chunk   │     chunk      │ chunk  │ small writes, merged  │   free   │ start + capacity
      └──────────┴────────────────┴────────┴───────────────────────┘
            ▲ view(start, length): any range, any number of times, for segments and for their retransmission

A large `bytes` is kept as it is: `bytes` never change, so views of it go all the way to the network without a copy.
What may change after the call, a `bytearray` or a `memoryview`, is copied. Small writes are copied too, one behind the
other into a growing tail, as a million writes of one octet must not become a million objects. A tail that is long
enough, or is followed by a large write, becomes a chunk and grows no more; from then on it gives views as well. As long
as it grows it gives copies: memory that a view looks at cannot be resized.

The chunk of a sequence number is found by bisection, or at once if it is the one that was asked for last or the next.
Released chunks only move the head of the list, which is cut off when it is half of it: constant cost per chunk.

    append(data) -> accepted     view(start, length)     release(until)     start  end  capacity  free
"""

from __future__ import annotations

from bisect import bisect_right

from nodes.errors import MisuseError
from nodes.wire.checksum import Buffer

SMALL = 4096
"""Octets of a write from which on it is a chunk of its own; what that costs besides is then some 5 %."""

TAIL = 1 << 16
"""Octets of small writes that are merged: as many as a segment can have where the network segments (GSO)."""

_COMPACT = 256
"""Released chunks whose places in the list are kept at least, so that it is not rebuilt for a few."""

_EMPTY = memoryview(b"")


class SendBuffer:
    """`start` is the number of the first octet, ISS + 1, `end` that of the octet after the last one: extended sequence
    numbers. `capacity` in octets may change at any time; nothing that was accepted is lost by that."""

    __slots__ = ("_chunks", "_head", "_last", "_starts", "_tail", "_tail_start", "capacity", "end", "start")

    def __init__(self, start: int, capacity: int) -> None:
        self.start = start
        self.end = start
        self.capacity = capacity
        self._chunks: list[memoryview] = []
        self._starts: list[int] = []
        self._head = 0  # the first chunk that is not released
        self._last = 0  # the chunk of the last view
        self._tail = bytearray()
        self._tail_start = start

    @property
    def free(self) -> int:
        """Octets that `append` would accept now."""
        return max(0, self.capacity - (self.end - self.start))

    def append(self, data: Buffer) -> int:
        """Takes as much of the beginning of `data` as there is room for. Returns how many octets that is."""
        length = data.nbytes if isinstance(data, memoryview) else len(data)
        room = self.capacity - (self.end - self.start)
        if length > room:
            if room <= 0:
                return 0
            data, length = memoryview(data).cast("B")[:room], room
        if length < SMALL:
            self._tail += data
            self.end += length
            if len(self._tail) >= TAIL:
                self._seal()
            return length
        if self._tail:
            self._seal()
        self._starts.append(self.end)
        self._chunks.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
        self.end += length
        self._tail_start = self.end
        return length

    def view(self, start: int, length: int) -> bytes | memoryview:
        """The octets of [start, start + length), or up to `end` if that comes first, in one piece. Raises MisuseError
        for what was released."""
        if start < self.start:
            raise MisuseError(f"octet {start} was acknowledged; the first one kept is {self.start}")
        if start >= self._tail_start:
            offset = start - self._tail_start
            return bytes(memoryview(self._tail)[offset : offset + length])
        index = self._find(start)
        chunk = self._chunks[index]
        offset = start - self._starts[index]
        if offset + length <= len(chunk):
            return chunk[offset : offset + length]
        return self._join(index, offset, length)

    def release(self, until: int) -> None:
        """Everything before `until` was acknowledged. What lies beyond `end` is not data (the FIN), and means nothing
        here."""
        if until >= self.end:
            self._clear()
            return
        if until <= self.start:
            return
        self.start = until
        starts, head = self._starts, self._head
        count = len(starts)
        while head < count and (starts[head + 1] if head + 1 < count else self._tail_start) <= until:
            self._chunks[head] = _EMPTY
            head += 1
        self._head = head
        if head >= _COMPACT and head * 2 >= count:
            del starts[:head], self._chunks[:head]
            self._head = 0

    @property
    def memory(self) -> int:
        """Octets that are held, those included that are acknowledged but belong to a chunk that is not yet."""
        first = self._starts[self._head] if self._head < len(self._starts) else self._tail_start
        return self.end - first

    def _find(self, start: int) -> int:
        """The index of the chunk that has the octet `start`; mostly the one asked for last, or the next."""
        starts, index = self._starts, self._last
        count = len(starts)
        if index >= count or start < starts[index] or (index + 1 < count and start >= starts[index + 1]):
            index += 1
            if index >= count or start < starts[index] or (index + 1 < count and start >= starts[index + 1]):
                index = bisect_right(starts, start, self._head) - 1
            self._last = index
        return index

    def _join(self, index: int, offset: int, length: int) -> bytes:
        """A copy of what lies in several chunks, beginning with the octet at `offset` of the chunk `index`."""
        parts: list[memoryview] = []
        chunks = self._chunks
        while length > 0 and index < len(chunks):
            part = chunks[index][offset : offset + length]
            parts.append(part)
            length -= len(part)
            offset = 0
            index += 1
        if length > 0:
            parts.append(memoryview(self._tail)[:length])
        return b"".join(parts)

    def _seal(self) -> None:
        """The tail becomes a chunk."""
        self._starts.append(self._tail_start)
        self._chunks.append(memoryview(self._tail).toreadonly())
        self._tail = bytearray()
        self._tail_start = self.end

    def _clear(self) -> None:
        self.start = self._tail_start = self.end
        if self._tail:
            self._tail = bytearray()
        if self._starts:
            self._starts.clear()
            self._chunks.clear()
            self._head = 0
