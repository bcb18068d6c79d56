"""The rules of names.

A node name goes into file names, host names and the command line: letters, digits, `_`, `.`, `-`, at most 63
characters (a DNS label, RFC 1035 section 2.3.4), and it cannot be mistaken for an address. An interface name is the
kernel's: 1 to 15 characters (IFNAMSIZ is 16 with the final zero), without `/`, `:` and space, nor `%`, for which the
kernel puts a number of its own; `:` also separates node and interface in a link.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_NODE_NAME = 63
MAX_INTERFACE_NAME = 15

_NODE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_INTERFACE = re.compile(r"[!-$&-.0-9;-~]+")
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_RESERVED_INTERFACES = (".", "..", "lo")
_LINK = re.compile(r"\s*(\S+)\s+--\s+(\S+)\s*")


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """A validation error with a message and a hint of ours."""
    return PydanticCustomError("layerlab", "{message}", {"message": message, "hint": hint})


def node_name(name: str) -> str:
    if len(name) > MAX_NODE_NAME:
        raise wrong(f"the name {name!r} has {len(name)} characters, {MAX_NODE_NAME} are the most")
    if not _NODE.fullmatch(name):
        raise wrong(f"{name!r} is not a name", "letters, digits, '_', '.', '-', and the first a letter or a digit")
    if _ADDRESS.fullmatch(name):
        raise wrong(f"the name {name!r} looks like an address", "choose another name")
    return name


def is_node_name(name: str) -> bool:
    try:
        node_name(name)
    except PydanticCustomError:
        return False
    return True


def interface_name(name: str) -> str:
    if len(name) > MAX_INTERFACE_NAME:
        hint = f"the kernel allows {MAX_INTERFACE_NAME} characters"
        raise wrong(f"the interface name {name!r} has {len(name)} characters", hint)
    if not _INTERFACE.fullmatch(name):
        raise wrong(f"{name!r} is not an interface name", "1 to 15 characters without '/', ':', '%' and space")
    if name in _RESERVED_INTERFACES:
        raise wrong(f"the interface name {name!r} is taken by the system", "choose another name")
    return name


def end_of_link(text: str) -> str:
    """`node` or `node:interface`."""
    node, colon, interface = text.partition(":")
    node_name(node)
    if colon:
        interface_name(interface)
    return text


def split_link(text: str) -> tuple[re.Match[str], list[str]]:
    """`a:eth0 -- s1:p1` -> the match, for the places of its ends, and the two ends."""
    match = _LINK.fullmatch(text)
    if match is None:
        raise wrong(f"{text!r} is not a link", "write A -- B, or A:eth0 -- B:eth1, with spaces around '--'")
    return match, [match[1], match[2]]


NodeName = Annotated[
    str,
    AfterValidator(node_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NODE.pattern}$", "maxLength": MAX_NODE_NAME}),
]
InterfaceName = Annotated[
    str,
    AfterValidator(interface_name),
    WithJsonSchema({"type": "string", "pattern": "^[^/:\\s]+$", "maxLength": MAX_INTERFACE_NAME}),
]
LinkEnd = Annotated[
    str, AfterValidator(end_of_link), WithJsonSchema({"type": "string", "description": "`node` or `node:interface`"})
]
