"""What BBR remembers of the recent past: the largest of the last values, and what was in flight when data was sent."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class MaxFilter:
    """The largest value of the last `length` ticks. Ticks are any whole numbers that never go back (rounds, cycles).

    A value that is followed by a larger one will never be the largest again and is dropped, so what is kept descends,
    with at most one value per tick, and the answer stands in front."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: deque[tuple[int, int]] = deque()

    def update(self, value: int, tick: int, length: int) -> int:
        """Take a value in and return the largest of the last `length` ticks."""
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        if not values or values[-1][0] != tick:
            values.append((tick, value))
        while values[0][0] <= tick - length:
            values.popleft()
        return values[0][1]


class Flight(NamedTuple):
    """The state of the connection when something was sent: octets delivered and lost until then, octets in flight
    right after."""

    delivered: int
    lost: int
    in_flight: int


LONGEST_LOG = 16_384
"""Entries: as many acknowledgments as may arrive in one round trip. Beyond, the oldest go; the next newer stands in."""


class FlightLog:
    """Finds, for data just acknowledged, the `Flight` it was sent in (tx_in_flight and the losses since).

    The draft stores these with every packet. What was sent between two acknowledgments shares the connection's count of
    delivered octets, so one entry per acknowledgment does, found by `RateSample.prior_delivered`. Acknowledged data
    gets newer and newer, thus entries leave at the front: constant cost on average."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: deque[Flight] = deque(maxlen=LONGEST_LOG)

    def sent(self, delivered: int, lost: int, in_flight: int) -> None:
        flights = self._flights
        if flights and flights[-1][0] == delivered:
            flights[-1] = Flight(delivered, flights[-1][1], in_flight)
        else:
            flights.append(Flight(delivered, lost, in_flight))

    def find(self, prior_delivered: int) -> Flight | None:
        """The flight that began when `prior_delivered` octets had been delivered; None if nothing was ever sent."""
        flights = self._flights
        while len(flights) > 1 and flights[1][0] <= prior_delivered:
            flights.popleft()
        return flights[0] if flights else None
