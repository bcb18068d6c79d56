"""What waits in a socket of datagrams: two bounded queues, of what arrived and of the ICMP errors about what was sent.

A full queue drops the newest and counts it: nothing below can slow a sender down.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from nodes.errors import MisuseError
from nodes.network.datagram import IcmpError
from nodes.transport.endpoint import (
    SOCKET_ERROR_LIMIT,
    SOCKET_QUEUE_LIMIT,
    SOCKET_RECEIVE_LIMIT,
    Endpoint,
)


class Arrival(Protocol):
    """What can wait: anything with data, whose octets are counted."""

    @property
    def data(self) -> bytes: ...


T = TypeVar("T", bound=Arrival)


class InboxEndpoint(Endpoint, Generic[T]):
    """A socket that holds arrivals of one kind. `receive_limit` bounds their octets."""

    __slots__ = ("_errors", "_octets", "_queue", "closed", "dropped", "errors_dropped", "receive_limit")

    def __init__(self, ready: Callable[[Endpoint], None]) -> None:
        super().__init__(ready)
        self._queue: deque[T] = deque()
        self._octets = 0
        self._errors: deque[IcmpError] = deque()
        self.closed = False
        self.receive_limit = SOCKET_RECEIVE_LIMIT
        self.dropped = 0
        self.errors_dropped = 0

    def receive(self) -> T | None:
        """The oldest arrival, or None."""
        self._check_open()
        if not self._queue:
            return None
        arrival = self._queue.popleft()
        self._octets -= len(arrival.data)
        return arrival

    def receive_error(self) -> IcmpError | None:
        """The oldest ICMP error about what this socket sent, or None."""
        self._check_open()
        return self._errors.popleft() if self._errors else None

    @property
    def readable(self) -> bool:
        return bool(self._queue or self._errors)

    def deliver(self, arrival: T) -> bool:
        """For the layer: queue an arrival; False where it did not fit and was dropped."""
        size = len(arrival.data)
        if self._octets + size > self.receive_limit or len(self._queue) >= SOCKET_QUEUE_LIMIT:
            self.dropped += 1
            return False
        self._queue.append(arrival)
        self._octets += size
        self.wake()
        return True

    def report(self, error: IcmpError) -> None:
        """For the layer: queue an ICMP error. The quoted octets are copied: the frame may be reused."""
        if len(self._errors) >= SOCKET_ERROR_LIMIT:
            self.errors_dropped += 1
            return
        self._errors.append(error._replace(payload=memoryview(bytes(error.payload))))
        self.wake()

    def _forget(self) -> None:
        """Close, and drop what waits to be read."""
        self.closed = True
        self._queue.clear()
        self._errors.clear()
        self._octets = 0

    def _check_open(self) -> None:
        if self.closed:
            raise MisuseError("the socket is closed", errno=errno.EBADF)
