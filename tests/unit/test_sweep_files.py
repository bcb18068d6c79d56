"""Every way to write a wrong sweep, with the exact message, all lines of it. All is said before anything runs.

The table is `broken_sweeps.txt`. A message that changes is changed there by hand, and read by a person once more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.errors import UserInputError
from lab.experiments.sweep.load import load_sweep

_TABLE = (Path(__file__).parent / "broken_sweeps.txt").read_text()
_CASES = re.findall(r"^=== (.*)\n((?:.*\n)*?)--->\n((?:.*\n)*?)(?====|\Z)", _TABLE, re.MULTILINE)

WIRE = """\
experiment: wire
claim: It takes a while.
topology:
  nodes: {a: host, b: host}
  links: [{ends: [a, b], name: wire, impair: {delay: 10ms}}]
parameters: {octets: 1000, pause: 1s}
timeline:
  - start: {node: b, application: sink, port: 9000}
  - sleep: $pause
  - run: {node: a, application: source, to: b, port: 9000, bytes: $octets, as: transfer}
expect:
  - claim: it takes a while
    result: {of: transfer, field: seconds}
    is: "> 0"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wire.yml").write_text(WIRE)
    (tmp_path / "broken.yml").write_text(WIRE.replace("application: sink", "application: sinc"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_is_read() -> None:
    assert len(_CASES) == _TABLE.count("\n=== ") >= 45


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in _CASES[1:]], ids=[case[0] for case in _CASES[1:]])
def test_broken(text: str, expected: str, here: Path) -> None:
    (here / "s.yml").write_text(text)
    with pytest.raises(UserInputError) as caught:
        load_sweep(Path("s.yml"))
    error = caught.value
    assert error.exit_code == 2
    assert error.message + (f"\n    hint: {error.hint}" if error.hint else "") == expected.rstrip("\n")


def test_the_experiment_of_the_table_is_right(here: Path) -> None:
    (here / "s.yml").write_text("experiment: wire.yml\ngrid: {octets: [1, 2], pause: [1s]}\n")
    sweep = load_sweep(Path("s.yml"))
    assert [dict(run.point) for run in sweep.runs] == [{"octets": 1, "pause": "1s"}, {"octets": 2, "pause": "1s"}]
