"""dnspython's asynchronous resolver, and a DNS server of fifty lines on asyncio.

The server answers over UDP and TCP. An answer that does not fit into the datagram that the client takes is cut and
marked (TC), which makes the resolver ask again over TCP. The first query for a name below `slow.test.` it loses: the
resolver must ask again.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any, cast

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import dns.rrset

from tests.programs.common import for_ever, reachable

Address = tuple[str, int]

LONG = 100
"""TXT records of `long.test.`: too many for a datagram."""
PLAIN_LIMIT = 512
"""RFC 1035 section 4.2.1: octets of an answer to who says nothing of larger ones."""
RECORDS = {
    ("www.test.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("alias.test.", "CNAME"): ["www.test."],
    ("test.", "MX"): ["10 mail.test."],
    ("long.test.", "TXT"): [f'"{number:03} {"x" * 60}"' for number in range(LONG)],
    ("a.slow.test.", "A"): ["192.0.2.3"],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["www.test."],
}
TIME_TO_LIVE = 60


# ---------------------------------------------------------------------------------------------------------- the server


class Names(asyncio.DatagramProtocol):
    """The server's UDP side."""

    def __init__(self) -> None:
        self._heard: set[dns.name.Name] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name
        if name.to_text().endswith("slow.test.") and name not in self._heard:
            self._heard.add(name)
            return
        limit = query.payload if query.edns >= 0 else PLAIN_LIMIT
        assert self._transport is not None
        self._transport.sendto(answer(query, limit), addr)


async def serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """RFC 1035 section 4.2.2: each message after its length, in two octets."""
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            wire = answer(dns.message.from_wire(await reader.readexactly(length)), 65_535)
            writer.write(struct.pack("!H", len(wire)) + wire)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has what it wanted
    finally:
        writer.close()


def answer(query: dns.message.Message, limit: int) -> bytes:
    """The answer in at most so many octets; without its records where they do not fit."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    question = query.question[0]
    name, kind = question.name.to_text().lower(), question.rdtype.name
    if (name, "CNAME") in RECORDS:
        response.answer.append(_records(name, "CNAME"))
        name = RECORDS[name, "CNAME"][0]
    if (name, kind) in RECORDS:
        response.answer.append(_records(name, kind))
    elif not any(known == name for known, _ in RECORDS):
        response.set_rcode(dns.rcode.NXDOMAIN)
    wire = response.to_wire(max_size=65_535)
    if len(wire) > limit:
        response.answer.clear()
        response.flags |= dns.flags.TC
        wire = response.to_wire()
    return wire


def _records(name: str, kind: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, TIME_TO_LIVE, "IN", kind, *RECORDS[name, kind])


async def server(address: str, port: int) -> None:
    """Serves until it is cancelled."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Names, local_addr=(address, port))
    try:
        async with await asyncio.start_server(serve_stream, address, port):
            await for_ever()
    finally:
        transport.close()


# ---------------------------------------------------------------------------------------------------------- the client


async def client(address: str, port: int) -> dict[str, Any]:
    """Questions of every kind, one after the other and at once."""
    await reachable(address, port)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [address]
    resolver.port = port
    resolver.timeout, resolver.lifetime = 1.0, 30.0
    resolver.cache = dns.resolver.Cache()
    start = time.monotonic()
    slow = await _texts(resolver, "a.slow.test", "A")
    waited = time.monotonic() - start
    silent = dns.asyncresolver.Resolver(configure=False)
    silent.nameservers, silent.port = [address], port + 1
    at_once = await asyncio.gather(*(_texts(resolver, "www.test", "A", use_cache=False) for _ in range(50)))
    return {
        "A": await _texts(resolver, "www.test", "A"),
        "CNAME": await _texts(resolver, "alias.test", "A"),
        "MX": await _texts(resolver, "test", "MX"),
        "PTR": [record.to_text() for record in await resolver.resolve_address("192.0.2.1")],
        "over TCP": len(await _texts(resolver, "long.test", "TXT")),
        "asked again": (slow, waited >= 1.0),
        "no such name": await _error(resolver, "absent.test"),
        "no such record": await _error(resolver, "test"),
        "nobody there": await _error(silent, "www.test", lifetime=3.0),
        "at once": sum(sorted(each) == ["192.0.2.1", "192.0.2.2"] for each in at_once),
        "one by UDP": await _directly(address, port),
    }


async def _texts(resolver: dns.asyncresolver.Resolver, name: str, kind: str, *, use_cache: bool = True) -> list[str]:
    if not use_cache and resolver.cache is not None:
        resolver.cache.flush()
    return sorted(record.to_text() for record in await resolver.resolve(name, kind))


async def _error(resolver: dns.asyncresolver.Resolver, name: str, lifetime: float | None = None) -> str:
    try:
        await resolver.resolve(name, "A", lifetime=lifetime)
    except dns.exception.DNSException as error:
        return type(error).__name__
    return "answered"


async def _directly(address: str, port: int) -> int:
    query = dns.message.make_query("www.test.", "A")
    response = await dns.asyncquery.udp(query, address, timeout=5, port=port)
    return len(response.answer[0])
