"""RARP in a lab (RFC 903): a host that knows nothing but its MAC address asks for the rest."""

from __future__ import annotations

from pathlib import Path

from tests.system.conftest import Needs
from tests.system.labs import Labs, wait_for
from tests.system.observe import PATIENCE, Bench, tshark

TOPOLOGY = Path(__file__).parents[2] / "topologies/rarp.yml"
MAC = "02:00:00:00:09:03"
ALONE = f"""\
name: rarp
defaults: {{capture: true}}
nodes:
  server: {{kind: host, address: 10.0.0.1/24, rarp_server: true}}
  diskless: {{kind: host, address: rarp, interfaces: {{eth0: {{mac: "{MAC}"}}}}}}
  s1: switch
links:
  - {{ends: [server, s1], name: cable, up: false}}
  - diskless -- s1
"""


def own_addresses(bench: Bench) -> list[str]:
    return list(bench.state("diskless")["interfaces"][0]["addresses"])


def test_the_topology(labs: Labs) -> None:
    """The diskless host gets the address that the plan gave it, says so in its events, and is reached by its name."""
    with Bench(labs, labs.up(TOPOLOGY.read_text())) as bench:
        wait_for(lambda: bool(own_addresses(bench)), PATIENCE)
        assert own_addresses(bench) == ["10.0.0.2/24"]
        for source, target in (("diskless", "server"), ("other", "diskless"), ("diskless", "other")):
            assert labs.reaches(bench.name, source, target)
        asked = bench.wait_for_event("diskless", "link:address_updated", old="none", new="requesting")
        got = bench.wait_for_event("diskless", "link:address_updated", address="10.0.0.2", new="announced")
        server = bench.state("server")["interfaces"][0]["mac"]
        assert got["data"]["trigger"] == f"rarp reply of {server}"
        assert asked["time"] <= got["time"]
        status = {row["name"]: row["addresses"] for row in labs.status(bench.name)["nodes"]}
        assert status["diskless"] == ["10.0.0.2/24"]


def test_no_server(labs: Labs, needs: Needs) -> None:
    """Without an answer the host has no address and says so; it goes on asking until the server is there."""
    needs("tshark")
    with Bench(labs, labs.up(ALONE)) as bench:
        bench.wait_for_event("diskless", "link:address_updated", new="requesting")
        assert own_addresses(bench) == []
        done = labs.run("ping", "--lab", bench.name, "diskless", "server", "-c", "1", "-W", "0.5", code=7)
        assert "no route to 10.0.0.1" in done.out
        assert "no reply from server" in done.err
        bench.client.set_link("cable", up=True)
        wait_for(lambda: own_addresses(bench) == ["10.0.0.2/24"], PATIENCE)
        assert labs.reaches(bench.name, "diskless", "server")
        labs.run("down", bench.name, code=0)
        path = bench.folder / "nodes/diskless/capture.pcapng"
        operations = tshark(
            path, "arp.opcode == 3 || arp.opcode == 4", "-T", "fields", "-e", "arp.opcode", "-e", "eth.dst"
        )
        assert operations[0] == "3\tff:ff:ff:ff:ff:ff"
        assert operations[-1] == f"4\t{MAC}"
        assert operations.count(operations[0]) >= 1
