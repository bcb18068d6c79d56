"""Reassembly and the send buffer against models that a child could check: one entry per octet."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from nodes.transport.tcp.receive_buffer import MEMORY_FACTOR, MEMORY_FLOOR, ReceiveBuffer
from nodes.transport.tcp.receive_window import CREEP, ReceiveWindow, scale_for
from nodes.transport.tcp.send_buffer import SendBuffer

START = (1 << 32) - 64
WINDOW = 64


@dataclass
class Model:
    """Positions are relative. `held` says which arrival's copy of an octet is kept; `touched` by which it came last."""

    held: dict[int, int] = field(default_factory=dict)
    touched: dict[int, int] = field(default_factory=dict)
    rcv_nxt: int = 0

    def receive(self, arrival: int, start: int, end: int) -> tuple[int, int] | None:
        """Returns the DSACK block that is due: the first contiguous run that was here before."""
        known = [position for position in range(start, end) if position < self.rcv_nxt or position in self.held]
        for position in range(max(start, self.rcv_nxt), end):
            self.held.setdefault(position, arrival)
            self.touched[position] = arrival
        while self.rcv_nxt in self.held:
            self.rcv_nxt += 1
        if not known:
            return None
        stop = known[0]
        while stop in known:
            stop += 1
        return known[0], stop

    def blocks(self) -> list[tuple[int, int]]:
        runs: list[tuple[int, int, int]] = []  # newest arrival, start, end
        for position in sorted(position for position in self.held if position > self.rcv_nxt):
            if runs and runs[-1][2] == position:
                newest, start, _ = runs.pop()
                runs.append((max(newest, self.touched[position]), start, position + 1))
            else:
                runs.append((self.touched[position], position, position + 1))
        return [(start, end) for _, start, end in sorted(runs, reverse=True)]


def segment(arrival: int, start: int, end: int, unit: int, rest: int) -> memoryview:
    """The octets of an arrival, told from those of all others, as a part of a frame with `rest` octets more."""
    octets = b"".join(bytes([arrival, position & 0xFF]) * (unit // 2) for position in range(start, end))
    return memoryview(bytes(rest) + octets)[rest:]


arrivals = st.lists(
    st.tuples(st.integers(-8, WINDOW - 1), st.integers(1, 24), st.integers(0, 3000), st.integers(0, 40)),
    max_size=60,
)


@given(arrivals, st.sampled_from([2, 300, 700]))
def test_any_arrivals(arrivals: list[tuple[int, int, int, int]], unit: int) -> None:
    """B-SEQ-4, 2018-4, 2883-4: any cuts, overlaps, duplicates and orders give the model's octets, blocks and DSACK."""
    buffer, model = ReceiveBuffer(START, WINDOW * unit), Model()
    stream, base = b"", 0
    for arrival, (offset, length, rest, limit) in enumerate(arrivals):
        start = base + offset
        end = min(start + length, base + WINDOW)
        in_order = start == model.rcv_nxt
        due = model.receive(arrival, start, end)
        view = segment(arrival, start, end, unit, rest)
        if in_order and not buffer.has_gaps:
            buffer.append(view)
        else:
            buffer.insert(START + start * unit, view)
        blocks = [(START + a * unit, START + b * unit) for a, b in model.blocks()]
        assert buffer.take_duplicate() == (None if due is None else (START + due[0] * unit, START + due[1] * unit))
        assert buffer.sack_blocks(100) == blocks
        assert buffer.sack_blocks(3) == blocks[:3]
        assert buffer.has_gaps == bool(blocks)
        assert buffer.rcv_nxt == START + model.rcv_nxt * unit
        assert buffer.out_of_order == sum(end - start for start, end in blocks)
        assert buffer.refused == 0
        peeked = buffer.peek(limit * unit)
        assert buffer.read(limit * unit) == peeked
        stream += peeked
        assert buffer.position == START + len(stream)
        base = len(stream) // unit
    stream += buffer.read(1 << 30)
    expected = b"".join(bytes([model.held[at], at & 0xFF]) * (unit // 2) for at in range(model.rcv_nxt))
    assert stream == expected


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(1, 50)), max_size=200), st.integers(0, 300))
def test_memory_is_bounded_and_nothing_reported_is_dropped(arrivals: list[tuple[int, int]], capacity: int) -> None:
    """2018-8: no reneging, even where the bound refuses."""
    buffer = ReceiveBuffer(0, capacity)
    reported: set[int] = set()
    for start, length in arrivals:
        # not far enough to need more than the floor with few octets: force the bound by the overhead of ranges
        buffer.insert(start * 2, memoryview(bytes(1500))[:length])
        assert buffer.memory - buffer.available <= MEMORY_FACTOR * capacity + MEMORY_FLOOR
        covered = set(range(buffer.rcv_nxt))
        for first, last in buffer.sack_blocks(1000):
            covered.update(range(first, last))
        assert reported <= covered
        reported = covered


writes = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([0, 1, 10, 1448, 4095, 4096, 9000, 70_000])),
        st.tuples(st.just("release"), st.integers(0, 20_000)),
        st.tuples(st.just("view"), st.integers(0, 150_000)),
    ),
    max_size=60,
)


@given(writes, st.sampled_from([bytes, bytearray, memoryview]), st.sampled_from([1, 1448, 65_000]))
def test_send_buffer(operations: list[tuple[str, int]], kind: type[bytes], length: int) -> None:
    """All views are the stream's octets, however it was written, released and looked at."""
    buffer, stream, start = SendBuffer(START, 150_000), b"", 0
    for number, (verb, value) in enumerate(operations):
        if verb == "append":
            data = bytes([number & 0xFF, number >> 3]) * (value // 2) + b"!" * (value % 2)
            accepted = buffer.append(kind(data))
            assert accepted == min(value, 150_000 - (len(stream) - start))
            stream += data[:accepted]
        elif verb == "release":
            start = max(start, min(start + value, len(stream)))
            buffer.release(START + start)
        else:
            at = min(start + value, len(stream))
            assert bytes(buffer.view(START + at, length)) == stream[at : at + length]
        assert (buffer.start, buffer.end) == (START + start, START + len(stream))
        assert buffer.free == 150_000 - (len(stream) - start)
        assert buffer.memory <= 150_000 + 70_000
    assert bytes(buffer.view(START + start, 1 << 30)) == stream[start:]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 5000)),
        st.tuples(st.just("read"), st.integers(0, 200_000)),
        st.tuples(st.just("capacity"), st.integers(0, 500_000)),
        st.tuples(st.just("offer"), st.just(0)),
    ),
    max_size=80,
)


@given(st.integers(1, 500_000), st.sampled_from([1, 536, 1448, 9000]), steps)
def test_window(capacity: int, mss: int, operations: list[tuple[str, int]]) -> None:
    """SHLD-14: what was promised stays promised, and is bounded; 7323-2.4: nothing said is taken back by rounding."""
    buffer = ReceiveBuffer(START, capacity)
    window = ReceiveWindow(buffer, shift=scale_for(capacity), mss=mss)
    said, highest = window.edge, capacity
    for verb, value in operations:
        edge = window.edge
        if verb == "arrive":
            buffer.append(memoryview(bytes(min(value, edge - buffer.rcv_nxt))))
        elif verb == "read":
            buffer.read(value)
        elif verb == "capacity":
            buffer.capacity = value
            highest = max(highest, value)
        else:
            due, zero = window.update_due(), edge == buffer.rcv_nxt
            field = window.offer()
            assert 0 <= field <= 0xFFFF
            announced = buffer.rcv_nxt + (field << window.shift)
            assert said <= announced == window.edge
            said = announced
            assert not due or window.edge >= edge + min(mss, (buffer.capacity + 1) // 2)
            room = min(buffer.capacity - buffer.available, 0xFFFF << window.shift) >> window.shift << window.shift
            assert not zero or due or room < max(1, min(mss, (buffer.capacity + 1) // 2))
        assert window.edge >= edge
        assert window.edge - buffer.position <= max(highest, 0xFFFF) + (CREEP << window.shift)
