"""Every way to write a wrong impairment, with the exact message; and that nothing else is ever raised.

The table is `broken_impairments.txt`. A message that changes is changed there by hand, and read by a person once more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UserInputError
from lab.model.explain import keys_of
from lab.model.impairment import PARTS, LinkImpair
from lab.model.impairment_faults import Corrupt
from lab.model.load import load, loads
from lab.model.schedule import Entry
from lab.model.settings import parse_settings
from lab.plan.planner import make_plan

_TABLE = (Path(__file__).parent / "broken_impairments.txt").read_text()
_CASES = re.findall(r"^=== (.*)\n((?:.*\n)*?)--->\n((?:.*\n)*?)(?====|\Z)", _TABLE, re.MULTILINE)[1:]
HEAD = "nodes: {a: , b: }\nlinks:\n  - ends: [a, b]\n"


def _message(text: str) -> str:
    with pytest.raises(UserInputError) as caught:
        make_plan(loads(text, "t.yml"))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_table_is_read() -> None:
    assert len(_CASES) == _TABLE.count("\n=== ") - 1 >= 60


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES])
def test_broken(text: str, expected: str) -> None:
    assert _message(HEAD + text) == expected.rstrip("\n")


def test_an_end_by_two_names() -> None:
    text = "nodes: {a: , b: }\nlinks:\n  - {ends: ['a:x', b], impair: {from: {a: {delay: 1ms}, 'a:x': {loss: 1%}}}}"
    assert _message(text) == "t.yml:3:57: 'a' and 'a:x' are the same end\n    hint: make one of them"


@pytest.mark.parametrize(
    ("impair", "expected"),
    [
        ("{from: {a: {delay: 1ms}}}", "t.yml:1:21: the defaults have no 'from'\n    hint: only a link has ends"),
        ("{delay: 20}", "t.yml:1:28: 20 has no unit: 20ms?"),
        ("{queue: codel}", "t.yml:1:28: a queue forms where frames wait for a rate, and there is none"),
        ("false", "t.yml:1:20: false stands here, keys with values expected"),
    ],
)
def test_defaults(impair: str, expected: str) -> None:
    """Said once, where it stands, however many links have it."""
    text = f"defaults: {{impair: {impair}}}\nnodes: {{a: , b: , c: }}\nlinks: [a -- b, b -- c]"
    message = _message(text)
    assert message.startswith(expected)
    assert message.count("t.yml") == 1


@pytest.mark.parametrize(
    ("impair", "content", "expected"),
    [
        ("{delay: 9ms, jitter: 1ms, distribution: x.dist}", b"1 2\n3 x\n", "x.dist: line 2: 'x' is not an integer"),
        ("{delay: 9ms 1ms x.dist}", b"", "x.dist: line 1: no entries"),
        ("{trace: x.dist}", b"1\n5\n3\n", "x.dist: line 3: 3 ms is before the 5 ms of the line above"),
        ("{trace: x.dist}", b"\xff\n", "/x.dist:1:1: byte 0xff is not UTF-8"),
        ("{trace: .}", b"", ": is a directory"),
        ("{trace: [1, 2]}", b"", "a trace is the name of a file"),
        ("{}, schedule: [{at: 1s, trace: x.dist}]", b"t,dealy\n1,2\n", "x.dist: line 1: column 'dealy' is not one of"),
        ("{}, schedule: [{at: 1s, trace: 7}]", b"", "a trace is the name of a file"),
        (
            "{loss: 1%, delay: 1ms, reorder: 1%}, schedule: [{at: 1s, trace: x.dist}]",
            b"t,delay\n1,5ms\n2,0ms\n",
            "reorder lets a frame leave without its delay, and there is none",
        ),
    ],
)
def test_files(tmp_path: Path, impair: str, content: bytes, expected: str) -> None:
    """Files stand beside the topology, and are refused at their name, with the line inside."""
    (tmp_path / "x.dist").write_bytes(content)
    topology = tmp_path / "t.yml"
    topology.write_text(f"nodes: {{a: , b: }}\nlinks:\n  - {{ends: [a, b], impair: {impair}}}\n")
    with pytest.raises(UserInputError) as caught:
        make_plan(load(topology))
    assert str(caught.value).startswith(f"{topology}:3:")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["dely=3ms"], "dely=3ms: there is no setting 'dely'", "did you mean 'delay'?"),
        (["delay"], "delay: 'delay' has no value", "delay=VALUE, or delay=none to turn it off"),
        (["loss=1%", "delay="], "delay=: 'delay' has no value", "delay=VALUE, or delay=none to turn it off"),
        (["delay=1ms", "delay=2ms"], "delay=2ms: 'delay' is given twice", "leave one out"),
        (["loss=150%"], "loss=150%: '150%' is more than 100%", ""),
        (
            ["queue={codel: {tarket: 1ms}}"],
            "queue={codel: {tarket: 1ms}}: unknown key 'tarket'",
            "did you mean 'target'?",
        ),
        (["faults=[{drop: {tpc: SYN}}]"], "faults=[{drop: {tpc: SYN}}]: unknown key 'tpc'", "did you mean 'tcp'?"),
        (
            ["loss={"],
            "loss={: not valid YAML: expected the node content, but found '<stream end>'",
            "while parsing a flow node",
        ),
        (["seed={a: 1, a: 2}"], "seed={a: 1, a: 2}: duplicate key 'a'", "it stands in line 1 already"),
        (
            ["gap=0", "trace=no-such-file"],
            "gap=0: 'gap' is 0, it must be at least 1\n"
            "trace=no-such-file: no-such-file: no such file\n    hint: paths are relative to the topology file",
            "",
        ),
    ],
)
def test_words_of_a_command(words: list[str], message: str, hint: str) -> None:
    """`lab impair`: the word stands in the place of the line."""
    with pytest.raises(UserInputError) as caught:
        parse_settings(words)
    assert (caught.value.message, caught.value.hint) == (message, hint)


_KEYS = sorted({*keys_of(LinkImpair), *keys_of(Entry), *(key for part in PARTS.values() for key in keys_of(part))})
_WORDS = (
    "20ms 5ms 1% 150% -1% 0 1 none normal x.dist codel pie 10mbit 100kB gemodel state false true SYN !ACK a b 1-9 ~"
)
_words = st.sampled_from([*_WORDS.split(), *_KEYS, *keys_of(Corrupt)])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | _words
    | st.lists(_words).map(" ".join)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS) | _words, inner, max_size=4),
    max_leaves=12,
)
_impairs = st.dictionaries(st.sampled_from(keys_of(LinkImpair)), _values, max_size=4)
_entries = st.dictionaries(st.sampled_from(keys_of(Entry)), _values | _impairs, max_size=4)


@pytest.mark.slow
@given(_impairs | _values, st.lists(_entries | _values, max_size=3) | _values)
def test_any_structure(impair: object, schedule: object) -> None:
    link = {"ends": ["a", "b"], "impair": impair, "schedule": schedule}
    text = yaml.safe_dump({"nodes": {"a": None, "b": None}, "links": [link]}, allow_unicode=True)
    try:
        make_plan(loads(text))
    except UserInputError as error:
        assert error.message


@pytest.mark.slow
@given(
    st.lists(
        st.builds("{}={}".format, st.sampled_from(keys_of(LinkImpair)), st.text() | _words) | st.text(), max_size=3
    )
)
def test_any_words(words: list[str]) -> None:
    try:
        parse_settings(words)
    except UserInputError as error:
        assert error.message
