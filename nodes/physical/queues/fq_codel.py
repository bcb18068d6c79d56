"""FQ-CoDel: a queue for each flow, and CoDel in each queue (RFC 8290).

    frame ─▶ hash of its flow ─▶ one of `flows` queues ─▶ deficit round robin ─▶ line
                                 (CoDel each)             new flows before old ones

Whose turn it is goes by octets: a queue may send as long as its deficit is positive; then it gets `quantum` more and
goes to the end of the old queues. A queue that becomes active is a *new* one, and those go first: what sends little
(name lookups, handshakes, keystrokes) waits behind no bulk transfer at all. To keep flows from staying new by pausing,
an emptied new queue goes through the old ones once before it is forgotten (section 4.2).

         becomes active      deficit used up, or empty
    ──────────────────▶ new ──────────────────────────▶ old ◀──┐ deficit used up
                                                         │ ────┘
                                                         └─▶ inactive: empty

When all queues together are full, the queue with the most octets loses half of its frames, 64 at most, from its head:
so the search for it is paid for once in many frames, and the flow that is to blame learns first (section 4.1).

CoDel leaves a queue alone when less than one full frame waits. Here that means all queues together, as in Linux: many
flows with one frame each make a standing queue too."""

from __future__ import annotations

from collections import deque

from nodes.impairment import FqCodel, Queue
from nodes.physical.carried import Carried
from nodes.physical.queues.codel import ControlledFifo, ControlParameters
from nodes.physical.queues.fifo import QUEUE_FULL, checked
from nodes.physical.queues.flows import FlowHash
from nodes.physical.statistics import Statistics

_MOST_AT_ONCE = 64
"""Frames dropped at once from the longest queue (RFC 8290 section 4.1)."""


class Flow(ControlledFifo):
    """One queue and its place in the round."""

    __slots__ = ("active", "deficit")

    def __init__(self, parameters: ControlParameters) -> None:
        super().__init__(parameters)
        self.deficit = 0
        self.active = False


class FqCodelQueue:
    """Bounded by packets and octets over all flows. A flow's queue is made when its first frame comes; there are never
    more than `flows`."""

    __slots__ = (
        "_flows",
        "_hash",
        "_new",
        "_old",
        "_parameters",
        "_settings",
        "_statistics",
        "octets",
        "packets",
    )

    def __init__(self, settings: FqCodel, *, mtu: int, seed: int, statistics: Statistics) -> None:
        _check(settings)
        self._settings = settings
        self._statistics = statistics
        self._parameters = ControlParameters(settings, mtu, statistics)
        self._hash = FlowHash(settings.flows, seed)
        self._flows: dict[int, Flow] = {}
        self._new: deque[Flow] = deque()
        self._old: deque[Flow] = deque()
        self.packets = 0
        self.octets = 0

    def enqueue(self, carried: Carried, now: int) -> None:
        """Always accepted; a full queue then drops others (RFC 8290 section 4.1)."""
        number = self._hash(carried.frame)
        flow = self._flows.get(number)
        if flow is None:
            flow = self._flows[number] = Flow(self._parameters)
        flow.append(carried, now)
        self.packets += 1
        self.octets += len(carried.frame)
        if not flow.active:
            flow.active = True
            flow.deficit = self._settings.quantum
            self._new.append(flow)
        while self.packets > self._settings.packets or self.octets > self._settings.octets:
            self._drop_from_longest()

    def dequeue(self, now: int) -> Carried | None:
        """RFC 8290 section 4.2."""
        while self._new or self._old:
            queues = self._new or self._old
            flow = queues[0]
            if flow.deficit <= 0:
                flow.deficit += self._settings.quantum
                self._old.append(queues.popleft())
                continue
            carried = self._take(flow, now)
            if carried is not None:
                flow.deficit -= len(carried.frame)
                return carried
            queues.popleft()
            if queues is self._new:
                self._old.append(flow)
            else:
                flow.active = False
        return None

    def deadline(self) -> int | None:
        return None

    def timeout(self, now: int) -> None:
        """CoDel acts when frames leave."""

    def drain(self) -> list[Carried]:
        """All frames in the order in which they came; none stays."""
        drained = [carried for flow in (*self._new, *self._old) for carried in flow.drain()]
        self.packets = self.octets = 0
        return sorted(drained, key=lambda carried: carried.note)

    def change(self, settings: Queue, rate: int, mtu: int) -> bool:  # noqa: ARG002  (the surface of all disciplines)
        if not isinstance(settings, FqCodel) or settings.flows != self._settings.flows:
            return False  # with another number of queues, all frames are in the wrong ones
        _check(settings)
        self._settings = settings
        self._parameters.configure(settings, mtu)
        return True

    def snapshot(self, now: int) -> dict[str, object]:  # noqa: ARG002
        flows = (*self._new, *self._old)
        return {
            "discipline": "fq_codel",
            "packets": self.packets,
            "octets": self.octets,
            "limit_packets": self._settings.packets,
            "limit_octets": self._settings.octets,
            "new_flows": len(self._new),
            "old_flows": len(self._old),
            "dropping": sum(flow.dropping for flow in flows),
            "longest": max((flow.packets for flow in flows), default=0),
        }

    def _take(self, flow: Flow, now: int) -> Carried | None:
        """From one flow, whose CoDel may drop frames before it: the totals follow."""
        packets, octets = flow.packets, flow.octets
        carried = flow.dequeue(now, self.octets - octets)
        self.packets -= packets - flow.packets
        self.octets -= octets - flow.octets
        return carried

    def _drop_from_longest(self) -> None:
        longest = max((*self._new, *self._old), key=lambda flow: flow.octets)
        for _ in range(min(-(-longest.packets // 2), _MOST_AT_ONCE)):
            carried = longest.pop()
            if carried is not None:
                self.packets -= 1
                self.octets -= len(carried.frame)
                self._statistics.dropped[QUEUE_FULL] += 1


def _check(settings: FqCodel) -> None:
    checked("a number of flows", settings.flows)
    checked("a quantum", settings.quantum)
    checked("a limit in packets", settings.packets)
    checked("a limit in octets", settings.octets)
