"""ARQ on a wire that loses, doubles and damages whatever it likes, and never changes the order: everything arrives
once and in order. And on octets that nobody meant: nothing is raised, and nothing grows without bound."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.contract import ArqConfig, InterfaceConfig, NodeConfig
from nodes.datalink.arq.settings import ArqSettings
from nodes.stack import Stack
from nodes.trace.events import FrameReceived, ListTracer
from nodes.units import MILLISECOND
from nodes.wire import arq
from nodes.wire.addresses import BROADCAST_MAC
from nodes.wire.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_RARP, HEADER_LENGTH
from tests.unit.arq_world import GO_BACK_N, INNER, SELECTIVE_REPEAT, STOP_AND_WAIT, TIMEOUT, A, B, End, Pair

KEPT, LOST, TWICE, DAMAGED = range(4)


@st.composite
def disciplines(draw: st.DrawFn) -> ArqSettings:
    """Safe ones, with timers from shorter than the round trip on."""
    chosen = draw(st.sampled_from((STOP_AND_WAIT, GO_BACK_N, SELECTIVE_REPEAT)))
    if chosen.kind != "stop-and-wait":
        bits = draw(st.integers(2, 5))
        most = (1 << bits) - 1 if chosen.kind == "go-back-n" else 1 << (bits - 1)
        window = draw(st.integers(1, most))
        chosen = replace(chosen, bits=bits, window=window, buffer=window + draw(st.integers(0, 5)))
    return replace(
        chosen,
        timeout=draw(st.sampled_from((15 * MILLISECOND, 25 * MILLISECOND, TIMEOUT))),
        retries=1000,
        processing=draw(st.sampled_from((0, 0, 3 * MILLISECOND, 40 * MILLISECOND))),
        flow_control=draw(st.booleans()),
        reject=draw(st.booleans()),
        rate=draw(st.sampled_from((0, 0, 100_000))),
    )


@settings(max_examples=150)
@given(
    chosen=disciplines(),
    fates=st.lists(st.integers(KEPT, DAMAGED), max_size=120),
    there=st.integers(0, 30),
    back=st.integers(0, 10),
)
def test_everything_arrives_once_and_in_order(chosen: ArqSettings, fates: list[int], there: int, back: int) -> None:
    remaining = list(fates)  # of the first frames, of both directions; the wire is good afterwards

    def fate(_: str, number: int, frame: bytes) -> list[bytes]:
        chance = remaining.pop() if remaining else KEPT
        if chance == DAMAGED:
            place = number % len(frame)
            return [frame[:place] + bytes((frame[place] ^ 0x10,)) + frame[place + 1 :]]
        return [frame] * (1, 0, 2)[chance]

    pair = Pair(chosen, fate)
    sent = {"a": [b"a%d" % n for n in range(there)], "b": [b"b%d" % n for n in range(back)]}
    for end, payloads in sent.items():
        pair.send(end, *payloads)
    pair.run(seconds=600)
    assert pair.taken == {"b": sent["a"], "a": sent["b"]}
    assert all(link.deadline() is None for link in pair.ends.values())


numbers = st.integers(0, 0xFFFF)
frames = st.builds(
    arq.ArqFrame,
    st.just(A),
    st.just(B),
    st.integers(0, len(arq.KINDS) - 1),
    st.integers(0, 255),
    numbers | st.integers(0, 7),
    numbers | st.integers(0, 7),
    st.just(INNER),
    st.binary(max_size=20),
)
steps = st.lists(
    st.one_of(
        st.binary(max_size=60).map(lambda octets: ("octets", octets)),
        frames.map(lambda frame: ("octets", arq.build(frame))),
        st.integers(0, 3 * TIMEOUT).map(lambda time: ("wait", time)),
        st.integers(1, 5).map(lambda count: ("send", count)),
        st.booleans().map(lambda up: ("carrier", up)),
    ),
    max_size=40,
)


@given(chosen=disciplines(), script=steps)
def test_nothing_that_comes_raises(chosen: ArqSettings, script: list[tuple[str, object]]) -> None:
    end = End(replace(chosen, retries=5, queue=10), connected=False)
    for kind, value in script:
        if kind == "octets":
            assert isinstance(value, bytes)
            end.link.receive(value, end.now)
        elif kind == "wait":
            assert isinstance(value, int)
            end.wait(value)
        elif kind == "send":
            assert isinstance(value, int)
            end.send(*(b"p" for _ in range(value)))
        else:
            end.link.set_carrier(bool(value), end.now)
        end.taken()
        state = end.link.snapshot()
        sender, receiver = state["sender"], state["receiver"]
        assert isinstance(sender, dict)
        assert isinstance(receiver, dict)
        assert sender["unacknowledged"] <= chosen.window
        assert sender["queued"] <= 10 + chosen.window
        assert receiver["held"] + receiver["pending"] <= chosen.buffer


CONFIG = NodeConfig(
    "fuzz",
    "a",
    "router",
    interfaces=(
        InterfaceConfig(
            "eth0",
            "02:00:00:00:00:01",
            ("10.0.0.1/24",),
            arq=ArqConfig("selective-repeat", 3, 4, TIMEOUT, 3, 10, 8, processing=MILLISECOND),
        ),
    ),
)
inside = st.one_of(st.binary(max_size=80), st.builds(bytes.__add__, st.just(bytes.fromhex("45000020")), st.binary()))
carried = st.builds(
    arq.ArqFrame,
    st.sampled_from((A, BROADCAST_MAC)),
    st.just(B),
    st.just(arq.DATA),
    st.just(0),
    st.integers(0, 7),
    st.integers(0, 7),
    st.sampled_from((ETHERTYPE_IPV4, ETHERTYPE_ARP, ETHERTYPE_RARP, arq.ETHERTYPE_ARQ, 0x86DD, 3)),
    inside,
)


@given(st.lists(st.one_of(st.binary(max_size=80), frames.map(arq.build), carried.map(arq.build)), max_size=20))
def test_nothing_that_comes_raises_in_a_stack(received: list[bytes]) -> None:
    """Inside the frames, too: what ARQ hands up is as little to be trusted as what a plain link brings."""
    tracer = ListTracer()
    stack = Stack.from_config(CONFIG, Random(1), tracer, 0)
    now = 0
    begin = arq.build(arq.ArqFrame(A, B, arq.SET_MODE))
    for frame in (begin, *received):
        stack.receive(0, frame, now)
        now += MILLISECOND
        due = stack.deadline()
        if due is not None and due <= now:
            stack.timeout(now)
        stack.transmit()
    assert stack.snapshot(now)
    assert len(tracer.of(FrameReceived)) == sum(len(frame) >= HEADER_LENGTH for frame in (begin, *received))
