"""Impaired links in whole labs: what was asked is what pings and iperf3 see, what is measured, and what is told.

Executors are chosen as on this machine; where the kernel has no netem, that is the relay. The kernel executor in whole
labs is tested in User Mode Linux (test_netem_lab.py).
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.host.probe import netem_support
from tests.system.conftest import Needs
from tests.system.labs import Done, Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench

LOSSY = """\
name: lossy
defaults: {impair_by: relay}
nodes:
  a: {kind: host, start: [sink: {port: 9}]}
  b: host
  k1: {kind: host, stack: kernel}
  k2: {kind: host, stack: kernel}
  s: switch
  c: host
links:
  - {ends: [a, b], name: ours, impair: {delay: 20ms, loss: 1%}}
  - {ends: [k1, k2], name: kernels, impair: {delay: 20ms, loss: 1%}}
  - {ends: [a, s], name: port}
  - {ends: [k1, s], name: wire}
  - {ends: [c, s], name: plain}
networks:
  - {prefix: 10.1.0.0/24, of: [k1, k2]}
"""

WITHOUT_NETEM = pytest.mark.skipif(netem_support().missing is None, reason="this kernel has netem")


@pytest.fixture(scope="module")
def bench(needs: Needs) -> Iterator[Bench]:
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk, Bench(desk, desk.up(LOSSY)) as bench:
        yield bench


def lab(bench: Bench, line: str, code: int | None = 0) -> Done:
    """`lab COMMAND` in this lab. Words are apart by blanks."""
    command, *rest = line.split()
    return bench.desk.run(command, "--lab", bench.name, *rest, code=code)


def shown(bench: Bench, link: str) -> dict[str, Any]:
    return dict(json.loads(lab(bench, f"impair {link} --show --json").out)["links"][link])


def side(bench: Bench, link: str, sender: str) -> dict[str, Any]:
    return next(each for each in shown(bench, link)["directions"] if each["from"] == sender)


def round_trips(bench: Bench, source: str, target: str, count: int = 20) -> list[float]:
    """Of the kernel's own ping, in ms; the first one, which waits for ARP, is left out."""
    out = bench.inside(source, "ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", target).out
    return [float(text) for text in re.findall(r"time=([0-9.]+) ms", out)][1:]


# --------------------------------------------------------------------------------------------------- asked and measured


def test_ping_of_the_kernel_sees_the_delay(bench: Bench) -> None:
    times = round_trips(bench, "k1", bench.addresses["k2"][0], 40)
    assert len(times) >= 30, "1 % is lost each way"
    assert min(times) >= 40, "never early"
    assert statistics.median(times) < 45


def iperf3(bench: Bench, *options: str) -> dict[str, Any]:
    """What the client in k1 says of its run against a server in k2. iperf3 begins a UDP run with one datagram that it
    does not repeat, so one run in fifty fails on such a link."""
    for _ in range(4):
        with bench.begin("k2", "iperf3", "--server", "--one-off"):
            wait_for(lambda: "5201" in bench.inside("k2", "ss", "-ltn").out, PATIENCE, lambda: "iperf3 listens")
            target = bench.addresses["k2"][0]
            done = bench.inside("k1", "timeout", "20", "iperf3", "--client", target, "--json", *options, code=None)
        if done.code == 0:
            return dict(json.loads(done.out)["end"])
    raise AssertionError(f"iperf3 failed four times: {done}")


def test_iperf3_of_the_kernel_sees_the_loss(bench: Bench, needs: Needs) -> None:
    """Of 1,500 datagrams through 1 %, 4 to 29 are lost in 99.9 % of all runs (binomial); and as many as the relay says
    that it lost."""
    needs("iperf3")
    lost = side(bench, "kernels", "k1")["measured"]["dropped"].get("loss", 0)
    summary = iperf3(bench, "--udp", "--bitrate", "4M", "--length", "1000", "--bytes", "1500000")["sum"]
    assert summary["packets"] >= 1490
    assert 4 <= summary["lost_packets"] <= 29
    lost = side(bench, "kernels", "k1")["measured"]["dropped"]["loss"] - lost
    assert 0 <= lost - summary["lost_packets"] <= 5, "iperf3's own connection may lose some, too"


def test_iperf3_of_the_kernel_sees_the_rate(bench: Bench, needs: Needs) -> None:
    needs("iperf3")
    lab(bench, "impair kernels rate=20mbit loss=none")
    try:
        goodput = iperf3(bench, "--time", "4")["sum_received"]["bits_per_second"]
        assert 14e6 < goodput < 20e6 * 1448 / 1514, "headers are part of the rate"
        assert side(bench, "kernels", "k1")["measured"]["peak_rate"] <= 20e6 * 1.03
    finally:
        lab(bench, "impair kernels --replace delay=20ms loss=1%")


def test_our_ping_and_what_the_link_measured(bench: Bench) -> None:
    lab(bench, "ping a b -c 10 -i 0.05", code=None)
    there = side(bench, "ours", "a")
    assert there["asked_text"] == "delay 20ms, loss 1%"
    assert there["applied"] == there["asked"]
    measured = there["measured"]
    assert measured["in_frames"] >= 10
    assert measured["in_frames"] == measured["out_frames"] + measured["inside"] + sum(measured["dropped"].values())
    assert measured["delay"]["minimum"] == measured["delay"]["maximum"] == 20_000_000, "exact, before lateness"
    assert measured["lateness"]["count"] == measured["out_frames"]


def test_the_report_fits_a_terminal(bench: Bench) -> None:
    out = lab(bench, "impair").out
    assert "carried by relay: asked for" in out
    assert "asked    delay 20ms, loss 1%" in out
    assert max(map(len, out.splitlines())) <= 80


# ---------------------------------------------------------------------------------------------------------- at run time


def test_changes_merge_and_replace_and_clear(bench: Bench) -> None:
    def texts() -> list[str]:
        return [each["asked_text"] for each in shown(bench, "ours")["directions"]]

    try:
        lab(bench, "impair ours jitter=2ms")
        assert texts() == ["delay 20ms, jitter 2ms, loss 1%"] * 2
        lab(bench, "impair ours loss=none --from b")
        assert texts() == ["delay 20ms, jitter 2ms, loss 1%", "delay 20ms, jitter 2ms"]
        lab(bench, "impair ours --replace rate=1mbit --from b")
        assert texts() == ["delay 20ms, jitter 2ms, loss 1%", "rate 1mbit"]
        lab(bench, "impair ours --clear")
        assert texts() == ["nothing"] * 2
        assert lab(bench, "ping a b -c 5 -i 0.02").code == 0
        assert side(bench, "ours", "a")["applied"] == {}
    finally:
        lab(bench, "impair ours --replace delay=20ms loss=1%")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("impair nothing delay=1ms", 2, "no link 'nothing' in this lab"),
        ("impair ours dely=1ms", 2, "did you mean 'delay'?"),
        ("impair ours loss=150%", 2, "more than 100%"),
        ("impair ours delay=banana", 2, "'banana'"),
        ("impair ours rate=0", 2, "rate"),
        ("impair ours delay=1ms --from k1", 2, "'k1' is not an end of link ours"),
        ("impair ours delay=1ms --clear", 2, "--clear takes no settings"),
        ("impair ours delay=1ms --show", 2, "nothing to change together with --show"),
        ("impair --clear", 2, "which link?"),
        ("impair ours queue=codel", 2, "queue"),
        ("link ours flap --down 5s --every 1s", 2, "--every is not longer than --down"),
        ("link ours flap --down banana", 2, "banana"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(bench: Bench, line: str, code: int, message: str) -> None:
    before = [each["asked"] for each in shown(bench, "ours")["directions"]]
    done = lab(bench, line, code=code)
    assert message in done.err
    assert [each["asked"] for each in shown(bench, "ours")["directions"]] == before


def test_a_warning_where_an_option_does_not_do_what_people_think(bench: Bench) -> None:
    done = bench.desk.run("impair", "--lab", bench.name, "ours", "loss=1% 25%", code=0)
    assert "loses 0.00024%" in done.err
    assert "burst: {loss: 1%, mean: 3}" in done.err
    lab(bench, "impair ours loss=1%")


def test_a_plain_link_can_be_impaired_later(bench: Bench) -> None:
    """Between a host of ours and a bridge, and between the kernel's host and the bridge: it is opened, and addresses
    and routes are as before."""
    there = bench.addresses["a"][1]
    assert lab(bench, f"ping c {there} -c 2 -i 0.1").code == 0
    routes = bench.inside("k1", "ip", "route").out
    for link in ("port", "wire"):
        lab(bench, f"impair {link} delay=30ms")
    wait_for(lambda: lab(bench, f"ping c {there} -c 1 -W 1", None).code == 0, PATIENCE, lambda: "it carries again")
    wait_for(
        lambda: "rtt" in bench.inside("k1", "ping", "-c1", "-W1", bench.address("c")).out, PATIENCE, "the other too"
    )
    assert bench.inside("k1", "ip", "route").out == routes
    times = round_trips(bench, "k1", there, 10)
    assert statistics.median(times) == pytest.approx(122, abs=8), "30 ms on each of two links, both ways"
    assert bench.desk.status(bench.name)["links"][2]["impaired_by"] == "relay"
    for link in ("port", "wire"):
        lab(bench, f"impair {link} --clear")


def test_long_segments_are_cut_before_an_opened_link(bench: Bench) -> None:
    """The agents' sockets still hand over 64 KiB: the kernel cuts them, for on an impaired link a frame is a frame."""
    lab(bench, "impair port delay=1ms")
    there = bench.addresses["a"][1]
    wait_for(lambda: lab(bench, f"ping c {there} -c 1 -W 1", None).code == 0, PATIENCE, lambda: "it carries")
    before = side(bench, "port", "s")["measured"]
    lab(bench, f"start c source --to {there}:9 --bytes 2MB")
    after = side(bench, "port", "s")["measured"]
    octets, frames = (after[key] - before[key] for key in ("in_octets", "in_frames"))
    assert octets > 2_000_000
    assert octets / frames <= 1514
    assert shown(bench, "port")["emulator"]["missed"] == 0
    lab(bench, "impair port --clear")


def test_a_flap_ends_when_somebody_says_up(bench: Bench) -> None:
    lab(bench, "link ours flap --down 200ms --every 400ms --times 1000")
    done = lab(bench, "link ours up")
    assert "flaps no more" in done.err
    before = lab(bench, "events ours --name link:carrier_updated").out
    assert lab(bench, "ping a b -c 20 -i 0.05").code == 0
    assert shown(bench, "ours")["up"] is True
    assert lab(bench, "events ours --name link:carrier_updated").out.count("down ->") <= before.count("down ->") + 2
    assert "flaps no more" not in lab(bench, "link ours up").err


def test_clearing_a_plain_link_leaves_it_plain(bench: Bench) -> None:
    lab(bench, "impair plain --clear")
    assert shown(bench, "plain")["executor"] is None


def test_a_cable_that_is_pulled_out_of_an_opened_link(bench: Bench) -> None:
    def carrier(node: str) -> bool:
        return "LOWER_UP" in bench.inside(node, "ip", "-o", "link", "show", "eth0").out

    lab(bench, "link kernels down")
    wait_for(lambda: not carrier("k1") and not carrier("k2"), PATIENCE, lambda: "both ends see it")
    assert shown(bench, "kernels")["up"] is False
    lab(bench, "link kernels up")
    wait_for(lambda: carrier("k1") and carrier("k2"), PATIENCE, lambda: "both ends see it")
    wait_for(lambda: round_trips(bench, "k1", bench.addresses["k2"][0], 3), PATIENCE, lambda: "it carries again")


def test_a_node_that_stops_takes_the_carrier_beyond_an_opened_link(bench: Bench) -> None:
    lab(bench, "stop b")
    wait_for(
        lambda: not bench.call("a", "state")["ports"][0]["up"] or not _up(bench, "a"), PATIENCE, lambda: "no carrier"
    )
    lab(bench, "start b")
    wait_for(lambda: lab(bench, "ping a b -c 2 -i 0.1", None).code == 0, PATIENCE, lambda: "b answers again")


def _up(bench: Bench, node: str) -> bool:
    device = bench.call(node, "state")["device"]
    return bool(device["interfaces"][0]["up"])


def test_events_of_links(bench: Bench) -> None:
    lab(bench, "impair ours delay=25ms --from a")
    lab(bench, "impair ours delay=20ms --from a")
    wait_for(
        lambda: "delay 25ms" in lab(bench, "events ours").out, PATIENCE, lambda: "they are written within a second"
    )
    out = lab(bench, "events ours").out
    assert "link:executor_updated" in out
    assert "sender=a receiver=b delay 20ms, loss 1% -> delay 25ms, loss 1% (command)" in out
    assert lab(bench, "events kernels").out.count("executor_updated") == 1
    assert "no trace of a node or link 'nobody'" in lab(bench, "events nobody", 2).err


# -------------------------------------------------------------------------------------------------- executors, verdicts


@WITHOUT_NETEM
def test_auto_takes_the_relay_and_says_why(labs: Labs) -> None:
    name = labs.new_name()
    file = labs.write("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]")
    done = labs.run("up", file, "--name", name, code=0)
    assert "1 impaired link carried by relay: this kernel has no sch_netem" in done.err
    told = json.loads(labs.run("ps", name, "--json", code=0).out)["links"][0]
    assert (told["impaired_by"], told["reason"]) == ("relay", "this kernel has no sch_netem")


@WITHOUT_NETEM
def test_insisting_on_the_kernel_fails_with_the_reason(labs: Labs) -> None:
    name = labs.new_name()
    file = labs.write("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]")
    done = labs.run("up", file, "--name", name, "--impair", "kernel", code=4)
    assert "the kernel cannot impair links: this kernel has no sch_netem" in done.err
    assert "hint: `--impair relay`" in done.err
    assert not labs.listens(name)
    labs.up("nodes: {a: , b: }\ndefaults: {impair_by: kernel}\nlinks: [a -- b]", "-2")
    done = labs.run("impair", "--lab", f"{labs.name}-2", "a--b", "delay=1ms", code=4)
    assert "this kernel has no sch_netem" in done.err
    assert labs.reaches(f"{labs.name}-2", "a", "b"), "a link that could not be impaired is as before"


def test_an_ordinary_user_has_impaired_links_too(rootless_labs: Labs) -> None:
    name = rootless_labs.up(
        "nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]\ndefaults: {impair_by: relay}"
    )
    done = rootless_labs.run("ping", "--lab", name, "a", "b", "-c", "5", "-i", "0.05", code=0)
    times = [float(text) for text in re.findall(r"time=([0-9.]+) ms", done.out)][1:]
    assert min(times) >= 40
    assert statistics.median(times) < 60


def is_replaced(labs: Labs, old: int) -> bool:
    """Whether there is another relay in the place of the one that had this pid."""
    return [process.pid for process in labs.processes("lab:relay-0")] not in ([], [old])


def test_a_relay_that_is_killed_is_replaced_and_the_run_says_so(labs: Labs) -> None:
    name = labs.up("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]\ndefaults: {impair_by: relay}")
    assert labs.reaches(name, "a", "b")
    old = labs.process("lab:relay-0")
    assert "\nCapEff:\t0000000000003000\n" in Path(f"/proc/{old}/status").read_text(), "CAP_NET_ADMIN, CAP_NET_RAW"
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: is_replaced(labs, old), PATIENCE, lambda: "another")
    wait_for(lambda: labs.pings(name, "a", "b"), PATIENCE, lambda: "it carries again")
    done = labs.run("down", name, code=0)
    assert "the emulator relay-0 was killed by SIGKILL" in done.err
    (run,) = labs.runs.glob(f"{name}-*")
    facts = json.loads((run / "run.json").read_text())
    assert facts["outcome"] == "down"
    assert facts["links"]["trustworthy"] is False
    assert "emulator_failed" in (run / "links" / "trace.sqlog").read_text()


def test_a_relay_that_hangs_is_replaced_and_the_lab_still_answers(labs: Labs) -> None:
    name = labs.up("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]\ndefaults: {impair_by: relay}")
    old = labs.process("lab:relay-0")
    os.kill(old, signal.SIGSTOP)
    wait_for(lambda: is_replaced(labs, old), PATIENCE, lambda: "another")
    wait_for(lambda: labs.pings(name, "a", "b"), PATIENCE, lambda: "it carries again")
    os.kill(labs.process("lab:relay-0"), signal.SIGSTOP)
    done = labs.run("down", name, code=0)
    assert "the emulator relay-0 was killed by SIGKILL" in done.err
    assert labs.outcome(name) == "down", "it did not wait for the second one either"


def test_a_relay_can_die_twice(labs: Labs) -> None:
    """The kernel gives a new descriptor the number of the one that was closed."""
    name = labs.up("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 5ms}}]\ndefaults: {impair_by: relay}")
    for _ in range(2):
        old = labs.process("lab:relay-0")
        os.kill(old, signal.SIGKILL)
        wait_for(lambda old=old: is_replaced(labs, old), PATIENCE, lambda: "another")  # type: ignore[misc]
        wait_for(lambda: labs.pings(name, "a", "b"), PATIENCE, lambda: "it carries again")


def test_two_labs_at_once(labs: Labs) -> None:
    text = "nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: %s}}]\ndefaults: {impair_by: relay}"
    first, second = labs.up(text % "10ms", "-1"), labs.up(text % "40ms", "-2")
    for name, least, most in ((first, 20, 35), (second, 80, 95)):
        out = labs.run("ping", "--lab", name, "a", "b", "-c", "5", "-i", "0.05", code=0).out
        times = [float(text) for text in re.findall(r"time=([0-9.]+) ms", out)][1:]
        assert least <= min(times)
        assert statistics.median(times) < most


def test_what_a_run_keeps(labs: Labs) -> None:
    name = labs.up("nodes: {a: , b: }\nlinks: [{ends: [a, b], impair: {delay: 20ms}}]\ndefaults: {impair_by: relay}")
    labs.run("ping", "--lab", name, "a", "b", "-c", "3", "-i", "0.1", code=0)
    labs.run("down", name, code=0)
    (run,) = labs.runs.glob(f"{name}-*")
    measured = json.loads((run / "links" / "measured.json").read_text())
    sides = measured["links"]["a--b"]["directions"]
    assert [each["measured"]["inside"] for each in sides] == [0, 0]
    assert all(each["measured"]["in_frames"] >= 3 for each in sides)
    header, *rows = (run / "links" / "series.csv").read_text().splitlines()
    assert header.startswith("seconds,link,from,to,in_frames")
    assert sum(int(row.split(",")[4]) for row in rows if row.split(",")[2] == "a") == sides[0]["measured"]["in_frames"]
    assert _plan(run)["links"][0]["impairment"]["ab"] == {"delay": 20_000_000}


def _plan(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "plan.json").read_text()))
