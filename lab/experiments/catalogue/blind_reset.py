"""A reset by somebody who cannot hear the connection: one guess per window, or one per number.

Whoever knows the addresses and the ports of a connection can send a reset in its name; what he does not know is the
number. By RFC 793 any number in the receiver's window would do. With a window of W octets it takes 2^32 / W resets to
hit one, a moment's work for a fast link. RFC 5961 (3.2) therefore resets only for the number that is expected next: one
of 2^32. What else lies in the window is answered with a challenge: an acknowledgment, which makes a peer that is really
gone send a reset with the right number, and of which the attacker hears nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket

from lab.experiments.experiment import Variation, experiment
from lab.experiments.forging import forged_segment
from lab.experiments.trial import Trial

TOPOLOGY = """
name: blind-reset
defaults: {trace: packets, address_check: none}
nodes:
  client: {kind: host, tcp: {exact_resets: $exact, receive_buffer: $window}}
  server: host
  attacker: host
  s: {kind: switch, impl: stack}
links: [client -- s, server -- s, attacker -- s]
"""

PORT = 80
SPACE = 2**32
GUESSES = "of resets a window apart, as many as fill the space of numbers, one lies in the window"
CHALLENGE = "it is answered with a challenge, and the others with nothing"
LIVES = "the connection lives, and carries data"
EXACT = "the one number of 2^32 that is expected next ends it"


async def speak_when_told(port: int) -> None:
    """Say a word to the first connection as soon as there is a second one."""
    connections: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 2:
            connections[0].write(b"yes")
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            await reader.read()

    async with await asyncio.start_server(take, "0.0.0.0", port) as server:
        await server.serve_forever()


async def listen(host: str, port: int, window: int) -> bytes:
    """What comes on a connection with such a window, until it ends or is reset."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    writer.write(b"?")
    heard = b""
    with contextlib.closing(writer), contextlib.suppress(ConnectionResetError):
        while data := await reader.read(100):
            heard += data
    return heard


@experiment(
    topic="Opening a connection",
    claim="A blind reset takes 2^32 / window guesses where the window is enough, and 2^32 by RFC 5961.",
    look_at="the resets that the client drops, what it answers, and whether the connection lives",
    topology=TOPOLOGY,
    parameters={"exact": True, "window": 1 << 26},
    variations={
        "window-is-enough": Variation(
            "The client takes any number in its window, as RFC 793 has it: one of the guesses ends the connection.",
            {"exact": False},
            breaks=(CHALLENGE, LIVES, EXACT),
        ),
    },
)
async def blind_reset(trial: Trial) -> None:
    lab, client, attacker = trial.lab, trial.lab.node("client"), trial.lab.node("attacker")
    lab.node("server").start(speak_when_told, PORT)
    await lab.sleep(1)
    listening = client.start(listen, "server", PORT, trial["window"])
    said = await lab.wait_until("transport:segment_sent", node="client", length=1)
    await lab.sleep(0.5)
    window, port = said["data"]["window"], said["data"]["source_port"]
    server = (lab.node("server").address, PORT)
    begun, guesses = lab.now * 1000, math.ceil(SPACE / window)
    for guess in range(guesses):
        await attacker.send_frame(forged_segment(attacker, server, client, port, "RST", guess * window))
    await lab.sleep(1)
    resets = [event["data"] for event in trial.segments("client", sent=False, flags="RST") if event["time"] >= begun]
    expected = trial.segments("client")[-1]["data"]["acknowledgment"]
    hits = sum((each["sequence"] - expected) % SPACE < window for each in resets)
    numbers = f"theory 1 of 2^32 / {window:,} = {SPACE / window:.1f}, seen {hits} of {len(resets)}"
    trial.expect(GUESSES, len(resets) == guesses and 1 <= hits <= 2, numbers)
    answers = [event["data"]["flags"] for event in trial.segments("client") if event["time"] >= begun]
    trial.equal(CHALLENGE, answers, ["ACK"] * hits)

    _, writer = await attacker.connect("server", PORT)  # which tells the server to speak
    await lab.sleep(2)
    came = [event for event in trial.segments("client", sent=False, length=3) if event["time"] >= begun]
    alive = not trial.events("transport:connection_state_updated", "client", new="closed")
    trial.expect(LIVES, alive and len(came) == 1, f"expected open, seen {'open' if alive else 'reset'}")
    exact = trial.segments("client")[-1]["data"]["acknowledgment"]
    again = lab.now * 1000
    await attacker.send_frame(forged_segment(attacker, server, client, port, "RST", exact))
    await listening.wait()
    closed = trial.events("transport:connection_state_updated", "client", new="closed")
    late = [each for each in closed if each["time"] >= again]
    trial.expect(EXACT, len(late) == 1, f"expected 1 guess of {SPACE:,}, seen {len(late)} that did it")
    writer.close()
