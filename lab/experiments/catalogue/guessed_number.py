"""Who can predict where connections begin can reset a connection of others with one guess.

By RFC 793 the initial sequence number is a clock, the same for everybody. So an attacker opens a connection of his own
to the same server, sees its number, and knows to within a fraction of a second's ticks (250,000 a second) where the
server began with others. The segments that he sends in the server's name then lie in the client's window: Morris
described it in 1985, and it was used in 1994. With a keyed hash of addresses and ports on top of the clock (RFC 6528)
his own number tells him nothing. (RFC 5961, by which a reset has to hit the exact number, is off in the client here:
the random number alone has to do.)
"""

from __future__ import annotations

import asyncio
import contextlib

from lab.experiments.experiment import Variation, experiment
from lab.experiments.forging import forged_segment
from lab.experiments.programs import sink
from lab.experiments.trial import Trial, said

TOPOLOGY = """
name: guessed-number
defaults: {trace: packets, address_check: none, tcp: {ecn: false}}
nodes:
  client: {kind: host, tcp: {exact_resets: false, receive_buffer: $window}}
  server: {kind: host, tcp: {random_isn: $random}}
  attacker: host
  s: {kind: switch, impl: stack}
links: [client -- s, server -- s, attacker -- s]
"""

PORT = 80
SPACE = 2**32
APART = "the attacker's own number is nowhere near the client's"
MISSES = "a reset with it misses the client's window"
LIVES = "the connection lives"


async def listen(host: str, port: int) -> None:
    """Until the connection ends."""
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.closing(writer), contextlib.suppress(ConnectionResetError):
        await reader.read()


@experiment(
    topic="Opening a connection",
    claim="With initial numbers that cannot be predicted, one's own connection tells nothing about those of others.",
    look_at="the numbers of the server's two SYN-ACKs, and what becomes of the reset",
    topology=TOPOLOGY,
    parameters={"random": True, "window": 1 << 20},
    variations={
        "clock-alone": Variation(
            "The server's numbers are the clock's, as in RFC 793: one guess ends the connection.",
            {"random": False},
            breaks=(APART, MISSES, LIVES),
        ),
    },
)
async def guessed_number(trial: Trial) -> None:
    lab, client, attacker = trial.lab, trial.lab.node("client"), trial.lab.node("attacker")
    server = lab.node("server")
    server.start(sink, PORT)
    await lab.sleep(1)
    await attacker.ping(server, count=1)
    listening = client.start(listen, "server", PORT)
    await lab.wait_until("transport:connection_state_updated", node="client", new="established")
    _, writer = await attacker.connect(server, PORT)
    await lab.wait_until("transport:segment_received", node="attacker", flags="SYN,ACK")

    guess = next(event["data"]["sequence"] for event in trial.segments("attacker", sent=False, flags="SYN,ACK"))
    port = next(event["data"]["source_port"] for event in trial.segments("client") if said(event) == "client SYN")
    await attacker.send_frame(forged_segment(attacker, (server.address, PORT), client, port, "RST", guess))
    await lab.sleep(1)
    opened = next(event["data"]["sequence"] for event in trial.segments("client", sent=False, flags="SYN,ACK"))
    off, window = (guess - opened) % SPACE, trial["window"]
    numbers = f"theory half of 2^32 by chance, seen {min(off, SPACE - off):,} apart, the window is {window:,}"
    trial.expect(APART, min(off, SPACE - off) > window, numbers)
    dropped = trial.events("transport:segment_dropped", "client", flags="RST")
    trial.expect(MISSES, len(dropped) == 1, f"expected 1 reset dropped, seen {len(dropped)}")
    alive = not trial.events("transport:connection_state_updated", "client", new="closed")
    trial.expect(LIVES, alive, f"expected open, seen {'open' if alive else 'reset'}")
    writer.close()
    listening.cancel()
