"""What a person asks of a node from inside its container: `docker compose exec a lab-node ping b`.

    lab-node ping DESTINATION [option=value ...]      echo requests, by the node's own stack
    lab-node traceroute DESTINATION [option=value ...]
    lab-node run APPLICATION [option=value ...]       any application, until it ends: source, tcp_echo ...
    lab-node start APPLICATION [option=value ...]     the same, and leave it running
    lab-node capture [stop]                           record frames as pcapng, beside the node's trace
    lab-node state                                    all that the node knows of itself

What is printed is one JSON object per line, `state` a JSON text to read. Options are those of `lab start`, such as
count=3. Exit codes are those of `lab`: 2 for wrong words, 6 where the node refuses or does not answer, 7 for a ping
without any reply.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence

from nodes.application import catalogue
from nodes.errors import MisuseError
from nodes.io.control import ControlClient, ControlError

USAGE_EXIT = 2
NODE_EXIT = 6
VERDICT_EXIT = 7
CONNECT_SECONDS = 20.0
"""A container that has just been started needs some time before its node listens."""

Options = dict[str, catalogue.Value]
Command = Callable[[ControlClient, Sequence[str]], int]


class UsageError(Exception):
    """The text says what was expected."""


def main(address: str, words: Sequence[str]) -> int:
    """One command, and its exit code. `address` is the node's control socket."""
    try:
        command = COMMANDS[words[0]]
        with _connected(address) as client:
            return command(client, words[1:])
    except UsageError as error:
        print(f"error: {error}\n\n{__doc__}", file=sys.stderr)
        return USAGE_EXIT
    except MisuseError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_EXIT
    except ControlError as error:
        print(f"error: {error}", file=sys.stderr)
        return NODE_EXIT
    except OSError as error:
        print(f"error: the node does not listen: {error.strerror or error}", file=sys.stderr)
        return NODE_EXIT


def _connected(address: str) -> ControlClient:
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return ControlClient.connect(address)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _ping(client: ControlClient, words: Sequence[str]) -> int:
    result = _run_application(client, "ping", _destination(words, "ping"))
    return 0 if result["received"] else VERDICT_EXIT


def _traceroute(client: ControlClient, words: Sequence[str]) -> int:
    result = _run_application(client, "traceroute", _destination(words, "traceroute"))
    return 0 if result.get("reached", True) else VERDICT_EXIT


def _run(client: ControlClient, words: Sequence[str]) -> int:
    _run_application(client, *_application(words))
    return 0


def _start(client: ControlClient, words: Sequence[str]) -> int:
    application, options = _application(words)
    result, _ = client.call("start", {"application": application, "options": options})
    print(json.dumps(result))
    return 0


def _capture(client: ControlClient, words: Sequence[str]) -> int:
    if list(words) not in ([], ["stop"]):
        raise UsageError("`capture` begins a capture, `capture stop` ends it")
    result, _ = client.call("capture_stop" if words else "capture_start")
    print(json.dumps(result))
    return 0


def _state(client: ControlClient, words: Sequence[str]) -> int:
    if words:
        raise UsageError("`state` takes nothing")
    result, _ = client.call("state")
    print(json.dumps(result, indent=2))
    return 0


COMMANDS: dict[str, Command] = {
    "ping": _ping,
    "traceroute": _traceroute,
    "run": _run,
    "start": _start,
    "capture": _capture,
    "state": _state,
}


def _run_application(client: ControlClient, application: str, options: Options) -> dict[str, object]:
    """Its events as they come, then its result."""
    stream = client.stream("run", {"application": application, "options": options})
    for event in stream:
        print(json.dumps(event), flush=True)
    print(json.dumps(stream.result), flush=True)
    return stream.result


def _destination(words: Sequence[str], application: str) -> Options:
    if not words or "=" in words[0]:
        raise UsageError("a destination is missing: the name of a node, or an address")
    return {"to": words[0], **_options(application, words[1:])}


def _application(words: Sequence[str]) -> tuple[str, Options]:
    if not words or "=" in words[0]:
        raise UsageError("the kind of an application is missing")
    return words[0], _options(words[0], words[1:])


def _options(application: str, words: Sequence[str]) -> Options:
    """Values of the types that the application's options have. A word that is not of the type goes as it is, and the
    node says what is allowed. Raises MisuseError for an application that does not exist."""
    known = catalogue.find(application).options
    options: Options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{word!r} is not an option: write option=value")
        options[name] = _value(known[name].type if name in known else str, text)
    return options


def _value(kind: type, text: str) -> catalogue.Value:
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    try:
        return kind(text)  # type: ignore[no-any-return]
    except ValueError:
        return text
