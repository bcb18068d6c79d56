"""Files that say how a link behaves over time."""

from __future__ import annotations

import pytest

from nodes.impairment import Change, RandomLoss, RateTrace, encode_patch
from nodes.physical import traces
from nodes.physical.schedule import Schedule
from nodes.physical.traces import parse_mahimahi, parse_schedule
from nodes.units import MICROSECOND, MILLISECOND, SECOND


def at(nanoseconds: int, *, up: bool | None = None, **patch: object) -> Change:
    return Change(nanoseconds, patch=encode_patch(patch), up=up, origin="trace")


@pytest.mark.parametrize(
    ("text", "opportunities"),
    [
        ("1\n", (1,)),
        ("1", (1,)),
        ("0\n0\n3\n5\n", (0, 0, 3, 5)),
        ("2\r\n2\r\n10\r\n", (2, 2, 10)),
        ("\ufeff7\n 8 \n", (7, 8)),
        ("1000000000000000\n", (10**15,)),
    ],
)
def test_mahimahi(text: str, opportunities: tuple[int, ...]) -> None:
    assert parse_mahimahi(text) == RateTrace(opportunities)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' is not a whole number of milliseconds"),
        ("\n", "line 1: '' is not a whole number"),
        ("0\n", "line 1: a trace lasts longer than 0 ms"),
        ("0\n0\n", "line 2: a trace lasts longer than 0 ms"),
        ("1\n\n2\n", "line 2: '' is not"),
        ("1\n5\n4\n", "line 3: 4 ms is before the 5 ms of the line above"),
        ("1\n-2\n", "line 2: '-2' is not"),
        ("1\n1.5\n", "line 2: '1.5' is not"),
        ("1\n\N{SUPERSCRIPT TWO}\n", "line 2: .* is not"),
        ("1\n\N{ARABIC-INDIC DIGIT TWO}\n", "line 2: .* is not"),
        ("1000000000000001\n", "line 1: .* is not"),
        (f"{'9' * 10000}\n", "line 1: '9{40}...' is not"),
    ],
)
def test_mahimahi_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_mahimahi(text)


def test_mahimahi_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "OPPORTUNITIES_LIMIT", 3)
    assert parse_mahimahi("1\n1\n1\n").opportunities == (1, 1, 1)
    with pytest.raises(ValueError, match="line 4: a trace has at most 3 lines"):
        parse_mahimahi("1\n1\n1\n1\n")


PEOPLE = """\
# a satellite: the path changes every 15 s
t, delay, rate,   loss, up
0,  25ms, 80mbit, 0.1%, 1
15,     ,       ,     , down

15.2, 31ms, 64e6,     0,  1
1min, 0.5ms,,,
"""
MACHINES = "t_ms,delay_us,rate_bps,loss_percent\r\n0,25000,80000000,0.1\r\n15000,31000.5,64000000,\r\n"


def test_schedule_as_people_write_it() -> None:
    assert parse_schedule(PEOPLE) == (
        at(0, delay=25 * MILLISECOND, rate=80_000_000, loss=RandomLoss(chance=0.001), up=True),
        at(15 * SECOND, up=False),
        at(15_200 * MILLISECOND, delay=31 * MILLISECOND, rate=64_000_000, loss=RandomLoss(chance=0.0), up=True),
        at(60 * SECOND, delay=500 * MICROSECOND),
    )


def test_schedule_with_units_in_its_header() -> None:
    assert parse_schedule(MACHINES) == (
        at(0, delay=25 * MILLISECOND, rate=80_000_000, loss=RandomLoss(chance=0.001)),
        at(15 * SECOND, delay=31_000_500, rate=64_000_000),
    )


@pytest.mark.parametrize(
    ("header", "cell", "patch"),
    [
        ("delay", "20ms", {"delay": 20 * MILLISECOND}),
        ("delay", "1.5s", {"delay": 1500 * MILLISECOND}),
        ("delay_s", "0.1", {"delay": 100 * MILLISECOND}),
        ("delay_us", "1e3", {"delay": MILLISECOND}),
        ("delay_ns", "7", {"delay": 7}),
        ("Delay_MS", "+3", {"delay": 3 * MILLISECOND}),
        ("rate", "9600", {"rate": 9600}),
        ("rate", "64kbit", {"rate": 64_000}),
        ("rate_kbps", "1.5", {"rate": 1500}),
        ("rate_mbit", "2.5", {"rate": 2_500_000}),
        ("rate_gbps", "1", {"rate": 10**9}),
        ("loss", "100%", {"loss": RandomLoss(chance=1.0)}),
        ("loss_percent", "1", {"loss": RandomLoss(chance=0.01)}),
        ("loss_share", "0.01", {"loss": RandomLoss(chance=0.01)}),
    ],
)
def test_cells(header: str, cell: str, patch: dict[str, object]) -> None:
    assert parse_schedule(f"t,{header}\n0,{cell}\n") == (at(0, **patch),)


def test_decimal_times_are_exact() -> None:
    """0.1 s is 100,000,000 ns, also after ten of them: no binary fraction in between."""
    text = "t,delay_ms\n" + "".join(f"{tenth / 10},{tenth}\n" for tenth in range(1, 1000))
    assert [change.at for change in parse_schedule(text)] == [tenth * SECOND // 10 for tenth in range(1, 1000)]


def test_a_schedule_can_run() -> None:
    schedule = Schedule(parse_schedule(PEOPLE), 0)
    assert schedule.deadline() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a header such as `t,delay,rate,loss` is expected"),
        ("# only this\n", "line 1: a header"),
        ("t,delay_ms\n", "line 1: no row under the header"),
        ("\n0,20ms\n", "line 2: column '0' is not one of t, delay, rate, loss, up"),
        ("delay,rate\n", "line 1: a header such as"),
        ("t\n1\n", "line 1: nothing to change beside the time"),
        ("t,delay,delay_ms\n", "line 1: a second column for delay"),
        ("t,t\n", "line 1: a second column for t"),
        ("t,dealy\n", "line 1: column 'dealy' is not one of"),
        ("t,delay,\n", "line 1: column '' is not one of"),
        ("t,delay_ms\n0\n", "line 2: 1 cells, the header has 2"),
        ("t,delay_ms\n0,1,\n", "line 2: 3 cells"),
        ("t,delay_ms\n\n#\n,1\n", "line 4: a row has a time"),
        ("t,delay_ms\n1,\n", "line 2: a row changes something"),
        ("t,delay_ms\n1,1\n1,2\n", "line 3: its time is not after that of the row above"),
        ("t,delay_ms\n2,1\n1,2\n", "line 3: its time is not after"),
        ("t,delay_ms\n-1,1\n", "line 2: t: -1 is negative"),
        ("t,delay\n1,banana\n", "line 2: delay: 'banana' is not a time such as"),
        ("t,delay_ms\n1,20ms\n", "line 2: delay_ms: '20ms' is not a number of ms"),
        ("t,delay\n1,nan\n", "line 2: delay: 'nan' is not"),
        ("t,delay\n1,1/3\n", "line 2: delay: '1/3' is not"),
        ("t,delay\n1,1_0\n", "line 2: delay: '1_0' is not"),
        ("t,delay\n1,1e99999999999\n", "line 2: delay: '1e99999999999' is not"),
        ("t,delay_ms\n1,1e16\n", "line 2: delay_ms: 1e16 is too large"),
        ("t,rate\n1,0\n", "line 2: rate: 0 would be a link without a limit"),
        ("t,rate_mbps\n1,0\n", "line 2: rate_mbps: 0 would be a link without a limit"),
        ("t,loss\n1,0.01\n", "line 2: loss: 0.01 has no unit: 0.01%?"),
        ("t,loss\n1,150%\n", "line 2: loss: '150%' is more than 100%"),
        ("t,loss_percent\n1,101\n", "line 2: loss_percent: '101' is not a number from 0 to 100"),
        ("t,loss_share\n1,-0.1\n", "line 2: loss_share: '-0.1' is not a number from 0 to 1"),
        ("t,up\n1,maybe\n", "line 2: up: 'maybe' is not 1 or 0, up or down"),
    ],
)
def test_schedules_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_schedule(text)


def test_schedules_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "ROWS_LIMIT", 2)
    with pytest.raises(ValueError, match="line 4: a schedule has at most 2 rows"):
        parse_schedule("t,delay_ms\n0,1\n1,2\n2,3\n")
