"""Runs experiments: brings the lab up, lets the script speak, and judges a variation by what it has to break."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.api.lab import Lab
from lab.api.opening import Driver
from lab.errors import LabError
from lab.experiments.experiment import Experiment, Parameter
from lab.experiments.trial import Report, Trial
from lab.experiments.verdict import Verdict
from lab.experiments.where import why_not
from nodes.errors import StackError


@dataclass(frozen=True, slots=True)
class Asked:
    """How an experiment is to be run. `changes` are texts of a person; without a seed and a name of the lab, the
    topology's hold."""

    driver: Driver = "sim"
    seed: int | None = None
    variation: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    runs: Path | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    experiment: Experiment
    asked: Asked
    parameters: Mapping[str, Parameter]
    verdicts: tuple[Verdict, ...]
    seed: int
    run: Path | None
    seconds: float
    error: str = ""
    """Why it did not come to its end."""

    @property
    def passed(self) -> bool:
        """Every claim held. Of a variation, exactly those failed that it breaks."""
        if self.error or not self.verdicts:
            return False
        failed = {verdict.claim for verdict in self.verdicts if not verdict.passed}
        return failed == set(self.broken)

    @property
    def broken(self) -> tuple[str, ...]:
        """Claims that have to fail."""
        return self.experiment.broken_by(self.asked.variation)

    def facts(self) -> dict[str, Any]:
        """As values of JSON."""
        return {
            "experiment": self.experiment.name,
            "variation": self.asked.variation,
            "driver": self.asked.driver,
            "seed": self.seed,
            "parameters": dict(self.parameters),
            "passed": self.passed,
            "error": self.error or None,
            "verdicts": [
                {
                    "claim": verdict.claim,
                    "passed": verdict.passed,
                    "has_to_fail": verdict.claim in self.broken,
                    "numbers": verdict.numbers,
                    "where": verdict.where or None,
                    "picture": verdict.picture or None,
                    "seen": verdict.seen,
                    "unit": verdict.unit or None,
                }
                for verdict in self.verdicts
            ],
            "seconds": round(self.seconds, 3),
            "run": None if self.run is None else str(self.run),
        }


def run_experiment(experiment: Experiment, asked: Asked, report: Report = lambda _: None) -> Result:
    """Raises UserInputError for parameters that do not exist or make no topology, EnvironmentLackError where the
    machine cannot have the driver, or the driver not the experiment. What a script raises is the result's `error`."""
    parameters = experiment.with_parameters(asked.variation, asked.changes)
    refused = why_not(experiment, asked.driver, parameters)
    if refused is not None:
        raise refused
    labs: list[Lab] = []
    trials: list[Trial] = []

    async def main(lab: Lab) -> None:
        trials.append(Trial(lab, parameters, report))
        await experiment.script(trials[0])

    begun, error = time.monotonic(), ""
    try:
        Lab.run(
            main,
            experiment.topology_with(parameters),
            driver=asked.driver,
            seed=asked.seed,
            name=asked.name,
            runs=asked.runs,
            told=labs.append,
        )
    except (LabError, StackError) as failure:
        if not labs:
            raise
        error = failure.message
    except Exception as failure:
        if not labs:
            raise
        error = f"{type(failure).__name__}: {failure}"
    return Result(
        experiment,
        asked,
        parameters,
        tuple(trials[0].verdicts) if trials else (),
        labs[0].seed,
        labs[0].run_folder,
        time.monotonic() - begun,
        error,
    )
