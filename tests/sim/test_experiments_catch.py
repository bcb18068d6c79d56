"""A stack that is broken on purpose fails the experiment that is about it: each of these mutations is caught.

What is not caught by an experiment is not shown by it either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.experiments.catalogue import find
from lab.experiments.runner import Asked, run_experiment
from nodes.contract import NodeConfig
from nodes.datalink.arp import ArpCache
from nodes.datalink.arq.receiver import ArqReceiver
from nodes.datalink.arq.sender import ArqSender
from nodes.datalink.rarp import RarpServer
from nodes.datalink.switch import LearningSwitch
from nodes.network.circuit_table import Cause, Leg
from nodes.network.circuits import CircuitLayer
from nodes.network.forwarding import Forwarder
from nodes.network.path_mtu import PathMtuCache
from nodes.network.reassembly import Reassembler
from nodes.transport.tcp import closing, expiry, layer, output, strays
from nodes.transport.tcp.congestion.cubic import Cubic
from nodes.transport.tcp.congestion.registry import ALGORITHMS
from nodes.transport.tcp.congestion.window import WindowControl
from nodes.transport.tcp.isn import SequenceGenerator
from nodes.transport.tcp.listener import Listener
from nodes.transport.tcp.rack import Rack
from nodes.transport.tcp.receive_window import ReceiveWindow
from nodes.transport.tcp.rtt import RttEstimator
from nodes.transport.tcp.sack_threshold import SackThreshold
from nodes.transport.tcp.time_wait import TimeWait
from nodes.transport.tcp.timers import Timer
from nodes.wire import circuit, udp
from nodes.wire.addresses import parse_ip4
from nodes.wire.circuit import CallAccepted, CallRequest, Data

pytestmark = pytest.mark.slow

Patch = pytest.MonkeyPatch
Mutation = Callable[[Patch], None]


def no_fast_retransmit(patch: Patch) -> None:
    patch.setattr(SackThreshold, "reached", lambda *_: False)
    patch.setattr(SackThreshold, "detect", lambda *_: [])


def second_duplicate_is_enough(patch: Patch) -> None:
    patch.setattr("nodes.transport.tcp.retransmission_queue.DUPLICATE_THRESHOLD", 2)
    patch.setattr("nodes.transport.tcp.sack_threshold.DUPLICATE_THRESHOLD", 2)


def isn_is_a_constant(patch: Patch) -> None:
    patch.setattr(SequenceGenerator, "initial", lambda *_: 1000)


def isn_is_only_a_clock(patch: Patch) -> None:
    patch.setattr(SequenceGenerator, "initial", lambda *arguments: arguments[-1] // 4000 & 0xFFFF_FFFF)


def time_wait_is_zero(patch: Patch) -> None:
    made = TimeWait.__init__

    def shorter(self: TimeWait, connection: Any, lifetime: int, now: int) -> None:
        made(self, connection, 0, now)

    patch.setattr(TimeWait, "__init__", shorter)


def time_wait_is_one_lifetime(patch: Patch) -> None:
    made = TimeWait.__init__

    def half(self: TimeWait, connection: Any, lifetime: int, now: int) -> None:
        made(self, connection, lifetime // 2, now)

    patch.setattr(TimeWait, "__init__", half)


def window_is_not_halved(patch: Patch) -> None:
    patch.setattr(WindowControl, "reduced", lambda self, _: self.cwnd)


def timeout_keeps_the_window(patch: Patch) -> None:
    patch.setattr(WindowControl, "timeout", _keep)


def _keep(self: WindowControl, in_flight: int, now: int, *, repeated: bool) -> None:
    self.ssthresh = self.reduced(in_flight)


def cubic_halves(patch: Patch) -> None:
    patch.setattr(Cubic, "reduced", WindowControl.reduced)


def slow_start_is_linear(patch: Patch) -> None:
    def acknowledged(self: WindowControl, ack: Any) -> None:
        self.cwnd += self.mss // 10

    patch.setattr(WindowControl, "acknowledged", acknowledged)


def nobody_has_congestion_control(patch: Patch) -> None:
    patch.setitem(ALGORITHMS, "newreno", ALGORITHMS["none"])


def udp_checksum_is_ignored(patch: Patch) -> None:
    parse = udp.parse
    patch.setattr(udp, "parse", lambda *arguments, **_: parse(*arguments, verified=True))


def timeout_does_not_double(patch: Patch) -> None:
    patch.setattr(RttEstimator, "back_off", lambda _: None)


def any_number_in_the_window_resets(patch: Patch) -> None:
    made: Any = layer.TcpLayer.__init__

    def lenient(self: layer.TcpLayer, *arguments: Any) -> None:
        made(self, *arguments[:-1], dataclasses.replace(arguments[-1], exact_resets=False))

    patch.setattr(layer.TcpLayer, "__init__", lenient)


def nodes_come_back_with_the_same_secret(patch: Patch) -> None:
    patch.setattr(NodeConfig, "at_start", lambda self, _: self)


def reno_has_no_window(patch: Patch) -> None:
    patch.setitem(ALGORITHMS, "reno", ALGORITHMS["none"])


def windows_do_not_count(patch: Patch) -> None:
    edge = ReceiveWindow.offer
    patch.setattr(ReceiveWindow, "offer", lambda self: max(edge(self), 0xFFFF if not self.shift else 0))


def rack_does_not_learn(patch: Patch) -> None:
    patch.setattr(Rack, "dsack", lambda *_: None)


def urgent_data_is_not_marked(patch: Patch) -> None:
    patch.setattr(output, "_urgent_mark", lambda _c, _sequence, flags: (flags, 0))


def nobody_refuses(patch: Patch) -> None:
    patch.setattr(strays, "refuse", lambda *_: None)


def cookies_are_forgotten(patch: Patch) -> None:
    patch.setattr(Listener, "_take_cookie", lambda *_: False)


def fin_closes_both_sides(patch: Patch) -> None:
    received = closing.fin_received

    def both(c: Any, now: int) -> None:
        received(c, now)
        closing.shut_down(c, now)

    patch.setattr(closing, "fin_received", both)


def fin_wait_2_has_no_timer(patch: Patch) -> None:
    acknowledged = closing.fin_acknowledged

    def untimed(c: Any, a: Any, now: int) -> bool:
        cancelled, c.cancelled = c.cancelled, False
        try:
            return acknowledged(c, a, now)
        finally:
            c.cancelled = cancelled

    patch.setattr(closing, "fin_acknowledged", untimed)


def ports_begin_at_1024(patch: Patch) -> None:
    patch.setattr(layer, "FIRST_DYNAMIC", 1024)


def path_mtu_is_not_learned(patch: Patch) -> None:
    patch.setattr(PathMtuCache, "lower", lambda *_: False)


def fragments_stay_pieces(patch: Patch) -> None:
    patch.setattr(Reassembler, "_finish", lambda *_: None)


def arp_learns_nothing_from_questions(patch: Patch) -> None:
    learn = ArpCache.learn

    def deaf(self: ArpCache, *arguments: Any, for_us: bool, trigger: str) -> None:
        if trigger != "arp request":
            learn(self, *arguments, for_us=for_us, trigger=trigger)

    patch.setattr(ArpCache, "learn", deaf)


def rarp_server_is_silent(patch: Patch) -> None:
    patch.setattr(RarpServer, "answer", lambda *_: None)


def windows_are_not_probed(patch: Patch) -> None:
    patch.setitem(expiry._HANDLERS, Timer.PERSIST, lambda *_: None)


def each_free_octet_is_announced(patch: Patch) -> None:
    def offer(self: ReceiveWindow) -> int:
        buffer = self._buffer
        self.edge = max(self.edge, buffer.rcv_nxt + buffer.capacity - buffer.available)
        return min((self.edge - buffer.rcv_nxt) >> self.shift, 0xFFFF)

    patch.setattr(ReceiveWindow, "offer", offer)
    patch.setattr(ReceiveWindow, "update_due", lambda self: self._buffer.rcv_nxt + self._buffer.capacity > self.edge)


def switch_learns_nothing(patch: Patch) -> None:
    patch.setattr(LearningSwitch, "_learn", lambda *_: None)


def routers_end_packets_in_silence(patch: Patch) -> None:
    patch.setattr(Forwarder, "_refuse", lambda *_: None)


def arp_asks_each_time(patch: Patch) -> None:
    resolve = ArpCache.resolve

    def forgetful(self: ArpCache, address: Any, now: int) -> Any:
        found = resolve(self, address, now)
        self.forget(address, "mutation", now)
        return found

    patch.setattr(ArpCache, "resolve", forgetful)


def selective_repeat_goes_back(patch: Patch) -> None:
    repeat = ArqSender._repeat

    def all_of_them(self: ArqSender, number: int, trigger: str, now: int) -> None:
        for each in range(number, self.nxt):
            if self._is_missing(each):
                repeat(self, each, trigger, now)

    patch.setattr(ArqSender, "_repeat", all_of_them)


def link_check_is_ignored(patch: Patch) -> None:
    patch.setattr("nodes.wire.arq.crc32", lambda _: 0)


def receiver_hides_that_it_is_full(patch: Patch) -> None:
    patch.setattr(ArqReceiver, "_tell_room", lambda *_: False)


def copies_are_taken_again(patch: Patch) -> None:
    def take(self: ArqReceiver, frame: Any, now: int) -> None:
        self._hand_up(frame, now)
        self._acknowledge("duplicate", now)

    patch.setattr(ArqReceiver, "_duplicate", take)


def link_timer_is_off(patch: Patch) -> None:
    repeat = ArqSender._repeat

    def only_when_asked(self: ArqSender, number: int, trigger: str, now: int) -> None:
        if trigger == "timeout":
            del self._timers[number]
        else:
            repeat(self, number, trigger, now)

    patch.setattr(ArqSender, "_repeat", only_when_asked)


def each_hop_accepts_the_call(patch: Patch) -> None:
    pass_on = CircuitLayer._pass_on

    def accepted(layer: CircuitLayer, leg: Leg, call: CallRequest, now: int) -> Any:
        cause = pass_on(layer, leg, call, now)
        if cause is None:
            layer._send(leg.port, CallAccepted(leg.vci))
        return cause

    patch.setattr(CircuitLayer, "_pass_on", accepted)


def messages_ask_the_routes(patch: Patch) -> None:
    """What comes with a label goes where the route to b leads at that time, if the circuit is known there."""
    forward = CircuitLayer._forward

    def routed(layer: CircuitLayer, leg: Leg, payload: bytes, now: int) -> None:
        port = layer._lookup(parse_ip4("10.2.0.2"))
        if isinstance(leg.other, Leg) and port is not None and port != leg.other.port:
            layer._send(port, Data(leg.other.vci, payload))
        else:
            forward(layer, leg, payload, now)

    patch.setattr(CircuitLayer, "_forward", routed)


def a_dead_link_looks_like_an_end(patch: Patch) -> None:
    onward = CircuitLayer._onward

    def told(layer: CircuitLayer, leg: Leg, cause: Cause, now: int) -> None:
        onward(layer, leg, Cause.DONE if cause is Cause.LINK_DOWN else cause, now)

    patch.setattr(CircuitLayer, "_onward", told)


def labels_are_as_long_as_addresses(patch: Patch) -> None:
    patch.setattr("nodes.network.circuits.build", lambda packet: circuit.build(packet) + bytes(24))


MUTATIONS: list[tuple[Mutation, str]] = [
    (no_fast_retransmit, "fast-retransmit"),
    (second_duplicate_is_enough, "fast-retransmit"),
    (isn_is_a_constant, "initial-sequence-number"),
    (isn_is_only_a_clock, "initial-sequence-number"),
    (time_wait_is_zero, "four-way-close"),
    (time_wait_is_zero, "time-wait"),
    (time_wait_is_zero, "old-segment"),
    (time_wait_is_one_lifetime, "four-way-close"),
    (window_is_not_halved, "loss-response"),
    (timeout_keeps_the_window, "loss-response"),
    (cubic_halves, "cubic-curve"),
    (slow_start_is_linear, "slow-start"),
    (nobody_has_congestion_control, "congestion-collapse"),
    (udp_checksum_is_ignored, "udp-checksum"),
    (timeout_does_not_double, "lost-syn"),
    (timeout_does_not_double, "fin-wait-timers"),
    (nobody_refuses, "refused-port"),
    (cookies_are_forgotten, "syn-flood"),
    (fin_closes_both_sides, "half-close"),
    (fin_closes_both_sides, "close-wait"),
    (fin_wait_2_has_no_timer, "fin-wait-timers"),
    (ports_begin_at_1024, "dynamic-ports"),
    (path_mtu_is_not_learned, "path-mtu-discovery"),
    (fragments_stay_pieces, "fragmentation"),
    (arp_learns_nothing_from_questions, "arp-exchange"),
    (arp_asks_each_time, "arp-exchange"),
    (rarp_server_is_silent, "rarp-exchange"),
    (switch_learns_nothing, "switch-learns"),
    (routers_end_packets_in_silence, "time-to-live"),
    (selective_repeat_goes_back, "arq-selective-repeat"),
    (link_check_is_ignored, "arq-stop-and-wait"),
    (copies_are_taken_again, "arq-selective-repeat"),
    (link_timer_is_off, "arq-go-back-n"),
    (receiver_hides_that_it_is_full, "arq-flow-control"),
    (windows_are_not_probed, "slow-reader"),
    (each_free_octet_is_announced, "silly-window"),
    (any_number_in_the_window_resets, "blind-reset"),
    (isn_is_only_a_clock, "guessed-number"),
    (nodes_come_back_with_the_same_secret, "old-duplicate"),
    (second_duplicate_is_enough, "reordering"),
    (rack_does_not_learn, "reordering"),
    (urgent_data_is_not_marked, "headers"),
    (windows_do_not_count, "stop-and-wait-or-window"),
    (reno_has_no_window, "flow-or-congestion"),
    (each_hop_accepts_the_call, "virtual-circuit"),
    (messages_ask_the_routes, "virtual-circuit"),
    (a_dead_link_looks_like_an_end, "circuit-failure"),
    (labels_are_as_long_as_addresses, "circuit-or-datagram"),
]


@pytest.mark.parametrize(
    ("mutation", "name"), MUTATIONS, ids=[f"{mutation.__name__}-{name}" for mutation, name in MUTATIONS]
)
def test_it_is_caught(mutation: Mutation, name: str, monkeypatch: Patch, tmp_path: Path) -> None:
    mutation(monkeypatch)
    result = run_experiment(find(name), Asked(runs=tmp_path))
    assert not result.passed
    assert result.error or any(not verdict.passed for verdict in result.verdicts)
