"""A switch learns where everybody is by listening, and forgets who is silent.

It looks at the source of each frame: that station is behind the port it came in at. A frame for a station that it knows
leaves by one port; one for a station that it does not know leaves by all others, for it must be somewhere (IEEE 802.1D,
7.7 and 7.8). What was not heard of for the ageing time is forgotten, so that a computer may move.
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: switch-learns
defaults: {trace: packets, address_check: none}
nodes:
  a: host
  b: host
  c: host
  s: {kind: switch, impl: stack, ageing_time: $ageing_time}
links: [a -- s, b -- s, c -- s]
"""

LEARNS = "the switch learns the ports of a and b from the first frames of each"
FLOODS = "before it knows a station, c hears what is for all, and nothing else"
DIRECT = "then c hears nothing of 20 pings"
AGES = "after the ageing time it has forgotten both"
AGAIN = "and floods a frame for b again"


@experiment(
    topic="Physical and data link",
    claim="A switch learns from sources, floods what it does not know, and forgets the silent.",
    look_at="the table of the switch, and which frames reach a third host",
    topology=TOPOLOGY,
    parameters={"ageing_time": 5, "wait": 8},
    variations={
        "long-memory": Variation(
            "The ageing time is longer than the silence: nothing is forgotten, nothing flooded again.",
            {"ageing_time": 300},
            breaks=(AGES, AGAIN),
        ),
    },
)
async def switch_learns(trial: Trial) -> None:
    lab, a = trial.lab, trial.lab.node("a")
    await lab.sleep(1)
    await a.ping("b", count=1)
    learned = [each["data"] for each in trial.events("link:forwarding_table_updated", "s", old_port=None)]
    trial.equal(LEARNS, [data["new_port"] for data in learned], ["p1", "p2"])
    trial.equal(FLOODS, (await _heard(trial), _broadcasts(trial)), (1, 1))
    await a.ping("b", count=20, interval=0.05)
    trial.equal(DIRECT, await _heard(trial) - _broadcasts(trial), 0)

    await lab.sleep(trial["wait"])
    forgotten = [each["data"] for each in trial.events("link:forwarding_table_updated", "s", new_port=None)]
    trial.equal(AGES, sorted(data["old_port"] for data in forgotten), ["p1", "p2"])
    before = await _heard(trial) - _broadcasts(trial)
    await a.ping("b", count=1)
    trial.equal(AGAIN, await _heard(trial) - _broadcasts(trial) - before, 1)


async def _heard(trial: Trial) -> int:
    """Frames that reached c."""
    received: int = (await trial.lab.node("c").state())["ports"][0]["received"]
    return received


def _broadcasts(trial: Trial) -> int:
    return len(trial.events("link:frame_received", "c", destination="ff:ff:ff:ff:ff:ff"))
