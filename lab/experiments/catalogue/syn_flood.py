"""A server that remembers each SYN can be filled with them; one that sends cookies cannot.

A half-open connection costs the server memory until its handshake is complete, and an attacker completes none. When
the server's table is full, it can take no honest client either. A SYN cookie ends that: what the server would have to
remember is put into its initial sequence number, with a keyed hash, and the client's acknowledgment brings it back
(RFC 4987, 3.6). Nothing is kept between the two.

The attacker here is a program that opens connections, and a link that brings it no answers: as if its addresses were
false ones.
"""

from __future__ import annotations

import asyncio

from lab.api.nodes import Node
from lab.experiments.catalogue.refused_port import attempt
from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: syn-flood
nodes:
  server: {kind: host, tcp: {maximum_half_open: $room, syn_cookies: $cookies}}
  client: {kind: host, tcp: {syn_r2: 3}}
  attacker: host
  s: switch
links:
  - {ends: [client, s], impair: {delay: 10ms}}
  - server -- s
  - ends: [attacker, s]
    impair: {delay: 10ms, from: {s: {faults: [{drop: {tcp: "SYN,ACK", count: 0}}]}}}
"""

FULL = "the flood fills the table of half-open connections"
COOKIES = "from then on the server answers SYNs with cookies"
SERVED = "an honest client gets its connection all the same, long before a second SYN"


async def flood(host: str, port: int, times: int) -> None:
    """Call so often at once, and wait for answers that do not come."""
    calls = [asyncio.ensure_future(asyncio.open_connection(host, port)) for _ in range(times)]
    try:
        await asyncio.wait(calls)
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@experiment(
    topic="Opening a connection",
    claim="SYN cookies let a server take connections while it is flooded with SYNs.",
    look_at="how many half-open connections the server has, and whether the client gets through",
    topology=TOPOLOGY,
    parameters={"room": 50, "flood": 200, "cookies": True},
    variations={
        "without-cookies": Variation(
            "The server drops SYNs when its table is full, and the honest client's is one of them.",
            {"cookies": False},
            breaks=(COOKIES, SERVED),
        ),
        "large-table": Variation(
            "The table has room for all of the flood: it is not full, and no cookies are needed.",
            {"room": 1000},
            breaks=(FULL, COOKIES),
        ),
    },
)
async def syn_flood(trial: Trial) -> None:
    lab, server = trial.lab, trial.lab.node("server")
    serving = server.start(sink, 80)
    await lab.sleep(1)
    for host in ("client", "attacker"):
        await lab.node(host).ping("server", count=1)
    attack = lab.node("attacker").start(flood, "server", 80, trial["flood"])
    expected: int = min(trial["room"], trial["flood"])

    async def flooded() -> bool:
        return await _half_open(server) >= expected

    await lab.wait_until(flooded)
    await lab.sleep(0.5)
    trial.equal(FULL, await _half_open(server), trial["room"])
    regimes = [event["data"]["new"] for event in trial.events("transport:listener_updated", "server")]
    trial.equal(COOKIES, regimes, ["syn_cookies"])
    outcome, took = await lab.node("client").run(attempt, "server", 80)
    numbers = f"expected a connection opened and closed after 40 ms, seen {outcome} after {took * 1000:.0f} ms"
    trial.expect(SERVED, outcome == "a connection" and took < 0.5, numbers)
    attack.cancel()
    serving.cancel()


async def _half_open(server: Node) -> int:
    connections = (await server.state())["tcp"]["connections"]
    return len([each for each in connections if each["state"] == "syn_rcvd"])
