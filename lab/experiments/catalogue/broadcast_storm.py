"""Two ways between two switches are one too many, unless a spanning tree closes one.

A frame has no time to live. A broadcast that can go round in a circle does so for ever, and every switch sends a copy
to every port each time: the network melts. So switches tell each other what they know, agree on a tree that reaches all
and has no circle, and close the ports that do not belong to it; when a link of the tree dies, a closed port opens
(IEEE 802.1D-2004, 17). It works as long as the messages get through.
"""

from __future__ import annotations

from lab.experiments.catalogue.broadcast import cry
from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import collect
from lab.experiments.trial import Trial

TOPOLOGY = """
name: broadcast-storm
defaults: {address_check: none}
nodes:
  a: {kind: host, address: 10.0.0.1/24}
  b: host
  s1: {kind: switch, impl: stack, stp: {hello_time: 1, max_age: 6, forward_delay: 4}}
  s2: {kind: switch, impl: stack, stp: {hello_time: 1, max_age: 6, forward_delay: 4}}
links:
  - a -- s1
  - {ends: [s1, s2], name: one, impair: {delay: 1ms, faults: $faults}}
  - {ends: [s1, s2], name: other, impair: {delay: 1ms, faults: $faults}}
  - s2 -- b
"""

TREE = "one of the four ports between the switches is closed"
ONCE = "a broadcast arrives once"
HEALS = "when the link of the tree dies, the other one takes over"
PORT = 5000


@experiment(
    topic="Physical and data link",
    claim="A spanning tree keeps frames from circling, and heals when a link dies.",
    look_at="how often one broadcast arrives within two or three seconds",
    topology=TOPOLOGY,
    parameters={"faults": "[]"},
    variations={
        "no-messages": Variation(
            "The links lose the switches' messages (43 to 60 octets): each thinks it is alone, and all ports are open.",
            {"faults": "[{drop: {minimum_length: 43, maximum_length: 60, count: 0}}]"},
            breaks=(TREE, ONCE),
        ),
    },
)
async def broadcast_storm(trial: Trial) -> None:
    lab = trial.lab
    await lab.sleep(12)
    ports = [(name, port) for name in ("s1", "s2") for port in ("p2", "p3")]
    closed = [f"{name} {port}" for name, port in ports if _state(trial, name, port) == "discarding"]
    trial.expect(TREE, len(closed) == 1, f"expected 1, seen {len(closed)}: {', '.join(closed) or 'none'}")
    collecting = lab.node("b").start(collect, PORT, 4.0)
    await lab.sleep(1.5)
    await lab.node("a").run(cry, "10.0.0.255", PORT, b"only once " * 20, allowed=True)
    trial.equal(ONCE, len(await collecting.wait()), 1)
    await lab.link("one").down()
    await lab.sleep(3)
    trial.equal(HEALS, (await lab.node("a").ping("b", count=2))["received"], 2)


def _state(trial: Trial, switch: str, port: str) -> str:
    """Of a port, as its last change says."""
    changes = trial.events("link:spanning_tree_port_updated", switch, port=port)
    return str(changes[-1]["data"]["new_state"]) if changes else "none"
