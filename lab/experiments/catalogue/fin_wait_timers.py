"""A close that the other side does not answer ends by timers.

In FIN_WAIT_1 our FIN is not acknowledged: it is sent again like any segment, less and less often, until R2 is over
(RFC 9293, 3.8.3). In FIN_WAIT_2 it is, and we wait for the peer's FIN. RFC 9293 lets us wait for ever, and while the
program still reads that is right; but one that has closed the socket cannot be asked any more, so that every system has
a timer against peers that never close. RFC 1122 (4.2.2.13) allows it.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from lab.experiments.catalogue.close_wait import forget
from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import STATE, Trial, said, seconds

TOPOLOGY = """
name: fin-wait-timers
defaults: {trace: packets, tcp: {msl: 0.5}}
nodes:
  client: {kind: host, tcp: {fin_wait_2: $patience, r2: $r2, rack: false}}
  server: host
links:
  - {ends: [client, server], impair: {delay: 10ms}}
"""

SECOND = "FIN_WAIT_2 ends by its timer, where the peer never closes"
FIRST = "FIN_WAIT_1 ends after R2, where nobody acknowledges the FIN"
AGAIN = "meanwhile the FIN is sent again, after 1 s, 2 s, 4 s"


async def open_and_close(host: str, port: int, wait: float) -> None:
    _, writer = await asyncio.open_connection(host, port)
    await asyncio.sleep(wait)
    writer.close()


@experiment(
    topic="Closing a connection",
    claim="FIN_WAIT_1 and FIN_WAIT_2 do not last for ever: each has a timer.",
    look_at="how long FIN_WAIT_2 lasts with a peer that never closes, and FIN_WAIT_1 with one that is gone",
    topology=TOPOLOGY,
    parameters={"patience": 3, "r2": 9, "closes": False, "cut": True},
    variations={
        "answered": Variation(
            "The peer closes too, and its answers arrive: the states end at once, no timer is needed.",
            {"closes": True, "cut": False},
            breaks=(SECOND, FIRST, AGAIN),
        ),
    },
)
async def fin_wait_timers(trial: Trial) -> None:
    lab, client = trial.lab, trial.lab.node("client")
    lab.node("server").start(forget, 80, trial["closes"])
    await lab.sleep(1)
    await client.run(open_and_close, "server", 80, 0.1)
    await lab.sleep(trial["patience"] + 1)
    trial.close(SECOND, _lasted(trial, "fin_wait_2"), trial["patience"], within=0.05, unit="s")

    since = lab.now * 1000
    if trial["cut"]:
        lab.at(lab.now + 0.5, lab.link("client-server").impair, loss="100%")
    await client.run(open_and_close, "server", 80, 1)
    await lab.sleep(trial["r2"] + 2)
    trial.close(FIRST, _lasted(trial, "fin_wait_1", since), trial["r2"], within=0.05, unit="s")
    fins = [each for each in trial.segments("client") if "FIN" in said(each) and each["time"] > since]
    gaps = [round(seconds(one, other), 1) for one, other in pairwise(fins)]
    trial.equal(AGAIN, gaps, [1.0, 2.0, 4.0])


def _lasted(trial: Trial, state: str, since: float = 0) -> float:
    """Seconds that a connection of the client was in a state, the first one since then."""
    begun = next((each for each in trial.events(STATE, "client", new=state) if each["time"] > since), None)
    over = next((each for each in trial.events(STATE, "client", old=state) if each["time"] > since), None)
    return seconds(begun, over) if begun and over else 0.0
