"""Three segments open a connection: each side chooses a sequence number, and each hears that the other knows it.

The client sends a SYN with its own number x. The server answers with a segment that does two things: it acknowledges
x + 1 and says its own number y. The client acknowledges y + 1. After two segments the client knows all it needs; the
server only after the third, so that an old SYN that wandered about for a while opens nothing. (RFC 9293, 3.5)
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial, said

TOPOLOGY = """
name: handshake
defaults: {trace: packets, capture: true}
nodes: {client: host, server: host}
links:
  - {ends: [client, server], impair: {delay: 50ms, faults: $faults}}
"""

CLIENT_STATES = ["closed", "syn_sent", "established"]
SERVER_STATES = ["listen", "syn_rcvd", "established"]
FLAGS = "the flags are SYN, SYN and ACK, ACK"
ACKNOWLEDGED = "the client acknowledges the server's number and one more"
AT_ONCE = "the client is connected one round trip after its SYN"


@experiment(
    topic="Opening a connection",
    claim="Three segments open a connection, and it takes one round trip until the client may send.",
    look_at="the flags and numbers of the first three segments, and the states on both sides",
    topology=TOPOLOGY,
    parameters={"faults": "[]"},
    variations={
        "lost-syn-ack": Variation(
            "The answer of the server is lost: after a second without one, the SYN is sent again.",
            {"faults": '[{drop: {tcp: "SYN,ACK", first: 1}}]'},
            breaks=(FLAGS, ACKNOWLEDGED, AT_ONCE),
        ),
    },
)
async def handshake(trial: Trial) -> None:
    lab = trial.lab
    lab.node("server").start(sink, 80)
    await lab.node("client").ping("server", count=1)  # so that the SYN does not wait for ARP
    await lab.node("client").run(send, "server", 80, 1)

    sent = [event for event in trial.segments("client") if event["data"]["destination_port"] == 80]
    answers = trial.segments("server")
    first, third = sent[0]["data"], sent[1]["data"]
    second = answers[0]["data"]
    flags = [said(event) for event in (sent[0], answers[0], sent[1])]
    trial.equal(FLAGS, flags, ["client SYN", "server SYN,ACK", "client ACK"])
    trial.equal(
        "the server acknowledges the client's number and one more",
        second["acknowledgment"],
        (first["sequence"] + 1) % 2**32,
    )
    trial.equal(ACKNOWLEDGED, third["acknowledgment"], (second["sequence"] + 1) % 2**32)
    trial.equal("the client goes from closed by SYN_SENT to ESTABLISHED", trial.states("client")[0][:3], CLIENT_STATES)
    trial.equal("the server goes from LISTEN by SYN_RCVD to ESTABLISHED", trial.states("server")[-1][:3], SERVER_STATES)
    opened = next(event for event in trial.events("transport:connection_state_updated", "client", new="established"))
    trial.close(AT_ONCE, (opened["time"] - sent[0]["time"]) / 1000, 0.1, within=0.15, unit="s")
