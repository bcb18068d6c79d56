"""ARP finds the MAC address that belongs to an IP address: it asks all, and one answers.

A frame needs a MAC address, a program knows an IP address. The sender broadcasts "who has 10.0.0.2?", the owner answers
to the sender alone, and the sender remembers the answer, so that the question is asked once and not for each packet
(RFC 826). The packet waits meanwhile. The owner learns too: the question has the asker's addresses in it, and an answer
is sure to be needed.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Event, Trial

TOPOLOGY = """
name: arp-exchange
defaults: {trace: packets, impl: stack, address_check: none}
nodes: {a: {kind: host, address: 10.0.0.1/24}, b: host, c: host, s: switch}
links: [a -- s, b -- s, c -- s]
"""

ARP = 0x0806
BROADCAST = "ff:ff:ff:ff:ff:ff"
ASKS = "the question is a broadcast, which c hears too"
ANSWERS = "the answer is for a alone, and c does not hear it"
WAITS = "the packet waits for the answer, and then leaves"
ONCE = "four pings need one question"
BOTH = "b has learned a's address from the question, and asks nothing"


@experiment(
    topic="Network",
    claim="ARP asks everybody for a MAC address, one answers, and the answer is remembered.",
    look_at="the frames with type 0x0806: who sends them to whom, and how many there are",
    topology=TOPOLOGY,
    parameters={"to": "10.0.0.2"},
    variations={
        "nobody": Variation(
            "Nobody has the address: the question is repeated, and the packets are given up.",
            {"to": "10.0.0.99"},
            breaks=(ANSWERS, WAITS, ONCE, BOTH),
        ),
    },
)
async def arp_exchange(trial: Trial) -> None:
    lab = trial.lab
    await lab.sleep(1)
    await lab.node("a").ping(trial["to"], count=4, interval=0.5)
    await lab.sleep(2)

    sent = {name: _arp(trial, "link:frame_sent", name) for name in "abc"}
    heard = _arp(trial, "link:frame_received", "c")
    questions = {event["data"]["destination"] for event in sent["a"]}
    same = questions == {BROADCAST} and len(heard) == len(sent["a"])
    trial.expect(ASKS, same, f"a asked {', '.join(sorted(questions))}, c heard {len(heard)} of {len(sent['a'])}")
    macs = {event["data"]["source"] for event in sent["a"]}
    answers = [event["data"]["destination"] for event in sent["b"]]
    trial.equal(ANSWERS, answers, list(macs))
    steps: list[tuple[str, dict[str, object]]] = [
        ("link:arp_updated", {"new": "incomplete"}),
        ("link:frame_sent", {"ethertype": ARP}),
        ("link:arp_updated", {"old": "incomplete", "new": "reachable"}),
        ("link:frame_sent", {"ethertype": 0x0800}),
    ]
    trial.in_order(WAITS, "a", steps)
    trial.equal(ONCE, len(sent["a"]), 1)
    learned = [event["data"]["trigger"] for event in trial.events("link:arp_updated", "b", new="reachable")]
    trial.equal(BOTH, learned, ["arp request"])


def _arp(trial: Trial, name: str, node: str) -> list[Event]:
    return trial.events(name, node, ethertype=ARP)
