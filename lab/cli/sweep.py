"""`lab sweep`: Run an experiment over a grid of parameters, and make tables of what it measures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lab.cli.common import JsonOption, SeedOption
from lab.cli.output import counted, print_json, print_note, print_table, print_warning
from lab.cli.progress import progress_bar
from lab.errors import LabError, VerdictError
from lab.experiments.sweep.folder import JOURNAL, Folder, read_journal
from lab.experiments.sweep.load import Sweep, load_sweep
from lab.experiments.sweep.sweeping import Swept, default_jobs, run_sweep
from lab.experiments.sweep.tables import Measured, Row
from lab.model.errors import did_you_mean

SWEEPS = Path("sweeps")
FIGURES = 4


def main(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep: an experiment and a grid, in YAML.")],
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", metavar="N", min=1, max=512, help="Runs at the same time.", show_default="one per processor"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder for journal and tables.", show_default="sweeps/FILE"),
    ] = None,
    driver: Annotated[
        Literal["netns", "docker", "mininet", "sim"] | None,
        typer.Option(
            "--driver",
            metavar="netns|docker|mininet|sim",
            help="What nodes live in.",
            show_default="the file's, or sim",
        ),
    ] = None,
    seed: SeedOption = None,
    repeat: Annotated[
        int | None,
        typer.Option("--repeat", metavar="N", min=1, max=10_000, help="Runs of each point.", show_default="the file's"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the points, and run nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Forget the runs that are in the folder.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folders of runs that passed, too.")] = False,
    json: JsonOption = False,
) -> None:
    """Run an experiment over a grid of parameters, and make tables of what it measures.

    What was interrupted goes on with the same command. Ends with 1 where not every run passed."""
    sweep = load_sweep(file, driver=driver, seed=seed, repeat=repeat)
    path = out or SWEEPS / sweep.name
    if dry_run:
        _print_plan(sweep, path, json)
        return
    with Folder.opened(path, sweep, again=again) as folder:
        swept = _swept(sweep, folder, path, jobs, keep)
    if json:
        print_json(_facts(sweep, path, swept))
    else:
        _print_medians(sweep, swept)
    if not swept.tables.measures:
        print_warning(f"no claim of {sweep.experiment.name} says a number: the tables have verdicts only")
    for measure in swept.tables.measures:
        _warn_of_nothing(measure, swept, folder)
    _conclude(path, swept)


def _swept(sweep: Sweep, folder: Folder, path: Path, jobs: int | None, keep: bool) -> Swept:
    done = len(sweep.runs) - len(folder.remaining(sweep.runs))
    if done:
        print_note(f"{folder.path} has {done} of {counted(len(sweep.runs), 'run')} already")
    try:
        with progress_bar(remaining=True) as progress:
            return run_sweep(sweep, folder, jobs=jobs, keep=keep, progress=lambda *count: progress("runs", *count))
    except KeyboardInterrupt:
        kept = len(read_journal(path / JOURNAL))
        print_note(
            f"{kept} of {counted(len(sweep.runs), 'run')} are in {folder.path}; the same command goes on from there"
        )
        raise


def _conclude(path: Path, swept: Swept) -> None:
    outcomes = swept.outcomes
    print_note(
        f"{path}/results.csv has {counted(swept.runs, 'run')}, summary.csv the medians; {swept.now} were run now"
    )
    if outcomes["passed"] == swept.runs:
        return
    words = {"failed": "failed", "error": "ended with an error", "lost": "got lost"}
    told = ", ".join(f"{outcomes[name]} {word}" for name, word in words.items() if outcomes[name])
    hint = f"the column `verdict` of {path}/results.csv tells which"
    if outcomes["lost"]:
        hint = "the same command runs those that were lost again; the column `error` says why they were"
    kind = LabError if outcomes["error"] or outcomes["lost"] else VerdictError
    raise kind(f"of {counted(swept.runs, 'run')}, {told}", hint=hint)


def _print_plan(sweep: Sweep, path: Path, json: bool) -> None:
    done = read_journal(path / JOURNAL)
    rows = [(run, "done" if run.key in done and done[run.key].outcome != "lost" else "to do") for run in sweep.runs]
    if json:
        runs = [
            {"point": dict(run.point), "repeat": run.repeat, "seed": run.seed, "done": state == "done"}
            for run, state in rows
        ]
        print_json({"experiment": sweep.experiment.name, "driver": sweep.driver, "folder": str(path), "runs": runs})
        return
    head = [*sweep.names, ">repeat", ">seed", "state"]
    print_table(
        head, [(*(run.point[name] for name in sweep.names), run.repeat, run.seed, state) for run, state in rows]
    )
    points, jobs = counted(len(sweep.points), "point"), default_jobs(sweep.driver)
    waiting = sum(state == "to do" for _, state in rows)
    whole = f"{sweep.experiment.name} on {sweep.driver}: {points}, {counted(len(rows), 'run')}"
    print_note(f"{whole}, {waiting} to do, {jobs} at a time")


def _print_medians(sweep: Sweep, swept: Swept) -> None:
    """A table for each measure."""
    for number, measure in enumerate(swept.tables.measures):
        if number:
            print()
        print(f"{measure.claim}{f' ({measure.unit})' if measure.unit else ''}")
        rows = [row for row in swept.tables.rows if row.measure == measure]
        head = [*_short(sweep.names), ">N", ">MEDIAN", ">LOWER", ">UPPER", ">CONFIDENCE", ">PASSED"]
        print_table(head, [_cells(sweep.names, row) for row in rows])


def _cells(names: Sequence[str], row: Row) -> list[str]:
    whole = row.passed + row.failed + row.errors
    numbers = [_number(value) for value in (row.median, row.lower, row.upper)]
    confidence = "-" if not row.confidence else f"{row.confidence:.1%}"
    return [*(str(row.point[name]) for name in names), str(row.n), *numbers, confidence, f"{row.passed}/{whole}"]


def _short(names: Sequence[str]) -> list[str]:
    """The last words of paths, where they tell them apart."""
    ends = [name.rpartition(".")[2] for name in names]
    return [end if ends.count(end) == 1 else name for end, name in zip(ends, names, strict=True)]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10 ** (FIGURES - 1) else f"{value:.{FIGURES}g}"


def _warn_of_nothing(measure: Measured, swept: Swept, folder: Folder) -> None:
    if any(row.n for row in swept.tables.rows if row.measure == measure):
        return
    claims = list(dict.fromkeys(claim for each in folder.done.values() for claim, _, _ in each.seen))
    hint = did_you_mean(measure.claim, claims, "; ".join(claims))
    print_warning(f"no run says a number of {measure.claim!r}" + (f": {hint}" if hint else ""))


def _facts(sweep: Sweep, path: Path, swept: Swept) -> dict[str, Any]:
    return {
        "experiment": sweep.experiment.name,
        "driver": sweep.driver,
        "seed": sweep.seed,
        "folder": str(path),
        "runs": swept.runs,
        "run_now": swept.now,
        **{name: swept.outcomes[name] for name in ("passed", "failed", "error", "lost")},
        "summary": [row.facts() for row in swept.tables.rows],
    }
