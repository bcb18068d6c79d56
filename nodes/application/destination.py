"""Where to connect to, as people write it: `server`, `10.0.0.1`, `server:80`."""

from __future__ import annotations

from nodes.application.base import Node, resolve
from nodes.errors import MisuseError
from nodes.wire.addresses import Ip4


def parse_destination(node: Node, text: str, port: int) -> tuple[Ip4, int]:
    """Address and port; `port` where the text names none. Raises MisuseError for a name of nobody or a port that is
    none."""
    host, separator, word = text.rpartition(":")
    if not separator:
        return resolve(node, text), port
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and 1 <= int(word) <= 65_535):
        raise MisuseError(f"{word!r} in {text!r} is no port", hint="ports are 1 to 65535: server:80")
    return resolve(node, host), int(word)
