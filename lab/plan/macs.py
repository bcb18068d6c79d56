"""MAC addresses from names.

`02` (unicast, locally administered: IEEE 802-2014 section 8.2) and the first five octets of SHA-256 over lab, node
and interface: the same names give the same address in every run, on every machine, and two labs that meet do not clash.
40 bits make a clash inside a lab of 10,000 interfaces a matter of 1 in 20,000; then the hash is taken again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from lab.model.layout import Port


def assign_macs(lab: str, ports: Iterable[Port], given: dict[Port, str]) -> dict[Port, str]:
    """A MAC address for each port, those `given` included; all different."""
    macs: dict[Port, str] = {}
    used = set(given.values())
    for port in ports:
        if port in given:
            macs[port] = given[port]
            continue
        attempt = 0
        while (mac := derive_mac(lab, port.node, port.interface, attempt)) in used:
            attempt += 1
        used.add(mac)
        macs[port] = mac
    return macs


def derive_mac(lab: str, node: str, interface: str, attempt: int = 0) -> str:
    """`02:xx:xx:xx:xx:xx`; the names hold no '/', so that they cannot run into each other."""
    suffix = f"/{attempt}" if attempt else ""
    digest = hashlib.sha256(f"{lab}/{node}/{interface}{suffix}".encode()).digest()
    return (b"\x02" + digest[:5]).hex(":")
