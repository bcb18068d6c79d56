"""SEGMENT ARRIVES (RFC 9293 section 3.10.7), whole: every kind of segment in every state, as one table.

A connection is brought into a state, see `tcp_script.POSITIONS` for its numbers; one segment arrives; the outcome is
what the node answers, the state it goes to, and what its program sees. Outcomes are written as

    answer > next state, news for the program

    .         no answer within half a second            rst       RST, its number is the ACK that came (no ACK)
    ack       ACK of SND.NXT and RCV.NXT                rst,ack   RST,ACK, number 0, acknowledges all that came
    syn,ack   the SYN,ACK of this connection

A state is named where it changes; news are `data`, `eof`, `reset`, `refused`. Where the RFCs leave a choice, `|`
separates what is right. After `closed`, a segment must meet nobody; after `listen`, a new SYN must be answered.

The columns are the eleven states, and SYN_RCVD twice, as it remembers where it came from (MUST-11): PASSIVE from
LISTEN, ACTIVE from SYN_SENT by a simultaneous open. others stands for the columns from PASSIVE on that a row does not
name; a cell that is left out makes no sense: there is no window before the peer's SYN.

`tests/script/test_tcp_matrix.py` runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nodes.transport.tcp.states import State
from tests.script.tcp_capture import ACK, FIN, PSH, RST, SYN
from tests.script.tcp_script import THEIRS

COLUMNS = {
    "CLOSED": (State.CLOSED, False),
    "LISTEN": (State.LISTEN, True),
    "SYN_SENT": (State.SYN_SENT, False),
    "PASSIVE": (State.SYN_RCVD, True),
    "ACTIVE": (State.SYN_RCVD, False),
    "ESTABLISHED": (State.ESTABLISHED, False),
    "FIN_WAIT_1": (State.FIN_WAIT_1, False),
    "FIN_WAIT_2": (State.FIN_WAIT_2, False),
    "CLOSE_WAIT": (State.CLOSE_WAIT, False),
    "CLOSING": (State.CLOSING, False),
    "LAST_ACK": (State.LAST_ACK, False),
    "TIME_WAIT": (State.TIME_WAIT, False),
}
NONE = ""
"""A cell that makes no sense, in a row whose `others` would fill it."""

WITHOUT_WINDOW = ("CLOSED", "LISTEN", "SYN_SENT")


class Spot(NamedTuple):
    """Where the connection is: its numbers, the right edge of its window, and whether it is still opening."""

    una: int
    nxt: int
    rcv_nxt: int
    edge: int
    opening: bool

    @property
    def valid_ack(self) -> int:
        """One that acknowledges no more than it must."""
        return self.nxt if self.opening else self.una

    @property
    def old_ack(self) -> int:
        return 0 if self.opening else self.una - 50


class Row(NamedTuple):
    """One kind of segment: the arguments of `Peer.send`, and the outcomes by column."""

    name: str
    rules: str
    segment: Callable[[Spot], dict[str, object]]
    cells: dict[str, str]


ROWS: list[Row] = []


def row(name: str, rules: str, segment: Callable[[Spot], dict[str, object]], *, others: str = "", **cells: str) -> None:
    rest = {column: others for column in COLUMNS if others and column not in WITHOUT_WINDOW}
    filled = {column: outcome for column, outcome in (rest | cells).items() if outcome is not NONE}
    ROWS.append(Row(name, rules, segment, filled))


LARGEST_WINDOW = 65535
"""MAX.SND.WND of the node: `Peer.send` offers this."""

# ---------------------------------------------------------------------------------------------------------------- SYN

row(
    "syn",
    "B-CLOSED-1, B-LISTEN-1, B-SYNSENT-3, B-SYN-1, 5961-4.2; in SYN_RCVD RFC 9293 3.10.7.4 goes back to LISTEN",
    lambda at: {"flags": SYN, "seq": at.rcv_nxt},
    CLOSED="rst,ack",
    LISTEN="syn,ack > syn_rcvd",
    SYN_SENT="syn,ack > syn_rcvd",
    PASSIVE=". > listen | ack",
    others="ack",
)
row(
    "syn_again",
    "B-SEQ-2, 5961-4.2: the SYN that opened the connection; in SYN_RCVD the SYN,ACK may have been lost",
    lambda at: {"flags": SYN, "seq": 0},
    PASSIVE="syn,ack | ack",
    ACTIVE="syn,ack | ack",
    others="ack",
)
row(
    "syn_right_of_window",
    "B-SEQ-2, 5961-4.2: whatever its number",
    lambda at: {"flags": SYN, "seq": at.edge + 10},
    others="ack",
)
row(
    "syn_ack",
    "B-CLOSED-2, B-LISTEN-1, B-SYNSENT-3, B-SYN-1",
    lambda at: {"flags": SYN | ACK, "seq": at.rcv_nxt, "ack": at.nxt},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT="ack > established",
    PASSIVE=". > listen | ack",
    others="ack",
)
row(
    "syn_ack_again",
    "MUST-10, 5961-4.2: the SYN,ACK of the handshake; it completes a simultaneous open (RFC 9293 figure 7)",
    lambda at: {"flags": SYN | ACK, "seq": 0, "ack": 1},
    PASSIVE=NONE,
    ACTIVE=". > established | ack > established",
    others="ack",
)
row(
    "syn_ack_of_nothing",
    "B-SYNSENT-1: a SYN,ACK that acknowledges what was never sent",
    lambda at: {"flags": SYN | ACK, "seq": 0, "ack": at.nxt + 1},
    SYN_SENT="rst",
)
row(
    "syn_fin",
    "B-CLOSED-1, B-SYN-1: SYN and FIN at once",
    lambda at: {"flags": SYN | FIN, "seq": at.rcv_nxt},
    CLOSED="rst,ack",
    LISTEN=". | syn,ack > syn_rcvd",
    SYN_SENT=". | syn,ack > syn_rcvd",
    PASSIVE=". > listen | ack",
    others="ack",
)

# ---------------------------------------------------------------------------------------------------------------- FIN

row(
    "fin_without_ack",
    "B-CLOSED-1, B-LISTEN-1, B-SYNSENT-4, B-ACK-1",
    lambda at: {"flags": FIN, "seq": at.rcv_nxt},
    CLOSED="rst,ack",
    LISTEN=".",
    SYN_SENT=".",
    others=".",
)
row(
    "fin",
    "B-CLOSED-2, B-LISTEN-1, B-SYNSENT-4, B-FIN-1",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt, "ack": at.valid_ack},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT=".",
    PASSIVE="ack > close_wait, eof",
    ACTIVE="ack > close_wait, eof",
    ESTABLISHED="ack > close_wait, eof",
    FIN_WAIT_1="ack > closing, eof",
    FIN_WAIT_2="ack > time_wait, eof",
)
row(
    "fin_acknowledging_all",
    "B-FIN-1: the FIN of a peer that has ours",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt, "ack": at.nxt},
    ESTABLISHED="ack > close_wait, eof",
    FIN_WAIT_1="ack > time_wait, eof",
    FIN_WAIT_2="ack > time_wait, eof",
)
row(
    "fin_with_data",
    "B-FIN-1: the end after all data",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt, "ack": at.valid_ack, "data": THEIRS},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT=".",
    PASSIVE="ack > close_wait, data eof",
    ACTIVE="ack > close_wait, data eof",
    ESTABLISHED="ack > close_wait, data eof",
    FIN_WAIT_1="ack > closing, data eof",
    FIN_WAIT_2="ack > time_wait, data eof",
)
row(
    "fin_again",
    "B-SEQ-2, B-TW-1, MUST-13: the FIN that came before",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt - 1, "ack": at.una},
    CLOSE_WAIT="ack",
    CLOSING="ack",
    LAST_ACK="ack",
    TIME_WAIT="ack",
)
row(
    "fin_again_acknowledging_all",
    "B-SEQ-2: the same with the ACK of ours; by the letter it is dropped after the answer, its ACK is as good as any",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt - 1, "ack": at.nxt},
    CLOSE_WAIT="ack",
    CLOSING="ack | ack > time_wait",
    LAST_ACK="ack | . > closed",
    TIME_WAIT="ack",
)
row(
    "fin_behind_a_hole",
    "B-FIN-2, MAY-13: it waits for the hole",
    lambda at: {"flags": FIN | ACK, "seq": at.rcv_nxt + 10, "ack": at.valid_ack},
    PASSIVE="ack > established",
    ACTIVE="ack > established",
    ESTABLISHED="ack",
    FIN_WAIT_1="ack",
    FIN_WAIT_2="ack",
)
row(
    "fin_right_of_window",
    "B-SEQ-2",
    lambda at: {"flags": FIN | ACK, "seq": at.edge + 1, "ack": at.valid_ack},
    others="ack",
)

# ---------------------------------------------------------------------------------------------------------------- ACK

row(
    "ack_old",
    "B-CLOSED-2, B-LISTEN-1, B-SYNSENT-1, B-ACK-2, B-ACK-4",
    lambda at: {"flags": ACK, "seq": at.rcv_nxt, "ack": at.old_ack},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT="rst",
    PASSIVE="rst",
    ACTIVE="rst",
    TIME_WAIT=". | ack",
    others=".",
)
row(
    "ack_good",
    "B-SYNSENT-4, RFC 9293 3.10.7.4 fifth",
    lambda at: {"flags": ACK, "seq": at.rcv_nxt, "ack": at.nxt},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT=".",
    PASSIVE=". > established",
    ACTIVE=". > established",
    FIN_WAIT_1=". > fin_wait_2",
    CLOSING=". > time_wait",
    LAST_ACK=". > closed",
    others=".",
)
row(
    "ack_future",
    "B-SYNSENT-1, B-ACK-2, B-ACK-3",
    lambda at: {"flags": ACK, "seq": at.rcv_nxt, "ack": at.nxt + 1},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT="rst",
    PASSIVE="rst",
    ACTIVE="rst",
    TIME_WAIT=". | ack",
    others="ack",
)
row(
    "ack_too_old",
    "5961-5.2: older than any window that the peer offered",
    lambda at: {"flags": ACK, "seq": at.rcv_nxt, "ack": at.una - LARGEST_WINDOW - 1},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT="rst",
    PASSIVE="rst",
    ACTIVE="rst",
    TIME_WAIT=". | ack",
    others="ack",
)
row(
    "keep_alive",
    "B-SEQ-2: RCV.NXT - 1 without data, as RFC 1122 section 4.2.3.6 probes",
    lambda at: {"flags": ACK, "seq": at.rcv_nxt - 1, "ack": at.valid_ack},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT=".",
    others="ack",
)

# --------------------------------------------------------------------------------------------------------------- data

row(
    "data",
    "B-CLOSED-2, B-LISTEN-1, B-SYNSENT-4, B-FIN-4; ignored after the peer's FIN",
    lambda at: {"flags": ACK | PSH, "seq": at.rcv_nxt, "ack": at.valid_ack, "data": THEIRS},
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT=".",
    PASSIVE="ack > established, data",
    ACTIVE="ack > established, data",
    ESTABLISHED="ack, data",
    FIN_WAIT_1="ack, data",
    FIN_WAIT_2="ack, data",
    TIME_WAIT=". | ack",
    others=".",
)
row(
    "data_with_old_ack",
    "B-ACK-4, B-ACK-2: the ACK is ignored, the data is not",
    lambda at: {"flags": ACK | PSH, "seq": at.rcv_nxt, "ack": at.old_ack, "data": THEIRS},
    PASSIVE="rst",
    ACTIVE="rst",
    ESTABLISHED="ack, data",
    FIN_WAIT_1="ack, data",
    FIN_WAIT_2="ack, data",
)
row(
    "data_with_future_ack",
    "B-ACK-3, B-ACK-2: nothing of it counts",
    lambda at: {"flags": ACK | PSH, "seq": at.rcv_nxt, "ack": at.nxt + 1, "data": THEIRS},
    PASSIVE="rst",
    ACTIVE="rst",
    TIME_WAIT=". | ack",
    others="ack",
    CLOSED="rst",
    LISTEN="rst",
    SYN_SENT="rst",
)
row(
    "data_without_ack",
    "B-CLOSED-1, B-ACK-1",
    lambda at: {"flags": PSH, "seq": at.rcv_nxt, "data": THEIRS},
    CLOSED="rst,ack",
    LISTEN=".",
    SYN_SENT=".",
    others=".",
)
row(
    "data_left_of_window",
    "B-SEQ-2: what came before",
    lambda at: {"flags": ACK | PSH, "seq": min(1, at.rcv_nxt - 100), "ack": at.valid_ack, "data": THEIRS},
    others="ack",
)
row(
    "data_right_of_window",
    "B-SEQ-2: the first octet that the window does not have",
    lambda at: {"flags": ACK | PSH, "seq": at.edge, "ack": at.valid_ack, "data": THEIRS},
    others="ack",
)

# -------------------------------------------------------------------------------------------------------- RST, no flags

row(
    "rst",
    "B-CLOSED-3, B-LISTEN-1, B-SYNSENT-2, B-RST-1..11, MUST-11, 5961-3.2a; RFC 1337 would ignore it in TIME_WAIT",
    lambda at: {"flags": RST, "seq": at.rcv_nxt},
    CLOSED=".",
    LISTEN=".",
    SYN_SENT=".",
    PASSIVE=". > listen",
    ACTIVE=". > closed, refused | . > closed, reset",
    CLOSING=". > closed",
    LAST_ACK=". > closed",
    TIME_WAIT=". > closed | .",
    others=". > closed, reset",
)
row(
    "rst_ack",
    "B-CLOSED-3, B-LISTEN-1, B-SYNSENT-2, B-RST-1..11",
    lambda at: {"flags": RST | ACK, "seq": at.rcv_nxt, "ack": at.nxt},
    CLOSED=".",
    LISTEN=".",
    SYN_SENT=". > closed, refused",
    PASSIVE=". > listen",
    ACTIVE=". > closed, refused | . > closed, reset",
    CLOSING=". > closed",
    LAST_ACK=". > closed",
    TIME_WAIT=". > closed | .",
    others=". > closed, reset",
)
row(
    "rst_with_data",
    "SHLD-2: data in a reset explains it, and resets no less",
    lambda at: {"flags": RST | ACK, "seq": at.rcv_nxt, "ack": at.valid_ack, "data": b"you are too loud"},
    CLOSED=".",
    LISTEN=".",
    SYN_SENT=". > closed, refused",
    PASSIVE=". > listen",
    ACTIVE=". > closed, refused | . > closed, reset",
    CLOSING=". > closed",
    LAST_ACK=". > closed",
    TIME_WAIT=". > closed | .",
    others=". > closed, reset",
)
row(
    "rst_ack_old",
    "B-SYNSENT-2: a reset that does not acknowledge our SYN",
    lambda at: {"flags": RST | ACK, "seq": 0, "ack": 0},
    SYN_SENT=".",
)
row(
    "rst_ack_future",
    "B-SYNSENT-2",
    lambda at: {"flags": RST | ACK, "seq": 0, "ack": at.nxt + 1},
    SYN_SENT=".",
)
row(
    "rst_in_window",
    "5961-3.2b: not exact, so challenged",
    lambda at: {"flags": RST, "seq": at.rcv_nxt + 10},
    CLOSED=".",
    LISTEN=".",
    SYN_SENT=".",
    TIME_WAIT="ack | .",
    others="ack",
)
row(
    "rst_at_the_end_of_window",
    "5961-3.2b: the last number in the window",
    lambda at: {"flags": RST, "seq": at.edge - 1},
    TIME_WAIT="ack | .",
    others="ack",
)
row(
    "rst_left_of_window",
    "5961-3.2c",
    lambda at: {"flags": RST, "seq": at.rcv_nxt - 1},
    CLOSED=".",
    LISTEN=".",
    SYN_SENT=".",
    others=".",
)
row(
    "rst_right_of_window",
    "5961-3.2c",
    lambda at: {"flags": RST, "seq": at.edge},
    others=".",
)
row(
    "no_flags",
    "B-CLOSED-1, B-LISTEN-1, B-SYNSENT-4, B-ACK-1",
    lambda at: {"flags": 0, "seq": at.rcv_nxt},
    CLOSED="rst,ack",
    LISTEN=".",
    SYN_SENT=".",
    others=".",
)
row(
    "no_flags_left_of_window",
    "B-SEQ-2: the number is looked at before the flags",
    lambda at: {"flags": 0, "seq": at.rcv_nxt - 10},
    CLOSED="rst,ack",
    LISTEN=".",
    SYN_SENT=".",
    others="ack",
)
