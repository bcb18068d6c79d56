"""docs/tcp-states.svg, drawn from the table in `nodes.transport.tcp.states`.

The table says what is drawn: boxes, arrows, the words at the arrows, the list of what ends a connection early. This
module says where. An edge of the table that has no place here is an error, and so is a place without an edge, so the
picture cannot fall behind. The layout is RFC 9293's figure 5, with CLOSED above and once more below.

`python -m tests.unit.tcp_state_diagram` writes the picture anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from nodes.transport.tcp.states import EDGES, Edge, State, Trigger

PICTURE = Path(__file__).parents[2] / "docs" / "tcp-states.svg"
WIDTH, HEIGHT = 1600, 1040
BOX_WIDTH, BOX_HEIGHT, RADIUS = 170, 52, 14
FEW = 2  # states that may end by a trigger with arrows of its own; where more do, it is in the list

Point = tuple[int, int]


class Route(NamedTuple):
    """A line with right angles, and where its words are: (x, first base line, and whether they start there, have their
    middle there, or end)."""

    points: tuple[Point, ...]
    label: tuple[int, int, str]


LEFT, MIDDLE, RIGHT = 260, 640, 1020
PLACES = {
    State.CLOSED: (MIDDLE, 70),
    State.LISTEN: (MIDDLE, 215),
    State.SYN_RCVD: (LEFT, 360),
    State.SYN_SENT: (RIGHT, 360),
    State.ESTABLISHED: (MIDDLE, 505),
    State.FIN_WAIT_1: (LEFT, 650),
    State.CLOSING: (MIDDLE, 650),
    State.CLOSE_WAIT: (RIGHT, 650),
    State.FIN_WAIT_2: (LEFT, 795),
    State.TIME_WAIT: (MIDDLE, 795),
    State.LAST_ACK: (RIGHT, 795),
}
CLOSED_AGAIN = (MIDDLE, 985)

ROUTES: dict[tuple[State, State], Route] = {
    (State.CLOSED, State.LISTEN): Route(((610, 96), (610, 189)), (598, 139, "end")),
    (State.LISTEN, State.CLOSED): Route(((670, 189), (670, 96)), (682, 147, "start")),
    (State.CLOSED, State.SYN_SENT): Route(((725, 58), (1060, 58), (1060, 334)), (1072, 120, "start")),
    (State.SYN_SENT, State.CLOSED): Route(((1020, 334), (1020, 82), (725, 82)), (1008, 147, "end")),
    (State.LISTEN, State.SYN_SENT): Route(((725, 215), (980, 215), (980, 334)), (850, 233, "middle")),
    (State.LISTEN, State.SYN_RCVD): Route(((555, 203), (230, 203), (230, 334)), (218, 260, "end")),
    (State.SYN_RCVD, State.LISTEN): Route(((290, 334), (290, 227), (555, 227)), (302, 247, "start")),
    (State.SYN_SENT, State.SYN_RCVD): Route(((935, 360), (345, 360)), (440, 331, "middle")),
    (State.SYN_SENT, State.ESTABLISHED): Route(((1000, 386), (1000, 493), (725, 493)), (988, 450, "end")),
    (State.SYN_RCVD, State.ESTABLISHED): Route(((290, 386), (290, 493), (555, 493)), (302, 450, "start")),
    (State.LISTEN, State.ESTABLISHED): Route(((640, 241), (640, 479)), (652, 300, "start")),
    (State.SYN_RCVD, State.FIN_WAIT_1): Route(((230, 386), (230, 624)), (218, 500, "end")),
    (State.ESTABLISHED, State.FIN_WAIT_1): Route(((555, 517), (290, 517), (290, 624)), (302, 547, "start")),
    (State.ESTABLISHED, State.CLOSE_WAIT): Route(((725, 517), (1000, 517), (1000, 624)), (988, 547, "end")),
    (State.FIN_WAIT_1, State.FIN_WAIT_2): Route(((260, 676), (260, 769)), (248, 727, "end")),
    (State.FIN_WAIT_1, State.CLOSING): Route(((345, 638), (555, 638)), (450, 608, "middle")),
    (State.FIN_WAIT_1, State.TIME_WAIT): Route(((345, 662), (400, 662), (400, 783), (555, 783)), (412, 702, "start")),
    (State.FIN_WAIT_2, State.TIME_WAIT): Route(((345, 807), (555, 807)), (450, 829, "middle")),
    (State.CLOSING, State.TIME_WAIT): Route(((640, 676), (640, 769)), (652, 727, "start")),
    (State.CLOSE_WAIT, State.LAST_ACK): Route(((1020, 676), (1020, 769)), (1032, 719, "start")),
    (State.LAST_ACK, State.CLOSED): Route(((1020, 821), (1020, 985), (725, 985)), (870, 973, "middle")),
    (State.TIME_WAIT, State.CLOSED): Route(((640, 821), (640, 959)), (652, 888, "start")),
    (State.FIN_WAIT_2, State.CLOSED): Route(((260, 821), (260, 985), (555, 985)), (410, 973, "middle")),
}

ZONES = (  # colors, words with their place, rectangle
    ("opening", ("opening", 1200, 387), (90, 165, 1125, 235)),
    ("active", ("we close first", 770, 612), (90, 590, 695, 270)),
    ("passive", ("the peer closes first", 1200, 612), (905, 590, 310, 270)),
)
ZONE_OF = {
    State.CLOSED: "none",
    State.LISTEN: "opening",
    State.SYN_SENT: "opening",
    State.SYN_RCVD: "opening",
    State.ESTABLISHED: "open",
    State.FIN_WAIT_1: "active",
    State.FIN_WAIT_2: "active",
    State.CLOSING: "active",
    State.TIME_WAIT: "active",
    State.CLOSE_WAIT: "passive",
    State.LAST_ACK: "passive",
}
COLORS = {
    "none": ("#eceff1", "#546e7a"),
    "opening": ("#e3effb", "#1f5fa8"),
    "open": ("#e2f3e4", "#2b7a36"),
    "active": ("#fdeedd", "#b05a10"),
    "passive": ("#f1e8f8", "#6f3fa0"),
}

CLIENT_PATH = (
    (State.CLOSED, State.SYN_SENT),
    (State.SYN_SENT, State.ESTABLISHED),
    (State.ESTABLISHED, State.FIN_WAIT_1),
    (State.FIN_WAIT_1, State.FIN_WAIT_2),
    (State.FIN_WAIT_2, State.TIME_WAIT),
    (State.TIME_WAIT, State.CLOSED),
)
SERVER_PATH = (
    (State.CLOSED, State.LISTEN),
    (State.LISTEN, State.SYN_RCVD),
    (State.SYN_RCVD, State.ESTABLISHED),
    (State.ESTABLISHED, State.CLOSE_WAIT),
    (State.CLOSE_WAIT, State.LAST_ACK),
    (State.LAST_ACK, State.CLOSED),
)
NOT_IN_FIGURE_5 = ((State.LISTEN, State.ESTABLISHED), (State.FIN_WAIT_2, State.CLOSED))
STYLES = {
    "client": ("#1f5fa8", "3.2", "", "usual client, closing first"),
    "server": ("#2b7a36", "3.2", "11 5", "usual server"),
    "other": ("#455a64", "1.6", "", "seldom"),
    "ours": ("#455a64", "1.6", "2 5", "not in RFC 9293's figure"),
}

WORDS = {
    Trigger.PASSIVE_OPEN: "passive open",
    Trigger.ACTIVE_OPEN: "active open",
    Trigger.SEND: "send",
    Trigger.CLOSE: "close",
    Trigger.ABORT: "abort",
    Trigger.SYN_RECEIVED: "rcv SYN",
    Trigger.SYN_ACK_RECEIVED: "rcv SYN,ACK",
    Trigger.SYN_ACKNOWLEDGED: "rcv ACK of SYN",
    Trigger.COOKIE_RECEIVED: "rcv ACK of SYN cookie",
    Trigger.FIN_RECEIVED: "rcv FIN",
    Trigger.FIN_ACKNOWLEDGED: "rcv ACK of FIN",
    Trigger.FIN_RECEIVED_AND_ACKNOWLEDGED: "rcv FIN, ACK of FIN",
    Trigger.RESET_RECEIVED: "rcv RST",
    Trigger.RESET_RECEIVED_PASSIVE: "rcv RST, if passive open",
    Trigger.TIME_WAIT_EXPIRED: "2 MSL are over",
    Trigger.FIN_WAIT_2_EXPIRED: "the FIN does not come",
    Trigger.USER_TIMEOUT: "user timeout",
    Trigger.KEEP_ALIVE_EXPIRED: "keep-alive unanswered",
    Trigger.UNREACHABLE: "destination unreachable",
    Trigger.REUSED: "a newer SYN (RFC 6191)",
    Trigger.EVICTED: "the table is full",
}


def draw(edges: Sequence[Edge] = EDGES) -> str:
    """The picture as SVG. Raises ValueError where the layout and the table do not fit."""
    listed = [trigger for trigger in Trigger if _is_listed(trigger, edges)]
    arrows: dict[tuple[State, State], list[Edge]] = {}
    for edge in edges:
        if edge.trigger not in listed:
            arrows.setdefault((edge.state, edge.to), []).append(edge)
    if arrows.keys() != ROUTES.keys():
        raise ValueError(f"edges without a place, or places without an edge: {arrows.keys() ^ ROUTES.keys()}")
    body = [*_head(), *_zones()]
    for ends in sorted(arrows, key=lambda ends: _style(ends) in ("client", "server")):
        body += _arrow(ROUTES[ends], _style(ends))
    for ends, several in arrows.items():
        body += _label(ROUTES[ends].label, several)
    for state, place in [*PLACES.items(), (State.CLOSED, CLOSED_AGAIN)]:
        body += _box(state, place)
    body += _panel(listed, edges)
    return "\n".join([*body, "</svg>", ""])


def _is_listed(trigger: Trigger, edges: Iterable[Edge]) -> bool:
    """What ends a connection from many states has a line in the list, not an arrow from each."""
    own = [edge for edge in edges if edge.trigger is trigger]
    return len(own) >= FEW and all(edge.to is State.CLOSED for edge in own) and trigger is not Trigger.CLOSE


def _style(ends: tuple[State, State]) -> str:
    if ends in CLIENT_PATH:
        return "client"
    if ends in SERVER_PATH:
        return "server"
    return "ours" if ends in NOT_IN_FIGURE_5 else "other"


def _head() -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' role="img" font-family="Helvetica, Arial, \'Liberation Sans\', sans-serif">'
    )
    yield "<title>The states of a TCP connection</title>"
    yield "<defs>"
    for name, (color, *_) in STYLES.items():
        yield (
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="12" markerHeight="12"'
            f' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.8 L10 5 L0 9.2 z" fill="{color}"/></marker>'
        )
    yield "</defs>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'


def _zones() -> Iterator[str]:
    for name, (words, right, base), (x, y, width, height) in ZONES:
        fill, dark = COLORS[name]
        yield (
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="18" fill="{fill}" fill-opacity="0.55"'
            f' stroke="{dark}" stroke-opacity="0.25"/>'
        )
        yield _text(right, base, words, "end", size=15, color=dark, style="italic")


def _arrow(route: Route, style: str) -> Iterator[str]:
    color, width, dashes, _ = STYLES[style]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    yield (
        f'<path d="{_rounded(route.points)}" fill="none" stroke="{color}" stroke-width="{width}"{dashed}'
        f' marker-end="url(#{style})"/>'
    )


def _rounded(points: Sequence[Point]) -> str:
    """A line through `points` whose corners are quarter circles."""
    path = f"M{points[0][0]} {points[0][1]}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        enter, leave = _towards(corner, before), _towards(corner, after)
        path += f" L{enter[0]} {enter[1]} Q{corner[0]} {corner[1]} {leave[0]} {leave[1]}"
    return path + f" L{points[-1][0]} {points[-1][1]}"


def _towards(start: Point, end: Point) -> Point:
    """A radius from `start` in the direction of `end`, which is straight left, right, up or down."""
    step = [(there > here) - (there < here) for here, there in zip(start, end, strict=True)]
    return start[0] + RADIUS * step[0], start[1] + RADIUS * step[1]


def _label(place: tuple[int, int, str], edges: Iterable[Edge]) -> Iterator[str]:
    x, y, anchor = place
    for edge in edges:
        yield _text(x, y, WORDS[edge.trigger], anchor, size=16)
        y += 19
        if edge.sends:
            yield _text(x, y, f"snd {edge.sends}", anchor, size=16, color="#9a3412")
            y += 19


def _box(state: State, place: Point) -> Iterator[str]:
    fill, dark = COLORS[ZONE_OF[state]]
    x, y = place
    yield (
        f'<rect x="{x - BOX_WIDTH // 2}" y="{y - BOX_HEIGHT // 2}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10"'
        f' fill="{fill}" stroke="{dark}" stroke-width="2"/>'
    )
    yield _text(x, y + 7, state.name, "middle", size=19, color=dark, weight="bold")


def _panel(listed: Iterable[Trigger], edges: Sequence[Edge]) -> Iterator[str]:
    """The right-hand side: what the lines mean, and what ends a connection from many states."""
    x, y = 1250, 60
    yield _text(x, y, "TCP connection states", "start", size=24, weight="bold", color="#263238")
    yield _text(x, y + 28, "RFC 9293 section 3.3.2", "start", size=16, color="#546e7a")
    y += 72
    for name, (*_, words) in STYLES.items():
        yield from _arrow(Route(((x, y - 5), (x + 64, y - 5)), (0, 0, "")), name)
        yield _text(x + 78, y, words, "start", size=16)
        y += 30
    yield _text(x, y, "what happens", "start", size=16)
    yield _text(x + 132, y, "snd what is sent", "start", size=16, color="#9a3412")
    y += 62
    yield _text(x, y, "To CLOSED at once", "start", size=20, weight="bold", color="#263238")
    for trigger in listed:
        y += 36
        own = [edge for edge in edges if edge.trigger is trigger]
        yield _text(x, y, WORDS[trigger], "start", size=16, weight="bold")
        for line in _lines([edge.state for edge in own]):
            y += 20
            yield _text(x, y, line, "start", size=14, color="#546e7a")
        for answer in sorted({edge.sends for edge in own} - {""}):
            states = _lines([edge.state for edge in own if edge.sends == answer], short=False)
            for line in [f"snd {answer} in", *states]:
                y += 20
                yield _text(x, y, line, "start", size=14, color="#9a3412")


def _lines(states: Sequence[State], *, short: bool = True) -> list[str]:
    """The names of `states`, or of the others where these are fewer, in lines that fit the panel."""
    others = [state for state in State if state not in states]
    words = [state.name for state in states]
    if short and len(others) < len(states):
        words = [f"all but {others[0].name}", *[state.name for state in others[1:]]]
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 34:
            lines[-1] += ","
            lines.append(word)
        else:
            lines[-1] += f", {word}"
    return lines


def _text(
    x: int, y: int, words: str, anchor: str, *, size: int, color: str = "#263238", weight: str = "", style: str = ""
) -> str:
    more = (f' font-weight="{weight}"' if weight else "") + (f' font-style="{style}"' if style else "")
    placed = f'x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}"'
    return f'<text {placed} fill="{color}"{more}>{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
