"""A host of ours for TCP tests: a stack on a packet socket, with programs that are told line by line what to do.

    stdin   echo 7                                   stdout   {"ready": true}
            connect 10.0.0.1 5000 send=1000                   {"started": 0}
            state                                             {"state": {...}}
            close 0 shutdown                                  {"closed": 0}    a `connect`, see `close=` below
                                                              {"done": 1, "result": {"received": 0, ...}}
            end of file: the last state, and the end

    echo PORT                     back what comes                     http PORT   GET /SIZE, HTTP/1.1, keep-alive
    bytes PORT SIZE               the pattern, then FIN               relay PORT HOST PORT   both ways, half-close too
    sink PORT                     counts and hashes                   connect HOST PORT [count= from=]

A sink and `connect` take `pause=SECONDS`, how long they do not read; `bytes` and `connect` take `send=OCTETS` and
`close=HOW`, see `Exchange`. `NAME=VALUE` of socket options (times in seconds) may follow. Programs that listen end with
the host; `connect` is done when all its connections are over.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from time import monotonic_ns

from nodes.contract import InterfaceConfig, NodeConfig
from nodes.errors import StackError
from nodes.io.memory import keep_freed_memory
from nodes.io.packet_socket import PacketSocket
from nodes.io.reactor import Reactor
from nodes.stack import Stack
from nodes.trace.events import NullTracer
from nodes.transport.tcp.settings import SocketOptions
from nodes.units import SECOND
from nodes.wire.addresses import ANY, parse_ip4
from tests.system.tcp_talks import Echo, Exchange, Http, Result, Talk, relay

FRAMES = 64
ROUNDS = 8
TIMES = ("user_timeout", "keepalive_idle", "keepalive_interval", "linger")


class Server:
    """Listens, and begins a talk for each connection."""

    def __init__(self, host: Host, port: int, options: dict[str, object], talk: Callable[..., Talk]) -> None:
        self._host = host
        self._talk = talk
        now = monotonic_ns()
        self._socket = host.stack.tcp.open()
        self._socket.owner = self
        for name, value in options.items():
            self._socket.set_option(name, value, now)
        self._socket.bind(ANY, port, now)
        self._socket.listen(256, now)
        self.results: list[Result] = []

    def ready(self, now: int) -> None:
        while (accepted := self._socket.accept()) is not None:
            self._talk(self._host, accepted, self.results.append).ready(now)

    def result(self) -> Result:
        return {"connections": self.results}


class Client:
    """Connects, as often as told, all at once."""

    def __init__(self, host: Host, number: int, address: str, port: int, words: dict[str, str]) -> None:
        self._host = host
        self._number = number
        self.results: list[Result] = []
        now = monotonic_ns()
        send, pause = int(words.pop("send", "0")), float(words.pop("pause", "0"))
        close, source = words.pop("close", "shutdown"), int(words.pop("from", "0"))
        self._count = int(words.pop("count", "1"))
        self._talks: list[Exchange] = []
        for _ in range(self._count):
            socket = host.stack.tcp.open()
            for name, value in options_of(words).items():
                socket.set_option(name, value, now)
            if source:
                socket.bind(ANY, source, now)
            self._talks.append(Exchange(host, socket, self._over, send=send, pause=pause, close=close))
            socket.connect(parse_ip4(address), port, now)

    def _over(self, result: Result) -> None:
        self.results.append(result)
        if len(self.results) == self._count:
            self._host.say({"done": self._number, "result": self.result()})

    def result(self) -> Result:
        return {"connections": self.results}

    def close(self, how: str, now: int) -> None:
        for talk in self._talks:
            talk.close = how
            talk.ready(now)


class Host:
    def __init__(self, arguments: argparse.Namespace) -> None:
        if arguments.offload:
            keep_freed_memory()
        self._port = PacketSocket(arguments.interface, offload=arguments.offload)
        tcp = dict(item.split("=") for item in arguments.set)
        interface = InterfaceConfig(
            arguments.interface,
            arguments.mac,
            (arguments.address,),
            arguments.mtu,
            address_check="none",
            offload=arguments.offload,
        )
        config = NodeConfig(
            "test", "ours", seed=arguments.seed, interfaces=(interface,), tcp={k: json.loads(v) for k, v in tcp.items()}
        )
        self.stack = Stack.from_config(config, Random(arguments.seed), NullTracer(), monotonic_ns())
        self.reactor = Reactor()
        self.reactor.on_deadline = self._time_out
        self.reactor.add(self._port.fileno(), self._receive)
        self.reactor.add(sys.stdin.fileno(), self._listen)
        self._programs: list[Server | Client] = []
        self._lines = b""

    def run(self) -> None:
        self.say({"ready": True})
        self.reactor.run()
        self.say({"state": self.state()})

    def say(self, value: dict[str, object]) -> None:
        print(json.dumps(value), flush=True)

    def state(self) -> dict[str, object]:
        return {
            "programs": [program.result() for program in self._programs],
            "port": self._port.snapshot(),
            "tcp": self.stack.tcp.snapshot(monotonic_ns()),
            "cpu": sum(os.times()[:2]),
        }

    def pump(self, now: int) -> None:
        stack, port = self.stack, self._port
        for _ in range(ROUNDS):
            ready = stack.drain_ready()
            for endpoint in ready:
                if isinstance(endpoint.owner, Talk | Server):
                    endpoint.owner.ready(now)
            frames = stack.transmit()
            for _, frame in frames:
                port.send(frame)
            if not ready and not frames:
                break
        self.reactor.set_deadline(stack.deadline())

    def _receive(self) -> None:
        frames = self._port.receive_batch(FRAMES)
        now = monotonic_ns()
        for frame in frames:
            self.stack.receive(0, frame, now)
        self.pump(now)

    def _time_out(self) -> None:
        now = monotonic_ns()
        self.stack.timeout(now)
        self.pump(now)

    def _listen(self) -> None:
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            self.reactor.stop()
            return
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            self._obey(line.decode().split())
        self.pump(monotonic_ns())

    def _obey(self, words: list[str]) -> None:
        if words == ["state"]:
            self.say({"state": self.state()})
            return
        if words[0] == "close":
            program = self._programs[int(words[1])]
            assert isinstance(program, Client)
            program.close(words[2], monotonic_ns())
            self.say({"closed": int(words[1])})
            return
        try:
            self._programs.append(self._start(words[0], words[1:]))
        except StackError as error:
            self.say({"failed": error.message, "error": errno.errorcode.get(error.errno, "")})
        else:
            self.say({"started": len(self._programs) - 1})

    def _start(self, kind: str, words: list[str]) -> Server | Client:
        values = dict(word.split("=") for word in words if "=" in word)
        words = [word for word in words if "=" not in word]
        if kind == "connect":
            return Client(self, len(self._programs), words[0], int(words[1]), values)
        if kind == "bytes":
            talk: Callable[..., Talk] = partial(Exchange, send=int(words[1]), close=values.pop("close", "shutdown"))
        elif kind == "sink":
            talk = partial(Exchange, pause=float(values.pop("pause", "0")), close="last")
        elif kind == "relay":
            talk = partial(relay, host=words[1], port=int(words[2]))
        else:
            talk = {"echo": Echo, "http": Http}[kind]
        return Server(self, int(words[0]), options_of(values), talk)


def options_of(values: dict[str, str]) -> dict[str, object]:
    known = SocketOptions()
    options: dict[str, object] = {}
    for name, text in values.items():
        if name in TIMES:
            options[name] = round(float(text) * SECOND)
        else:
            options[name] = text if isinstance(getattr(known, name), str) else json.loads(text)
    return options


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--interface", default="eth0")
    parser.add_argument("--address", default="10.0.0.2/24")
    parser.add_argument("--mac", default="02:5a:00:00:00:02")
    parser.add_argument("--mtu", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--offload", action="store_true")
    parser.add_argument("--set", action="append", default=[], help="a setting of TCP, NAME=VALUE of JSON")
    Host(parser.parse_args()).run()


if __name__ == "__main__":
    main()
