"""`lab export --mininet`: what stands in the script, and what is left out with a word."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lab.cli.main import run
from lab.exchange.mininet_script import Script, mininet_script
from lab.exchange.reading import read
from lab.model.load import loads
from lab.plan.planner import make_plan
from lab.plan.values import Plan
from tests.unit.mininet_files import use_our_modules

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def without_mininet(monkeypatch: pytest.MonkeyPatch) -> None:
    use_our_modules(monkeypatch)


def plan_of(text: str) -> Plan:
    return make_plan(loads(text))


def script_of(text: str) -> Script:
    return mininet_script(plan_of(text))


def link_line(script: Script) -> str:
    """The only link's call, on one line."""
    return " ".join(script.text[script.text.index("self.addLink(") :].partition("\n\n")[0].split())


@pytest.mark.parametrize(
    ("impair", "expected"),
    [
        ("delay: 20ms", 'delay="20ms"'),
        ("delay: 20ms 2ms", 'delay="20ms", jitter="2ms"'),
        ("delay: 500ns", 'delay="0.5us"'),
        ("loss: 1.5%", "loss=1.5"),
        ("rate: 10mbit", "bw=10"),
        ("rate: 64kbit, limit: 20", "bw=0.064, max_queue_size=20"),
        ("from: {a: {delay: 5ms}}", 'params1={"delay": "5ms"}'),
        ("loss: 1%, from: {b: {rate: 1mbit}}", 'params1={"loss": 1}, params2={"bw": 1, "loss": 1}'),
    ],
)
def test_impairments_that_mininet_has(impair: str, expected: str) -> None:
    script = script_of(f"nodes: {{a: host, b: host}}\nlinks: [{{ends: [a, b], impair: {{{impair}}}}}]")
    assert expected in link_line(script)
    assert script.left_out == []


@pytest.mark.parametrize(
    ("impair", "words", "kept"),
    [
        ("delay: 20ms 2ms normal", "jitter 2ms normal", 'delay="20ms", jitter="2ms"'),
        ("corrupt: 1%, delay: 1ms", "corrupt 1%", 'delay="1ms"'),
        ("rate: 10mbit, queue: codel", "queue codel", "bw=10"),
        ("rate: 2gbit", "rate 2gbit", ""),
        ("burst: {loss: 1%, mean: 3}", "loss 1% in bursts of 3", ""),
        ("loss: 1% 25%", "loss 0% correlation 25%", "loss=1"),
        ("from: {b: {duplicate: 1%}}", "from b: duplicate 1%", ""),
        ("delay: 1ms, seed: 5", "from a: seed 5", 'delay="1ms"'),
    ],
)
def test_impairments_that_mininet_has_not(impair: str, words: str, kept: str) -> None:
    """They stand in a comment, and are warned of; the rest is kept."""
    script = script_of(f"nodes: {{a: host, b: host}}\nlinks: [{{ends: [a, b], impair: {{{impair}}}}}]")
    assert script.left_out[0].startswith("link a--b: ")
    assert any(words in each for each in script.left_out), script.left_out
    assert f"# left out: {script.left_out[0].removeprefix('link a--b: ')}\n" in script.text
    assert kept in link_line(script)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], mtu: 1400}]", "link a--b: MTU 1400"),
        ("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], up: false}]", "link a--b: it starts down"),
        ("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], name: wan}]", "link wan: the name wan"),
        (
            "nodes: {a: host, b: host}\nlinks: [{ends: [a, b], schedule: [{at: 5s, impair: {loss: 1%}}]}]",
            "link a--b: at 5s: loss 1%",
        ),
        (
            "nodes: {a: host, b: host}\nlinks: [{ends: [a, b], impair: {delay: 1ms}, impair_by: relay}]",
            "link a--b: carried by relay",
        ),
        (
            "nodes: {a: {start: [{udp_sink: {port: 9}}]}, b: host}\nlinks: [a -- b]",
            "a: the application udp_sink port=9",
        ),
        ("nodes: {a: {tcp: {sack: false}}, b: host}\nlinks: [a -- b]", "a: tcp: sack False"),
        ("nodes: {a: {capture: true}, b: host}\nlinks: [a -- b]", "a: capture"),
        ("defaults: {capture: true}\nnodes: {a: host, b: host}\nlinks: [a -- b]", "a and 1 more: capture"),
        ("nodes: {a: {trace: packets}, b: host}\nlinks: [a -- b]", "a: trace packets"),
        ("nodes: {a: {address_check: probe}, b: host}\nlinks: [a -- b]", "a: eth0 probes its address"),
        ("seed: 7\nnodes: {a: host, b: host}\nlinks: [a -- b]", "the lab: seed 7"),
        ("nodes: {a: host, s1: {kind: switch, ageing_time: 5}}\nlinks: [a -- s1]", "s1: ageing time 5 s"),
        ("nodes: {a: host, s1: switch}\nlinks: [a -- s1:up]", "s1: the name up of port 1"),
        (
            "nodes: {a: host, s1: {kind: switch, stp: {hello_time: 1}}}\nlinks: [a -- s1]",
            "s1: hello time 1 s, max age 20 s",
        ),
        (
            "nodes: {a: host, longer-name: switch}\nlinks: [a -- longer-name]",
            "longer-name: Mininet's interfaces longer-name-eth1 ... have names of 16 characters, which Linux refuses",
        ),
        (
            "nodes: {a: {address: rarp}, b: {rarp_server: true}}\nlinks: [a -- b]",
            "a: eth0 asks for its address by RARP; here it is written",
        ),
        (
            "nodes: {a: host, b: host}\nlinks: [{ends: [a, b], arq: go-back-n}]",
            "a and 1 more: eth0 repeats what its link loses (go-back-n)",
        ),
        ("circuits: true\nnodes: {a: host, b: host}\nlinks: [a -- b]", "a and 1 more: virtual circuits"),
    ],
)
def test_what_is_left_out_is_said(text: str, expected: str) -> None:
    assert expected in script_of(text).left_out


def test_nodes() -> None:
    script = script_of(
        """
        nodes:
          a: {kind: host, routes: [10.9.0.0/16 via 10.0.0.2]}
          r: router
          k: {kind: host, stack: kernel}
          s1: {kind: switch, impl: stack, stp: {priority: 4096}}
          hub: hub
          b: host
        links: [a -- s1, {ends: [r, s1], addresses: {r: 10.0.0.2/24}}, r -- hub, k -- hub, b -- hub]
        """
    )
    text = " ".join(script.text.split())
    assert 'self.addHost("k", ip="10.0.1.2/24", defaultRoute="via 10.0.1.1", stack="kernel")' in text
    assert 'self.addSwitch("s1", impl="stack", stp=True, prio=4096)' in text
    assert 'self.addSwitch("hub", cls=Hub, kind="hub", dpid="2")' in text
    assert 'self.addHost("r", cls=Router, ip="10.0.0.2/24")' in text
    assert (
        '"a", cls=RoutedHost, ip="10.0.0.1/24", defaultRoute="via 10.0.0.2", routes=[("10.9.0.0/16", "10.0.0.2"' in text
    )
    assert script.left_out == []


@pytest.mark.parametrize("lab", ["x", "my-lab.2", "class", "1e3", "9", "a_b"])
def test_the_class_has_a_name_that_python_takes(lab: str) -> None:
    tree = ast.parse(script_of(f'name: "{lab}"\nnodes: {{a: host, b: host}}\nlinks: [a -- b]').text)
    classes = [each.name for each in tree.body if isinstance(each, ast.ClassDef)]
    assert len(classes) == 1 and classes[0].endswith("Topo") and classes[0] != "Topo"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.yml").write_text("nodes: {a: host, b: host}\nlinks: [{ends: [a, b], impair: {delay: 1ms, ecn: true}}]")
    assert run(["export", "--mininet", "net.yml"]) == 0
    told = capsys.readouterr()
    assert "warning: left out: link a--b: ecn\n" in told.err
    Path("net_topo.py").write_text(told.out)
    assert run(["plan", "net_topo.py"]) == 0
    assert capsys.readouterr().out.startswith("lab net, seed 1: 2 nodes, 1 link\n")


@pytest.mark.parametrize("path", sorted(ROOT.glob("topologies/*.yml")), ids=lambda path: path.stem)
def test_our_own_topologies_come_back(path: Path, tmp_path: Path) -> None:
    """Nodes, links and addresses of every topology that comes with Layerlab."""
    plan = make_plan(read(path).topology)
    file = tmp_path / "exported.py"
    file.write_text(mininet_script(plan).text)
    again = make_plan(read(file).topology)
    assert again.lab == plan.lab
    for node in plan.nodes:
        other = again.by_name[node.name]
        assert (other.kind, other.stack, set(other.routes)) == (node.kind, node.stack, set(node.routes))
        assert [(each.mac, each.peer.partition(":")[0]) for each in other.interfaces] == [
            (each.mac, each.peer.partition(":")[0]) for each in node.interfaces
        ]
        assert again.addresses_of(node.name) == plan.addresses_of(node.name)
