"""Flow control: a sender may have as much on the way as its receiver has room for, and no more.

With a window of W octets and a round trip of R seconds a connection carries at most W / R octets per second, however
fast the link is: after W octets the sender has to wait until the first of them is acknowledged. Window scaling
(RFC 7323) exists because 65,535 octets, all that the header has room for, are 5 Mbit/s on a round trip of 100 ms.
"""

from __future__ import annotations

from statistics import median

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: window-limit
nodes:
  a: host
  b: {kind: host, tcp: {receive_buffer: $buffer}}
links:
  - {ends: [a, b], impair: {delay: ${delay}ms, rate: 100mbit}}
"""

RATE = "the rate is window / round trip time"


@experiment(
    topic="Flow control",
    claim="A window of W octets carries W octets per round trip, however fast the link is.",
    look_at="the rate, beside the window that the receiver advertises, and the octets on the way",
    topology=TOPOLOGY,
    parameters={"buffer": 65535, "delay": 50, "octets": 2_000_000},
    variations={
        "wide-window": Variation(
            "With a window larger than the link's bandwidth-delay product, the link is the limit.",
            {"buffer": 4_000_000, "octets": 20_000_000},
            breaks=(RATE,),
        ),
    },
)
async def window_limit(trial: Trial) -> None:
    lab = trial.lab
    lab.node("b").start(sink, 80)
    await lab.sleep(1)
    await lab.node("a").ping("b", count=1)
    seconds = await lab.node("a").run(send, "b", 80, trial["octets"])
    trip = median(value for _, value in trial.series("a", "srtt")) / 1e9  # as the sender measured it
    theory = trial["buffer"] / trip
    trial.close(RATE, trial["octets"] / seconds, theory, within=0.15, unit="octets/s")
    most = max(value for _, value in trial.series("a", "in_flight"))
    trial.at_most("never more than the window is on the way", most, trial["buffer"], "octets")
