"""What commands print: tables, wrapped messages, usage errors, ladders on poor terminals. Pure functions only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lab.cli import doctor, events, ladder, state, traceroute
from lab.cli.main import COMMANDS, app, run, usage_words
from lab.cli.output import counted, milliseconds, table_lines, wrapped
from lab.host.probe import Finding


def test_a_table_has_no_spaces_at_its_ends() -> None:
    assert table_lines(["NODE", ">MTU", "STATE"], [["a", "1500", "up"], ["router", "68", ""]]) == [
        "NODE     MTU  STATE",
        "a       1500  up",
        "router    68",
    ]
    assert table_lines(["A", "B"], []) == ["A  B"]


def test_a_table_that_is_too_wide_is_folded_where_it_hurts_least() -> None:
    mac, run = "02:00:00:00:00:01", "/tmp/somewhere/runs/demo-20260101-120000"
    rows = [["demo", mac, run], ["x", mac, "/r"]]
    assert table_lines(["LAB", "MAC", "RUN"], rows)[1] == f"demo  {mac}  {run}"
    assert table_lines(["LAB", "MAC", "RUN"], rows, 50) == [
        "LAB   MAC                RUN",
        f"demo  {mac}  /tmp/somewhere/runs/",
        "                         demo-20260101-120000",
        f"x     {mac}  /r",
    ]
    assert table_lines(["MAC", "WORDS"], [[mac, "one two three"]], 31)[1:] == [
        f"{mac}  one two",
        "                   three",
    ]


@pytest.mark.parametrize("width", range(1, 120))
def test_folding_keeps_every_character(width: int) -> None:
    cells = ["one two  three/four", "x" * 40, "/a/b c"]
    lines = table_lines(["A", "B", "C"], [cells], width)
    kept = sorted("".join(lines[1:]).replace(" ", ""))
    assert kept == sorted("".join(cells).replace(" ", ""))
    least = 3 * 12 + 2 * 2
    assert max(map(len, lines)) <= max(width, least)


def test_messages_are_wrapped_on_a_terminal_only() -> None:
    text = "error: lab 'x' is not up\n  hint: a-long/path/that.is.kept and more words"
    assert wrapped(text, None) == text
    assert wrapped(text, 26) == ("error: lab 'x' is not up\n  hint:\n    a-long/path/that.is.kept\n    and more words")
    assert wrapped("\nx", 10) == "\nx"


def test_numbers() -> None:
    assert [counted(n, "link") for n in (0, 1, 2)] == ["0 links", "1 link", "2 links"]
    assert [milliseconds(n) for n in (412_000, 12_340_000, 1_234_500_000)] == ["0.412", "12.3", "1234"]


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("pign a b", "no such command 'pign'", "did you mean 'ping'? `lab --help` lists the commands"),
        ("xyzzy", "no such command 'xyzzy'", "`lab --help` lists the commands"),
        ("--bogus", "no such option: --bogus", "lab [OPTIONS] COMMAND"),
        ("ping a", "missing argument 'DESTINATION'", "lab ping [OPTIONS] NODE DESTINATION; `lab ping --help` explains"),
        ("ps a b", "got unexpected extra argument(s) (b)", "lab ps [OPTIONS] [LAB]; `lab ps --help` explains"),
        ("plan x --seed y", "invalid value for '--seed': ", "lab plan [OPTIONS] TOPOLOGY; `lab plan --help` explains"),
        (
            "validate",
            "missing argument 'TOPOLOGY'",
            "lab validate [OPTIONS] TOPOLOGY...; `lab validate --help` explains",
        ),
    ],
)
def test_wrong_arguments(line: str, message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith(f"error: {message}")
    assert second.startswith(f"  hint: {hint}")
    assert "Input should" not in err


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Input should be a valid integer, unable to parse string as an integer", "a whole number expected"),
        ("Input should be less than or equal to 65507", "at most 65507 is possible"),
        ("Input should be greater than or equal to 0.001", "at least 0.001 is possible"),
        ("Value error, 'x' is not one of 'up', 'down'.", "'x' is not one of 'up', 'down'"),
    ],
)
def test_words_of_the_argument_parser(theirs: str, ours: str) -> None:
    message, _ = usage_words(typer.BadParameter(theirs))
    assert message == f"invalid value: {ours}"


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert capsys.readouterr().out.startswith("Usage: lab [OPTIONS] COMMAND")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=80, prog_name="lab", color=False)
    assert result.exit_code == 0
    assert "[[" not in result.output
    assert "{" not in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_help_lists_every_command_once() -> None:
    output = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    for name, text in COMMANDS.items():
        assert f"  {name} " in output
        assert len(text) < 60 + 9


def test_ladder_without_line_drawing() -> None:
    line = "    0.000  │       ├──────▶│◀──┼───┤   ●  a label that is c…"
    assert ladder.in_encoding(line, "utf-8") == line
    assert ladder.in_encoding(line, "ascii") == "    0.000  |       |------>|<--+---|   o  a label that is c~"
    assert ladder.in_encoding(line, "latin-1").isascii()


def test_events_as_lines() -> None:
    event = {
        "name": "link:arp_updated",
        "time": 1.5,
        "data": {"interface": "eth0", "old": "incomplete", "new": "reachable", "trigger": "reply"},
    }
    line = events._line((1.5, "a", event), json=False)
    assert line == "    0.001500 a        link:arp_updated             interface=eth0 incomplete -> reachable (reply)"
    assert events._line((1.5, "a", event), json=True).startswith('{"node": "a", "name": "link:arp_updated"')


def test_state_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": 3, "kind": "ping", "result": {"rtt_min": 2_034_488, "loss": 0.5, "duration": 15_000_000_000}}]
    for title, value in (("up", True), ("counters", {"in": 0, "out": 5}), ("icmp", {"in": 0}), ("applications", rows)):
        state.show(title, value)
    assert capsys.readouterr().out.splitlines() == [
        "up: yes",
        "",
        "counters",
        "NAME  VALUE",
        "out   5",
        "",
        "icmp",
        "all zero",
        "",
        "applications",
        "ID  KIND",
        "3   ping",
        "",
        "applications.3.result",
        "NAME      VALUE",
        "rtt_min   2.034 ms",
        "loss      0.5",
        "duration  15 s",
    ]


def test_times_of_a_hop() -> None:
    def probe(rtt: int | None, mark: str = "") -> dict[str, object]:
        return {"rtt": rtt, "mark": mark} if mark else {"rtt": rtt}

    assert traceroute._times([probe(1_000_000), probe(2_000_000)]) == "1.000 ms  2.000 ms"
    assert traceroute._times([probe(1_000_000, "net_unreachable")] * 2) == "1.000 ms  1.000 ms  net unreachable"
    assert traceroute._times([probe(1_000_000, "net_unreachable"), probe(None)]) == "1.000 ms net unreachable  *"


def test_doctor_says_whether_labs_can_run() -> None:
    fine, optional, lack = Finding("veth", True, ""), Finding("Mininet", None, ""), Finding("bridge", False, "")
    assert doctor._summary([fine, optional]).strip().startswith("labs can run here")
    assert doctor._summary([fine, optional, lack]).strip() == "labs cannot run here: bridge missing"
    assert [doctor._mark(finding) for finding in (fine, optional, lack)] == ["yes", "-", "no"]


def test_validate_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For editors and scripts: every problem of every file with its place, and the exit code all the same."""
    good, bad, missing = (tmp_path / name for name in ("good.yml", "bad.yml", "missing.yml"))
    good.write_text("nodes: {a: , b: }\nlinks: [a -- b]\n")
    bad.write_text("nodes: {a: , b: }\nlinks:\n  - a -- c\n  - b -- d\n")
    assert run(["validate", "--json", str(good), str(bad), str(missing)]) == 2
    captured = capsys.readouterr()
    first, second, third = json.loads(captured.out)
    assert (first["valid"], first["problems"], first["warnings"]) == (True, [], [])
    assert [(problem["line"], problem["column"]) for problem in second["problems"]][:1] == [(3, 10)]
    assert {problem["line"] for problem in second["problems"]} >= {3, 4}
    assert (third["valid"], third["problems"][0]["line"]) == (False, None)
    assert captured.err == ""
