"""Ways to write a wrong experiment, with the exact message, all lines of it, and the exit code.

The table is `broken_experiments.txt`: what is changed in the checked-in example, and what is said then. A message that
changes is changed there by hand, and read by a person once more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.errors import UserInputError
from lab.experiments.written import load_experiment

GOOD = (Path(__file__).parents[2] / "examples/lost-syn.yml").read_text()
_TABLE = (Path(__file__).parent / "broken_experiments.txt").read_text()
_CASES = re.findall(r"^=== (.*)\n((?:.*\n)*?)\+\+\+\n((?:.*\n)*?)--->\n((?:.*\n)*?)(?====|\Z)", _TABLE, re.MULTILINE)[
    1:
]


def test_the_table_is_read() -> None:
    assert len(_CASES) == _TABLE.count("\n=== ") - 1 >= 35


@pytest.mark.parametrize(("old", "new", "expected"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES])
def test_broken(old: str, new: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert GOOD.count(old.rstrip("\n")) == 1
    Path("x.yml").write_text(GOOD.replace(old.rstrip("\n"), new.rstrip("\n")))
    with pytest.raises(UserInputError) as caught:
        load_experiment(Path("x.yml"))
    assert str(caught.value) == expected.rstrip("\n")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("nothing", ["", "# a comment\n", "- a\n- list\n", "text"])
def test_no_experiment_at_all(nothing: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yml"
    path.write_text(nothing)
    with pytest.raises(UserInputError, match=r"x\.yml:1:1: "):
        load_experiment(path)


def test_names_are_those_of_a_topology_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "pair.yml").write_text("nodes: {a: host, c: host}\nlinks: [a -- c]\n")
    begin, end = GOOD.index("topology:"), GOOD.index("parameters: {octets")
    path = tmp_path / "x.yml"
    path.write_text(GOOD[:begin] + "topology: pair.yml\n" + GOOD[end:])
    with pytest.raises(UserInputError) as caught:
        load_experiment(path)
    assert "no node 'b'" in str(caught.value)
    assert "no link 'wire'" in str(caught.value)
