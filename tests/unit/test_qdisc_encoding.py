"""netem's settings as bytes. Golden messages are those of Debian 12's tc 6.1 (`strace tc qdisc add ...`), and what
Linux 6.1 told of a netem that was set with ours; both from little-endian machines."""

from __future__ import annotations

import dataclasses
import itertools
import struct
import sys

import pytest

from lab.host import qdisc
from lab.host import traffic_control as tc
from lab.host.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, NetlinkError, parse_attributes
from lab.host.qdisc import Held, NetemSettings, NetemSlot, settings_of
from nodes.impairment import (
    NOTHING,
    Distribution,
    GilbertElliott,
    Impairment,
    MarkovLoss,
    RandomLoss,
    Slot,
    TimedGilbertElliott,
)
from nodes.units import MILLISECOND, SECOND

golden = pytest.mark.skipif(sys.byteorder != "little", reason="the golden bytes are little-endian")

BY_TC = {
    "limit 1234 delay 20ms 5ms 25%": (
        "b4c40400d20400000000000000000000000000002d310100 1000010000000040 0000000000000000",
        Impairment(limit=1234, delay=20 * MILLISECOND, jitter=5 * MILLISECOND, delay_correlation=0.25),
    ),
    "delay 1ms loss gemodel 1% 10% 70% 0.1%": (
        "093d0000e80300000000000000000000000000000000000018000580140002 00295c8f029a999919cdcccc4c37894100",
        Impairment(delay=MILLISECOND, loss=GilbertElliott(p=0.01, r=0.1, bad_loss=0.7, good_loss=0.001)),
    ),
    "delay 1ms ecn": (
        "093d0000e803000000000000000000000000000000000000 0800070001000000",
        Impairment(delay=MILLISECOND, ecn=True),
    ),
    "delay 1ms loss state 1% 10% 20% 30% 0.5%": (
        "093d0000e803000000000000000000000000000000000000 1c00058018000100295c8f029a9999193333333314ae4701cccccc4c",
        Impairment(delay=MILLISECOND, loss=MarkovLoss(p13=0.01, p31=0.1, p32=0.2, p23=0.3, p14=0.005)),
    ),
    "delay 10ms corrupt 1% 10% duplicate 2% reorder 25% 50% gap 5 rate 50gbit 10 53 4": (
        "5a620200e8030000000000000500000052b81e0500000000 10000100000000000000000000000000"
        "0c0003000000004000000080 0c000400295c8f029a999919 0c000800806e877401000000"
        "14000600ffffffff0a0000003500000004000000",
        Impairment(
            delay=10 * MILLISECOND, corrupt=0.01, corrupt_correlation=0.1, duplicate=0.02, reorder=0.25,
            reorder_correlation=0.5, gap=5, rate=50_000_000_000, limit=1000, overhead=10, cell=53, cell_overhead=4,
        ),
    ),
    "delay 10ms loss 1% rate 10mbit -5 slot 10ms 20ms packets 3 bytes 4000": (
        "5a620200e8030000295c8f02000000000000000000000000"
        "2c000c008096980000000000002d31010000000003000000a00f000000000000000000000000000000000000"
        "14000600d0121300fbffffff0000000000000000",
        Impairment(
            delay=10 * MILLISECOND, loss=RandomLoss(chance=0.01), rate=10_000_000, overhead=-5,
            slot=Slot(10 * MILLISECOND, 20 * MILLISECOND, 3, 4000),
        ),
    ),
}  # fmt: skip
TOLD_BY_LINUX_6_1 = bytes.fromhex(
    "000000001500000000000100ffffffff020000000a0001006e6574656d0000007000020008af2f000081000000000000000000000000000000"
    "0000000c000a0000c2eb0b000000000c000b000000000000000000100001000000000000000000000000000c00030000000000000000000c00"
    "04000000000000000000140006000000000000000000000000000000000005000c0000000000040009003800070004000600140001005ca50d"
    "0000000000711e000000000000040006001800030000000000000000003d01000083000000000000002c0003005ca50d0000000000711e0000"
    "3d010000000000000000000000000000000000000000000000000000"
)


@golden
@pytest.mark.parametrize("command", BY_TC)
def test_the_same_numbers_as_tc(command: str) -> None:
    """What tc leaves out is zero with us."""
    options, impairment = BY_TC[command]
    asked = settings_of(impairment, 1500)
    assert qdisc.decode_netem(bytes.fromhex(options)) == asked
    assert qdisc.decode_netem(qdisc.pack(asked)) == asked


@golden
def test_every_attribute_in_one_message() -> None:
    request = qdisc.encode_netem(Impairment(delay=20 * MILLISECOND, rate=8_000_000), 1500, 7, seed=42)
    assert (request.type, request.flags) == (36, NLM_F_CREATE | NLM_F_REPLACE)
    assert request.body.hex() == (
        "00000000" "07000000" "00000100" "ffffffff" "00000000" "0a0001006e6574656d000000" "bc000200"
        "b4c40400e80300000000000000000000000000000000000010000100000000000000000000000000"
        "0c00030000000000000000000c000400000000000000000014000600" "40420f00000000000000000000000000"
        "0c00080040420f00000000000800070000000000" "0c000a00002d3101000000000c000b000000000000000000"
        "2c000c0000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0c000e002a00000000000000"
    )  # fmt: skip


def test_a_new_one_is_refused_where_there_is_one() -> None:
    assert qdisc.encode_netem(NOTHING, 1500, 7, new=True).flags == NLM_F_CREATE | NLM_F_EXCL


def test_what_is_off_is_sent_as_zero() -> None:
    """A change leaves alone what is not named: facts A1."""
    named = set(parse_attributes(qdisc.pack(settings_of(NOTHING, 1500, seed=1))[24:]))
    assert named == {1, 3, 4, 6, 7, 8, 10, 11, 12, 14}


def test_times_beyond_32_bits_of_ticks() -> None:
    """300 s in ticks of 64 ns do not fit; the kernel takes the 64-bit attribute."""
    asked = settings_of(Impairment(delay=300 * SECOND), 1500)
    assert struct.unpack_from("=I", qdisc.pack(asked)) == (0xFFFF_FFFF,)
    assert qdisc.decode_netem(qdisc.pack(asked)).delay == 300 * SECOND


def test_rounding() -> None:
    asked = settings_of(Impairment(rate=10_000_003, loss=RandomLoss(chance=1.0)), 1500)
    assert (asked.rate, asked.loss) == (1_250_000, 0xFFFF_FFFF)


def test_gap_goes_with_reorder_only() -> None:
    """tc refuses one without reorder; the kernel would take it for reorder 100 %."""
    assert settings_of(Impairment(delay=1, gap=5), 1500).gap == 0
    assert settings_of(Impairment(delay=1, reorder=0.5), 1500).gap == 1
    assert settings_of(Impairment(delay=1, reorder=0.5, gap=5), 1500).gap == 5


@pytest.mark.parametrize(
    ("impairment", "words"),
    [
        (Impairment(jitter=3 * SECOND), r"room for a jitter of 3s \(at most 2147483.647us\)"),
        (Impairment(limit=1 << 32), r"room for a limit of 4294967296"),
        (Impairment(overhead=-(1 << 31)), r"room for a overhead"),
        (Impairment(slot=Slot(distribution=Distribution(), jitter=3 * SECOND)), "room for a slot jitter of 3s"),
        (Impairment(slot=Slot(1, 3 * SECOND)), "room for a slot spread of 2999999.999us"),
        (Impairment(loss=TimedGilbertElliott(good=1, bad=1)), "loss in continuous time"),
    ],
)
def test_what_has_no_room(impairment: Impairment, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings_of(impairment, 1500)


# --- distributions -------------------------------------------------------------------------------------------------

JITTER = Impairment(delay=MILLISECOND, jitter=MILLISECOND)
NORMAL = dataclasses.replace(JITTER, distribution=Distribution("normal"))


def table_in(impairment: Impairment, held: Held, kind: int) -> tuple[int, ...]:
    body = qdisc.encode_netem(impairment, 1500, 1, held=held).body
    options = parse_attributes(body[tc.TCMSG.size :])[tc.TCA_OPTIONS]
    value = parse_attributes(options[24:]).get(kind, b"")
    return struct.unpack(f"={len(value) // 2}h", value)


def test_a_table_for_what_is_not_uniform() -> None:
    assert table_in(JITTER, Held(), 2) == ()
    assert len(table_in(NORMAL, Held(), 2)) == 4096
    assert table_in(dataclasses.replace(NORMAL, jitter=0), Held(), 2) == ()
    own = dataclasses.replace(JITTER, distribution=Distribution("table", (-8192, 8192)))
    assert table_in(own, Held(), 2) == (-8192, 8192)


def test_uniform_takes_a_tables_place() -> None:
    """The kernel never gives a table up: jitter that follows a table is uniform only by another table."""
    table = table_in(JITTER, Held(delay=True), 2)
    assert (table[0], table[-1], sum(table), len(table)) == (-8190, 8190, 0, 4096)
    assert {later - earlier for earlier, later in itertools.pairwise(table)} == {4}


def test_tables_are_remembered() -> None:
    held = Held()
    for impairment, expected in ((JITTER, Held()), (NORMAL, Held(delay=True)), (NOTHING, Held(delay=True))):
        held = qdisc.tables_after(impairment, held)
        assert held == expected
    slotted = Impairment(slot=Slot(distribution=Distribution("pareto"), delay=2, jitter=1))
    assert qdisc.tables_after(slotted, held) == Held(delay=True, slot=True)


def test_slots() -> None:
    """A slot's table takes the place of minimum and maximum for good."""
    plain = Impairment(slot=Slot(10, 30, 3, 4000))
    assert settings_of(plain, 1500).slot == NetemSlot(10, 30, 3, 4000, 0, 0)
    assert table_in(plain, Held(), 13) == ()
    assert settings_of(plain, 1500, held=Held(slot=True)).slot == NetemSlot(10, 30, 3, 4000, 20, 10)
    assert table_in(plain, Held(slot=True), 13) == qdisc.uniform_table()
    by_table = Impairment(slot=Slot(distribution=Distribution("normal"), delay=20, jitter=5))
    assert settings_of(by_table, 1500).slot == NetemSlot(0, 0, 0, 0, 20, 5)
    assert len(table_in(by_table, Held(), 13)) == 4096
    steady = Impairment(slot=Slot(distribution=Distribution("normal"), delay=20))
    assert settings_of(steady, 1500).slot == NetemSlot(20, 20, 0, 0, 20, 0)


# --- reading back --------------------------------------------------------------------------------------------------


@golden
def test_what_the_kernel_tells() -> None:
    state = tc.parse_qdisc(Message(36, 0, 1, TOLD_BY_LINUX_6_1), "read")
    assert (state.interface, state.handle, state.parent, state.kind) == (21, 0x1_0000, tc.ROOT, "netem")
    assert (state.frames, state.octets, state.waiting, state.drops) == (7793, 894300, 0, 317)
    assert qdisc.decode_netem(state.options) == NetemSettings(limit=33024, delay=200 * MILLISECOND)


@golden
def test_more_frames_than_32_bits_count() -> None:
    packets = struct.pack("=HHQ", 12, 8, 1 << 40)
    basic = struct.pack("=HHQII", 20, 1, 5, 7, 0)
    stats = struct.pack("=HH", 4 + len(basic) + len(packets), 7) + basic + packets
    assert tc.parse_qdisc(Message(36, 0, 1, bytes(20) + stats), "read").frames == 1 << 40


@pytest.mark.parametrize("message", [Message(37, 0, 1, bytes(20)), Message(36, 0, 1, bytes(19))])
def test_what_is_no_qdisc(message: Message) -> None:
    with pytest.raises(NetlinkError, match="read: message"):
        tc.parse_qdisc(message, "read")


def test_options_that_are_cut_off() -> None:
    whole = qdisc.pack(settings_of(BY_TC["delay 1ms loss state 1% 10% 20% 30% 0.5%"][1], 1500))
    for length in range(24):
        with pytest.raises(NetlinkError, match="not understood"):
            qdisc.decode_netem(whole[:length])
    with pytest.raises(NetlinkError, match="not understood"):
        qdisc.decode_netem(whole[:24] + struct.pack("=HHI", 8, 1, 0))


def test_differences() -> None:
    asked = settings_of(
        Impairment(delay=20 * MILLISECOND, rate=8_000_000, loss=RandomLoss(chance=0.01), seed=7, slot=Slot(1, 2)), 1500
    )
    assert qdisc.differences(asked, asked) == []
    got = asked._replace(delay=0, rate=0, loss=0, limit=5, slot=NetemSlot(), seed=8)
    assert qdisc.differences(asked, got) == [
        "limit: 1000 asked, 5 got",
        "delay: 20ms asked, 0s got",
        "loss: 1% asked, 0% got",
        "rate: 8mbit asked, 0bit got",
        "slot: (minimum 1, maximum 2, packets 0, octets 0, delay 0, jitter 0) asked, "
        "(minimum 0, maximum 0, packets 0, octets 0, delay 0, jitter 0) got",
        "seed: 7 asked, 8 got",
    ]
    assert qdisc.differences(asked, asked._replace(seed=None)) == []
    chain = asked._replace(loss_model="gemodel", chain=(1, 2, 3, 4))
    assert qdisc.differences(asked, chain) == [
        "loss model: random asked, gemodel got",
        "chain: () asked, (1, 2, 3, 4) got",
    ]


# --- filters -------------------------------------------------------------------------------------------------------


@golden
def test_redirection() -> None:
    """As `tc filter add dev IF ingress protocol all prio 1 matchall action mirred egress redirect dev IF`."""
    assert tc.add_clsact(5, "x").body.hex() == "00000000050000000000fffff1ffffff000000000b000100636c736163740000"
    parameters = "2000020000000000000000000400000000000000000000000100000009000000"
    mirred = "340001800b0001006d6972726564000024000280" + parameters
    everything = "1400050001000000000000000000000000000000"
    u32, matchall = (tc.redirect(5, 9, classifier, "x").body.hex() for classifier in ("u32", "matchall"))
    where = "000000000500000000000000f2ffffff00030100"
    assert u32 == where + "080001007533320050000280" + everything + "38000780" + mirred
    assert matchall == where + "0d0001006d61746368616c6c000000003c00028038000280" + mirred
