"""ARQ in a lab of processes: a bad link loses nothing for those above, and captures hold nothing that tshark minds."""

from __future__ import annotations

import pytest

from tests.system.conftest import Needs
from tests.system.labs import Labs
from tests.system.observe import Bench, complaints, events_of, last_state, tshark

TOPOLOGY = """\
name: arq
defaults: {capture: true, impair_by: relay, trace: packets}
nodes: {a: host, r: router, b: host}
links:
  - {ends: [a, r], name: bad, arq: {kind: KIND, timeout: 100ms}, impair: {delay: 2ms, loss: 10%, corrupt: 10%}}
  - {ends: [r, b], name: good, arq: KIND}
"""
ARQ = "eth.type == 0x88b5 && data.data[0:1] == 00"


@pytest.mark.parametrize("kind", ["stop-and-wait", "go-back-n", "selective-repeat"])
def test_pings_do_not_see_the_losses(labs: Labs, needs: Needs, kind: str) -> None:
    needs("veth", "packet sockets", "tshark")
    with Bench(labs, labs.up(TOPOLOGY.replace("KIND", kind))) as bench:
        said = labs.run("ping", "--lab", bench.name, "a", "b", "--count", "30", "--interval", "0.02", "--size", "1458")
        assert "30 received" in said.out.replace("replies", "received"), said.out
        state = bench.state("a")["interfaces"][0]
        assert state["mtu"] == 1486
        assert not state["offload"]
        assert state["arq"]["counters"]["retransmitted"] > 0
        assert state["arq"]["sender"]["state"] == "connected"
        folder = bench.folder
        labs.run("down", bench.name, code=0)
    counters = last_state(folder, "r")["device"]["interfaces"][0]["arq"]["counters"]
    assert counters["corrupt"] == len(events_of(folder, "r", "link:arq_frame_dropped", reason="corrupt")) > 0
    assert complaints(folder) == []
    (capture,) = folder.glob("nodes/b/capture*.pcapng")
    frames = tshark(capture, ARQ)
    assert len(frames) >= 60  # 30 requests and their answers
    assert all(line.split()[5] == "0x88b5" for line in frames), frames[0]
