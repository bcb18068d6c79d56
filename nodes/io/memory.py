"""How the C library keeps memory, for nodes that work with frames of 64 KiB.

glibc gives the top of its heap back to the kernel when more than 128 KiB are free there, and asks for it again with
the next large frame: page by page, each with a fault. A frame of 64 KiB then costs four times as much to make as to
copy (27 µs and 7 µs to send one through the stack). The limit is not fixed: freeing one large block, which glibc has
mapped by itself, says that this program uses such, and raises the limit to twice its size (mallopt(3),
M_MMAP_THRESHOLD). The block is never written to and so never takes memory. Another C library is not harmed.
"""

from __future__ import annotations

KEPT = 8 << 20
"""Octets of a block whose release lets twice as much stay in the heap: the frames of one wake-up."""


def keep_freed_memory() -> None:
    """Let memory for large frames stay with this process."""
    bytes(KEPT)
