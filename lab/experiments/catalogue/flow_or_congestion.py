"""Flow control protects the receiver, congestion control the network; the smaller window of both is the limit.

The receiver advertises how much it has room for (RFC 9293, 3.8.6). What the network has room for nobody says: the
sender finds it out, by sending more until something is lost (RFC 5681). So a sender has two windows, and at no time
more on the way than the smaller one. While a loss is repaired, what is on the way comes down to the new, smaller
window step by step (RFC 6937). Of the two transfers here the first has a fast network and a small receiver, the
second a large receiver and a slow network with a short queue: the same program, and two different limits.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from lab.experiments.chart import draw
from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import METRICS, Trial

TOPOLOGY = """
name: flow-or-congestion
defaults: {tcp: {congestion: reno, ecn: false}}
nodes:
  a: {kind: host, trace: packets}
  small: {kind: host, tcp: {receive_buffer: $small}}
  b: {kind: host, trace: packets}
  large: {kind: host, tcp: {receive_buffer: $large}}
links:
  - {ends: [a, small], impair: {delay: 25ms, rate: 50mbit}}
  - {ends: [b, large], impair: {delay: 25ms, rate: 5mbit, queue: {drop_tail: {packets: 20}}}}
"""

ROOM = "no new segment is sent beyond the receiver's window"
SMALLER = "and none beyond the sender's own, but while a loss is repaired"
FLOW = "small receiver: its window is the limit, and full"
CONGESTION = "slow network: the congestion window is the limit, and full"
LOSS = "only the network's limit is found by losing"


@experiment(
    topic="Congestion control",
    claim="A sender has never more on the way than the smaller one of the receiver's window and its own.",
    look_at="the picture: r is the window that the receiver advertises, c the congestion window, # what is on the way",
    topology=TOPOLOGY,
    parameters={"small": 20_272, "large": 4_000_000, "octets": 1_500_000},
    variations={
        "both-large": Variation(
            "Both receivers have room: the network is the limit of both.", {"small": 4_000_000}, breaks=(FLOW,)
        ),
        "both-small": Variation(
            "Both receivers are small: neither transfer finds out what its network carries.",
            {"large": 20_000},
            breaks=(CONGESTION, LOSS),
        ),
    },
)
async def flow_or_congestion(trial: Trial) -> None:
    lab = trial.lab
    for name in ("small", "large"):
        lab.node(name).start(sink, 80)
    await lab.sleep(1)
    sending = [lab.node(name).start(send, to, 80, trial["octets"]) for name, to in (("a", "small"), ("b", "large"))]
    for program in sending:
        await program.wait()

    history = {name: _history(trial, name) for name in "ab"}
    room = [min(row.advertised - row.used for row in rows) for rows in history.values()]
    trial.expect(ROOM, min(room) >= 0, f"theory 0 or more octets left, seen at least {room[0]:,} and {room[1]:,}")
    own = [min(row.cwnd - row.used for row in rows if not row.repairing) for rows in history.values()]
    trial.expect(SMALLER, min(own) >= 0, f"theory 0 or more octets left, seen at least {own[0]:,} and {own[1]:,}")
    for claim, name, wanted in ((FLOW, "a", "receiver"), (CONGESTION, "b", "sender")):
        rows = history[name]
        share = sum((row.advertised < row.cwnd) == (wanted == "receiver") for row in rows) / len(rows)
        fill = median(row.used / row.smaller for row in rows)
        numbers = f"theory the {wanted}'s window the smaller one and full, seen {share:.0%} of {len(rows)} "
        numbers += f"acknowledgments, {fill:.0%} of it in use"
        trial.expect(claim, share >= 0.9 and fill >= 0.85, numbers, picture=_picture(rows))
    lost = {name: len(trial.events("recovery:segment_lost", name)) for name in "ab"}
    trial.expect(
        LOSS, lost["a"] == 0 < lost["b"], f"expected 0 lost by a and some by b, seen {lost['a']} and {lost['b']}"
    )


class Row(NamedTuple):
    """Between two acknowledgments, in octets: both windows, and the most that was on the way."""

    time: float
    advertised: int
    cwnd: int
    used: int
    repairing: bool

    @property
    def smaller(self) -> int:
        return min(self.advertised, self.cwnd)


def _history(trial: Trial, node: str) -> list[Row]:
    """A row for each acknowledgment after which new data was sent."""
    rows: list[Row] = []
    advertised = cwnd = on_the_way = 0
    state = "open"
    for event in trial.events("*", node):
        name, data = event["name"], event["data"]
        if name == "transport:segment_received":
            advertised = data["window"]
        elif name == "recovery:congestion_state_updated":
            state = data["new"]
        elif name == METRICS:
            cwnd, on_the_way = data["cwnd"], data["in_flight"]
        elif name == "transport:segment_sent" and data["length"]:
            on_the_way += data["length"]
            if data["trigger"] == "data" and cwnd:
                rows.append(Row(event["time"], advertised, cwnd, on_the_way, state in ("recovery", "loss")))
    return rows


def _picture(rows: list[Row]) -> str:
    """Both windows as letters, what is on the way as bars between them and nothing."""
    top = 1.5 * max(row.used for row in rows)
    series = {
        "r": [(row.time, float(row.advertised)) for row in rows],
        "c": [(row.time, float(row.cwnd)) for row in rows],
        "#": [(row.time, float(row.used)) for row in rows],
    }
    return draw(series, top=top, unit="octets")
