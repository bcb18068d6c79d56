"""Seeds: one number per run, and from it one per node and per direction of a link, so that random choices do not depend
on how many others there are or in which order they start."""

from __future__ import annotations

import hashlib

from nodes.impairment import Direction


def node_seed(run_seed: int, node: str) -> int:
    """64 bits."""
    return _hashed(f"{run_seed}/{node}")


def link_seed(run_seed: int, link: str, direction: Direction) -> int:
    """64 bits. A hash, because small seeds make the first draws of netem's generator visibly alike."""
    return _hashed(f"{run_seed}/{link}/{direction}")


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
