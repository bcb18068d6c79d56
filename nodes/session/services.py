"""The names of well-known ports: what /etc/services is to a kernel, and the same on every system.

The registry of IANA has thousands, of which programs use these by name (RFC 6335).
"""

from __future__ import annotations

TCP_PORTS = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "chargen": 19,
    "ftp-data": 20,
    "ftp": 21,
    "ssh": 22,
    "telnet": 23,
    "smtp": 25,
    "time": 37,
    "whois": 43,
    "domain": 53,
    "gopher": 70,
    "finger": 79,
    "http": 80,
    "kerberos": 88,
    "pop3": 110,
    "sunrpc": 111,
    "nntp": 119,
    "imap2": 143,
    "bgp": 179,
    "irc": 194,
    "ldap": 389,
    "https": 443,
    "submissions": 465,
    "submission": 587,
    "ldaps": 636,
    "domain-s": 853,
    "ftps": 990,
    "imaps": 993,
    "pop3s": 995,
    "socks": 1080,
    "mysql": 3306,
    "sip": 5060,
    "xmpp-client": 5222,
    "postgresql": 5432,
    "amqp": 5672,
    "redis": 6379,
    "http-alt": 8080,
}

UDP_PORTS = {
    "echo": 7,
    "discard": 9,
    "daytime": 13,
    "chargen": 19,
    "time": 37,
    "domain": 53,
    "bootps": 67,
    "bootpc": 68,
    "tftp": 69,
    "kerberos": 88,
    "sunrpc": 111,
    "ntp": 123,
    "snmp": 161,
    "snmp-trap": 162,
    "https": 443,
    "isakmp": 500,
    "syslog": 514,
    "route": 520,
    "domain-s": 853,
    "radius": 1812,
    "ssdp": 1900,
    "sip": 5060,
    "mdns": 5353,
    "coap": 5683,
}

ALIASES = {"www": "http", "imap": "imap2", "portmapper": "sunrpc", "mail": "smtp", "nameserver": "domain"}

_NAMES = {
    "tcp": {port: name for name, port in TCP_PORTS.items()},
    "udp": {port: name for name, port in UDP_PORTS.items()},
}


def port_of(name: str, protocol: str) -> int | None:
    """The port of a service of `tcp` or `udp`, None for one that is unknown there."""
    return (TCP_PORTS if protocol == "tcp" else UDP_PORTS).get(ALIASES.get(name, name))


def service_of(port: int, protocol: str) -> str | None:
    """The name of a port of `tcp` or `udp`, None where it has none."""
    return _NAMES[protocol].get(port)
