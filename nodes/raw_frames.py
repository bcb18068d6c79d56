"""Frames that somebody else has made, sent as they are by an interface of a node, as an attacker's packet socket does.

They go the way of the stack's own frames: into captures, past a partition, through the link's impairments. The stack
knows nothing of them, and the interface's own address need not be their source.
"""

from __future__ import annotations

import difflib
import errno

from nodes.contract import NodeConfig
from nodes.errors import MisuseError, UnreachableError
from nodes.wire import ethernet, ipv4


def check_frame(config: NodeConfig, interface: str | None, frame: bytes) -> int:
    """The port that it goes out by; `interface` None: by the only one. Raises MisuseError where the node's stack is
    the kernel's, for an interface that it does not have, and for what is too short to be a frame."""
    if config.stack != "layerlab":
        raise MisuseError(
            f"the stack of {config.name} is the kernel's: frames of others go through ours only",
            hint="run a Linux program there that sends them",
        )
    names = [each.name for each in config.interfaces]
    port = _port(config.name, names, interface)
    found = config.interfaces[port]
    plain = found.kind == "ip"
    lowest, kind = (ipv4.HEADER_LENGTH, "packet") if plain else (ethernet.HEADER_LENGTH, "frame")
    if len(frame) < lowest:
        raise MisuseError(f"a {kind} of {len(frame)} octets on {found.name}, at least {lowest} expected")
    return port


def not_taken(interface: str, reason: str) -> UnreachableError:
    """The error for a frame that the link did not take: `reason` is the name of an errno."""
    why = {"ENETDOWN": "it is down", "EMSGSIZE": "it is longer than the MTU", "ENOBUFS": "its queue is full"}
    number = getattr(errno, reason, errno.EIO)
    return UnreachableError(f"{interface} does not take the frame: {why.get(reason, reason)}", errno=number)


def _port(node: str, names: list[str], interface: str | None) -> int:
    known = f"it has {', '.join(names) or 'none'}"
    if interface is None:
        if len(names) != 1:
            raise MisuseError(f"a frame of {node}, by which interface?", hint=known)
        return 0
    if interface not in names:
        near = difflib.get_close_matches(interface, names, n=1)
        raise MisuseError(
            f"{node} has no interface {interface!r}", hint=f"did you mean {near[0]!r}?" if near else known
        )
    return names.index(interface)
