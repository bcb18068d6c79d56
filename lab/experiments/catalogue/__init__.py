"""The experiments that come with layerlab: one file per claim, in the order of a course."""

from __future__ import annotations

from lab.errors import UserInputError
from lab.experiments.catalogue.fast_retransmit import fast_retransmit
from lab.experiments.catalogue.handshake import handshake
from lab.experiments.catalogue.slow_start import slow_start
from lab.experiments.catalogue.window_limit import window_limit
from lab.experiments.experiment import Experiment
from lab.model.errors import did_you_mean

CATALOGUE: dict[str, Experiment] = {
    each.name: each
    for each in (
        handshake,
        window_limit,
        slow_start,
        fast_retransmit,
    )
}


def find(name: str) -> Experiment:
    """Raises UserInputError for a name of none."""
    if name not in CATALOGUE:
        hint = did_you_mean(name, list(CATALOGUE)) or "`lab experiment list` lists them"
        raise UserInputError(f"there is no experiment {name!r}", hint=hint)
    return CATALOGUE[name]
