"""Whatever a topology may say, a line can do: no combination of keys passes the checks and stops the engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.lint.impairments import errors_of, warnings_of
from lab.model.impairment import impairment_of
from lab.model.impairment_text import describe
from lab.model.settings import parse_settings
from nodes.impairment import NOTHING, Impairment, decode, decode_patch, encode, encode_patch, merged
from nodes.physical.line import Line
from nodes.units import MILLISECOND

_CHOICES = {
    "delay": ("0", "1ms", "20ms 5ms", "1h", "3ms 1ns normal", "3s 2147ms 99% uniform"),
    "jitter": ("0", "1us", "7ms"),
    "distribution": ("uniform", "normal", "pareto", "paretonormal"),
    "steadiness": ("0", "99.9%"),
    "loss": ("0", "50%", "1% 99%", "100%", "gemodel 1%", "gemodel 100% 0% 50% 50%", "state 60% 10% 90% 0% 40%"),
    "burst": ("{loss: 30%, mean: 1}", "{loss: 1e-6%, mean: 1000000}"),
    "ecn": ("true", "false"),
    "corrupt": ("0", "100%", "1% 25%"),
    "duplicate": ("100%", "1% 25%"),
    "reorder": ("100%", "1% 25%"),
    "gap": ("1", "4294967295"),
    "rate": ("8bit", "10mbit", "9tbit", "1mbit -1500 0 -1500", "1mbit 1500 65535 1500", "1mbit -64 1"),
    "slot": (
        "1ns",
        "{minimum: 1ms, maximum: 2ms, packets: 1, octets: 1}",
        "{distribution: pareto, delay: 0, jitter: 1ms}",
    ),
    "limit": ("1", "4294967295", "1B"),
    "queue": (
        *("drop_tail", "red", "codel", "fq_codel", "pie", "{drop_tail: {packets: 1, octets: 1}}"),
        *("{red: {minimum: 1B, maximum: 2B, octets: 2B, chance: 100%, weight: 100%}}", "{red: {maximum: 4GiB}}"),
        *("{red: {minimum: 4GiB}}", "{red: {octets: 1B}}", "{red: {chance: 0, weight: 0, ecn: true}}"),
        *("{codel: {target: 1ns, interval: 1ns, packets: 1}}", "{codel: {target: 200h, interval: 1ns}}"),
        *("{fq_codel: {flows: 1, quantum: 1, octets: 1B}}", "{pie: {target: 1ns, update: 1ms, packets: 1}}"),
        "{pie: {alpha: 100, beta: 100, ecn: true}}",
    ),
    "bucket": ("{rate: 8bit, burst: 4GiB}", "{rate: 1mbit, burst: 2kB, peak: 2mbit}"),
    "seed": ("0", "18446744073709551615"),
    "faults": (
        "none",
        "[{drop: {}}]",
        "[{delay: {by: 1ms, count: 0}}, {duplicate: {copies: 3, every: 2, count: 0}}, {corrupt: {bit: 524287}}]",
        "[{drop: {sequence: 0-4294967295, fragment: any}}, {corrupt: {bit: -1, tcp: 'SYN,!ACK', payload: false}}]",
    ),
}
_settings = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in _CHOICES.items()})


@pytest.mark.slow
@given(_settings, _settings, st.sampled_from([68, 1500, 65535]))
def test_accepted_impairments_run(first: dict[str, str], second: dict[str, str], mtu: int) -> None:
    """Also as a change while frames are inside; and they survive being written down."""
    impairments = [_accepted(settings, mtu) for settings in (first, second)]
    for impairment in impairments:
        assert decode(encode(impairment)) == impairment
        assert describe(impairment)
        assert all(said.message for said in warnings_of(impairment, mtu))
    _run(Line(impairments[0], mtu, 7, 0), impairments[1], mtu)


def _accepted(settings: dict[str, str], mtu: int) -> Impairment:
    """Without the fields that the rules refuse."""
    patches = [parse_settings([f"{key}={value}"]).patch() for key, value in settings.items()]
    for patch in patches:
        assert decode_patch(encode_patch(patch)) == patch
    impairment = impairment_of(*patches)
    while errors := errors_of(impairment, mtu):
        impairment = merged(impairment, {errors[0].field: getattr(NOTHING, errors[0].field)})
    return impairment


def _run(line: Line, after: Impairment, mtu: int) -> None:
    now = 0
    for number in range(12):
        if number == 6:
            line.change(after, mtu, now)
        line.receive(bytes(range(60)) + bytes(number * 4), now)
        now += MILLISECOND
        line.timeout(now)
        line.transmit()
    deadline = line.deadline()
    assert deadline is None or deadline > now
    statistics = line.statistics
    assert statistics.in_frames == 12
    assert statistics.inside >= 0
