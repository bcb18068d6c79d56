"""The experiments that come with layerlab: one file per claim, in the order of a course."""

from __future__ import annotations

from lab.errors import UserInputError
from lab.experiments.catalogue.arp_exchange import arp_exchange
from lab.experiments.catalogue.arq_flow_control import arq_flow_control
from lab.experiments.catalogue.arq_go_back_n import arq_go_back_n
from lab.experiments.catalogue.arq_selective_repeat import arq_selective_repeat
from lab.experiments.catalogue.arq_stop_and_wait import arq_stop_and_wait
from lab.experiments.catalogue.blind_reset import blind_reset
from lab.experiments.catalogue.broadcast import broadcast
from lab.experiments.catalogue.broadcast_storm import broadcast_storm
from lab.experiments.catalogue.circuit_failure import circuit_failure
from lab.experiments.catalogue.circuit_or_datagram import circuit_or_datagram
from lab.experiments.catalogue.close_wait import close_wait
from lab.experiments.catalogue.congestion_collapse import congestion_collapse
from lab.experiments.catalogue.cubic_curve import cubic_curve
from lab.experiments.catalogue.dynamic_ports import dynamic_ports
from lab.experiments.catalogue.encapsulation import encapsulation
from lab.experiments.catalogue.fairness import fairness
from lab.experiments.catalogue.fast_retransmit import fast_retransmit
from lab.experiments.catalogue.fin_wait_timers import fin_wait_timers
from lab.experiments.catalogue.flow_or_congestion import flow_or_congestion
from lab.experiments.catalogue.four_way_close import four_way_close
from lab.experiments.catalogue.fragmentation import fragmentation
from lab.experiments.catalogue.guessed_number import guessed_number
from lab.experiments.catalogue.half_close import half_close
from lab.experiments.catalogue.handshake import handshake
from lab.experiments.catalogue.headers import headers
from lab.experiments.catalogue.hub_repeats import hub_repeats
from lab.experiments.catalogue.initial_sequence_number import initial_sequence_number
from lab.experiments.catalogue.late_data import late_data
from lab.experiments.catalogue.loss_response import loss_response
from lab.experiments.catalogue.lost_syn import lost_syn
from lab.experiments.catalogue.mathis import mathis
from lab.experiments.catalogue.old_duplicate import old_duplicate
from lab.experiments.catalogue.old_segment import old_segment
from lab.experiments.catalogue.path_mtu_discovery import path_mtu_discovery
from lab.experiments.catalogue.port_exhaustion import port_exhaustion
from lab.experiments.catalogue.rarp_exchange import rarp_exchange
from lab.experiments.catalogue.refused_port import refused_port
from lab.experiments.catalogue.reordering import reordering
from lab.experiments.catalogue.rerouting import rerouting
from lab.experiments.catalogue.same_port import same_port
from lab.experiments.catalogue.silly_window import silly_window
from lab.experiments.catalogue.simultaneous_close import simultaneous_close
from lab.experiments.catalogue.simultaneous_open import simultaneous_open
from lab.experiments.catalogue.slow_reader import slow_reader
from lab.experiments.catalogue.slow_start import slow_start
from lab.experiments.catalogue.stop_and_wait_or_window import stop_and_wait_or_window
from lab.experiments.catalogue.switch_learns import switch_learns
from lab.experiments.catalogue.syn_flood import syn_flood
from lab.experiments.catalogue.time_to_live import time_to_live
from lab.experiments.catalogue.time_wait import time_wait
from lab.experiments.catalogue.udp_checksum import udp_checksum
from lab.experiments.catalogue.unreliable_udp import unreliable_udp
from lab.experiments.catalogue.virtual_circuit import virtual_circuit
from lab.experiments.catalogue.window_limit import window_limit
from lab.experiments.experiment import Experiment
from lab.model.errors import did_you_mean

CATALOGUE: dict[str, Experiment] = {
    each.name: each
    for each in (
        encapsulation,
        hub_repeats,
        switch_learns,
        broadcast_storm,
        arq_stop_and_wait,
        arq_go_back_n,
        arq_selective_repeat,
        arq_flow_control,
        arp_exchange,
        rarp_exchange,
        rerouting,
        fragmentation,
        path_mtu_discovery,
        time_to_live,
        virtual_circuit,
        circuit_failure,
        circuit_or_datagram,
        unreliable_udp,
        udp_checksum,
        same_port,
        dynamic_ports,
        broadcast,
        headers,
        stop_and_wait_or_window,
        window_limit,
        slow_reader,
        silly_window,
        flow_or_congestion,
        congestion_collapse,
        slow_start,
        fast_retransmit,
        reordering,
        loss_response,
        cubic_curve,
        fairness,
        mathis,
        handshake,
        lost_syn,
        simultaneous_open,
        refused_port,
        syn_flood,
        initial_sequence_number,
        guessed_number,
        old_duplicate,
        blind_reset,
        four_way_close,
        half_close,
        simultaneous_close,
        late_data,
        time_wait,
        old_segment,
        port_exhaustion,
        close_wait,
        fin_wait_timers,
    )
}


def find(name: str) -> Experiment:
    """Raises UserInputError for a name of none."""
    if name not in CATALOGUE:
        hint = did_you_mean(name, list(CATALOGUE)) or "`lab experiment list` lists them"
        raise UserInputError(f"there is no experiment {name!r}", hint=hint)
    return CATALOGUE[name]
