"""netem's decisions: which numbers are drawn, in which order, and what becomes of a frame."""

from __future__ import annotations

import hashlib

import pytest

from nodes.impairment import GilbertElliott, Impairment, MarkovLoss, RandomLoss
from nodes.physical.carried import Carried
from nodes.physical.netem import Fate, Netem
from nodes.physical.statistics import Statistics
from nodes.physical.tausworthe import Tausworthe, scale
from nodes.units import MILLISECOND
from tests.unit.netem_world import DELAY, MTU, SEED, World, evenly, sent

# Which frames are lost


@pytest.mark.parametrize(
    ("loss", "count", "digest"),
    [
        (RandomLoss(chance=0.1), 472, "9db80f811b001ea2"),
        (GilbertElliott(p=0.02, r=0.2, bad_loss=0.8, good_loss=0.01), 406, "a7ff0275d4202912"),
        (MarkovLoss(p13=0.02, p31=0.2, p32=0.1, p23=0.5, p14=0.01), 482, "50899665bf23e437"),
    ],
)
def test_the_kernels_losses(loss: RandomLoss | GilbertElliott | MarkovLoss, count: int, digest: str) -> None:
    """5000 frames as octets of 0 and 1."""
    world = sent(Impairment(loss=loss, delay=DELAY), 5000)
    lost = [fate is Fate.LOST for fate in world.fates]
    assert (sum(lost), hashlib.sha256(bytes(lost)).hexdigest()[:16]) == (count, digest)
    assert world.statistics.dropped == {"loss": count}
    assert world.numbers == [number for number, is_lost in enumerate(lost) if not is_lost]


def test_the_order_of_draws() -> None:
    """Duplicate, loss, corrupt; the copy's loss, corrupt, reorder, delay; then the frame's reorder, delay."""
    chances = {"duplicate": 0.3, "corrupt": 0.2, "reorder": 0.25}
    loss = 0.15
    world = World(
        Impairment(
            delay=DELAY,
            jitter=MILLISECOND,
            loss=RandomLoss(chance=loss),
            gap=2,
            **chances,  # type: ignore[arg-type]
        )
    )
    draw = Tausworthe(SEED).draw
    counter = 0

    def enter(now: int, *, is_copy: bool) -> tuple[Fate, list[int]]:
        nonlocal counter
        copied = not is_copy and scale(chances["duplicate"]) >= draw()
        fate = Fate.KEPT
        if scale(loss) >= draw():
            if not copied:
                return Fate.LOST, []
            copied = False
        if scale(chances["corrupt"]) >= draw():
            fate |= Fate.CORRUPTED
        dues = enter(now, is_copy=True)[1] if copied else []
        if copied:
            fate |= Fate.DUPLICATED
        if counter >= 1 and scale(chances["reorder"]) >= draw():
            counter = 0
            return fate | Fate.REORDERED, [*dues, now]
        counter += 1
        return fate, [*dues, now + DELAY + draw() % (2 * MILLISECOND) - MILLISECOND]

    expected = [enter(now, is_copy=False) for now in evenly(2000)]
    world.send(*evenly(2000)).end()
    assert world.fates == [fate for fate, _ in expected]
    assert world.dues == sorted(due for _, dues in expected for due in dues)
    assert {flag for fate in world.fates for flag in Fate if flag & fate} == {
        Fate.LOST, Fate.DUPLICATED, Fate.CORRUPTED, Fate.REORDERED
    }  # fmt: skip


def test_only_what_is_on_draws_a_number() -> None:
    """A chance of nothing is off: the delays are those without it."""
    jitter = Impairment(delay=DELAY, jitter=MILLISECOND)
    zeros = Impairment(
        delay=DELAY,
        jitter=MILLISECOND,
        loss=RandomLoss(chance=0, correlation=0.5),
        corrupt=0.0,
        corrupt_correlation=0.5,
        duplicate_correlation=0.5,
        reorder_correlation=0.5,
    )
    assert sent(jitter, 200).left == sent(zeros, 200).left
    draw = Tausworthe(SEED).draw
    assert sent(jitter, 200).dues == sorted(now + DELAY + draw() % 2_000_000 - 1_000_000 for now in evenly(200))


def test_duplication_and_loss_together() -> None:
    """With d and l, (1 - d) l of the frames are lost and d (1 - l)^2 arrive twice. 40,000 frames."""
    world = sent(Impairment(duplicate=0.1, loss=RandomLoss(chance=0.1)), 40_000, seed=7)
    arrived = [0] * 40_000
    for number in world.numbers:
        arrived[number] += 1
    assert arrived.count(0) / 40_000 == pytest.approx(0.0900, abs=0.0045)
    assert arrived.count(2) / 40_000 == pytest.approx(0.0810, abs=0.0045)
    assert sum(arrived) == 40_000 + world.statistics.duplicated - world.statistics.dropped["loss"]
    assert set(arrived) == {0, 1, 2}


def test_a_frame_that_is_lost_and_duplicated_is_one_frame() -> None:
    """Both always: loss takes one of the two, and the copy is never made."""
    world = sent(Impairment(duplicate=1.0, loss=RandomLoss(chance=1.0)), 20)
    assert world.fates == [Fate.KEPT] * 20
    assert world.numbers == list(range(20))
    assert (world.statistics.duplicated, world.statistics.dropped.total()) == (0, 0)


def test_a_copy_is_not_duplicated() -> None:
    world = sent(Impairment(duplicate=1.0), 20)
    assert world.numbers == [number for number in range(20) for _ in range(2)]
    assert world.statistics.duplicated == 20
    assert world.fates == [Fate.DUPLICATED] * 20


def test_corruption_flips_one_bit_anywhere() -> None:
    """Of 4000 frames of 32 octets, every bit is hit about 16 times; the frame's copy is not."""
    world = World(Impairment(corrupt=1.0))
    world.send(*evenly(4000), octets=32).end()
    hits = [0] * 256
    for number, left in enumerate(world.left):
        original = bytes(14) + number.to_bytes(4, "big") + bytes(14)
        difference = int.from_bytes(left.frame, "big") ^ int.from_bytes(original, "big")
        assert difference.bit_count() == 1
        hits[difference.bit_length() - 1] += 1
    assert world.statistics.corrupted == 4000
    chi_square = sum((hit - 4000 / 256) ** 2 / (4000 / 256) for hit in hits)
    assert chi_square < 330.5  # 255 degrees of freedom, 99.9 %


def test_a_copy_is_made_before_the_frame_is_damaged() -> None:
    world = sent(Impairment(duplicate=1.0, corrupt=0.5), 400)
    both = [sum(left.frame[18:] != bytes(982) or left.frame[:14] != bytes(14) for left in world.left)]
    assert world.statistics.corrupted == pytest.approx(400, abs=60)  # of 800, each by itself
    assert both[0] == pytest.approx(world.statistics.corrupted, abs=8)  # bits of the number excepted


def test_an_empty_frame_has_no_bit_to_flip() -> None:
    netem = Netem(Impairment(corrupt=1.0), MTU, SEED, Statistics())
    netem.receive(Carried(b"", 0), 0)
    assert netem.release(0) is not None


# ECN


def ipv4(ecn: int) -> bytes:
    header = bytearray.fromhex("45000028000100004006000 00a0000010a000002".replace(" ", ""))
    header[1] = ecn
    total = sum(int.from_bytes(header[index : index + 2], "big") for index in range(0, 20, 2))
    header[10:12] = (0xFFFF - (total % 0xFFFF or 0xFFFF)).to_bytes(2, "big")
    return bytes(12) + b"\x08\x00" + bytes(header) + bytes(20)


def test_ecn_marks_instead_of_losing() -> None:
    world = World(Impairment(loss=RandomLoss(chance=1.0), ecn=True))
    fates = [world.netem.receive(Carried(ipv4(ecn), 0), 0) for ecn in (0, 1, 2, 3)]
    assert fates == [Fate.LOST, Fate.MARKED, Fate.MARKED, Fate.MARKED]
    released = [world.netem.release(0) for _ in range(3)]
    assert [carried and carried.frame for carried in released] == [ipv4(3)] * 3
    assert (world.statistics.marked, world.statistics.dropped["loss"]) == (3, 1)


def test_without_ecn_nothing_is_marked() -> None:
    world = World(Impairment(loss=RandomLoss(chance=1.0)))
    assert world.netem.receive(Carried(ipv4(2), 0), 0) is Fate.LOST


def test_a_frame_marked_keeps_its_copy() -> None:
    world = World(Impairment(loss=RandomLoss(chance=1.0), ecn=True, duplicate=1.0))
    assert world.netem.receive(Carried(ipv4(2), 0), 0) == Fate.MARKED | Fate.DUPLICATED
    assert world.netem.held == 2


# Reordering


def test_reorder_sends_at_once() -> None:
    """With a gap of 5 and certainty, each fifth frame passes delay and rate; the others do not change."""
    world = World(Impairment(delay=DELAY, rate=8_000_000, reorder=1.0, gap=5)).send(*evenly(20, 2 * MILLISECOND)).end()
    early = [number for number, fate in enumerate(world.fates) if fate is Fate.REORDERED]
    assert early == [4, 9, 14, 19]
    due = {left.number: left.due for left in world.left}
    assert all(due[number] == number * 2 * MILLISECOND for number in early)
    assert all(due[n] == n * 2 * MILLISECOND + DELAY + MILLISECOND for n in range(20) if n not in early)
    assert world.statistics.reordered == 4


def test_a_gap_alone_is_certain() -> None:
    """In the kernel, a gap without a chance means each gap-th frame."""
    world = sent(Impairment(delay=DELAY, gap=3), 9)
    assert [number for number, fate in enumerate(world.fates) if fate is Fate.REORDERED] == [2, 5, 8]


def test_a_chance_alone_asks_each_frame() -> None:
    draw = Tausworthe(SEED).draw
    world = sent(Impairment(delay=DELAY, reorder=0.25), 1000)
    assert [fate is Fate.REORDERED for fate in world.fates] == [scale(0.25) >= draw() for _ in range(1000)]


def test_after_a_gap_each_frame_is_asked_until_one_goes() -> None:
    draw = Tausworthe(SEED).draw
    counter, expected = 0, []
    for _ in range(500):
        early = counter >= 3 and scale(0.3) >= draw()
        counter = 0 if early else counter + 1
        expected.append(early)
    world = sent(Impairment(delay=DELAY, reorder=0.3, gap=4), 500)
    assert [fate is Fate.REORDERED for fate in world.fates] == expected


def test_reorder_with_correlation() -> None:
    """`reorder 25% 50%` sends about 7 % early."""
    world = sent(Impairment(delay=DELAY, reorder=0.25, reorder_correlation=0.5), 20_000)
    assert world.statistics.reordered / 20_000 == pytest.approx(0.0694, abs=0.008)


def test_frames_sent_early_go_before_all_and_the_last_first() -> None:
    netem = Netem(Impairment(reorder=1.0), MTU, SEED, Statistics())
    for number in range(3):
        netem.receive(Carried(bytes([number]), 0), 0)
    assert [carried.frame[0] for carried in iter(lambda: netem.release(0), None)] == [2, 1, 0]
