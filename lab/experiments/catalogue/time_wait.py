"""TIME_WAIT is there for the last acknowledgment: it may be lost, and somebody has to send it again.

The last acknowledgment of a close is not acknowledged itself. When it is lost, the other side sends its FIN again; who
closed first must still know the connection to answer. So it stays in TIME_WAIT for twice the maximum segment lifetime
(two minutes in RFC 9293, 3.4.1), and begins to count anew with each FIN that comes (3.10.7.4). Without it, the FIN
meets nobody and is answered with a reset: the other program, which did all right, gets an error.
"""

from __future__ import annotations

from lab.experiments.catalogue.four_way_close import call, serve_one
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import STATE, Trial, said, seconds

TOPOLOGY = """
name: time-wait
defaults: {trace: packets}
nodes:
  client: {kind: host, tcp: {msl: $msl}}
  server: host
links:
  - ends: [client, server]
    impair:
      delay: 20ms
      from: {client: {faults: [{drop: {tcp: "ACK,!SYN,!FIN,!PSH", payload: false, first: 2}}]}}
"""

AGAIN = "the server sends its FIN again"
ANSWERED = "the FIN that comes again is acknowledged"
IN_ORDER = "the server's connection ends with an acknowledgment, not with a reset"
ANEW = "TIME_WAIT begins anew with the FIN that came again"


@experiment(
    topic="Closing a connection",
    claim="TIME_WAIT answers for a closed connection when its last acknowledgment was lost.",
    look_at="the server's second FIN, and who answers it with what",
    topology=TOPOLOGY,
    parameters={"msl": 2.0},
    variations={
        "without": Variation(
            "No TIME_WAIT (a maximum segment lifetime of 0): the FIN meets nobody, and a reset is the answer.",
            {"msl": 0.0},
            breaks=(ANSWERED, IN_ORDER, ANEW),
        ),
    },
)
async def time_wait(trial: Trial) -> None:
    lab = trial.lab
    server = lab.node("server").start(serve_one, 80)
    await lab.sleep(1)
    await lab.node("client").run(call, "server", 80, reset=False)
    await server.wait()
    await lab.sleep(2 * trial["msl"] + 2)

    segments = trial.exchange("client", "server", port=80)
    fins = [place for place, each in enumerate(segments) if said(each) == "server FIN,ACK"]
    trial.equal(AGAIN, len(fins), 2)
    trial.equal(ANSWERED, [said(each) for each in segments[fins[1] + 1 :]], ["client ACK"])
    last = trial.events(STATE, "server", new="closed")[-1]["data"]
    trial.equal(IN_ORDER, last["trigger"], "fin_acknowledged")
    begun = trial.events(STATE, "client", new="time_wait")[0]
    over = trial.events(STATE, "client", old="time_wait")[0]
    theory = seconds(segments[fins[0]], segments[fins[1]]) + 2 * trial["msl"]
    trial.close(ANEW, seconds(begun, over), theory, within=0.05, unit="s")
