"""`python -m tests.benchmarks [NAME...] [--quick] [--json FILE]`: measure, print tables, write every sample."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    bring_up,
    docker_bring_up,
    forwarding,
    link_netem,
    link_relay,
    machine,
    mininet_driver,
    simulator,
    tcp_bulk,
    tcp_connections,
    tcp_frames,
    tcp_latency,
    tcp_segments,
    udp_echo,
)
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, markdown

BENCHMARKS: dict[str, tuple[Callable[[Settings], Report], str]] = {
    "bring_up": (bring_up.run, "N hosts on a switch until all answer, beside Mininet (10 minutes)"),
    "docker_bring_up": (docker_bring_up.run, "20 containers until all answer, beside docker-compose (3 minutes)"),
    "mininet_driver": (mininet_driver.run, "100 hosts of the mininet driver, beside Mininet and netns (2 minutes)"),
    "forwarding": (forwarding.run, "frames/s through our switch and router, beside the kernel's (5 minutes)"),
    "link_relay": (link_relay.run, "lateness of the relay at 1,000 to 20,000 frames/s, 1 and 10 links (2 minutes)"),
    "link_netem": (link_netem.run, "the same of the kernel's netem, in User Mode Linux (1 minute)"),
    "udp_echo": (udp_echo.run, "UDP requests/s, round trip times, datagrams/s, beside the kernel (2 minutes)"),
    "tcp_bulk": (tcp_bulk.run, "one TCP stream on links with offload, beside iperf3 (5 minutes)"),
    "tcp_frames": (tcp_frames.run, "the same in frames of 1500 octets, with loss, beside pmd-pytcp (12 minutes)"),
    "tcp_latency": (tcp_latency.run, "ping, TCP requests/s and their latencies, beside the kernel (3 minutes)"),
    "tcp_connections": (tcp_connections.run, "connections/s, and 10,000 idle ones, beside the kernel (3 minutes)"),
    "tcp_segments": (tcp_segments.run, "two stacks in one process: segments/s, idle connections (2 minutes)"),
    "simulator": (simulator.run, "virtual time: frame hops/s, 1,000 hosts for 10 minutes, idle networks (2 minutes)"),
}


def main() -> int:
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # labs are taken down on the way
    facts = machine.describe()
    reports, busy = [], []
    with tempfile.TemporaryDirectory(prefix="layerlab-bench-") as scratch:
        settings = Settings(Path(scratch), quick=arguments.quick, pytcp=not arguments.without_pytcp)
        for name in arguments.names or BENCHMARKS:
            busy.append(machine.busy_cores())
            report = BENCHMARKS[name][0](settings)
            reports.append(report)
            for table in report.tables:
                print(f"\n{markdown(table)}", flush=True)
            for failure in report.failures:
                print(f"{name}: {failure}", file=sys.stderr, flush=True)
    busy.append(machine.busy_cores())
    print(f"\nMachine: {machine.sentence(facts, busy)}")
    result = {
        "machine": facts,
        "busy_cores": busy,
        "quick": arguments.quick,
        "reports": [report.as_json() for report in reports],
    }
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"every sample: {arguments.json}", file=sys.stderr)
    return 1 if any(report.failures for report in reports) else 0


def _parse() -> argparse.Namespace:
    listing = "\n".join(f"  {name:<17}{text}" for name, (_, text) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure Layerlab beside Mininet, the Linux kernel and pmd-pytcp.",
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="all without one")
    parser.add_argument("--quick", action="store_true", help="one short round of the smallest sizes")
    parser.add_argument("--without-pytcp", action="store_true", help="do not install and measure pmd-pytcp")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks.json"), metavar="FILE", help="every sample (%(default)s)"
    )
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}, there are {', '.join(BENCHMARKS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
