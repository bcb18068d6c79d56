"""A circuit chooses its path once, at call set-up; a datagram at every hop, each for itself.

The call goes through the network as a packet with addresses. Each node that it passes looks the called address up,
chooses a label (VCI) of the next link, and notes both links with their labels in its table. When the called node has
accepted, a round trip after the call began, messages go with a label instead of an address: a node looks it up, puts
the next one in its place, and passes it on (X.25; ATM; Tanenbaum, Computer Networks, 2011, 5.1.4). They all go the same
way, so they stay in order.

Here the cable from r1 to r2 is out at first, and everything goes the long way, over r3. When it is put in again,
datagrams take the short way at once, and overtake those that are still on the long one. The circuit stays where it is:
nobody asks the routes again, neither to its loss nor to its gain.
"""

from __future__ import annotations

from itertools import pairwise

from lab.experiments.circuits import (
    DIAMOND,
    collect_datagrams,
    collect_messages,
    overtaken,
    send_datagrams,
    send_messages,
)
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = f"""
name: virtual-circuit
circuits: true
{DIAMOND}
links:
  - {{ends: [a, r1], impair: {{delay: 5ms}}}}
  - {{ends: [r1, r2], impair: {{delay: 5ms}}}}
  - {{ends: [r2, r4], impair: {{delay: 5ms}}}}
  - {{ends: [r1, r3], addresses: {{r1: 10.3.0.1/24, r3: 10.3.0.2/24}}, impair: {{delay: 50ms}}}}
  - {{ends: [r3, r4], addresses: {{r3: 10.4.0.1/24, r4: 10.4.0.2/24}}, impair: {{delay: 50ms}}}}
  - {{ends: [r4, b], impair: {{delay: 5ms}}}}
"""

PORT = 5000
EVERY = 0.01
WAY = ["a", "r1", "r3", "r4", "b"]
ROUND_TRIP = 2 * (0.005 + 0.050 + 0.050 + 0.005)
SET_UP = "the call takes one round trip before the first message"
TABLES = "each label that a node sends with is the one that the next node knows"
ORDER = "over the circuit each message comes once and in order"
STAYS = "the circuit stays on the long way when the short one opens"
DATAGRAMS = "datagrams that take the short way overtake those on the long one"
GONE = "when the circuit is cleared, no node knows it any more"


@experiment(
    topic="Virtual circuit and datagram",
    claim="A circuit pays for a path once and keeps it, and so the order; datagrams take the route of the moment.",
    look_at="the tables of labels on the way (`lab circuits`), and which numbers arrive late",
    topology=TOPOLOGY,
    parameters={"count": 200, "opens": True},
    variations={
        "one-way": Variation(
            "The short way stays closed: datagrams go one way, too, and none overtakes another.",
            {"opens": False},
            breaks=(DATAGRAMS,),
        ),
    },
)
async def virtual_circuit(trial: Trial) -> None:
    lab, count = trial.lab, trial["count"]
    a, b, short = lab.node("a"), lab.node("b"), lab.link("r1-r2")
    await short.down()
    messages, datagrams = b.start(collect_messages, PORT), b.start(collect_datagrams, PORT)
    await lab.sleep(2)
    await a.ping("b", count=2)  # ARP on the way
    sending = a.start(send_messages, "b", PORT, count, EVERY), a.start(send_datagrams, "b", PORT, count, EVERY)
    await lab.sleep(1)
    before = await labels(trial)
    if trial["opens"]:
        await short.up()
    await lab.sleep(0.5)
    after = await labels(trial)
    call, _, _ = await sending[0].wait()
    await sending[1].wait()
    (numbers, _), told = await messages.wait(), await datagrams.wait()

    trial.close(SET_UP, call, ROUND_TRIP, within=0.5, unit="s")
    shown = " | ".join(f"{name} {'>'.join(map(str, row))}" for name, row in before.items())
    agree = all(ours and theirs and ours[-1] == theirs[0] for ours, theirs in pairwise(before.values()))
    trial.expect(TABLES, agree, f"seen {shown}")
    expected = list(range(count))
    trial.expect(
        ORDER, numbers == expected, f"expected {count} in order, seen {len(numbers)}, {overtaken(numbers)} late"
    )
    trial.expect(STAYS, after == before, f"expected the same tables, seen {'the same' if after == before else after}")
    trial.at_least(DATAGRAMS, overtaken(told), 1)
    await lab.sleep(2)
    left = [name for name, row in (await labels(trial)).items() if row]
    trial.expect(GONE, not left, f"expected none, seen {', '.join(left) or 'none'}")


async def labels(trial: Trial) -> dict[str, list[int]]:
    """The labels of the one circuit at each node on its way: on the link that leads back to a, and on to b."""
    found = {}
    for name in WAY:
        node = await trial.lab.node(name).state()
        known = {row["interface"]: row["vci"] for row in node["circuits"]["table"]}
        found[name] = [known[each["name"]] for each in node["interfaces"] if each["name"] in known]
    return found
