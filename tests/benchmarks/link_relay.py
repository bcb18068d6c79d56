"""How late the relay is: frames at a rate through links with 20 ms of delay, one link and ten.

    generator ─ a0 ═══ l0 ─ relay ─ r0 ═══ b0 ─ listener      each a process; all in a network namespace of their own
              ─ a1 ═══ l1 ─       ─ r1 ═══ b1 ─               full frames, by turns over the links

Two figures, which do not know of each other. `late` is what the relay says: from the time a frame was due until it was
sent; of several links, the worst. `error` is what the ends see: from just before the generator's `send` to the kernel's
time stamp at the other end, less the 20 ms. It holds everything: the generator's system call, the veths, the stamps.

`lost` are frames that the kernel had no room to keep for the relay. CPU is that of the relay. Under overload, the
generator sends as fast as it can (rate 0), and what the relay sends per second counts: with two processors, generator,
relay and listener share them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NoReturn

from lab.host import namespaces, syscalls
from lab.links.relay import run_relay
from lab.links.relay_client import RelayClient, RelayState
from nodes.impairment import Impairment
from nodes.io.packet_socket import PacketSocket
from nodes.io.stamped_socket import StampedSocket
from nodes.units import MICROSECOND, MILLISECOND, SECOND
from tests.benchmarks.settings import Settings
from tests.benchmarks.tables import Report, Table, median, percentile, shown, span

DELAY = 20 * MILLISECOND
RATES = (1000, 5000, 20_000, 0)
LINKS = (1, 10)
ROUNDS = 3
SECONDS, QUICK_SECONDS = 3.0, 0.5
OCTETS = 1514
BURST = 32
"""Frames between two looks at the clock, at most."""

GAP = 0.002
"""Seconds between two looks of the listener, who has the kernel's time stamps and need not hurry."""

DRAINED = 10
"""Looks without a frame after which nothing more is expected."""

CARRIER_LIMIT = 10.0
_ADDRESSES = bytes.fromhex("020000000002 020000000001 88b5")
_SENT_AT = struct.Struct("!q")
_CONTROL = "\0relay"  # an abstract socket, seen only in the network namespace


@dataclass(frozen=True)
class Sample:
    """One trial. Times in µs; `late` from the relay, `error` from the ends; `cpu` is a share of one processor.
    `unheard`: sent by the relay, and missed by the listener."""

    rate: int
    links: int
    offered: float
    carried: float
    lost: int
    unheard: int
    late_p50: float
    late_p99: float
    late_max: float
    error_p50: float
    error_p99: float
    cpu: float
    priority: str


def run(settings: Settings) -> Report:
    """All rates, by turns, so that a slow minute hits them all."""
    samples, failures = [], []
    for number in range(1 if settings.quick else ROUNDS):
        settings.say(f"link_relay, round {number + 1}")
        for links in LINKS:
            for rate in RATES:
                seconds = QUICK_SECONDS if settings.quick else SECONDS
                answer = _isolated(lambda rate=rate, links=links, seconds=seconds: _trial(rate, links, seconds))
                if isinstance(answer, str):
                    failures.append(f"{rate} frames/s over {links} links: {answer}")
                else:
                    samples.append(Sample(**answer))
    return Report("link_relay", [_table(samples)], [asdict(sample) for sample in samples], failures)


# --- one trial, in namespaces of its own ---------------------------------------------------------------------------


def _isolated(trial: Callable[[], Sample]) -> dict[str, object] | str:
    """The sample of a trial that runs as PID 1 of new namespaces, or what went wrong. All its processes end with it."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read_end)
        _enter(trial, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else "the trial died"


def _enter(trial: Callable[[], Sample], write_end: int) -> NoReturn:
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        namespaces.enter_isolation(root=os.geteuid() == 0)
        if pid := os.fork():
            os.waitpid(pid, 0)
            os._exit(0)
        syscalls.die_with_parent(signal.SIGKILL)
        namespaces.finish_isolation()
        os.write(write_end, json.dumps(asdict(trial())).encode())
    except BaseException:  # noqa: BLE001 - the last frame of a process: the benchmark must hear of it
        os.write(write_end, json.dumps(traceback.format_exc()).encode())
    finally:
        os._exit(0)


def _trial(rate: int, count: int, seconds: float) -> Sample:
    _make_links(count)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_CONTROL)
        listener.listen()
        _start(lambda: run_relay(listener, "relay"))
    relay = RelayClient.connect(_CONTROL)
    for number in range(count):
        impairment = Impairment(delay=DELAY, limit=100_000)
        relay.add(str(number), f"l{number}", f"r{number}", impairment, impairment, seeds=(1, 2), mtu=1500)
    ears = [StampedSocket(f"b{number}") for number in range(count)]
    _await_carrier(ears)
    before = relay.state()
    begun = time.monotonic()
    generator, pipe = _start(lambda: _generate(rate, count, seconds))
    errors = _listen(ears, begun + seconds)
    sent = int(os.read(pipe, 100))
    os.waitpid(generator, 0)
    sample = _sample(rate, count, seconds, sent, errors, before, relay.state())
    relay.shutdown()
    return sample


def _make_links(count: int) -> None:
    namespaces.write_sysctls(namespaces.NO_IPV6)
    lines = []
    for number in range(count):
        for outer, inner in (("a", "l"), ("b", "r")):
            lines.append(f"link add {outer}{number} type veth peer name {inner}{number}")
            lines += [f"link set {outer}{number} up", f"link set {inner}{number} up"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _start(life: Callable[[], object]) -> tuple[int, int]:
    """A process; the read end of a pipe for what its `life` returns."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write_end)
        return pid, read_end
    try:
        os.write(write_end, str(life()).encode())
    except BaseException:  # noqa: BLE001 - the last frame of a process
        traceback.print_exc()
    finally:
        os._exit(0)


def _await_carrier(ears: list[StampedSocket]) -> None:
    """Until a frame passes on every link, and then until none is under way."""
    mouths = [PacketSocket(f"a{number}") for number in range(len(ears))]
    end = time.monotonic() + CARRIER_LIMIT
    for mouth, ear in zip(mouths, ears, strict=True):
        while not (mouth.send(_frame()) and ear.receive_stamped()):
            if time.monotonic() > end:
                raise TimeoutError("the links do not come up")
            time.sleep(GAP)
        mouth.close()
    _listen(ears, time.monotonic())


def _frame() -> bytes:
    return (_ADDRESSES + _SENT_AT.pack(time.monotonic_ns())).ljust(OCTETS, b"\0")


def _generate(rate: int, count: int, seconds: float) -> int:
    """Send at a rate over all links; returns how many. Each frame says when it was sent."""
    sends = [PacketSocket(f"a{number}").send for number in range(count)]
    begun, sent = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        due = min(int((now - begun) * rate) + 1 - sent, BURST) if rate else BURST
        for _ in range(due):
            sends[sent % count](_frame())
            sent += 1
        if rate:
            time.sleep(max(begun + sent / rate - time.monotonic(), 0))
    return sent


def _listen(ears: list[StampedSocket], until: float) -> list[int]:
    """By how much each frame took longer than DELAY (ns), until nothing more comes after a time."""
    errors, silent = [], 0
    while time.monotonic() < until or silent < DRAINED:
        silent += 1
        for ear in ears:
            while heard := ear.receive_stamped():
                errors += [at - _SENT_AT.unpack_from(frame, len(_ADDRESSES))[0] - DELAY for at, frame in heard]
                silent = 0
        time.sleep(GAP)
    return errors


def _sample(
    rate: int, count: int, seconds: float, sent: int, errors: list[int], before: RelayState, after: RelayState
) -> Sample:
    late = [link["ab"]["lateness"] for link in after.links.values()]
    carried = sum(link["ab"]["out_frames"] for link in after.links.values())
    carried -= sum(link["ab"]["out_frames"] for link in before.links.values())
    used = (after.relay["cpu"] - before.relay["cpu"]) / SECOND
    return Sample(
        rate=rate,
        links=count,
        offered=sent / seconds,
        carried=carried / seconds,
        lost=sent - carried,
        unheard=carried - len(errors),
        late_p50=max(each["p50"] for each in late) / MICROSECOND,
        late_p99=max(each["p99"] for each in late) / MICROSECOND,
        late_max=max(each["maximum"] for each in late) / MICROSECOND,
        error_p50=(percentile(errors, 50) or 0) / MICROSECOND,
        error_p99=(percentile(errors, 99) or 0) / MICROSECOND,
        cpu=used / seconds,
        priority=after.relay["priority"],
    )


def _table(samples: list[Sample]) -> Table:
    table = Table(
        "Lateness of the relay, 20 ms of delay, full frames: median (smallest to largest)",
        ("frames/s", "links", "carried", "lost", "late p50 µs", "late p99 µs", "late max µs", "error p50 µs",
         "error p99 µs", "CPU"),
        notes=[f"Priority of the relay: {', '.join(sorted({sample.priority for sample in samples}))}."],
    )  # fmt: skip
    for links in LINKS:
        for rate in RATES:
            found = [sample for sample in samples if (sample.rate, sample.links) == (rate, links)]
            offered = "all that go" if not rate else shown(rate)
            columns = [
                span([getattr(sample, name) for sample in found])
                for name in ("late_p50", "late_p99", "late_max", "error_p50", "error_p99")
            ]
            carried, lost = median(sample.carried for sample in found), sum(sample.lost for sample in found)
            cpu = median(sample.cpu for sample in found)
            table.rows.append((offered, links, shown(carried), lost, *columns, cpu))
    return table
