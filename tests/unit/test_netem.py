"""netem as a whole: which numbers are drawn, in which order, and when frames leave."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pytest

from nodes.impairment import (
    Distribution,
    DropTail,
    GilbertElliott,
    Impairment,
    MarkovLoss,
    RandomLoss,
    Slot,
    TimedGilbertElliott,
    TokenBucket,
)
from nodes.physical.carried import Carried
from nodes.physical.netem import Fate, Netem
from nodes.physical.statistics import Statistics
from nodes.physical.tausworthe import Tausworthe, scale
from nodes.units import MICROSECOND, MILLISECOND, SECOND

SEED = 42
MTU = 1500
DELAY = 20 * MILLISECOND


class Left(NamedTuple):
    due: int
    number: int
    frame: bytes


class World:
    """Netem under an exact clock: all that is due before a frame enters has left by then. Frames carry their number."""

    def __init__(self, impairment: Impairment, seed: int = SEED) -> None:
        self.statistics = Statistics()
        self.netem = Netem(impairment, MTU, seed, self.statistics)
        self.now = 0
        self.left: list[Left] = []
        self.fates: list[Fate] = []

    def run(self, until: int) -> None:
        """Look exactly when the netem asks for it."""
        while (at := self.netem.deadline()) is not None and at <= until:
            self.now = max(at, self.now)
            self._drain()
            after = self.netem.deadline()
            assert after is None or after > self.now, "a deadline that has passed"
        self.now = until

    def _drain(self) -> None:
        while (carried := self.netem.release(self.now)) is not None:
            assert carried.due <= self.now
            self.left.append(Left(carried.due, int.from_bytes(carried.frame[14:18], "big"), carried.frame))

    def send(self, *times: int, octets: int = 1000) -> World:
        for time in times:
            self.run(time)
            frame = bytes(14) + len(self.fates).to_bytes(4, "big") + bytes(octets - 18)
            self.fates.append(self.netem.receive(Carried(frame, time), time))
            self.run(time)
        return self

    def end(self) -> World:
        self.run(1 << 62)
        assert self.netem.held == 0
        return self

    @property
    def dues(self) -> list[int]:
        return [left.due for left in self.left]

    @property
    def numbers(self) -> list[int]:
        return [left.number for left in self.left]


def evenly(count: int, step: int = MILLISECOND) -> range:
    return range(0, count * step, step)


def sent(impairment: Impairment, count: int, step: int = MILLISECOND, seed: int = SEED) -> World:
    return World(impairment, seed).send(*evenly(count, step)).end()


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


# When frames leave


def test_a_delay() -> None:
    assert sent(Impairment(delay=DELAY), 5).dues == [now + DELAY for now in evenly(5)]
    assert sent(Impairment(), 5).dues == list(evenly(5))


def test_a_delay_below_zero_is_none() -> None:
    world = sent(Impairment(delay=0, jitter=10 * MILLISECOND), 500)
    assert all(due >= number * MILLISECOND for due, number, _ in world.left)
    assert sum(due == number * MILLISECOND for due, number, _ in world.left) == pytest.approx(250, abs=40)


def test_equal_times_keep_the_order_of_arrival() -> None:
    table = Distribution("table", (0, 8192))
    world = sent(Impairment(delay=DELAY, jitter=MILLISECOND, distribution=table), 300)
    assert world.numbers != sorted(world.numbers) or len(set(world.dues)) < 300
    assert [(left.due, left.number) for left in world.left] == sorted((left.due, left.number) for left in world.left)
    assert len(set(world.dues)) < 300


def test_the_rate_spaces_frames() -> None:
    """Send = max(arrival + delay, last) + t(len)."""
    world = World(Impairment(delay=DELAY, rate=8_000_000)).send(0, 0, 100 * MICROSECOND, 5 * MILLISECOND).end()
    assert world.dues == [DELAY + time * MILLISECOND for time in (1, 2, 3, 6)]


def test_the_rate_is_of_whole_octets_a_second() -> None:
    """The kernel counts octets: 15 bit/s are 1 octet a second, and less than 8 are not no rate at all."""
    assert World(Impairment(rate=15)).send(0, octets=100).end().dues == [100 * SECOND]
    assert World(Impairment(rate=1)).send(0, octets=100).end().dues == [100 * SECOND]
    assert World(Impairment(rate=3_000_000_000)).send(0, octets=1000).end().dues == [2666]


@pytest.mark.parametrize(
    ("overhead", "cell", "cell_overhead", "octets"),
    [(0, 0, 0, 1000), (24, 0, 0, 1024), (-14, 0, 0, 986), (-2000, 0, 0, 0), (0, 48, 5, 21 * 53), (8, 48, 5, 21 * 53),
     (9, 48, 5, 22 * 53)],
)  # fmt: skip
def test_overhead_and_cells(overhead: int, cell: int, cell_overhead: int, octets: int) -> None:
    """Whole cells, each with its own header, are sent."""
    impairment = Impairment(delay=DELAY, rate=8_000_000, overhead=overhead, cell=cell, cell_overhead=cell_overhead)
    assert World(impairment).send(0).end().dues == [DELAY + octets * MICROSECOND]


def test_a_rate_keeps_the_order_whatever_the_jitter() -> None:
    world = sent(Impairment(delay=DELAY, jitter=DELAY, rate=10_000_000), 2000)
    assert world.numbers == list(range(2000))
    assert all(later - earlier >= 800_000 for earlier, later in zip(world.dues, world.dues[1:], strict=False))


def test_an_idle_link_forgets_its_last_transmission() -> None:
    """A delay below zero shortens the transmission, if nothing is in flight: netem's way."""
    table = Distribution("table", (-8192,))
    world = World(Impairment(jitter=MILLISECOND, distribution=table, rate=8_000_000))
    assert world.send(0, 0, 10 * MILLISECOND, octets=1500).end().dues == [
        500 * MICROSECOND,
        2 * MILLISECOND,
        10 * MILLISECOND + 500 * MICROSECOND,
    ]


def test_a_rate_set_later_counts_from_the_last_in_flight() -> None:
    """Which may be one that will be overtaken."""
    table = Distribution("table", (0, 8192))
    world = World(Impairment(delay=DELAY, jitter=10 * MILLISECOND, distribution=table))
    world.send(*range(20))
    last = max(carried.due for carried in world.netem._in_order)
    world.netem.change(Impairment(rate=8_000_000), MTU, 100)
    world.send(100).end()
    assert world.left[-1] == (last + MILLISECOND, 20, world.left[-1].frame)


def test_behind_a_server_there_is_no_rate() -> None:
    for impairment in (
        Impairment(rate=8_000, queue=DropTail(packets=10)),
        Impairment(rate=8_000, bucket=TokenBucket(rate=1, burst=1)),
    ):
        assert sent(impairment, 3).dues == list(evenly(3))


def test_the_limit_counts_all_inside() -> None:
    """Also those in flight; one place is free again as soon as one has left."""
    world = World(Impairment(delay=10 * MILLISECOND, limit=10)).send(*evenly(25)).end()
    assert [number for number, fate in enumerate(world.fates) if fate is Fate.LIMIT] == []
    world = World(Impairment(delay=10 * MILLISECOND, limit=9)).send(*evenly(25)).end()
    assert [number for number, fate in enumerate(world.fates) if fate is Fate.LIMIT] == [9, 19]
    assert world.statistics.dropped == {"limit": 2}


def test_the_limit_drops_copies_too() -> None:
    world = World(Impairment(delay=DELAY, limit=3, duplicate=1.0)).send(0, 1, 2)
    assert world.fates == [Fate.DUPLICATED, Fate.DUPLICATED, Fate.LIMIT]
    assert (world.statistics.duplicated, world.statistics.dropped["limit"]) == (2, 1)


def test_the_limit_is_sized_from_rate_and_delay() -> None:
    world = World(Impairment(delay=SECOND, rate=100_000_000))
    world.send(*[0] * 17_000)
    assert world.statistics.dropped["limit"] == 17_000 - 2 * (100_000_000 // (8 * 1514))


def test_nothing_leaves_early_and_deadlines_say_when() -> None:
    netem = Netem(Impairment(delay=DELAY), MTU, SEED, Statistics())
    assert netem.deadline() is None
    assert netem.release(SECOND) is None
    netem.receive(Carried(bytes(100), 0), 0)
    assert netem.deadline() == DELAY
    assert netem.release(DELAY - 1) is None
    carried = netem.release(DELAY + 5)
    assert carried is not None
    assert carried.due == DELAY
    assert netem.deadline() is None


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


# Slots


def test_frames_wait_for_a_slot_and_leave_together() -> None:
    """The first look draws a slot that opens 20 ms later; what is due by then leaves at once."""
    world = World(Impairment(delay=MILLISECOND, slot=Slot(minimum=20 * MILLISECOND, maximum=20 * MILLISECOND)))
    world.send(*range(SECOND, SECOND + 50 * MILLISECOND, 5 * MILLISECOND)).end()
    assert [due - SECOND for due in world.dues] == [20 * MILLISECOND] * 4 + [40 * MILLISECOND] * 4 + [
        60 * MILLISECOND
    ] * 2


def test_a_slot_takes_so_many_frames() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND, packets=3)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 8).end()
    assert [(due - SECOND) // MILLISECOND for due in world.dues] == [10, 10, 10, 20, 20, 20, 30, 30]
    assert world.numbers == list(range(8))


def test_a_slot_takes_so_many_octets() -> None:
    """The frame that goes beyond is the last."""
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND, octets=2500)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 7).end()
    assert [(due - SECOND) // MILLISECOND for due in world.dues] == [10, 10, 10, 20, 20, 20, 30]


def test_an_idle_link_draws_its_slot_when_a_frame_comes() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=10 * MILLISECOND)
    world = World(Impairment(slot=slot)).send(SECOND, SECOND + 123 * MILLISECOND).end()
    assert world.dues == [SECOND + 10 * MILLISECOND, SECOND + 133 * MILLISECOND]


def test_each_look_draws_a_slot_anew_that_opens_before_the_first_frame_is_due() -> None:
    """The frame waits for 10 ms, slots follow 3 ms after a look. Looks at 0 and 10 give 3 and 13. Another frame, or one
    that is lost, makes one at 8, which gives 11."""
    slot = Slot(minimum=3 * MILLISECOND, maximum=3 * MILLISECOND)
    alone = World(Impairment(delay=10 * MILLISECOND, slot=slot)).send(SECOND).end()
    assert alone.dues == [SECOND + 13 * MILLISECOND]
    second = World(Impairment(delay=10 * MILLISECOND, slot=slot)).send(SECOND, SECOND + 8 * MILLISECOND).end()
    assert second.dues[0] == SECOND + 11 * MILLISECOND
    loss = GilbertElliott(p=1.0, r=0.0)  # all but the first
    lost = World(Impairment(delay=10 * MILLISECOND, slot=slot, loss=loss)).send(SECOND, SECOND + 8 * MILLISECOND).end()
    assert lost.dues == [SECOND + 11 * MILLISECOND]


def test_a_slot_may_open_just_when_a_frame_is_due() -> None:
    slot = Slot(minimum=DELAY, maximum=DELAY)
    assert World(Impairment(delay=DELAY, slot=slot)).send(SECOND).end().dues == [SECOND + DELAY]


def test_slots_between_two_times() -> None:
    slot = Slot(minimum=10 * MILLISECOND, maximum=30 * MILLISECOND, packets=1)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 400).end()
    gaps = [later - earlier for earlier, later in zip([SECOND, *world.dues], world.dues, strict=False)]
    assert all(10 * MILLISECOND <= gap <= 30 * MILLISECOND for gap in gaps)
    assert sum(gaps) / 400 == pytest.approx(20 * MILLISECOND, rel=0.05)
    assert min(gaps) < 11 * MILLISECOND
    assert max(gaps) > 29 * MILLISECOND


def test_slots_of_a_distribution_use_netems_numbers() -> None:
    slot = Slot(packets=1, distribution=Distribution("uniform"), delay=10 * MILLISECOND, jitter=MILLISECOND)
    world = World(Impairment(slot=slot)).send(*[SECOND] * 5).end()
    draw = Tausworthe(SEED).draw
    at, expected = SECOND, []
    for _ in range(5):
        at += 10 * MILLISECOND + draw() % (2 * MILLISECOND) - MILLISECOND
        expected.append(at)
    assert world.dues == expected


def test_plain_slots_leave_netems_numbers_alone() -> None:
    loss = RandomLoss(chance=0.1)
    slotted = sent(Impairment(loss=loss, slot=Slot(minimum=MILLISECOND, maximum=5 * MILLISECOND)), 500)
    assert slotted.fates == sent(Impairment(loss=loss), 500).fates


def test_a_slot_without_times_is_none() -> None:
    assert sent(Impairment(slot=Slot(packets=1)), 5).dues == list(evenly(5))


def test_a_slot_is_seen_late_at_its_own_time() -> None:
    """Whoever looks seconds later gets the same frames with the same times."""
    impairment = Impairment(
        delay=5 * MILLISECOND,
        jitter=3 * MILLISECOND,
        slot=Slot(minimum=MILLISECOND, maximum=9 * MILLISECOND, packets=2),
    )
    exact = World(impairment).send(*[SECOND] * 50).end()
    late = Netem(impairment, MTU, SEED, Statistics())
    for left in range(50):
        late.receive(Carried(bytes(14) + left.to_bytes(4, "big") + bytes(982), SECOND), SECOND)
        assert late.release(SECOND) is None
    assert [carried.due for carried in iter(lambda: late.release(100 * SECOND), None)] == exact.dues


# Changes


def test_a_change_leaves_frames_in_flight_alone() -> None:
    world = World(Impairment(delay=DELAY)).send(0, MILLISECOND)
    world.netem.change(Impairment(delay=MILLISECOND), MTU, 2 * MILLISECOND)
    world.send(2 * MILLISECOND).end()
    assert world.left[0][:2] == (3 * MILLISECOND, 2)
    assert world.dues[1:] == [DELAY, DELAY + MILLISECOND]


def test_the_generator_goes_on_unless_the_seed_changes() -> None:
    loss = Impairment(loss=RandomLoss(chance=0.1), delay=DELAY)
    goes_on = World(loss).send(*evenly(500))
    goes_on.netem.change(loss, MTU, goes_on.now)
    goes_on.netem.change(loss, MTU, goes_on.now, SEED)
    goes_on.send(*[goes_on.now] * 500)
    assert goes_on.fates == World(loss).send(*evenly(1000)).fates
    again = World(loss).send(*evenly(500))
    again.netem.change(loss, MTU, again.now, SEED + 1)
    again.netem.change(loss, MTU, again.now, SEED)
    again.send(*[again.now] * 500)
    assert again.fates[500:] == again.fates[:500]


def test_the_impairments_seed_goes_first() -> None:
    loss = RandomLoss(chance=0.1)
    assert sent(Impairment(loss=loss, seed=SEED), 300, seed=1).fates == sent(Impairment(loss=loss), 300).fates
    world = World(Impairment(loss=loss), seed=1).send(*evenly(10))
    world.netem.change(Impairment(loss=loss, seed=SEED), MTU, world.now)
    world.send(*[world.now] * 300)
    assert world.fates[10:] == sent(Impairment(loss=loss), 300).fates


def test_a_change_begins_chains_and_gaps_anew() -> None:
    """Markov states and the count for `gap` are reset by each change."""
    stuck = Impairment(loss=GilbertElliott(p=1.0, r=0.0, bad_loss=1.0), delay=DELAY)
    world = World(stuck).send(0, 1, 2)
    world.netem.change(stuck, MTU, 3)
    world.send(3, 4)
    assert world.fates == [Fate.KEPT, Fate.LOST, Fate.LOST, Fate.KEPT, Fate.LOST]
    gap = Impairment(delay=DELAY, gap=3)
    world = World(gap).send(0, 1)
    world.netem.change(gap, MTU, 2)
    world.send(2, 3, 4)
    assert world.fates == [Fate.KEPT] * 4 + [Fate.REORDERED]


def test_timed_loss_goes_on_through_other_changes() -> None:
    timed = TimedGilbertElliott(good=50 * MILLISECOND, bad=50 * MILLISECOND)
    steady = sent(Impairment(loss=timed), 1000).fates
    world = World(Impairment(loss=timed))
    for now in evenly(1000):
        world.send(now)
        if now % (100 * MILLISECOND) == 0:
            world.netem.change(Impairment(loss=timed, delay=now // 1000), MTU, now)
    assert world.fates == steady


def test_another_timed_loss_takes_over() -> None:
    world = World(Impairment(loss=TimedGilbertElliott(good=SECOND, bad=1))).send(0, 1)
    world.netem.change(Impairment(loss=TimedGilbertElliott(good=1, bad=1, good_loss=1.0)), MTU, 2)
    world.send(*range(2, 10))
    assert world.fates == [Fate.KEPT] * 2 + [Fate.LOST] * 8


def test_frames_leave_slots_when_those_end() -> None:
    slot = Slot(minimum=SECOND, maximum=SECOND)
    world = World(Impairment(delay=DELAY, slot=slot)).send(SECOND, SECOND + 1, SECOND + DELAY)
    world.netem.change(Impairment(), MTU, SECOND + DELAY)
    world.end()
    assert [due - SECOND for due in world.dues] == [DELAY, DELAY + 1, 2 * DELAY]
    world = World(Impairment(slot=slot)).send(SECOND, SECOND + 1)
    world.netem.change(Impairment(), MTU, SECOND + 5)
    assert world.end().dues == [SECOND + 5] * 2


def test_frames_in_flight_wait_for_slots_that_begin() -> None:
    world = World(Impairment(delay=DELAY)).send(0, 1)
    world.netem.change(Impairment(slot=Slot(minimum=SECOND, maximum=SECOND)), MTU, 5)
    assert world.end().dues == [SECOND + 5] * 2


def test_clear_loses_all_inside() -> None:
    for slot in (None, Slot(minimum=SECOND, maximum=SECOND)):
        world = World(Impairment(delay=DELAY, jitter=MILLISECOND, slot=slot)).send(*range(10))
        assert world.netem.clear() == 10
        assert (world.netem.held, world.netem.deadline(), world.netem.release(1 << 62)) == (0, None, None)
        assert world.netem.clear() == 0
        world.left.clear()
        world.send(SECOND).end()
        assert world.numbers == [10]
