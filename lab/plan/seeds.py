"""Seeds: one number per run, and from it one per node, so that a node's random choices do not depend on how many
other nodes there are or in which order they start."""

from __future__ import annotations

import hashlib


def node_seed(run_seed: int, node: str) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.sha256(f"{run_seed}/{node}".encode()).digest()[:8], "big")
