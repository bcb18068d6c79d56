"""How commands speak: tables and JSON to standard output, messages to standard error.

Bold and colour are only ever an addition; what matters is also said in words. On a terminal, lines fit its width, and
80 columns are enough for every table; elsewhere no line is cut or wrapped, so that programs can read them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

GAP = 2
"""Spaces between the columns of a table."""
NARROWEST = 12
"""Columns of a table are not folded to less."""


def print_error(message: str, hint: str = "") -> None:
    """`error: ...`, and its hint on a line of its own."""
    _say(f"error: {message}")
    if hint:
        _say(f"  hint: {hint}")


def print_warning(message: str) -> None:
    _say(f"warning: {message}")


def print_note(message: str) -> None:
    """A message for people that is not data."""
    _say(message)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def milliseconds(nanoseconds: float) -> str:
    """Three figures that count: 0.412, 12.3, 1234."""
    value = nanoseconds / 1e6
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def amount(octets: float) -> str:
    """Three figures that count, in powers of 1000: `999 B`, `1.20 MB`."""
    return _scaled(octets, "B")


def bit_rate(rate: float | None) -> str:
    """`943 Mbit/s`; `-` for None."""
    return "-" if rate is None else _scaled(rate, "bit/s")


def _scaled(value: float, unit: str) -> str:
    """A value below 1000 with the prefix that belongs to it; also 999.7 is rounded up to the next."""
    prefixes = iter(("", "k", "M", "G", "T"))
    prefix = next(prefixes)
    while value >= 999.5:
        value /= 1000
        prefix = next(prefixes)
    figures = 0 if not prefix or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{figures}f} {prefix}{unit}"


def counted(number: int, noun: str) -> str:
    """`1 link`, `2 links`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal that `stream` is; None where it is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without frames, so that it can be read, cut and searched. Columns named with a leading `>` are aligned
    to the right. Without a terminal, lines are as long as they are."""
    cells = [[str(cell) for cell in row] for row in rows]
    head, *lines = table_lines(columns, cells, terminal_width(sys.stdout))
    print(f"\x1b[1m{head}\x1b[0m" if _may_be_bold() else head)
    for line in lines:
        print(line)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """The lines of a table, its head first, none with spaces at its end. Where they are wider than `width`, the widest
    columns are folded, first those of words and paths."""
    right = [name.startswith(">") for name in columns]
    table = [[name.removeprefix(">") for name in columns], *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    excess = sum(widths) + GAP * (len(widths) - 1) - (width or 1 << 30)
    text = [any(" " in row[index] or row[index].startswith("/") for row in rows) for index in range(len(columns))]
    for index in sorted(range(len(columns)), key=lambda index: (not text[index], -widths[index])):
        cut = max(0, min(excess, widths[index] - NARROWEST))
        widths[index] -= cut
        excess -= cut
    return [line for row in table for line in _row_lines(row, widths, right)]


def _row_lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    cells = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        texts = [cell[number] if number < len(cell) else "" for cell in cells]
        parts = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(texts, widths, right, strict=True)
        ]
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _folded(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`, broken after a space or a slash where there is one."""
    lines = [""]
    for word in re.findall(r"[^ /]*[ /]|[^ /]+", text):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]


def wrapped(text: str, width: int | None, indent: int = 2) -> str:
    """`text` with its lines wrapped at words, what follows indented by `indent` more; None wraps nothing."""
    if width is None:
        return text
    lines = []
    for line in text.splitlines():
        own = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, width, subsequent_indent=own + " " * indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def _say(text: str) -> None:
    """One message, after all data that were printed before it."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    print(wrapped(text, terminal_width(sys.stderr), indent=4), file=sys.stderr, flush=True)


def _may_be_bold() -> bool:
    """https://no-color.org"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
