"""All events that nodes and links write, by their names."""

from __future__ import annotations

from nodes.trace import arq_events, circuit_events, datagram_events, events, link_events, tcp_events
from nodes.trace.sqlog import event_name

EVENTS: dict[str, type] = {
    event_name(kind): kind
    for module in (events, link_events, arq_events, circuit_events, datagram_events, tcp_events)
    for kind in vars(module).values()
    if isinstance(kind, type) and isinstance(vars(kind).get("category"), str)
}
"""`transport:segment_sent` -> SegmentSent."""
