"""What a supervisor answers on its control socket: the methods, one function each.

The framing is that of the agents (docs/control-protocol.md). Errors carry the exit code of their class, so that the
command line can end with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from struct import error as StructError  # noqa: N812 - a number that the kernel's message has no room for
from typing import Any, Protocol

from lab.drivers.abilities import Verb, require
from lab.drivers.base import Driver
from lab.engine.links_table import LinkTable
from lab.engine.links_trace import LinksTrace
from lab.engine.nodes_table import NodeTable
from lab.engine.runs import Run
from lab.errors import LabError, UserInputError
from lab.plan.values import Plan
from nodes import impairment
from nodes.io.control import Request
from nodes.io.reactor import Reactor
from nodes.wire.ipv4 import MAXIMUM_LENGTH

Method = Callable[[Request, Mapping[str, Any]], None]


class Served(Protocol):
    """What there is to ask about. `reactor` is the loop that ends when the lab is to go down."""

    plan: Plan
    run: Run
    driver: Driver
    nodes: NodeTable
    links: LinkTable
    links_trace: LinksTrace
    reactor: Reactor


class SupervisorMethods:
    """Serves one lab."""

    def __init__(self, supervisor: Served) -> None:
        self._plan = supervisor.plan
        self._run = supervisor.run
        self._driver = supervisor.driver
        self._nodes = supervisor.nodes
        self._links = supervisor.links
        self._links_trace = supervisor.links_trace
        self._reactor = supervisor.reactor
        self._methods: dict[str, Method] = {
            "status": self._status,
            "connect": self._connect,
            "enter": self._enter,
            "node_state": self._node_state,
            "stop": self._stop,
            "start": self._start,
            "pause": self._pause,
            "resume": self._resume,
            "link": self._link,
            "flap": self._flap,
            "impair": self._impair,
            "links": self._links_state,
            "follow": self._follow,
            "flush": self._flush,
            "down": self._down,
        }

    def handle(self, request: Request) -> None:
        method = self._methods.get(request.method)
        if method is None:
            request.error("unknown-method", f"no method {request.method!r}", f"known: {', '.join(self._methods)}")
            return
        try:
            method(request, request.params)
        except LabError as error:
            request.error(f"exit_{error.exit_code}", error.message, error.hint)
        except (KeyError, TypeError, ValueError, StructError) as error:
            request.error("bad-params", f"{request.method}: wrong or missing parameter: {error}", "")

    def _status(self, request: Request, _: Mapping[str, Any]) -> None:
        plan = self._plan
        nodes = []
        for node in plan.nodes:
            entry = self._nodes.entry(node.name)
            nodes.append(
                {
                    "name": node.name,
                    "kind": node.kind,
                    "stack": node.stack,
                    "state": entry.state,
                    "exit_status": entry.exit_status,
                    "agent": self._nodes.has_agent(node.name),
                    "addresses": plan.addresses_of(node.name),
                }
            )
        links = [
            {
                "name": name,
                "ends": [str(entry.plan.a), str(entry.plan.b)],
                "up": entry.up,
                "impaired_by": entry.executor.name if entry.executor is not None else None,
                "reason": entry.reason,
            }
            for name, entry in self._links.entries.items()
        ]
        request.result(
            {
                "lab": plan.lab,
                "driver": self._driver.name,
                "cannot": dict(self._driver.cannot),
                "run": str(self._run.folder),
                "seed": plan.seed,
                "nodes": nodes,
                "links": links,
            }
        )

    def _connect(self, request: Request, params: Mapping[str, Any]) -> None:
        """Pass a new connection to a node's agent."""
        node = self._nodes.entry(params["node"]).name
        link = self._driver.connect(node)
        request.result({"node": node}, fds=[link.fileno()])
        link.close()

    def _enter(self, request: Request, params: Mapping[str, Any]) -> None:
        """Pass the namespaces of a node, in the order in which to join them. `verb` says what for."""
        verb: Verb = "copy" if params.get("verb") == "copy" else "exec"
        require(self._driver, verb, params["node"])
        entrance = self._driver.entrance(self._nodes.entry(params["node"]).name)
        named = {
            "user": entrance.user,
            "mount": entrance.mount,
            "pid": entrance.pid,
            "network": entrance.network,
            "uts": entrance.uts,
        }
        present = {name: descriptor for name, descriptor in named.items() if descriptor is not None}
        hosts = dict(self._plan.by_name[params["node"]].hosts)
        request.result({"namespaces": list(present), "hosts": hosts}, fds=list(present.values()))
        for descriptor in present.values():
            os.close(descriptor)

    def _node_state(self, request: Request, params: Mapping[str, Any]) -> None:
        node = self._nodes.entry(params["node"]).name
        request.result(self._driver.node_state(node))

    def _stop(self, request: Request, params: Mapping[str, Any]) -> None:
        require(self._driver, "restart", params["node"])
        self._nodes.stop(params["node"], kill=bool(params.get("kill", False)))
        request.result({"node": params["node"], "state": "stopped"})

    def _start(self, request: Request, params: Mapping[str, Any]) -> None:
        name = params["node"]
        require(self._driver, "restart", name)
        self._nodes.start(name)
        self._nodes.wait_for_answer(name, timeout=10.0)
        request.result({"node": name, "state": "running"})

    def _pause(self, request: Request, params: Mapping[str, Any]) -> None:
        require(self._driver, "pause", params["node"])
        self._nodes.pause(params["node"], paused=True)
        request.result({"node": params["node"], "state": "paused"})

    def _resume(self, request: Request, params: Mapping[str, Any]) -> None:
        require(self._driver, "pause", params["node"])
        self._nodes.pause(params["node"], paused=False)
        request.result({"node": params["node"], "state": "running"})

    def _link(self, request: Request, params: Mapping[str, Any]) -> None:
        name, up, mtu = params["link"], params.get("up"), params.get("mtu")
        require(self._driver, "link", name)
        least = self._links.entry(name).plan.least_mtu
        if mtu is not None and not least <= mtu <= MAXIMUM_LENGTH:
            raise UserInputError(f"an MTU of {mtu} octets", hint=f"{least} to {MAXIMUM_LENGTH} are possible (RFC 791)")
        ended = up is not None and self._links.end_flaps(name)
        self._links.set_link(name, up=up, mtu=mtu, trigger="command")
        request.result({"link": name, "up": self._links.entry(name).up, "flaps_ended": ended})

    def _flap(self, request: Request, params: Mapping[str, Any]) -> None:
        require(self._driver, "link", params["link"])
        self._links.flap(params["link"], params["down"], params["every"], params["times"])
        request.result({"link": params["link"]})

    def _impair(self, request: Request, params: Mapping[str, Any]) -> None:
        """Merge a patch, as `asked` of the method `links` has it, or put it in the place of all."""
        name = params["link"]
        require(self._driver, "impair", name)
        try:
            patch = impairment.decode_patch(params["patch"])
        except ValueError as error:
            raise UserInputError(f"not an impairment: {error}") from None
        self._links.impair(name, params["directions"], patch, "command", replace=params["replace"])
        request.result(self._links.state(name))

    def _links_state(self, request: Request, params: Mapping[str, Any]) -> None:
        """What links are asked to do, and what they did; of all opened ones, or of those named."""
        opened = [name for name, entry in self._links.entries.items() if entry.executor is not None]
        states = {name: self._links.state(name) for name in params.get("links") or opened}
        request.result({"links": states, "verdict": self._links.verdict(states)})

    def _follow(self, request: Request, _: Mapping[str, Any]) -> None:
        """Events of the links, as they happen, until cancelled."""
        listener = request.event
        self._links_trace.follow(listener)

        def end() -> None:
            self._links_trace.unfollow(listener)
            request.result({})

        request.on_cancel = end

    def _flush(self, request: Request, _: Mapping[str, Any]) -> None:
        """Answer when all events of links so far can be read in their trace."""
        self._links_trace.flush()
        request.result({})

    def _down(self, request: Request, _: Mapping[str, Any]) -> None:
        """Answer, then end: the caller waits for the supervisor's own end."""
        request.result({"run": str(self._run.folder)})
        self._reactor.stop()
