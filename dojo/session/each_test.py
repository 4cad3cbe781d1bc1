"""Around each kata test, in every process that runs some: seeded, timed, its state put back, its end noted."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from dojo.isolation.timeout import TIMEOUTS, marked_seconds
from dojo.kata.module import BrokenTest, KataModule
from dojo.kata.not_run_here import NotRunHere
from dojo.kata.seam import problem_of
from dojo.kata.source import is_stub_error
from dojo.session.facts import annotate, fact_of, keep

if TYPE_CHECKING:
    from dojo.isolation.state import StateGuard

_GUARD: pytest.StashKey[StateGuard] = pytest.StashKey()  # its module imports torch: only where a kata test runs


def module_of(item: pytest.Item) -> KataModule | None:
    """The kata that a test belongs to; None for any other test."""
    return item.getparent(KataModule)


def pytest_collectstart(collector: pytest.Collector) -> None:
    if isinstance(collector, KataModule):
        from dojo.isolation.state import prepare_torch

        prepare_torch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if module_of(item) is None:
        return
    from dojo.isolation.state import StateGuard
    from dojo.kit import gpu_is_here

    item.stash[_GUARD] = StateGuard()
    StateGuard.seed()
    if item.get_closest_marker("gpu") and not gpu_is_here():
        raise NotRunHere("gpu", "needs a GPU, and torch finds no CUDA device here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    module = module_of(item)
    if module is None or isinstance(item, BrokenTest):
        return (yield)
    if problem := problem_of(module.obj):
        raise problem
    timeouts = item.config.stash[TIMEOUTS]
    seconds = timeouts.seconds_for(marked_seconds(item))
    with timeouts.limit(seconds, item.name):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    module = module_of(item)
    if module is not None and call.excinfo is not None and is_stub_error(call.excinfo.value):
        # `annotate` writes one line: spare pytest a traceback that nobody sees, a millisecond or two for each.
        vars(item)["repr_failure"] = lambda excinfo: "todo"
    report = yield
    if module is not None and (call.when != "setup" or not report.passed):
        annotate(report, item, call, module.kata)
        if call.when == "teardown" and _GUARD in item.stash:
            fact = fact_of(report)
            assert fact is not None
            fact.leaked = item.stash[_GUARD].restore()
            keep(report, fact)
    return report
