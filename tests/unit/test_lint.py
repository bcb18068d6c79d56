"""What lint warns about, and what it lets pass. The errors are in `broken_topologies.txt`."""

from __future__ import annotations

import pytest

from lab.lint import check
from lab.model import generate
from lab.model.load import loads
from lab.plan.planner import make_plan
from nodes.io.extensions import Extension


def _warnings(text: str) -> list[str]:
    report = check(loads(text, "t.yml"))
    assert report.errors == ()
    warnings = list(map(str, report.warnings))
    assert list(make_plan(loads(text, "t.yml")).warnings) == warnings
    return warnings


def test_different_mtus_on_a_segment() -> None:
    text = "nodes: {a: , b: , c: , s: switch}\nlinks: [a -- s, {ends: [b, s], mtu: 1400}, c -- s]"
    assert _warnings(text) == [
        "t.yml:2:25: MTU 1400 here, 1500 at a:eth0 of the same segment\n"
        "    hint: longer frames are lost without a word: only routers fragment"
    ]


def test_two_interfaces_on_one_segment() -> None:
    assert _warnings("nodes: {a: , s: switch}\nlinks: [a -- s, a -- s]") == [
        "t.yml:2:17: a:eth0 and a:eth1 are on the same segment\n    hint: a node sends from the first of them only"
    ]


def test_parts() -> None:
    assert _warnings("nodes:\n  a:\n  b:\n  c:\n  d:\nlinks: [a -- b, c -- d]") == [
        "t.yml:4:3: 'c' and 1 more cannot reach 'a': no links lead there\n    hint: add a link between the parts"
    ]


def test_a_linux_bridge_with_a_spanning_tree_is_slow() -> None:
    text = "nodes:\n  s: {kind: switch, stp: true}\n  t: {kind: switch, stp: {forward_delay: 4, max_age: 6}}\n"
    text += "links: [s -- t]"
    assert _warnings(text) == [
        "t.yml:2:3: 's' and 1 more: a Linux bridge with a spanning tree passes no frame for 30 s\n"
        "    hint: impl: stack passes them at once; or stp: {forward_delay: 4}, the shortest"
    ]


def test_spanning_tree_on_some_switches() -> None:
    text = "nodes:\n  s: {kind: switch, impl: stack, stp: true}\n  t: switch\n  a:\nlinks: [a -- s, s -- t]"
    assert _warnings(text) == [
        "t.yml:3:3: 't' has no spanning tree, other switches of its segment have\n    hint: stp: true on all of them"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {impl: stack}\nnodes: {s: {kind: switch, stp: true}, t: {kind: switch, stp: true}}\n"
        "links: [s -- t, s -- t]",
        "nodes: {r: router, q: router}\nlinks: [r -- q, r -- q]",
        "defaults: {impl: stack}\nnodes: {s: {kind: switch, stp: true}, h: hub, a: }\nlinks: [s -- h, h -- a]",
        "nodes: {a: {address: 10.0.0.0/31}, b: {address: 10.0.0.1/31}}\nlinks: [a -- b]",
        "nodes: {a: {address: 10.0.0.2/24, gateway: 10.0.0.1}, r: router}\nlinks: [a -- r]",
    ],
    ids=["loop with spanning tree", "parallel routers", "hub beside a tree", "/31", "gateway"],
)
def test_clean(text: str) -> None:
    assert _warnings(text) == []


def test_every_loop_is_found_and_each_switch_blamed_once() -> None:
    names = [f"s{n}" for n in range(1, 6)]
    links = [f"{a} -- {b}" for index, a in enumerate(names) for b in names[index + 1 :]]
    report = check(loads(f"nodes: {{{', '.join(f'{name}: switch' for name in names)}}}\nlinks: [{', '.join(links)}]"))
    hints = " ".join(problem.hint for problem in report.errors)
    assert all(name in hints for name in names)
    assert len(report.errors) <= len(names)


def test_a_long_loop_is_shown_shortened() -> None:
    names = [f"s{n}" for n in range(20)]
    links = [f"{a} -- {b}" for a, b in zip(names, [*names[1:], names[0]], strict=True)]
    report = check(loads(f"nodes: {{{', '.join(f'{name}: switch' for name in names)}}}\nlinks: [{', '.join(links)}]"))
    (problem,) = report.errors
    assert "(12 more)" in problem.message


def test_two_loops_are_two_errors() -> None:
    text = "nodes: {s1: switch, s2: switch, s3: switch, s4: switch, r: router}\nlinks: "
    report = check(loads(text + "[s1 -- s2, s2 -- s1, s3 -- s4, s3 -- s4, r -- s1, r -- s3]"))
    assert len(report.errors) == 2


def test_errors_of_different_kinds_come_together() -> None:
    report = check(
        loads("""
nodes:
  a: {address: 10.0.0.1/24, gateway: 10.9.9.9}
  b: {address: 10.0.0.1/24, start: [nothing]}
  c: host
links: [a -- b, a -- x]
""")
    )
    assert {problem.line for problem in report.errors} == {3, 4, 5, 6}
    assert all(problem.hint for problem in report.errors)


def test_generated_topologies_are_clean() -> None:
    star = generate.star(3, impl="stack", stp=True)
    for text in (star, generate.tree(2, 3, impl="stack"), generate.ring(3), generate.fattree(4)):
        assert _warnings(text) == []


def test_a_wide_prefix_is_held_against_all_others() -> None:
    report = check(
        loads("""
nodes:
  r: router
  a: {address: 10.0.0.1/16}
  b: {address: 10.0.1.1/24}
  c: {address: 10.0.2.1/24}
  d: {address: 10.1.0.1/24}
links: [a -- r, b -- r, c -- r, d -- r]
""")
    )
    assert [problem.line for problem in report.errors] == [5, 6]


def test_times_of_tcp() -> None:
    """RFC 9293 section 3.4.1; a delay that the timeout does not wait for."""
    text = "defaults: {tcp: {msl: 0.25, delayed_ack: 0.5}}\nnodes: {a: {tcp: {minimum_rto: 0.4}}, b: }\nlinks: [a -- b]"
    assert _warnings(text) == [
        "t.yml:1:23: TIME_WAIT of only 0.5 s\n"
        "    hint: an old segment may reach the next connection between the same ports (RFC 9293 section 3.4.1)",
        "t.yml:2:32: a retransmission timeout of only 0.4 s\n"
        "    hint: a peer may delay an acknowledgment by 0.5 s, which would be taken for a loss",
    ]
    assert _warnings("nodes: {a: {tcp: {msl: 1, minimum_rto: 0.2}}, b: }\nlinks: [a -- b]") == []


def test_a_congestion_control_of_a_package_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    extension = Extension("mine", "my:Mine", "ModuleNotFoundError: No module named 'my'")
    monkeypatch.setattr("nodes.io.extensions.load_congestion_controls", lambda: (extension,))
    report = check(loads("nodes: {a: {tcp: {congestion: mine}}, b: }\nlinks: [a -- b]", "t.yml"))
    assert list(map(str, report.errors)) == [
        "t.yml:1:31: the congestion control 'mine' of another package does not load\n"
        "    hint: ModuleNotFoundError: No module named 'my'"
    ]
