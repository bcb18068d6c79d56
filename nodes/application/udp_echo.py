"""udp_echo: sends every datagram back to where it came from (RFC 862).

The answer leaves from the address that the request came to (RFC 1122 section 4.1.3.5), unless that was a broadcast or
a group. Two echo services that answer each other would never stop, and one forged datagram starts them: requests from
the ports of services that answer anything are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.application.base import Node, Reports, option, resolve
from nodes.errors import StackError
from nodes.transport.udp import Received
from nodes.wire.addresses import ANY, format_ip4

ANSWERING_PORTS = frozenset({7, 13, 17, 19, 37})
"""echo, daytime, quote of the day, character generator, time (RFC 862 to 868)."""


@dataclass(frozen=True, slots=True)
class UdpEchoOptions:
    port: int = option("port to listen on", 7, minimum=1, maximum=65535)
    address: str = option("address to listen on; empty for all", "")


class UdpEcho:
    """The echo service on one port."""

    kind = "udp_echo"

    def __init__(self, node: Node, options: UdpEchoOptions) -> None:
        self._options = options
        self._address = resolve(node, options.address) if options.address else ANY
        self._report = Reports()
        self._datagrams = self._octets = self._refused = self._failed = 0
        self.done = False
        self._socket = node.udp.open()
        self._socket.owner = self

    def start(self, now: int) -> None:
        self._socket.bind(self._address, self._options.port, now)
        self._report("listening", address=format_ip4(self._address), port=self._options.port)

    def ready(self, now: int) -> None:
        while not self.done and (received := self._socket.receive()) is not None:
            if received.source_port in ANSWERING_PORTS or not received.source_port:
                self._refused += 1
            else:
                self._answer(received, now)

    def timeout(self, now: int) -> None:
        """Nothing here waits."""

    def deadline(self) -> int | None:
        return None

    def stop(self, now: int) -> None:
        if not self.done:
            self.done = True
            self._socket.close(now)

    def outputs(self) -> list[dict[str, object]]:
        return self._report.drain()

    def result(self) -> dict[str, object]:
        return {
            "datagrams": self._datagrams,
            "octets": self._octets,
            "refused": self._refused,
            "failed": self._failed,
        }

    def _answer(self, received: Received, now: int) -> None:
        """An answer that cannot leave is counted, and does not end the service."""
        try:
            self._socket.answer(received, received.data, now)
        except StackError:
            self._failed += 1
            return
        self._datagrams += 1
        self._octets += len(received.data)
