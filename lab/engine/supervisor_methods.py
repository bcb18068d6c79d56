"""What a supervisor answers on its control socket: the methods, one function each.

The framing is that of the agents (docs/control-protocol.md). Errors carry the exit code of their class, so that the
command line can end with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from lab.drivers.base import Driver
from lab.engine.nodes_table import NodeTable
from lab.engine.runs import Run
from lab.errors import LabError, UserInputError
from lab.plan.values import Plan
from nodes.io.control import Request
from nodes.io.reactor import Reactor
from nodes.network.fragmentation import MINIMUM_MTU
from nodes.wire.ipv4 import MAXIMUM_LENGTH

Method = Callable[[Request, Mapping[str, Any]], None]


class SupervisorMethods:
    """Serves one lab. `reactor` is the loop that ends when the lab is to go down."""

    def __init__(self, plan: Plan, run: Run, driver: Driver, nodes: NodeTable, reactor: Reactor) -> None:
        self._plan = plan
        self._run = run
        self._driver = driver
        self._nodes = nodes
        self._reactor = reactor
        self._links_down: set[str] = set()
        self._methods: dict[str, Method] = {
            "status": self._status,
            "connect": self._connect,
            "enter": self._enter,
            "node_state": self._node_state,
            "stop": self._stop,
            "start": self._start,
            "link": self._link,
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
        except (KeyError, TypeError) as error:
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
            {"name": link.name, "ends": [str(link.a), str(link.b)], "up": link.name not in self._links_down}
            for link in plan.links
        ]
        request.result(
            {
                "lab": plan.lab,
                "driver": self._driver.name,
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
        """Pass the namespaces of a node, in the order in which to join them."""
        entrance = self._driver.entrance(self._nodes.entry(params["node"]).name)
        named = {
            "user": entrance.user,
            "mount": entrance.mount,
            "pid": entrance.pid,
            "network": entrance.network,
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
        self._nodes.stop(params["node"], kill=bool(params.get("kill", False)))
        request.result({"node": params["node"], "state": "stopped"})

    def _start(self, request: Request, params: Mapping[str, Any]) -> None:
        name = params["node"]
        self._nodes.start(name)
        self._nodes.wait_for_answer(name, timeout=10.0)
        request.result({"node": name, "state": "running"})

    def _link(self, request: Request, params: Mapping[str, Any]) -> None:
        name, up, mtu = params["link"], params.get("up"), params.get("mtu")
        names = [link.name for link in self._plan.links]
        if name not in names:
            raise UserInputError(f"no link {name!r} in this lab", hint=f"its links: {', '.join(names)}")
        if mtu is not None and not MINIMUM_MTU <= mtu <= MAXIMUM_LENGTH:
            raise UserInputError(
                f"an MTU of {mtu} octets", hint=f"{MINIMUM_MTU} to {MAXIMUM_LENGTH} are possible (RFC 791)"
            )
        self._driver.set_link(name, up=up, mtu=mtu)
        if up is not None:
            (self._links_down.discard if up else self._links_down.add)(name)
        request.result({"link": name, "up": name not in self._links_down})

    def _down(self, request: Request, _: Mapping[str, Any]) -> None:
        """Answer, then end: the caller waits for the supervisor's own end."""
        request.result({"run": str(self._run.folder)})
        self._reactor.stop()
