"""`lab sockets`: the sockets of a node, with all that TCP knows of each connection, as `ss -tuina` shows a kernel's.

    TYPE STATE         RECV-Q   SEND-Q  LOCAL                  REMOTE
    tcp  listen             0      128  0.0.0.0:9              *
    tcp  established        0    65160  10.0.0.1:64736         10.0.0.2:9
          cubic (slow_start), ts sack ecn wscale:7,7
          mss 1448, path mtu 1500, windows 4.19 MB out, 65.5 kB in
          cwnd 14.5 kB, ssthresh -, in flight 1.45 kB
          rtt 0.412, var 0.101, min 0.283, rto 1000 ms
          acked 100 MB, received 0 B, segments 846 out, 964 in
          timers: retransmission in 0.998 s

RECV-Q is what waits to be read, SEND-Q what is not acknowledged yet. Of a listening socket they are the connections
that wait to be accepted, and how many may.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, NodeArgument, open_lab, status_of
from lab.cli.output import amount, milliseconds, print_json, terminal_width, wrapped
from lab.engine.client import AgentClient, LabClient
from lab.engine.inside import run_inside
from lab.errors import EnvironmentLackError, UserInputError

KERNEL_COMMAND = ["ss", "-tuina"]
CLEAR = "\x1b[H\x1b[2J"
_INDENT = " " * 6


def main(
    node: NodeArgument,
    watch: Annotated[
        float | None,
        typer.Option("--watch", "-w", metavar="SECONDS", min=0.1, help="Show them again so often, until Ctrl-C."),
    ] = None,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Show a node's TCP and UDP sockets: states, queues, windows, round trip times, timers, what was sent again.

    For a node with the kernel's stack, what `ss` says. --json has everything, times in nanoseconds."""
    client = open_lab(lab)
    status = status_of(client, node)
    if status.kind not in ("host", "router"):
        raise UserInputError(f"{node!r} is a {status.kind}, it has no sockets", hint="hosts and routers have")
    if status.stack == "kernel":
        _kernel(client, node, json or watch is not None)
    with client.agent(node) as agent:
        if watch is None:
            _print(_sockets(agent), json)
            return
        _watch(agent, watch, json)


def _kernel(client: LabClient, node: str, wants_more: bool) -> None:
    """Ends this command with `ss`'s exit code."""
    if wants_more:
        raise UserInputError(
            f"{node!r} has the kernel's stack, whose sockets are shown as `ss` prints them",
            hint=f"without --json and --watch, or `lab exec {node} -- ss -tuina`",
        )
    if shutil.which(KERNEL_COMMAND[0]) is None:
        raise EnvironmentLackError(
            f"{node!r} has the kernel's stack, and there is no `ss` to ask it", hint="it is in the package iproute2"
        )
    raise typer.Exit(run_inside(client.enter(node), node, KERNEL_COMMAND))


def _watch(agent: AgentClient, interval: float, json: bool) -> None:
    try:
        while True:
            if sys.stdout.isatty() and not json:
                print(CLEAR, end="")
            _print(_sockets(agent), json)
            sys.stdout.flush()
            time.sleep(interval)
            if not json:
                print()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # the usual way to end it, no mistake


def _sockets(agent: AgentClient) -> dict[str, Any]:
    device = agent.call("state")["device"]
    tcp = {name: value for name, value in device["tcp"].items() if name != "counters"}
    return {"node": agent.node, "tcp": tcp, "udp": device["udp"]["sockets"]}


def _print(sockets: dict[str, Any], json: bool) -> None:
    if json:
        print_json(sockets)
        return
    width = terminal_width(sys.stdout)
    for line in lines(sockets):
        print(wrapped(line, width, indent=2))


def lines(sockets: dict[str, Any]) -> Iterator[str]:
    """The table, at most 80 columns wide; below each connection what TCP knows of it."""
    tcp = sockets["tcp"]
    yield _row("TYPE", "STATE", "RECV-Q", "SEND-Q", "LOCAL", "REMOTE")
    for each in tcp["listeners"]:
        yield _row("tcp", "listen", each["waiting"], each["backlog"], each["local"], "*")
        if each["half_open"] or each["overflows"]:
            yield f"{_INDENT}half open {each['half_open']}, refused for want of room {each['overflows']}"
    for each in tcp["connections"]:
        queues = each.get("receive_queue", 0), each["send_queue"]
        yield _row("tcp", each["state"], *queues, each["local"], each["remote"])
        yield from (_INDENT + line for line in _details(each))
    for each in tcp["time_waits"]:
        yield _row("tcp", "time_wait", 0, 0, each["local"], each["remote"])
        yield f"{_INDENT}for another {each['expires_in'] / 1e9:.1f} s"
    hidden = tcp["connection_count"] + tcp["time_wait_count"] - len(tcp["connections"]) - len(tcp["time_waits"])
    if hidden:
        yield f"and {hidden} more"
    for each in sockets["udp"]:
        yield _row("udp", each["state"], each["waiting_octets"], 0, each["local"], each["remote"] or "*")


def _row(kind: str, state: str, received: object, sent: object, local: str, remote: str) -> str:
    return f"{kind:<4} {state:<11} {received:>8} {sent:>8}  {local:<21}  {remote}"


def _details(each: dict[str, Any]) -> Iterator[str]:
    """What is known of a connection; before its handshake that is little."""
    if "cwnd" in each:
        phase = each["congestion_state"].get("phase", each["recovery"]["state"])
        yield f"{each['congestion']} ({phase}), {' '.join(each['options']) or 'no options'}"
        yield (
            f"mss {each['mss']}, path mtu {each['path_mtu']}, "
            f"windows {amount(each['snd_wnd'])} out, {amount(each['rcv_wnd'])} in"
        )
        yield (
            f"cwnd {amount(each['cwnd'])}, ssthresh {_amount(each['ssthresh'])}, in flight {amount(each['in_flight'])}"
        )
    times = ", ".join(
        f"{name} {milliseconds(each[key])}"
        for name, key in (("rtt", "srtt"), ("var", "rttvar"), ("min", "min_rtt"))
        if each[key] is not None
    )
    yield f"{times or 'rtt -'}, rto {milliseconds(each['rto'])} ms"
    if "cwnd" in each:
        yield (
            f"acked {amount(each['acknowledged'])}, received {amount(each['received'])}, "
            f"segments {each['segments_out']} out, {each['segments_in']} in"
        )
        yield from _losses(each)
    timers = each["timers"]
    if timers:
        yield "timers: " + ", ".join(f"{name} in {value / 1e9:.3f} s" for name, value in timers.items())
    for key in ("error", "soft_error"):
        if each[key]:
            yield f"{key.replace('_', ' ')}: {each[key]}"


def _losses(each: dict[str, Any]) -> Iterator[str]:
    recovery = each["recovery"]
    words = [
        f"{name} {recovery[key]}"
        for name, key in (
            ("sent again", "retransmitted_segments"),
            ("timeouts", "timeouts"),
            ("probes", "probes"),
            ("needless", "undone"),
            ("marked", "ecn_reductions"),
        )
        if recovery[key]
    ]
    if each["out_of_order"]:
        words.append(f"out of order {amount(each['out_of_order'])}")
    if words:
        yield ", ".join(words)


def _amount(value: int | None) -> str:
    return "-" if value is None else amount(value)
