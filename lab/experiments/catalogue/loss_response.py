"""What a loss tells a sender: Tahoe begins anew with one segment, Reno goes on with half.

Both take three duplicate acknowledgments for a loss and send the segment again at once, and both remember half of what
was on the way as `ssthresh`. Tahoe (1988) then goes back to a window of one segment and starts slowly up to `ssthresh`,
so the path runs empty. Reno (1990) sees that duplicate acknowledgments mean that segments still arrive: it goes on with
half the window, and from there adds one segment per round trip (RFC 5681, 3.1 and 3.2). NewReno (RFC 6582) does the
same, and differs only where several segments of one window are lost.
"""

from __future__ import annotations

from itertools import pairwise

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import METRICS, Trial, latest

TOPOLOGY = """
name: loss-response
defaults:
  tcp: {rack: false}
  impair: {delay: 50ms, faults: [{drop: {sequence: $lost-$lost}}]}
nodes:
  tahoe: {kind: host, trace: packets, tcp: {congestion: $first}}
  reno: {kind: host, trace: packets, tcp: {congestion: $second}}
  newreno: {kind: host, trace: packets, tcp: {congestion: $third}}
  b: host
  c: host
  d: host
links: [tahoe -- b, reno -- c, newreno -- d]
"""

STATE = "recovery:congestion_state_updated"
SEGMENT = 1448
ROUND_TRIP = 100.0
TAHOE = "Tahoe falls to one segment"
RENO = "Reno goes on with half of what was on the way"
NEWRENO = "so does NewReno"
THRESHOLD = "ssthresh is half of what was on the way with all"
ONE_MORE = "Reno then adds one segment per round trip"
NO_TIMER = "no timer had to expire"


@experiment(
    topic="Congestion control",
    claim="After three duplicate acknowledgments Tahoe falls to one segment, Reno and NewReno to half.",
    look_at="the congestion window and the threshold of all, before and after the loss",
    topology=TOPOLOGY,
    parameters={"first": "tahoe", "second": "reno", "third": "newreno", "lost": 79 * SEGMENT + 1, "segments": 600},
    variations={
        "two-renos": Variation("Reno in Tahoe's place: it halves, too.", {"first": "reno"}, breaks=(TAHOE,)),
        "two-tahoes": Variation(
            "Tahoe in Reno's place: the window is one segment, and slow start follows.",
            {"second": "tahoe"},
            breaks=(RENO, ONE_MORE),
        ),
        "tahoe-for-newreno": Variation(
            "Tahoe in NewReno's place: it falls to one segment.", {"third": "tahoe"}, breaks=(NEWRENO,)
        ),
    },
)
async def loss_response(trial: Trial) -> None:
    lab, octets = trial.lab, trial["segments"] * SEGMENT
    serving = [lab.node(name).start(sink, 80) for name in "bcd"]
    await lab.sleep(1)
    pairs = (("tahoe", "b"), ("reno", "c"), ("newreno", "d"))
    running = [lab.node(name).start(send, to, 80, octets) for name, to in pairs]
    for program in (*running,):
        await program.wait()

    lost = {name: _lost(trial, name) for name, _ in pairs}
    flight = {name: _flight(trial, name) for name in lost}
    smallest = min(cwnd for time, cwnd in trial.series("tahoe", "cwnd") if time >= lost["tahoe"]) / SEGMENT
    trial.equal(TAHOE, smallest, 1)
    for claim, name in ((NEWRENO, "newreno"), (RENO, "reno")):
        opened = trial.events(STATE, name, new="open")
        ended = opened[0]["time"] if opened else lost[name]
        windows = trial.series(name, "cwnd")
        trial.close(claim, latest(windows, ended) / SEGMENT, flight[name] / 2, within=0.15, unit="segments")
    halves = [trial.series(name, "ssthresh")[0][1] / SEGMENT / flight[name] for name in lost]
    numbers = f"theory 0.5, seen {', '.join(f'{half:.2f}' for half in halves)}"
    trial.expect(THRESHOLD, all(0.4 <= half <= 0.6 for half in halves), numbers)
    steps = [latest(windows, ended + trip * ROUND_TRIP) / SEGMENT for trip in range(2, 7)]
    added = [other - one for one, other in pairwise(steps)]
    trial.equal(ONE_MORE, [round(each, 1) for each in added], [1.0] * 4)
    timers = trial.events("recovery:timer_updated", timer="retransmit", new="expired")
    trial.equal(NO_TIMER, len(timers), 0)
    for program in serving:
        program.cancel()


def _flight(trial: Trial, node: str) -> float:
    """Segments that were on the way when the first duplicate came, which tells of one of them that it has arrived. What
    the duplicates let out on top is no flight (RFC 3042, 2)."""
    events = iter(trial.events("recovery:*", node))
    first = next(each for each in events if each["name"] == STATE and each["data"]["new"] == "disorder")
    then = next(each for each in events if each["name"] == METRICS)
    assert then["time"] == first["time"]
    return float(then["data"]["in_flight"]) / SEGMENT + 1


def _lost(trial: Trial, node: str) -> float:
    """When a sender concluded that something was lost."""
    return float(trial.events("recovery:segment_lost", node)[0]["time"])
