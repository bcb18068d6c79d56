"""The Compose file as text.

It is written and not dumped, because people read it: a header that says how it is used, what all nodes have in common
once, and each node's settings as JSON in lines of their own. It only has what both Compose 1.29 and the v2 plugin
understand. Text is quoted as JSON, which is YAML, too; `$` is doubled, for Compose replaces variables everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lab.compose.networks import DEFAULT_RANGE, Network, networks_of
from lab.compose.refusals import check
from lab.compose.services import Service, services_of
from lab.model.topology import Topology
from lab.plan.values import Plan
from nodes.container_settings import HOSTS_VARIABLE, NODE_VARIABLE, RECORDINGS_FOLDER, hosts_to_json

DEFAULT_IMAGE = "layerlab"
DOCKERFILE = "compose/Dockerfile"
LABEL = "org.layerlab.lab"
VOLUME = "recordings"

_PLAIN = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML takes for something else."""


@dataclass(frozen=True, slots=True)
class Options:
    """`build` is Layerlab's folder, seen from where the file will be: Compose then makes the image itself.
    `recordings` is a folder of the machine; empty is a volume of Docker's. `command` made the file, and `file` is its
    name, for the header."""

    image: str = DEFAULT_IMAGE
    build: str = ""
    subnets: str = DEFAULT_RANGE
    recordings: str = ""
    command: str = "lab compose"
    file: str = "THIS_FILE"


def compose_file(topology: Topology, plan: Plan, options: Options) -> str:
    """The file for a topology and its plan. Raises TopologyError for what it cannot express, with places, and
    UserInputError."""
    networks = networks_of(plan, options.subnets)
    check(topology, plan, networks)
    services = services_of(plan, networks)
    return "\n".join([*_header(plan, services, options), "", *_body(plan, services, networks, options), ""])


def _header(plan: Plan, services: list[Service], options: Options) -> Iterator[str]:
    yield f"# Lab {plan.lab}{f': {plan.description}' if plan.description else ''}".replace("\n", " ")
    yield f"# Made by `{options.command}`; change the topology, not this file."
    yield "#"
    if options.image == DEFAULT_IMAGE and not options.build:
        yield f"#     docker build -f compose/Dockerfile -t {DEFAULT_IMAGE} .     the image, once, in Layerlab's folder"
    yield f"#     docker compose -f {options.file} up -d"
    pair = [node.name for node in plan.nodes if node.stack == "layerlab" and node.kind == "host"][:2]
    if len(pair) == 2:
        yield f"#     docker compose -f {options.file} exec {pair[0]} lab-node ping {pair[1]}"
    elif services:
        yield f"#     docker compose -f {options.file} exec {services[0].name} lab-node state"
    yield f"#     docker compose -f {options.file} down -v"


def _body(plan: Plan, services: list[Service], networks: list[Network], options: Options) -> Iterator[str]:
    hosts = plan.nodes[0].hosts if plan.nodes else {}
    yield f"x-hosts: &hosts {_quoted(hosts_to_json(hosts))}"
    yield ""
    yield "x-node: &node"
    yield f"  image: {_quoted(options.image)}"
    if options.build:
        yield f"  build: {{context: {_quoted(options.build)}, dockerfile: {DOCKERFILE}}}"
    elif options.image == DEFAULT_IMAGE:
        yield "  pull_policy: never"  # it is in no registry
    yield "  command: [--environment]"
    yield "  cap_drop: [ALL]"
    yield "  cap_add: [NET_ADMIN, NET_RAW]"
    yield "  read_only: true"
    yield "  tmpfs: [/tmp]"
    yield f"  volumes: [{_quoted(f'{options.recordings or VOLUME}:{RECORDINGS_FOLDER}')}]"
    yield f"  labels: {{{LABEL}: {_quoted(plan.lab)}}}"
    yield ""
    yield "services:"
    for service in services:
        yield from _service(service)
    if networks:
        yield "networks:"
        for network in networks:
            yield from _network(plan, network)
    if not options.recordings:
        yield "volumes:"
        yield f"  {VOLUME}:"
        yield f"    labels: {{{LABEL}: {_quoted(plan.lab)}}}"


def _service(service: Service) -> Iterator[str]:
    yield f"  {_quoted(service.name)}:"
    yield "    <<: *node"
    yield f"    hostname: {_quoted(service.name)}"
    yield f"    sysctls: {_mapping(service.sysctls)}"
    if service.hosts:
        entries = [f"{name}:{address}" for name, address in service.hosts if name != service.name]
        yield f"    extra_hosts: {_quoted_list(entries)}"
    if service.networks:
        yield "    networks:"
        for name, address in service.networks:
            yield f"      {_quoted(name)}: {{ipv4_address: {address}}}"
    else:
        yield "    network_mode: none"
    yield "    environment:"
    yield f"      {HOSTS_VARIABLE}: *hosts"
    yield f"      {NODE_VARIABLE}: |-"
    for line in service.settings.splitlines():
        yield f"        {_escaped(line)}"
    yield ""


def _network(plan: Plan, network: Network) -> Iterator[str]:
    yield f"  {_quoted(network.name)}:"
    yield "    driver: bridge"
    yield "    driver_opts:"
    yield f"      com.docker.network.driver.mtu: {_quoted(str(network.mtu))}"
    # no way out: not `internal: true`, whose firewall rules drop what has other addresses than Docker's
    yield '      com.docker.network.bridge.enable_ip_masquerade: "false"'
    yield f"    ipam: {{config: [{{subnet: {network.subnet}}}]}}"
    yield f"    labels: {{{LABEL}: {_quoted(plan.lab)}}}"


def _mapping(values: dict[str, str]) -> str:
    return f"{{{', '.join(f'{key}: {_quoted(value)}' for key, value in values.items())}}}"


def _quoted_list(values: list[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT
    return text if plain else _escaped(json.dumps(text))


def _escaped(text: str) -> str:
    return text.replace("$", "$$")
