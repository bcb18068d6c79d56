"""RARP is ARP the other way round: a host that knows its MAC address asks for its IP address.

A machine without a disk knows what is burnt into its network card and nothing else. It broadcasts "who am I?" in a
frame of a type of its own, 0x8035, and a server that has a table answers to it alone (RFC 903). A server has to be on
the same segment, since the question is no IP packet, and no router passes it on. BOOTP and DHCP came after it.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Event, Trial

TOPOLOGY = """
name: rarp-exchange
defaults: {trace: packets, impl: stack}
nodes:
  server: {kind: host, address: 10.0.0.1/24, rarp_server: true}
  diskless: {kind: host, address: rarp}
  other: host
  s: switch
links:
  - {ends: [server, s], up: $cable}
  - diskless -- s
  - other -- s
"""

RARP = 0x8035
BROADCAST = "ff:ff:ff:ff:ff:ff"
ASKS = "the host broadcasts a request of type 0x8035"
ANSWERED = "the server answers it alone"
HAS = "the host has the address of the server's table"
USES = "and uses it: it answers a ping"


@experiment(
    topic="Network",
    claim="RARP gives a host its IP address, of which it knows only the MAC address.",
    look_at="the frames with type 0x8035, and what the host does with the answer",
    topology=TOPOLOGY,
    parameters={"cable": True},
    variations={
        "no-server": Variation(
            "The server's cable is out: the host asks again and again and stays without an address.",
            {"cable": False},
            breaks=(ANSWERED, HAS, USES),
        ),
    },
)
async def rarp_exchange(trial: Trial) -> None:
    lab = trial.lab
    await lab.sleep(3)
    asked = {event["data"]["destination"] for event in trial.events("link:frame_sent", "diskless", ethertype=RARP)}
    trial.equal(ASKS, sorted(asked), [BROADCAST])
    sent = trial.events("link:frame_sent", "server", ethertype=RARP)
    heard = trial.events("link:frame_received", "diskless", ethertype=RARP, source=_mac(sent))
    trial.equal(ANSWERED, (len(sent), len(heard)), (1, 1))
    address = lab.node("diskless").address
    taken = [event["data"]["address"] for event in trial.events("link:address_updated", "diskless", old="none")]
    trial.equal(HAS, taken[-1:], [address])
    answer = await lab.node("other").ping("diskless", count=1)
    trial.equal(USES, answer["received"], 1)


def _mac(sent: list[Event]) -> str:
    return str(sent[0]["data"]["source"]) if sent else ""
