"""The arithmetic of the benchmarks: medians, percentiles, ratios, and what a table shows. Nothing here measures."""

from __future__ import annotations

import os
import struct

import pytest

from nodes.wire import ethernet, ipv4, udp
from tests.benchmarks import forwarding, processes, traffic
from tests.benchmarks.tables import NOTHING, Table, markdown, median, percentile, ratio, shown, span


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([3.0], 3.0), ([9.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 100.0], 3.0)]
)
def test_median(values: list[float], expected: float | None) -> None:
    assert median(values) == expected


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (10, 1), (11, 2), (50, 5), (90, 9), (99, 10), (100, 10)])
def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed(share: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == expected


def test_percentile_of_nothing() -> None:
    assert percentile([], 50) is None


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"),
    [(10.0, 2.0, "5.00x"), (1.0, 4.0, "0.250x"), (None, 2.0, NOTHING), (1.0, None, NOTHING), (1.0, 0.0, NOTHING)],
)
def test_ratio(numerator: float | None, denominator: float | None, expected: str) -> None:
    assert ratio(numerator, denominator) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, NOTHING), ("text", "text"), (12345, "12,345"), (1234.56, "1,235"), (45.67, "45.7"), (4.567, "4.57"),
     (0.4567, "0.457"), (0.0, "0.00"), (0, "0")],
)  # fmt: skip
def test_numbers_are_shown_with_three_digits(value: float | str | None, expected: str) -> None:
    assert shown(value) == expected


def test_span_shows_the_extremes_of_several_values() -> None:
    assert span([]) == NOTHING
    assert span([2.0]) == "2.00"
    assert span([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_markdown_aligns_numbers_to_the_right() -> None:
    table = Table("Title", ("name", "rate"), [("a", 1500.0), ("long", None)], ["A note."])
    assert markdown(table).splitlines() == [
        "**Title**",
        "",
        "| name |  rate |",
        "|------|------:|",
        "| a    | 1,500 |",
        "| long |     - |",
        "",
        "A note.",
    ]


def test_the_frame_of_the_generator_is_sound() -> None:
    frame = traffic.datagram_frame(b"\x02abcde", b"\x02ABCDE", "10.0.0.1", "10.0.0.2", 60)
    assert len(frame) == 60
    header, payload = ethernet.parse(frame)
    assert (header.source, header.destination, header.ethertype) == (b"\x02abcde", b"\x02ABCDE", 0x0800)
    packet, data = ipv4.parse(memoryview(payload))
    assert packet.total_length == 46
    datagram, _ = udp.parse(data, packet.source, packet.destination)
    assert datagram.destination_port == traffic.PORT


def device(capacity: float, offered: float) -> tuple[forwarding.Trial, list[float]]:
    """A device that forwards `capacity` frames/s, before a generator that offers at most `offered`."""
    asked: list[float] = []

    def trial(rate: float) -> tuple[int, int, float]:
        asked.append(rate)
        sent = min(rate or offered, offered)
        return int(sent), int(min(sent, capacity)), 1.0

    return trial, asked


@pytest.mark.parametrize("capacity", [500.0, 9_000.0, 40_000.0, 77_000.0])
def test_the_search_finds_the_rate_without_loss(capacity: float) -> None:
    trial, asked = device(capacity, 100_000.0)
    sample = forwarding._search("a device", "64", trial)
    assert not sample.limited
    assert sample.overload == pytest.approx(capacity)
    assert sample.offered == pytest.approx(100_000)
    assert 0.9 * capacity < sample.lossless <= capacity * 1.002
    assert len(asked) < 40


def test_a_device_faster_than_the_generator_is_marked() -> None:
    trial, asked = device(1e9, 100_000.0)
    sample = forwarding._search("a device", "64", trial)
    assert sample.limited
    assert sample.lossless == pytest.approx(100_000)
    assert len(asked) == 1


def test_a_rate_that_was_not_offered_does_not_count() -> None:
    trial, _ = device(1e9, 100_000.0)
    assert not forwarding._passes(trial, 150_000.0)
    assert forwarding._passes(trial, 90_000.0)


def test_this_process_is_in_the_table_and_its_cost_grows() -> None:
    mine = processes.descendants(os.getpid())
    assert mine[0].pid == os.getpid()
    assert mine[0].parent == os.getppid()
    before = processes.cpu_seconds(mine[:1])
    struct.pack("100000x")
    assert processes.cpu_seconds(mine[:1]) > before > 0
    assert processes.survivors(mine[:1]) == mine[:1]
    assert processes.survivors([mine[0]._replace(started=0)]) == []
    assert processes.pss(mine[:1]) > 1 << 20
