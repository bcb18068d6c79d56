"""TCP_INFO: what a connection knows of itself, as Linux packs it (`struct tcp_info` of linux/tcp.h since 5.4).

     0  u8 state, ca_state, retransmits, probes, backoff, options, snd_wscale:4 rcv_wscale:4, flags
     8  u32 rto, ato, snd_mss, rcv_mss,  unacked, sacked, lost, retrans, fackets,
        last_data_sent, last_ack_sent, last_data_recv, last_ack_recv,
        pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering,  rcv_rtt, rcv_space,  total_retrans
   104  u64 pacing_rate, max_pacing_rate, bytes_acked, bytes_received;  u32 segs_out, segs_in,
        notsent_bytes, min_rtt, data_segs_in, data_segs_out;  u64 delivery_rate, busy_time, rwnd_limited, sndbuf_limited
   192  u32 delivered, delivered_ce;  u64 bytes_sent, bytes_retrans;  u32 dsack_dups, reord_seen, rcv_ooopack, snd_wnd

Windows are in segments, times in microseconds, those that begin with `last` in milliseconds. What the stack does not
count is 0. The same things under their own names, in nanoseconds and octets, are in `TcpSocket.info`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from nodes.transport.tcp.states import State

LAYOUT = struct.Struct("=8B24I4Q6I4Q2I2Q4I")

INFINITE = 0x7FFF_FFFF
"""A slow start threshold that was never reached (TCP_INFINITE_SSTHRESH)."""

_STATES = {
    State.ESTABLISHED: 1,
    State.SYN_SENT: 2,
    State.SYN_RCVD: 3,
    State.FIN_WAIT_1: 4,
    State.FIN_WAIT_2: 5,
    State.TIME_WAIT: 6,
    State.CLOSED: 7,
    State.CLOSE_WAIT: 8,
    State.LAST_ACK: 9,
    State.LISTEN: 10,
    State.CLOSING: 11,
}

_RECOVERY = {"open": 0, "disorder": 1, "cwr": 2, "recovery": 3, "loss": 4}

_OPTIONS = {"ts": 1, "sack": 2, "wscale": 4, "ecn": 8}

_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF


def pack(state: State, info: Mapping[str, object]) -> bytes:
    """`info` is of `TcpSocket.info`, or empty for a socket without a connection."""
    recovery = info.get("recovery")
    seen = _Numbers(info, recovery if isinstance(recovery, Mapping) else {})
    mss = max(seen.of("mss"), 1)
    acknowledged, unacked = seen.of("acknowledged"), seen.of_recovery("outstanding")
    notsent = max(seen.of("send_queue") - unacked, 0)
    retransmitted = seen.of_recovery("retransmitted_octets")
    mtu = seen.of("path_mtu")
    first = (
        *(_STATES[state], _RECOVERY.get(seen.text("state"), 0), 0, 0, 0, *_negotiated(info.get("options")), 0),
        *(seen.micro("rto"), 0, mss, seen.of("peer_mss")),
        *(-(-unacked // mss), seen.of_recovery("sacked") // mss, seen.of_recovery("lost") // mss, 0, 0),
        *(seen.milli("last_sent"), 0, seen.milli("last_received"), seen.milli("last_received")),
        *(mtu, seen.of("rcv_wnd"), seen.micro("srtt"), seen.micro("rttvar"), _threshold(info, mss)),
        *(seen.of("cwnd") // mss, max(mtu - 40, 0), 3, 0, seen.of("rcv_wnd")),
        seen.of_recovery("retransmitted_segments"),
    )
    second = (
        *(seen.of("pacing_rate"), _U64, acknowledged, seen.of("received")),
        *(seen.of("segments_out"), seen.of("segments_in"), notsent, seen.micro("min_rtt"), 0, 0),
        *(0, 0, 0, 0),
        *(0, 0, acknowledged + unacked + retransmitted, retransmitted),
        *(seen.of_recovery("dsacks"), int(seen.of_recovery("reordering_seen") > 0), 0, seen.of("snd_wnd")),
    )
    return LAYOUT.pack(*first[:8], *(min(value, _U32) for value in first[8:]), *second)


class _Numbers:
    """Numbers by their names, 0 where something is not known."""

    __slots__ = ("_info", "_recovery")

    def __init__(self, info: Mapping[str, object], recovery: Mapping[str, object]) -> None:
        self._info = info
        self._recovery = recovery

    def of(self, name: str) -> int:
        return _whole(self._info.get(name))

    def of_recovery(self, name: str) -> int:
        return _whole(self._recovery.get(name))

    def text(self, name: str) -> str:
        return str(self._recovery.get(name))

    def micro(self, name: str) -> int:
        return self.of(name) // 1000

    def milli(self, name: str) -> int:
        return self.of(name) // 1_000_000


def _whole(value: object) -> int:
    return max(int(value), 0) if isinstance(value, int | float) else 0


def _threshold(info: Mapping[str, object], mss: int) -> int:
    value = info.get("ssthresh")
    return INFINITE if value is None else _whole(value) // mss


def _negotiated(names: object) -> tuple[int, int]:
    """The bits of the options, and the two window scales in one octet."""
    bits = scales = 0
    for name in names if isinstance(names, list) else []:
        word, _, shifts = str(name).partition(":")
        bits |= _OPTIONS.get(word, 0)
        if shifts:
            ours, theirs = shifts.split(",")
            scales = int(ours) & 15 | (int(theirs) & 15) << 4
    return bits, scales
