"""A plugin for pytest: a test is a coroutine function that gets a lab.

    @pytest.mark.lab("name: pair\\nnodes: {a: host, b: host}\\nlinks: [a -- b]\\n", seeds=range(20))
    async def test_my_service(sim):
        sim.node("b").start(my_service)
        assert await sim.node("a").run(my_client, "b") == "fine"

The fixture `sim` is a lab in virtual time, `lab` one of the driver that the marker or `--lab-driver` names. The test is
run as `main(lab)` is by `lab run`: in virtual time, all of its time is virtual. Other fixtures, parameters and classes
are what they are in any test.

A test that fails says its seed and how to repeat it, where its run is, what happened last in each node, and with
captures the last frames as a ladder. `seeds` makes a test for each of them.

pytest imports this file in every project of an environment, so it is small; `labs.py` comes with the first lab.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from typing import Any

import pytest

SEED = "lab_seed"
"""The name of the parameter that `seeds` makes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("layerlab", "labs of layerlab")
    group.addoption("--lab-driver", default="netns", metavar="NAME", help="driver of the fixture `lab`")
    group.addoption("--lab-seed", metavar="N", help="seed of all labs, or `random`; else the marker's or topology's")
    group.addoption("--lab-runs", metavar="FOLDER", help="folder for runs; else pytest's temporary one")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "lab(topology, *, driver=None, seed=None, seeds=None, **options): the network of a test that uses the fixture "
        "`lab` or `sim`: the text of a topology, or the path of one from the test's file",
    )


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Any:
    """The lab of the marker; the test, a coroutine function, gets it when it is up."""
    return _labs().ask(request, None)


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Any:
    """The same in virtual time."""
    return _labs().ask(request, "sim")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("lab")
    if marker is not None and marker.kwargs.get("seeds") is not None:
        if SEED not in metafunc.fixturenames:
            metafunc.fixturenames.append(SEED)
        seeds = list(marker.kwargs["seeds"])
        metafunc.parametrize(SEED, seeds, ids=[f"seed {seed}" for seed in seeds])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if {"lab", "sim"}.isdisjoint(pyfuncitem.fixturenames):
        return None
    return bool(_labs().call(pyfuncitem)) or None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" and not {"lab", "sim"}.isdisjoint(getattr(item, "fixturenames", ())):
        _labs().complete(report, item)
    return report


def _labs() -> Any:
    return importlib.import_module("lab.testing.labs")
