"""A dead node ends every circuit through it, and only moves datagrams to another way.

What a circuit is stands in the tables of the nodes on its way. When one of them dies, its neighbours see no carrier and
clear the circuits that went by that link, towards both ends; the programs there hear that their circuit was reset, and
what was on the way is lost. They have to call again, and the new call finds another way. Datagrams carry all that a
node needs to know: the next one simply takes another route, and nobody but the lost ones has noticed (Tanenbaum,
Computer Networks, 2011, 5.1.5; Clark, The Design Philosophy of the DARPA Internet Protocols, 1988: survivability).
"""

from __future__ import annotations

from lab.experiments.circuits import (
    DIAMOND,
    collect_datagrams,
    collect_messages,
    send_datagrams,
    send_messages,
)
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = f"""
name: circuit-failure
circuits: true
{DIAMOND}
  c: {{kind: host, address: 10.5.0.2/24}}
links:
  - {{ends: [a, r1], impair: {{delay: 5ms}}}}
  - {{ends: [r1, r2], impair: {{delay: 5ms}}}}
  - {{ends: [r2, r4], impair: {{delay: 5ms}}}}
  - {{ends: [r1, r3], addresses: {{r1: 10.3.0.1/24, r3: 10.3.0.2/24}}, impair: {{delay: 5ms}}}}
  - {{ends: [r3, r4], addresses: {{r3: 10.4.0.1/24, r4: 10.4.0.2/24}}, impair: {{delay: 5ms}}}}
  - {{ends: [r4, b], impair: {{delay: 5ms}}}}
  - {{ends: [r3, c], impair: {{delay: 5ms}}}}
"""

PORTS = (5001, 5002, 5003)
APART = 5010
AGAIN = 5020
EVERY = 0.01
AT = 1.0
"""Seconds of sending before the node dies."""
ENDED = "each circuit over the dead node ends, at both of its ends"
LOST = "what was sent later is lost with them"
APART_GOES_ON = "a circuit that does not pass it goes on"
DATAGRAMS = "of the datagrams only those are lost that were on their way to it"
AGAIN_OPENS = "who calls again is connected, another way"


@experiment(
    topic="Virtual circuit and datagram",
    claim="A dead node ends every circuit through it; datagrams only take another route.",
    look_at="how the circuits end, and how many datagrams are missing",
    topology=TOPOLOGY,
    parameters={"count": 300, "dies": "r2"},
    variations={
        "bystander": Variation(
            "Another router dies: the circuits over r2 stay, and the one over it ends.",
            {"dies": "r3"},
            breaks=(ENDED, LOST, APART_GOES_ON),
        ),
    },
)
async def circuit_failure(trial: Trial) -> None:
    lab, count = trial.lab, trial["count"]
    a, b, c = (lab.node(name) for name in "abc")
    taking = [b.start(collect_messages, port) for port in PORTS]
    apart, datagrams = c.start(collect_messages, APART), b.start(collect_datagrams, PORTS[0])
    await lab.sleep(2)
    for host in "bc":
        await a.ping(host, count=2)  # ARP on the way
    sending = [a.start(send_messages, "b", port, count, EVERY) for port in PORTS]
    aside = a.start(send_messages, "c", APART, count, EVERY)
    loose = a.start(send_datagrams, "b", PORTS[0], count, EVERY)
    await lab.sleep(AT)
    await lab.node(trial["dies"]).kill()
    senders = [await program.wait() for program in sending]
    receivers = [await program.wait() for program in taking]
    await aside.wait()
    await loose.wait()
    ends = [how for _, _, how in senders] + [how for _, how in receivers]
    trial.equal(ENDED, ends, ["ECONNRESET"] * len(ends))
    most = max(len(numbers) for numbers, _ in receivers)
    trial.at_most(LOST, most, count * 5 // 6, "messages")
    trial.equal(APART_GOES_ON, (len((found := await apart.wait())[0]), found[1]), (count, "done"))
    missing = count - len(set(await datagrams.wait()))
    trial.at_most(DATAGRAMS, missing, count // 4, "datagrams")
    again = b.start(collect_messages, AGAIN)
    await lab.sleep(0.5)
    await a.run(send_messages, "b", AGAIN, 10, EVERY)
    numbers, how = await again.wait()
    trial.equal(AGAIN_OPENS, (len(numbers), how), (10, "done"))
