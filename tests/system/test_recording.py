"""What a run leaves: traces, captures, states, and that they agree with each other."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from operator import le, sub
from pathlib import Path

import pytest

from lab import __version__
from nodes.trace.pcapng_reader import read as read_capture
from nodes.trace.sqlog import read
from tests.system.conftest import Needs
from tests.system.labs import Labs, wait_for
from tests.system.observe import PATIENCE, Bench, complaints, last_state, records

LEVELS = """\
name: levels
nodes:
  silent: {kind: host, trace: off}
  quiet: {kind: host, trace: state}
  loud: {kind: host, trace: packets, capture: true}
  k: {kind: host, stack: kernel}
  s1: {kind: switch, impl: stack}
  s2: switch
links: [silent -- s1, quiet -- s1, loud -- s1, s1 -- s2, k -- s2]
"""
ABOUT_PACKETS = {
    "link:frame_sent",
    "link:frame_received",
    "network:packet_sent",
    "network:packet_received",
    "network:packet_forwarded",
    "transport:datagram_sent",
    "transport:datagram_received",
}
AGENTS = {"silent", "quiet", "loud", "k", "s1"}  # a Linux bridge has none


def names(folder: Path, node: str) -> set[str]:
    return {row["name"] for row in records(folder, node)}


def test_a_run(labs: Labs) -> None:
    """Levels of traces, the order of events, and everything that the folder has to have at the end."""
    with Bench(labs, labs.up(LEVELS)) as bench:
        folder = bench.folder
        assert bench.ping("quiet", "loud", count=5)["received"] == 5
        assert bench.ping("loud", "silent")["received"] == 2
        assert bench.ping("loud", "k")["received"] == 2
        labs.run("down", bench.name, code=0)
        assert not (folder / "nodes/silent/trace.sqlog").exists()
        assert names(folder, "quiet") & ABOUT_PACKETS == set()
        assert {"node:node_started", "link:arp_updated", "node:node_stopped"} <= names(folder, "quiet")
        assert names(folder, "loud") >= ABOUT_PACKETS - {
            "network:packet_forwarded",
            "transport:datagram_sent",
            "transport:datagram_received",
        }
        _check_order(labs, folder)
        _check_files(folder, bench.name)


def _check_order(labs: Labs, folder: Path) -> None:
    """`lab events` merges the nodes by time; within a node, a request is sent before its reply is received."""
    out = labs.run("events", "--run", str(folder), "--json", code=0).out
    rows = [json.loads(line) for line in out.splitlines()]
    assert all(one["time"] <= other["time"] for one, other in pairwise(rows))
    assert {row["node"] for row in rows} == AGENTS - {"silent"}
    echo = [
        (row["node"], row["name"].partition(":")[2], row["data"]["type"])
        for row in rows
        if row["name"] in ("network:icmp_received", "network:icmp_sent") and row["node"] in ("quiet", "loud")
    ]
    answers = [("loud", "icmp_received", 8), ("loud", "icmp_sent", 0)]
    assert echo[:10] == answers * 5
    assert echo[10:] == [("loud", "icmp_received", 0)] * 4  # and none of `quiet`: queries are traced with the packets
    only = labs.run("events", "--run", str(folder), "--name", "link:arp_*", "--last", "2", "quiet", code=0).out
    assert [line.split()[1:3] for line in only.splitlines()] == [["quiet", "link:arp_updated"]] * 2


def _check_files(folder: Path, lab: str) -> None:
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["lab"], facts["driver"], facts["outcome"]) == (lab, "netns", "down")
    assert facts["versions"]["layerlab"] == __version__
    assert facts["started"] <= facts["ended"]
    assert (folder / "topology.yml").read_text() == LEVELS
    assert json.loads((folder / "plan.json").read_text())["lab"] == lab
    assert (folder / "supervisor.log").read_text() == ""
    assert {path.parent.name for path in folder.glob("nodes/*/state.json")} == AGENTS
    for node in AGENTS:
        state = last_state(folder, node)
        recording = state["recording"]
        assert state["node"] == node
        assert (recording["failed"], recording["events_lost"]) == (None, 0)
        if node != "silent":
            header, *_, closed = read(folder / f"nodes/{node}/trace.sqlog")
            assert header["trace"]["vantage_point"]["name"] == node  # type: ignore[index]
            assert closed["name"] == "trace:closed"
            assert closed["data"]["events"] == len(records(folder, node)) == recording["events"]  # type: ignore[index]


def test_captures_and_counters_agree(labs: Labs, needs: Needs) -> None:
    """Every frame that an interface counts is in the capture, in and out; the same with a switch and with Linux, whose
    interface counts before the capture begins."""
    needs("tshark")
    text = LEVELS.replace("nodes:", "defaults: {capture: true}\nnodes:", 1)
    with Bench(labs, labs.up(text)) as bench:
        for node in ("silent", "quiet", "loud"):
            wait_for(partial(_announced, bench, node), PATIENCE)
        before = _kernel_frames(bench)  # and nobody sends now
        labs.run("capture", "--lab", bench.name, "k", "--stop", code=0)
        second = Path(labs.run("capture", "--lab", bench.name, "k", code=0).out.strip())
        for target in ("quiet", "k"):
            assert bench.ping("loud", target, size=4000, count=5)["received"] == 5
        bench.inside("k", "true")

        def agree() -> bool:
            return _directions(second) == {"eth0": tuple(map(sub, _kernel_frames(bench), before))}

        wait_for(agree, PATIENCE, lambda: (_directions(second), before, _kernel_frames(bench)))
        labs.run("down", bench.name, code=0)
        assert all(map(le, _captured(bench.folder, "k")["eth0"], before))
        assert complaints(bench.folder) == []
        for node in ("silent", "quiet", "loud"):
            (interface,) = last_state(bench.folder, node)["device"]["interfaces"]
            counters = interface["counters"]
            heard = counters["in_frames"] + counters["in_filtered"]
            assert _captured(bench.folder, node) == {"eth0": (heard, counters["out_frames"])}
        ports = last_state(bench.folder, "s1")["device"]["ports"]
        counted = {port["name"]: (port["in_frames"], port["out_frames"]) for port in ports}
        assert _captured(bench.folder, "s1") == counted
        assert min(counted["p3"]) >= 30  # three fragments for each echo, both ways


def _captured(folder: Path, node: str) -> dict[str, tuple[int, int]]:
    return _directions(folder / f"nodes/{node}/capture.pcapng")


def _directions(path: Path) -> dict[str, tuple[int, int]]:
    """Frames of each interface, in and out."""
    frames = list(read_capture(path))
    interfaces = {frame.interface for frame in frames}
    directions = {name: [bool(frame.inbound) for frame in frames if frame.interface == name] for name in interfaces}
    return {name: (found.count(True), found.count(False)) for name, found in directions.items()}


def _kernel_frames(bench: Bench) -> tuple[int, int]:
    """What Linux's one interface has counted, in and out."""
    (row,) = (row for row in bench.client.node_state("k")["interfaces"] if row["name"] == "eth0")
    return row["rx_packets"], row["tx_packets"]


def _announced(bench: Bench, node: str) -> bool:
    """A node has sent the last announcement of its address."""
    (interface,) = bench.state(node)["interfaces"]
    return all(each["state"] == "assigned" for each in interface["address_states"]["addresses"])


@pytest.mark.parametrize("node", ["quiet", "k"])
def test_capture_at_run_time(labs: Labs, needs: Needs, node: str) -> None:
    """`lab capture NODE`, twice; while it runs the file is a capture already, and Linux's nodes can be captured."""
    needs("tshark")
    with Bench(labs, labs.up(LEVELS)) as bench:
        lab = ("--lab", bench.name)
        assert bench.ping("loud", node)["received"] == 2
        path = Path(labs.run("capture", *lab, node, code=0).out.strip())
        assert path == bench.folder / f"nodes/{node}/capture.pcapng"
        assert list(read_capture(path)) == []
        done = labs.run("capture", *lab, node)
        assert (done.code, "a capture is already running" in done.err) == (3, True)
        assert bench.ping("loud", node, count=3)["received"] == 3
        wait_for(lambda: _echoes(path) == [8, 0] * 3, PATIENCE, lambda: _echoes(path))
        assert "complete" in labs.run("capture", *lab, node, "--stop", code=0).err
        assert bench.ping("loud", node)["received"] == 2
        second = Path(labs.run("capture", *lab, node, code=0).out.strip())
        assert second.name == "capture.2.pcapng"
        assert bench.ping("loud", node)["received"] == 2
        labs.run("down", bench.name, code=0)  # ends the second
        assert (_echoes(path), _echoes(second)) == ([8, 0] * 3, [8, 0] * 2)
        assert complaints(bench.folder) == []


def _echoes(path: Path) -> list[int]:
    """The ICMP types of a capture, in the order of time."""
    frames = sorted(read_capture(path), key=lambda frame: frame.wall_ns)
    return [frame.frame[34] for frame in frames if frame.frame[12:14] == b"\x08\x00" and frame.frame[23] == 1]


def test_a_loud_trace_loses_nothing(labs: Labs) -> None:
    """Under load, every datagram that was sent and received is in the traces, and the counters say the same."""
    text = (
        "name: load\ndefaults: {trace: packets}\nnodes: {a: host, b: {start: [udp_sink: {port: 9}]}}\nlinks: [a -- b]\n"
    )
    with Bench(labs, labs.up(text)) as bench:
        sent = bench.run("a", "udp_source", to="b", port=9, size=200, count=5000, rate=0.0)[0]["sent"]
        assert sent == 5000
        followed = bench.state("b")["udp"]["counters"]
        labs.run("down", bench.name, code=0)
    for node, name, counter in (("a", "sent", "out_datagrams"), ("b", "received", "in_datagrams")):
        state = last_state(bench.folder, node)
        count = state["device"]["udp"]["counters"][counter]
        rows = records(bench.folder, node)
        assert sum(row["name"] == f"transport:datagram_{name}" for row in rows) == count
        assert state["recording"]["events"] == len(rows)
        assert state["recording"]["events_lost"] == 0
        assert all(one["time"] <= other["time"] for one, other in pairwise(rows))
    assert followed["in_datagrams"] > 0
