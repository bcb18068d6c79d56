"""Every way to write a wrong topology, with the exact message, all lines of it; and that nothing else is ever raised.

The table is `broken_topologies.txt`. A message that changes is changed there by hand, and read by a person once more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UserInputError
from lab.model.errors import TopologyError
from lab.model.load import load, loads
from lab.plan.planner import make_plan

_TABLE = (Path(__file__).parent / "broken_topologies.txt").read_text()
_CASES = re.findall(r"^=== (.*)\n((?:.*\n)*?)--->\n((?:.*\n)*?)(?====|\Z)", _TABLE, re.MULTILINE)


def _message(text: str) -> str:
    with pytest.raises(UserInputError) as caught:
        make_plan(loads(text, "t.yml"))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_table_is_read() -> None:
    assert len(_CASES) == _TABLE.count("\n=== ") >= 45


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in _CASES[1:]], ids=[case[0] for case in _CASES[1:]])
def test_broken(text: str, expected: str) -> None:
    assert _message(text) == expected.rstrip("\n")


def test_control_character() -> None:
    expected = "t.yml:1:9: the character U+0007 is not allowed in YAML\n    hint: delete it"
    assert _message("name: de\x07mo\n") == expected


@pytest.mark.slow
def test_bridge_with_too_many_ports() -> None:
    hosts = [f"h{number}" for number in range(1024)]
    nodes = "".join(f"  {host}: host\n" for host in hosts)
    links = "".join(f"  - {host} -- s\n" for host in hosts)
    message = "t.yml:2:3: 's' has 1024 ports, a Linux bridge has at most 1023\n    hint: impl: stack, or two switches"
    assert _message(f"nodes:\n  s: switch\n{nodes}links:\n{links}") == message
    assert make_plan(loads(f"nodes:\n  s: {{kind: switch, impl: stack}}\n{nodes}links:\n{links}"))


def test_problems_are_sorted_and_carry_their_place() -> None:
    with pytest.raises(TopologyError) as caught:
        make_plan(loads("nodes: {a: host, b: host}\nlinks:\n  - a -- x\n  - y -- b\n", "t.yml"))
    assert [(problem.line, problem.column, problem.message) for problem in caught.value.problems] == [
        (3, 10, "there is no node 'x'"),
        (4, 5, "there is no node 'y'"),
    ]


def test_files(tmp_path: Path) -> None:
    """What is wrong with a file and not with its text."""
    latin = tmp_path / "latin.yml"
    latin.write_bytes("nodes:\n  caf\u00e9: host\n".encode("latin-1"))
    large = tmp_path / "large.yml"
    large.write_bytes(b"#" * (4 << 20) + b"#")
    expected = {
        tmp_path / "none.yml": f"{tmp_path}/none.yml: no such file",
        tmp_path: f"{tmp_path}: is a directory",
        latin: f"{latin}:2:6: byte 0xe9 is not UTF-8\n    hint: save the file as UTF-8 text",
        large: f"{large}: larger than 4 MiB",
    }
    for path, message in expected.items():
        with pytest.raises(UserInputError) as caught:
            load(path)
        assert caught.value.message == message


@pytest.mark.slow
def test_aliases_that_multiply_are_stopped() -> None:
    """The "billion laughs" file: every line names the line above it ten times."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(TopologyError, match="more than 200000 values"):
        loads("\n".join(lines))


_WORDS = """
nodes links networks defaults name kind host router switch hub a b s1 a:eth0 -- ends prefix on of stp true null address
10.0.0.1/24 rarp gateway routes via default start udp_sink port mtu 9 -1 1.5 interfaces eth0 mac << *x &x
"""
_words = st.sampled_from(re.findall(r"\S+", _WORDS))
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words | st.text(), inner, max_size=5),
    max_leaves=25,
)
_known = {
    "nodes": st.dictionaries(_words, _values, max_size=4),
    "links": st.lists(st.lists(_words, min_size=2, max_size=2) | _values, max_size=4),
    "networks": _values,
    "defaults": _values,
}


def _plan_or_refuse(text: str) -> None:
    try:
        make_plan(loads(text))
    except UserInputError as error:
        assert error.message


@given(st.text())
def test_any_text(text: str) -> None:
    _plan_or_refuse(text)


@given(st.lists(st.sampled_from([*"{}[]:,-\n\t \"'#&*!|>%@`?"]) | _words, max_size=60))
def test_any_punctuation(parts: list[str]) -> None:
    _plan_or_refuse("".join(parts))


@pytest.mark.slow
@given(st.fixed_dictionaries({}, optional=_known))
def test_any_structure(data: dict[str, object]) -> None:
    _plan_or_refuse(yaml.safe_dump(data, allow_unicode=True))


@pytest.mark.slow
@given(st.data())
def test_any_mutation_of_a_good_topology(data: st.DataObject) -> None:
    text = (Path(__file__).parents[2] / "topologies" / "demo.yml").read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 6))
        text = text[:start] + data.draw(_words | st.text(max_size=3)) + text[start + length :]
    _plan_or_refuse(text)
