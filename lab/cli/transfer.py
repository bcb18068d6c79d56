"""What an application reports while it is followed, and what it found: tables for `source`, plain lines for others.

TIME s   OCTETS      GOODPUT  RESENT   RTT ms     CWND
   0-1   118 MB   943 Mbit/s       0    0.412   1.2 MB
   1-2   117 MB   941 Mbit/s       3    0.520   840 kB
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lab.cli.output import amount, bit_rate, counted, milliseconds, print_note, print_table

SHARES = ("min", "p50", "p90", "p99")


class View(Protocol):
    """How the reports of an application are shown."""

    def show(self, event: dict[str, Any]) -> None: ...

    def sum_up(self, result: dict[str, Any]) -> None: ...


def view_of(application: str, options: Mapping[str, object]) -> View:
    if application == "source":
        return RequestView() if options.get("mode") == "request" else StreamView()
    return PlainView()


class PlainView:
    """Every report in a line, the result as names and values."""

    def show(self, event: dict[str, Any]) -> None:
        words = [f"{name}={value}" for name, value in event.items() if name != "event" and value is not None]
        print(event["event"], *words, flush=True)

    def sum_up(self, result: dict[str, Any]) -> None:
        for name, value in result.items():
            if not isinstance(value, list):
                print(f"{name}: {value}")


class StreamView:
    """Of a `source`."""

    _WIDTHS: tuple[int, ...] = (10, 8, 11, 6, 8, 8)
    _HEAD: tuple[str, ...] = ("TIME s", "OCTETS", "GOODPUT", "RESENT", "RTT ms", "CWND")

    def __init__(self) -> None:
        self._has_head = False

    def show(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "interval":
                self._row(event)
            case "error":
                print_note(_said_of(event["remote"], event["error"]))
            case "damaged":
                print_note(f"{event['remote']}: octet {event['at']} came back wrong")

    def sum_up(self, result: dict[str, Any]) -> None:
        if not result["connected"]:
            return
        if self._has_head:
            print()
        print_table(
            [">PORT", ">OCTETS", ">GOODPUT", ">RESENT", ">RTT MIN", ">P50", ">P90", ">P99", ">CWND"], _rows(result)
        )
        seconds = (result["duration"] or 0) / 1e9
        goodput = bit_rate(result["goodput"])
        print(
            f"{result['destination']}, {result['congestion']}: {amount(result['octets'])} in {seconds:.3f} s, {goodput}"
        )

    def _row(self, event: dict[str, Any]) -> None:
        if not self._has_head:
            self._has_head = True
            self._line(self._HEAD)
        since = event["since"] / 1e9
        until = since + event["duration"] / 1e9
        self._line(
            (
                f"{since:.3g}-{until:.3g}",
                amount(event["octets"]),
                bit_rate(event["goodput"]),
                str(event["retransmissions"]),
                _time(event["srtt"]),
                amount(event["cwnd"]),
            )
        )

    def _line(self, cells: tuple[str, ...]) -> None:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, self._WIDTHS, strict=True)), flush=True)


class RequestView(StreamView):
    """Of a `source` that asks and waits."""

    _WIDTHS = (10, 9, 6, 8)
    _HEAD = ("TIME s", "ANSWERED", "RESENT", "RTT ms")

    def sum_up(self, result: dict[str, Any]) -> None:
        if not result["connected"]:
            return
        if self._has_head:
            print()
        print(f"{result['destination']}, {result['congestion']}: {counted(result['answered'], 'request')} answered")
        if result["answered"]:
            times = " / ".join(_time(result[f"latency_{share}"]) for share in (*SHARES, "max"))
            print(f"request to answer min / p50 / p90 / p99 / max: {times} ms")
        print(f"round trip min / p50 / p90 / p99: {' / '.join(_time(result[f'rtt_{share}']) for share in SHARES)} ms")

    def _row(self, event: dict[str, Any]) -> None:
        if not self._has_head:
            self._has_head = True
            self._line(self._HEAD)
        since = event["since"] / 1e9
        until = since + event["duration"] / 1e9
        answered, resent = str(event["answered"]), str(event["retransmissions"])
        self._line((f"{since:.3g}-{until:.3g}", answered, resent, _time(event["srtt"])))


def _rows(result: dict[str, Any]) -> list[list[str]]:
    """A row for each connection, and where there are several, one for all."""
    rows = [[each["local"].rpartition(":")[2] or "-", *_numbers(each)] for each in result["connections"]]
    return rows if len(rows) == 1 else [*rows, ["all", *_numbers(result)]]


def _numbers(of: dict[str, Any]) -> list[str]:
    times = [_time(of[f"rtt_{share}"]) for share in SHARES]
    return [amount(of["octets"]), bit_rate(of["goodput"]), str(of["retransmissions"]), *times, amount(of["cwnd_max"])]


def _time(value: int | None) -> str:
    return "-" if value is None else milliseconds(value)


def _said_of(remote: str, error: str) -> str:
    """The error, with the peer before it unless it begins with that."""
    return error if error.startswith(remote.rpartition(":")[0]) else f"{remote}: {error}"
