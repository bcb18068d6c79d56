"""Exact faults."""

from __future__ import annotations

import pytest

from nodes.impairment import Fault, Match
from nodes.physical.carried import Carried
from nodes.physical.faults import COPIES_LIMIT, Faults, flipped
from nodes.physical.statistics import Statistics

FRAMES = [bytes((number,)) * 60 for number in range(20)]


def run(faults: list[Fault], frames: list[bytes] = FRAMES, seed: int = 1) -> tuple[list[tuple[int, bytes]], Statistics]:
    """The frames enter at 0, 1, 2, ...: (when, frame) of all that go on."""
    statistics = Statistics()
    stage = Faults(faults, seed, statistics)
    gone = [each for now, frame in enumerate(frames) for each in stage.apply(Carried(frame, now), now)]
    assert all(carried.due == at for at, carried in gone)
    assert len(gone) == len(frames) + statistics.duplicated - statistics.dropped.total()
    return [(at, carried.frame) for at, carried in gone], statistics


def missing(faults: list[Fault]) -> list[int]:
    left = {frame[0] for _, frame in run(faults)[0]}
    return [number for number in range(1, 21) if number - 1 not in left]


@pytest.mark.parametrize(
    ("fault", "dropped"),
    [
        (Fault("drop"), [1]),
        (Fault("drop", first=3), [3]),
        (Fault("drop", first=3, count=2), [3, 4]),
        (Fault("drop", first=3, count=2, every=4), [3, 7]),
        (Fault("drop", first=18, count=0), [18, 19, 20]),
        (Fault("drop", first=2, count=0, every=9), [2, 11, 20]),
        (Fault("drop", Match(minimum_length=61)), []),
    ],
)
def test_the_nth_frame(fault: Fault, dropped: list[int]) -> None:
    assert missing([fault]) == dropped


def test_each_fault_counts_what_entered() -> None:
    """Two drops of different frames drop just these, in any order: none counts only what the other has left."""
    third, fourth, all_after = Fault("drop", first=3), Fault("drop", first=4), Fault("drop", first=2, count=0, every=5)
    assert missing([third, fourth]) == missing([fourth, third]) == [3, 4]
    assert missing([all_after, third]) == [2, 3, 7, 12, 17]
    assert missing([third, third]) == [3]


def test_delay_and_order() -> None:
    gone, statistics = run([Fault("delay", first=2, delay=500)], FRAMES[:3])
    assert gone == [(0, FRAMES[0]), (501, FRAMES[1]), (2, FRAMES[2])]
    assert not statistics.dropped and not statistics.duplicated


def test_delays_are_summed() -> None:
    assert run([Fault("delay", delay=500), Fault("delay", delay=7)], FRAMES[:1])[0] == [(507, FRAMES[0])]


def test_copies_are_equal_and_follow() -> None:
    gone, statistics = run(
        [Fault("duplicate", copies=2), Fault("corrupt", bit=0), Fault("delay", delay=10)], FRAMES[:2]
    )
    damaged = b"\x80" + FRAMES[0][1:]
    assert gone == [(10, damaged), (10, damaged), (10, damaged), (1, FRAMES[1])]
    assert statistics.duplicated == 2
    assert statistics.corrupted == 1


def test_copies_keep_their_arrival() -> None:
    stage = Faults([Fault("duplicate")], 1, Statistics())
    (_, first), (_, second) = stage.apply(Carried(b"frame", 42), 50)
    assert (first.arrived, second.arrived, second.is_copy) == (42, 42, False)
    assert first is not second


def test_a_drop_wins() -> None:
    faults = [Fault("duplicate"), Fault("corrupt"), Fault("drop"), Fault("delay", delay=5)]
    gone, statistics = run(faults, FRAMES[:1])
    assert gone == []
    assert statistics.dropped == {"fault": 1}
    assert (statistics.duplicated, statistics.corrupted) == (0, 0)


@pytest.mark.parametrize(
    ("bit", "octet", "mask"),
    [(0, 0, 0x80), (7, 0, 0x01), (8, 1, 0x80), (-1, 59, 0x01), (-8, 59, 0x80), (-480, 0, 0x80), (479, 59, 1)],
)
def test_which_bit(bit: int, octet: int, mask: int) -> None:
    """0 is the most significant bit of the first octet, -1 the least significant of the last."""
    (_, frame), *_ = run([Fault("corrupt", bit=bit)], [bytes(60)])[0]
    assert frame[octet] == mask
    assert sum(frame) == mask


def test_a_frame_without_the_bit_does_not_match() -> None:
    """And so is not counted: the first frame that is long enough is hit."""
    for bit in (480, -481):
        gone, statistics = run([Fault("corrupt", bit=bit)], [bytes(60), bytes(61)])
        assert gone[0][1] == bytes(60)
        assert gone[1][1] != bytes(61)
        assert statistics.corrupted == 1
    assert run([Fault("corrupt")], [b""])[1].corrupted == 0


def test_the_seed_chooses_the_bit() -> None:
    """Exactly one bit per frame, the same ones for the same seed, anywhere in the frame."""
    fault, frames = Fault("corrupt", count=0), [bytes(8)] * 2000
    first, second, other = (run([fault], frames, seed)[0] for seed in (1, 1, 2))
    assert first == second != other
    hit = [int.from_bytes(frame, "big") for _, frame in first]
    assert all(value.bit_count() == 1 for value in hit)
    counts = [hit.count(1 << bit) for bit in range(64)]
    assert sum((count - 31.25) ** 2 / 31.25 for count in counts) < 103.4  # chi-square, 63 degrees, 99.9 %


def test_faults_do_not_disturb_each_other() -> None:
    """Another fault that also draws bits leaves the first one's draws as they are."""
    alone, other = Fault("corrupt", first=5, count=0, every=10), Fault("corrupt", first=1, count=3)
    before = [frame for _, frame in run([alone])[0]]
    after = [frame for _, frame in run([other, alone])[0]]
    assert before[4] == after[4] != FRAMES[4]
    assert before[14] == after[14] != FRAMES[14]


def test_equal_faults_flip_different_bits() -> None:
    fault = Fault("corrupt")
    (_, frame), *_ = run([fault, fault], [bytes(60)])[0]
    assert int.from_bytes(frame, "big").bit_count() == 2


def test_two_flips_of_one_bit_cancel() -> None:
    assert flipped(b"\x00\xff", [3, 3, 15]) == b"\x00\xfe"


def test_a_change_keeps_the_counts_of_what_stays() -> None:
    """The fault that stays goes on counting; the new one begins; the one that went is forgotten."""
    stays, goes, new = Fault("drop", first=5), Fault("drop", first=2, count=0), Fault("drop", first=1)
    statistics = Statistics()
    stage = Faults([stays, goes], 1, statistics)
    left = [len(stage.apply(Carried(frame, 0), 0)) for frame in FRAMES[:3]]
    stage.change([new, stays])
    left += [len(stage.apply(Carried(frame, 0), 0)) for frame in FRAMES[3:6]]
    assert left == [1, 0, 0, 0, 0, 1]
    stage.change([goes])
    assert [len(stage.apply(Carried(frame, 0), 0)) for frame in FRAMES[:2]] == [1, 0]


def test_a_change_keeps_what_is_over() -> None:
    once = Fault("drop")
    stage = Faults([once], 1, Statistics())
    assert not stage.apply(Carried(b"frame", 0), 0)
    stage.change([once])
    assert stage.apply(Carried(b"frame", 0), 0)
    stage.change([once, once])  # the second is new
    assert [len(stage.apply(Carried(b"frame", 0), 0)) for _ in range(2)] == [0, 1]


def test_a_change_that_is_refused_changes_nothing() -> None:
    stage = Faults([Fault("drop", count=0)], 1, Statistics())
    with pytest.raises(ValueError, match="not one of the TCP flags"):
        stage.change([Fault("delay", delay=1), Fault("drop", Match(flags="XXX"))])
    assert not stage.apply(Carried(b"frame", 0), 0)


def test_the_snapshot_tells_whether_a_fault_did_its_work() -> None:
    stage = Faults([Fault("drop", first=2), Fault("drop", Match(minimum_length=99))], 1, Statistics())
    for frame in FRAMES:
        stage.apply(Carried(frame, 0), 0)
    did, waits = stage.snapshot()
    assert (did["matched"], did["acted"]) == (2, 1)  # counted until it was over
    assert (waits["matched"], waits["acted"], waits["forgotten_connections"]) == (0, 0, 0)
    assert isinstance(did["fault"], dict) and did["fault"]["action"] == "drop"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", first=0),
        Fault("drop", every=0),
        Fault("drop", count=-1),
        Fault("delay"),
        Fault("delay", delay=-1),
        Fault("duplicate", copies=0),
        Fault("duplicate", copies=COPIES_LIMIT + 1),
        Fault("drop", Match(protocol="arp", flags="SYN")),
    ],
)
def test_nonsense_is_refused(fault: Fault) -> None:
    with pytest.raises(ValueError, match=r"."):
        Faults([fault], 1, Statistics())
