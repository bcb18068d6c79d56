"""Whole connections under any segments, calls and times, in any order; `tests.property.tcp_fuzz_world` has the rules.

In the end the programs close, the peer is silent, and everything has to end, with few wake-ups.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodes.units import MILLISECOND, SECOND
from nodes.wire.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG
from tests.property.tcp_fuzz_world import (
    AMPLE,
    ISS,
    LIMIT,
    SCARCE,
    Arrives,
    Calls,
    Reports,
    Step,
    Waits,
    World,
    run,
)
from tests.sim.tcp_attacker import MASK

# ------------------------------------------------------------------------------------------------------ what may come

flags = st.one_of(
    st.sampled_from([ACK, ACK, ACK | PSH, ACK | FIN, SYN, SYN | ACK, RST, RST | ACK, ACK | URG, 0, FIN]),
    st.sampled_from([ACK | ECE, ACK | CWR, SYN | ECE | CWR, SYN | ACK | ECE, SYN | FIN, ACK | ECE | CWR | PSH]),
    st.integers(0, 255),
)
edges = st.one_of(
    st.just(0),
    st.sampled_from([-1, 1, 2, 100, 536, 1000, 1460, -100, -1460, 5000, LIMIT, -LIMIT, 65535, 1 << 31, -(1 << 31)]),
    st.integers(-3000, 3000),
    st.integers(0, MASK),
)
near = st.one_of(st.just(0), st.just(0), st.sampled_from([1, -1, 100, 536, 1460]), edges)
arrivals = st.builds(
    Arrives,
    flags,
    st.sampled_from(["rcv_nxt", "rcv_nxt", "rcv_nxt", "edge", "irs"]),
    near,
    st.sampled_from(["nxt", "nxt", "una", "iss"]),
    near,
    st.sampled_from([65535, 65535, 0, 1, 100, 1460, 4000]),
    st.sampled_from([0, 0, 1, 100, 536, 1460]),
    st.sampled_from([0, 1, 2, *range(17)]),
    st.sampled_from([0, 0, 1, 5, 65535]),
    st.booleans(),
)
names = [name.removeprefix("call_") for name in vars(World) if name.startswith("call_")]
amounts = st.one_of(st.integers(0, 30), st.sampled_from([100, 1000, 5000, LIMIT, 60_000]))
calls = st.builds(Calls, st.sampled_from([*names, "send", "send", "receive", "accept"]), st.integers(0, 6), amounts)
times = st.sampled_from([0, 1, MILLISECOND, 40 * MILLISECOND, SECOND, 61 * SECOND, 300 * SECOND, 2000 * SECOND])
waits = st.builds(Waits, st.one_of(st.none(), times))
reports = st.builds(
    Reports,
    st.sampled_from([3, 3, 3, 4, 5, 11, 12]),
    st.integers(0, 5),
    st.sampled_from([0, 68, 296, 552, 1006, 65535]),
    st.sampled_from([0, 0, 1, 1000, -1]),
)
steps = st.one_of(arrivals, arrivals, calls, waits, reports)

HANDSHAKE: list[Step] = [
    Arrives(SYN, "irs", 0, "iss", 0, 65535, 0, 5, 0, False),
    Arrives(ACK, "rcv_nxt", 0, "nxt", 0, 65535, 0, 1, 0, False),
    Calls("accept", 0, 0),
]
CONNECT: list[Step] = [
    Calls("connect", 0, 0),
    Arrives(SYN | ACK, "irs", 0, "nxt", 0, 65535, 0, 5, 0, False),
]


@pytest.mark.slow
@pytest.mark.parametrize("opening", [[], HANDSHAKE, CONNECT], ids=["anything", "accepted", "connected"])
@settings(max_examples=200)
@given(
    iss=st.sampled_from(ISS),
    timestamps=st.booleans(),
    memory=st.sampled_from([AMPLE, AMPLE, SCARCE]),
    script=st.lists(steps, max_size=40),
)
@example(iss=ISS[0], timestamps=True, memory=AMPLE, script=[Calls("send", 1, 5000), Calls("abort", 1, 0)])
def test_any_life_of_a_connection(
    opening: list[Step], iss: int, timestamps: bool, memory: int, script: list[Step]
) -> None:
    """J-7, J-8: whatever happens, and then it ends."""
    run(iss, timestamps, opening + script, memory).ends()


SHUFFLED = [(0, 500), (500, 1400), (100, 900), (1900, 1), (1901, 99), (2000, 1000), (2500, 500), (0, 1), (2999, 1)]


@pytest.mark.slow
@settings(max_examples=80)
@given(order=st.permutations(range(len(SHUFFLED))), again=st.lists(st.integers(0, 8)), fin_at=st.integers(0, 9))
def test_segments_in_any_order_are_read_once(order: list[int], again: list[int], fin_at: int) -> None:
    """J-6: overlapping segments and the FIN, shuffled and repeated."""
    world = run(ISS[0], True, HANDSHAKE)
    (socket,) = [item for item in world.sockets if item is not world.listener]
    queue = [SHUFFLED[index] for index in [*order, *again]]
    queue.insert(fin_at, (3000, 0))
    for start, length in queue:
        flag = ACK | FIN if start == 3000 else ACK
        world.arrives(Arrives(flag, "irs", 1 + start, "nxt", 0, 65535, length, 1, 0, False))
        if Random(start).random() < 0.5:
            world.call_receive(socket, 700)
    while world.books.get(socket, 0) < 3000:
        before = world.books.get(socket, 0)
        world.call_receive(socket, 700)
        assert world.books[socket] > before
    assert socket.receive() == b""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_long_life(seed: int) -> None:
    """Thousands of steps on one stack, connections coming and going: nothing piles up."""
    random = Random(seed)
    world = World(ISS[seed % 2], bool(seed & 2), SCARCE if seed == 3 else AMPLE)
    for _ in range(300):
        script = random.choice((HANDSHAKE, CONNECT, []))
        for step in script + [chosen(random) for _ in range(random.randrange(40))]:
            match step:
                case Arrives():
                    world.arrives(step)
                case Calls():
                    world.calls(step)
                case Waits():
                    world.waits(step)
            world.check()
        kept = [socket for socket in world.sockets if not socket.closed]
        for socket in kept[4:]:
            socket.abort(world.now)
        world.sockets = kept[:4]
        world.attacker.pump()
        world.last = None
        world.attacker.stack.drain_ready()
    world.ends()


def chosen(random: Random) -> Step:
    kind = random.random()
    if kind < 0.2:
        return Calls(random.choice([*names, "send", "receive"]), random.randrange(7), random.choice((1, 50, 3000)))
    if kind < 0.3:
        return Waits(random.choice((None, 0, MILLISECOND, 50 * MILLISECOND, SECOND, 100 * SECOND)))
    return Arrives(
        random.choice((ACK, ACK, ACK | PSH, ACK | FIN, SYN, RST, SYN | ACK, random.randrange(256))),
        random.choice(("rcv_nxt", "rcv_nxt", "rcv_nxt", "edge", "irs")),
        random.choice((0, 0, 0, 1, 100, 1000, -1, -100, random.getrandbits(32))),
        random.choice(("nxt", "nxt", "una", "una", "iss")),
        random.choice((0, 0, 0, 1, 100, -1, random.getrandbits(32))),
        random.choice((65535, 65535, 4000, 1, 0)),
        random.choice((0, 0, 1, 100, 1460)),
        random.randrange(17),
        random.choice((0, 3)),
        random.random() < 0.1,
    )
