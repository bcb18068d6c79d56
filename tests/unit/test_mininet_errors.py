"""What is wrong with a file with a Mininet topology: its line, the cause, a hint; never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.cli.main import run
from lab.errors import UserInputError
from lab.exchange.reading import read
from lab.model.errors import TopologyError
from lab.plan.planner import make_plan
from tests.unit.mininet_files import Files, use_our_modules


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    use_our_modules(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path)


def problems(reference: str = "net.py") -> str:
    with pytest.raises(TopologyError) as caught:
        make_plan(read(reference).topology)
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("self.addHost('a b')", "net.py:12:9: 'a b' is not a name"),
        ("self.addHost(1)", "net.py:12:9: the name 1 is no text\n    hint: write '1'"),
        ("self.addHost('a')", "net.py:12:9: no link reaches 'a'"),
        (
            "self.addLink(self.addHost('host'), self.addSwitch('s1')); self.addLink('hots', 's1')",
            "net.py:12:67: there is no node 'hots'\n    hint: did you mean 'host'?",
        ),
        (
            "self.addLink(self.addHost('a'), self.addHost('b'), intfName1='much-too-long-a-name')",
            "net.py:12:9: the interface name 'much-too-long-a-name' has 20 characters",
        ),
        (
            "self.addLink(self.addHost('a', ip='10.0.0.300'), self.addHost('b'))",
            "net.py:12:22: '10.0.0.300/8' is not an address",
        ),
        (
            "self.addLink(self.addHost('a', mac='x'), self.addHost('b'))",
            "net.py:12:22: 'x' is not a MAC address",
        ),
        (
            "self.addLink(self.addHost('a', defaultRoute='via 11.0.0.1'), self.addHost('b'))",
            "net.py:12:22: the gateway 11.0.0.1 is not on a link of 'a'",
        ),
        (
            "self.addLink(self.addHost('a', ip=None), self.addHost('b'), params1={'ip': '10.0.0.9'})",
            "net.py:12:9: the address 10.0.0.9 of a-eth0 has no prefix length\n    hint: 10.0.0.9/24",
        ),
        (
            "self.addHost('a'), self.addHost('b'), self.addHost('c')\nself.addLink('a', 'b', port1=1)\n"
            "self.addLink('a', 'c', port1=1)",
            "net.py:14:9: port 1 of 'a' is on two links\n    hint: line 13 uses it",
        ),
        ("self.addLink(self.addHost('a'), 'a')", "net.py:12:9: a link from 'a' to itself"),
        (
            "self.addLink(self.addHost('a'), self.addSwitch('s1', prio='5', stp=True))",
            "net.py:12:41: '5' stands here, a whole number expected",
        ),
        (
            "self.addLink(self.addHost('a', stack='ours'), self.addHost('b'))",
            "net.py:12:22: 'ours' is not a value of 'stack'",
        ),
        ("pass", "net.py:1:1: 'Net' adds no node\n    hint: self.addHost('h1')"),
        ("raise RuntimeError('in build')", "net.py:12:1: RuntimeError: in build"),
        ("import sys; sys.exit('done')", "net.py:12:1: it ends the program"),
        ("from mininet.node import Rooter", "net.py:12:1: cannot import name 'Rooter'"),
        ("import mininet.nothing", "net.py:12:1: No module named 'mininet.nothing'"),
        ("import no_such_module", "net.py:12:1: No module named 'no_such_module'\n    hint: install it"),
        (
            "from mininet.net import Mininet; Mininet(topo=self)",
            "net.py:12:1: Mininet belongs to a running network, and here a topology is only described",
        ),
        (
            "from mininet.util import quietRun; quietRun('ls')",
            "net.py:12:1: mininet.util.quietRun belongs to a running",
        ),
        ("self.build = 1; int('x')", "net.py:12:1: ValueError: invalid literal for int()"),
    ],
)
def test_errors_have_the_line_of_the_file(files: Files, body: str, expected: str) -> None:
    with pytest.raises(TopologyError) as caught:
        make_plan(files.build(body).topology)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("bw='10'", "bw is '10', a number of Mbit/s above 0 expected"),
        ("bw=0", "bw is 0, a number"),
        ("bw=-1", "bw is -1, a number"),
        ("bw=float('inf')", "bw is inf, a number"),
        ("bw=True", "bw is True, a number"),
        ("bw=.0000001", "'0.0000001mbit' is not a whole number"),
        ("delay='fast'", "delay is 'fast', a time such as '5ms' expected"),
        ("delay='-5ms'", "delay is '-5ms', a time"),
        ("delay='5 lightyears'", "'5lightyears' is not a time"),
        ("loss=101", "loss is 101, a number from 0 to 100 expected"),
        ("loss='1%'", "loss is '1%', a number"),
        ("loss=-1", "loss is -1, a number"),
        ("max_queue_size=0", "max_queue_size is 0, a number of packets above 0 expected"),
        ("max_queue_size=1.5", "max_queue_size is 1.5, a number"),
    ],
)
def test_link_parameters_that_cannot_be(files: Files, arguments: str, expected: str) -> None:
    """Mininet prints some of them, and goes on without. Said once, though both ends have it."""
    with pytest.raises(TopologyError) as caught:
        files.build(f"self.addLink(self.addHost('a'), self.addHost('b'), {arguments})")
    assert [str(each)[: len("net.py:12:9: ")] for each in caught.value.problems] == ["net.py:12:9: "]
    assert expected in str(caught.value)


def test_all_that_is_wrong_is_said_together(files: Files) -> None:
    with pytest.raises(TopologyError) as caught:
        files.build(
            """
            self.addLink(self.addHost("a"), self.addHost("b"), bw=-1, loss=200)
            self.addLink("a", self.addHost("c"), delay="x")
            """
        )
    assert [problem.line for problem in caught.value.problems] == [12, 12, 13]


# Which topology


def test_names_that_are_none(files: Files) -> None:
    files.write("class MyTopo(Topo):\n    pass\nclass Other(Topo):\n    pass\ndef number(): return 3\n")
    assert problems() == "net.py:1:1: which of its topologies: MyTopo, Other?\n    hint: net.py:MyTopo"
    assert problems("net.py:MyTop") == ("net.py:1:1: there is no topology 'MyTop'\n    hint: did you mean 'MyTopo'?")
    assert problems("net.py:number").startswith("net.py:14:1: 'number' makes an int, which is no Topo")
    assert problems("net.py:HEAD").startswith("net.py:1:1: there is no topology 'HEAD'")


def test_a_file_without_a_topology(files: Files) -> None:
    files.write("x = 1\n")
    assert problems().startswith("net.py:1:1: there is no topology in this file")


def test_arguments_that_do_not_fit(files: Files) -> None:
    files.write("class Net(Topo):\n    def build(self, count):\n        pass\n")
    hint = "hint: arguments follow the name: FILE.py:NAME,4,k=2"
    assert problems().startswith("net.py:11:1: TypeError: Net.build() missing 1 required positional argument")
    assert hint in problems()
    assert "got an unexpected keyword argument 'k'" in problems("net.py:Net,1,k=2")


def test_errors_outside_of_build(files: Files) -> None:
    files.write("class Net(Topo):\n    pass\nvalue = {}['key']\n")
    assert problems() == "net.py:12:1: KeyError: 'key'"
    files.write("class Net(Topo:\n    pass\n")
    assert problems().startswith("net.py:10:15: not valid Python: ")
    (files.folder / "net.py").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8" in problems()


def test_an_error_in_a_neighbor_is_that_of_the_import(files: Files) -> None:
    (files.folder / "beside.py").write_text("import math\nmath.sqrt(-1)\n")
    files.write("import beside\n")
    assert problems().startswith("net.py:10:1: ValueError: ")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py", "nowhere.py: no such file"),
        ("folder.py:Net", "folder.py: is a directory"),
        ("net.py:", "net.py:: no name after the colon"),
        ("net.py:,4", "net.py:,4: no name after the colon"),
        ("net.py:Net,a b=3", "net.py:Net,a b=3: 'a b' is not the name of an argument"),
    ],
)
def test_references_that_lead_nowhere(files: Files, reference: str, message: str) -> None:
    (files.folder / "folder.py").mkdir()
    with pytest.raises(UserInputError) as caught:
        read(reference)
    assert caught.value.message == message
    assert caught.value.hint


# The commands


def test_commands_take_them(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(
        """
        print("not data")
        class Net(Topo):
            def build(self, n=2):
                for number in range(n):
                    self.addLink(self.addHost(f"h{number}", cpu=.5), "s1" if number else self.addSwitch("s1"))
        """
    )
    assert run(["validate", "net.py:Net,3", "net.py"]) == 0
    told = capsys.readouterr()
    assert "net.py:Net,3: valid, 4 nodes, 3 links" in told.err
    assert "warning: net.py:15:26: h0 and 2 more: cpu has no effect here" in told.err
    assert run(["plan", "net.py:Net,1"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("lab Net, seed 1: 2 nodes, 1 link\n")
    assert run(["export", "--yaml", "net.py:Net,1"]) == 0
    assert capsys.readouterr().out == (
        "# net.py:Net,1, a Mininet topology\n"
        "name: Net\n"
        "nodes:\n"
        "  h0: {kind: host, interfaces: {h0-eth0: {address: 10.0.0.1/8}}}\n"
        "  s1: switch\n"
        "links:\n"
        "  - h0:h0-eth0 -- s1:p1\n"
    )
    assert run(["compose", "net.py"]) == 0
    assert "h1-eth0" in capsys.readouterr().out
    assert run(["validate", "net.py:Nett"]) == 2
    assert capsys.readouterr().err.endswith("there is no topology 'Nett'\n    hint: did you mean 'Net'?\n")
    assert run(["export", "net.py"]) == 2
    assert "export to what?" in capsys.readouterr().err
