"""`lab gc`: clear away what crashed."""

from __future__ import annotations

from lab.cli.common import JsonOption
from lab.cli.output import counted, print_json, print_note
from lab.engine.launch import clear_away_dead


def main(json: JsonOption = False) -> None:
    """Clear away what is left of labs whose supervisor died. Only what is recorded as yours is touched, and
    containers that say by their labels that they are."""
    cleared = clear_away_dead()
    if json:
        print_json([{"lab": found.lab, "run": found.run, "containers": found.containers} for found in cleared])
        return
    for found in cleared:
        removed = f"; {counted(found.containers, 'container')} of it removed" if found.containers else ""
        print_note(f"lab {found.lab} had crashed; its run is {found.run}{removed}")
    if not cleared:
        print_note("nothing to clear away")
