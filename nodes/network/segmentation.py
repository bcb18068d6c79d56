"""Cutting a long TCP segment into packets, where no link does it: what a network card does with TSO, in software.

    packet, segment size 1448    |IP|TCP seq 1000            |           4000 octets            |
    pieces                       |IP|TCP seq 1000, CWR       | 1448 |
                                 |IP|TCP seq 2448            | 1448 |
                                 |IP|TCP seq 3896, FIN, PSH  | 1104 |

Each piece has the headers of the whole, with its own length, identification, sequence number and checksums. CWR is
said once, by the first (RFC 3168 section 6.1.2); what happens at the end of the data, FIN and PSH, by the last.

TCP asks `InternetLayer.offload_for` before it makes such segments. They come here when the way has changed since, to an
interface without offload, or when the pieces must be fragmented.
"""

from __future__ import annotations

from struct import Struct

from nodes.wire import ipv4, tcp
from nodes.wire.addresses import Ip4
from nodes.wire.checksum import Buffer, checksum, pseudo_header_sum

_WORD = Struct("!H")
_SEQUENCE = Struct("!I")
_LENGTH_AT, _IDENTIFICATION_AT, _IP_CHECKSUM_AT = 2, 4, 10
_SEQUENCE_AT, _OFFSET_AT, _FLAGS_AT, _CHECKSUM_AT = 4, 12, 13, 16


def longest(segment: Buffer, segment_size: int) -> int:
    """Octets of the longest piece, its TCP header included."""
    return min(len(segment), (segment[_OFFSET_AT] >> 4) * 4 + segment_size)


def pieces_of(segment: Buffer, segment_size: int) -> int:
    """Into how many pieces a TCP segment is to be cut."""
    octets = len(segment) - (segment[_OFFSET_AT] >> 4) * 4
    return max(1, -(-octets // segment_size))


def cut(packet: bytes, segment_size: int) -> list[bytes]:
    """An IPv4 packet with a TCP segment whose checksum is still to be made, as packets with `segment_size` octets of
    payload and checksums; 0 cuts nothing. Identifications count up from the packet's."""
    ip_length = (packet[0] & 15) * 4
    headers = ip_length + (packet[ip_length + _OFFSET_AT] >> 4) * 4
    step = segment_size or len(packet)
    starts = range(headers, max(len(packet), headers + 1), step)
    return [
        _piece(packet, ip_length, headers, number, start, min(start + step, len(packet)))
        for number, start in enumerate(starts)
    ]


def _piece(packet: bytes, ip_length: int, headers: int, number: int, start: int, end: int) -> bytes:
    piece = bytearray(packet[:headers])
    piece += packet[start:end]
    _WORD.pack_into(piece, _LENGTH_AT, len(piece))
    (identification,) = _WORD.unpack_from(piece, _IDENTIFICATION_AT)
    _WORD.pack_into(piece, _IDENTIFICATION_AT, identification + number & 0xFFFF)
    _WORD.pack_into(piece, _IP_CHECKSUM_AT, 0)
    _WORD.pack_into(piece, _IP_CHECKSUM_AT, checksum(piece[:ip_length]))
    (sequence,) = _SEQUENCE.unpack_from(piece, ip_length + _SEQUENCE_AT)
    _SEQUENCE.pack_into(piece, ip_length + _SEQUENCE_AT, sequence + start - headers & 0xFFFF_FFFF)
    if start > headers:
        piece[ip_length + _FLAGS_AT] &= ~tcp.CWR
    if end < len(packet):
        piece[ip_length + _FLAGS_AT] &= ~(tcp.FIN | tcp.PSH)
    _WORD.pack_into(piece, ip_length + _CHECKSUM_AT, 0)
    _WORD.pack_into(piece, ip_length + _CHECKSUM_AT, _tcp_checksum(piece, ip_length))
    return bytes(piece)


def _tcp_checksum(packet: bytearray, ip_length: int) -> int:
    *_, source, destination = ipv4.HEADER.unpack_from(packet)
    pseudo = pseudo_header_sum(Ip4(source), Ip4(destination), ipv4.PROTOCOL_TCP, len(packet) - ip_length)
    return checksum(packet[ip_length:], pseudo)
