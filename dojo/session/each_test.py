"""Around each kata test, in every process that runs some: seeded, timed, its state put back, its end noted."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from dojo.isolation import calls
from dojo.isolation.timeout import TIMEOUTS, Timeout, give_lines, marked_advice, marked_seconds
from dojo.kata.module import BrokenTest, KataModule
from dojo.kata.not_run_here import NotRunHere
from dojo.kata.seam import problem_of
from dojo.kata.source import is_stub_error
from dojo.kata.trees import TREES
from dojo.kit import note
from dojo.session.facts import annotate, keep

if TYPE_CHECKING:
    from dojo.isolation.state import StateGuard

_THREADS: pytest.StashKey[list[threading.Thread]] = pytest.StashKey()  # those that a test began
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
    StateGuard.seed(item.config.option.kata_seed)
    if item.get_closest_marker("gpu") and not gpu_is_here():
        raise NotRunHere("gpu", "needs a GPU, and torch finds no CUDA device here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    module = module_of(item)
    if module is None or isinstance(item, BrokenTest):
        return (yield)
    if problem := problem_of(module.obj):
        raise problem
    kata, timeouts, trees = module.kata, item.config.stash[TIMEOUTS], item.config.stash[TREES]

    def is_the_learners(error: BaseException) -> bool:
        return trees.learners_line(error, kata) is not None

    seconds = timeouts.seconds_for(marked_seconds(item))
    # In this order: a forked child must end before it comes to the watchdog's lock, whose thread it has not.
    try:
        with timeouts.limit(seconds, item.name, marked_advice(item)):
            with calls.contained(is_the_learners) as item.stash[_THREADS]:
                return (yield)
    except Timeout as error:
        give_lines(error)
        raise


def pytest_enter_pdb(config: pytest.Config) -> None:
    config.stash[TIMEOUTS].enter_debugger()
    if not config.option.usepdb:
        calls.refuse_debugger_without_terminal(config)


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
        fact = annotate(report, item, call, module.kata, item.config.stash[TREES])
        told = note.taken()
        fact.notes = told if report.passed else []
        if call.when == "teardown" and _GUARD in item.stash:
            fact.leaked = item.stash[_GUARD].restore()
            running = (thread.name for thread in item.stash.get(_THREADS, ()) if thread.is_alive())
            fact.leaked += [f"a thread running ({name})" for name in running]
        keep(report, fact)
    return report
