"""mininet.clean: there is nothing to clean up, and what others run is not touched."""

from __future__ import annotations


def cleanup() -> None:
    """Does nothing."""


class Cleanup:
    """The same as a class."""

    cleanup = staticmethod(cleanup)
