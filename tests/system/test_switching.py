r"""Switches in a lab: rings that a spanning tree opens, and the tables that switches learn.

   s1             all switches ours, all Linux bridges, or ours and Linux's mixed; s1 has the best priority,
  /  \            so that one end of the cable between s2 and s3 is closed
s2 -- s3
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from nodes.io.control import ControlError
from tests.system.conftest import Needs
from tests.system.labs import Labs, own_account, wait_for
from tests.system.observe import PATIENCE, Bench

IMPLS = {
    "stack": ("stack", "stack", "stack"),
    "kernel": ("kernel", "kernel", "kernel"),
    "mixed": ("stack", "kernel", "stack"),
}
HOSTS = ("h1", "h2", "h3")
SWITCHES = ("s1", "s2", "s3")
CONVERGES = 30.0
"""Seconds: a Linux bridge takes 8 with the shortest forward delay, 6 more to forget what a dead root said."""

BROADCAST = "10.0.0.255"


def ring(kind: str) -> str:
    times = "hello_time: 1, max_age: 6, forward_delay: 4"
    switches = "".join(
        f"  {name}: {{kind: switch, impl: {impl}, stp: {{priority: {priority}, {times}}}}}\n"
        for name, impl, priority in zip(SWITCHES, IMPLS[kind], (4096, 32768, 32768), strict=True)
    )
    hosts = "".join(f"  {name}: host\n" for name in HOSTS)
    links = ("h1 -- s1", "h2 -- s2", "h3 -- s3", "s1 -- s2", "s1 -- s3", "s2 -- s3")
    return f"name: ring\nnodes:\n{switches}{hosts}links: [{', '.join(links)}]\n"


@pytest.fixture(scope="module")
def rings(needs: Needs) -> Iterator[dict[str, Bench]]:
    """All three at once, so that one can converge while another is tested."""
    needs("veth", "bridge", "packet sockets")
    with Labs(own_account()) as desk, ExitStack() as stack:
        yield {kind: stack.enter_context(Bench(desk, desk.up(ring(kind), f"-{kind}"))) for kind in IMPLS}


def connected(bench: Bench) -> bool:
    """Every host reaches the next one. All of them try: a Linux bridge does not forget at once where a station was
    before the tree changed (it shortens its ageing time, but not the wait for its next sweep), so that a host is only
    found again when it speaks."""
    pairs = zip(HOSTS, (*HOSTS[1:], HOSTS[0]), strict=True)
    replies = [bench.ping(source, target, count=1, timeout=0.5)["received"] for source, target in pairs]
    return all(replies)


def port_states(bench: Bench, switch: str) -> dict[str, str]:
    nodes = bench.client.nodes()
    if nodes[switch].stack == "kernel":
        ports = bench.client.node_state(switch)["ports"]
    else:
        ports = bench.state(switch)["spanning_tree"]["ports"]
    return {port["name"]: port["state"] for port in ports}


def closed(bench: Bench) -> list[str]:
    """The ports that pass nothing: `blocking` in Linux's words, `discarding` in those of 802.1D-2004."""
    states = {f"{switch}:{port}": state for switch in SWITCHES for port, state in port_states(bench, switch).items()}
    return [port for port, state in states.items() if state in ("blocking", "discarding")]


def copies(bench: Bench, sender: str) -> dict[str, int]:
    """How often each other host hears one broadcast."""
    with ExitStack() as stack:
        sockets = {
            host: stack.enter_context(bench.socket(host, port=5000, broadcast=True)) for host in HOSTS if host != sender
        }
        opened = stack.enter_context(bench.socket(sender, broadcast=True))
        opened.send(b"all of you", to=BROADCAST, to_port=5000)
        return {host: _count(listening) for host, listening in sockets.items()}


def _count(listening: Any) -> int:
    count = 0
    try:
        while count < 100:
            listening.receive(timeout=0.5)
            count += 1
    except ControlError as error:
        assert error.code == "ETIMEDOUT"
    return count


def frames_heard(bench: Bench) -> int:
    return sum(frames_at(bench, host) for host in HOSTS)


def frames_at(bench: Bench, host: str) -> int:
    """Frames that reached a host, those for other stations included."""
    counters = bench.state(host)["interfaces"][0]["counters"]
    return int(counters["in_frames"] + counters["in_filtered"])


@pytest.mark.parametrize("kind", IMPLS)
def test_ring(rings: dict[str, Bench], kind: str) -> None:
    """It converges, one broadcast arrives once, and a cut cable is replaced by the closed one."""
    bench = rings[kind]
    wait_for(lambda: connected(bench), CONVERGES, lambda: [port_states(bench, switch) for switch in SWITCHES])
    wait_for(lambda: len(closed(bench)) == 1, CONVERGES, lambda: closed(bench))
    assert closed(bench)[0] in ("s2:p3", "s3:p3")
    before = frames_heard(bench)
    assert copies(bench, "h1") == {"h2": 1, "h3": 1}
    assert frames_heard(bench) - before < 100  # a storm is tens of thousands
    bench.client.set_link("s1--s2", up=False)
    wait_for(lambda: connected(bench), CONVERGES, lambda: [port_states(bench, switch) for switch in SWITCHES])
    assert copies(bench, "h2") == {"h1": 1, "h3": 1}
    assert [port for port in closed(bench) if not port.startswith(("s1:p2", "s2:p2"))] == []


def test_ring_heals_again(rings: dict[str, Bench]) -> None:
    """With 802.1D-2004 on both ends nobody waits for a forward delay (4 s): not for the cut, not for the repair."""
    bench = rings["stack"]
    for link, up in (("s1--s2", True), ("s1--s3", False), ("s1--s3", True)):
        bench.client.set_link(link, up=up)
        begun = time.monotonic()
        wait_for(lambda: connected(bench), PATIENCE)
        assert time.monotonic() - begun < 4
    wait_for(lambda: len(closed(bench)) == 1, PATIENCE, lambda: closed(bench))
    assert connected(bench)
    assert copies(bench, "h3") == {"h1": 1, "h2": 1}
    roots = {bench.state(switch)["spanning_tree"]["root"] for switch in SWITCHES}
    assert roots == {bench.state("s1")["spanning_tree"]["bridge"]}
    bench.wait_for_event("s3", "link:spanning_tree_root_updated")


# --- the table ----------------------------------------------------------------------------------------------------

TABLE = """\
name: table
defaults: {trace: packets}
nodes:
  s1: {kind: switch, impl: IMPL, ageing_time: 2}
  h1: host
  h2: host
  k: {kind: host, stack: kernel}
links: [h1 -- s1, h2 -- s1, k -- s1]
"""


@pytest.mark.parametrize("impl", ["stack", "kernel"])
def test_learning_ageing_moving(labs: Labs, needs: Needs, impl: str) -> None:
    """`lab state` shows who is behind which port; silent stations are forgotten, and who moves is found again."""
    needs("ip", "arping")
    with Bench(labs, labs.up(TABLE.replace("IMPL", impl))) as bench:
        macs = {bench.state(host)["interfaces"][0]["mac"]: host for host in ("h1", "h2")}
        mac = next(iter(macs))

        def table() -> dict[str, str]:
            """The learned stations of ours, as a person gets them."""
            section = "table" if impl == "stack" else "fdb"
            rows = json.loads(labs.run("state", "--lab", bench.name, "s1", section, "--json", code=0).out)[section]
            return {macs[row["mac"]]: row["port"] for row in rows if row["mac"] in macs}

        assert bench.ping("h1", "h2")["received"] == 2
        assert table() == {"h1": "p1", "h2": "p2"}
        text = labs.run("state", "--lab", bench.name, "s1", code=0).out
        assert any(line.split()[:2] == [mac, "p1"] for line in text.splitlines())
        wait_for(lambda: table() == {}, PATIENCE, table)
        assert bench.ping("h1", "h2")["received"] == 2
        bench.inside(
            "k", "sh", "-c", f"ip link set eth0 address {mac} && arping -q -U -I eth0 -c 1 {bench.address('k')}"
        )
        assert table()["h1"] == "p3"
        assert bench.ping("h1", "h2")["received"] == 2
        assert table()["h1"] == "p1"
        if impl == "stack":
            learned, aged = (bench.wait_for_event("s1", UPDATED, mac=mac, trigger=what) for what in ("learned", "aged"))
            assert aged["time"] - learned["time"] >= 2000
            moved = bench.wait_for_event("s1", UPDATED, mac=mac, trigger="moved")["data"]
            assert (moved["old_port"], moved["new_port"]) == ("p1", "p3")
            assert bench.state("s1")["moves"] == 2


UPDATED = "link:forwarding_table_updated"


def test_known_stations_are_not_overheard(labs: Labs) -> None:
    """A switch sends a frame for a known station to its port only; a hub to everybody."""
    text = "name: ears\nnodes: {s1: NODE, h1: host, h2: host, h3: host}\nlinks: [h1 -- s1, h2 -- s1, h3 -- s1]\n"
    heard = {}
    for node in ("hub", "{kind: switch, impl: stack}", "switch"):
        with Bench(labs, labs.up(text.replace("NODE", node), f"-{len(heard)}")) as bench:
            assert bench.ping("h1", "h2")["received"] == 2  # everybody knows everybody now
            before = frames_at(bench, "h3")
            assert bench.ping("h1", "h2", count=10)["received"] == 10
            heard[node] = frames_at(bench, "h3") - before
    assert heard.pop("hub") >= 20
    assert all(frames < 10 for frames in heard.values()), heard  # announcements, a query of the bridge
