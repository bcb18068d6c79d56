"""`lab gc`: clear away what crashed."""

from __future__ import annotations

from lab.cli.common import JsonOption
from lab.cli.output import print_json, print_note
from lab.engine.launch import clear_away_dead


def main(json: JsonOption = False) -> None:
    """Clear away what is left of labs whose supervisor died. Only what is recorded as yours is touched."""
    cleared = clear_away_dead()
    if json:
        print_json([{"lab": record.lab, "run": record.run} for record in cleared])
        return
    for record in cleared:
        print_note(f"lab {record.lab} had crashed; its run is {record.run}")
    if not cleared:
        print_note("nothing to clear away")
