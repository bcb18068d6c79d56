"""Stop and wait carries one segment per round trip; a window of N segments carries N.

Who waits for each acknowledgment before he sends the next segment leaves the path empty for nearly all of the time. A
sliding window allows as many octets on the way as the receiver has room for: the throughput is window / round trip
time, until the link is full (RFC 9293, 3.8.6; window scaling, RFC 7323, exists because of this formula). Stop and wait
is nothing but a window of one segment, and so it is done here: by the receiver's buffer.
"""

from __future__ import annotations

from statistics import median

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: stop-and-wait-or-window
defaults:
  impair: {delay: 25ms, rate: $rate}
  tcp: {delayed_ack: 0, timestamps: false, window_scale: false}
nodes:
  waits: {kind: host, trace: packets}
  slides: {kind: host, trace: packets}
  one: {kind: host, tcp: {receive_buffer: 1460}}
  many: {kind: host, tcp: {receive_buffer: $window}}
links: [waits -- one, slides -- many]
"""

SEGMENT = 1460
ONE = "with a window of one segment: one segment per round trip"
MANY = "with a window of many: window / round trip"
EMPTY = "nothing waits on the path: a round trip is twice the delay"
RATIO = "so it is as many times as fast as there are segments in the window"
ALONE = "stop and wait: never more than one segment is on the way"


@experiment(
    topic="Flow control",
    claim="Stop and wait carries one segment per round trip, a window of N segments N.",
    look_at="what is on the way, and the rates of both, beside window / round trip time",
    topology=TOPOLOGY,
    parameters={"rate": "100mbit", "window": 30 * SEGMENT, "segments": 60},
    variations={
        "thin-link": Variation(
            "The link carries less than the window allows: then the link is the limit, and of stop and wait it is not.",
            {"rate": "4mbit"},
            breaks=(EMPTY, RATIO),
        ),
    },
)
async def stop_and_wait_or_window(trial: Trial) -> None:
    lab, window = trial.lab, trial["window"]
    for name in ("one", "many"):
        lab.node(name).start(sink, 80)
    await lab.sleep(1)
    await lab.node("waits").ping("one", count=1)
    await lab.node("slides").ping("many", count=1)
    rates = {}
    for name, to, octets in (
        ("waits", "one", trial["segments"] * SEGMENT),
        ("slides", "many", trial["segments"] * window),
    ):
        rates[name] = octets / await lab.node(name).run(send, to, 80, octets)
    for claim, name, allowed in ((ONE, "waits", SEGMENT), (MANY, "slides", window)):
        trial.close(claim, rates[name], allowed / _round_trip(trial, name), within=0.15, unit="octets/s")
    trial.at_most(EMPTY, _round_trip(trial, "slides"), 0.05 * 1.5, "s")
    trial.close(RATIO, rates["slides"] / rates["waits"], window / SEGMENT, within=0.2)
    trial.equal(ALONE, _most_on_the_way(trial, "waits"), SEGMENT)


def _round_trip(trial: Trial, node: str) -> float:
    """As the sender measured it, in seconds."""
    return median(value for _, value in trial.series(node, "srtt")) / 1e9


def _most_on_the_way(trial: Trial, node: str) -> int:
    """Octets that were sent and not acknowledged, at most."""
    end = acknowledged = most = 0
    for event in trial.events("transport:segment_*", node):
        data = event["data"]
        if event["name"] == "transport:segment_received":
            acknowledged = data["acknowledgment"]
        elif data["length"]:
            end = data["sequence"] + data["length"]
            most = max(most, end - acknowledged)
    return most
