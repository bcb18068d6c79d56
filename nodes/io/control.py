"""JSON lines over a UNIX stream socket: how a node, and a lab, are asked and answer (docs/control-protocol.md).

This module is the door; the rooms behind it are `control_protocol` (lines, errors, limits), `control_server` (many
connections in one reactor) and `control_client` (blocking calls).
"""

from __future__ import annotations

from nodes.io.control_client import ControlClient, EventStream
from nodes.io.control_protocol import MAX_DESCRIPTORS, MAX_LINE, ControlError
from nodes.io.control_server import ControlServer, Handler, Methods, Request, dispatch

__all__ = [
    "MAX_DESCRIPTORS",
    "MAX_LINE",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "EventStream",
    "Handler",
    "Methods",
    "Request",
    "dispatch",
]
