"""What has come from the peer: octets in order that wait for the application, and ranges beyond a gap.

                 read()                 append()            insert()
    application ◀────── │ in order, unread │ gap  │ range │ gap │ range │
                        position           rcv_nxt                      ≤ edge of the window

Reassembly works on ranges of octets, never on segments: a range is a contiguous run, and runs that touch are one
(RFC 9293 section 3.10.7.4: "segments with higher beginning sequence numbers SHOULD be held"). Of octets that come more
than once, the first copy counts, so what was acknowledged is never altered. What fills the gap at RCV.NXT delivers the
run behind it, and no segment is looked at twice.

    _starts   the starts of the ranges, sorted: a range is found by bisection
    _ends     start -> end of each range, the one that was touched last first: the order of SACK blocks
    _pieces   start -> octets; a range is walked from its start, piece by piece

So ranges merge without moving their octets: an arrival costs O(log n) and the few ranges that it swallows. All that
grows with n are the moves of pointers inside one list, some 30 KiB for 4,000 ranges.

**SACK** (RFC 2018 section 4). `sack_blocks` names the ranges, first the one with the newest arrival, then the others by
how new they are, so that each range is repeated in several acknowledgments and the loss of one does no harm. Nothing
that was once reported is dropped (no reneging, section 8).

**DSACK** (RFC 2883 section 4). `duplicate` is the first contiguous run of octets of an arrival that were here before,
below RCV.NXT or inside a range. It goes out once, before the other blocks. A range that it lies in counts as touched,
and so becomes the second block as section 4, rule 4 wants.

**Memory.** A view keeps the frame alive that it is a part of. Where the view is small, or not the most of its frame,
its octets are copied; small ones in order are merged. Thus octets in order cost at most about twice their number, and
the window bounds these. Ranges have a bound of their own that counts overhead, as a peer may send every second octet
only. What exceeds it is refused, counted, never acknowledged, and comes again; octets at RCV.NXT are never refused, so
the stream always goes on.

    append(view)             hot path: the next octets in order
    insert(sequence, view)   all other data: out of order, partly old, filling a gap
    finish()                 the FIN was reached: it counts one in rcv_nxt, and ranges beyond it mean nothing
    read(limit)  peek(limit)  skip(count)          available  position
    sack_blocks(count)  take_duplicate()  report(count)    has_gaps  out_of_order  refused
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from itertools import islice

SMALL = 512
"""Octets below which a view is copied: the objects that hold it, and the headers of its frame, cost about as many."""

MERGED = 1 << 14
"""Octets up to which small arrivals in order are merged into one chunk."""

PIECE_OVERHEAD = 300
"""What a piece costs besides its octets: a place in `_pieces`, a view, the rest of the frame it looks at."""

RANGE_OVERHEAD = 300
"""What a range costs: its places in `_starts` and `_ends`."""

MEMORY_FACTOR = 2
MEMORY_FLOOR = 1 << 16
"""Ranges may hold `MEMORY_FACTOR * capacity + MEMORY_FLOOR` octets, overhead included: a whole window of segments of
300 octets, each one alone in 600."""


class ReceiveBuffer:
    """`start` is the number of the first octet expected, IRS + 1, as an extended sequence number; `capacity` how many
    octets may wait, which is kept by the window (`nodes.transport.tcp.receive_window`) and may change at any time.

    `rcv_nxt` is RCV.NXT. `available` octets can be read. `out_of_order` octets are held beyond gaps, `has_gaps` says
    whether there are any. `duplicate` is the DSACK block that is due. `refused` counts arrivals for which there was
    no memory.
    """

    __slots__ = (
        "_chunks",
        "_ends",
        "_offset",
        "_pieces",
        "_starts",
        "available",
        "capacity",
        "duplicate",
        "finished",
        "has_gaps",
        "out_of_order",
        "rcv_nxt",
        "refused",
    )

    def __init__(self, start: int, capacity: int) -> None:
        self.capacity = capacity
        self.rcv_nxt = start
        self.available = 0
        self.out_of_order = 0
        self.has_gaps = False
        self.finished = False
        self.duplicate: tuple[int, int] | None = None
        self.refused = 0
        self._chunks: deque[bytes | bytearray | memoryview] = deque()
        self._offset = 0  # octets of the first chunk that were read
        self._starts: list[int] = []
        self._ends: OrderedDict[int, int] = OrderedDict()
        self._pieces: dict[int, bytes | memoryview] = {}

    def append(self, view: memoryview) -> None:
        """Takes the octets from `rcv_nxt` on. They must be inside the window and never change."""
        if self.has_gaps:
            self.insert(self.rcv_nxt, view)
            return
        size = len(view)
        if size >= SMALL and size * 4 >= len(view.obj) * 3:  # type: ignore[arg-type]  # whatever has octets
            self._chunks.append(view)
        else:
            self._copy(view)
        self.rcv_nxt += size
        self.available += size

    def insert(self, sequence: int, view: memoryview) -> None:
        """Takes the octets from `sequence` on, wherever that is, as far as they are new. They must end inside the
        window, and never change; what lies before `rcv_nxt` is cut off here, and reported as duplicate."""
        end = sequence + len(view)
        rcv_nxt = self.rcv_nxt
        old = sequence < rcv_nxt
        if old:
            if end > sequence:
                self.duplicate = (sequence, min(end, rcv_nxt))
            view = view[rcv_nxt - sequence :]
            sequence = rcv_nxt
        if end <= sequence or self.finished:
            return
        starts = self._starts
        if sequence == rcv_nxt and (not starts or end < starts[0]):
            self._keep(_own(view))
            self.rcv_nxt = end
            return
        due = self.duplicate
        self._merge(sequence, end, view, noted=old or (due is not None and due[1] == sequence == rcv_nxt))
        if starts and starts[0] == rcv_nxt:
            self._deliver()
        self.has_gaps = bool(starts)

    def duplicated(self, start: int, end: int) -> None:
        """Octets of an arrival that came again, and were cut off by the caller: to be reported. The rest may follow by
        `insert`; where it has octets that came again too, the first ones stay the ones reported."""
        if start < end:
            self.duplicate = (start, end)

    def finish(self) -> None:
        """The peer's FIN is the next in order, and is taken: it counts one in sequence space (RFC 9293 section 3.4).
        What pretends to lie beyond it is forgotten."""
        if self.finished:
            return
        self.finished = True
        self.rcv_nxt += 1
        self._starts.clear()
        self._ends.clear()
        self._pieces.clear()
        self.out_of_order = 0
        self.has_gaps = False

    @property
    def position(self) -> int:
        """The number of the next octet that the application will read: what an urgent pointer is compared with."""
        return self.rcv_nxt - self.available - self.finished

    def read(self, limit: int) -> bytes:
        """The next octets, at most `limit`; b"" where there are none."""
        chunks = self._chunks
        if limit >= self.available and not self._offset:
            data = b"".join(chunks)
            chunks.clear()
            self.available = 0
            return data
        data = self.peek(limit)
        self.skip(len(data))
        return data

    def peek(self, limit: int) -> bytes:
        """The same octets that `read` would give, which stay."""
        limit = min(limit, self.available)
        offset = self._offset
        parts = []
        for chunk in self._chunks:
            if limit <= 0:
                break
            part = chunk[offset : offset + limit]
            parts.append(part)
            limit -= len(part)
            offset = 0
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Drops the next `count` octets, or all there are: what was peeked at, or what nobody is going to read."""
        count = min(count, self.available)
        self.available -= count
        chunks = self._chunks
        count += self._offset
        while chunks and len(chunks[0]) <= count:
            count -= len(chunks.popleft())
        self._offset = count

    def sack_blocks(self, count: int) -> list[tuple[int, int]]:
        """At most `count` ranges that are held, as [start, end), the one with the newest arrival first."""
        return list(islice(self._ends.items(), count))

    def take_duplicate(self) -> tuple[int, int] | None:
        """The DSACK block that is due, which then is no longer: each duplicate is reported once."""
        duplicate, self.duplicate = self.duplicate, None
        return duplicate

    def report(self, count: int) -> list[tuple[int, int]]:
        """The blocks of an acknowledgment, at most `count`: the DSACK block if one is due, then the SACK blocks."""
        duplicate = self.take_duplicate()
        if duplicate is None or count <= 0:
            return self.sack_blocks(count)
        return [duplicate, *self.sack_blocks(count - 1)]

    @property
    def ranges(self) -> int:
        """How many ranges are held."""
        return len(self._starts)

    @property
    def memory(self) -> int:
        """About how many octets of memory are held, overhead included."""
        return self.available + self._range_memory()

    def _range_memory(self) -> int:
        return self.out_of_order + PIECE_OVERHEAD * len(self._pieces) + RANGE_OVERHEAD * len(self._starts)

    def _merge(self, sequence: int, end: int, view: memoryview, *, noted: bool) -> None:
        """Puts [sequence, end) among the ranges: it becomes one with all that it touches or overlaps. `noted`: the
        first part that came again is known already."""
        starts, ends = self._starts, self._ends
        low = bisect_right(starts, sequence)
        if low:
            before = starts[low - 1]
            stop = ends[before]
            if stop == sequence and (low == len(starts) or end < starts[low]) and not self._full(end - sequence):
                self._pieces[sequence] = _own(view)  # the common case, spelled out: a range grows at its end
                self.out_of_order += end - sequence
                ends[before] = end
                ends.move_to_end(before, last=False)
                return
            if stop >= sequence:
                low -= 1
        high = bisect_right(starts, end, low)
        missing = self._missing(sequence, end, starts[low:high], noted=noted)
        if not missing:
            ends.move_to_end(starts[low], last=False)
        elif sequence > self.rcv_nxt and self._full(end - sequence):
            self.refused += 1
        else:
            for start, stop in missing:
                self._pieces[start] = _own(view[start - sequence : stop - sequence])
                self.out_of_order += stop - start
            self._unite(low, high, sequence, end)

    def _unite(self, low: int, high: int, first: int, last: int) -> None:
        """The ranges of the indices [low, high), and all in between from `first` to `last`, are one now."""
        starts, ends = self._starts, self._ends
        if low < high:
            first = min(first, starts[low])
            last = max(last, ends[starts[high - 1]])
            for start in starts[low:high]:
                if start != first:
                    del ends[start]
        starts[low:high] = [first]
        ends[first] = last
        ends.move_to_end(first, last=False)

    def _missing(self, sequence: int, end: int, touched: list[int], *, noted: bool) -> list[tuple[int, int]]:
        """What of [sequence, end) is in none of the ranges that start at `touched`. Notes the first part that is."""
        missing = []
        position = sequence
        for start in touched:
            stop = self._ends[start]
            if position < start:
                missing.append((position, start))
            if not noted and start < end and stop > sequence:
                self.duplicate = (max(start, sequence), min(stop, end))
                noted = True
            position = max(position, stop)
        if position < end:
            missing.append((position, end))
        return missing

    def _full(self, size: int) -> bool:
        limit = MEMORY_FACTOR * self.capacity + MEMORY_FLOOR
        return self._range_memory() + size + PIECE_OVERHEAD + RANGE_OVERHEAD > limit

    def _deliver(self) -> None:
        """The first range begins at `rcv_nxt`: it is in order now."""
        start = self._starts.pop(0)
        end = self._ends.pop(start)
        pop = self._pieces.pop
        self.out_of_order -= end - start
        while start < end:
            piece = pop(start)
            start += len(piece)
            self._keep(piece)
        self.rcv_nxt = end

    def _keep(self, piece: bytes | memoryview) -> None:
        """A piece that keeps no more memory alive than it should is the next in order; `rcv_nxt` is the caller's."""
        if len(piece) >= SMALL:
            self._chunks.append(piece)
        else:
            self._copy(piece)
        self.available += len(piece)

    def _copy(self, view: bytes | memoryview) -> None:
        if len(view) >= SMALL:
            self._chunks.append(bytes(view))
            return
        chunks = self._chunks
        if chunks:
            last = chunks[-1]
            if isinstance(last, bytearray) and len(last) < MERGED:
                last += view
                return
        if view:
            chunks.append(bytearray(view))


def _own(view: memoryview) -> bytes | memoryview:
    """The view, or a copy where it would keep too much memory alive."""
    if len(view) >= SMALL and len(view) * 4 >= len(view.obj) * 3:  # type: ignore[arg-type]
        return view
    return bytes(view)
