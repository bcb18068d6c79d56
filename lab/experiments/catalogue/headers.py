"""The headers of TCP and UDP, field by field, as they are on the wire.

UDP adds eight octets: two ports, the length, the checksum (RFC 768). TCP adds twenty and options: two ports, the number
of the first octet, the number expected next, the length of the header in words of four octets, the flags, the window,
the checksum and the urgent pointer (RFC 9293, 3.1). The flags say what a segment is for: SYN opens, ACK makes the
acknowledgment count, PSH hands the data over, FIN closes, RST refuses. URG says that there is urgent data, up to the
octet before the one that the urgent pointer names; new programs should not use it (RFC 6093), and a socket still can,
with MSG_OOB.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from lab.experiments.experiment import Variation, experiment
from lab.experiments.programs import Mailbox, echo
from lab.experiments.trial import Trial, captured

TOPOLOGY = """
name: headers
defaults: {address_check: none, tcp: {msl: 0.5}}
nodes:
  a: {kind: host, tcp: {sack: $options, timestamps: $options, window_scale: $options}}
  b: host
links: [{ends: [a, b], impair: {delay: 5ms}}]
"""

UDP_LENGTH = "UDP: the length is 8 octets of header and the data"
UDP_SUM = "UDP: the checksum over addresses, header and data is right"
PORTS = "TCP: the ports are those of the two programs"
OFFSET = "TCP: the SYN's data offset counts 20 octets and the options"
OPTIONS = "TCP: the SYN offers a segment size, SACK, timestamps and window scaling"
TCP_SUM = "TCP: every checksum is right"
FLAGS = "TCP: each of the six flags is where it is needed"
URGENT = "TCP: the urgent pointer names the octet behind the urgent one"
WORD = b"hello, headers"
TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


async def talk(host: str, urgent: bool) -> int:
    """A datagram, a connection with an urgent octet behind its data, and one that is refused. The connection's port."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(host, 5000))
    transport.sendto(WORD)
    transport.close()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, (host, 7))
    reader, writer = await asyncio.open_connection(sock=sock)
    port: int = writer.get_extra_info("sockname")[1]
    writer.write(WORD)
    await reader.readexactly(len(WORD))
    if urgent:
        sock.send(b"!", socket.MSG_OOB)  # a transport has no way for it
        await reader.readexactly(1)
    writer.write_eof()
    await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionRefusedError):
        await asyncio.open_connection(host, 8)
    return port


@experiment(
    topic="Headers",
    claim="Each field of the headers of TCP and UDP says what its standard says.",
    look_at="the octets of the capture, and the flags of each segment",
    topology=TOPOLOGY,
    parameters={"options": True, "urgent": True},
    variations={
        "no-options": Variation(
            "The client offers nothing but its segment size: the SYN's header is shorter.",
            {"options": False},
            breaks=(OPTIONS,),
        ),
        "nothing-urgent": Variation(
            "The program has nothing urgent to say: no segment needs URG.", {"urgent": False}, breaks=(URGENT, FLAGS)
        ),
    },
)
async def headers(trial: Trial) -> None:
    lab, a = trial.lab, trial.lab.node("a")
    serving = lab.node("b").start(echo, 7)
    await lab.sleep(1)
    path = await a.start_capture()
    port = await a.run(talk, "b", trial["urgent"])
    await lab.sleep(0.2)
    await a.stop_capture()
    packets = [frame[14:] for frame in captured(path) if frame[12:14] == b"\x08\x00"]
    datagram = next(packet for packet in packets if packet[9] == UDP)
    udp = _payload(datagram)
    trial.equal(UDP_LENGTH, struct.unpack("!HH", udp[2:6]), (5000, 8 + len(WORD)))
    trial.equal(UDP_SUM, _sum(datagram), 0)

    segments = [packet for packet in packets if packet[9] == TCP]
    trial.equal(TCP_SUM, sum(_sum(packet) != 0 for packet in segments), 0)
    tcp = [_payload(packet) for packet in segments]
    syn = tcp[0]
    trial.equal(PORTS, struct.unpack("!HH", syn[:4]), (port, 7))
    offset, kinds = (syn[12] >> 4) * 4, _options(syn)
    trial.equal(OFFSET, offset, len(syn))
    trial.equal(OPTIONS, sorted(set(kinds) - {1}), [2, 3, 4, 8])
    refused = next(each for each in tcp if each[:2] == struct.pack("!H", 8))
    data = [each for each in tcp if each[(each[12] >> 4) * 4 :] == WORD]
    hurried = [each for each in tcp if each[13] & URG]
    pointers = [struct.unpack("!H", each[18:20])[0] for each in hurried]
    trial.equal(URGENT, pointers, [1])
    fins = [each for each in tcp if each[13] & FIN]
    seen = {
        "only the first of a connection has no ACK": all(bool(each[13] & ACK) != bool(_opens(each)) for each in tcp),
        "data has PSH": all(each[13] & PSH for each in data) and len(data) == 2,
        "one URG, with the urgent octet": [each[(each[12] >> 4) * 4 :] for each in hurried] == [b"!"],
        "two FINs": len(fins) == 2,
        "a refusal has RST": bool(refused[13] & RST),
    }
    trial.expect(
        FLAGS, all(seen.values()), ", ".join(f"{what}: {'yes' if held else 'no'}" for what, held in seen.items())
    )
    serving.cancel()


def _opens(segment: bytes) -> bool:
    return segment[13] & (SYN | ACK) == SYN


def _payload(packet: bytes) -> bytes:
    """What an IP packet carries."""
    (length,) = struct.unpack("!H", packet[2:4])
    return packet[(packet[0] & 15) * 4 : length]


def _sum(packet: bytes) -> int:
    """0 where the checksum over pseudo header and payload is right (RFC 1071)."""
    payload = _payload(packet)
    octets = packet[12:20] + struct.pack("!BBH", 0, packet[9], len(payload)) + payload + bytes(len(payload) % 2)
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    return total % 0xFFFF


def _options(segment: bytes) -> list[int]:
    """The kinds of a segment's options: 1 is padding, 2 segment size, 3 window scale, 4 SACK, 8 timestamps."""
    place, end, kinds = 20, (segment[12] >> 4) * 4, []
    while place < end and segment[place]:
        kinds.append(segment[place])
        place += 1 if segment[place] == 1 else segment[place + 1]
    return kinds
