"""Topologies whose nodes, links and interfaces have every odd name that the model allows."""

from __future__ import annotations

ODD = ["A", "a", "0", "7.8", "x-", "x_", "a..b", "1.2.3", "null", "true", "lo", "s--t", "Z" * 63]
ODD_INTERFACES = ["!#$&'()*+,", ";<=>?@[]^_`{|}", "-x", "..a", "~"]


def odd_names(what: str) -> tuple[list[str], str]:
    """The hosts, all on one switch, and the topology; `what` is `nodes` or `interfaces`."""
    if what == "nodes":
        hosts = ODD
        nodes = "".join(f"  {name!r}: host\n" for name in hosts)
        links = "".join(f"  - {{ends: ['{name}', s.w-i_t.ch], name: '{name}'}}\n" for name in hosts)
    else:
        hosts = [f"h{number}" for number in range(len(ODD_INTERFACES))]
        nodes = "".join(f"  {host}: host\n" for host in hosts)
        ends = [f"{host}:{interface}".replace("'", "''") for host, interface in zip(hosts, ODD_INTERFACES, strict=True)]
        links = "".join(f"  - {{ends: ['{end}', s.w-i_t.ch]}}\n" for end in ends)
    return hosts, f"name: odd\nnodes:\n{nodes}  s.w-i_t.ch: {{kind: switch, impl: stack}}\nlinks:\n{links}"
