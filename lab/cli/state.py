"""`lab state`: what a node knows."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from lab.cli.common import JsonOption, LabOption, NodeArgument, open_lab
from lab.cli.output import milliseconds, print_json, print_table, terminal_width
from lab.engine.client import LabClient
from lab.errors import UserInputError

KEYS = ("name", "address", "mac", "prefix", "destination", "interface", "id")
"""Fields that say which row it is, the best first."""
PAPER = 200
"""Columns of a table where no terminal says how many there are."""
DURATIONS = (
    *("duration", "jitter", "rtt", "srtt", "rttvar", "min_rtt", "rto", "last_received", "last_sent", "connect_time"),
    *("deadline", "unanswered_for", "latest", "timeout"),
)
"""Fields in nanoseconds where they are whole numbers; also those that begin with `rtt_`."""
SECONDS = ("age", "ageing_time", "expires_in")


def main(
    node: NodeArgument,
    section: Annotated[str | None, typer.Argument(metavar="SECTION", help="Only this part: `routes`.")] = None,
    lab: LabOption = None,
    json: JsonOption = False,
) -> None:
    """Show a node's state: interfaces, ARP, routes, sockets, counters; a switch's table; a kernel's addresses.

    Counters that are zero are left out; --json has everything, and times in nanoseconds."""
    state = _state_of(open_lab(lab), node)
    if section is not None:
        if section not in state:
            raise UserInputError(f"{node} has no section {section!r}", hint=f"it has {', '.join(state)}")
        state = {section: state[section]}
    if json:
        print_json(state)
    else:
        for title, value in sorted(state.items(), key=lambda item: isinstance(item[1], dict | list)):
            show(title, value)


def _state_of(client: LabClient, node: str) -> dict[str, Any]:
    nodes = client.nodes()
    if node in nodes and not nodes[node].agent:
        return client.node_state(node)
    with client.agent(node) as agent:
        state = agent.call("state")
    if node in nodes and nodes[node].stack == "kernel":
        state |= client.node_state(node)
    state |= state.pop("device", {})
    return state


def show(title: str, value: Any) -> None:
    """A list of records is a table, a record a list of names and values; both under their title."""
    match value:
        case [dict(), *_]:
            print(f"\n{title}")
            _table(title, value)
        case dict() if value:
            print(f"\n{title}")
            flat = {key: item for key, item in value.items() if not isinstance(item, dict | list)}
            if flat:
                _record(flat)
            for key, item in value.items():
                if isinstance(item, dict | list) and item:
                    show(f"{title}.{key}", item)
        case [] | {}:
            print(f"\n{title}\nnone")
        case list():
            print(f"\n{title}: {' '.join(map(str, value))}")
        case _:
            print(f"{title}: {_cell(value)}")


def _record(record: dict[str, Any]) -> None:
    """Names and values; of counters, those that have counted."""
    if all(type(value) is int for value in record.values()):
        record = {name: value for name, value in record.items() if value}
    if record:
        print_table(["NAME", "VALUE"], [(name, _cell(value, name)) for name, value in record.items()])
    else:
        print("all zero")


def _table(title: str, rows: list[Any]) -> None:
    """Fields whose values fit a cell are columns, in as many tables as the width needs, each with the row's name; what
    does not fit a cell follows below, under the row's name."""
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if not _is_nested(value)))
    key = next((name for name in KEYS if name in columns), columns[0] if columns else "")
    others = [column for column in columns if column != key]
    while others:
        chosen = _that_fit(rows, key, others)
        others = others[len(chosen) :]
        print_table(
            [name.upper() for name in (key, *chosen)],
            [[_cell(row.get(name), name) for name in (key, *chosen)] for row in rows],
        )
    for row in rows:
        for name, value in row.items():
            if _is_nested(value):
                show(f"{title}.{row.get(key, '')}.{name}", value)


def _that_fit(rows: list[Any], key: str, columns: list[str]) -> list[str]:
    """The first columns, at least one, that fit the width together with the key."""
    left = (terminal_width(sys.stdout) or PAPER) - _width(rows, key)
    chosen: list[str] = []
    for column in columns:
        left -= _width(rows, column)
        if left < 0 and chosen:
            break
        chosen.append(column)
    return chosen


def _width(rows: list[Any], column: str) -> int:
    return max(len(column), *(len(_cell(row.get(column), column)) for row in rows)) + 2


def _is_nested(value: object) -> bool:
    return (isinstance(value, dict) and bool(value)) or (
        isinstance(value, list) and any(isinstance(item, dict) for item in value)
    )


def _cell(value: object, name: str = "") -> str:
    match value:
        case None | [] | {} | "":
            return "-"
        case list():
            return " ".join(map(str, value))
        case True | False:
            return "yes" if value else "no"
        case int() if name in DURATIONS or name.startswith("rtt_"):
            return f"{value / 1e9:.0f} s" if value >= 10_000_000_000 else f"{milliseconds(value)} ms"
        case float() if name in SECONDS:
            return f"{value:.1f} s"
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)
