"""`lab drivers`: what each driver can."""

from __future__ import annotations

import sys

from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_table, terminal_width, wrapped
from lab.drivers.abilities import CANNOT, WORDS, reasons


def main(json: JsonOption = False) -> None:
    """Show what each driver can do, and why not what it cannot.

    `lab doctor` says what this machine has for them."""
    if json:
        print_json(
            [
                {"driver": name, "cannot": {str(verb): why for verb, why in cannot.items()}}
                for name, cannot in CANNOT.items()
            ]
        )
        return
    cells = [
        (words.replace("`", ""), *("no" if verb in cannot else "yes" for cannot in CANNOT.values()))
        for verb, words in WORDS.items()
    ]
    print_table(["THE DRIVER CAN", *CANNOT], cells)
    print()
    for names, verb, reason in reasons():
        line = f"{names} cannot {WORDS[verb]}: {reason}".replace("`", "")
        print(wrapped(line, terminal_width(sys.stdout)))
