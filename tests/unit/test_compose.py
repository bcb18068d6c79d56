"""`lab compose`: topologies as Compose files, and what is refused. Nothing is started here."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.cli.main import run
from lab.compose.document import Options, compose_file
from lab.compose.networks import DEFAULT_RANGE, networks_of
from lab.errors import UserInputError
from lab.model.errors import TopologyError
from lab.model.load import load, loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from nodes.container_settings import ContainerSettings, from_json
from nodes.contract import to_json
from nodes.impairment import Impairment

CHECKOUT = Path(__file__).parents[2]
TOPOLOGIES = sorted((CHECKOUT / "topologies").glob("*.yml"))
READY = ("pair", "lossy")


def written(text: str | Path, options: Options | None = None) -> tuple[Plan, dict[str, Any]]:
    """A topology's plan, and its Compose file as Compose reads it."""
    topology = load(text) if isinstance(text, Path) else loads(text, "lab.yml")
    plan = make_plan(topology)
    return plan, yaml.safe_load(compose_file(topology, plan, options or Options()))


def told(document: dict[str, Any], node: str) -> ContainerSettings:
    """What the container of a node will read, after Compose has replaced its variables: `$$` is a `$`."""
    environment = document["services"][node]["environment"]
    node_text, hosts = (environment[name].replace("$$", "$") for name in ("LAYERLAB_NODE", "LAYERLAB_HOSTS"))
    return from_json(node_text, hosts)


def plain(value: Any) -> Any:
    """Without offload, which no Docker network carries, and in types of JSON."""
    return {**value, "interfaces": [{**interface, "offload": False} for interface in value["interfaces"]]}


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_each_node_is_told_what_the_plan_says(path: Path) -> None:
    plan, document = written(path)
    services = {node.name: node for node in plan.nodes if not node.is_bridge}
    assert list(document["services"]) == list(services)
    for name, node in services.items():
        settings = told(document, name)
        assert to_json(settings.node) == plain(to_json(node))
        assert [port.interface for port in settings.ports] == [interface.name for interface in node.interfaces]


@pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)
def test_docker_s_addresses_fit_their_networks_and_are_used_once(path: Path) -> None:
    _, document = written(path)
    subnets = {name: IPv4Network(net["ipam"]["config"][0]["subnet"]) for name, net in document["networks"].items()}
    assert sum(1 for a in subnets.values() for b in subnets.values() if a.overlaps(b)) == len(subnets)
    assert all(subnet.subnet_of(IPv4Network(DEFAULT_RANGE)) for subnet in subnets.values())
    given = set()
    for service in document["services"]:
        attached = document["services"][service]["networks"]
        for network, settings in attached.items():
            address, subnet = IPv4Address(settings["ipv4_address"]), subnets[network]
            gateway = subnet.network_address + 1
            assert address in subnet and address not in (subnet.network_address, gateway, subnet.broadcast_address)
            assert address not in given
            given.add(address)
        assert [port.address for port in told(document, service).ports] == [
            settings["ipv4_address"] for settings in attached.values()
        ]


@pytest.mark.parametrize("name", READY)
def test_the_ready_files_are_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    topology, there = f"topologies/{name}.yml", f"compose/{name}.yml"
    loaded = load(topology)
    options = Options(build="..", command=f"lab compose {topology}", file=there)
    assert (CHECKOUT / there).read_text() == compose_file(loaded, make_plan(loaded), options), (
        f"make it again: lab compose --build .. {topology} -o {there}"
    )


def test_the_command_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology, output = tmp_path / "two.yml", tmp_path / "compose.yml"
    topology.write_text("nodes: {a: host, b: host}\nlinks: [a -- b]\n")
    assert run(["compose", str(topology), "-o", str(output), "--image", "mine:1", "--recordings", str(tmp_path)]) == 0
    service = yaml.safe_load(output.read_text())["services"]["a"]
    assert service["image"] == "mine:1"
    assert service["volumes"] == [f"{tmp_path}:/recordings"]
    assert capsys.readouterr().out == ""
    assert run(["compose", str(topology)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["services"]["b"]["image"] == "layerlab"
    assert run(["compose", str(topology), "-o", str(tmp_path / "no" / "file")]) == 4
    assert "cannot write" in capsys.readouterr().err


def test_containers_have_two_capabilities_and_nothing_to_write_to() -> None:
    _, document = written("nodes: {a: host, b: host}\nlinks: [a -- b]\n")
    for service in document["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["cap_add"] == ["NET_ADMIN", "NET_RAW"]
        assert service["read_only"] is True
        assert "privileged" not in service


def test_a_kernel_switch_and_what_is_joined_to_it_is_one_network() -> None:
    plan, document = written(
        "nodes: {a: host, b: host, c: host, s1: switch, s2: switch, s3: {kind: switch, impl: stack}}\n"
        "links: [a -- s1, s1 -- s2, b -- s2, s2 -- s3, s3 -- c]\n"
    )
    assert {name: len(network.attachments) for name, network in by_name(plan).items()} == {"s1": 3, "s3--c": 2}
    assert "s1" not in document["services"] and "s3" in document["services"]


def test_a_link_that_is_down_joins_no_switches() -> None:
    plan, document = written(
        "nodes: {a: host, b: host, s1: switch, s2: switch}\n"
        "links: [a -- s1, {ends: [s1, s2], up: false}, {ends: [b, s2], up: false}]\n"
    )
    assert {name: len(network.attachments) for name, network in by_name(plan).items()} == {"s1": 1, "s2": 1}
    assert [told(document, name).ports[0].up for name in ("a", "b")] == [True, False]


def by_name(plan: Plan) -> dict[str, Any]:
    return {network.name: network for network in networks_of(plan)}


def test_a_network_has_room_for_all_and_the_largest_mtu() -> None:
    hosts = [f"h{number}" for number in range(14)]
    nodes, links = (", ".join(form.format(host) for host in hosts) for form in ("{}: host", "{} -- s"))
    plan, document = written(f"nodes: {{s: switch, {nodes}}}\nlinks: [{links}]\ndefaults: {{mtu: 900}}\n")
    (network,) = networks_of(plan)
    assert IPv4Network(network.subnet).prefixlen == 27  # 14 + network, bridge, broadcast
    assert document["networks"]["s"]["driver_opts"]["com.docker.network.driver.mtu"] == "900"


def test_labs_begin_at_different_places_and_always_at_the_same() -> None:
    texts = [f"name: {name}\nnodes: {{a: host, b: host}}\nlinks: [a -- b]\n" for name in ("one", "two", "one")]
    one, two, again = (networks_of(make_plan(loads(text)))[0].subnet for text in texts)
    assert one == again != two


@pytest.mark.parametrize("name", ["default", "on", "NO"])
def test_names_that_mean_something_else_elsewhere(name: str) -> None:
    _, document = written(f"nodes: {{'{name}': host, b: host}}\nlinks: [{{ends: ['{name}', b], name: '{name}'}}]\n")
    assert list(document["services"]) == [name, "b"]
    (network,) = document["networks"]
    assert network == {"default": "default-2"}.get(name, name)
    assert document["services"][name]["hostname"] == name


def test_dollars_survive() -> None:
    _, document = written("nodes: {a: {kind: host, start: [ping: {to: '$HOME'}]}, b: host}\nlinks: [a -- b]\n")
    assert told(document, "a").node.applications[0].options == {"to": "$HOME"}
    assert "$$HOME" in document["services"]["a"]["environment"]["LAYERLAB_NODE"]


IMPAIRED = "impair: {delay: 20ms, from: {b: {delay: 5ms}}}"


def test_each_end_of_ours_impairs_what_it_sends() -> None:
    _, document = written(f"nodes: {{a: host, b: host}}\nlinks: [{{ends: [a, b], {IMPAIRED}}}]\n")
    at_a, at_b = (told(document, name).ports[0].impairment for name in "ab")
    assert at_a is not None and at_b is not None
    assert (at_a.out, at_b.out) == ("ab", "ba")
    assert not at_a.both and not at_b.both
    assert at_a.of("ab") == at_b.of("ab") == Impairment(delay=20_000_000)
    assert at_a.of("ba") == at_b.of("ba") == Impairment(delay=5_000_000)
    assert at_a.seed("ab") != at_a.seed("ba")


@pytest.mark.parametrize("other", ["switch", "{kind: host, stack: kernel}"])
def test_an_end_of_ours_impairs_both_directions_where_the_other_is_the_kernel_s(other: str) -> None:
    _, document = written(f"nodes: {{b: {other}, a: host}}\nlinks: [{{ends: [b, a], {IMPAIRED}}}]\n")
    at_a = told(document, "a").ports[0].impairment
    assert at_a is not None
    assert (at_a.out, at_a.both) == ("ba", True)
    if "b" in document["services"]:
        assert told(document, "b").ports[0].impairment is None


def test_a_schedule_is_told_to_both_ends() -> None:
    _, document = written(
        "nodes: {a: host, b: host}\nlinks: [{ends: [a, b], schedule: [{at: 2s, ramp: 1s, impair: {delay: 9ms}}]}]\n"
    )
    for name in "ab":
        impairment = told(document, name).ports[0].impairment
        assert impairment is not None
        assert [(change.at, change.ramp) for change in impairment.changes] == [(2_000_000_000, 1_000_000_000)]


def test_kernel_nodes_find_names_in_their_hosts_file() -> None:
    _, document = written("nodes: {k: {kind: host, stack: kernel}, a: host}\nlinks: [k -- a]\n")
    assert document["services"]["k"]["extra_hosts"] == ["a:10.0.0.2"]
    assert "extra_hosts" not in document["services"]["a"]


def test_only_kernel_routers_forward() -> None:
    _, document = written(
        "nodes: {a: host, r: {kind: router, stack: kernel}, q: router, b: host}\nlinks: [a -- r, r -- q, q -- b]\n"
    )
    forwarding = {name: service["sysctls"]["net.ipv4.ip_forward"] for name, service in document["services"].items()}
    assert forwarding == {"a": "0", "r": "1", "q": "0", "b": "0"}


REFUSED = {
    "both ends are the kernel's": (
        "nodes: {k: {kind: host, stack: kernel}, s: switch, a: host}\nlinks:\n  - a -- s\n"
        "  - {ends: [k, s], impair: {delay: 1ms}}\n",
        "lab.yml:4:5: link k--s: nobody can impair it",
    ),
    "netem asked for": (
        "nodes: {a: host, b: host}\nlinks:\n  - {ends: [a, b], impair: {delay: 1ms}, impair_by: kernel}\n",
        "lab.yml:3:5: link a--b: in a Compose file a node impairs its links itself",
    ),
    "spanning tree": (
        "nodes:\n  a: host\n  s: {kind: switch, impl: kernel, stp: true}\nlinks: [a -- s]\n",
        "lab.yml:3:6: switch s: a Docker network runs no spanning tree",
    ),
    "ageing": (
        "nodes:\n  a: host\n  s: {kind: switch, ageing_time: 5}\nlinks: [a -- s]\n",
        "lab.yml:3:6: switch s: a Docker network forgets addresses",
    ),
    "twice on a segment": (
        "nodes: {r: router, s: switch}\nlinks:\n  - {ends: [r, s], addresses: {r: 10.0.0.1/24}}\n  - r -- s\n",
        "lab.yml:4:5: r has two links to one segment",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_expressed_is_refused_with_its_place(case: str) -> None:
    text, message = REFUSED[case]
    with pytest.raises(TopologyError) as caught:
        written(text)
    assert message in caught.value.message
    assert all(problem.hint for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("subnets", "message"),
    [
        ("10.0.0.0/24", "segment a--b has 10.0.0.0/24, in the range"),
        ("192.168.0.0/30", "1 networks need 8 addresses"),
        ("192.168.0.0", "192.168.0.0/32 has 1"),
        ("192.168.0.1/24", "has host bits set"),
        ("everything", "--subnets 'everything'"),
    ],
)
def test_ranges_that_do_not_do(subnets: str, message: str) -> None:
    with pytest.raises(UserInputError) as caught:
        written("name: x\nnodes: {a: host, b: host}\nlinks: [a -- b]\n", options=Options(subnets=subnets))
    assert message in caught.value.message


def test_settings_that_fit_into_no_variable_are_refused() -> None:
    entries = ", ".join(f"{{at: {second}s, impair: {{delay: {second}ms}}}}" for second in range(1, 2000))
    with pytest.raises(UserInputError, match="a container takes"):
        written(f"nodes: {{a: host, b: host}}\nlinks: [{{ends: [a, b], schedule: [{entries}]}}]\n")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"node": 1}', '{"node": {"version": 99}}', '{"node": {"version": 1, "lab": "x", "nome": "y"}}']
)
def test_settings_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(text, "{}")
