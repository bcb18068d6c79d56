"""What each discipline answers to each frame, and what makes it send again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nodes.datalink.arq.settings import ArqSettings
from nodes.errors import MisuseError
from nodes.trace.arq_events import (
    ArqConnectionUpdated,
    ArqFrameAcknowledged,
    ArqFrameBlocked,
    ArqFrameDropped,
    ArqFrameRetransmitted,
    ArqReadinessUpdated,
)
from nodes.units import MILLISECOND
from nodes.wire import arq
from tests.unit.arq_world import GO_BACK_N, SELECTIVE_REPEAT, STOP_AND_WAIT, TIMEOUT, End, Fate, Pair

ALL = (STOP_AND_WAIT, GO_BACK_N, SELECTIVE_REPEAT)
by_kind = pytest.mark.parametrize("settings", ALL, ids=lambda settings: settings.kind)


def reasons(end: End) -> list[tuple[int | None, str]]:
    return [(event.send, event.reason) for event in end.tracer.of(ArqFrameDropped)]


def repeated(end: End) -> list[tuple[int, str]]:
    return [(event.send, event.trigger) for event in end.tracer.of(ArqFrameRetransmitted)]


# --------------------------------------------------------------------------------------------------------- the receiver

RECEIVED: dict[str, tuple[ArqSettings, list[tuple[int, str, list[tuple[str, int, int]], list[bytes]]]]] = {
    # what comes: N(S) (-1 damaged), payload; what is answered; what goes up
    "stop-and-wait, in order": (
        STOP_AND_WAIT,
        [(0, "p", [("RR", 0, 1)], [b"p"]), (1, "q", [("RR", 0, 0)], [b"q"]), (0, "r", [("RR", 0, 1)], [b"r"])],
    ),
    "stop-and-wait, a copy": (
        STOP_AND_WAIT,
        [(0, "p", [("RR", 0, 1)], [b"p"]), (0, "p", [("RR", 0, 1)], []), (1, "q", [("RR", 0, 0)], [b"q"])],
    ),
    "stop-and-wait, damaged": (
        STOP_AND_WAIT,
        [(-1, "p", [("REJ", 0, 0)], []), (-1, "p", [], []), (0, "p", [("RR", 0, 1)], [b"p"])],
    ),
    "go-back-n, a gap is said once": (
        GO_BACK_N,
        [
            (0, "p", [("RR", 0, 1)], [b"p"]),
            (2, "r", [("REJ", 0, 1)], []),
            (3, "s", [("RR", 0, 1)], []),
            (1, "q", [("RR", 0, 2)], [b"q"]),
            (2, "r", [("RR", 0, 3)], [b"r"]),
            (4, "t", [("REJ", 0, 3)], []),
        ],
    ),
    "go-back-n, numbers come round": (
        GO_BACK_N,
        [(n % 8, "p", [("RR", 0, (n + 1) % 8)], [b"p"]) for n in range(20)],
    ),
    "go-back-n, the one before is a copy": (
        GO_BACK_N,
        [(0, "p", [("RR", 0, 1)], [b"p"]), (0, "p", [("RR", 0, 1)], [])],
    ),
    "selective-repeat, a gap": (
        SELECTIVE_REPEAT,
        [
            (0, "p", [("RR", 0, 1)], [b"p"]),
            (2, "r", [("RR", 2, 1), ("SREJ", 1, 1)], []),
            (3, "s", [("RR", 3, 1)], []),
            (2, "r", [("RR", 2, 1)], []),
            (1, "q", [("RR", 1, 4)], [b"q", b"r", b"s"]),
        ],
    ),
    "selective-repeat, two gaps at once": (
        SELECTIVE_REPEAT,
        [
            (3, "s", [("RR", 3, 0), ("SREJ", 0, 0), ("SREJ", 1, 0), ("SREJ", 2, 0)], []),
            (1, "q", [("RR", 1, 0)], []),
            (0, "p", [("RR", 0, 2)], [b"p", b"q"]),
            (2, "r", [("RR", 2, 4)], [b"r", b"s"]),
        ],
    ),
    "selective-repeat, the window before is all copies": (
        SELECTIVE_REPEAT,
        [(n, "p", [("RR", n, n + 1)], [b"p"]) for n in range(4)] + [(n, "p", [("RR", n, 4)], []) for n in range(4)],
    ),
    "selective-repeat, numbers come round": (
        SELECTIVE_REPEAT,
        [(n % 8, "p", [("RR", n % 8, (n + 1) % 8)], [b"p"]) for n in range(20)],
    ),
    "selective-repeat, damaged": (
        SELECTIVE_REPEAT,
        [(-1, "p", [("SREJ", 0, 0)], []), (1, "q", [("RR", 1, 0)], []), (0, "p", [("RR", 0, 2)], [b"p", b"q"])],
    ),
}


@pytest.mark.parametrize("case", RECEIVED)
def test_what_a_receiver_answers(case: str) -> None:
    settings, steps = RECEIVED[case]
    end = End(settings, connected=False)
    end.hears(arq.SET_MODE)
    assert end.said() == [("UA", 0, 0)]
    for number, (send, payload, answers, up) in enumerate(steps):
        end.hears(arq.DATA, send=max(send, 0), payload=payload.encode(), damaged=send < 0)
        assert (end.said(), end.taken()) == (answers, up), f"step {number}"


def test_without_reject_only_acknowledgments_answer() -> None:
    for settings in ALL:
        end = End(replace(settings, reject=False))
        end.hears(arq.DATA, damaged=True, payload=b"p")
        assert end.said() == []
    end = End(replace(GO_BACK_N, reject=False))
    end.hears(arq.DATA, send=2)
    assert end.said() == [("RR", 0, 0)]


# ----------------------------------------------------------------------------------------------------------- the sender


@by_kind
def test_the_window_is_never_exceeded(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(*(b"%d" % n for n in range(20)))
    numbers = [(n + 1) % settings.modulus for n in range(settings.window)]
    assert end.said() == [("I", number, 0) for number in numbers]
    (full,) = end.tracer.of(ArqFrameBlocked)
    assert (full.outstanding, full.queued) == (settings.window, 1)
    end.hears(arq.READY, receive=(1 + settings.window) % settings.modulus)
    assert len(end.said()) == settings.window
    assert end.link.counters.window_full == 2


@by_kind
def test_an_acknowledgment_says_how_many_are_left(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(b"p")
    end.hears(arq.READY, receive=2 % settings.modulus)
    event = end.tracer.of(ArqFrameAcknowledged)[-1]
    assert (event.send, event.outstanding, event.trigger) == (1, 0, "RR")
    assert end.link.deadline() is None


@by_kind
def test_an_acknowledgment_of_what_was_never_sent_says_nothing(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(b"p")
    end.said()
    for number in set(range(settings.modulus)) - {2 % settings.modulus}:
        end.hears(arq.READY, receive=number)
    end.wait(TIMEOUT)
    assert end.said() == [("I", 1, 0)]
    assert repeated(end) == [(1, "timeout")]


@by_kind
def test_a_data_frame_acknowledges_where_both_have_agreed(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(b"p")
    end.said()
    end.hears(arq.DATA, receive=2 % settings.modulus)  # of one that has begun anew
    assert end.link.deadline() is not None
    end.hears(arq.DATA, receive=2 % settings.modulus, send=1, flags=arq.ACKNOWLEDGES)
    assert end.link.deadline() is None
    assert [event.trigger for event in end.tracer.of(ArqFrameAcknowledged)][1:] == ["I"]


def test_a_data_frame_says_whether_its_acknowledgment_counts() -> None:
    for connected, flags in ((True, arq.ACKNOWLEDGES), (False, 0)):
        end = End(GO_BACK_N, connected=False)
        if connected:
            end.hears(arq.SET_MODE)
        end.send(b"p")
        end.hears(arq.ACCEPTED)
        assert arq.parse(end.link.transmit()[-1]).flags == flags


def test_stop_and_wait_sends_again_after_the_timer() -> None:
    end = End(STOP_AND_WAIT)
    end.send(b"p", b"q")
    assert end.said() == [("I", 1, 0)]
    end.wait(TIMEOUT - 1)
    assert end.said() == []
    end.wait(1)
    assert end.said() == [("I", 1, 0)]
    end.hears(arq.READY, receive=0)
    assert end.said() == [("I", 0, 0)]
    end.hears(arq.READY, receive=0)  # the copy's acknowledgment
    assert end.said() == []


def test_go_back_n_goes_back() -> None:
    end = End(GO_BACK_N)
    end.send(b"1", b"2", b"3", b"4")
    end.said()
    end.hears(arq.READY, receive=2)
    end.wait(TIMEOUT)
    assert end.said() == [("I", 2, 0), ("I", 3, 0), ("I", 4, 0)]
    assert repeated(end) == [(2, "timeout"), (3, "timeout"), (4, "timeout")]


def test_go_back_n_hears_a_reject_once() -> None:
    end = End(GO_BACK_N)
    end.send(b"1", b"2", b"3")
    end.said()
    end.hears(arq.REJECT, receive=2)
    assert end.said() == [("I", 2, 0), ("I", 3, 0)]
    end.hears(arq.REJECT, receive=2)
    assert end.said() == []
    end.hears(arq.REJECT, receive=3)  # of the second copy: not yet blamed
    assert end.said() == [("I", 3, 0)]
    assert repeated(end) == [(2, "reject"), (3, "reject"), (3, "reject")]


def test_a_timer_makes_the_reject_of_the_same_copy_void() -> None:
    end = End(GO_BACK_N)
    end.send(b"1")
    end.wait(TIMEOUT)
    end.said()
    end.hears(arq.REJECT, receive=1)
    assert end.said() == []


def test_selective_repeat_sends_one() -> None:
    end = End(SELECTIVE_REPEAT)
    end.send(b"1", b"2", b"3", b"4")
    end.said()
    for number in (2, 3):
        end.hears(arq.READY, receive=1, send=number, flags=arq.SELECTIVE)
    end.hears(arq.SELECTIVE_REJECT, receive=1, send=1)
    assert end.said() == [("I", 1, 0)]
    end.hears(arq.SELECTIVE_REJECT, receive=1, send=1)
    assert end.said() == []
    end.wait(TIMEOUT)  # 1 again, and 4, which nobody acknowledged
    assert sorted(end.said()) == [("I", 1, 0), ("I", 4, 0)]


def test_selective_repeat_has_a_timer_for_each_frame() -> None:
    end = End(SELECTIVE_REPEAT)
    end.send(b"1")
    end.wait(TIMEOUT // 2)
    end.send(b"2")
    end.said()
    end.wait(TIMEOUT // 2)
    assert end.said() == [("I", 1, 0)]
    end.wait(TIMEOUT // 2)
    assert end.said() == [("I", 2, 0)]


def test_a_line_with_a_rate_gets_one_frame_at_a_time() -> None:
    end = End(replace(GO_BACK_N, rate=8_000_000), connected=False)
    end.hears(arq.SET_MODE)
    end.send(bytes(972), bytes(972))
    end.wait(MILLISECOND)
    end.hears(arq.ACCEPTED)
    end.said()
    end.wait(MILLISECOND - 1)
    assert end.said() == []
    end.wait(1)
    assert end.said() == [("I", 1, 0)]
    end.wait(TIMEOUT - 1)  # from when the first frame had left
    assert end.said() == []
    end.wait(1)
    assert end.said() == [("I", 0, 0)]


# -------------------------------------------------------------------------------------------------------- flow control


def test_a_slow_receiver_says_so_before_it_is_full() -> None:
    end = End(replace(GO_BACK_N, window=2, buffer=4, processing=10 * MILLISECOND))
    answers = []
    for number in range(4):
        end.hears(arq.DATA, send=number, payload=b"%d" % number)
        answers += end.said()
    assert [kind for kind, _, _ in answers] == ["RR", "RR", "RNR", "RNR"]
    assert end.taken() == []
    end.hears(arq.DATA, send=4, payload=b"4")
    assert reasons(end) == [(4, "no_room")]
    assert end.said() == [("RNR", 0, 4)]
    end.wait(20 * MILLISECOND)
    assert end.taken() == [b"0", b"1"]
    assert end.said() == [("RR", 0, 4)]
    events = [(event.side, event.new) for event in end.tracer.of(ArqReadinessUpdated)]
    assert events == [("local", "not_ready"), ("local", "ready")]
    end.wait(20 * MILLISECOND)
    assert end.taken() == [b"2", b"3"]


def test_a_sender_waits_for_a_peer_that_is_not_ready_and_asks() -> None:
    end = End(GO_BACK_N)
    end.send(b"1", b"2")
    end.said()
    end.hears(arq.NOT_READY, receive=2)
    end.send(b"3")
    assert end.said() == []
    for _ in range(20):  # more often than a frame may be repeated: the peer is there
        end.wait(TIMEOUT)
        assert end.said() == [("RR", 0, 0)]
        end.hears(arq.NOT_READY, receive=2, flags=arq.FINAL)
    end.hears(arq.READY, receive=2)
    assert end.said() == [("I", 3, 0)]
    end.wait(TIMEOUT)
    assert end.said() == [("I", 2, 0), ("I", 3, 0)]


def test_a_poll_is_answered() -> None:
    end = End(GO_BACK_N)
    end.hears(arq.READY, receive=1, flags=arq.POLL)
    (frame,) = map(arq.parse, end.link.transmit())
    assert (frame.kind, frame.flags) == (arq.READY, arq.FINAL)
    fresh = End(GO_BACK_N, connected=False)
    fresh.hears(arq.READY, flags=arq.POLL)
    assert fresh.said() == [("DM", 0, 0)]


# -------------------------------------------------------------------------------------------- connections and their end


@by_kind
def test_numbers_are_agreed_on_first(settings: ArqSettings) -> None:
    end = End(settings, connected=False)
    end.send(b"p")
    assert end.said() == [("SABM", 0, 0)]
    end.wait(TIMEOUT)
    assert end.said() == [("SABM", 0, 0)]
    end.hears(arq.ACCEPTED)
    assert end.said() == [("I", 0, 0)]
    states = [event.new for event in end.tracer.of(ArqConnectionUpdated)]
    assert states == ["connecting", "connected"]


@by_kind
def test_a_peer_that_never_answers_ends_the_connection(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(*(b"%d" % n for n in range(settings.window + 1)))
    end.wait(TIMEOUT * (settings.retries + 1))
    lost = [each for each in reasons(end) if each[1] == "given_up"]
    assert len(lost) == settings.window + 1
    event = end.tracer.of(ArqConnectionUpdated)[-1]
    assert (event.new, event.trigger) == ("disconnected", "5 retransmissions without an answer")
    snapshot: dict[str, Any] = end.link.snapshot()
    assert snapshot["sender"]["state"] == "disconnected"
    end.said()
    end.hears(arq.READY, receive=1)  # too late
    end.send(b"again")
    assert end.said() == [("SABM", 0, 0)]
    end.hears(arq.ACCEPTED)
    assert end.said() == [("I", 0, 0)]


def test_a_peer_that_has_begun_anew_is_met_again() -> None:
    end = End(GO_BACK_N)
    end.send(b"1", b"2")
    end.said()
    end.hears(arq.DISCONNECTED)
    assert end.said() == [("SABM", 0, 0)]
    end.hears(arq.ACCEPTED)
    assert end.said() == [("I", 0, 0), ("I", 1, 0)]
    fresh = End(GO_BACK_N, connected=False)
    fresh.hears(arq.DATA, send=3, payload=b"p")
    assert fresh.said() == [("DM", 0, 0)]
    assert fresh.taken() == []


@by_kind
def test_without_a_carrier_all_is_lost_and_begins_anew(settings: ArqSettings) -> None:
    end = End(settings)
    end.send(b"1", b"2")
    end.link.set_carrier(False, end.now)
    assert {reason for _, reason in reasons(end)} == {"carrier_lost"}
    assert end.said() == []
    assert end.link.deadline() is None
    end.link.set_carrier(True, end.now)
    end.send(b"3")
    assert end.said() == [("SABM", 0, 0)]


def test_the_queue_is_bounded() -> None:
    end = End(replace(GO_BACK_N, queue=2))
    end.send(*(b"%d" % n for n in range(GO_BACK_N.window + 3)))
    assert reasons(end) == [(None, "queue_full")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bits": 0},
        {"bits": 13},
        {"window": 9},
        {"window": 0},
        {"kind": "stop-and-wait"},
        {"buffer": 6},
        {"timeout": 0},
        {"retries": 0},
        {"queue": 0},
        {"processing": -1},
        {"rate": -1},
    ],
    ids=str,
)
def test_settings_that_cannot_work(wrong: dict[str, int]) -> None:
    with pytest.raises(MisuseError):
        replace(GO_BACK_N, **wrong)


# ---------------------------------------------------------------------------------------------- windows that are unsafe


def lose_first_acknowledgments(count: int) -> Fate:
    """Loses so many acknowledgments of b, after the one that accepts the numbers."""

    def fate(end: str, number: int, frame: bytes) -> list[bytes]:
        return [] if end == "b" and 1 <= number <= count else [frame]

    return fate


@pytest.mark.parametrize(
    ("settings", "safe"),
    [
        (replace(SELECTIVE_REPEAT, bits=2, window=2), True),
        (replace(SELECTIVE_REPEAT, bits=2, window=3), False),
        (replace(GO_BACK_N, bits=2, window=3), True),
        (replace(GO_BACK_N, bits=2, window=4), False),
    ],
    ids=lambda value: f"{value.kind} {value.window}" if isinstance(value, ArqSettings) else "",
)
def test_an_old_frame_passes_for_a_new_one_only_where_the_window_is_unsafe(settings: ArqSettings, safe: bool) -> None:
    pair = Pair(settings, lose_first_acknowledgments(settings.window))
    payloads = [b"%d" % n for n in range(10)]
    pair.send("a", *payloads)
    pair.run()
    assert (pair.taken["b"] == payloads) == safe
