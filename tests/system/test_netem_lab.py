"""A whole lab whose links are carried by the kernel's netem, in User Mode Linux: `lab up --impair kernel`.

Each option of netem is asked for on some link. Two say what is in force: the lab, which compares what it
read back with what it asked for, and `tc`, which is not ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.uml import boot

pytestmark = pytest.mark.slow

MODULES = ("veth", "bridge", "sch_netem", "sch_ingress", "cls_matchall", "act_mirred")
TOPOLOGY = """\
name: uml
nodes: {a: host, b: {kind: host, stack: kernel}}
links:
  - {ends: [a, b], name: ping, impair: {delay: 20ms}}
  - {ends: [a, b], name: jitter, impair: {delay: 30ms 4ms normal, limit: 5000}}
  - {ends: [a, b], name: random, impair: {delay: 5ms, loss: 1%, duplicate: 3%, corrupt: 0.5%, reorder: 25%, gap: 5}}
  - {ends: [a, b], name: state, impair: {loss: {state: {p13: 2%, p31: 20%, p32: 10%, p23: 50%, p14: 1%}}}}
  - {ends: [a, b], name: gemodel, impair: {loss: {gemodel: {p: 1%, r: 25%, bad_loss: 80%, good_loss: 2%}}, ecn: true}}
  - {ends: [a, b], name: rate, impair: {from: {a: {rate: {rate: 10mbit, overhead: 8, cell: 48, cell_overhead: 5}},
                                               b: {rate: 40gbit}}}}
  - {ends: [a, b], name: slots, impair: {delay: 1ms, slot: {minimum: 5ms, maximum: 9ms, packets: 7, octets: 9000}}}
"""
IN_SUPERVISOR = 'nsenter --net=/proc/$(pgrep -fx "layerlab uml: supervisor")/ns/net'
LAB = (sys.executable, "-m", "lab")
COMMANDS = {
    "up": (*LAB, "up", "uml.yml", "--impair", "kernel", "--json"),
    "shown": (*LAB, "impair", "--show", "--json"),
    "tc": ("sh", "-c", f"{IN_SUPERVISOR} tc -j qdisc show"),
    "ping": (*LAB, "ping", "a", "b", "--count", "20", "--interval", "0.05", "--json"),
    "after": (*LAB, "impair", "ping", "--show", "--json"),
    "text": (*LAB, "impair", "ping", "--show"),
    "merge": (*LAB, "impair", "random", "rate=8mbit", "--from", "a", "--json"),
    "replace": (*LAB, "impair", "jitter", "--replace", "delay=7ms 1ms", "--json"),
    "clear": (*LAB, "impair", "rate", "--clear", "--json"),
    "tc later": ("sh", "-c", f"{IN_SUPERVISOR} tc -j qdisc show"),
    "kill": ("sh", "-c", 'kill -9 $(pgrep -fx "layerlab uml: meter")'),
    "ping again": (*LAB, "ping", "a", "b", "--count", "5", "--interval", "0.05", "--json"),
    "last": (*LAB, "impair", "ping", "--show", "--json"),
    "down": (*LAB, "down"),
    "run": ("sh", "-c", "cat runs/uml-*/run.json"),
    "series": ("sh", "-c", "cat runs/uml-*/links/series.csv"),
}


TEXTS = ("text", "kill", "down", "series")


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """What each command printed."""
    lack = boot.missing()
    if lack is not None:
        pytest.skip(lack)
    arguments = {"files": {"uml.yml": TOPOLOGY}, "commands": list(COMMANDS.values())}
    done = boot.run("tests.uml.jobs.commands", arguments, MODULES, timeout=100)
    for (name, _command), result in zip(COMMANDS.items(), done, strict=False):
        assert result["status"] == 0, f"{name}: {result}"
    return {
        name: json.loads(result["output"]) if name not in TEXTS else result["output"]
        for (name, _command), result in zip(COMMANDS.items(), done, strict=True)
    }


def netem(told: list[dict[str, Any]], link: str) -> list[dict[str, Any]]:
    """tc's options of a link's netems, from a to b and back: of the inner ends in their order, the second one is where
    frames leave to b. What tc tells of every netem, though nothing was asked for, is left out."""
    links = ["ping", "jitter", "random", "state", "gemodel", "rate", "slots"]
    options = [qdisc["options"] for qdisc in told if qdisc["kind"] == "netem"]
    assert len(options) == 2 * len(links)
    there, back = options[2 * links.index(link) + 1], options[2 * links.index(link)]
    unasked = {"ecn": False, "gap": 0}
    return [
        {name: value for name, value in side.items() if name not in unasked or value != unasked[name]}
        for side in (there, back)
    ]


def delay(seconds: float, jitter: float = 0) -> dict[str, float]:
    return {"delay": seconds, "jitter": jitter, "correlation": 0}


def test_the_kernel_carries_all_links(answers: dict[str, Any]) -> None:
    for state in answers["shown"]["links"].values():
        assert (state["executor"], state["reason"]) == ("kernel", "asked for")
        assert state["emulator"]["kernel"].startswith("Linux 6.1")
        assert state["emulator"]["seeded"] is False


def test_what_was_asked_is_applied(answers: dict[str, Any]) -> None:
    """And a limit, sized where none was asked for."""
    assert len(answers["shown"]["links"]) == 7
    for name, state in answers["shown"]["links"].items():
        for side in state["directions"]:
            applied = dict(side["applied"])
            if "limit" not in side["asked"]:
                assert applied.pop("limit") >= 1000
            assert applied == side["asked"], name


@pytest.mark.parametrize(
    ("link", "options"),
    [
        ("ping", {"limit": 3302, "delay": delay(0.02)}),
        ("jitter", {"limit": 5000, "delay": delay(0.03, 0.004)}),
        (
            "random",
            {
                "limit": 1000,
                "delay": delay(0.005),
                "loss-random": {"loss": 0.01, "correlation": 0},
                "duplicate": {"duplicate": 0.03, "correlation": 0},
                "corrupt": {"corrupt": 0.005, "correlation": 0},
                "reorder": {"reorder": 0.25, "correlation": 0},
                "gap": 5,
            },
        ),
        ("state", {"limit": 1000, "loss-state": {"p13": 0.02, "p31": 0.2, "p32": 0.1, "p23": 0.5, "p14": 0.01}}),
        ("gemodel", {"limit": 1000, "loss-gemodel": {"p": 0.01, "r": 0.25, "1-h": 0.8, "1-k": 0.02}, "ecn": True}),
        (
            "slots",
            {
                "limit": 1000,
                "delay": delay(0.001),
                "slot": {"min-delay": 0.005, "max-delay": 0.009, "packets": 7, "bytes": 9000},
            },
        ),
    ],
)
def test_tc_sees_the_same(answers: dict[str, Any], link: str, options: dict[str, Any]) -> None:
    assert netem(answers["tc"], link) == [options] * 2


def test_tc_sees_each_direction_for_itself(answers: dict[str, Any]) -> None:
    """In octets per second; 40 Gbit/s need the attribute of 64 bits."""
    there, back = netem(answers["tc"], "rate")
    assert there["rate"] == {"rate": 1_250_000, "packetoverhead": 8, "cellsize": 48, "celloverhead": 5}
    assert back["rate"] == {"rate": 5_000_000_000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0}


def test_ping_sees_the_delay(answers: dict[str, Any]) -> None:
    """From our stack to the kernel's and back, 20 ms each way: never less. Frames of ARP may still be inside: the
    kernel asks whether a neighbor is there 5 s after it has heard of it."""
    ping = answers["ping"]
    assert ping["received"] == 20
    assert ping["rtt_min"] >= 40_000_000
    for side in answers["after"]["links"]["ping"]["directions"]:
        measured = side["measured"]
        assert measured["in_frames"] == measured["out_frames"] + measured["inside"]
        assert measured["out_frames"] >= 20
        assert measured["inside"] <= 2
        assert measured["dropped"] == {}


def test_the_meter_tells_how_long_frames_took(answers: dict[str, Any]) -> None:
    """Which netem does not: 20 ms and what a busy machine adds, of every ping."""
    for side in answers["after"]["links"]["ping"]["directions"]:
        measured = side["measured"]
        assert measured["delay"]["count"] >= 20
        assert 20_000_000 <= measured["delay"]["minimum"] <= measured["delay"]["p50"] < 35_000_000
        assert (measured["duplicated"], measured["corrupted"], measured["lateness"]) == (0, 0, None)
        assert measured["sampled"] == 1
    assert answers["text"].count("    delay    p1 20.") == 2
    assert "last second" in answers["text"]


def test_the_seconds_have_delays(answers: dict[str, Any]) -> None:
    rows = [line.split(",") for line in answers["series"].splitlines()]
    column = rows[0].index("delay_ms")
    delays = [float(row[column]) for row in rows[1:] if row[1] == "ping" and row[column]]
    assert len(delays) >= 2
    assert all(20 <= delay < 40 for delay in delays)


def test_a_meter_that_is_killed_hurts_no_link(answers: dict[str, Any]) -> None:
    """Another measures on from there, and the run says so."""
    assert answers["ping again"]["received"] == 5
    state = answers["last"]["links"]["ping"]
    assert state["emulator"]["meter"]["restarts"] == 1
    for side in state["directions"]:
        assert 5 <= side["measured"]["delay"]["count"] < 20 <= side["measured"]["out_frames"]
    trouble = "the meter was killed by SIGKILL, with the delays that it had measured"
    assert trouble in json.dumps(answers["run"])


def test_a_change_merges_replaces_or_clears(answers: dict[str, Any]) -> None:
    """As asked, and nothing of what was in force before is left behind: tc says so."""
    there, back = netem(answers["tc later"], "random")
    before = netem(answers["tc"], "random")[0]
    assert there == {**before, "rate": {"rate": 1_000_000, "packetoverhead": 0, "cellsize": 0, "celloverhead": 0}}
    assert back == before
    for side in netem(answers["tc later"], "jitter"):
        assert side.pop("limit") >= 1000
        assert side == {"delay": delay(0.007, 0.001)}
    assert netem(answers["tc later"], "rate") == [{"limit": 1000}] * 2
