"""A hub repeats bits: what one sends, all others hear, damaged or not.

It works on layer 1 and knows no addresses. A frame that comes in at one port leaves by every other one, so that a host
that it is not for can listen, and two that send at once get in each other's way. A bit that was turned on the way is
passed on like any other; it is the receivers who notice, here by the checksum of TCP (RFC 9293, 3.1). A switch, on
layer 2, looks at the destination and sends the frame where it has to go (IEEE 802.1D, 7.7).
"""

from __future__ import annotations

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import send, sink
from lab.experiments.trial import Trial

TOPOLOGY = """
name: hub-repeats
defaults: {trace: packets, address_check: none}
nodes: {a: host, b: host, c: host, device: $device}
links:
  - ends: [a, device]
    impair: {delay: 1ms, from: {a: {faults: [{corrupt: {protocol: tcp, payload: true, bit: -1}}]}}}
  - b -- device
  - c -- device
"""

HEARS = "c hears every frame of the conversation between a and b"
PASSES = "a frame with a wrong bit passes, too"
CAUGHT = "b's checksum catches it"
REPAIRED = "and TCP sends the segment again"


@experiment(
    topic="Physical and data link",
    claim="A hub repeats what it hears to everybody, even a frame with a wrong bit.",
    look_at="the frames at the third host, which none of them is for",
    topology=TOPOLOGY,
    parameters={"device": "hub", "octets": 20_000},
    variations={
        "switch": Variation(
            "A switch instead: c hears next to nothing of what is not for it.",
            {"device": "{kind: switch, impl: stack}"},
            breaks=(HEARS,),
        ),
    },
)
async def hub_repeats(trial: Trial) -> None:
    lab = trial.lab
    serving = lab.node("b").start(sink, 80)
    await lab.sleep(1)
    await lab.node("a").run(send, "b", 80, trial["octets"])
    await lab.sleep(1)
    talk = sum(len(trial.events("link:frame_sent", name)) for name in "ab")
    heard = (await lab.node("c").state())["ports"][0]["received"]
    trial.equal(HEARS, heard, talk)
    link = await lab.link("a-device").state()
    corrupted = sum(side["measured"]["corrupted"] for side in link["directions"])
    came = [each for each in trial.events("link:frame_received", "b") if each["data"]["length"] > 100]
    numbers = f"the link turned a bit in {corrupted} frame; b received {len(came)} frames with data"
    trial.expect(PASSES, corrupted == 1 and len(came) > trial["octets"] // 1448, numbers)
    dropped = [event["data"]["reason"] for event in trial.events("transport:segment_dropped", "b")]
    trial.equal(CAUGHT, dropped, ["bad_checksum"])
    trial.equal(REPAIRED, len(trial.segments("a", trigger="retransmission")), 1)
    serving.cancel()
