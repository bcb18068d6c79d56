"""What the receiver, the program and the path ask of a sender, in whole transfers: windows that shut and open, readers
that are slow, segments that are too large, acknowledgments that wait, a thousand connections."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nodes.transport.tcp.settings import TcpSettings
from nodes.units import MILLISECOND, SECOND
from nodes.wire import tcp
from nodes.wire.addresses import ANY
from tests.sim.tcp_audit import audit
from tests.sim.tcp_network import LinkProfile, pair
from tests.sim.tcp_observe import observe
from tests.sim.tcp_programs import Echo, Reader, Transfer, Writer
from tests.sim.tcp_scene import MSS, ONE_WAY, RTT, Scene

FAST = LinkProfile(delay=5 * MILLISECOND, rate=100_000_000)


# --------------------------------------------------------------------------------------------------------- small things


def test_full_segments_are_never_held_back() -> None:
    """Defect 1 of other stacks: Nagle must count the octets of the timestamps, or each full segment of a transfer is
    taken for a partial one and waits for the delayed acknowledgment."""
    scene = Scene(100 * MSS + 10)
    assert scene.flights(3) == [10, 20, 40]
    assert {segment.length for segment in scene.data[:-1]} == {MSS}
    assert scene.network.now < 6 * RTT


@pytest.mark.parametrize("nodelay", [False, True])
def test_nagle(nodelay: bool) -> None:
    """9293-3.7.4: a second small write waits for the acknowledgment of the first, unless the program forbids it."""
    scene = Scene(10, keep_open=True, nodelay=nodelay, until=SECOND)
    network, writer = scene.network, scene.transfer.writer

    def write(now: int) -> None:
        writer.size += 10
        writer.ready(now)

    for time in (SECOND, SECOND + MILLISECOND, SECOND + 2 * MILLISECOND):
        network.at(time, 0, write)
    network.run(2 * SECOND)
    sent = [(segment.time, segment.length) for segment in observe(network, 0) if segment.length][1:]
    if nodelay:
        assert sent == [(SECOND + number * MILLISECOND, 10) for number in range(3)]
    else:
        assert [length for _, length in sent] == [10, 20]
        assert RTT <= sent[1][0] - sent[0][0] <= RTT + 41 * MILLISECOND


def test_acknowledgments_are_delayed() -> None:
    """SHLD-18, SHLD-19, MUST-40: in the middle of a transfer every second segment is acknowledged; a lone one after
    40 ms."""
    scene = Scene(201 * MSS, keep_open=True, profile=LinkProfile(delay=ONE_WAY, rate=100_000_000, queue=10_000_000))
    data = [segment for segment in scene.data if segment.start > 40 * MSS]
    acks = [s for s in scene.segments if s.source == 1 and s.ack > 40 * MSS]
    assert 0.45 * len(data) <= len(acks) <= 0.6 * len(data)
    lone = next(segment for segment in reversed(scene.data))
    network = scene.network
    network.run(network.now + SECOND)
    last = observe(network, 1)[-1]
    assert lone.arrived is not None
    assert last.ack == lone.end
    assert last.time - lone.arrived in (0, 40 * MILLISECOND)


# --------------------------------------------------------------------------------------------------------- flow control


@pytest.mark.parametrize("limits", [(2048,) * 4, (4096,) * 4, (1 << 20, 2048, 2048, 2048), (2048, 2048, 65_536, 1000)])
def test_a_megabyte_comes_back_through_tiny_buffers(limits: tuple[int, int, int, int]) -> None:
    """lwIP / genode #4056: both windows shut all the time, and neither side may wait for the other for ever."""
    network = pair(FAST)
    network.capture = []
    echo = Echo(network, 1_000_000 if min(limits) >= 2048 else 300_000, limits)
    assert network.run(120 * SECOND, echo.is_done)
    assert echo.reader.received == echo.writer.size
    audit(network)
    gaps = [after - before for (before, _), (after, _) in pairwise(echo.reader.progress)]
    assert max(gaps) < 2 * SECOND


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_tiny_buffers_and_loss(loss: float) -> None:
    """The news that a window has opened may be lost: 9293-3.8.6.1, probes find out."""
    lossy = LinkProfile(delay=5 * MILLISECOND, rate=100_000_000, loss=loss)
    network = pair(lossy, lossy)
    echo = Echo(network, 100_000, (4096,) * 4)
    assert network.run(1800 * SECOND, echo.is_done)


def test_a_shut_window_is_probed_and_opens() -> None:
    """9293-3.8.6.1: nobody reads for a minute; the probes double their distance, and the transfer ends soon after the
    first reading."""
    network = pair(FAST)
    network.capture = []
    transfer = Transfer(network, 100_000, receive_limit=16_384)
    reader = transfer.reader
    reader.ready = lambda now: None  # type: ignore[method-assign]
    network.run(60 * SECOND)
    probes = [s.time for s in observe(network, 0) if s.length == 1]
    assert len(probes) >= 4
    gaps = [after - before for before, after in pairwise(probes)]
    assert all(1.9 < after / before < 2.1 for before, after in pairwise(gaps))
    assert transfer.socket.connected
    del reader.ready
    network.at(60 * SECOND, 1, reader.ready)
    assert network.run(70 * SECOND, transfer.is_done)
    assert network.now < 61 * SECOND
    audit(network)


def test_the_news_of_an_open_window_is_lost() -> None:
    """9293-3.8.6.1: the reader has read all, its one acknowledgment is lost, and the next probe finds out."""
    network = pair(FAST)
    transfer = Transfer(network, 100_000, receive_limit=16_384)
    reader = transfer.reader
    reader.ready = lambda now: None  # type: ignore[method-assign]
    network.run(5 * SECOND)
    del reader.ready
    back = network.links[1]

    def read_in_vain(now: int) -> None:
        back.up = False
        reader.ready(now)

    network.at(5 * SECOND, 1, read_in_vain)
    network.at(6 * SECOND, 1, lambda now: setattr(back, "up", True))
    assert network.run(30 * SECOND, transfer.is_done)


@pytest.mark.parametrize(("chunk", "every"), [(100, 2 * MILLISECOND), (1000, 10 * MILLISECOND), (20_000, SECOND)])
def test_a_slow_reader_gets_no_silly_windows(chunk: int, every: int) -> None:
    """MUST-38, MUST-39: however little is read at a time, the window opens by a full segment or half of the buffer, and
    the sender sends full segments but for the last."""
    limit = 20_000
    network = pair(FAST)
    network.capture = []
    transfer = Transfer(network, 200_000, receive_limit=limit, chunk=chunk, every=every)
    assert network.run(100 * SECOND, transfer.is_done)
    audit(network)
    data = [segment for segment in observe(network, 0) if segment.length]
    for before, segment in pairwise(data[:-1]):  # a small one only after the override timeout (9293-3.8.6.2.1)
        assert segment.length == MSS or segment.time - before.time >= 200 * MILLISECOND
    edges = [s.ack + s.window for s in observe(network, 1) if s.flags & tcp.SYN == 0 and s.fate == "carried"]
    steps = [after - before for before, after in pairwise(edges) if after > before]
    assert steps
    assert min(steps) >= min(MSS, limit // 2)
    rate = chunk * SECOND // every
    assert transfer.goodput <= 8 * rate * 1.3


# ----------------------------------------------------------------------------------------------------------- path MTU


def test_the_path_mtu_is_discovered() -> None:
    """1191-3: a router says what fits; what was dropped goes again in pieces, and nothing larger leaves any more."""
    network = pair(LinkProfile(delay=5 * MILLISECOND, rate=10_000_000, mtu=1000))
    network.capture = []
    transfer = Transfer(network, 200_000)
    assert network.run(5 * SECOND, transfer.is_done)
    dropped = [packet for packet in network.capture if packet.fate == "too_big"]
    assert 1 <= len(dropped) <= 10  # the first window
    assert max(len(packet.frame) for packet in network.capture if packet.fate == "carried") == 1000
    assert network.stacks[0].tcp.counters.timeouts == 0


def test_a_black_hole_is_found_out() -> None:
    """4821-7.7: no router says anything, full segments vanish, small ones pass; the transfer goes on with those."""
    network = pair(LinkProfile(delay=5 * MILLISECOND, rate=10_000_000, mtu=1200, black_hole=True))
    transfer = Transfer(network, 200_000)
    assert network.run(60 * SECOND, transfer.is_done)
    assert network.stacks[0].tcp.counters.black_holes >= 1
    assert transfer.goodput > 100_000  # 16 s at most, of which two times three timeouts take 14


def test_the_path_narrows_on_the_way() -> None:
    """1191: in the middle of a transfer, with a window under way."""
    network = pair(LinkProfile(delay=5 * MILLISECOND, rate=10_000_000))
    transfer = Transfer(network, 1_000_000)
    narrow = LinkProfile(delay=5 * MILLISECOND, rate=10_000_000, mtu=600)
    network.at(SECOND // 4, 0, lambda now: setattr(network.links[0], "profile", narrow))
    assert network.run(10 * SECOND, transfer.is_done)
    assert network.stacks[0].tcp.counters.timeouts == 0


# ------------------------------------------------------------------------------------------------------- many at once


class Many:
    """A server that reads whatever comes, and as many clients as wanted that send a little each."""

    def __init__(self, clients: int, size: int, profile: LinkProfile) -> None:
        self.network = pair(profile, settings=TcpSettings(msl=SECOND))
        server = self.network.stacks[1].tcp
        self.listener = server.open()
        self.listener.owner = self
        self.listener.bind(ANY, 80, 0)
        self.listener.listen(clients, 0)
        self.readers: list[Reader] = []
        self.writers = []
        for _ in range(clients):
            socket = self.network.stacks[0].tcp.open()
            writer = Writer(size)
            writer.socket = socket
            socket.owner = writer
            socket.connect(self.network.addresses[1], 80, 0)
            self.writers.append(writer)

    def ready(self, now: int) -> None:
        while (accepted := self.listener.accept()) is not None:
            reader = Reader(self.network, 1)
            self.readers.append(reader)
            reader.take(accepted, now)

    def is_done(self) -> bool:
        return len(self.readers) == len(self.writers) and all(r.finished_at is not None for r in self.readers)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_a_thousand_connections_at_once(loss: float) -> None:
    """All are served, ports do not run out, and nothing is left behind (J-8)."""
    many = Many(1000, 3000, LinkProfile(delay=5 * MILLISECOND, rate=1_000_000_000, queue=2_000_000, loss=loss))
    network = many.network
    assert network.run(30 * SECOND, many.is_done)
    assert all(reader.received == 3000 for reader in many.readers)
    for writer in many.writers:
        assert writer.socket is not None
        writer.socket.close(network.now)
    many.listener.close(network.now)
    network.run(network.now + 100 * SECOND)
    for stack in network.stacks:
        state = stack.tcp.snapshot(network.now)
        assert state["connection_count"] == 0
        assert state["time_wait_count"] == 0
        assert stack.tcp.deadline() is None
