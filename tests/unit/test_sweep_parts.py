"""The parts of a sweep: ranges, points, seeds, paths, intervals, columns, the journal, tables."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from lab.errors import EnvironmentLackError, StateError, UserInputError
from lab.experiments.sweep.columns import Column, plain_name, quantities, table, unique
from lab.experiments.sweep.folder import Folder, Outcome, read_journal
from lab.experiments.sweep.grid import key_of, points_of, runs_of, seed_of, values_of
from lab.experiments.sweep.interval import median_interval, ranks
from lab.experiments.sweep.load import Sweep, load_sweep
from lab.experiments.sweep.model import Axis
from lab.experiments.sweep.paths import PathError, with_settings
from lab.experiments.sweep.tables import make_tables
from lab.experiments.sweep.worker import Task, perform
from lab.model.load import loads
from lab.plan.planner import make_plan

ROOT = Path(__file__).parents[2]

# ------------------------------------------------------------------------------------------------------------- the grid


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ({"from": 1, "to": 4, "steps": 4}, [1, 2, 3, 4]),
        ({"from": 1, "to": 2, "steps": 3}, [1, 2]),
        ({"from": 1.0, "to": 2, "steps": 3}, [1.0, 1.5, 2.0]),
        ({"from": 0.1, "to": 0.3, "step": 0.1}, [0.1, 0.2, 0.3]),
        ({"from": 5, "to": 1, "step": -2}, [5, 3, 1]),
        ({"from": 1, "to": 9, "step": 3}, [1, 4, 7]),
        ({"from": "10ms", "to": "30ms", "steps": 3}, ["10ms", "20ms", "30ms"]),
        ({"from": "0.1%", "to": "0.5%", "step": "0.1%"}, ["0.1%", "0.2%", "0.3%", "0.4%", "0.5%"]),
        ({"from": "10ms", "to": "160ms", "steps": 5, "scale": "log"}, ["10ms", "20ms", "40ms", "80ms", "160ms"]),
        ({"from": 1, "to": 1000, "steps": 4, "scale": "log"}, [1, 10, 100, 1000]),
        ({"from": "0.0001%", "to": "1%", "step": 10, "scale": "log"}, ["0.0001%", "0.001%", "0.01%", "0.1%", "1%"]),
        ({"from": 16, "to": 3, "step": 0.5, "scale": "log"}, [16, 8, 4]),
        ({"values": [True, "x", 1]}, [True, "x", 1]),
    ],
    ids=str,
)
def test_ranges(axis: dict[str, Any], values: list[Any]) -> None:
    found = values_of(Axis.model_validate(axis))
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_points_are_combinations_and_cases_are_not() -> None:
    points = points_of([{"a": 1, "b": 2}, {"a": 3, "b": 4}], {"x": [1, 2], "y": ["z"]})
    assert points == [
        {"a": 1, "b": 2, "x": 1, "y": "z"},
        {"a": 1, "b": 2, "x": 2, "y": "z"},
        {"a": 3, "b": 4, "x": 1, "y": "z"},
        {"a": 3, "b": 4, "x": 2, "y": "z"},
    ]


def test_a_run_keeps_its_seed_when_the_grid_grows() -> None:
    few = {run.key: run.seed for run in runs_of(points_of([], {"x": [1, 2]}), 2, 7)}
    many = {run.key: run.seed for run in runs_of(points_of([], {"x": [0, 1, 2, 3]}), 5, 7)}
    assert few.items() <= many.items()
    assert len(set(many.values())) == 20
    assert {run.seed for run in runs_of(points_of([], {"x": [1, 2]}), 2, 8)}.isdisjoint(many.values())


def test_seeds_are_what_they_always_were() -> None:
    """A change here changes the results of everybody's sweeps."""
    assert seed_of(1, {"loss": "1%"}, 1) == 8357106649505922
    assert seed_of(1, {"b": 1, "a": 2}, 3) == seed_of(1, {"a": 2, "b": 1}, 3)
    assert all(seed_of(1, {"n": n}, 1) < 1 << 53 for n in range(100))
    assert key_of({"b": 1, "a": "ä"}, 2) == '[{"a": "ä", "b": 1}, 2]'


# --------------------------------------------------------------------------------------------------------------- paths

TOPOLOGY = """\
name: paths
nodes: {a: host, b.c: {kind: host}, s: switch}
links:
  - {ends: [a, s], name: wan.link, impair: {delay: 1ms}}
  - b.c -- s
"""


@pytest.mark.parametrize(
    ("path", "value", "seen"),
    [
        ("links.wan.link.impair.loss", "1%", "links[0].impair.ab.loss"),
        ("links.b.c--s.impair.delay", "5ms", "5000000"),
        ("links.s--b.c.mtu", 987, "987"),
        ("nodes.a.tcp.receive_buffer", 4096, "4096"),
        ("nodes.b.c.trace", "off", "off"),
        ("defaults.mtu", 900, "900"),
    ],
)
def test_paths(path: str, value: Any, seen: str) -> None:
    """What is set is in the plan, and was not before."""
    before = make_plan(loads(TOPOLOGY))
    after = make_plan(loads(with_settings(TOPOLOGY, {path: value})))
    assert before != after
    if seen.isdigit():
        assert seen not in repr(before)
        assert seen in repr(after)


def test_nothing_set_is_the_same_text() -> None:
    assert with_settings(TOPOLOGY, {}) is TOPOLOGY


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("name", "a topology has no 'name' to set", "did you mean"),
        ("links.wan.impair.loss", "links has no 'wan'", "one of: wan.link, b.c--s"),
        ("links.0.impair.loss", "links has no '0'", "one of: wan.link, b.c--s, s--b.c"),
        ("nodes.d.mtu", "nodes has no 'd'", "one of: a, b.c, s"),
    ],
)
def test_paths_that_lead_nowhere(path: str, message: str, hint: str) -> None:
    with pytest.raises(PathError) as caught:
        with_settings(TOPOLOGY, {path: 1})
    assert caught.value.message == message
    assert hint in caught.value.hint or path == "name"


# ----------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("n", "rank", "confidence"),
    [
        # Le Boudec, Performance Evaluation of Computer and Communication Systems, appendix A, where it is symmetric
        (6, 1, 0.969),
        (7, 1, 0.984),
        (9, 2, 0.961),
        (10, 2, 0.979),
        (12, 3, 0.961),
        (15, 4, 0.965),
        (17, 5, 0.951),
        (20, 6, 0.959),
        (25, 8, 0.957),
        (30, 10, 0.957),
        (50, 18, 0.967),
        # too few for 95 %
        (1, 1, 0.0),
        (2, 1, 0.5),
        (3, 1, 0.75),
        (5, 1, 0.9375),
    ],
)
def test_ranks(n: int, rank: int, confidence: float) -> None:
    found, covered = ranks(n)
    assert found == rank
    assert covered == pytest.approx(confidence, abs=6e-4)


def test_median_and_interval() -> None:
    assert median_interval([3, 1, 2]) == (2.0, 1.0, 3.0, 0.75)
    assert median_interval([4, 1, 2, 3]).median == 2.5
    assert median_interval(range(1, 11))[:3] == (5.5, 2.0, 9.0)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    """Of a distribution that is far from normal: 2,000 samples of 12 values."""
    chance = random.Random(3)
    covered = 0
    for _ in range(2000):
        found = median_interval([chance.paretovariate(1) for _ in range(12)])
        covered += found.lower <= 2.0 <= found.upper  # the median of Pareto's with 1 is 2
    assert covered / 2000 == pytest.approx(ranks(12)[1], abs=0.015)


def test_medians_are_those_of_the_library() -> None:
    chance = random.Random(4)
    for n in range(1, 30):
        values = [chance.random() for _ in range(n)]
        assert median_interval(values).median == statistics.median(values)


# ------------------------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("text", "unit", "name"),
    [
        ("the rate is window / round trip time", "octets/s", "the_rate_is_window_round_trip_time_octets_per_s"),
        ("links.wire.impair.loss", "", "links_wire_impair_loss"),
        ("share", "%", "share_percent"),
        ("goodput_bit_per_s", "bit/s", "goodput_bit_per_s"),
        ("octets", "octets", "octets"),
        ("Größe", "", "gr_e"),
        ("…", "", "column"),
        ("word " * 20, "s", "word_" * 11 + "word_s"),
    ],
)
def test_names(text: str, unit: str, name: str) -> None:
    assert plain_name(text, unit) == name


def test_names_are_unique() -> None:
    assert unique("a", {"a": 1, "a_2": 1}) == "a_3"
    assert unique("a", {"b": 1}) == "a"


@pytest.mark.parametrize(
    ("cells", "numbers", "unit"),
    [
        (["1ms", "2s", 0, None], [0.001, 2.0, 0.0, None], "s"),
        (["0.1%", "2%"], [0.001, 0.02], ""),
        (["1mbit", "10kbit"], [1_000_000, 10_000], "bit/s"),
        (["1kB", "2MiB"], [1000, 2097152], "octets"),
        (["1ms", "1%"], ["1ms", "1%"], ""),
        (["none", "1%"], ["none", "1%"], ""),
        (["1", "2"], ["1", "2"], ""),
        ([1, 2], [1, 2], ""),
        ([True, False], [True, False], ""),
    ],
    ids=str,
)
def test_quantities(cells: list[Any], numbers: list[Any], unit: str) -> None:
    assert quantities(cells) == (numbers, unit)


def test_types_and_cells() -> None:
    columns = [
        Column("whole", [1, None]),
        Column("number", [1, 2.5]),
        Column("truth", [True, None]),
        Column("text", ['a "b", c', None]),
        Column("mixed", [1, "x"]),
        Column("given", [1, None], given="double"),
    ]
    assert [column.type for column in columns] == ["int64", "double", "bool", "string", "string", "double"]
    rows = list(csv.reader(io.StringIO(table(columns))))
    assert rows[1] == ["1", "1.0", "true", 'a "b", c', "1", "1.0"]
    assert rows[2] == ["", "2.5", "", "", "x", ""]


# ----------------------------------------------------------------------------------------------- the folder, the tables


def outcome(point: dict[str, Any], repeat: int = 1, result: str = "passed", **more: Any) -> Outcome:
    return Outcome(point, repeat, seed_of(1, point, repeat), result, **more)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    path = tmp_path / "s.yml"
    path.write_text("experiment: window-limit\ngrid: {buffer: [10000, 20000]}\nset: {octets: 50000}\nrepeat: 2\n")
    return load_sweep(path)


def test_a_journal_survives_what_cuts_it(tmp_path: Path, sweep: Sweep) -> None:
    """Its last line at every length: whole lines are read, the rest is cut off, and what comes later is readable."""
    points = [dict(point) for point in sweep.points]
    with Folder.opened(tmp_path / "f", sweep) as folder:
        folder.add(outcome(points[0], seen=[("c", 1.5, "s")]))
        first = (tmp_path / "f/journal.jsonl").read_bytes()
        folder.add(outcome(points[1]))
    whole = (tmp_path / "f/journal.jsonl").read_bytes()
    for length in range(len(first), len(whole), 7):
        (tmp_path / "f/journal.jsonl").write_bytes(whole[:length])
        with Folder.opened(tmp_path / "f", sweep) as folder:
            assert list(folder.done.values()) == [outcome(points[0], seen=[("c", 1.5, "s")])]
            assert len(folder.remaining(sweep.runs)) == 3
            folder.add(outcome(points[1], 2))
        assert len(read_journal(tmp_path / "f/journal.jsonl")) == 2


def test_a_broken_line_in_the_middle_is_told(tmp_path: Path, sweep: Sweep) -> None:
    with Folder.opened(tmp_path / "f", sweep) as folder:
        folder.add(outcome(dict(sweep.points[0])))
    journal = tmp_path / "f/journal.jsonl"
    journal.write_bytes(b"{}\n" + journal.read_bytes())
    with pytest.raises(UserInputError, match=r"journal.jsonl:1: no line of a journal"):
        read_journal(journal)


def test_lost_runs_are_done_again_and_the_later_line_holds(tmp_path: Path, sweep: Sweep) -> None:
    point = dict(sweep.points[0])
    with Folder.opened(tmp_path / "f", sweep) as folder:
        folder.add(outcome(point, result="lost", reason="its process died: SIGKILL"))
        assert len(folder.remaining(sweep.runs)) == 4
        folder.add(outcome(point))
    with Folder.opened(tmp_path / "f", sweep) as folder:
        assert len(folder.remaining(sweep.runs)) == 3


def test_two_sweeps_in_one_folder(tmp_path: Path, sweep: Sweep) -> None:
    other = Folder.opened(tmp_path / "f", sweep)
    with Folder.opened(tmp_path / "f", sweep), pytest.raises(StateError, match="another sweep writes to"), other:
        pass
    with Folder.opened(tmp_path / "f", sweep):
        pass


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[10000, 20000]", "[10000, 15000, 20000]", ""),
        ("repeat: 2", "repeat: 3", ""),
        ("repeat: 2", "repeat: 2\nmeasure: [something else]", ""),
        ("repeat: 2", "repeat: 2\ntimeout: 5s", ""),
        ("[10000, 20000]", "[20000]", "has 1 runs that are not in the grid: buffer 10000, repeat 1"),
        ("octets: 50000", "octets: 60000", "has runs with another set"),
        ("repeat: 2", "repeat: 2\nseed: 3", "has runs with another seed: 1, and not 3"),
        ("repeat: 2", "repeat: 2\ndriver: netns", "has runs with another driver: sim, and not netns"),
        ("experiment", "handshake", "has runs with another experiment: handshake, and not window-limit"),
        ("content of the experiment", "other", "has runs with another content of the experiment: other, and not "),
        ("layerlab", "0.0.1", "has runs with another layerlab: 0.0.1, and not "),
    ],
)
def test_a_file_that_changed(old: str, new: str, says: str, tmp_path: Path, sweep: Sweep) -> None:
    """It may grow and measure something else; else what is there is not lost by accident."""
    folder_path, path = tmp_path / "f", tmp_path / "s.yml"
    with Folder.opened(folder_path, sweep) as folder:
        folder.add(outcome(dict(sweep.points[0])))
    facts = json.loads((folder_path / "sweep.json").read_text())
    if old in facts:
        (folder_path / "sweep.json").write_text(json.dumps({**facts, old: new}))
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    changed = load_sweep(path)
    if not says:
        with Folder.opened(folder_path, changed) as folder:
            assert len(folder.done) == 1
        return
    with pytest.raises(UserInputError) as caught, Folder.opened(folder_path, changed):
        pass
    assert says in caught.value.message
    assert "--again" in caught.value.hint
    assert len(read_journal(folder_path / "journal.jsonl")) == 1
    with Folder.opened(folder_path, changed, again=True) as folder:
        assert not folder.done


def test_folders_that_are_none(tmp_path: Path, sweep: Sweep) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("")
    for name, error, says in (
        ("file", UserInputError, "not a folder"),
        ("full", UserInputError, "there is something else in it"),
        ("file/below", EnvironmentLackError, "cannot write"),
    ):
        for again in (False, True):
            with pytest.raises(error, match=says), Folder.opened(tmp_path / name, sweep, again=again):
                pass
    assert (tmp_path / "full/thesis.tex").exists()


def test_tables(sweep: Sweep) -> None:
    """Rows in the order of the grid, types, a run that is missing, one that was lost, a claim that is made twice."""
    points = [dict(point) for point in sweep.points]
    seen = [("the rate", 1000, "octets/s"), ("the rate", 2000.5, "octets/s"), ("octets", 3, "octets")]
    outcomes = [
        outcome(points[1], 2, result="failed", failed=["the rate", "b"], seen=seen[:1], run="/x/runs/77/w-1"),
        outcome(points[0], 1, seen=seen, seconds=1.23456),
        outcome(points[1], 1, result="lost", reason="longer than 5 s", seconds=5.0),
    ]
    made = make_tables(sweep, {each.key: each for each in outcomes})
    rows = list(csv.DictReader(io.StringIO(made.texts["results.csv"])))
    assert [(row["buffer"], row["repeat"], row["verdict"]) for row in rows] == [
        ("10000", "1", "passed"),
        ("20000", "1", "lost"),
        ("20000", "2", "failed"),
    ]
    assert list(rows[0]) == [
        *("buffer", "delay", "octets", "repeat", "seed", "verdict", "failed_claims", "error"),
        *("the_rate_octets_per_s", "the_rate_octets_per_s_2", "octets_2"),
    ]
    assert [row["the_rate_octets_per_s"] for row in rows] == ["1000.0", "", "1000.0"]
    assert (rows[0]["octets"], rows[0]["octets_2"]) == ("50000", "3.0")
    assert (rows[1]["error"], rows[2]["failed_claims"]) == ("longer than 5 s", "the rate; b")
    summary = list(csv.DictReader(io.StringIO(made.texts["summary.csv"])))
    assert len(summary) == 6
    last = [summary[5][key] for key in ("buffer", "measure", "n", "median", "passed", "failed", "errors")]
    assert last == ["20000", "octets_2", "0", "", "0", "1", "1"]
    times = list(csv.DictReader(io.StringIO(made.texts["times.csv"])))
    assert [(row["wall_s"], row["run"]) for row in times] == [("1.235", ""), ("5.0", ""), ("0.0", "runs/77/w-1")]
    for name, columns in json.loads(made.texts["columns.json"]).items():
        head = next(csv.reader(io.StringIO(made.texts[name])))
        assert [column["name"] for column in columns] == head
        assert all(column["source"] for column in columns)
        assert len(set(head)) == len(head)
    types = {column["name"]: column["type"] for column in json.loads(made.texts["columns.json"])["results.csv"]}
    assert (types["buffer"], types["octets_2"], types["error"]) == ("int64", "double", "string")


def test_measures_are_chosen_and_named(tmp_path: Path, sweep: Sweep) -> None:
    path = tmp_path / "s.yml"
    path.write_text(path.read_text() + "measure: {speed: {claim: the rate, unit: B/s}, gone: no such claim}\n")
    point = dict(sweep.points[0])
    done = outcome(point, seen=[("other", 1, ""), ("the rate", 7, "octets/s")])
    made = make_tables(load_sweep(path), {done.key: done})
    (row,) = csv.DictReader(io.StringIO(made.texts["results.csv"]))
    assert list(row)[-2:] == ["speed_b_per_s", "gone"]
    assert (row["speed_b_per_s"], row["gone"]) == ("7.0", "")


# -------------------------------------------------------------------------------------------------------------- one run


@pytest.mark.slow
def test_a_run_of_a_worker(tmp_path: Path, sweep: Sweep) -> None:
    """Its topology has what the point sets; its folder is kept where it did not pass; what it raises is an answer."""
    parameters = sweep.parameters(sweep.points[0])
    folder = tmp_path / "run"
    task = Task(sweep.reference, sweep.content, parameters, {"defaults.trace": "on"}, 1, "sim", str(folder))
    bad = perform(task, {})
    assert bad.outcome == "error"
    assert "'on' is not a value of 'trace'" in bad.reason
    slow = Task(sweep.reference, sweep.content, parameters, {"links.a--b.impair.delay": "90ms"}, 1, "sim", str(folder))
    answer = perform(slow, {})
    assert answer.outcome == "failed"
    assert answer.failed == ("the rate is window / round trip time",)
    assert (Path(answer.run) / "plan.json").exists()
    assert [claim for claim, *_ in answer.seen] == [answer.failed[0], "never more than the window is on the way"]
    parameters |= {"buffer": 65535, "octets": 900_000}
    good = perform(Task(sweep.reference, sweep.content, parameters, {}, 1, "sim", str(folder)), {})
    assert (good.outcome, good.run, folder.exists()) == ("passed", "", False)
    changed = perform(Task(sweep.reference, "other", parameters, {}, 1, "sim", str(folder)), {})
    assert (changed.outcome, changed.reason) == ("lost", "window-limit has changed since the sweep began")
