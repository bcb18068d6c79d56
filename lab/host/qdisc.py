"""netem's settings as the kernel takes and tells them: the options of the qdisc `netem` (tc-netem(8)).

    tc_netem_qopt: first in TCA_OPTIONS           then attributes
    +-------------------------------------+        1 CORR       delay, loss, duplicate      10 LATENCY64  ns
    | latency in ticks of 64 ns           |        2 DELAY_DIST s16 table, 8192 is one J    11 JITTER64   ns
    +-------------------------------------+        3 REORDER    chance, correlation         12 SLOT       six numbers
    | limit in packets                    |        4 CORRUPT    chance, correlation         13 SLOT_DIST  s16 table
    +-------------------------------------+        5 LOSS       1 four states, 2 GE         14 PRNG_SEED  64 bits
    | loss chance                         |        6 RATE       octets/s, overhead, cells
    +-------------------------------------+        7 ECN        u32
    | gap                                 |        8 RATE64     octets/s, where RATE has too few bits
    +-------------------------------------+
    | duplicate chance                    |       Chances are shares of 2^32 - 1. Latency and jitter in qopt do not
    +-------------------------------------+       count where the 64-bit attributes are present.
    | jitter in ticks of 64 ns            |
    +-------------------------------------+

Theory of operation. An `Impairment` is rounded once, to the integers of this message (`settings_of`); these are packed
(`pack`), and what the kernel tells afterwards is unpacked to the same integers (`decode_netem`). So asked and got are
compared for equality, without tolerances (`differences`).

A change must say everything. The kernel takes what a message names and leaves the rest as it was: after `delay 10ms`
an earlier rate is still there. Therefore every attribute is in every message, with zeros for what is off. Zeros are
enough for all but two things, the tables of distributions: a table can be exchanged, not taken away. Without a table,
jitter is uniform; where a table may be left from before (`Held`), uniform jitter is sent as a table, too, and a slot's
minimum and maximum as a delay with such a jitter. So a qdisc need never be replaced, and no change loses a frame: those
inside keep the time they got. An absent LOSS means random loss; with it, the Markov chain begins in its good state.

The seed is not in Linux before 6.6, which ignores it; the kernel then does not tell it back.
"""

from __future__ import annotations

import errno
import functools
import struct
from struct import Struct
from typing import NamedTuple

from lab.host.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NetlinkError,
    Request,
    attribute,
    attribute_u32,
    nested,
    parse_attributes,
)
from lab.host.traffic_control import FIRST_HANDLE, ROOT, set_qdisc
from nodes.impairment import (
    GilbertElliott,
    Impairment,
    MarkovLoss,
    RandomLoss,
    Slot,
    TimedGilbertElliott,
    effective_limit,
)
from nodes.physical.jitter import MAXIMUM_JITTER, TABLE_SCALE, TABLE_SIZE, table_of
from nodes.physical.tausworthe import scale
from nodes.quantities import format_duration, format_rate, format_share

_CORR, _DELAY_DIST, _REORDER, _CORRUPT, _LOSS, _RATE, _ECN, _RATE64 = 1, 2, 3, 4, 5, 6, 7, 8
_LATENCY64, _JITTER64, _SLOT, _SLOT_DIST, _PRNG_SEED = 10, 11, 12, 13, 14
_LOSS_FOUR_STATES, _LOSS_GILBERT_ELLIOTT = 1, 2

_QOPT = Struct("=6I")
_THREE = Struct("=3I")
_TWO = Struct("=2I")
_RATE_STRUCT = Struct("=IiIi")
_SLOT_STRUCT = Struct("=qqiiqq")
_CHAIN = Struct("=5I")
_GILBERT = Struct("=4I")
_S64 = Struct("=q")
_U64 = Struct("=Q")
_U32_MOST = 0xFFFF_FFFF
_S32_MOST = 0x7FFF_FFFF
_S64_MOST = (1 << 63) - 1
_TICK_BITS = 6


class Held(NamedTuple):
    """The tables that a qdisc may have from earlier messages."""

    delay: bool = False
    slot: bool = False


NO_TABLES = Held()


class NetemSlot(NamedTuple):
    """Times in ns; `packets` and `octets` 0: any number. `delay` and `jitter` belong to the distribution."""

    minimum: int = 0
    maximum: int = 0
    packets: int = 0
    octets: int = 0
    delay: int = 0
    jitter: int = 0


class NetemSettings(NamedTuple):
    """netem's numbers as the kernel has them: ns, octets per second, chances as shares of 2^32 - 1. `chain` are those
    of the loss model `state` (p13, p31, p32, p14, p23) or `gemodel` (p, r, h, 1-k). `seed` None: chosen by the kernel,
    or by one that does not tell."""

    limit: int = 1000
    delay: int = 0
    jitter: int = 0
    delay_correlation: int = 0
    loss: int = 0
    loss_correlation: int = 0
    loss_model: str = "random"
    chain: tuple[int, ...] = ()
    ecn: bool = False
    corrupt: int = 0
    corrupt_correlation: int = 0
    duplicate: int = 0
    duplicate_correlation: int = 0
    reorder: int = 0
    reorder_correlation: int = 0
    gap: int = 0
    rate: int = 0
    overhead: int = 0
    cell: int = 0
    cell_overhead: int = 0
    slot: NetemSlot = NetemSlot()
    seed: int | None = None


def encode_netem(
    impairment: Impairment,
    mtu: int,
    index: int,
    parent: int = ROOT,
    description: str = "set netem",
    *,
    seed: int | None = None,
    handle: int = FIRST_HANDLE,
    held: Held = NO_TABLES,
    new: bool = False,
) -> Request:
    """The message that makes the qdisc `handle` of interface `index` a netem, or changes the one it is; with `new` it
    must not be there yet (EEXIST). `seed` where the impairment has none of its own. `held` says which tables earlier
    messages gave it. Raises ValueError for what netem has no numbers for."""
    settings = settings_of(impairment, mtu, seed, held)
    options = pack(settings, delay_table(impairment, held), slot_table(impairment, held))
    flags = NLM_F_CREATE | (NLM_F_EXCL if new else NLM_F_REPLACE)
    return set_qdisc(index, "netem", options, flags, description, parent=parent, handle=handle)


def settings_of(impairment: Impairment, mtu: int, seed: int | None = None, held: Held = NO_TABLES) -> NetemSettings:
    """What netem itself has of an impairment, rounded to its numbers: a rate to whole octets per second, a chance to
    2^-32. Raises ValueError for a number that is too large for it, and for loss in continuous time."""
    model, loss, correlation, chain = _loss(impairment)
    settings = NetemSettings(
        limit=effective_limit(impairment, mtu),
        delay=impairment.delay,
        jitter=impairment.jitter,
        delay_correlation=scale(impairment.delay_correlation),
        loss=loss,
        loss_correlation=correlation,
        loss_model=model,
        chain=chain,
        ecn=impairment.ecn,
        corrupt=scale(impairment.corrupt),
        corrupt_correlation=scale(impairment.corrupt_correlation),
        duplicate=scale(impairment.duplicate),
        duplicate_correlation=scale(impairment.duplicate_correlation),
        reorder=scale(impairment.reorder),
        reorder_correlation=scale(impairment.reorder_correlation),
        gap=(impairment.gap or 1) if impairment.reorder else 0,
        rate=impairment.rate // 8,
        overhead=impairment.overhead,
        cell=impairment.cell,
        cell_overhead=impairment.cell_overhead,
        slot=_slot(impairment.slot, held),
        seed=impairment.seed if impairment.seed is not None else seed,
    )
    problem = out_of_range(settings)
    if problem is not None:
        raise ValueError(problem)
    return settings


def _loss(impairment: Impairment) -> tuple[str, int, int, tuple[int, ...]]:
    """Model, chance, correlation and the chain's numbers. The kernel wants h, the share that a bad state lets pass."""
    match impairment.loss:
        case None:
            return "random", 0, 0, ()
        case RandomLoss(chance=chance, correlation=correlation):
            return "random", scale(chance), scale(correlation), ()
        case MarkovLoss() as chain:
            p23, p32, p14 = scale(chain.p23), scale(chain.p32), scale(chain.p14)
            # The kernel adds these pairs in 32 bits: two halves, each rounded up, would be none.
            p31, p13 = min(scale(chain.p31), _U32_MOST - p32), min(scale(chain.p13), _U32_MOST - p14)
            return "state", 0, 0, (p13, p31, p32, p14, p23)
        case GilbertElliott() as chain:
            passing = _U32_MOST - scale(chain.bad_loss)
            return "gemodel", 0, 0, (scale(chain.p), scale(chain.r), passing, scale(chain.good_loss))
        case TimedGilbertElliott():
            raise ValueError("loss in continuous time")


def _slot(slot: Slot | None, held: Held) -> NetemSlot:
    """A slot whose four times are zero is none, and of these the kernel does not look at `delay`: so a distribution
    without jitter is sent as a fixed time, and minimum and maximum stay beside the table that takes their place."""
    if slot is None:
        return NetemSlot()
    minimum, maximum, delay, jitter = slot.minimum, max(slot.minimum, slot.maximum), 0, 0
    if slot.distribution is not None:
        minimum, maximum = (0, 0) if slot.jitter else (slot.delay, slot.delay)
        delay, jitter = slot.delay, slot.jitter
    elif held.slot:
        delay, jitter = (minimum + maximum) // 2, (maximum - minimum) // 2
    return NetemSlot(minimum, maximum, slot.packets, slot.octets, delay, jitter)


_MOST: dict[str, int] = {
    "limit": _U32_MOST,
    "delay": _S64_MOST,
    "jitter": MAXIMUM_JITTER,
    "gap": _U32_MOST,
    "overhead": _S32_MOST,
    "cell": _U32_MOST,
    "cell_overhead": _S32_MOST,
    "slot minimum": _S64_MOST,
    "slot maximum": _S64_MOST,
    "slot spread": MAXIMUM_JITTER,
    "slot packets": _S32_MOST,
    "slot octets": _S32_MOST,
    "slot delay": _S64_MOST,
    "slot jitter": MAXIMUM_JITTER,
}
_LEAST: dict[str, int] = {"overhead": -_S32_MOST, "cell_overhead": -_S32_MOST}


def out_of_range(settings: NetemSettings) -> str | None:
    """The first number that netem would cut or has no room for: "room for a jitter of 3s (at most 2147.483647ms)"."""
    slot = settings.slot
    numbers = settings._asdict() | {f"slot {name}": value for name, value in slot._asdict().items()}
    numbers["slot spread"] = slot.maximum - slot.minimum
    for name, most in _MOST.items():
        if not _LEAST.get(name, 0) <= numbers[name] <= most:
            return f"room for a {name} of {_text(name, numbers[name])} (at most {_text(name, most)})"
    return None


def delay_table(impairment: Impairment, held: Held) -> tuple[int, ...]:
    """The table to send for the delay; empty: none, uniform without one."""
    if not impairment.jitter:
        return ()
    return table_of(impairment.distribution) or (uniform_table() if held.delay else ())


def slot_table(impairment: Impairment, held: Held) -> tuple[int, ...]:
    slot = impairment.slot
    if slot is None:
        return ()
    if slot.distribution is not None:
        return table_of(slot.distribution) or uniform_table()
    return uniform_table() if held.slot else ()


@functools.cache
def uniform_table() -> tuple[int, ...]:
    """From minus to plus one jitter in equal steps, each the middle of its share."""
    step = 2 * TABLE_SCALE // TABLE_SIZE
    return tuple(range(-TABLE_SCALE + step // 2, TABLE_SCALE, step))


def tables_after(impairment: Impairment, held: Held) -> Held:
    """What the qdisc holds once it has the message for `impairment`."""
    return Held(
        held.delay or bool(delay_table(impairment, held)),
        held.slot or bool(slot_table(impairment, held)),
    )


def pack(settings: NetemSettings, delays: tuple[int, ...] = (), slots: tuple[int, ...] = ()) -> bytes:
    """The value of TCA_OPTIONS, with every attribute that netem knows."""
    s = settings
    ticks = (min(time >> _TICK_BITS, _U32_MOST) for time in (s.delay, s.jitter))
    parts = [
        _QOPT.pack(next(ticks), s.limit, s.loss, s.gap, s.duplicate, next(ticks)),
        attribute(_CORR, _THREE.pack(s.delay_correlation, s.loss_correlation, s.duplicate_correlation)),
        attribute(_REORDER, _TWO.pack(s.reorder, s.reorder_correlation)),
        attribute(_CORRUPT, _TWO.pack(s.corrupt, s.corrupt_correlation)),
        attribute(_RATE, _RATE_STRUCT.pack(min(s.rate, _U32_MOST), s.overhead, s.cell, s.cell_overhead)),
        attribute(_RATE64, _U64.pack(s.rate)),
        attribute_u32(_ECN, int(s.ecn)),
        attribute(_LATENCY64, _S64.pack(s.delay)),
        attribute(_JITTER64, _S64.pack(s.jitter)),
        attribute(_SLOT, _SLOT_STRUCT.pack(*s.slot)),
    ]
    if s.loss_model == "state":
        parts.append(nested(_LOSS, attribute(_LOSS_FOUR_STATES, _CHAIN.pack(*s.chain))))
    elif s.loss_model == "gemodel":
        parts.append(nested(_LOSS, attribute(_LOSS_GILBERT_ELLIOTT, _GILBERT.pack(*s.chain))))
    if s.seed is not None:
        parts.append(attribute(_PRNG_SEED, _U64.pack(s.seed)))
    for kind, table in ((_DELAY_DIST, delays), (_SLOT_DIST, slots)):
        if table:
            parts.append(attribute(kind, struct.pack(f"={len(table)}h", *table)))
    return b"".join(parts)


def with_netem_hint(error: NetlinkError) -> NetlinkError:
    """The kernel's "no such file or directory" as what it means here."""
    if error.errno != errno.ENOENT:
        return error
    hint = "modprobe sch_netem, or the package with the kernel's extra modules; or impair_by: relay"
    return NetlinkError("this kernel has no sch_netem", errno=error.errno, words=error.words, hint=hint)


def decode_netem(options: bytes) -> NetemSettings:
    """What the kernel tells of a netem (the value of TCA_OPTIONS); tables it does not tell. Raises NetlinkError."""
    try:
        return _decode(options)
    except struct.error as error:
        raise NetlinkError(f"netem's options of {len(options)} bytes are not understood: {error}") from error


def _decode(options: bytes) -> NetemSettings:
    latency, limit, loss, gap, duplicate, jitter = _QOPT.unpack_from(options)
    found = parse_attributes(options[_QOPT.size :])

    def read(kind: int, layout: Struct) -> tuple[int, ...]:
        value = found.get(kind)
        return layout.unpack_from(value) if value is not None else (0,) * len(layout.unpack(bytes(layout.size)))

    correlations, reorder, corrupt = read(_CORR, _THREE), read(_REORDER, _TWO), read(_CORRUPT, _TWO)
    rate, overhead, cell, cell_overhead = read(_RATE, _RATE_STRUCT)
    model, chain = _decode_loss(found.get(_LOSS))
    return NetemSettings(
        limit=limit,
        delay=read(_LATENCY64, _S64)[0] if _LATENCY64 in found else latency << _TICK_BITS,
        jitter=read(_JITTER64, _S64)[0] if _JITTER64 in found else jitter << _TICK_BITS,
        delay_correlation=correlations[0],
        loss=loss,
        loss_correlation=correlations[1],
        loss_model=model,
        chain=chain,
        ecn=any(found.get(_ECN, b"")),
        corrupt=corrupt[0],
        corrupt_correlation=corrupt[1],
        duplicate=duplicate,
        duplicate_correlation=correlations[2],
        reorder=reorder[0],
        reorder_correlation=reorder[1],
        gap=gap,
        rate=max(rate, read(_RATE64, _U64)[0]),
        overhead=overhead,
        cell=cell,
        cell_overhead=cell_overhead,
        slot=NetemSlot(*read(_SLOT, _SLOT_STRUCT)),
        seed=read(_PRNG_SEED, _U64)[0] if _PRNG_SEED in found else None,
    )


def _decode_loss(value: bytes | None) -> tuple[str, tuple[int, ...]]:
    models = parse_attributes(value or b"")
    if _LOSS_FOUR_STATES in models:
        return "state", _CHAIN.unpack_from(models[_LOSS_FOUR_STATES])
    if _LOSS_GILBERT_ELLIOTT in models:
        return "gemodel", _GILBERT.unpack_from(models[_LOSS_GILBERT_ELLIOTT])
    return "random", ()


def differences(asked: NetemSettings, got: NetemSettings) -> list[str]:
    """What the kernel has otherwise than asked: "delay: 20ms asked, 0 got". A seed that the kernel does not tell is
    none: see `NetemSettings.seed`."""
    unlike = [name for name in asked._fields if getattr(asked, name) != getattr(got, name)]
    return [
        f"{name.replace('_', ' ')}: {_text(name, getattr(asked, name))} asked, {_text(name, getattr(got, name))} got"
        for name in unlike
        if name != "seed" or None not in (asked.seed, got.seed)
    ]


_TIMES = frozenset({"delay", "jitter", "slot minimum", "slot maximum", "slot spread", "slot delay", "slot jitter"})
_PLAIN = frozenset({"limit", "gap", "overhead", "cell", "cell_overhead", "seed", "slot packets", "slot octets"})


def _text(name: str, value: object) -> str:
    """A number in the unit that people write."""
    if isinstance(value, NetemSlot):
        return f"({', '.join(f'{key} {item}' for key, item in value._asdict().items())})"
    if not isinstance(value, int) or isinstance(value, bool) or name in _PLAIN:
        return str(value)
    if name in _TIMES:
        return format_duration(value)
    return format_rate(8 * value) if name == "rate" else format_share(value / _U32_MOST)
