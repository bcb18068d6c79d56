"""One line for one frame, as tcpdump would say it: who, to whom, which protocol, what.

A summary is made of whatever arrived: cut short by a capture, damaged on the link, or sent by a program under test.
Therefore nothing here uses the strict parsers of this folder, which raise; each protocol is read by its `Struct` as
far as it goes, and the line says `[truncated]` or `[bad checksum]` where it ends. No bytes make `summarize` raise.

An error of ICMP quotes the packet that it is about; the quote is summarized by the same functions, which makes the
line recursive: the depth is bounded, because a quote may contain a quote.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812  (a class, whatever its name)
from typing import NamedTuple

from nodes.wire import arp, arq, bpdu, circuit, ethernet, icmp, igmp, ipv4, tcp, tcp_options, udp
from nodes.wire.addresses import Ip4, format_ip4, format_mac
from nodes.wire.checksum import Buffer, is_valid, ones_sum, pseudo_header_sum

TCP_LETTERS = "FSRP.UEW"  # tcpdump's, by bit, lowest first
TCP_QUOTED = Struct("!HHI")  # what an ICMP error is sure to quote of a segment (RFC 792)
VLAN_TAG = Struct("!HH")
ETHERTYPE_VLAN = 0x8100

MAX_QUOTES = 2
"""Quotes inside quotes that are followed: an error about an error must not exist, but any bytes may arrive."""

ETHERTYPES = {0x86DD: "IPv6", 0x88CC: "LLDP", 0x8847: "MPLS", 0x8863: "PPPoE-D", 0x8864: "PPPoE", 0x88A8: "QinQ"}
IP_PROTOCOLS = {4: "IPIP", 41: "IPv6", 47: "GRE", 50: "ESP", 51: "AH", 89: "OSPF", 103: "PIM", 112: "VRRP", 132: "SCTP"}

CIRCUIT_SIGNALS = {int(signal): signal.name.lower().replace("_", " ") for signal in circuit.Signal}

UNREACHABLE_CODES = {
    icmp.NET_UNREACHABLE: "network unreachable",
    icmp.HOST_UNREACHABLE: "host unreachable",
    icmp.PROTOCOL_UNREACHABLE: "protocol unreachable",
    icmp.PORT_UNREACHABLE: "port unreachable",
    icmp.FRAGMENTATION_NEEDED: "fragmentation needed",
    icmp.SOURCE_ROUTE_FAILED: "source route failed",
    icmp.NET_UNKNOWN: "network unknown",
    icmp.HOST_UNKNOWN: "host unknown",
    icmp.SOURCE_HOST_ISOLATED: "source host isolated",
    icmp.NET_PROHIBITED: "network administratively prohibited",
    icmp.HOST_PROHIBITED: "host administratively prohibited",
    icmp.NET_UNREACHABLE_FOR_TOS: "network unreachable for this type of service",
    icmp.HOST_UNREACHABLE_FOR_TOS: "host unreachable for this type of service",
    icmp.ADMINISTRATIVELY_PROHIBITED: "communication administratively prohibited",
    icmp.HOST_PRECEDENCE_VIOLATION: "host precedence violation",
    icmp.PRECEDENCE_CUTOFF: "precedence cutoff in effect",
}
REDIRECT_CODES = {
    0: "for the network",
    1: "for the host",
    2: "for the type of service and network",
    3: "for the type of service and host",
}
TIME_EXCEEDED_CODES = {0: "time to live exceeded in transit", 1: "fragment reassembly time exceeded"}
PARAMETER_CODES = {0: "at octet {pointer}", 1: "required option missing", 2: "bad length"}
ICMP_OTHERS = {
    9: "router advertisement",
    10: "router solicitation",
    13: "timestamp request",
    14: "timestamp reply",
    15: "information request",
    16: "information reply",
    17: "address mask request",
    18: "address mask reply",
}


class Summary(NamedTuple):
    """`source` and `destination` are the innermost known: IP addresses, with ports, or MAC addresses."""

    source: str
    destination: str
    protocol: str
    info: str


def summarize(frame: Buffer, *, link: str = "ethernet") -> Summary:
    """The line of a frame. `link` is `ethernet`, or `ip` where the frame is a bare IP packet. Never raises for any
    bytes; raises ValueError for another `link`."""
    view = memoryview(frame)
    if link == "ip":
        return _ipv4(view, 0)
    if link != "ethernet":
        raise ValueError(f"link {link!r}, 'ethernet' or 'ip' expected")
    if len(view) < ethernet.HEADER_LENGTH:
        return Summary("", "", "Ethernet", f"{len(view)} octets [truncated]")
    destination, source, ethertype = ethernet.HEADER.unpack_from(view)
    return _ethernet_payload(format_mac(source), format_mac(destination), ethertype, view[ethernet.HEADER_LENGTH :])


def _ethernet_payload(source: str, destination: str, ethertype: int, payload: memoryview) -> Summary:
    if ethertype == ethernet.ETHERTYPE_IPV4:
        return _ipv4(payload, 0)
    if ethertype in (ethernet.ETHERTYPE_ARP, ethernet.ETHERTYPE_RARP):
        name = "ARP" if ethertype == ethernet.ETHERTYPE_ARP else "RARP"
        return Summary(source, destination, name, _arp(payload))
    if ethertype == ETHERTYPE_VLAN and len(payload) >= VLAN_TAG.size:
        tag, inner = VLAN_TAG.unpack_from(payload)
        line = _ethernet_payload(source, destination, inner, payload[VLAN_TAG.size :]) if inner != ethertype else None
        if line is not None:
            return line._replace(info=f"vlan {tag & 0xFFF} {line.info}")
    if ethertype == arq.ETHERTYPE_ARQ:
        return _arq(source, destination, payload)
    if ethertype == circuit.ETHERTYPE_CIRCUIT:
        return Summary(source, destination, "VC", _circuit(payload))
    if ethertype < ethernet.LOWEST_ETHERTYPE:
        return _llc(source, destination, payload[:ethertype])
    name = ETHERTYPES.get(ethertype, f"0x{ethertype:04x}")
    return Summary(source, destination, name, f"ethertype 0x{ethertype:04x}, length {len(payload)}")


def _circuit(payload: memoryview) -> str:
    """Data by its label; signals by their name of X.25, and the label that they are about."""
    if len(payload) < circuit.HEADER.size:
        return f"{len(payload)} octets [truncated]"
    vci, length = circuit.HEADER.unpack_from(payload)
    mark = "" if circuit.HEADER.size + length <= len(payload) else " [truncated]"
    if vci != circuit.SIGNALLING:
        return f"VCI {vci}, {length} octets{mark}"
    if mark or length != circuit.SIGNAL_LAYOUT.size:
        return f"signal of {length} octets{mark}"
    kind, detail, about, called, calling, called_port, _ = circuit.SIGNAL_LAYOUT.unpack_from(
        payload, circuit.HEADER.size
    )
    name = CIRCUIT_SIGNALS.get(kind, f"signal {kind}")
    if kind == circuit.Signal.HELLO:
        return name
    if kind == circuit.Signal.CALL_REQUEST:
        whom = f"{format_ip4(Ip4(calling))} calls {format_ip4(Ip4(called))}:{called_port}"
        return f"{name}, VCI {about}: {whom}, {detail} hops"
    return f"{name}, VCI {about}" + (f", cause {detail}" if kind == circuit.Signal.CLEAR_REQUEST else "")


def _arq(source: str, destination: str, payload: memoryview) -> Summary:
    """HDLC's names, and the line of the frame inside. A trace of a link is about numbers, so they stand first."""
    start, end = arq.HEADER.size - ethernet.HEADER_LENGTH, arq.TRAILER.size
    if len(payload) < start + end:
        return Summary(source, destination, "ARQ", f"{len(payload)} octets [truncated]")
    kind, flags, send, receive, inner, length = arq.FIELDS.unpack_from(payload)
    name = arq.KINDS[kind] if kind < len(arq.KINDS) else f"kind {kind}"
    mark = "" if start + length + end <= len(payload) else " [truncated]"
    if kind == arq.DATA:
        line = Summary(source, destination, "ARQ", "")
        if inner != arq.ETHERTYPE_ARQ:
            line = _ethernet_payload(source, destination, inner, payload[start : start + length])
        return line._replace(info=f"I, N(S) {send}, N(R) {receive}: {line.info}{mark}")
    numbers = f", N(R) {receive}" if kind in (arq.READY, arq.NOT_READY, arq.REJECT, arq.SELECTIVE_REJECT) else ""
    if flags & arq.SELECTIVE or kind == arq.SELECTIVE_REJECT:
        numbers += f", N(S) {send}"
    asked = ", poll" if flags & arq.POLL else ", final" if flags & arq.FINAL else ""
    return Summary(source, destination, "ARQ", f"{name}{numbers}{asked}{mark}")


def _arp(payload: memoryview) -> str:
    """`who-has` and `is-at` of tcpdump, and the names of RFC 5227 for the forms with a meaning of their own."""
    if len(payload) < arp.LENGTH:
        return f"{len(payload)} octets [truncated]"
    *layout, operation, sender_mac, sender, target_mac, target = arp.PACKET.unpack_from(payload)
    if layout != [arp.HARDWARE_ETHERNET, arp.PROTOCOL_IPV4, 6, 4]:
        return f"hardware {layout[0]}, protocol 0x{layout[1]:04x}, operation {operation}"
    if operation == arp.REQUEST and sender == 0:
        return f"probe who-has {format_ip4(target)}"
    if operation == arp.REQUEST and sender == target:
        return f"announcement {format_ip4(sender)} is-at {format_mac(sender_mac)}"
    texts = {
        arp.REQUEST: f"request who-has {format_ip4(target)} tell {format_ip4(sender)}",
        arp.REPLY: f"reply {format_ip4(sender)} is-at {format_mac(sender_mac)}",
        arp.REVERSE_REQUEST: f"reverse request who-is {format_mac(target_mac)} tell {format_mac(sender_mac)}",
        arp.REVERSE_REPLY: f"reverse reply {format_mac(target_mac)} at {format_ip4(target)}",
    }
    return texts.get(operation, f"operation {operation}")


def _llc(source: str, destination: str, payload: memoryview) -> Summary:
    if payload[:3] == bpdu.LLC:
        return Summary(source, destination, "STP", _bpdu(payload[3:]))
    head = bytes(payload[:3]).hex(" ") or "empty"
    return Summary(source, destination, "LLC", f"{head}, length {len(payload)}")


_PORT_ROLES = ("unknown", "alternate or backup", "root", "designated")
_RAPID_FLAGS = (
    (bpdu.FLAG_PROPOSAL, "proposal"),
    (bpdu.FLAG_LEARNING, "learning"),
    (bpdu.FLAG_FORWARDING, "forwarding"),
    (bpdu.FLAG_AGREEMENT, "agreement"),
)
_FLAGS = ((bpdu.FLAG_TOPOLOGY_CHANGE, "topology change"), (bpdu.FLAG_ACKNOWLEDGMENT, "acknowledgment"))


def _bpdu(unit: memoryview) -> str:
    if len(unit) < bpdu.HEADER.size:
        return f"{len(unit)} octets [truncated]"
    _, version, kind = bpdu.HEADER.unpack_from(unit)
    if kind == bpdu.NOTIFICATION:
        return "topology change notification"
    if kind not in (bpdu.CONFIGURATION, bpdu.RAPID):
        return f"version {version}, type 0x{kind:02x}"
    name = "rapid" if kind == bpdu.RAPID else "configuration"
    if len(unit) < bpdu.BODY.size:
        return f"{name}, {len(unit)} octets [truncated]"
    message = bpdu.Bpdu._make(bpdu.BODY.unpack_from(unit)[2:])
    parts = [
        f"{name}, root {_bridge(message.root)}, cost {message.path_cost}",
        f"bridge {_bridge(message.bridge)}, port 0x{message.port:04x}, age {message.message_age / 256:g} s",
    ]
    if kind == bpdu.RAPID:
        parts.append(f"role {_PORT_ROLES[message.role]}")
    flags = [word for bit, word in (_RAPID_FLAGS if kind == bpdu.RAPID else ()) + _FLAGS if message.flags & bit]
    if flags:
        parts.append(f"flags [{', '.join(flags)}]")
    return ", ".join(parts)


def _bridge(identifier: int) -> str:
    """Priority, with the system identifier extension, and address."""
    return f"{identifier >> 48}.{format_mac((identifier & 0xFFFF_FFFF_FFFF).to_bytes(6, 'big'))}"


def _ipv4(packet: memoryview, quotes: int) -> Summary:
    """A packet, or the beginning of one that an error quotes (`quotes` > 0)."""
    if len(packet) < ipv4.HEADER_LENGTH:
        return Summary("", "", "IPv4", f"{len(packet)} octets [truncated]")
    first, _, total, identification, flags, ttl, protocol, _, source, destination = ipv4.HEADER.unpack_from(packet)
    names = format_ip4(source), format_ip4(destination)
    length = (first & 15) * 4
    if first >> 4 != 4:
        return Summary("", "", f"IPv{first >> 4}", f"length {len(packet)}")
    if length < ipv4.HEADER_LENGTH or total < length:
        return Summary(*names, "IPv4", f"header length {length}, total length {total} [bad length]")
    if len(packet) < length:
        return Summary(*names, "IPv4", f"header length {length} [truncated]")
    payload, complete = packet[length:total], len(packet) >= total
    offset = (flags & ipv4.OFFSET_MASK) * 8
    if offset:
        more = "+" if flags & ipv4.MORE_FRAGMENTS else ""
        info = f"fragment id {identification} offset {offset} length {total - length}{more}, protocol {protocol}"
        return Summary(*names, "IPv4", info)
    fragment = bool(flags & ipv4.MORE_FRAGMENTS)
    line = _transport(protocol, source, destination, payload, complete and not fragment, quotes)
    if fragment:
        line = line._replace(info=f"{line.info}, first fragment id {identification} length {total - length}+")
    if not complete and not quotes and not line.info.endswith("[truncated]"):
        line = line._replace(info=f"{line.info} [truncated]")
    if ones_sum(packet[:length]) != 0xFFFF and not quotes:  # a quote may carry a changed header
        line = line._replace(info=f"{line.info} [bad header checksum]")
    return line._replace(info=f"{line.info}, ttl {ttl}") if ttl <= 1 and not quotes else line


def _transport(protocol: int, source: int, destination: int, payload: memoryview, check: bool, quotes: int) -> Summary:
    """`check`: everything is there, so that a checksum can be verified."""
    names = format_ip4(source), format_ip4(destination)
    pseudo = pseudo_header_sum(source, destination, protocol, len(payload))
    try:
        if protocol == ipv4.PROTOCOL_UDP:
            return _udp(*names, payload, pseudo, check)
        if protocol == ipv4.PROTOCOL_TCP:
            return _tcp(*names, payload, pseudo, check)
        if protocol == ipv4.PROTOCOL_ICMP:
            return Summary(*names, "ICMP", _icmp(payload, quotes) + _mark(payload, 0, check))
        if protocol == ipv4.PROTOCOL_IGMP:
            return Summary(*names, "IGMP", _igmp(payload) + _mark(payload, 0, check))
    except StructError:  # a header that was cut off
        name = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP"}[protocol]
        return Summary(*names, name, f"{len(payload)} octets [truncated]")
    name = IP_PROTOCOLS.get(protocol, f"IP {protocol}")
    return Summary(*names, name, f"protocol {protocol}, length {len(payload)}")


def _mark(data: Buffer, initial: int, check: bool) -> str:
    return " [bad checksum]" if check and not is_valid(data, initial) else ""


def _udp(source: str, destination: str, payload: memoryview, pseudo: int, check: bool) -> Summary:
    source_port, destination_port, length, checksum = udp.HEADER.unpack_from(payload)
    info = f"length {max(length - udp.HEADER_LENGTH, 0)}"
    if check and not udp.HEADER_LENGTH <= length <= len(payload):
        info = f"length field {length} of {len(payload)} octets [bad length]"
    elif checksum == 0:
        info += ", no checksum"
    else:
        info += _mark(payload[:length], pseudo - len(payload) + length, check)
    return Summary(f"{source}:{source_port}", f"{destination}:{destination_port}", "UDP", info)


def _tcp(source: str, destination: str, payload: memoryview, pseudo: int, check: bool) -> Summary:
    source_port, destination_port, sequence = TCP_QUOTED.unpack_from(payload)
    names = f"{source}:{source_port}", f"{destination}:{destination_port}"
    if len(payload) < tcp.HEADER_LENGTH:
        return Summary(*names, "TCP", f"seq {sequence}, {len(payload)} octets [truncated]")
    _, _, _, acknowledgment, offset, bits, window, _, urgent = tcp.HEADER.unpack_from(payload)
    flags = "".join(letter for bit, letter in enumerate(TCP_LETTERS) if bits >> bit & 1) or "none"
    parts = [f"flags [{flags}]", f"seq {sequence}"]
    if bits & tcp.ACK:
        parts.append(f"ack {acknowledgment}")
    header_length = (offset >> 4) * 4
    if header_length > len(payload) and not check:
        last = [f"{len(payload)} of {header_length} octets of header [truncated]"]
    elif not tcp.HEADER_LENGTH <= header_length <= len(payload):
        last = [f"data offset {header_length} of {len(payload)} octets [bad length]"]
    else:
        parts.append(f"length {len(payload) - header_length}")
        last = _tcp_options(payload[tcp.HEADER_LENGTH : header_length])
    parts.append(f"win {window}")
    if bits & tcp.URG:
        parts.append(f"urg {urgent}")
    parts += last  # the longest part, as lines get cut
    return Summary(*names, "TCP", ", ".join(parts) + _mark(payload, pseudo, check))


def _tcp_options(data: memoryview) -> list[str]:
    """As tcpdump has them, without the padding between them and in the order in which a SYN of ours has them."""
    options = tcp_options.parse_options(data)
    words = []
    if options.mss is not None:
        words.append(f"mss {options.mss}")
    if options.sack_permitted:
        words.append("sackOK")
    if options.timestamp is not None:
        words.append("TS val {} ecr {}".format(*options.timestamp))
    if options.window_scale is not None:
        words.append(f"wscale {options.window_scale}")
    if options.sack:
        words.append(f"sack {len(options.sack)} " + "".join(f"{{{start}:{end}}}" for start, end in options.sack))
    if options.user_timeout is not None:
        words.append(f"uto {options.user_timeout} s")
    if options.malformed:
        words.append("malformed")
    return [f"options [{','.join(words)}]"] if words else []


def _igmp(payload: memoryview) -> str:
    kind, response, _, group = igmp.MESSAGE.unpack_from(payload)
    name = format_ip4(group)
    texts = {
        igmp.MEMBERSHIP_QUERY: f"query for {name}, within {response / 10:g} s" if group else "general query",
        igmp.VERSION_1_REPORT: f"v1 report {name}",
        igmp.VERSION_2_REPORT: f"v2 report {name}",
        igmp.LEAVE_GROUP: f"leave {name}",
        0x22: "v3 report",  # RFC 3376 section 4.2
    }
    return texts.get(kind, f"type 0x{kind:02x}")


def _icmp(message: memoryview, quotes: int) -> str:
    kind, code, _, rest = icmp.HEADER.unpack_from(message)
    body = message[icmp.HEADER_LENGTH :]
    if kind in (icmp.ECHO_REQUEST, icmp.ECHO_REPLY):
        name = "request" if kind == icmp.ECHO_REQUEST else "reply"
        return f"echo {name}, id {rest >> 16}, seq {rest & 0xFFFF}, length {len(body)}"
    describe = _ICMP_ERRORS.get(kind)
    if describe is None:
        return ICMP_OTHERS.get(kind, f"type {kind}, code {code}")
    return describe(code, rest) + _quote(body, quotes)


def _unreachable(code: int, rest: int) -> str:
    text = UNREACHABLE_CODES.get(code, f"destination unreachable, code {code}")
    return f"{text}, next-hop MTU {rest & 0xFFFF}" if code == icmp.FRAGMENTATION_NEEDED else text


def _redirect(code: int, rest: int) -> str:
    return f"redirect {REDIRECT_CODES.get(code, f'code {code}')} to {format_ip4(rest)}"


def _time_exceeded(code: int, rest: int) -> str:  # noqa: ARG001  (one signature for all errors)
    return TIME_EXCEEDED_CODES.get(code, f"time exceeded, code {code}")


def _parameter_problem(code: int, rest: int) -> str:
    return f"parameter problem {PARAMETER_CODES.get(code, 'code {code}').format(pointer=rest >> 24, code=code)}"


def _source_quench(code: int, rest: int) -> str:  # noqa: ARG001  (one signature for all errors)
    return "source quench"


_ICMP_ERRORS: dict[int, Callable[[int, int], str]] = {
    icmp.UNREACHABLE: _unreachable,
    icmp.SOURCE_QUENCH: _source_quench,
    icmp.REDIRECT: _redirect,
    icmp.TIME_EXCEEDED: _time_exceeded,
    icmp.PARAMETER_PROBLEM: _parameter_problem,
}


def _quote(body: memoryview, quotes: int) -> str:
    if quotes >= MAX_QUOTES or not body:
        return ""
    line = _ipv4(body, quotes + 1)
    return f" (about {line.source} > {line.destination} {line.protocol} {line.info})"
