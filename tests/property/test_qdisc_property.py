"""netem's messages: what was before never matters, and what is packed is unpacked the same."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.host import qdisc
from lab.host.netlink import NetlinkError
from lab.links.kernel import KernelExecutor, can_express
from nodes.impairment import Distribution, GilbertElliott, Impairment, MarkovLoss, RandomLoss, Slot
from tests.unit.netem_kernel import DELAY_DIST, SLOT_DIST, Netem, NetemKernel

chances = st.sampled_from([0.0, 0.0, 0.01, 0.5, 1.0])
times = st.sampled_from([0, 0, 1, 20_000_001, 300_000_000_000])
jitters = st.sampled_from([0, 0, 1, 5_000_000, (1 << 31) - 1])
distributions = st.sampled_from([Distribution(), Distribution("normal"), Distribution("table", (-8192, 0, 8192))])
losses = st.one_of(
    st.none(),
    st.builds(RandomLoss, chance=chances, correlation=chances),
    st.builds(MarkovLoss, p13=chances, p31=chances, p32=chances, p23=chances, p14=chances),
    st.builds(GilbertElliott, p=chances, r=chances, bad_loss=chances, good_loss=chances),
)
slots = st.one_of(
    st.none(),
    st.builds(Slot, minimum=times, maximum=st.just(0), packets=st.sampled_from([0, 5]), octets=st.sampled_from([0, 5])),
    st.builds(Slot, minimum=st.sampled_from([0, 7]), maximum=st.sampled_from([8, (1 << 31) - 1])),
    st.builds(Slot, distribution=distributions, delay=times, jitter=jitters),
)
impairments = st.builds(
    Impairment,
    delay=times, jitter=jitters, delay_correlation=chances, distribution=distributions, loss=losses, ecn=st.booleans(),
    corrupt=chances, corrupt_correlation=chances, duplicate=chances, duplicate_correlation=chances, reorder=chances,
    reorder_correlation=chances, gap=st.sampled_from([0, 5]), rate=st.sampled_from([0, 8, 10_000_003, 50_000_000_000]),
    overhead=st.sampled_from([0, -20]), cell=st.sampled_from([0, 53]), cell_overhead=st.sampled_from([0, 4]),
    slot=slots, limit=st.sampled_from([0, 1, 0xFFFF_FFFF]),
)  # fmt: skip


@given(st.lists(impairments, min_size=1, max_size=5))
@settings(max_examples=150, deadline=None)
def test_history_does_not_matter(history: list[Impairment]) -> None:
    """Where two netems were asked for the same last, they do the same."""
    long, short = NetemKernel(), NetemKernel()
    executor = KernelExecutor(long)  # type: ignore[arg-type]
    for impairment in history:
        assert can_express(impairment) is None
        executor.impair(21, impairment, 1500, 42)
    KernelExecutor(short).impair(21, history[-1], 1500, 42)  # type: ignore[arg-type]
    assert meaning(long.netems[21]) == meaning(short.netems[21])


def meaning(netem: Netem) -> tuple[object, ...]:
    """What a netem will do: a table counts where its jitter is not zero, and a uniform one as much as none."""
    told = qdisc.decode_netem(netem.told())
    slot = told.slot
    if not (slot.minimum or slot.maximum or slot.jitter):
        interval: object = "none"
    elif SLOT_DIST in netem.tables:
        interval = (table(netem, SLOT_DIST) if slot.jitter else (), slot.delay, slot.jitter)
    else:
        interval = ((), (slot.minimum + slot.maximum) // 2, (slot.maximum - slot.minimum) // 2)
    delays = table(netem, DELAY_DIST) if told.jitter else ()
    return told._replace(slot=qdisc.NetemSlot(), seed=None), delays, interval, slot.packets, slot.octets


def table(netem: Netem, kind: int) -> tuple[int, ...]:
    value = netem.tables.get(kind, b"")
    entries = struct.unpack(f"={len(value) // 2}h", value)
    return () if entries == qdisc.uniform_table() else entries


@given(impairments, st.integers(0, 2**64 - 1))
def test_packing_keeps_everything(impairment: Impairment, seed: int) -> None:
    asked = qdisc.settings_of(impairment, 1500, seed)
    got = qdisc.decode_netem(qdisc.pack(asked))
    assert got == asked
    assert qdisc.differences(asked, got) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_refused(options: bytes) -> None:
    try:
        qdisc.decode_netem(options)
    except NetlinkError:
        return
