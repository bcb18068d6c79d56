"""A FIN that arrives before what is missing is acknowledged selectively, alone or behind data: its sender neither
sends it again nor waits for the timer where three acknowledgments came."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from lab.experiments.programs import sink

SEGMENT = 1448
TOPOLOGY = """\
name: fin
defaults: {trace: packets, address_check: none}
nodes:
  a: {kind: host, tcp: {rack: %s}}
  b: host
links:
  - {ends: [a, b], impair: {delay: 25ms, faults: [{drop: {sequence: 1449-1449}}]}}
"""


async def pour(host: str, octets: int, rest: float) -> None:
    """Send so many octets; the FIN goes with the last of them, or alone."""
    reader, writer = await asyncio.open_connection(host, 80)
    writer.write(bytes(octets))
    if rest:
        await asyncio.sleep(rest)
    writer.write_eof()
    await reader.read()
    writer.close()


@pytest.mark.parametrize("rack", ["true", "false"])
@pytest.mark.parametrize("rest", [0.0, 0.01], ids=["with the data", "alone"])
def test_the_lost_segment_alone_is_sent_again(tmp_path: Path, rest: float, rack: str) -> None:
    """Of four segments the second is lost: the others and the FIN are more octets than two segments have (RFC 6675)."""

    async def main(lab: Lab) -> tuple[list[dict[str, Any]], int]:
        lab.node("b").start(sink, 80)
        await lab.sleep(0.1)
        await lab.node("a").run(pour, "b", 4 * SEGMENT, rest)
        sent = [event["data"] for event in lab.events("a", "transport:segment_sent")]
        first = next(each["sequence"] for each in sent if "SYN" in each["flags"])
        timers = lab.events("a", "recovery:timer_updated", timer="retransmit", new="expired")
        again = [
            {"place": each["sequence"] - first, "trigger": each["trigger"]}
            for each in sent
            if each["trigger"] in ("retransmission", "probe")
        ]
        return again, len(timers)

    again, timers = Lab.run(main, TOPOLOGY % rack, driver="sim", runs=tmp_path)
    assert timers == 0
    assert again == [{"place": 1 + SEGMENT, "trigger": "retransmission"}]
