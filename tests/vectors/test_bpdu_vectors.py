"""BPDUs in bytes: as a Linux bridge sends them, and as IEEE 802.1D-2004 clause 9 lays them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.errors import WireError
from nodes.wire import bpdu
from nodes.wire.addresses import parse_mac
from nodes.wire.bpdu import Bpdu

# Captured on a veth from a bridge of Linux 6.18: stp_state 1, hello_time 1 s, forward_delay 4 s, max_age 20 s.
LINUX_CONFIGURATION = bytes.fromhex(
    "0180c2000000 369b3b2865b8 0026 424203"
    "0000 00 00 00 8000369b3b2865b8 00000000 8000369b3b2865b8 8001 0000 1400 0100 0400"
)
NOTIFICATION = bytes.fromhex("0180c2000000 025a00000001 0007 424203 0000 00 80").ljust(60, b"\x00")
# Designated, proposing, learning: flags 0x1e. Priority 4096, message age 1 s, the default times.
RAPID = bytes.fromhex(
    "0180c2000000 025a00000001 0027 424203"
    "0000 02 02 1e 1000025a00000009 00004e20 8000025a00000001 8003 0100 1400 0200 0f00 00"
).ljust(60, b"\x00")

VECTORS = {
    "configuration": (
        LINUX_CONFIGURATION.ljust(60, b"\x00"),
        Bpdu(
            bpdu.CONFIGURATION,
            0,
            0x8000369B3B2865B8,
            0,
            0x8000369B3B2865B8,
            0x8001,
            0,
            20 * 256,
            1 * 256,
            4 * 256,
        ),
    ),
    "notification": (NOTIFICATION, Bpdu(bpdu.NOTIFICATION)),
    "rapid": (
        RAPID,
        Bpdu(bpdu.RAPID, 0x1E, 0x1000025A00000009, 20_000, 0x8000025A00000001, 0x8003, 256, 5120, 512, 3840),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_both_ways(name: str) -> None:
    frame, value = VECTORS[name]
    assert bpdu.parse(frame) == value
    assert bpdu.parse(memoryview(frame)) == value
    assert bpdu.build(value, parse_mac(frame[6:12].hex(":"))) == frame


def test_without_padding() -> None:
    """A veth carries short frames as they are."""
    assert bpdu.parse(LINUX_CONFIGURATION) == VECTORS["configuration"][1]


@pytest.mark.parametrize(
    ("kind", "flags", "role"),
    [
        (bpdu.CONFIGURATION, 0x00, bpdu.ROLE_DESIGNATED),
        (bpdu.RAPID, 0x7C, bpdu.ROLE_DESIGNATED),
        (bpdu.RAPID, 0x38, bpdu.ROLE_ROOT),
        (bpdu.RAPID, 0x04, bpdu.ROLE_ALTERNATE_OR_BACKUP),
        (bpdu.RAPID, 0x40, bpdu.ROLE_UNKNOWN),
    ],
)
def test_role(kind: int, flags: int, role: int) -> None:
    """Section 9.2.9: bits 3 and 4 of the flags; a configuration BPDU always comes from a designated port."""
    assert Bpdu(kind, flags).role == role


def test_a_later_version_is_read_as_the_newest_known() -> None:
    """Section 9.3.4: the BPDU of multiple spanning trees (version 3) starts like a rapid one."""
    later = bytearray(RAPID[:53] + b"\x00\x40" + bytes(64))
    later[12:14] = (len(later) - 14).to_bytes(2, "big")
    later[19] = 3
    assert bpdu.parse(bytes(later)) == VECTORS["rapid"][1]


@pytest.mark.parametrize(
    ("offset", "replacement", "field"),
    [
        (12, b"\x08\x00", "length"),
        (12, b"\x00\x40", "length"),
        (14, b"\xaa\xaa\x03", "LLC header"),
        (17, b"\x00\x01", "protocol identifier"),
        (20, b"\x01", "type"),
        (19, b"\x00", "version"),
        (12, b"\x00\x26", "body"),
        (12, b"\x00\x06", "header"),
        (12, b"\x00\x02", "LLC header"),
    ],
)
def test_malformed(offset: int, replacement: bytes, field: str) -> None:
    frame = RAPID[:offset] + replacement + RAPID[offset + len(replacement) :]
    if field == "LLC header" and offset == 12:
        frame = frame[:16]
    with pytest.raises(WireError) as caught:
        bpdu.parse(frame)
    assert (caught.value.protocol, caught.value.field) == ("bpdu", field)


@given(
    st.builds(
        Bpdu,
        st.sampled_from([bpdu.CONFIGURATION, bpdu.RAPID]),
        st.integers(0, 0xFF),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        *[st.integers(0, 0xFFFF)] * 5,
    )
)
def test_build_then_parse(value: Bpdu) -> None:
    assert bpdu.parse(bpdu.build(value, parse_mac("02:00:00:00:00:01"))) == value


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(data: bytes, header: bool) -> None:
    frame = RAPID[:17] + data if header else data
    try:
        value = bpdu.parse(frame)
    except WireError:
        return
    assert bpdu.parse(bpdu.build(value, parse_mac("02:00:00:00:00:01"))) == value


@pytest.mark.parametrize(("nanoseconds", "value"), [(0, 0), (3_906_250, 1), (2_000_000_000, 512), (10**15, 0xFFFF)])
def test_times(nanoseconds: int, value: int) -> None:
    """Section 9.2.8: 1/256 s, and never more than 16 bits."""
    assert bpdu.to_time(nanoseconds) == value
    assert bpdu.from_time(512) == 2_000_000_000
