"""A line that is only observed: what became of the frames that enter and leave it."""

from __future__ import annotations

from nodes.physical import observed
from nodes.physical.observed import AFTERLIFE, LATE_NEWS, LIFE, ObservedLine
from nodes.units import MILLISECOND, SECOND

DELAY = 20 * MILLISECOND


def frame(number: int) -> bytes:
    return number.to_bytes(8, "big") * 8


def counts(line: ObservedLine) -> tuple[int, int, int, int, int, int]:
    """Timed, duplicated, reordered, corrupted, alike, unknown."""
    return line.delay.count, line.duplicated, line.reordered, line.corrupted, line.alike, line.unknown


def passed(line: ObservedLine, numbers: range, *, delay: int = DELAY, start: int = 0) -> int:
    """These frames, 1 ms apart. Returns when the last has left."""
    for number in numbers:
        at = start + number * MILLISECOND
        line.entered(frame(number), at)
        line.left(frame(number), at + delay)
    return at + delay


def test_a_delay_is_the_difference_of_two_times() -> None:
    line = ObservedLine()
    line.entered(frame(1), 100)
    line.entered(frame(2), 200)
    line.left(frame(1), 1100)
    line.left(frame(2), 1300)
    assert counts(line) == (2, 0, 0, 0, 0, 0)
    assert (line.delay.minimum, line.delay.maximum, line.delay.total) == (1000, 1100, 2100)


def test_what_does_not_leave_is_not_timed() -> None:
    line = ObservedLine()
    for number in range(10):
        line.entered(frame(number), number)
    for number in range(0, 10, 2):
        line.left(frame(number), 1000 + number)
    assert counts(line) == (5, 0, 0, 0, 0, 0)
    assert line.delay.maximum == 1000


def test_duplicates_have_delays_of_their_own() -> None:
    line = ObservedLine()
    line.entered(frame(1), 0)
    for at in (1000, 1200, 1700):
        line.left(frame(1), at)
    assert counts(line) == (3, 2, 0, 0, 0, 0)
    assert line.delay.total == 3900


def test_a_duplicate_is_known_for_a_while() -> None:
    """AFTERLIFE at least, and not twice as long."""
    line = ObservedLine()
    line.timeout(0)
    line.entered(frame(1), 10)
    line.left(frame(1), 20)
    line.timeout(AFTERLIFE)
    line.left(frame(1), AFTERLIFE + 10)
    assert line.duplicated == 1
    line.timeout(2 * AFTERLIFE)
    line.left(frame(1), 2 * AFTERLIFE + 10)
    assert line.duplicated == 1


def test_overtakers_are_reordered() -> None:
    """One frame that overtakes three is one; three that are overtaken by it are none."""
    line = ObservedLine()
    for number in range(10):
        line.entered(frame(number), number)
    for place, number in enumerate((0, 4, 1, 2, 3, 7, 6, 5, 8, 9)):
        line.left(frame(number), 1000 + place)
    assert counts(line) == (10, 0, 3, 0, 0, 0)  # 4, 7 and 6


def test_late_duplicates_are_not_reordered() -> None:
    line = ObservedLine()
    for number in range(3):
        line.entered(frame(number), number)
        line.left(frame(number), 100 + number)
    line.left(frame(0), 200)
    assert counts(line) == (4, 1, 0, 0, 0, 0)


def test_changed_content_is_corrupted() -> None:
    line = ObservedLine()
    now = passed(line, range(10))
    line.entered(frame(10), now)
    line.left(frame(10)[:-1] + b"\xff", now + DELAY)
    assert line.corrupted == 0  # its entry may yet be told
    line.timeout(now + DELAY + LATE_NEWS)
    assert counts(line) == (10, 0, 0, 1, 0, 0)


def test_two_with_the_same_unknown_content() -> None:
    line = ObservedLine()
    line.left(frame(1), 10)
    line.left(frame(1), 20)
    line.timeout(20 + LATE_NEWS)
    assert line.corrupted == 2


def test_the_ends_may_be_heard_out_of_order() -> None:
    line = ObservedLine()
    line.left(frame(1), 1000)
    line.entered(frame(1), 400)
    line.timeout(SECOND)
    assert counts(line) == (1, 0, 0, 0, 0, 0)
    assert line.delay.total == 600


def test_the_ends_clocks_may_differ_a_little() -> None:
    line = ObservedLine()
    line.left(frame(1), 1000)
    line.entered(frame(1), 1500)
    line.timeout(SECOND)
    assert counts(line) == (1, 0, 0, 0, 0, 0)
    assert line.delay.total == 0


def test_what_left_long_before_is_another_frame() -> None:
    line = ObservedLine()
    line.left(frame(1), 1000)
    line.entered(frame(1), 1000 + 2 * MILLISECOND)
    line.left(frame(1), 1000 + 3 * MILLISECOND)
    line.timeout(SECOND)
    assert counts(line) == (1, 0, 0, 1, 0, 0)


def test_frames_alike_are_not_timed() -> None:
    """Which of them left, nobody knows: the first may be lost."""
    line = ObservedLine()
    line.entered(frame(1), 0)
    line.entered(frame(1), 1000)
    line.left(frame(1), 1500)
    line.left(frame(1), 2500)
    line.left(frame(1), 2500)
    assert counts(line) == (0, 1, 0, 0, 2, 0)
    line.entered(frame(1), 3000)
    line.left(frame(1), 3700)
    assert (line.delay.count, line.delay.total) == (1, 700)


def test_content_that_comes_again_after_a_loss() -> None:
    """A frame that is sent every two seconds, as spanning trees do: one that was lost is not confused with the next,
    once it is known how long frames take."""
    line = ObservedLine()
    line.entered(frame(1), 0)
    line.left(frame(1), DELAY)
    line.entered(frame(1), 2 * SECOND)
    line.entered(frame(1), 4 * SECOND)
    line.left(frame(1), 4 * SECOND + DELAY)
    assert counts(line) == (2, 0, 0, 0, 0, 0)
    assert line.delay.maximum == DELAY


def test_before_anything_is_known_all_is_possible() -> None:
    line = ObservedLine()
    line.entered(frame(1), 0)
    line.entered(frame(1), 2 * SECOND)
    line.left(frame(1), 5 * SECOND)
    assert counts(line) == (0, 0, 0, 0, 1, 0)


def test_a_line_that_was_in_use_before() -> None:
    """What leaves unknown may have entered before: only later ones are corrupted."""
    line = ObservedLine(begun=SECOND)
    line.left(frame(1), SECOND - 1)
    line.left(frame(2), SECOND)
    line.timeout(2 * SECOND)
    assert (line.corrupted, line.unknown) == (1, 1)


def test_frames_that_were_missed() -> None:
    """For as long as those may be inside that entered unseen: four times the longest delay, a second at least."""
    line = ObservedLine()
    now = passed(line, range(10), delay=SECOND)
    line.miss(now)
    line.left(frame(100), now + 4 * SECOND - 1)
    line.left(frame(101), now + 4 * SECOND)
    line.timeout(now + 5 * SECOND)
    assert (line.corrupted, line.unknown) == (1, 1)


def test_a_sample_stands_for_all() -> None:
    line = ObservedLine()
    line.sample(8, -LIFE)
    now = passed(line, range(10))
    line.left(frame(3), now)
    line.left(frame(60), now)
    line.timeout(now + LATE_NEWS)
    assert counts(line) == (88, 8, 0, 8, 0, 0)
    assert line.snapshot()["sampled"] == 1 / 8
    assert line.delay.snapshot()["mean"] == (80 * DELAY + 8 * (now - 3 * MILLISECOND)) // 88
    line.sample(2, now)
    line.left(frame(50), now)
    line.timeout(now + SECOND)
    assert (line.corrupted, line.unknown) == (8, 2)  # it may have entered when it was not in the sample
    assert line.snapshot()["sampled"] == 1 / 8


def test_a_frame_is_remembered_for_its_life() -> None:
    line = ObservedLine()
    line.timeout(0)
    line.entered(frame(1), 10)
    line.timeout(LIFE)
    line.left(frame(1), LIFE + 20)
    assert (line.delay.count, line.delay.maximum) == (1, LIFE + 10)
    line.entered(frame(2), LIFE + 30)
    line.timeout(2 * LIFE)
    line.timeout(3 * LIFE)
    line.left(frame(2), 3 * LIFE + 10)
    line.timeout(4 * LIFE)
    assert counts(line) == (1, 0, 0, 1, 0, 0)


def test_memory_is_bounded() -> None:
    """Lost frames beyond it are forgotten early, after which nothing is called corrupted for a while."""
    line = ObservedLine()
    passed(line, range(1))
    for number in range(3 * observed.MOST_INSIDE):
        line.entered(frame(1000 + number), DELAY + number)
    assert len(line._inside) + len(line._older_inside) <= 2 * observed.MOST_INSIDE + 1
    line.left(frame(1), SECOND)
    line.timeout(2 * SECOND)
    assert (line.corrupted, line.unknown) == (0, 1)
    for number in range(3 * observed.MOST_STRANGERS):
        line.left(frame(number + 500_000), 10 * SECOND)
    assert len(line._strangers) <= observed.MOST_STRANGERS
    now = passed(line, range(3 * observed.MOST_LEFT), start=20 * SECOND)
    assert len(line._left) + len(line._older_left) <= 2 * observed.MOST_LEFT + 1
    assert len(line._in_order) <= observed.MOST_IN_ORDER
    line.timeout(now)
    assert line.corrupted == 3 * observed.MOST_STRANGERS
