"""Flow control between two neighbours: a receiver that is slow says so before it has to throw frames away.

A window bounds what is on the way, not what the receiver has not yet worked off: an acknowledgment means that a frame
has come, and that the next may be sent. HDLC (ISO/IEC 13239:2002) keeps the two apart: RR acknowledges and is ready,
RNR acknowledges and is not. The sender then stops, asks from time to time in case the answer is lost (RR with the poll
bit), and goes on at RR. As a window may be on the way when RNR is said, it has to be said while there is room for one.

Here the receiver takes 20 ms for a frame that needs 2 ms on the wire, and has room for 16.
"""

from __future__ import annotations

from lab.experiments.arq_trials import carry, in_order, meet
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: arq-flow-control
defaults: {address_check: none}
nodes: {a: host, b: host}
links:
  - ends: [a, b]
    arq: {kind: go-back-n, window: 7, timeout: 100ms, processing: ${processing}ms, buffer: 16, flow_control: $flow}
    impair: {delay: 5ms, from: {a: {rate: 4mbit}}}
"""

SAYS = "the receiver says that it is not ready"
NOT_OVERRUN = "no frame comes that it has no room for"
NOT_AGAIN = "so none has to be sent again"
RATE = "frames come at the receiver's rate"
ONCE = "every datagram arrives, once and in order"


@experiment(
    topic="Physical and data link",
    claim="A receiver that is slower than the link holds its sender back (RNR) and loses nothing.",
    look_at="what the receiver drops for want of room, and what the sender sends again",
    topology=TOPOLOGY,
    parameters={"processing": 20, "flow": True, "count": 150},
    variations={
        "no-flow-control": Variation(
            "The receiver never says RNR: frames find no room, and go again and again.",
            {"flow": False},
            breaks=(SAYS, NOT_OVERRUN, NOT_AGAIN),
        ),
        "fast-receiver": Variation(
            "A receiver that is as fast as the link needs no RNR.", {"processing": 1}, breaks=(SAYS, RATE)
        ),
    },
)
async def arq_flow_control(trial: Trial) -> None:
    count = trial["count"]
    await meet(trial, ("a", "b"))
    carried = await carry(trial, "a", "b", count)
    said = trial.events("link:arq_readiness_updated", "b", side="local", new="not_ready")
    heard = trial.events("link:arq_readiness_updated", "a", side="peer", new="not_ready")
    numbers = f"it said so {len(said)} times, the sender heard {len(heard)}"
    trial.expect(SAYS, bool(said) and len(said) == len(heard), numbers)
    trial.equal(NOT_OVERRUN, len(trial.events("link:arq_frame_dropped", "b", reason="no_room")), 0)
    trial.equal(NOT_AGAIN, len(trial.events("link:arq_frame_retransmitted", "a")), 0)
    trial.close(RATE, (count - 1) / carried.seconds, 50, within=0.1, unit="frames/s")
    in_order(trial, ONCE, count, carried)
